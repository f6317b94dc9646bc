// SPDX-License-Identifier: GPL-3.0-or-later
//! `origins.toml`: from which path each volume was backed up here, so that another disk of the same file name does not become its next
//! session by mistake. Only a memory of this machine; the archive knows no paths.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wyng_control::{BackupSource, Failure};

use super::ArchiveFolder;
use crate::keyholder::world::World;

const FILE: &str = "origins.toml";

/// Paths by volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

/// A path, and who said that it is the volume's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    path: String,
    uid: u32,
}

impl Origins {
    /// Reads it; a machine that has not backed up yet remembers nothing.
    pub fn read<W: World>(world: &mut W, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let Some(bytes) = world.read_file(&folder.file(FILE))? else { return Ok(Self::default()) };
        let damaged = || Failure::StateDamaged { file: FILE.into(), what: "it is not what was written".into() };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        toml::from_str(text).map(Self).map_err(|_| damaged())
    }

    /// Remembers these sources, as this user says. Whoever writes NAME=PATH says that PATH is that volume now; a bare PATH must be the one known.
    pub fn take(&mut self, sources: &[BackupSource], uid: u32) -> Result<(), Failure> {
        for source in sources {
            let known = self.0.insert(source.volume.clone(), Origin { path: source.path.clone(), uid });
            if let Some(Origin { path, .. }) = known.filter(|known| !source.named && known.path != source.path) {
                return Err(Failure::VolumeOfOtherPath { volume: source.volume.clone(), path });
            }
        }
        Ok(())
    }

    /// From where a volume was backed up last, if this very user said so: whoever opens a path for somebody else's word opens what that one
    /// may not.
    pub fn of(&self, volume: &str, uid: u32) -> Option<&str> {
        self.0.get(volume).filter(|origin| origin.uid == uid).map(|origin| origin.path.as_str())
    }

    /// Writes it.
    pub fn write<W: World>(&self, world: &mut W, folder: &ArchiveFolder) -> Result<(), Failure> {
        let text = toml::to_string(&self.0).map_err(|_| Failure::Internal { what: FILE.into() })?;
        world.replace_file(&folder.file(FILE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(volume: &str, path: &str, named: bool) -> BackupSource {
        BackupSource { volume: volume.into(), path: path.into(), named, configured: false }
    }

    #[test]
    fn a_name_stays_with_its_path_unless_it_is_given_away() {
        let mut origins = Origins::default();
        origins.take(&[source("vm.img", "/a/vm.img", false)], 7).unwrap();
        origins.take(&[source("vm.img", "/a/vm.img", false)], 7).unwrap();
        let other = source("vm.img", "/b/vm.img", false);
        let refused = Failure::VolumeOfOtherPath { volume: "vm.img".into(), path: "/a/vm.img".into() };
        assert_eq!(Origins(origins.0.clone()).take(std::slice::from_ref(&other), 7), Err(refused));
        origins.take(&[BackupSource { named: true, ..other.clone() }], 8).unwrap();
        assert_eq!((origins.of("vm.img", 8), origins.of("vm.img", 0)), (Some("/b/vm.img"), None), "nobody opens what another one says");
        origins.take(&[other], 7).unwrap();
    }
}
