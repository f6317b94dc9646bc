// SPDX-License-Identifier: GPL-3.0-or-later
//! Which slot a passphrase opens. That a slot exists says nothing: anybody who can write to the
//! store can make a slot under each of the 256 names, and a removed slot stays for a while. Live
//! are the slots that the newest commit lists.

use wyng_archive::crypto::{
    ArchiveId, NonceSeed, Password, Root, SlotError, SlotParams, cheapest_first, open_slot,
    seal_slot, slot_name,
};
use wyng_archive::format::{SLOT_BYTES, Slot, SlotClear, SlotKind, SlotLabel, SlotRef};
use wyng_archive::{Class, Fault};
use wyng_control::{Asked, Failure, ObjectClass, Phase, Progress};

use crate::older::{newest_sound, report_older};
use crate::outcome::internal;
use crate::world::{Client, Random, Secrets, Store};

/// Number of slots that are asked for before the first answer is awaited: otherwise each of the 256
/// names would cost a round trip to the store.
const ASKED_AHEAD: usize = 16;
/// Maximum number of passphrases that a person may try.
const PASSPHRASE_TRIES: usize = 3;

/// The trial of one passphrase on several slots, cheapest first, the highest number among equals.
/// It can be interrupted before each slot.
pub(crate) struct SlotTrial {
    slots: std::vec::IntoIter<Slot>,
    tried: u64,
    total: u64,
    /// A slot that is damaged, so that no passphrase can be tried on it: its number, and what is
    /// wrong.
    damaged: Option<(u8, Fault)>,
}

impl SlotTrial {
    /// Puts the slots into their order. Slots of a kind that this version cannot open are passed
    /// over.
    pub(crate) fn new(slots: impl IntoIterator<Item = Slot>) -> Self {
        let can_open = |slot: &Slot| slot.clear().kind.can_open();
        let mut slots: Vec<Slot> = slots.into_iter().filter(can_open).collect();
        cheapest_first(&mut slots);
        Self {
            tried: 0,
            total: slots.len() as u64,
            damaged: None,
            slots: slots.into_iter(),
        }
    }

    /// Tries the slots that are left; returns ROOT and the first slot that the passphrase opens, or
    /// `None` when all were tried.
    pub(crate) fn next(
        &mut self,
        client: &mut impl Client,
        password: &Password,
    ) -> Result<Option<(Root, Slot)>, Failure> {
        for slot in self.slots.by_ref() {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let (done_bytes, total_bytes) = (self.tried, self.total);
            client.progress(Progress {
                phase: Phase::Unlocking,
                volume: None,
                done_bytes,
                total_bytes,
                sent_bytes: 0,
            });
            self.tried = self.tried.saturating_add(1);
            match open_slot(&slot, password) {
                Ok(root) => return Ok(Some((root, slot))),
                Err(SlotError::Refused | SlotError::RecoveryKey(_)) => {}
                Err(SlotError::Memory) => return Err(Failure::OutOfMemory),
                Err(SlotError::Damaged(fault)) => self.damaged = Some((slot.clear().number, fault)),
            }
        }
        Ok(None)
    }

    /// Why no slot opened: a passphrase that was not tried on a damaged slot may be right.
    pub(crate) fn refused(&self) -> Failure {
        self.damaged
            .map_or(Failure::WrongPassphrase, |(number, fault)| {
                damaged_slot(number, fault)
            })
    }
}

/// Asks for a passphrase that `open` accepts; after a wrong one asks again, where a person can be
/// asked again.
pub(crate) fn with_passphrase<T>(
    secrets: &mut impl Secrets,
    mut open: impl FnMut(Password) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut asked = Asked::Known;
    for left in (0..PASSPHRASE_TRIES).rev() {
        let given = match secrets.passphrase(asked) {
            Err(Failure::NoPassphrase) if asked == Asked::Again => break,
            given => given?,
        };
        let opened = match Password::new(given) {
            Some(password) => open(password),
            None => Err(Failure::WrongPassphrase),
        };
        match opened {
            Err(Failure::WrongPassphrase) if left > 0 => asked = Asked::Again,
            ended => return ended,
        }
    }
    Err(Failure::WrongPassphrase)
}

/// What lies in the store under the names of slots. No commit has confirmed yet that any of it is
/// the archive's.
#[derive(Debug, Default)]
pub(crate) struct StoredSlots {
    /// Slots whose first 224 bytes fit together, also of a kind that this version cannot open.
    pub sound: Vec<Slot>,
    /// The numbers of the other slots, and what is wrong with each.
    pub damaged: Vec<(u8, Fault)>,
}

impl StoredSlots {
    /// Whether nothing lies there.
    pub(crate) fn is_empty(&self) -> bool {
        self.sound.is_empty() && self.damaged.is_empty()
    }
}

/// Reads every slot that exists.
pub(crate) fn read_slots(
    store: &mut impl Store,
    client: &mut impl Client,
) -> Result<StoredSlots, Failure> {
    let mut slots = StoredSlots::default();
    read_slots_served(store, client, &mut slots)?;
    read_older_slots(store, client, &mut slots)?;
    Ok(slots)
}

/// Where the store serves no slot at all, or a damaged one, an older version may be sound. Absent
/// names are otherwise the rule, and not worth a question each.
fn read_older_slots(
    store: &mut impl Store,
    client: &mut impl Client,
    slots: &mut StoredSlots,
) -> Result<(), Failure> {
    let doubtful: Vec<(u8, Fault)> = if slots.sound.is_empty() {
        (0..=u8::MAX)
            .map(|number| {
                let mut damaged = slots.damaged.iter();
                let known = damaged.find(|(damaged, _)| *damaged == number);
                known.copied().unwrap_or((number, Fault::Missing))
            })
            .collect()
    } else {
        slots.damaged.clone()
    };
    for (number, fault) in doubtful {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut sound = None;
        newest_sound(store, slot_name(number), &mut |store| {
            Ok(match read_slot(store, number)? {
                StoredSlot::Sound(slot) => {
                    sound = Some(slot);
                    None
                }
                StoredSlot::Faulty(fault) => Some(fault),
            })
        })?;
        if let Some(slot) = sound {
            report_older(client, Class::Slot, slot_name(number), fault)?;
            slots.damaged.retain(|(damaged, _)| *damaged != number);
            slots.sound.push(slot);
        }
    }
    Ok(())
}

/// Reads every slot that the store serves.
fn read_slots_served(
    store: &mut impl Store,
    client: &mut impl Client,
    slots: &mut StoredSlots,
) -> Result<(), Failure> {
    let numbers: Vec<u8> = (0..=u8::MAX).collect();
    for batch in numbers.chunks(ASKED_AHEAD) {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        for number in batch {
            ask(store, *number)?;
        }
        for number in batch {
            match answer(store, *number)? {
                StoredSlot::Sound(slot) => slots.sound.push(slot),
                StoredSlot::Faulty(Fault::Missing) => {}
                StoredSlot::Faulty(fault) => slots.damaged.push((*number, fault)),
            }
        }
    }
    Ok(())
}

/// What lies in the store under the name of one slot.
pub(crate) enum StoredSlot {
    /// A slot whose bytes fit together.
    Sound(Slot),
    /// No slot, and why.
    Faulty(Fault),
}

/// Reads one slot of the store.
pub(crate) fn read_slot(store: &mut impl Store, number: u8) -> Result<StoredSlot, Failure> {
    ask(store, number)?;
    answer(store, number)
}

/// `H` of the 224 bytes of a slot that this version can open, by which a commit lists the slot.
pub(crate) fn slot_hash(slot: &Slot) -> [u8; 32] {
    *blake3::hash(&slot.encode()).as_bytes()
}

/// The failure that names a damaged slot.
pub(crate) fn damaged_slot(number: u8, fault: Fault) -> Failure {
    Failure::Damaged {
        class: ObjectClass::Slot,
        object: number.to_string(),
        what: fault.to_string(),
        volume: None,
    }
}

/// What a new slot is to be.
#[derive(Clone, Copy)]
pub struct SlotPlan {
    /// The archive that it opens.
    pub archive: ArchiveId,
    /// Its number, which no slot of the archive had before.
    pub number: u8,
    /// Whether a person chooses the passphrase.
    pub kind: SlotKind,
    /// What a guess at the passphrase costs.
    pub params: SlotParams,
}

/// Seals ROOT under a password.
pub fn new_slot(
    random: &mut impl Random,
    plan: SlotPlan,
    root: &Root,
    password: &Password,
) -> Result<Slot, Failure> {
    let clear = SlotClear {
        number: plan.number,
        kind: plan.kind,
        archive: plan.archive,
        memory_kib: plan.params.memory_kib(),
        passes: plan.params.passes(),
        salt: random.draw()?,
    };
    seal_slot(root, clear, password, NonceSeed(random.draw()?)).map_err(|error| match error {
        SlotError::Memory => Failure::OutOfMemory,
        error => internal(&error.to_string()),
    })
}

/// The entry by which a commit lists a slot that was made at `time`, seconds since 1970 UTC.
pub fn slot_ref(slot: &Slot, time: i64, label: SlotLabel) -> SlotRef {
    SlotRef {
        number: slot.clear().number,
        time,
        kind: slot.clear().kind,
        hash: slot_hash(slot),
        label,
    }
}

/// The cost of a guess at a passphrase, in KiB of memory and passes. [`Failure::BadSetting`]
/// outside of the limits.
pub(crate) fn slot_params(memory_kib: u32, passes: u32) -> Result<SlotParams, Failure> {
    SlotParams::new(memory_kib, passes).ok_or_else(|| Failure::BadSetting {
        setting: "the cost of the passphrase".into(),
        allowed: "64 MiB to 1 GiB of memory, 3 to 16 passes".into(),
    })
}

fn ask(store: &mut impl Store, number: u8) -> Result<(), Failure> {
    store.request(
        slot_name(number),
        0,
        u32::try_from(SLOT_BYTES).unwrap_or(u32::MAX),
    )
}

fn answer(store: &mut impl Store, number: u8) -> Result<StoredSlot, Failure> {
    let slot = store
        .answer()?
        .or_fault()
        .and_then(|bytes| Slot::decode(bytes.as_ref()));
    Ok(match slot {
        Ok(slot) if slot.clear().number == number => StoredSlot::Sound(slot),
        Ok(_) => StoredSlot::Faulty(Fault::Shape("number")),
        Err(fault) => StoredSlot::Faulty(fault),
    })
}
