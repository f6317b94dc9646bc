// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the blobs of the folder. Whether they are what they should be is not known here.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use wyng_wire::BlobName;

use super::{Directory, shard_of};
use crate::piece::Piece;
use crate::store::{Blob, Fetch, StoreError};

/// A blob's file, open.
pub(crate) struct FolderBlob {
    file: OwnedFd,
    length_bytes: u64,
}

impl Fetch for Directory {
    type Blob = FolderBlob;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let mut complete = true;
        for byte in 0..=u8::MAX {
            let Some(shard) = self.readable_shard(byte, &mut complete) else { continue };
            let Ok(entries) = Dir::read_from(&shard) else {
                complete = false;
                continue;
            };
            for entry in entries {
                let Ok(entry) = entry else {
                    complete = false;
                    break;
                };
                // Anything that is not named as a blob of this shard is foreign, or a file on its way in.
                let Some(name) = BlobName::from_hex(entry.file_name().to_bytes()).filter(|name| name.0.first() == Some(&byte)) else {
                    continue;
                };
                match statat(&shard, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if is_file(stat.st_mode) => visit(&name, stat.st_size.try_into().unwrap_or(0))?,
                    // A link or folder, or deleted since.
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(_) => complete = false,
                }
            }
        }
        Ok(complete)
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<FolderBlob>, StoreError> {
        let hex = name.to_hex();
        let Some(shard) = self.shard(shard_of(&hex)).map_err(|errno| StoreError::new("open a shard", errno))? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&shard, &hex[..], flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(StoreError::new("open a blob", errno)),
        };
        let stat = fstat(&file).map_err(|errno| StoreError::new("open a blob", errno))?;
        if !is_file(stat.st_mode) {
            return Err(StoreError::Refused { step: "read what is no file", errno: Errno::ISDIR });
        }
        Ok(Some(FolderBlob { file, length_bytes: stat.st_size.try_into().unwrap_or(0) }))
    }
}

impl Directory {
    fn readable_shard(&self, byte: u8, complete: &mut bool) -> Option<OwnedFd> {
        let [first, second, ..] = BlobName([byte; 32]).to_hex();
        match self.shard([first, second]) {
            Ok(shard) => shard,
            // Something foreign in the place of a shard holds no blobs.
            Err(Errno::NOTDIR | Errno::LOOP) => None,
            Err(_) => {
                *complete = false;
                None
            }
        }
    }
}

impl Blob for FolderBlob {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn fill(&self, piece: &mut Piece, offset_bytes: u64, wanted: usize) -> Result<usize, StoreError> {
        piece.fill_from(&self.file, offset_bytes, wanted).map_err(|errno| StoreError::new("read a blob", errno))
    }
}

fn is_file(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}
