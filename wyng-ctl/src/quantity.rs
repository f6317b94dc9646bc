// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes, times, ids and words, as users write and read them.

use jiff::Timestamp;
use wyng_config::parse_bytes;

/// A size of less than 4 GiB, bytes.
pub(crate) fn parse_small_bytes(text: &str) -> Result<u32, String> {
    u32::try_from(parse_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
}

const UNITS: [(u64, &str); 5] = [
    (1 << 50, "PiB"),
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
];

/// A size for a sentence: `1.5 GiB`, `64 MiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    column_bytes(bytes).replace(".0 ", " ")
}

/// A share of a size: `4.4 of 10 GiB`.
pub(crate) fn show_share(done: u64, total: u64) -> String {
    let (size, _) = UNITS
        .iter()
        .find(|(size, _)| total >= *size)
        .unwrap_or(&(1, "B"));
    let tenths = (done % size).saturating_mul(10) / size;
    let done = if tenths == 0 {
        (done / size).to_string()
    } else {
        format!("{}.{tenths}", done / size)
    };
    format!("{done} of {}", show_bytes(total))
}

/// A size for a column: `1.5 GiB`, `64.0 MiB`.
pub(crate) fn column_bytes(bytes: u64) -> String {
    let Some((size, unit)) = UNITS.iter().find(|(size, _)| bytes >= *size) else {
        return format!("{bytes} B");
    };
    let tenths = (bytes % size).saturating_mul(10) / size;
    format!("{}.{tenths} {unit}", bytes / size)
}

/// The text as one word for a shell.
pub(crate) fn shell_word(text: &str) -> String {
    let is_safe = |char: char| {
        char.is_ascii_alphanumeric()
            || matches!(char, '.' | '_' | '-' | '/' | ':' | '=' | '+' | '@' | ',')
    };
    if !text.is_empty() && text.chars().all(is_safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The text with a capital first letter.
pub(crate) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// An id in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A session's name: `2026-11-23T06:43:10Z`.
pub(crate) fn session_name(time: i64) -> String {
    Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// A number of things, such as `1 pack` and `2 packs`.
pub(crate) fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count: u64 = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_the_largest_unit_that_it_fills() {
        assert_eq!(
            (
                show_bytes(1023).as_str(),
                show_bytes(64 << 20).as_str(),
                column_bytes(64 << 20).as_str()
            ),
            ("1023 B", "64 MiB", "64.0 MiB")
        );
        assert_eq!(
            (
                show_share(5 << 29, 10 << 30).as_str(),
                show_share(7, 1000).as_str()
            ),
            ("2.5 of 10 GiB", "7 of 1000 B")
        );
        assert_eq!(
            (
                show_bytes(1_610_612_736).as_str(),
                show_bytes(u64::MAX).as_str()
            ),
            ("1.5 GiB", "16383.9 PiB")
        );
    }

    #[test]
    fn a_session_is_named_by_its_second() {
        assert_eq!(session_name(1_795_416_190), "2026-11-23T06:43:10Z");
    }
}
