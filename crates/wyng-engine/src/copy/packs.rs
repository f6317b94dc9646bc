// SPDX-License-Identifier: GPL-3.0-or-later
//! Packs on their way from the source to the target, read whole and compared with their names in
//! between. Memory does not grow with their number.

use std::collections::VecDeque;

use wyng_archive::crypto::pack_name;
use wyng_archive::format::{PackEntry, PackState};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Phase, Progress, ToClient};

use crate::older::report_older;
use crate::outcome::{damaged, problem_of};
use crate::state::{ArchiveFolder, CopyNote};
use crate::store::{buffer_of, show_sound_version, usize_of};
use crate::world::{Client, Files, Parts, Reserve, Store, Wait, World};

/// Maximum number of bytes of packs that are requested ahead, except for one longer pack alone.
const AHEAD_MAX_BYTES: u64 = 32 << 20;
/// Maximum number of packs that are requested ahead.
const AHEAD_MAX: usize = 32;

/// What was sent.
#[derive(Default)]
pub(super) struct Sent {
    /// The packs that the target took, or had already.
    pub packs: Vec<PackEntry>,
    /// Their length, bytes.
    pub bytes: u64,
    /// Number of packs that the source does not have whole.
    pub problems: u64,
}

impl Sent {
    fn add(&mut self, pack: &PackEntry) {
        self.bytes = self.bytes.saturating_add(pack.length_bytes.into());
        self.packs.push(*pack);
    }
}

/// Sends packs, and waits until all have their receipts. A pack that is lost in the archive itself
/// is sent if it is whole, and is no problem otherwise.
pub(super) fn send_packs<P: Parts>(
    world: &mut World<P>,
    packs: &[PackEntry],
    note: &mut CopyNote,
    folder: &ArchiveFolder,
) -> Result<Sent, Failure> {
    let total_bytes = bytes_of(packs);
    let mut sent = Sent::default();
    let (mut left, mut asked) = (packs.iter().copied().peekable(), VecDeque::new());
    let (mut held_bytes, mut done_bytes, mut bad) = (0u64, 0u64, Vec::new());
    loop {
        while let Some(pack) = left.next_if(|pack| {
            let more = held_bytes.saturating_add(pack.length_bytes.into());
            asked.is_empty() || (more <= AHEAD_MAX_BYTES && asked.len() < AHEAD_MAX)
        }) {
            world.store.request(pack.name, 0, pack.length_bytes)?;
            held_bytes = held_bytes.saturating_add(pack.length_bytes.into());
            asked.push_back(pack);
        }
        let Some(pack) = asked.pop_front() else { break };
        match send_pack(world, &pack)? {
            None => sent.add(&pack),
            Some(fault) => bad.push((pack, fault)),
        }
        held_bytes = held_bytes.saturating_sub(pack.length_bytes.into());
        done_bytes = done_bytes.saturating_add(pack.length_bytes.into());
        while world.store.receipt(Wait::Never)?.is_some() {
            note_receipt(&mut world.files, note, folder)?;
        }
        world.client.progress(Progress {
            phase: Phase::Copying,
            volume: None,
            done_bytes,
            total_bytes,
            sent_bytes: sent.bytes,
        });
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    for (pack, fault) in bad {
        send_older(world, &pack, fault, &mut sent)?;
    }
    settle(&mut world.store)?;
    if !sent.packs.is_empty() {
        note_receipt(&mut world.files, note, folder)?;
    }
    Ok(sent)
}

/// Notes the first receipt: from now on the place is the copy, and an empty one is not mounted.
fn note_receipt(
    files: &mut impl Files,
    note: &mut CopyNote,
    folder: &ArchiveFolder,
) -> Result<(), Failure> {
    if note.received {
        return Ok(());
    }
    note.received = true;
    note.write(files, folder)
}

/// Waits until everything that was put has its receipt. What lies under a name is judged when it is
/// read back.
pub(super) fn settle(store: &mut impl Store) -> Result<(), Failure> {
    while store.receipt(Wait::UntilThere)?.is_some() {}
    Ok(())
}

/// Sends a sound older version of a pack that the source does not serve whole; without one, the
/// pack is reported.
fn send_older<P: Parts>(
    world: &mut World<P>,
    pack: &PackEntry,
    fault: Fault,
    sent: &mut Sent,
) -> Result<(), Failure> {
    if show_sound_version(&mut world.store, pack, &mut |_| {})? {
        world.store.request(pack.name, 0, pack.length_bytes)?;
        if send_pack(world, pack)?.is_none() {
            sent.add(pack);
            return report_older(&mut world.client, Class::Pack, pack.name, fault);
        }
    }
    if pack.state != PackState::Lost {
        sent.problems = sent.problems.saturating_add(1);
        report_pack(&mut world.client, pack, fault)?;
    }
    Ok(())
}

/// Passes on the pack that was requested first, if it is whole; otherwise what is wrong with it.
fn send_pack<P: Parts>(world: &mut World<P>, pack: &PackEntry) -> Result<Option<Fault>, Failure> {
    let length = usize_of(pack.length_bytes);
    let read = world.store.answer()?.or_fault().and_then(|bytes| {
        match pack_name(bytes.as_ref()) == pack.name && bytes.as_ref().len() == length {
            true => Ok(bytes),
            false => Err(Fault::Hash),
        }
    });
    match read {
        Ok(bytes) => {
            let buffer = buffer_of(&mut world.store, bytes.as_ref())?;
            world
                .store
                .put(pack.name, buffer, length, Reserve::Untouched)?;
            Ok(None)
        }
        Err(fault) => Ok(Some(fault)),
    }
}

/// Reports a pack that is not what its name says.
pub(super) fn report_pack(
    client: &mut impl Client,
    pack: &PackEntry,
    fault: Fault,
) -> Result<(), Failure> {
    let failure = damaged(&Damage::new(Class::Pack, pack.name.0, fault));
    client.tell(ToClient::Problem(problem_of(failure)?))
}

/// Sum of the lengths of packs, bytes.
pub(super) fn bytes_of(packs: &[PackEntry]) -> u64 {
    packs.iter().fold(0, |sum: u64, pack| {
        sum.saturating_add(pack.length_bytes.into())
    })
}
