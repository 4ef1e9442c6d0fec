//! What the control connection has found out of an upstream, for those who want a connection to it.
//!
//! Who finds it down is not made to wait for `connect_timeout`, and does not connect to see for himself:
//! he asks the control connection to look again, at most every few milliseconds for all of them
//! together, and waits for the outcome of that one look, or [`GRACE`] at most. So an upstream that is
//! back is used at once, and one that hangs costs one connect, not one of each client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::health::State;

/// Written by one control connection, read by all sessions of the upstream.
#[derive(Debug)]
pub(super) struct Availability {
    status: watch::Sender<Status>,
    /// Counts the masters that were in use, and the moments when one ceased to be.
    tenure: Arc<AtomicU64>,
    /// Somebody wants a connection, though it is down.
    wanted: Notify,
    /// Somebody has met what shows that the control connection should look.
    doubted: Notify,
    /// What was learned of it may be too little for the commands that are declared now.
    outgrown: Notify,
    pings: AtomicU64,
    last_ping: AtomicU64,
}

/// What is known just now.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) state: State,
    /// Since when it is so.
    pub(super) since: std::time::Instant,
    /// The number of the address in use, or that was last; `None`: there was none yet, or it isn't the
    /// master any more.
    pub(super) address: Option<usize>,
    /// The one that `address` has, or will have.
    tenure: u64,
    /// Why it isn't up.
    pub(super) reason: Option<Arc<str>>,
    /// How often the control connection has been opened, or tried to.
    started: u64,
    /// How often that has come to an end, good or bad.
    ended: u64,
    /// When the attempt began that is under way.
    trying: Option<Instant>,
}

/// Where to connect.
#[derive(Debug)]
pub(super) struct Target {
    /// The number of the address.
    pub(super) address: usize,
    pub(super) tenure: Tenure,
}

/// The time in which an address is the one in use. A connection that was opened in it is of no use
/// behind its end.
#[derive(Clone, Debug)]
pub(super) struct Tenure {
    current: Arc<AtomicU64>,
    mine: u64,
}

/// The upstream is known to be down; and why.
#[derive(Clone, Debug)]
pub(super) struct Down(pub(super) Option<Arc<str>>);

/// What metrics and status show of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// The name of its table in the configuration.
    pub name: String,
    /// What is known of it.
    pub state: State,
    /// Since when it is so.
    pub since: std::time::Instant,
    /// Why it isn't up.
    pub reason: Option<Arc<str>>,
    /// The address in use, or that was last; `None`: there was none yet, or it isn't the master any
    /// more.
    pub address: Option<String>,
    /// What it said of itself: `master`, `slave`, `sentinel`; `None` until it has.
    pub role: Option<String>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// Connects that failed since the start: those of sessions, and our own.
    pub connect_failures: u64,
    /// PINGs that were answered since the start.
    pub pings: u64,
    /// How long the last answer took; `None`: there was none.
    pub last_ping: Option<Duration>,
}

/// How long somebody waits, at most, to learn whether a look at an upstream that was down finds it up.
/// A refused connect takes a millisecond, a first answer in another data centre some hundred.
const GRACE: Duration = Duration::from_secs(1);

// === impl Availability ===

impl Availability {
    pub(super) fn new() -> Self {
        let status = Status {
            state: State::Down,
            since: std::time::Instant::now(),
            address: None,
            tenure: 0,
            reason: None,
            started: 0,
            ended: 0,
            trying: None,
        };
        Self {
            status: watch::Sender::new(status),
            tenure: Arc::default(),
            wanted: Notify::new(),
            doubted: Notify::new(),
            outgrown: Notify::new(),
            pings: AtomicU64::new(0),
            last_ping: AtomicU64::new(0),
        }
    }

    pub(super) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Where to connect, once that is known.
    ///
    /// # Errors
    /// Nobody can be served.
    pub(super) async fn target(&self) -> Result<Target, Down> {
        let mut status = self.status.subscribe();
        let mut first = settled(&mut status).await;
        if first.state == State::Down {
            self.wanted.notify_one();
            let deadline = first.trying.unwrap_or_else(Instant::now) + GRACE;
            // The attempt that is under way may have begun before the upstream was back.
            let news = status.wait_for(|now| now.state != State::Down || now.ended > first.started);
            // The sender lives as long as this does.
            let _ = timeout_at(deadline, news).await;
            first = settled(&mut status).await;
        }
        match (first.state, first.address) {
            (State::Up, Some(address)) => Ok(Target {
                address,
                tenure: Tenure {
                    current: Arc::clone(&self.tenure),
                    mine: first.tenure,
                },
            }),
            _ => Err(Down(first.reason)),
        }
    }

    /// Resolves when nobody can be served any more.
    pub(super) async fn down(&self) -> Down {
        let mut status = self.status.subscribe();
        let down = status.wait_for(|now| now.state == State::Down).await;
        Down(down.ok().and_then(|status| status.reason.clone()))
    }

    /// Somebody has met what the control connection should have a look at.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// The table has other commands than when the upstream was asked for its own.
    pub(super) fn outgrow(&self) {
        self.outgrown.notify_one();
    }

    // --- for the control connection ---

    pub(super) async fn outgrown(&self) {
        self.outgrown.notified().await;
    }

    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// An attempt begins.
    pub(super) fn try_now(&self) {
        self.status.send_modify(|status| {
            status.started += 1;
            status.trying = Some(Instant::now());
        });
    }

    /// What is known has changed; `tried`: by an attempt that has ended.
    pub(super) fn publish(
        &self,
        state: State,
        since: std::time::Instant,
        reason: Option<Arc<str>>,
        tried: bool,
    ) {
        self.status.send_modify(|status| {
            status.state = state;
            status.since = since;
            status.reason = reason;
            if tried {
                status.ended = status.started;
                status.trying = None;
            }
        });
    }

    /// This address is the one in use from now on; `None`: none is. Returns whether connections to the
    /// one before are of no use any more.
    pub(super) fn put_in_use(&self, address: Option<usize>) -> bool {
        let mut moved = false;
        self.status.send_modify(|status| {
            moved = status.address.is_some() && status.address != address;
            if moved {
                status.tenure += 1;
                self.tenure.store(status.tenure, Ordering::Relaxed);
            }
            status.address = address;
        });
        moved
    }

    /// A PING was answered.
    pub(super) fn pinged(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_ping.store(micros, Ordering::Relaxed);
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    /// How many PINGs were answered, and how long the last took.
    pub(super) fn pings(&self) -> (u64, Option<Duration>) {
        let pings = self.pings.load(Ordering::Relaxed);
        let last = Duration::from_micros(self.last_ping.load(Ordering::Relaxed));
        (pings, (pings > 0).then_some(last))
    }
}

/// What is known, once it is no mere suspicion. That takes 10 seconds at most: see [`super::health`].
async fn settled(status: &mut watch::Receiver<Status>) -> Status {
    let is_settled = |now: &Status| match now.state {
        // Without an address its master is being put out of use just now: the suspicion comes next.
        State::Up => now.address.is_some(),
        State::Suspect => false,
        State::Down => true,
    };
    if let Ok(settled) = status.wait_for(is_settled).await {
        return settled.clone();
    }
    // The sender is gone, and the process with it.
    status.borrow().clone()
}

// === impl Tenure ===

impl Tenure {
    /// Whether the address that was in use then isn't any more.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.current.load(Ordering::Relaxed) != self.mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(availability: &Availability, state: State, tried: bool) {
        availability.publish(state, std::time::Instant::now(), None, tried);
    }

    fn up() -> Availability {
        let availability = Availability::new();
        availability.put_in_use(Some(0));
        publish(&availability, State::Up, true);
        availability
    }

    #[tokio::test]
    async fn a_tenure_ends_when_another_address_is_used_and_not_when_the_same_is_back() {
        let availability = up();
        let first = availability.target().await.unwrap();
        assert_eq!(first.address, 0);
        publish(&availability, State::Down, true);
        assert!(!availability.put_in_use(Some(0)));
        assert!(!first.tenure.is_over());
        assert!(availability.put_in_use(Some(1)));
        assert!(first.tenure.is_over());
        publish(&availability, State::Up, true);
        let second = availability.target().await.unwrap();
        assert!(second.address == 1 && !second.tenure.is_over());
        // A master that is demoted is of no use, though it may be promoted again.
        assert!(availability.put_in_use(None));
        assert!(!availability.put_in_use(Some(1)));
        assert!(second.tenure.is_over());
    }

    #[tokio::test]
    async fn who_finds_it_down_asks_for_a_look_and_waits_for_that_alone() {
        let availability = Availability::new();
        let look = async {
            availability.wanted().await;
            availability.try_now();
            publish(&availability, State::Down, true);
        };
        let (target, ()) = tokio::join!(availability.target(), look);
        assert!(target.is_err());
        let look = async {
            availability.wanted().await;
            availability.try_now();
            publish(&availability, State::Suspect, false);
            tokio::task::yield_now().await;
            availability.put_in_use(Some(3));
            publish(&availability, State::Up, true);
        };
        let (target, ()) = tokio::join!(availability.target(), look);
        assert_eq!(target.unwrap().address, 3);
    }

    #[tokio::test]
    async fn who_comes_while_its_master_is_put_out_of_use_waits_for_the_next() {
        let availability = up();
        availability.put_in_use(None);
        let exchange = async {
            tokio::task::yield_now().await;
            publish(&availability, State::Suspect, false);
            tokio::task::yield_now().await;
            availability.put_in_use(Some(1));
            publish(&availability, State::Up, true);
        };
        let (target, ()) = tokio::join!(availability.target(), exchange);
        assert_eq!(target.unwrap().address, 1);
    }

    #[tokio::test]
    async fn a_look_that_began_before_tells_nothing() {
        let availability = Availability::new();
        availability.try_now();
        let look = async {
            availability.wanted().await;
            publish(&availability, State::Down, true);
            tokio::task::yield_now().await;
            availability.try_now();
            availability.put_in_use(Some(0));
            publish(&availability, State::Up, true);
        };
        let (target, ()) = tokio::join!(availability.target(), look);
        assert!(target.is_ok());
    }

    #[test]
    fn pings_are_counted_and_the_last_is_shown() {
        let availability = Availability::new();
        assert_eq!(availability.pings(), (0, None));
        for ms in [7, 3] {
            availability.pinged(Duration::from_millis(ms));
        }
        assert_eq!(availability.pings(), (2, Some(Duration::from_millis(3))));
    }

    #[tokio::test]
    async fn who_connects_while_it_dies_is_told() {
        let availability = up();
        let die = async { publish(&availability, State::Down, true) };
        let (Down(reason), ()) = tokio::join!(availability.down(), die);
        assert_eq!(reason, None);
    }
}
