//! Whether the threads that serve still do: each writes down the time as often as it comes round.
//!
//! A thread that is caught in a loop, or in a call that doesn't return, answers nobody and says
//! nothing about it; that it no longer writes is all that can be seen of it from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, interval};

/// The beats of all threads.
#[derive(Debug)]
pub(super) struct Heart {
    start: Instant,
    /// When each has last been seen, in milliseconds from the start.
    seen: Mutex<Vec<Arc<AtomicU64>>>,
}

/// One thread's.
#[derive(Debug)]
pub(super) struct Beat {
    start: Instant,
    seen: Arc<AtomicU64>,
}

/// Twice a second costs nothing, and is often enough for the shortest watchdog that makes sense.
const BEAT: Duration = Duration::from_millis(500);

/// Less than this says nothing: a thread that has much to do comes round late.
const LEAST: Duration = Duration::from_millis(3 * BEAT.as_millis() as u64);

// === impl Heart ===

impl Heart {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            seen: Mutex::default(),
        }
    }

    /// One thread more.
    pub(super) fn join(&self) -> Beat {
        let beat = Beat {
            start: self.start,
            seen: Arc::default(),
        };
        beat.tick();
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&beat.seen));
        beat
    }

    /// Whether each thread was seen within this time (at least 1.5 seconds); not before there is one.
    pub(super) fn beats(&self, within: Duration) -> bool {
        self.beats_at(millis_since(self.start), within)
    }

    fn beats_at(&self, now: u64, within: Duration) -> bool {
        let within = within.max(LEAST).as_millis();
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_alive = |seen: &Arc<AtomicU64>| {
            u128::from(now.saturating_sub(seen.load(Ordering::Relaxed))) <= within
        };
        !all.is_empty() && all.iter().all(is_alive)
    }
}

// === impl Beat ===

impl Beat {
    fn tick(&self) {
        self.seen_at(millis_since(self.start));
    }

    fn seen_at(&self, now: u64) {
        self.seen.store(now, Ordering::Relaxed);
    }

    /// Beats for as long as this is polled, by the thread that it is to speak for.
    pub(super) async fn keep(self) {
        let mut interval = interval(BEAT);
        loop {
            interval.tick().await;
            self.tick();
        }
    }
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_that_hangs_is_enough() {
        let heart = Heart::new();
        let within = Duration::from_secs(5);
        assert!(!heart.beats_at(0, within), "there is none yet");
        let (one, hangs) = (heart.join(), heart.join());
        one.seen_at(4_000);
        assert!(heart.beats_at(5_000, within));
        assert!(!heart.beats_at(6_000, within));
        hangs.seen_at(6_000);
        assert!(heart.beats_at(6_000, within));
        one.seen_at(12_000);
        assert!(!heart.beats_at(12_000, within));
    }

    #[test]
    fn no_watchdog_is_too_short_for_a_beat() {
        let heart = Heart::new();
        let _beat = heart.join();
        assert!(heart.beats_at(1_000, Duration::from_millis(1)));
    }
}
