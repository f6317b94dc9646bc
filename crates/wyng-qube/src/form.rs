// SPDX-License-Identifier: GPL-3.0-or-later
//! The forms of all names that qubesd or a record may give, each with its bound. A name that does
//! not fit is refused, never repaired.

use wyng_control::is_qube;

/// Maximum length of the name of a volume, a pool, a label, a property or a device class, bytes.
pub(crate) const NAME_MAX_BYTES: usize = 64;
/// Maximum length of the name of a tag, a feature or a kernel, bytes.
pub(crate) const WORD_MAX_BYTES: usize = 255;
/// Maximum length of the name of a menu's entry before `.desktop`, bytes.
const MENU_STEM_MAX_BYTES: usize = 128;
/// Names that Qubes OS gives a meaning of their own.
const RESERVED: [&str; 3] = ["none", "default", "Domain-0"];
/// The device models of qubes have names with this ending.
const DEVICE_MODEL: &str = "-dm";
/// The name of the admin domain.
pub(crate) const DOM0: &str = "dom0";

/// Whether a qube may have this name: at most 31 bytes, a letter first, then letters, digits, `.`,
/// `_` and `-`; not `dom0`, `none`, `default` or `Domain-0`, and without the ending `-dm`.
pub fn is_qube_name(name: &str) -> bool {
    is_qube(name) && !RESERVED.contains(&name) && !name.ends_with(DEVICE_MODEL)
}

/// Whether it names a qube or dom0.
pub(crate) fn is_domain(name: &str) -> bool {
    name == DOM0 || is_qube_name(name)
}

/// Whether a volume may have this name: 1 to 64 of `A-Z a-z 0-9 . _ -`, a letter or digit first.
pub fn is_volume_name(name: &str) -> bool {
    is_plain(name, NAME_MAX_BYTES, "._-") && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether a pool may have this name: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub fn is_pool_name(name: &str) -> bool {
    is_plain(name, NAME_MAX_BYTES, "._-")
}

/// Whether a label may have this name: 1 to 64 of `A-Z a-z 0-9 . _ -`, and not digits alone, which
/// would be an index.
pub fn is_label_name(name: &str) -> bool {
    is_plain(name, NAME_MAX_BYTES, "._-") && !name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is a label's colour: `0x` and six hexadecimal digits.
pub fn is_color(text: &str) -> bool {
    text.strip_prefix("0x").is_some_and(|digits| {
        digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether a property may have this name: 1 to 64 of `A-Z a-z 0-9 _ -`, a letter first.
pub fn is_property_name(name: &str) -> bool {
    is_plain(name, NAME_MAX_BYTES, "_-") && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether a feature may have this name: 1 to 255 of `A-Z a-z 0-9 . _ + : / @ -`.
pub fn is_feature_name(name: &str) -> bool {
    is_plain(name, WORD_MAX_BYTES, "._+:/@-")
}

/// Whether it is a tag: 1 to 255 of `A-Z a-z 0-9 . _ -`.
pub fn is_tag(name: &str) -> bool {
    is_plain(name, WORD_MAX_BYTES, "._-")
}

/// Whether a kernel may have this name: 1 to 255 of `A-Z a-z 0-9 . _ + -`, and a letter or digit
/// first.
pub fn is_kernel_name(name: &str) -> bool {
    is_plain(name, WORD_MAX_BYTES, "._+-") && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether a class of devices may have this name: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub fn is_device_class(name: &str) -> bool {
    is_plain(name, NAME_MAX_BYTES, "_-")
}

/// Whether it names an entry of a menu: 1 to 128 of `A-Z a-z 0-9 . _ + -`, and `.desktop`.
pub fn is_menu_item(name: &str) -> bool {
    name.strip_suffix(".desktop")
        .is_some_and(|stem| is_plain(stem, MENU_STEM_MAX_BYTES, "._+-"))
}

/// Whether it is the name of a class or a state: 1 to 64 letters and digits.
pub(crate) fn is_word(text: &str) -> bool {
    is_plain(text, NAME_MAX_BYTES, "")
}

/// Whether all its characters are ASCII and can be seen, or are spaces.
pub(crate) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Whether it has 1 to `max` bytes, each a letter, a digit or one of `others`.
pub(crate) fn is_plain(text: &str, max: usize, others: &str) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || others.as_bytes().contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_qubes_os_gives_a_meaning_are_no_names_of_qubes() {
        for name in ["work", "a.b_c-1", "nonet", "dm", "x-dmz"] {
            assert!(is_qube_name(name), "{name}");
        }
        for name in [
            "none", "default", "Domain-0", "work-dm", "dom0", "", "1a", "a/b", "a b",
        ] {
            assert!(!is_qube_name(name), "{name}");
        }
    }

    #[test]
    fn an_entry_of_a_menu_is_a_name_and_never_a_path() {
        for name in [
            "firefox.desktop",
            "org.gnome.Nautilus.desktop",
            "a+b_c-1.desktop",
        ] {
            assert!(is_menu_item(name), "{name}");
        }
        let long = format!("{}.desktop", "a".repeat(129));
        for name in [
            ".desktop",
            "firefox",
            "../x.desktop",
            "a b.desktop",
            "a/b.desktop",
            &long,
        ] {
            assert!(!is_menu_item(name), "{name}");
        }
    }

    #[test]
    fn a_label_is_no_index_and_a_colour_has_six_digits() {
        assert!(is_label_name("red-2") && !is_label_name("22") && !is_label_name("a b"));
        assert!(is_color("0xcC0000"));
        for color in ["cc0000", "0xcc000", "0xcc00000", "0xgg0000"] {
            assert!(!is_color(color), "{color}");
        }
    }
}
