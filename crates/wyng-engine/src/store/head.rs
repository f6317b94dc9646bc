// SPDX-License-Identifier: GPL-3.0-or-later
//! The head in the store: pushed, settled after an interrupted run, and confirmed. It reads
//! nothing.

use wyng_archive::crypto::Credential;
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use super::put::put_blob;
use crate::archive::Archive;
use crate::outcome::damaged;
use crate::world::{Files, Kept, Store};

/// Settles a commit that may or may not have reached the store, before anything is based on it.
pub(crate) fn settle_pending(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    if archive.ledger.pending().is_none() {
        return Ok(());
    }
    push_pending(files, store, archive)?;
    archive.roll_forward(files)?;
    // The commit may have given up packs: their ids are not known any more.
    archive.follow_head(files)
}

/// Pushes the ledger's pending commit. Its name depends only on its generation and its copy, so the
/// push is a compare-and-swap on the archive. The copy is the lowest one below which `archive open`
/// read every copy and none authenticates: almost always copy 0. A push reads nothing back, so a
/// name that is taken ends the command. Whether another machine's commit, this machine's own or
/// damage has taken the name is for `archive open` to find out.
pub(super) fn push_pending(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let Some(pending) = archive.ledger.pending().cloned() else {
        return Ok(());
    };
    let generation = pending.generation;
    let copy = archive
        .ledger
        .notes
        .copy_for(generation)
        .ok_or_else(|| damaged_copies(&archive.credential, generation))?;
    match put_blob(
        store,
        archive.credential.commit_copy_name(generation, copy),
        &pending.bytes,
    )? {
        Kept::New | Kept::Same => archive.commit_pending(files, copy),
        Kept::Different => Err(archive.stop(files, generation)),
        Kept::Unknown | Kept::Signed => Err(Failure::CommitUnsettled { generation }),
    }
}

/// Puts the head again where it lies. If the receipt shows that it is damaged there, the same bytes
/// go under the next copy: one more copy in each run. If the next copy is taken too, damage and
/// another machine's commit cannot be distinguished without reading, and the run ends.
pub(crate) fn confirm_head(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let Some(head) = archive.ledger.head().cloned() else {
        return Ok(());
    };
    let generation = head.generation;
    if archive.ledger.notes.commits.contains_key(&generation) {
        return Ok(()); // damage that a verify or `archive open` found is healed by its note
    }
    let copy = archive.ledger.head_copy;
    if put_blob(
        store,
        archive.credential.commit_copy_name(generation, copy),
        &head.bytes,
    )? != Kept::Different
    {
        // where a push may not read, the receipt says nothing; a verify reads the head
        return Ok(());
    }
    let next = copy
        .checked_add(1)
        .ok_or_else(|| damaged_copies(&archive.credential, generation))?;
    match put_blob(
        store,
        archive.credential.commit_copy_name(generation, next),
        &head.bytes,
    )? {
        Kept::New | Kept::Same => {
            archive.ledger.head_copy = next;
            archive.ledger.write(files, &archive.folder)
        }
        Kept::Different => Err(archive.stop(files, generation)),
        Kept::Unknown | Kept::Signed => Ok(()),
    }
}

/// The failure for a generation of which every name is taken by bytes that do not authenticate.
fn damaged_copies(credential: &Credential, generation: u64) -> Failure {
    damaged(&Damage::new(
        Class::Commit,
        credential.commit_name(generation).0,
        Fault::Tag,
    ))
}
