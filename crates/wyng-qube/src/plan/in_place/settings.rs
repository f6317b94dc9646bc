// SPDX-License-Identifier: GPL-3.0-or-later
//! Which settings a restore in place changes: those that give no power. What else differs is named,
//! and stays.

use std::collections::BTreeSet;

use super::super::line::Setting;
use super::super::machine::Machine;
use super::super::order::NETVM;
use super::super::settings::{DROP, MEMORY_MIB, VCPUS_COUNT};
use super::super::step::Step;
use super::super::volumes::{KERNEL, SIZE_BYTES, VOLATILE, with_data};
use super::change::{Change, Field};
use super::lines::{InPlaceLine, Stays};
use super::shape::{InPlacePlan, InPlaceWish};
use crate::answer::is_restorable_rule;
use crate::class::Class;
use crate::record::{QubeRecord, is_skipped_feature, is_skipped_property};

const LABEL: &str = "label";
const TEMPLATE: &str = "template";
const MEMORY: &str = "memory";
const VCPUS: &str = "vcpus";
const INCLUDED: &str = "include_in_backups";
/// The highest number of older states that is set: each takes room.
const REVISIONS_MAX: i64 = 16;
/// Features that say something of one moment.
const PASSING: [&str; 1] = ["prohibit-start"];

/// One plan while its settings are compared.
struct Comparison<'a> {
    plan: &'a mut InPlacePlan,
    name: &'a str,
    record: &'a QubeRecord,
    present: &'a QubeRecord,
}

impl Comparison<'_> {
    fn stays(&mut self, setting: Setting, why: Stays) {
        let qube = self.name.to_owned();
        self.plan
            .lines
            .push(InPlaceLine::Stays { qube, setting, why });
    }

    /// Adds a change, if the setting has another value. Returns whether it gets the value.
    fn change(&mut self, field: Field, after: Option<String>) -> bool {
        if field.value(self.present) == after {
            return true;
        }
        match Change::to(field.clone(), (self.name, self.present), after) {
            Some(change) => {
                self.plan.lines.push(InPlaceLine::Setting {
                    qube: self.name.to_owned(),
                    change: change.clone(),
                });
                self.plan.after.push(change);
                true
            }
            None => {
                self.stays(field.setting(), Stays::NotTaken);
                false
            }
        }
    }
}

/// Compares the settings, and plans what changes.
pub(super) fn plan_settings(
    plan: &mut InPlacePlan,
    (record, present): (&QubeRecord, &QubeRecord),
    wish: &InPlaceWish<'_>,
    machine: &Machine,
) {
    let mut comparison = Comparison {
        plan,
        name: wish.name,
        record,
        present,
    };
    plan_label(&mut comparison, machine);
    plan_template(&mut comparison, machine);
    plan_numbers(&mut comparison);
    // Before the network, which it guards.
    if plan_firewall(&mut comparison) {
        plan_netvm(&mut comparison, machine);
    } else {
        comparison.stays(Setting::Property(NETVM.to_owned()), Stays::NotTaken);
    }
    let notes = record.notes.clone();
    comparison.change(Field::Notes, Some(notes));
    plan_of_volumes(&mut comparison);
    name_others(&mut comparison);
}

fn plan_label(comparison: &mut Comparison<'_>, machine: &Machine) {
    let label = &comparison.record.label;
    if label.name != comparison.present.label.name && !machine.labels.contains(&label.name) {
        let (name, color) = (label.name.clone(), label.color.clone());
        comparison.plan.lines.push(InPlaceLine::LabelMade {
            label: name.clone(),
        });
        comparison
            .plan
            .labels
            .push(Step::CreateLabel { name, color });
    }
    let label = label.name.clone();
    comparison.change(Field::Property(LABEL.to_owned()), Some(label));
}

/// A template is never replaced by another.
fn plan_template(comparison: &mut Comparison<'_>, machine: &Machine) {
    let Some(template) = comparison.record.template.clone() else {
        return;
    };
    if comparison.present.template.as_ref() == Some(&template) {
        return;
    }
    let here = machine.qubes.get(&template);
    if here.is_some_and(|here| here.class == Class::Template) {
        comparison.change(Field::Property(TEMPLATE.to_owned()), Some(template));
    } else {
        comparison.stays(Setting::Property(TEMPLATE.to_owned()), Stays::Missing);
    }
}

/// Memory, virtual processors, and whether backups take it.
fn plan_numbers(comparison: &mut Comparison<'_>) {
    for property in [MEMORY, VCPUS, INCLUDED] {
        let own = comparison.record.properties.get(property);
        let after = own.map(|own| own.value.clone());
        let is_within = after.as_ref().is_none_or(|value| match property {
            MEMORY => value.parse().is_ok_and(|value| MEMORY_MIB.contains(&value)),
            VCPUS => value
                .parse()
                .is_ok_and(|value| VCPUS_COUNT.contains(&value)),
            _ => matches!(value.as_str(), "True" | "False"),
        });
        if is_within {
            comparison.change(Field::Property(property.to_owned()), after);
        } else {
            comparison.stays(Setting::Property(property.to_owned()), Stays::OutOfBounds);
        }
    }
}

/// All rules are set, or none. Returns whether the firewall becomes the archive's.
fn plan_firewall(comparison: &mut Comparison<'_>) -> bool {
    let rules = &comparison.record.firewall;
    let is_same = *rules == comparison.present.firewall;
    if is_same {
        return true;
    }
    if !rules.iter().all(|rule| is_restorable_rule(rule)) {
        comparison.stays(Setting::Firewall, Stays::NotTaken);
        return false;
    }
    let rules = match rules.is_empty() {
        true => DROP.to_owned(),
        false => rules.join("\n"),
    };
    comparison.change(Field::Firewall, Some(rules))
}

/// The recorded net qube, or none; never another.
fn plan_netvm(comparison: &mut Comparison<'_>, machine: &Machine) {
    if !comparison.record.effective.contains_key(NETVM) {
        return;
    }
    let recorded = comparison.record.effective(NETVM);
    if recorded == comparison.present.effective(NETVM) {
        return;
    }
    let is_usable = |name: &&str| {
        let here = machine.qubes.get(*name);
        here.is_some_and(|here| here.provides_network)
    };
    let target = recorded.filter(is_usable).unwrap_or_default();
    let is_missing = recorded.is_some() && target.is_empty();
    let target = target.to_owned();
    comparison.change(Field::Property(NETVM.to_owned()), Some(target));
    if is_missing {
        comparison.stays(
            Setting::Property(format!("{NETVM} of the archive")),
            Stays::Missing,
        );
    }
}

/// What can be set of volumes. Nothing can be imported into one that cannot be written to, so it is
/// made writable first; how many older states are kept comes last.
fn plan_of_volumes(comparison: &mut Comparison<'_>) {
    let (record, present) = (comparison.record, comparison.present);
    let both = |name: &str| Some((record.volumes.get(name)?, present.volumes.get(name)?));
    if let Some((archived, here)) = both(VOLATILE)
        && archived.size != here.size
    {
        if SIZE_BYTES.contains(&archived.size) {
            let size = archived.size.to_string();
            comparison.change(Field::Size(VOLATILE.to_owned()), Some(size));
        } else {
            let size = Field::Size(VOLATILE.to_owned());
            comparison.stays(size.setting(), Stays::OutOfBounds);
        }
    }
    for name in record.volumes.keys().filter(|name| *name != KERNEL) {
        let Some((archived, here)) = both(name) else {
            continue;
        };
        if archived.rw != here.rw {
            let field = Field::Writable(name.clone());
            let after = field.value(record);
            comparison.change(field, after);
            if archived.rw
                && let Some(change) = comparison.plan.after.pop()
            {
                comparison.plan.before.push(change);
            }
        }
    }
    for name in with_data(&record.class) {
        let Some((archived, here)) = both(name) else {
            continue;
        };
        let (wanted, now) = (archived.revisions_to_keep, here.revisions_to_keep);
        let field = Field::Revisions((*name).to_owned());
        if wanted < now {
            comparison.stays(field.setting(), Stays::Lowered);
        } else if wanted > now && (wanted > REVISIONS_MAX || now < 0) {
            // One that keeps none is used itself, which no record may change.
            comparison.stays(field.setting(), Stays::Power);
        } else if wanted > now {
            comparison.change(field, Some(wanted.to_string()));
        }
    }
}

/// Names what differs and stays.
fn name_others(comparison: &mut Comparison<'_>) {
    const PLANNED: [&str; 5] = [MEMORY, VCPUS, INCLUDED, NETVM, LABEL];
    let (record, present) = (comparison.record, comparison.present);
    let names: BTreeSet<&String> = record
        .properties
        .keys()
        .chain(present.properties.keys())
        .collect();
    for name in names {
        let differs = record.properties.get(name) != present.properties.get(name);
        let is_planned = PLANNED.contains(&name.as_str()) || is_skipped_property(name);
        // When it was backed up is of this machine.
        if differs && !is_planned && name != "backup_timestamp" {
            comparison.stays(Setting::Property(name.clone()), Stays::Power);
        }
    }
    let names: BTreeSet<&String> = record
        .features
        .keys()
        .chain(present.features.keys())
        .collect();
    for name in names {
        let differs = record.features.get(name) != present.features.get(name);
        if differs && !is_skipped_feature(name) && !PASSING.contains(&name.as_str()) {
            comparison.stays(Setting::Feature(name.clone()), Stays::Power);
        }
    }
    let tags: Vec<&String> = record.tags.symmetric_difference(&present.tags).collect();
    for tag in tags {
        comparison.stays(Setting::Tag(tag.clone()), Stays::Power);
    }
    for device in record
        .devices
        .iter()
        .filter(|device| !present.devices.contains(device))
    {
        let name = format!("{} {}:{}", device.class, device.backend, device.port);
        comparison.stays(Setting::Device(name), Stays::Power);
    }
}
