//! The replies that a client is owed, in the order of its requests.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use crate::rewrite::Answer;

use super::known::Protocol;
use super::place::Target;
use super::pubsub::{EVERY, Listen};

/// One reply that is owed, or a run of plain ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    /// So many replies of the upstream, passed on as they come.
    Upstream(u32),
    /// The reply to a command that may wait for other clients.
    Blocking,
    /// The reply to WATCH or UNWATCH, on a connection that may be given back: it tells whether keys
    /// are watched.
    Watch(bool),
    /// The reply to MULTI, EXEC or DISCARD: it tells whether a transaction is open.
    Transaction(Transaction),
    /// The reply to SELECT: it tells whether the database is another one.
    Select(Target),
    /// The error of a command that was sent to spoil the transaction; ours takes its place.
    Poison { len: u32 },
    /// The reply to a command of our own: nobody's.
    Swallow,
    /// The same, to SCRIPT LOAD with so many bytes of script.
    Load(u32),
    /// The reply to a call of a script that the proxy knows, and has put so many bytes of into it: it
    /// may tell that Redis knows it no more.
    Script(u32),
    /// The reply to a DISCARD that went in the place of a refused EXEC; ours takes its place.
    Abort { len: u32 },
    /// The reply to HELLO: where it is no error, what follows is in this protocol; `None`: in the
    /// same as before.
    Hello(Option<Protocol>),
    /// A reply that names addresses, which are mapped.
    Answer(Answer),
    /// Confirmations of subscriptions, or one error.
    Listen(Listen),
    /// The reply to MONITOR: behind an OK come lines that answer nobody.
    Monitor,
    /// The reply to SYNC or PSYNC: where it is no error, no replies follow.
    Sync,
    /// No reply: from here on, replies are passed on or kept back.
    Mute(bool),
    /// Ours alone.
    Local { len: u32 },
}

/// What a reply may do to an open transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transaction {
    Multi,
    Exec,
    Discard,
}

/// Every reply that is owed.
#[derive(Debug, Default)]
pub(super) struct Slots {
    queue: VecDeque<Slot>,
    /// The bytes of `Poison`, `Abort` and `Local`, in order.
    replies: BytesMut,
    /// How many `Transaction` and `Abort` slots there are.
    transactions: usize,
    /// How many slots there are behind which the connection may be in another mode.
    turns: usize,
    /// How many of them are takeovers: nothing can be said of what comes behind.
    takeovers: usize,
    /// The bytes of `Load` and `Script`.
    scripts: usize,
    /// Replies of the upstream that were noted since [`Slots::take_sent`].
    sent: u32,
    /// Replies of the upstream that are owed.
    owed: u64,
}

/// Slots and reply bytes that are kept when empty, 1 KB each: there are many sessions that wait.
/// Replies of the upstream share a slot, so only a pipeline of more than a hundred transactions or
/// refusals grows them anew, at the cost of a few allocations for all of it.
const KEPT_SLOTS: usize = 128;
const KEPT_BYTES: usize = 1024;

/// A client can make a slot with every few bytes that it sends.
const _: () = assert!(size_of::<Slot>() == 8);

// === impl Slots ===

impl Slots {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn front(&self) -> Option<Slot> {
        self.queue.front().copied()
    }

    /// Whether a MULTI, EXEC or DISCARD is not answered yet.
    pub(super) fn transaction_pending(&self) -> bool {
        self.transactions > 0
    }

    /// Whether a reply is owed behind which the connection may be in another mode, or speak another
    /// protocol.
    #[inline]
    pub(super) fn turn_pending(&self) -> bool {
        self.turns > 0
    }

    /// Whether a reply is owed that decides what the connection is for.
    #[inline]
    pub(super) fn takeover_pending(&self) -> bool {
        self.takeovers > 0
    }

    /// Whether a MONITOR is among them, and a SYNC: there is one at most, and nothing behind it.
    pub(super) fn takeovers(&self) -> (bool, bool) {
        let last = self
            .queue
            .iter()
            .rfind(|slot| !matches!(slot, Slot::Mute(_)));
        (last == Some(&Slot::Monitor), last == Some(&Slot::Sync))
    }

    /// Bytes of scripts that were put in and are not answered yet.
    pub(super) fn scripts(&self) -> usize {
        self.scripts
    }

    /// Bytes that the queue takes: ours that wait for their turn, and the slots themselves, of
    /// which a client that never reads can make one with every few bytes it sends.
    pub(super) fn held(&self) -> usize {
        self.replies.len() + self.queue.len() * size_of::<Slot>()
    }

    /// How many replies the upstream owes. (Confirmations of one request count as one.)
    #[inline]
    pub(super) fn owed(&self) -> u64 {
        self.owed
    }

    /// How many replies of the upstream were noted since this was asked last.
    #[inline]
    pub(super) fn take_sent(&mut self) -> u32 {
        std::mem::take(&mut self.sent)
    }

    #[inline]
    pub(super) fn push_upstream(&mut self) {
        // Asked for at every batch where it matters, and nobody's business elsewhere.
        self.sent = self.sent.wrapping_add(1);
        self.owed += 1;
        if let Some(Slot::Upstream(count)) = self.queue.back_mut()
            && *count < u32::MAX
        {
            *count += 1;
            return;
        }
        self.queue.push_back(Slot::Upstream(1));
    }

    pub(super) fn push(&mut self, slot: Slot) {
        if !matches!(slot, Slot::Local { .. } | Slot::Mute(_)) {
            self.sent = self.sent.wrapping_add(1);
        }
        self.count(slot, true);
        self.queue.push_back(slot);
    }

    pub(super) fn push_local(&mut self, reply: &[u8]) {
        self.push_ours(reply, |len| Slot::Local { len });
    }

    pub(super) fn push_poison(&mut self, reply: &[u8]) {
        self.push_ours(reply, |len| Slot::Poison { len });
    }

    pub(super) fn push_abort(&mut self, reply: &[u8]) {
        self.push_ours(reply, |len| Slot::Abort { len });
    }

    fn push_ours(&mut self, reply: &[u8], slot: impl FnOnce(u32) -> Slot) {
        self.replies.extend_from_slice(reply);
        self.push(slot(reply.len() as u32));
    }

    /// Takes the last one back: its request broke off and is never answered.
    pub(super) fn cancel_last(&mut self) {
        // What a CLIENT REPLY SKIP before it has left behind it.
        while let Some(Slot::Mute(_)) = self.queue.back() {
            self.queue.pop_back();
        }
        if let Some(Slot::Upstream(count)) = self.queue.back_mut()
            && *count > 1
        {
            *count -= 1;
            self.owed -= 1;
            return;
        }
        if let Some(slot) = self.queue.pop_back() {
            self.count(slot, false);
        }
    }

    /// Takes one reply's place off the front, and hands over our bytes for it, if there are any.
    #[inline]
    pub(super) fn pop(&mut self, mut ours: impl FnMut(&[u8])) {
        if let Some(Slot::Upstream(count)) = self.queue.front_mut()
            && *count > 1
        {
            *count -= 1;
            self.owed -= 1;
            return;
        }
        let Some(slot) = self.queue.pop_front() else {
            return;
        };
        if let Slot::Poison { len } | Slot::Local { len } | Slot::Abort { len } = slot {
            let len = len as usize;
            ours(&self.replies[..len]);
            self.replies.advance(len);
            // What was taken off counts as capacity only once it is reclaimed.
            if self.replies.is_empty() && self.replies.try_reclaim(KEPT_BYTES + 1) {
                self.replies = BytesMut::new();
            }
        }
        self.count(slot, false);
        if self.queue.is_empty() && self.queue.capacity() > KEPT_SLOTS {
            self.queue = VecDeque::new();
        }
    }

    /// One confirmation has come of those at the front, which `every` says the number of where the
    /// request didn't. Returns whether it was the last.
    pub(super) fn confirm(&mut self, every: u32) -> bool {
        match self.queue.front_mut() {
            Some(Slot::Listen(listen)) => {
                if listen.left == EVERY {
                    listen.left = every;
                }
                listen.left = listen.left.saturating_sub(1);
                listen.left == 0
            }
            _ => false,
        }
    }

    #[inline]
    fn count(&mut self, slot: Slot, more: bool) {
        let step = |number: &mut usize, by: usize| {
            *number = if more { *number + by } else { *number - by };
        };
        // A run that is begun or ended here is one reply long.
        let is_ours = matches!(slot, Slot::Local { .. } | Slot::Mute(_));
        if !is_ours {
            self.owed = if more { self.owed + 1 } else { self.owed - 1 };
        }
        match slot {
            Slot::Transaction(_) | Slot::Abort { .. } => step(&mut self.transactions, 1),
            Slot::Load(len) | Slot::Script(len) => step(&mut self.scripts, len as usize),
            Slot::Hello(_) | Slot::Listen(_) => step(&mut self.turns, 1),
            Slot::Monitor | Slot::Sync => {
                step(&mut self.turns, 1);
                step(&mut self.takeovers, 1);
            }
            _ => {}
        }
    }
}
