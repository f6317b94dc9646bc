// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists the store. A listing is only a claim: it shows blobs that are not the archive's, and packs
//! of another length, which are noted as lost. It never shows that something is present.

use std::collections::{BTreeSet, HashMap, HashSet};

use wyng_archive::crypto::{Coder, slot_name};
use wyng_archive::format::PackEntry;
use wyng_archive::plan::COPIES_ABSENT;
use wyng_archive::{BlobName, Class, Fault};
use wyng_control::Failure;

use super::findings::Findings;
use crate::archive::{Archive, Packs};
use crate::store::read_copies;
use crate::world::Store;

/// What a listing showed.
pub(super) struct Listing {
    /// Number of blobs that this archive never named.
    pub foreign_objects: u64,
    /// Whether every part of the store could be listed.
    pub is_whole: bool,
}

impl Listing {
    /// The store was not listed, because only some sessions were asked for.
    pub(super) const NOT_WANTED: Self = Self {
        foreign_objects: 0,
        is_whole: true,
    };
}

/// Lists the store. Blobs that this archive never named are counted and never read: another
/// machine's, a crash's, or somebody's. Slots that were removed stay in the store, and what a cut
/// run sent is this machine's. Only further copies of a sound commit are read: two contents of one
/// generation are a fork, which a listing brings to light.
pub(super) fn list(
    store: &mut impl Store,
    archive: &Archive,
    packs: &Packs,
    findings: &mut Findings,
) -> Result<Listing, Failure> {
    let Names { owned, further } = Names::of(archive, packs, &findings.copied);
    let packs_by_name: HashMap<BlobName, (u64, PackEntry)> = packs
        .iter()
        .map(|(number, pack)| (pack.name, (*number, *pack)))
        .collect();
    let (mut foreign_objects, mut copied, mut wrong_length) = (0u64, BTreeSet::new(), Vec::new());
    let is_whole = store.list(&mut |name, length_bytes| {
        if let Some((number, pack)) = packs_by_name
            .get(&name)
            .filter(|(_, pack)| u64::from(pack.length_bytes) != length_bytes)
        {
            wrong_length.push((*number, *pack));
        }
        match further.get(&name) {
            Some(generation) => drop(copied.insert(*generation)),
            None => {
                foreign_objects = foreign_objects.saturating_add(u64::from(!owned.contains(&name)))
            }
        }
    })?;
    for (number, pack) in &wrong_length {
        findings.judge_length(*number, pack);
    }
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let mut forks = BTreeSet::new();
    for generation in copied {
        let copies = read_copies(store, &archive.credential, &mut coder, generation)?;
        if copies.sound.len() > 1 {
            forks.insert(generation);
            findings.note(
                Class::Commit,
                archive.credential.commit_name(generation),
                Fault::Copies,
            );
        }
    }
    let (notes, read) = (&mut findings.notes, &findings.copied);
    if is_whole {
        notes.forks.retain(|generation| read.contains(generation));
    }
    notes.forks.append(&mut forks);
    Ok(Listing {
        foreign_objects,
        is_whole,
    })
}

/// The names of an archive's blobs.
struct Names {
    /// Names under which the archive has a blob, or may have one.
    owned: HashSet<BlobName>,
    /// Names of further copies of commits that are sound under their first name, with the
    /// generation.
    further: HashMap<BlobName, u64>,
}

impl Names {
    /// `copied`: generations whose commit is not sound under its first name.
    fn of(archive: &Archive, packs: &Packs, copied: &BTreeSet<u64>) -> Self {
        let mut owned: HashSet<BlobName> = packs
            .values()
            .chain(archive.uncommitted.packs.iter().map(|(_, pack)| pack))
            .map(|pack| pack.name)
            .collect();
        owned.extend(
            (0..=u8::MAX)
                .take_while(|number| u16::from(*number) < archive.head.next_slot)
                .map(slot_name),
        );
        let newest = archive
            .ledger
            .pending()
            .map_or(archive.head.generation, |pending| pending.generation);
        let mut further = HashMap::new();
        for generation in 1..=newest {
            owned.insert(archive.credential.commit_name(generation));
            let name = |copy| archive.credential.commit_copy_name(generation, copy);
            if copied.contains(&generation) || generation > archive.head.generation {
                owned.extend((1..=u8::MAX).map(name));
            } else {
                further.extend((1..COPIES_ABSENT).map(|copy| (name(copy), generation)));
            }
        }
        Self { owned, further }
    }
}
