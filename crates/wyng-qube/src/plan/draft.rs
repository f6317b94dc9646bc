// SPDX-License-Identifier: GPL-3.0-or-later
//! What is planned for one qube, stage by stage, while the plan is made.

use std::collections::BTreeMap;

use super::fate::{FOR_DISPOSABLES, PROVIDES_NETWORK};
use super::line::{Line, Setting, WhyLeft};
use super::machine::Machine;
use super::step::Step;
use super::wish::RestoreWish;
use crate::record::QubeRecord;

/// What every part of the planner looks at.
pub(super) struct Scene<'a> {
    pub(super) wish: &'a RestoreWish,
    pub(super) machine: &'a Machine,
    /// The qubes that are made, and keep their names.
    pub(super) made: BTreeMap<&'a str, &'a QubeRecord>,
}

impl Scene<'_> {
    /// Whether a domain of this name is here, or will be.
    pub(super) fn has(&self, name: &str) -> bool {
        self.machine.has(name) || self.made.contains_key(name)
    }

    /// Whether other qubes can reach the network through it.
    pub(super) fn provides_network(&self, name: &str) -> bool {
        match self.machine.qubes.get(name) {
            Some(here) => here.provides_network,
            None => self.will_be(name, PROVIDES_NETWORK),
        }
    }

    /// Whether disposables can be made over it.
    pub(super) fn is_for_disposables(&self, name: &str) -> bool {
        match self.machine.qubes.get(name) {
            Some(here) => here.template_for_dispvms,
            None => self.will_be(name, FOR_DISPOSABLES),
        }
    }

    fn will_be(&self, name: &str, property: &str) -> bool {
        let made = self.made.get(name);
        self.wish.trust_settings && made.is_some_and(|record| record.is_true(property))
    }
}

/// The stages of a plan. All qubes are through one before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is made, and its volumes.
    Create,
    /// Features.
    Features,
    /// Properties that name no qube.
    Plain,
    /// Properties that name a qube.
    References,
    /// Tags, firewall, notes.
    Extras,
    /// What only works, or only harms, at the end.
    Late,
    /// What is done once it may start.
    After,
}

/// The steps and lines of one qube.
pub(super) struct Draft<'a> {
    /// Its record.
    pub(super) record: &'a QubeRecord,
    /// The name that it gets.
    pub(super) name: &'a str,
    /// Steps, in the order in which they were added to a stage.
    steps: BTreeMap<Stage, Vec<Step>>,
    /// Lines.
    pub(super) lines: Vec<Line>,
    /// Its firewall cannot be restored.
    pub(super) lacks_firewall: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(record: &'a QubeRecord, name: &'a str) -> Self {
        Self {
            record,
            name,
            steps: BTreeMap::new(),
            lines: Vec::new(),
            lacks_firewall: false,
        }
    }

    /// Its name in the record, for a line.
    pub(super) fn qube(&self) -> String {
        self.record.name.clone()
    }

    /// Its name here, for a step.
    pub(super) fn new_name(&self) -> String {
        self.name.to_owned()
    }

    pub(super) fn left_out(&mut self, setting: Setting, why: WhyLeft) {
        let qube = self.qube();
        self.lines.push(Line::LeftOut { qube, setting, why });
    }

    /// Adds a step whose parts cannot make it unsendable.
    pub(super) fn push(&mut self, stage: Stage, step: Step) {
        self.steps.entry(stage).or_default().push(step);
    }

    /// Adds a step to a stage, and returns whether it can be sent. One that cannot is left out with
    /// a line.
    pub(super) fn add(&mut self, stage: Stage, step: Step, setting: Setting) -> bool {
        let is_sendable = step.request().is_ok();
        if is_sendable {
            self.push(stage, step);
        } else {
            self.left_out(setting, WhyLeft::NotTaken);
        }
        is_sendable
    }

    /// The steps of a stage, which are then no longer here.
    pub(super) fn take(&mut self, stage: Stage) -> Vec<Step> {
        self.steps.remove(&stage).unwrap_or_default()
    }
}
