// SPDX-License-Identifier: GPL-3.0-or-later
//! The holes of a thin volume. A pool gives back whole blocks only, and reports success for parts
//! of blocks without any effect. So adjacent holes are joined before they are made.

use std::num::NonZeroU64;
use std::ops::Range;

/// The hole of a thin volume that grows at its end, bytes.
pub(super) struct Holes {
    block_bytes: NonZeroU64,
    open: Range<u64>,
}

/// How a hole is made: whole blocks are discarded, and the rest becomes zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) before: Range<u64>,
    pub(super) blocks: Range<u64>,
    pub(super) behind: Range<u64>,
}

impl Holes {
    /// Holes of a volume whose pool has blocks of this length; `None` if it has no blocks.
    pub(super) fn new(block_bytes: u32) -> Option<Self> {
        Some(Self {
            block_bytes: NonZeroU64::new(block_bytes.into())?,
            open: 0..0,
        })
    }

    /// Adds a hole. Returns the one before, if the new one does not continue it.
    pub(super) fn add(&mut self, hole: Range<u64>) -> Option<Range<u64>> {
        if self.open.is_empty() {
            self.open = hole;
            None
        } else if self.open.end == hole.start {
            self.open.end = hole.end;
            None
        } else {
            Some(std::mem::replace(&mut self.open, hole))
        }
    }

    /// The open hole, if it has bytes of this range. It is open no more.
    pub(super) fn take_at(&mut self, range: &Range<u64>) -> Option<Range<u64>> {
        let touches = self.open.start < range.end && range.start < self.open.end;
        touches.then(|| std::mem::take(&mut self.open))
    }

    /// The open hole. It is open no more.
    pub(super) fn take(&mut self) -> Option<Range<u64>> {
        self.take_at(&(0..u64::MAX))
    }

    /// The parts of a hole.
    pub(super) fn parts(&self, hole: &Range<u64>) -> Parts {
        let block_bytes = self.block_bytes;
        let whole_blocks = |offset: u64| (offset / block_bytes).saturating_mul(block_bytes.get());
        let end = whole_blocks(hole.end);
        let begin = hole
            .start
            .checked_next_multiple_of(block_bytes.get())
            .filter(|begin| *begin < end);
        match begin {
            Some(begin) => Parts {
                before: hole.start..begin,
                blocks: begin..end,
                behind: end..hole.end,
            },
            None => Parts {
                before: hole.clone(),
                blocks: hole.end..hole.end,
                behind: hole.end..hole.end,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_that_touch_are_one_and_each_is_made_once() {
        let mut holes = Holes::new(100).unwrap();
        assert_eq!(holes.add(10..50), None);
        assert_eq!(holes.add(50..250), None);
        assert_eq!(holes.add(300..310), Some(10..250));
        assert_eq!(holes.take_at(&(0..300)), None);
        assert_eq!(holes.take_at(&(309..1000)), Some(300..310));
        assert_eq!(holes.take(), None);
        assert!(Holes::new(0).is_none());
    }

    proptest! {
        #[test]
        fn whole_blocks_are_discarded_and_nothing_beside_them(
            begin in 0u64..1000, length in 1u64..1000, block in 1u32..300,
        ) {
            let hole = begin..begin + length;
            let holes = Holes::new(block).unwrap();
            let Parts { before, blocks, behind } = holes.parts(&hole);
            prop_assert_eq!((before.start, behind.end), (hole.start, hole.end));
            prop_assert_eq!((before.end, blocks.end), (blocks.start, behind.start));
            let block = u64::from(block);
            prop_assert!(blocks.is_empty() || blocks.start % block + blocks.end % block == 0);
            let whole = (0..2000 / block).filter(|n| {
                hole.start <= n * block && (n + 1) * block <= hole.end
            });
            prop_assert_eq!(whole.count() as u64, (blocks.end - blocks.start) / block);
        }
    }
}
