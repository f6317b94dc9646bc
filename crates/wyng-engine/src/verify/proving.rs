// SPDX-License-Identifier: GPL-3.0-or-later
//! Stored readings of packs: they decide which packs are read next, and the proven share of an
//! archive. The choice itself is [`wyng_archive::plan::proof`]'s.

use std::collections::BTreeSet;

use wyng_archive::format::{PackEntry, PackState};
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::proof::{Proof, Readings, Share, choose, proves, share};
use wyng_control::Failure;

use crate::archive::{Archive, Packs};
use crate::kept::moment_now;
use crate::state::{ArchiveFolder, PackProof, Proofs, StayingVm};
use crate::world::{Clock, Files};

/// Number of packs after which the readings of a verify are made durable.
const SYNC_AFTER_PACKS: u32 = 16;

/// The proofs of an archive while packs are read by one far end.
pub(super) struct Proving {
    proofs: Proofs,
    folder: ArchiveFolder,
    /// The VM that reads; `None` if it does not stay.
    reader: Option<StayingVm>,
    /// When the reading began, on the kept clock: no reading counts as later than it was.
    now_kept: u64,
    /// The same by the wall clock.
    now_wall: i64,
    unsynced: u32,
}

impl Proving {
    /// Loads the readings of `packs`. Packs that are met for the first time count as pushed now,
    /// and by the VM behind `via` if that stays.
    pub(super) fn begin(
        files: &mut impl Files,
        clock: &mut impl Clock,
        archive: &mut Archive,
        packs: &Packs,
    ) -> Result<Self, Failure> {
        let reader = StayingVm::of(archive.toml.verify_via());
        let Moment {
            kept_secs: now_kept,
            wall_secs: now_wall,
        } = moment_now(files, clock, archive)?;
        let proofs = met(files, archive, packs, now_kept)?;
        Ok(Self {
            proofs,
            folder: archive.folder.clone(),
            reader,
            now_kept,
            now_wall,
            unsynced: 0,
        })
    }

    /// The order in which packs are read: with a budget, the packs that the plan selects; otherwise
    /// all packs, the longest unread first.
    pub(super) fn order(
        &self,
        packs: &Packs,
        needed: &BTreeSet<u64>,
        budget_bytes: Option<u64>,
    ) -> Vec<u64> {
        let read_kept = |number: &u64| self.proofs.packs.get(number).map(|known| known.read_kept);
        let Some(budget_bytes) = budget_bytes else {
            let mut order: Vec<u64> = needed.iter().copied().collect();
            order.sort_by_key(|number| (read_kept(number), *number));
            return order;
        };
        let readings: Vec<Readings> = needed
            .iter()
            .filter_map(|number| {
                let known = self.proofs.packs.get(number);
                Some(readings(*number, packs.get(number)?, known, self.reader))
            })
            .collect();
        choose(&readings, budget_bytes, self.now_kept)
    }

    /// Notes that the pack was read whole and is intact.
    pub(super) fn note_sound(
        &mut self,
        files: &mut impl Files,
        number: u64,
    ) -> Result<(), Failure> {
        let mut known = self.known(number);
        known.read_kept = self.now_kept;
        known.sound_wall = self.now_wall;
        let (reader, pusher) = (self.reader.as_ref(), known.pusher.as_ref());
        match proves(self.now_kept, reader, known.pushed_kept, pusher) {
            Proof::Nothing => {}
            proof => {
                known.proven_kept = self.now_kept;
                known.is_by_pusher = proof == Proof::ByPusher;
            }
        }
        self.append(files, number, known)
    }

    /// Notes that the pack was read and is missing or damaged.
    pub(super) fn note_damage(
        &mut self,
        files: &mut impl Files,
        number: u64,
    ) -> Result<(), Failure> {
        self.disprove(number);
        let known = self.known(number);
        self.append(files, number, known)
    }

    /// Withdraws a reading: the pack is damaged after all. [`keep`](Self::keep) must follow.
    pub(super) fn disprove(&mut self, number: u64) {
        let mut known = self.known(number);
        known.read_kept = self.now_kept;
        known.proven_kept = 0;
        known.is_by_pusher = false;
        self.proofs.packs.insert(number, known);
    }

    /// Makes everything that was noted durable.
    pub(super) fn keep(&self, files: &mut impl Files) -> Result<(), Failure> {
        self.proofs.write(files, &self.folder)
    }

    fn known(&self, number: u64) -> PackProof {
        let unknown = || PackProof::of_pushed(self.now_kept, self.reader);
        self.proofs
            .packs
            .get(&number)
            .copied()
            .unwrap_or_else(unknown)
    }

    fn append(
        &mut self,
        files: &mut impl Files,
        number: u64,
        known: PackProof,
    ) -> Result<(), Failure> {
        self.proofs.append(files, &self.folder, number, known)?;
        self.unsynced = self.unsynced.saturating_add(1);
        if self.unsynced >= SYNC_AFTER_PACKS {
            self.unsynced = 0;
            Proofs::sync(files, &self.folder)?;
        }
        Ok(())
    }
}

/// The stored readings of `packs`; packs that are met for the first time are added, durably.
fn met(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
    now_kept: u64,
) -> Result<Proofs, Failure> {
    let mut proofs = Proofs::read(files, &archive.folder)?;
    proofs.packs.retain(|number, _| packs.contains_key(number));
    let pusher = StayingVm::of(&archive.toml.via);
    for number in packs.keys() {
        proofs
            .packs
            .entry(*number)
            .or_insert(PackProof::of_pushed(now_kept, pusher));
    }
    proofs.write(files, &archive.folder)?;
    Ok(proofs)
}

/// Proven share of an archive, and the last complete verify.
pub(crate) struct Proven {
    /// Proven share of the live packs.
    pub share: Share,
    /// The last complete verify: the time, by each clock, at which the pack that was read longest
    /// ago was found intact; `None` before the first verify. Packs that no verify has met yet do
    /// not count: they are read first.
    pub verified: Option<Moment>,
}

/// Sums up the stored readings of `packs`. A proof by the VM that pushed counts only if that VM is
/// the far end that checks the archive now: another one can prove the pack better.
pub(crate) fn proven(
    files: &mut impl Files,
    archive: &Archive,
    packs: &Packs,
    now: Moment,
) -> Result<Proven, Failure> {
    let proofs = Proofs::read(files, &archive.folder)?;
    let reader = StayingVm::of(archive.toml.verify_via());
    let live = || {
        packs
            .iter()
            .filter(|(_, pack)| pack.state == PackState::Live)
    };
    let readings: Vec<Readings> = live()
        .map(|(number, pack)| readings(*number, pack, proofs.packs.get(number), reader))
        .collect();
    let sound: Vec<&PackProof> = packs
        .iter()
        .filter(|(_, pack)| pack.state != PackState::Lost)
        .filter_map(|(number, _)| proofs.packs.get(number))
        .filter(|known| known.sound_wall != 0)
        .collect();
    let wall_secs = sound.iter().map(|known| known.sound_wall).min();
    let kept_secs = sound.iter().map(|known| known.read_kept).min();
    Ok(Proven {
        share: share(&readings, now.kept_secs),
        verified: wall_secs
            .zip(kept_secs)
            .map(|(wall_secs, kept_secs)| Moment {
                wall_secs,
                kept_secs,
            }),
    })
}

/// The readings of a pack, as far as they count for an archive whose far end is `reader`. A pack of
/// which nothing was kept counts as pushed at a time ahead of every clock, so that its age is never
/// taken for young.
fn readings(
    number: u64,
    pack: &PackEntry,
    known: Option<&PackProof>,
    reader: Option<StayingVm>,
) -> Readings {
    let happened = |kept: u64| (kept != 0).then_some(kept);
    let counts = |known: &PackProof| !known.is_by_pusher || known.pusher == reader;
    Readings {
        number,
        length_bytes: pack.length_bytes.into(),
        pushed_secs: known.map_or(u64::MAX, |known| known.pushed_kept),
        read_secs: known.and_then(|known| happened(known.read_kept)),
        proven_secs: known
            .filter(|known| counts(known))
            .and_then(|known| happened(known.proven_kept)),
        is_by_pusher: known.is_some_and(|known| known.is_by_pusher),
    }
}
