//! A perfect hash from command names to small numbers.
//!
//! Knows what a name may look like; not what it stands for.

use std::collections::HashSet;

use thiserror::Error;

/// The longest name an index takes; those of Redis have at most 21 bytes, those of its modules at
/// most 33.
pub const MAX_NAME_LEN: usize = 64;

/// Names up to this length are hashed; what is longer, and no built-in command is, is searched.
const MAX_HASHED: usize = 24;

/// How often a table is built anew with another seed, or larger, before giving up. One attempt is
/// nearly always enough.
const ATTEMPTS: u32 = 64;

/// Looks up ASCII names without regard to case: no allocation, no lock, two dependent loads.
///
/// A name is folded into three 64-bit words. Their hash picks a bucket, the bucket's displacement
/// picks a slot, and the slot's name is compared in full, so an unknown name is never taken for a
/// known one.
#[derive(Clone, Debug)]
pub struct NameIndex {
    seed: u64,
    /// Chosen at build time, so that no two names share a slot. The length is a power of two.
    displacements: Box<[u32]>,
    /// The length is a power of two.
    slots: Box<[Slot]>,
    /// The names that are too long for a slot, in lower case, sorted.
    long: Box<[(Box<[u8]>, u16)]>,
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
    words: Words,
    /// Zero in an empty slot: no name has this length.
    len: u8,
    value: u16,
}

/// A name of up to [`MAX_HASHED`] bytes in lower case, padded with zeroes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Words([u64; 3]);

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
        let (mut slots, mut long) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for (name, value) in names {
            let name = name.as_ref();
            let text = || String::from_utf8_lossy(name).into_owned();
            if !is_name(name) {
                return Err(NameError::Malformed(text()));
            }
            let lower = name.to_ascii_lowercase();
            match u8::try_from(lower.len()) {
                Ok(len) if lower.len() <= MAX_HASHED => slots.push(Slot {
                    words: Words::fold(&lower),
                    len,
                    value,
                }),
                _ => long.push((lower.clone().into(), value)),
            }
            if !seen.insert(lower) {
                return Err(NameError::Duplicate(text()));
            }
        }
        long.sort();
        let hashed = (0..ATTEMPTS)
            .find_map(|attempt| Self::attempt(&slots, attempt))
            .ok_or(NameError::Exhausted)?;
        Ok(Self {
            long: long.into(),
            names: seen.len(),
            ..hashed
        })
    }

    /// The number of a name, in any case. A byte that no name has makes the name unknown, and so
    /// does a length that no name has.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        if !(1..=MAX_HASHED).contains(&name.len()) {
            return self.find_long(name);
        }
        let words = Words::fold(name);
        let hash = words.hash(self.seed);
        let displacement = self.displacements[self.bucket(hash)];
        let slot = &self.slots[self.place(hash, displacement)];
        // The length tells a name from the same name with NUL bytes behind it.
        (slot.words == words && usize::from(slot.len) == name.len()).then_some(slot.value)
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<u16> {
        let mut folded = [0; MAX_NAME_LEN];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name);
        folded.make_ascii_lowercase();
        let at = self
            .long
            .binary_search_by(|(known, _)| (**known).cmp(folded))
            .ok()?;
        Some(self.long[at].1)
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
            long: Box::default(),
            names: entries.len(),
        };
        let mut buckets: Vec<Vec<(u64, &Slot)>> = vec![Vec::new(); index.displacements.len()];
        for entry in entries {
            let hash = entry.words.hash(index.seed);
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
            long: Box::default(),
            names: 0,
        }
    }
}

// === impl Words ===

impl Words {
    /// The caller has checked the length.
    #[inline]
    fn fold(name: &[u8]) -> Self {
        let words = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                let first = u64::from_le_bytes(*first);
                // The last eight bytes overlap those before; a copy of what is left, whose length
                // varies, would be a call.
                let last = u64::from_le_bytes(*last);
                let rest = |words: usize| last >> (8 * (8 * words).saturating_sub(name.len()));
                match name.get(8..).and_then(|rest| rest.first_chunk::<8>()) {
                    _ if name.len() == 8 => [first, 0, 0],
                    None => [first, rest(2), 0],
                    Some(second) if name.len() > 16 => {
                        [first, u64::from_le_bytes(*second), rest(3)]
                    }
                    Some(second) => [first, u64::from_le_bytes(*second), 0],
                }
            }
            _ => [short(name), 0, 0],
        };
        Self(words.map(fold_word))
    }

    /// The products do not wait for each other.
    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        let [a, b, c] = self.0;
        let sum = (a ^ seed)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .wrapping_add(b.wrapping_mul(0xc4ce_b9fe_1a85_ec53))
            .wrapping_add((c ^ seed >> 1).wrapping_mul(0x9fb2_1c65_1e98_df25));
        sum ^ sum >> 32
    }
}

/// Whether Redis could know a command by this name, whatever its C code makes of it: a NUL byte
/// would cut the name short for some comparisons (all versions to 8.2) and not for others.
pub(super) fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte))
}

/// Up to seven bytes as a word, from overlapping loads of fixed size.
#[inline]
fn short(name: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (name.len() - 4));
    }
    match *name {
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
