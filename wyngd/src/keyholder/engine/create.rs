// SPDX-License-Identifier: GPL-3.0-or-later
//! Making an archive: a slot, the first commit, and a store that proves that it tells when a name
//! is taken.

use std::sync::Arc;

use wyng_archive::crypto::{
    ArchiveId, Coder, DomainId, Epoch, Password, Root, Secret, SlotParams, slot_name,
};
use wyng_archive::format::{
    ArchiveSettings, Commit, PacksRoot, Slot, SlotKind, SlotLabel, TreeRoot, is_chunk_size,
    is_pack_size,
};
use wyng_config::without_credentials;
use wyng_control::{Asked, Failure, is_archive_name};
use wyng_wire::{BlobName, Service};

use super::archive::internal;
use super::commit::{seal_commit, seconds};
use super::keys::{new_slot, slot_params, slot_ref};
use super::put::{Kept, put_blob};
use super::slots::SlotTrial;
use crate::keyholder::cache::Cache;
use crate::keyholder::state::{ArchiveFolder, ArchiveToml, Journal, KnownCommit, Ledger, to_hex};
use crate::keyholder::world::World;

/// The first slot's number.
const FIRST_SLOT: u8 = 0;

/// What a new archive is to be.
pub struct Request {
    /// Its local name.
    pub name: String,
    /// Where it is to be.
    pub store: String,
    /// The far end.
    pub via: String,
    /// What cannot be changed later.
    pub settings: Settings,
}

/// The choices of the owner.
pub struct Settings {
    /// Power of two.
    pub chunk_size_bytes: u32,
    /// At least twice that.
    pub pack_size_bytes: u32,
    /// zstd's.
    pub zstd_level: i8,
    /// Committed runs before anything is deleted.
    pub hold_off_runs: u32,
    /// Seconds before anything is deleted.
    pub hold_off_secs: u64,
    /// One domain for all volumes.
    pub shared_domain: bool,
    /// Argon2's memory.
    pub kdf_memory_kib: u32,
    /// Argon2's passes.
    pub kdf_passes: u32,
}

/// Makes the archive. A run that was cut is taken up by the same command: it pushes the same bytes
/// again.
pub fn create<W: World>(world: &mut W, request: &Request) -> Result<(), Failure> {
    let params = check(&request.settings)?;
    if !is_archive_name(&request.name) {
        return Err(Failure::BadName {
            name: request.name.clone(),
        });
    }
    let unfinished = ArchiveFolder::find_unfinished(world, &request.name)?;
    if let Ok(folder) = ArchiveFolder::find(world, &request.name) {
        // The last step of a making is to take its mark away.
        return match unfinished {
            Some(unfinished) if unfinished == folder => folder.mark_finished(world, &request.name),
            _ => Err(Failure::ArchiveNameTaken {
                archive: request.name.clone(),
            }),
        };
    }
    let password = Password::new(world.passphrase(Asked::New)?).ok_or(Failure::NoPassphrase)?;
    if let Some(folder) = unfinished {
        if let Some(made) = Made::read(world, &folder, request)? {
            return resume(world, request, &folder, &made, &password);
        }
        folder.forget(world, &request.name)?; // it never reached the store
    }
    let folder = ArchiveFolder::of(ArchiveId(world.draw()?));
    folder.mark_unfinished(world, &request.name)?;
    let pushed = make(world, request, &folder, params, &password).and_then(|made| {
        world.connect(Service::Push, &request.via, &request.store, true)?;
        Ok(made)
    });
    match pushed {
        Ok(made) => push(world, request, &folder, &made),
        Err(failure) => {
            folder.forget(world, &request.name)?;
            Err(failure)
        }
    }
}

/// What a new archive consists of in the store.
struct Made {
    slot: Slot,
    commit: KnownCommit,
    commit_name: BlobName,
}

impl Made {
    /// What a cut run wrote, if it came so far that the store may have any of it.
    /// [`Failure::ArchiveNameTaken`] if it was for another store.
    fn read<W: World>(
        world: &mut W,
        folder: &ArchiveFolder,
        request: &Request,
    ) -> Result<Option<Self>, Failure> {
        let (Ok(toml), Ok(credential), Ok(slots), Ok(ledger)) = (
            folder.read_toml(world),
            folder.read_credential(world),
            folder.read_slots(world),
            Ledger::read(world, folder),
        ) else {
            return Ok(None);
        };
        if toml.store != request.store || toml.via != request.via {
            return Err(Failure::ArchiveNameTaken {
                archive: request.name.clone(),
            });
        }
        let (Some(slot), Some(commit)) = (
            slots.into_iter().next(),
            ledger.pending().or(ledger.head()).cloned(),
        ) else {
            return Ok(None);
        };
        let commit_name = credential.commit_name(commit.generation);
        Ok(Some(Self {
            slot,
            commit,
            commit_name,
        }))
    }
}

/// The passphrase must be the one of the first try, whose slot may be in the store already.
fn resume<W: World>(
    world: &mut W,
    request: &Request,
    folder: &ArchiveFolder,
    made: &Made,
    password: &Password,
) -> Result<(), Failure> {
    let mut trial = SlotTrial::new([made.slot.clone()]);
    trial
        .next(world, password)?
        .ok_or_else(|| trial.refused())?;
    match world.connect(Service::Push, &request.via, &request.store, true) {
        Err(Failure::StoreNotEmpty { .. }) => {
            world.connect(Service::Push, &request.via, &request.store, false)?
        }
        connected => connected?,
    }
    push(world, request, folder, made)
}

/// Draws every secret, and writes all that the store is to get into the local state.
fn make<W: World>(
    world: &mut W,
    request: &Request,
    folder: &ArchiveFolder,
    params: SlotParams,
    password: &Password,
) -> Result<Made, Failure> {
    let root = Root::new(Secret::take(&mut world.draw()?), Epoch(1));
    let credential = Arc::new(
        root.credential(folder.id())
            .ok_or_else(|| internal("the data key cannot be derived from the root key"))?,
    );
    let slot = new_slot(
        world,
        folder.id(),
        &root,
        FIRST_SLOT,
        SlotKind::Passphrase,
        params,
        password,
    )?;
    drop(root);
    let toml = ArchiveToml {
        store: request.store.clone(),
        via: request.via.clone(),
        writer: to_hex(&world.draw::<16>()?),
    };
    let commit = first_commit(world, &request.settings, &toml, &slot)?;
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let commit_name = credential.commit_name(commit.generation);
    let commit = seal_commit(world, &credential, &mut coder, &commit)?;

    folder.write_toml(world, &toml)?;
    folder.write_credential(world, &credential)?;
    folder.write_slots(world, std::slice::from_ref(&slot))?;
    let mut ledger = Ledger::default();
    ledger.set_pending(commit.clone());
    ledger.write(world, folder)?;
    Ok(Made {
        slot,
        commit,
        commit_name,
    })
}

/// Pushes the slot and the first commit, and makes the local state whole.
fn push<W: World>(
    world: &mut W,
    request: &Request,
    folder: &ArchiveFolder,
    made: &Made,
) -> Result<(), Failure> {
    let slot = made.slot.encode();
    let store = without_credentials(&request.store);
    put_or_find(world, slot_name(FIRST_SLOT), &slot, &store)?;
    // A store that does not notice a second put could not tell two writers apart.
    if put_or_find(world, slot_name(FIRST_SLOT), &slot, &store)? != Kept::Same {
        return Err(Failure::StoreNotExclusive { store });
    }
    put_or_find(world, made.commit_name, &made.commit.bytes, &store)?;
    world.finish_push()?;

    let mut ledger = Ledger::default();
    ledger.set_pending(made.commit.clone());
    ledger.commit_pending(0);
    ledger.write(world, folder)?;
    Cache::create(world, &folder.cache(ledger.cache))?.save(world, made.commit.generation, 0)?;
    Journal::of(folder).begin(world, made.commit.generation, &[])?;
    folder.mark_finished(world, &request.name)
}

fn check(settings: &Settings) -> Result<SlotParams, Failure> {
    let bad = |setting: &str, allowed: &str| Failure::BadSetting {
        setting: setting.into(),
        allowed: allowed.into(),
    };
    if !is_chunk_size(settings.chunk_size_bytes) {
        return Err(bad("the chunk size", "a power of two from 64 KiB to 1 MiB"));
    }
    if !is_pack_size(settings.pack_size_bytes, settings.chunk_size_bytes) {
        return Err(bad(
            "the pack size",
            "a multiple of 4 KiB from 64 KiB to 64 MiB, at least twice the chunk size",
        ));
    }
    if !(-7..=19).contains(&settings.zstd_level) {
        return Err(bad("the compression level", "-7 to 19"));
    }
    slot_params(settings.kdf_memory_kib, settings.kdf_passes)
}

fn first_commit<W: World>(
    world: &mut W,
    settings: &Settings,
    toml: &ArchiveToml,
    slot: &Slot,
) -> Result<Commit, Failure> {
    let shared_domain = if settings.shared_domain {
        Some(DomainId(world.draw()?))
    } else {
        None
    };
    let time = seconds(world.wall_nanos());
    Ok(Commit {
        generation: 1,
        time,
        writer: toml
            .writer_id()
            .ok_or_else(|| internal("archive.toml has no valid writer id"))?,
        previous: [0; 32],
        skip: [0; 32],
        runs: 0,
        epoch: Epoch(1),
        settings: ArchiveSettings {
            chunk_size_bytes: settings.chunk_size_bytes,
            pack_size_bytes: settings.pack_size_bytes,
            hold_off_runs: settings.hold_off_runs,
            hold_off_secs: settings.hold_off_secs,
            zstd_level: settings.zstd_level,
            shared_domain,
        },
        next_slot: u16::from(FIRST_SLOT).saturating_add(1),
        packs: PacksRoot {
            size: 0,
            root: None,
        },
        keys: TreeRoot::EMPTY,
        volumes: TreeRoot::EMPTY,
        tail: None,
        slots: vec![slot_ref(slot, time, SlotLabel::default())],
    })
}

/// Puts a blob that must be there in the end: new, or the same from a run that was cut.
fn put_or_find<W: World>(
    world: &mut W,
    name: BlobName,
    bytes: &[u8],
    store: &str,
) -> Result<Kept, Failure> {
    match put_blob(world, name, bytes)? {
        kept @ (Kept::New | Kept::Same) => Ok(kept),
        Kept::Different | Kept::Unknown => Err(Failure::StoreNotEmpty {
            store: store.to_owned(),
        }),
    }
}
