// SPDX-License-Identifier: GPL-3.0-or-later
//! A Bloom filter over ids: 10 bits an id, 7 probes. The answer is wrong for 0.8 % of the ids that
//! were not added, and for no id that was.
//!
//! Ids are keyed hashes, so their own bits are the probes; nothing is hashed again.

use wyng_archive::crypto::Id;

const BITS_AN_ID: usize = 10;
const PROBES: u64 = 7;

/// Ids that may have been added.
pub(super) struct Filter(Vec<u8>);

impl Filter {
    /// An empty filter for `count` ids.
    pub(super) fn for_count(count: usize) -> Self {
        Self(vec![0; count.saturating_mul(BITS_AN_ID).div_ceil(8).max(8)])
    }

    /// A filter from its bytes.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes of the filter, from which it can be made again.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds an id.
    pub(super) fn insert(&mut self, id: &Id) {
        for (byte, bit) in places(id, self.0.len()) {
            if let Some(byte) = self.0.get_mut(byte) {
                *byte |= bit;
            }
        }
    }

    /// False if the id was never added.
    pub(super) fn may_contain(&self, id: &Id) -> bool {
        places(id, self.0.len())
            .all(|(byte, bit)| self.0.get(byte).is_some_and(|found| found & bit != 0))
    }
}

fn places(id: &Id, bytes: usize) -> impl Iterator<Item = (usize, u8)> + use<> {
    let (words, _) = id.0.as_chunks::<8>();
    let first = words.get(1).map_or(0, |word| u64::from_le_bytes(*word));
    let step = words.get(2).map_or(1, |word| u64::from_le_bytes(*word) | 1);
    let bits = u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_mul(8)
        .max(1);
    (0..PROBES).map(move |probe| {
        let place = first.wrapping_add(probe.wrapping_mul(step)) % bits;
        (
            usize::try_from(place / 8).unwrap_or(usize::MAX),
            1u8 << (place % 8),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_and_little_else() {
        let id = |number: u32| Id(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let mut filter = Filter::for_count(10_000);
        (0..10_000).for_each(|number| filter.insert(&id(number)));
        assert!((0..10_000).all(|number| filter.may_contain(&id(number))));
        let wrong = (10_000..110_000)
            .filter(|number| filter.may_contain(&id(*number)))
            .count();
        assert!(wrong < 1500, "{wrong} of 100,000 are wrong");
    }
}
