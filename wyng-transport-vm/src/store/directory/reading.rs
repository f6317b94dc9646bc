// SPDX-License-Identifier: GPL-3.0-or-later
//! Listing and reading the blobs of the folder. Their bytes are not verified here.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use wyng_wire::BlobName;

use super::{Directory, shard_of};
use crate::piece::Piece;
use crate::store::{Blob, Fetch, StoreError};

const OPENING: &str = "open a blob";

/// The flags with which a blob is opened: not through a link, and without waiting for the other end
/// of a pipe.
pub(super) const BLOB: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The open file of a blob.
pub(crate) struct FolderBlob {
    file: OwnedFd,
    length_bytes: u64,
}

impl Fetch for Directory {
    type Blob = FolderBlob;

    const REQUESTS_AT_ONCE: usize = 1;

    fn list<E>(&self, mut visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E> {
        let mut complete = true;
        for byte in 0..=u8::MAX {
            let Some(shard) = self.readable_shard(byte, &mut complete) else {
                continue;
            };
            let Ok(entries) = Dir::read_from(&shard) else {
                complete = false;
                continue;
            };
            for entry in entries {
                let Ok(entry) = entry else {
                    complete = false;
                    break;
                };
                // Any other name is that of a foreign or a temporary file.
                let Some(name) = BlobName::from_hex(entry.file_name().to_bytes())
                    .filter(|name| name.0.first() == Some(&byte))
                else {
                    continue;
                };
                match statat(&shard, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if is_file(stat.st_mode) => {
                        visit(&name, stat.st_size.try_into().unwrap_or(0))?
                    }
                    // A link or folder, or a blob that was deleted meanwhile.
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(_) => complete = false,
                }
            }
        }
        Ok(complete)
    }

    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError> {
        let hex = name.to_hex();
        let Some(shard) = self.shard_of_blob(&hex)? else {
            return Ok(None);
        };
        look(&shard, &hex)
    }

    fn open_blob(&self, name: &BlobName) -> Result<Option<FolderBlob>, StoreError> {
        let hex = name.to_hex();
        let Some(shard) = self.shard_of_blob(&hex)? else {
            return Ok(None);
        };
        // Examined before it is opened, because opening a device or a pipe can have effects.
        if look(&shard, &hex)?.is_none() {
            return Ok(None);
        }
        let file = match openat(&shard, &hex[..], BLOB, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NXIO) => return Err(StoreError::Foreign { step: OPENING }),
            Err(errno) => return Err(StoreError::at_name(OPENING, errno)),
        };
        // Examined again, because the name may lead to another file by now.
        let stat = fstat(&file).map_err(|errno| StoreError::at_name(OPENING, errno))?;
        if !is_file(stat.st_mode) {
            return Err(StoreError::Foreign { step: OPENING });
        }
        self.from_disk.begin(name, &file);
        Ok(Some(FolderBlob {
            file,
            length_bytes: stat.st_size.try_into().unwrap_or(0),
        }))
    }
}

/// The length of the file under a blob's name, bytes, if it exists.
pub(super) fn look(shard: &OwnedFd, hex: &[u8; 64]) -> Result<Option<u64>, StoreError> {
    match statat(shard, &hex[..], AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_file(stat.st_mode) => Ok(Some(stat.st_size.try_into().unwrap_or(0))),
        Ok(_) => Err(StoreError::Foreign {
            step: "look for a blob",
        }),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(StoreError::at_name("look for a blob", errno)),
    }
}

impl Directory {
    /// The shard of a blob, if it exists. Something else in its place is no shard.
    fn shard_of_blob(&self, hex: &[u8; 64]) -> Result<Option<OwnedFd>, StoreError> {
        match self.shard(shard_of(hex)) {
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
            found => found.map_err(|errno| StoreError::at_name("open a shard", errno)),
        }
    }

    fn readable_shard(&self, byte: u8, complete: &mut bool) -> Option<OwnedFd> {
        self.shard_of_blob(&BlobName([byte; 32]).to_hex())
            .unwrap_or_else(|_| {
                *complete = false;
                None
            })
    }
}

impl Blob for FolderBlob {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError> {
        piece
            .fill_from(&self.file, offset_bytes, wanted)
            .map_err(|errno| StoreError::at_name("read a blob", errno))
    }
}

pub(super) fn is_file(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}
