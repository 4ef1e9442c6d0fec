//! What limits ask of a relay: to wait for its user's and its address' rates, to hold no more than there
//! is memory for, and to end in its time.

use std::sync::Arc;

use tokio::time::Instant;

use crate::proxy::budget::RETRY;
use crate::proxy::host::LIFETIME;
use crate::proxy::quotas::{enter_as, renew};

use super::way::Way;
use super::{BATCH, End, MARK, Relay};

// === impl Relay ===

impl Relay<'_> {
    /// A poll begins. Returns how the relay ends, if it is over.
    pub(super) fn look_at_limits(&mut self) -> Option<End> {
        if let Some(dues) = &mut self.host.dues {
            dues.look(Instant::now());
        }
        if self.holding.is_cut() {
            let held = self.holding.booked();
            let detail = format!("limits.memory is used up, and it held {held} bytes");
            self.tell_closed("memory", &detail);
            self.way = Way::None;
            return Some(End::Memory);
        }
        None
    }

    /// Says how many requests may be taken now.
    #[inline]
    pub(super) fn allow_requests(&mut self) {
        self.session.allow(match &self.host.dues {
            // An end is not put off.
            Some(dues) if !self.draining => dues.allowance(),
            _ => u64::MAX,
        });
    }

    /// Sees to it that the connection counts for the user that it has come to be. Returns whether it may
    /// stay.
    #[inline]
    pub(super) fn is_counted(&mut self) -> bool {
        let counted = match (&self.counted, self.session.login().user()) {
            (Some(counted), Some(user)) => Arc::ptr_eq(counted, user),
            (None, None) => true,
            _ => false,
        };
        counted || !self.settings.quotas.limit_users() || self.count_as_user()
    }

    /// The user is another value than before: another one, behind RESET, or the same with other rules.
    #[cold]
    fn count_as_user(&mut self) -> bool {
        self.counted = self.session.login().user().map(Arc::clone);
        let user = self.counted.as_ref().map(|user| user.name());
        let limits = &self.settings.quotas;
        // Whom AUTH has made it has its place by now.
        if enter_as(&mut self.host.dues, &self.service.quotas, user, limits) {
            return true;
        }
        let detail = "its user has limits.user.max_connections";
        self.tell_closed("user_connections", detail);
        self.give_up(End::Revoked);
        false
    }

    /// Other limits are in force.
    pub(super) fn renew_limits(&mut self) {
        let user = self.session.login().user().map(|user| user.name());
        let source = self.host.peer.source;
        let (quotas, limits) = (&self.service.quotas, &self.settings.quotas);
        renew(&mut self.host.dues, quotas, user, source, limits);
    }

    /// Debits what was used since this was asked last. Returns whether requests were left that may be
    /// taken at once.
    #[inline]
    pub(super) fn pay(&mut self, allowed: u64) -> bool {
        let Some(dues) = &mut self.host.dues else {
            return false;
        };
        let requests = allowed.saturating_sub(self.session.allowance());
        dues.debit(requests, std::mem::take(&mut self.traffic));
        self.has_requests_left() && !self.is_paced()
    }

    /// Whether requests are here that the client's rates put off.
    pub(super) fn has_requests_left(&self) -> bool {
        self.session.allowance() == 0 && !self.up.unscanned().is_empty()
    }

    /// Whether no request is taken now.
    pub(super) fn is_paced(&self) -> bool {
        let dues = self.host.dues.as_ref();
        !self.draining && dues.is_some_and(|dues| dues.holds_requests())
    }

    /// Whether nothing passes now, but what has begun where only requests are counted.
    pub(super) fn is_unread_for_its_rate(&self) -> bool {
        let held = |bytes| bytes || !self.session.is_streaming();
        let dues = self.host.dues.as_ref();
        self.is_paced() && dues.is_some_and(|dues| held(dues.holds_bytes()))
    }

    /// Whether its replies wait, too. Not where the others on a shared connection would wait with them.
    pub(super) fn is_unheard_for_its_rate(&self) -> bool {
        let dues = self.host.dues.as_ref();
        let held = !self.draining && dues.is_some_and(|dues| dues.holds_bytes());
        held && match &self.way {
            Way::Ride(ride) => !ride.line.is_hindered() && !ride.line.is_closed(),
            Way::Own(_) | Way::None => true,
        }
    }

    /// Whether the client isn't read because there is no memory for what it sends. `taken`: its requests
    /// are of use now.
    pub(super) fn is_unread_for_memory(&mut self, taken: bool) -> bool {
        // More than this on its way to the client are refusals: it sends on and takes nothing.
        let refusals = self.down.held().saturating_sub(MARK + BATCH);
        let held = self.up.held() + self.session.held() + refusals;
        let begun = match taken {
            true => self.up.unscanned().len(),
            false => 0,
        };
        let waits = self.holding.must_wait_to_read(held, begun);
        self.deadlines.retry = waits.then(|| Instant::now() + RETRY);
        waits
    }

    /// A poll is over: what is held for longer is counted.
    pub(super) fn book(&mut self) {
        let buffers = self.buffers().map(|buffer| buffer.capacity());
        let mut held = buffers.iter().sum::<usize>() + self.session.held();
        if let Way::Ride(ride) = &self.way {
            held += ride.line.unread(ride.rider);
        }
        self.holding.book(held, self.passed);
    }

    /// It has lived for so long as it may: it ends as soon as nothing is begun.
    pub(super) fn retire(&mut self) {
        self.retiring = true;
        self.deadlines.lifetime = None;
        self.tell_closed(LIFETIME, "the listener's max_lifetime is over");
    }

    /// Whether it is time to end, and nothing has begun that is to be ended first.
    pub(super) fn retires(&self) -> bool {
        self.retiring && !self.session.is_in_transaction() && !self.session.is_streaming()
    }

    fn tell_closed(&self, reason: &str, detail: &str) {
        let user = self.session.login().user().map(|user| user.name());
        self.host.closed_by(user, reason, detail);
    }
}
