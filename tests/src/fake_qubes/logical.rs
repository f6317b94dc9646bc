// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of an `lvm_thin` pool as its driver keeps them, with the driver's own calls of lvm, where
//! there is a real volume group: in the VM of `make test-vm`. Elsewhere they are names alone.
//!
//! `VID` is the committed volume, `VID-snap` what a running qube writes to, `VID-import` what an
//! import is written to, and `VID-EPOCH-back` an older state.

use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::qubesd::Fault;

const FAILED: Fault = Fault::Error("StoragePoolException");
/// Where a test that counts the daemon's calls of lvm has put the program.
const REAL_LVM: &str = "/usr/local/lib/real/lvm";
const LVM: &str = "/usr/sbin/lvm";

/// A volume, by its id in the pool: `GROUP/vm-QUBE-VOLUME`.
pub(super) struct Logical {
    vid: String,
    /// `GROUP/POOL`.
    pool: String,
}

impl Logical {
    /// `None` where there is no volume group.
    pub(super) fn of(vid: &str, group: &str, pool: &str) -> Option<Self> {
        std::env::var_os("WYNG_TEST_VM")?;
        Some(Self {
            vid: vid.to_owned(),
            pool: format!("{group}/{pool}"),
        })
    }

    fn with(&self, ending: &str) -> String {
        format!("{}{ending}", self.vid)
    }

    fn group(&self) -> &str {
        self.vid.split('/').next().unwrap()
    }

    /// Its size; `None` if it is not there.
    pub(super) fn size(&self) -> Option<u64> {
        let devices = [self.with("-snap"), self.vid.clone()].map(|vid| device(&vid));
        let mut opened = devices
            .iter()
            .filter_map(|path| std::fs::File::open(path).ok());
        opened.next()?.seek(SeekFrom::End(0)).ok()
    }

    fn is_dirty(&self) -> bool {
        device(&self.with("-snap")).exists()
    }

    pub(super) fn create(&self, size: u64) -> Result<(), Fault> {
        self.create_as(&self.vid, size)
    }

    fn create_as(&self, vid: &str, size: u64) -> Result<(), Fault> {
        let (_, name) = vid.split_once('/').unwrap();
        lvm(&[
            "lvcreate",
            "--thin",
            "--setactivationskip=n",
            "--activate=y",
            &format!("--name={name}"),
            &format!("--virtualsize={size}B"),
            "--",
            &self.pool,
        ])
    }

    fn clone_as(&self, from: &str, to: &str) -> Result<(), Fault> {
        let (_, name) = to.split_once('/').unwrap();
        lvm(&[
            "lvcreate",
            "--setactivationskip=n",
            "--activate=y",
            "--snapshot",
            &format!("--name={name}"),
            "--",
            from,
        ])
    }

    /// What a start does; refused while an import is under way.
    pub(super) fn start(&self) -> Result<(), Fault> {
        if device(&self.with("-import")).exists() {
            return Err(FAILED);
        }
        match self.is_dirty() {
            true => Ok(()),
            false => self.clone_as(&self.vid, &self.with("-snap")),
        }
    }

    /// What a stop does.
    pub(super) fn stop(&self, keep: i64) -> Result<(), Fault> {
        self.commit(&self.with("-snap"), keep)
    }

    /// Makes a volume the committed one. Without it nothing happens, and that is no error.
    fn commit(&self, vid: &str, keep: i64) -> Result<(), Fault> {
        if !device(vid).exists() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let back = self.with(&format!("-{}-back", now.as_secs()));
        lvm(&["lvrename", "--", &self.vid, &back])?;
        lvm(&["lvrename", "--", vid, &self.vid])?;
        let revisions = self.revisions();
        let kept = usize::try_from(keep).unwrap_or(0).min(revisions.len());
        for revision in revisions.iter().take(revisions.len() - kept) {
            lvm(&[
                "lvremove",
                "--force",
                "--",
                &self.with(&format!("-{revision}")),
            ])?;
        }
        Ok(())
    }

    /// Its older states, `EPOCH-back`, the oldest first.
    pub(super) fn revisions(&self) -> Vec<String> {
        let (_, name) = self.vid.split_once('/').unwrap();
        let entries = std::fs::read_dir(device(self.group()));
        let mut found: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?.file_name().into_string().ok()?;
                let rest = entry.strip_prefix(name)?.strip_prefix('-')?;
                rest.ends_with("-back").then(|| rest.to_owned())
            })
            .collect();
        found.sort();
        found
    }

    pub(super) fn resize(&self, size: u64) -> Result<(), Fault> {
        if self.size() == Some(size) {
            return Ok(());
        }
        let size = format!("--size={size}B");
        lvm(&["lvresize", "--yes", "--force", &size, "--", &self.vid])
    }

    /// Begins an import, and returns the path of what is to be written.
    pub(super) fn begin_import(&self, size: u64) -> Result<String, Fault> {
        let import = self.with("-import");
        if self.is_dirty() || device(&import).exists() {
            return Err(FAILED);
        }
        self.create_as(&import, size)?;
        Ok(device(&import).display().to_string())
    }

    pub(super) fn end_import(&self, outcome: &[u8], keep: i64) -> Result<String, Fault> {
        let import = self.with("-import");
        if !device(&import).exists() {
            return Err(FAILED);
        }
        if outcome != b"ok" {
            lvm(&["lvremove", "--force", "--", &import])?;
            return Err(Fault::Error("QubesException"));
        }
        self.commit(&import, keep).map(|()| String::new())
    }
}

fn device(vid: &str) -> PathBuf {
    Path::new("/dev").join(vid)
}

fn lvm(words: &[&str]) -> Result<(), Fault> {
    let program = [REAL_LVM, LVM]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let output = Command::new(program.unwrap_or(LVM)).args(words).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            eprintln!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            Err(FAILED)
        }
        Err(_) => Err(FAILED),
    }
}
