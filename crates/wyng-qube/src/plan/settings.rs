// SPDX-License-Identifier: GPL-3.0-or-later
//! Features, properties that name no qube, tags, firewall, notes and devices: what is applied, and
//! what is left out with a line.

use std::ops::RangeInclusive;

use super::draft::{Draft, Scene, Stage};
use super::fate::{BY_RPM, FOR_DISPOSABLES, PROVIDES_NETWORK};
use super::line::{Instead, Line, Need, Setting, WhyLeft};
use super::references::is_reference;
use super::step::{GUARD_FEATURE, Step};
use crate::answer::{PropertyKind, is_restorable_rule};
use crate::form::{WORD_MAX_BYTES, is_plain};
use crate::record::{OwnValue, is_skipped_feature, is_skipped_property};

const MEMORY: &str = "memory";
const VCPUS: &str = "vcpus";
const INCLUDED: &str = "include_in_backups";
const AUTOSTART: &str = "autostart";
const KERNEL: &str = "kernel";
/// Memory that is applied without trust, MiB.
pub(super) const MEMORY_MIB: RangeInclusive<u64> = 16..=262_144;
/// Virtual processors that are applied without trust.
pub(super) const VCPUS_COUNT: RangeInclusive<u64> = 1..=128;
/// Features that begin like this make disposables start.
const PRELOAD: &str = "preload-";
/// The feature that `provides_network` makes.
const SERVICE: &str = "servicevm";
/// Tags that give power over qubes that are being restored, or take part in that.
const NEVER_TAGS: [&str; 3] = [
    "backup-restore-in-progress",
    "backup-restore-mgmt",
    "backup-restore-storage",
];
const PCI: &str = "pci";
/// What a firewall without rules does, as a rule.
pub(super) const DROP: &str = "action=drop";

/// Plans everything but volumes and references.
pub(super) fn plan_settings(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    plan_features(draft, scene);
    plan_properties(draft, scene);
    plan_tags(draft, scene);
    plan_firewall(draft);
    plan_notes(draft);
    plan_devices(draft, scene);
}

fn plan_features(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    let record = draft.record;
    let provides = scene.wish.trust_settings && record.is_true(PROVIDES_NETWORK);
    if provides && !record.features.contains_key(SERVICE) {
        let feature = SERVICE.to_owned();
        let qube = draft.new_name();
        draft.push(Stage::Late, Step::RemoveFeature { qube, feature });
    }
    let menus = record
        .menus
        .iter()
        .map(|(name, items)| (name, items.join(" ")));
    let others = record
        .features
        .iter()
        .map(|(name, value)| (name, value.clone()));
    let mut features: Vec<(&String, String)> = others.chain(menus).collect();
    features.sort();
    for (feature, value) in features {
        let setting = Setting::Feature(feature.clone());
        if is_skipped_feature(feature) {
            draft.left_out(setting, WhyLeft::Never);
        } else if !scene.wish.trust_settings {
            draft.left_out(setting, WhyLeft::Untrusted);
        } else {
            let step = Step::SetFeature {
                qube: draft.new_name(),
                feature: feature.clone(),
                value,
            };
            let stage = if feature == GUARD_FEATURE {
                Stage::Late
            } else if feature.starts_with(PRELOAD) {
                Stage::After
            } else {
                Stage::Features
            };
            draft.add(stage, step, setting);
        }
    }
}

fn plan_properties(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    let record = draft.record;
    for (property, own) in &record.properties {
        if is_reference(property) {
            continue;
        }
        let setting = Setting::Property(property.clone());
        match verdict(property, own, scene) {
            Verdict::Apply => {
                let step = match property.as_str() {
                    FOR_DISPOSABLES if record.is_true(FOR_DISPOSABLES) => Step::AllowDisposables {
                        qube: draft.new_name(),
                    },
                    _ => Step::SetProperty {
                        qube: draft.new_name(),
                        property: property.clone(),
                        value: own.value.clone(),
                    },
                };
                let stage = match property.as_str() {
                    FOR_DISPOSABLES => Stage::Create,
                    AUTOSTART => Stage::Late,
                    _ if own.kind == PropertyKind::Vm => Stage::References,
                    _ => Stage::Plain,
                };
                draft.add(stage, step, setting);
            }
            Verdict::LeftOut(why) => draft.left_out(setting, why),
            Verdict::NoKernel => {
                let line = Line::Missing {
                    qube: draft.qube(),
                    need: Need::Kernel,
                    name: own.value.clone(),
                    instead: Instead::Default,
                };
                draft.lines.push(line);
            }
        }
    }
    tell_kernel(draft, scene);
}

/// What becomes of a property's own value.
enum Verdict {
    Apply,
    LeftOut(WhyLeft),
    /// The kernel is not here.
    NoKernel,
}

fn verdict(property: &str, own: &OwnValue, scene: &Scene<'_>) -> Verdict {
    let within = |range: RangeInclusive<u64>| match own.value.parse::<u64>() {
        Ok(value) if range.contains(&value) => Verdict::Apply,
        _ => Verdict::LeftOut(WhyLeft::OutOfBounds),
    };
    if is_skipped_property(property) || property == BY_RPM {
        return Verdict::LeftOut(WhyLeft::Never);
    }
    match (property, own.kind) {
        (MEMORY, PropertyKind::Int) => return within(MEMORY_MIB),
        (VCPUS, PropertyKind::Int) => return within(VCPUS_COUNT),
        (INCLUDED, PropertyKind::Bool) if !own.value.is_empty() => return Verdict::Apply,
        (PROVIDES_NETWORK | FOR_DISPOSABLES, PropertyKind::Bool) => {}
        (PROVIDES_NETWORK | FOR_DISPOSABLES, _) => {
            return Verdict::LeftOut(WhyLeft::OutOfBounds);
        }
        _ => {}
    }
    if !scene.wish.trust_settings {
        return Verdict::LeftOut(WhyLeft::Untrusted);
    }
    if property == KERNEL && !own.value.is_empty() && !scene.machine.kernels.contains(&own.value) {
        return Verdict::NoKernel;
    }
    if own.kind == PropertyKind::Vm && !own.value.is_empty() && !scene.has(&own.value) {
        return Verdict::LeftOut(WhyLeft::Missing);
    }
    Verdict::Apply
}

/// Says that the default kernel is another here than the one that counted.
fn tell_kernel(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    let here = scene.machine.defaults.get(KERNEL);
    let recorded = draft.record.effective.get(KERNEL);
    if let (Some(Some(here)), Some(Some(recorded))) = (here, recorded)
        && here != recorded
        && !draft.record.properties.contains_key(KERNEL)
    {
        let line = Line::Missing {
            qube: draft.qube(),
            need: Need::DefaultKernel,
            name: recorded.clone(),
            instead: Instead::Default,
        };
        draft.lines.push(line);
    }
}

fn plan_tags(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    for tag in &draft.record.tags {
        let setting = Setting::Tag(tag.clone());
        let why = if NEVER_TAGS.contains(&tag.as_str()) {
            Some(WhyLeft::Never)
        } else if !scene.wish.trust_settings {
            Some(WhyLeft::Untrusted)
        } else {
            let is_taken = is_plain(tag, WORD_MAX_BYTES, "_-");
            (!is_taken).then_some(WhyLeft::NotTaken)
        };
        match why {
            Some(why) => draft.left_out(setting, why),
            None => {
                let step = Step::SetTag {
                    qube: draft.new_name(),
                    tag: tag.clone(),
                };
                draft.add(Stage::Extras, step, setting);
            }
        }
    }
}

/// All rules are set, or none: half a firewall may let more through than the whole one.
fn plan_firewall(draft: &mut Draft<'_>) {
    let mut rules = draft.record.firewall.clone();
    if rules.is_empty() {
        let qube = draft.qube();
        draft.lines.push(Line::FirewallDrops { qube });
        rules.push(DROP.to_owned());
    }
    if !rules.iter().all(|rule| is_restorable_rule(rule)) {
        draft.left_out(Setting::Firewall, WhyLeft::NotTaken);
        draft.lacks_firewall = true;
        return;
    }
    let qube = draft.new_name();
    let step = Step::SetFirewall { qube, rules };
    draft.lacks_firewall = !draft.add(Stage::Extras, step, Setting::Firewall);
}

fn plan_notes(draft: &mut Draft<'_>) {
    if !draft.record.notes.is_empty() {
        let step = Step::SetNotes {
            qube: draft.new_name(),
            text: draft.record.notes.clone(),
        };
        draft.add(Stage::Extras, step, Setting::Notes);
    }
}

/// A device that a person attaches needs no call, and Qubes OS keeps no other assignment that could
/// not be taken by whatever is plugged in.
fn plan_devices(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    for device in &draft.record.devices {
        let name = format!("{} {}:{}", device.class, device.backend, device.port);
        let why = if device.class == PCI {
            WhyLeft::Never
        } else if !scene.machine.device_classes.contains(&device.class) {
            WhyLeft::UnknownClass
        } else {
            WhyLeft::ByHand
        };
        draft.left_out(Setting::Device(name), why);
    }
}
