//! From the upstream to the client: each reply into its slot.

use crate::resp::{ReplyError, ReplyScanner};

use super::hello::renumbered;
use super::known::{Known, Mode, Protocol};
use super::mapping::Held;
use super::pipe::Pipe;
use super::place::Place;
use super::pubsub::{Announced, Audience, announced};
use super::silence::Silence;
use super::slots::{Slot, Transaction};
use super::state::{Phase, RESET, Session};

/// The count of replies is off, or they can't be read: whose reply the next one is, nobody knows.
/// Both sides must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Desync {
    /// A reply that nobody is owed.
    #[error("a reply that nobody is owed")]
    Unowed,
    /// Out-of-band data on a connection that never asked for any.
    #[error("a push on a RESP2 connection")]
    Push,
    /// Something else than the error that ECHO without arguments gives in every version.
    #[error("no error where only an error can be")]
    Poison,
    /// The reply to a request of our own is not where it must be.
    #[error("a reply out of its place on a connection that clients share")]
    Canary,
    /// A transaction is open on a connection that clients share, and no client's.
    #[error("a command was queued that is in no transaction")]
    Queued,
    /// A transaction that must not be parted is on its way in part. It never is.
    #[error("a part of a transaction on a connection that clients share")]
    Parted,
    /// The upstream doesn't take us for who we are any more. Its error is not for the client.
    #[error("the upstream asks for our AUTH")]
    Credential,
    /// The upstream doesn't speak RESP.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// What of a reply's first line is enough to tell what it means for a transaction or the database.
const ENOUGH: usize = 48;

/// What of the upstream's bytes is being read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// The reply that the slot at the front is for.
    Answer {
        /// Whether the client gets it.
        shown: bool,
    },
    /// The same, or a message, held until it is whole. The client gets it.
    Held(Held),
    /// What answers nobody: a message, a line of MONITOR, RESP3's out-of-band data.
    Unasked,
    /// A subscription's begin or end.
    Confirmation(Audience, bool),
}

/// It is copied for every reply.
const _: () = assert!(size_of::<Option<Piece>>() <= 4);

// === impl Session ===

impl Session {
    /// Passes on what has come of the upstream, and what is due of our own.
    ///
    /// # Errors
    /// [`Desync`]: both sides must be closed.
    pub fn answer(&mut self, down: &mut Pipe) -> Result<(), Desync> {
        loop {
            if self.piece.is_none() {
                if self.is_plain(down.unscanned()) {
                    if self.answer_plain(down)? {
                        continue;
                    }
                    break;
                }
                self.give_own(down);
            }
            let here = down.unscanned().len();
            if here == 0 {
                break;
            }
            if self.known.mode == Mode::Replicating {
                down.forward(here);
                break;
            }
            let mut piece = match self.piece {
                Some(piece) => piece,
                None => match self.begin(down)? {
                    Begun::Piece(piece) => piece,
                    Begun::Passed => continue,
                    Begun::Incomplete => break,
                },
            };
            let step = self.replies.advance(down.unscanned())?;
            match piece {
                Piece::Answer { shown: true } | Piece::Unasked => down.forward(step.consumed),
                Piece::Answer { shown: false } => down.skip(step.consumed),
                Piece::Held(why) => {
                    if let Some(mapping) = &mut self.mapping
                        && !mapping.hold(step.consumed, down)
                    {
                        piece = match why {
                            Held::Message => Piece::Unasked,
                            _ => Piece::Answer { shown: true },
                        };
                    }
                }
                Piece::Confirmation(..) => {
                    let bytes = &down.unscanned()[..step.consumed];
                    self.known.subscriptions.last_line.note(bytes);
                    down.forward(step.consumed);
                }
            }
            if step.done.is_none() {
                self.piece = Some(piece);
                break;
            }
            self.piece = None;
            self.finish(piece, down);
        }
        if self.known.in_multi && self.routing.rides() && !self.slots.transaction_pending() {
            return Err(Desync::Queued);
        }
        if self.phase == Phase::Resetting && self.slots.is_empty() && self.piece.is_none() {
            self.phase = Phase::Detached;
            self.known = Known::default();
            // What was asked on a connection of its own.
            self.slots.take_sent();
            (self.silence, self.muted) = (Silence::No, false);
            // The beginning of what nobody will send the rest of.
            down.discard_input();
            down.inject(RESET);
        }
        Ok(())
    }

    /// Gives the client what is due of our own.
    #[inline]
    fn give_own(&mut self, down: &mut Pipe) {
        loop {
            match self.slots.front() {
                Some(Slot::Local { .. }) => self.pop(down),
                Some(Slot::Mute(muted)) => {
                    self.muted = muted;
                    self.slots.pop(|_| {});
                }
                _ => break,
            }
        }
    }

    /// The slot at the front is done with; the client gets what is ours of it.
    #[inline]
    fn pop(&mut self, down: &mut Pipe) {
        let muted = self.muted;
        self.slots.pop(|ours| {
            if !muted {
                down.inject(ours);
            }
        });
    }

    /// Whether what comes next is a reply of which nothing needs to be known: most are, and one byte
    /// tells it.
    #[inline]
    fn is_plain(&self, bytes: &[u8]) -> bool {
        let owed = matches!(self.slots.front(), Some(Slot::Upstream(_) | Slot::Blocking));
        owed && match bytes.first() {
            Some(b'$' | b':') => true,
            Some(b'+') => self.known.mode == Mode::Requests,
            Some(b'*') => !self.known.subscriptions.any(),
            _ => false,
        } && self.mapping.is_none()
    }

    /// One of them. Returns whether all of it was here.
    #[inline]
    fn answer_plain(&mut self, down: &mut Pipe) -> Result<bool, Desync> {
        let shown = !self.muted;
        let step = self.replies.advance(down.unscanned())?;
        if shown {
            down.forward(step.consumed);
        } else {
            down.skip(step.consumed);
        }
        if step.done.is_none() {
            self.piece = Some(Piece::Answer { shown });
            return Ok(false);
        }
        self.fresh = false;
        self.slots.pop(|_| {});
        Ok(true)
    }

    /// Looks at the first bytes of what comes next.
    fn begin(&mut self, down: &mut Pipe) -> Result<Begun, Desync> {
        let bytes = down.unscanned();
        let slot = match (bytes.first(), self.slots.front()) {
            (Some(b'>'), _) if self.known.protocol == Protocol::Resp2 => return Err(Desync::Push),
            (Some(b'>'), _) => return Ok(self.begin_unasked(bytes)),
            (Some(b'*'), front)
                if self.known.protocol == Protocol::Resp2
                    && (self.known.subscriptions.any()
                        || matches!(front, Some(Slot::Listen(_)))) =>
            {
                match (self.begin_unasked(bytes), front) {
                    (Begun::Passed, Some(slot)) => slot,
                    (Begun::Passed, None) => return Err(Desync::Unowed),
                    (begun, _) => return Ok(begun),
                }
            }
            (Some(b'+'), front) if self.known.mode == Mode::Monitoring => {
                match is_monitors_line(bytes) {
                    None => return Ok(Begun::Incomplete),
                    Some(true) => return Ok(Begun::Piece(Piece::Unasked)),
                    Some(false) => front.ok_or(Desync::Unowed)?,
                }
            }
            (_, Some(slot)) => slot,
            // A server that is full, or in protected mode, says so unasked and hangs up.
            (Some(b'-'), None) if self.fresh => {
                self.slots.push_upstream();
                Slot::Upstream(1)
            }
            (_, None) => return Err(Desync::Unowed),
        };
        if bytes.first() == Some(&b'-') {
            match first_line(bytes) {
                None => return Ok(Begun::Incomplete),
                Some(line) if line.starts_with(b"-NOAUTH") => return Err(Desync::Credential),
                Some(line) => self.readonly |= line.starts_with(b"-READONLY"),
            }
        }
        // Plain replies need no more than that.
        if self.mapping.is_none()
            && let Slot::Upstream(_) | Slot::Blocking | Slot::Listen(_) = slot
        {
            return Ok(Begun::Piece(Piece::Answer { shown: !self.muted }));
        }
        if slot == Slot::Sync && bytes.first() == Some(&b'\n') {
            // While a replica waits, Redis sends line ends to keep the connection alive.
            down.forward(1);
            return Ok(Begun::Passed);
        }
        let Some(line) = first_line(bytes) else {
            return Ok(Begun::Incomplete);
        };
        if let (Slot::Hello(protocol), true, b'*' | b'%') = (slot, self.routing.shares(), bytes[0])
        {
            return self.answer_hello(protocol, down);
        }
        let mut shown = !self.muted;
        match slot {
            Slot::Transaction(transaction) => transacted(&mut self.known, transaction, line),
            Slot::Abort { .. } => {
                transacted(&mut self.known, Transaction::Discard, line);
                shown = false;
            }
            Slot::Select(target) => {
                self.known.place.selected(target, line);
                if let Some(before) = self.routing.arrived()
                    && line.starts_with(b"-")
                {
                    self.known.place = Place::at(before);
                }
            }
            Slot::Watch(on) if line == b"+OK" => self.known.is_watching = on,
            Slot::Script(_) if line.starts_with(b"-NOSCRIPT") => self.loaded.forget(),
            Slot::Hello(Some(protocol)) if !line.starts_with(b"-") => {
                self.known.protocol = protocol;
            }
            Slot::Monitor if line == b"+OK" => self.known.mode = Mode::Monitoring,
            Slot::Sync if line.starts_with(b"-") => {}
            Slot::Sync => {
                self.known.mode = Mode::Replicating;
                self.slots.pop(|_| {});
                return Ok(Begun::Passed);
            }
            Slot::Poison { .. } if !line.starts_with(b"-") => return Err(Desync::Poison),
            Slot::Poison { .. } | Slot::Swallow | Slot::Load(_) => shown = false,
            _ => {}
        }
        let in_multi = self.known.in_multi;
        let mapping = self.mapping.as_mut();
        let held = mapping.and_then(|mapping| mapping.begin(slot, line, in_multi));
        Ok(Begun::Piece(match held {
            Some(why) if shown => Piece::Held(why),
            _ => Piece::Answer { shown },
        }))
    }

    /// HELLO is answered. Where connections are shared the number in it is not the client's, which is
    /// told another one by CLIENT ID.
    #[cold]
    fn answer_hello(
        &mut self,
        protocol: Option<Protocol>,
        down: &mut Pipe,
    ) -> Result<Begun, Desync> {
        let step = ReplyScanner::default().advance(down.unscanned())?;
        if step.done.is_none() {
            return Ok(Begun::Incomplete);
        }
        let id = self.routing.client_id(self.id);
        let reply = renumbered(&down.unscanned()[..step.consumed], id);
        down.skip(step.consumed);
        if !self.muted {
            down.inject(&reply);
        }
        self.known.protocol = protocol.unwrap_or(self.known.protocol);
        self.fresh = false;
        self.slots.pop(|_| {});
        Ok(Begun::Passed)
    }

    /// The same for an array or a push that may answer nobody. Passed: it is an answer.
    fn begin_unasked(&self, bytes: &[u8]) -> Begun {
        match announced(bytes) {
            None => Begun::Incomplete,
            Some(Announced::Confirmed { to, on }) => Begun::Piece(Piece::Confirmation(to, on)),
            Some(Announced::Other) if bytes.first() == Some(&b'*') => Begun::Passed,
            Some(Announced::Message)
                if (self.mapping.as_ref()).is_some_and(|mapping| mapping.sentinel) =>
            {
                Begun::Piece(Piece::Held(Held::Message))
            }
            Some(Announced::Message | Announced::Other) => Begun::Piece(Piece::Unasked),
        }
    }

    /// A piece has ended.
    #[inline]
    fn finish(&mut self, piece: Piece, down: &mut Pipe) {
        if let (Piece::Held(why), Some(mapping)) = (piece, &mut self.mapping) {
            mapping.release(why, down);
        }
        match piece {
            Piece::Held(Held::Message) | Piece::Unasked => {}
            Piece::Answer { .. } | Piece::Held(_) => {
                self.fresh = false;
                self.pop(down);
            }
            Piece::Confirmation(to, on) => {
                self.fresh = false;
                let every = self.known.subscriptions.confirmations(to);
                // Shards are also unsubscribed unasked, when their slot moves away.
                let owed = matches!(self.slots.front(), Some(Slot::Listen(listen))
                    if listen.to == to && listen.on == on);
                if owed && self.slots.confirm(every) {
                    self.slots.pop(|_| {});
                }
                self.known.subscriptions.confirmed(to);
                if !self.known.subscriptions.any() && !self.slots.turn_pending() {
                    self.known.subscriptions.forget_names();
                }
            }
        }
    }
}

/// What the first bytes of a piece lead to.
enum Begun {
    Piece(Piece),
    /// Nothing: it is settled.
    Passed,
    /// More of it must be here.
    Incomplete,
}

/// The first line of a reply, or enough of it; `None` if that isn't here.
fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.iter().take(ENOUGH).position(|&byte| byte == b'\r') {
        Some(end) => Some(&bytes[..end]),
        None => bytes.get(..ENOUGH),
    }
}

/// Whether a status is a line of MONITOR, which begins with the time: `+1339518083.107412 [0`. No
/// status of a command that a monitor may run does; `None`: more of it must be here.
fn is_monitors_line(bytes: &[u8]) -> Option<bool> {
    let time = bytes.get(1..)?;
    // Of seconds there are ten digits until 2286. DEBUG DIGEST answers forty.
    let digits = (time.iter().take(20)).take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    let next = time.get(digits)?;
    Some(digits > 0 && *next == b'.')
}

/// MULTI, EXEC or DISCARD is answered.
fn transacted(known: &mut Known, transaction: Transaction, line: &[u8]) {
    if ends_watch(transaction, line, known.in_multi) {
        known.is_watching = false;
    }
    known.in_multi = is_open_after(transaction, line, known.in_multi);
    known.place.transacted(transaction, line);
}

/// Whether no key is watched after this reply. In doubt one is: then the connection is never another
/// client's.
fn ends_watch(transaction: Transaction, line: &[u8], open: bool) -> bool {
    match transaction {
        Transaction::Multi => false,
        Transaction::Discard => line == b"+OK",
        Transaction::Exec => {
            let ran = line.starts_with(b"*") || line.starts_with(b"_");
            ran || open && line.starts_with(b"-EXECABORT")
        }
    }
}

/// Whether a transaction is open after this reply. In doubt it is: then a refusal goes by way of
/// the upstream, which is right in both cases.
fn is_open_after(transaction: Transaction, line: &[u8], open: bool) -> bool {
    match transaction {
        Transaction::Multi => open || line == b"+OK",
        Transaction::Discard => {
            open && line != b"+OK" && !line.starts_with(b"-ERR DISCARD without MULTI")
        }
        // An EXEC that is refused ends the transaction since 6.0 (EXECABORT) and doesn't before:
        // there it answers a plain arity error and goes on. Up to 6.2 a replica ends a transaction
        // that writes with its own text.
        Transaction::Exec => {
            let ends = line.starts_with(b"*")
                || line.starts_with(b"_")
                || line.starts_with(b"-EXECABORT")
                || line.starts_with(b"-ERR EXEC without MULTI")
                || line.starts_with(b"-ERR Transaction contains write");
            open && !ends
        }
    }
}
