// SPDX-License-Identifier: GPL-3.0-or-later
//! The head code of a recovery sheet: a commit's generation, the beginning of its hash, and two
//! check digits, so that a mistyped code is not reported as a rollback. Layout: `docs/format.md`,
//! section 9.2.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Number of hexadecimal digits of the hash: 64 bits, too many to be matched by trial.
const HASH_DIGITS: usize = 16;
/// ISO 7064's MOD 97-10: it finds every wrong digit, every swap of two neighbours, and 96 of 97
/// other mistakes.
const MODULUS: u128 = 97;

/// The head code of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadCode {
    generation: u64,
    hash: u64,
}

/// A text is not a head code: its form or its check digits are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the code is mistyped")]
pub struct Mistyped;

impl HeadCode {
    /// The head code of a commit; `hash` is that of its 4096 sealed bytes.
    pub fn of(generation: u64, hash: &[u8; 32]) -> Self {
        Self {
            generation,
            hash: hash
                .first_chunk::<8>()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        }
    }

    /// The generation of the commit.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the commit has this hash.
    pub fn matches(&self, hash: &[u8; 32]) -> bool {
        *self == Self::of(self.generation, hash)
    }

    /// `(generation · 2^64 + the hash's first 64 bits) mod 97`.
    fn check(&self) -> u128 {
        ((u128::from(self.generation) << 64) | u128::from(self.hash)) % MODULUS
    }
}

impl Display for HeadCode {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}-{:016x}-{:02}",
            self.generation,
            self.hash,
            self.check()
        )
    }
}

impl FromStr for HeadCode {
    type Err = Mistyped;

    /// Reads a typed head code. Surrounding blanks and the case of letters do not matter.
    fn from_str(text: &str) -> Result<Self, Mistyped> {
        let mut parts = text.trim().split('-');
        let (Some(generation), Some(hash), Some(check), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Mistyped);
        };
        let is_decimal =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_hash =
            hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !(is_decimal(generation) && is_hash && is_decimal(check) && check.len() == 2) {
            return Err(Mistyped);
        }
        let generation = generation
            .parse()
            .ok()
            .filter(|generation| *generation > 0)
            .ok_or(Mistyped)?;
        let code = Self {
            generation,
            hash: u64::from_str_radix(hash, 16).map_err(|_| Mistyped)?,
        };
        if check.parse() == Ok(code.check()) {
            Ok(code)
        } else {
            Err(Mistyped)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> HeadCode {
        HeadCode::of(1808, blake3::hash(b"a commit").as_bytes())
    }

    #[test]
    fn a_code_is_read_as_it_was_printed_and_in_capitals() {
        let text = code().to_string();
        assert_eq!(text.parse(), Ok(code()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(code()));
        assert!(code().matches(blake3::hash(b"a commit").as_bytes()));
        assert!(!code().matches(blake3::hash(b"another").as_bytes()));
    }

    #[test]
    fn every_wrong_digit_and_every_pair_that_changed_places_is_found() {
        let text = code().to_string();
        for place in 0..text.len() {
            for wrong in "0123456789abcdef-".chars() {
                let mut typed: Vec<char> = text.chars().collect();
                if typed[place] != wrong {
                    typed[place] = wrong;
                    assert_eq!(
                        typed.iter().collect::<String>().parse::<HeadCode>(),
                        Err(Mistyped),
                        "{wrong} at {place}"
                    );
                }
            }
            let mut typed: Vec<char> = text.chars().collect();
            if typed
                .get(place + 1)
                .is_some_and(|next| *next != typed[place])
            {
                typed.swap(place, place + 1);
                assert_eq!(
                    typed.iter().collect::<String>().parse::<HeadCode>(),
                    Err(Mistyped),
                    "changed places at {place}"
                );
            }
        }
    }

    #[test]
    fn what_has_another_form_is_no_code() {
        for text in [
            "",
            "18",
            "18-5cd87b25239ff2b6",
            "0-0000000000000000-00",
            "+8-5cd87b25239ff2b6-00",
            "18-5cd8-12",
            "a-b-c-d",
        ] {
            assert_eq!(text.parse::<HeadCode>(), Err(Mistyped), "{text}");
        }
    }
}
