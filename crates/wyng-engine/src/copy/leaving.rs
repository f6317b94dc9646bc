// SPDX-License-Identifier: GPL-3.0-or-later
//! What the archive gave up leaves its copy too: packs that its own store deleted, and key slots
//! that were removed. They wait a hold-off of their own, which begins when a run finds the copy
//! whole without them, and they go only in a run that has read the copy's newest commit back.

use std::collections::HashSet;

use wyng_archive::Class;
use wyng_archive::crypto::slot_name;
use wyng_archive::format::Stamp;
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_control::Failure;
use wyng_wire::{BlobName, Service};

use super::needed::Needed;
use super::read_back::{Small, read_small};
use super::target::Target;
use crate::archive::Archive;
use crate::kept::kept_now;
use crate::outcome::is_refusal;
use crate::space::{Candidate, Guard, is_recent};
use crate::state::CopyNote;
use crate::world::{Client, Deleted, OpenStore, Parts, Place, Store, World};

/// Maximum number of DELETEs that are sent before the first is answered.
const DELETES_AHEAD: usize = 64;

/// What became of the blobs that the archive gave up.
#[derive(Default)]
pub(super) struct Left {
    /// Number of blobs that were deleted.
    pub deleted: u64,
    /// Number of blobs that stay for now.
    pub waiting: u64,
    /// The copy's far end or store does not delete.
    pub refused: bool,
    /// Number of blobs that were not read back as they must be, so that nothing was deleted.
    pub problems: u64,
}

/// Deletes what may go from a copy that holds the head whole.
pub(super) fn let_go<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    place: &Place,
    (needed, target): (&Needed, &Target),
    note: &mut CopyNote,
) -> Result<Left, Failure> {
    let now = Stamp {
        run: archive.head.stamp.stamp.run,
        kept_secs: kept_now(&mut world.files, &mut world.clock, archive)?,
    };
    note_leaving(&leaving(archive, needed, target).collect(), note, now);
    let hold_offs = HoldOffs::of_commit(&archive.head);
    let is_over = |since: &Stamp| hold_offs.of(*since).left(*since, now).is_over();
    let due = note.leaving.iter().filter(|(_, since)| is_over(since));
    let mut due: Vec<BlobName> = due.map(|(name, _)| *name).collect();
    due.sort_unstable();
    let mut left = Left::default();
    // A commit that is pending may need what the head does not.
    let may_delete =
        archive.ledger.pending().is_none() && !is_recent(note.refused_secs, now.kept_secs);
    if may_delete && !due.is_empty() {
        left.problems = prove(world, archive, place, note)?;
        if left.problems == 0 {
            left.deleted = delete(world, archive, place, &due, (note, now.kept_secs))?;
        }
    }
    left.refused = note.refused_secs.is_some();
    left.waiting = note.leaving.len() as u64;
    Ok(left)
}

/// The blobs that the copy showed when the run began, and that no state needs any more which can
/// still be reached: packs that the head is deleting or has deleted, and slots that it removed.
/// What the archive can still undelete stays.
fn leaving<'a>(
    archive: &Archive,
    needed: &'a Needed,
    target: &'a Target,
) -> impl Iterator<Item = BlobName> + use<'a> {
    let used: HashSet<BlobName> = needed.packs.iter().map(|pack| pack.name).collect();
    let is_listed = |number: &u8| archive.head.slots.iter().any(|slot| slot.number == *number);
    let numbers = (0..archive.head.next_slot).filter_map(|number| u8::try_from(number).ok());
    let removed: HashSet<BlobName> = numbers
        .filter(|number| !is_listed(number))
        .map(slot_name)
        .collect();
    target.names().filter(move |name| {
        // A name that the archive does not know is one that this machine copied once.
        let is_gone = needed.going.contains(name) || !needed.known.contains(name);
        !used.contains(name) && (is_gone || removed.contains(name))
    })
}

/// Notes since when each of them waits; what is shown no more is gone.
fn note_leaving(names: &HashSet<BlobName>, note: &mut CopyNote, now: Stamp) {
    note.leaving.retain(|name, _| names.contains(name));
    for name in names {
        note.leaving.entry(*name).or_insert(now);
    }
}

/// Reads the newest commit and the slots that it lists back once more, through a far end that was
/// started after everything was sent; returns the number of problems.
fn prove<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    place: &Place,
    note: &mut CopyNote,
) -> Result<u64, Failure> {
    let head = archive.ledger.head().ok_or(Failure::CacheLost)?;
    let mut blobs = vec![Small::of(
        Class::Commit,
        archive.credential.commit_name(head.generation),
        &head.bytes,
    )];
    blobs.extend(archive.head.slots.iter().map(|slot| Small {
        class: Class::Slot,
        name: slot_name(slot.number),
        hash: slot.hash,
        length_bytes: u32::try_from(slot.kind.blob_bytes()).unwrap_or(u32::MAX),
    }));
    let store = &mut world.store;
    store.connect(Service::Fetch, place, OpenStore::Existing)?;
    let read = read_small(world, &blobs, note)?;
    world.store.finish_fetch()?;
    Ok(read.problems)
}

/// Deletes blobs until one is refused.
fn delete<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    place: &Place,
    due: &[BlobName],
    (note, now_kept_secs): (&mut CopyNote, u64),
) -> Result<u64, Failure> {
    let guard = Guard::of(&mut world.files, archive)?;
    note.refused_secs = None;
    match world
        .store
        .connect(Service::Prune, place, OpenStore::Existing)
    {
        Err(failure) if is_refusal(&failure) => {
            note.refused_secs = Some(now_kept_secs);
            return Ok(0);
        }
        connected => connected?,
    }
    let mut deleted = 0_u64;
    for some in due.chunks(DELETES_AHEAD) {
        for name in some {
            let doomed = guard.check(Candidate::OfCopy(*name))?;
            world.store.delete(doomed)?;
        }
        for name in some {
            match world.store.deleted()? {
                Deleted::Gone | Deleted::Absent => {
                    note.leaving.remove(name);
                    note.read.remove(name);
                    deleted = deleted.saturating_add(1);
                }
                Deleted::Refused => note.refused_secs = Some(now_kept_secs),
            }
        }
        if note.refused_secs.is_some() || world.client.cancelled() {
            break;
        }
    }
    world.store.finish_prune()?;
    Ok(deleted)
}
