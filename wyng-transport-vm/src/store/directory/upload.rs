// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob in the folder if its name is free: write, make durable, name, make durable. An
//! existing file is never written to, and is read only to compare it with a blob of the same name.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, fdatasync, fstat, fsync, openat};
use rustix::io::{Errno, pread};
use wyng_wire::{BlobName, RESERVE_BYTES};

use super::medium::drop_pages;
use super::reading::{BLOB, is_file, look};
use super::temporary::Temporary;
use super::{Directory, shard_of, space};
use crate::store::{Placed, Push, Reserve, StoreError, Upload};

/// Length of the parts in which two blobs are compared, bytes.
const COMPARE_BYTES: usize = 256 * 1024;

/// A blob that is being stored in the folder.
pub(crate) struct FolderUpload {
    temporary: Temporary,
    hex: [u8; 64],
}

impl Push for Directory {
    type Upload = FolderUpload;

    const BODIES_AT_ONCE: usize = 2;

    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        reserve: Reserve,
    ) -> Result<FolderUpload, StoreError> {
        if reserve == Reserve::Kept {
            let space = space(&self.root)
                .map_err(|errno| StoreError::in_writing("ask for free space", errno))?;
            if space.leaves_less_than(RESERVE_BYTES.saturating_add(length_bytes.into())) {
                return Err(StoreError::Full {
                    free_mib: Some(space.free_mib()),
                });
            }
        }
        let hex = name.to_hex();
        let shard = self
            .shard_for_writing(shard_of(&hex))
            .map_err(|errno| StoreError::at_name("open a shard", errno))?;
        let temporary = Temporary::create(self.temporaries, shard, &hex)
            .map_err(|errno| StoreError::at_name("make a temporary file", errno))?;
        Ok(FolderUpload { temporary, hex })
    }
}

impl Upload for FolderUpload {
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.temporary
            .file
            .write_all(piece)
            .map_err(|problem| StoreError::in_writing("write a blob", errno_of(&problem)))
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.temporary.file.as_fd())
    }

    fn finish(mut self) -> Result<Placed, StoreError> {
        // Before the name, because a power cut must not leave a name of half a blob. If this fails,
        // the file is given up instead of synced again: the kernel may have dropped the pages that
        // it could not write.
        fdatasync(&self.temporary.file)
            .map_err(|errno| StoreError::in_writing("make a blob durable", errno))?;
        match self.temporary.publish(&self.hex) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.compare(),
            Err(errno) => return Err(StoreError::at_name("name a blob", errno)),
        }
        self.temporary.unhide();
        // Again after the name, because btrfs logs no file without one. Elsewhere this is the sync
        // that the folder needs anyway.
        settle(&self.temporary.file)?;
        settle(&self.temporary.shard)?;
        // Nothing stays in the page cache: a backup is not read soon, and the next blob can use the
        // same pages.
        drop_pages(&self.temporary.file);
        Ok(Placed::New)
    }
}

impl FolderUpload {
    /// Compares the blob with the file that has its name. A file of an earlier run may not be
    /// durable yet; with `Same` it is.
    fn compare(&self) -> Result<Placed, StoreError> {
        let taken = match look(&self.temporary.shard, &self.hex).and_then(|_| self.open_taken()) {
            Ok(taken) => taken,
            Err(StoreError::Foreign { .. }) => return Ok(Placed::Different),
            Err(StoreError::Refused { .. } | StoreError::Unusable { .. }) => {
                return Ok(Placed::Unknown);
            }
            Err(problem) => return Err(problem),
        };
        // Made durable first: only then its pages can be dropped, so that the bytes on the disk are
        // compared.
        settle(&taken)?;
        drop_pages(&taken);
        let compared = same_bytes(&self.temporary.file, &taken);
        drop_pages(&taken); // nothing of it stays in memory
        match compared {
            Ok(true) => {}
            Ok(false) => return Ok(Placed::Different),
            Err(Compared::Taken) => return Ok(Placed::Unknown),
            Err(Compared::Ours(errno)) => {
                return Err(StoreError::Failed {
                    step: "compare a blob",
                    errno,
                });
            }
        }
        settle(&self.temporary.shard)?;
        Ok(Placed::Same)
    }

    fn open_taken(&self) -> Result<OwnedFd, StoreError> {
        openat(&self.temporary.shard, &self.hex[..], BLOB, Mode::empty()).map_err(|errno| {
            match errno {
                Errno::NXIO => StoreError::Foreign {
                    step: "compare a blob",
                },
                errno => StoreError::at_name("compare a blob", errno),
            }
        })
    }
}

/// Syncs a file that has its name. If that fails, it is unknown whether the name stays.
fn settle(file: impl AsFd) -> Result<(), StoreError> {
    fsync(&file).map_err(|errno| StoreError::Failed {
        step: "make a name durable",
        errno,
    })
}

/// The one of two files that could not be read.
enum Compared {
    Ours(Errno),
    Taken,
}

fn same_bytes(ours: impl AsFd, taken: impl AsFd) -> Result<bool, Compared> {
    let (ours_stat, taken_stat) = (
        fstat(&ours).map_err(Compared::Ours)?,
        fstat(&taken).map_err(|_| Compared::Taken)?,
    );
    if !is_file(taken_stat.st_mode) || ours_stat.st_size != taken_stat.st_size {
        return Ok(false);
    }
    let (mut ours_bytes, mut taken_bytes) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    let mut offset_bytes = 0;
    loop {
        let count = pread_full(&ours, &mut ours_bytes, offset_bytes).map_err(Compared::Ours)?;
        let taken_count =
            pread_full(&taken, &mut taken_bytes, offset_bytes).map_err(|_| Compared::Taken)?;
        if ours_bytes.get(..count) != taken_bytes.get(..taken_count) {
            return Ok(false);
        }
        if count < COMPARE_BYTES {
            return Ok(true);
        }
        offset_bytes = offset_bytes.saturating_add(count as u64);
    }
}

/// Fills `place` and returns the number of bytes; fewer at the end of the file.
fn pread_full(file: impl AsFd, place: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
    let mut filled = 0_usize;
    while let Some(room @ [_, ..]) = place.get_mut(filled..) {
        match pread(&file, room, offset_bytes.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

fn errno_of(problem: &io::Error) -> Errno {
    Errno::from_io_error(problem).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use rustix::fs::CWD;

    use super::super::folder::FOLDER;
    use super::super::medium::FromDisk;
    use super::super::temporary::Temporaries;
    use super::*;

    const NAME: BlobName = BlobName([0xab; 32]);

    fn store(path: &Path, temporaries: Temporaries) -> Directory {
        let root = openat(CWD, path, FOLDER, Mode::empty()).unwrap();
        Directory {
            root,
            temporaries,
            deleted_from: BTreeMap::new(),
            from_disk: FromDisk::default(),
        }
    }

    fn put(store: &Directory, bytes: &[u8]) -> Placed {
        let mut upload = store
            .begin(&NAME, bytes.len() as u32, Reserve::Usable)
            .unwrap();
        upload.write(bytes).unwrap();
        upload.finish().unwrap()
    }

    #[test]
    fn both_kinds_of_temporaries_put_if_absent_and_compare() {
        for kind in [Temporaries::Named, Temporaries::Unnamed] {
            let folder = tempfile::tempdir().unwrap();
            let store = store(folder.path(), kind);
            // Longer than one step of the comparison, and not a multiple of it.
            let mut bytes = vec![3; COMPARE_BYTES + 10];
            assert_eq!(put(&store, &bytes), Placed::New, "{kind:?}");
            assert_eq!(put(&store, &bytes), Placed::Same, "{kind:?}");
            assert_eq!(
                put(&store, &bytes[1..]),
                Placed::Different,
                "{kind:?}, shorter"
            );
            *bytes.last_mut().unwrap() = 4;
            assert_eq!(
                put(&store, &bytes),
                Placed::Different,
                "{kind:?}, in the last byte"
            );
            let left: Vec<_> = fs::read_dir(folder.path().join("ab"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(left, ["ab".repeat(32).as_str()], "{kind:?}");
        }
    }

    #[test]
    fn an_upload_that_is_not_finished_leaves_nothing() {
        for kind in [Temporaries::Named, Temporaries::Unnamed] {
            let folder = tempfile::tempdir().unwrap();
            let store = store(folder.path(), kind);
            store
                .begin(&NAME, 3, Reserve::Usable)
                .unwrap()
                .write(b"abc")
                .unwrap();
            assert_eq!(
                fs::read_dir(folder.path().join("ab")).unwrap().count(),
                0,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_folder_or_link_under_the_name_is_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), Temporaries::Unnamed);
        let place = folder.path().join("ab").join("ab".repeat(32));
        fs::create_dir_all(&place).unwrap();
        assert_eq!(put(&store, b"x"), Placed::Different);
        fs::remove_dir(&place).unwrap();
        fs::write(folder.path().join("x"), b"x").unwrap();
        std::os::unix::fs::symlink("../x", &place).unwrap();
        assert_eq!(
            put(&store, b"x"),
            Placed::Different,
            "a link to the same bytes is not those bytes"
        );
    }
}
