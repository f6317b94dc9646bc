// SPDX-License-Identifier: GPL-3.0-or-later
//! Deletes packs that were given up, in three steps: a commit marks packs as going; after its
//! receipt, in the same command, they are deleted; the next commit drops their entries. The plans
//! decide which packs are needed, and the guard checks each blob once more.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::Id;
use wyng_archive::format::{PackEntry, PackState, Stamp};
use wyng_archive::plan::deletion::Plan;
use wyng_archive::plan::giving_up::keys_to_drop;
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::waiting::{Due, Waits, commit_due, waits};
use wyng_control::Failure;
use wyng_wire::Service;

use super::guard::{Candidate, Guard};
use super::proof::{Proof, prove};
use super::waste::{ToProve, Waste, is_recent};
use crate::archive::Archive;
use crate::cache::{Location, Stored};
use crate::kept::kept_now;
use crate::locking::connect_to_push;
use crate::outcome::is_refusal;
use crate::pool::Pool;
use crate::state::RemovedSlot;
use crate::store::{Changes, CommitPoint, PackChanges, Packer, begun_volumes, commit};
use crate::world::{Client, Deleted, Parts, Store, World};

/// Maximum number of DELETEs that are sent before the first is answered.
pub(super) const DELETES_AHEAD: usize = 64;

/// Totals of the deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Packs that are gone.
    pub deleted_packs: u64,
    /// Their length, bytes.
    pub deleted_bytes: u64,
    /// Key slots that are gone.
    pub deleted_slots: u64,
    /// Packs that became live again, because what took over their records is lost.
    pub revived_packs: u64,
    /// Bytes that were read back for the proof.
    pub proof_bytes: u64,
    /// Objects that were found missing or damaged; each was reported.
    pub problems: u64,
    /// The packs that wait, grouped by obstacle.
    pub waits: Vec<Waits>,
    /// The length of all packs that wait, bytes.
    pub waiting_bytes: u64,
}

/// Deletes every pack and slot that may be deleted, and returns the packs that wait. Makes a commit
/// although nothing else changed, if a commit is due. Notes of damage must be in the pack table;
/// nothing may be pending or in flight, and no far end may be open: a pack must not be read back
/// through a far end that pushed it.
pub fn tidy<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
) -> Result<Tidied, Failure> {
    let mut tidying = Tidying::begin(world, archive, pool)?;
    tidying.prove()?;
    tidying.act()?;
    tidying.finish()
}

/// Whether a commit is due for the sake of waiting packs, although nothing else changed: a hold-off
/// that waits for runs would never end otherwise.
pub(crate) fn is_run_due<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<bool, Failure> {
    let waste = Waste::of(&mut world.files, archive)?;
    let now = kept_now(&mut world.files, &mut world.clock, archive)?;
    let plan = waste.outline(archive, now);
    let slots = slots_waiting_for_runs(archive, &waste);
    let due = commit_due(&plan, 0, &archive.head.stamp, now);
    Ok(due == Some(Due::CountsRun) || (slots && archive.head.stamp.next_counts(now)))
}

/// The removed slots that the head does not list, each with the head at which this machine first
/// found it so.
fn note_slots(archive: &Archive, waste: &mut Waste) -> bool {
    let before = waste.notes.slots.clone();
    let since = archive.head.stamp.stamp;
    let is_listed = |number: u8| archive.head.slots.iter().any(|slot| slot.number == number);
    for number in (0..archive.head.next_slot).filter_map(|number| u8::try_from(number).ok()) {
        if is_listed(number) {
            waste.notes.slots.remove(&number);
        } else {
            let is_gone = false;
            let removed = RemovedSlot { since, is_gone };
            waste.notes.slots.entry(number).or_insert(removed);
        }
    }
    waste.notes.slots != before
}

fn slots_waiting_for_runs(archive: &Archive, waste: &Waste) -> bool {
    let hold_offs = HoldOffs::of_commit(&archive.head);
    let now = archive.head.stamp.stamp;
    let mut waiting = waste.notes.slots.values().filter(|slot| !slot.is_gone);
    waiting.any(|slot| hold_offs.of(slot.since).left(slot.since, now).runs > 0)
}

/// State of a call of [`tidy`].
struct Tidying<'a, P: Parts> {
    world: &'a mut World<P>,
    archive: &'a mut Archive,
    pool: &'a mut Pool,
    waste: Waste,
    plan: Plan,
    now_kept_secs: u64,
    proof: Proof,
    /// Removed slots whose hold-off is over.
    slots: Vec<u8>,
    tidied: Tidied,
}

impl<'a, P: Parts> Tidying<'a, P> {
    fn begin(
        world: &'a mut World<P>,
        archive: &'a mut Archive,
        pool: &'a mut Pool,
    ) -> Result<Self, Failure> {
        let mut waste = Waste::of(&mut world.files, archive)?;
        let now_kept_secs = kept_now(&mut world.files, &mut world.clock, archive)?;
        if note_slots(archive, &mut waste) {
            waste.notes.write(&mut world.files, &archive.folder)?;
        }
        let plan = waste.plan(&mut world.files, &mut world.client, archive, now_kept_secs)?;
        let now = Stamp {
            run: archive.head.stamp.stamp.run,
            kept_secs: now_kept_secs,
        };
        let hold_offs = HoldOffs::of_commit(&archive.head);
        let may_delete = !is_recent(waste.notes.prune_refused_secs, now_kept_secs)
            && !is_recent(waste.notes.delete_refused_secs, now_kept_secs);
        let slots = waste.notes.slots.iter().filter(|(_, slot)| {
            let left = hold_offs.of(slot.since).left(slot.since, now);
            may_delete && !slot.is_gone && left.is_over()
        });
        let slots = slots.map(|(number, _)| *number).collect();
        Ok(Self {
            world,
            archive,
            pool,
            waste,
            plan,
            now_kept_secs,
            proof: Proof::default(),
            slots,
            tidied: Tidied::default(),
        })
    }

    fn plan_again(&mut self) -> Result<(), Failure> {
        let World { files, client, .. } = &mut *self.world;
        self.plan = self
            .waste
            .plan(files, client, self.archive, self.now_kept_secs)?;
        Ok(())
    }

    /// Reads back the objects that live on, if some pack waits for nothing else.
    fn prove(&mut self) -> Result<(), Failure> {
        let wanted = match self.waste.to_prove(&self.plan) {
            Some(wanted) => wanted,
            None if self.slots.is_empty() => return Ok(()),
            None => ToProve {
                packs: BTreeSet::new(),
                oldest_secs: self.archive.head.stamp.stamp.kept_secs,
            },
        };
        self.proof = prove(self.world, self.archive, &mut self.waste, &wanted)?;
        self.tidied.proof_bytes = self.proof.read_bytes;
        self.tidied.problems = self.proof.problems;
        if !self.proof.slots_are_sound {
            self.slots.clear();
        }
        self.plan_again()
    }

    /// Makes the commits that are due, and sends the DELETEs between them.
    fn act(&mut self) -> Result<(), Failure> {
        let revived = self.waste.to_revive(&self.plan);
        let mut going = std::mem::take(&mut self.plan.mark_going);
        let mut delete = std::mem::take(&mut self.plan.delete);
        let wants_delete = !(going.is_empty() && delete.is_empty() && self.slots.is_empty());
        let counts_run = commit_due(&self.plan, 0, &self.archive.head.stamp, self.now_kept_secs);
        let slots_wait = slots_waiting_for_runs(self.archive, &self.waste)
            && self.archive.head.stamp.next_counts(self.now_kept_secs);
        if !wants_delete && revived.is_empty() && counts_run.is_none() && !slots_wait {
            return Ok(());
        }
        let may_delete = wants_delete && self.connect_prune()?;
        if !may_delete {
            going.clear();
            delete.clear();
            self.slots.clear();
        }
        let mut changes = PackChanges::default();
        for number in &going {
            self.set_state(&mut changes, *number, |state| {
                state.given_up().map(PackState::Going)
            });
        }
        for number in &revived {
            self.set_state(&mut changes, *number, |_| Some(PackState::Live));
        }
        self.tidied.revived_packs = revived.len() as u64;
        if changes.is_empty() && delete.is_empty() && self.slots.is_empty() {
            if counts_run.is_some() || slots_wait {
                connect_to_push(self.world, self.archive)?;
                self.commit(PackChanges::default(), true)?;
                self.world.store.finish_push()?;
            }
            return Ok(());
        }
        connect_to_push(self.world, self.archive)?;
        self.delete_slots()?;
        changes.dropped = self.delete_packs(&delete)?;
        while !changes.is_empty() {
            if self.world.client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let part = changes.take_part(&self.archive.head);
            let is_going = |entry: &PackEntry| matches!(entry.state, PackState::Going(_));
            let marked = part.entries.iter().filter(|(_, entry)| is_going(entry));
            let marked: Vec<u64> = marked.map(|(number, _)| *number).collect();
            self.commit(part, changes.is_empty())?;
            let gone = self.delete_packs(&marked)?;
            changes.dropped.extend(gone);
            if self.is_refused() {
                changes.entries.retain(|_, entry| !is_going(entry));
            }
        }
        self.world.store.finish_push()?;
        if may_delete {
            self.world.store.finish_prune()?;
        }
        Ok(())
    }

    fn set_state(
        &self,
        changes: &mut PackChanges,
        number: u64,
        state: impl Fn(PackState) -> Option<PackState>,
    ) {
        if let Some(entry) = self.waste.packs.get(&number)
            && let Some(state) = state(entry.state)
        {
            let entry = PackEntry { state, ..*entry };
            changes.entries.insert(number, entry);
        }
    }

    /// Starts the far end that deletes; false if it is not allowed.
    fn connect_prune(&mut self) -> Result<bool, Failure> {
        match self.archive.connect(&mut self.world.store, Service::Prune) {
            Ok(()) => {
                self.waste.notes.prune_refused_secs = None;
                self.waste.notes.delete_refused_secs = None;
                Ok(true)
            }
            Err(failure) if is_refusal(&failure) => {
                self.waste.notes.prune_refused_secs = Some(self.now_kept_secs);
                self.write_notes()?;
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    fn is_refused(&self) -> bool {
        self.waste.notes.delete_refused_secs.is_some()
    }

    fn write_notes(&mut self) -> Result<(), Failure> {
        let World { files, .. } = &mut *self.world;
        self.waste.notes.write(files, &self.archive.folder)
    }

    /// Makes a commit with these changes, and with what an interrupted run left.
    fn commit(&mut self, packs: PackChanges, is_last: bool) -> Result<(), Failure> {
        let left = std::mem::take(&mut self.archive.uncommitted);
        let volumes = self.archive.volumes(&mut self.world.files)?;
        let begun = begun_volumes(self.archive, &volumes);
        let dropped_keys = if packs.dropped.is_empty() {
            BTreeSet::new()
        } else {
            self.unused_keys(&packs.dropped)?
        };
        let mut packer = Packer::after(self.archive, left.packs).use_reserve();
        let changes = Changes {
            begun,
            keys: left.keys,
            dropped_keys,
            packs,
            point: if is_last {
                CommitPoint::EndOfRun
            } else {
                CommitPoint::MidRun
            },
            ..Changes::default()
        };
        commit(self.world, self.archive, self.pool, &mut packer, changes)
    }

    /// Numbers of the keys under which no pack holds a record any more once these packs have no
    /// entry. Empty if the index does not know the records of every other pack.
    fn unused_keys(&mut self, dropped: &BTreeSet<u64>) -> Result<BTreeSet<u64>, Failure> {
        let mut used: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let index = &self.archive.cache.index;
        let mut visit = |_: &mut P::Files, _: Id, location: Location| {
            let keys = used.entry(location.pack).or_default();
            if let Stored::Chunk { key } = location.stored {
                keys.insert(key.into());
            }
            Ok(())
        };
        index.visit(&mut self.world.files, &mut visit)?;
        let mut stay = self
            .waste
            .packs
            .keys()
            .filter(|pack| !dropped.contains(pack));
        if stay.any(|pack| !used.contains_key(pack)) {
            return Ok(BTreeSet::new());
        }
        used.retain(|pack, _| !dropped.contains(pack));
        let end = self.archive.head.next_pack();
        used.retain(|pack, _| *pack >= end || self.waste.packs.contains_key(pack));
        let present = index.keys().present.iter().map(|key| u64::from(*key));
        Ok(keys_to_drop(&present.collect(), &used))
    }

    /// Deletes packs that the head marks as going; returns the packs that are gone. After a
    /// refusal, no further DELETE is sent.
    fn delete_packs(&mut self, numbers: &[u64]) -> Result<BTreeSet<u64>, Failure> {
        let mut gone = BTreeSet::new();
        if numbers.is_empty() || self.is_refused() {
            return Ok(gone);
        }
        let guard = Guard::of(&mut self.world.files, self.archive)?;
        for some in numbers.chunks(DELETES_AHEAD) {
            let packs: Vec<(u64, PackEntry)> = some
                .iter()
                .filter_map(|number| Some((*number, *self.waste.packs.get(number)?)))
                .collect();
            for (_, entry) in &packs {
                let doomed = guard.check(Candidate::Pack(entry.name))?;
                self.world.store.delete(doomed)?;
            }
            for (number, entry) in packs {
                if self.answer()? {
                    gone.insert(number);
                    self.tidied.deleted_packs = self.tidied.deleted_packs.saturating_add(1);
                    let length = u64::from(entry.length_bytes);
                    self.tidied.deleted_bytes = self.tidied.deleted_bytes.saturating_add(length);
                }
            }
            if self.is_refused() || self.world.client.cancelled() {
                break;
            }
        }
        Ok(gone)
    }

    /// Takes the answer to the oldest DELETE: true if the blob is gone. A refusal is noted.
    fn answer(&mut self) -> Result<bool, Failure> {
        match self.world.store.deleted()? {
            Deleted::Gone | Deleted::Absent => Ok(true),
            Deleted::Refused => {
                if !self.is_refused() {
                    self.waste.notes.delete_refused_secs = Some(self.now_kept_secs);
                    self.write_notes()?;
                }
                Ok(false)
            }
        }
    }

    fn delete_slots(&mut self) -> Result<(), Failure> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let guard = Guard::of(&mut self.world.files, self.archive)?;
        for number in std::mem::take(&mut self.slots) {
            let doomed = guard.check(Candidate::Slot(number))?;
            self.world.store.delete(doomed)?;
            if !self.answer()? {
                break;
            }
            if let Some(slot) = self.waste.notes.slots.get_mut(&number) {
                slot.is_gone = true;
            }
            self.tidied.deleted_slots = self.tidied.deleted_slots.saturating_add(1);
        }
        self.write_notes()
    }

    /// Returns the packs that wait, and drops notes that are not needed any more.
    fn finish(self) -> Result<Tidied, Failure> {
        let Self {
            world,
            archive,
            waste,
            mut tidied,
            ..
        } = self;
        let mut waste = waste.follow(&mut world.files, archive)?;
        let now = kept_now(&mut world.files, &mut world.clock, archive)?;
        let plan = waste.plan(&mut world.files, &mut world.client, archive, now)?;
        tidied.waits = waits(&plan, waste.table());
        tidied.waiting_bytes = waiting_bytes(&tidied.waits);
        forget(&mut waste);
        waste.notes.write(&mut world.files, &archive.folder)?;
        Ok(tidied)
    }
}

/// The length of all packs that wait, bytes.
pub(crate) fn waiting_bytes(waits: &[Waits]) -> u64 {
    let bytes = waits.iter().map(|waits| waits.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// Drops readings that no proof needs any more: readings of packs without an entry, and of commits
/// older than the oldest one that gave up a pack with an entry.
fn forget(waste: &mut Waste) {
    let Waste { packs, notes, .. } = waste;
    notes
        .read_packs
        .retain(|number, _| packs.contains_key(number));
    let given_up = packs.values().filter_map(|entry| entry.state.given_up());
    let oldest = given_up.map(|given_up| given_up.at.kept_secs).min();
    notes
        .read_commits
        .retain(|(_, kept_secs), _| oldest.is_some_and(|oldest| *kept_secs >= oldest));
}
