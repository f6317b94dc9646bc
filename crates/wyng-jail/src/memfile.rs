// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory files, in which packs pass between two roles without a copy. The receiver maps only files
//! that can no longer change or shrink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::{fmt, io, slice};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// The seals that keep a mapping valid.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Why a memory file was not mapped.
#[derive(Debug)]
pub enum MemfileError {
    /// The file is not sealed: its owner could change it while it is read, or shrink it and crash
    /// the reader.
    NotSealed,
    /// The file is empty, or its length differs from the announced length.
    Length,
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for MemfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("a memory file is not sealed"),
            Self::Length => {
                f.write_str("the length of a memory file differs from the announced length")
            }
            Self::Io(error) => write!(f, "a memory file cannot be used: {error}"),
        }
    }
}

impl std::error::Error for MemfileError {}

/// An empty memory file, to be filled with `write` and then sealed.
pub fn new_file() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(
        "wyng",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?)
}

/// Seals the file: from now on no process can change, grow or shrink it.
pub fn seal_file(file: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(file, SEALS)?)
}

/// A mapping of the first `length` bytes of a memory file.
struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is plain memory with one owner, which may be any thread.
unsafe impl Send for Mapping {}
// SAFETY: the memory is only read through a shared reference.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses a free address range, so the mapping overlaps no other object.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let address = NonNull::new(address.cast::<u8>())
            .ok_or_else(|| io::Error::other("mmap gave no address"))?;
        Ok(Self { address, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `new`, and no reference
        // outlives its owner.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// A sealed memory file of another role, mapped for reading.
pub struct MappedFile(Mapping);

impl MappedFile {
    /// Maps a file, which must be sealed and have exactly `length` bytes. Both are checked before
    /// the file is mapped.
    pub fn map(file: &OwnedFd, length: usize) -> Result<Self, MemfileError> {
        let io = |error: rustix::io::Errno| MemfileError::Io(error.into());
        if !rustix::fs::fcntl_get_seals(file)
            .map_err(io)?
            .contains(SEALS)
        {
            return Err(MemfileError::NotSealed);
        }
        let found = rustix::fs::fstat(file).map_err(io)?.st_size;
        if length == 0 || u64::try_from(found) != Ok(length as u64) {
            return Err(MemfileError::Length);
        }
        Mapping::new(file.as_fd(), length)
            .map(Self)
            .map_err(MemfileError::Io)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is valid for `length` bytes while self lives; the seals keep the file
        // from changing or shrinking.
        unsafe { slice::from_raw_parts(self.0.address.as_ptr(), self.0.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> OwnedFd {
        let file = new_file().unwrap();
        assert_eq!(rustix::io::write(&file, bytes), Ok(bytes.len()));
        file
    }

    #[test]
    fn a_sealed_file_of_the_announced_length_is_mapped_and_can_no_longer_change() {
        let file = file(b"sealed");
        seal_file(&file).unwrap();
        assert_eq!(MappedFile::map(&file, 6).unwrap().as_ref(), b"sealed");
        assert!(
            rustix::io::pwrite(&file, b"x", 0).is_err() && rustix::fs::ftruncate(&file, 0).is_err()
        );
    }

    #[test]
    fn a_file_that_is_not_sealed_or_of_another_length_is_not_mapped() {
        let open = file(b"open");
        assert!(matches!(
            MappedFile::map(&open, 4),
            Err(MemfileError::NotSealed)
        ));
        seal_file(&open).unwrap();
        assert!(matches!(
            MappedFile::map(&open, 5),
            Err(MemfileError::Length)
        ));
        assert!(matches!(
            MappedFile::map(&open, 0),
            Err(MemfileError::Length)
        ));
    }
}
