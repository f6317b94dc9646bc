// SPDX-License-Identifier: GPL-3.0-or-later
//! A set of chunk numbers in one bit each: 1 MiB for a volume of 1 TiB, whatever is in it.

use std::ops::Range;

use wyng_control::Failure;

/// See the module's first line.
#[derive(Debug)]
pub struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Of the numbers below `count` none.
    pub fn none(count: u64) -> Result<Self, Failure> {
        let length = usize::try_from(count.div_ceil(64)).map_err(|_| Failure::OutOfMemory)?;
        let mut words = Vec::new();
        words.try_reserve_exact(length).map_err(|_| Failure::OutOfMemory)?;
        words.resize(length, 0);
        Ok(Self { words, count })
    }

    /// All numbers below `count`.
    pub fn all(count: u64) -> Result<Self, Failure> {
        let mut bits = Self::none(count)?;
        bits.insert(0..count);
        Ok(bits)
    }

    /// Adds a range; what is past the count is no number.
    pub fn insert(&mut self, range: Range<u64>) {
        let end = range.end.min(self.count);
        let mut next = range.start;
        while next < end {
            let (place, first) = (next / 64, next % 64);
            let length = (64u64.saturating_sub(first)).min(end.saturating_sub(next));
            let ones = if length == 64 { u64::MAX } else { (1u64 << length).wrapping_sub(1) << first };
            if let Some(word) = usize::try_from(place).ok().and_then(|place| self.words.get_mut(place)) {
                *word |= ones;
            }
            next = next.saturating_add(length);
        }
    }

    /// The first number at or after `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        let first = usize::try_from(from / 64).ok()?;
        let within = self.words.get(first)? & (u64::MAX << (from % 64));
        let mut words = std::iter::once(within).chain(self.words.iter().skip(first).skip(1).copied());
        let place = words.position(|word| word != 0)?;
        let word = if place == 0 { within } else { *self.words.get(first.checked_add(place)?)? };
        u64::try_from(first.checked_add(place)?).ok()?.checked_mul(64)?.checked_add(u64::from(word.trailing_zeros()))
    }

    /// Is this number in it?
    pub fn contains(&self, number: u64) -> bool {
        self.next(number) == Some(number)
    }

    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.words.iter().fold(0, |sum, word| sum.saturating_add(u64::from(word.count_ones())))
    }

    /// Is none in it?
    pub fn is_empty(&self) -> bool {
        self.next(0).is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set_of_numbers(count in 0..400_u64, ranges in prop::collection::vec((0..450_u64, 0..90_u64), 0..6)) {
            let mut bits = Bits::none(count).unwrap();
            let mut set = std::collections::BTreeSet::new();
            for (begin, length) in ranges {
                bits.insert(begin..begin + length);
                set.extend((begin..begin + length).filter(|number| *number < count));
            }
            prop_assert_eq!(bits.len(), set.len() as u64);
            for from in 0..460 {
                prop_assert_eq!(bits.next(from), set.range(from..).next().copied());
            }
        }
    }

    #[test]
    fn all_are_all_below_the_count() {
        let bits = Bits::all(130).unwrap();
        assert_eq!((bits.len(), bits.contains(129), bits.contains(130)), (130, true, false));
    }
}
