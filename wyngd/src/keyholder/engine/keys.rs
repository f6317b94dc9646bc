// SPDX-License-Identifier: GPL-3.0-or-later
//! Slots added, changed and removed. Nothing is encrypted again: a slot only holds ROOT, and the commit says which slots count.
//!
//! A number is used for one slot ever. A slot goes to the store before the commit that lists it, so a crash leaves at most a slot that
//! no commit lists, which opens nothing here.

use wyng_archive::crypto::{ArchiveId, NonceSeed, Password, RecoveryKey, Root, SlotError, SlotParams, seal_slot, slot_name};
use wyng_archive::format::{SLOTS_MAX, Slot, SlotClear, SlotKind, SlotLabel, SlotRef};
use wyng_control::{Failure, KeySlot, ToClient};
use wyng_wire::Service;

use super::archive::{Archive, internal};
use super::commit::{commit_change, seconds, settle_pending};
use super::pool::Pool;
use super::put::{Kept, put_blob};
use crate::keyholder::world::World;

/// How costly a guess at the new passphrase is; what is not said is as with the slot that opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Argon2's memory, KiB.
    pub memory_kib: Option<u32>,
    /// Argon2's passes.
    pub passes: Option<u32>,
}

/// What is to become of the slots.
enum Change {
    /// One more.
    Add(SlotKind),
    /// Another passphrase in the place of the one that opens the archive.
    Replace,
    /// One less.
    Remove(u8),
}

/// Adds a passphrase, or a recovery key that is drawn and shown once.
pub fn add<W: World>(world: &mut W, name: &str, kind: SlotKind, cost: Cost) -> Result<(), Failure> {
    edit(world, name, &Change::Add(kind), cost)
}

/// Puts a new passphrase into the place of the one that opens the archive.
pub fn change<W: World>(world: &mut W, name: &str, cost: Cost) -> Result<(), Failure> {
    edit(world, name, &Change::Replace, cost)
}

/// Removes a slot. The passphrase that is asked for must open another one, so that the archive stays open to somebody.
pub fn remove<W: World>(world: &mut W, name: &str, number: u8) -> Result<(), Failure> {
    edit(world, name, &Change::Remove(number), Cost::default())
}

/// The slots that the head lists.
pub fn list<W: World>(world: &mut W, name: &str) -> Result<(), Failure> {
    let archive = Archive::open(world, name)?;
    let slots = archive.live_slots(world)?;
    tell_slots(world, &slots)
}

fn tell_slots<W: World>(world: &mut W, slots: &[Slot]) -> Result<(), Failure> {
    slots.iter().try_for_each(|slot| {
        let clear = slot.clear();
        let recovery_key = clear.kind == SlotKind::RecoveryKey;
        world.tell(ToClient::KeySlot(KeySlot { number: clear.number, recovery_key, memory_kib: clear.memory_kib, passes: clear.passes }))
    })
}

/// Unlocks, makes the new slot if there is to be one, and commits the changed list.
fn edit<W: World>(world: &mut W, name: &str, change: &Change, cost: Cost) -> Result<(), Failure> {
    let mut archive = Archive::open(world, name)?;
    archive.may_write()?;
    let mut kept = archive.live_slots(world)?;
    if let Change::Remove(number) = change
        && kept.iter().all(|slot| slot.clear().number != *number)
    {
        return Err(bad_slot("no such slot; see `wyng-ctl key list`"));
    }
    let (root, opened) = archive.unlock_root(world, &kept)?;
    let (new, dropped) = match *change {
        Change::Add(kind) => (Some(kind), None),
        Change::Replace => (Some(SlotKind::Passphrase), Some(opened.number)),
        Change::Remove(number) if number == opened.number => {
            return Err(bad_slot("this passphrase is the slot's own: give one that stays"));
        }
        Change::Remove(number) => (None, Some(number)),
    };
    kept.retain(|slot| Some(slot.clear().number) != dropped);
    if new.is_some() && kept.len() >= SLOTS_MAX {
        return Err(bad_slot("there are eight already: remove one first"));
    }
    let new = match new {
        Some(kind) => Some((kind, params(&opened, cost)?, new_password(world, kind)?)),
        None => None,
    };
    world.connect(Service::Push, &archive.toml.via, &archive.toml.store, false)?;
    settle_pending(world, &mut archive)?;
    let mut next_slot = archive.head.next_slot;
    if let Some((kind, params, password)) = new {
        kept.push(put_slot(world, &archive, &root, kind, params, &password, &mut next_slot)?);
        // With the new one and the old ones: whichever commit a crash leaves as the head finds its slots here.
        let mut all = archive.folder.read_slots(world)?;
        all.extend(kept.last().cloned());
        archive.folder.write_slots(world, &all)?;
    }
    let made = seconds(world.wall_nanos());
    let listed = |slot: &Slot| archive.head.slots.iter().find(|listed| listed.number == slot.clear().number).cloned();
    let slots = kept.iter().map(|slot| listed(slot).unwrap_or_else(|| slot_ref(slot, made))).collect();
    commit_change(world, &mut archive, &mut Pool::new(0, 0)?, |state| (state.slots, state.next_slot) = (slots, next_slot))?;
    archive.folder.write_slots(world, &kept)?;
    world.finish_push()?;
    tell_slots(world, &kept)
}

fn new_password<W: World>(world: &mut W, kind: SlotKind) -> Result<Password, Failure> {
    let bytes = match kind {
        SlotKind::Passphrase => world.passphrase(true)?,
        SlotKind::RecoveryKey => {
            let key = RecoveryKey::new(&mut world.draw()?);
            world.show_secret(key.printed().as_bytes())?;
            zeroize::Zeroizing::new(key.chars().to_vec())
        }
    };
    Password::new(bytes).ok_or(Failure::NoPassphrase)
}

/// Puts ROOT into the store in a slot of the next free number. A number that a crash has used up is passed over.
fn put_slot<W: World>(
    world: &mut W,
    archive: &Archive,
    root: &Root,
    kind: SlotKind,
    params: SlotParams,
    password: &Password,
    next_slot: &mut u16,
) -> Result<Slot, Failure> {
    loop {
        let number = u8::try_from(*next_slot).map_err(|_| bad_slot("all 256 numbers of this archive are used up"))?;
        *next_slot = next_slot.saturating_add(1);
        let slot = new_slot(world, archive.folder.id(), root, number, kind, params, password)?;
        match put_blob(world, slot_name(number), &slot.encode())? {
            Kept::New | Kept::Same => return Ok(slot),
            Kept::Different | Kept::Unknown => {}
        }
    }
}

/// Seals ROOT under a password.
pub fn new_slot<W: World>(
    world: &mut W,
    archive: ArchiveId,
    root: &Root,
    number: u8,
    kind: SlotKind,
    params: SlotParams,
    password: &Password,
) -> Result<Slot, Failure> {
    let (memory_kib, passes, salt) = (params.memory_kib(), params.passes(), world.draw()?);
    let clear = SlotClear { number, kind, archive, memory_kib, passes, salt };
    seal_slot(root, clear, password, NonceSeed(world.draw()?)).map_err(|error| match error {
        SlotError::Memory => Failure::OutOfMemory,
        error => internal(&error.to_string()),
    })
}

/// How a commit lists a slot that was made at `time`.
pub fn slot_ref(slot: &Slot, time: i64) -> SlotRef {
    let hash = *blake3::hash(&slot.encode()).as_bytes();
    SlotRef { number: slot.clear().number, time, hash, label: SlotLabel::default() }
}

/// What a guess at a passphrase is to cost.
pub fn slot_params(memory_kib: u32, passes: u32) -> Result<SlotParams, Failure> {
    SlotParams::new(memory_kib, passes).ok_or_else(|| Failure::BadSetting {
        setting: "the cost of the passphrase".into(),
        allowed: "64 MiB to 1 GiB of memory, 3 to 16 passes".into(),
    })
}

fn params(opened: &SlotClear, cost: Cost) -> Result<SlotParams, Failure> {
    slot_params(cost.memory_kib.unwrap_or(opened.memory_kib), cost.passes.unwrap_or(opened.passes))
}

fn bad_slot(allowed: &str) -> Failure {
    Failure::BadSetting { setting: "the slot".into(), allowed: allowed.into() }
}
