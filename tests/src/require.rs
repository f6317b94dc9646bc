// SPDX-License-Identifier: GPL-3.0-or-later
//! The components that a test requires of the machine. A missing component that can be installed is
//! a failure under `WYNG_TEST_REQUIRE=all`, and otherwise a line in the file that
//! `WYNG_TEST_SKIPPED` names, which `make test` shows at its end.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::booted;
use crate::disk::{ExfatDisk, LoopMount};
use crate::fake_zfs::FakeZfs;
use crate::programs::{sftp_server, static_helper};
use crate::stores::{Kind, garage_program};

/// A component that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Root: the right to mount file systems and to become another user.
    Root,
    /// Root, and the users of a service's roles.
    Users,
    /// `strace`, which shows system calls.
    Strace,
    /// `perl`, which makes any system call by its number, on a processor whose numbers the test
    /// knows.
    Perl,
    /// `mkfs.ext4`, which fills an image from a folder without being root.
    Ext4,
    /// `mkfs.btrfs`, and a kernel that mounts it from a loop device.
    Btrfs,
    /// `mkfs.xfs`, and a kernel that mounts it from a loop device.
    Xfs,
    /// Root, `mkfs.exfat`, and a kernel or `mount.exfat-fuse` that mounts it from a file.
    Exfat,
    /// Python 3.11 or newer with `venv`, and access to PyPI, for the second reader.
    Python,
    /// Landlock in the kernel, which restricts a process to its folders.
    Landlock,
    /// `rpmbuild`, which makes packages for Fedora and dom0.
    Rpm,
    /// `dpkg-gencontrol`, which makes packages for Debian.
    Dpkg,
    /// The helper as one static file, which `make static PROFILE=dev` builds.
    StaticHelper,
    /// Root, and a kernel and a systemd that run as process 1 in namespaces, over an overlay of the
    /// machine's files.
    Boot,
    /// The build's folder is on a disk, not in memory.
    Disk,
    /// Root, a mount namespace, and loop devices in it.
    LoopDevices,
    /// `fincore`, which counts the pages of a file in the page cache.
    Fincore,
    /// `ionice`, which shows a process's I/O priority.
    Ionice,
    /// `thin_restore` and `thin_delta`, which write and compare the metadata of thin pools.
    ThinTools,
    /// `s3s-fs`, a server of S3 over a folder.
    S3,
    /// `wsgidav`, a WebDAV server over a folder.
    Wsgidav,
    /// `openssl`, which makes certificates.
    Openssl,
    /// `systemd-analyze`, which checks units without a running systemd.
    SystemdAnalyze,
    /// OpenSSH's `sftp-server` and `sftp`, which need no network.
    SftpServer,
    /// Root, `sshd` and `ssh`.
    Sshd,
    /// `rclone`, which serves a folder over WebDAV, and over SFTP without hard links.
    Rclone,
    /// `moto_server`, a server of S3 that keeps versions and object locks.
    Moto,
    /// `garage`, a distributed server of S3, which `make test-garage` builds.
    Garage,
}

/// Whether the component is available. If not, the test is added to the list of skipped tests, or
/// fails.
#[must_use]
pub fn require(component: Component, test: &str) -> bool {
    if component.is_there() {
        return true;
    }
    missing(component, test);
    false
}

/// Adds `test` to the list of skipped tests, or fails. For a component that turns out to be missing
/// after [`require`].
pub fn missing(component: Component, test: &str) {
    let is_due =
        std::env::var("WYNG_TEST_REQUIRE").as_deref() == Ok("all") && component.can_be_had();
    assert!(!is_due, "{test} needs {component:?}");
    let line = format!("{test} ({component:?})\n");
    eprint!("skipped: {line}");
    if let Some(list) = std::env::var_os("WYNG_TEST_SKIPPED") {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(list)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
}

impl Component {
    /// Whether the component can be installed. A kernel has a driver for exFAT or not, and not
    /// every machine allows FUSE mounts. Garage takes long to build, and has a target of its own.
    fn can_be_had(self) -> bool {
        let has_driver = |kind| {
            std::fs::read_to_string("/proc/filesystems")
                .is_ok_and(|kinds| kinds.split_whitespace().any(|known| known == kind))
        };
        match self {
            Self::Exfat => has_driver("exfat"),
            Self::Garage => std::env::var("WYNG_TEST_GARAGE").as_deref() == Ok("1"),
            _ => true,
        }
    }

    /// Whether this machine has it, whatever the tests require.
    pub fn is_there(self) -> bool {
        match self {
            Self::Root => std::fs::metadata("/proc/self")
                .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0),
            Self::Users => {
                Self::Root.is_there()
                    && wyngd::roles::ROLES
                        .iter()
                        .filter_map(|role| role.user())
                        .all(has_user)
            }
            Self::Strace => runs("strace", &["-V"]),
            Self::Perl => cfg!(target_arch = "x86_64") && runs("perl", &["-v"]),
            Self::Ext4 => runs("mkfs.ext4", &["-V"]),
            Self::Btrfs => {
                Self::Root.is_there()
                    && runs("mkfs.btrfs", &["--version"])
                    && LoopMount::works("btrfs")
            }
            Self::Xfs => {
                Self::Root.is_there() && runs("mkfs.xfs", &["-V"]) && LoopMount::works("xfs")
            }
            Self::Exfat => Self::Root.is_there() && ExfatDisk::works(),
            Self::Python => runs(
                "python3",
                &[
                    "-c",
                    "import sys, venv, ensurepip; assert sys.version_info >= (3, 11)",
                ],
            ),
            Self::Landlock => wyng_jail::landlock_is_there(),
            Self::Rpm => runs("rpmbuild", &["--version"]),
            Self::Dpkg => runs("dpkg-gencontrol", &["--version"]),
            Self::StaticHelper => static_helper().is_file(),
            Self::Boot => {
                Self::Root.is_there()
                    && Path::new("/lib/systemd/systemd").exists()
                    && booted::probe()
            }
            Self::Disk => true, // only a probe can tell
            Self::LoopDevices => Self::Root.is_there() && FakeZfs::works(),
            Self::Fincore => runs("fincore", &["--version"]),
            Self::Ionice => runs("ionice", &["--version"]),
            Self::ThinTools => {
                runs("thin_restore", &["--version"]) && runs("thin_delta", &["--version"])
            }
            Self::Openssl => runs("openssl", &["version"]),
            Self::S3 => serves(Kind::S3, "--version"),
            Self::Wsgidav => serves(Kind::Wsgidav, "--version"),
            Self::Rclone => serves(Kind::Rclone, "version"),
            Self::Moto => serves(Kind::Moto, "--help"),
            Self::Garage => garage_program().is_file(),
            Self::SystemdAnalyze => runs("systemd-analyze", &["--version"]),
            Self::SftpServer => {
                sftp_server().is_file() && Command::new("sftp").arg("-h").output().is_ok()
            }
            Self::Sshd => {
                Self::Root.is_there()
                    && Self::SftpServer.is_there()
                    && Path::new("/usr/sbin/sshd").is_file()
            }
        }
    }
}

fn has_user(name: &str) -> bool {
    wyng_jail::find_user(name).is_ok_and(|user| user.is_some())
}

fn serves(kind: Kind, version: &str) -> bool {
    kind.program()
        .to_str()
        .is_some_and(|program| runs(program, &[version]))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}
