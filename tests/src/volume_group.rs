// SPDX-License-Identifier: GPL-3.0-or-later
//! A volume group of LVM's with a thin pool, over the scratch disk of the VM.

use crate::vm::{SCRATCH_DISK, clean_up, results, run};

/// See the first line of this file. It is removed at the end, with all that is in it.
pub struct VolumeGroup {
    name: &'static str,
}

impl VolumeGroup {
    /// A volume group with a thin pool `pool` of 4 GiB, in blocks of 64 KiB.
    pub fn new(name: &'static str) -> Self {
        results();
        run("wipefs", &["--quiet", "--all", SCRATCH_DISK]);
        run("vgcreate", &["--quiet", name, SCRATCH_DISK]);
        let pool = ["--type", "thin-pool", "--name", "pool", name];
        let sizes = ["-L", "4G", "--poolmetadatasize", "32M", "-c", "64k"];
        run("lvcreate", &[&pool[..], &sizes[..]].concat());
        Self { name }
    }

    /// Makes an active thin volume of 1 GiB, and returns its path.
    pub fn add(&self, volume: &str) -> String {
        let pool = format!("{}/pool", self.name);
        run("lvcreate", &["-V", "1G", "--thinpool", &pool, "-n", volume]);
        run("udevadm", &["settle"]);
        self.path(volume)
    }

    /// Makes a read-only snapshot that is not active.
    pub fn snapshot(&self, volume: &str, origin: &str) {
        let origin = format!("{}/{origin}", self.name);
        run("lvcreate", &["-s", "-pr", "-n", volume, &origin]);
    }

    /// Activates a volume, whatever it is marked with.
    pub fn activate(&self, volume: &str) {
        run(
            "lvchange",
            &["-ay", "-K", &format!("{}/{volume}", self.name)],
        );
        run("udevadm", &["settle"]);
    }

    /// Deactivates a volume.
    pub fn deactivate(&self, volume: &str) {
        run("lvchange", &["-an", &format!("{}/{volume}", self.name)]);
        run("udevadm", &["settle"]);
    }

    /// The path of an active volume.
    pub fn path(&self, volume: &str) -> String {
        format!("/dev/{}/{volume}", self.name)
    }
}

impl Drop for VolumeGroup {
    fn drop(&mut self) {
        clean_up("vgremove", &["--quiet", "-f", self.name]);
        clean_up("pvremove", &["--quiet", SCRATCH_DISK]);
        clean_up("udevadm", &["settle"]);
    }
}
