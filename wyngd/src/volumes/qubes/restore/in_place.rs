// SPDX-License-Identifier: GPL-3.0-or-later
//! One restore into a qube that is here: it is guarded and kept, its volumes are imported one after
//! the other, and then its settings follow. If a volume fails, everything is put back.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use wyng_control::{Failure, QubeDeed, QubeFault, RestoredQube, TargetKind, There};
use wyng_qube::QubeUuid;
use wyng_qube::plan::{
    Change, InPlaceNote, InPlacePlan, InPlaceState, KeptVolume, Nonce, Present, Step,
};

use super::clean::{send, set};
use super::import;
use super::journal::Journal;
use super::keep::{Ground, keep, kept, name_of, opened};
use super::next::Next;
use super::outcome::words;
use super::put_back::{add, end_whole, halted, present, put_back, take_guard, update};

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is done.
    New,
    /// Volumes are imported.
    Volumes,
    /// What became of it is reported.
    Reported,
}

/// A restore in place that is planned or under way.
pub(super) struct Running {
    label: String,
    plan: InPlacePlan,
    present: Present,
    /// Where each volume is kept.
    note: InPlaceNote,
    /// The numbers of the volumes' targets.
    items: BTreeMap<String, u32>,
    waiting: VecDeque<(String, u64)>,
    stage: Stage,
    is_noted: bool,
    open: Option<(u32, String)>,
    failed: Option<QubeFault>,
    unset: Vec<String>,
}

/// What is changed, and where what it was is kept.
pub(super) struct Target {
    /// The qube as the archive has it.
    pub(super) label: String,
    /// The name of the qube.
    pub(super) name: String,
    /// The qube.
    pub(super) present: Present,
    /// The folders of the pools, by the volumes' names.
    pub(super) folders: BTreeMap<String, String>,
    /// The numbers of the volumes' targets.
    pub(super) items: BTreeMap<String, u32>,
}

impl Running {
    pub(super) fn of(plan: InPlacePlan, target: Target, nonce: &Nonce) -> Self {
        let Target {
            label,
            name,
            present,
            folders,
            items,
        } = target;
        let volumes = plan.volumes.iter().map(|(volume, _)| KeptVolume {
            volume: volume.clone(),
            pool_folder: folders.get(volume).cloned().unwrap_or_default(),
        });
        let changes: Vec<Change> = plan.before.iter().chain(&plan.after).cloned().collect();
        let note = InPlaceNote {
            qube: name,
            uuid: present.uuid.as_str().to_owned(),
            nonce: nonce.as_str().to_owned(),
            state: InPlaceState::Begun,
            guard_before: None,
            volumes: volumes.collect(),
            touched: Vec::new(),
            changes,
        };
        Self {
            label,
            waiting: plan.volumes.clone().into(),
            plan,
            present,
            note,
            items,
            stage: Stage::New,
            is_noted: false,
            open: None,
            failed: None,
            unset: Vec::new(),
        }
    }

    /// Whether anything was done that may have to be put back.
    pub(super) fn is_begun(&self) -> bool {
        self.stage != Stage::New
    }

    /// Does the next part.
    pub(super) fn next(&mut self, ground: Ground<'_>, journal: &Journal) -> Result<Next, Failure> {
        if self.stage == Stage::New {
            self.check_unchanged(ground)?;
            self.stage = Stage::Volumes;
            self.failed = self.begin(ground, journal).err();
        }
        if self.stage == Stage::Reported {
            return Ok(Next::Done);
        }
        while self.failed.is_none()
            && let Some((volume, size_bytes)) = self.waiting.pop_front()
        {
            let Some(item) = self.items.get(&volume).copied() else {
                continue;
            };
            match self.open(ground, journal, (&volume, size_bytes)) {
                Ok((file, kind, there)) => {
                    self.open = Some((item, volume));
                    return Ok(Next::Import {
                        item,
                        file,
                        kind,
                        there,
                    });
                }
                Err(fault) => {
                    self.failed = Some(fault);
                    return Ok(Next::NoImport { item });
                }
            }
        }
        self.stage = Stage::Reported;
        Ok(self.end(ground, journal))
    }

    fn uuid(&self) -> &QubeUuid {
        &self.present.uuid
    }

    /// The qube must be what it was when the plan was made.
    fn check_unchanged(&self, (api, ..): Ground<'_>) -> Result<(), Failure> {
        let found = halted(api, &self.note.qube, Some(self.uuid()));
        let now = found.and_then(|found| present(api, &found));
        match now {
            Ok(now) if now == self.present.record => Ok(()),
            Err(QubeFault::NotHalted) => Err(Failure::QubesInPlace {
                qube: self.note.qube.clone(),
                why: QubeFault::NotHalted.to_string(),
            }),
            Ok(_) | Err(QubeFault::Gone) => Err(Failure::QubesChanged),
            Err(fault) => Err(super::super::api::of_command(fault)),
        }
    }

    /// Notes what is about to be done, guards the qube and keeps its volumes.
    fn begin(&mut self, ground: Ground<'_>, journal: &Journal) -> Result<(), QubeFault> {
        let (api, ..) = ground;
        self.note.guard_before = super::put_back::guard_of(api, &self.note.qube)?;
        add(journal, &self.note)?;
        self.is_noted = true;
        take_guard(api, journal, &mut self.note)?;
        let found = halted(api, &self.note.qube, Some(self.uuid()))?;
        for volume in &self.note.volumes {
            let info = api.volume(&self.note.qube, &volume.volume)?;
            let name = name_of(&self.note, &volume.volume).ok_or(QubeFault::OtherPlace)?;
            keep(ground, (&found, &info), &name)?;
        }
        for label in &self.plan.labels {
            // Without it, the label of the qube cannot be set, which is named.
            let _ = send(api, label.request());
        }
        for change in self.plan.before.clone() {
            let step = change.field.step(&self.note.qube, change.after.as_deref());
            set(api, &step.ok_or(QubeFault::OtherPlace)?)?;
        }
        Ok(())
    }

    /// Opens a volume's import, with everything in it that is there now.
    fn open(
        &mut self,
        ground: Ground<'_>,
        journal: &Journal,
        (volume, size_bytes): (&str, u64),
    ) -> Result<(OwnedFd, TargetKind, Option<There>), QubeFault> {
        let (api, pools, _) = ground;
        halted(api, &self.note.qube, Some(self.uuid()))?;
        let mut touched = self.note.touched.clone();
        touched.push(volume.to_owned());
        update(journal, &self.note.nonce, |note| {
            note.touched.clone_from(&touched);
        })?;
        self.note.touched = touched;
        let step = Step::Import {
            qube: self.note.qube.clone(),
            volume: volume.to_owned(),
            size_bytes,
        };
        let (file, kind) = import::begin(ground, &step)?;
        let mut volumes = self.note.volumes.iter();
        let place = volumes.find(|kept| kept.volume == volume);
        let clone = place.and_then(|place| kept(pools, &self.note, place).ok().flatten());
        let there = clone.and_then(|clone| share(&file, &clone));
        Ok((file, kind, there))
    }

    /// Ends the import of a volume that is complete. `None` if it is not this one's.
    pub(super) fn end_import(
        &mut self,
        ground: Ground<'_>,
        item: u32,
    ) -> Option<Result<(), Failure>> {
        let (_, volume) = self.open.take_if(|(open, _)| *open == item)?;
        let qube = self.note.qube.clone();
        Some(import::end(ground.0, &qube, &volume).map_err(|fault| {
            self.failed = Some(fault.clone());
            Failure::QubeNotMade { qube, why: fault }
        }))
    }

    /// Ends the import of a volume that is not.
    pub(super) fn close(&mut self, ground: Ground<'_>, item: u32) {
        if let Some((_, volume)) = self.open.take_if(|(open, _)| *open == item) {
            import::end_unsuccessfully(ground.0, &self.note.qube, &volume);
            self.failed = Some(QubeFault::VolumeNotRestored { volume });
        }
    }

    /// Sets what is left, or puts everything back; and reports.
    fn end(&mut self, ground: Ground<'_>, journal: &Journal) -> Next {
        let qube = self.note.qube.clone();
        let failed = match self.failed.take() {
            None => self.complete(ground, journal).err(),
            failed => failed,
        };
        let failure = failed.map(|why| {
            tracing::warn!(qube, %why, "a qube is not restored in place");
            if !self.is_noted {
                return Failure::QubeNotMade {
                    qube: qube.clone(),
                    why,
                };
            }
            match put_back(ground, journal, &self.note) {
                Ok(stays) => {
                    self.unset = stays;
                    Failure::QubePutBack {
                        qube: qube.clone(),
                        why,
                    }
                }
                Err(fault) => {
                    self.unset.push(format!("not put back: {fault}"));
                    Failure::QubeNotPutBack {
                        qube: qube.clone(),
                        why,
                    }
                }
            }
        });
        let uuid = self.uuid().as_str().to_owned();
        let report = RestoredQube {
            qube: self.label.clone(),
            name: qube,
            deed: QubeDeed::InPlace,
            uuid: failure.is_none().then_some(uuid),
            // Its history is its own already.
            continues: false,
            unset: self.unset.clone(),
        };
        Next::Made(report, failure)
    }

    /// Sets what is set once all volumes are in their places. What cannot be set is named.
    fn complete(&mut self, ground: Ground<'_>, journal: &Journal) -> Result<(), QubeFault> {
        let (api, ..) = ground;
        halted(api, &self.note.qube, Some(self.uuid()))?;
        let mut lacks_firewall = false;
        for change in &self.plan.after {
            let Some(step) = change.field.step(&self.note.qube, change.after.as_deref()) else {
                continue;
            };
            let is_netvm = matches!(
                &step,
                Step::SetProperty { property, .. } if property == "netvm"
            );
            // Without the firewall of the archive, the network stays what it is.
            let done = match is_netvm && lacks_firewall {
                true => Err(QubeFault::NotPlanned {
                    why: "its firewall is not set".into(),
                }),
                false => set(api, &step),
            };
            if let Err(fault) = done {
                lacks_firewall |= matches!(step, Step::SetFirewall { .. });
                self.unset.push(format!("{}: {fault}", words(&step)));
            }
        }
        update(journal, &self.note.nonce, |note| {
            note.state = InPlaceState::Whole;
        })?;
        // From here on nothing is put back unless a person says so; the next run ends what fails.
        if let Err(fault) = end_whole(api, journal, &self.note) {
            self.unset
                .push(format!("the guard of the restore: {fault}"));
        }
        Ok(())
    }
}

/// Makes a new file share everything with a clone; `None` where it does not. The file may be longer
/// afterwards than it is to be.
fn share(file: &OwnedFd, clone: &OwnedFd) -> Option<There> {
    rustix::fs::ioctl_ficlone(file, clone).ok()?;
    let found = rustix::fs::fstat(file).map_err(opened).ok()?;
    Some(There {
        size_bytes: u64::try_from(found.st_size).ok()?,
        in_target: true,
        in_place: false,
        beside: None,
        base: None,
    })
}
