// SPDX-License-Identifier: GPL-3.0-or-later
//! Ranges that wait until they are known to be true: bounded memory, and never a range too few. The
//! list gets coarser where it would get too long.

/// Maximum number of ranges of each kind, 16 bytes each.
const RANGES_MAX: usize = 1 << 18;

/// What happens to the gaps between ranges and to short ranges where there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coarser {
    /// Short gaps are closed: what is listed may only grow.
    CloseGaps,
    /// Short ranges are dropped: what is listed may only shrink.
    DropShort,
}

/// Ranges of bytes, ascending and apart.
#[derive(Debug)]
pub(super) struct Spool {
    ranges: Vec<(u64, u64)>,
    /// Gaps or ranges up to this length are given up, bytes.
    given_up_bytes: u64,
    most: usize,
    coarser: Coarser,
}

impl Spool {
    /// For ranges that must all be read.
    pub(super) fn growing() -> Self {
        Self::with(RANGES_MAX, Coarser::CloseGaps)
    }

    /// For ranges that need not be read.
    pub(super) fn shrinking() -> Self {
        Self::with(RANGES_MAX, Coarser::DropShort)
    }

    fn with(most: usize, coarser: Coarser) -> Self {
        Self {
            ranges: Vec::new(),
            given_up_bytes: 0,
            most,
            coarser,
        }
    }

    /// Adds a range that begins at or after the end of the last one. An empty one adds nothing.
    pub(super) fn push(&mut self, begin: u64, end: u64) {
        if begin >= end {
            return;
        }
        let closes_gap = |before: u64, up_to: u64| begin.saturating_sub(before) <= up_to;
        match (self.ranges.last_mut(), self.coarser) {
            (Some(last), Coarser::CloseGaps) if closes_gap(last.1, self.given_up_bytes) => {
                last.1 = end;
            }
            (Some(last), Coarser::DropShort) if closes_gap(last.1, 0) => last.1 = end,
            _ => self.ranges.push((begin, end)),
        }
        while self.ranges.len() > self.most {
            self.given_up_bytes = self.given_up_bytes.saturating_mul(2).max(1 << 16);
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        let most = self.given_up_bytes;
        match self.coarser {
            Coarser::CloseGaps => self.ranges.dedup_by(|next, last| {
                let is_near = next.0.saturating_sub(last.1) <= most;
                if is_near {
                    last.1 = next.1;
                }
                is_near
            }),
            Coarser::DropShort => self
                .ranges
                .retain(|(begin, end)| end.saturating_sub(*begin) > most),
        }
    }

    /// The end of the last range.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    /// The ranges.
    pub(super) fn into_ranges(self) -> Vec<(u64, u64)> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_range_and_empty_ranges_are_none() {
        for mut spool in [Spool::growing(), Spool::shrinking()] {
            for (begin, end) in [(0, 4), (4, 6), (6, 6), (8, 9)] {
                spool.push(begin, end);
            }
            assert_eq!(spool.into_ranges(), [(0, 6), (8, 9)]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 500,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_coarser_list_is_bounded_and_errs_on_the_side_of_reading(
            steps in prop::collection::vec((1..40_u64, 1..40_u64), 0..100),
        ) {
            const UNIT: u64 = 1 << 15;
            let mut growing = Spool::with(8, Coarser::CloseGaps);
            let mut shrinking = Spool::with(8, Coarser::DropShort);
            let (mut at, mut ranges) = (0, Vec::new());
            for (gap, length) in steps {
                let begin = at + gap * UNIT;
                at = begin + length * UNIT;
                ranges.push((begin, at));
                growing.push(begin, at);
                shrinking.push(begin, at);
            }
            let within = |(begin, end): (u64, u64), all: &[(u64, u64)]| {
                all.iter().any(|of| of.0 <= begin && end <= of.1)
            };
            let (grown, shrunk) = (growing.into_ranges(), shrinking.into_ranges());
            prop_assert!(grown.len() <= 8 && shrunk.len() <= 8);
            let is_listed = ranges.iter().all(|range| within(*range, &grown));
            prop_assert!(is_listed, "every range is listed");
            let is_known = shrunk.iter().all(|range| within(*range, &ranges));
            prop_assert!(is_known, "nothing else is listed");
        }
    }
}
