// SPDX-License-Identifier: GPL-3.0-or-later
//! The paths of the store on the server, its shards, and making their names durable.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wyng_wire::BlobName;

use super::connection::{Fault, Handle, Ticket};
use super::packet::{Code, Entry};
use super::server::Server;

/// Number of shards on which requests are on their way at the same time.
pub(super) const SHARDS_AT_ONCE: usize = 32;

/// The server with the paths of the store.
pub(super) struct Places {
    pub(super) server: Server,
    /// The path of the store's folder, without a slash at its end.
    pub(super) root: Vec<u8>,
    /// Whether the server syncs folders.
    pub(super) syncs_folders: bool,
    /// Shards that are folders.
    pub(super) shards: Mutex<BTreeSet<u8>>,
    /// Shards whose names were made durable in this call.
    pub(super) synced: Mutex<BTreeSet<u8>>,
}

impl Places {
    /// The path of something in the store's folder.
    pub(super) fn path(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut path = self.root.clone();
        for part in parts {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        path
    }

    pub(super) fn shard_path(&self, shard: u8) -> Vec<u8> {
        self.path(&[format!("{shard:02x}").as_bytes()])
    }

    pub(super) fn blob_path(&self, name: &BlobName) -> Vec<u8> {
        let hex = name.to_hex();
        self.path(&[hex.get(..2).unwrap_or_default(), &hex])
    }

    /// Whether a shard is a folder; `false` if there is none. Something else in its place holds no
    /// blobs, and nothing is opened through it.
    pub(super) fn has_shard(&self, shard: u8) -> Result<bool, Fault> {
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

    /// Opens a shard's folder to sync it, if the server does that. It may not have been looked at
    /// yet: with the dot, what is no folder is an error, where opening a pipe would not end.
    pub(super) fn open_to_sync(&self, shard: u8) -> Result<Option<Ticket>, Fault> {
        let folder = self.path(&[format!("{shard:02x}").as_bytes(), b"."]);
        self.syncs_folders
            .then(|| self.server.open_for_reading(&folder))
            .transpose()
    }

    /// Makes the names in these shards durable, if the server does that. `Ok(false)`: one of them
    /// may not be opened.
    pub(super) fn sync_shards(&self, shards: &[u8]) -> Result<bool, Fault> {
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
    pub(super) fn sync_once(&self, shards: &[u8]) -> Result<(), Fault> {
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

/// The first byte of a name.
pub(super) fn shard_of(name: &BlobName) -> u8 {
    let [first, ..] = name.0;
    first
}

pub(super) fn known<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of a folder whose slash at the end was removed.
pub(super) fn or_slash(root: &[u8]) -> Vec<u8> {
    if root.is_empty() { b"/" } else { root }.to_vec()
}

pub(super) fn free_mib(free_bytes: u64) -> u32 {
    let mib = u32::try_from(free_bytes >> 20).unwrap_or(u32::MAX);
    mib.min(u32::MAX - 1)
}

/// The entries of an open folder. Two requests are on their way at a time: most folders are read in
/// one answer, and the next one says that this was the end.
pub(super) struct Entries<'f> {
    server: &'f Server,
    folder: &'f Handle,
    asked: VecDeque<Ticket>,
}

impl<'f> Entries<'f> {
    /// Asks for the first entries.
    pub(super) fn of(server: &'f Server, folder: &'f Handle) -> Result<Self, Fault> {
        let asked = VecDeque::from([server.read_folder(folder)?, server.read_folder(folder)?]);
        Ok(Self {
            server,
            folder,
            asked,
        })
    }

    /// The next entries; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Entry>>, Fault> {
        let Some(ticket) = self.asked.pop_front() else {
            return Ok(None);
        };
        match ticket.names() {
            // No entry is no progress, and a server could go on with that for ever.
            Ok(entries) if entries.is_empty() => Ok(None),
            Ok(entries) => {
                self.asked.push_back(self.server.read_folder(self.folder)?);
                Ok(Some(entries))
            }
            Err(fault) if fault.is(Code::EndOfFile) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Makes the names in a folder durable. Returns whether the server does that.
pub(super) fn syncs(server: &Server, folder: &[u8]) -> Result<bool, Fault> {
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
