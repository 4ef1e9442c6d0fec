//! What was allowed since the host was told last, by class of command.

use crate::command::Class;

/// How many requests were allowed, of each class.
///
/// A batch is counted here, by one addition a request, and told once.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: [u32; Class::ALL.len()],
    /// The classes that have any, one bit each: most batches are of one.
    seen: u16,
}

const _: () = assert!(Class::ALL.len() <= u16::BITS as usize);

// === impl Tally ===

impl Tally {
    #[inline]
    pub(super) fn add(&mut self, class: Class) {
        let index = class as usize;
        // It is told at every batch, which is shorter than that.
        self.counts[index] = self.counts[index].wrapping_add(1);
        self.seen |= 1 << index;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Each class that has any, by its place in [`Class::ALL`], and how many.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        let mut left = self.seen;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            Some((index, *self.counts.get(index)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_is_told() {
        let mut tally = Tally::default();
        assert!(tally.is_empty());
        assert_eq!(tally.iter().count(), 0);
        for class in [Class::Other, Class::Read, Class::Admin, Class::Read] {
            tally.add(class);
        }
        assert!(!tally.is_empty());
        let told: Vec<_> = tally.iter().collect();
        let place = |class: Class| class as usize;
        assert_eq!(
            told,
            [
                (place(Class::Admin), 1),
                (place(Class::Read), 2),
                (place(Class::Other), 1)
            ]
        );
    }
}
