//! Before the handshake: whom a balancer speaks for, whether that one may come, and how many may be on
//! their way in at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::config;
use crate::net::{
    AddressPermit, ConnectionLimit, ConnectionPermit, HeaderError, Origin, PerAddress, Stream,
    effective, read_header, speaks,
};

use super::generation::ListenerState;
use super::host::Peer;
use super::quotas::{Place, Whose};
use super::service::{Listening, Service};

/// A listener's limits on connections that are not in yet. Sessions don't count.
#[derive(Debug)]
pub(super) struct HandshakeLimits {
    pub(super) all: ConnectionLimit,
    pub(super) per_address: PerAddress,
}

/// A connection's places in them; given back when it is in, or gone.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) _all: ConnectionPermit,
    /// `None`: a unix socket, or a peer that has not said yet whom it speaks for.
    pub(super) address: Option<AddressPermit>,
}

/// What a source has for one connection.
#[derive(Debug)]
pub(super) struct SourcePlaces {
    pub(super) connection: AddressPermit,
    /// On all listeners together; `None`: there is no such limit.
    pub(super) place: Option<Place>,
    pub(super) handshake: AddressPermit,
}

/// How often the log tells of what is refused to strangers: whoever can connect can make such lines. The
/// audit has all refused connections, as far as its queue holds them.
#[derive(Debug)]
pub struct RefusalLog(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Lines that may be written at once.
    lines: u32,
    /// When the last of them was given.
    at: Option<Instant>,
    suppressed: u64,
}

/// Lines at once: all that a person would read of a sudden trouble.
const BURST: u32 = 20;

/// Then one in so long, which fills no disk: 86,400 lines a day are some 15 MB.
const PACE: Duration = Duration::from_secs(1);

/// The source's places, or the label of why it may not come.
pub(super) fn take_places(
    service: &Service,
    listening: &Listening,
    state: &ListenerState,
    source: IpAddr,
) -> Result<SourcePlaces, &'static str> {
    if !state.sources.admit(source) {
        return Err("source");
    }
    let connection = listening.per_address.acquire(source);
    let handshake = listening.handshakes.per_address.acquire(source);
    let limit = service.keeper.rules().settings().quotas.address;
    let place = limit.map(|limit| service.quotas.enter(Whose::address(source), limit));
    let place = place.map(|place| place.ok_or("address_connections"));
    Ok(SourcePlaces {
        connection: connection.ok_or("connections_per_ip")?,
        place: place.transpose()?,
        handshake: handshake.ok_or("handshakes_per_ip")?,
    })
}

/// Reads the header of a peer that must send one, and judges the source that it names, which then
/// stands in `peer`. `None`: gone, or sent away.
pub(super) async fn introduce(
    service: &Service,
    listening: &Listening,
    state: &ListenerState,
    stream: Stream,
    deadline: tokio::time::Instant,
    peer: &mut Peer,
) -> Option<(Stream, SourcePlaces)> {
    let Stream::Tcp(mut tcp) = stream else {
        // They have no address to be in the list with.
        return None;
    };
    let heard = timeout_at(deadline, hear(service, listening, state, &mut tcp, peer));
    let heard = tokio::select! {
        heard = heard => heard,
        () = service.drained() => return None,
    };
    let (reason, detail) = match heard {
        Ok(Ok(places)) => return Some((Stream::Tcp(tcp), places)),
        Ok(Err(Unheard::Gone)) => {
            tracing::debug!(peer = peer.address, "gone before the handshake");
            return None;
        }
        Ok(Err(Unheard::Header(error))) => ("proxy_header", error.to_string()),
        Ok(Err(Unheard::Refused(reason))) => (reason, String::new()),
        Err(_) => (
            "handshake_timeout",
            "no PROXY header, or nothing behind it, in time".to_owned(),
        ),
    };
    let counters = &service.metrics.main.listeners[listening.index];
    counters.refused.add(reason);
    peer.refuse(service, reason, &detail);
    Stream::Tcp(tcp).refuse();
    None
}

/// Why nobody comes in behind a header.
enum Unheard {
    Gone,
    Header(HeaderError),
    Refused(&'static str),
}

async fn hear(
    service: &Service,
    listening: &Listening,
    state: &ListenerState,
    tcp: &mut TcpStream,
    peer: &mut Peer,
) -> Result<SourcePlaces, Unheard> {
    let origin = match read_header(tcp).await {
        Ok(origin) => origin,
        Err(HeaderError::Gone) => return Err(Unheard::Gone),
        Err(error) => return Err(Unheard::Header(error)),
    };
    // Of version 1, HAProxy's checks name their own connection.
    let origin = match origin {
        Origin::Client(client) if peer.is(client) => Origin::Sender,
        origin => origin,
    };
    if let Origin::Client(client) = origin {
        peer.introduced(client);
    }
    let source = peer.source.ok_or(Unheard::Gone)?;
    let places = take_places(service, listening, state, source);
    // A health check says no more than that it is one, and need not be let in: no word about it. With
    // TLS a handshake that doesn't begin shows the same.
    let asks_first = places.is_err() || state.tls.is_none();
    if origin == Origin::Sender && asks_first && !speaks(tcp).await {
        return Err(Unheard::Gone);
    }
    places.map_err(Unheard::Refused)
}

// === impl HandshakeLimits ===

impl HandshakeLimits {
    pub(super) fn new(settings: &config::Listener) -> Self {
        Self {
            all: ConnectionLimit::new(settings.max_handshakes),
            per_address: PerAddress::new(settings.max_handshakes_per_ip),
        }
    }

    /// Others from now on.
    pub(super) fn set(&self, (all, per_address): (usize, usize)) {
        self.all.set(all);
        self.per_address.set(per_address);
    }
}

// === impl Peer ===

impl Peer {
    /// Whether it is the socket's own peer that is named.
    fn is(&self, client: SocketAddr) -> bool {
        let own: Result<SocketAddr, _> = self.address.parse();
        let same = |own: SocketAddr| {
            own.port() == client.port() && effective(own.ip()) == effective(client.ip())
        };
        own.is_ok_and(same)
    }

    /// Puts whom it speaks for in the place of the balancer.
    fn introduced(&mut self, client: SocketAddr) {
        let source = effective(client.ip());
        let client = SocketAddr::new(source, client.port()).to_string();
        self.proxy = Some(std::mem::replace(&mut self.address, client));
        self.proxy_source = self.source.replace(source);
    }
}

// === impl RefusalLog ===

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Mutex::new(Bucket {
            lines: BURST,
            at: None,
            suppressed: 0,
        }))
    }
}

impl RefusalLog {
    /// Whether one more line may be written; and how many were not since the last, if any.
    pub fn ask(&self, now: Instant) -> Option<Option<u64>> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = bucket
            .at
            .map_or(Duration::ZERO, |at| now.duration_since(at));
        let earned = u32::try_from(since.as_secs() / PACE.as_secs()).unwrap_or(BURST);
        if earned > 0 || bucket.at.is_none() {
            bucket.at = Some(now);
        }
        bucket.lines = bucket.lines.saturating_add(earned).min(BURST);
        if bucket.lines == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.lines -= 1;
        let suppressed = std::mem::take(&mut bucket.suppressed);
        Some((suppressed > 0).then_some(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_second_with_a_count() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let told = (0..1000).filter(|_| log.ask(start) == Some(None)).count();
        assert_eq!(told, 20);
        let later = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(log.ask(later(999)), None);
        assert_eq!(log.ask(later(1001)), Some(Some(981)));
        assert_eq!(log.ask(later(1002)), None);
        assert_eq!(log.ask(later(2002)), Some(Some(1)));
        // After a quiet time there is room for as many as at first.
        let told = (0..1000)
            .filter(|_| log.ask(later(60_000)).is_some())
            .count();
        assert_eq!(told, 20);
    }
}
