// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys, out of the bytes that a terminal sends. Pure: whether more bytes follow is for the caller
//! to wait for.

/// Maximum length of a sequence, bytes. Longer ones are no keys.
const SEQUENCE_MAX_BYTES: usize = 16;
const ESCAPE: u8 = 0x1b;

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// A character that can be seen, or a space.
    Char(char),
}

/// Bytes that are not a whole key yet.
#[derive(Debug, Default)]
pub(super) struct Keys {
    left: Vec<u8>,
}

/// The beginning of some bytes.
enum Head {
    /// A key, or a sequence that means nothing, of this length.
    Whole(usize, Option<Key>),
    /// More bytes may follow.
    Part,
}

impl Keys {
    /// The keys of further bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.left.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while !self.left.is_empty() {
            match head(&self.left) {
                Head::Whole(length, key) => {
                    keys.extend(key);
                    self.left.drain(..length.min(self.left.len()));
                }
                Head::Part if self.left.len() < SEQUENCE_MAX_BYTES => break,
                Head::Part => self.left.clear(),
            }
        }
        keys
    }

    /// Whether bytes are left that may be the beginning of a key.
    pub(super) fn is_waiting(&self) -> bool {
        !self.left.is_empty()
    }

    /// Nothing followed: a single Escape is the key of this name.
    pub(super) fn nothing_follows(&mut self) -> Option<Key> {
        let left = std::mem::take(&mut self.left);
        (left == [ESCAPE]).then_some(Key::Escape)
    }
}

fn head(bytes: &[u8]) -> Head {
    match bytes {
        [] | [ESCAPE] => Head::Part,
        [ESCAPE, b'[' | b'O', rest @ ..] => sequence(rest),
        // Alt and a key.
        [ESCAPE, ..] => Head::Whole(2, None),
        [b'\r' | b'\n', ..] => Head::Whole(1, Some(Key::Enter)),
        [b'\t', ..] => Head::Whole(1, Some(Key::Tab)),
        [0x08 | 0x7f, ..] => Head::Whole(1, Some(Key::Backspace)),
        bytes => character(bytes),
    }
}

/// The rest of a sequence behind `ESC [` or `ESC O`: parameters, and a byte that ends it.
fn sequence(rest: &[u8]) -> Head {
    let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
        return Head::Part;
    };
    let key = match rest.get(..=end) {
        Some(b"A") => Some(Key::Up),
        Some(b"B") => Some(Key::Down),
        Some(b"C") => Some(Key::Right),
        Some(b"D") => Some(Key::Left),
        Some(b"H" | b"1~" | b"7~") => Some(Key::Home),
        Some(b"F" | b"4~" | b"8~") => Some(Key::End),
        Some(b"5~") => Some(Key::PageUp),
        Some(b"6~") => Some(Key::PageDown),
        _ => None,
    };
    Head::Whole(end.saturating_add(3), key)
}

fn character(bytes: &[u8]) -> Head {
    let length = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    let Some(bytes) = bytes.get(..length) else {
        return Head::Part;
    };
    let char = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.chars().next())
        .filter(|char| !char.is_control());
    Head::Whole(length, char.map(Key::Char))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_found_however_their_bytes_arrive() {
        let bytes = "\x1b[A\x1bOBq\r\x7f\x1b[5~\t\u{e4}日\x1b[1;5C\x1bx\x01/".as_bytes();
        use Key::{Backspace, Char, Down, Enter, PageUp, Tab, Up};
        let expected = [
            Up,
            Down,
            Char('q'),
            Enter,
            Backspace,
            PageUp,
            Tab,
            Char('ä'),
            Char('日'),
            Char('/'),
        ];
        for size in 1..bytes.len() {
            let mut keys = Keys::default();
            let found: Vec<Key> = bytes
                .chunks(size)
                .flat_map(|part| keys.take(part))
                .collect();
            assert_eq!(found, expected, "{size}");
            assert!(!keys.is_waiting());
        }
    }

    #[test]
    fn a_single_escape_is_a_key_once_nothing_follows() {
        let mut keys = Keys::default();
        assert!(keys.take(b"\x1b").is_empty() && keys.is_waiting());
        assert_eq!(keys.nothing_follows(), Some(Key::Escape));
        assert!(keys.take(b"\x1b[").is_empty());
        assert_eq!(keys.nothing_follows(), None);
        assert_eq!(keys.take(b"q"), [Key::Char('q')]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut keys = Keys::default();
            for key in keys.take(&bytes) {
                prop_assert!(!matches!(key, Key::Char(char) if char.is_control()));
            }
            prop_assert!(keys.left.len() < SEQUENCE_MAX_BYTES);
        }
    }
}
