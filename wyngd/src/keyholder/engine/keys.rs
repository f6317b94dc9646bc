// SPDX-License-Identifier: GPL-3.0-or-later
//! Slots added, changed and removed. Nothing is encrypted again: a slot only holds ROOT, and the commit says which slots count.
//!
//! A number is used for one slot ever. A slot goes to the store before the commit that lists it, so a crash leaves at most a slot that
//! no commit lists, which opens nothing here.

use wyng_archive::crypto::{NonceSeed, Password, RecoveryKey, Root, SlotError, SlotParams, seal_slot, slot_name};
use wyng_archive::format::{Commit, SLOT_BYTES, SLOTS_MAX, Slot, SlotClear, SlotKind, SlotRef};
use wyng_control::{Failure, KeySlot, ToClient};
use wyng_wire::Service;

use super::archive::{Archive, internal};
use super::commit::{commit, finish, settle_pending};
use super::packer::Packer;
use super::pool::Pool;
use crate::keyholder::world::{PutAnswer, World};

/// How costly a guess at the new passphrase is; what is not said is as with the slot that opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Argon2's memory, KiB.
    pub memory_kib: Option<u32>,
    /// Argon2's passes.
    pub passes: Option<u32>,
}

/// Adds a passphrase, or a recovery key that is drawn and shown once.
pub fn add<W: World>(world: &mut W, name: &str, kind: SlotKind, cost: Cost) -> Result<(), Failure> {
    edit(world, name, cost, Some(kind), |_, _| false)
}

/// Puts a new passphrase into the place of the one that opens the archive.
pub fn change<W: World>(world: &mut W, name: &str, cost: Cost) -> Result<(), Failure> {
    edit(world, name, cost, Some(SlotKind::Passphrase), |slot, opened| slot == opened)
}

/// Removes a slot. The passphrase that is asked for must open another one, so that the archive stays open to somebody.
pub fn remove<W: World>(world: &mut W, name: &str, number: u8) -> Result<(), Failure> {
    let archive = Archive::open(world, name)?;
    if archive.head.slots.iter().all(|slot| slot.number != number) {
        return Err(bad_slot("no such slot; see `wyng-ctl key list`"));
    }
    edit(world, name, Cost::default(), None, |slot, _| slot == number)
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

/// Unlocks, makes the new slot if there is to be one, and commits the list without those that `drops` names by (number, the one that opened).
fn edit<W: World>(world: &mut W, name: &str, cost: Cost, new: Option<SlotKind>, drops: impl Fn(u8, u8) -> bool) -> Result<(), Failure> {
    let mut archive = Archive::open(world, name)?;
    archive.may_write()?;
    let slots = archive.live_slots(world)?;
    let (root, opened) = archive.unlock_root(world, &slots)?;
    let mut kept: Vec<Slot> = slots.into_iter().filter(|slot| !drops(slot.clear().number, opened.number)).collect();
    if new.is_none() && kept.iter().all(|slot| slot.clear().number != opened.number) {
        return Err(bad_slot("this passphrase is the slot's own: give one that stays"));
    }
    if kept.len() >= SLOTS_MAX {
        return Err(bad_slot("there are eight already: remove one first"));
    }
    let password = new.map(|kind| new_password(world, kind).map(|password| (kind, password))).transpose()?;
    world.connect(Service::Push, &archive.toml.via, &archive.toml.store, false)?;
    settle_pending(world, &mut archive)?;
    let mut pool = Pool::new(0, 0)?;
    commit_left_overs(world, &mut archive, &mut pool)?;
    let mut next_slot = archive.head.next_slot;
    if let Some((kind, password)) = password {
        let slot = put_slot(world, &archive, &root, kind, &password, &opened, cost, &mut next_slot)?;
        kept.push(slot);
        // With the new one and the old ones: whichever commit a crash leaves as the head finds its slots here.
        let mut all = archive.folder.read_slots(world)?;
        all.extend(kept.last().cloned());
        archive.folder.write_slots(world, &all)?;
    }
    let listed = kept.iter().map(|slot| SlotRef { number: slot.clear().number, hash: *blake3::hash(&slot.encode()).as_bytes() }).collect();
    let head = archive.head.clone();
    finish(world, &mut archive, &mut pool, Commit { slots: listed, next_slot, ..head })?;
    archive.folder.write_slots(world, &kept)?;
    world.finish_push()?;
    tell_slots(world, &kept)
}

fn new_password<W: World>(world: &mut W, kind: SlotKind) -> Result<Password, Failure> {
    let bytes = match kind {
        SlotKind::Passphrase => world.passphrase(true)?,
        SlotKind::RecoveryKey => {
            let mut random = [0; 20];
            world.random(&mut random)?;
            let key = RecoveryKey::new(&mut random);
            world.show_secret(key.printed().as_bytes())?;
            zeroize::Zeroizing::new(key.chars().to_vec())
        }
    };
    Password::new(bytes).ok_or(Failure::NoPassphrase)
}

/// What a cut run left becomes part of the archive first: the next commit would forget it otherwise.
fn commit_left_overs<W: World>(world: &mut W, archive: &mut Archive, pool: &mut Pool) -> Result<(), Failure> {
    let left = std::mem::take(&mut archive.uncommitted);
    if left.packs.is_empty() && left.keys.is_empty() {
        return Ok(());
    }
    let next = left.packs.last().map_or(archive.head.next_pack(), |(number, _)| number.saturating_add(1));
    let mut packer = Packer::new(archive.head.settings.pack_size_bytes, next, left.packs);
    commit(world, archive, pool, &mut packer, &left.keys, Vec::new(), false)
}

/// Seals ROOT under the next free number and puts it into the store. A number that a crash has used up is passed over.
#[allow(clippy::too_many_arguments)] // the parts of one slot
fn put_slot<W: World>(
    world: &mut W,
    archive: &Archive,
    root: &Root,
    kind: SlotKind,
    password: &Password,
    opened: &SlotClear,
    cost: Cost,
    next_slot: &mut u16,
) -> Result<Slot, Failure> {
    let (memory_kib, passes) = (cost.memory_kib.unwrap_or(opened.memory_kib), cost.passes.unwrap_or(opened.passes));
    SlotParams::new(memory_kib, passes).ok_or_else(|| Failure::BadSetting {
        setting: "the cost of the passphrase".into(),
        allowed: "64 MiB to 1 GiB of memory, 3 to 16 passes".into(),
    })?;
    loop {
        let number = u8::try_from(*next_slot).map_err(|_| bad_slot("all 256 numbers of this archive are used up"))?;
        *next_slot = next_slot.saturating_add(1);
        let (mut salt, mut seed) = ([0; 32], NonceSeed([0; 24]));
        world.random(&mut salt)?;
        world.random(&mut seed.0)?;
        let clear = SlotClear { number, kind, archive: archive.folder.id(), memory_kib, passes, salt };
        let slot = seal_slot(root, clear, password, seed).map_err(|error| match error {
            SlotError::Memory => Failure::OutOfMemory,
            error => internal(&error.to_string()),
        })?;
        let mut buffer = world.buffer(SLOT_BYTES)?;
        buffer.as_mut().iter_mut().zip(slot.encode()).for_each(|(to, from)| *to = from);
        let put = world.put(slot_name(number), buffer, SLOT_BYTES, true)?;
        let receipt = world.receipt(true)?.filter(|receipt| receipt.number == put).ok_or(Failure::FarEndProtocol)?;
        match receipt.answer {
            PutAnswer::Stored | PutAnswer::ExistsSame => return Ok(slot),
            PutAnswer::ExistsDifferent | PutAnswer::ExistsUnknown => {}
            PutAnswer::Full => return Err(Failure::StoreFull),
            PutAnswer::Refused => return Err(Failure::StoreDenied),
            PutAnswer::Failed => return Err(Failure::StoreFailed),
        }
    }
}

fn bad_slot(allowed: &str) -> Failure {
    Failure::BadSetting { setting: "the slot".into(), allowed: allowed.into() }
}
