// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run is asked to do. The names are checked here, and nothing else.

use wyng_archive::format::is_volume_name;
use wyng_control::{BackupSource, Failure, PruneRules, QubeChoice};

/// Bytes of packs between two commits of a long run. A commit comes after this amount and after
/// nothing else: a commit at a volume's end would show the store how large the volume is.
pub const COMMIT_AFTER_BYTES: u64 = 1 << 30;

/// A backup of some volumes to one archive.
pub struct BackupRequest {
    /// The archive's name.
    pub archive: String,
    /// The volumes; their places in the list are the numbers of the sources.
    pub sources: Vec<BackupSource>,
    /// The qubes, whose volumes and settings have the numbers after the sources.
    pub qubes: QubeChoice,
    /// Adds no session for a volume that did not change.
    pub skip_unchanged: bool,
    /// Reads and counts only.
    pub dry_run: bool,
    /// The volumes may be in use.
    pub live: bool,
    /// Also replaces what a verify found damaged and held back.
    pub heal: bool,
    /// Reads back the packs and commits of the run, by a far end that is started anew.
    pub verify: bool,
    /// Maximum bytes of new records that each volume may send in a day of the kept clock.
    pub max_new_bytes: Option<u64>,
    /// Prunes the archive by these rules once the backup is committed.
    pub prune_after: Option<PruneRules>,
    /// Bytes of packs between two commits: [`COMMIT_AFTER_BYTES`] except in tests.
    pub commit_after_bytes: u64,
}

impl BackupRequest {
    /// Refuses a name that no volume can have ([`Failure::BadName`]) and a name that occurs twice
    /// ([`Failure::VolumeNameTaken`]).
    pub(super) fn check_names(&self) -> Result<(), Failure> {
        let names = self.sources.iter().map(|source| source.volume.as_str());
        let mut names: Vec<&str> = names.collect();
        if let Some(name) = names.iter().find(|name| !is_volume_name(name)) {
            return Err(Failure::BadName {
                name: (*name).to_owned(),
            });
        }
        names.sort_unstable();
        match names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
            Some((twice, _)) => Err(Failure::VolumeNameTaken {
                volume: (*twice).to_owned(),
            }),
            None => Ok(()),
        }
    }
}
