//! Numbers: counted where things happen, summed when somebody asks.
//!
//! - here: what is counted with. What many requests cause is counted by one thread alone, so it costs
//!   an addition and no more; what is rare is counted by word.
//! - `expose`: the text that is scraped.
//!
//! Knows no session, no user and no upstream: who counts gives the words.

mod expose;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use expose::{CONTENT_TYPE, Family, Kind, Sample, Value, expose};

/// A number that only grows. One thread counts, any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that also falls. One thread counts, any may read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// Counters by a word of the program's own, or several: for what is rare, as the end of a session.
///
/// There is a lock, for the moment of one addition; each thread has counters of its own, so nobody
/// waits for it but, once a scrape, the one who reads.
#[derive(Debug)]
pub struct ByWord<K>(Mutex<BTreeMap<K, u64>>);

/// How long something took, sorted into buckets. One thread counts, any may read.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    /// Nanoseconds. Of 500 years.
    sum: Counter,
}

/// Sums of several histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    buckets: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

/// The buckets' upper bounds, seconds. A Redis on the same host answers in 0.1 ms; what takes more
/// than five seconds is a server that hangs.
pub const BOUNDS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

// === impl Counter ===

impl Counter {
    /// Counts. By one thread alone: a load and a store need no lock on the bus.
    #[inline]
    pub fn add(&self, count: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Gauge ===

impl Gauge {
    /// Adds or takes away. By one thread alone.
    #[inline]
    pub fn change(&self, by: i64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(by);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// Now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl ByWord ===

impl<K> Default for ByWord<K> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Copy + Ord> ByWord<K> {
    /// One more.
    pub fn add(&self, word: K) {
        *self.counts().entry(word).or_default() += 1;
    }

    /// Adds what was counted to `sums`.
    pub fn sum(&self, sums: &mut BTreeMap<K, u64>) {
        for (word, count) in self.counts().iter() {
            *sums.entry(*word).or_default() += count;
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<K, u64>> {
        // No step in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Histogram ===

impl Histogram {
    /// One more. By one thread alone.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.buckets[index.unwrap_or(BOUNDS.len())].add(1);
        self.sum
            .add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what was counted to `sums`.
    pub fn sum(&self, sums: &mut Distribution) {
        for (sum, bucket) in sums.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        sums.nanoseconds = sums.nanoseconds.wrapping_add(self.sum.get());
    }
}

// === impl Distribution ===

impl Distribution {
    /// Each bucket's upper bound and what is in it alone; the last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together, seconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanoseconds).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_threads() {
        let threads: Vec<(Counter, Gauge, ByWord<&str>)> =
            (0..3).map(|_| Default::default()).collect();
        std::thread::scope(|scope| {
            for (counter, gauge, words) in &threads {
                scope.spawn(move || {
                    for step in 0..1000 {
                        counter.add(2);
                        gauge.change(if step % 2 == 0 { 3 } else { -2 });
                        words.add(if step % 10 == 0 { "rare" } else { "common" });
                    }
                });
            }
        });
        let mut words = BTreeMap::new();
        threads.iter().for_each(|(_, _, some)| some.sum(&mut words));
        assert_eq!(threads.iter().map(|one| one.0.get()).sum::<u64>(), 6000);
        assert_eq!(threads.iter().map(|one| one.1.get()).sum::<i64>(), 1500);
        assert_eq!(words, BTreeMap::from([("common", 2700), ("rare", 300)]));
    }

    #[test]
    fn a_histogram_sorts_by_upper_bounds() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 5_000_000, 6_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut sums = Distribution::default();
        histogram.sum(&mut sums);
        histogram.sum(&mut sums);
        let filled: Vec<_> = sums.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [(0.0001, 4), (0.00025, 2), (5.0, 2), (f64::INFINITY, 2)]
        );
        assert_eq!(sums.count(), 10);
        assert!((sums.seconds() - 22.000_404).abs() < 1e-6);
    }
}
