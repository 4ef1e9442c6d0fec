//! Latencies, counted in buckets that grow with the value.

use std::time::Duration;

/// Each power of two has so many buckets: 1.6 % is as near as anybody reads a latency.
const STEPS: u64 = 64;
/// 64 bits of nanoseconds, less the powers that the first, exact, buckets hold.
const BUCKETS: usize = (64 - STEPS.ilog2() as usize + 1) * STEPS as usize;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

// === impl Histogram ===

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, latency: Duration, times: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += times;
        self.total += times;
    }

    /// Microseconds that this part of all (0 to 1) took at most; 0 where there are none.
    pub(crate) fn micros(&self, part: f64) -> f64 {
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(index) / 1e3;
            }
        }
        0.0
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEPS.ilog2();
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// Nanoseconds in the middle of a bucket: the inverse of `bucket`.
fn middle(index: usize) -> f64 {
    let index = index as u64;
    if index < STEPS {
        return index as f64;
    }
    let shift = index / STEPS - 1;
    let low = (index - shift * STEPS) << shift;
    low as f64 + (1_u64 << shift) as f64 / 2.0
}
