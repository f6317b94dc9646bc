// SPDX-License-Identifier: GPL-3.0-or-later
//! Every argument vector that zfs is started with. The variable parts are names of checked
//! characters, none of which can be an option, and labels that this program wrote. Nothing is ever
//! destroyed recursively or by force.

use std::path::Path;

use wyng_control::{OwnZfsName, ZvolName};

use super::super::programs;
use super::super::trouble::Trouble;

/// Where zfs is: of a package, or built on the machine.
const PROGRAMS: [&str; 2] = ["/usr/sbin/zfs", "/usr/local/sbin/zfs"];
/// The property of a snapshot that has its label. A dataset's own is inherited by its snapshots,
/// so the label names the snapshot that it belongs to.
pub(super) const LABEL: &str = "org.wyng:base";
/// What is listed, in the order in which [`Listed`](super::listed::Listed) reads it.
const COLUMNS: &str = "name,guid,createtxg,volsize,used,org.wyng:base";
/// Size of the volume on which udev's rules are tried, bytes.
const EMPTY_VOLUME: &str = "65536";
/// What our volumes get: the device has no partitions, and no tool takes snapshots of it, with
/// which it could not be destroyed.
const OWN_VOLUME: [&str; 4] = ["-o", "volmode=dev", "-o", "com.sun:auto-snapshot=false"];

/// What zfs is started for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// Lists every volume of this machine.
    Volumes,
    /// Lists every snapshot of this machine.
    Snapshots,
    /// Lists the snapshots of a volume, and no other.
    SnapshotsOf(&'a ZvolName),
    /// Prints the bytes that are used and free in a volume's pool.
    Room(&'a ZvolName),
    /// Makes a snapshot.
    Snapshot(&'a OwnZfsName),
    /// Makes a read-only volume of a snapshot, which gets a device.
    Clone {
        snapshot: &'a OwnZfsName,
        volume: &'a OwnZfsName,
    },
    /// Makes an empty volume, which takes no room.
    MakeEmpty(&'a OwnZfsName),
    /// Prints the bytes that were written between a base and a later snapshot of the same volume.
    Written {
        base: &'a OwnZfsName,
        snapshot: &'a OwnZfsName,
    },
    /// Gives a snapshot its label.
    Label {
        snapshot: &'a OwnZfsName,
        label: &'a str,
    },
    /// Destroys one snapshot or volume.
    Destroy(&'a OwnZfsName),
}

/// The program, where this machine has it.
pub(super) fn program() -> Option<&'static str> {
    PROGRAMS
        .into_iter()
        .find(|program| Path::new(program).exists())
}

impl Call<'_> {
    /// The arguments.
    fn vector(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        match self {
            Self::Volumes => words(&["list", "-H", "-p", "-t", "volume", "-o", COLUMNS]),
            Self::Snapshots => words(&["list", "-H", "-p", "-t", "snapshot", "-o", COLUMNS]),
            Self::SnapshotsOf(volume) => {
                let of_volume = ["-t", "snapshot", "-d", "1", "-o", COLUMNS, volume.as_str()];
                words(&[&["list", "-H", "-p"], &of_volume[..]].concat())
            }
            Self::Room(volume) => {
                let of_pool = ["-d", "0", "-o", "used,available", volume.pool()];
                words(&[&["list", "-H", "-p"], &of_pool[..]].concat())
            }
            Self::Snapshot(snapshot) => words(&["snapshot", snapshot.as_str()]),
            Self::Clone { snapshot, volume } => {
                let names = [snapshot.as_str(), volume.as_str()];
                let how = [&["clone", "-o", "readonly=on"][..], &OWN_VOLUME, &names];
                words(&how.concat())
            }
            Self::MakeEmpty(volume) => {
                let sized = ["-V", EMPTY_VOLUME, volume.as_str()];
                words(&[&["create", "-s"][..], &OWN_VOLUME, &sized].concat())
            }
            Self::Written { base, snapshot } => {
                let base = base.as_str().rsplit_once('@').map_or("", |(_, name)| name);
                let written = format!("written@{base}");
                let how = ["get", "-H", "-p", "-o", "value"];
                words(&[&how[..], &[&written, snapshot.as_str()]].concat())
            }
            Self::Label { snapshot, label } => {
                let property = format!("{LABEL}={label}");
                words(&["set", &property, snapshot.as_str()])
            }
            Self::Destroy(name) => words(&["destroy", name.as_str()]),
        }
    }

    /// Runs the program to its end, and returns what it printed.
    pub(super) fn run(&self) -> Result<String, Trouble> {
        let program = program().ok_or(Trouble::Answer("there is no zfs"))?;
        programs::run(program, &self.vector())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_vectors_are_these_and_none_destroys_more_than_one() {
        let volume = ZvolName::new("tank/qubes/work/private").unwrap();
        let snapshot = OwnZfsName::snapshot(&volume, 0xab).unwrap();
        let base = OwnZfsName::snapshot(&volume, 0xcd).unwrap();
        let clone = OwnZfsName::beside(&volume, 0xab).unwrap();
        let words = |call: Call<'_>| call.vector().join(" ");
        let columns = "name,guid,createtxg,volsize,used,org.wyng:base";
        let at = "tank/qubes/work/private@wyng-00000000000000ab";
        let beside = "tank/qubes/work/wyng-00000000000000ab";
        let own = "-o volmode=dev -o com.sun:auto-snapshot=false";
        for (call, expected) in [
            (Call::Volumes, format!("list -H -p -t volume -o {columns}")),
            (
                Call::SnapshotsOf(&volume),
                format!("list -H -p -t snapshot -d 1 -o {columns} tank/qubes/work/private"),
            ),
            (
                Call::Room(&volume),
                "list -H -p -d 0 -o used,available tank".to_owned(),
            ),
            (Call::Snapshot(&snapshot), format!("snapshot {at}")),
            (
                Call::Clone {
                    snapshot: &snapshot,
                    volume: &clone,
                },
                format!("clone -o readonly=on {own} {at} {beside}"),
            ),
            (
                Call::MakeEmpty(&clone),
                format!("create -s {own} -V 65536 {beside}"),
            ),
            (
                Call::Written {
                    base: &base,
                    snapshot: &snapshot,
                },
                format!("get -H -p -o value written@wyng-00000000000000cd {at}"),
            ),
            (
                Call::Label {
                    snapshot: &snapshot,
                    label: "1:x",
                },
                format!("set org.wyng:base=1:x {at}"),
            ),
            (Call::Destroy(&snapshot), format!("destroy {at}")),
            (Call::Destroy(&clone), format!("destroy {beside}")),
        ] {
            assert_eq!(words(call), expected);
        }
    }
}
