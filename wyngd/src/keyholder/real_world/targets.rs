// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore: files and devices are written through the page cache and read back past
//! it; a stream is written onwards.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use wyng_control::{Failure, TargetFault, TargetKind, TargetLook, ToClient};

use super::RealWorld;
use super::stream::Stream;
use crate::ipc::{
    Beside, ControlToKeyholder, Fatal, KeyholderToControl, KeyholderToVolumes, VolumesToKeyholder,
};
use crate::keyholder::page_cache::{Behind, Source, find_data, read_medium};
use crate::keyholder::world::{TargetShape, TargetWish};

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: usize = 64 * 1024;
/// A device clears so much at once; in between an interrupt is heard.
const CLEAR_MAX_BYTES: u64 = 64 << 20;

/// One target, open.
pub(super) struct Target {
    file: OwnedFd,
    kind: TargetKind,
    /// It is the thing itself, and has its name.
    in_place: bool,
    /// How it is written, if it is a stream.
    stream: Option<Stream>,
    behind: Behind,
    /// The data that was found last.
    data: Range<u64>,
}

impl Target {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.behind.note(&self.file, offset, bytes.len() as u64);
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            bytes = bytes.get(written..).unwrap_or_default();
            offset = offset.saturating_add(written as u64);
        }
        Ok(())
    }

    /// A hole, where the file system has holes; zeros elsewhere. A device is not asked to discard,
    /// which promises no zeros.
    pub(super) fn punch(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.saturating_add(length);
        let mut next = offset;
        while next < end {
            let piece = end.saturating_sub(next).min(CLEAR_MAX_BYTES);
            match rustix::fs::fallocate(
                &self.file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                next,
                piece,
            ) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.write_zeros(next, piece)?
                }
                punched => punched?,
            }
            next = next.saturating_add(piece);
        }
        Ok(())
    }

    fn write_zeros(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let zeros = [0; ZEROS_BYTES];
        let end = offset.saturating_add(length);
        let mut next = offset;
        while next < end {
            let piece = zeros
                .get(..part(end.saturating_sub(next)))
                .unwrap_or(&zeros);
            self.write(next, piece)?;
            next = next.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    pub(super) fn next_data(&mut self, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        if !self.data.contains(&offset) {
            let size_bytes = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0))?;
            let Some(data) = find_data(&self.file, offset, size_bytes)? else {
                return Ok(None);
            };
            self.data = data;
        }
        Ok(Some((self.data.start.max(offset), self.data.end)))
    }

    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        read_medium(&self.file, offset, bytes)
    }

    /// Gives a file its size, with holes; a device has the size that it has.
    fn finish(&mut self, size_bytes: u64) -> Result<(), Errno> {
        if self.kind == TargetKind::File {
            rustix::fs::ftruncate(&self.file, size_bytes)?;
        }
        self.sync()
    }

    /// Makes it durable, and leaves nothing of it in the page cache.
    fn sync(&mut self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.file)?;
        self.behind.drop_all(&self.file);
        self.data = 0..0;
        Ok(())
    }
}

/// At most [`ZEROS_BYTES`].
fn part(bytes: u64) -> usize {
    usize::try_from(bytes)
        .unwrap_or(ZEROS_BYTES)
        .min(ZEROS_BYTES)
}

impl RealWorld {
    pub(super) fn write_to(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.with_target(item, |world, target| match &mut target.stream {
            Some(stream) => world.write_stream(&target.file, stream, offset, bytes),
            None => target.write(offset, bytes),
        })
    }

    /// Fills a target up to its size: holes in a file, zeros in a stream.
    pub(super) fn finish_at(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno> {
        self.with_target(item, |world, target| match &mut target.stream {
            Some(stream) => world.write_stream(&target.file, stream, size_bytes, &[]),
            None => target.finish(size_bytes),
        })
    }

    /// Takes the target out while it is written: the world hears control meanwhile.
    fn with_target(
        &mut self,
        item: u32,
        write: impl FnOnce(&mut Self, &mut Target) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut target = self.targets.remove(&item).ok_or(Errno::BADF)?;
        let written = write(self, &mut target);
        self.targets.insert(item, target);
        written
    }

    pub(super) fn ask_for_look(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
    ) -> Result<TargetLook, Failure> {
        self.send_control(&KeyholderToControl::WantTargetLook {
            item,
            volume: wish.volume.to_owned(),
            session: wish.session,
            size_bytes: wish.size_bytes,
            base_of: wish.base_of,
            origin: wish.origin.clone(),
        })?;
        match self.control_answer()?.message {
            ControlToKeyholder::Looked { .. } if self.cancelled.is_some() => {
                Err(Failure::Interrupted)
            }
            ControlToKeyholder::Looked { item: looked, look } if looked == item => Ok(look),
            // A person is asked, and others wait.
            ControlToKeyholder::GiveBack => {
                self.prompts.give_back(None);
                Err(Failure::Interrupted)
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("control"))),
        }
    }

    pub(super) fn take_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        path: &str,
    ) -> Result<TargetShape, Failure> {
        let message = KeyholderToVolumes::OpenTarget {
            item,
            volume: wish.volume.to_owned(),
            size_bytes: wish.size_bytes,
            base_of: wish.base_of,
            in_place: wish.in_place,
            origin: wish.origin.clone(),
        };
        let received = self.ask_volumes(&message)?;
        let (kind, there, remembered) = match &received.message {
            VolumesToKeyholder::Target {
                item: found,
                kind,
                there,
                remembered,
            } if *found == item => (*kind, *there, remembered.clone()),
            VolumesToKeyholder::NoTarget { item: found, fault } if *found == item => {
                return Err(fault.clone().of_volume(wish.volume, path, wish.size_bytes));
            }
            _ => return Err(Self::fatal(&Fatal::Unexpected("volumes"))),
        };
        let mut given = received.descriptors().into_iter();
        let fatal = || Self::fatal(&Fatal::Unexpected("volumes"));
        let file = given.next().ok_or_else(fatal)?;
        let beside = there.and_then(|there| there.beside);
        if let Some(there) = there.filter(|_| beside.is_some()) {
            let source = Source::new(
                given.next().ok_or_else(fatal)?,
                there.size_bytes,
                beside == Some(Beside::Kept),
            );
            self.sources.insert(item, source);
        }
        let in_place = there.is_some_and(|there| there.in_place);
        let unusable = |errno: Errno| unusable(wish.volume, path, errno);
        let stream = (kind == TargetKind::Stream)
            .then(|| Stream::to(&file))
            .transpose()
            .map_err(unusable)?;
        let mut target = Target {
            file,
            kind,
            in_place,
            stream,
            behind: Behind::default(),
            data: 0..0,
        };
        if beside == Some(Beside::Old) {
            // A clone of it that failed half way may have left something.
            rustix::fs::ftruncate(&target.file, 0).map_err(unusable)?;
        } else if there.is_some() {
            // What is not written yet may look like a hole, and a direct read must find what was
            // written.
            target.sync().map_err(unusable)?;
        }
        self.targets.insert(item, target);
        Ok(TargetShape {
            kind,
            there,
            remembered,
        })
    }

    pub(super) fn name_target(
        &mut self,
        item: u32,
        volume: &str,
        path: &str,
    ) -> Result<(), Failure> {
        let Some(target) = self.targets.get(&item) else {
            return Err(Self::fatal(&Fatal::Gone("the target")));
        };
        if target.kind == TargetKind::Stream || target.in_place {
            return Ok(());
        }
        self.send_control(&KeyholderToControl::Tell(ToClient::Place { item }))?;
        match self.control_answer()?.message {
            ControlToKeyholder::Placed {
                item: placed,
                errno: 0,
            } if placed == item => Ok(()),
            ControlToKeyholder::Placed { errno, .. } => {
                Err(unusable(volume, path, Errno::from_raw_os_error(errno)))
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("control"))),
        }
    }

    pub(super) fn put_back(&mut self, item: u32, size_bytes: u64) -> Result<bool, Failure> {
        let Some(target) = self.targets.get_mut(&item).filter(|target| target.in_place) else {
            return Ok(false);
        };
        if target.kind == TargetKind::File
            && rustix::fs::ftruncate(&target.file, size_bytes).is_err()
        {
            return Ok(false);
        }
        let undone = match self
            .ask_volumes(&KeyholderToVolumes::Undo { item })?
            .message
        {
            VolumesToKeyholder::Undone { item: found, errno } if found == item => errno == 0,
            _ => return Err(Self::fatal(&Fatal::Unexpected("volumes"))),
        };
        Ok(undone
            && self
                .targets
                .get_mut(&item)
                .is_some_and(|target| target.sync().is_ok()))
    }

    pub(super) fn forget_target(&mut self, item: u32) {
        self.targets.remove(&item);
        self.sources.remove(&item);
        // Should the wire be broken, then the next question finds that out.
        let _ = self
            .volumes
            .send(&KeyholderToVolumes::CloseSource { item }, &[]);
    }
}

/// The system's word about a target, by the path that the caller gave it.
fn unusable(volume: &str, path: &str, errno: Errno) -> Failure {
    let fault = match errno {
        Errno::EXIST => TargetFault::Exists,
        errno => TargetFault::Unavailable {
            errno: errno.raw_os_error(),
        },
    };
    fault.of_volume(volume, path, 0)
}
