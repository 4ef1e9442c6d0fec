//! Replies that name addresses: held until they are whole, and passed on with the proxies' addresses
//! in the place of the servers'. What is written in them is `rewrite`'s affair.

use std::sync::Arc;

use bytes::BytesMut;

use crate::rewrite::{
    Addresses, Answer, rewrite_answer, rewrite_message, rewrite_redirect, rewrite_transaction,
};

use super::pipe::Pipe;
use super::slots::{Slot, Transaction};

/// What is needed to map the replies of one upstream connection.
#[derive(Debug)]
pub(super) struct Mapping {
    addresses: Arc<Addresses>,
    /// The upstream is a Sentinel, whose messages name addresses too.
    pub(super) sentinel: bool,
    /// What the open transaction has queued.
    queued: Vec<Option<Answer>>,
    /// What is here of the reply that is read.
    held: BytesMut,
}

/// Why a reply is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// Its command names addresses.
    Answer(Answer),
    /// So does one of its transaction's.
    Transaction,
    /// MOVED or ASK.
    Redirect,
    /// It is a message of a Sentinel.
    Message,
}

/// What is held of one reply. CLUSTER NODES of a thousand nodes is 200 KB; what is longer than this
/// is an EXEC's array with large values in it, and passes as it is.
const MOST_HELD: usize = 16 * 1024 * 1024;

/// Buffers larger than this are given back.
const KEPT: usize = 16 * 1024;

// === impl Mapping ===

impl Mapping {
    pub(super) fn new(addresses: Arc<Addresses>, sentinel: bool) -> Self {
        Self {
            addresses,
            sentinel,
            queued: Vec::new(),
            held: BytesMut::new(),
        }
    }

    /// Looks at the first line of the reply to what `slot` stands for. `in_multi`: the transaction is
    /// open behind it. Returns whether the reply is held.
    pub(super) fn begin(&mut self, slot: Slot, line: &[u8], in_multi: bool) -> Option<Held> {
        let answer = match slot {
            Slot::Answer(answer) => Some(answer),
            _ => None,
        };
        if slot == Slot::Transaction(Transaction::Multi) && line == b"+OK" {
            // Whatever became of the one before, on this connection or another.
            self.queued.clear();
        }
        if in_multi && line == b"+QUEUED" {
            self.queued.push(answer);
            return None;
        }
        let names = |answer: &Option<Answer>| answer.is_some();
        if slot == Slot::Transaction(Transaction::Exec)
            && line.starts_with(b"*")
            && self.queued.iter().any(names)
        {
            return Some(Held::Transaction);
        }
        if !in_multi {
            self.queued = Vec::new();
        }
        if [&b"-MOVED "[..], b"-ASK "]
            .iter()
            .any(|word| line.starts_with(word))
        {
            return Some(Held::Redirect);
        }
        answer.map(Held::Answer)
    }

    /// Takes the next `len` bytes of `down`. Returns whether all of the reply may still be held.
    pub(super) fn hold(&mut self, len: usize, down: &mut Pipe) -> bool {
        self.held.extend_from_slice(&down.unscanned()[..len]);
        down.skip(len);
        if self.held.len() <= MOST_HELD {
            return true;
        }
        down.inject(&self.held);
        self.held = BytesMut::new();
        false
    }

    /// The reply is here whole.
    pub(super) fn release(&mut self, why: Held, down: &mut Pipe) {
        let (map, out) = (&*self.addresses, down.staging());
        let changed = match why {
            Held::Answer(answer) => rewrite_answer(answer, &self.held, map, out),
            Held::Transaction => rewrite_transaction(&self.queued, &self.held, map, out),
            Held::Redirect => rewrite_redirect(&self.held, map, out),
            Held::Message => rewrite_message(&self.held, map, out),
        };
        if !changed {
            out.extend_from_slice(&self.held);
        }
        self.held.clear();
        if self.held.capacity() > KEPT {
            self.held = BytesMut::new();
        }
        if why == Held::Transaction {
            self.queued = Vec::new();
        }
    }
}
