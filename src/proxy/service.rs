//! What all parts of the proxy share.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::{self, ListenerKind};
use crate::net::{ConnectionLimit, Listeners, PerAddress};
use crate::policy::AclLog;
use crate::session::{Facts, Throttle};
use crate::telemetry::Audit;
use crate::tls::ServerTls;

use super::acceptor;
use super::admission::{HandshakeLimits, RefusalLog};
use super::availability::{Availability, UpstreamView};
use super::bell::Bell;
use super::budget::{self, Budget, Memory};
use super::control;
use super::heartbeat::Heart;
use super::keeper::Keeper;
use super::metrics::Metrics;
use super::quotas::{Limited, Quotas};
use super::reload::{Configuration, Loaded, PolicyFiles};
use super::settle::settle;
use super::sockets::{Sockets, failed};
use super::upstream::Connector;
use super::worker::Workers;

/// The proxy, ready to run.
#[derive(Debug)]
pub struct Service {
    pub(super) keeper: Keeper,
    pub(super) bell: Arc<Bell>,
    /// Where all of it comes from.
    pub(super) configuration: Box<dyn Configuration>,
    /// Held by the one whole reload at a time.
    pub(super) reloading: Mutex<Vec<String>>,
    /// Where the users come from. Held while what was loaded changes.
    pub(super) files: Mutex<Arc<dyn PolicyFiles>>,
    pub(super) listeners: Vec<Arc<Listening>>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) audit: Audit,
    /// The thread that loads or saves users, or did so last.
    pub(super) errand: Mutex<Option<JoinHandle<()>>>,
    /// Written at refusals, read by ACL LOG.
    pub(super) acl_log: Mutex<AclLog>,
    pub(super) sessions: Sessions,
    pub(super) heart: Heart,
    /// Asked at AUTH alone.
    pub(super) throttle: Mutex<Throttle>,
    /// What users and addresses have of their limits.
    pub(super) quotas: Arc<Quotas>,
    /// The memory that all clients may take.
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Metrics,
    pub(super) refusals: RefusalLog,
}

/// A listener of the configuration, with its TLS loaded.
#[derive(Debug)]
pub struct ListenerParts {
    /// As configured.
    pub settings: config::Listener,
    /// `None`: plaintext.
    pub tls: Option<Arc<ServerTls>>,
    /// Connections at once, all sources together.
    pub max_connections: usize,
}

/// Everything that a service is made of.
#[derive(Debug)]
pub struct ServiceParts {
    /// What a reload may change.
    pub loaded: Loaded,
    /// Where that comes from.
    pub configuration: Box<dyn Configuration>,
    /// As configured, with their TLS loaded.
    pub upstreams: Vec<Connector>,
    /// Where refusals are written.
    pub audit: Audit,
}

/// A listener at work: what of it stays for as long as the process. The rest is in the generation.
#[derive(Debug)]
pub(super) struct Listening {
    /// Its place in the configuration that the process began with.
    pub(super) index: usize,
    pub(super) name: String,
    /// The number of its upstream.
    pub(super) upstream: usize,
    pub(super) kind: ListenerKind,
    pub(super) bind: Vec<config::Bind>,
    pub(super) connections: ConnectionLimit,
    pub(super) per_address: PerAddress,
    pub(super) handshakes: HandshakeLimits,
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
    /// Whether it is there, and where.
    pub(super) availability: Availability,
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
    /// A socket was passed to the process, and no listener is for it.
    #[error(
        "the inherited socket {0} (LISTEN_FDS) is neither an address in `bind` nor named after a \
         listener that it fits"
    )]
    Inherited(String),
    /// A thread can't be started.
    #[error("can't start a worker thread: {0}")]
    Thread(io::Error),
}

/// How often a drain looks whether all sessions are gone.
const DRAIN_STEP: Duration = Duration::from_millis(20);

// === impl Service ===

impl Service {
    /// Puts the parts together. Nothing is opened yet.
    pub fn new(parts: ServiceParts) -> Arc<Self> {
        let ServiceParts {
            loaded,
            configuration,
            upstreams,
            audit,
        } = parts;
        let listening = |(index, part): (usize, &ListenerParts)| {
            let settings = &part.settings;
            Arc::new(Listening {
                index,
                name: settings.name.clone(),
                upstream: settings.upstream,
                kind: settings.kind,
                bind: settings.bind.clone(),
                connections: ConnectionLimit::new(part.max_connections),
                per_address: PerAddress::new(settings.max_connections_per_ip),
                handshakes: HandshakeLimits::new(settings),
            })
        };
        let parts = &loaded.settings.listeners;
        let listeners: Vec<_> = parts.iter().enumerate().map(listening).collect();
        let metrics = Metrics::new(listeners.len(), upstreams.len());
        let upstreams: Vec<_> = upstreams
            .into_iter()
            .map(|connector| Upstream {
                availability: Availability::new(),
                is_shared: AtomicBool::new(
                    connector.settings().connections == config::Connections::Shared,
                ),
                connector,
                facts: ArcSwapOption::empty(),
            })
            .collect();
        let bell = Arc::new(Bell::default());
        let Loaded { rules, files, .. } = loaded;
        let budget = Budget::new(loaded.settings.memory);
        let auth = loaded.settings.auth;
        let throttle = Throttle::new(auth.attempts, auth.interval);
        let settings = settle(loaded.settings, None, &listeners, &upstreams);
        Arc::new(Self {
            keeper: Keeper::new(rules, settings, Arc::clone(&bell)),
            bell,
            configuration,
            reloading: Mutex::default(),
            files: Mutex::new(files),
            listeners,
            upstreams,
            audit,
            errand: Mutex::default(),
            acl_log: Mutex::default(),
            throttle: Mutex::new(throttle),
            quotas: Quotas::new(),
            budget,
            heart: Heart::new(),
            metrics,
            refusals: RefusalLog::default(),
            sessions: Sessions {
                next: AtomicU64::new(1),
                open: AtomicUsize::new(0),
                draining: AtomicBool::new(false),
                drain: watch::Sender::new(false),
            },
        })
    }

    /// Serves on these sockets, which were bound for its listeners, with `workers` threads (0: a
    /// number of its own choice).
    ///
    /// # Errors
    /// A socket or a thread that the system doesn't give; then nothing is served.
    pub async fn start(
        self: Arc<Self>,
        sockets: Sockets,
        workers: usize,
    ) -> Result<Running, Vec<StartError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        for (listening, given) in self.listeners.iter().zip(sockets.0) {
            let mut sockets = Vec::new();
            for (bind, socket) in listening.bind.iter().zip(given) {
                match socket.listen() {
                    Ok(listener) => sockets.push(listener),
                    Err(source) => errors.push(failed(&listening.name, bind, source)),
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
        tokio::spawn(self.heart.join().keep());
        for index in 0..self.upstreams.len() {
            tokio::spawn(control::watch(Arc::clone(&self), index));
        }
        tokio::spawn(budget::watch(Arc::clone(&self)));
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

    /// Whether every worker, and the thread that accepts, was seen at work within this time (at
    /// least 1.5 seconds); not before it serves.
    pub fn workers_alive(&self, within: Duration) -> bool {
        self.heart.beats(within)
    }

    /// What the listeners of an upstream stand before. One without listeners serves nobody.
    pub(super) fn kind_of(&self, upstream: usize) -> ListenerKind {
        let of = |listening: &&Arc<Listening>| listening.upstream == upstream;
        let first = self.listeners.iter().find(of);
        first.map_or(ListenerKind::default(), |listening| listening.kind)
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

    pub(super) fn errand(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        // It is put there whole or not.
        self.errand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory that clients make us hold, of their common budget.
    pub fn memory(&self) -> Memory {
        self.budget.memory()
    }

    /// How many users and addresses wait for their limits now.
    pub fn limited(&self) -> Limited {
        self.quotas.limited()
    }

    /// What is known of the upstreams, in the configuration's order: for metrics and status.
    pub fn upstream_views(&self) -> Vec<UpstreamView> {
        self.upstreams.iter().map(Upstream::view).collect()
    }

    /// The audit.
    pub fn audit(&self) -> &Audit {
        &self.audit
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

    pub(super) fn view(&self) -> UpstreamView {
        let status = self.availability.status();
        let facts = self.facts.load();
        let (pings, last_ping) = self.availability.pings();
        let addresses = &self.connector.settings().addresses;
        let address = status.address.and_then(|index| addresses.get(index));
        UpstreamView {
            name: self.name().to_owned(),
            state: status.state,
            since: status.since,
            reason: status.reason,
            address: address.map(ToString::to_string),
            role: facts.as_ref().map(|facts| facts.role.clone()),
            version: facts.as_ref().map(|facts| facts.version.to_string()),
            connect_failures: self.connector.failures(),
            pings,
            last_ping,
        }
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
    /// Stops accepting, lets every session finish what it is owed, and ends by the deadline, or when
    /// `hurry` has come. Returns how many sessions had to be cut.
    pub async fn drain(self, deadline: Instant, hurry: impl Future<Output = ()>) -> usize {
        let mut hurry = pin!(hurry);
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
        // What is being saved is saved, though its client may have gone.
        let saves = || {
            let errand = self.service.errand();
            errand.as_ref().is_some_and(|one| !one.is_finished())
        };
        while (open() > 0 || saves()) && Instant::now() < deadline {
            let step = Instant::now() + DRAIN_STEP;
            tokio::select! {
                _ = timeout_at(deadline, sleep_until(step)) => {}
                () = &mut hurry => break,
            }
        }
        let cut = open();
        self.workers.stop();
        let errand = self.service.errand().take();
        if let Some(errand) = errand.filter(JoinHandle::is_finished) {
            // It has let go of the audit, which is written to its end. A panic was told by its hook.
            let _ = errand.join();
        }
        cut
    }
}
