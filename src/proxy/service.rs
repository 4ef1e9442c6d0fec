//! What all parts of the proxy share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::{self, ListenerKind, UpstreamAddress};
use crate::identity;
use crate::net::{self, ConnectionLimit, Listeners, PerAddress, Sources};
use crate::policy::AclLog;
use crate::rewrite::Addresses;
use crate::session::{Facts, Rules, Throttle};
use crate::telemetry::Audit;
use crate::tls::ServerTls;

use super::acceptor;
use super::bell::Bell;
use super::control;
use super::keeper::Keeper;
use super::metrics::Metrics;
use super::reload::PolicyFiles;
use super::upstream::Connector;
use super::worker::Workers;

/// The proxy, ready to run.
#[derive(Debug)]
pub struct Service {
    pub(super) keeper: Keeper,
    pub(super) bell: Arc<Bell>,
    pub(super) files: Box<dyn PolicyFiles>,
    /// Held by the one reload at a time.
    pub(super) reloading: Mutex<()>,
    pub(super) identities: Vec<identity::Rule>,
    pub(super) listeners: Vec<Arc<Listening>>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) audit: Audit,
    /// Written at refusals, read by ACL LOG.
    pub(super) acl_log: Mutex<AclLog>,
    pub(super) write_timeout: Duration,
    pub(super) max_reply_buffer: usize,
    pub(super) sessions: Sessions,
    /// Asked at AUTH alone.
    pub(super) throttle: Mutex<Throttle>,
    pub(super) metrics: Metrics,
}

/// A listener of the configuration, with its TLS loaded.
#[derive(Debug)]
pub struct ListenerParts {
    /// As configured.
    pub settings: config::Listener,
    /// `None`: plaintext.
    pub tls: Option<ServerTls>,
    /// Connections at once, all sources together.
    pub max_connections: usize,
}

/// Everything that a service is made of.
#[derive(Debug)]
pub struct ServiceParts {
    /// What requests are judged by.
    pub rules: Rules,
    /// Where that came from.
    pub files: Box<dyn PolicyFiles>,
    /// Who is who.
    pub identities: Vec<identity::Rule>,
    /// As configured, with their TLS loaded.
    pub listeners: Vec<ListenerParts>,
    /// The same.
    pub upstreams: Vec<Connector>,
    /// Where replies say that a Redis is, and where the proxy before it is.
    pub addresses: Vec<(config::Address, config::Address)>,
    /// Where refusals are written.
    pub audit: Audit,
    /// A client that takes nothing for so long is cut.
    pub write_timeout: Duration,
    /// What a client may leave unread where it shares connections, bytes.
    pub max_reply_buffer: usize,
}

/// A listener at work.
#[derive(Debug)]
pub(super) struct Listening {
    /// Its place among the listeners.
    pub(super) number: usize,
    pub(super) settings: config::Listener,
    pub(super) tls: Option<ServerTls>,
    pub(super) sources: Sources,
    pub(super) connections: ConnectionLimit,
    pub(super) per_address: PerAddress,
}

/// An upstream, and what is known of it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) connector: Connector,
    /// `None` until it has answered for the first time.
    pub(super) facts: ArcSwapOption<Facts>,
    /// Whether clients share connections to it. They don't any more once it has refused what that
    /// takes.
    pub(super) is_shared: AtomicBool,
    /// What its replies are mapped by; `None`: nothing is.
    pub(super) addresses: Option<Arc<Addresses>>,
}

/// The count of sessions, and the word to end them.
#[derive(Debug)]
pub(super) struct Sessions {
    next: AtomicU64,
    open: AtomicUsize,
    /// Read by every session when it wakes; the bell wakes them.
    pub(super) draining: AtomicBool,
    /// Ends handshakes, which are no sessions yet.
    drain: watch::Sender<bool>,
}

/// One open session's place in the count and under the bell.
#[derive(Debug)]
pub(super) struct SessionGuard {
    service: Arc<Service>,
    id: u64,
}

/// The proxy, serving.
#[derive(Debug)]
pub struct Running {
    service: Arc<Service>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    workers: Workers,
}

/// Why it can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be bound.
    #[error("listener.{listener}.bind = \"{bind}\": {source}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address or path.
        bind: String,
        /// What the system says.
        source: io::Error,
    },
    /// A thread can't be started.
    #[error("can't start a worker thread: {0}")]
    Thread(io::Error),
}

/// How often a drain looks whether all sessions are gone.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// The address map as seen from one upstream.
fn map_addresses(
    pairs: &[(config::Address, config::Address)],
    upstream: &config::Upstream,
) -> Option<Arc<Addresses>> {
    let own_host = match &upstream.address {
        UpstreamAddress::Tcp { host, .. } => host,
        UpstreamAddress::Unix(_) => "",
    };
    let pairs = pairs
        .iter()
        .map(|(from, to)| ((&*from.host, from.port), (&*to.host, to.port)));
    (pairs.len() > 0).then(|| Arc::new(Addresses::new(pairs, own_host)))
}

// === impl Service ===

impl Service {
    /// Puts the parts together. Nothing is opened yet.
    pub fn new(parts: ServiceParts) -> Arc<Self> {
        let ServiceParts {
            rules,
            files,
            identities,
            listeners,
            upstreams,
            addresses,
            audit,
            write_timeout,
            max_reply_buffer,
        } = parts;
        let listeners = listeners
            .into_iter()
            .enumerate()
            .map(
                |(
                    number,
                    ListenerParts {
                        settings,
                        tls,
                        max_connections,
                    },
                )| {
                    Arc::new(Listening {
                        number,
                        sources: Sources::new(settings.allow.clone(), settings.deny.clone()),
                        connections: ConnectionLimit::new(max_connections),
                        per_address: PerAddress::new(settings.max_connections_per_ip),
                        settings,
                        tls,
                    })
                },
            )
            .collect::<Vec<_>>();
        let metrics = Metrics::new(listeners.len(), upstreams.len());
        let upstreams = upstreams
            .into_iter()
            .map(|connector| Upstream {
                addresses: map_addresses(&addresses, connector.settings()),
                is_shared: AtomicBool::new(
                    connector.settings().connections == config::Connections::Shared,
                ),
                connector,
                facts: ArcSwapOption::empty(),
            })
            .collect();
        let bell = Arc::new(Bell::default());
        Arc::new(Self {
            keeper: Keeper::new(rules, Arc::clone(&bell)),
            bell,
            files,
            reloading: Mutex::new(()),
            identities,
            listeners,
            upstreams,
            audit,
            acl_log: Mutex::default(),
            write_timeout,
            max_reply_buffer,
            throttle: Mutex::default(),
            metrics,
            sessions: Sessions {
                next: AtomicU64::new(1),
                open: AtomicUsize::new(0),
                draining: AtomicBool::new(false),
                drain: watch::Sender::new(false),
            },
        })
    }

    /// Binds every address, and serves with `workers` threads (0: a number of its own choice).
    ///
    /// # Errors
    /// All addresses that can't be bound; then nothing is served.
    pub async fn start(self: Arc<Self>, workers: usize) -> Result<Running, Vec<StartError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        for listening in &self.listeners {
            let mut sockets = Vec::new();
            for bind in &listening.settings.bind {
                match net::listen(bind) {
                    Ok(listener) => sockets.push(listener),
                    Err(source) => errors.push(StartError::Bind {
                        listener: listening.settings.name.clone(),
                        bind: bind.to_string(),
                        source,
                    }),
                }
            }
            bound.push((Arc::clone(listening), Listeners::new(sockets)));
        }
        let workers = match Workers::start(&self, workers) {
            Ok(workers) if errors.is_empty() => workers,
            Ok(_) => return Err(errors),
            Err(error) => {
                errors.push(StartError::Thread(error));
                return Err(errors);
            }
        };
        for index in 0..self.upstreams.len() {
            tokio::spawn(control::watch(Arc::clone(&self), index));
        }
        let acceptors = bound
            .into_iter()
            .map(|(listening, listeners)| {
                let accepting =
                    acceptor::accept_all(Arc::clone(&self), listening, listeners, workers.dealer());
                tokio::spawn(accepting)
            })
            .collect();
        Ok(Running {
            service: self,
            acceptors,
            workers,
        })
    }

    /// What the listeners of an upstream stand before. One without listeners serves nobody.
    pub(super) fn kind_of(&self, upstream: usize) -> ListenerKind {
        let of = |listening: &&Arc<Listening>| listening.settings.upstream == upstream;
        let first = self.listeners.iter().find(of);
        first.map_or(ListenerKind::default(), |listening| listening.settings.kind)
    }

    /// A new session's number and its place in the count and under the bell.
    pub(super) fn open_session(self: &Arc<Self>) -> (u64, SessionGuard) {
        self.sessions.open.fetch_add(1, Ordering::Relaxed);
        let id = self.sessions.next.fetch_add(1, Ordering::Relaxed);
        let guard = SessionGuard {
            service: Arc::clone(self),
            id,
        };
        (id, guard)
    }

    /// The rules, and their changes.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Resolves when the proxy starts to drain.
    pub(super) fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut drain = self.sessions.drain.subscribe();
        async move {
            // The sender lives as long as the service, and sessions hold that.
            let _ = drain.wait_for(|draining| *draining).await;
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// The name of its table in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.connector.settings().name
    }
}

// === impl SessionGuard ===

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.service.bell.leave(self.id);
        self.service.sessions.open.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Running ===

impl Running {
    /// Stops accepting, lets every session finish what it is owed, and ends by the deadline.
    /// Returns how many sessions had to be cut.
    pub async fn drain(self, deadline: Instant) -> usize {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
        for acceptor in self.acceptors {
            // Aborted: its listener is closed now, and a unix socket's file removed.
            let _ = acceptor.await;
        }
        let sessions = &self.service.sessions;
        sessions.draining.store(true, Ordering::Release);
        sessions.drain.send_replace(true);
        self.service.bell.ring();
        let open = || sessions.open.load(Ordering::Relaxed);
        while open() > 0 && Instant::now() < deadline {
            let step = Instant::now() + DRAIN_STEP;
            let _ = timeout_at(deadline, sleep_until(step)).await;
        }
        let cut = open();
        self.workers.stop();
        cut
    }
}
