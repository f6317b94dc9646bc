// SPDX-License-Identifier: GPL-3.0-or-later
//! What the simulated pool holds: one line a volume or snapshot, in a file that is locked while a
//! program runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// What stands for a value that is not there.
pub(super) const NONE: &str = "-";

/// A volume or a snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) guid: u64,
    pub(super) createtxg: u64,
    pub(super) size_bytes: u64,
    pub(super) device: String,
    pub(super) origin: String,
    pub(super) label: String,
    pub(super) content: PathBuf,
}

/// All of them.
pub(super) struct Table {
    folder: PathBuf,
    entries: Vec<Entry>,
    _lock: File,
}

pub(super) fn is_snapshot(name: &str) -> bool {
    name.contains('@')
}

impl Table {
    pub(super) fn open(folder: &Path) -> Self {
        let lock = File::create(folder.join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let text = std::fs::read_to_string(folder.join("table")).unwrap_or_default();
        let entries = text.lines().map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            Entry {
                name: fields[0].into(),
                guid: fields[1].parse().unwrap(),
                createtxg: fields[2].parse().unwrap(),
                size_bytes: fields[3].parse().unwrap(),
                device: fields[4].into(),
                origin: fields[5].into(),
                label: fields[6].into(),
                content: fields[7].into(),
            }
        });
        Self {
            folder: folder.to_owned(),
            entries: entries.collect(),
            _lock: lock,
        }
    }

    pub(super) fn close(self) {
        let lines = self.entries.iter().map(|entry| {
            let Entry {
                name,
                guid,
                createtxg,
                size_bytes,
                device,
                origin,
                label,
                content,
            } = entry;
            let content = content.display();
            format!("{name}\t{guid}\t{createtxg}\t{size_bytes}\t{device}\t{origin}\t{label}\t{content}\n")
        });
        std::fs::write(self.folder.join("table"), lines.collect::<String>()).unwrap();
    }

    /// Adds to the list of calls.
    pub(super) fn note(&self, words: &[&str]) {
        use std::io::Write;
        let calls = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("calls"));
        writeln!(calls.unwrap(), "{}", words.join(" ")).unwrap();
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Entry)) {
        change(
            self.entries
                .iter_mut()
                .find(|entry| entry.name == name)
                .unwrap(),
        );
    }

    /// Adds one of the same size, with a copy of this content; returns where that is. Its
    /// transaction is the next one.
    pub(super) fn add(&mut self, name: &str, like: &Entry, copied: Option<&Path>) -> PathBuf {
        let counter = self.folder.join("txg");
        let text = std::fs::read_to_string(&counter).unwrap_or_default();
        let createtxg: u64 = text.parse().unwrap_or(100) + 1;
        std::fs::write(counter, createtxg.to_string()).unwrap();
        let content = self.folder.join(format!("content-{createtxg}"));
        match copied {
            Some(from) => drop(std::fs::copy(from, &content).unwrap()),
            None => File::create(&content)
                .unwrap()
                .set_len(like.size_bytes)
                .unwrap(),
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            guid: createtxg.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            createtxg,
            size_bytes: like.size_bytes,
            device: NONE.to_owned(),
            origin: NONE.to_owned(),
            label: NONE.to_owned(),
            content: content.clone(),
        });
        content
    }

    pub(super) fn remove(&mut self, name: &str) {
        let (gone, kept) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.name == name);
        let gone: Vec<Entry> = gone;
        self.entries = kept;
        for entry in gone {
            let _ = std::fs::remove_file(entry.content);
        }
    }

    /// A property, which snapshots inherit from their volume.
    pub(super) fn property(&self, entry: &Entry) -> String {
        let of = entry.name.split_once('@').map(|(of, _)| of);
        match of.and_then(|of| self.get(of)) {
            Some(volume) if entry.label == NONE => volume.label.clone(),
            _ => entry.label.clone(),
        }
    }

    /// Bytes that the first has otherwise than the second, and something for metadata if there are
    /// any.
    pub(super) fn written_bytes(&self, base: &Entry, snapshot: &Entry) -> u64 {
        let (one, other) = (read(&base.content), read(&snapshot.content));
        let differing = one.iter().zip(&other).filter(|(one, other)| one != other);
        match differing.count() as u64 {
            0 if base.size_bytes == snapshot.size_bytes => 0,
            differing => differing + 4096,
        }
    }

    /// Bytes that only a snapshot holds; those of a volume do not matter.
    pub(super) fn used_bytes(&self, entry: &Entry) -> u64 {
        let of = entry.name.split_once('@').map(|(of, _)| of);
        of.and_then(|of| self.get(of))
            .map_or(0, |volume| self.written_bytes(volume, entry))
    }

    /// Used and free bytes of a pool: those of a file, or hardly any used.
    pub(super) fn room(&self, pool: &str) -> Option<String> {
        let inside = format!("{pool}/");
        self.entries
            .iter()
            .find(|entry| entry.name.starts_with(&inside))?;
        let room = std::fs::read_to_string(self.folder.join("room"));
        let Ok(room) = room else {
            return Some("1000\t999000\n".into());
        };
        // A line for each of our snapshots that is there: removing one makes room.
        let ours = self.entries.iter();
        let ours = ours.filter(|entry| entry.name.contains("@wyng-")).count();
        let lines: Vec<&str> = room.lines().collect();
        Some(format!("{}\n", lines[ours.min(lines.len() - 1)]))
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
