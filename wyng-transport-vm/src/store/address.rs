// SPDX-License-Identifier: GPL-3.0-or-later
//! From the address in OPEN to a folder. No part of the address is ever printed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// The folder of `dir:/absolute/path`. `None` for another scheme, a relative path, a path with
/// `..`, or a path with control characters: a later version may put more behind a line feed.
pub(super) fn folder(address: &[u8]) -> Option<&Path> {
    let path = address.strip_prefix(b"dir:")?;
    if path.iter().any(u8::is_ascii_control) {
        return None;
    }
    let path = Path::new(OsStr::from_bytes(path));
    let climbs = path
        .components()
        .any(|component| component == Component::ParentDir);
    (path.is_absolute() && !climbs).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_folder_is_taken_as_it_is() {
        assert_eq!(
            folder(b"dir:/mnt/a b\xff"),
            Some(Path::new(OsStr::from_bytes(b"/mnt/a b\xff")))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for address in [
            &b""[..],
            b"dir:",
            b"dir:relative",
            b"dir:./x",
            b"dir:/a/../b",
            b"dir:/a/..",
            b"/mnt",
            b"file:/x",
            b"dir:/a\0b",
            b"dir:/a\nb",
            b"DIR:/a",
        ] {
            assert_eq!(folder(address), None, "{}", address.escape_ascii());
        }
    }
}
