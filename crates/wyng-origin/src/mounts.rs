// SPDX-License-Identifier: GPL-3.0-or-later
//! Mounts and swap spaces, from the kernel's lists.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::Dev;

use crate::device::parse_number;

/// The mount point of the first mount of any of the devices; `[SWAP]` if one is used as swap space.
pub(crate) fn first_use(
    devices: &BTreeSet<Dev>,
    mounts: Option<&File>,
    swaps: Option<&File>,
) -> Option<Vec<u8>> {
    if devices.is_empty() {
        return None;
    }
    let (mounts, swaps) = (whole(mounts), whole(swaps));
    let mounted = lines(&mounts).filter_map(parse_mount).find(|mount| {
        // btrfs has its own device numbers, and names its device by a path.
        mount.device.is_some_and(|device| devices.contains(&device))
            || node(&mount.source).is_some_and(|device| devices.contains(&device))
    });
    if let Some(mounted) = mounted {
        return Some(mounted.at);
    }
    let mut spaces = lines(&swaps)
        .skip(1)
        .filter_map(|line| line.split(|byte| byte.is_ascii_whitespace()).next())
        .map(unescape);
    spaces
        .any(|space| node(&space).is_some_and(|device| devices.contains(&device)))
        .then(|| b"[SWAP]".to_vec())
}

/// The mount points of file systems of these types.
pub(crate) fn places(kinds: &[&str], mounts: Option<&File>) -> Vec<Vec<u8>> {
    let mounts = whole(mounts);
    let found = lines(&mounts)
        .filter_map(parse_mount)
        .filter(|mount| kinds.iter().any(|kind| kind.as_bytes() == mount.kind));
    found.map(|mount| mount.at).collect()
}

/// The whole list. The kernel updates a list when it is read from the beginning.
fn whole(list: Option<&File>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut list) = list
        && list.seek(SeekFrom::Start(0)).is_ok()
    {
        let _ = list.read_to_end(&mut bytes); // an unreadable list counts as empty
    }
    bytes
}

fn lines(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

struct Mount {
    device: Option<Dev>,
    at: Vec<u8>,
    kind: Vec<u8>,
    source: Vec<u8>,
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS TAG… - TYPE SOURCE OPTIONS`
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = parse_number(fields.nth(2)?);
    let at = unescape(fields.nth(1)?);
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (behind.next()?.to_vec(), unescape(behind.next()?));
    Some(Mount {
        device,
        at,
        kind,
        source,
    })
}

/// Decodes `\` and three octal digits, the form of a space, tab, line feed or backslash.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

fn node(path: &[u8]) -> Option<Dev> {
    let found = std::fs::metadata(OsStr::from_bytes(path)).ok()?;
    found.file_type().is_block_device().then(|| found.rdev())
}

#[cfg(test)]
mod tests {
    use rustix::fs::makedev;

    use super::*;

    fn list(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_mount_is_found_by_its_device_and_its_path_is_decoded() {
        let mounts = list(
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 8:2 / /mnt/a\\040b\\134 rw,noatime shared:1 - ext4 /dev/none rw\n",
        );
        let used =
            |devices: &[Dev]| first_use(&devices.iter().copied().collect(), Some(&mounts), None);
        assert_eq!(used(&[makedev(8, 2)]).as_deref(), Some(&b"/mnt/a b\\"[..]));
        assert_eq!(
            used(&[makedev(8, 3), makedev(8, 1)]).as_deref(),
            Some(&b"/"[..]),
            "and the list is read from its beginning each time"
        );
        assert_eq!(used(&[makedev(8, 3)]), None);
        assert_eq!(used(&[]), None);
        assert_eq!(places(&["ext4"], Some(&mounts)), [&b"/"[..], b"/mnt/a b\\"]);
        assert_eq!(
            places(&["btrfs", "xfs"], Some(&mounts)),
            Vec::<Vec<u8>>::new()
        );
    }
}
