//! New rules for a session that is at work.

use std::sync::Arc;

use crate::identity::Identity;
use crate::policy::{Selector, User};

use super::conclude::POISON;
use super::errands::Waiting;
use super::known::Mode;
use super::login::Revoked;
use super::pipe::Pipe;
use super::replicate::may_sync;
use super::rules::Rules;
use super::state::{Flow, OUTDATED, Phase, Session};

// === impl Session ===

impl Session {
    /// Which generation of the rules it obeys.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it has changed the rules itself, or is about to, and takes no requests until it has
    /// adopted them.
    pub fn has_changed_rules(&self) -> bool {
        self.generation == OUTDATED || matches!(self.waiting, Some(Waiting::Errand(_)))
    }

    /// Who the client is by the identity rules of now.
    ///
    /// # Errors
    /// [`Revoked::Identity`]: it can't go on as the user that it acts as. As [`Session::adopt`].
    pub fn identify(&mut self, identity: Identity) -> Result<(), Revoked> {
        self.login.identify(identity)
    }

    /// Obeys these rules from now on. What was judged by the old ones and is on its way stays so,
    /// but for an open transaction of a user that has changed: its EXEC would run commands that
    /// this user may not run any more, so Redis is made to refuse it.
    ///
    /// # Errors
    /// [`Revoked`]: there is no such user any more, or it is off, or may not hear any more what the
    /// upstream tells this client unasked. The session is over, and its upstream connection must get
    /// no more byte: it may hold the beginning of a request.
    pub fn adopt(&mut self, rules: &Rules, up: &mut Pipe) -> Result<(), Revoked> {
        self.generation = rules.generation();
        let before = self.login.user().map(Arc::clone);
        let changed = self.login.renew(rules.policy())?;
        self.set_limits(rules);
        let now = self.login.user();
        let in_shadow = now.is_some_and(|user| rules.shadow().covers(user.name()));
        // What shadow mode let into a transaction doesn't run once it has ended.
        if changed || self.was_overruled && !in_shadow {
            self.spoil_transaction(up);
        }
        if in_shadow {
            return Ok(());
        }
        // Who is another user since its last AUTH has no rights that it could keep; nor has who was let
        // listen by shadow mode.
        let before = before.filter(|_| !self.has_changed_user && !self.was_overruled);
        (self.has_changed_user, self.was_overruled) = (false, false);
        self.may_listen_on(before.as_deref(), rules)
    }

    /// Whether the user may hold what this client listens to. Redis too kills the subscribers that
    /// lose a channel; monitors and replicas it forgets. `before`: the user as it was when all that was
    /// allowed.
    fn may_listen_on(&self, before: Option<&User>, rules: &Rules) -> Result<(), Revoked> {
        let Some(user) = self.login.user() else {
            // After a RESET all of it goes with the upstream connection.
            return Ok(());
        };
        let subscriptions = &self.known.subscriptions;
        let selectors = user.selectors();
        let hears_all = selectors.iter().any(Selector::allows_all_channels);
        let hears = |name: &[u8], is_pattern: bool| {
            let mut selectors = selectors.iter();
            selectors.any(|selector| selector.allows_channel(name, is_pattern))
        };
        // Where there are more names than are known, no pattern may be lost.
        let keeps_all = || before.is_some_and(|before| keeps_channels(before, user));
        if subscriptions.may_be_any()
            && !hears_all
            && !subscriptions.are_within(hears)
            && !keeps_all()
        {
            return Err(Revoked::Channel);
        }
        let table = rules.table();
        let may_monitor = || {
            let id = table.find(b"monitor");
            id.is_some_and(|id| selectors.iter().any(|one| one.allows_command(id)))
        };
        let may_replicate = || {
            let mut ids = [b"psync".as_slice(), b"sync"].into_iter();
            ids.any(|name| table.find(name).is_some_and(|id| may_sync(user, id)))
        };
        let (monitors, replicates) = match self.known.mode {
            Mode::Monitoring => (true, false),
            Mode::Replicating => (false, true),
            Mode::Requests => self.slots.takeovers(),
        };
        if monitors && !may_monitor() || replicates && !may_replicate() {
            return Err(Revoked::Command);
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

/// Whether every channel pattern of the one user, word by word, is the other's too.
fn keeps_channels(before: &User, now: &User) -> bool {
    let patterns = |user: &User| {
        let rules = user.selectors().iter().map(Selector::describe_channels);
        rules.collect::<Vec<_>>().join(&b' ')
    };
    let now = patterns(now);
    patterns(before)
        .split(|&byte| byte == b' ')
        .filter(|old| !old.is_empty())
        .all(|old| now.split(|&byte| byte == b' ').any(|new| new == old))
}
