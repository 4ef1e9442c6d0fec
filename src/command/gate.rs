//! Commands that the rules about commands alone don't open.

use super::category::{Categories, Category};

/// What a command asks for besides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Gate {
    /// Nothing.
    #[default]
    None,
    /// It leads from Redis to the machine, or ends it.
    Lethal,
    /// So does it on old versions, which the session knows of: MONITOR shows the proxy's own password
    /// before 5.0.10.
    LethalOnLegacy,
    /// So do some of its parameters: CONFIG SET.
    LethalParameters,
    /// So does one of its channels: PUBLISH.
    LethalChannel,
    /// It runs the script in argument 1: EVAL.
    Script,
    /// It runs, by its hash in argument 1, a script that is loaded: EVALSHA.
    ScriptHash,
    /// It loads the script in argument 2: SCRIPT LOAD.
    ScriptLoad,
    /// It runs or loads code that nobody can name beforehand: FCALL, FUNCTION LOAD.
    Code,
}

// === impl Gate ===

impl Gate {
    /// What the command of this full name asks for. The reasons:
    ///
    /// - MODULE LOAD, LOADEX run a file's code, UNLOAD takes commands away.
    /// - REPLICAOF, SLAVEOF, FAILOVER make another server the master of all data, and its payloads
    ///   are taken unseen.
    /// - MIGRATE sends keys and a password to any host; RESTORE, RESTORE-ASKING take payloads that
    ///   legacy versions do not look into (CVE after CVE).
    /// - DEBUG crashes, sleeps, reloads and rewrites.
    /// - CONFIG SET of where and what is written, see `policy`; CONFIG REWRITE writes it down.
    /// - SHUTDOWN ends it.
    /// - CLUSTER RESET, MEET, FAILOVER, REPLICATE give the data to other nodes.
    /// - SENTINEL MONITOR, REMOVE, RESET, FAILOVER say who is master, of servers that the Sentinel
    ///   reconfigures by itself; SET says which scripts it runs and with which password it goes where;
    ///   CONFIG and DEBUG say what it tells of itself and when it acts; SIMULATE-FAILURE crashes it;
    ///   IS-MASTER-DOWN-BY-ADDR takes its vote away.
    /// - PUBLISH to a Sentinel's channel says who is master, too: see `policy`.
    pub(super) fn of(name: &str, categories: Categories) -> Self {
        match name {
            "module|load" | "module|loadex" | "module|unload" | "replicaof" | "slaveof"
            | "failover" | "migrate" | "restore" | "restore-asking" | "debug"
            | "config|rewrite" | "shutdown" | "cluster|reset" | "cluster|meet"
            | "cluster|failover" | "cluster|replicate" => Self::Lethal,
            // Of Redis 8.4 and Valkey 9, where they are learned.
            "cluster|migrateslots" | "cluster|migration" | "cluster|syncslots" => Self::Lethal,
            "monitor" => Self::LethalOnLegacy,
            "sentinel|monitor"
            | "sentinel|remove"
            | "sentinel|reset"
            | "sentinel|failover"
            | "sentinel|set"
            | "sentinel|config"
            | "sentinel|debug"
            | "sentinel|simulate-failure"
            | "sentinel|is-master-down-by-addr" => Self::Lethal,
            "config|set" => Self::LethalParameters,
            "publish" => Self::LethalChannel,
            "eval" | "eval_ro" => Self::Script,
            "evalsha" | "evalsha_ro" => Self::ScriptHash,
            "script|load" => Self::ScriptLoad,
            "fcall" | "fcall_ro" | "function|load" | "function|restore" => Self::Code,
            // RedisGears, RedisAI and FalkorDB, which put them into no category.
            "tfcall" | "tfcallasync" | "tfunction|load" | "rg.pyexecute" | "rg.jexecute"
            | "rg.trigger" | "ai.scriptset" | "ai.scriptstore" | "ai.scriptrun"
            | "ai.scriptexecute" | "graph.udf" => Self::Code,
            // These run nothing.
            "script" | "script|exists" | "script|flush" | "script|kill" | "script|debug"
            | "script|help" | "function" | "function|list" | "function|dump" | "function|stats"
            | "function|delete" | "function|flush" | "function|kill" | "function|help" => {
                Self::None
            }
            _ if categories.contains(Category::Scripting) => Self::Code,
            _ => Self::None,
        }
    }
}
