// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that looks at sources and targets which the caller opened, and hands them to the keyholder. Of paths it opens those alone that
//! the daemon's configuration names. In dom0 it also asks qubesd for the qubes behind far ends.

mod disposables;
mod qubesd;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use wyng_config::Config;
use wyng_control::{Method, TargetKind, Wanted};
use wyng_jail::{PathAccess, Profile};

use crate::ipc::{
    ControlToVolumes, Fatal, KeyholderToVolumes, VolumesToControl, VolumesToKeyholder, Wire, enter_jail_as, not_enforced, wait,
};
use crate::roles::Role;
use disposables::Disposables;

/// What was asked for last. The keyholder asks for one thing at a time.
enum Asked {
    /// Its number, and its volume's name.
    Source(u32, String),
    Target(u32),
}

type ToControl = Wire<VolumesToControl, ControlToVolumes>;
type ToKeyholder = Wire<VolumesToKeyholder, KeyholderToVolumes>;

/// Serves until control is gone. The volumes of the configuration in that file can be opened by their names. `owner` marks this daemon's
/// disposables; those that are left in the end are killed.
pub fn run(service: bool, config: Option<&Path>, owner: Option<String>) -> Result<(), Fatal> {
    let known = config.map_or_else(|| Ok(Config::default()), Config::read_if_there).map_err(|error| io::Error::other(error.to_string()))?;
    let control: ToControl = Wire::inherited(Role::Volumes, Role::Control)?;
    let keyholder: ToKeyholder = Wire::inherited(Role::Volumes, Role::Keyholder)?;
    let folders = folders_of(&known.volumes);
    let mut qubes = Disposables::of(&known.qubes, owner);
    let profile = match &qubes {
        Some(_) => Profile::VolumesInDom0,
        None if known.volumes.is_empty() => Role::Volumes.profile(),
        None => Profile::VolumesByName,
    };
    let missing = enter_jail_as(Role::Volumes, profile, service, || {
        let readable: Vec<_> = folders.iter().map(|folder| (folder.as_fd(), PathAccess::Read)).collect();
        vec![
            ("empty network", wyng_jail::empty_network_namespace()),
            ("only the folders of configured volumes", wyng_jail::restrict_paths(&readable)),
        ]
    });
    drop(folders);
    control.send(&VolumesToControl::Ready(not_enforced(missing)), &[])?;
    qubes.iter().for_each(Disposables::sweep);
    let served = serve(&control, &keyholder, &known.volumes, &mut qubes);
    qubes.iter_mut().for_each(Disposables::end_all);
    served
}

fn serve(
    control: &ToControl,
    keyholder: &ToKeyholder,
    volumes: &BTreeMap<String, PathBuf>,
    qubes: &mut Option<Disposables>,
) -> Result<(), Fatal> {
    let mut asked = None;
    loop {
        let [from_control, from_keyholder] = wait([(control.as_fd(), PollFlags::IN), (keyholder.as_fd(), PollFlags::IN)], None)?;
        if from_keyholder {
            let (question, wanted) = match keyholder.receive()?.message {
                KeyholderToVolumes::OpenSource { item, volume } => (Asked::Source(item, volume.clone()), Wanted::Source { volume }),
                KeyholderToVolumes::OpenTarget { item, volume, size_bytes } => (Asked::Target(item), Wanted::Target { volume, size_bytes }),
            };
            let item = question.item();
            if asked.replace(question).is_some() {
                return Err(Fatal::Unexpected(keyholder.peer()));
            }
            control.send(&VolumesToControl::Want { item, wanted }, &[])?;
        }
        if from_control {
            let received = match control.receive() {
                Err(Fatal::Gone(_)) => return Ok(()),
                received => received?,
            };
            if mind_qubes(control, &received.message, qubes)? {
                continue;
            }
            let question = asked.take().ok_or(Fatal::Unexpected(control.peer()))?;
            match received.message {
                ControlToVolumes::Here { item } if item == question.item() => hand_over(keyholder, &question, received.descriptor()?)?,
                ControlToVolumes::Configured { item } if item == question.item() => match open(volumes, &question) {
                    Ok(descriptor) => hand_over(keyholder, &question, descriptor)?,
                    Err(errno) => keyholder.send(&VolumesToKeyholder::Unavailable { item, errno: errno.raw_os_error() }, &[])?,
                },
                ControlToVolumes::Unavailable { item, errno } if item == question.item() => {
                    keyholder.send(&VolumesToKeyholder::Unavailable { item, errno }, &[])?;
                }
                _ => return Err(Fatal::Unexpected(control.peer())),
            }
        }
    }
}

/// Does what a message says of qubes; whether it was one of those. Where qubesd is not asked, every far end may be called as it is.
fn mind_qubes(control: &ToControl, message: &ControlToVolumes, qubes: &mut Option<Disposables>) -> Result<bool, Fatal> {
    match message {
        ControlToVolumes::PrepareQube { service, via } => {
            let service = *service;
            let prepared = qubes.as_mut().map_or(Ok(None), |qubes| qubes.prepare(service, via, control.as_fd()));
            let answer = match prepared {
                Ok(qube) => VolumesToControl::QubeReady { service, qube },
                Err(failure) => VolumesToControl::QubeNotReady { service, failure },
            };
            control.send(&answer, &[])?;
        }
        ControlToVolumes::EndQube { service } => qubes.iter_mut().for_each(|qubes| qubes.end(*service)),
        // It came when the qube was ready, or has ended its start.
        ControlToVolumes::GiveUpQube => {}
        _ => return Ok(false),
    }
    Ok(true)
}

impl Asked {
    fn item(&self) -> u32 {
        match self {
            Self::Source(item, _) | Self::Target(item) => *item,
        }
    }
}

/// The folders in which configured volumes lie, as far as they are there: a file may be replaced, a device made anew. Names of devices are
/// links, so `/dev` is one folder.
fn folders_of(volumes: &BTreeMap<String, PathBuf>) -> Vec<OwnedFd> {
    let folder = |path: &PathBuf| if path.starts_with("/dev") { Some(PathBuf::from("/dev")) } else { path.parent().map(Path::to_owned) };
    let folders: BTreeSet<PathBuf> = volumes.values().filter_map(folder).collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    folders.iter().filter_map(|folder| rustix::fs::open(folder, flags, Mode::empty()).ok()).collect()
}

/// Opens a source by its name in the configuration.
fn open(volumes: &BTreeMap<String, PathBuf>, question: &Asked) -> Result<OwnedFd, Errno> {
    let Asked::Source(_, name) = question else { return Err(Errno::INVAL) };
    let path = volumes.get(name).ok_or(Errno::NOENT)?;
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())
}

fn hand_over(keyholder: &Wire<VolumesToKeyholder, KeyholderToVolumes>, question: &Asked, descriptor: OwnedFd) -> Result<(), Fatal> {
    let item = question.item();
    let looked = match question {
        Asked::Source(..) => source_bytes(&descriptor)?.map(|size_bytes| VolumesToKeyholder::Source {
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
