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

/// A canary is sent with each so many batches: without pipelining that is a sixtieth of a command more
/// for each command, and at most so many batches of replies go astray before it is noticed.
const BATCHES: u32 = 64;

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
                            // A transaction that the server has not ended (5.0, where a script has
                            // become busy before its EXEC) would swallow what comes behind it.
                            Some(ReplyKind::Answer)
                                if !self.scripts && self.input[end..seen] == *QUEUED =>
                            {
                                if front.queued == 0 {
                                    break Err(Desync::Queued);
                                }
                                front.queued -= 1;
                                done += 1;
                                end = seen;
                                if done == front.count {
                                    break Ok(());
                                }
                            }
                            Some(ReplyKind::Answer) => {
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
mod tests {
    use super::*;

    const MOST: usize = 1024;

    fn trunk() -> Trunk {
        Trunk::new([7; 16], MOST, false)
    }

    fn load(requests: &[u8], replies: u32) -> Load<'_> {
        Load {
            requests: [requests, b""],
            replies,
            queued: 0,
        }
    }

    fn write_all(trunk: &mut Trunk) -> Vec<u8> {
        let out = trunk.batch().to_vec();
        trunk.wrote(out.len());
        out
    }

    fn deliver(trunk: &mut Trunk, bytes: &[u8]) -> Result<Vec<u32>, Desync> {
        trunk.input().extend_from_slice(bytes);
        let mut woken = Vec::new();
        trunk.deliver(|_| {}, |index| woken.push(index))?;
        Ok(woken)
    }

    fn take(trunk: &mut Trunk, rider: Rider) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = trunk.take(rider) {
            all.extend_from_slice(&piece);
        }
        all
    }

    #[test]
    fn each_rider_gets_its_own_replies() {
        let all = b"+a1\r\n+a2\r\n$2\r\nb1\r\n+a3\r\n";
        for cut in 0..all.len() {
            let mut trunk = trunk();
            let (a, b) = (trunk.board(), trunk.board());
            trunk.send(a, load(b"a1a2", 2));
            trunk.send(b, load(b"b1", 1));
            trunk.send(a, load(b"a3", 1));
            assert_eq!(write_all(&mut trunk), b"a1a2b1a3");
            deliver(&mut trunk, &all[..cut]).unwrap();
            deliver(&mut trunk, &all[cut..]).unwrap();
            assert_eq!(
                take(&mut trunk, a),
                b"+a1\r\n+a2\r\n+a3\r\n",
                "cut at {cut}"
            );
            assert_eq!(take(&mut trunk, b), b"$2\r\nb1\r\n");
            assert!(trunk.is_idle());
        }
    }

    #[test]
    fn a_dead_riders_late_reply_reaches_nobody() {
        let mut trunk = trunk();
        let dead = trunk.board();
        trunk.send(dead, load(b"x", 2));
        deliver(&mut trunk, b"+first\r\n+sec").unwrap();
        trunk.leave(dead);
        let heir = trunk.board();
        assert_eq!(heir.index(), dead.index(), "the same seat");
        trunk.send(heir, load(b"y", 1));
        deliver(&mut trunk, b"ond\r\n+mine\r\n").unwrap();
        assert_eq!(take(&mut trunk, heir), b"+mine\r\n");
        assert_eq!(take(&mut trunk, dead), b"");
    }

    #[test]
    fn a_reply_that_nobody_is_owed_is_noticed() {
        let mut trunk = trunk();
        let rider = trunk.board();
        trunk.send(rider, load(b"x", 1));
        assert_eq!(deliver(&mut trunk, b"+1\r\n+2\r\n"), Err(Desync::Unowed));
        assert_eq!(take(&mut trunk, rider), b"+1\r\n");
    }

    #[test]
    fn a_transaction_that_was_left_open_is_noticed_at_the_first_reply() {
        let mut trunk = trunk();
        let (a, b) = (trunk.board(), trunk.board());
        let requests = [&b"MULTI SET EXEC"[..], b""];
        trunk.send(
            a,
            Load {
                requests,
                replies: 3,
                queued: 1,
            },
        );
        trunk.send(b, load(b"GET", 1));
        let replies = b"+OK\r\n+QUEUED\r\n-BUSY\r\n+QUEUED\r\n";
        assert_eq!(deliver(&mut trunk, replies), Err(Desync::Queued));
        assert_eq!(take(&mut trunk, b), b"");
        // Where scripts run, it may be what one of them says.
        let mut trunk = Trunk::new([7; 16], MOST, true);
        let rider = trunk.board();
        trunk.send(rider, load(b"EVAL", 1));
        deliver(&mut trunk, QUEUED).unwrap();
        assert_eq!(take(&mut trunk, rider), QUEUED);
    }

    #[test]
    fn a_push_is_for_nobody_here() {
        let mut trunk = trunk();
        let rider = trunk.board();
        trunk.send(rider, load(b"x", 1));
        assert_eq!(deliver(&mut trunk, b">1\r\n+x\r\n"), Err(Desync::Push));
    }

    fn canary_of(batch: &[u8]) -> Vec<u8> {
        let prefix = b"*2\r\n$4\r\nECHO\r\n";
        let at = batch.windows(prefix.len()).position(|part| part == prefix);
        batch[at.unwrap() + prefix.len()..].to_vec()
    }

    #[test]
    fn a_canary_in_its_place_is_kept_back() {
        for cut in 0..60 {
            let mut trunk = trunk();
            let rider = trunk.board();
            trunk.check();
            trunk.send(rider, load(b"x", 1));
            let mut replies = canary_of(&write_all(&mut trunk));
            replies.truncate(replies.len() - 1);
            replies.extend_from_slice(b"+mine\r\n");
            let cut = cut.min(replies.len());
            deliver(&mut trunk, &replies[..cut]).unwrap();
            deliver(&mut trunk, &replies[cut..]).unwrap();
            assert_eq!(take(&mut trunk, rider), b"+mine\r\n", "cut at {cut}");
        }
    }

    #[test]
    fn a_canary_out_of_its_place_is_noticed() {
        let mut trunk = trunk();
        let rider = trunk.board();
        trunk.check();
        trunk.send(rider, load(b"x", 1));
        write_all(&mut trunk);
        assert_eq!(deliver(&mut trunk, b"+mine\r\n"), Err(Desync::Canary));
        assert_eq!(take(&mut trunk, rider), b"");
        // Nor may it be another canary's.
        let mut trunk = self::trunk();
        trunk.check();
        trunk.check();
        let both = write_all(&mut trunk);
        let second = canary_of(&both[10..]);
        assert_eq!(deliver(&mut trunk, &second), Err(Desync::Canary));
    }

    #[test]
    fn a_server_that_loads_is_not_out_of_step() {
        for (error, answer) in [
            (&b"-LOADING Redis is loading\r\n"[..], Ok(vec![])),
            (b"-BUSY Redis is busy\r\n", Ok(vec![])),
            (
                b"-NOAUTH Authentication required.\r\n",
                Err(Desync::Credential),
            ),
            (b"-ERR what\r\n", Err(Desync::Canary)),
        ] {
            let mut trunk = trunk();
            trunk.check();
            write_all(&mut trunk);
            let (first, rest) = error.split_at(9);
            let heard = deliver(&mut trunk, first).and_then(|_| deliver(&mut trunk, rest));
            assert_eq!(heard, answer, "{error:?}");
        }
    }

    #[test]
    fn a_canary_flies_with_every_so_many_batches() {
        let mut trunk = trunk();
        let rider = trunk.board();
        let mut flown = 0;
        for _ in 0..BATCHES * 3 {
            trunk.send(rider, load(b"x", 1));
            let batch = write_all(&mut trunk);
            flown += u32::from(batch.len() > 1);
        }
        assert_eq!(flown, 3);
        assert_eq!(
            write_all(&mut trunk),
            b"",
            "nothing to write, nothing to check"
        );
    }

    #[test]
    fn who_has_all_that_it_is_owed_can_hinder_too() {
        let mut trunk = trunk();
        let (slow, other) = (trunk.board(), trunk.board());
        trunk.send(slow, load(b"x", 1));
        let value = "v".repeat(2 * MOST);
        deliver(
            &mut trunk,
            format!("${}\r\n{value}\r\n", 2 * MOST).as_bytes(),
        )
        .unwrap();
        assert_eq!(trunk.hindrance(), Some(slow));
        // What itself or nobody waits for is no reason to cut it.
        trunk.check();
        trunk.send(slow, load(b"x", 1));
        let gone = trunk.board();
        trunk.send(gone, load(b"x", 1));
        trunk.leave(gone);
        assert!(!trunk.owes_others(slow));
        trunk.send(other, load(b"y", 1));
        assert!(trunk.owes_others(slow));
    }

    #[test]
    fn who_leaves_too_much_unread_hinders() {
        let mut trunk = trunk();
        let (slow, other) = (trunk.board(), trunk.board());
        trunk.send(slow, load(b"x", 1));
        trunk.send(other, load(b"y", 1));
        let value = vec![b'v'; 40 * 1024];
        let mut reply = format!("${}\r\n", value.len()).into_bytes();
        reply.extend_from_slice(&value);
        reply.extend_from_slice(b"\r\n");
        deliver(&mut trunk, &reply[..20 * 1024]).unwrap();
        assert_eq!(trunk.hindrance(), Some(slow));
        assert!(trunk.owes_others(slow));
        assert_eq!(take(&mut trunk, slow).len(), 20 * 1024, "it streams");
        assert_eq!(trunk.hindrance(), None);
        deliver(&mut trunk, &reply[20 * 1024..]).unwrap();
        assert_eq!(trunk.hindrance(), Some(slow));
        trunk.leave(slow);
        assert_eq!(trunk.hindrance(), None);
        deliver(&mut trunk, b"+y\r\n").unwrap();
        assert_eq!(take(&mut trunk, other), b"+y\r\n");
    }
}
