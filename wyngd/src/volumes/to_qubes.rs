// SPDX-License-Identifier: GPL-3.0-or-later
//! The keyholder's questions of a restore of qubes: memory for records, the plan, and the volumes of
//! new qubes as targets.

use std::os::fd::AsFd;

use wyng_control::{Failure, TargetFault, TargetKind};

use super::Volumes;
use super::qubes::{Next, Opened};
use crate::ipc::{Fatal, KeyholderToVolumes, VolumesToKeyholder};

impl Volumes {
    /// Answers a question about qubes that are restored.
    pub(super) fn hear_of_restore(&mut self, message: KeyholderToVolumes) -> Result<(), Fatal> {
        let trusted = self.trusted;
        let Some(qubes) = &mut self.whole else {
            return self.say_no_qubes(&message);
        };
        let answer = match message {
            KeyholderToVolumes::OpenRecord { item } => match qubes.restores().open_record(item) {
                Ok(file) => {
                    let opened = Opened {
                        file,
                        kind: TargetKind::File,
                        there: None,
                        of_pool: None,
                    };
                    return self.hand_over_new(item, &opened);
                }
                Err(errno) => VolumesToKeyholder::NoTarget {
                    item,
                    fault: TargetFault::Unavailable {
                        errno: errno.raw_os_error(),
                    },
                },
            },
            KeyholderToVolumes::AddQube {
                label,
                record,
                volumes,
                uuid,
                wish,
            } => {
                let added = qubes
                    .restores()
                    .add((&label, record), &volumes, uuid, &wish);
                VolumesToKeyholder::QubeAdded {
                    failure: added.err(),
                }
            }
            KeyholderToVolumes::ShowSystem { record } => VolumesToKeyholder::PlanLines {
                lines: qubes.system_commands(record),
            },
            KeyholderToVolumes::PlanQubes { wish, is_proven } => VolumesToKeyholder::Planned {
                failure: qubes.plan(&wish, is_proven, trusted).err(),
            },
            KeyholderToVolumes::NextPlanLines => VolumesToKeyholder::PlanLines {
                lines: qubes.restores().next_lines(),
            },
            KeyholderToVolumes::NextOfQubes => match qubes.next_of_plan(trusted) {
                Ok(Next::Import { item, opened }) => {
                    return self.hand_over_new(item, &opened);
                }
                Ok(Next::NoImport { item }) => VolumesToKeyholder::NoImport { item },
                Ok(Next::Made(qube, failure)) => VolumesToKeyholder::QubeMade { qube, failure },
                Ok(Next::Done) => VolumesToKeyholder::QubesDone { failure: None },
                Err(failure) => VolumesToKeyholder::QubesDone {
                    failure: Some(failure),
                },
            },
            KeyholderToVolumes::EndImport { item } => VolumesToKeyholder::ImportEnded {
                item,
                failure: qubes.end_import(item, trusted).err(),
            },
            KeyholderToVolumes::KeptQubes => VolumesToKeyholder::KeptQubes {
                kept: qubes.restores().kept_qubes(),
            },
            KeyholderToVolumes::SettleQube { qube, end } => {
                let (qube, failure) = qubes.settle(&qube, end, trusted);
                VolumesToKeyholder::QubeMade { qube, failure }
            }
            _ => return Err(Fatal::Unexpected(self.keyholder.peer())),
        };
        self.keyholder.send(&answer, &[])
    }

    /// Hands over a new target without a name of its own, with what is in it already.
    fn hand_over_new(&self, item: u32, opened: &Opened) -> Result<(), Fatal> {
        let of_pool = opened.of_pool;
        let message = VolumesToKeyholder::Target {
            item,
            kind: opened.kind,
            there: opened.there,
            discards_bytes: of_pool.map_or(0, |of_pool| of_pool.discards_bytes),
            fresh: of_pool.map(|of_pool| of_pool.fresh),
            remembered: None,
        };
        self.keyholder.send(&message, &[opened.file.as_fd()])
    }

    /// The answer where qubesd is not asked: no qube can be restored.
    fn say_no_qubes(&self, message: &KeyholderToVolumes) -> Result<(), Fatal> {
        let failure = Some(Failure::NoQubesHere);
        let answer = match message {
            KeyholderToVolumes::PlanQubes { .. } => VolumesToKeyholder::Planned { failure },
            KeyholderToVolumes::NextOfQubes => VolumesToKeyholder::QubesDone { failure },
            _ => VolumesToKeyholder::QubeAdded { failure },
        };
        self.keyholder.send(&answer, &[])
    }
}
