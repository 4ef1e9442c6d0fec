//! Takes connections, judges where they come from, and deals them to the workers.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::net::{Accepted, AddressPermit, Backoff, ConnectionPermit, Listeners};
use crate::telemetry::{Event, Verdict};

use super::admission::{Handshake, take_places};
use super::generation::{Generation, ListenerState};
use super::quotas::Place;
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
    /// Its places among those that are not in yet.
    pub(super) handshake: Handshake,
    /// Whether it must begin with a PROXY header, which says whose source is to be judged.
    pub(super) is_proxied: bool,
}

/// A connection's places in the limits; given back when it ends.
#[derive(Debug)]
pub(super) struct Permits {
    _connection: ConnectionPermit,
    /// `None`: a unix socket, or a peer that has not said yet whom it speaks for.
    pub(super) address: Option<AddressPermit>,
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
        let admitted = admit(&service, &listening, state, &socket);
        let (Some(places), Some(state)) = (admitted, state) else {
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
                address: places.address,
                place: places.place,
            },
            handshake: places.handshake,
            is_proxied: places.is_proxied,
        };
        dealer.deal(arrival).await;
    }
}

/// What an arrival has been given.
struct Places {
    address: Option<AddressPermit>,
    place: Option<Place>,
    handshake: Handshake,
    is_proxied: bool,
}

/// Why nobody is served where the listener was taken out of the file and there was no restart yet.
const REMOVED: &str = "listener_removed";

/// Its places; or `None` if it may not come.
fn admit(
    service: &Service,
    listening: &Listening,
    state: Option<&ListenerState>,
    socket: &Accepted,
) -> Option<Places> {
    let reason = match state {
        Some(state) => match places(service, listening, state, socket.source()) {
            Ok(places) => return Some(places),
            Err(reason) => reason,
        },
        None => REMOVED,
    };
    let peer = socket.peer();
    let peer = peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
    let counters = &service.metrics.main.listeners[listening.index];
    counters.refused.add(reason);
    if let Some(suppressed) = service.refusals.ask(Instant::now().into_std()) {
        let listener = &listening.name;
        tracing::info!(listener, peer, reason, suppressed, "connection refused");
    }
    service.audit.write(&Event {
        event: "connection_refused",
        verdict: Some(Verdict::Deny),
        generation: Some(service.keeper.rules().generation()),
        listener: &listening.name,
        peer: &peer,
        reason,
        ..Event::default()
    });
    None
}

/// Whose source is known is judged by it here, before a task or a byte is spent on it.
fn places(
    service: &Service,
    listening: &Listening,
    state: &ListenerState,
    source: Option<IpAddr>,
) -> Result<Places, &'static str> {
    let is_proxied = source.is_some_and(|source| state.takes_headers_of(source));
    let judged = source.filter(|_| !is_proxied);
    let of_source = judged.map(|source| take_places(service, listening, state, source));
    let of_source = of_source.transpose()?;
    let all = listening.handshakes.all.try_acquire();
    let (mut address, mut handshake, mut place) = (None, None, None);
    if let Some(places) = of_source {
        address = Some(places.connection);
        handshake = Some(places.handshake);
        place = places.place;
    }
    Ok(Places {
        address,
        place,
        handshake: Handshake {
            _all: all.ok_or("handshakes")?,
            address: handshake,
        },
        is_proxied,
    })
}
