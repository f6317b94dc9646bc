// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that looks at sources and targets which the caller opened, and hands them to the keyholder. It opens no path itself.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags};
use wyng_control::{Method, TargetKind, Wanted};

use crate::ipc::{ControlToVolumes, Fatal, KeyholderToVolumes, VolumesToControl, VolumesToKeyholder, Wire, enter_jail, not_enforced, wait};
use crate::roles::Role;

/// What was asked for last. The keyholder asks for one thing at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Source(u32),
    Target(u32),
}

/// Serves until control is gone.
pub fn run() -> Result<(), Fatal> {
    let control: Wire<VolumesToControl, ControlToVolumes> = Wire::inherited(Role::Volumes, Role::Control)?;
    let keyholder: Wire<VolumesToKeyholder, KeyholderToVolumes> = Wire::inherited(Role::Volumes, Role::Keyholder)?;
    let missing = enter_jail(Role::Volumes, || vec![("empty network", wyng_jail::empty_network_namespace())]);
    control.send(&VolumesToControl::Ready(not_enforced(missing)), &[])?;
    let mut asked = None;
    loop {
        let [from_control, from_keyholder] = wait([(control.as_fd(), PollFlags::IN), (keyholder.as_fd(), PollFlags::IN)], None)?;
        if from_keyholder {
            let (question, wanted) = match keyholder.receive()?.message {
                KeyholderToVolumes::OpenSource { item, volume } => (Asked::Source(item), Wanted::Source { volume }),
                KeyholderToVolumes::OpenTarget { item, volume, size_bytes } => (Asked::Target(item), Wanted::Target { volume, size_bytes }),
            };
            if asked.replace(question).is_some() {
                return Err(Fatal::Unexpected(keyholder.peer()));
            }
            control.send(&VolumesToControl::Want { item: question.item(), wanted }, &[])?;
        }
        if from_control {
            let received = match control.receive() {
                Err(Fatal::Gone(_)) => return Ok(()),
                received => received?,
            };
            let question = asked.take().ok_or(Fatal::Unexpected(control.peer()))?;
            match received.message {
                ControlToVolumes::Here { item } if item == question.item() => hand_over(&keyholder, question, received.descriptor()?)?,
                ControlToVolumes::Unavailable { item, errno } if item == question.item() => {
                    keyholder.send(&VolumesToKeyholder::Unavailable { item, errno }, &[])?;
                }
                _ => return Err(Fatal::Unexpected(control.peer())),
            }
        }
    }
}

impl Asked {
    fn item(self) -> u32 {
        match self {
            Self::Source(item) | Self::Target(item) => item,
        }
    }
}

fn hand_over(keyholder: &Wire<VolumesToKeyholder, KeyholderToVolumes>, question: Asked, descriptor: OwnedFd) -> Result<(), Fatal> {
    let item = question.item();
    let looked = match question {
        Asked::Source(_) => source_bytes(&descriptor)?.map(|size_bytes| VolumesToKeyholder::Source {
            item,
            size_bytes,
            method: Method::FullScan,
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        }),
        Asked::Target(_) => target_kind(&descriptor)?.map(|kind| VolumesToKeyholder::Target { item, kind }),
    };
    match looked {
        Some(message) => keyholder.send(&message, &[descriptor.as_fd()]),
        None => keyholder.send(&VolumesToKeyholder::WrongKind { item }, &[]),
    }
}

/// The size of a source that can be read anywhere: a regular file or a block device.
fn source_bytes(descriptor: &OwnedFd) -> Result<Option<u64>, Fatal> {
    let found = rustix::fs::fstat(descriptor)?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => u64::try_from(found.st_size).ok(),
        FileType::BlockDevice => Some(rustix::fs::seek(descriptor, rustix::fs::SeekFrom::End(0))?),
        _ => None,
    })
}

/// A new, empty file that can be read and written anywhere, or something that is written onwards.
fn target_kind(descriptor: &OwnedFd) -> Result<Option<TargetKind>, Fatal> {
    let found = rustix::fs::fstat(descriptor)?;
    let access = rustix::fs::fcntl_getfl(descriptor)? & OFlags::RWMODE;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_size == 0 && access == OFlags::RDWR => Some(TargetKind::File),
        FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice | FileType::Socket if access != OFlags::RDONLY => {
            Some(TargetKind::Stream)
        }
        _ => None,
    })
}
