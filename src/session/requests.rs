//! From the client to the upstream: scan, judge, and forward, rewrite or refuse.

use crate::resp::{
    Args, ProtocolError, Scan, encode_bulk, encode_header, encode_request, split_inline,
};
use crate::rewrite::Replacement;

use super::conclude::class_of;
use super::errands::Waiting;
use super::facts::{Facts, Version};
use super::host::Host;
use super::kind::Kind;
use super::known::{Known, Standing};
use super::outcome::Refusal;
use super::pipe::Pipe;
use super::place::Place;
use super::prepare::{Action, Taking, prepare, refuse};
use super::route::route;
use super::routing::MOST_SHARED;
use super::rules::Rules;
use super::scripts::Way;
use super::slots::Slot;
use super::state::{Flow, OUTDATED, Phase, Session};
use super::tally::Tally;

/// A request that is this long and not whole gets its verdict early, so that large values stream.
/// Smaller ones are waited for: they nearly always end in the next read, and one that breaks off
/// after its first bytes were forwarded costs the upstream connection.
const STREAM_AT: usize = 16 * 1024;

/// Replies of our own, and slots, that a client may leave untaken before it is not read any more:
/// room for the refusals of a pipeline of 100,000 commands, or for two million transactions' slots.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// The same before AUTH, where a client has few replies to wait for, and there may be many clients
/// that are nobody.
const MAX_HELD_UNAUTHENTICATED: usize = 64 * 1024;

/// Up to here a blank line or an empty array is the request whose reply a CLIENT REPLY SKIP drops.
const EMPTY_SPENDS_NOTHING: Version = Version::new(8, 0, 0);

// === impl Session ===

impl Session {
    /// Takes what has come from the client: forwards to `up`, answers into `down`. Behind a change of
    /// the rules of its own making it takes no more until it has adopted the new ones.
    pub fn receive(
        &mut self,
        rules: &Rules,
        facts: &Facts,
        up: &mut Pipe,
        down: &mut Pipe,
        host: &mut impl Host,
    ) {
        let mut taking = Taking {
            oversight: host.oversight(),
            rules,
            facts,
            host,
        };
        // Nothing is held where nothing is left, and most reads end with a request.
        while !up.unscanned().is_empty() && self.takes_requests(down) && self.generation != OUTDATED
        {
            if self.allowance == 0 && !self.must_go_on() {
                break;
            }
            self.holding = false;
            self.routing.look_again();
            let going_on = match self.flow {
                Flow::Requests => {
                    let taken = self.take_request(&mut taking, up, down);
                    let count = u64::from(!matches!(taken, Ok(false)));
                    self.allowance = self.allowance.saturating_sub(count);
                    taken
                }
                Flow::Forwarding(_) | Flow::Draining(_) => self.take_tail(up),
            };
            match going_on {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.break_off(error, &mut taking, up, down),
            }
        }
        if !self.tally.is_empty() {
            taking.host.counted(&self.tally);
            self.tally = Tally::default();
        }
    }

    /// Whether something has begun that is taken to its end, whoever is to wait.
    #[cold]
    fn must_go_on(&self) -> bool {
        self.is_streaming() || self.routing.is_in_convoy()
    }

    /// Whether more of the client's bytes are of use now.
    pub fn takes_requests(&self, down: &Pipe) -> bool {
        let phase = match self.phase {
            Phase::Attached => true,
            Phase::Detached => !self.is_authenticated(),
            Phase::Resetting | Phase::Ended => false,
        };
        let most = if self.is_authenticated() {
            MAX_HELD
        } else {
            MAX_HELD_UNAUTHENTICATED
        };
        let held_up = self.waiting.is_some()
            || self.slots.takeover_pending()
            || self.holding && self.waits_for_replies()
            || self.routing.holds_up(&self.slots);
        // A transaction whose beginning was taken is taken to its end.
        let has_room = self.slots.held() + down.waiting() < most || self.routing.is_in_convoy();
        phase && !held_up && has_room
    }

    /// Whether what the request at the front was held back for may still be on its way.
    fn waits_for_replies(&self) -> bool {
        // Where it may lead to another connection, HELLO waits for all that is owed on this one.
        let may_change = self.routing.rides() && !self.slots.is_empty();
        self.standing().is_settling() || self.slots.scripts() > 0 || may_change
    }

    /// The rest of a request whose verdict is known. Returns whether to go on.
    fn take_tail(&mut self, up: &mut Pipe) -> Result<bool, ProtocolError> {
        let (Flow::Forwarding(tail) | Flow::Draining(tail)) = &mut self.flow else {
            return Ok(true);
        };
        let step = tail.advance(up.unscanned())?;
        if matches!(self.flow, Flow::Forwarding(_)) {
            up.forward(step.consumed);
        } else {
            up.skip(step.consumed);
        }
        if step.done {
            self.flow = Flow::Requests;
            if std::mem::take(&mut self.spoil_after_tail) {
                self.spoil_transaction(up);
            }
        }
        Ok(step.done)
    }

    /// The request at the front of `up`, or what is here of it. Returns whether to go on.
    #[inline]
    fn take_request(
        &mut self,
        taking: &mut Taking<'_, impl Host>,
        up: &mut Pipe,
        down: &mut Pipe,
    ) -> Result<bool, ProtocolError> {
        match self.scanner.scan(up.unscanned())? {
            Scan::Request => Ok(self.take_scanned(true, taking, up, down)),
            Scan::Incomplete => {
                // A long request gets its verdict as soon as it can be given.
                let held = up.unscanned().len();
                let long =
                    self.scanner.declared() > 0 && held >= self.inspect_at.max(self.stream_at());
                Ok(long && self.take_scanned(false, taking, up, down))
            }
            Scan::Empty => {
                up.skip(self.scanner.consumed());
                self.scanner.reset();
                self.take_empty(taking.facts);
                Ok(true)
            }
            Scan::Inline => self.take_inline(taking, up, down),
        }
    }

    /// How much of a request must be here before its verdict is asked for though it isn't whole. What
    /// may be shared is waited for: nothing of it goes anywhere before its end is here.
    fn stream_at(&self) -> usize {
        if self.routing.rides() && self.scanner.least() <= MOST_SHARED {
            MOST_SHARED
        } else {
            STREAM_AT
        }
    }

    /// The request that was scanned, whole or its beginning. Returns whether it was taken.
    #[inline]
    fn take_scanned(
        &mut self,
        whole: bool,
        taking: &mut Taking<'_, impl Host>,
        up: &mut Pipe,
        down: &mut Pipe,
    ) -> bool {
        let args = self.scanner.args(up.unscanned());
        let standing = Standing {
            slots: &self.slots,
            known: &self.known,
            routing: &self.routing,
        };
        let (scratch, login) = (&mut self.scratch, &mut self.login);
        let mut action = prepare(scratch, login, standing, self.id, &args, taking);
        if matches!(action, Action::Wait) {
            let held = up.unscanned().len();
            if held < taking.rules.max_inspect() {
                // Asking again at every read would be quadratic in the request's length.
                self.inspect_at = (held * 2).min(taking.rules.max_inspect());
                return false;
            }
            let refusal = Refusal::TooLarge;
            let (scratch, login) = (&mut self.scratch, &self.login);
            let entry = taking.rules.names().find(args.name());
            refuse(scratch, login, standing, refusal, entry, &args, taking);
            action = Action::Refuse(refusal);
        }
        if matches!(action, Action::NotNow) {
            self.waiting = Some(Waiting::Turn);
            return false;
        }
        let len = self.scanner.consumed();
        if self.routing.shares() {
            let rest = up.unscanned().get(len..).unwrap_or_default();
            let here = (whole.then_some(len), rest);
            let (routing, login) = (&mut self.routing, &self.login);
            let whose = (login, &self.slots, &self.known);
            action = route(
                action,
                &args,
                here,
                routing,
                whose,
                &mut self.scratch,
                taking,
            );
        }
        note_listening(&action, &args, &mut self.known);
        let Some(is_overruled) = self.tell_action(&action, &args, taking) else {
            self.holding = true;
            return false;
        };
        self.was_overruled |= is_overruled;
        let forwarded = match action {
            Action::Hold => {
                self.holding = true;
                return false;
            }
            Action::Forward(permit, kind, entry) => {
                let class = taking.rules.table().command(permit.command()).class;
                let is_shadow = permit.is_shadow();
                match (self.owe(kind, taking.facts, up), entry.replacement()) {
                    (Way::NotYet, _) => {
                        self.holding = true;
                        return false;
                    }
                    (Way::Spelled(script), _) => {
                        self.forward_spelled(script, entry, taking.rules, up);
                    }
                    (Way::AsItIs, None) => up.forward(len),
                    (Way::AsItIs, Some(replacement)) => self.forward_replaced(replacement, up),
                }
                if !is_shadow {
                    self.tally.add(class);
                }
                self.silence.spend(&mut self.slots);
                true
            }
            action => {
                let class = class_of(&action, &self.scanner.args(up.unscanned()), taking.rules);
                up.skip(len);
                self.conclude_counted(action, class, taking, up, down);
                false
            }
        };
        self.taken += 1;
        if whole {
            self.routing.took();
            self.scanner.reset();
            return true;
        }
        self.inspect_at = 0;
        let tail = self.scanner.take_tail();
        self.flow = if forwarded {
            Flow::Forwarding(tail)
        } else {
            Flow::Draining(tail)
        };
        true
    }

    /// An inline request: split as Redis does, judged, and sent on in canonical form.
    fn take_inline(
        &mut self,
        taking: &mut Taking<'_, impl Host>,
        up: &mut Pipe,
        down: &mut Pipe,
    ) -> Result<bool, ProtocolError> {
        let len = self.scanner.consumed();
        let words = split_inline(&up.unscanned()[..len])?;
        self.scanner.reset();
        let args = words.as_args();
        if args.is_empty() {
            up.skip(len);
            self.take_empty(taking.facts);
            return Ok(true);
        }
        let standing = Standing {
            slots: &self.slots,
            known: &self.known,
            routing: &self.routing,
        };
        let (scratch, login) = (&mut self.scratch, &mut self.login);
        let mut action = prepare(scratch, login, standing, self.id, &args, taking);
        if matches!(action, Action::NotNow) {
            self.waiting = Some(Waiting::Turn);
            return Ok(false);
        }
        if self.routing.shares() {
            // People type MULTI and wait for its reply.
            let here = (Some(len), &[][..]);
            let (routing, login) = (&mut self.routing, &self.login);
            let whose = (login, &self.slots, &self.known);
            action = route(
                action,
                &args,
                here,
                routing,
                whose,
                &mut self.scratch,
                taking,
            );
        }
        note_listening(&action, &args, &mut self.known);
        let Some(is_overruled) = self.tell_action(&action, &args, taking) else {
            self.holding = true;
            return Ok(false);
        };
        self.was_overruled |= is_overruled;
        let way = match action {
            Action::Hold => Way::NotYet,
            Action::Forward(_, kind, _) => self.owe(kind, taking.facts, up),
            _ => Way::AsItIs,
        };
        if way == Way::NotYet {
            self.holding = true;
            return Ok(false);
        }
        up.skip(len);
        self.taken += 1;
        match action {
            Action::Forward(permit, _, entry) => {
                if !permit.is_shadow() {
                    let class = taking.rules.table().command(permit.command()).class;
                    self.tally.add(class);
                }
                match (way, entry.replacement()) {
                    (Way::Spelled(script), _) => {
                        self.send_spelled(script, entry, &args, taking.rules, up);
                    }
                    (_, None) => {
                        let words: Vec<&[u8]> = args.iter().collect();
                        encode_request(words.into_iter(), up.staging());
                    }
                    (_, Some(replacement)) => {
                        inject_head(replacement, args.len(), up);
                        args.iter()
                            .skip(1)
                            .for_each(|arg| encode_bulk(arg, up.staging()));
                    }
                }
                self.silence.spend(&mut self.slots);
            }
            action => {
                let class = class_of(&action, &args, taking.rules);
                self.conclude_counted(action, class, taking, up, down);
            }
        }
        Ok(true)
    }

    /// A blank line or an empty array, which has no reply.
    fn take_empty(&mut self, facts: &Facts) {
        if facts.version < EMPTY_SPENDS_NOTHING {
            self.silence.spend(&mut self.slots);
        }
    }

    /// Notes what a request is owed that is about to be forwarded, and says how.
    #[inline]
    fn owe(&mut self, kind: Kind, facts: &Facts, up: &mut Pipe) -> Way {
        match kind {
            Kind::Blocking => self.slots.push(Slot::Blocking),
            Kind::Watch(on) if self.routing.shares() => self.slots.push(Slot::Watch(on)),
            Kind::Transaction(transaction) => self.slots.push(Slot::Transaction(transaction)),
            Kind::Select(target) => {
                if self.routing.is_moving() {
                    self.known.place = Place::at(target.number().unwrap_or_default());
                }
                self.known.place.ask(target);
                self.slots.push(Slot::Select(target));
            }
            Kind::Listen(listen) => self.slots.push(Slot::Listen(listen)),
            Kind::Answer(answer) if self.mapping.is_some() => {
                self.slots.push(Slot::Answer(answer));
            }
            Kind::Monitor => self.slots.push(Slot::Monitor),
            Kind::Sync => self.slots.push(Slot::Sync),
            Kind::Unanswered => {}
            Kind::Pinned(script) => return self.owe_pinned(script, facts, up),
            Kind::ScriptFlush => {
                self.loaded.forget();
                self.slots.push_upstream();
            }
            _ => self.slots.push_upstream(),
        }
        Way::AsItIs
    }

    /// Forwards the request at the front of `up` with something else in its name's place.
    fn forward_replaced(&mut self, replacement: &Replacement, up: &mut Pipe) {
        let name_end = self.scanner.name_end();
        up.skip(name_end);
        inject_head(replacement, self.scanner.declared(), up);
        up.forward(self.scanner.consumed() - name_end);
    }
}

/// What is subscribed to is noted before it is asked for.
#[inline]
fn note_listening(action: &Action<'_>, args: &Args<'_>, known: &mut Known) {
    if let Action::Forward(_, Kind::Listen(listen), entry) = action
        && let Some(args) = entry.judged(args)
    {
        known.subscriptions.asked(*listen, &args);
    }
}

/// Begins a request of `len` arguments with something else in its name's place.
fn inject_head(replacement: &Replacement, len: usize, up: &mut Pipe) {
    encode_header(b'*', replacement.count(len) as u64, up.staging());
    up.inject(replacement.head());
}
