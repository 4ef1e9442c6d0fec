//! Chance that can be repeated: every conversation has its own, made of the run's seed and its number.

/// SplitMix64: small, and good enough to choose words.
pub struct Random(u64);

// === impl Random ===

impl Random {
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        random.next();
        random
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

    /// From the first to the last, both included.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Any case, mostly one that people write.
    pub fn cased(&mut self, word: &str) -> String {
        match self.below(8) {
            0 => word.to_ascii_lowercase(),
            1 => {
                let mut flip = |c: char| match self.chance(50) {
                    true => c.to_ascii_uppercase(),
                    false => c.to_ascii_lowercase(),
                };
                word.chars().map(&mut flip).collect()
            }
            _ => word.to_ascii_uppercase(),
        }
    }
}
