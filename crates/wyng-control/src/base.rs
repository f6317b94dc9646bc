// SPDX-License-Identifier: GPL-3.0-or-later
//! Of which session a base snapshot is the state, and the words for it that the snapshot itself
//! carries: in the name of a file, or in a tag of a logical volume.

use bincode::{Decode, Encode};

/// Number of digits of each word of a label.
const DIGITS: [usize; 5] = [32, 32, 16, 16, 64];

/// The volume of a base snapshot. Each volume of an archive has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BaseOf {
    /// The archive's id.
    pub archive: [u8; 16],
    /// The volume's id in that archive.
    pub volume: [u8; 16],
}

/// The session of which a base snapshot is the state. Changes since then apply to the tree with
/// this root and to no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BaseLabel {
    /// Archive and volume.
    pub of: BaseOf,
    /// The generation that added the session.
    pub generation: u64,
    /// The time that names the session, seconds since 1970 UTC.
    pub session: i64,
    /// The root of the session's content tree.
    pub root: [u8; 32],
}

impl BaseOf {
    /// Archive and volume, 32 lower-case hexadecimal digits each.
    pub fn words(&self) -> [String; 2] {
        [hex(&self.archive), hex(&self.volume)]
    }
}

impl BaseLabel {
    /// Archive, volume, generation, session and root, in lower-case hexadecimal digits: 32, 32, 16,
    /// 16 and 64 of them.
    pub fn words(&self) -> [String; 5] {
        let [archive, volume] = self.of.words();
        [
            archive,
            volume,
            format!("{:016x}", self.generation),
            format!("{:016x}", self.session),
            hex(&self.root),
        ]
    }

    /// The label of these words; `None` unless they are exactly as [`words`](Self::words) writes
    /// them.
    pub fn from_words(words: [&str; 5]) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_word =
            |(word, digits): (&&str, usize)| word.len() == digits && word.bytes().all(is_digit);
        if !words.iter().zip(DIGITS).all(is_word) {
            return None;
        }
        let [archive, volume, generation, session, root] = words;
        let number = |word| u64::from_str_radix(word, 16).ok();
        Some(Self {
            of: BaseOf {
                archive: bytes(archive)?,
                volume: bytes(volume)?,
            },
            generation: number(generation)?,
            session: number(session)?.cast_signed(),
            root: bytes(root)?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        let begin = place.checked_mul(2)?;
        *byte = u8::from_str_radix(hex.get(begin..begin.checked_add(2)?)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_comes_back_from_its_words_and_from_no_others() {
        let label = BaseLabel {
            of: BaseOf {
                archive: [1; 16],
                volume: [0xab; 16],
            },
            generation: 7,
            session: -1,
            root: [9; 32],
        };
        let words = label.words();
        let words = words.each_ref().map(String::as_str);
        assert_eq!(BaseLabel::from_words(words), Some(label));
        for (place, word) in words.into_iter().enumerate() {
            for other in [
                &word[1..],
                &format!("0{word}"),
                &format!("{}G", &word[1..]),
                &format!("{}A", &word[1..]),
                &format!("+{}", &word[1..]),
            ] {
                let mut spoilt = words;
                spoilt[place] = other;
                assert_eq!(BaseLabel::from_words(spoilt), None, "{other}");
            }
        }
    }
}
