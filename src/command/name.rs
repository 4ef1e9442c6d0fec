//! A perfect hash from command names to small numbers.
//!
//! Knows what a name may look like; not what it stands for.

use thiserror::Error;

/// The longest name an index takes; Redis' own longest is 29 bytes, `cluster|count-failure-reports`.
pub const MAX_NAME_LEN: usize = 64;

const WORDS: usize = MAX_NAME_LEN / 8;

/// How often a table is built anew with another seed, or larger, before giving up. One attempt is
/// nearly always enough.
const ATTEMPTS: u32 = 64;

/// Looks up ASCII names without regard to case: no allocation, no lock, two dependent loads.
///
/// A name is folded into 64-bit words. Its hash picks a bucket, the bucket's displacement picks a
/// slot, and the slot's name is compared in full, so an unknown name is never taken for a known one.
#[derive(Clone, Debug)]
pub struct NameIndex {
    seed: u64,
    /// Chosen at build time, so that no two names share a slot. The length is a power of two.
    displacements: Box<[u32]>,
    /// The length is a power of two.
    slots: Box<[Slot]>,
    /// The longest name in the index.
    longest: usize,
    names: usize,
}

/// Why a set of names cannot be indexed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NameError {
    /// Redis would never see such a name as it stands, or would cut it at a NUL byte.
    #[error("a command name is 1 to {MAX_NAME_LEN} bytes of A-Z a-z 0-9 _ . : -: {0:?}")]
    Malformed(String),
    /// Two names differ at most in case.
    #[error("command name {0:?} appears twice")]
    Duplicate(String),
    /// No displacement was found in a bounded number of attempts; not seen in practice.
    #[error("no perfect hash found")]
    Exhausted,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    words: [u64; WORDS],
    /// Zero in an empty slot: no name has this length.
    len: u8,
    value: u16,
}

/// A name in words, lower case, padded with zeroes.
struct Folded {
    words: [u64; WORDS],
    used: usize,
}

// === impl NameIndex ===

impl NameIndex {
    /// Indexes the names, each with the number it stands for.
    ///
    /// # Errors
    ///
    /// A name that is malformed or appears twice.
    pub fn build<N: AsRef<[u8]>>(
        names: impl IntoIterator<Item = (N, u16)>,
    ) -> Result<Self, NameError> {
        let mut entries: Vec<Slot> = Vec::new();
        for (name, value) in names {
            let name = name.as_ref();
            let text = || String::from_utf8_lossy(name).into_owned();
            if !is_name(name) {
                return Err(NameError::Malformed(text()));
            }
            let folded = fold(name);
            let len = u8::try_from(name.len()).map_err(|_| NameError::Malformed(text()))?;
            if entries
                .iter()
                .any(|entry| entry.len == len && entry.words == folded.words)
            {
                return Err(NameError::Duplicate(text()));
            }
            entries.push(Slot {
                words: folded.words,
                len,
                value,
            });
        }
        (0..ATTEMPTS)
            .find_map(|attempt| Self::attempt(&entries, attempt))
            .ok_or(NameError::Exhausted)
    }

    /// The number of a name, in any case. A byte that no name has makes the name unknown, and so
    /// does a length that no name has.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        if name.len() > self.longest {
            return None;
        }
        let folded = fold(name);
        let hash = folded.hash(self.seed);
        let displacement = self.displacements[self.bucket(hash)];
        let slot = &self.slots[self.place(hash, displacement)];
        let same = usize::from(slot.len) == name.len()
            && slot.words[..folded.used] == folded.words[..folded.used];
        // The length is tested after the words, as an empty name meets an empty slot.
        (same && !name.is_empty()).then_some(slot.value)
    }

    /// How many names the index holds.
    pub fn len(&self) -> usize {
        self.names
    }

    /// Whether the index holds no name.
    pub fn is_empty(&self) -> bool {
        self.names == 0
    }

    fn attempt(entries: &[Slot], attempt: u32) -> Option<Self> {
        // At most four fifths full, fuller buckets first: displacements are then easy to find. The
        // table is doubled now and then should that fail.
        let size = (entries.len() * 5 / 4).next_power_of_two().max(2) << (attempt / 16);
        let mut index = Self {
            seed: (u64::from(attempt) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            displacements: vec![0; (size / 4).max(1)].into(),
            slots: vec![Slot::default(); size].into(),
            longest: entries
                .iter()
                .map(|e| usize::from(e.len))
                .max()
                .unwrap_or(0),
            names: entries.len(),
        };
        let mut buckets: Vec<Vec<(u64, &Slot)>> = vec![Vec::new(); index.displacements.len()];
        for entry in entries {
            let used = usize::from(entry.len).div_ceil(8);
            let hash = Folded {
                words: entry.words,
                used,
            }
            .hash(index.seed);
            buckets[index.bucket(hash)].push((hash, entry));
        }
        let mut order: Vec<usize> = (0..buckets.len()).collect();
        order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));
        for bucket in order {
            let members = &buckets[bucket];
            let displacement = (0..1 << 16).find(|displacement| {
                let place = |hash| index.place(hash, *displacement);
                members.iter().enumerate().all(|(at, (hash, _))| {
                    index.slots[place(*hash)].len == 0
                        && members[..at]
                            .iter()
                            .all(|(other, _)| place(*other) != place(*hash))
                })
            })?;
            index.displacements[bucket] = displacement;
            for (hash, entry) in members {
                let place = index.place(*hash, displacement);
                index.slots[place] = **entry;
            }
        }
        Some(index)
    }

    /// From the hash's low bits.
    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.displacements.len() - 1)
    }

    /// From the hash's high half, stirred by the displacement.
    #[inline]
    fn place(&self, hash: u64, displacement: u32) -> usize {
        let stirred = (hash >> 32 ^ u64::from(displacement)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (stirred >> 40) as usize & (self.slots.len() - 1)
    }
}

impl Default for NameIndex {
    fn default() -> Self {
        Self {
            seed: 0,
            displacements: vec![0].into(),
            slots: vec![Slot::default()].into(),
            longest: 0,
            names: 0,
        }
    }
}

// === impl Folded ===

impl Folded {
    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        let mut hash = seed;
        for word in &self.words[..self.used] {
            hash = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
            hash ^= hash >> 32;
        }
        hash
    }
}

/// Whether Redis could know a command by this name, whatever its C code makes of it: a NUL byte
/// would cut the name short for some comparisons (all versions to 8.2) and not for others.
fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte))
}

/// Any bytes up to [`MAX_NAME_LEN`]; the caller has checked the length.
#[inline]
fn fold(name: &[u8]) -> Folded {
    let mut words = [0; WORDS];
    let mut used = 0;
    let (whole, rest) = name.as_chunks::<8>();
    for (word, chunk) in words.iter_mut().zip(whole) {
        *word = fold_word(u64::from_le_bytes(*chunk));
        used += 1;
    }
    if !rest.is_empty()
        && let Some(word) = words.get_mut(used)
    {
        *word = fold_word(tail(name, rest));
        used += 1;
    }
    Folded { words, used }
}

/// The last 1 to 7 bytes of a name as a word. Overlapping loads of fixed size, since a copy of
/// variable length is a call.
#[inline]
fn tail(name: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = name.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (64 - 8 * rest.len());
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (rest.len() - 4));
    }
    match *rest {
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a] => u64::from(a),
        _ => 0,
    }
}

/// Eight bytes at once: A to Z become a to z, all else stays as it is.
#[inline]
fn fold_word(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    // The top bit of each byte says: at least 'A'; above 'Z'.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let above_z = low + (0x7f - b'Z' as u64) * ONES;
    let ascii = !word & (0x80 * ONES);
    word | ((from_a ^ above_z) & ascii) >> 2
}
