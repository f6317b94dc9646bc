// SPDX-License-Identifier: GPL-3.0-or-later
//! Making an archive: a slot, the first commit, and a store that proves that it reports a name that
//! is taken.

use std::sync::Arc;

use wyng_archive::crypto::{
    ArchiveId, Coder, DomainId, Epoch, Password, Root, Secret, SlotParams, slot_name,
};
use wyng_archive::format::{
    ArchiveSettings, Commit, CommitStamp, PacksRoot, Slot, SlotKind, SlotLabel, TreeRoot,
    is_chunk_size, is_pack_size,
};
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_config::without_credentials;
use wyng_control::{Asked, Failure, Via, is_archive_name};
use wyng_wire::{BlobName, Service};

use crate::archive::{SlotPlan, SlotTrial, new_slot, slot_params, slot_ref};
use crate::cache::Cache;
use crate::kept::local_clock;
use crate::locking::first_day;
use crate::outcome::internal;
use crate::state::{
    ArchiveFolder, ArchiveToml, Journal, KnownCommit, Ledger, Lockable, Locks, PushLock, to_hex,
};
use crate::store::{put_blob, seal_commit};
use crate::world::{
    Clock, Files, Kept, OpenStore, Parts, Place, Random, Secrets, Store, StoreCredentials, World,
    lock_terms,
};

/// Number of the first slot.
const FIRST_SLOT: u8 = 0;

/// What a new archive is to be.
pub struct CreateRequest {
    /// Its local name.
    pub name: String,
    /// Address of its store.
    pub store: String,
    /// The far end.
    pub via: Via,
    /// The far end through which what was pushed is checked, if it is another one.
    pub verify_via: Option<Via>,
    /// The client has credentials for the store, and is asked for them.
    pub credentials: bool,
    /// What cannot be changed later.
    pub settings: CreateSettings,
}

/// What the owner chooses.
pub struct CreateSettings {
    /// Length of a chunk, bytes; a power of two.
    pub chunk_size_bytes: u32,
    /// Maximum length of a pack, bytes; at least twice the length of a chunk.
    pub pack_size_bytes: u32,
    /// Level of the compression.
    pub zstd_level: i8,
    /// Number of committed runs before what was pruned is deleted.
    pub hold_off_runs: u32,
    /// Time before what was pruned is deleted, seconds.
    pub hold_off_secs: u64,
    /// Minimum age of a session that a prune removes, seconds of the kept clock.
    pub minimum_age_secs: u64,
    /// Equal chunks of all volumes are stored once.
    pub shared_domain: bool,
    /// Argon2's memory, KiB.
    pub kdf_memory_kib: u32,
    /// Number of Argon2's passes.
    pub kdf_passes: u32,
}

/// Makes the archive. The same command takes up a run that was cut: it pushes the same bytes again.
pub fn create<P: Parts>(world: &mut World<P>, request: &CreateRequest) -> Result<(), Failure> {
    let params = check(&request.settings)?;
    if !is_archive_name(&request.name) {
        return Err(Failure::BadName {
            name: request.name.clone(),
        });
    }
    let unfinished = ArchiveFolder::find_unfinished(&mut world.files, &request.name)?;
    if let Ok(folder) = ArchiveFolder::find(&mut world.files, &request.name) {
        // The last step of making an archive takes its mark away.
        return match unfinished {
            Some(unfinished) if unfinished == folder => {
                folder.mark_finished(&mut world.files, &request.name)
            }
            _ => Err(Failure::ArchiveNameTaken {
                archive: request.name.clone(),
            }),
        };
    }
    let place = Place {
        credentials: ask_credentials(
            &mut world.secrets,
            request.credentials,
            &request.store,
            false,
        )?,
        lock_until_day: first_day(world, &request.store)?,
        ..Place::open(&request.store, &request.via)
    };
    let password =
        Password::new(world.secrets.passphrase(Asked::New)?).ok_or(Failure::NoPassphrase)?;
    if let Some(folder) = unfinished {
        if let Some(made) = Made::read(&mut world.files, &mut world.secrets, &folder, request)? {
            unlock_again(world, &made, &password)?;
            folder.write_store_credentials(&mut world.files, &place.url, &place.credentials)?;
            return resume(world, request, &place, &folder, &made);
        }
        folder.forget(&mut world.files, &request.name)?; // it never reached the store
    }
    let folder = ArchiveFolder::of(ArchiveId(world.random.draw()?));
    folder.mark_unfinished(&mut world.files, &request.name)?;
    let pushed = make(world, request, &folder, params, &password).and_then(|made| {
        folder.write_store_credentials(&mut world.files, &place.url, &place.credentials)?;
        world.store.connect(Service::Push, &place, OpenStore::New)?;
        Ok(made)
    });
    match pushed {
        Ok(made) => {
            push(world, request, &place, &folder, &made)?;
            note_first(&mut world.files, &folder, &place, made.commit.generation)
        }
        Err(failure) => {
            folder.forget(&mut world.files, &request.name)?;
            Err(failure)
        }
    }
}

/// Notes until when slot and commit of a new archive are locked.
fn note_first(
    files: &mut impl Files,
    folder: &ArchiveFolder,
    place: &Place,
    generation: u64,
) -> Result<(), Failure> {
    let lock = PushLock {
        until_day: place.lock_until_day,
        terms: lock_terms(&place.url).unwrap_or_default(),
        ..PushLock::default()
    };
    let Some(lock) = lock.set() else {
        return Ok(());
    };
    let mut locks = Locks::default();
    let slot = Lockable::Slot(FIRST_SLOT.into());
    locks.note([slot, Lockable::Commit(generation)], lock);
    locks.write(files, folder, &place.url)
}

/// What a new archive consists of in the store.
struct Made {
    slot: Slot,
    commit: KnownCommit,
    commit_name: BlobName,
}

impl Made {
    /// What a cut run wrote, if it came so far that the store may have some of it.
    /// [`Failure::ArchiveNameTaken`] if the run was for another store.
    fn read(
        files: &mut impl Files,
        secrets: &mut impl Secrets,
        folder: &ArchiveFolder,
        request: &CreateRequest,
    ) -> Result<Option<Self>, Failure> {
        let (Ok(toml), Ok(credential), Ok(slots), Ok(ledger)) = (
            folder.read_toml(files),
            folder.read_credential(files, secrets.sealed_credential(folder.id())),
            folder.read_slots(files),
            Ledger::read(files, folder),
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

/// Refuses another passphrase than that of the first try, whose slot may be in the store already.
fn unlock_again<P: Parts>(
    world: &mut World<P>,
    made: &Made,
    password: &Password,
) -> Result<(), Failure> {
    let mut trial = SlotTrial::new([made.slot.clone()]);
    trial
        .next(&mut world.client, password)?
        .map(drop)
        .ok_or_else(|| trial.refused())
}

/// Takes up a run that was cut.
fn resume<P: Parts>(
    world: &mut World<P>,
    request: &CreateRequest,
    place: &Place,
    folder: &ArchiveFolder,
    made: &Made,
) -> Result<(), Failure> {
    match world.store.connect(Service::Push, place, OpenStore::New) {
        Err(Failure::StoreNotEmpty { .. }) => {
            world
                .store
                .connect(Service::Push, place, OpenStore::Existing)?
        }
        connected => connected?,
    }
    push(world, request, place, folder, made)
}

/// Draws every secret, and writes everything that the store is to get into the state directory.
fn make<P: Parts>(
    world: &mut World<P>,
    request: &CreateRequest,
    folder: &ArchiveFolder,
    params: SlotParams,
    password: &Password,
) -> Result<Made, Failure> {
    let root = Root::new(Secret::take(&mut world.random.draw()?), Epoch(1));
    let credential = Arc::new(
        root.credential(folder.id())
            .ok_or_else(|| internal("the data key cannot be derived from the root key"))?,
    );
    let slot = new_slot(
        &mut world.random,
        SlotPlan {
            archive: folder.id(),
            number: FIRST_SLOT,
            kind: SlotKind::Passphrase,
            params,
        },
        &root,
        password,
    )?;
    drop(root);
    let toml = ArchiveToml {
        store: request.store.clone(),
        via: request.via.clone(),
        verify_via: ArchiveToml::other_far_end(&request.via, request.verify_via.as_ref()),
        writer: to_hex(&world.random.draw::<16>()?),
        copy: false,
        promoting: false,
        unproven: false,
        create_only: None,
        durability: None,
        lock_base: None,
    };
    let commit = first_commit(
        &mut world.random,
        &mut world.clock,
        &request.settings,
        &toml,
        &slot,
    )?;
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let commit_name = credential.commit_name(commit.generation);
    let commit = seal_commit(&mut world.random, &credential, &mut coder, &commit)?;

    folder.write_toml(&mut world.files, &toml)?;
    folder.write_credential(&mut world.files, &credential)?;
    folder.write_slots(&mut world.files, std::slice::from_ref(&slot))?;
    let mut ledger = Ledger::default();
    ledger.set_pending(commit.clone());
    ledger.write(&mut world.files, folder)?;
    Ok(Made {
        slot,
        commit,
        commit_name,
    })
}

/// Pushes the slot and the first commit, and completes the state directory.
fn push<P: Parts>(
    world: &mut World<P>,
    request: &CreateRequest,
    place: &Place,
    folder: &ArchiveFolder,
    made: &Made,
) -> Result<(), Failure> {
    let slot = made.slot.encode();
    let address = without_credentials(&request.store);
    let slot_is_known = put_or_find(&mut world.store, slot_name(FIRST_SLOT), &slot, &address)?;
    // A store that does not notice a second put could not tell two writers apart. One that lets a
    // push read nothing says only that the name is taken.
    match put_blob(&mut world.store, slot_name(FIRST_SLOT), &slot)? {
        Kept::Same | Kept::Unknown | Kept::Signed => {}
        Kept::New => return Err(Failure::StoreNotExclusive { store: address }),
        Kept::Different => return Err(Failure::StoreNotEmpty { store: address }),
    }
    let (name, commit) = (made.commit_name, &made.commit.bytes);
    let commit_is_known = put_or_find(&mut world.store, name, commit, &address)?;
    world.store.finish_push()?;
    let to_read = [
        (slot_is_known, slot_name(FIRST_SLOT), &slot),
        (commit_is_known, name, commit),
    ];
    let to_read = to_read.into_iter().filter(|(is_known, ..)| !is_known);
    let to_read: Vec<_> = to_read.map(|(_, name, bytes)| (name, &**bytes)).collect();
    read_again(&mut world.store, place, &to_read)?;

    let files = &mut world.files;
    let local = local_clock(files, &mut world.clock)?;
    let mut ledger = Ledger::default();
    ledger.chain = ChainClock::adopt(0, &local);
    ledger.set_pending(made.commit.clone());
    ledger.commit_pending(0);
    ledger.write(files, folder)?;
    Cache::create(files, &folder.cache(ledger.cache))?.save(files, made.commit.generation, 0)?;
    Journal::of(folder).begin(files, made.commit.generation, &[], &[], &[])?;
    folder.mark_finished(files, &request.name)
}

fn check(settings: &CreateSettings) -> Result<SlotParams, Failure> {
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

fn first_commit(
    random: &mut impl Random,
    clock: &mut impl Clock,
    settings: &CreateSettings,
    toml: &ArchiveToml,
    slot: &Slot,
) -> Result<Commit, Failure> {
    let shared_domain = if settings.shared_domain {
        Some(DomainId(random.draw()?))
    } else {
        None
    };
    let time = clock.wall_secs();
    Ok(Commit {
        generation: 1,
        time,
        writer: toml
            .writer_id()
            .ok_or_else(|| internal("archive.toml has no valid writer id"))?,
        previous: [0; 32],
        skip: [0; 32],
        stamp: CommitStamp::first(0),
        epoch: Epoch(1),
        settings: ArchiveSettings {
            chunk_size_bytes: settings.chunk_size_bytes,
            pack_size_bytes: settings.pack_size_bytes,
            hold_off_runs: settings.hold_off_runs,
            hold_off_secs: settings.hold_off_secs,
            minimum_age_secs: settings.minimum_age_secs,
            zstd_level: settings.zstd_level,
            shared_domain,
        },
        earlier_hold_off: None,
        floor: None,
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

/// Asks the client for a store's credentials, if it has any, in place of the ones before.
pub(crate) fn ask_credentials(
    secrets: &mut impl Secrets,
    has_any: bool,
    url: &str,
    are_signed: bool,
) -> Result<StoreCredentials, Failure> {
    if !has_any {
        return Ok(StoreCredentials::default());
    }
    match secrets.passphrase(Asked::StoreCredentials) {
        Err(Failure::NoPassphrase) => Err(Failure::NoCredentials),
        text => StoreCredentials::parse_after(are_signed, text?, url),
    }
}

/// Puts a blob that must be there in the end: new, or the same one from a run that was cut. Returns
/// whether the receipt says so; otherwise what has its name must be read.
fn put_or_find(
    store: &mut impl Store,
    name: BlobName,
    bytes: &[u8],
    address: &str,
) -> Result<bool, Failure> {
    match put_blob(store, name, bytes)? {
        Kept::New | Kept::Same => Ok(true),
        Kept::Signed => Ok(false),
        Kept::Different | Kept::Unknown => Err(not_empty(address)),
    }
}

fn not_empty(address: &str) -> Failure {
    Failure::StoreNotEmpty {
        store: address.to_owned(),
    }
}

/// Reads blobs whose receipts did not say whether they are those of a run that was cut, or those of
/// another archive.
fn read_again(
    store: &mut impl Store,
    place: &Place,
    blobs: &[(BlobName, &[u8])],
) -> Result<(), Failure> {
    if blobs.is_empty() {
        return Ok(());
    }
    store.connect(Service::Fetch, place, OpenStore::Existing)?;
    for (name, bytes) in blobs {
        let length = u32::try_from(bytes.len()).map_err(|_| internal("a blob is too long"))?;
        store.request(*name, 0, length)?;
        let found = store.answer()?.or_fault();
        if !found.is_ok_and(|found| found.as_ref() == *bytes) {
            return Err(not_empty(&without_credentials(&place.url)));
        }
    }
    store.finish_fetch()
}
