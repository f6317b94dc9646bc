// SPDX-License-Identifier: GPL-3.0-or-later
//! The values of options and arguments from their text. Each error says what is allowed.

use wyng_config::{parse_bytes, parse_secs};
use wyng_control::{
    CompareWith, Compression, Failure, HoldOff, SessionChoice, UNLOCK_MAX_SECS, VIA_ALLOWED, Via,
};

use crate::message::Message;
use crate::quantity::parse_small_bytes;

/// A far end. Words that name no far end fail as the daemon's catalogue says.
pub(super) fn parse_far_end(words: &str) -> Result<Via, Message> {
    words.parse().map_err(|_| {
        Message::of_failure(&Failure::BadSetting {
            setting: "the far end".into(),
            allowed: VIA_ALLOWED.into(),
        })
    })
}

pub(super) fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes = parse_small_bytes(text)?;
    // The format allows smaller chunks for its tests; for users they would only cost time.
    if bytes.is_power_of_two() && (64 * 1024..=1024 * 1024).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("a chunk is a power of two from 64K to 1M".into())
    }
}

pub(super) fn parse_compression(text: &str) -> Result<Compression, String> {
    let level = text
        .strip_prefix("zstd:")
        .ok_or("the only algorithm is zstd, for instance zstd:3")?;
    let zstd_level = level
        .parse()
        .ok()
        .filter(|level| (-7..=19).contains(level))
        .ok_or("the level of zstd is -7 to 19")?;
    Ok(Compression { zstd_level })
}

pub(super) fn parse_hold_off(text: &str) -> Result<HoldOff, String> {
    let (runs, time) = text.split_once(',').ok_or("RUNS,TIME, for instance 3,7d")?;
    Ok(HoldOff {
        runs: runs.parse().map_err(|_| "RUNS is a number")?,
        secs: parse_secs(time)?,
    })
}

pub(super) fn parse_unlock(text: &str) -> Result<u64, String> {
    let secs = parse_secs(text)?;
    if (1..=UNLOCK_MAX_SECS).contains(&secs) {
        Ok(secs)
    } else {
        Err("1s to 24h".into())
    }
}

/// `latest`, `^tag`, or a session's name or the beginning of it.
pub(super) fn parse_session(text: &str) -> Result<SessionChoice, String> {
    match (text, text.strip_prefix('^')) {
        ("latest", _) => Ok(SessionChoice::Latest),
        (_, Some("")) | ("", _) => {
            Err("a session is a time like 2026-11-23T06:43:10Z, ^TAG, or latest".into())
        }
        (_, Some(tag)) => Ok(SessionChoice::Tag(tag.to_owned())),
        (prefix, None) => Ok(SessionChoice::Prefix(prefix.to_owned())),
    }
}

/// `local`, or a session.
pub(super) fn parse_with(text: &str) -> Result<CompareWith, String> {
    if text == "local" {
        Ok(CompareWith::Local)
    } else {
        parse_session(text).map(CompareWith::Session)
    }
}

pub(super) fn parse_budget(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("a budget of 0 reads nothing".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_prefix_a_tag_or_the_latest() {
        assert_eq!(parse_session("latest"), Ok(SessionChoice::Latest));
        assert_eq!(
            parse_session("^before"),
            Ok(SessionChoice::Tag("before".into()))
        );
        assert_eq!(
            parse_session("2026-11"),
            Ok(SessionChoice::Prefix("2026-11".into()))
        );
        assert!(parse_session("^").is_err());
    }
}
