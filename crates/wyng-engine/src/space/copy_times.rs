// SPDX-License-Identifier: GPL-3.0-or-later
//! The times at which each pack came and was read whole, as far as this machine knows them. They
//! decide which copies of an id in several packs may go.

use wyng_archive::crypto::Coder;
use wyng_archive::plan::giving_up::Copy;
use wyng_control::Failure;

use crate::archive::{Archive, open_commit};
use crate::state::SpaceNotes;
use crate::world::Files;

/// Times by pack, for the choice between copies of an id.
pub struct CopyTimes {
    /// Known commits, ascending: the first number behind the packs of each commit, and its kept
    /// clock, seconds.
    commits: Vec<(u64, u64)>,
    notes: SpaceNotes,
}

impl CopyTimes {
    /// Takes the times from this machine's last commits and from the readings that it noted.
    pub fn of(files: &mut impl Files, archive: &Archive) -> Result<Self, Failure> {
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let mut commits = Vec::new();
        for known in archive.ledger.known_commits() {
            let commit = open_commit(&archive.credential, &mut coder, known)?;
            commits.push((commit.next_pack(), commit.stamp.stamp.kept_secs));
        }
        let mut notes = SpaceNotes::read(files, &archive.folder)?;
        notes.forget_readings_of(&archive.ledger.notes);
        Ok(Self { commits, notes })
    }

    /// A copy in this pack. The pack came with the oldest known commit that has it, or before: a
    /// later time only keeps more.
    pub fn copy(&self, pack: u64) -> Copy {
        let has = |(end, _): &&(u64, u64)| *end > pack;
        let came = self.commits.iter().find(has);
        Copy {
            pack,
            came_secs: came.map_or(u64::MAX, |(_, kept_secs)| *kept_secs),
            read_whole_secs: self.notes.read_packs.get(&pack).copied(),
        }
    }
}
