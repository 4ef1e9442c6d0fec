//! Everything that requests are judged by, as one value that can be swapped whole.

use crate::command::Table;
use crate::policy::Policy;
use crate::resp::Limits;
use crate::rewrite::Names;

use super::kind::Kinds;

/// The command table, the names, the users and the limits of one generation.
#[derive(Debug)]
pub struct Rules {
    pub(super) table: Table,
    pub(super) names: Names,
    pub(super) policy: Policy,
    pub(super) kinds: Kinds,
    pub(super) limits: Limits,
    pub(super) max_inspect: usize,
}

// === impl Rules ===

impl Rules {
    /// `limits` hold after AUTH; `max_inspect` bytes of one request may wait for its verdict.
    pub fn new(
        table: Table,
        names: Names,
        policy: Policy,
        limits: Limits,
        max_inspect: usize,
    ) -> Self {
        let kinds = Kinds::of(&table);
        Self {
            table,
            names,
            policy,
            kinds,
            limits,
            max_inspect,
        }
    }

    /// The command table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The names that clients use.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The users.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
