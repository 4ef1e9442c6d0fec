//! What the proxy counts, and where: each thread for itself.
//!
//! A thread's counters are written by it alone, so a session's batch costs a few additions in the
//! core's own cache, without a lock. `observe` adds them up when somebody asks. They are never taken
//! away: not when a session ends, nor when its user is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::command::Class;
use crate::session::Tally;
use crate::telemetry::metrics::{ByWord, Counter, Gauge, Histogram};

use super::upstream::UpstreamError;

/// All of it.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) started: (Instant, SystemTime),
    listeners: usize,
    upstreams: usize,
    threads: Mutex<Vec<Arc<ThreadMetrics>>>,
    /// Of the thread that accepts, and watches the upstreams.
    pub(super) main: Arc<ThreadMetrics>,
    /// The users that have a label of their own.
    names: Mutex<HashSet<Arc<str>>>,
    conditions: Box<[Mutex<Condition>]>,
    pub(super) reloads: Reloads,
}

/// What one thread has counted.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct ThreadMetrics {
    /// By the listener's number.
    pub(super) listeners: Box<[ListenerMetrics]>,
    /// By the upstream's number.
    pub(super) upstreams: Box<[UpstreamMetrics]>,
    pub(super) users: Mutex<HashMap<Arc<str>, Arc<UserMetrics>>>,
    /// Requests that were refused, by reason.
    pub(super) denials: ByWord<&'static str>,
    /// Replies that upstreams owe to sessions.
    pub(super) owed: Gauge,
}

/// What came in through one listener. (No two threads' counters lie in one cache line, nor in two
/// that the processor fetches together.)
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ListenerMetrics {
    /// Bytes of requests and of replies, as RESP: without TLS.
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) opened: Counter,
    /// How sessions have ended.
    pub(super) closed: ByWord<&'static str>,
    /// What came of handshakes, and the version of TLS.
    pub(super) handshakes: ByWord<(&'static str, &'static str)>,
    /// Connections that became no session.
    pub(super) refused: ByWord<&'static str>,
}

/// One upstream, as one thread sees it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UpstreamMetrics {
    /// PING of the control connection, and canaries of those that clients share.
    pub(super) latency: Histogram,
    /// Connections that are open, by [`Use`].
    connections: [Gauge; Use::ALL.len()],
    /// Connections that could not be had, by reason.
    pub(super) failures: ByWord<&'static str>,
    pub(super) desyncs: Counter,
}

/// What one user has asked for, by verdict and class.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UserMetrics([[Counter; Class::ALL.len()]; Judgement::ALL.len()]);

/// A verdict, as metrics name it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judgement {
    Allow,
    Deny,
    /// Denied by the policy, and let go on by shadow mode.
    WouldDeny,
}

/// What a connection to an upstream is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// By many sessions.
    Shared,
    /// By one.
    Own,
    /// By nobody now.
    Idle,
}

/// A connection in the count; until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    thread: Arc<ThreadMetrics>,
    upstream: usize,
    used: Use,
}

/// One session's way to its thread's counters. When it is dropped, the session is closed.
#[derive(Debug)]
pub(super) struct Meter {
    thread: Arc<ThreadMetrics>,
    listener: usize,
    user: Arc<UserMetrics>,
    /// As they were last told.
    owed: u64,
    end: &'static str,
}

/// Whether an upstream is there.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// It has not answered yet, or not since this.
    Down(String),
    /// It answers, but serves nobody just now: it loads, is busy, or has lost its master.
    Excused(String),
    /// It has answered the last PING.
    Up,
}

/// Reloads so far.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    pub(super) ok: AtomicU64,
    pub(super) failed: AtomicU64,
    last: Mutex<Option<LastReload>>,
}

/// The last one.
#[derive(Clone, Debug)]
pub(super) struct LastReload {
    pub(super) at: SystemTime,
    /// Why nothing came of it; empty: it is in force.
    pub(super) problems: Vec<String>,
}

/// Users that have labels of their own. Their names may come out of certificates, and SETUSER makes more
/// at run time; each is up to 20 series that the scraper holds for as long as it remembers. So many
/// make 20,000, which is a large target for a Prometheus and not yet a burden.
const MOST_USERS: usize = 1000;

/// All other users together.
const OTHER_USERS: &str = "_other";

/// Who has not logged in yet.
const NOBODY: &str = "_none";

/// How a session has ended that nobody has told the end of: its task has panicked, or its thread was
/// ended before it.
pub(super) const DROPPED: &str = "dropped";

// === impl Metrics ===

impl Metrics {
    /// Of so many listeners, and upstreams.
    pub(super) fn new(listeners: usize, upstreams: usize) -> Self {
        let main = Arc::new(ThreadMetrics::new(listeners, upstreams));
        let unknown = || Mutex::new(Condition::Down("it has not answered yet".to_owned()));
        Self {
            started: (Instant::now(), SystemTime::now()),
            listeners,
            upstreams,
            threads: Mutex::new(vec![Arc::clone(&main)]),
            main,
            names: Mutex::default(),
            conditions: (0..upstreams).map(|_| unknown()).collect(),
            reloads: Reloads::default(),
        }
    }

    /// The counters of one more thread.
    pub(super) fn add_thread(&self) -> Arc<ThreadMetrics> {
        let thread = Arc::new(ThreadMetrics::new(self.listeners, self.upstreams));
        lock(&self.threads).push(Arc::clone(&thread));
        thread
    }

    /// Those of all.
    pub(super) fn threads(&self) -> Vec<Arc<ThreadMetrics>> {
        lock(&self.threads).clone()
    }

    /// A session begins.
    pub(super) fn open_session(
        &self,
        thread: &Arc<ThreadMetrics>,
        listener: usize,
        user: Option<&str>,
    ) -> Meter {
        thread.listeners[listener].opened.add(1);
        Meter {
            user: self.user(thread, user),
            thread: Arc::clone(thread),
            listener,
            owed: 0,
            end: DROPPED,
        }
    }

    /// The counters that a thread has for a user.
    fn user(&self, thread: &ThreadMetrics, name: Option<&str>) -> Arc<UserMetrics> {
        let name = name.unwrap_or(NOBODY);
        if let Some(user) = lock(&thread.users).get(name) {
            return Arc::clone(user);
        }
        let label = self.label(name);
        let mut users = lock(&thread.users);
        Arc::clone(users.entry(label).or_default())
    }

    /// The label of a user: its name, as long as there aren't too many.
    fn label(&self, name: &str) -> Arc<str> {
        let mut names = lock(&self.names);
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        let label = match names.len() {
            0..MOST_USERS => name,
            _ => OTHER_USERS,
        };
        let label: Arc<str> = label.into();
        if &*label != OTHER_USERS {
            names.insert(Arc::clone(&label));
        }
        label
    }

    /// How an upstream is.
    pub(super) fn condition(&self, upstream: usize) -> Condition {
        lock(&self.conditions[upstream]).clone()
    }

    /// The upstream has answered PING, in that time, or says that it serves nobody.
    pub(super) fn answered(&self, upstream: usize, took: Duration, excuse: Option<&str>) {
        self.main.upstreams[upstream].latency.observe(took);
        *lock(&self.conditions[upstream]) = match excuse {
            Some(excuse) => Condition::Excused(excuse.to_owned()),
            None => Condition::Up,
        };
    }

    /// The upstream is gone, or not there.
    pub(super) fn lost(&self, upstream: usize, error: &UpstreamError) {
        self.main.upstreams[upstream].failures.add(error.label());
        *lock(&self.conditions[upstream]) = Condition::Down(error.to_string());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step that is taken under these locks can be half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl ThreadMetrics ===

impl ThreadMetrics {
    fn new(listeners: usize, upstreams: usize) -> Self {
        Self {
            listeners: (0..listeners).map(|_| ListenerMetrics::default()).collect(),
            upstreams: (0..upstreams).map(|_| UpstreamMetrics::default()).collect(),
            users: Mutex::default(),
            denials: ByWord::default(),
            owed: Gauge::default(),
        }
    }

    /// A connection to an upstream is open.
    pub(super) fn count(self: &Arc<Self>, upstream: usize, used: Use) -> Counted {
        self.upstreams[upstream].connections[used as usize].change(1);
        Counted {
            thread: Arc::clone(self),
            upstream,
            used,
        }
    }

    /// Every user that has counters here, with its label.
    pub(super) fn each_user(&self, mut visit: impl FnMut(&Arc<str>, &UserMetrics)) {
        for (label, user) in lock(&self.users).iter() {
            visit(label, user);
        }
    }
}

// === impl UpstreamMetrics ===

impl UpstreamMetrics {
    pub(super) fn connections(&self, used: Use) -> i64 {
        self.connections[used as usize].get()
    }
}

// === impl UserMetrics ===

impl UserMetrics {
    pub(super) fn get(&self, judgement: Judgement, class: Class) -> u64 {
        self.0[judgement as usize][class as usize].get()
    }
}

// === impl Judgement ===

impl Judgement {
    pub(super) const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::WouldDeny];

    /// Stable: dashboards depend on it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would_deny",
        }
    }
}

// === impl Use ===

impl Use {
    pub(super) const ALL: [Self; 3] = [Self::Shared, Self::Own, Self::Idle];

    /// Stable: dashboards depend on it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
            Self::Idle => "idle",
        }
    }
}

// === impl Counted ===

impl Counted {
    /// It is used otherwise from now on.
    pub(super) fn turn(&mut self, used: Use) {
        let connections = &self.thread.upstreams[self.upstream].connections;
        connections[self.used as usize].change(-1);
        connections[used as usize].change(1);
        self.used = used;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.thread.upstreams[self.upstream].connections[self.used as usize].change(-1);
    }
}

// === impl Meter ===

impl Meter {
    /// The client is this user now; `None`: nobody.
    pub(super) fn acts_as(&mut self, metrics: &Metrics, user: Option<&str>) {
        self.user = metrics.user(&self.thread, user);
    }

    /// These were allowed.
    #[inline]
    pub(super) fn allowed(&self, tally: &Tally) {
        let counters = &self.user.0[Judgement::Allow as usize];
        for (index, count) in tally.iter() {
            counters[index].add(u64::from(count));
        }
    }

    /// One was refused.
    pub(super) fn denied(&self, class: Class, reason: &'static str) {
        self.user.0[Judgement::Deny as usize][class as usize].add(1);
        self.thread.denials.add(reason);
    }

    /// One would have been, but for shadow mode.
    pub(super) fn would_deny(&self, class: Class) {
        self.user.0[Judgement::WouldDeny as usize][class as usize].add(1);
    }

    /// So many bytes came from the client.
    #[inline]
    pub(super) fn received(&self, len: usize) {
        self.thread.listeners[self.listener]
            .received
            .add(len as u64);
    }

    /// So many went to it.
    #[inline]
    pub(super) fn sent(&self, len: usize) {
        self.thread.listeners[self.listener].sent.add(len as u64);
    }

    /// So many replies are owed to it now.
    #[inline]
    pub(super) fn owed(&mut self, owed: u64) {
        if owed != self.owed {
            let change = owed.wrapping_sub(self.owed).cast_signed();
            self.thread.owed.change(change);
            self.owed = owed;
        }
    }

    /// Its replies, or its upstream's, are out of step.
    pub(super) fn desync(&self, upstream: usize) {
        self.thread.upstreams[upstream].desyncs.add(1);
    }

    /// How it ends.
    pub(super) fn ended(&mut self, end: &'static str) {
        self.end = end;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.owed(0);
        self.thread.listeners[self.listener].closed.add(self.end);
    }
}

// === impl Reloads ===

impl Reloads {
    pub(super) fn succeeded(&self) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        self.note(Vec::new());
    }

    pub(super) fn failed(&self, problems: &[String]) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.note(problems.to_vec());
    }

    pub(super) fn last(&self) -> Option<LastReload> {
        lock(&self.last).clone()
    }

    fn note(&self, problems: Vec<String>) {
        *lock(&self.last) = Some(LastReload {
            at: SystemTime::now(),
            problems,
        });
    }
}

#[cfg(test)]
mod tests;
