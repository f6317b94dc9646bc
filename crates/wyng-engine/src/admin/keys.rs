// SPDX-License-Identifier: GPL-3.0-or-later
//! Slots added, changed and removed. Nothing is encrypted again: a slot only holds ROOT, and the
//! commit says which slots count.
//!
//! A number is used for one slot ever. A slot goes to the store before the commit that lists it, so
//! a crash leaves at most a slot that no commit lists, which opens nothing here.

use std::collections::BTreeSet;

use wyng_archive::crypto::{Password, RecoveryKey, Root, SlotParams, slot_name};
use wyng_archive::format::{SLOTS_MAX, Slot, SlotClear, SlotKind, SlotLabel, SlotRef};
use wyng_control::{Asked, Failure, KeySlot, ToClient};
use wyng_wire::Service;

use crate::archive::{
    Archive, SlotPlan, SlotTrial, Unlocked, listed, new_slot, slot_params, slot_ref,
};
use crate::pool::Pool;
use crate::store::{commit_change, put_blob, settle_pending};
use crate::world::{Client, Clock, Files, Kept, Parts, Random, Secrets, Store, World};

/// So many numbers that something in the store has taken are passed over by one command: a store
/// could use up all 256.
const TAKEN_MAX: usize = 4;

/// What the new slot is to be like; what is not said is as with the slot that opened.
#[derive(Debug, Clone, Default)]
pub struct NewSlot {
    /// Argon2's memory, KiB.
    pub memory_kib: Option<u32>,
    /// Argon2's passes.
    pub passes: Option<u32>,
    /// What a person calls it. Without it an added slot has none, and a changed one keeps its own.
    pub label: Option<SlotLabel>,
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
pub fn add<P: Parts>(
    world: &mut World<P>,
    name: &str,
    kind: SlotKind,
    wish: &NewSlot,
) -> Result<(), Failure> {
    edit(world, name, &Change::Add(kind), wish)
}

/// Puts a new passphrase into the place of the one that opens the archive: behind it that one opens
/// no slot any more.
pub fn change<P: Parts>(world: &mut World<P>, name: &str, wish: &NewSlot) -> Result<(), Failure> {
    edit(world, name, &Change::Replace, wish)
}

/// Removes a slot. The passphrase that is asked for must open another one, so that the archive
/// stays open to somebody.
pub fn remove<P: Parts>(world: &mut World<P>, name: &str, number: u8) -> Result<(), Failure> {
    edit(world, name, &Change::Remove(number), &NewSlot::default())
}

/// The slots that the head lists.
pub fn list<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let slots = archive.live_slots(&mut world.files)?;
    report_slots(&mut world.client, &archive, &slots, None)
}

/// Tells of slots what the head says of them; `opens` is the one whose passphrase was given to this
/// command.
pub fn report_slots(
    client: &mut impl Client,
    archive: &Archive,
    slots: &[Slot],
    opens: Option<u8>,
) -> Result<(), Failure> {
    for slot in slots {
        let Some(SlotRef {
            number,
            time,
            label,
            ..
        }) = listed(&archive.head, slot)
        else {
            continue;
        };
        let clear = slot.clear();
        let opened = archive.ledger.opened.filter(|(opened, _)| opened == number);
        client.tell(ToClient::KeySlot(KeySlot {
            number: *number,
            recovery_key: clear.kind == SlotKind::RecoveryKey,
            memory_kib: clear.memory_kib,
            passes: clear.passes,
            made_time: *time,
            label: label.as_str().to_owned(),
            opens: opens == Some(*number),
            opened_time: opened.map_or(0, |(_, time)| time),
        }))?;
    }
    Ok(())
}

/// Unlocks, makes the new slot if there is to be one, and commits the changed list.
fn edit<P: Parts>(
    world: &mut World<P>,
    name: &str,
    change: &Change,
    wish: &NewSlot,
) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    archive.may_write()?;
    if archive.ledger.pending().is_some() {
        // It may list slots of a cut command: they count before a passphrase is asked for.
        archive.connect(&mut world.store, Service::Push)?;
        settle_pending(&mut world.files, &mut world.store, &mut archive)?;
        world.store.finish_push()?;
    }
    tidy_slots(&mut world.files, &archive)?;
    let slots = archive.live_slots(&mut world.files)?;
    if let Change::Remove(number) = change
        && slots.iter().all(|slot| slot.clear().number != *number)
    {
        return Err(bad_slot("no such slot; see `wyng-ctl key list`"));
    }
    let unlocked = archive.unlock_root(world, &slots)?;
    let dropped = dropped(&mut world.client, change, &slots, &unlocked)?;
    let mut kept: Vec<Slot> = slots
        .iter()
        .filter(|slot| !dropped.contains(&slot.clear().number))
        .cloned()
        .collect();
    let new = match change {
        Change::Add(kind) => Some(*kind),
        Change::Replace => Some(SlotKind::Passphrase),
        Change::Remove(_) => None,
    };
    if new.is_some() && kept.len() >= SLOTS_MAX {
        return Err(bad_slot("there are eight already: remove one first"));
    }
    let new = match new {
        Some(kind) => Some(Making {
            root: &unlocked.root,
            kind,
            params: params(&unlocked.slot, wish)?,
            password: new_password(world, kind, &slots)?,
            label: label_of(&archive, change, &unlocked, wish),
        }),
        None => None,
    };
    archive.connect(&mut world.store, Service::Push)?;
    let mut next_slot = archive.head.next_slot;
    let mut listing = archive.head.slots.clone();
    listing.retain(|slot| !dropped.contains(&slot.number));
    if let Some(new) = &new {
        let slot = put_slot(world, &archive, new, &mut next_slot)?;
        listing.push(slot_ref(&slot, world.clock.wall_secs(), new.label.clone()));
        kept.push(slot);
    }
    commit_change(world, &mut archive, &mut Pool::new(0, 0)?, |state| {
        (state.slots, state.next_slot) = (listing, next_slot)
    })?;
    tidy_slots(&mut world.files, &archive)?;
    world.store.finish_push()?;
    report_slots(
        &mut world.client,
        &archive,
        &kept,
        Some(unlocked.slot.number),
    )
}

/// Drops this machine's copies of slots that were removed. Those that no commit has listed yet
/// stay: their numbers are used up.
fn tidy_slots(files: &mut impl Files, archive: &Archive) -> Result<(), Failure> {
    let all = archive.folder.read_slots(files)?;
    let stays = |slot: &&Slot| {
        u16::from(slot.clear().number) >= archive.head.next_slot
            || listed(&archive.head, slot).is_some()
    };
    let kept: Vec<Slot> = all.iter().filter(stays).cloned().collect();
    if kept == all {
        Ok(())
    } else {
        archive.folder.write_slots(files, &kept)
    }
}

/// The slots that go. A passphrase that is changed goes wherever it opens: it could be valid in a
/// second slot, and stay so in silence.
fn dropped(
    client: &mut impl Client,
    change: &Change,
    slots: &[Slot],
    unlocked: &Unlocked,
) -> Result<BTreeSet<u8>, Failure> {
    let opened = unlocked.slot.number;
    match *change {
        Change::Add(_) => Ok(BTreeSet::new()),
        Change::Remove(number) if number == opened => Err(Failure::SlotInUse { slot: number }),
        Change::Remove(number) => Ok([number].into()),
        Change::Replace => {
            let mut trial = SlotTrial::new(
                slots
                    .iter()
                    .filter(|slot| slot.clear().number != opened)
                    .cloned(),
            );
            let mut numbers = BTreeSet::from([opened]);
            while let Some((_, slot)) = trial.next(client, &unlocked.password)? {
                numbers.insert(slot.clear().number);
            }
            Ok(numbers)
        }
    }
}

fn label_of(archive: &Archive, change: &Change, unlocked: &Unlocked, wish: &NewSlot) -> SlotLabel {
    let replaced = archive
        .head
        .slots
        .iter()
        .find(|slot| matches!(change, Change::Replace) && slot.number == unlocked.slot.number);
    wish.label
        .clone()
        .or_else(|| replaced.map(|slot| slot.label.clone()))
        .unwrap_or_default()
}

/// A passphrase that opens no slot yet, or a recovery key.
fn new_password<P: Parts>(
    world: &mut World<P>,
    kind: SlotKind,
    slots: &[Slot],
) -> Result<Password, Failure> {
    match kind {
        SlotKind::Passphrase => {
            let password = Password::new(world.secrets.passphrase(Asked::New)?)
                .ok_or(Failure::NoPassphrase)?;
            match SlotTrial::new(slots.iter().cloned()).next(&mut world.client, &password)? {
                Some((_, slot)) => Err(Failure::PassphraseTaken {
                    slot: slot.clear().number,
                }),
                None => Ok(password),
            }
        }
        SlotKind::RecoveryKey => {
            let key = RecoveryKey::new(&mut world.random.draw()?);
            world.secrets.show_secret(key.printed().as_bytes())?;
            Password::new(zeroize::Zeroizing::new(key.chars().to_vec()))
                .ok_or(Failure::NoPassphrase)
        }
    }
}

/// What a slot is made of.
struct Making<'a> {
    root: &'a Root,
    kind: SlotKind,
    params: SlotParams,
    password: Password,
    label: SlotLabel,
}

/// Puts ROOT into the store in a slot of the next free number. Its bytes are kept here first: a
/// number that a cut command of this machine has used up is known by them, and passed over. Of
/// numbers that somebody else has taken only a few are.
fn put_slot<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    new: &Making<'_>,
    next_slot: &mut u16,
) -> Result<Slot, Failure> {
    let mut all = archive.folder.read_slots(&mut world.files)?;
    let own: BTreeSet<u8> = all.iter().map(|slot| slot.clear().number).collect();
    for _ in 0..=TAKEN_MAX {
        let mut number = take_number(next_slot)?;
        while own.contains(&number) {
            number = take_number(next_slot)?;
        }
        let slot = new_slot(
            &mut world.random,
            SlotPlan {
                archive: archive.folder.id(),
                number,
                kind: new.kind,
                params: new.params,
            },
            new.root,
            &new.password,
        )?;
        // Whichever commit a crash leaves as the head finds its slots here.
        all.push(slot.clone());
        archive.folder.write_slots(&mut world.files, &all)?;
        match put_blob(&mut world.store, slot_name(number), &slot.encode())? {
            Kept::New | Kept::Same => return Ok(slot),
            Kept::Different | Kept::Unknown => {}
        }
    }
    Err(Failure::SlotNamesTaken)
}

fn take_number(next_slot: &mut u16) -> Result<u8, Failure> {
    let number = u8::try_from(*next_slot)
        .map_err(|_| bad_slot("all 256 numbers of this archive are used up"))?;
    *next_slot = next_slot.saturating_add(1);
    Ok(number)
}

fn params(opened: &SlotClear, wish: &NewSlot) -> Result<SlotParams, Failure> {
    slot_params(
        wish.memory_kib.unwrap_or(opened.memory_kib),
        wish.passes.unwrap_or(opened.passes),
    )
}

fn bad_slot(allowed: &str) -> Failure {
    Failure::BadSetting {
        setting: "the slot".into(),
        allowed: allowed.into(),
    }
}
