// SPDX-License-Identifier: GPL-3.0-or-later
//! Text from elsewhere, made harmless to a terminal.

/// The text with control characters, and characters that change its direction or have no width,
/// written as escapes.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |char: char| {
        !char.is_control()
            && !matches!(
                char,
                '\u{61c}'
                    | '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{feff}'
            )
    };
    text.chars()
        .map(|char| {
            if harmless(char) {
                char.to_string()
            } else {
                char.escape_unicode().to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(plain("\u{feff}\u{2066}ä"), "\\u{feff}\\u{2066}ä");
    }
}
