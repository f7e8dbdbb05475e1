//! Which ranges of a file are still to be fetched, which are being fetched, and which are there.
//!
//! Ranges are handed out from the front, so that a digest can follow closely, and become smaller towards
//! the end ("guided self-scheduling", Polychronopoulos and Kuck 1987), so that no connection holds up
//! the others.

use std::collections::VecDeque;

/// From the first byte to the end (exclusive).
pub(super) type Range = (u64, u64);

/// The first range, which is asked for before the length is known.
pub(super) const FIRST: u64 = 4 << 20;

/// Less is not worth a request.
const SMALLEST: u64 = 1 << 20;

/// More would be too much to lose with a connection.
const LARGEST: u64 = 16 << 20;

/// The ranges that nobody fetches yet.
#[derive(Debug)]
pub(super) struct Plan {
    todo: VecDeque<Range>,
    connections: u64,
}

impl Plan {
    /// Everything of a whole of this length that is not there.
    pub(super) fn new(length: u64, there: &Ranges, connections: u64) -> Self {
        let mut todo = VecDeque::new();
        let mut at = 0;
        for (first, end) in there.0.iter().copied().chain([(length, length)]) {
            if first > at {
                todo.push_back((at, first));
            }
            at = at.max(end);
        }
        Self { todo, connections: connections.max(1) }
    }

    /// The next range for somebody who has nothing to do.
    pub(super) fn claim(&mut self) -> Option<Range> {
        let left: u64 = self.todo.iter().map(|(first, end)| end - first).sum();
        let share = (left / (2 * self.connections)).clamp(SMALLEST, LARGEST);
        let (first, end) = self.todo.pop_front()?;
        let until = first.saturating_add(share);
        // No crumbs.
        if until.saturating_add(SMALLEST / 2) >= end {
            return Some((first, end));
        }
        self.todo.push_front((until, end));
        Some((first, until))
    }

    /// Somebody else has to fetch it.
    pub(super) fn give_back(&mut self, range: Range) {
        self.todo.push_front(range);
    }
}

/// Ranges that are there: in order, apart, not empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// These, as far as they lie before an end.
    pub(super) fn new(ranges: &[Range], end: u64) -> Self {
        let mut all = Self::default();
        for (first, last) in ranges {
            all.add((*first, (*last).min(end)));
        }
        all
    }

    /// Adds one, which may overlap with others.
    pub(super) fn add(&mut self, (mut first, mut end): Range) {
        if first >= end {
            return;
        }
        self.0.retain(|(other, other_end)| {
            let apart = *other_end < first || *other > end;
            if !apart {
                (first, end) = (first.min(*other), end.max(*other_end));
            }
            apart
        });
        let at = self.0.partition_point(|(other, _)| *other < first);
        self.0.insert(at, (first, end));
    }

    /// How much is there from the beginning without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.0.first().filter(|(first, _)| *first == 0).map_or(0, |(_, end)| *end)
    }

    /// How much is there.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|(first, end)| end - first).sum()
    }

    pub(super) fn as_slice(&self) -> &[Range] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn ranges_become_one_where_they_touch() {
        let mut ranges = Ranges::default();
        for range in [(5, 7), (0, 2), (9, 9), (9, 12), (7, 8)] {
            ranges.add(range);
        }
        assert_eq!(ranges.as_slice(), [(0, 2), (5, 8), (9, 12)]);
        assert_eq!((ranges.prefix(), ranges.sum()), (2, 8));
        ranges.add((1, 9));
        assert_eq!(ranges.as_slice(), [(0, 12)]);
        assert_eq!(Ranges::new(&[(0, 2), (5, 8)], 6).as_slice(), [(0, 2), (5, 6)]);
        assert_eq!(Ranges::new(&[(3, 2), (5, 8)], 4).as_slice(), []);
    }

    #[test]
    fn what_is_handed_out_is_large_at_first_and_small_at_the_end() {
        let mut plan = Plan::new(256 * MIB, &Ranges::default(), 4);
        let sizes: Vec<u64> =
            std::iter::from_fn(|| plan.claim()).map(|(first, end)| (end - first) / MIB).collect();
        assert_eq!(sizes.first(), Some(&16));
        assert!(sizes.last().unwrap() <= &1);
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        assert_eq!(Plan::new(0, &Ranges::default(), 4).claim(), None);
        assert_eq!(Plan::new(3, &Ranges::default(), 4).claim(), Some((0, 3)));
    }

    proptest! {
        #[test]
        fn everything_is_fetched_and_nothing_twice(
            length in 0..200 * MIB,
            there in prop::collection::vec((0..200 * MIB, 0..40 * MIB), 0..6),
            connections in 1..17_u64,
        ) {
            let there: Vec<Range> =
                there.iter().map(|(first, length)| (*first, first + length)).collect();
            let mut ranges = Ranges::new(&there, length);
            let mut sum = ranges.sum();
            let mut plan = Plan::new(length, &ranges, connections);
            while let Some((first, end)) = plan.claim() {
                prop_assert!(first < end && end - first <= LARGEST + SMALLEST);
                sum += end - first;
                ranges.add((first, end));
            }
            prop_assert_eq!(sum, length);
            prop_assert_eq!(ranges.prefix(), length);
        }
    }
}
