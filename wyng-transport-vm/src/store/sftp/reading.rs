// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the blobs on the server. Many blocks of a blob, and several shards of a
//! listing, are on their way at the same time.

use std::cell::RefCell;
use std::sync::Arc;

use wyng_wire::BlobName;

use super::Sftp;
use super::blocks::Blocks;
use super::connection::{Fault, Handle, Ticket};
use super::packet::{self, Code, Entry, blob_of};
use super::places::{Places, SHARDS_AT_ONCE, known, shard_of};
use super::server::{IfThere, Server};
use crate::piece::Piece;
use crate::store::{Blob, Fetch, NETWORK_REQUESTS_AT_ONCE, StoreError};

const OPENING: &str = "open a blob";
const LOOKING: &str = "look for a blob";
const READING: &str = "read a blob";

/// The open file of a blob.
pub(crate) struct SftpBlob {
    server: Server,
    file: Arc<Handle>,
    length_bytes: u64,
    blocks: RefCell<Blocks>,
}

impl Fetch for Sftp {
    type Blob = SftpBlob;

    const REQUESTS_AT_ONCE: usize = NETWORK_REQUESTS_AT_ONCE;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let mut complete = true;
        let shards: Vec<u8> = (0..=u8::MAX).collect();
        for batch in shards.chunks(SHARDS_AT_ONCE) {
            let places = &self.places;
            let mut folders = places.open_shards(batch).unwrap_or_else(|_| {
                complete = false;
                Vec::new()
            });
            if folders.iter().any(|(_, folder)| folder.is_none()) {
                complete = false;
            }
            while !folders.is_empty() {
                let mut asked = Vec::new();
                for (shard, folder) in folders {
                    let Some(folder) = folder else { continue };
                    match places.server.read_folder(&folder) {
                        Ok(ticket) => asked.push((shard, folder, ticket)),
                        Err(_) => complete = false,
                    }
                }
                folders = Vec::new();
                for (shard, folder, ticket) in asked {
                    let entries = match ticket.names() {
                        Ok(entries) if entries.is_empty() => continue,
                        Ok(entries) => entries,
                        Err(fault) => {
                            complete &= fault.is(Code::EndOfFile);
                            continue;
                        }
                    };
                    for entry in entries {
                        match places.blob_in(shard, &entry) {
                            Ok(Some((name, length_bytes))) => visit(&name, length_bytes)?,
                            Ok(None) => {}
                            Err(_) => complete = false,
                        }
                    }
                    folders.push((shard, Some(folder)));
                }
            }
        }
        Ok(complete)
    }

    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError> {
        let at_name = |fault: Fault| fault.at_name(LOOKING);
        let shard = shard_of(name);
        if !self.places.has_shard(shard).map_err(at_name)? {
            return Ok(None);
        }
        let path = self.places.blob_path(name);
        let looking = self.places.server.ask(packet::LSTAT, &path);
        let looking = looking.map_err(at_name)?;
        // A name that is seen by now is durable afterwards.
        self.places.sync_once(&[shard]).map_err(at_name)?;
        match looking.attributes().if_there().map_err(at_name)? {
            None => Ok(None),
            Some(found) if found.is_file() == Some(false) => {
                Err(StoreError::Foreign { step: LOOKING })
            }
            Some(found) => Ok(Some(found.length_bytes.unwrap_or(0))),
        }
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<SftpBlob>, StoreError> {
        let blob = |file, length_bytes| SftpBlob {
            server: self.places.server.clone(),
            file,
            length_bytes,
            blocks: RefCell::new(Blocks::beside(&self.queue)),
        };
        if let Some((file, length_bytes)) = self.opened.find(name) {
            return Ok(Some(blob(file, length_bytes)));
        }
        let at_name = |fault: Fault| fault.at_name(OPENING);
        let Some((file, length_bytes)) = self.places.open_blob(name).map_err(at_name)? else {
            return Ok(None);
        };
        let Some(file) = file else {
            return Err(StoreError::Foreign { step: LOOKING });
        };
        let file = Arc::new(file);
        self.opened.keep(name, &file, length_bytes);
        Ok(Some(blob(file, length_bytes)))
    }
}

impl Places {
    /// Opens the file of a blob, whose name is durable by then, and returns its length, bytes; no
    /// file where something else has the name. What does not depend on each other is asked at once.
    fn open_blob(&self, name: &BlobName) -> Result<Option<(Option<Handle>, u64)>, Fault> {
        let shard = shard_of(name);
        if !self.has_shard(shard)? {
            return Ok(None);
        }
        let path = self.blob_path(name);
        // Examined before it is opened, because opening a device or a pipe can have effects.
        let looking = self.server.ask(packet::LSTAT, &path)?;
        let is_synced = known(&self.synced).contains(&shard);
        let folder = if is_synced {
            None
        } else {
            self.open_to_sync(shard)?
        };
        let Some(found) = looking.attributes().if_there()? else {
            return Ok(None);
        };
        if found.is_file() == Some(false) {
            return Ok(Some((None, 0)));
        }
        let opening = self.server.open_for_reading(&path)?;
        match folder.map(Ticket::handle) {
            Some(Ok(folder)) => self.server.fsync(&folder)?.status()?,
            // An account that may not open the folder reads nevertheless.
            Some(Err(fault)) if fault.is(Code::PermissionDenied) => {}
            Some(Err(fault)) => return Err(fault),
            None => {}
        }
        known(&self.synced).insert(shard);
        let file = opening.handle().if_there()?;
        Ok(file.map(|file| (Some(file), found.length_bytes.unwrap_or(0))))
    }

    /// Opens the folders of these shards that exist, after their names were made durable; `None`
    /// for one that cannot be opened.
    fn open_shards(&self, batch: &[u8]) -> Result<Vec<(u8, Option<Handle>)>, Fault> {
        let mut asked = Vec::new();
        for shard in batch {
            if !known(&self.shards).contains(shard) {
                let path = self.shard_path(*shard);
                asked.push((*shard, self.server.ask(packet::LSTAT, &path)?));
            }
        }
        for (shard, ticket) in asked {
            let found = ticket.attributes().if_there()?;
            if found.is_some_and(|found| found.is_folder() != Some(false)) {
                known(&self.shards).insert(shard);
            }
        }
        let there: Vec<u8> = {
            let shards = known(&self.shards);
            let is_there = |shard: &&u8| shards.contains(shard);
            batch.iter().filter(is_there).copied().collect()
        };
        self.sync_once(&there)?;
        let mut opening = Vec::new();
        for shard in there {
            let path = self.shard_path(shard);
            opening.push((shard, self.server.ask(packet::OPENDIR, &path)?));
        }
        let mut opened = Vec::new();
        for (shard, ticket) in opening {
            match ticket.handle().if_there() {
                Ok(Some(folder)) => opened.push((shard, Some(folder))),
                Ok(None) => {}
                Err(Fault::Status(_)) => opened.push((shard, None)),
                Err(lost) => return Err(lost),
            }
        }
        Ok(opened)
    }

    /// The blob that an entry of a shard is, and its length. Any other entry is foreign.
    fn blob_in(&self, shard: u8, entry: &Entry) -> Result<Option<(BlobName, u64)>, Fault> {
        let Some(name) = blob_of(&entry.name, shard) else {
            return Ok(None);
        };
        let mut attributes = entry.attributes;
        if attributes.is_file().is_none() || attributes.length_bytes.is_none() {
            match self.server.look(&self.blob_path(&name))? {
                Some(found) => attributes = found,
                None => return Ok(None), // deleted meanwhile
            }
        }
        let is_blob = attributes.is_file() != Some(false);
        Ok(is_blob.then(|| (name, attributes.length_bytes.unwrap_or(0))))
    }
}

impl Blob for SftpBlob {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError> {
        let mut blocks = self.blocks.borrow_mut();
        let fill = |room: &mut [u8]| {
            blocks.ask(&self.server, &self.file, offset_bytes, wanted as u64)?;
            blocks.fill(&self.server, &self.file, room)
        };
        let filled = piece.fill_by(wanted, fill);
        filled.map_err(|fault: Fault| fault.at_name(READING))
    }
}
