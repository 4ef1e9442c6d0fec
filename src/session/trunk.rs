//! An upstream connection that many sessions use: what is sent on it, and whose its replies are.
//!
//! Knows no session's state: a rider is a number, its requests are bytes and a count of replies. Whole
//! requests come in, whole replies go out to the one who is owed them, or to nobody.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use crate::resp::{ReplyKind, ReplyScanner, encode_request};

use super::replies::Desync;

/// One session's place on a trunk. It is never another session's: a reply reaches its own or nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rider {
    index: u32,
    generation: u32,
}

/// An upstream connection that many sessions use.
#[derive(Debug)]
pub struct Trunk {
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// Whose the next replies are, in order.
    owed: VecDeque<Owed>,
    /// What is to be written.
    out: BytesMut,
    /// What was read and isn't delivered.
    input: BytesMut,
    /// What of it the scanner has seen: the beginning of a reply.
    scanned: usize,
    replies: ReplyScanner,
    canary: Canary,
    max_unread: usize,
    /// Scripts run here, which may answer anything, and no transactions.
    scripts: bool,
    /// Who must take some of its replies before more are read.
    hindered_by: Option<Rider>,
}

/// What is sent for a rider in one go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load<'a> {
    /// Whole requests, in two pieces.
    pub requests: [&'a [u8]; 2],
    /// The replies that are owed to them.
    pub replies: u32,
    /// How many of these may be `+QUEUED`: those between a MULTI and its EXEC.
    pub queued: u32,
}

/// Where a rider's replies wait for it.
#[derive(Debug, Default)]
struct Seat {
    generation: u32,
    /// Replies that are owed.
    owed: u32,
    /// What has come and isn't taken; `more` is what has no room in it.
    inbox: BytesMut,
    more: VecDeque<BytesMut>,
    /// Bytes of `more`.
    behind: usize,
    /// Bytes that were taken since ever.
    taken: u64,
}

/// A run of replies that are owed to the same.
#[derive(Clone, Copy, Debug)]
struct Owed {
    to: Debtor,
    count: u32,
    /// How many of them may be `+QUEUED`.
    queued: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Debtor {
    Rider(Rider),
    Canary,
}

/// Requests of our own whose replies nobody could give by chance: where one is not in its place, the
/// count of replies is off.
#[derive(Debug)]
struct Canary {
    seed: [u8; 16],
    sent: u64,
    seen: u64,
    /// Batches since the last.
    batches: u32,
}

/// A canary is sent with each so many batches. Under load a batch is dozens of commands, so that costs a
/// fraction of a percent; and at most so many batches of replies go astray before it is noticed.
const BATCHES: u32 = 16;

/// The beginning of a reply that is this long is passed on before its end is here, so that large ones
/// stream. Of shorter ones the rest comes with the next read, and one wake-up is spared.
const STREAM_AT: usize = 16 * 1024;

/// What waits for a rider lies in pieces of at least this size: one growing buffer would be copied over
/// and over, and a rider takes a piece at a time.
const CHUNK: usize = 64 * 1024;

/// Empty buffers larger than this are given back.
const KEPT: usize = 128 * 1024;

// === impl Trunk ===

impl Trunk {
    /// A trunk without riders. `seed`: what nobody can guess. `max_unread`: bytes that a rider may
    /// leave unread before the others' replies wait for it. `scripts`: it is for them alone.
    pub fn new(seed: [u8; 16], max_unread: usize, scripts: bool) -> Self {
        Self {
            seats: Vec::new(),
            free: Vec::new(),
            owed: VecDeque::new(),
            out: BytesMut::new(),
            input: BytesMut::new(),
            scanned: 0,
            replies: ReplyScanner::default(),
            canary: Canary {
                seed,
                sent: 0,
                seen: 0,
                batches: 0,
            },
            max_unread,
            scripts,
            hindered_by: None,
        }
    }

    /// A place for one more.
    pub fn board(&mut self) -> Rider {
        let index = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            // Each has a socket: there are fewer than that of them.
            (self.seats.len() - 1) as u32
        });
        Rider {
            index,
            generation: self.seats[index as usize].generation,
        }
    }

    /// The rider is gone. What it is owed is read and dropped.
    pub fn leave(&mut self, rider: Rider) {
        let Some(seat) = self.seat(rider) else {
            return;
        };
        *seat = Seat {
            generation: seat.generation.wrapping_add(1),
            ..Seat::default()
        };
        self.free.push(rider.index);
    }

    /// Sends a rider's requests with the next batch.
    pub fn send(&mut self, rider: Rider, load: Load<'_>) {
        let Some(seat) = self.seat(rider) else {
            return;
        };
        seat.owed += load.replies;
        for piece in load.requests {
            self.out.extend_from_slice(piece);
        }
        self.owe(Owed {
            to: Debtor::Rider(rider),
            count: load.replies,
            queued: load.queued,
        });
    }

    fn owe(&mut self, owed: Owed) {
        match self.owed.back_mut() {
            Some(last) if last.to == owed.to && owed.to != Debtor::Canary => {
                last.count += owed.count;
                last.queued += owed.queued;
            }
            _ => self.owed.push_back(owed),
        }
    }

    /// What is to be written. A batch begins: a canary goes with it when it is time.
    pub fn batch(&mut self) -> &[u8] {
        if !self.out.is_empty() {
            self.canary.batches += 1;
            if self.canary.batches >= BATCHES {
                self.check();
            }
        }
        &self.out
    }

    /// Sends a canary.
    pub fn check(&mut self) {
        self.canary.batches = 0;
        let nonce = self.canary.nonce(self.canary.sent);
        self.canary.sent += 1;
        encode_request([&b"ECHO"[..], &nonce].into_iter(), &mut self.out);
        self.owe(Owed {
            to: Debtor::Canary,
            count: 1,
            queued: 0,
        });
    }

    /// How many canaries were sent, and how many have been answered.
    #[inline]
    pub fn canaries(&self) -> (u64, u64) {
        (self.canary.sent, self.canary.seen)
    }

    /// What is still to be written of the batch.
    pub fn unwritten(&self) -> &[u8] {
        &self.out
    }

    /// So much of it was written.
    pub fn wrote(&mut self, len: usize) {
        self.out.advance(len);
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
    }

    /// Where what is read is put.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Hands over what was read to those whom it is for, and calls `wake` with the number of each. `lend`
    /// gives memory to a buffer that has none.
    ///
    /// # Errors
    /// Nobody knows any more whose the next reply is. What was handed over is right.
    pub fn deliver(
        &mut self,
        mut lend: impl FnMut(&mut BytesMut),
        mut wake: impl FnMut(u32),
    ) -> Result<(), Desync> {
        let mut start = 0;
        let result = loop {
            let Some(front) = self.owed.front_mut() else {
                break if start < self.input.len() {
                    Err(Desync::Unowed)
                } else {
                    Ok(())
                };
            };
            let rider = match front.to {
                Debtor::Rider(rider) => rider,
                Debtor::Canary => match self.canary.hear(&self.input[start..]) {
                    Ok(Some(len)) => {
                        start += len;
                        self.owed.pop_front();
                        continue;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
            };
            let mut done = 0;
            let mut end = start;
            let mut seen = start + self.scanned;
            let scan = loop {
                match self.replies.advance(&self.input[seen..]) {
                    Ok(step) => {
                        seen += step.consumed;
                        match step.done {
                            None => break Ok(()),
                            Some(ReplyKind::Push) => break Err(Desync::Push),
                            Some(ReplyKind::Answer) => {
                                // A transaction that the server has not ended (5.0, where a script has
                                // become busy before its EXEC) would swallow what comes behind it.
                                if !self.scripts && self.input[end..seen] == *QUEUED {
                                    let Some(left) = front.queued.checked_sub(1) else {
                                        break Err(Desync::Queued);
                                    };
                                    front.queued = left;
                                }
                                done += 1;
                                end = seen;
                                if done == front.count {
                                    break Ok(());
                                }
                            }
                        }
                    }
                    Err(error) => break Err(error.into()),
                }
            };
            let whole = done == front.count;
            if whole {
                self.owed.pop_front();
            } else {
                front.count -= done;
                if seen - end >= STREAM_AT {
                    end = seen;
                }
            }
            self.scanned = seen - end;
            let seat = self.seats.get_mut(rider.index as usize);
            if let Some(seat) = seat.filter(|seat| seat.generation == rider.generation) {
                seat.owed -= done;
                if end > start {
                    if seat.inbox.capacity() == 0 {
                        lend(&mut seat.inbox);
                    }
                    seat.put(&self.input[start..end]);
                    wake(rider.index);
                    if seat.unread() > self.max_unread {
                        self.hindered_by = Some(rider);
                    }
                }
            }
            start = end;
            if !whole || scan.is_err() {
                break scan;
            }
        };
        self.input.advance(start);
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = BytesMut::new();
        }
        result
    }

    /// Takes what has come for a rider, or the next piece of it.
    pub fn take(&mut self, rider: Rider) -> Option<BytesMut> {
        let seat = self.seat(rider)?;
        if seat.inbox.is_empty() {
            return None;
        }
        let taken = std::mem::take(&mut seat.inbox);
        seat.taken += taken.len() as u64;
        if let Some(next) = seat.more.pop_front() {
            seat.behind -= next.len();
            seat.inbox = next;
        } else if seat.more.capacity() > 0 {
            seat.more = VecDeque::new();
        }
        Some(taken)
    }

    /// From now on a rider may leave so many bytes unread before the others' replies wait for it.
    #[inline]
    pub fn set_max_unread(&mut self, bytes: usize) {
        self.max_unread = bytes;
    }

    /// Bytes that wait for a rider.
    #[inline]
    pub fn unread(&self, rider: Rider) -> usize {
        let seat = self.seats.get(rider.index as usize);
        let seat = seat.filter(|seat| seat.generation == rider.generation);
        seat.map_or(0, Seat::unread)
    }

    /// Whether more may be read; if not, the one whom the others wait for.
    pub fn hindrance(&mut self) -> Option<Rider> {
        let rider = self.hindered_by?;
        let most = self.max_unread;
        if self.seat(rider).is_none_or(|seat| seat.unread() <= most) {
            self.hindered_by = None;
        }
        self.hindered_by
    }

    /// Bytes that a rider has taken since it is here; `None`: it is gone.
    pub fn taken(&self, rider: Rider) -> Option<u64> {
        let seat = self.seats.get(rider.index as usize);
        let seat = seat.filter(|seat| seat.generation == rider.generation);
        seat.map(|seat| seat.taken)
    }

    /// Whether another one who is here is owed something.
    pub fn owes_others(&self, rider: Rider) -> bool {
        let mut owed = self.owed.iter();
        owed.any(|owed| match owed.to {
            Debtor::Rider(other) => other != rider && self.taken(other).is_some(),
            Debtor::Canary => false,
        })
    }

    /// How many replies a rider is owed.
    pub fn owed(&self, rider: Rider) -> u32 {
        let seat = self.seats.get(rider.index as usize);
        let seat = seat.filter(|seat| seat.generation == rider.generation);
        seat.map_or(0, |seat| seat.owed)
    }

    /// Whether something has come for a rider that it hasn't taken.
    pub fn has_left(&self, rider: Rider) -> bool {
        let seat = self.seats.get(rider.index as usize);
        let seat = seat.filter(|seat| seat.generation == rider.generation);
        seat.is_some_and(|seat| !seat.inbox.is_empty())
    }

    /// Whether nothing is owed or on its way.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty() && self.out.is_empty()
    }

    /// How many use it.
    pub fn riders(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    fn seat(&mut self, rider: Rider) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(rider.index as usize)?;
        (seat.generation == rider.generation).then_some(seat)
    }
}

// === impl Seat ===

impl Seat {
    fn put(&mut self, bytes: &[u8]) {
        if self.inbox.len() < CHUNK {
            self.inbox.extend_from_slice(bytes);
            return;
        }
        self.behind += bytes.len();
        match self.more.back_mut() {
            Some(last) if last.len() < CHUNK => last.extend_from_slice(bytes),
            _ => self.more.push_back(BytesMut::from(bytes)),
        }
    }

    fn unread(&self) -> usize {
        self.inbox.len() + self.behind
    }
}

// === impl Rider ===

impl Rider {
    /// The number of its place, which another rider has when this one is gone.
    pub fn index(self) -> u32 {
        self.index
    }
}

// === impl Canary ===

impl Canary {
    fn nonce(&self, number: u64) -> [u8; 48] {
        let mut nonce = [0; 48];
        let digits = b"0123456789abcdef";
        let bytes = self.seed.iter().copied().chain(number.to_be_bytes());
        for (pair, byte) in nonce.chunks_exact_mut(2).zip(bytes) {
            pair[0] = digits[usize::from(byte >> 4)];
            pair[1] = digits[usize::from(byte & 15)];
        }
        nonce
    }

    /// What the canary of this number is answered by.
    fn reply(&self, number: u64) -> [u8; 55] {
        let mut reply = *b"$48\r\n................................................\r\n";
        reply[5..53].copy_from_slice(&self.nonce(number));
        reply
    }

    /// Looks at the next reply, which must be its own. Returns its length; `None`: more of it must be
    /// here.
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<usize>, Desync> {
        let expected = self.reply(self.seen);
        if bytes.starts_with(&expected) {
            self.seen += 1;
            return Ok(Some(expected.len()));
        }
        if expected.starts_with(bytes) {
            return Ok(None);
        }
        if bytes.first() != Some(&b'-') {
            return Err(Desync::Canary);
        }
        let end = bytes.iter().take(MAX_ERROR).position(|&byte| byte == b'\n');
        let Some(end) = end else {
            return match bytes.len() < MAX_ERROR {
                true => Ok(None),
                false => Err(Desync::Canary),
            };
        };
        // A server that can't serve anybody just now says so to us as well.
        let excuses = [&b"-LOADING "[..], b"-BUSY ", b"-MASTERDOWN "];
        if excuses.iter().any(|excuse| bytes.starts_with(excuse)) {
            self.seen += 1;
            Ok(Some(end + 1))
        } else if bytes.starts_with(b"-NOAUTH") {
            Err(Desync::Credential)
        } else {
            Err(Desync::Canary)
        }
    }
}

/// The reply to a command in a transaction.
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// The longest error that may answer a canary.
const MAX_ERROR: usize = 512;

#[cfg(test)]
mod tests;
