//! A session: its parts, its begin and its end.

use std::sync::Arc;

use bytes::BytesMut;

use crate::resp::{Limits, ReplyScanner, RequestScanner, Tail};
use crate::rewrite::Addresses;

use super::errands::Waiting;
use super::known::{Known, Mode, Multi, Standing};
use super::login::Login;
use super::mapping::Mapping;
use super::pipe::Pipe;
use super::place::Place;
use super::replies::Piece;
use super::routing::{Berth, Denial, Need, Routing};
use super::rules::Rules;
use super::scripts::Loaded;
use super::silence::Silence;
use super::slots::{Slot, Slots};
use super::tally::Tally;

/// One client, from its identity to its last reply.
///
/// The two directions are [`Session::receive`] and [`Session::answer`]. Requests are only taken
/// while the session is attached to an upstream, or has nothing to ask of one yet (before AUTH).
#[derive(Debug)]
pub struct Session {
    /// Told to the client by HELLO.
    pub(super) id: u64,
    pub(super) login: Login,
    /// Of the rules that it obeys; [`OUTDATED`] from a change of its own making until it has
    /// adopted what came of it.
    pub(super) generation: u64,
    /// It may be another user than when it began to listen to something.
    pub(super) has_changed_user: bool,
    /// Shadow mode let something go on that its user may not do; no enforced rules since.
    pub(super) was_overruled: bool,
    pub(super) scanner: RequestScanner,
    pub(super) replies: ReplyScanner,
    pub(super) slots: Slots,
    pub(super) flow: Flow,
    pub(super) phase: Phase,
    /// The upstream connection has said nothing yet.
    pub(super) fresh: bool,
    /// What of the upstream is being read, from its first bytes to its last.
    pub(super) piece: Option<Piece>,
    /// What the replies have told of the upstream connection.
    pub(super) known: Known,
    /// Where replies name addresses that are mapped.
    pub(super) mapping: Option<Box<Mapping>>,
    /// What CLIENT REPLY asked for, of the requests to come.
    pub(super) silence: Silence,
    /// And of the replies.
    pub(super) muted: bool,
    /// The scripts that the upstream connection has loaded.
    pub(super) loaded: Loaded,
    /// The user changed while a request of its transaction streams by.
    pub(super) spoil_after_tail: bool,
    /// The request at the front waits for a reply that is owed.
    pub(super) holding: bool,
    /// Bytes of the current request at which its verdict is asked for again.
    pub(super) inspect_at: usize,
    /// What the host is to have done before another request is taken.
    pub(super) waiting: Option<Waiting>,
    /// How many more requests are taken before it is asked anew.
    pub(super) allowance: u64,
    /// Whose connection the next request goes to.
    pub(super) routing: Routing,
    /// A reply has said `-READONLY`.
    pub(super) readonly: bool,
    /// What was allowed since the host was told last.
    pub(super) tally: Tally,
    /// Where a refusal's text is put together.
    pub(super) scratch: BytesMut,
    /// Requests that were taken, whatever became of them.
    pub(super) taken: u64,
}

/// What is done with the next bytes of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// A request begins or goes on; its verdict is open.
    Requests,
    /// The rest of an allowed request streams by.
    Forwarding(Tail),
    /// The rest of a refused request is dropped in its tracks.
    Draining(Tail),
}

/// Where a session stands with its upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// There is none; requests are taken until one is needed.
    Detached,
    /// There is one.
    Attached,
    /// RESET was asked for: when all is answered, the upstream is changed for a fresh one.
    Resetting,
    /// No more requests are taken: QUIT, a protocol error, or the client has gone.
    Ended,
}

/// No rules are of this generation.
pub(super) const OUTDATED: u64 = 0;

/// The reply to RESET.
pub(super) const RESET: &[u8] = b"+RESET\r\n";

// === impl Session ===

impl Session {
    /// A session of a client that is who `login` says, by the same `rules`. `id` is unique in the
    /// process.
    pub fn new(id: u64, login: Login, rules: &Rules) -> Self {
        let mut session = Self {
            id,
            login,
            generation: rules.generation(),
            has_changed_user: false,
            was_overruled: false,
            scanner: RequestScanner::new(Limits::UNAUTHENTICATED),
            replies: ReplyScanner::default(),
            slots: Slots::default(),
            flow: Flow::Requests,
            phase: Phase::Detached,
            fresh: false,
            piece: None,
            known: Known::default(),
            mapping: None,
            silence: Silence::default(),
            muted: false,
            loaded: Loaded::default(),
            spoil_after_tail: false,
            holding: false,
            inspect_at: 0,
            waiting: None,
            allowance: u64::MAX,
            routing: Routing::default(),
            readonly: false,
            tally: Tally::default(),
            scratch: BytesMut::new(),
            taken: 0,
        };
        session.set_limits(rules);
        session
    }

    /// Maps the addresses that replies name from now on; `sentinel`: those in messages too.
    pub fn map_addresses(&mut self, addresses: Arc<Addresses>, sentinel: bool) {
        self.mapping = Some(Box::new(Mapping::new(addresses, sentinel)));
    }

    /// Who the client is.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Whether it has logged in, or need not.
    pub fn is_authenticated(&self) -> bool {
        self.login.user().is_some()
    }

    /// Whether an upstream must be connected before more requests are taken.
    pub fn wants_upstream(&self) -> bool {
        self.phase == Phase::Detached && self.is_authenticated()
    }

    /// Whether the session has no upstream, or is done with the one it had (RESET), which must then
    /// be closed.
    pub fn is_detached(&self) -> bool {
        self.phase == Phase::Detached
    }

    /// A fresh upstream connection is there, past its own AUTH. All that it is sent, and all that is
    /// owed, is a HELLO that was the client's login.
    pub fn attach(&mut self, up: &mut Pipe) {
        self.routing.attach();
        self.begin_anew(Known::default());
        self.fresh = true;
        if let Some(name) = self.routing.name.take() {
            self.send_name(&name, up);
        }
    }

    fn begin_anew(&mut self, known: Known) {
        self.phase = Phase::Attached;
        self.fresh = false;
        self.spoil_after_tail = false;
        self.known = known;
        self.piece = None;
        self.loaded.forget();
        self.replies = ReplyScanner::default();
    }

    /// From now on requests may go to connections that others use too. Before the first one.
    pub fn share(&mut self) {
        self.routing.share();
    }

    /// Whether they may.
    pub fn shares(&self) -> bool {
        self.routing.shares()
    }

    /// Instead of [`Session::attach`]: there are connections to share, and nothing that needs more has
    /// been asked for.
    pub fn ride(&mut self) {
        self.routing.ride();
        // A HELLO that was the client's login is still to be asked, in the protocol that it chose.
        self.begin_anew(Known {
            protocol: self.known.protocol,
            ..Known::default()
        });
    }

    /// Whether what is forwarded goes to a connection that others use too, which must be like
    /// [`Session::berth`].
    #[inline]
    pub fn rides(&self) -> bool {
        self.routing.rides()
    }

    /// How many requests went to connections that others use too, and how many to one of its own.
    pub fn counts(&self) -> (u64, u64) {
        self.routing.counts()
    }

    /// How many requests were taken, those that were refused among them.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// What a connection must be like to go on with.
    #[inline]
    pub fn berth(&self) -> Berth {
        self.routing.berth(&self.known)
    }

    /// What must be there before more requests are taken.
    #[inline]
    pub fn need(&self) -> Option<Need> {
        self.routing.need()
    }

    /// How many replies are owed to what was forwarded since this was asked last, and how many of them
    /// may tell that a command is queued.
    #[inline]
    pub fn take_sent(&mut self) -> (u32, u32) {
        (self.slots.take_sent(), self.routing.take_queued())
    }

    /// Whether a part only of a transaction has been forwarded that must not be parted. It never is:
    /// to be asked before anything is sent to where others are.
    pub fn is_parted(&self) -> bool {
        self.routing.is_in_convoy()
    }

    /// Whether a reply since this was asked last has said `-READONLY`: a replica does, and so may a
    /// script.
    #[inline]
    pub fn take_readonly(&mut self) -> bool {
        std::mem::take(&mut self.readonly)
    }

    /// The connection that is shared is another one than before.
    pub fn changed_trunk(&mut self) {
        self.loaded.forget();
    }

    /// A connection of its own is there, in the state that [`Session::need`] told. `name`: how it is
    /// called. Returns how it is called from now on, which its next user must know.
    pub fn borrow(&mut self, fresh: bool, name: Option<&[u8]>, up: &mut Pipe) -> Option<Box<[u8]>> {
        self.routing.attach();
        let known = Known {
            protocol: self.known.protocol,
            place: Place::at(self.berth().database),
            ..Known::default()
        };
        self.begin_anew(known);
        self.fresh = fresh;
        let wanted = self.routing.name.clone();
        if wanted.as_deref() != name {
            self.send_name(wanted.as_deref().unwrap_or_default(), up);
        }
        wanted
    }

    /// There is a connection to share in this database.
    pub fn moved(&mut self, database: u32) {
        self.routing.found(database);
    }

    /// There is none, as no connection gets into it: the upstream will say why.
    pub fn stay(&mut self, database: u32) {
        self.routing.refused(database);
    }

    /// There is no connection of its own to be had: the request that asks for one is refused.
    pub fn deny_own(&mut self) {
        self.routing.deny(Denial::Full);
    }

    /// The same, and it is answered by this error of the upstream's, which is a line without its `-`.
    pub fn deny_own_by(&mut self, error: &str) {
        self.routing.deny(Denial::Upstream(error.into()));
    }

    /// The connection of its own stays that: there are none to share.
    pub fn keep_own(&mut self) {
        self.routing.keep_own();
    }

    /// Whether the connection of its own isn't needed any more.
    #[inline]
    pub fn may_leave(&self) -> bool {
        self.routing.may_leave() && self.is_at_rest()
    }

    /// Nothing is open, owed or on its way on the connection.
    fn is_at_rest(&self) -> bool {
        self.phase == Phase::Attached
            && self.slots.is_empty()
            && self.piece.is_none()
            && self.flow == Flow::Requests
            && !self.known.in_multi
            && !self.known.is_watching
            && !self.is_listening()
            && self.known.place.single().is_some()
    }

    /// Leaves the connection of its own. Returns what it is now, if others may have it.
    pub fn leave(&mut self) -> Option<Berth> {
        let berth = self.berth();
        let clean = self.routing.is_clean();
        self.routing.ride();
        self.slots.take_sent();
        self.loaded.forget();
        self.fresh = false;
        clean.then_some(berth)
    }

    /// No more requests than these are taken until this is said again, but to the end of a transaction
    /// that must not be parted. Without a word: all that come.
    #[inline]
    pub fn allow(&mut self, requests: u64) {
        self.allowance = requests;
    }

    /// How many of these are left.
    #[inline]
    pub fn allowance(&self) -> u64 {
        self.allowance
    }

    /// Whether the middle of a request streams by.
    pub fn is_streaming(&self) -> bool {
        self.flow != Flow::Requests
    }

    /// Whether a transaction is or may be open, or keys are watched for one.
    pub fn is_in_transaction(&self) -> bool {
        self.may_be_in_multi() || self.known.is_watching
    }

    /// Bytes of its own replies that wait for their turn.
    #[inline]
    pub fn held(&self) -> usize {
        self.slots.held()
    }

    /// The client sends nothing more. What it is owed it still gets.
    pub fn end(&mut self) {
        if matches!(self.flow, Flow::Forwarding(_)) {
            // The upstream waits for the rest of it, and will for ever.
            self.slots.cancel_last();
            self.flow = Flow::Requests;
        }
        if self.phase == Phase::Resetting {
            // No upstream will follow; the reply is owed all the same.
            self.slots.push_local(RESET);
        }
        self.phase = Phase::Ended;
    }

    /// Whether no more requests are taken.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether the client is owed nothing.
    pub fn is_settled(&self) -> bool {
        self.slots.is_empty() && self.waiting.is_none()
    }

    /// How many replies the upstream owes it.
    #[inline]
    pub fn owed(&self) -> u64 {
        self.slots.owed()
    }

    /// Whether the next reply waits for what other clients do.
    pub fn is_blocked(&self) -> bool {
        self.slots.front() == Some(Slot::Blocking)
    }

    /// Whether the upstream speaks unasked: to a subscriber, a monitor, a replica.
    pub fn is_listening(&self) -> bool {
        self.known.subscriptions.any() || self.known.mode != Mode::Requests
    }

    /// What the next request comes into the middle of.
    #[inline]
    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            slots: &self.slots,
            known: &self.known,
            routing: &self.routing,
        }
    }

    /// While a forwarded MULTI isn't known to be closed.
    pub(super) fn may_be_in_multi(&self) -> bool {
        self.standing().multi() != Multi::Closed
    }

    pub(super) fn set_limits(&mut self, rules: &Rules) {
        self.scanner.set_limits(if self.is_authenticated() {
            rules.limits()
        } else {
            Limits::UNAUTHENTICATED
        });
    }
}
