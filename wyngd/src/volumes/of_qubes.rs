// SPDX-License-Identifier: GPL-3.0-or-later
//! The keyholder's questions about whole qubes: which there are, a part of one as a source, and that
//! one was backed up.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wyng_control::{BaseOf, Failure, FoundSource, NoSource, QubeFault, QubePart, qube_origin};

use super::qubes::{Part, Wanted};
use super::reflink::Reflink;
use super::{Opened, Refusal, Volumes, source_bytes};
use crate::ipc::{Fatal, KeyholderToVolumes, VolumesToKeyholder};

/// Maximum number of attempts to take a volume that is replaced meanwhile.
const ATTEMPTS: usize = 3;

impl Volumes {
    /// Answers a question about qubes.
    pub(super) fn hear_about_qubes(&mut self, message: KeyholderToVolumes) -> Result<(), Fatal> {
        match message {
            KeyholderToVolumes::CheckMachine { far_ends } => {
                let whole = self.whole.as_ref();
                let facts = whole.map_or_else(Vec::new, |qubes| qubes.check(&far_ends));
                self.keyholder
                    .send(&VolumesToKeyholder::Machine { facts }, &[])
            }
            KeyholderToVolumes::ChooseQubes {
                choice,
                far_ends,
                live,
            } => {
                let chosen = self
                    .whole
                    .as_mut()
                    .map_or(Err(Failure::NoQubesHere), |qubes| {
                        qubes.choose(&choice, &far_ends, live)
                    });
                let answer = match chosen {
                    Ok(chosen) => VolumesToKeyholder::Qubes { chosen },
                    Err(failure) => VolumesToKeyholder::NoQubes { failure },
                };
                self.keyholder.send(&answer, &[])
            }
            KeyholderToVolumes::OpenOfQube {
                item,
                qube,
                uuid,
                part,
                base_of,
                live,
            } => {
                self.snapshots.remove(&item);
                let wanted = Wanted {
                    qube: &qube,
                    uuid: &uuid,
                    volume: match &part {
                        QubePart::Volume(name) => Some(name),
                        QubePart::Settings => None,
                    },
                    live,
                };
                let path = qube_origin(&uuid, &part).into_bytes();
                match self.hand_over_of_qube(item, wanted, &path, &base_of) {
                    Ok(()) => Ok(()),
                    Err(Refused::Source(why)) => self
                        .keyholder
                        .send(&VolumesToKeyholder::NoSource { item, path, why }, &[]),
                    Err(Refused::Fatal(fatal)) => Err(fatal),
                }
            }
            KeyholderToVolumes::NoteBackedUp { qube, uuid, time } => {
                let noted = self
                    .whole
                    .as_ref()
                    .map(|qubes| qubes.note(&qube, &uuid, time));
                if let Some(Err(fault)) = noted {
                    tracing::warn!(qube, %fault, "the time of the backup is not in backup_timestamp");
                }
                self.keyholder.send(&VolumesToKeyholder::Noted, &[])
            }
            of_restore => self.hear_of_restore(of_restore),
        }
    }

    /// Hands over a part of a qube. What was replaced while it was taken is taken again.
    fn hand_over_of_qube(
        &mut self,
        item: u32,
        wanted: Wanted<'_>,
        path: &[u8],
        base_of: &BaseOf,
    ) -> Result<(), Refused> {
        for _ in 0..ATTEMPTS {
            let trusted = self.trusted;
            let qubes = self.whole.as_mut().ok_or(Refused::of(QubeFault::Gone))?;
            let part = qubes.open(wanted, trusted).map_err(Refused::Source)?;
            let (source, taken) = match part {
                Part::Settings { file, left_out } => {
                    let size_bytes = source_bytes(&file)?.unwrap_or(0);
                    let message = VolumesToKeyholder::Settings {
                        item,
                        size_bytes,
                        left_out,
                        peak_rss_bytes: wyng_jail::peak_resident_bytes(),
                    };
                    return Ok(self.keyholder.send(&message, &[file.as_fd()])?);
                }
                Part::Clone { fresh, folder } => {
                    let found = found(path, folder.path());
                    let base = folder.base(base_of);
                    let clone = Reflink::of_clone(fresh.file, base, Some(folder))?;
                    return Ok(self.hand_over_snapshot(item, clone, &fresh.reads, found)?);
                }
                Part::File { source, folder } => {
                    let fresh = folder.as_ref().and_then(|folder| folder.fresh().ok());
                    let clone = folder.zip(fresh).map(|(folder, fresh)| {
                        let found = found(path, folder.path());
                        let base = folder.base(base_of);
                        Reflink::snapshot(&source, fresh, base, Some(folder))
                            .map(|(clone, reads)| (clone, reads, found))
                    });
                    match clone {
                        Some(Ok(clone)) => (source, Some(clone)),
                        _ => (source, None),
                    }
                }
                Part::Device { source } => {
                    return self.hand_over_device_of_qube(item, wanted, source, path, base_of);
                }
            };
            if !self.is_still(wanted, &source) {
                continue;
            }
            let handed_over = match taken {
                Some((clone, reads, found)) => self.hand_over_snapshot(item, clone, &reads, found),
                None => {
                    let opened = Opened {
                        item,
                        source,
                        found: found(path, None),
                    };
                    self.hand_over_source(opened, None)
                }
            };
            return Ok(handed_over?);
        }
        Err(Refused::of(QubeFault::Replaced))
    }

    /// Hands over a snapshot of a device. qubesd gives a volume's name to another one at each stop
    /// of its qube, and the snapshot must be of the one that has the name.
    fn hand_over_device_of_qube(
        &mut self,
        item: u32,
        wanted: Wanted<'_>,
        source: OwnedFd,
        path: &[u8],
        base_of: &BaseOf,
    ) -> Result<(), Refused> {
        if !self.is_still(wanted, &source) {
            return Err(Refused::of(QubeFault::Replaced));
        }
        let looked = self.machine.look(std::path::Path::new("/"), source.as_fd());
        let mut found = found(path, None);
        found.origin.device_bytes = looked.origin.device_bytes;
        found.origin.marks = looked.origin.marks;
        let opened = Opened {
            item,
            source,
            found,
        };
        Ok(self.hand_over_device(opened, base_of)?)
    }

    fn is_still(&self, wanted: Wanted<'_>, source: &OwnedFd) -> bool {
        let qubes = self.whole.as_ref();
        qubes.is_some_and(|qubes| qubes.is_still(wanted, source, self.trusted))
    }
}

/// Where a part of a qube lies: its origin is the qube, whatever file or device it is today.
fn found(path: &[u8], snapshots: Option<std::path::PathBuf>) -> FoundSource {
    let mut found = FoundSource::default();
    found.origin.path = path.to_vec();
    found.origin.leads_to = path.to_vec();
    found.snapshots = snapshots.map(|path| path.into_os_string().into_encoded_bytes());
    found
}

/// Why a part of a qube is not handed over.
enum Refused {
    /// It is reported to the command, and the role continues.
    Source(NoSource),
    Fatal(Fatal),
}

impl Refused {
    fn of(fault: QubeFault) -> Self {
        Self::Source(NoSource::OfQube(fault))
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Source(NoSource::Errno(errno.raw_os_error()))
    }
}

impl From<Fatal> for Refused {
    fn from(fatal: Fatal) -> Self {
        Refusal::from(fatal).into()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Descriptor(errno) => errno.into(),
            Refusal::Fatal(fatal) => Self::Fatal(fatal),
        }
    }
}
