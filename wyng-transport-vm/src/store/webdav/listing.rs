// SPDX-License-Identifier: GPL-3.0-or-later
//! The answer to PROPFIND: what is directly in a folder.

use crate::store::xml::{Tag, walk};

/// Something in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name, as it is in the path; names of ours need no encoding.
    pub(super) name: String,
    /// It is a folder.
    pub(super) is_folder: bool,
    /// Its length, bytes, if it is a file and the server says so.
    pub(super) length_bytes: Option<u64>,
}

/// The entries of the folder with this encoded path, without the folder itself. `None` for
/// anything that is not a listing of it.
pub(super) fn entries(document: &[u8], own_path: &str) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let (mut is_listing, mut has_own) = (false, false);
    let (mut path, mut is_folder, mut length_bytes) = (None, false, None);
    walk(document, |tag| {
        match tag {
            Tag::Begin("multistatus") => is_listing = true,
            Tag::Begin("response") => (path, is_folder, length_bytes) = (None, false, None),
            Tag::End("href", text) if path.is_none() => path = Some(text.trim().to_owned()),
            Tag::Begin("collection") => is_folder = true,
            Tag::End("getcontentlength", text) => length_bytes = text.trim().parse().ok(),
            Tag::End("response", _) => match below(&path.take()?, own_path)? {
                "" => has_own = true,
                name => found.push(Entry {
                    name: name.to_owned(),
                    is_folder,
                    length_bytes: length_bytes.filter(|_| !is_folder),
                }),
            },
            _ => {}
        }
        Some(())
    })?;
    (is_listing && has_own).then_some(found)
}

/// The free space that an answer states, bytes; `None` if it states none.
pub(super) fn stated_free_bytes(document: &[u8]) -> Option<u64> {
    let mut free_bytes = None;
    walk(document, |tag| {
        if let Tag::End("quota-available-bytes", text) = tag {
            free_bytes = text.trim().parse().ok();
        }
        Some(())
    })?;
    free_bytes
}

/// The name that a path, or a whole URL, has in a folder; empty for the folder itself. `None` for
/// anything that is not directly in it.
fn below<'h>(href: &'h str, own_path: &str) -> Option<&'h str> {
    let path = match href.split_once("://") {
        Some((_, rest)) => rest.get(rest.find('/')?..)?,
        None => href,
    };
    let own = own_path.trim_end_matches('/');
    let name = match strip_encoded(path, own) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('/')?,
        None => return None,
    };
    let name = name.strip_suffix('/').unwrap_or(name);
    (!name.contains('/')).then_some(name)
}

/// Strips a prefix; servers differ in which bytes they percent-encode, so each byte is compared
/// decoded.
fn strip_encoded<'h>(path: &'h str, prefix: &str) -> Option<&'h str> {
    let (mut path, mut prefix) = (path, prefix);
    while !prefix.is_empty() {
        let (found, behind) = first_byte(path)?;
        let (expected, rest) = first_byte(prefix)?;
        if found != expected {
            return None;
        }
        (path, prefix) = (behind, rest);
    }
    Some(path)
}

/// The first byte of a percent-encoded text, and what follows. A byte outside ASCII that is not
/// encoded is none.
fn first_byte(text: &str) -> Option<(u8, &str)> {
    let byte = *text.as_bytes().first()?;
    if byte != b'%' {
        return Some((byte, text.get(1..)?));
    }
    let value = u8::from_str_radix(text.get(1..3)?, 16).ok()?;
    Some((value, text.get(3..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_what_is_stated_and_nothing_else() {
        let of = |value: &str| {
            let text = format!(
                "<d:multistatus xmlns:d='DAV:'><d:response><d:href>/a/</d:href><d:propstat><d:prop><d:quota-available-bytes>{value}</d:quota-available-bytes></d:prop></d:propstat></d:response></d:multistatus>"
            );
            stated_free_bytes(text.as_bytes())
        };
        assert_eq!(of(" 21623808 "), Some(21_623_808));
        for nothing in ["", "-3", "many"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
        assert_eq!(stated_free_bytes(b"<html>507</html>"), None);
        assert_eq!(stated_free_bytes(b"no document <"), None);
    }

    fn response(href: &str, inside: &str) -> String {
        format!(
            "<D:response><D:href>{href}</D:href><D:propstat><D:prop>{inside}</D:prop></D:propstat></D:response>"
        )
    }

    #[test]
    fn files_and_folders_are_told_apart_and_the_folder_itself_is_left_out() {
        let folder = "<D:resourcetype><D:collection/></D:resourcetype>";
        let document = format!(
            "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">{}{}{}{}</D:multistatus>",
            response("/my%20disk/", folder),
            response("http://host:8080/my%20disk/ab/", folder),
            response(
                "/my disk/file",
                "<D:getcontentlength>7</D:getcontentlength>"
            ),
            response("/my%20disk/unknown", ""),
        );
        let entry = |name: &str, is_folder, length_bytes| Entry {
            name: name.into(),
            is_folder,
            length_bytes,
        };
        assert_eq!(
            entries(document.as_bytes(), "/my%20disk/").unwrap(),
            [
                entry("ab", true, None),
                entry("file", false, Some(7)),
                entry("unknown", false, None)
            ]
        );
        for length in 0..document.len() - 1 {
            assert_eq!(entries(&document.as_bytes()[..length], "/my%20disk/"), None);
        }
    }

    #[test]
    fn a_listing_of_another_folder_is_none() {
        let of = |href: &str| {
            let inside = "<D:resourcetype><D:collection/></D:resourcetype>";
            format!("<D:multistatus>{}</D:multistatus>", response(href, inside))
        };
        assert!(entries(of("/disk/").as_bytes(), "/disk/").is_some());
        assert!(entries(of("/disk").as_bytes(), "/disk/").is_some());
        for href in ["/", "/disks/", "/other/", "/disk/ab/", "/disk/ab/cd", ""] {
            assert_eq!(entries(of(href).as_bytes(), "/disk/"), None, "{href}");
        }
        assert_eq!(entries(b"<html/>", "/disk/"), None);
    }
}
