// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes, durations and times, as people write and read them.

use jiff::Timestamp;
use wyng_config::parse_bytes;

/// A size of at most 4 GiB.
pub(crate) fn parse_small_bytes(text: &str) -> Result<u32, String> {
    u32::try_from(parse_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
}

/// `1.5 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in UNITS {
        if bytes >= size {
            let tenths = bytes.saturating_mul(10) / size;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A session's name: `2026-11-23T06:43:10Z`.
pub(crate) fn session_name(time: i64) -> String {
    Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_second() {
        assert_eq!(session_name(1_795_416_190), "2026-11-23T06:43:10Z");
    }
}
