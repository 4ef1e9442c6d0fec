//! Slows down who guesses passwords, without locking out who knows them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The failed logins of late, by address and by user. One for the whole process.
#[derive(Debug)]
pub struct Throttle {
    by_address: Buckets,
    by_user: Buckets,
    /// Addresses and users that belong together: when they last logged in.
    proven: HashMap<u64, Instant>,
    /// What is remembered are hashes: names before AUTH are as long as a client likes.
    hasher: RandomState,
}

/// A token bucket for each key. It is all told by the instant at which it is full again.
#[derive(Debug, Default)]
struct Buckets {
    /// A token comes back in this time.
    interval: Duration,
    /// From empty to full.
    depth: Duration,
    full_at: HashMap<u64, Instant>,
}

/// A user's failures at once, for each of an address: a deployment of a hundred instances that all have
/// the wrong password is no attack yet.
const USER_ATTEMPTS: u32 = 5;

/// How much faster a user gets them back, from all addresses together: a botnet gains nothing by its
/// size, and a new instance of the real client gets its turn within seconds.
const USER_SPEED: u32 = 10;

/// Keys that are remembered of each kind: less than a megabyte. Who has more addresses than that
/// is held by the user's bucket.
const MOST: usize = 16 * 1024;

// === impl Throttle ===

impl Throttle {
    /// So many failures of an address at once, and then one in each `interval`.
    pub fn new(attempts: u32, interval: Duration) -> Self {
        let mut throttle = Self {
            by_address: Buckets::default(),
            by_user: Buckets::default(),
            proven: HashMap::new(),
            hasher: RandomState::new(),
        };
        throttle.set(attempts, interval);
        throttle
    }

    /// Other numbers from now on. What was counted is still to be waited for.
    pub fn set(&mut self, attempts: u32, interval: Duration) {
        self.by_address.set(attempts, interval);
        let attempts = attempts.saturating_mul(USER_ATTEMPTS);
        self.by_user.set(attempts, interval / USER_SPEED);
    }

    /// Whether an attempt to log in as `user` is worth looking at. `source` is `None` for a unix
    /// socket: all of its clients share one bucket. `user` is empty where the client can't be whom
    /// it names: nobody's password is guessed then.
    pub fn may_log_in(&self, source: Option<IpAddr>, user: &str, now: Instant) -> bool {
        let address = self.hasher.hash_one(source.map(network));
        self.by_address.has_token(address, now)
            && (!self.counts_for_user(source, user)
                || self.by_user.has_token(self.hasher.hash_one(user), now))
    }

    /// Takes note of an attempt that was looked at.
    pub fn logged_in(&mut self, source: Option<IpAddr>, user: &str, ok: bool, now: Instant) {
        if ok {
            let pair = self.pair(source, user);
            make_room(&mut self.proven, pair);
            self.proven.insert(pair, now);
            return;
        }
        let address = self.hasher.hash_one(source.map(network));
        self.by_address.charge(address, now);
        if self.counts_for_user(source, user) {
            let user = self.hasher.hash_one(user);
            self.by_user.charge(user, now);
        }
    }

    /// Where the user has logged in from before, guessing elsewhere can't lock it out, nor can this
    /// place lock out others: its own address holds it.
    fn counts_for_user(&self, source: Option<IpAddr>, user: &str) -> bool {
        !user.is_empty() && !self.proven.contains_key(&self.pair(source, user))
    }

    fn pair(&self, source: Option<IpAddr>, user: &str) -> u64 {
        self.hasher.hash_one((source.map(network), user))
    }
}

/// What counts as one address: whoever has one of IPv6 has the /64 that it is in.
pub fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(source) => IpAddr::V6(Ipv6Addr::from_bits(source.to_bits() & (u128::MAX << 64))),
    }
}

/// Where `key` would be one too many: forgets the earlier half of what is known. Of buckets these
/// are the ones that are full, and then those that are nearest to it.
fn make_room(known: &mut HashMap<u64, Instant>, key: u64) {
    if known.len() < MOST || known.contains_key(&key) {
        return;
    }
    let mut instants: Vec<Instant> = known.values().copied().collect();
    let (_, median, _) = instants.select_nth_unstable(MOST / 2);
    known.retain(|_, at| *at > *median);
}

// === impl Buckets ===

impl Buckets {
    fn set(&mut self, attempts: u32, interval: Duration) {
        self.interval = interval;
        self.depth = interval.saturating_mul(attempts);
    }

    fn has_token(&self, key: u64, now: Instant) -> bool {
        // A depth that no clock can say is endless.
        let latest = now.checked_add(self.depth);
        self.full_at.get(&key).is_none_or(|full_at| {
            let after = full_at.checked_add(self.interval);
            latest.is_none_or(|latest| after.is_some_and(|after| after <= latest))
        })
    }

    fn charge(&mut self, key: u64, now: Instant) {
        make_room(&mut self.full_at, key);
        let full_at = self.full_at.entry(key).or_insert(now);
        let from = (*full_at).max(now);
        *full_at = from.checked_add(self.interval).unwrap_or(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle() -> Throttle {
        Throttle::new(20, SECOND)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Fails until it is refused; how often it could.
    fn guess(it: &mut Throttle, source: Option<IpAddr>, user: &str, now: Instant) -> usize {
        let mut failed = 0;
        while it.may_log_in(source, user, now) {
            it.logged_in(source, user, false, now);
            failed += 1;
        }
        failed
    }

    #[test]
    fn an_address_has_twenty_guesses_and_then_one_a_second() {
        let (mut it, now) = (throttle(), Instant::now());
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        assert_eq!(guess(&mut it, one, "cart", now), 20);
        assert_eq!(guess(&mut it, one, "ops", now), 0, "as any user");
        assert!(it.may_log_in(other, "cart", now));
        assert_eq!(guess(&mut it, one, "cart", now + SECOND), 1);
        assert_eq!(guess(&mut it, one, "cart", now + SECOND * 4), 3);
        assert_eq!(guess(&mut it, one, "cart", now + SECOND * 3600), 20);
    }

    #[test]
    fn a_user_has_a_hundred_from_everywhere_and_then_ten_a_second() {
        let (mut it, now) = (throttle(), Instant::now());
        let mut failed = 0;
        for last in 0..50 {
            let source = address(&format!("10.0.0.{last}"));
            failed += guess(&mut it, source, "cart", now);
        }
        assert_eq!(failed, 100);
        let fresh = address("10.0.1.1");
        assert!(!it.may_log_in(fresh, "cart", now));
        assert!(it.may_log_in(fresh, "ops", now), "another user");
        assert_eq!(guess(&mut it, fresh, "cart", now + SECOND), 10);
    }

    #[test]
    fn who_has_logged_in_from_here_is_not_locked_out_by_guesses_elsewhere() {
        let (mut it, now) = (throttle(), Instant::now());
        let home = address("10.1.0.1");
        it.logged_in(home, "cart", true, now);
        for last in 0..5 {
            guess(&mut it, address(&format!("10.0.0.{last}")), "cart", now);
        }
        assert!(!it.may_log_in(address("10.1.0.2"), "cart", now));
        assert!(it.may_log_in(home, "cart", now));
        assert_eq!(guess(&mut it, home, "cart", now), 20, "its address counts");
    }

    #[test]
    fn failures_of_who_has_logged_in_before_count_for_its_address_alone() {
        let (mut it, now) = (throttle(), Instant::now());
        for last in 0..10 {
            let home = address(&format!("10.1.0.{last}"));
            it.logged_in(home, "cart", true, now);
            assert_eq!(guess(&mut it, home, "cart", now), 20);
        }
        assert!(it.may_log_in(address("10.0.0.1"), "cart", now));
    }

    #[test]
    fn the_numbers_can_be_changed() {
        let (mut it, now) = (throttle(), Instant::now());
        let source = address("10.0.0.1");
        assert_eq!(guess(&mut it, source, "cart", now), 20);
        it.set(3, SECOND * 60);
        let later = now + SECOND * 3600;
        assert_eq!(guess(&mut it, source, "cart", later), 3);
        assert_eq!(guess(&mut it, source, "cart", later + SECOND * 59), 0);
        assert_eq!(guess(&mut it, source, "cart", later + SECOND * 60), 1);
        it.set(u32::MAX, Duration::from_secs(365 * 24 * 3600));
        assert!(it.may_log_in(source, "cart", later), "no overflow");
    }

    #[test]
    fn success_costs_nothing() {
        let (mut it, now) = (throttle(), Instant::now());
        let source = address("10.0.0.1");
        for _ in 0..1000 {
            assert!(it.may_log_in(source, "cart", now));
            it.logged_in(source, "cart", true, now);
        }
    }

    #[test]
    fn a_network_of_ipv6_and_all_of_a_unix_socket_count_as_one() {
        let (mut it, now) = (throttle(), Instant::now());
        guess(&mut it, address("2001:db8:0:1::1"), "a", now);
        assert!(!it.may_log_in(address("2001:db8:0:1:ffff::2"), "b", now));
        assert!(it.may_log_in(address("2001:db8:0:2::1"), "b", now));
        guess(&mut it, None, "a", now);
        assert!(!it.may_log_in(None, "b", now));
    }

    #[test]
    fn who_names_somebody_it_cannot_be_harms_no_user() {
        let (mut it, now) = (throttle(), Instant::now());
        for last in 0..50 {
            assert_eq!(
                guess(&mut it, address(&format!("10.0.0.{last}")), "", now),
                20
            );
        }
        assert!(it.may_log_in(address("10.0.1.1"), "", now));
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_guesser_is_not_forgotten() {
        let (mut it, now) = (throttle(), Instant::now());
        let busy = address("10.0.0.1");
        assert_eq!(guess(&mut it, busy, "cart", now), 20);
        for number in 0..5 * MOST as u32 {
            let source = Some(IpAddr::V4((0x0b00_0000 + number).into()));
            it.logged_in(source, &format!("user-{number}"), false, now);
            it.logged_in(source, &format!("user-{number}"), true, now);
        }
        for known in [&it.by_address.full_at, &it.by_user.full_at, &it.proven] {
            assert!(known.len() <= MOST);
        }
        assert!(!it.may_log_in(busy, "ops", now));
    }
}
