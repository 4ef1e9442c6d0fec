//! The shape of the generated data.

use super::category::Category;
use super::flags::Flag;
use super::keys::{Begin, Find};

/// One command or subcommand as a server describes it.
pub(super) struct Record {
    /// In full and lower case: `config|set`.
    pub(super) name: &'static str,
    /// Redis' arity: the name counts; negative means at least.
    pub(super) arity: i16,
    /// The version that introduced it; empty where the server does not say.
    pub(super) since: &'static str,
    pub(super) flags: &'static [Flag],
    pub(super) categories: &'static [Category],
    pub(super) keys: &'static [Spec],
}

/// One of Redis' key specs.
pub(super) struct Spec {
    pub(super) begin: Begin,
    pub(super) find: Find,
    pub(super) flags: &'static [KeyFlag],
}

/// What a key spec says about its keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyFlag {
    /// Reads the key's value or its metadata.
    Ro,
    /// Reads and overwrites.
    Rw,
    /// Overwrites, never reads.
    Ow,
    /// Removes the key.
    Rm,
    /// Returns, copies or otherwise uses what is stored.
    Access,
    /// Changes what is stored.
    Update,
    /// Adds, without changing what is stored.
    Insert,
    /// Deletes some or all of what is stored.
    Delete,
    /// A place that cluster routing treats as a key: a shard channel.
    NotKey,
    /// The spec does not find every key.
    Incomplete,
    /// The flags depend on further arguments.
    VariableFlags,
}

// === impl KeyFlag ===

impl KeyFlag {
    /// By the word that `COMMAND` of Redis 7 and later uses.
    pub(super) fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"RO" => Self::Ro,
            b"RW" => Self::Rw,
            b"OW" => Self::Ow,
            b"RM" => Self::Rm,
            b"access" => Self::Access,
            b"update" => Self::Update,
            b"insert" => Self::Insert,
            b"delete" => Self::Delete,
            b"not_key" => Self::NotKey,
            b"incomplete" => Self::Incomplete,
            b"variable_flags" => Self::VariableFlags,
            _ => return None,
        })
    }
}

// The functions make a line of the generated file readable in a diff.

pub(super) const fn index(at: u16, find: Find, flags: &'static [KeyFlag]) -> Spec {
    Spec {
        begin: Begin::Index(at),
        find,
        flags,
    }
}

pub(super) const fn keyword(
    word: &'static str,
    from: i16,
    find: Find,
    flags: &'static [KeyFlag],
) -> Spec {
    Spec {
        begin: Begin::Keyword { word, from },
        find,
        flags,
    }
}

pub(super) const fn unknown(flags: &'static [KeyFlag]) -> Spec {
    Spec {
        begin: Begin::Unknown,
        find: Find::Unknown,
        flags,
    }
}

pub(super) const fn range(last: i16, step: u16, limit: u16) -> Find {
    Find::Range { last, step, limit }
}

pub(super) const fn keynum(count: u16, first: u16, step: u16) -> Find {
    Find::Keynum { count, first, step }
}
