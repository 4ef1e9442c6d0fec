//! A worker's connections to the upstreams that its sessions share, and those of their own that they
//! have given back.
//!
//! One worker's sessions alone come here, so nothing is contended. Which connection a request may go
//! to is the session's affair.

mod line;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::session::{Berth, Rider};

use super::availability::{Down, Tenure};
use super::metrics::{Counted, ThreadMetrics, Use};
use super::service::Service;
use super::turns::Turns;
use super::upstream::{Dialogue, OpenPermit, UpstreamError, UpstreamStream};

pub(super) use line::Line;

/// What a worker's sessions have together.
#[derive(Debug)]
pub(super) struct Trunks {
    service: Arc<Service>,
    /// The worker's counters.
    pub(super) metrics: Arc<ThreadMetrics>,
    lines: RefCell<HashMap<Key, Entry>>,
    idle: RefCell<HashMap<Key, Vec<Own>>>,
    /// Before they are sessions.
    pub(super) turns: Turns,
}

/// An upstream's number, and what the connection is like. An upstream has one credential, so users of
/// different ones never share.
type Key = (usize, Berth);

#[derive(Debug)]
enum Entry {
    /// Somebody is connecting; the others wait for him.
    Opening(Rc<Opening>),
    Open(Vec<Rc<Line>>),
}

#[derive(Debug, Default)]
struct Opening {
    done: Notify,
    /// Why nothing came of it.
    failed: RefCell<Option<Arc<UpstreamError>>>,
}

/// A session's place on a shared connection.
#[derive(Debug)]
pub(super) struct Ride {
    pub(super) line: Rc<Line>,
    pub(super) rider: Rider,
    /// What the connection is like.
    pub(super) berth: Berth,
}

/// A connection that is one session's alone.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) stream: UpstreamStream,
    /// How the upstream was told to call it.
    pub(super) name: Option<Box<[u8]>>,
    /// Nothing has been asked on it.
    pub(super) fresh: bool,
    /// When it ends, the connection leads to no master any more.
    pub(super) tenure: Tenure,
    /// It was idle when somebody last looked.
    stale: bool,
    /// Given back when it is closed.
    _permit: OpenPermit,
    counted: Counted,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// The upstream's `max_connections` are open.
    Full,
    /// Nobody has tried: the upstream is known to be down.
    Down(Down),
    /// This is the reason.
    Failed(Arc<UpstreamError>),
}

/// A connection that was just opened.
struct Opened {
    stream: UpstreamStream,
    permit: OpenPermit,
    tenure: Tenure,
}

/// Connections of one kind that are kept for the next session that needs its own. A burst of blocking
/// commands leaves so many open; the others are closed.
const MOST_IDLE: usize = 32;

/// Shared connections of one kind. One is enough but while a large reply is on its way to a slow
/// client; who comes meanwhile gets another.
const MOST_LINES: usize = 8;

// === impl Trunks ===

impl Trunks {
    pub(super) fn new(service: Arc<Service>) -> Rc<Self> {
        Rc::new(Self {
            metrics: service.metrics.add_thread(),
            service,
            lines: RefCell::default(),
            idle: RefCell::default(),
            turns: Turns::default(),
        })
    }

    /// A place on a shared connection like this.
    pub(super) async fn ride(&self, upstream: usize, berth: Berth) -> Result<Ride, Unavailable> {
        let key = (upstream, berth);
        let mut waited_for: Option<Rc<Opening>> = None;
        loop {
            if let Some(error) = waited_for
                .take()
                .and_then(|opening| opening.failed.borrow().clone())
            {
                return Err(Unavailable::Failed(error));
            }
            let opening = match self.lines.borrow_mut().get_mut(&key) {
                Some(Entry::Opening(opening)) => Some(Rc::clone(opening)),
                Some(Entry::Open(lines)) => {
                    lines.retain(|line| !line.is_closed() && !line.is_retired());
                    let free = lines.iter().find(|line| !line.is_hindered());
                    let free = free.or(match lines.len() {
                        // The youngest: an older one may have died while nobody could read it.
                        MOST_LINES.. => lines.last(),
                        _ => None,
                    });
                    if let Some(line) = free {
                        return Ok(Ride::new(line, berth));
                    }
                    None
                }
                None => None,
            };
            match opening {
                Some(opening) => {
                    opening.done.notified().await;
                    waited_for = Some(opening);
                }
                None => return self.open_line(key).await,
            }
        }
    }

    /// Connects, while the others that want the same wait.
    async fn open_line(&self, key: Key) -> Result<Ride, Unavailable> {
        let opening = Rc::new(Opening::default());
        let before = self
            .lines
            .borrow_mut()
            .insert(key, Entry::Opening(Rc::clone(&opening)));
        let mut lines = match before {
            Some(Entry::Open(lines)) => lines,
            _ => Vec::new(),
        };
        // A session that is dropped meanwhile leaves nobody waiting.
        let guard = OpeningGuard {
            trunks: self,
            key,
            opening,
        };
        let opened = self.connect(key, true).await;
        match opened {
            Ok(opened) => {
                let counted = self.metrics.count(key.0, Use::Shared);
                let line = Line::start(&self.service, &self.metrics, key, opened, counted);
                let ride = Ride::new(&line, key.1);
                lines.push(line);
                self.lines.borrow_mut().insert(key, Entry::Open(lines));
                drop(guard);
                Ok(ride)
            }
            Err(unavailable) => {
                if let Unavailable::Failed(error) = &unavailable {
                    *guard.opening.failed.borrow_mut() = Some(Arc::clone(error));
                }
                self.lines.borrow_mut().remove(&key);
                if !lines.is_empty() {
                    self.lines.borrow_mut().insert(key, Entry::Open(lines));
                }
                drop(guard);
                Err(unavailable)
            }
        }
    }

    /// A connection like this for one session alone. It never waits for another's to come back.
    pub(super) async fn borrow(&self, upstream: usize, berth: Berth) -> Result<Own, Unavailable> {
        let key = (upstream, berth);
        loop {
            let idle = self.idle.borrow_mut().get_mut(&key).and_then(Vec::pop);
            let Some(mut own) = idle else {
                break;
            };
            // Or it was closed meanwhile, or says what nobody asked for, or is another's than the
            // master's.
            if !own.tenure.is_over() && own.stream.is_quiet() {
                own.counted.turn(Use::Own);
                return Ok(own);
            }
        }
        let Opened {
            stream,
            permit,
            tenure,
        } = self.connect(key, false).await?;
        Ok(Own {
            stream,
            name: None,
            fresh: true,
            tenure,
            stale: false,
            _permit: permit,
            counted: self.metrics.count(upstream, Use::Own),
        })
    }

    /// Takes a connection back that is like this, and that nothing is left on.
    pub(super) fn give_back(&self, upstream: usize, berth: Berth, mut own: Own) {
        if own.tenure.is_over() {
            return;
        }
        own.fresh = false;
        own.stale = false;
        let mut idle = self.idle.borrow_mut();
        let idle = idle.entry((upstream, berth)).or_default();
        if idle.len() < MOST_IDLE {
            own.counted.turn(Use::Idle);
            idle.push(own);
        }
    }

    /// Closes what has been idle for a whole round.
    pub(super) fn tidy_up(&self) {
        for idle in self.idle.borrow_mut().values_mut() {
            idle.retain_mut(|own| {
                !std::mem::replace(&mut own.stale, true) && !own.tenure.is_over()
            });
        }
        self.idle.borrow_mut().retain(|_, idle| !idle.is_empty());
        self.lines.borrow_mut().retain(|_, entry| match entry {
            Entry::Open(lines) => {
                lines.retain(|line| !line.is_closed() && !line.is_retired());
                !lines.is_empty()
            }
            Entry::Opening(_) => true,
        });
    }

    /// Closes one idle connection, if there is one.
    fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.values_mut().any(|idle| idle.pop().is_some())
    }

    async fn connect(&self, (upstream, berth): Key, shared: bool) -> Result<Opened, Unavailable> {
        let counters = &self.metrics.upstreams[upstream];
        let upstream = &self.service.upstreams[upstream];
        let permit = loop {
            match upstream.connector.permit() {
                Some(permit) => break permit,
                // One that nobody uses makes room for one that somebody needs.
                None if self.close_idle() => {}
                None => return Err(Unavailable::Full),
            }
        };
        let availability = &upstream.availability;
        loop {
            let target = availability.target().await.map_err(Unavailable::Down)?;
            let opening = upstream.connector.open_for(target.address, berth, shared);
            let opened = tokio::select! {
                biased;
                opened = opening => opened,
                // What all have come to know needs no `connect_timeout` of each.
                down = availability.down() => return Err(Unavailable::Down(down)),
            };
            if target.tenure.is_over() {
                // Its master has moved meanwhile.
                continue;
            }
            let stream = opened.and_then(Dialogue::into_stream).map_err(|error| {
                counters.failures.add(error.label());
                availability.doubt();
                Unavailable::Failed(Arc::new(error))
            })?;
            return Ok(Opened {
                stream,
                permit,
                tenure: target.tenure,
            });
        }
    }
}

/// Ends an opening, whatever became of it.
struct OpeningGuard<'a> {
    trunks: &'a Trunks,
    key: Key,
    opening: Rc<Opening>,
}

impl Drop for OpeningGuard<'_> {
    fn drop(&mut self) {
        let mut lines = self.trunks.lines.borrow_mut();
        if let Some(Entry::Opening(_)) = lines.get(&self.key) {
            lines.remove(&self.key);
        }
        self.opening.done.notify_waiters();
    }
}

// === impl Ride ===

impl Ride {
    fn new(line: &Rc<Line>, berth: Berth) -> Self {
        Self {
            rider: line.board(),
            line: Rc::clone(line),
            berth,
        }
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        self.line.leave(self.rider);
    }
}
