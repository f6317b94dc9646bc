// SPDX-License-Identifier: GPL-3.0-or-later
//! Adding, changing and removing key slots. Nothing is encrypted again: a slot only holds ROOT, and
//! the commit says which slots count.
//!
//! A number is used for one slot only, ever. A slot goes to the store before the commit that lists
//! it, so a crash leaves at most a slot that no commit lists, which opens nothing here.

use std::collections::BTreeSet;

use wyng_archive::crypto::{Password, RecoveryKey, Root, SlotParams, slot_name};
use wyng_archive::format::{SLOTS_MAX, Slot, SlotClear, SlotKind, SlotLabel, SlotRef};
use wyng_control::{Asked, Failure, KeySlot, ToClient};

use crate::archive::{
    Archive, SlotPlan, SlotTrial, Unlocked, listed, new_slot, slot_hash, slot_params, slot_ref,
};
use crate::locking::connect_to_push;
use crate::pool::Pool;
use crate::store::{commit_change, put_blob, settle_pending};
use crate::world::{Client, Clock, Files, Kept, Parts, Random, Secrets, Store, World};

/// Maximum number of slot names taken by somebody else that one command passes over: otherwise a
/// store could use up all 256.
const TAKEN_MAX: usize = 4;

/// What the new slot is to be like; a setting that is absent is taken from the slot that opened the
/// archive.
#[derive(Debug, Clone, Default)]
pub struct NewSlot {
    /// Argon2's memory, KiB.
    pub memory_kib: Option<u32>,
    /// Number of Argon2's passes.
    pub passes: Option<u32>,
    /// What a person calls it. If absent, an added slot has no label and a changed slot keeps its
    /// own.
    pub label: Option<SlotLabel>,
}

/// How the slots are to change.
enum Change {
    /// A slot is added.
    Add(SlotKind),
    /// A new passphrase replaces the one that opens the archive.
    Replace,
    /// The slot with this number is removed.
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

/// Replaces the passphrase that opens the archive: afterwards the old one opens no slot.
pub fn change<P: Parts>(world: &mut World<P>, name: &str, wish: &NewSlot) -> Result<(), Failure> {
    edit(world, name, &Change::Replace, wish)
}

/// Removes a slot. The passphrase that is asked for must open another slot, so that somebody can
/// still open the archive.
pub fn remove<P: Parts>(world: &mut World<P>, name: &str, number: u8) -> Result<(), Failure> {
    edit(world, name, &Change::Remove(number), &NewSlot::default())
}

/// Reports the slots that the head lists.
pub fn list<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let slots = archive.live_slots(&mut world.files)?;
    report_slots(&mut world.client, &archive, &slots, None)
}

/// Reports slots as the head lists them, also those of a kind that this version cannot open, of
/// which it keeps no copy; `opens` is the number of the slot whose passphrase was given to this
/// command.
pub fn report_slots(
    client: &mut impl Client,
    archive: &Archive,
    slots: &[Slot],
    opens: Option<u8>,
) -> Result<(), Failure> {
    for SlotRef {
        number,
        time,
        kind,
        hash,
        label,
    } in &archive.head.slots
    {
        let copy = slots
            .iter()
            .find(|slot| slot.clear().number == *number && slot_hash(slot) == *hash);
        if copy.is_none() && kind.can_open() {
            continue;
        }
        let opened = archive.ledger.opened.filter(|(opened, _)| opened == number);
        client.tell(ToClient::KeySlot(KeySlot {
            number: *number,
            kind: match kind {
                SlotKind::Passphrase => wyng_control::SlotKind::Passphrase,
                SlotKind::RecoveryKey => wyng_control::SlotKind::RecoveryKey,
                SlotKind::Token => wyng_control::SlotKind::Token,
            },
            memory_kib: copy.map_or(0, |slot| slot.clear().memory_kib),
            passes: copy.map_or(0, |slot| slot.clear().passes),
            made_time: *time,
            label: label.as_str().to_owned(),
            opens: opens == Some(*number),
            opened_time: opened.map_or(0, |(_, time)| time),
        }))?;
    }
    Ok(())
}

/// Unlocks, makes the new slot, if any, and commits the changed list.
fn edit<P: Parts>(
    world: &mut World<P>,
    name: &str,
    change: &Change,
    wish: &NewSlot,
) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    archive.may_write()?;
    if archive.ledger.pending().is_some() {
        // The pending commit may list slots of a cut command: they must count before a passphrase
        // is asked for.
        connect_to_push(world, &mut archive)?;
        settle_pending(&mut world.files, &mut world.store, &mut archive)?;
        world.store.finish_push()?;
    }
    tidy_slots(&mut world.files, &archive)?;
    let slots = archive.live_slots(&mut world.files)?;
    if let Change::Remove(number) = change
        && archive.head.slots.iter().all(|slot| slot.number != *number)
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
    let mut listing = archive.head.slots.clone();
    listing.retain(|slot| !dropped.contains(&slot.number));
    if new.is_some() && listing.len() >= SLOTS_MAX {
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
    connect_to_push(world, &mut archive)?;
    let mut next_slot = archive.head.next_slot;
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

/// Drops this machine's copies of slots that were removed. Slots that no commit has listed yet
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

/// The numbers of the slots to be dropped. A passphrase that is changed is dropped from every slot
/// that it opens: otherwise it could silently stay valid in a second one.
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

/// Asks for a passphrase that opens no slot yet, or draws a recovery key and shows it.
fn new_password<P: Parts>(
    world: &mut World<P>,
    kind: SlotKind,
    slots: &[Slot],
) -> Result<Password, Failure> {
    match kind {
        SlotKind::Token => Err(bad_slot("a passphrase or a recovery key")),
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

/// Puts ROOT into the store in a slot with the next free number. The bytes are kept here first:
/// they show which numbers a cut command of this machine has used up, and these are passed over. At
/// most [`TAKEN_MAX`] numbers that somebody else has taken are passed over too.
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
        // Whichever commit is the head after a crash, its slots are here.
        all.push(slot.clone());
        archive.folder.write_slots(&mut world.files, &all)?;
        match put_blob(&mut world.store, slot_name(number), &slot.encode())? {
            Kept::New | Kept::Same => return Ok(slot),
            Kept::Different | Kept::Unknown | Kept::Signed => {}
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
