// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob on the server if its name is free: write, make durable, name, make durable. Many
//! blocks are on their way at the same time, and what does not depend on each other is asked at
//! once: a blob takes four round trips.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use wyng_wire::{BlobName, RESERVE_BYTES};

use super::blocks::Blocks;
use super::connection::{Fault, Handle, Ticket};
use super::incoming::{Named, Naming, Temporary};
use super::packet::{self, Attributes, BLOCK_BYTES, Code, Status};
use super::places::{Places, free_mib, known, or_slash, shard_of};
use crate::store::{Placed, Reserve, StoreError};

/// Maximum number of blocks on their way that are not confirmed.
const BLOCKS_MAX: usize = 64;

const OPENING: &str = "open a shard";
const MAKING: &str = "make a temporary file";
const WRITING: &str = "write a blob";
const SETTLING: &str = "make a name durable";
const NAMING: &str = "name a blob";
const COMPARING: &str = "compare a blob";

/// Maximum length of a blob whose name is looked up before it is sent, bytes: with one block and the
/// end behind it, it is read back in one round trip.
const LOOKED_UP_MAX: u32 = BLOCK_BYTES;

/// A blob that is being stored on the server.
pub(super) struct SftpUpload {
    places: Arc<Places>,
    naming: Arc<Mutex<Naming>>,
    name: BlobName,
    /// The file, until it is closed and removed.
    temporary: Option<Temporary>,
    /// The folder that gets the name, open to be synced.
    shard: Option<Handle>,
    /// The name of that folder, if it is new.
    new_shard: Option<SyncingRoot>,
    unconfirmed: VecDeque<Ticket>,
    written_bytes: u64,
    /// A short blob whose name was taken when it was looked up.
    kept: Option<Kept>,
}

/// A short blob, of which nothing is sent until it was compared with what has its name.
struct Kept {
    found: Attributes,
    bytes: Vec<u8>,
}

/// What an upload begins with.
pub(super) struct Begin {
    pub(super) places: Arc<Places>,
    pub(super) naming: Arc<Mutex<Naming>>,
    pub(super) name: BlobName,
    pub(super) length_bytes: u32,
    pub(super) reserve: Reserve,
    /// Bytes of blobs that are being stored beside this one.
    pub(super) other_bytes: u64,
}

impl Begin {
    /// Makes the temporary file, if there is space for the blob.
    pub(super) fn run(self) -> Result<SftpUpload, StoreError> {
        let Self {
            places,
            naming,
            name,
            length_bytes,
            reserve,
            other_bytes,
        } = self;
        let in_writing = |fault: Fault| fault.in_writing("ask for free space");
        let at_name = |step| move |fault: Fault| fault.at_name(step);
        let space = (reserve == Reserve::Kept && places.server.extensions.statvfs)
            .then(|| places.server.ask_for_space(&or_slash(&places.root)))
            .transpose()
            .map_err(in_writing)?;
        let shard = shard_of(&name);
        let making = places.ask_for_shard(shard).map_err(at_name(OPENING))?;
        let folder = places.open_to_sync(shard).map_err(at_name(OPENING))?;
        // The newest commit is put again by every backup.
        let looking = (length_bytes <= LOOKED_UP_MAX)
            .then(|| places.server.ask(packet::LSTAT, &places.blob_path(&name)))
            .transpose()
            .map_err(at_name(COMPARING))?;
        let asked = places.ask_for_temporary(&name).map_err(at_name(MAKING))?;
        let asked = asked.handle();
        let temporary = match places.make_temporary(&name, asked) {
            Ok(temporary) => temporary,
            Err(fault) => return Err(places.no_room_or(fault, length_bytes, MAKING)),
        };
        let mut upload = SftpUpload {
            places: Arc::clone(&places),
            naming,
            name,
            temporary: Some(temporary),
            shard: None,
            new_shard: None,
            unconfirmed: VecDeque::new(),
            written_bytes: 0,
            kept: None,
        };
        let is_new = making.is_some();
        if let Some(making) = making {
            upload.new_shard = places.made_shard(shard, making)?;
        }
        if let Some(ticket) = folder {
            let folder = match ticket.handle() {
                // A server that did not wait for the folder to be made.
                Err(fault) if is_new && fault.is(Code::NoSuchFile) => {
                    let again = places.server.open_for_reading(&places.shard_path(shard));
                    again.and_then(Ticket::handle)
                }
                opened => opened,
            };
            upload.shard = Some(folder.map_err(at_name(OPENING))?);
        }
        // Whatever is wrong with the name, naming finds it.
        if let Some(Ok(found)) = looking.map(Ticket::attributes) {
            let bytes = Vec::new();
            upload.kept = Some(Kept { found, bytes });
        }
        let space = space.map(|space| places.server.space_of(space)).transpose();
        if let Some(space) = space.map_err(in_writing)?.flatten() {
            let least = RESERVE_BYTES
                .saturating_add(length_bytes.into())
                .saturating_add(other_bytes);
            if space.limited && space.free_bytes < least {
                return Err(StoreError::Full {
                    free_mib: Some(free_mib(space.free_bytes)),
                });
            }
        }
        Ok(upload)
    }
}

/// A shard that the server was asked to make.
struct MakingShard {
    made: Ticket,
    /// The store's folder, to be opened for its sync.
    root: Option<Ticket>,
}

/// The store's folder, which is being synced for the name of a new shard.
struct SyncingRoot {
    synced: Ticket,
    _root: Handle,
}

impl Places {
    /// Asks for the folder of a blob, unless it is known to be there.
    fn ask_for_shard(&self, shard: u8) -> Result<Option<MakingShard>, Fault> {
        if known(&self.shards).contains(&shard) {
            return Ok(None);
        }
        let made = self.server.make_folder(&self.shard_path(shard))?;
        let root = self
            .syncs_folders
            .then(|| self.server.open_for_reading(&or_slash(&self.root)))
            .transpose()?;
        Ok(Some(MakingShard { made, root }))
    }

    /// Waits until the folder of a blob is there, and begins to make its name durable.
    fn made_shard(
        &self,
        shard: u8,
        making: MakingShard,
    ) -> Result<Option<SyncingRoot>, StoreError> {
        let at_name = |fault: Fault| fault.at_name(OPENING);
        let path = self.shard_path(shard);
        match making.made.status() {
            Ok(()) => {}
            Err(fault) => match self.server.look(&path).map_err(at_name)? {
                Some(found) if found.is_folder() == Some(false) => {
                    return Err(StoreError::Foreign { step: OPENING });
                }
                Some(_) => {}
                None => return Err(self.no_room_or(fault, 0, OPENING)),
            },
        }
        // Whoever made it may not have come to this.
        match making.root.map(Ticket::handle) {
            Some(Ok(root)) => Ok(Some(SyncingRoot {
                synced: self.server.fsync(&root).map_err(at_name)?,
                _root: root,
            })),
            Some(Err(lost @ Fault::Lost(_))) => Err(at_name(lost)),
            // The server does not sync it for this account.
            Some(Err(Fault::Status(_))) | None => {
                known(&self.shards).insert(shard);
                Ok(None)
            }
        }
    }

    /// The error of a step that may have failed because the disk is full, which OpenSSH reports
    /// like any other failure.
    fn no_room_or(&self, fault: Fault, wanted_bytes: u32, step: &'static str) -> StoreError {
        let unclear = fault.is(Code::Failure) && !fault.says_full();
        if unclear {
            let space = self.server.space(&or_slash(&self.root));
            if let Ok(Some(space)) = space {
                // The last blocks of a file system are often not to be had.
                let least = u64::from(wanted_bytes).saturating_add(1 << 20);
                if space.limited && space.free_bytes < least {
                    return StoreError::Full {
                        free_mib: Some(free_mib(space.free_bytes)),
                    };
                }
            }
        }
        fault.in_writing(step)
    }
}

impl SftpUpload {
    /// Appends bytes to the blob.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        if let Some(kept) = &mut self.kept {
            kept.bytes.extend_from_slice(piece);
            return Ok(());
        }
        for block in piece.chunks(BLOCK_BYTES as usize) {
            self.write_block(block)
                .map_err(|fault| self.places.no_room_or(fault, BLOCK_BYTES, WRITING))?;
        }
        Ok(())
    }

    /// Gives the blob its name if the name is free, and returns when the outcome is durable.
    pub(super) fn finish(mut self) -> Result<Placed, StoreError> {
        const SYNCING: &str = "make a blob durable";
        if let Some(kept) = self.kept.take() {
            if let Some(placed) = self.compare_kept(&kept)? {
                return Ok(placed);
            }
            self.write(&kept.bytes)?;
        }
        // Before the name, because a power cut must not leave a name of half a blob. It need not
        // wait for the answers to the writes: what concerns one file is done in the order in which
        // it was asked.
        let syncing = self
            .ask_to_sync_file()
            .map_err(|fault| self.places.no_room_or(fault, BLOCK_BYTES, SYNCING))?;
        while let Some(ticket) = self.unconfirmed.pop_front() {
            ticket
                .status()
                .map_err(|fault| self.places.no_room_or(fault, BLOCK_BYTES, WRITING))?;
        }
        if let Some(syncing) = syncing {
            syncing
                .status()
                .map_err(|fault| self.places.no_room_or(fault, BLOCK_BYTES, SYNCING))?;
        }
        self.settle_shard()
            .map_err(|fault| fault.at_name(OPENING))?;
        let path = self.places.blob_path(&self.name);
        let Some(temporary) = &mut self.temporary else {
            return Ok(Placed::Unknown);
        };
        let named = self
            .places
            .publish(temporary, &path, &self.naming)
            .map_err(|fault| fault.at_name(NAMING))?;
        if named == Named::Taken {
            return self.compare(&path);
        }
        self.settle(named, &path)
            .map_err(|fault| fault.failed(SETTLING))?;
        Ok(Placed::New)
    }
}

impl SftpUpload {
    fn open_file(&self) -> Option<&Handle> {
        self.temporary.as_ref()?.file.as_ref()
    }

    fn write_block(&mut self, block: &[u8]) -> Result<(), Fault> {
        if self.unconfirmed.len() >= BLOCKS_MAX {
            if let Some(ticket) = self.unconfirmed.pop_front() {
                ticket.status()?;
            }
        }
        let Some(file) = self.open_file() else {
            return Ok(());
        };
        let server = &self.places.server;
        let ticket = server.write(file, self.written_bytes, block)?;
        self.unconfirmed.push_back(ticket);
        self.written_bytes = self.written_bytes.saturating_add(block.len() as u64);
        Ok(())
    }

    /// Makes the new name durable, looks at it, and removes the temporary one, in one round trip.
    fn settle(&mut self, named: Named, path: &[u8]) -> Result<(), Fault> {
        let server = &self.places.server;
        let mut asked = Vec::new();
        // The file again, because some file systems log no file without its name.
        if let Some(file) = self.open_file().filter(|_| server.extensions.fsync) {
            asked.push(server.fsync(file)?);
        }
        if let Some(shard) = &self.shard {
            asked.push(server.fsync(shard)?);
        }
        // rclone's server says that it made a link, and makes none.
        let looking = server.ask(packet::LSTAT, path)?;
        let mut removing = None;
        if let Some(Temporary { file, path }) = self.temporary.take() {
            drop(file);
            if named == Named::Linked {
                removing = Some(server.ask(packet::REMOVE, &path)?);
            }
        }
        for ticket in asked {
            ticket.status()?;
        }
        let found = looking.attributes()?;
        let has_length = |bytes| bytes == self.written_bytes;
        if found.is_file() == Some(false) || !found.length_bytes.is_none_or(has_length) {
            return Err(Fault::Status(Status {
                code: Code::Failure,
                message: "the name that the server gave leads to something else".into(),
            }));
        }
        // Where it may not be removed, it stays.
        match removing.map(Ticket::status) {
            Some(Err(lost @ Fault::Lost(_))) => Err(lost),
            _ => Ok(()),
        }
    }

    fn ask_to_sync_file(&self) -> Result<Option<Ticket>, Fault> {
        let server = &self.places.server;
        let file = self.open_file().filter(|_| server.extensions.fsync);
        file.map(|file| server.fsync(file)).transpose()
    }

    /// Waits until the name of a new shard is durable.
    fn settle_shard(&mut self) -> Result<(), Fault> {
        let Some(SyncingRoot { synced, _root }) = self.new_shard.take() else {
            return Ok(());
        };
        if let Err(lost @ Fault::Lost(_)) = synced.status() {
            return Err(lost);
        }
        known(&self.places.shards).insert(shard_of(&self.name));
        Ok(())
    }

    fn sync_shard(&self) -> Result<(), Fault> {
        match &self.shard {
            Some(shard) => self.places.server.fsync(shard)?.status(),
            None => Ok(()),
        }
    }

    /// Compares the blob with the file that has its name. A file of an earlier run may not be
    /// durable yet; with `Same` it is.
    fn compare(&self, path: &[u8]) -> Result<Placed, StoreError> {
        let server = &self.places.server;
        let lost_or = |fault: Fault, placed| match fault {
            Fault::Lost(_) => Err(fault.at_name(COMPARING)),
            Fault::Status(_) => Ok(placed),
        };
        let found = match server.look(path) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Placed::Unknown),
            Err(fault) => return lost_or(fault, Placed::Unknown),
        };
        let has_other_length = found
            .length_bytes
            .is_some_and(|bytes| bytes != self.written_bytes);
        if found.is_file() == Some(false) || has_other_length {
            return Ok(Placed::Different);
        }
        let Some(temporary) = &self.temporary else {
            return Ok(Placed::Unknown);
        };
        let open = |path: &[u8]| server.open_for_reading(path)?.handle();
        let (ours, taken) = match (open(&temporary.path), open(path)) {
            (Ok(ours), Ok(taken)) => (ours, taken),
            (Err(fault), _) | (_, Err(fault)) => return lost_or(fault, Placed::Unknown),
        };
        // One byte more, so that a longer file differs.
        let end_bytes = self.written_bytes.saturating_add(1);
        match self.same_bytes(&ours, &taken, end_bytes) {
            Ok(true) => {}
            Ok(false) => return Ok(Placed::Different),
            Err(fault) => return lost_or(fault, Placed::Unknown),
        }
        let settled = || {
            if server.extensions.fsync {
                server.fsync(&taken)?.status()?;
            }
            self.sync_shard()
        };
        settled().map_err(|fault| fault.failed(SETTLING))?;
        Ok(Placed::Same)
    }

    /// Compares a short blob, of which nothing was sent, with the file that had its name when it was
    /// looked up, and removes the temporary one; `None` if that is no file of its length that can
    /// be opened. With `Same` the file is durable.
    fn compare_kept(&mut self, kept: &Kept) -> Result<Option<Placed>, StoreError> {
        let Kept { found, bytes } = kept;
        let is_alike = found.is_file() != Some(false)
            && found.length_bytes == Some(bytes.len() as u64)
            && !bytes.is_empty();
        if !is_alike {
            return Ok(None);
        }
        let path = self.places.blob_path(&self.name);
        let opening = self.places.server.open_for_reading(&path);
        let taken = match opening.and_then(Ticket::handle) {
            Ok(taken) => taken,
            Err(fault @ Fault::Lost(_)) => return Err(fault.at_name(COMPARING)),
            Err(Fault::Status(_)) => return Ok(None),
        };
        let server = self.places.server.clone();
        let lost = |fault: Fault| fault.at_name(COMPARING);
        let length_bytes = u32::try_from(bytes.len()).unwrap_or(LOOKED_UP_MAX);
        let reading = server.read(&taken, 0, length_bytes).map_err(lost)?;
        // One byte more, so that a longer file differs.
        let ending = server.read(&taken, length_bytes.into(), 1).map_err(lost)?;
        let mut settling = Vec::new();
        if server.extensions.fsync {
            settling.push(server.fsync(&taken).map_err(lost)?);
        }
        if let Some(shard) = &self.shard {
            settling.push(server.fsync(shard).map_err(lost)?);
        }
        let mut removing = None;
        if let Some(Temporary { file, path }) = self.temporary.take() {
            drop(file);
            removing = Some(server.ask(packet::REMOVE, &path).map_err(lost)?);
        }
        let placed = match (reading.data(), ending.data()) {
            (Err(fault @ Fault::Lost(_)), _) | (_, Err(fault @ Fault::Lost(_))) => {
                return Err(lost(fault));
            }
            (Err(Fault::Status(_)), _) => Placed::Unknown,
            (Ok(read), Err(fault)) if fault.is(Code::EndOfFile) && read == *bytes => Placed::Same,
            (Ok(_), _) => Placed::Different,
        };
        if placed == Placed::Same {
            for ticket in settling {
                ticket.status().map_err(|fault| fault.failed(SETTLING))?;
            }
        }
        // Where it may not be removed, it stays.
        match removing.map(Ticket::status) {
            Some(Err(fault @ Fault::Lost(_))) => Err(lost(fault)),
            _ => Ok(Some(placed)),
        }
    }

    fn same_bytes(&self, ours: &Handle, taken: &Handle, end_bytes: u64) -> Result<bool, Fault> {
        let server = &self.places.server;
        let (mut ours_blocks, mut taken_blocks) = (Blocks::alone(), Blocks::alone());
        let mut offset_bytes = 0;
        let (mut ours_bytes, mut taken_bytes) =
            (vec![0; BLOCK_BYTES as usize], vec![0; BLOCK_BYTES as usize]);
        loop {
            let left_bytes = end_bytes.saturating_sub(offset_bytes);
            // Both are asked before either is awaited.
            ours_blocks.ask(server, ours, offset_bytes, left_bytes)?;
            taken_blocks.ask(server, taken, offset_bytes, left_bytes)?;
            let count = ours_blocks.fill(server, ours, &mut ours_bytes)?;
            let taken_count = taken_blocks.fill(server, taken, &mut taken_bytes)?;
            if ours_bytes.get(..count) != taken_bytes.get(..taken_count) {
                return Ok(false);
            }
            if count == 0 {
                return Ok(offset_bytes == self.written_bytes);
            }
            offset_bytes = offset_bytes.saturating_add(count as u64);
        }
    }
}

impl Drop for SftpUpload {
    fn drop(&mut self) {
        self.unconfirmed.clear();
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.file);
            // A crash before that leaves a file that a later sweep removes.
            let _ = self.places.remove(&temporary.path);
        }
    }
}
