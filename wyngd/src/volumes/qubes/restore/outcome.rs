// SPDX-License-Identifier: GPL-3.0-or-later
//! What became of each qube of a plan. It does nothing.

use std::collections::{BTreeMap, VecDeque};

use wyng_control::{Failure, QubeDeed, QubeFault, RestoredQube};
use wyng_qube::QubeUuid;
use wyng_qube::plan::{Setting, Step};

/// Maximum number of settings that are named for one qube.
const UNSET_MAX: usize = 100;

/// All qubes of a plan: those that are made by the names that they get.
#[derive(Default)]
pub(super) struct Outcomes {
    made: BTreeMap<String, Outcome>,
    refused: Vec<(RestoredQube, Failure)>,
}

/// A qube that is being made.
#[derive(Default)]
pub(super) struct Outcome {
    label: String,
    continues: bool,
    pub(super) uuid: Option<QubeUuid>,
    pub(super) failed: Option<QubeFault>,
    unset: Vec<String>,
    /// Sentences about what is there of it although it is not restored.
    pub(super) stays: Vec<String>,
    /// It must not be let go: it would reach a network that it must not reach.
    pub(super) stays_guarded: bool,
}

impl Outcomes {
    pub(super) fn begin(&mut self, label: &str, name: &str, continues: bool) {
        let outcome = Outcome {
            label: label.to_owned(),
            continues,
            ..Outcome::default()
        };
        self.made.insert(name.to_owned(), outcome);
    }

    /// Notes a qube that the plan does not make.
    pub(super) fn refuse(&mut self, label: &str, name: &str, why: String) {
        let fault = QubeFault::NotPlanned { why };
        let outcome = Outcome {
            label: label.to_owned(),
            failed: Some(fault),
            ..Outcome::default()
        };
        self.refused.extend(outcome.report(name).into_failed());
    }

    pub(super) fn of(&mut self, name: &str) -> Option<&mut Outcome> {
        self.made.get_mut(name)
    }

    /// The qube as the archive has it.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.made.get(name).map(|outcome| outcome.label.as_str())
    }

    pub(super) fn is_failed(&self, name: &str) -> bool {
        let outcome = self.made.get(name);
        outcome.is_some_and(|outcome| outcome.failed.is_some())
    }

    /// Everything that is to be reported.
    pub(super) fn reports(&self) -> VecDeque<(RestoredQube, Option<Failure>)> {
        let refused = self.refused.iter().cloned();
        let refused = refused.map(|(qube, failure)| (qube, Some(failure)));
        let made = self.made.iter().map(|(name, outcome)| {
            let Report { qube, failure } = outcome.report(name);
            (qube, failure)
        });
        refused.chain(made).collect()
    }
}

struct Report {
    qube: RestoredQube,
    failure: Option<Failure>,
}

impl Report {
    fn into_failed(self) -> Option<(RestoredQube, Failure)> {
        Some((self.qube, self.failure?))
    }
}

impl Outcome {
    fn report(&self, name: &str) -> Report {
        let uuid = self.uuid.as_ref().filter(|_| self.failed.is_none());
        Report {
            qube: RestoredQube {
                qube: self.label.clone(),
                name: name.to_owned(),
                deed: QubeDeed::Made,
                uuid: uuid.map(|uuid| uuid.as_str().to_owned()),
                continues: self.continues,
                unset: self.unset.iter().chain(&self.stays).cloned().collect(),
            },
            failure: self.failed.clone().map(|why| Failure::QubeNotMade {
                qube: name.to_owned(),
                why,
            }),
        }
    }

    /// Notes a setting that could not be set.
    pub(super) fn unset(&mut self, what: &str, fault: &impl std::fmt::Display) {
        if self.unset.len() < UNSET_MAX {
            self.unset.push(format!("{what}: {fault}"));
        }
    }
}

/// What a step sets, in words.
pub(super) fn words(step: &Step) -> String {
    let volume = |volume: &String, what| Setting::Volume(volume.clone(), what).to_string();
    match step {
        Step::SetProperty { property, .. }
        | Step::ResetProperty { property, .. }
        | Step::KeepDefault { property, .. } => Setting::Property(property.clone()).to_string(),
        Step::AllowDisposables { .. } => {
            Setting::Property("template_for_dispvms".into()).to_string()
        }
        Step::SetFeature { feature, .. } | Step::RemoveFeature { feature, .. } => {
            Setting::Feature(feature.clone()).to_string()
        }
        Step::SetTag { tag, .. } => Setting::Tag(tag.clone()).to_string(),
        Step::SetFirewall { .. } => Setting::Firewall.to_string(),
        Step::SetNotes { .. } => Setting::Notes.to_string(),
        Step::SetEphemeral { volume: name, .. } => volume(name, "encryption"),
        Step::Resize { volume: name, .. } => volume(name, "size"),
        Step::SetRevisions { volume: name, .. } => volume(name, "revisions_to_keep"),
        Step::SetReadOnly { volume: name, .. } | Step::SetWritable { volume: name, .. } => {
            volume(name, "rw")
        }
        Step::Import { volume: name, .. } => volume(name, "data"),
        Step::Unmark { .. } => "the mark of the restore".into(),
        Step::Unguard { .. } => "the guard of the restore".into(),
        Step::CreateLabel { .. }
        | Step::Create { .. }
        | Step::Guard { .. }
        | Step::CutOff { .. }
        | Step::Mark { .. } => "the qube".into(),
    }
}
