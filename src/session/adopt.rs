//! New rules for a session that is at work.

use super::login::Revoked;
use super::pipe::Pipe;
use super::requests::POISON;
use super::rules::Rules;
use super::state::{Flow, OUTDATED, Phase, Session};

// === impl Session ===

impl Session {
    /// Which generation of the rules it obeys.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it has changed the rules itself, and takes no requests until it has adopted them.
    pub fn has_changed_rules(&self) -> bool {
        self.generation == OUTDATED
    }

    /// Obeys these rules from now on. What was judged by the old ones and is on its way stays so,
    /// but for an open transaction of a user that has changed: its EXEC would run commands that
    /// this user may not run any more, so Redis is made to refuse it.
    ///
    /// # Errors
    /// [`Revoked`]: there is no such user any more, or it is off. The session is over, and its
    /// upstream connection must get no more byte: it may hold the beginning of a request.
    pub fn adopt(&mut self, rules: &Rules, up: &mut Pipe) -> Result<(), Revoked> {
        self.generation = rules.generation();
        let changed = self.login.renew(rules.policy())?;
        self.set_limits(rules);
        if changed {
            self.spoil_transaction(up);
        }
        Ok(())
    }

    /// Sends a command that fails, so that a transaction that is or may be open can't be run. In
    /// the middle of a request there is no place for one: then it follows at its end.
    pub(super) fn spoil_transaction(&mut self, up: &mut Pipe) {
        if self.phase != Phase::Attached || !self.may_be_in_multi() {
            return;
        }
        if matches!(self.flow, Flow::Forwarding(_)) {
            self.spoil_after_tail = true;
            return;
        }
        up.inject(POISON);
        // Its error is nobody's: the client sent nothing for it.
        self.slots.push_poison(&[]);
    }
}
