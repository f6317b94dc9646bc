// SPDX-License-Identifier: GPL-3.0-or-later
//! State files in memory. A file that was appended keeps what was synced and a random part of the
//! rest.

use std::collections::BTreeMap;

use wyng_control::Failure;
use wyng_engine::world::Files;

use super::plug::Plug;

/// State files, each with what of it would survive a crash.
pub struct MemoryFiles {
    plug: Plug,
    files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
    /// The directory can only be read.
    pub only_looks: bool,
}

struct File {
    bytes: Vec<u8>,
    /// How many of them survive a kill for certain.
    synced: usize,
}

impl MemoryFiles {
    /// These files and links, all of them durable.
    pub fn new(
        plug: Plug,
        files: BTreeMap<String, Vec<u8>>,
        links: BTreeMap<String, String>,
    ) -> Self {
        let durable = |bytes: Vec<u8>| File {
            synced: bytes.len(),
            bytes,
        };
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name, durable(bytes)))
            .collect();
        Self {
            plug,
            files,
            links,
            only_looks: false,
        }
    }

    /// What a kill leaves of them; `chance` decides what survives of the rest.
    pub fn crash(&self, chance: u64) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>) {
        let survive = |file: &File| {
            let torn = file.bytes.len() - file.synced;
            let kept = file.synced
                + if torn == 0 {
                    0
                } else {
                    usize::try_from(chance).unwrap_or(0) % (torn + 1)
                };
            file.bytes[..kept].to_vec()
        };
        let files = self
            .files
            .iter()
            .map(|(name, file)| (name.clone(), survive(file)))
            .collect();
        (files, self.links.clone())
    }
}

impl Files for MemoryFiles {
    fn free_bytes(&mut self) -> Option<u64> {
        None
    }

    fn only_looks(&self) -> bool {
        self.only_looks
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.plug.step();
        Ok(self.files.get(name).map(|file| file.bytes.clone()))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        assert!(!self.only_looks, "a look replaces {name}");
        self.plug.change();
        self.files.insert(
            name.to_owned(),
            File {
                bytes: bytes.to_vec(),
                synced: bytes.len(),
            },
        );
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.plug.change();
        self.files
            .entry(name.to_owned())
            .or_insert(File {
                bytes: Vec::new(),
                synced: 0,
            })
            .bytes
            .extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), Failure> {
        self.plug.change();
        let file = self.files.entry(name.to_owned()).or_insert(File {
            bytes: Vec::new(),
            synced: 0,
        });
        file.synced = file.bytes.len();
        self.plug.note_sync();
        Ok(())
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.plug.change();
        let file = self.files.get_mut(name).unwrap();
        file.bytes.truncate(usize::try_from(length_bytes).unwrap());
        file.synced = file.bytes.len();
        Ok(())
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.plug.step();
        Ok(self.files.get(name).map(|file| file.bytes.len() as u64))
    }

    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.plug.step();
        let short = || Failure::StateIo {
            file: name.to_owned(),
            errno: 5,
        };
        let begin = usize::try_from(offset).unwrap();
        let file = self.files.get(name).ok_or_else(short)?;
        bytes.copy_from_slice(
            file.bytes
                .get(begin..begin + bytes.len())
                .ok_or_else(short)?,
        );
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.plug.change();
        let below = format!("{name}/");
        self.files
            .retain(|path, _| path != name && !path.starts_with(&below));
        self.links
            .retain(|path, _| path != name && !path.starts_with(&below));
        Ok(())
    }

    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        self.plug.step();
        let below = format!("{name}/");
        let paths = self.files.keys().chain(self.links.keys());
        let mut names: Vec<String> = paths
            .filter_map(|path| path.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap().to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.plug.change();
        self.links.insert(name.to_owned(), target.to_owned());
        Ok(())
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.plug.step();
        Ok(self.links.get(name).cloned())
    }
}
