//! How a session treats each command, beyond asking policy.

use crate::command::{Command, CommandId, Flag, Gate, Sharing, Table};

use crate::rewrite::Answer;

use super::place::Target;
use super::pubsub::{Audience, EVERY, Listen};
use super::shim::Shim;
use super::slots::Transaction;

/// What is special about a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// One reply, passed on.
    Plain,
    /// One reply, when others have done something.
    Blocking,
    Auth,
    Hello,
    Quit,
    Reset,
    /// ACL and all its subcommands.
    Acl,
    Transaction(Transaction),
    /// WATCH, or UNWATCH.
    Watch(bool),
    /// WAIT and WAITAOF: one reply, of what was written on this very connection.
    Wait,
    /// SELECT. Of which database, only a request tells.
    Select(Target),
    /// It runs or loads code, EVALSHA among others.
    Script,
    /// The user's pinned script of this number is called by its hash. Only a request tells.
    Pinned(u32),
    /// SCRIPT FLUSH.
    ScriptFlush,
    /// CLIENT REPLY.
    ClientReply,
    /// SUBSCRIBE and all its kin. How many confirmations follow, only a request tells.
    Listen(Listen),
    Monitor,
    /// SYNC and PSYNC.
    Sync,
    Replconf,
    /// It has no reply.
    Unanswered,
    /// One reply, which names addresses.
    Answer(Answer),
    /// What an old upstream lacks, and the proxy can answer for it.
    Shim(Shim),
    /// Its replies are not one for one.
    Unsupported,
}

/// The kind of every command of a table.
#[derive(Debug)]
pub(super) struct Kinds(Vec<Kind>);

// === impl Kinds ===

impl Kinds {
    pub(super) fn of(table: &Table) -> Self {
        let kind = |command: &Command| match &*command.name {
            "auth" => Kind::Auth,
            "hello" => Kind::Hello,
            "quit" => Kind::Quit,
            "reset" => Kind::Reset,
            "multi" => Kind::Transaction(Transaction::Multi),
            "exec" => Kind::Transaction(Transaction::Exec),
            "discard" => Kind::Transaction(Transaction::Discard),
            "watch" => Kind::Watch(true),
            "unwatch" => Kind::Watch(false),
            "select" => Kind::Select(Target::UNKNOWN),
            "script|flush" => Kind::ScriptFlush,
            "client|reply" => Kind::ClientReply,
            "acl" => Kind::Acl,
            name if name.starts_with("acl|") => Kind::Acl,
            "subscribe" => listen(Audience::Channels, true),
            "unsubscribe" => listen(Audience::Channels, false),
            "psubscribe" => listen(Audience::Patterns, true),
            "punsubscribe" => listen(Audience::Patterns, false),
            "ssubscribe" => listen(Audience::Shards, true),
            "sunsubscribe" => listen(Audience::Shards, false),
            "monitor" => Kind::Monitor,
            "sync" | "psync" => Kind::Sync,
            "replconf" => Kind::Replconf,
            // The debugger speaks a protocol of its own.
            "script|debug" => Kind::Unsupported,
            // What a module publishes, subscribes to or pushes is known to nobody here.
            _ if command.learned && command.flags.contains(Flag::Pubsub) => Kind::Unsupported,
            _ if is_code(command.gate) => Kind::Script,
            _ if command.sharing == Sharing::Counts => Kind::Wait,
            _ if command.flags.contains(Flag::Blocking) => Kind::Blocking,
            name => {
                let shim = Shim::of(name).map(Kind::Shim);
                let answer = || Answer::of(name).map(Kind::Answer);
                shim.or_else(answer).unwrap_or(Kind::Plain)
            }
        };
        Self(table.iter().map(|(_, command)| kind(command)).collect())
    }

    #[inline]
    pub(super) fn get(&self, id: CommandId) -> Kind {
        self.0[id.index()]
    }
}

fn listen(to: Audience, on: bool) -> Kind {
    Kind::Listen(Listen {
        to,
        on,
        left: EVERY,
    })
}

fn is_code(gate: Gate) -> bool {
    matches!(
        gate,
        Gate::Script | Gate::ScriptHash | Gate::ScriptLoad | Gate::Code
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::learn;
    use crate::resp::Reply;

    #[test]
    fn a_learned_command_that_subscribes_is_not_supported() {
        let entry = |name: &'static str, flag: &'static str| {
            let mut items = vec![Reply::Bulk(name.into()), Reply::Integer(-1)];
            items.push(Reply::Array(vec![Reply::Status(flag.into())]));
            items.extend([0, 0, 0].map(Reply::Integer));
            Reply::Array(items)
        };
        let mut table = Table::builtin();
        let answer = Reply::Array(vec![
            entry("x.listen", "pubsub"),
            entry("x.wait", "blocking"),
        ]);
        table.extend(learn(&answer, &table).commands).unwrap();
        let kinds = Kinds::of(&table);
        let kind = |name: &str| kinds.get(table.find(name.as_bytes()).unwrap());
        assert_eq!(kind("x.listen"), Kind::Unsupported);
        assert_eq!(kind("x.wait"), Kind::Blocking);
        // The table's own are known.
        assert_eq!(kind("publish"), Kind::Plain);
    }
}
