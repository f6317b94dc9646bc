// SPDX-License-Identifier: GPL-3.0-or-later
//! What tests in the VM of `make test-vm` have: a scratch disk, a place for results, and a list of
//! what was read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of 64 GiB that is the VM's own.
pub const SCRATCH_DISK: &str = "/dev/disk/by-id/virtio-scratch";

/// The folder whose files are in `target/vm/results` after the VM has ended.
///
/// # Panics
/// Outside of the VM: its tests write to whole disks.
pub fn results() -> PathBuf {
    assert!(
        std::env::var_os("WYNG_TEST_VM").is_some() && Path::new(SCRATCH_DISK).exists(),
        "this test runs in the VM of make test-vm"
    );
    PathBuf::from(std::env::var_os("WYNG_TEST_RESULTS").unwrap())
}

/// Adds to the sums that `make test-vm` prints at its end: bytes that were read where this many
/// were there to read.
pub fn has_read(bytes: u64, of_bytes: u64) {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(results().join("read"));
    writeln!(file.unwrap(), "{bytes} {of_bytes}").unwrap();
}

/// Runs a program that must succeed, and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program at the end of a test. After a failure of the test, which is what people should
/// see, it may fail too.
pub fn clean_up(program: &str, arguments: &[&str]) {
    let succeeds = Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        succeeds || std::thread::panicking(),
        "{program} {arguments:?}"
    );
}
