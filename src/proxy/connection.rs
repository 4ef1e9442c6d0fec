//! One client, from its first byte to the last: handshake, identity, session.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::ListenerKind;
use crate::identity::{Certificate, Subject, resolve};
use crate::net::{Accepted, Stream};
use crate::session::{ConnectionRefusal, Login, Session};
use crate::telemetry::Event;
use crate::tls::{HandshakeFailureKind, ServerStream, ServerTls, Shaken, version_of};

use super::acceptor::{Arrival, Permits};
use super::admission::introduce;
use super::generation::Generation;
use super::health::State;
use super::host::{Peer, SessionHost};
use super::metrics::{ListenerMetrics, Meter};
use super::quotas::{Dues, enter_as};
use super::read_ahead::ReadAhead;
use super::relay::{End, Relay};
use super::service::{Listening, Service, SessionGuard, Upstream};
use super::trunks::Trunks;
use super::turns::Turns;

/// The client's side.
#[derive(Debug)]
pub(super) enum Downstream {
    Tls(Box<ServerStream<ReadAhead<Stream>>>),
    Plain(Stream),
}

/// After the last byte to a client, what it still sends is read and dropped for so long: closing
/// with unread bytes would reset the connection, and the reset may overtake our last reply.
const LINGER: Duration = Duration::from_millis(500);

/// What a client may still send in that time.
const LINGER_BYTES: usize = 1024 * 1024;

/// What Redis says to whom it has no room for.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// The version of TLS where a handshake has failed: what was agreed upon is gone with it.
const UNKNOWN_VERSION: &str = "unknown";

/// A client that doesn't take our last line is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client that has shown who it is.
struct Client {
    downstream: Downstream,
    peer: Peer,
    /// The session's.
    id: u64,
    listening: Arc<Listening>,
    /// What it was let in by.
    generation: Arc<Generation>,
    meter: Meter,
    /// Its places in the limits, and among the sessions.
    _places: (Permits, SessionGuard),
    /// What it shares with others of its user and its address.
    dues: Option<Box<Dues>>,
}

/// Serves one connection to its end, and then gives up `place`.
///
/// What a client needs to begin is boxed: a task is as large for all of its life as its largest
/// moment. (8.2 KB with all in it, 1.9 KB so.)
pub(super) fn serve(
    service: Arc<Service>,
    trunks: Rc<Trunks>,
    arrival: Arrival,
    place: impl Sized,
) -> impl Future<Output = ()> {
    let admitted = Box::pin(admit(Arc::clone(&service), Rc::clone(&trunks), arrival));
    async move {
        let _place = place;
        let Some((mut client, session)) = admitted.await else {
            return;
        };
        let host = SessionHost {
            service: &service,
            peer: &client.peer,
            session: client.id,
            opened: Instant::now().into_std(),
            dues: client.dues.take(),
            refusals: 0,
            meter: &mut client.meter,
            errand: None,
        };
        let user = session.login().user().map(|user| user.name());
        host.tell_connection("connection_opened", user, "", None);
        let listening = &client.listening;
        let mut relay = Relay::new(
            (&service, &trunks),
            listening,
            client.generation.settings(),
            session,
            &mut client.downstream,
            host,
        );
        let upstream = &service.upstreams[listening.upstream];
        let end = hold(&mut relay, upstream).await;
        if relay.session().shares() {
            let (shared, own) = relay.session().counts();
            tracing::debug!(session = client.id, shared, own, "requests by connection");
        }
        relay.tell_end(&end);
        drop(relay);
        client.meter.ended(end.label());
        part(&service, &mut client, &end).await;
        tracing::debug!(session = client.id, end = end.label(), "session closed");
    }
}

/// From the first byte to a session: handshake, identity, user. `None`: the client is gone, or sent
/// away.
async fn admit(
    service: Arc<Service>,
    trunks: Rc<Trunks>,
    arrival: Arrival,
) -> Option<(Client, Session)> {
    let Arrival {
        socket,
        listening,
        generation,
        deadline,
        mut permits,
        // Given back when it is in, or gone.
        mut handshake,
        is_proxied,
    } = arrival;
    let settings = generation.settings();
    let state = settings.listener(listening.index)?;
    let metrics = &trunks.metrics;
    let counters = &metrics.listeners[listening.index];
    let peer_address = socket.peer();
    let mut peer = Peer {
        listener: listening.name.clone(),
        local: local_address(&socket),
        address: peer_address.map_or_else(|| "unix".to_owned(), |peer| peer.to_string()),
        source: socket.source(),
        proxy: None,
        proxy_source: None,
        is_proxied,
        tls: None,
        certificate: None,
    };
    let mut stream = match socket.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(peer = peer.address, %error, "gone before it was served");
            return None;
        }
    };
    if is_proxied {
        let introduced =
            introduce(&service, &listening, state, stream, deadline, &mut peer).await?;
        stream = introduced.0;
        permits.address = Some(introduced.1.connection);
        permits.place = introduced.1.place;
        handshake.address = Some(introduced.1.handshake);
    }
    let mut downstream = match &state.tls {
        None => Downstream::Plain(stream),
        Some(tls) => {
            let (stream, certificate) = shake_hands(
                tls,
                stream,
                (&trunks.turns, deadline),
                &service,
                (&peer, counters),
            )
            .await?;
            peer.certificate = certificate;
            peer.tls = version_of(stream.get_ref().1);
            Downstream::Tls(Box::new(stream))
        }
    };
    let subject = Subject {
        certificate: peer.certificate.as_deref(),
        source: peer.source,
        listener: &listening.name,
    };
    let identity = match resolve(&settings.identities, &subject) {
        Ok(identity) => identity,
        Err(unmatched) => {
            let refusal = ConnectionRefusal::NoIdentity;
            counters.refused.add(refusal.label());
            peer.refuse(&service, refusal.label(), &unmatched.to_string());
            say_last(&mut downstream, refusal.line()).await;
            return None;
        }
    };
    // Whatever has changed since, the session notices when it begins.
    let login = match Login::new(identity, generation.policy()) {
        Ok(login) => login,
        Err(error) => {
            let refusal = ConnectionRefusal::NoUser;
            counters.refused.add(refusal.label());
            peer.refuse(&service, refusal.label(), &error.to_string());
            say_last(&mut downstream, refusal.line()).await;
            return None;
        }
    };
    let mut dues = Dues::of_address(permits.place.take());
    let user = login.user().map(|user| user.name());
    if !enter_as(&mut dues, &service.quotas, user, &settings.quotas) {
        let limit = "its user has limits.user.max_connections";
        counters.refused.add("user_connections");
        peer.refuse(&service, "user_connections", limit);
        say_last(&mut downstream, FULL).await;
        return None;
    }
    let upstream = &service.upstreams[listening.upstream];
    // A suspicion is for the session to wait out, when it has something to ask; but not where nobody
    // knows yet what the upstream is, and requests can't be judged.
    let has_to_wait =
        upstream.availability.status().state == State::Down || upstream.facts.load().is_none();
    // It has done its handshake: others may begin theirs.
    drop(handshake);
    if has_to_wait && upstream.availability.target().await.is_err()
        || upstream.facts.load().is_none()
    {
        counters.refused.add("no_upstream");
        tracing::debug!(peer = peer.address, "closed: the upstream is not there");
        return None;
    }
    let (id, guard) = service.open_session();
    let user = login.user().map(|user| user.name().to_owned());
    let meter = service
        .metrics
        .open_session(metrics, listening.index, user.as_deref());
    tracing::debug!(
        session = id,
        listener = peer.listener,
        peer = peer.address,
        proxy = peer.proxy,
        certificate = peer.subject(),
        user,
        "session opened"
    );
    let mut session = Session::new(id, login, &generation);
    if let Some(addresses) = settings.address_map(listening.upstream, upstream) {
        let sentinel = listening.kind == ListenerKind::Sentinel;
        session.map_addresses(addresses, sentinel);
    }
    // A Sentinel has few clients, and they come to listen. It has no ECHO either.
    let sentinel = listening.kind == ListenerKind::Sentinel;
    if upstream.is_shared.load(Ordering::Relaxed) && !sentinel {
        session.share();
    }
    let client = Client {
        downstream,
        peer,
        id,
        listening,
        generation,
        meter,
        _places: (permits, guard),
        dues,
    };
    Some((client, session))
}

/// The session's life: connects an upstream whenever one is wanted, and relays.
async fn hold(relay: &mut Relay<'_>, upstream: &Upstream) -> End {
    loop {
        // Loaded anew with every upstream connection: the server may have been exchanged.
        let facts = upstream.facts.load_full().unwrap_or_default();
        match relay.run(&facts).await {
            End::WantsUpstream => {}
            end => return end,
        }
        // Boxed for the same reason as what is before a session.
        if let Err(end) = Box::pin(relay.connect()).await {
            return end;
        }
    }
}

/// Tells how it ended, and takes leave of the client.
async fn part(service: &Service, client: &mut Client, end: &End) {
    let Client { peer, id, .. } = client;
    if let End::Desync(error) = end {
        client.meter.desync(client.listening.upstream);
        tracing::error!(session = id, %error, "replies out of step: both sides are closed");
        service.audit.write(&Event {
            detail: Some(error.to_string()),
            ..peer.event("desync", Some(*id), "desync")
        });
    }
    match end {
        End::Stalled => {
            // To the client it looks like a broken network: here alone one can learn why.
            tracing::info!(
                session = id,
                peer = peer.address,
                "cut: the client took nothing for write_timeout"
            );
        }
        End::Full => {
            let upstream = service.upstreams[client.listening.upstream].name();
            tracing::warn!(
                session = id,
                upstream,
                "turned away: max_connections are open"
            );
            say_last(&mut client.downstream, FULL).await;
        }
        End::Client | End::Cut | End::Memory => {}
        _ => close(&mut client.downstream).await,
    }
}

/// Where the client has connected to, as CLIENT LIST writes it.
fn local_address(socket: &Accepted) -> String {
    match socket {
        Accepted::Tcp(stream, _) => stream
            .local_addr()
            .map_or_else(|_| String::new(), |address| address.to_string()),
        Accepted::Unix(_) => "unix".to_owned(),
    }
}

/// The TLS handshake, and what the certificate says; `None` if either fails.
async fn shake_hands(
    tls: &ServerTls,
    stream: Stream,
    (turns, deadline): (&Turns, Instant),
    service: &Service,
    (peer, counters): (&Peer, &ListenerMetrics),
) -> Option<(ServerStream<ReadAhead<Stream>>, Option<Arc<Certificate>>)> {
    let drained = service.drained();
    let handshake = tls.accept(ReadAhead::new(stream));
    let handshake = timeout_at(deadline, turns.take(handshake));
    let result = tokio::select! {
        result = handshake => result,
        () = drained => return None,
    };
    let mut stream = match result {
        Ok(Ok(stream)) => stream,
        Ok(Err(failure)) => {
            let reason = failure.kind.label();
            counters.handshakes.add((reason, UNKNOWN_VERSION));
            if failure.kind == HandshakeFailureKind::Closed {
                // A health check, or a client that changed its mind: a peer going away is no error.
                tracing::debug!(peer = peer.address, "gone during the handshake");
                return None;
            }
            counters.refused.add(reason);
            peer.refuse(service, reason, &failure.text);
            return None;
        }
        Err(_) => {
            let kind = HandshakeFailureKind::Timeout;
            counters.handshakes.add((kind.label(), UNKNOWN_VERSION));
            counters.refused.add("handshake_timeout");
            peer.refuse(service, "handshake_timeout", "no handshake in time");
            return None;
        }
    };
    // A resumed session skips the verifier: date and trust are asked anew each time.
    let shaken = Shaken::of(stream.get_ref().1);
    match tls.verified(stream.get_ref().1, SystemTime::now()) {
        Ok(certificate) => {
            counters.handshakes.add((shaken.result, shaken.version));
            Some((stream, certificate))
        }
        Err(refusal) => {
            counters.handshakes.add((refusal.label(), shaken.version));
            counters.refused.add(refusal.label());
            let detail = ServerTls::refused(stream.get_ref().1, refusal.to_string());
            peer.refuse(service, refusal.label(), &detail);
            let _ = timeout(LAST_WORDS, stream.shutdown()).await;
            None
        }
    }
}

/// One line, and the end.
async fn say_last(downstream: &mut Downstream, line: &[u8]) {
    let said = async {
        downstream.write_all(line).await?;
        downstream.flush().await
    };
    if matches!(timeout(LAST_WORDS, said).await, Ok(Ok(()))) {
        close(downstream).await;
    }
}

/// Closes our direction, then waits a moment for the client to close its own.
async fn close(downstream: &mut Downstream) {
    let closing = async {
        downstream.shutdown().await?;
        // Not an array: the task would be larger by it for all of the session.
        let mut rest = vec![0; 4096];
        let mut taken = 0;
        while taken < LINGER_BYTES {
            match downstream.read(&mut rest).await? {
                0 => break,
                len => taken += len,
            }
        }
        io::Result::Ok(())
    };
    // Whatever goes wrong now, the connection is over.
    let _ = timeout(LINGER, closing).await;
}

// === impl Downstream ===

impl Downstream {
    /// Its TLS; `None`: plaintext.
    pub(super) fn tls(&self) -> Option<&ServerStream<ReadAhead<Stream>>> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Plain(_) => None,
        }
    }

    /// Whether the client has reset the connection.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().0.get_ref().is_broken(),
            Self::Plain(stream) => stream.is_broken(),
        }
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
