// SPDX-License-Identifier: GPL-3.0-or-later
//! Ranges of HTTP: the header that asks for one, and what an answer says about the one it has.

use crate::net::Answer;

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
