// SPDX-License-Identifier: GPL-3.0-or-later
//! One restore into a qube that is here: it is guarded and kept, its volumes are imported one after
//! the other, and then its settings follow. If a volume fails, everything is put back. A volume of a
//! thin pool is written beside the qube's, and imported once all volumes are complete.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use wyng_control::{Failure, QubeDeed, QubeFault, RestoredQube, There};
use wyng_qube::QubeUuid;
use wyng_qube::plan::{
    Change, InPlaceNote, InPlacePlan, InPlaceState, KeptVolume, Nonce, Present, Step,
};

use super::clean::{send, set};
use super::ground::Ground;
use super::import;
use super::journal::Journal;
use super::keep::{keep, kept, name_of, opened};
use super::next::{Next, Opened};
use super::outcome::words;
use super::put_back::{add, end_whole, halted, present, put_back, take_guard, update};
use super::thin::{self, Successor};
use crate::ipc::MadeFrom;

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
    open: Option<(u32, String, Option<Successor>)>,
    /// Volumes of thin pools that are complete, and take their places once all volumes are.
    ready: Vec<(String, Successor)>,
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
    /// Where each volume is kept, by its name.
    pub(super) places: BTreeMap<String, KeptVolume>,
    /// The numbers of the volumes' targets.
    pub(super) items: BTreeMap<String, u32>,
}

impl Running {
    pub(super) fn of(plan: InPlacePlan, target: Target, nonce: &Nonce) -> Self {
        let Target {
            label,
            name,
            present,
            places,
            items,
        } = target;
        let volumes = plan.volumes.iter();
        let volumes = volumes.filter_map(|(volume, _)| places.get(volume).cloned());
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
            ready: Vec::new(),
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
                Ok((successor, opened)) => {
                    self.open = Some((item, volume, successor));
                    return Ok(Next::Import { item, opened });
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
            if let Some(thin) = &volume.thin {
                let of = thin::of(&self.note, &volume.volume, thin);
                thin::keep(ground, (&found, &info), (&of, thin))?;
                continue;
            }
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

    /// Opens a volume's import, or its successor in a thin pool, with everything in it that is there
    /// now.
    fn open(
        &mut self,
        ground: Ground<'_>,
        journal: &Journal,
        (volume, size_bytes): (&str, u64),
    ) -> Result<(Option<Successor>, Opened), QubeFault> {
        let (api, pools, _) = ground;
        halted(api, &self.note.qube, Some(self.uuid()))?;
        let mut volumes = self.note.volumes.iter();
        let place = volumes.find(|kept| kept.volume == volume).cloned();
        let place = place.ok_or(QubeFault::OtherPlace)?;
        if let Some(thin) = &place.thin {
            let of = thin::of(&self.note, volume, thin);
            let made = thin::make(pools, (of, thin), MadeFrom::Present, size_bytes)?;
            return Ok((Some(made.0), made.1));
        }
        self.touch(journal, volume)?;
        let (file, kind) = import::begin(ground, &self.step(volume, size_bytes))?;
        let clone = kept(pools, &self.note, &place).ok().flatten();
        let there = clone.and_then(|clone| share(&file, &clone));
        let opened = Opened {
            file,
            kind,
            there,
            of_pool: None,
        };
        Ok((None, opened))
    }

    /// Notes that an import of a volume is about to begin.
    fn touch(&mut self, journal: &Journal, volume: &str) -> Result<(), QubeFault> {
        let mut touched = self.note.touched.clone();
        touched.push(volume.to_owned());
        update(journal, &self.note.nonce, |note| {
            note.touched.clone_from(&touched);
        })?;
        self.note.touched = touched;
        Ok(())
    }

    fn step(&self, volume: &str, size_bytes: u64) -> Step {
        Step::Import {
            qube: self.note.qube.clone(),
            volume: volume.to_owned(),
            size_bytes,
        }
    }

    /// Ends the import of a volume that is complete. `None` if it is not this one's.
    pub(super) fn end_import(
        &mut self,
        ground: Ground<'_>,
        item: u32,
    ) -> Option<Result<(), Failure>> {
        let (_, volume, successor) = self.open.take_if(|(open, ..)| *open == item)?;
        let qube = self.note.qube.clone();
        if let Some(successor) = successor {
            self.ready.push((volume, successor));
            return Some(Ok(()));
        }
        Some(import::end(ground.0, &qube, &volume).map_err(|fault| {
            self.failed = Some(fault.clone());
            Failure::QubeNotMade { qube, why: fault }
        }))
    }

    /// Ends the import of a volume that is not.
    pub(super) fn close(&mut self, ground: Ground<'_>, item: u32) {
        if let Some((_, volume, successor)) = self.open.take_if(|(open, ..)| *open == item) {
            if successor.is_none() {
                import::end_unsuccessfully(ground.0, &self.note.qube, &volume);
            }
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
        // Those that have not taken their places are removed.
        self.ready.clear();
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
        for (volume, successor) in std::mem::take(&mut self.ready) {
            let mut sizes = self.plan.volumes.iter();
            let size = sizes.find(|(name, _)| *name == volume);
            let (_, size_bytes) = size.ok_or(QubeFault::OtherPlace)?;
            let step = self.step(&volume, *size_bytes);
            self.touch(journal, &volume)?;
            successor.put_in_place(ground, &step)?;
            halted(api, &self.note.qube, Some(self.uuid()))?;
        }
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
