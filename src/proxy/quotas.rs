//! What each user and each address has of its limits, over all listeners and workers.
//!
//! Asked at a client's begin, at AUTH and at its end; in between each session debits what it has used
//! once a batch, without a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::config::{self, Quota};
use crate::session::{Meter, network};

/// Everybody who has a limit, or had one and has yet to pay for what it used.
#[derive(Debug)]
pub(super) struct Quotas {
    /// What meters count from.
    epoch: Instant,
    shares: Mutex<HashMap<Whose, Arc<Share>>>,
}

/// Who shares a limit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Whose {
    User(String),
    /// Of IPv6 the /64, as for failed logins.
    Address(IpAddr),
}

/// What all sessions of one have used together.
#[derive(Debug, Default)]
struct Share {
    /// Changed under the lock of all.
    connections: AtomicUsize,
    commands: Meter,
    bytes: Meter,
}

/// One connection's place among those of its user or its address; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    quotas: Arc<Quotas>,
    whose: Whose,
    share: Arc<Share>,
    /// What the session knows of the limit.
    quota: Quota,
}

/// What one session shares with others, and how long it waits for that.
#[derive(Debug)]
pub(super) struct Dues {
    user: Option<Place>,
    address: Option<Place>,
    /// Read once a poll.
    now: Instant,
    /// Until then no request is taken.
    requests_at: Option<Instant>,
    /// Until then nothing passes at all.
    bytes_at: Option<Instant>,
}

/// How many are waiting for their limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limited {
    /// Users whose clients have used more than their rates.
    pub users: usize,
    /// The same for addresses.
    pub addresses: usize,
}

/// Who is remembered, before those who owe nothing and aren't there are looked for: some megabytes.
const MOST: usize = 16 * 1024;

// === impl Quotas ===

impl Quotas {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            shares: Mutex::default(),
        })
    }

    /// A place for one more; `None`: all are taken.
    pub(super) fn enter(self: &Arc<Self>, whose: Whose, quota: Quota) -> Option<Place> {
        self.take(whose, quota, quota.max_connections.unwrap_or(usize::MAX))
    }

    /// The same for a client that is here already, whose limit is new.
    fn join(self: &Arc<Self>, whose: Whose, quota: Quota) -> Option<Place> {
        self.take(whose, quota, usize::MAX)
    }

    fn take(self: &Arc<Self>, whose: Whose, quota: Quota, most: usize) -> Option<Place> {
        let mut shares = self.lock();
        if shares.len() >= MOST && !shares.contains_key(&whose) {
            let now = Instant::now().saturating_duration_since(self.epoch);
            shares.retain(|_, share| share.is_needed(now));
        }
        let share = match shares.get(&whose) {
            Some(share) => Arc::clone(share),
            None => Arc::default(),
        };
        if share.connections.load(Ordering::Relaxed) >= most {
            return None;
        }
        share.connections.fetch_add(1, Ordering::Relaxed);
        shares.insert(whose.clone(), Arc::clone(&share));
        drop(shares);
        Some(Place {
            quotas: Arc::clone(self),
            whose,
            share,
            quota,
        })
    }

    /// How many wait for their limits now.
    pub(super) fn limited(&self) -> Limited {
        let now = Instant::now().saturating_duration_since(self.epoch);
        let mut limited = Limited::default();
        for (whose, share) in self.lock().iter() {
            let is_limited = share.commands.is_overdrawn(now) || share.bytes.is_overdrawn(now);
            match whose {
                Whose::User(_) => limited.users += usize::from(is_limited),
                Whose::Address(_) => limited.addresses += usize::from(is_limited),
            }
        }
        limited
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, Arc<Share>>> {
        // No step in here can be half done.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Whose ===

impl Whose {
    pub(super) fn address(source: IpAddr) -> Self {
        Self::Address(network(source))
    }
}

// === impl Share ===

impl Share {
    /// Who comes and goes all the time must not be new each time.
    fn is_needed(&self, now: std::time::Duration) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
            || !self.commands.is_full(now)
            || !self.bytes.is_full(now)
    }
}

// === impl Place ===

impl Place {
    /// Another limit from now on.
    fn renew(&mut self, quota: Quota) {
        // What was used is forgiven: by the new rate it might be waited for too long.
        if quota.commands_per_second != self.quota.commands_per_second {
            self.share.commands.reset();
        }
        if quota.bytes_per_second != self.quota.bytes_per_second {
            self.share.bytes.reset();
        }
        self.quota = quota;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shares = self.quotas.lock();
        self.share.connections.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now().saturating_duration_since(self.quotas.epoch);
        if !self.share.is_needed(now) {
            shares.remove(&self.whose);
        }
    }
}

// === impl Dues ===

impl Dues {
    fn new() -> Box<Self> {
        Box::new(Self {
            user: None,
            address: None,
            now: Instant::now(),
            requests_at: None,
            bytes_at: None,
        })
    }

    /// Of a client whose address has this place.
    pub(super) fn of_address(place: Option<Place>) -> Option<Box<Self>> {
        let mut dues = None;
        set(&mut dues, |dues| &mut dues.address, place);
        dues
    }

    /// A poll begins: what was waited for may be over.
    pub(super) fn look(&mut self, now: Instant) {
        self.now = now;
        self.requests_at = self.requests_at.filter(|at| *at > now);
        self.bytes_at = self.bytes_at.filter(|at| *at > now);
    }

    /// How many requests may be taken now.
    pub(super) fn allowance(&self) -> u64 {
        if self.holds_requests() {
            return 0;
        }
        let left = |place: &Place| {
            let now = self.now.saturating_duration_since(place.quotas.epoch);
            let rate = place.quota.commands_per_second?;
            // Who need not wait may have one; that is what it waits for afterwards.
            Some(place.share.commands.available(rate, now).max(1))
        };
        let both = [&self.user, &self.address].into_iter().flatten();
        both.filter_map(left).min().unwrap_or(u64::MAX)
    }

    /// So much was used.
    pub(super) fn debit(&mut self, requests: u64, bytes: u64) {
        for place in [&self.user, &self.address].into_iter().flatten() {
            let Place { share, quota, .. } = place;
            let now = self.now.saturating_duration_since(place.quotas.epoch);
            if let (Some(rate), 1..) = (quota.commands_per_second, requests) {
                let wait = share.commands.debit(requests, rate, now);
                wait_for(&mut self.requests_at, self.now, wait);
            }
            if let (Some(rate), 1..) = (quota.bytes_per_second, bytes) {
                let wait = share.bytes.debit(bytes, rate, now);
                wait_for(&mut self.bytes_at, self.now, wait);
            }
        }
    }

    /// Whether no request is taken now.
    pub(super) fn holds_requests(&self) -> bool {
        self.requests_at.is_some() || self.holds_bytes()
    }

    /// Whether nothing passes now.
    pub(super) fn holds_bytes(&self) -> bool {
        self.bytes_at.is_some()
    }

    /// When to look again.
    pub(super) fn resume(&self) -> Option<Instant> {
        [self.requests_at, self.bytes_at]
            .into_iter()
            .flatten()
            .min()
    }
}

fn wait_for(until: &mut Option<Instant>, now: Instant, wait: std::time::Duration) {
    if !wait.is_zero() {
        // What no clock can say is for ever, or nearly.
        let at = now.checked_add(wait).unwrap_or(now + FOR_EVER);
        *until = (*until).max(Some(at));
    }
}

/// Longer than a timer can wait.
const FOR_EVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

/// The session goes on as this user, or as nobody. Returns whether it may: there is a place for it.
pub(super) fn enter_as(
    dues: &mut Option<Box<Dues>>,
    quotas: &Arc<Quotas>,
    user: Option<&str>,
    limits: &config::Quotas,
) -> bool {
    let of = |name: &str| Some((name.to_owned(), *limits.of_user(name)?));
    let held = dues.as_ref().and_then(|dues| dues.user.as_ref());
    let whose = user.map(|name| Whose::User(name.to_owned()));
    if held.map(|place| &place.whose) == whose.as_ref() {
        return true;
    }
    let place = match user.and_then(of) {
        Some((name, quota)) => match quotas.enter(Whose::User(name), quota) {
            Some(place) => Some(place),
            None => return false,
        },
        None => None,
    };
    set(dues, |dues| &mut dues.user, place);
    true
}

/// Other limits from now on. Who is here stays.
pub(super) fn renew(
    dues: &mut Option<Box<Dues>>,
    quotas: &Arc<Quotas>,
    user: Option<&str>,
    source: Option<IpAddr>,
    limits: &config::Quotas,
) {
    let quota = user.and_then(|name| limits.of_user(name).copied());
    let whose = user.map(|name| Whose::User(name.to_owned()));
    renew_one(dues, quotas, |dues| &mut dues.user, whose.zip(quota));
    let whose = source.map(Whose::address);
    renew_one(
        dues,
        quotas,
        |dues| &mut dues.address,
        whose.zip(limits.address),
    );
    if let Some(dues) = dues {
        dues.requests_at = None;
        dues.bytes_at = None;
    }
}

fn renew_one(
    dues: &mut Option<Box<Dues>>,
    quotas: &Arc<Quotas>,
    part: fn(&mut Dues) -> &mut Option<Place>,
    wanted: Option<(Whose, Quota)>,
) {
    let held = dues.as_mut().and_then(|dues| part(dues).as_mut());
    match (held, wanted) {
        (Some(place), Some((whose, quota))) if place.whose == whose => place.renew(quota),
        (_, wanted) => {
            let place = wanted.and_then(|(whose, quota)| quotas.join(whose, quota));
            set(dues, part, place);
        }
    }
}

/// Puts a place where it belongs; who has none has no dues.
fn set(
    dues: &mut Option<Box<Dues>>,
    part: fn(&mut Dues) -> &mut Option<Place>,
    place: Option<Place>,
) {
    if dues.is_none() && place.is_none() {
        return;
    }
    let kept = dues.get_or_insert_with(Dues::new);
    *part(kept) = place;
    if kept.user.is_none() && kept.address.is_none() {
        *dues = None;
    }
}

#[cfg(test)]
mod tests;
