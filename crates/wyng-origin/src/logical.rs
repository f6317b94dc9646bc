// SPDX-License-Identifier: GPL-3.0-or-later
//! Logical volumes of LVM, from what the kernel says of their devices in `/sys`.

use std::path::Path;

use rustix::fs::Dev;

use crate::device::{folder_of, line};

/// What LVM gives a device of its own as UUID: this, and two UUIDs of 32 characters for the volume
/// group and the volume.
const UUID_PREFIX: &[u8] = b"LVM-";
const UUID_BYTES: usize = 4 + 32 + 32;
/// Suffix of the UUID of the device to which all thin volumes of a pool are mapped.
const POOL_SUFFIX: &[u8] = b"-tpool";

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name in its volume group.
    pub name: Vec<u8>,
    /// Bytes of a block of its thin pool, in which it can be discarded; 0 if it is no thin volume,
    /// or discards are off.
    pub discards_bytes: u32,
}

/// The logical volume whose device this is.
pub(crate) fn logical_volume(root: &Path, device: Dev) -> Option<LogicalVolume> {
    let folder = folder_of(root, device);
    line(&folder.join("dm/uuid"))
        .filter(|uuid| uuid.len() == UUID_BYTES && uuid.starts_with(UUID_PREFIX))?;
    let number = |file: &str| -> Option<u64> {
        let text = line(&folder.join("queue").join(file))?;
        std::str::from_utf8(&text).ok()?.parse().ok()
    };
    let may_discard = is_on_pool(&folder) && number("discard_max_bytes").is_some_and(|max| max > 0);
    let granularity = number("discard_granularity").filter(|_| may_discard);
    Some(LogicalVolume {
        name: name_in_group(&line(&folder.join("dm/name"))?)?,
        discards_bytes: granularity
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(0),
    })
}

/// Whether this machine has an active thin pool of LVM's. Every user may know it.
pub fn has_thin_pool() -> bool {
    let is_pool = |folder: &Path| {
        line(&folder.join("dm/uuid"))
            .is_some_and(|uuid| uuid.starts_with(UUID_PREFIX) && uuid.ends_with(POOL_SUFFIX))
    };
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten();
    devices.flatten().any(|device| is_pool(&device.path()))
}

/// Whether the only device below is that of a thin pool.
fn is_on_pool(folder: &Path) -> bool {
    let below = std::fs::read_dir(folder.join("slaves"))
        .into_iter()
        .flatten()
        .flatten();
    let uuids: Vec<Option<Vec<u8>>> = below
        .map(|entry| line(&entry.path().join("dm/uuid")))
        .collect();
    match uuids.as_slice() {
        [Some(uuid)] => uuid
            .strip_suffix(POOL_SUFFIX)
            .is_some_and(|uuid| uuid.len() == UUID_BYTES && uuid.starts_with(UUID_PREFIX)),
        _ => false,
    }
}

/// The volume's name in a device-mapper name, where a hyphen parts group and volume, and two stand
/// for one that belongs to a name.
fn name_in_group(mapped: &[u8]) -> Option<Vec<u8>> {
    let mut names = vec![Vec::new()];
    let mut rest = mapped;
    while let Some((first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            (b'-', [b'-', behind @ ..]) => {
                names.last_mut()?.push(b'-');
                behind
            }
            (b'-', _) => {
                names.push(Vec::new());
                behind
            }
            _ => {
                names.last_mut()?.push(*first);
                behind
            }
        };
    }
    match names.as_slice() {
        [group, volume] if !group.is_empty() && !volume.is_empty() => Some(volume.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::device::parse_number;

    const GROUP: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const VOLUME: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// A device-mapper device over others.
    fn device(root: &Path, minor: u32, name: &str, uuid: &str, below: &[u32]) -> Dev {
        let folder = root.join(format!("sys/dev/block/253:{minor}"));
        for (file, content) in [
            ("dm/name", name),
            ("dm/uuid", uuid),
            ("queue/discard_granularity", "65536"),
            ("queue/discard_max_bytes", "4194304"),
        ] {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{content}\n")).unwrap();
        }
        std::fs::create_dir_all(folder.join("slaves")).unwrap();
        for minor in below {
            symlink(
                root.join(format!("sys/dev/block/253:{minor}")),
                folder.join("slaves").join(format!("dm-{minor}")),
            )
            .unwrap();
        }
        parse_number(format!("253:{minor}").as_bytes()).unwrap()
    }

    #[test]
    fn a_thin_volume_is_told_from_what_is_none_by_what_lies_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let uuid = |suffix: &str| format!("LVM-{GROUP}{VOLUME}{suffix}");
        let pool = device(root, 1, "vg-pool-tpool", &uuid("-tpool"), &[]);
        let thin = device(root, 2, "vg-vm--work--private", &uuid(""), &[1]);
        let linear = device(root, 3, "vg-root", &uuid(""), &[]);
        let over_two = device(root, 4, "vg-old", &uuid(""), &[1, 3]);
        let other = device(root, 5, "luks-x", "CRYPT-LUKS2-x", &[1]);
        let found = |device| logical_volume(root, device);
        let volume = |name: &str, discards_bytes| {
            Some(LogicalVolume {
                name: name.as_bytes().to_vec(),
                discards_bytes,
            })
        };
        assert_eq!(found(thin), volume("vm-work-private", 65536));
        assert_eq!(found(linear), volume("root", 0));
        assert_eq!(found(over_two), volume("old", 0));
        assert_eq!((found(pool), found(other)), (None, None));
        std::fs::write(
            root.join("sys/dev/block/253:2/queue/discard_max_bytes"),
            "0\n",
        )
        .unwrap();
        assert_eq!(found(thin), volume("vm-work-private", 0));
    }

    #[test]
    fn a_volume_is_named_as_lvm_names_it() {
        let name = |mapped: &str| {
            name_in_group(mapped.as_bytes()).map(|name| String::from_utf8(name).unwrap())
        };
        assert_eq!(name("vg-lv").as_deref(), Some("lv"));
        assert_eq!(name("my--vg-vm--a--root").as_deref(), Some("vm-a-root"));
        for other in ["vg", "vg-", "-lv", "vg-lv-tpool", ""] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
