//! The rules that are in force, and the one place that changes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::command::Command;
use crate::policy::Policy;
use crate::session::{Rules, TeachError};

use super::bell::Bell;
use super::generation::{Fingerprint, Generation, Settings};

/// Keeps the rules. Reading them takes no lock; changes take turns, and each wakes every session.
#[derive(Debug)]
pub struct Keeper {
    current: ArcSwap<Generation>,
    writer: Mutex<Writer>,
    bell: Arc<Bell>,
}

/// What only a change needs.
#[derive(Debug)]
struct Writer {
    /// Of the ACL files, as they were last loaded or saved.
    content_hash: String,
    unsaved: BTreeMap<String, Change>,
    /// Somebody loads or saves, which takes its time: no users change meanwhile.
    held: bool,
}

/// What became of a user at run time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was made or changed.
    Set,
    /// It was deleted.
    Deleted,
}

/// A change of some users, ready to be put in force.
#[derive(Debug)]
pub struct Edit<T> {
    /// All users.
    pub policy: Policy,
    /// Those of them that are not as before.
    pub touched: Vec<(String, Change)>,
    /// What the one who asked for it is told.
    pub answer: T,
}

/// What a reload has done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reloaded {
    /// The files say what they said before, and nothing was done.
    pub unchanged: bool,
    /// The users whose run-time changes are lost.
    pub dropped: Vec<String>,
    /// The parts of the configuration that don't say what they said, by their keys.
    pub changed: Vec<String>,
    /// What has changed and takes effect at a restart only, a line each.
    pub stays: Vec<String>,
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(rules: Rules, settings: Settings, bell: Arc<Bell>) -> Self {
        Self {
            writer: Mutex::new(Writer {
                content_hash: rules.policy().content_hash().to_owned(),
                unsaved: BTreeMap::new(),
                held: false,
            }),
            current: ArcSwap::from_pointee(Generation::new(rules, Arc::new(settings))),
            bell,
        }
    }

    /// What is in force, for a moment: one atomic load.
    #[inline]
    pub(super) fn rules(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// What is in force, to be held for longer.
    pub fn snapshot(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Returns whether the caller has it now: then nobody else changes users at run time, or loads or
    /// saves, until it is given back by [`Keeper::release`].
    pub(super) fn hold(&self) -> bool {
        !std::mem::replace(&mut self.writer().held, true)
    }

    /// Gives it back. Who waits for it is woken.
    pub(super) fn release(&self) {
        self.writer().held = false;
        self.bell.ring();
    }

    /// Whether anybody has it.
    pub(super) fn is_held(&self) -> bool {
        self.writer().held
    }

    /// Changes users at run time. No other change comes between what `edit` sees and what it makes
    /// of it. When this returns, the change is in force and every session is on its way to obey. `None`:
    /// not while somebody loads or saves.
    ///
    /// # Errors
    /// Those of `edit`; then nothing has changed.
    pub fn change<T, E>(
        &self,
        edit: impl FnOnce(&Rules) -> Result<Edit<T>, E>,
    ) -> Option<Result<T, E>> {
        let mut writer = self.writer();
        if writer.held {
            return None;
        }
        let rules = self.rules();
        Some(edit(&rules).map(|edit| {
            writer.unsaved.extend(edit.touched);
            self.put_in_force(rules.with_policy(edit.policy), &writer);
            edit.answer
        }))
    }

    /// Learns what an upstream has besides what the table knows. Returns whether there was any.
    ///
    /// # Errors
    /// It can't be learned; then nothing has changed.
    pub(super) fn learn(&self, commands: &[Command]) -> Result<bool, TeachError> {
        let writer = self.writer();
        match self.rules().taught(commands)? {
            Some(rules) => {
                self.put_in_force(rules, &writer);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Puts what `load` makes of the ACL files in the place of all users, run-time changes included: if
    /// `may_drop` agrees to what comes of it. It is told the rules in force, all users to come, and whose
    /// run-time changes will be lost. For who has [`Keeper::hold`]: nobody waits while `load` is at it.
    ///
    /// # Errors
    /// Those of `load` and `may_drop`; then nothing has changed.
    pub(super) fn load<E>(
        &self,
        load: impl FnOnce(&Rules) -> Result<Policy, E>,
        may_drop: impl FnOnce(&Rules, &Policy, &[String]) -> Result<(), E>,
    ) -> Result<Reloaded, E> {
        let before = self.snapshot();
        let loaded = load(&before)?;
        let mut writer = self.writer();
        let rules = self.rules();
        let loaded = under(&rules, loaded, &before);
        let old = rules.policy();
        // A user that is the same as before is the same value: its sessions needn't notice.
        let policy = loaded.reusing(old);
        let dropped = writer.lost(old, &policy);
        may_drop(&rules, &policy, &dropped)?;
        writer.content_hash = loaded.content_hash().to_owned();
        writer.unsaved.clear();
        self.put_in_force(rules.with_policy(policy), &writer);
        Ok(Reloaded {
            dropped,
            ..Reloaded::default()
        })
    }

    /// Puts a whole configuration in force: `loaded` with the settings that `settle` makes, given those
    /// in force. Where the ACL files say what they said before, run-time changes of users stay: an
    /// emergency's `off` must survive the renewal of a certificate.
    ///
    /// # Errors
    /// What was learned from an upstream doesn't fit the new configuration; then nothing has changed.
    pub(super) fn replace(
        &self,
        loaded: Rules,
        fingerprint: Fingerprint,
        settle: impl FnOnce(&Settings) -> Settings,
    ) -> Result<Reloaded, TeachError> {
        let mut writer = self.writer();
        let old = self.rules();
        let content_hash = loaded.policy().content_hash().to_owned();
        let same_users = content_hash == writer.content_hash;
        let same_settings = fingerprint == old.settings().fingerprint;
        if same_users && same_settings {
            return Ok(Reloaded {
                unchanged: true,
                ..Reloaded::default()
            });
        }
        let mut rules = loaded;
        // An upstream may have taught something while the files were read.
        if let Some(taught) = rules.taught(&old.learned())? {
            rules = taught;
        }
        // Under other names or numbers an old user means something else: he is compiled anew.
        let users = if rules.names_the_same(&old) {
            old.policy().clone()
        } else {
            old.policy().recompiled(rules.table())
        };
        let mut dropped = Vec::new();
        let policy = if same_users {
            users
        } else {
            let policy = rules.policy().reusing(&users);
            dropped = writer.lost(&users, &policy);
            writer.content_hash = content_hash;
            writer.unsaved.clear();
            policy
        };
        let rules = rules.with_policy(policy).following(&old);
        let settings = if same_settings {
            Arc::clone(old.settings())
        } else {
            Arc::new(settle(old.settings()))
        };
        self.current
            .store(Arc::new(Generation::new(rules, settings)));
        self.bell.ring();
        Ok(Reloaded {
            dropped,
            ..Reloaded::default()
        })
    }

    /// Writes the users to where a reload reads them, and forgets that they were unsaved. `write` is
    /// told which ones are, and returns what a reload would make of what it has written: users that
    /// say the same as those in force. For who has `Keeper::hold`: nobody waits while `write` is at it.
    ///
    /// # Errors
    /// Those of `write`; then they are unsaved still.
    pub fn save<E>(
        &self,
        write: impl FnOnce(&Rules, &BTreeMap<String, Change>) -> Result<Policy, E>,
    ) -> Result<(), E> {
        let (before, unsaved) = (self.snapshot(), self.unsaved());
        let written = write(&before, &unsaved)?;
        let mut writer = self.writer();
        let rules = self.rules();
        let written = under(&rules, written, &before);
        writer.content_hash = written.content_hash().to_owned();
        writer.unsaved.clear();
        let policy = written.reusing(rules.policy());
        self.put_in_force(rules.with_policy(policy), &writer);
        Ok(())
    }

    /// Of the ACL files, as they were last loaded or saved.
    pub(super) fn content_hash(&self) -> String {
        self.writer().content_hash.clone()
    }

    /// The users that were changed at run time since the last load or save, and would be lost at a
    /// restart.
    pub fn unsaved(&self) -> BTreeMap<String, Change> {
        self.writer().unsaved.clone()
    }

    /// In force first, then rung: whoever is woken finds it.
    fn put_in_force(&self, rules: Rules, _turn: &MutexGuard<'_, Writer>) {
        let settings = Arc::clone(self.rules().settings());
        self.current
            .store(Arc::new(Generation::new(rules, settings)));
        self.bell.ring();
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A change that panicked has not come to its swap: what is here is in force.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users that were compiled under the rules `before`: an upstream may have taught something meanwhile.
fn under(rules: &Rules, users: Policy, before: &Rules) -> Policy {
    match rules.generation() == before.generation() || rules.names_the_same(before) {
        true => users,
        false => users.recompiled(rules.table()),
    }
}

// === impl Writer ===

impl Writer {
    /// Whose run-time changes are lost when `new` takes the place of `old`.
    fn lost(&self, old: &Policy, new: &Policy) -> Vec<String> {
        let is_lost = |name: &&String| match (old.user(name), new.user(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() || new.is_some(),
        };
        self.unsaved.keys().filter(is_lost).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
