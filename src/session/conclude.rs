//! What becomes of a request that is not forwarded: its reply in its place, and what it has changed.

use bytes::BytesMut;

use crate::command::{Class, Resolved};
use crate::policy::Permit;
use crate::resp::{Args, ProtocolError, encode_request};

use super::errands::Waiting;
use super::host::Host;
use super::known::{Mode, Standing};
use super::outcome::Refusal;
use super::own::Answered;
use super::pipe::Pipe;
use super::prepare::{Action, Taking, refuse};
use super::rules::Rules;
use super::slots::Slot;
use super::state::{OUTDATED, Phase, Session};
use super::tally::Tally;

/// A scratch larger than this is given back: there are many sessions that wait. Only lists of users
/// are larger.
const KEPT_SCRATCH: usize = 1024;

/// A command that fails in every version and does nothing: inside MULTI it stands for a refused
/// one, so that Redis itself spoils the transaction.
pub(super) const POISON: &[u8] = b"*1\r\n$4\r\nECHO\r\n";

/// What ends a transaction in the place of an EXEC that is refused.
const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";

// === impl Session ===

impl Session {
    /// Concludes what is not forwarded, and counts it if the proxy has answered it itself. A login
    /// counts for whom it has made of the client, and what came before it for whom the client was.
    #[cold]
    pub(super) fn conclude_counted(
        &mut self,
        action: Action<'_>,
        class: Option<Class>,
        taking: &mut Taking<'_, impl Host>,
        up: &mut Pipe,
        down: &mut Pipe,
    ) {
        let may_change_user = match &action {
            Action::Answered(answered, _) => answered.may_change_user(),
            _ => false,
        };
        if may_change_user {
            taking.host.counted(&self.tally);
            self.tally = Tally::default();
        }
        self.conclude(action, taking.rules, up, down);
        if may_change_user {
            taking.host.acts_as(self.login.user());
        }
        if let Some(class) = class {
            self.tally.add(class);
        }
    }

    /// Puts what is in the scratch where the client's next reply is due. The request is off `up`.
    fn conclude(&mut self, action: Action<'_>, rules: &Rules, up: &mut Pipe, down: &mut Pipe) {
        match action {
            Action::Refuse(refusal)
                if refusal.is_fatal() || self.known.mode == Mode::Replicating =>
            {
                // A request whose head is with the upstream is never answered.
                self.end();
                if self.known.mode != Mode::Replicating {
                    self.reply_local(down);
                }
                up.discard_input();
            }
            Action::Refuse(_) if self.may_be_in_multi() => {
                up.inject(POISON);
                self.slots.push_poison(&self.scratch);
            }
            Action::Refuse(_) => self.reply_local(down),
            Action::Abort => {
                up.inject(DISCARD);
                self.slots.push_abort(&self.scratch);
            }
            Action::Answered(answered, _) => {
                return self.conclude_own(answered, rules, up, down);
            }
            Action::Forward(..) | Action::Wait | Action::Hold | Action::NotNow => {}
        }
        self.silence.spend(&mut self.slots);
    }

    /// The same for what the proxy has answered itself.
    fn conclude_own(&mut self, answered: Answered, rules: &Rules, up: &mut Pipe, down: &mut Pipe) {
        match answered {
            Answered::Silence(wish) => {
                self.silence.take(wish, &mut self.slots);
                // This is not the request that SKIP means.
                return self.reply_local(down);
            }
            Answered::Hello(protocol, name) => {
                self.set_limits(rules);
                self.doubt_listening();
                let is_named = name.is_some();
                self.routing.name = name.or_else(|| self.routing.name.take());
                let is_login = self.phase == Phase::Detached && self.routing.shares();
                if let Some(protocol) = protocol.filter(|_| self.routing.rides() || is_login) {
                    // It goes on, or begins, with a connection that speaks it already.
                    self.known.protocol = protocol;
                }
                up.inject(&self.scratch);
                self.slots.push(Slot::Hello(protocol));
                if is_named {
                    self.rename_own(up);
                }
            }
            Answered::LoggedIn { name } => {
                self.reply_local(down);
                self.set_limits(rules);
                self.doubt_listening();
                match name {
                    Some(name) if self.phase == Phase::Attached && !self.routing.shares() => {
                        self.send_name(&name, up);
                    }
                    Some(name) => {
                        self.routing.name = Some(name);
                        self.rename_own(up);
                    }
                    None => {}
                }
            }
            Answered::Named(name) => {
                self.routing.name = name;
                self.reply_local(down);
                self.rename_own(up);
            }
            Answered::Acl { outdated } => {
                self.reply_local(down);
                if outdated {
                    self.generation = OUTDATED;
                }
            }
            Answered::Begun(errand) => {
                self.waiting = Some(Waiting::Errand(errand));
                return;
            }
            Answered::NotNow => return,
            Answered::Told => self.reply_local(down),
            Answered::Quit => {
                self.reply_local(down);
                self.end();
            }
            Answered::Reset => {
                self.login.reset(rules.policy());
                self.set_limits(rules);
                self.routing.name = None;
                self.phase = Phase::Resetting;
            }
        }
        self.silence.spend(&mut self.slots);
    }

    /// The user may be another one: whether it may hear what this client listens to is looked up
    /// before anything else is done.
    fn doubt_listening(&mut self) {
        if self.is_listening() || self.known.subscriptions.may_be_any() {
            self.generation = OUTDATED;
            self.has_changed_user = true;
        }
    }

    /// Our own reply in its place: at once if nothing is owed before it.
    pub(super) fn reply_local(&mut self, down: &mut Pipe) {
        // In the midst of a message there is no place for it.
        if self.slots.is_empty() && self.piece.is_none() {
            if !self.muted {
                down.inject(&self.scratch);
            }
        } else if !self.scratch.is_empty() {
            self.slots.push_local(&self.scratch);
        }
        if self.scratch.capacity() > KEPT_SCRATCH {
            self.scratch = BytesMut::new();
        }
    }

    /// The client's bytes can't be read on: earlier replies, the error, the end.
    pub(super) fn break_off(
        &mut self,
        error: ProtocolError,
        taking: &mut Taking<'_, impl Host>,
        up: &mut Pipe,
        down: &mut Pipe,
    ) {
        let refusal = Refusal::Protocol(error);
        let args = Args::new(&[], &[], 0);
        let standing = Standing {
            slots: &self.slots,
            known: &self.known,
            routing: &self.routing,
        };
        let (scratch, login) = (&mut self.scratch, &self.login);
        refuse(scratch, login, standing, refusal, None, &args, taking);
        self.conclude(Action::Refuse(refusal), taking.rules, up, down);
    }

    /// The client has another name: a connection that it has borrowed has it too. Whoever had it next
    /// would take it to be called as before, so there is no next one.
    fn rename_own(&mut self, up: &mut Pipe) {
        if self.phase == Phase::Attached && self.routing.is_own() {
            let name = self.routing.name.take();
            self.send_name(name.as_deref().unwrap_or_default(), up);
            self.routing.name = name;
            self.routing.spend();
        }
    }

    /// Tells the upstream the client's name, for CLIENT LIST.
    pub(super) fn send_name(&mut self, name: &[u8], up: &mut Pipe) {
        encode_request([&b"CLIENT"[..], b"SETNAME", name].into_iter(), up.staging());
        self.slots.push(Slot::Swallow);
    }
}

/// The class of a command that the proxy has answered itself and that is allowed; else `None`.
#[cold]
pub(super) fn class_of(action: &Action<'_>, args: &Args<'_>, rules: &Rules) -> Option<Class> {
    let Action::Answered(_, permit) = action else {
        return None;
    };
    if permit.is_some_and(Permit::is_shadow) {
        // The host has counted it.
        return None;
    }
    let entry = rules.names().find(args.name());
    let judged = entry.and_then(|entry| Some((entry, entry.judged(args)?)));
    let resolved = judged.map(|(entry, judged)| entry.resolve(&judged, rules.table()));
    Some(match resolved {
        Some(Resolved::Command(id)) => rules.table().command(id).class,
        _ => Class::Other,
    })
}
