//! Which commands of several clients may follow one another on one connection.
//!
//! What isn't known to leave nothing behind does not share: a command that is new here has a
//! connection to itself until somebody has looked at it, and so have those of modules, which may
//! keep what they like with their clients.

use super::category::Category;
use super::flags::Flag;
use super::keys::Keys;
use super::table::Command;
use crate::resp::Args;

/// What a command asks of the connection that it is sent on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sharing {
    /// It has exactly one reply, and at once, and nothing of it stays with the connection.
    Shared,
    /// The same, but with the option BLOCK it waits: XREAD, XREADGROUP.
    UnlessBlock,
    /// One reply, and nothing stays; but it waits for others to do something, or tells of the connection.
    Waits,
    /// One reply, and nothing stays; but what keeps the server busy must not stand before it.
    AtOnce,
    /// It tells what was written on this very connection: WAIT, WAITAOF.
    Counts,
    /// Something stays with the connection, or nobody knows: it is the client's from then on.
    #[default]
    Stays,
}

// === impl Sharing ===

impl Sharing {
    /// What a command of Redis' own asks for; the rest of it is known already.
    pub(super) fn of(command: &Command) -> Self {
        let in_any = |categories: &[Category]| {
            let mut categories = categories.iter();
            categories.any(|category| command.categories.contains(*category))
        };
        match &*command.name {
            "wait" | "waitaof" => Self::Counts,
            "xread" | "xreadgroup" => Self::UnlessBlock,
            _ if command.flags.contains(Flag::Blocking) => Self::Waits,
            // VSIM and VADD, modules that Redis 8 ships, work in threads of their own.
            _ if command.flags.contains(Flag::Module) => Self::Waits,
            // Served while a script keeps the server busy, or clients are paused. CLIENT PAUSE itself
            // is answered before it takes effect.
            "script|kill" | "function|kill" | "shutdown" | "client|kill" | "client|unblock"
            | "client|pause" | "client|unpause" => Self::AtOnce,
            // About the connection that asks, which a shared one is not: its name, its database.
            "client|info" => Self::Waits,
            // DEBUG PROTOCOL pushes, SLEEP sleeps, and new versions add to them.
            "debug" | "asking" | "readonly" | "readwrite" => Self::Stays,
            // Transactions and their watches, subscriptions, replication: sessions know these.
            "multi" | "exec" | "discard" | "watch" => Self::Stays,
            // Where nothing is watched it does nothing.
            "unwatch" => Self::Shared,
            "monitor" | "sync" | "psync" | "replconf" | "subscribe" | "unsubscribe"
            | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" => Self::Stays,
            "publish" | "spublish" => Self::Shared,
            "auth" | "hello" | "quit" | "reset" | "select" | "script|debug" => Self::Stays,
            "ping" | "echo" | "time" | "command" | "info" | "lolwut" | "role" | "dbsize"
            | "lastsave" | "save" | "bgsave" | "bgrewriteaof" | "replicaof" | "slaveof"
            | "failover" | "swapdb" | "flushall" | "flushdb" | "pfselftest" => Self::Shared,
            "client|list" | "client|help" => Self::Shared,
            "client" => Self::Stays,
            name => match name
                .split_once('|')
                .map_or(name, |(container, _)| container)
            {
                "client" | "acl" => Self::Stays,
                "command" | "config" | "latency" | "memory" | "slowlog" | "module" | "pubsub"
                | "script" | "function" | "object" | "cluster" | "sentinel" | "xgroup"
                | "xinfo" => Self::Shared,
                _ if in_any(&[
                    Category::Connection,
                    Category::Pubsub,
                    Category::Transaction,
                ]) =>
                {
                    Self::Stays
                }
                _ if command.keys != Keys::None
                    || in_any(&[Category::Keyspace, Category::Read, Category::Write])
                    || in_any(&[Category::Scripting]) =>
                {
                    Self::Shared
                }
                _ => Self::Stays,
            },
        }
    }

    /// The same for one request, which may be here in part.
    pub fn of_request(self, args: &Args<'_>) -> Self {
        if self != Self::UnlessBlock {
            return self;
        }
        // A key, a group or a consumer may be called so too: then it has a connection to itself for
        // nothing. What is not here yet may be it.
        let mut args_here = args.iter().skip(1);
        if args_here.any(|arg| arg.eq_ignore_ascii_case(b"block")) || !args.is_whole() {
            Self::Waits
        } else {
            Self::Shared
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::command::{Table, learn};
    use crate::resp::{OwnedArgs, Reply, split_inline};

    fn names(sharing: Sharing) -> Vec<String> {
        let table = Table::builtin();
        let all = table.iter().map(|(_, command)| command);
        all.filter(|command| command.sharing == sharing)
            .map(|command| command.name.to_string())
            .collect()
    }

    /// Everything that doesn't share, by heart: a new command must be looked at.
    #[test]
    fn what_does_not_share_is_known_by_name() {
        assert_eq!(names(Sharing::Counts), ["wait", "waitaof"]);
        assert_eq!(names(Sharing::UnlessBlock), ["xread", "xreadgroup"]);
        let waits = [
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "client|info",
            "vadd",
            "vcard",
            "vdim",
            "vemb",
            "vgetattr",
            "vinfo",
            "vismember",
            "vlinks",
            "vrandmember",
            "vrem",
            "vsetattr",
            "vsim",
        ];
        assert_eq!(names(Sharing::Waits), waits);
        let at_once = [
            "client|kill",
            "client|pause",
            "client|unblock",
            "client|unpause",
            "function|kill",
            "script|kill",
            "shutdown",
        ];
        assert_eq!(names(Sharing::AtOnce), at_once);
        let stays = names(Sharing::Stays);
        let mut by_container = BTreeMap::<&str, Vec<&str>>::new();
        for name in &stays {
            let (container, own) = name.split_once('|').unwrap_or((name, ""));
            by_container.entry(container).or_default().push(own);
        }
        assert!(by_container.remove("acl").is_some_and(|all| all.len() > 10));
        assert_eq!(
            by_container.remove("client").unwrap(),
            [
                "",
                "caching",
                "getname",
                "getredir",
                "id",
                "no-evict",
                "no-touch",
                "reply",
                "setinfo",
                "setname",
                "tracking",
                "trackinginfo"
            ]
        );
        assert_eq!(by_container.remove("script").unwrap(), ["debug"]);
        let single: Vec<&str> = by_container.into_keys().collect();
        assert_eq!(
            single,
            [
                "asking",
                "auth",
                "debug",
                "discard",
                "exec",
                "hello",
                "monitor",
                "multi",
                "psubscribe",
                "psync",
                "punsubscribe",
                "quit",
                "readonly",
                "readwrite",
                "replconf",
                "reset",
                "select",
                "ssubscribe",
                "subscribe",
                "sunsubscribe",
                "sync",
                "unsubscribe",
                "watch"
            ]
        );
    }

    #[test]
    fn a_learned_command_does_not_share() {
        let mut items = vec![Reply::Bulk("json.get".into()), Reply::Integer(-2)];
        let flags = vec![Reply::Status("readonly".into())];
        items.push(Reply::Array(flags));
        items.extend([1, 1, 1].map(Reply::Integer));
        let mut table = Table::builtin();
        let answer = Reply::Array(vec![Reply::Array(items)]);
        table.extend(learn(&answer, &table).commands).unwrap();
        let id = table.find(b"json.get").unwrap();
        assert_eq!(table.command(id).sharing, Sharing::Stays);
    }

    #[test]
    fn a_stream_is_waited_for_with_block_only() {
        let of = |line: &str| {
            let words: OwnedArgs = split_inline(line.as_bytes()).unwrap();
            Sharing::UnlessBlock.of_request(&words.as_args())
        };
        assert_eq!(of("XREAD COUNT 1 STREAMS s 0\r\n"), Sharing::Shared);
        assert_eq!(of("XREAD blOck 0 STREAMS s 0\r\n"), Sharing::Waits);
        let words = split_inline(b"XREAD COUNT 1 STREAMS s 0\r\n").unwrap();
        let part = words.as_partial(3);
        assert_eq!(Sharing::UnlessBlock.of_request(&part), Sharing::Waits);
    }
}
