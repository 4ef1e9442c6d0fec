//! Takes connections, judges where they come from, and deals them to the workers.

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::Quota;
use crate::net::{Accepted, AddressPermit, Backoff, ConnectionPermit, Listeners};
use crate::telemetry::{Event, Verdict};

use super::generation::{Generation, ListenerState};
use super::quotas::{Place, Whose};
use super::service::{Listening, Service};
use super::worker::Dealer;

/// A connection on its way to a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Accepted,
    pub(super) listening: Arc<Listening>,
    /// What it is judged by until it is in.
    pub(super) generation: Arc<Generation>,
    /// By then the handshake must be done.
    pub(super) deadline: Instant,
    pub(super) permits: Permits,
}

/// A connection's places in the limits; given back when it ends.
#[derive(Debug)]
pub(super) struct Permits {
    _connection: ConnectionPermit,
    /// `None`: a unix socket.
    _address: Option<AddressPermit>,
    /// Among all connections of its address; `None`: there is no such limit.
    pub(super) place: Option<Place>,
}

/// Accepts until it is aborted. No error ends it.
pub(super) async fn accept_all(
    service: Arc<Service>,
    listening: Arc<Listening>,
    mut listeners: Listeners,
    dealer: Dealer,
) {
    let name = &*listening.name;
    let mut backoff = Backoff::default();
    loop {
        // The place is taken first: what is over the limit waits in the kernel's backlog.
        let permit = listening.connections.acquire().await;
        let socket = match listeners.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                let wait = backoff.fail();
                tracing::warn!(listener = name, %error, ?wait, "accept failed");
                tokio::time::sleep(wait).await;
                continue;
            }
        };
        backoff.succeed();
        let generation = service.keeper.snapshot();
        let state = generation.settings().listener(listening.index);
        let limit = generation.settings().quotas.address;
        let admitted = admit(&service, &listening, state, limit, &socket);
        let (Some((address, place)), Some(state)) = (admitted, state) else {
            socket.refuse();
            continue;
        };
        let arrival = Arrival {
            socket,
            deadline: Instant::now() + state.settings.handshake_timeout,
            generation: Arc::clone(&generation),
            listening: Arc::clone(&listening),
            permits: Permits {
                _connection: permit,
                _address: address,
                place,
            },
        };
        dealer.deal(arrival).await;
    }
}

/// The source's places, on the listener and on all of them, `None` inside for a unix socket; or `None`
/// if it may not come.
fn admit(
    service: &Service,
    listening: &Listening,
    state: Option<&ListenerState>,
    limit: Option<Quota>,
    socket: &Accepted,
) -> Option<(Option<AddressPermit>, Option<Place>)> {
    let state = state?;
    let (Some(peer), Some(source)) = (socket.peer(), socket.source()) else {
        return Some((None, None));
    };
    let reason = if !state.sources.admit(source) {
        "source"
    } else if let Some(permit) = listening.per_address.acquire(source) {
        let Some(limit) = limit else {
            return Some((Some(permit), None));
        };
        if let Some(place) = service.quotas.enter(Whose::address(source), limit) {
            return Some((Some(permit), Some(place)));
        }
        "address_connections"
    } else {
        "connections_per_ip"
    };
    service.metrics.main.listeners[listening.index]
        .refused
        .add(reason);
    tracing::info!(listener = listening.name, %peer, reason, "connection refused");
    service.audit.write(&Event {
        event: "connection_refused",
        verdict: Some(Verdict::Deny),
        generation: Some(service.keeper.rules().generation()),
        listener: &listening.name,
        peer: &peer.to_string(),
        reason,
        ..Event::default()
    });
    None
}
