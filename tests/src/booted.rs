// SPDX-License-Identifier: GPL-3.0-or-later
//! systemd as process 1 in its own namespaces, over an overlay of this machine's files, booted by
//! `tests/booted/boot.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder of the scripts.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("booted")
}

/// Boots over `scratch/installed`, with `scratch/srv` as `/srv`, until `/srv/check.sh` has ended.
/// After `secs` seconds it is killed.
pub fn boot(scratch: &Path, secs: u32) -> Output {
    start(scratch, secs, &[])
}

/// Whether everything that a boot needs can be mounted.
pub(crate) fn probe() -> bool {
    let scratch = tempfile::tempdir().unwrap();
    for folder in ["installed", "srv"] {
        std::fs::create_dir(scratch.path().join(folder)).unwrap();
    }
    start(scratch.path(), 30, &["probe"]).status.success()
}

fn start(scratch: &Path, secs: u32, options: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", &secs.to_string(), "unshare", "--mount"])
        .arg(scripts().join("boot.sh"))
        .arg(scratch)
        .args(options);
    command.stdin(Stdio::null()).output().unwrap()
}
