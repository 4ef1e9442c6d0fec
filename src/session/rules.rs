//! Everything that requests are judged by, as one value that can be swapped whole.

use std::sync::Arc;

use crate::command::{Command, Table, TableError, merge};
use crate::policy::{Policy, Shadow};
use crate::resp::Limits;
use crate::rewrite::{Names, RewriteError};

use super::kind::Kinds;

/// The command table, the names, the users and the limits of one generation.
#[derive(Debug)]
pub struct Rules {
    base: Arc<Base>,
    policy: Policy,
    shadow: Shadow,
    generation: u64,
}

/// What a change of users doesn't touch.
#[derive(Debug)]
struct Base {
    table: Table,
    names: Names,
    kinds: Kinds,
    limits: Limits,
    max_inspect: usize,
}

/// Why what an upstream has besides can't be learned.
#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    /// The table can't hold it.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The configuration has given one of the names to something else.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Names(Vec<RewriteError>),
}

// === impl Rules ===

impl Rules {
    /// The first generation. `limits` hold after AUTH; `max_inspect` bytes of one request may wait
    /// for its verdict.
    pub fn new(
        table: Table,
        names: Names,
        policy: Policy,
        limits: Limits,
        max_inspect: usize,
    ) -> Self {
        let kinds = Kinds::of(&table);
        let base = Base {
            table,
            names,
            kinds,
            limits,
            max_inspect,
        };
        Self {
            base: Arc::new(base),
            policy,
            shadow: Shadow::Nobody,
            generation: 1,
        }
    }

    /// The same, where the policy is only tried on some users.
    #[must_use]
    pub fn with_shadow(self, shadow: Shadow) -> Self {
        Self { shadow, ..self }
    }

    /// The next generation: other users, all else as it is.
    #[must_use]
    pub fn with_policy(&self, policy: Policy) -> Self {
        Self {
            base: Arc::clone(&self.base),
            policy,
            shadow: self.shadow.clone(),
            generation: self.generation + 1,
        }
    }

    /// The same, as the generation that follows `before`.
    #[must_use]
    pub fn following(self, before: &Self) -> Self {
        Self {
            generation: before.generation + 1,
            ..self
        }
    }

    /// Whether commands have the same numbers and names in both, so that the users of one may be put
    /// under the other.
    pub fn names_the_same(&self, other: &Self) -> bool {
        self.names().says_the_same(other.names()) && self.table().iter().eq(other.table().iter())
    }

    /// Whether commands that are built in or declared here are unknown to the rules that come later.
    pub fn lacks_later(&self, later: &Self) -> bool {
        let known = self.table().iter().map(|(_, command)| command);
        let mut own = known.filter(|command| !command.learned);
        own.any(|command| later.table().find_full(&command.name).is_none())
    }

    /// What was learned from upstreams.
    pub fn learned(&self) -> Vec<Command> {
        let known = self.table().iter().map(|(_, command)| command);
        known.filter(|command| command.learned).cloned().collect()
    }

    /// The next generation, which knows what an upstream has besides. What was learned before stays:
    /// a rule that takes a module's command away must hold when the module comes back. `None`: there
    /// is nothing new.
    ///
    /// # Errors
    /// It can't be known under these names, or there is no room for it.
    pub fn taught(&self, commands: &[Command]) -> Result<Option<Self>, TeachError> {
        let table = self
            .table()
            .taught(merge([self.learned(), commands.to_vec()]))?;
        if table.iter().eq(self.table().iter()) {
            return Ok(None);
        }
        let names = self.names().over(&table).map_err(TeachError::Names)?;
        let policy = self.policy.recompiled(&table);
        let base = Base {
            names,
            kinds: Kinds::of(&table),
            limits: self.base.limits,
            max_inspect: self.base.max_inspect,
            table,
        };
        Ok(Some(Self {
            base: Arc::new(base),
            policy,
            shadow: self.shadow.clone(),
            generation: self.generation + 1,
        }))
    }

    /// The command table.
    #[inline]
    pub fn table(&self) -> &Table {
        &self.base.table
    }

    /// The names that clients use.
    #[inline]
    pub fn names(&self) -> &Names {
        &self.base.names
    }

    /// The users.
    #[inline]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// On whom the policy is only tried.
    #[inline]
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// Which generation this is: no two that are in force one after the other have the same.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    #[inline]
    pub(super) fn kinds(&self) -> &Kinds {
        &self.base.kinds
    }

    pub(super) fn limits(&self) -> Limits {
        self.base.limits
    }

    pub(super) fn max_inspect(&self) -> usize {
        self.base.max_inspect
    }
}
