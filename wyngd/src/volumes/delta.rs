// SPDX-License-Identifier: GPL-3.0-or-later
//! What differs between two lists of extents: pure arithmetic on intervals, no file and no ioctl.
//!
//! Both files must stand still, and the older one must hold its extents while the lists are made:
//! then no place on the disk can have been given away and taken by other bytes, and the same place
//! means the same bytes. The converse does not hold: bytes that were moved look changed. So a part
//! of an extent stays unchanged when another part of it was written to, and whatever is not
//! understood is changed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

/// The place of a range's bytes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing: it reads as zeros.
    Zeros,
    /// These bytes of this extent. Extents that are not encoded are one, number 0, whose bytes are
    /// the device's.
    At {
        /// The extent's number.
        extent: u64,
        /// Where the range begins in the extent's plain bytes.
        offset: u64,
    },
    /// Something that cannot be compared.
    Unknown,
}

/// A range of a file, and the place of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its first byte in the file.
    pub(super) begin: u64,
    /// The byte after its last.
    pub(super) end: u64,
    /// The place of its bytes.
    pub(super) place: Place,
}

/// A file's extents, page by page. A page holds the next extents at or after a byte, ascending; an
/// empty page ends them.
pub(super) trait Extents {
    /// The extents that end after `from`. An extent that begins before `from` may be listed again.
    fn next_page(&mut self, from: u64) -> io::Result<Vec<Extent>>;
}

/// The ranges in which a file may differ from an older one, ascending and apart.
pub(super) struct Delta<A, B> {
    old: Tiles<A>,
    new: Tiles<B>,
    position: u64,
    /// The smaller size, bytes; the new file's bytes after it are changed.
    common_bytes: u64,
    new_bytes: u64,
    pending: Option<Range<u64>>,
}

impl<A: Extents, B: Extents> Delta<A, B> {
    /// Compares an old file of `old_bytes` with a new one.
    pub(super) fn new(old: A, old_bytes: u64, new: B, new_bytes: u64) -> Self {
        let common_bytes = old_bytes.min(new_bytes);
        Self {
            old: Tiles::new(old, common_bytes),
            new: Tiles::new(new, common_bytes),
            position: 0,
            common_bytes,
            new_bytes,
            pending: None,
        }
    }

    /// The next range, or `None` at the end. An error ends it: nothing is known then of what
    /// follows.
    pub(super) fn next_range(&mut self) -> io::Result<Option<Range<u64>>> {
        loop {
            let Some(piece) = self.next_piece()? else {
                return Ok(self.pending.take());
            };
            match &mut self.pending {
                Some(pending) if pending.end == piece.start => pending.end = piece.end,
                pending => {
                    if let Some(complete) = pending.replace(piece) {
                        return Ok(Some(complete));
                    }
                }
            }
        }
    }

    /// The next range that differs and in which neither file has a border.
    fn next_piece(&mut self) -> io::Result<Option<Range<u64>>> {
        while self.position < self.common_bytes {
            let begin = self.position;
            let (old, new) = (self.old.at(begin)?, self.new.at(begin)?);
            self.position = old.end.min(new.end);
            if !same(&old, &new, begin) {
                return Ok(Some(begin..self.position));
            }
        }
        let grown = self.position.max(self.common_bytes)..self.new_bytes;
        self.position = self.new_bytes;
        Ok((!grown.is_empty()).then_some(grown))
    }
}

/// Whether both have the same bytes at `position`, and so from there to the end of the shorter one.
fn same(old: &Extent, new: &Extent, position: u64) -> bool {
    let address = |extent: &Extent| match extent.place {
        Place::At {
            extent: number,
            offset,
        } => Some((
            number,
            position.checked_sub(extent.begin)?.checked_add(offset)?,
        )),
        _ => None,
    };
    match (old.place, new.place) {
        (Place::Zeros, Place::Zeros) => true,
        (Place::At { .. }, Place::At { .. }) => {
            address(old).is_some_and(|there| address(new) == Some(there))
        }
        _ => false,
    }
}

/// A file's extents and holes, without a gap from 0 to its size.
struct Tiles<E> {
    extents: E,
    ahead: VecDeque<Extent>,
    /// The tile that was taken last.
    current: Extent,
    at_end: bool,
    size_bytes: u64,
}

impl<E: Extents> Tiles<E> {
    fn new(extents: E, size_bytes: u64) -> Self {
        let current = Extent {
            begin: 0,
            end: 0,
            place: Place::Zeros,
        };
        Self {
            extents,
            ahead: VecDeque::new(),
            current,
            at_end: false,
            size_bytes,
        }
    }

    /// The tile in which `position`, below the size, lies. Positions ascend.
    fn at(&mut self, position: u64) -> io::Result<Extent> {
        while self.current.end <= position {
            let begin = self.current.end;
            let next = self.next_extent(begin)?;
            self.current = match next {
                Some(next) if next.begin <= begin => next,
                Some(next) => {
                    let hole = Extent {
                        begin,
                        end: next.begin.min(self.size_bytes),
                        place: Place::Zeros,
                    };
                    self.ahead.push_front(next);
                    hole
                }
                None => Extent {
                    begin,
                    end: self.size_bytes,
                    place: Place::Zeros,
                },
            };
        }
        Ok(Extent {
            end: self.current.end.min(self.size_bytes),
            ..self.current
        })
    }

    /// The next extent that ends after `begin`.
    fn next_extent(&mut self, begin: u64) -> io::Result<Option<Extent>> {
        loop {
            if let Some(extent) = self.ahead.pop_front() {
                if extent.begin >= extent.end
                    || self
                        .ahead
                        .front()
                        .is_some_and(|next| next.begin < extent.end)
                {
                    return Err(io::Error::other("extents are not in order"));
                }
                if extent.end > begin {
                    return Ok(Some(extent));
                }
            } else if self.at_end || begin >= self.size_bytes {
                return Ok(None);
            } else {
                let page = self.extents.next_page(begin)?;
                let goes_on = page.last().is_some_and(|last| last.end > begin);
                if !goes_on && !page.is_empty() {
                    return Err(io::Error::other("extents do not go on"));
                }
                self.at_end = page.is_empty();
                self.ahead.extend(page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Extents in pages of two, as a file system hands them out.
    struct Listed(Vec<Extent>);

    impl Extents for Listed {
        fn next_page(&mut self, from: u64) -> io::Result<Vec<Extent>> {
            Ok(self
                .0
                .iter()
                .filter(|extent| extent.end > from)
                .take(2)
                .copied()
                .collect())
        }
    }

    fn delta(old: &[Extent], old_bytes: u64, new: &[Extent], new_bytes: u64) -> Vec<(u64, u64)> {
        let mut delta = Delta::new(
            Listed(old.to_vec()),
            old_bytes,
            Listed(new.to_vec()),
            new_bytes,
        );
        std::iter::from_fn(|| delta.next_range().unwrap())
            .map(|range| (range.start, range.end))
            .collect()
    }

    fn at(begin: u64, end: u64, offset: u64) -> Extent {
        Extent {
            begin,
            end,
            place: Place::At { extent: 0, offset },
        }
    }

    #[test]
    fn a_small_write_into_a_large_extent_does_not_flag_the_extent() {
        let old = [at(0, 1 << 30, 5000)];
        let new = [
            at(0, 8192, 5000),
            at(8192, 12288, 1 << 40),
            at(12288, 1 << 30, 5000 + 12288),
        ];
        assert_eq!(delta(&old, 1 << 30, &new, 1 << 30), [(8192, 12288)]);
        assert_eq!(delta(&new, 1 << 30, &old, 1 << 30), [(8192, 12288)]);
    }

    #[test]
    fn the_same_address_in_another_extent_is_another_place() {
        let compressed = |extent, offset| Extent {
            begin: 0,
            end: 4096,
            place: Place::At { extent, offset },
        };
        assert_eq!(
            delta(&[compressed(7, 0)], 4096, &[compressed(7, 0)], 4096),
            []
        );
        assert_eq!(
            delta(&[compressed(7, 0)], 4096, &[compressed(7, 4096)], 4096),
            [(0, 4096)]
        );
        assert_eq!(
            delta(&[compressed(7, 0)], 4096, &[compressed(8, 0)], 4096),
            [(0, 4096)]
        );
    }

    #[test]
    fn what_is_not_understood_is_changed_even_where_it_is_alike() {
        let unknown = [Extent {
            begin: 0,
            end: 10,
            place: Place::Unknown,
        }];
        assert_eq!(delta(&unknown, 10, &unknown, 10), [(0, 10)]);
    }

    #[test]
    fn extents_out_of_order_or_that_do_not_go_on_are_an_error() {
        for old in [
            vec![at(4, 8, 0), at(0, 4, 0)],
            vec![at(0, 6, 0), at(4, 8, 0)],
            vec![at(4, 4, 0)],
        ] {
            let mut delta = Delta::new(Listed(old), 8, Listed(Vec::new()), 8);
            let ended = std::iter::from_fn(|| delta.next_range().transpose()).find(Result::is_err);
            assert!(ended.is_some());
        }
    }

    /// What stands behind each block of a file, as a plain list.
    type Blocks = Vec<Place>;

    fn block() -> impl Strategy<Value = Place> {
        // Few places, so that two files often agree.
        prop_oneof![
            3 => Just(Place::Zeros),
            6 => (0..2_u64, 0..12_u64).prop_map(|(extent, offset)| Place::At { extent, offset }),
            1 => Just(Place::Unknown),
        ]
    }

    /// Runs of blocks that continue each other become extents; `cut` may break some apart, and lets
    /// the last one end past the file.
    fn extents(blocks: &Blocks, cut: &[bool], past: u64) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (begin, place) in (0..).zip(blocks) {
            let continues = extents.last().is_some_and(|last| {
                last.end == begin
                    && match (last.place, place) {
                        (
                            Place::At { extent, offset },
                            Place::At {
                                extent: other,
                                offset: next,
                            },
                        ) => extent == *other && offset + (last.end - last.begin) == *next,
                        (Place::Unknown, Place::Unknown) => true,
                        _ => false,
                    }
            });
            match extents.last_mut() {
                Some(last)
                    if continues
                        && !cut
                            .get(usize::try_from(begin).unwrap())
                            .copied()
                            .unwrap_or(false) =>
                {
                    last.end += 1
                }
                _ if *place == Place::Zeros => {}
                _ => extents.push(Extent {
                    begin,
                    end: begin + 1,
                    place: *place,
                }),
            }
        }
        if let Some(last) = extents
            .last_mut()
            .filter(|last| last.end == blocks.len() as u64)
        {
            last.end += past;
        }
        extents
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_delta_equals_a_comparison_block_by_block(
            old in prop::collection::vec(block(), 0..40),
            edits in prop::collection::vec((0..40_usize, block()), 0..10),
            length in 0..40_usize,
            cuts in prop::collection::vec(any::<bool>(), 40),
            past in 0..5_u64,
        ) {
            let mut new = old.clone();
            new.resize(length.max(old.len() / 2), Place::Zeros);
            for (index, place) in edits {
                if let Some(block) = new.get_mut(index) {
                    *block = place;
                }
            }
            let found = delta(&extents(&old, &cuts, past), old.len() as u64, &extents(&new, &[], past), new.len() as u64);
            prop_assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].0), "ascending and apart: {:?}", found);
            let flagged: Vec<u64> = found.into_iter().flat_map(|(begin, end)| begin..end).collect();
            let differs = |index: &usize| {
                old.get(*index) != new.get(*index) || new.get(*index) == Some(&Place::Unknown)
            };
            let expected: Vec<u64> = (0..new.len()).filter(differs).map(|index| index as u64).collect();
            prop_assert_eq!(flagged, expected);
        }
    }
}
