// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory files: how packs pass between two roles without a copy. The receiver maps only what can no longer change or shrink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::{fmt, io, slice};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Every seal that keeps a mapping valid.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a memory file was not mapped.
#[derive(Debug)]
pub enum MemfileError {
    /// It is not sealed: its owner could change it under us, or shrink it and crash us.
    NotSealed,
    /// It has another length than was said, or is empty.
    Length,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for MemfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("a memory file is not sealed"),
            Self::Length => f.write_str("a memory file has another length than was said"),
            Self::Io(error) => write!(f, "a memory file cannot be used: {error}"),
        }
    }
}

impl std::error::Error for MemfileError {}

/// An empty memory file, to be filled with `write` and then sealed.
pub fn new_file() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("wyng", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// From now on nobody can change, grow or shrink the file.
pub fn seal_file(file: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(file, SEALS)?)
}

/// A mapping of the first `length` bytes of a memory file.
struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is plain memory that belongs to its one owner, which may be any thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: BorrowedFd<'_>, length: usize, access: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses a free address range, so no other object is overlaid.
        let address = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, file, 0) }?;
        let address = NonNull::new(address.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave no address"))?;
        Ok(Self { address, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `new`, and no reference outlives its owner.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// A memory file that is being filled in place. Nobody else has it yet.
pub struct WritableFile {
    file: OwnedFd,
    mapping: Mapping,
}

impl WritableFile {
    /// A file of `length` zero bytes.
    pub fn new(length: usize) -> io::Result<Self> {
        let file = new_file()?;
        rustix::fs::ftruncate(&file, length as u64)?;
        let mapping = Mapping::new(file.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { file, mapping })
    }

    /// Cuts it to `length` bytes, seals it, and gives the file to be passed on.
    pub fn finish(self, length: usize) -> io::Result<OwnedFd> {
        let Self { file, mapping } = self;
        drop(mapping); // a writable mapping would forbid the seal
        rustix::fs::ftruncate(&file, length as u64)?;
        seal_file(&file)?;
        Ok(file)
    }
}

impl AsRef<[u8]> for WritableFile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is valid for `length` bytes while self lives, and the file is ours alone.
        unsafe { slice::from_raw_parts(self.mapping.address.as_ptr(), self.mapping.length) }
    }
}

impl AsMut<[u8]> for WritableFile {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.mapping.address.as_ptr(), self.mapping.length) }
    }
}

/// A sealed memory file of another role, mapped for reading.
pub struct MappedFile(Mapping);

impl MappedFile {
    /// Maps a file that must be sealed and have just `length` bytes. Both are checked before it is touched.
    pub fn map(file: &OwnedFd, length: usize) -> Result<Self, MemfileError> {
        let io = |error: rustix::io::Errno| MemfileError::Io(error.into());
        if !rustix::fs::fcntl_get_seals(file).map_err(io)?.contains(SEALS) {
            return Err(MemfileError::NotSealed);
        }
        let found = rustix::fs::fstat(file).map_err(io)?.st_size;
        if length == 0 || u64::try_from(found) != Ok(length as u64) {
            return Err(MemfileError::Length);
        }
        Mapping::new(file.as_fd(), length, ProtFlags::READ).map(Self).map_err(MemfileError::Io)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is valid for `length` bytes while self lives; the seals keep the file from changing or shrinking.
        unsafe { slice::from_raw_parts(self.0.address.as_ptr(), self.0.length) }
    }
}
