//! Chance that can be repeated.

use std::io::Write;

/// The environment variable that repeats a run.
const SEED: &str = "RESPGATE_TEST_SEED";

/// SplitMix64: small, and good enough to choose words.
pub struct Random(u64);

// === impl Random ===

impl Random {
    /// From the environment, or another one each time; told either way, also where the test passes.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().expect("a seed is a number"),
            Err(_) => {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
                since.as_nanos() as u64 >> 10
            }
        };
        tell(&format!("{test}: {SEED}={seed}"));
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Upper case, now and then.
    pub fn cased(&mut self, word: &str) -> String {
        match self.below(8) {
            0 => word.to_ascii_uppercase(),
            1 => {
                let mut flip = |c: char| match self.chance(50) {
                    true => c.to_ascii_uppercase(),
                    false => c,
                };
                word.chars().map(&mut flip).collect()
            }
            _ => word.to_owned(),
        }
    }
}

/// Says something on the real standard error: what `eprintln` writes is hidden where a test passes.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
