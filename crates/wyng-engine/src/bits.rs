// SPDX-License-Identifier: GPL-3.0-or-later
//! A set of chunk numbers. Its memory depends on what is in the set and not on the size of the
//! volume: blocks of 4096 numbers that are all in it are kept as runs, other blocks with one bit a
//! number. An empty or a full set costs nothing even for a volume of 2^63 - 1 bytes; a set for a
//! volume of 1 TiB takes at most 2 MiB.

use std::collections::BTreeMap;
use std::ops::Range;

/// Numbers in one block.
const BLOCK: u64 = 4096;
const WORDS: usize = 64;

/// A set of numbers below a count.
#[derive(Debug)]
pub struct Bits {
    count: u64,
    /// Runs of blocks whose numbers are all in the set: the first block, and the block behind the
    /// run. Runs neither touch nor overlap.
    whole: BTreeMap<u64, u64>,
    /// Blocks of which some numbers are in the set, with one bit a number. No block is empty.
    partial: BTreeMap<u64, Box<[u64; WORDS]>>,
}

impl Bits {
    /// The empty set, to which numbers below `count` can be added.
    pub fn none(count: u64) -> Self {
        Self {
            count,
            whole: BTreeMap::new(),
            partial: BTreeMap::new(),
        }
    }

    /// The set of all numbers below `count`.
    pub fn all(count: u64) -> Self {
        let mut bits = Self::none(count);
        bits.insert(0..count);
        bits
    }

    /// Adds a range of numbers; numbers from the count on are ignored.
    pub fn insert(&mut self, range: Range<u64>) {
        let end = range.end.min(self.count);
        let mut next = range.start;
        while next < end {
            let block = next / BLOCK;
            let block_end = block.saturating_add(1).saturating_mul(BLOCK);
            if next.is_multiple_of(BLOCK) && block_end <= end {
                self.insert_blocks(block..end / BLOCK);
                next = (end / BLOCK).saturating_mul(BLOCK);
                continue;
            }
            let until = block_end.min(end);
            self.insert_in_block(
                block,
                next % BLOCK..until.saturating_sub(block.saturating_mul(BLOCK)),
            );
            next = until;
        }
    }

    /// The first number of the set at or after `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        if from >= self.count {
            return None;
        }
        let block = from / BLOCK;
        if self.run_around(block).is_some() {
            return Some(from);
        }
        let within = self
            .partial
            .get(&block)
            .and_then(|words| first_bit(words, from % BLOCK, Bit::Set));
        if let Some(bit) = within {
            return Some(block.saturating_mul(BLOCK).saturating_add(bit));
        }
        let behind = block.saturating_add(1);
        let whole = self
            .whole
            .range(behind..)
            .next()
            .map(|(begin, _)| begin.saturating_mul(BLOCK));
        let partial = self.partial.range(behind..).next();
        let partial = partial.and_then(|(block, words)| {
            Some(
                block
                    .saturating_mul(BLOCK)
                    .saturating_add(first_bit(words, 0, Bit::Set)?),
            )
        });
        [whole, partial].into_iter().flatten().min()
    }

    /// The first number at or after `from` that is not in the set; the count if there is none.
    pub fn next_absent(&self, mut from: u64) -> u64 {
        while from < self.count {
            let block = from / BLOCK;
            if let Some(run) = self.run_around(block) {
                from = run.end.saturating_mul(BLOCK);
                continue;
            }
            let absent = self
                .partial
                .get(&block)
                .map_or(Some(from % BLOCK), |words| {
                    first_bit(words, from % BLOCK, Bit::Clear)
                });
            match absent {
                Some(bit) => {
                    return block
                        .saturating_mul(BLOCK)
                        .saturating_add(bit)
                        .min(self.count);
                }
                None => from = block.saturating_add(1).saturating_mul(BLOCK),
            }
        }
        self.count
    }

    /// The first run of consecutive numbers of the set that ends after `from`, without the numbers
    /// before `from`.
    pub fn next_run(&self, from: u64) -> Option<Range<u64>> {
        let begin = self.next(from)?;
        Some(begin..self.next_absent(begin))
    }

    /// The first run of consecutive numbers that are not in the set and that ends after `from`,
    /// without the numbers before `from`.
    pub fn next_gap(&self, from: u64) -> Option<Range<u64>> {
        let begin = self.next_absent(from);
        (begin < self.count).then(|| begin..self.next(begin).unwrap_or(self.count))
    }

    /// Whether this number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.next(number) == Some(number)
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        let whole = self.whole.iter().fold(0u64, |sum, (begin, end)| {
            sum.saturating_add(end.saturating_sub(*begin).saturating_mul(BLOCK))
        });
        let words = self.partial.values().flat_map(|words| words.iter());
        words.fold(whole, |sum, word| {
            sum.saturating_add(u64::from(word.count_ones()))
        })
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.partial.is_empty()
    }

    /// The run of whole blocks that contains this block.
    fn run_around(&self, block: u64) -> Option<Range<u64>> {
        let (begin, end) = self.whole.range(..=block).next_back()?;
        (block < *end).then_some(*begin..*end)
    }

    fn insert_in_block(&mut self, block: u64, range: Range<u64>) {
        if self.run_around(block).is_some() {
            return;
        }
        let words = self
            .partial
            .entry(block)
            .or_insert_with(|| Box::new([0; WORDS]));
        for (word, begin) in words.iter_mut().zip((0u64..).step_by(64)) {
            let (first, last) = (
                range.start.max(begin),
                range.end.min(begin.saturating_add(64)),
            );
            if first < last {
                let ones = u64::MAX >> 64u64.saturating_sub(last.saturating_sub(first));
                *word |= ones << first.saturating_sub(begin);
            }
        }
        if words.iter().all(|word| *word == u64::MAX) {
            self.insert_blocks(block..block.saturating_add(1));
        }
    }

    fn insert_blocks(&mut self, mut run: Range<u64>) {
        let within: Vec<u64> = self
            .partial
            .range(run.clone())
            .map(|(block, _)| *block)
            .collect();
        within
            .iter()
            .for_each(|block| drop(self.partial.remove(block)));
        // Runs that overlap or touch the new run become one run with it.
        while let Some((begin, end)) = self
            .whole
            .range(..=run.end)
            .next_back()
            .filter(|(_, end)| **end >= run.start)
        {
            let (begin, end) = (*begin, *end);
            run = run.start.min(begin)..run.end.max(end);
            self.whole.remove(&begin);
        }
        self.whole.insert(run.start, run.end);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bit {
    Set,
    Clear,
}

/// The first bit at or after `from` that is set, or that is clear.
fn first_bit(words: &[u64; WORDS], from: u64, wanted: Bit) -> Option<u64> {
    (0u64..).step_by(64).zip(words).find_map(|(begin, word)| {
        let bits = match wanted {
            Bit::Set => *word,
            Bit::Clear => !word,
        };
        let behind = from.saturating_sub(begin);
        let bits = if behind < 64 {
            bits & (u64::MAX << behind)
        } else {
            0
        };
        (bits != 0).then(|| begin.saturating_add(u64::from(bits.trailing_zeros())))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set_of_numbers(
            count in 0..20_000_u64,
            ranges in prop::collection::vec((0..21_000_u64, prop_oneof![0..90_u64, 0..9000_u64]), 0..8),
            places in prop::collection::vec(0..21_000_u64, 20),
        ) {
            let mut bits = Bits::none(count);
            let mut set = BTreeSet::new();
            for (begin, length) in &ranges {
                bits.insert(*begin..begin + length);
                set.extend((*begin..begin + length).filter(|number| *number < count));
            }
            prop_assert_eq!(bits.len(), set.len() as u64);
            prop_assert_eq!(bits.is_empty(), set.is_empty());
            let borders = ranges.iter().flat_map(|(begin, length)| [*begin, begin + length, (begin + length).saturating_sub(1)]);
            for from in places.iter().copied().chain(borders) {
                let next = set.range(from..).next().copied();
                let absent = (from..count).find(|number| !set.contains(number));
                prop_assert_eq!(bits.next(from), next);
                prop_assert_eq!(bits.contains(from), set.contains(&from));
                prop_assert_eq!(bits.next_absent(from), absent.unwrap_or(count));
                let run = next.map(|begin| begin..(begin..count).find(|number| !set.contains(number)).unwrap_or(count));
                prop_assert_eq!(bits.next_run(from), run);
                let gap = absent.map(|begin| begin..set.range(begin..).next().copied().unwrap_or(count));
                prop_assert_eq!(bits.next_gap(from), gap);
            }
        }
    }

    #[test]
    fn all_are_all_below_the_count() {
        let bits = Bits::all(4230);
        assert_eq!(
            (bits.len(), bits.contains(4229), bits.contains(4230)),
            (4230, true, false)
        );
    }

    #[test]
    fn the_largest_volume_costs_no_more_memory_than_what_is_in_it() {
        let count = (u64::MAX / 2).div_ceil(1 << 16);
        let mut bits = Bits::all(count);
        assert_eq!((bits.len(), bits.next_gap(0)), (count, None));
        assert!(bits.whole.len() == 1 && bits.partial.len() <= 1);
        bits = Bits::none(count);
        bits.insert(7..count - 7);
        assert_eq!(
            (bits.next_run(0), bits.next_gap(8)),
            (Some(7..count - 7), Some(count - 7..count))
        );
        assert!(bits.whole.len() == 1 && bits.partial.len() <= 2);
    }
}
