// SPDX-License-Identifier: GPL-3.0-or-later
//! The times at which each pack came and was read whole, as far as this machine knows them. They
//! decide which copies of an id in several packs may go.

use std::collections::BTreeMap;

use wyng_archive::crypto::Coder;
use wyng_archive::plan::giving_up::Copy;
use wyng_control::Failure;

use crate::archive::{Archive, open_commit};
use crate::state::{Proofs, SpaceNotes};
use crate::world::Files;

/// Times by pack, for the choice between copies of an id.
pub struct CopyTimes {
    /// Known commits, ascending: the first number behind the packs of each commit, and its kept
    /// clock, seconds.
    commits: Vec<(u64, u64)>,
    /// Kept clock at which each pack was last read whole and found sound, by its number, seconds.
    read_whole_secs: BTreeMap<u64, u64>,
}

impl CopyTimes {
    /// Takes the times from the commits that this machine knows, from the readings for deletions,
    /// and from the proofs of verifies, except for proofs by the VM that pushed. A reading later
    /// than `now_kept_secs` is from a clock that was lost, and does not count.
    pub fn of(
        files: &mut impl Files,
        archive: &Archive,
        now_kept_secs: u64,
    ) -> Result<Self, Failure> {
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let mut commits = Vec::new();
        for known in archive.ledger.known_commits() {
            let commit = open_commit(&archive.credential, &mut coder, known)?;
            commits.push((commit.next_pack(), commit.stamp.stamp.kept_secs));
        }
        let notes = SpaceNotes::read(files, &archive.folder)?;
        let proofs = Proofs::read(files, &archive.folder)?;
        let proven = proofs
            .packs
            .iter()
            .filter(|(_, known)| known.proven_kept != 0 && !known.is_by_pusher);
        let proven = proven.map(|(number, known)| (*number, known.proven_kept));
        let damage = &archive.ledger.notes;
        let mut read_whole_secs = BTreeMap::new();
        for (number, read_secs) in proven.chain(notes.read_packs) {
            if read_secs <= now_kept_secs && !damage.is_damaged(number) {
                let newest = read_whole_secs.entry(number).or_insert(read_secs);
                *newest = read_secs.max(*newest);
            }
        }
        Ok(Self {
            commits,
            read_whole_secs,
        })
    }

    /// A copy in this pack. The pack came with the oldest known commit that has it, or before: a
    /// later time only keeps more.
    pub fn copy(&self, pack: u64) -> Copy {
        let has = |(end, _): &&(u64, u64)| *end > pack;
        let came = self.commits.iter().find(has);
        Copy {
            pack,
            came_secs: came.map_or(u64::MAX, |(_, kept_secs)| *kept_secs),
            read_whole_secs: self.read_whole_secs.get(&pack).copied(),
        }
    }
}
