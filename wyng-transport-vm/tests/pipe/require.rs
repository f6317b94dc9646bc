// SPDX-License-Identifier: GPL-3.0-or-later
//! What a test needs of the machine. A missing component is a failure under `WYNG_TEST_REQUIRE=all`, and otherwise a line
//! in the file that `WYNG_TEST_SKIPPED` names.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that not every machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Component {
    /// The right to mount file systems and to become another user.
    Root,
    /// The program that shows system calls.
    Strace,
}

/// Whether the component is there. If not, the test is named in the list of those skipped, or fails.
#[must_use]
pub(crate) fn require(component: Component, test: &str) -> bool {
    let there = match component {
        Component::Root => std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0),
        Component::Strace => Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()),
    };
    if there {
        return true;
    }
    assert!(std::env::var("WYNG_TEST_REQUIRE").as_deref() != Ok("all"), "{test} needs {component:?}");
    let line = format!("skipped: {test} ({component:?})\n");
    eprint!("{line}");
    if let Some(list) = std::env::var_os("WYNG_TEST_SKIPPED") {
        OpenOptions::new().append(true).create(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
    }
    false
}

/// A small file system in memory, unmounted when dropped.
pub(crate) struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    pub(crate) fn mount(size_mib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size_mib}m,mode=0777");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()));
        Self { folder }
    }

    pub(crate) fn remount_read_only(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.folder.path()));
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.folder.path()));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
