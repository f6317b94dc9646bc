// SPDX-License-Identifier: GPL-3.0-or-later
//! File systems that clone files, with a sandbox's archive next to them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::{LoopMount, run};
use crate::require::{Component, require};
use crate::sandbox::{Outcome, Sandbox, noise};

/// A kind of file system, and how it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The suffix of `mkfs.`.
    pub name: &'static str,
    /// The options of `mount -o`.
    pub options: &'static str,
    /// How root finds changes on it.
    pub method: &'static str,
}

/// The file systems that clone files.
pub const KINDS: [Kind; 3] = [
    Kind {
        name: "btrfs",
        options: "noatime",
        method: "btrfs-search",
    },
    Kind {
        name: "btrfs",
        options: "noatime,compress-force=zstd",
        method: "btrfs-search",
    },
    Kind {
        name: "xfs",
        options: "noatime",
        method: "fiemap",
    },
];

/// A mounted file system, and an archive elsewhere.
pub struct Pool {
    /// The archive `home`, with chunks of 64 KiB.
    pub sandbox: Sandbox,
    /// The file system with the volumes.
    pub disk: LoopMount,
    /// The kind of the file system.
    pub kind: Kind,
}

impl Pool {
    /// A pool of each kind that this machine supports.
    pub fn each(test: &str) -> impl Iterator<Item = Self> {
        let there = move |kind: &Kind| {
            require(
                if kind.name == "xfs" {
                    Component::Xfs
                } else {
                    Component::Btrfs
                },
                test,
            )
        };
        KINDS.into_iter().filter(there).map(Self::of)
    }

    /// A pool of this kind.
    pub fn of(kind: Kind) -> Self {
        let disk = LoopMount::mount(kind.name, 512, kind.options);
        Self {
            sandbox: Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "1M"]),
            disk,
            kind,
        }
    }

    /// A volume of which half the bytes compress.
    pub fn volume(&self, name: &str, length: usize) -> PathBuf {
        let path = self.disk.join(name);
        std::fs::write(&path, half_noise(length, 1)).unwrap();
        path
    }

    /// Backs up `path` as the volume `vm`.
    pub fn back_up(&self, path: &Path) -> Outcome {
        self.back_up_to("home", path)
    }

    /// Backs it up to another archive.
    pub fn back_up_to(&self, archive: &str, path: &Path) -> Outcome {
        let outcome = self
            .sandbox
            .wyng(&["backup", archive, &format!("vm={}", path.display())]);
        outcome.success();
        outcome
    }

    /// The names of all base snapshots.
    pub fn bases(&self) -> Vec<PathBuf> {
        let Ok(folder) = std::fs::read_dir(self.disk.join(".wyng")) else {
            return Vec::new();
        };
        folder.map(|entry| entry.unwrap().path()).collect()
    }
}

/// Bytes of which every other 32 KiB compress well.
pub fn half_noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(length, seed);
    for part in bytes.chunks_mut(32 << 10).step_by(2) {
        part.iter_mut().for_each(|byte| *byte = b'a' + *byte % 2);
    }
    bytes
}

/// Makes a hole.
pub fn punch(path: &Path, offset: u64, length: u64) {
    let (offset, length) = (offset.to_string(), length.to_string());
    run(Command::new("fallocate")
        .args(["--punch-hole", "--offset", &offset, "--length", &length])
        .arg(path));
}

/// Makes a range of one file share the extents of another.
pub fn clone_range(from: &Path, from_offset: u64, to: &Path, to_offset: u64, length: u64) {
    let verb = format!(
        "reflink {} {from_offset} {to_offset} {length}",
        from.display()
    );
    run(Command::new("xfs_io").args(["-c", &verb]).arg(to));
}

/// Writes and syncs.
pub fn write_durably(path: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

/// A number in the report of the first volume.
pub fn number(outcome: &Outcome, field: &str) -> u64 {
    outcome.json["volumes"][0][field].as_u64().unwrap()
}
