// SPDX-License-Identifier: GPL-3.0-or-later
//! Text from qubes and records, made fit to be shown.

use std::fmt;

/// Maximum width, columns.
const COLUMNS_MAX: usize = 64;
const CUT: char = '…';

/// The only form in which a text of a qube, a record or qubesd reaches a person: every character
/// that is not visible ASCII or a space is escaped, a backslash is doubled, and more than 64
/// columns are cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown(String);

impl Shown {
    /// Escapes and cuts a text.
    pub fn of(text: &str) -> Self {
        let mut shown = String::new();
        for char in text.chars() {
            let piece = match char {
                '\\' => "\\\\".to_owned(),
                ' '..='~' => char.to_string(),
                _ => char.escape_unicode().to_string(),
            };
            if shown.len().saturating_add(piece.len()) > COLUMNS_MAX {
                while shown.len() >= COLUMNS_MAX {
                    shown.pop();
                }
                shown.push(CUT);
                break;
            }
            shown.push_str(&piece);
        }
        Self(shown)
    }

    /// The text as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_can_neither_command_a_terminal_nor_look_like_another() {
        assert_eq!(Shown::of("work").as_str(), "work");
        assert_eq!(Shown::of("a\x1b[2J\u{9b}m").as_str(), "a\\u{1b}[2J\\u{9b}m");
        assert_eq!(Shown::of("\u{202e}\u{200b}").as_str(), "\\u{202e}\\u{200b}");
        // A Cyrillic letter is not the Latin one.
        assert_eq!(Shown::of("b\u{430}nk").as_str(), "b\\u{430}nk");
        assert_eq!(Shown::of("\\u{1b}").as_str(), "\\\\u{1b}");
    }

    #[test]
    fn a_text_is_cut_to_64_columns() {
        assert_eq!(Shown::of(&"x".repeat(64)).as_str(), "x".repeat(64));
        assert_eq!(
            Shown::of(&"x".repeat(65)).as_str(),
            format!("{}…", "x".repeat(63))
        );
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_visible_and_narrow(text in any::<String>()) {
            let shown = Shown::of(&text);
            prop_assert!(shown.as_str().chars().count() <= COLUMNS_MAX);
            let visible = |char: char| (' '..='~').contains(&char) || char == CUT;
            prop_assert!(shown.as_str().chars().all(visible));
        }
    }
}
