//! What the replies so far have told of the connection to the upstream.

use super::place::Place;
use super::pubsub::Subscriptions;
use super::routing::Routing;
use super::slots::Slots;

/// The protocol of the replies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Protocol {
    #[default]
    Resp2,
    /// Since 6.0, after HELLO 3.
    Resp3,
}

/// What the connection is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mode {
    /// Requests and replies.
    #[default]
    Requests,
    /// MONITOR: lines that answer nobody come in between.
    Monitoring,
    /// The client is a replica: what comes of the upstream is no RESP.
    Replicating,
}

/// Everything that a fresh upstream connection has not.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// MULTI was answered with OK, and nothing since has closed it.
    pub(super) in_multi: bool,
    /// WATCH was answered with OK, and nothing since has ended that.
    pub(super) is_watching: bool,
    /// The databases that the next request may run in.
    pub(super) place: Place,
    pub(super) protocol: Protocol,
    pub(super) mode: Mode,
    pub(super) subscriptions: Subscriptions,
}

/// Whether a transaction is open, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Multi {
    Closed,
    Open,
    /// The replies that tell it are still owed.
    Pending,
}

/// What the next request comes into the middle of.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) slots: &'a Slots,
    pub(super) known: &'a Known,
    pub(super) routing: &'a Routing,
}

// === impl Standing ===

impl<'a> Standing<'a> {
    /// What is known of a transaction.
    #[inline]
    pub(super) fn multi(self) -> Multi {
        if self.slots.transaction_pending() {
            Multi::Pending
        } else if self.known.in_multi {
            Multi::Open
        } else {
            Multi::Closed
        }
    }

    /// The databases that the next request may run in.
    #[inline]
    pub(super) fn place(self) -> &'a Place {
        &self.known.place
    }

    /// Whether replies are owed that tell more of where the session is.
    pub(super) fn is_settling(self) -> bool {
        self.slots.transaction_pending() || self.slots.turn_pending() || self.place().is_settling()
    }

    /// Whether Redis takes only what belongs to subscriptions: in RESP2 everything else would be
    /// taken for messages.
    pub(super) fn is_subscriber(self) -> bool {
        self.known.protocol == Protocol::Resp2 && self.known.subscriptions.any()
    }
}
