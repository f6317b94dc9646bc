// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeping the data key for the next commands, and proving that a passphrase opens every session
//! key.

use std::sync::Arc;

use wyng_archive::crypto::ArchiveId;
use wyng_control::{ExitStatus, Failure, ToClient, UNLOCK_MAX_SECS};

use super::keys::report_slots;
use crate::archive::Archive;
use crate::state::ArchiveFolder;
use crate::store::keys_of;
use crate::world::{Client, Clock, Files, Parts, Secrets, World};

/// Keeps the data key of an archive for `secs` seconds. The passphrase is always asked for: only a
/// person who knows it can begin the time anew.
pub fn unlock<P: Parts>(
    world: &mut World<P>,
    name: &str,
    secs: u64,
) -> Result<ExitStatus, Failure> {
    if !(1..=UNLOCK_MAX_SECS).contains(&secs) {
        return Err(Failure::BadSetting {
            setting: "the time for which the key is kept".into(),
            allowed: "1s to 24h".into(),
        });
    }
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let key = archive.unlock(world)?;
    archive.ledger.write(&mut world.files, &archive.folder)?;
    world
        .secrets
        .keep_key(archive.folder.id(), Arc::new(key), secs);
    let until = (world.clock.wall_nanos() / 1_000_000_000).saturating_add(secs);
    world.client.tell(ToClient::Unlocked {
        until: i64::try_from(until).unwrap_or(i64::MAX),
    })?;
    Ok(ExitStatus::Done)
}

/// Wipes the data key of an archive, or every key that is kept.
pub fn lock<P: Parts>(world: &mut World<P>, archive: Option<&str>) -> Result<(), Failure> {
    let archive = named_archive(&mut world.files, archive)?;
    world.secrets.wipe_keys(archive);
    Ok(())
}

/// The id of the archive with this name, if one is named.
pub fn named_archive(
    files: &mut impl Files,
    name: Option<&str>,
) -> Result<Option<ArchiveId>, Failure> {
    name.map(|name| Ok(ArchiveFolder::find(files, name)?.id()))
        .transpose()
}

/// Asks for the passphrase, and proves that it opens every session key.
pub fn key_check<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let data_key = archive.unlock(world)?;
    if let Some(fault) = keys_of(
        &mut world.files,
        &mut world.clock,
        &mut world.client,
        &mut archive,
        &data_key,
    )?
    .fault
    {
        return Err(fault);
    }
    let mut slots = archive.live_slots(&mut world.files)?;
    let opened = archive.ledger.opened.map(|(number, _)| number);
    slots.retain(|slot| Some(slot.clear().number) == opened);
    report_slots(&mut world.client, &archive, &slots, opened)?;
    Ok(ExitStatus::Done)
}
