// SPDX-License-Identifier: GPL-3.0-or-later
//! The recovery key: a random passphrase that is printed instead of remembered. A check finds
//! typing errors before Argon2 runs.

use zeroize::{Zeroize, Zeroizing};

use super::labels;
use super::secret::Secret;

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RANDOM_BYTES: usize = 20;
const CHARS: usize = 40;

/// The 40 characters of a recovery key, without dashes.
pub struct RecoveryKey(Zeroizing<Vec<u8>>);

/// Why a typed text is not a recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// The text does not have 40 characters of the alphabet.
    #[error("a recovery key has 40 letters and digits")]
    Characters,
    /// The check does not match.
    #[error("the recovery key has a typing error")]
    Check,
}

impl RecoveryKey {
    /// Makes a recovery key from 20 random bytes, and wipes them.
    pub fn new(random: &mut [u8; RANDOM_BYTES]) -> Self {
        let mut bits = Zeroizing::new(Vec::with_capacity(25));
        bits.extend_from_slice(random);
        bits.extend_from_slice(&check(random));
        random.zeroize();
        Self(to_base32(&bits))
    }

    /// Reads a typed recovery key: case, blanks and dashes do not matter, `O` is `0`, `I` and `L`
    /// are `1`.
    pub fn parse(text: &[u8]) -> Result<Self, RecoveryKeyError> {
        let mut chars = Zeroizing::new(Vec::with_capacity(CHARS));
        for byte in text {
            match byte.to_ascii_uppercase() {
                b'-' | b' ' => {}
                b'O' => chars.push(b'0'),
                b'I' | b'L' => chars.push(b'1'),
                other => chars.push(other),
            }
        }
        if chars.len() != CHARS {
            return Err(RecoveryKeyError::Characters);
        }
        let bits = from_base32(&chars).ok_or(RecoveryKeyError::Characters)?;
        let (random, found) = bits
            .split_first_chunk::<RANDOM_BYTES>()
            .ok_or(RecoveryKeyError::Characters)?;
        if check(random).as_slice() != found {
            return Err(RecoveryKeyError::Check);
        }
        Ok(Self(chars))
    }

    /// The 40 characters, the input of Argon2.
    pub fn chars(&self) -> &[u8] {
        &self.0
    }

    /// Eight groups of five characters, joined by dashes: 47 characters, to print.
    pub fn printed(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(47));
        for group in self.0.chunks(5) {
            if !text.is_empty() {
                text.push('-');
            }
            text.extend(group.iter().copied().map(char::from));
        }
        text
    }
}

fn check(random: &[u8; RANDOM_BYTES]) -> [u8; 5] {
    let [a, b, c, d, e, ..] = *Secret::derive(labels::RECOVERY_KEY_CHECK, &[random]).expose();
    [a, b, c, d, e]
}

/// Encodes five bytes as eight characters, most significant bit first.
fn to_base32(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut chars = Zeroizing::new(Vec::with_capacity(CHARS));
    for group in bytes.chunks(5) {
        let bits = group
            .iter()
            .fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for shift in [35u32, 30, 25, 20, 15, 10, 5, 0] {
            let [digit, ..] = ((bits >> shift) & 31).to_le_bytes();
            chars.extend(ALPHABET.get(usize::from(digit)));
        }
    }
    chars
}

/// Decodes eight characters to five bytes; `None` for a character outside of the alphabet.
fn from_base32(chars: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(25));
    for group in chars.chunks(8) {
        let mut bits = 0u64;
        for char in group {
            let digit = ALPHABET.iter().position(|known| known == char)?;
            bits = (bits << 5) | u64::try_from(digit).ok()?;
        }
        let [_, _, _, tail @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(&tail);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again_however_it_is_typed() {
        let key = RecoveryKey::new(&mut [7; 20]);
        assert_eq!(key.printed().len(), 47);
        let typed = key
            .printed()
            .to_lowercase()
            .replace('-', " ")
            .replace('0', "o")
            .replace('1', "l");
        assert_eq!(
            RecoveryKey::parse(typed.as_bytes()).ok().unwrap().chars(),
            key.chars()
        );
    }

    #[test]
    fn a_typing_error_is_found_in_every_place() {
        let key = RecoveryKey::new(&mut [7; 20]);
        for place in 0..CHARS {
            let mut typed = key.chars().to_vec();
            typed[place] = if typed[place] == b'2' { b'3' } else { b'2' };
            assert_eq!(
                RecoveryKey::parse(&typed).err(),
                Some(RecoveryKeyError::Check),
                "at {place}"
            );
        }
    }

    #[test]
    fn a_short_key_and_a_foreign_letter_are_refused() {
        assert_eq!(
            RecoveryKey::parse(b"ABCDE").err(),
            Some(RecoveryKeyError::Characters)
        );
        assert_eq!(
            RecoveryKey::parse(&[b'U'; 40]).err(),
            Some(RecoveryKeyError::Characters)
        );
    }
}
