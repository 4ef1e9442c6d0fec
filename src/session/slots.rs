//! The replies that a client is owed, in the order of its requests.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use super::place::Target;

/// One reply that is owed, or a run of plain ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    /// So many replies of the upstream, passed on as they come.
    Upstream(u32),
    /// The reply to a command that may wait for other clients.
    Blocking,
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
    /// The bytes of `Poison` and `Local`, in order.
    replies: BytesMut,
    /// How many `Transaction` slots there are.
    transactions: usize,
    /// The bytes of `Load` and `Script`.
    scripts: usize,
}

/// Slots and reply bytes that are kept when empty: what a pipeline of a thousand refusals needs.
const KEPT_SLOTS: usize = 1024;
const KEPT_BYTES: usize = 64 * 1024;

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

    /// Bytes of scripts that were put in and are not answered yet.
    pub(super) fn scripts(&self) -> usize {
        self.scripts
    }

    /// Bytes that the queue takes: ours that wait for their turn, and the slots themselves, of
    /// which a client that never reads can make one with every few bytes it sends.
    pub(super) fn held(&self) -> usize {
        self.replies.len() + self.queue.len() * size_of::<Slot>()
    }

    #[inline]
    pub(super) fn push_upstream(&mut self) {
        if let Some(Slot::Upstream(count)) = self.queue.back_mut()
            && *count < u32::MAX
        {
            *count += 1;
            return;
        }
        self.queue.push_back(Slot::Upstream(1));
    }

    pub(super) fn push(&mut self, slot: Slot) {
        match slot {
            Slot::Transaction(_) => self.transactions += 1,
            Slot::Load(len) | Slot::Script(len) => self.scripts += len as usize,
            _ => {}
        }
        self.queue.push_back(slot);
    }

    pub(super) fn push_local(&mut self, reply: &[u8]) {
        self.replies.extend_from_slice(reply);
        let len = reply.len() as u32;
        self.queue.push_back(Slot::Local { len });
    }

    pub(super) fn push_poison(&mut self, reply: &[u8]) {
        self.replies.extend_from_slice(reply);
        let len = reply.len() as u32;
        self.queue.push_back(Slot::Poison { len });
    }

    /// Takes the last one back: its request broke off and is never answered.
    pub(super) fn cancel_last(&mut self) {
        match self.queue.back_mut() {
            Some(Slot::Upstream(count)) if *count > 1 => {
                *count -= 1;
                return;
            }
            Some(Slot::Transaction(_)) => self.transactions -= 1,
            Some(Slot::Load(len) | Slot::Script(len)) => self.scripts -= *len as usize,
            _ => {}
        }
        self.queue.pop_back();
    }

    /// Takes one reply's place off the front, and hands over our bytes for it, if there are any.
    #[inline]
    pub(super) fn pop(&mut self, out: &mut BytesMut) {
        match self.queue.front_mut() {
            Some(Slot::Upstream(count)) if *count > 1 => {
                *count -= 1;
                return;
            }
            Some(Slot::Poison { len } | Slot::Local { len }) => {
                let len = *len as usize;
                out.extend_from_slice(&self.replies[..len]);
                self.replies.advance(len);
            }
            Some(Slot::Transaction(_)) => self.transactions -= 1,
            Some(Slot::Load(len) | Slot::Script(len)) => self.scripts -= *len as usize,
            Some(Slot::Upstream(_) | Slot::Blocking | Slot::Select(_) | Slot::Swallow) | None => {}
        }
        self.queue.pop_front();
        if self.queue.is_empty() {
            if self.queue.capacity() > KEPT_SLOTS {
                self.queue = VecDeque::new();
            }
            if self.replies.capacity() > KEPT_BYTES {
                self.replies = BytesMut::new();
            }
        }
    }
}
