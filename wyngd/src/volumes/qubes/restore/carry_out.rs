// SPDX-License-Identifier: GPL-3.0-or-later
//! Does a plan, one step after the other. What is begun is noted before qubesd is asked for it. A
//! qube that cannot be made whole is removed again, and the others go on.

use wyng_control::{Failure, QubeFault};
use wyng_qube::Shown;
use wyng_qube::plan::{Guard, Intent, Step, check_room};

use super::super::api::Api;
use super::clean::{Unanswered, remove, send, set};
use super::ground::Ground;
use super::journal::{Noted, Progress};
use super::next::{Next, Opened};
use super::outcome::words;
use super::{Planned, Restores, import, machine, unwritable};

/// Properties whose values are qubes.
const NAMES_A_QUBE: [&str; 5] = [
    "audiovm",
    "default_dispvm",
    "guivm",
    "management_dispvm",
    "netvm",
];

impl Restores {
    /// Does the plan up to the next volume that is to be written, or to its end; then reports one
    /// qube after the other.
    pub(in crate::volumes::qubes) fn next(
        &mut self,
        (api, pools, trusted): Ground<'_>,
    ) -> Result<Next, Failure> {
        self.begin_plan(api)?;
        if let (Some(running), Ok(journal)) = (&mut self.running, &self.journal) {
            return running.next((api, pools, trusted), journal);
        }
        while let Some(step) = self.take_step() {
            let Some(qube) = step.qube().map(str::to_owned) else {
                // A label that cannot be made is missing when its first qube is made.
                if let Err(fault) = send(api, step.request()) {
                    tracing::warn!(%fault, "a label cannot be made");
                }
                continue;
            };
            if let Step::Import { volume, .. } = &step {
                let Some(item) = self.item(&qube, volume) else {
                    continue;
                };
                if self.is_failed(&qube) {
                    return Ok(Next::NoImport { item });
                }
                return Ok(match self.open(item, (api, pools, trusted), &step) {
                    Ok(opened) => Next::Import { item, opened },
                    Err(fault) => {
                        self.give_up(api, &qube, fault);
                        Next::NoImport { item }
                    }
                });
            }
            if !self.is_failed(&qube) {
                self.carry_out(api, &qube, &step);
            }
        }
        self.end_plan();
        let Some(planned) = &mut self.planned else {
            return Ok(Next::Done);
        };
        let outcomes = &planned.outcomes;
        let reports = planned.reports.get_or_insert_with(|| outcomes.reports());
        Ok(match reports.pop_front() {
            Some((qube, failure)) => Next::Made(qube, failure),
            None => Next::Done,
        })
    }

    /// Compares this machine with the one for which the plan was made, before its first step.
    fn begin_plan(&mut self, api: &Api) -> Result<(), Failure> {
        let policy = &self.policy;
        let Some(planned) = self.planned.as_mut().filter(|planned| !planned.is_begun) else {
            return Ok(());
        };
        let (now, _) = machine::machine(api, policy).map_err(super::super::api::of_command)?;
        check_room(&planned.needs, &now).map_err(|error| Failure::QubesNotPlanned {
            why: error.to_string(),
        })?;
        if machine::steady(now) != planned.machine {
            return Err(Failure::QubesChanged);
        }
        planned.is_begun = true;
        Ok(())
    }

    /// Forgets the qubes that are made. What guards one now is its own.
    fn end_plan(&mut self) {
        let planned = self.planned.as_ref();
        let Some(planned) = planned.filter(|planned| planned.reports.is_none()) else {
            return;
        };
        let nonce = planned.nonce.clone();
        let is_made = |noted: &Noted| noted.is_made() && noted.intent.nonce == nonce;
        if let Err(fault) = self.note(|noted| noted.retain(|noted| !is_made(noted))) {
            tracing::error!(%fault, "the journal of new qubes cannot be written");
        }
    }

    fn take_step(&mut self) -> Option<Step> {
        self.planned.as_mut()?.steps.pop_front()
    }

    fn is_failed(&self, qube: &str) -> bool {
        let planned = self.planned.as_ref();
        planned.is_some_and(|planned| planned.outcomes.is_failed(qube))
    }

    /// The number of the target of a new qube's volume.
    fn item(&self, qube: &str, volume: &str) -> Option<u32> {
        let label = self.planned.as_ref()?.outcomes.label(qube)?;
        let added = self.added.values().find(|added| added.label == label)?;
        added.items.get(volume).copied()
    }

    /// Writes what is noted, changed by `change`.
    fn note(&mut self, change: impl FnOnce(&mut Vec<Noted>)) -> Result<(), QubeFault> {
        let (Some(planned), Ok(journal)) = (&mut self.planned, &self.journal) else {
            return Err(QubeFault::Replaced);
        };
        change(&mut planned.noted);
        journal.write(&planned.noted).map_err(unwritable)
    }

    fn note_of(&mut self, qube: &str, change: impl FnOnce(&mut Noted)) -> Result<(), QubeFault> {
        self.note(|noted| {
            let mut newest = noted.iter_mut().rev();
            if let Some(found) = newest.find(|noted| noted.intent.qube == qube) {
                change(found);
            }
        })
    }

    fn forget(&mut self, qube: &str) -> Result<(), QubeFault> {
        self.note(|noted| noted.retain(|noted| noted.intent.qube != qube))
    }

    /// Opens a volume that is to be written.
    fn open(
        &mut self,
        item: u32,
        (api, pools, trusted): Ground<'_>,
        step: &Step,
    ) -> Result<Opened, QubeFault> {
        let Step::Import { qube, volume, .. } = step else {
            return Err(QubeFault::Replaced);
        };
        self.check_identity(api, qube)?;
        self.note_of(qube, |noted| {
            noted.intent.open_import = Some(volume.clone());
        })?;
        let (file, kind) = import::begin((api, pools, trusted), step)?;
        if let Some(planned) = &mut self.planned {
            planned.open = Some((item, qube.clone(), volume.clone()));
        }
        Ok(Opened {
            file,
            kind,
            there: None,
            of_pool: None,
        })
    }

    /// The qube must be the one that was made here.
    fn check_identity(&mut self, api: &Api, qube: &str) -> Result<(), QubeFault> {
        let found = api.find(qube)?.uuid;
        let outcome = self
            .planned
            .as_mut()
            .and_then(|planned| planned.outcomes.of(qube));
        match outcome {
            Some(outcome) if outcome.uuid.as_ref() == Some(&found) => Ok(()),
            _ => Err(QubeFault::Gone),
        }
    }

    /// Makes a volume what was written, if this is the target of the open import.
    pub(in crate::volumes::qubes) fn end_import(
        &mut self,
        ground: Ground<'_>,
        item: u32,
    ) -> Result<(), Failure> {
        let (api, ..) = ground;
        if let Some(running) = &mut self.running {
            return running.end_import(ground, item).unwrap_or(Ok(()));
        }
        let Some((qube, volume)) = self.take_open(item) else {
            return Ok(());
        };
        let ended = import::end(api, &qube, &volume)
            .and_then(|()| self.note_of(&qube, |noted| noted.intent.open_import = None));
        ended.map_err(|fault| {
            self.give_up(api, &qube, fault.clone());
            Failure::QubeNotMade { qube, why: fault }
        })
    }

    /// Ends the import of a volume that was not completed; its qube is not restored.
    pub(in crate::volumes::qubes) fn close(&mut self, ground: Ground<'_>, item: u32) {
        let (api, ..) = ground;
        if let Some(running) = &mut self.running {
            return running.close(ground, item);
        }
        if let Some((qube, volume)) = self.take_open(item) {
            import::end_unsuccessfully(api, &qube, &volume);
            let _ = self.note_of(&qube, |noted| noted.intent.open_import = None);
            self.give_up(api, &qube, QubeFault::VolumeNotRestored { volume });
        }
    }

    fn take_open(&mut self, item: u32) -> Option<(String, String)> {
        let open = &mut self.planned.as_mut()?.open;
        let (_, qube, volume) = open.take_if(|(open, ..)| *open == item)?;
        Some((qube, volume))
    }

    /// Notes that a qube is not restored. It is removed once nothing else is made over it.
    fn give_up(&mut self, api: &Api, qube: &str, fault: QubeFault) {
        tracing::warn!(qube, %fault, "a qube is not restored");
        let Some(planned) = &mut self.planned else {
            return;
        };
        if let Some(outcome) = planned.outcomes.of(qube) {
            outcome.failed = Some(fault);
        }
        if let Ok(journal) = &self.journal {
            let (mut begun, others): (Vec<_>, Vec<_>) = planned
                .noted
                .drain(..)
                .partition(|noted| noted.intent.qube == qube);
            let stays = remove(api, &mut begun, Unanswered::Kept);
            planned.noted.extend(others);
            planned.noted.append(&mut begun);
            if let Some(outcome) = planned.outcomes.of(qube) {
                outcome.stays = stays;
            }
            if let Err(errno) = journal.write(&planned.noted) {
                tracing::error!(%errno, "the journal of new qubes cannot be written");
            }
        }
    }

    /// Does a step of a qube that is no import. A failure of what keeps the qube apart is one of
    /// the whole qube; any other is named.
    fn carry_out(&mut self, api: &Api, qube: &str, step: &Step) {
        let done = match step {
            Step::Create { .. } => self.create(api, qube, step),
            Step::Guard { .. } | Step::CutOff { .. } => send(api, step.request()).map(drop),
            Step::Mark { .. } => send(api, step.request())
                .and_then(|_| self.note_of(qube, |noted| noted.progress = Progress::Marked)),
            Step::Unmark { .. } => {
                self.unmark(api, qube, step);
                Ok(())
            }
            Step::Unguard { .. } => {
                self.let_go(api, qube, step);
                Ok(())
            }
            step => {
                if let Err(fault) = self.set(api, step) {
                    self.miss(api, qube, step, &fault);
                }
                Ok(())
            }
        };
        if let Err(fault) = done {
            self.give_up(api, qube, fault);
        }
    }

    /// Sets what a step says, unless it names a qube that this plan could not make whole.
    fn set(&self, api: &Api, step: &Step) -> Result<(), QubeFault> {
        match step {
            Step::SetProperty {
                property, value, ..
            } if NAMES_A_QUBE.contains(&property.as_str()) && self.is_failed(value) => {
                let value = Shown::of(value);
                Err(QubeFault::NotPlanned {
                    why: format!("{value} could not be restored"),
                })
            }
            step => set(api, step),
        }
    }

    /// Makes a qube: the intent is durable before, the uuid right after.
    fn create(&mut self, api: &Api, qube: &str, step: &Step) -> Result<(), QubeFault> {
        let Some(planned) = &self.planned else {
            return Err(QubeFault::Replaced);
        };
        if let Step::Create {
            template: Some(template),
            ..
        } = step
            && planned.outcomes.is_failed(template)
        {
            // It may be there, because it could not be removed.
            let template = Shown::of(template);
            return Err(QubeFault::NotPlanned {
                why: format!("its template {template} could not be restored"),
            });
        }
        let intent = Intent {
            qube: qube.to_owned(),
            nonce: planned.nonce.clone(),
            uuid: None,
            guard: planned.guard(),
            open_import: None,
            is_paused_by_us: false,
        };
        self.note(|noted| {
            noted.push(Noted {
                intent,
                progress: Progress::Begun,
            });
        })?;
        if let Err(fault) = send(api, step.request()) {
            // An answer shows that nothing was made. Without one, it may be there, or appear later.
            if matches!(fault, QubeFault::Exception { .. } | QubeFault::Gone) {
                self.forget(qube)?;
            }
            return Err(match fault {
                QubeFault::Gone => QubeFault::Exception {
                    call: "admin.vm.Create".into(),
                    class: "QubesVMNotFoundError".into(),
                },
                fault => fault,
            });
        }
        let uuid = api.find(qube)?.uuid;
        self.note_of(qube, |noted| noted.intent.uuid = Some(uuid.clone()))?;
        if let Some(outcome) = self.outcome(qube) {
            outcome.uuid = Some(uuid);
        }
        Ok(())
    }

    fn outcome(&mut self, qube: &str) -> Option<&mut super::outcome::Outcome> {
        self.planned.as_mut()?.outcomes.of(qube)
    }

    /// Names what could not be set. A qube without its firewall, or whose network may be another
    /// than the plan says, gets no network.
    fn miss(&mut self, api: &Api, qube: &str, step: &Step, fault: &QubeFault) {
        let is_of_network = match step {
            Step::SetFirewall { .. } => true,
            Step::SetProperty { property, .. } | Step::KeepDefault { property, .. } => {
                property == "netvm"
            }
            _ => false,
        };
        let cut_off = is_of_network.then(|| {
            let qube = qube.to_owned();
            send(api, Step::CutOff { qube }.request())
        });
        let Some(outcome) = self.outcome(qube) else {
            return;
        };
        outcome.unset(&words(step), fault);
        match cut_off {
            None => {}
            Some(Ok(_)) => outcome.unset(
                "property netvm",
                &"none, because its firewall or its network is not set",
            ),
            Some(Err(fault)) => {
                outcome.unset("property netvm", &fault);
                outcome.stays_guarded = true;
            }
        }
    }

    /// Takes the mark away. From here on the qube is whole, and the next run would finish it; one
    /// that stays guarded is forgotten, so that nobody lets it go.
    fn unmark(&mut self, api: &Api, qube: &str, step: &Step) {
        let stays = self
            .outcome(qube)
            .is_some_and(|outcome| outcome.stays_guarded);
        let noted = match stays {
            true => self.forget(qube),
            false => self.note_of(qube, |noted| noted.progress = Progress::Made),
        };
        let done = noted.and_then(|()| set(api, step));
        if let (Err(fault), Some(outcome)) = (done, self.outcome(qube)) {
            outcome.unset(&words(step), &fault);
        }
    }

    /// Takes the guard away, last of all. Whoever may do everything to guarded qubes must not have
    /// come meanwhile: the qube is named then.
    fn let_go(&mut self, api: &Api, qube: &str, step: &Step) {
        let restorer = match step {
            Step::Unguard {
                guard: Guard::Tag, ..
            } => machine::restorer(api).ok().flatten(),
            _ => None,
        };
        let stays = self
            .outcome(qube)
            .is_some_and(|outcome| outcome.stays_guarded);
        let done = match stays {
            true => Ok(()),
            false => set(api, step).and_then(|()| self.forget(qube)),
        };
        let Some(outcome) = self.outcome(qube) else {
            return;
        };
        if let Some(restorer) = restorer {
            let what = "the guard of the restore";
            let told = format!("{restorer} got power over it meanwhile, by backup-restore-mgmt");
            outcome.unset(what, &told);
        }
        if stays {
            outcome.unset("the guard of the restore", &"kept, so that it cannot start");
        }
        if let Err(fault) = done {
            outcome.unset(&words(step), &fault);
        }
    }
}

impl Planned {
    /// The guard that the plan gives new qubes.
    fn guard(&self) -> Guard {
        let guard = self.steps.iter().find_map(|step| match step {
            Step::Guard { guard, .. } => Some(*guard),
            _ => None,
        });
        guard.unwrap_or(Guard::Tag)
    }
}
