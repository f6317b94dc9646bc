// SPDX-License-Identifier: GPL-3.0-or-later
//! The width of a text on a terminal, and cutting a text to a width. A width is rather
//! overestimated, as a line that is too long wraps.

/// The mark in place of omitted text.
const LEFT_OUT: &str = "...";

/// Width of a text, columns.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).fold(0, usize::saturating_add)
}

fn char_width(char: char) -> usize {
    match u32::from(char) {
        // Combining marks.
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        // East Asian scripts and pictures.
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f000.. => 2,
        _ => 1,
    }
}

/// The text, or its beginning and end with dots between them, in at most `columns`.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(LEFT_OUT.len());
    let begin = cut(text.chars(), room.div_ceil(2));
    let end: String = cut(text.chars().rev(), room / 2).chars().rev().collect();
    cut(format!("{begin}{LEFT_OUT}{end}").chars(), columns)
}

/// As many characters as fit.
pub(crate) fn cut(text: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns;
    text.take_while(|char| {
        let fits = char_width(*char) <= left;
        left = left.saturating_sub(char_width(*char));
        fits
    })
    .collect()
}

/// The text padded with spaces on the right to `columns`.
pub(crate) fn pad_left_aligned(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text padded with spaces on the left to `columns`.
pub(crate) fn pad_right_aligned(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shortened_has_room(text in "\\PC{0,40}", columns in 0..50_usize) {
            let short = shorten(&text, columns);
            prop_assert!(width(&short) <= columns, "{short:?}");
            prop_assert!(width(&text) > columns || short == text);
        }
    }

    #[test]
    fn both_ends_of_a_name_are_kept() {
        assert_eq!(
            shorten("/var/lib/qubes/appvms/work/private.img", 15),
            "/var/l...te.img"
        );
        assert_eq!(
            (
                shorten("abcdef", 2).as_str(),
                shorten("日本語", 5).as_str(),
                width("日本語")
            ),
            ("..", "...", 6)
        );
        assert_eq!(
            (
                pad_left_aligned("a", 3).as_str(),
                pad_right_aligned("日", 3).as_str()
            ),
            ("a  ", " 日")
        );
    }
}
