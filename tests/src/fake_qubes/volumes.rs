// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes and their files, as the drivers `file-reflink` and `file` keep them in the folder of a
//! pool. For a volume of an `lvm_thin` pool see logical.rs.
//!
//! A volume is the file `qubes/NAME/volumes/VOLUME` of the world, lines `KEY=VALUE`: `pool`, `vid`,
//! `size` (for as long as there is no file), `rw`, `save_on_stop`, `snap_on_start`, `source`, and
//! as far as they were set `revisions_to_keep` and `ephemeral`.
//!
//! In a pool of `file-reflink`, `private.img` is the committed volume and `private-dirty.img` what
//! a running qube writes to. The committed one is copied at the start and replaced at the stop, so
//! its inode changes each time. With `revisions_to_keep=-1` it is renamed instead, and while the
//! qube runs there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::World;
use super::logical::Logical;
use super::qubesd::Fault;
use super::system::pairs;
use crate::disk::run;

/// The pool of kernels.
pub(super) const KERNELS: &str = "linux-kernel";
const SNAPSHOTS_DISABLED: i64 = -1;

/// A volume of a qube.
pub(super) struct Volume<'a> {
    world: &'a World,
    qube: &'a str,
    name: String,
    written: BTreeMap<String, String>,
}

impl<'a> Volume<'a> {
    /// The volume of this name.
    pub(super) fn of(world: &'a World, qube: &'a str, name: &str) -> Option<Self> {
        Some(Self {
            world,
            qube,
            name: name.to_owned(),
            written: pairs(&world.part(qube, "volumes", name)?),
        })
    }

    /// All volumes of a qube.
    pub(super) fn all(world: &'a World, qube: &'a str) -> Vec<Self> {
        let names = world.listed(qube, "volumes");
        let volumes = names.iter().map(|name| Self::of(world, qube, name));
        volumes.flatten().collect()
    }

    /// Makes a volume, and the file of one that is saved.
    pub(super) fn make(world: &'a World, qube: &'a str, name: &str, lines: &[(&str, String)]) {
        let text: String = lines
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        world.set_part(qube, "volumes", name, &text);
        let volume = Self::of(world, qube, name).unwrap();
        if volume.is("save_on_stop")
            && let Some(logical) = volume.logical()
        {
            logical.create(volume.size()).unwrap();
        }
        if volume.is("save_on_stop")
            && let Some(clean) = volume.clean()
        {
            std::fs::create_dir_all(clean.parent().unwrap()).unwrap();
            // Before there is a file, which would have a size of its own.
            let size = volume.size();
            let file = std::fs::File::create(clean).unwrap();
            file.set_len(size).unwrap();
        }
    }

    fn get(&self, key: &str) -> &str {
        self.written.get(key).map_or("", String::as_str)
    }

    /// Whether a setting is `True`.
    pub(super) fn is(&self, key: &str) -> bool {
        self.get(key) == "True"
    }

    fn set(&mut self, key: &str, value: &str) {
        self.written.insert(key.to_owned(), value.to_owned());
        let lines = self.written.iter();
        let text: String = lines
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        self.world.set_part(self.qube, "volumes", &self.name, &text);
    }

    fn driver(&self) -> String {
        let pool = self.world.pool(self.get("pool"));
        pool.get("driver").cloned().unwrap_or_default()
    }

    /// The logical volume that it is; `None` in pools of another driver.
    fn logical(&self) -> Option<Logical> {
        let pool = self.world.pool(self.get("pool"));
        (pool.get("driver")? == "lvm_thin").then_some(())?;
        Logical::of(
            self.get("vid"),
            pool.get("volume_group")?,
            pool.get("thin_pool")?,
        )
    }

    /// The path of one of its files; `None` for a volume without files.
    fn file(&self, suffix: &str) -> Option<PathBuf> {
        let folder = match self.driver().as_str() {
            "file-reflink" | "file" => self.world.pool(self.get("pool")).get("dir_path")?.clone(),
            _ => return None,
        };
        Some(Path::new(&folder).join(format!("{}{suffix}.img", self.get("vid"))))
    }

    /// The committed volume.
    pub(super) fn clean(&self) -> Option<PathBuf> {
        self.file("")
    }

    /// What a running qube writes to.
    pub(super) fn dirty(&self) -> Option<PathBuf> {
        self.file("-dirty")
    }

    fn import(&self) -> Option<PathBuf> {
        self.file("-import")
    }

    fn revisions_to_keep(&self) -> i64 {
        self.get("revisions_to_keep").parse().unwrap_or(1)
    }

    fn size(&self) -> u64 {
        if let Some(size) = self.logical().and_then(|logical| logical.size()) {
            return size;
        }
        let files = [self.dirty(), self.clean()].into_iter().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .next()
            .unwrap_or_else(|| self.get("size").parse().unwrap_or(0))
    }

    /// The answer to Info. `path` is that of the dirty file also while the qube is halted.
    pub(super) fn info(&self) -> String {
        let path = match self.driver().as_str() {
            "lvm_thin" => format!("/dev/{}-snap", self.get("vid")),
            _ => self
                .dirty()
                .map_or_else(String::new, |path| path.display().to_string()),
        };
        let usage = self
            .clean()
            .and_then(|path| Some(path.metadata().ok()?.len()));
        let lines = [
            ("pool", self.get("pool").to_owned()),
            ("vid", self.get("vid").to_owned()),
            ("size", self.size().to_string()),
            ("usage", usage.unwrap_or(0).to_string()),
            ("rw", self.get("rw").to_owned()),
            ("source", self.get("source").to_owned()),
            ("path", path),
            ("save_on_stop", self.get("save_on_stop").to_owned()),
            ("snap_on_start", self.get("snap_on_start").to_owned()),
            ("revisions_to_keep", self.revisions_to_keep().to_string()),
            ("ephemeral", self.is("ephemeral").to_string_in_python()),
            ("is_outdated", false.to_string_in_python()),
        ];
        lines
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    /// Its revisions, oldest first: the numbers that ListSnapshots shows, with their files.
    fn revisions(&self) -> Vec<(u64, PathBuf)> {
        let Some(clean) = self.clean() else {
            return Vec::new();
        };
        let prefix = format!("{}.", clean.file_name().unwrap().to_str().unwrap());
        let entries = std::fs::read_dir(clean.parent().unwrap());
        let mut found: Vec<(u64, PathBuf)> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let rest = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
                Some((rest.split_once('@')?.0.parse().ok()?, path))
            })
            .collect();
        found.sort();
        found
    }

    /// The answer to ListSnapshots.
    pub(super) fn snapshots(&self) -> String {
        if let Some(logical) = self.logical() {
            let revisions = logical.revisions();
            return revisions.iter().map(|name| format!("{name}\n")).collect();
        }
        let revisions = self.revisions();
        revisions
            .iter()
            .map(|(number, _)| format!("{number}\n"))
            .collect()
    }

    /// What a start does to the files.
    pub(super) fn start(&self) {
        if let Some(logical) = self.logical().filter(|_| self.is("save_on_stop")) {
            logical.start().unwrap();
        }
        let (Some(clean), Some(dirty)) = (self.clean(), self.dirty()) else {
            return;
        };
        if self.driver() == "file" {
            std::fs::write(self.file("-cow").unwrap(), "").unwrap();
            return;
        }
        self.remove_incomplete();
        let precache = self.file("-precache").unwrap();
        if self.is("snap_on_start") {
            let source = self.source();
            if let Some(source) = source.filter(|source| source.exists()) {
                copy(&source, &dirty);
            }
        } else if !self.is("save_on_stop") {
            let file = std::fs::File::create(&dirty).unwrap();
            file.set_len(self.size()).unwrap();
        } else if self.revisions_to_keep() == SNAPSHOTS_DISABLED {
            std::fs::rename(&clean, &dirty).unwrap();
        } else if is_newer(&precache, &clean) {
            std::fs::rename(&precache, &dirty).unwrap();
        } else {
            copy(&clean, &dirty);
        }
    }

    /// What a stop does to the files.
    pub(super) fn stop(&self) {
        if let Some(logical) = self.logical().filter(|_| self.is("save_on_stop")) {
            logical.stop(self.revisions_to_keep()).unwrap();
        }
        let (Some(clean), Some(dirty)) = (self.clean(), self.dirty()) else {
            return;
        };
        if self.driver() == "file" {
            let _ = std::fs::remove_file(self.file("-cow").unwrap());
        } else if !self.is("save_on_stop") {
            let _ = std::fs::remove_file(dirty);
        } else if dirty.exists() {
            self.commit(&dirty);
            if self.revisions_to_keep() != SNAPSHOTS_DISABLED {
                copy(&clean, &self.file("-precache").unwrap());
            }
        }
    }

    /// The committed volume of which a volume with `snap_on_start` is a copy.
    fn source(&self) -> Option<PathBuf> {
        let folder = self.world.pool(self.get("pool")).get("dir_path")?.clone();
        let source = self.get("source");
        (!source.is_empty()).then(|| Path::new(&folder).join(format!("{source}.img")))
    }

    /// Removes what an interrupted start or import left, also an import that is under way, and
    /// every other file whose name has a `~` behind the volume's.
    fn remove_incomplete(&self) {
        let clean = self.clean().unwrap();
        let entries = std::fs::read_dir(clean.parent().unwrap());
        for path in entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(&self.name) && name.contains(".img") && name.contains('~') {
                std::fs::remove_file(&path).unwrap();
            }
        }
        let _ = std::fs::remove_file(self.import().unwrap());
    }

    /// Makes a file the committed volume. The one before becomes a revision.
    fn commit(&self, file: &Path) {
        let clean = self.clean().unwrap();
        self.add_revision();
        self.prune_revisions();
        let _ = std::fs::remove_file(self.file("-precache").unwrap());
        std::fs::rename(file, clean).unwrap();
    }

    fn add_revision(&self) {
        let (clean, keep) = (self.clean().unwrap(), self.revisions_to_keep());
        if keep > 0 && clean.exists() {
            let number = self.revisions().last().map_or(1, |(last, _)| last + 1);
            let name = clean.file_name().unwrap().to_str().unwrap().to_owned();
            let time = time_text(clean.metadata().unwrap().modified().unwrap());
            copy(
                &clean,
                &clean.with_file_name(format!("{name}.{number}@{time}")),
            );
        }
    }

    fn prune_revisions(&self) {
        let revisions = self.revisions();
        let keep = usize::try_from(self.revisions_to_keep()).unwrap_or(0);
        for (_, path) in revisions.iter().rev().skip(keep) {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Sets `revisions_to_keep`, `rw` or `ephemeral`. A value that is the default leaves a line all
    /// the same.
    pub(super) fn set_setting(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let is_valid = match key {
            "revisions_to_keep" => value
                .parse::<i64>()
                .is_ok_and(|keep| keep >= SNAPSHOTS_DISABLED),
            _ => matches!(value, "True" | "False"),
        };
        if !is_valid {
            return Err(Fault::Protocol);
        }
        self.set(key, value);
        if key == "revisions_to_keep" && self.driver() == "file-reflink" {
            self.prune_revisions();
        }
        Ok(())
    }

    /// Resizes; a smaller size cuts the volume without a question.
    pub(super) fn resize(&mut self, text: &str, runs: bool) -> Result<(), Fault> {
        let size: u64 = text.parse().map_err(|_| Fault::Protocol)?;
        if !self.is("rw") {
            return Err(Fault::Error("StoragePoolException"));
        }
        if let Some(logical) = self.logical().filter(|_| self.is("save_on_stop")) {
            logical.resize(size)?;
        }
        let file = if runs { self.dirty() } else { self.clean() };
        if let Some(file) = file.filter(|file| file.exists()) {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(size).unwrap();
        }
        self.set("size", &size.to_string());
        Ok(())
    }

    /// Puts a revision back; what was committed becomes a revision.
    pub(super) fn revert(&self, revision: &str) -> Result<(), Fault> {
        const REFUSED: Fault = Fault::Error("StoragePoolException");
        if self.dirty().is_none_or(|dirty| dirty.exists()) {
            return Err(REFUSED);
        }
        let revisions = self.revisions();
        let mut found = revisions.iter().rev();
        let found = found.find(|(number, _)| revision.is_empty() || number.to_string() == revision);
        let (_, path) = found.ok_or(REFUSED)?;
        let clean = self.clean().unwrap();
        // What was committed gets its number while the old revision still has its own.
        self.add_revision();
        let _ = std::fs::remove_file(self.file("-precache").unwrap());
        std::fs::rename(path, clean).unwrap();
        self.prune_revisions();
        Ok(())
    }

    /// Begins an import: the size and the path of the file that is to be written.
    pub(super) fn begin_import(&mut self, size: &str) -> Result<String, Fault> {
        if !self.is("save_on_stop") {
            return Err(Fault::Error("StoragePoolException"));
        }
        let size = match size.trim() {
            "" => self.size(),
            size => size.parse().map_err(|_| Fault::Protocol)?,
        };
        if let Some(logical) = self.logical() {
            let path = logical.begin_import(size)?;
            return Ok(format!("{size} {path}"));
        }
        let import = self.import().ok_or(Fault::Error("StoragePoolException"))?;
        let file = std::fs::File::create(&import).unwrap();
        file.set_len(size).unwrap();
        Ok(format!("{size} {}", import.display()))
    }

    /// Ends an import. Without its file, because a start has removed it, qubesd fails inside.
    pub(super) fn end_import(&mut self, outcome: &[u8]) -> Result<String, Fault> {
        if let Some(logical) = self.logical() {
            return logical.end_import(outcome, self.revisions_to_keep());
        }
        let import = self.import().ok_or(Fault::Nothing)?;
        if outcome != b"ok" {
            let _ = std::fs::remove_file(import);
            return Err(Fault::Error("QubesException"));
        }
        if !import.exists() {
            return Err(Fault::Nothing);
        }
        let size = import.metadata().unwrap().len();
        self.commit(&import);
        self.set("size", &size.to_string());
        Ok(String::new())
    }

    /// Moves it to another name within its pool.
    pub(super) fn move_to(mut self, vid: &str) {
        let from = self.clean();
        self.set("vid", vid);
        if let (Some(from), Some(to)) = (from, self.clean())
            && from.exists()
        {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::rename(from, to).unwrap();
        }
    }

    /// The folder that the qube's volumes share in a pool of files.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        Some(self.clean()?.parent()?.to_owned())
    }
}

/// Whether a file was made after the other one was written last.
fn is_newer(made: &Path, written: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|found| found.modified());
    time(made).is_ok_and(|made| time(written).is_ok_and(|written| made >= written))
}

/// Copies a file, sharing its blocks where the file system can. Elsewhere its holes stay holes: the
/// volumes of a new qube are larger than many disks.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_file(to);
    let mut copy = Command::new("cp");
    run(copy
        .args(["--reflink=auto", "--sparse=auto"])
        .args([from, to]));
}

/// A time as in the name of a revision, `2026-11-30T08:00:00Z`.
fn time_text(time: SystemTime) -> String {
    let secs = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = jiff::Timestamp::from_second(i64::try_from(secs).unwrap()).unwrap();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Python's words for true and false.
pub(super) trait InPython {
    /// `True` or `False`.
    fn to_string_in_python(&self) -> String;
}

impl InPython for bool {
    fn to_string_in_python(&self) -> String {
        if *self { "True" } else { "False" }.to_owned()
    }
}
