// SPDX-License-Identifier: GPL-3.0-or-later
//! The GETs of a call and their answers, in the order in which they were asked for, also where one
//! had to be signed and sent again. It does no I/O.

use std::collections::{BTreeMap, VecDeque};

use wyng_control::Failure;
use wyng_engine::world::Fetched;

/// A range that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub name: [u8; 32],
    pub offset_bytes: u64,
    pub length_bytes: u32,
    /// 0 for what the store serves, else the number of an older version.
    pub version: u8,
}

/// The GETs that are not taken yet.
pub(super) struct Fetch<B> {
    ranges: VecDeque<Wanted<B>>,
    /// The blobs of which an older version is read.
    versions: BTreeMap<[u8; 32], u8>,
    /// Numbers of those on the pipe, in the order in which they are answered.
    on_the_pipe: VecDeque<u64>,
    /// Number of the next GET.
    next: u64,
}

struct Wanted<B> {
    number: u64,
    range: Range,
    /// How often it was signed again.
    again: u8,
    answer: Option<Fetched<B>>,
}

impl<B> Default for Fetch<B> {
    fn default() -> Self {
        Self {
            ranges: VecDeque::new(),
            versions: BTreeMap::new(),
            on_the_pipe: VecDeque::new(),
            next: 0,
        }
    }
}

impl<B> Fetch<B> {
    /// From now on this version of the blob is read.
    pub(super) fn show_version(&mut self, name: [u8; 32], version: u8) {
        match version {
            0 => self.versions.remove(&name),
            _ => self.versions.insert(name, version),
        };
    }

    /// The version of a blob that is read.
    pub(super) fn version_of(&self, name: &[u8; 32]) -> u8 {
        self.versions.get(name).copied().unwrap_or_default()
    }

    /// A range was asked for.
    pub(super) fn note(&mut self, range: Range) {
        self.on_the_pipe.push_back(self.next);
        self.push(range, None);
    }

    /// A range of a blob that is known not to be there was wanted: nothing is asked for.
    pub(super) fn note_missing(&mut self, range: Range) {
        self.push(range, Some(Fetched::Missing));
    }

    fn push(&mut self, range: Range, answer: Option<Fetched<B>>) {
        self.ranges.push_back(Wanted {
            number: self.next,
            range,
            again: 0,
            answer,
        });
        self.next = self.next.saturating_add(1);
    }

    /// The answer to the oldest GET, if it is there; [`Failure::FarEndProtocol`] if there is no
    /// GET.
    pub(super) fn take(&mut self) -> Result<Option<Fetched<B>>, Failure> {
        let oldest = self.ranges.front_mut().ok_or(Failure::FarEndProtocol)?;
        let Some(answer) = oldest.answer.take() else {
            return Ok(None);
        };
        self.ranges.pop_front();
        Ok(Some(answer))
    }

    /// The GET that is answered next has this answer.
    pub(super) fn settle(&mut self, answer: Fetched<B>) -> Result<(), Failure> {
        self.answered()?.answer = Some(answer);
        Ok(())
    }

    /// The time of the signature of the GET that is answered next was refused: it is asked for once
    /// more, behind all others. `None` if that was done `max` times already.
    pub(super) fn ask_again(&mut self, max: u8) -> Result<Option<Range>, Failure> {
        let wanted = self.answered()?;
        if wanted.again >= max {
            return Ok(None);
        }
        wanted.again = wanted.again.saturating_add(1);
        let (number, range) = (wanted.number, wanted.range);
        self.on_the_pipe.push_back(number);
        Ok(Some(range))
    }

    fn answered(&mut self) -> Result<&mut Wanted<B>, Failure> {
        let number = self
            .on_the_pipe
            .pop_front()
            .ok_or(Failure::FarEndProtocol)?;
        let mut ranges = self.ranges.iter_mut();
        ranges
            .find(|wanted| wanted.number == number)
            .ok_or(Failure::FarEndProtocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: u8) -> Range {
        Range {
            name: [name; 32],
            offset_bytes: 0,
            length_bytes: 1,
            version: 0,
        }
    }

    #[test]
    fn answers_are_taken_in_the_order_of_the_questions_though_one_was_asked_again() {
        let mut fetch = Fetch::default();
        (1..=3).for_each(|name| fetch.note(range(name)));
        assert_eq!(fetch.ask_again(3), Ok(Some(range(1))));
        assert_eq!(fetch.settle(Fetched::Bytes(2)), Ok(()));
        assert!(matches!(fetch.take(), Ok(None)), "the first is not there");
        assert_eq!(fetch.settle(Fetched::Bytes(3)), Ok(()));
        assert_eq!(fetch.settle(Fetched::Bytes(1)), Ok(()));
        for expected in 1..=3 {
            let Ok(Some(Fetched::Bytes(bytes))) = fetch.take() else {
                panic!("no answer {expected}")
            };
            assert_eq!(bytes, expected);
        }
        assert!(matches!(fetch.take(), Err(Failure::FarEndProtocol)));
        assert_eq!(
            fetch.settle(Fetched::Missing),
            Err(Failure::FarEndProtocol),
            "nothing was asked for"
        );
    }

    #[test]
    fn what_is_known_to_be_missing_keeps_its_place_among_the_answers() {
        let mut fetch = Fetch::default();
        fetch.note(range(1));
        fetch.note_missing(range(2));
        fetch.note(range(3));
        assert_eq!(fetch.settle(Fetched::Bytes(1)), Ok(()));
        assert_eq!(fetch.settle(Fetched::Bytes(3)), Ok(()));
        assert!(matches!(fetch.take(), Ok(Some(Fetched::Bytes(1)))));
        assert!(matches!(fetch.take(), Ok(Some(Fetched::Missing))));
        assert!(matches!(fetch.take(), Ok(Some(Fetched::Bytes(3)))));
    }

    #[test]
    fn a_range_is_asked_for_again_so_many_times_and_no_more() {
        let mut fetch = Fetch::<u8>::default();
        fetch.note(range(1));
        for _ in 0..3 {
            assert_eq!(fetch.ask_again(3), Ok(Some(range(1))));
        }
        assert_eq!(fetch.ask_again(3), Ok(None));
    }
}
