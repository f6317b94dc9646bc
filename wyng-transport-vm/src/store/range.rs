// SPDX-License-Identifier: GPL-3.0-or-later
//! Ranges of HTTP: the header that asks for one, what an answer says about the one it has, and
//! reading one although connections break.

use std::sync::{Mutex, PoisonError};

use hyper::body::Bytes;
use tokio::runtime::Handle;

use super::{Blob, StoreError};
use crate::net::{Answer, Faced, Http, HttpError, Patience};
use crate::piece::Piece;

const READING: &str = "read a blob";

/// Where a range comes from.
pub(crate) trait Source {
    /// Asks for a range. Returns the whole length and the answer whose body begins with the range,
    /// if the range has bytes; `None` if there is no such blob.
    async fn open(
        &self,
        range: std::ops::Range<u64>,
    ) -> Result<Option<(u64, Option<Answer>)>, StoreError>;

    /// The server.
    fn http(&self) -> &Http;
}

/// One range of a blob that is being read.
pub(crate) struct RangeBlob<S> {
    source: S,
    handle: Handle,
    length_bytes: u64,
    /// Where the range ends, bytes.
    end: u64,
    reading: Mutex<Reading>,
}

/// How far a range was read.
struct Reading {
    answer: Option<Answer>,
    /// Bytes that came and were not asked for yet.
    left: Bytes,
    /// The next byte that is read.
    at: u64,
}

impl<S: Source> RangeBlob<S> {
    /// Asks for a range; `None` if there is no such blob.
    pub(super) fn open(
        source: S,
        handle: Handle,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Self>, StoreError> {
        let (at, end) = (range.start, range.end);
        let Some((length_bytes, answer)) = handle.block_on(source.open(range))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            source,
            handle,
            length_bytes,
            end: end.min(length_bytes),
            reading: Mutex::new(Reading {
                answer,
                left: Bytes::new(),
                at,
            }),
        }))
    }

    /// Fills `room`; the range is asked for again where the connection broke.
    async fn read(&self, reading: &mut Reading, room: &mut [u8]) -> Result<usize, StoreError> {
        let mut patience = Patience::to(READING);
        let mut filled = 0_usize;
        loop {
            let problem = match self.read_on(reading, room, &mut filled).await {
                Ok(()) => return Ok(filled),
                Err(Broken::Store(problem)) => return Err(problem),
                Err(Broken::Connection(problem)) => problem,
            };
            (reading.answer, reading.left) = (None, Bytes::new());
            let errno = problem.errno();
            if !patience.again(&Faced::Error(problem)).await {
                let step = READING;
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    async fn read_on(
        &self,
        reading: &mut Reading,
        room: &mut [u8],
        filled: &mut usize,
    ) -> Result<(), Broken> {
        while let Some(free @ [_, ..]) = room.get_mut(*filled..) {
            if reading.left.is_empty() {
                let Some(answer) = &mut reading.answer else {
                    let opened = self.source.open(reading.at..self.end).await?;
                    let Some((_, Some(answer))) = opened else {
                        return Ok(()); // it was deleted meanwhile
                    };
                    reading.answer = Some(answer);
                    continue;
                };
                match answer.next().await? {
                    Some(part) => reading.left = part,
                    // The server has sent what it announced, and that is less than the range.
                    None => return Ok(()),
                }
            }
            let count = free.len().min(reading.left.len());
            let part = reading.left.split_to(count);
            if let Some(place) = free.get_mut(..count) {
                place.copy_from_slice(&part);
            }
            *filled = filled.saturating_add(count);
            reading.at = reading.at.saturating_add(count as u64);
        }
        let is_over = reading.at >= self.end && reading.left.is_empty();
        if let Some(mut answer) = reading.answer.take_if(|_| is_over) {
            // The end of the body frees the connection for the next request.
            if answer.next().await?.is_none() {
                self.source.http().give_back(answer);
            }
        }
        Ok(())
    }
}

impl<S: Source> Blob for RangeBlob<S> {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.at != offset_bytes {
            *reading = Reading {
                answer: None,
                left: Bytes::new(),
                at: offset_bytes,
            };
        }
        let left = self.end.saturating_sub(offset_bytes);
        let wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        piece.fill_by(wanted, |room| {
            self.handle.block_on(self.read(&mut reading, room))
        })
    }
}

/// Why a range could not be read on.
enum Broken {
    Connection(HttpError),
    Store(StoreError),
}

impl From<HttpError> for Broken {
    fn from(problem: HttpError) -> Self {
        Self::Connection(problem)
    }
}

impl From<StoreError> for Broken {
    fn from(problem: StoreError) -> Self {
        Self::Store(problem)
    }
}

/// The value of the header `range`.
pub(super) struct Range(pub(super) String);

impl Range {
    /// Of a range that is not empty.
    pub(super) fn of(range: &std::ops::Range<u64>) -> Self {
        let last = range.end.saturating_sub(1);
        Self(format!("bytes={}-{last}", range.start))
    }
}

/// Where the bytes of an answer lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The whole length of the object, bytes.
    pub(super) length_bytes: u64,
    /// Bytes of the body before the range.
    pub(super) before_bytes: u64,
}

/// Where the bytes of an answer lie in relation to the range that was asked for. `None` if the
/// server does not say, or sends another range.
pub(super) fn place_of(answer: &Answer, range: &std::ops::Range<u64>) -> Option<Place> {
    match answer.status.as_u16() {
        206 => partial(answer.header("content-range")?, range),
        // The server sends all, and the range is a part of it.
        200 => Some(Place {
            length_bytes: answer.header("content-length")?.parse().ok()?,
            before_bytes: range.start,
        }),
        _ => None,
    }
}

/// `bytes FIRST-LAST/LENGTH`: the range must be the one that was asked for, cut at the end of the
/// object.
fn partial(text: &str, range: &std::ops::Range<u64>) -> Option<Place> {
    let (part, length) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let length_bytes: u64 = length.parse().ok()?;
    let end = range.end.min(length_bytes);
    let is_it = first == range.start && last.checked_add(1) == Some(end);
    is_it.then_some(Place {
        length_bytes,
        before_bytes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_one_that_was_asked_for() {
        assert_eq!(Range::of(&(10..20)).0, "bytes=10-19");
        let place = |text| partial(text, &(10..20)).map(|place| place.length_bytes);
        assert_eq!(place("bytes 10-19/100"), Some(100));
        assert_eq!(place("bytes 10-14/15"), Some(15), "the object ends in it");
        for text in [
            "bytes 10-14/100",
            "bytes 9-19/100",
            "bytes 10-20/100",
            "bytes */100",
            "bytes 10-19/*",
            "items 10-19/100",
            "",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
