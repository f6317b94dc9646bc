// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes and durations as people write them.

/// Bytes from `128K`, `16M`, `10G`, `4096`: units are powers of 1024. The error says what is wrong
/// with the text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(format!("{unit:?} is no unit of size; K, M, G and T are")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// Seconds from `15m`, `7d`, `30s`, `2h`, `1w`. The error says what is wrong with the text.
pub fn parse_secs(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(format!("{text:?} needs a unit: s, m, h, d or w")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is no duration"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is too long"))
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|char: char| !char.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("128K"), Ok(131_072));
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("7"), Ok(7));
        assert!(
            parse_bytes("7X").is_err() && parse_bytes("").is_err() && parse_bytes("-1").is_err()
        );
        assert!(parse_bytes("99999999T").is_err());
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(parse_secs("7d"), Ok(604_800));
        assert_eq!(parse_secs("0s"), Ok(0));
        assert!(parse_secs("7").is_err());
    }
}
