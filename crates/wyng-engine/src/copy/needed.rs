// SPDX-License-Identifier: GPL-3.0-or-later
//! What a copy of one head consists of.

use std::collections::HashSet;

use wyng_archive::crypto::slot_name;
use wyng_archive::format::{PackEntry, PackState};
use wyng_archive::plan::{COPIES_ABSENT, head_probes};
use wyng_control::Failure;
use wyng_wire::BlobName;

use crate::archive::Archive;
use crate::world::Files;

/// What a copy of the head needs, and the names that a copy may show.
pub(super) struct Needed {
    /// The head's generation.
    pub generation: u64,
    /// The packs that the head uses, by ascending number: those that are live, and what is left of
    /// those that are lost.
    pub packs: Vec<PackEntry>,
    /// Names of the packs that the head is deleting.
    pub going: HashSet<BlobName>,
    /// Every name under which the archive has or had something, as far as this machine knows, and
    /// those of the next commits.
    pub known: HashSet<BlobName>,
}

impl Needed {
    /// Reads the pack table of the head.
    pub(super) fn of(files: &mut impl Files, archive: &mut Archive) -> Result<Self, Failure> {
        let generation = archive.head.generation;
        let packs = archive.packs(files)?;
        let mut known: HashSet<BlobName> = packs.values().map(|pack| pack.name).collect();
        known.extend(archive.uncommitted.packs.iter().map(|(_, pack)| pack.name));
        known.extend((0..=u8::MAX).map(slot_name));
        for generation in (1..=generation).chain(head_probes(generation)) {
            let name = |copy| archive.credential.commit_copy_name(generation, copy);
            known.extend((0..COPIES_ABSENT).map(name));
        }
        let is_going = |pack: &&PackEntry| matches!(pack.state, PackState::Going(_));
        let going = packs.values().filter(is_going).map(|pack| pack.name);
        let going = going.collect();
        let is_used = |pack: &PackEntry| matches!(pack.state, PackState::Live | PackState::Lost);
        Ok(Self {
            generation,
            packs: packs.into_values().filter(is_used).collect(),
            going,
            known,
        })
    }
}
