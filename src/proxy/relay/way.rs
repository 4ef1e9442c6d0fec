//! Which upstream connection a relay has: one of its own, or a place on one that is shared.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::proxy::availability::Down;
use crate::proxy::spare;
use crate::proxy::trunks::{Own, Ride, Unavailable};
use crate::proxy::upstream::{UpstreamError, is_excuse};
use crate::session::{Berth, Desync, Load, Need};

use super::{BATCH, End, Relay};

/// The upstream connection of a session.
#[derive(Debug, Default)]
pub(super) enum Way {
    /// There is none, or none yet.
    #[default]
    None,
    /// One that is its alone.
    Own(Own),
    /// A place on one that is shared.
    Ride(Ride),
}

// === impl Relay ===

impl Relay<'_> {
    /// Finds the connection that the session wants.
    pub(in crate::proxy) async fn connect(&mut self) -> Result<(), End> {
        let berth = self.session.berth();
        let sought = match self.session.need() {
            _ if !self.session.shares() => self.borrow(berth).await,
            Some(Need::Own(berth)) => self.borrow(berth).await,
            // It works in any database.
            Some(Need::Errand(berth)) => {
                self.borrow(Berth {
                    database: 0,
                    ..berth
                })
                .await
            }
            Some(Need::Database(berth)) => self.board(berth).await,
            None => self.board(berth).await,
        };
        match sought {
            Ok(()) => Ok(()),
            Err(Unavailable::Full)
                if matches!(self.session.need(), Some(Need::Own(_) | Need::Errand(_))) =>
            {
                self.session.deny_own();
                Ok(())
            }
            Err(Unavailable::Full) => Err(End::Full),
            Err(Unavailable::Down(down)) => Err(self.find_down(&down)),
            Err(Unavailable::Failed(error)) => self.go_without(&error).await,
        }
    }

    /// The log has it from the control connection: once, and not of each client.
    fn find_down(&self, Down(reason): &Down) -> End {
        let upstream = self.service.upstreams[self.upstream].name();
        let (session, reason) = (self.host.session, reason.as_deref());
        tracing::debug!(
            session,
            upstream,
            reason,
            "no upstream for a client: it is down"
        );
        End::Upstream
    }

    /// What can be done where the upstream refuses something.
    async fn go_without(&mut self, error: &Arc<UpstreamError>) -> Result<(), End> {
        let upstream = &self.service.upstreams[self.upstream];
        match (&**error, self.session.need()) {
            (UpstreamError::Database(_), Some(Need::Database(berth))) => {
                self.session.stay(berth.database);
                return Ok(());
            }
            // The request would have been told the same.
            (UpstreamError::Database(text), Some(Need::Own(_))) if is_excuse(text) => {
                self.session.deny_own_by(text);
                return Ok(());
            }
            (UpstreamError::NoEcho(_), _) => {
                if upstream.is_shared.swap(false, Ordering::Relaxed) {
                    let upstream = upstream.name();
                    tracing::warn!(upstream, %error, "clients get a connection each");
                }
                // The request that asks for a database has not been forwarded; the others are on
                // their way, and stay in their order.
                match self.borrow(self.session.berth()).await {
                    Ok(()) => {
                        self.session.keep_own();
                        return Ok(());
                    }
                    Err(Unavailable::Full) => return Err(End::Full),
                    Err(Unavailable::Down(down)) => return Err(self.find_down(&down)),
                    Err(Unavailable::Failed(error)) => self.tell_unavailable(&error),
                }
            }
            _ => self.tell_unavailable(error),
        }
        Err(End::Upstream)
    }

    fn tell_unavailable(&self, error: &UpstreamError) {
        let upstream = self.service.upstreams[self.upstream].name();
        let session = self.host.session;
        tracing::warn!(session, upstream, %error, "no upstream for a client");
    }

    /// Gives the session a connection of its own.
    async fn borrow(&mut self, berth: Berth) -> Result<(), Unavailable> {
        let mut own = self.trunks.borrow(self.upstream, berth).await?;
        if self.session.shares() {
            own.name = self
                .session
                .borrow(own.fresh, own.name.as_deref(), &mut self.up);
        } else {
            self.session.attach(&mut self.up);
        }
        self.way = Way::Own(own);
        self.upstream_closed = false;
        self.upstream_deaf = false;
        Ok(())
    }

    /// Gives the session a place on a shared connection.
    async fn board(&mut self, berth: Berth) -> Result<(), Unavailable> {
        let ride = self.trunks.ride(self.upstream, berth).await?;
        if let Some(Need::Database(berth)) = self.session.need() {
            self.session.moved(berth.database);
        }
        self.session.changed_trunk();
        ride.line.listen(ride.rider, &self.waker);
        self.way = Way::Ride(ride);
        self.upstream_closed = false;
        Ok(())
    }

    /// Lets go of a connection that the session is done with. Returns whether it goes on otherwise
    /// now.
    pub(super) fn change_way(&mut self) -> bool {
        if self.session.is_detached() {
            // RESET: the old connection and what it remembered are gone.
            self.way = Way::None;
        }
        if !self.session.shares() {
            return false;
        }
        if self.session.wants_upstream() {
            // A HELLO that was the login may be counted already: behind RESET requests still ride.
            self.session.ride();
            return true;
        }
        let at_rest = self.up.waiting() == 0 && self.down.unscanned().is_empty();
        if !matches!(self.way, Way::Own(_)) || !at_rest || !self.session.may_leave() {
            return false;
        }
        let berth = self.session.leave();
        self.unsent = (0, 0);
        if let (Way::Own(own), Some(berth), false) =
            (std::mem::take(&mut self.way), berth, self.upstream_closed)
        {
            self.trunks.give_back(self.upstream, berth, own);
        }
        self.upstream_closed = false;
        true
    }

    /// Whether what the session has forwarded, or asks for, has no connection to go to.
    pub(super) fn wants_upstream(&self) -> bool {
        self.session.need().is_some() && !self.session.has_ended()
            || self.session.wants_upstream()
            || self.session.rides() && self.up.waiting() > 0 && matches!(self.way, Way::None)
    }

    /// Sends what the session has forwarded over the shared connection, if it has one. Returns whether
    /// anything went.
    pub(super) fn send_requests(&mut self) -> Result<bool, End> {
        if self.up.waiting() == 0 {
            return Ok(false);
        }
        if self.session.is_parted() {
            return Err(End::Desync(Desync::Parted));
        }
        let (replies, queued) = self.session.take_sent();
        self.unsent = (self.unsent.0 + replies, self.unsent.1 + queued);
        let berth = self.session.berth();
        let Way::Ride(ride) = &self.way else {
            return Ok(false);
        };
        let line = &ride.line;
        if line.has_cut(ride.rider) {
            // Half of a reply may be with the client: no other connection can go on with it.
            return Err(End::Stalled);
        }
        let is_over = line.is_closed() || line.is_retired();
        if is_over && line.owes(ride.rider) {
            // What it is owed, or has here, comes first; then it goes on with another.
            return Ok(false);
        }
        let is_of_use = !is_over && ride.berth == berth && !line.is_hindered();
        if !is_of_use && !line.owes(ride.rider) {
            // Nothing is owed on it: it can go on with another.
            self.way = Way::None;
            return Ok(false);
        }
        let load = Load {
            requests: self.up.pieces(),
            replies: self.unsent.0,
            queued: self.unsent.1,
        };
        if load.replies == 0 {
            // Its reply would be taken for another's. It never happens, either.
            return Err(End::Desync(Desync::Unowed));
        }
        let sent = line.send(ride.rider, load);
        if sent {
            self.passed += self.up.waiting() as u64;
            self.up.wrote_all();
            self.unsent = (0, 0);
        }
        Ok(sent)
    }

    /// Takes what has come for the session over a shared connection. Returns whether there was
    /// anything.
    pub(super) fn take_replies(&mut self) -> Result<bool, End> {
        let Way::Ride(ride) = &self.way else {
            return Ok(false);
        };
        let mut moved = false;
        while let Some(mut piece) = ride.line.take(ride.rider) {
            moved = true;
            let input = self.down.input();
            if input.is_empty() {
                std::mem::swap(input, &mut piece);
            } else {
                input.extend_from_slice(&piece);
            }
            piece.clear();
            spare::take_back(&mut piece);
            if self.down.unscanned().len() >= BATCH {
                self.unheard = true;
                break;
            }
        }
        if moved {
            // Its end, if it has come, is for the next round: nobody wakes us for it once more.
            self.unheard |= ride.line.is_closed() || ride.line.is_retired();
            return Ok(true);
        }
        // Before its end is noticed: what was owed there is lost either way.
        if ride.line.has_cut(ride.rider) {
            return Err(End::Stalled);
        }
        let is_over = ride.line.is_closed() || ride.line.is_retired();
        if is_over && !self.upstream_closed {
            if ride.line.owes(ride.rider) {
                if !ride.line.is_closed() {
                    return Ok(false);
                }
                self.upstream_closed = true;
            } else {
                self.way = Way::None;
                // What the next one has loaded, nobody knows.
                self.session.changed_trunk();
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the session has a connection of its own to a server that isn't in use any more. It is
    /// tied to it by what was asked there (a transaction, a subscription), or by `dedicated`.
    pub(super) fn is_stranded(&self) -> bool {
        matches!(&self.way, Way::Own(own) if own.tenure.is_over())
    }

    /// A reply said `-READONLY`: perhaps the master is another one by now.
    pub(super) fn doubt_master(&self) {
        let upstream = &self.service.upstreams[self.upstream];
        if upstream.connector.settings().addresses.len() > 1 {
            upstream.availability.doubt();
        }
    }

    /// The upstream says that it doesn't take us for who we are: or a script did. Where others are, we
    /// ask ourselves.
    pub(super) fn doubt_upstream(&mut self) {
        if let Way::Ride(ride) = &self.way {
            ride.line.doubt();
        }
        self.service.upstreams[self.upstream].availability.doubt();
        self.way = Way::None;
    }

    /// Nobody can trust any more what the upstream says on this connection.
    pub(super) fn distrust_upstream(&mut self) {
        if let Way::Ride(ride) = &self.way {
            ride.line.fail();
        }
        self.way = Way::None;
    }
}
