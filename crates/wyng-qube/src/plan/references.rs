// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties that name another qube: where the traffic goes, which disposables it opens, who shows
//! and manages it. What was recorded is set, or none; nothing else is ever put in its place.

use std::collections::BTreeSet;

use super::draft::{Draft, Scene, Stage};
use super::fate::DEFAULT_DISPVM;
use super::line::{Instead, Line, Need, Setting, WhyLeft};
use super::order::NETVM;
use super::step::Step;
use crate::class::Class;

/// The properties, the net qube first.
const REFERENCES: [&str; 5] = [
    NETVM,
    DEFAULT_DISPVM,
    "guivm",
    "audiovm",
    "management_dispvm",
];

/// Whether it is one of the properties that are planned here.
pub(super) fn is_reference(property: &str) -> bool {
    REFERENCES.contains(&property)
}

/// Plans the properties that name a qube. `circle` has the qubes that reach the network through one
/// another.
pub(super) fn plan_references(draft: &mut Draft<'_>, scene: &Scene<'_>, circle: &BTreeSet<&str>) {
    for property in REFERENCES {
        let Some(recorded) = draft.record.effective.get(property) else {
            continue;
        };
        let recorded = recorded.clone();
        let target = target(draft, scene, circle, (property, recorded.as_deref()));
        let is_set = draft.record.properties.contains_key(property) && target == recorded;
        let here = default_here(draft, scene, property).filter(|here| *here != recorded.as_deref());
        if let (Some(here), false) = (here, is_set) {
            let line = Line::SetExplicitly {
                qube: draft.qube(),
                property: property.to_owned(),
                here: here.map(str::to_owned),
                set: target.clone(),
            };
            draft.lines.push(line);
        }
        // What was recorded, and cannot be set, must not come back by the default either.
        let is_refused = property == NETVM && target != recorded;
        let step = if is_set || here.is_some() || is_refused {
            Step::SetProperty {
                qube: draft.new_name(),
                property: property.to_owned(),
                value: target.unwrap_or_default(),
            }
        } else {
            Step::KeepDefault {
                qube: draft.new_name(),
                property: property.to_owned(),
                expected: recorded,
                otherwise: target,
            }
        };
        let setting = Setting::Property(property.to_owned());
        draft.add(Stage::References, step, setting);
    }
}

/// What the property is set to where the default does not give what was recorded.
fn target(
    draft: &mut Draft<'_>,
    scene: &Scene<'_>,
    circle: &BTreeSet<&str>,
    (property, recorded): (&'static str, Option<&str>),
) -> Option<String> {
    let recorded = recorded?;
    let qube = draft.qube();
    if property == NETVM && circle.contains(draft.record.name.as_str()) {
        draft.lines.push(Line::NetCircle { qube });
        return None;
    }
    if property == NETVM && draft.lacks_firewall {
        draft.lines.push(Line::CutOffWithoutFirewall { qube });
        return None;
    }
    let is_usable = match property {
        NETVM => scene.provides_network(recorded),
        DEFAULT_DISPVM | "management_dispvm" => {
            // A disposable's own template is one already.
            scene.is_for_disposables(recorded) || draft.record.template.as_deref() == Some(recorded)
        }
        _ => scene.has(recorded),
    };
    if !is_usable {
        let need = match property {
            NETVM => Need::NetQube,
            other => Need::Qube(other),
        };
        draft.lines.push(Line::Missing {
            qube,
            need,
            name: recorded.to_owned(),
            instead: Instead::None,
        });
        return None;
    }
    let is_here_by_default =
        default_here(draft, scene, property).is_some_and(|here| here == Some(recorded));
    if property != NETVM && !scene.wish.trust_settings {
        let is_own = draft.record.properties.contains_key(property);
        if is_own || !is_here_by_default {
            draft.left_out(Setting::Property(property.to_owned()), WhyLeft::Untrusted);
        }
        return None;
    }
    Some(recorded.to_owned())
}

/// What the property is by default here, as far as it is known before the qube is made; the outer
/// `None` where it is not.
fn default_here<'a>(
    draft: &Draft<'_>,
    scene: &'a Scene<'_>,
    property: &str,
) -> Option<Option<&'a str>> {
    match (&draft.record.class, property) {
        // Templates have no network by default.
        (Class::Template, NETVM) => Some(None),
        // A disposable takes its template's values.
        (Class::Disposable, _) => None,
        _ => scene.machine.defaults.get(property).map(Option::as_deref),
    }
}
