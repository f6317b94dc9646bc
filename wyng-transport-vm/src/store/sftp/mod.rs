// SPDX-License-Identifier: GPL-3.0-or-later
//! The store in a folder of an SFTP server, which is laid out as the folder store is: what is
//! backed up over SFTP can be restored from the folder itself, and the reverse. Blobs on their way
//! in lie in the folder `.incoming`.
//!
//! An account that may neither remove, rename nor change modes can add blobs and change none: they
//! are read-only files, and get their names by a hard link.

mod connection;
mod incoming;
mod packet;
mod reading;
mod server;
mod ssh;
mod upload;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};
use wyng_wire::{BlobName, OpenStatus, Opened, RESERVE_BYTES, Service};

use super::address::SftpAddress;
use super::{Prune, StoreError};
pub(crate) use connection::Lost;
use connection::{Connection, Fault, Handle};
use incoming::Naming;
use packet::{Code, Entry};
use server::{IfThere, Server};

/// Minimum free space beyond the reserve for creating a store, bytes, as in a folder.
const FIRST_BACKUP_BYTES: u64 = 4 * 1024 * 1024;

/// Maximum number of entries of the store's folder that are looked at: it has 256 shards.
const ROOT_ENTRIES_MAX: usize = 10_000;

/// Number of shards on which requests are on their way at the same time.
const SHARDS_AT_ONCE: usize = 32;

/// A connected server, and the store's folder there.
pub(crate) struct Sftp {
    places: Arc<Places>,
    /// Shards with deletions that are not durable yet.
    deleted_from: BTreeSet<u8>,
    opened: reading::OpenBlobs,
    /// How blobs get their names.
    naming: Arc<Mutex<Naming>>,
}

/// The server with the paths of the store.
struct Places {
    server: Server,
    /// The path of the store's folder, without a slash at its end.
    root: Vec<u8>,
    /// Whether the server syncs folders.
    syncs_folders: bool,
    /// Shards that are folders.
    shards: Mutex<BTreeSet<u8>>,
    /// Shards whose names were made durable in this call.
    synced: Mutex<BTreeSet<u8>>,
}

impl Sftp {
    /// Starts ssh and opens the folder for a service. With `create` its last component is made.
    pub(crate) fn open(
        service: Service,
        create: bool,
        address: &SftpAddress,
    ) -> Result<Self, Opened> {
        let refused = |status| Opened {
            status,
            free_mib: None,
        };
        if !ssh::is_harmless(address) {
            return Err(refused(OpenStatus::BadDestination));
        }
        let connection = ssh::connect(address)
            .and_then(Connection::over)
            .map_err(|problem| {
                warn!("ssh cannot be started: {problem}");
                refused(OpenStatus::Unreachable)
            })?;
        let connection = Arc::new(connection);
        let server = Server::greet(&connection).map_err(|lost| {
            warn!("there is no SFTP server: {lost}");
            refused(status_of_words(&connection.last_words()))
        })?;
        Self::open_at(server, service, create, address.path.as_os_str().as_bytes())
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
                let _ = removed.and_then(connection::Ticket::status);
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
        let shards = expect_folder(&server, root, create)?;
        let space = server.space(&or_slash(root)).map_err(open_fault)?;
        let writes = service != Service::Fetch;
        if writes && space.is_some_and(|space| space.read_only) {
            return Err(opened(OpenStatus::ReadOnly));
        }
        let least = RESERVE_BYTES.saturating_add(FIRST_BACKUP_BYTES);
        if let Some(space) = space.filter(|space| space.limited && space.free_bytes < least) {
            if create {
                return Err(Opened {
                    status: OpenStatus::Full,
                    free_mib: Some(free_mib(space.free_bytes)),
                });
            }
        }
        let syncs_folders = syncs_folders(&server, root).map_err(open_fault)?;
        if writes && !syncs_folders {
            warn!("the server does not sync folders: what it accepts may not outlive a power cut");
        }
        let naming = Naming::of(server.extensions);
        let store = Self {
            places: Arc::new(Places {
                server,
                root: root.to_vec(),
                syncs_folders,
                shards: Mutex::new(shards),
                synced: Mutex::default(),
            }),
            deleted_from: BTreeSet::new(),
            opened: reading::OpenBlobs::default(),
            naming: Arc::new(Mutex::new(naming)),
        };
        match service {
            Service::Push => {
                store.places.prepare_incoming().map_err(open_fault)?;
                store.places.sweep();
            }
            Service::Prune => store.places.sweep(),
            Service::Fetch => {}
        }
        if create {
            let tried = store.places.try_to_be_exclusive(&store.naming);
            if !tried.map_err(open_fault)? {
                return Err(opened(OpenStatus::Unsuitable));
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

impl Places {
    /// The path of something in the store's folder.
    fn path(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut path = self.root.clone();
        for part in parts {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        path
    }

    fn shard_path(&self, shard: u8) -> Vec<u8> {
        self.path(&[format!("{shard:02x}").as_bytes()])
    }

    fn blob_path(&self, name: &BlobName) -> Vec<u8> {
        let hex = name.to_hex();
        self.path(&[hex.get(..2).unwrap_or_default(), &hex])
    }

    /// Whether a shard is a folder; `false` if there is none. Something else in its place holds no
    /// blobs, and nothing is opened through it.
    fn has_shard(&self, shard: u8) -> Result<bool, Fault> {
        if known(&self.shards).contains(&shard) {
            return Ok(true);
        }
        let found = self.server.look(&self.shard_path(shard))?;
        let is_folder = found.is_some_and(|found| found.is_folder() != Some(false));
        if is_folder {
            known(&self.shards).insert(shard);
        }
        Ok(is_folder)
    }

    /// Opens a shard's folder to sync it, if the server does that.
    fn open_to_sync(&self, shard: u8) -> Result<Option<connection::Ticket>, Fault> {
        self.syncs_folders
            .then(|| self.server.open_for_reading(&self.shard_path(shard)))
            .transpose()
    }

    /// Makes the names in these shards durable, if the server does that. `Ok(false)`: one of them
    /// may not be opened.
    fn sync_shards(&self, shards: &[u8]) -> Result<bool, Fault> {
        let mut all = true;
        for batch in shards.chunks(SHARDS_AT_ONCE) {
            let mut opening = Vec::new();
            for shard in batch {
                opening.extend(self.open_to_sync(*shard)?);
            }
            let mut syncing = Vec::new();
            for ticket in opening {
                match ticket.handle() {
                    Ok(folder) => syncing.push((self.server.fsync(&folder)?, folder)),
                    // A shard that is gone has no names.
                    Err(fault) if fault.is(Code::NoSuchFile) => {}
                    Err(fault) if fault.is(Code::PermissionDenied) => all = false,
                    Err(fault) => return Err(fault),
                }
            }
            for (ticket, _folder) in syncing {
                ticket.status()?;
            }
        }
        Ok(all)
    }

    /// The same, once in a call: a push may have been killed between a name and its sync, and a
    /// blob must not be shown if a power cut can undo its name.
    fn sync_once(&self, shards: &[u8]) -> Result<(), Fault> {
        let new: Vec<u8> = {
            let synced = known(&self.synced);
            let is_new = |shard: &&u8| !synced.contains(shard);
            shards.iter().filter(is_new).copied().collect()
        };
        self.sync_shards(&new)?;
        known(&self.synced).extend(new);
        Ok(())
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
        let was_there = match removed.and_then(connection::Ticket::status).if_there() {
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

/// The first byte of a name.
fn shard_of(name: &BlobName) -> u8 {
    let [first, ..] = name.0;
    first
}

fn known<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of a folder whose slash at the end was removed.
fn or_slash(root: &[u8]) -> Vec<u8> {
    if root.is_empty() { b"/" } else { root }.to_vec()
}

fn free_mib(free_bytes: u64) -> u32 {
    let mib = u32::try_from(free_bytes >> 20).unwrap_or(u32::MAX);
    mib.min(u32::MAX - 1)
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

/// The shards in the store's folder; an error if it is not what was expected.
fn expect_folder(server: &Server, root: &[u8], create: bool) -> Result<BTreeSet<u8>, Opened> {
    let root = or_slash(root);
    // The owner chose this path, which may contain links.
    let found = server.ask(packet::STAT, &root).map_err(open_fault)?;
    let found = found.attributes().map_err(open_fault)?;
    if found.is_folder() == Some(false) {
        return Err(opened(OpenStatus::NotAFolder));
    }
    let folder = server.ask(packet::OPENDIR, &root).map_err(open_fault)?;
    let folder = folder.handle().map_err(open_fault)?;
    let (mut shards, mut other_things, mut count) = (BTreeSet::new(), false, 0_usize);
    while let Some(entries) = next_entries(server, &folder).map_err(open_fault)? {
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
    }
    match (create, shards.is_empty()) {
        (false, true) => Err(opened(OpenStatus::Empty)),
        (true, false) => Err(opened(OpenStatus::NotEmpty)),
        (true, true) if other_things => Err(opened(OpenStatus::NotEmpty)),
        _ => Ok(shards),
    }
}

/// The next entries of an open folder; `None` at its end.
fn next_entries(server: &Server, folder: &Handle) -> Result<Option<Vec<Entry>>, Fault> {
    match server.read_folder(folder)?.names() {
        Ok(entries) => Ok(Some(entries)),
        Err(fault) if fault.is(Code::EndOfFile) => Ok(None),
        Err(fault) => Err(fault),
    }
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

/// Whether the server makes the names in folders durable, tried with the store's folder.
fn syncs_folders(server: &Server, root: &[u8]) -> Result<bool, Fault> {
    syncs(server, &or_slash(root))
}

/// Makes the names in a folder durable. Returns whether the server does that.
fn syncs(server: &Server, folder: &[u8]) -> Result<bool, Fault> {
    if !server.extensions.fsync {
        return Ok(false);
    }
    let synced = server
        .open_for_reading(folder)?
        .handle()
        .and_then(|folder| server.fsync(&folder)?.status());
    match synced {
        Ok(()) => Ok(true),
        Err(Fault::Status(_)) => Ok(false),
        Err(lost) => Err(lost),
    }
}

const fn opened(status: OpenStatus) -> Opened {
    Opened {
        status,
        free_mib: None,
    }
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
    opened(status)
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
