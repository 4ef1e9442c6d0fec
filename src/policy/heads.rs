//! Patterns, found by how they begin.

/// An index of patterns by their heads: the bytes that every name which matches begins with.
///
/// The heads are sorted. Those that a name begins with all stand on one chain: the last head that
/// is not above the name, the longest head which that one begins with, and so on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HeadIndex {
    /// What all heads begin with.
    stem: Box<[u8]>,
    /// The first bytes of each head behind the stem, to search among without a call.
    words: Box<[u64]>,
    heads: Box<[Head]>,
    /// The patterns' numbers, head by head.
    patterns: Box<[u32]>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Head {
    /// What follows the stem.
    bytes: Box<[u8]>,
    /// The longest other head that this one begins with.
    parent: Option<u32>,
    /// Where its patterns start in the list of all, and end.
    patterns: (u32, u32),
}

// === impl HeadIndex ===

impl HeadIndex {
    /// Indexes patterns, numbered from 0, by their heads.
    pub(super) fn new<'a>(heads: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = heads.into_iter().zip(0..).collect();
        sorted.sort_unstable();
        let stem = match (sorted.first(), sorted.last()) {
            (Some((first, _)), Some((last, _))) => common(first, last),
            _ => &[],
        };
        let mut heads: Vec<Head> = Vec::new();
        // The heads that the current one begins with, the longest last.
        let mut open: Vec<u32> = Vec::new();
        for (at, (head, _)) in (0..).zip(&sorted) {
            let bytes = &head[stem.len()..];
            if let Some(last) = heads.last_mut().filter(|last| *last.bytes == *bytes) {
                last.patterns.1 = at + 1;
                continue;
            }
            open.retain(|head| bytes.starts_with(&heads[*head as usize].bytes));
            let parent = open.last().copied();
            open.push(heads.len() as u32);
            heads.push(Head {
                bytes: bytes.into(),
                parent,
                patterns: (at, at + 1),
            });
        }
        Self {
            stem: stem.into(),
            words: heads.iter().map(|head| word(&head.bytes)).collect(),
            heads: heads.into(),
            patterns: sorted.iter().map(|(_, number)| *number).collect(),
        }
    }

    /// Whether `test` holds for a pattern whose head `name` begins with.
    pub(super) fn any(&self, name: &[u8], mut test: impl FnMut(usize) -> bool) -> bool {
        let Some(rest) = name.strip_prefix(&*self.stem) else {
            return false;
        };
        let mut next = self.not_above(rest);
        let mut begins = false;
        while let Some(head) = next.map(|at| &self.heads[at]) {
            // What one head is the beginning of, so are those that it begins with.
            begins = begins || rest.starts_with(&head.bytes);
            if begins {
                let (from, to) = head.patterns;
                let mut patterns = self.patterns[from as usize..to as usize].iter();
                if patterns.any(|number| test(*number as usize)) {
                    return true;
                }
            }
            next = head.parent.map(|at| at as usize);
        }
        false
    }

    /// The last head that is not above `rest`.
    fn not_above(&self, rest: &[u8]) -> Option<usize> {
        let sought = word(rest);
        let mut end = self.words.partition_point(|word| *word <= sought);
        // Heads with the same word are told apart by the rest of them.
        if end > 0 && self.words[end - 1] == sought {
            let start = self.words[..end].partition_point(|word| *word < sought);
            end = start + self.heads[start..end].partition_point(|head| *head.bytes <= *rest);
        }
        end.checked_sub(1)
    }
}

/// The first eight bytes, as a number that sorts as they do.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => {
            let mut chunk = [0; 8];
            chunk[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(chunk)
        }
    }
}

/// What both begin with.
fn common<'a>(one: &'a [u8], other: &[u8]) -> &'a [u8] {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    &one[..same]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_search_finds(
            heads in proptest::collection::vec("(aaaaaaaa|\u{0}|)[ab\u{0}]{0,4}", 0..20),
            name in "(aaaaaaaa|\u{0}|)[ab\u{0}]{0,6}",
        ) {
            let index = HeadIndex::new(heads.iter().map(String::as_bytes));
            let mut found = Vec::new();
            index.any(name.as_bytes(), |number| {
                found.push(number);
                false
            });
            found.sort_unstable();
            let expected: Vec<usize> = (0..heads.len())
                .filter(|number| name.starts_with(&heads[*number]))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
