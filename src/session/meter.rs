//! A rate that many sessions share: what was used is debited afterwards, and tells how long to wait.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was used of a rate, all told by the instant at which it is as if nothing had been: a token
/// bucket that holds what one second gives, and that may be overdrawn.
///
/// Whoever overdraws it waits until its own debit is paid for, and not until the bucket is well: who
/// comes later waits longer, so nobody is passed over for ever, and the sum is right to the last unit.
#[derive(Debug, Default)]
pub struct Meter {
    /// Nanoseconds since an instant of the owner's choice.
    full_at: AtomicU64,
}

/// What a bucket holds, as time: what may be used at once by who has used nothing for a while.
const DEPTH: u64 = SECOND;

const SECOND: u64 = 1_000_000_000;

// === impl Meter ===

impl Meter {
    /// Takes note that `count` were used of so many a second. Returns how long whoever has used them is
    /// to use no more.
    pub fn debit(&self, count: u64, rate: NonZeroU64, now: Duration) -> Duration {
        let now = nanoseconds(now);
        let cost = (u128::from(count) * u128::from(SECOND)).div_ceil(u128::from(rate.get()));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let after = |full_at: u64| full_at.max(now).saturating_add(cost);
        let before = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(after(full_at))
            });
        // It never fails: the closure always has a value.
        let (Ok(before) | Err(before)) = before;
        Duration::from_nanos(after(before) - now).saturating_sub(Duration::from_nanos(DEPTH))
    }

    /// How many may be used now without waiting afterwards.
    pub fn available(&self, rate: NonZeroU64, now: Duration) -> u64 {
        let owed = self.owed(now);
        let left = DEPTH.saturating_sub(owed);
        let count = u128::from(left) * u128::from(rate.get()) / u128::from(SECOND);
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Whether more was used than the bucket holds.
    pub fn is_overdrawn(&self, now: Duration) -> bool {
        self.owed(now) > DEPTH
    }

    /// Whether it is as if nothing had been used.
    pub fn is_full(&self, now: Duration) -> bool {
        self.owed(now) == 0
    }

    /// Forgets what was used: the rate is another one.
    pub fn reset(&self) {
        self.full_at.store(0, Ordering::Relaxed);
    }

    fn owed(&self, now: Duration) -> u64 {
        let full_at = self.full_at.load(Ordering::Relaxed);
        full_at.saturating_sub(nanoseconds(now))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn rate(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).unwrap()
    }

    #[test]
    fn a_second_s_worth_is_free_and_the_rest_is_waited_for() {
        let (meter, ten, now) = (Meter::default(), rate(10), Duration::from_secs(5));
        assert_eq!(meter.available(ten, now), 10);
        for _ in 0..10 {
            assert_eq!(meter.debit(1, ten, now), Duration::ZERO);
        }
        assert_eq!(meter.available(ten, now), 0);
        assert!(!meter.is_overdrawn(now) && !meter.is_full(now));
        assert_eq!(meter.debit(1, ten, now), 100 * MILLISECOND);
        assert_eq!(
            meter.debit(5, ten, now),
            600 * MILLISECOND,
            "behind the first"
        );
        assert!(meter.is_overdrawn(now));
        let later = now + 700 * MILLISECOND;
        assert_eq!(meter.available(ten, later), 1);
        assert!(meter.is_full(now + 1600 * MILLISECOND));
        assert_eq!(meter.available(ten, now + Duration::from_secs(60)), 10);
    }

    #[test]
    fn numbers_of_any_size_are_no_trouble() {
        let meter = Meter::default();
        let wait = meter.debit(u64::MAX, rate(1), Duration::from_secs(1));
        assert!(wait > Duration::from_secs(3600));
        assert!(meter.debit(u64::MAX, rate(1), Duration::from_secs(2)) > Duration::ZERO);
        meter.reset();
        assert_eq!(
            meter.debit(1, rate(u64::MAX), Duration::MAX),
            Duration::ZERO
        );
    }

    #[test]
    fn threads_lose_nothing() {
        let meter = Arc::new(Meter::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let meter = Arc::clone(&meter);
                std::thread::spawn(move || {
                    for _ in 0..10_000 {
                        meter.debit(1, rate(1000), Duration::ZERO);
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(
            meter.debit(0, rate(1000), Duration::ZERO),
            Duration::from_secs(39)
        );
    }

    proptest! {
        /// Sessions that obey get what the rate gives and a second's worth more, and each its own last
        /// debit; and where they always want more, no less than the rate.
        #[test]
        fn who_obeys_gets_the_rate_and_not_more(
            per_second in 1u64..10_000,
            sessions in 1usize..8,
            batches in prop::collection::vec(1u64..50, 1..400),
        ) {
            let meter = Meter::default();
            let rate = rate(per_second);
            let mut ready = vec![Duration::ZERO; sessions];
            let mut used = 0;
            let mut end = Duration::ZERO;
            for count in batches {
                // The one whose wait is over first goes on.
                let next = (0..sessions).min_by_key(|one| ready[*one]).unwrap();
                let now = ready[next].max(end);
                end = now;
                ready[next] = now + meter.debit(count, rate, now);
                used += count;
                let given = (now + Duration::from_secs(1)).as_nanos() * u128::from(per_second) / 1_000_000_000;
                let overdrawn = 50 * sessions as u128;
                prop_assert!(u128::from(used) <= given + overdrawn, "{used} in {now:?}");
            }
            let all = ready.iter().max().unwrap();
            let needed = Duration::from_secs_f64(used as f64 / per_second as f64);
            prop_assert!(*all <= needed + MILLISECOND, "{all:?} for {used}");
        }
    }
}
