// SPDX-License-Identifier: GPL-3.0-or-later
//! Becoming the archive's writer, by a commit that changes nothing but who writes. The previous
//! writer finds the name of its next commit taken. Promoting a copy is the same in the copy's
//! store: this machine then knows a commit that the store before does not have, and refuses that
//! store as rolled back.

use wyng_archive::plan::COPIES_ABSENT;
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_control::{CreateOnly, Failure};

use crate::archive::Archive;
use crate::kept::{kept_of_commit, local_clock};
use crate::locking::connect_to_push_anew;
use crate::pool::Pool;
use crate::state::CopyNote;
use crate::store::{commit_change, put_blob, settle_pending};
use crate::world::{Client, Parts, Store, World};

/// Maximum number of commits that one command makes to get past generations that were passed over.
const COMMITS_MAX: usize = 64;

/// What the person says of the machine that wrote to the archive until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherWriter {
    /// It may be about to write: the store must keep its commit and this machine's apart.
    MayWrite,
    /// It does not write any more.
    IsGone,
}

impl OtherWriter {
    /// What follows from the client's word.
    pub const fn said(is_gone: bool) -> Self {
        match is_gone {
            true => Self::IsGone,
            false => Self::MayWrite,
        }
    }
}

/// Takes over. It makes commits until it is past damaged generations, so that the archive opens
/// elsewhere as it does here.
pub fn take_over<P: Parts>(
    world: &mut World<P>,
    name: &str,
    other: OtherWriter,
) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    if archive.toml.copy {
        return Err(Failure::IsCopy {
            archive: name.to_owned(),
        });
    }
    become_writer(world, &mut archive, other, |archive| {
        archive.may_write().is_ok()
    })
}

/// Makes the copy from which the archive is open its own store. A machine that has made no copy
/// cannot know which of the stores is one, and takes over.
pub fn promote<P: Parts>(
    world: &mut World<P>,
    name: &str,
    other: OtherWriter,
) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    if !archive.toml.copy {
        return match CopyNote::all(&mut world.files, &archive.folder)?.is_empty() {
            true => take_over(world, name, other),
            false => Err(Failure::NotACopy {
                archive: name.to_owned(),
            }),
        };
    }
    if !archive.toml.promoting {
        // What a cut run sent lies in the store before, and not in the copy. What a promotion sent
        // lies in the copy.
        archive.forget_uncommitted(&mut world.files)?;
        archive.toml.promoting = true;
        archive.folder.write_toml(&mut world.files, &archive.toml)?;
        archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    }
    (archive.toml.copy, archive.toml.promoting) = (false, false);
    // A commit is made in any case: the store before never gets it, and is refused by it.
    let before = archive.head.generation;
    become_writer(world, &mut archive, other, |archive| {
        archive.may_write().is_ok() && archive.head.generation > before
    })?;
    // After a crash between these writes the same command makes one more commit.
    CopyNote::forget(&mut world.files, &archive.folder, &archive.toml.store)?;
    archive.folder.write_toml(&mut world.files, &archive.toml)
}

/// Makes commits until `is_enough`.
fn become_writer<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    other: OtherWriter,
    is_enough: impl Fn(&Archive) -> bool,
) -> Result<(), Failure> {
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    connect_to_push_anew(world, archive)?;
    if other == OtherWriter::MayWrite && archive.toml.writer_id() != Some(archive.head.writer) {
        demand_atomic(world, archive)?;
    }
    settle_pending(&mut world.files, &mut world.store, archive)?;
    match archive.ledger.passed_over {
        Some(passed) if passed.sound => {
            return Err(Failure::NewerSound {
                generation: archive.head.generation,
                newest: passed.newest,
            });
        }
        // Nobody has asked for an older generation yet.
        Some(passed) if !passed.requested => archive.may_write()?,
        _ => {}
    }
    // Another machine continued the chain until now: what this one counted meanwhile is no part of
    // it.
    if archive.may_write().is_err() {
        let local = local_clock(&mut world.files, &mut world.clock)?;
        archive.ledger.chain = ChainClock::adopt(kept_of_commit(&archive.head), &local);
    }
    for _ in 0..COMMITS_MAX {
        if is_enough(archive) {
            break;
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut pool = Pool::new(0, 0)?;
        commit_change(world, archive, &mut pool, |_| {})?;
    }
    world.store.finish_push()
}

/// Fails unless of two commits that come at one moment the store takes only one. Where that is not
/// known, one more copy of the head, which is part of every archive, tries it. A store to which
/// signed requests go was tried before they did.
fn demand_atomic<P: Parts>(world: &mut World<P>, archive: &mut Archive) -> Result<(), Failure> {
    if archive.credentials.are_signing() {
        return Ok(());
    }
    note_abilities(world, archive)?;
    let first = archive.ledger.head_copy.saturating_add(1);
    for copy in first..first.saturating_add(COPIES_ABSENT) {
        let head = match archive.ledger.head() {
            Some(head) if archive.toml.create_only.is_none() => head.clone(),
            _ => break,
        };
        // Where the name is taken, as by a run that was cut here, nothing is shown: the first blob
        // of a push alone tries it.
        if copy != first {
            world.store.finish_push()?;
            connect_to_push_anew(world, archive)?;
        }
        let name = archive.credential.commit_copy_name(head.generation, copy);
        put_blob(&mut world.store, name, &head.bytes)?;
        note_abilities(world, archive)?;
    }
    match archive.toml.abilities().create_only {
        Some(CreateOnly::Atomic) => Ok(()),
        _ => Err(Failure::WritersNotKeptApart {
            archive: archive.name.clone(),
        }),
    }
}

/// Notes what the far end stated about the store until now, and what trials showed.
fn note_abilities<P: Parts>(world: &mut World<P>, archive: &mut Archive) -> Result<(), Failure> {
    let (known, stated) = (archive.toml.abilities(), world.store.take_abilities());
    if stated.or(known) != known {
        archive.toml.note_abilities(stated.or(known));
        archive.folder.write_toml(&mut world.files, &archive.toml)?;
    }
    Ok(())
}
