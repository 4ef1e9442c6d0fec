//! How a session treats each command, beyond asking policy.

use crate::command::{CommandId, Flag, Table};

use super::place::Target;
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
    Transaction(Transaction),
    /// SELECT. Of which database, only a request tells.
    Select(Target),
    /// CLIENT REPLY: ON has a reply, OFF and SKIP have none.
    ClientReply,
    /// Its replies are not one for one.
    Unsupported,
}

/// The kind of every command of a table.
#[derive(Debug)]
pub(super) struct Kinds(Vec<Kind>);

// === impl Kinds ===

impl Kinds {
    pub(super) fn of(table: &Table) -> Self {
        let kind = |name: &str, blocking: bool| match name {
            "auth" => Kind::Auth,
            "hello" => Kind::Hello,
            "quit" => Kind::Quit,
            "reset" => Kind::Reset,
            "multi" => Kind::Transaction(Transaction::Multi),
            "exec" => Kind::Transaction(Transaction::Exec),
            "discard" => Kind::Transaction(Transaction::Discard),
            "select" => Kind::Select(Target::UNKNOWN),
            "client|reply" => Kind::ClientReply,
            "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe"
            | "sunsubscribe" | "monitor" | "sync" | "psync" | "replconf" | "client|tracking"
            | "script|debug" => Kind::Unsupported,
            _ if blocking => Kind::Blocking,
            _ => Kind::Plain,
        };
        Self(
            table
                .iter()
                .map(|(_, command)| kind(&command.name, command.flags.contains(Flag::Blocking)))
                .collect(),
        )
    }

    #[inline]
    pub(super) fn get(&self, id: CommandId) -> Kind {
        self.0[id.index()]
    }
}
