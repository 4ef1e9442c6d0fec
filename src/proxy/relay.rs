//! Moves bytes between a client, a session and its upstream: one hand-polled task, no channels, no
//! locks, no clock unless something stalls.

mod deadlines;
mod errand;
mod pace;
mod way;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::SystemTime;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::policy::User;
use crate::session::{Desync, Facts, Pipe, Revoked, Session};
use crate::telemetry::Totals;

use super::budget::Holding;
use super::connection::Downstream;
use super::generation::{Generation, Settings};
use super::host::{LIFETIME, SessionHost};
use super::metrics::DROPPED;
use super::service::{Listening, Service};
use super::spare;
use super::standing::judge;
use super::trunks::{Own, Trunks};
use deadlines::Deadlines;
use way::Way;

/// How a relay ends.
#[derive(Debug)]
pub(super) enum End {
    /// It goes on with another upstream connection.
    WantsUpstream,
    /// The client got all it was owed: after QUIT, a protocol error, its own close, or a drain.
    Done,
    /// The client has gone without a word, or broke the transport.
    Client,
    /// The upstream hung up or can't be reached.
    Upstream,
    /// As many connections to it are open as may be.
    Full,
    /// The client didn't log in in time, or was idle for too long.
    Timeout,
    /// The client took nothing for `write_timeout`.
    Stalled,
    /// Nobody answered the client after its close.
    Cut,
    /// It has lived for `max_lifetime`.
    Lifetime,
    /// It held most of the memory that there is for all, and took too little.
    Memory,
    /// Its user is gone or off, or may not hear any more what it listens to; or the client itself may
    /// not be here any more.
    Revoked,
    /// The count of replies is off.
    Desync(Desync),
}

/// One session at work.
pub(super) struct Relay<'a> {
    service: Arc<Service>,
    session: Session,
    downstream: &'a mut Downstream,
    trunks: Rc<Trunks>,
    /// The number of its listener.
    listener: usize,
    /// The number of its upstream.
    upstream: usize,
    /// What the client was last judged by.
    settings: Arc<Settings>,
    way: Way,
    /// Replies that are owed to what waits to go over a shared connection, and how many of them may
    /// tell that a command is queued.
    unsent: (u32, u32),
    up: Pipe,
    down: Pipe,
    host: SessionHost<'a>,
    /// Nothing is done any more but to write what is on its way to the client; then it ends so.
    last_words: Option<End>,
    /// The client closed its direction.
    client_closed: bool,
    /// The proxy is about to end.
    draining: bool,
    /// `max_lifetime` is over.
    retiring: bool,
    /// Whom its connection was counted for last.
    counted: Option<Arc<User>>,
    /// Bytes from and to the client that are not debited yet.
    traffic: u64,
    /// Bytes that were passed on, to either side, since ever.
    passed: u64,
    /// Its part of the memory for all.
    holding: Holding,
    /// The upstream closed the connection: what came before is still passed on.
    upstream_closed: bool,
    /// The upstream takes no more bytes.
    upstream_deaf: bool,
    /// The client wasn't read to the end of what is here: the upstream takes nothing, or owes a reply
    /// first, or it was enough for once.
    unread: bool,
    /// The upstream wasn't either: the client takes nothing, or it was enough for once.
    unheard: bool,
    /// What was written to the client is still on its way through TLS.
    unflushed: bool,
    deadlines: Deadlines,
    /// What the bell wakes.
    waker: Waker,
    /// Bytes that came from the client, and that went to it.
    bytes: (u64, u64),
    /// Its end was told.
    told: bool,
}

/// Bytes on their way to one side above which the other isn't read: sixteen TLS records, enough to
/// keep both sides busy, and what a slow peer may make us hold.
const MARK: usize = 256 * 1024;

/// Read at once: what a lent buffer has.
const READ: usize = spare::SIZE;

/// Read of one side before the other is served: four reads. More would be a longer wait for the other
/// sessions of the worker, and the next round comes at once.
const BATCH: usize = 64 * 1024;

// === impl Relay ===

impl<'a> Relay<'a> {
    pub(super) fn new(
        (service, trunks): (&Arc<Service>, &Rc<Trunks>),
        listening: &Listening,
        settings: &Arc<Settings>,
        session: Session,
        downstream: &'a mut Downstream,
        host: SessionHost<'a>,
    ) -> Self {
        let deadlines = Deadlines::new(settings, listening.index, host.peer);
        let holding = Holding::new(&service.budget, host.session);
        Self {
            service: Arc::clone(service),
            session,
            downstream,
            trunks: Rc::clone(trunks),
            listener: listening.index,
            upstream: listening.upstream,
            settings: Arc::clone(settings),
            way: Way::None,
            unsent: (0, 0),
            up: Pipe::default(),
            down: Pipe::default(),
            host,
            last_words: None,
            client_closed: false,
            draining: false,
            retiring: false,
            counted: None,
            traffic: 0,
            passed: 0,
            holding,
            upstream_closed: false,
            upstream_deaf: false,
            unread: false,
            unheard: false,
            unflushed: false,
            deadlines,
            waker: Waker::noop().clone(),
            bytes: (0, 0),
            told: false,
        }
    }

    /// The session that it is for.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Writes what the session has come to, where the audit has such lines.
    pub(super) fn tell_end(&mut self, end: &End) {
        self.tell_closed_connection(end.label());
    }

    fn tell_closed_connection(&mut self, reason: &str) {
        self.told = true;
        let duration = self.host.opened.elapsed().as_millis();
        let tally = Totals {
            duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            requests: self.session.taken(),
            requests_refused: self.host.refusals,
        };
        let user = self.session.login().user().map(|user| user.name());
        let host = &self.host;
        host.tell_connection("connection_closed", user, reason, Some(tally));
    }

    /// Relays until something ends it.
    pub(super) async fn run(&mut self, facts: &Facts) -> End {
        std::future::poll_fn(|cx| {
            self.buffers().into_iter().for_each(spare::lend);
            let polled = self.poll(cx, facts);
            self.host.meter.owed(self.session.owed());
            // Backwards: so that each is what it was, the next time.
            self.buffers().into_iter().rev().for_each(spare::take_back);
            self.book();
            polled
        })
        .await
    }

    fn buffers(&mut self) -> [&mut BytesMut; 4] {
        let [up_input, up_staged] = self.up.buffers();
        let [down_input, down_staged] = self.down.buffers();
        [up_input, up_staged, down_input, down_staged]
    }

    fn poll(&mut self, cx: &mut Context<'_>, facts: &Facts) -> Poll<End> {
        if !self.waker.will_wake(cx.waker()) {
            // Once a session: its task is always the same. The news is looked for behind this.
            self.waker = cx.waker().clone();
            self.service.bell.listen(self.host.session, &self.waker);
        }
        let draining = self.service.sessions.draining.load(Ordering::Relaxed);
        self.draining = draining;
        if let Some(end) = self.look_at_limits() {
            return Poll::Ready(end);
        }
        loop {
            if self.last_words.is_some() {
                return self.poll_last_words(cx);
            }
            if self.session.waits_for_host() {
                self.look_at_errand();
            }
            let retires = self.retires();
            let draining = draining || retires;
            let read = self.read_requests(cx, draining);
            // Looked up behind the read: what was read after a change is never judged by the old.
            let rules = self.service.keeper.rules();
            let own_change = self.session.has_changed_rules();
            if !Arc::ptr_eq(rules.settings(), &self.settings) && !self.obey(&rules) {
                continue;
            }
            if self.session.generation() != rules.generation()
                && let Err(revoked) = self.session.adopt(&rules, &mut self.up)
            {
                if !own_change {
                    self.revoke(revoked);
                    continue;
                }
                // Who deletes his own user reads that it worked, and what he was owed before, as in
                // Redis. Between two requests there is no half of one to be held back.
                self.tell_revoked(revoked);
                self.session.end();
            }
            let mut moved = match read {
                Ok(moved) => moved,
                Err(end) => {
                    // What was read before is sent all the same, as far as the socket takes it.
                    let _ = self.write_requests(cx);
                    return Poll::Ready(end);
                }
            };
            self.allow_requests();
            let allowed = self.session.allowance();
            self.session
                .receive(&rules, facts, &mut self.up, &mut self.down, &mut self.host);
            // Nothing more will come, and the session has taken all that it could: what is left is
            // half a request. (Where it can't take any now, as before a RESET is answered, the
            // whole ones that are here still count.)
            // Where the session has changed the rules itself, the rest is taken by the new ones.
            let up_to_date = self.session.generation() == rules.generation();
            // Those that wait for the client's rate do so where it alone has closed.
            let ending = draining || self.client_closed && !self.has_requests_left();
            if ending && up_to_date && self.session.takes_requests(&self.down) {
                self.session.end();
            }
            let upstream = self
                .write_requests(cx)
                .and_then(|wrote| Ok(wrote | self.read_replies(cx)?));
            match upstream {
                Ok(upstream_moved) => moved |= upstream_moved,
                Err(end) => return Poll::Ready(end),
            }
            match self.session.answer(&mut self.down) {
                Ok(()) => {}
                Err(Desync::Credential) => {
                    self.host.credential_refused();
                    self.doubt_upstream();
                    self.give_up(End::Upstream);
                    continue;
                }
                Err(error) => {
                    self.distrust_upstream();
                    return Poll::Ready(End::Desync(error));
                }
            }
            if self.session.take_readonly() {
                self.doubt_master();
            }
            match self.write_replies(cx) {
                Ok(wrote) => moved |= wrote,
                Err(end) => return Poll::Ready(end),
            }
            self.deadlines.active |= moved;
            if !self.is_counted() {
                continue;
            }
            let may_end = self.retires() != retires;
            let changed = self.pay(allowed) | self.change_way() | may_end;
            if self.is_stranded() && !self.session.has_ended() {
                // It gets what it is owed, and goes to the new master by a new connection.
                self.session.end();
            }
            if let Some(end) = self.next_end() {
                return Poll::Ready(end);
            }
            // Where both sockets were read to their ends, and nothing waits for what has come, another
            // round would find nothing.
            let unsent = self.session.rides() && self.up.waiting() > 0;
            let open = self.unread || self.unheard || unsent || !self.up.unscanned().is_empty();
            if !changed && up_to_date && !(moved && open) {
                break;
            }
        }
        self.poll_deadlines(cx)
    }

    /// Judges the client by settings that are new to it. Returns whether it may stay.
    #[cold]
    fn obey(&mut self, generation: &Generation) -> bool {
        self.settings = Arc::clone(generation.settings());
        if !self.is_welcome() {
            return false;
        }
        self.deadlines.renew(&self.settings, self.listener);
        self.renew_limits();
        true
    }

    /// Whether the client may stay, by the settings and its certificate. If not, it is on its way out.
    fn is_welcome(&mut self) -> bool {
        let now = SystemTime::now();
        let peer = self.host.peer;
        let standing = match judge(&self.settings, self.listener, peer, self.downstream, now) {
            Ok(standing) => standing,
            Err(expulsion) => {
                let user = self.session.login().user().map(|user| user.name());
                self.host.expelled(user, &expulsion);
                self.give_up(End::Revoked);
                return false;
            }
        };
        if let Err(revoked) = self.session.identify(standing.identity) {
            self.revoke(revoked);
            return false;
        }
        self.deadlines.look_at(standing.not_after, now);
        true
    }

    fn revoke(&mut self, revoked: Revoked) {
        self.tell_revoked(revoked);
        self.give_up(End::Revoked);
    }

    /// Not a byte more goes upstream: not even the rest of a request that has begun.
    fn give_up(&mut self, end: End) {
        self.way = Way::None;
        self.deadlines.forget_ends();
        self.last_words = Some(end);
    }

    fn tell_revoked(&self, revoked: Revoked) {
        let user = self.session.login().user().map(|user| user.name());
        self.host.revoked(user, revoked);
    }

    /// What is on its way to the client is still written. What else was owed is not waited for.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.write_replies(cx).is_ok() && !self.delivered() {
            ready!(self.poll_deadlines(cx));
        }
        Poll::Ready(self.last_words.take().unwrap_or(End::Client))
    }

    /// Whether the client has all that was meant for it.
    fn delivered(&self) -> bool {
        self.down.waiting() == 0 && !self.unflushed
    }

    /// Returns whether anything came.
    fn read_requests(&mut self, cx: &mut Context<'_>, draining: bool) -> Result<bool, End> {
        let paced = self.is_unread_for_its_rate();
        let taken = !draining && !paced && self.session.takes_requests(&self.down);
        // Only who reads sees a client leave, and what it waits for must not be taken by nobody: so
        // what can't be taken yet is read all the same, a little, and what never will be, too.
        let ahead = !draining && self.up.unscanned().len() < READ || self.session.has_ended();
        let full = self.up.waiting() >= MARK || self.is_unread_for_memory(taken);
        let wanted = !self.client_closed && !full && (taken || ahead);
        self.unread = !wanted;
        if !wanted {
            return Ok(false);
        }
        // All that is here, so that a pipeline is one batch, and a transaction is seen whole.
        let most = if taken { BATCH } else { READ };
        let mut moved = false;
        loop {
            match spare::read(self.downstream, self.up.input(), READ, cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => {
                    self.client_closed = true;
                    return Ok(true);
                }
                Poll::Ready(Ok(len)) => {
                    moved = true;
                    self.traffic += len as u64;
                    self.bytes.0 += len as u64;
                    self.host.meter.received(len);
                    if self.session.has_ended() {
                        self.up.discard_input();
                        break;
                    }
                    if self.up.unscanned().len() >= most {
                        break;
                    }
                }
                // A reset, or TLS cut without close_notify: what came in part is never run.
                Poll::Ready(Err(_)) => return Err(End::Client),
            }
        }
        self.unread = true;
        Ok(moved)
    }

    /// Returns whether anything went.
    fn write_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.session.rides() {
            return self.send_requests();
        }
        let Way::Own(Own { stream, .. }) = &mut self.way else {
            return Ok(false);
        };
        let mut moved = false;
        while self.up.waiting() > 0 && !self.upstream_deaf {
            match Pin::new(&mut *stream).poll_write(cx, self.up.writable()) {
                Poll::Ready(Ok(len)) if len > 0 => {
                    self.up.wrote(len);
                    self.passed += len as u64;
                    moved = true;
                }
                Poll::Pending => break,
                // Its replies to what it took may still be there to read; then comes its end.
                Poll::Ready(_) => self.upstream_deaf = true,
            }
        }
        // What a full socket has left behind in TLS; of no use to a plain one, and free there.
        let _ = Pin::new(&mut *stream).poll_flush(cx);
        Ok(moved)
    }

    /// Returns whether anything came.
    fn read_replies(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let waiting = self.down.waiting();
        self.unheard =
            waiting >= MARK || self.holding.must_wait(waiting) || self.is_unheard_for_its_rate();
        if self.unheard {
            return Ok(false);
        }
        let Way::Own(Own { stream, .. }) = &mut self.way else {
            return self.take_replies();
        };
        let mut moved = false;
        while !self.upstream_closed {
            match spare::read(stream, self.down.input(), READ, cx) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(len)) if len > 0 => {
                    moved = true;
                    if self.down.unscanned().len() >= BATCH {
                        self.unheard = true;
                        return Ok(true);
                    }
                }
                Poll::Ready(_) => {
                    self.upstream_closed = true;
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Returns whether the client took anything.
    fn write_replies(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        while self.down.waiting() > 0 {
            match Pin::new(&mut *self.downstream).poll_write(cx, self.down.writable()) {
                Poll::Ready(Ok(len)) if len > 0 => {
                    self.down.wrote(len);
                    self.traffic += len as u64;
                    self.passed += len as u64;
                    self.bytes.1 += len as u64;
                    self.host.meter.sent(len);
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Pending => break,
                Poll::Ready(_) => return Err(End::Client),
            }
        }
        if self.unflushed {
            match Pin::new(&mut *self.downstream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Err(End::Client),
            }
        }
        if self.delivered() {
            self.deadlines.stalled = None;
        } else if moved || self.deadlines.stalled.is_none() {
            self.deadlines.stalled = Some(Instant::now() + self.deadlines.write_timeout);
        }
        Ok(moved)
    }

    /// What the state of both sides asks for.
    fn next_end(&mut self) -> Option<End> {
        let delivered = self.delivered();
        if self.upstream_closed && !matches!(self.way, Way::None) {
            return delivered.then_some(End::Upstream);
        }
        if self.session.has_ended() && self.session.is_settled() {
            let end = match self.is_stranded() {
                true => End::Upstream,
                false if self.retiring => End::Lifetime,
                false => End::Done,
            };
            return delivered.then_some(end);
        }
        self.wants_upstream().then_some(End::WantsUpstream)
    }
}

impl Drop for Relay<'_> {
    /// Where its thread was ended before it, at the deadline of a drain; or it has panicked.
    fn drop(&mut self) {
        if !self.told {
            self.tell_closed_connection(DROPPED);
        }
    }
}

// === impl End ===

impl End {
    /// The label used in the log. Stable.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::WantsUpstream => "wants_upstream",
            Self::Done => "done",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Full => "max_connections",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Cut => "cut",
            Self::Lifetime => LIFETIME,
            Self::Memory => "memory",
            Self::Revoked => "revoked",
            Self::Desync(_) => "desync",
        }
    }
}
