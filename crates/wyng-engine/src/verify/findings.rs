// SPDX-License-Identifier: GPL-3.0-or-later
//! What a verify found, and what follows from it for the notes that the next run heals by. It reads
//! nothing but packs that are whole again.

use std::collections::{BTreeSet, HashMap};

use wyng_archive::crypto::{Coder, Id};
use wyng_archive::format::{PackEntry, PackState};
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::Failure;

use super::proving::Proving;
use crate::archive::{Archive, Packs};
use crate::state::{Notes, PackNote};
use crate::store::{read_pack, sound_version};
use crate::world::{Files, Store};

/// Something wrong, and the number of the pack in which it was found, if it was in a pack.
pub(super) struct Found {
    /// What is wrong.
    pub damage: Damage,
    /// The pack's number.
    pub pack: Option<u64>,
    /// The store has a sound older version of the blob.
    pub has_older: bool,
}

/// What was found so far.
pub(super) struct Findings {
    /// Everything that is wrong.
    pub problems: Vec<Found>,
    /// Number of blobs and records that were compared.
    pub objects_checked: u64,
    /// Number of bytes that came from the store.
    pub read_bytes: u64,
    /// The ledger's notes as they become.
    pub notes: Notes,
    /// Packs that were noted as lost or held, and are whole.
    returned: Vec<u64>,
    /// Generations whose commit is not sound under its first name.
    pub copied: BTreeSet<u64>,
    /// Chunks whose id is that of no known domain, with their packs. Only for a chunk that a
    /// session reaches is that a fault.
    pub unnamed: HashMap<Id, u64>,
    /// Number of packs that were read and did not count as lost before.
    read_packs: usize,
    /// Those among them that are missing or damaged.
    bad_packs: BTreeSet<u64>,
    /// Readings and proofs of each pack.
    pub proving: Proving,
}

impl Findings {
    /// Nothing was read yet.
    pub(super) fn new(archive: &Archive, proving: Proving) -> Self {
        Self {
            problems: Vec::new(),
            objects_checked: 0,
            read_bytes: 0,
            notes: archive.ledger.notes.clone(),
            returned: Vec::new(),
            copied: BTreeSet::new(),
            unnamed: HashMap::new(),
            read_packs: 0,
            bad_packs: BTreeSet::new(),
            proving,
        }
    }

    /// Counts an object that was compared.
    pub(super) fn count_object(&mut self) {
        self.objects_checked = self.objects_checked.saturating_add(1);
    }

    /// Counts bytes that came from the store.
    pub(super) fn count_read(&mut self, bytes: u64) {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
    }

    /// Notes what is wrong with an object outside of all packs, or with a pack as a whole.
    pub(super) fn note(&mut self, class: Class, name: BlobName, fault: Fault) {
        self.problems.push(Found {
            damage: Damage::new(class, name.0, fault),
            pack: None,
            has_older: false,
        });
    }

    /// Notes what is wrong with an object outside of all packs, of which the store has a sound
    /// older version.
    pub(super) fn note_older(&mut self, class: Class, name: BlobName, fault: Fault) {
        self.problems.push(Found {
            damage: Damage::new(class, name.0, fault),
            pack: None,
            has_older: true,
        });
    }

    /// Looks for sound older versions of the packs that are missing or damaged. Nothing may be
    /// requested and not answered.
    pub(super) fn look_at_older_versions(
        &mut self,
        store: &mut impl Store,
        packs: &Packs,
    ) -> Result<(), Failure> {
        let bad: BTreeSet<u64> = self
            .problems
            .iter()
            .filter_map(|found| found.pack)
            .collect();
        for number in bad {
            let Some(pack) = packs.get(&number) else {
                continue;
            };
            let count = &mut |bytes| self.read_bytes = self.read_bytes.saturating_add(bytes);
            if sound_version(store, pack, count)?.is_none() {
                continue;
            }
            let of_pack = self.problems.iter_mut();
            of_pack
                .filter(|found| found.pack == Some(number))
                .for_each(|found| found.has_older = true);
        }
        Ok(())
    }

    /// Notes the result of reading a pack: its damage, or that it is intact.
    pub(super) fn judge(
        &mut self,
        files: &mut impl Files,
        number: u64,
        pack: &PackEntry,
        damages: Vec<Damage>,
    ) -> Result<(), Failure> {
        let counted_as_lost =
            pack.state == PackState::Lost || self.notes.packs.get(&number) == Some(&PackNote::Lost);
        if !counted_as_lost {
            self.read_packs = self.read_packs.saturating_add(1);
        }
        if !damages.is_empty() {
            if !counted_as_lost {
                self.bad_packs.insert(number);
            }
            self.notes.packs.insert(number, PackNote::Lost);
            self.problems
                .extend(damages.into_iter().map(|damage| Found {
                    damage,
                    pack: Some(number),
                    has_older: false,
                }));
            return self.proving.note_damage(files, number);
        }
        let noted = match pack.state {
            PackState::Lost => self.notes.packs.insert(number, PackNote::Sound),
            PackState::Live | PackState::GivenUp(_) | PackState::Going(_) => {
                self.notes.packs.remove(&number)
            }
        };
        self.returned
            .extend(matches!(noted, Some(PackNote::Lost | PackNote::Held)).then_some(number));
        self.proving.note_sound(files, number)
    }

    /// Notes a pack whose length is not that with which it was made. What was read of it may be
    /// right: the rest is not the archive's.
    pub(super) fn judge_length(&mut self, number: u64, pack: &PackEntry) {
        if pack.state.given_up().is_some()
            || self.problems.iter().any(|found| found.pack == Some(number))
        {
            return;
        }
        if pack.state != PackState::Lost {
            self.bad_packs.insert(number);
        }
        self.notes.packs.insert(number, PackNote::Lost);
        self.proving.disprove(number);
        self.problems.push(Found {
            damage: Damage::new(Class::Pack, pack.name.0, Fault::Length),
            pack: Some(number),
            has_older: false,
        });
    }

    /// Notes a chunk that a session reaches, if its pack was found to hold it under the id of
    /// another content.
    pub(super) fn judge_reached(&mut self, id: &Id) {
        if let Some(number) = self.unnamed.remove(id) {
            self.notes.packs.insert(number, PackNote::Lost);
            self.bad_packs.insert(number);
            self.proving.disprove(number);
            self.problems.push(Found {
                damage: Damage::new(Class::Record, id.0, Fault::Id),
                pack: Some(number),
                has_older: false,
            });
        }
    }

    /// Whether the pack was noted as lost.
    pub(super) fn is_noted_lost(&self, number: u64) -> bool {
        self.notes.packs.get(&number) == Some(&PackNote::Lost)
    }

    /// Holds damage of so many packs that it is more likely another disk, or a store that lies:
    /// nothing follows from it by itself, since healing would send everything again. Packs that
    /// were held before and were not read again count too.
    pub(super) fn hold_what_is_too_much(&mut self) {
        let note = PackNote::of_damage(self.bad_packs.len(), self.read_packs);
        if note == PackNote::Held || !self.notes.held_packs().is_empty() {
            self.notes.packs.extend(
                self.bad_packs
                    .iter()
                    .map(|number| (*number, PackNote::Held)),
            );
        }
    }

    /// Takes into the cache what packs hold that are whole again: when the cache was built, perhaps
    /// nothing in them could be read.
    pub(super) fn index_again(
        &mut self,
        files: &mut impl Files,
        store: &mut impl Store,
        archive: &mut Archive,
        packs: &Packs,
    ) -> Result<(), Failure> {
        if self.returned.is_empty() {
            return Ok(());
        }
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        archive.reopen_cache(files)?;
        for number in std::mem::take(&mut self.returned) {
            let Some(entry) = packs.get(&number) else {
                continue;
            };
            let (pack, _) = read_pack(store, &archive.credential, &mut coder, number, entry)?;
            archive.cache.add_pack(files, &pack)?;
        }
        archive.save_cache(files)
    }

    /// Keeps the readings of this verify and what follows from it for the next run, also after an
    /// interruption.
    pub(super) fn keep(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
    ) -> Result<(), Failure> {
        self.proving.keep(files)?;
        self.hold_what_is_too_much();
        if self.notes != archive.ledger.notes {
            archive.ledger.notes.take(self.notes.clone());
            archive.ledger.write(files, &archive.folder)?;
        }
        Ok(())
    }
}
