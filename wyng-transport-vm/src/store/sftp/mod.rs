// SPDX-License-Identifier: GPL-3.0-or-later
//! The store in a folder of an SFTP server, which is laid out as the folder store is: what is
//! backed up over SFTP can be restored from the folder itself, and the reverse. Blobs on their way
//! in lie in the folder `.incoming`.
//!
//! An account that may neither remove, rename nor change modes can add blobs and change none: they
//! are read-only files, and get their names by a hard link.

mod blocks;
mod connection;
mod incoming;
mod packet;
mod places;
mod reading;
mod server;
mod ssh;
mod streamed;
mod upload;
mod uploads;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use tracing::{info, warn};
use wyng_wire::{BlobName, CreateOnly, Durability, OpenStatus, Opened, RESERVE_BYTES, Service};

use super::address::SftpAddress;
use super::turns::Turns;
use super::{Prune, StoreError};
use blocks::{OpenBlobs, Queue};
pub(crate) use connection::Lost;
use connection::{Connection, Fault, Ticket};
use incoming::Naming;
use packet::{Code, Entry, Space};
use places::{Entries, Places, free_mib, or_slash, shard_of, syncs};
use server::{IfThere, Server};
use uploads::Uploads;

/// Minimum free space beyond the reserve for creating a store, bytes, as in a folder.
const FIRST_BACKUP_BYTES: u64 = 4 * 1024 * 1024;

/// Maximum number of entries of the store's folder that are looked at: it has 256 shards.
const ROOT_ENTRIES_MAX: usize = 10_000;

/// A connected server, and the store's folder there.
pub(crate) struct Sftp {
    places: Arc<Places>,
    /// Shards with deletions that are not durable yet.
    deleted_from: BTreeSet<u8>,
    opened: OpenBlobs,
    queue: Queue,
    /// How blobs get their names.
    naming: Arc<Mutex<Naming>>,
    /// A file got its name in this call, as blobs do.
    has_named: bool,
    uploads: Arc<Uploads>,
    turns: Turns,
    /// Removes what killed helpers left, beside the uploads.
    sweeping: Option<JoinHandle<()>>,
}

/// ssh, started, and nothing of it read yet.
pub(crate) struct Unopened {
    connection: Arc<Connection>,
}

impl Unopened {
    /// Starts ssh, which needs what the jail takes away.
    pub(crate) fn new(address: &SftpAddress) -> Result<Self, Opened> {
        if !ssh::is_harmless(address) {
            return Err(Opened::of(OpenStatus::BadDestination));
        }
        let connection = ssh::connect(address)
            .and_then(Connection::over)
            .map_err(|problem| {
                warn!("ssh cannot be started: {problem}");
                Opened::of(OpenStatus::Unreachable)
            })?;
        Ok(Self {
            connection: Arc::new(connection),
        })
    }
}

impl Sftp {
    /// Opens the folder for a service. With `create` its last component is made. Only behind the
    /// jail: here the first byte of the server is read.
    pub(crate) fn open(
        unopened: Unopened,
        service: Service,
        create: bool,
        tries: bool,
        address: &SftpAddress,
    ) -> Result<Self, Opened> {
        let Unopened { connection } = unopened;
        let server = Server::greet(&connection).map_err(|lost| {
            warn!("there is no SFTP server: {lost}");
            Opened::of(status_of_words(&connection.last_words()))
        })?;
        let path = address.path.as_os_str().as_bytes();
        let mut store = Self::open_at(server, service, create, path)?;
        if tries && !create {
            let tried = store.places.try_to_be_exclusive(&store.naming);
            store.has_named = tried.map_err(open_fault)?;
        }
        Ok(store)
    }

    fn open_at(
        server: Server,
        service: Service,
        create: bool,
        path: &[u8],
    ) -> Result<Self, Opened> {
        let mut root = path.to_vec();
        while root.ends_with(b"/") {
            root.pop();
        }
        let made = create && make_root(&server, &root)?;
        let opened = Self::open_folder(server.clone(), service, create, &root);
        if opened.is_err() && made {
            // A folder that could not become a store is removed again.
            let incoming = [&root[..], b"/", incoming::FOLDER].concat();
            for folder in [&incoming, &root] {
                let removed = server.ask(packet::RMDIR, folder);
                let _ = removed.and_then(Ticket::status);
            }
        }
        opened
    }

    fn open_folder(
        server: Server,
        service: Service,
        create: bool,
        root: &[u8],
    ) -> Result<Self, Opened> {
        // Asked with the first request, so that its answer need not be waited for.
        let sweeps = service == Service::Push && !create;
        let incoming = [root, b"/", incoming::FOLDER].concat();
        let opening = sweeps.then(|| server.ask(packet::OPENDIR, &incoming));
        let Root {
            shards,
            space,
            syncs_folders,
        } = expect_folder(&server, root, create)?;
        let writes = service != Service::Fetch;
        if writes && space.is_some_and(|space| space.read_only) {
            return Err(Opened::of(OpenStatus::ReadOnly));
        }
        let least = RESERVE_BYTES.saturating_add(FIRST_BACKUP_BYTES);
        if let Some(space) = space.filter(|space| space.limited && space.free_bytes < least) {
            if create {
                return Err(Opened {
                    free_mib: Some(free_mib(space.free_bytes)),
                    ..Opened::of(OpenStatus::Full)
                });
            }
        }
        if writes && !syncs_folders {
            warn!("the server does not sync folders: what it accepts may not outlive a power cut");
        }
        let naming = Naming::of(server.extensions);
        let mut store = Self {
            places: Arc::new(Places {
                server,
                root: root.to_vec(),
                syncs_folders,
                shards: Mutex::new(shards),
                synced: Mutex::default(),
            }),
            deleted_from: BTreeSet::new(),
            opened: OpenBlobs::default(),
            queue: Queue::default(),
            naming: Arc::new(Mutex::new(naming)),
            has_named: create,
            uploads: Arc::default(),
            turns: Turns::default(),
            sweeping: None,
        };
        match service {
            Service::Push => store.prepare_incoming(opening).map_err(open_fault)?,
            Service::Prune => store.places.sweep(store.places.open_incoming()),
            Service::Fetch => {}
        }
        if create {
            let tried = store.places.try_to_be_exclusive(&store.naming);
            if !tried.map_err(open_fault)? {
                return Err(Opened::of(OpenStatus::Unsuitable));
            }
        }
        store.places.server.connection.be_patient();
        info!(
            hardlink = store.places.server.extensions.hardlink,
            fsync = store.places.server.extensions.fsync,
            syncs_folders,
            statvfs = store.places.server.extensions.statvfs,
            "connected"
        );
        Ok(store)
    }
}

impl Sftp {
    /// Makes the folder of blobs on their way in, unless `opening` finds it, and begins to remove
    /// what killed helpers left there.
    fn prepare_incoming(&mut self, opening: Option<Result<Ticket, Fault>>) -> Result<(), Fault> {
        let opened = opening.map(|opening| opening.and_then(Ticket::handle));
        let Some(Ok(folder)) = opened else {
            return self.places.prepare_incoming();
        };
        let places = Arc::clone(&self.places);
        let sweeping = Builder::new().name("sweep".into());
        // Without a thread it is left to another call.
        self.sweeping = sweeping.spawn(move || places.sweep(Ok(folder))).ok();
        Ok(())
    }

    /// What keeps two blobs from one name. Whether a file system has hard links shows only when a
    /// blob gets its name, as it does when a store is made.
    pub(crate) fn create_only(&self) -> CreateOnly {
        match *places::known(&self.naming) {
            Naming::HardLink if self.has_named => CreateOnly::Atomic,
            Naming::HardLink => CreateOnly::Unknown,
            // OpenSSH looks before it renames.
            Naming::RenameUntried | Naming::Rename => CreateOnly::Checked,
        }
    }

    /// What a receipt means. An account that only reads may be denied to sync what it could not
    /// have written.
    pub(crate) fn durability(&self, service: Service) -> Durability {
        let places = &self.places;
        match places.syncs_folders {
            true => Durability::Durable,
            false if service == Service::Fetch && places.server.extensions.fsync => {
                Durability::Unknown
            }
            false => Durability::Accepted,
        }
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        if let Some(sweeping) = self.sweeping.take() {
            let _ = sweeping.join();
        }
    }
}

impl Prune for Sftp {
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError> {
        const STEP: &str = "delete a blob";
        let at_name = |fault: Fault| fault.at_name(STEP);
        let shard = shard_of(name);
        let places = &self.places;
        if !places.has_shard(shard).map_err(at_name)? {
            return Ok(false);
        }
        let path = places.blob_path(name);
        let removed = places.server.ask(packet::REMOVE, &path);
        let was_there = match removed.and_then(Ticket::status).if_there() {
            Ok(removed) => removed.is_some(),
            Err(fault) if fault.is(Code::Failure) => {
                let found = places.server.look(&path).map_err(at_name)?;
                if found.is_some_and(|found| found.is_file() == Some(false)) {
                    return Err(StoreError::Foreign { step: STEP });
                }
                return Err(fault.at_name(STEP));
            }
            Err(fault) => return Err(fault.at_name(STEP)),
        };
        // Also when the blob did not exist: an earlier run may have deleted it and been killed
        // before that was durable.
        self.deleted_from.insert(shard);
        Ok(was_there)
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        let shards: Vec<u8> = std::mem::take(&mut self.deleted_from).into_iter().collect();
        const STEP: &str = "make deletions durable";
        let synced = self.places.sync_shards(&shards);
        if synced.map_err(|fault| fault.failed(STEP))? {
            Ok(())
        } else {
            let errno = server::errno_of(Code::PermissionDenied);
            Err(StoreError::Failed { step: STEP, errno })
        }
    }
}

/// Makes the last component of the store's path. Returns whether it was missing.
fn make_root(server: &Server, root: &[u8]) -> Result<bool, Opened> {
    let making = server.make_folder(&or_slash(root)).map_err(open_fault)?;
    match making.status() {
        Ok(()) => {}
        Err(fault) if fault.may_be_taken() || fault.is(Code::PermissionDenied) => {
            // An account may be denied to make a folder that is there already.
            let found = server
                .ask(packet::STAT, &or_slash(root))
                .map_err(open_fault)?;
            return match found.attributes().if_there().map_err(open_fault)? {
                Some(_) => Ok(false),
                None => Err(open_fault(fault)),
            };
        }
        Err(fault) => return Err(open_fault(fault)),
    }
    let parent = root.rsplitn(2, |byte| *byte == b'/').nth(1);
    let parent = or_slash(parent.unwrap_or_default());
    syncs(server, &parent).map_err(open_fault)?;
    Ok(true)
}

/// The store's folder, as it is found.
struct Root {
    shards: BTreeSet<u8>,
    /// Its free space; `None` if the server does not report it.
    space: Option<Space>,
    /// Whether the server makes the names in folders durable, tried with this one.
    syncs_folders: bool,
}

/// The store's folder; an error if it is not what was expected. What does not depend on each other
/// is asked at once.
fn expect_folder(server: &Server, root: &[u8], create: bool) -> Result<Root, Opened> {
    let root = or_slash(root);
    // The owner chose this path, which may contain links.
    let looking = server.ask(packet::STAT, &root).map_err(open_fault)?;
    let opening = server.ask(packet::OPENDIR, &root).map_err(open_fault)?;
    let asking = server.extensions.statvfs;
    let asking = asking.then(|| server.ask_for_space(&root)).transpose();
    let asking = asking.map_err(open_fault)?;
    let found = looking.attributes().map_err(open_fault)?;
    if found.is_folder() == Some(false) {
        return Err(Opened::of(OpenStatus::NotAFolder));
    }
    let folder = opening.handle().map_err(open_fault)?;
    let space = asking.map(|asking| server.space_of(asking)).transpose();
    let space = space.map_err(open_fault)?.flatten();
    // Not before the look at it: opening a pipe would not end.
    let opening = server.extensions.fsync;
    let opening = opening.then(|| server.open_for_reading(&root)).transpose();
    let opening = opening.map_err(open_fault)?;
    let mut listing = Entries::of(server, &folder).map_err(open_fault)?;
    let mut next = listing.next().map_err(open_fault)?;
    let syncing = opening
        .map(|opening| -> Result<_, Fault> {
            let root = opening.handle()?;
            Ok((server.fsync(&root)?, root))
        })
        .transpose();
    let (mut shards, mut other_things, mut count) = (BTreeSet::new(), false, 0_usize);
    while let Some(entries) = next {
        count = count.saturating_add(entries.len());
        for entry in &entries {
            match &entry.name[..] {
                // Every new ext file system has a lost+found.
                b"." | b".." | b"lost+found" | incoming::FOLDER => {}
                _ => match shard_in(entry) {
                    Some(shard) => drop(shards.insert(shard)),
                    None => other_things = true,
                },
            }
        }
        if count > ROOT_ENTRIES_MAX {
            break;
        }
        next = listing.next().map_err(open_fault)?;
    }
    let synced = syncing.and_then(|syncing| match syncing {
        Some((ticket, _root)) => ticket.status().map(|()| true),
        None => Ok(false),
    });
    let syncs_folders = match synced {
        Ok(syncs) => syncs,
        Err(Fault::Status(_)) => false,
        Err(lost) => return Err(open_fault(lost)),
    };
    match (create, shards.is_empty()) {
        (false, true) => Err(Opened::of(OpenStatus::Empty)),
        (true, _) if other_things || !are_empty(server, &root, &shards)? => {
            Err(Opened::of(OpenStatus::NotEmpty))
        }
        _ => Ok(Root {
            shards,
            space,
            syncs_folders,
        }),
    }
}

/// Whether these shards are all empty, as they are once their blobs were deleted.
fn are_empty(server: &Server, root: &[u8], shards: &BTreeSet<u8>) -> Result<bool, Opened> {
    for shard in shards {
        let path = [root, format!("/{shard:02x}").as_bytes()].concat();
        let folder = server.ask(packet::OPENDIR, &path).map_err(open_fault)?;
        let folder = folder.handle().map_err(open_fault)?;
        let mut listing = Entries::of(server, &folder).map_err(open_fault)?;
        while let Some(entries) = listing.next().map_err(open_fault)? {
            let mut names = entries.iter().map(|entry| &entry.name[..]);
            if names.any(|name| !matches!(name, b"." | b"..")) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The shard that an entry is, if it is one.
fn shard_in(entry: &Entry) -> Option<u8> {
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let is_shard = entry.name.len() == 2
        && entry.name.iter().all(is_digit)
        && entry.attributes.is_folder() != Some(false);
    let name = std::str::from_utf8(&entry.name).ok()?;
    is_shard
        .then(|| u8::from_str_radix(name, 16).ok())
        .flatten()
}

/// Why the store is not open.
fn open_fault(fault: Fault) -> Opened {
    let status = match &fault {
        Fault::Lost(lost) => {
            warn!("the store cannot be opened: {lost}");
            OpenStatus::Unreachable
        }
        Fault::Status(status) => {
            warn!(
                "the store cannot be opened: the server answered {:?} \"{}\"",
                status.code, status.message
            );
            match status.code {
                _ if fault.says_full() => OpenStatus::Full,
                Code::NoSuchFile => OpenStatus::Missing,
                Code::PermissionDenied => OpenStatus::Permission,
                Code::Unsupported => OpenStatus::Unsuitable,
                _ => OpenStatus::Failed,
            }
        }
    };
    Opened::of(status)
}

/// What ssh's last words mean for the person who reads the daemon's message.
fn status_of_words(words: &[u8]) -> OpenStatus {
    let has = |part: &[u8]| words.windows(part.len()).any(|window| window == part);
    if has(b"Permission denied") {
        OpenStatus::Permission
    } else {
        OpenStatus::Unreachable
    }
}
