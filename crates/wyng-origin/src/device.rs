// SPDX-License-Identifier: GPL-3.0-or-later
//! The marks of a block device, and the devices that belong to it, from the kernel's `/sys` and
//! udev's links in `/dev/disk`.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, Stat, major, makedev, minor};
use wyng_control::path_text;

use crate::zvol::zvol;

/// The folder in which the kernel describes devices.
pub const SYSFS: &str = "/sys";
/// Maximum depth of stacked devices. A file system in a volume in a crypt mapping in a partition
/// takes four.
const LEVELS_MAX: usize = 8;
/// Maximum number of a disk's marks.
const LINKS_MAX: usize = 16;
/// Files of `/sys` with a disk's own identity.
const IDENTITIES: [&str; 5] = ["wwid", "device/wwid", "serial", "device/serial", "md/uuid"];
/// Prefixes in `/dev/disk/by-id` of names that describe the content of a disk, or that change with
/// each snapshot.
const NOT_OF_THE_DISK: [&str; 3] = ["dm-", "lvm-pv-", "md-"];

/// The folder in which the kernel describes a device.
pub(crate) fn folder_of(root: &Path, device: Dev) -> PathBuf {
    root.join(format!("sys/dev/block/{}:{}", major(device), minor(device)))
}

/// The marks of a device, which stay the same whatever number the kernel gives it: for a
/// device-mapper device its name, because an LVM volume that was restored or replaced by its
/// snapshot keeps its name and gets another UUID; for a loop device its backing file; for a
/// partition its UUID; for a volume of ZFS its name; for a disk the names that it reports.
pub(crate) fn marks(root: &Path, device: Dev) -> Vec<String> {
    let folder = folder_of(root, device);
    if let Some(name) = line(&folder.join("dm/name")) {
        return vec![format!("dm:{}", path_text(&name))];
    }
    if let Some(file) = line(&folder.join("loop/backing_file")) {
        return vec![format!("loop:{}", path_text(&file))];
    }
    let Some(number) = line(&folder.join("partition")) else {
        // A volume of ZFS reports no name, and gets another number at each start.
        return zvol(root, device).map_or_else(
            || of_disk(root, &folder, device),
            |name| vec![format!("zvol:{}", name.as_str())],
        );
    };
    if let Some(uuid) = partition_uuid(root, &folder, device) {
        return vec![format!("partuuid:{}", path_text(&uuid))];
    }
    let disk = number_of(&folder.join("../dev")).map_or_else(Vec::new, |disk| marks(root, disk));
    disk.into_iter()
        .map(|mark| format!("{mark} part {}", path_text(&number)))
        .collect()
}

fn of_disk(root: &Path, folder: &Path, device: Dev) -> Vec<String> {
    let own = IDENTITIES
        .iter()
        .filter_map(|file| line(&folder.join(file)));
    let own = own
        .map(|text| path_text(text.trim_ascii()))
        .filter(|text| !text.is_empty())
        .map(|text| format!("id:{text}"));
    let links = links_to(&root.join("dev/disk/by-id"), device).into_iter();
    let links = links.filter(|link| {
        !NOT_OF_THE_DISK
            .iter()
            .any(|begin| link.starts_with(begin.as_bytes()))
    });
    own.chain(links.map(|link| format!("by-id:{}", path_text(&link))))
        .take(LINKS_MAX)
        .collect()
}

/// The UUID of a partition, from the kernel (since Linux 6.11) or from the name of udev's link.
fn partition_uuid(root: &Path, folder: &Path, device: Dev) -> Option<Vec<u8>> {
    let uevent = std::fs::read(folder.join("uevent")).unwrap_or_default();
    let uuid = uevent
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"PARTUUID="))
        .map(<[u8]>::to_vec);
    uuid.or_else(|| links_to(&root.join("dev/disk/by-partuuid"), device).pop())
}

/// The names of the links in a folder that lead to the device, sorted.
fn links_to(folder: &Path, device: Dev) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let leads_there = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.file_type().is_block_device() && found.rdev() == device)
    };
    let mut names: Vec<Vec<u8>> = entries
        .filter(|entry| leads_there(&entry.path()))
        .map(|entry| entry.file_name().as_bytes().to_vec())
        .collect();
    names.sort_unstable();
    names
}

/// The device itself, its partitions, and all devices that are stacked on them.
pub(crate) fn with_parts_and_holders(root: &Path, device: Dev) -> BTreeSet<Dev> {
    let mut found = BTreeSet::from([device]);
    let mut ends = vec![device];
    for _ in 0..LEVELS_MAX {
        let above: Vec<Dev> = ends
            .iter()
            .flat_map(|device| directly_above(&folder_of(root, *device)))
            .collect();
        ends = above
            .into_iter()
            .filter(|device| found.insert(*device))
            .collect();
    }
    found
}

fn directly_above(folder: &Path) -> Vec<Dev> {
    let below = |folder: &Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let partitions = below(folder)
        .into_iter()
        .filter(|path| path.join("partition").exists());
    partitions
        .chain(below(&folder.join("holders")))
        .filter_map(|path| number_of(&path.join("dev")))
        .collect()
}

/// The loop devices of a file, and all devices that are stacked on them.
pub(crate) fn loops_over(root: &Path, file: &Stat) -> BTreeSet<Dev> {
    let devices = std::fs::read_dir(root.join("sys/block"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let is_over = |folder: &PathBuf| {
        let behind = line(&folder.join("loop/backing_file"))
            .and_then(|path| rustix::fs::stat(std::ffi::OsStr::from_bytes(&path)).ok());
        behind.is_some_and(|behind| (behind.st_dev, behind.st_ino) == (file.st_dev, file.st_ino))
    };
    devices
        .filter(is_over)
        .filter_map(|folder| number_of(&folder.join("dev")))
        .flat_map(|device| with_parts_and_holders(root, device))
        .collect()
}

/// The device number `MAJOR:MINOR` in a file.
fn number_of(file: &Path) -> Option<Dev> {
    parse_number(&line(file)?)
}

/// `MAJOR:MINOR`.
pub(crate) fn parse_number(text: &[u8]) -> Option<Dev> {
    let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The only line of a file, without its line end; `None` if the file is missing or empty.
pub(crate) fn line(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(file).ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Folders laid out as by the kernel and udev, with devices that need no real nodes.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A device with its folder at `place` below `/sys/devices`.
        fn device(&self, place: &str, number: &str, files: &[(&str, &str)]) -> Dev {
            let folder = self.0.path().join("sys/devices").join(place);
            for (name, content) in files.iter().chain(&[("dev", number)]) {
                let file = folder.join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, format!("{content}\n")).unwrap();
            }
            let numbers = self.0.path().join("sys/dev/block");
            std::fs::create_dir_all(&numbers).unwrap();
            symlink(&folder, numbers.join(number)).unwrap();
            parse_number(number.as_bytes()).unwrap()
        }
    }

    #[test]
    fn a_mapped_device_is_recognised_by_its_name_and_a_partition_by_its_uuid() {
        let machine = Machine::new();
        let root = machine.0.path();
        let mapped = machine.device(
            "virtual/block/dm-3",
            "253:3",
            &[("dm/name", "vg-vm--work"), ("dm/uuid", "LVM-abc")],
        );
        assert_eq!(marks(root, mapped), ["dm:vg-vm--work"]);
        let disk = machine.device(
            "pci/block/sda",
            "8:0",
            &[("device/wwid", "naa.5000"), ("device/serial", "  S1 ")],
        );
        assert_eq!(marks(root, disk), ["id:naa.5000", "id:S1"]);
        let known = machine.device(
            "pci/block/sda/sda1",
            "8:1",
            &[
                ("partition", "1"),
                ("uevent", "MAJOR=8\nPARTUUID=11-22\nX=y"),
            ],
        );
        assert_eq!(marks(root, known), ["partuuid:11-22"]);
        let unknown = machine.device("pci/block/sda/sda2", "8:2", &[("partition", "2")]);
        assert_eq!(marks(root, unknown), ["id:naa.5000 part 2", "id:S1 part 2"]);
        let looped = machine.device(
            "virtual/block/loop0",
            "7:0",
            &[("loop/backing_file", "/images/a\\b")],
        );
        assert_eq!(marks(root, looped), ["loop:/images/a\\\\b"]);
        assert_eq!(
            marks(root, makedev(43, 0)),
            Vec::<String>::new(),
            "an unknown device has no marks"
        );
    }

    #[test]
    fn what_is_stacked_on_a_disk_or_its_partitions_belongs_to_it() {
        let machine = Machine::new();
        let root = machine.0.path();
        let disk = machine.device("pci/block/sda", "8:0", &[]);
        let part = machine.device("pci/block/sda/sda1", "8:1", &[("partition", "1")]);
        let mapped = machine.device("virtual/block/dm-0", "253:0", &[("dm/name", "luks")]);
        let volume = machine.device("virtual/block/dm-1", "253:1", &[("dm/name", "vg-root")]);
        let other = machine.device("pci/block/sdb", "8:16", &[]);
        let holds = |below: &str, above: &str| {
            let holders = root.join("sys/devices").join(below).join("holders");
            std::fs::create_dir_all(&holders).unwrap();
            symlink(
                root.join("sys/devices/virtual/block").join(above),
                holders.join(above),
            )
            .unwrap();
        };
        holds("pci/block/sda/sda1", "dm-0");
        holds("virtual/block/dm-0", "dm-1");
        assert_eq!(
            with_parts_and_holders(root, disk),
            BTreeSet::from([disk, part, mapped, volume])
        );
        assert_eq!(
            with_parts_and_holders(root, volume),
            BTreeSet::from([volume])
        );
        assert_eq!(with_parts_and_holders(root, other), BTreeSet::from([other]));
    }
}
