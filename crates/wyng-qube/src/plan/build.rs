// SPDX-License-Identifier: GPL-3.0-or-later
//! A whole plan: what becomes of each qube, the lines that a person reads, and the steps in the
//! order that works.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Scene, Stage};
use super::fate::{Fate, PlanError, QubePlan, decide};
use super::line::Line;
use super::machine::{Machine, UnreadPolicy};
use super::order::net_order;
use super::policy::{Sought, mentions};
use super::references::plan_references;
use super::room::{check_room, needs};
use super::settings::plan_settings;
use super::step::{GUARD_FEATURE, Guard, Step};
use super::volumes::{plan_volumes, pools};
use super::wish::{Archived, Parts, RestoreWish};
use crate::record::QubeRecord;

/// A plan of a restore. It is done as it was printed; where the machine has changed meanwhile, it
/// is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of each qube, in the order in which they are made.
    pub qubes: Vec<QubePlan>,
    /// What a person reads.
    pub lines: Vec<Line>,
    /// What is done, in this order. Each can be sent.
    pub steps: Vec<Step>,
    /// Bytes that are written to each pool.
    pub needs: BTreeMap<String, u64>,
}

/// Plans a restore. `archived` has what the archive holds, by the names in the records.
pub fn plan(
    archived: &BTreeMap<String, Archived>,
    wish: &RestoreWish,
    machine: &Machine,
) -> Result<Plan, PlanError> {
    let qubes = decide(archived, wish, machine)?;
    let guard = match machine.restorer() {
        None => Guard::Tag,
        Some(_) if machine.honours_prohibit_start => Guard::Feature,
        Some(restorer) => return Err(PlanError::NoGuard(restorer.to_owned())),
    };
    let made = qubes
        .iter()
        .filter(|plan| plan.new_name() == Some(&plan.qube))
        .filter_map(|plan| Some((plan.qube.as_str(), &archived.get(&plan.qube)?.record)))
        .collect();
    let scene = Scene {
        wish,
        machine,
        made,
    };
    let unread = machine.unread_policy.iter().cloned();
    let mut lines: Vec<Line> = match qubes.iter().any(|plan| plan.new_name().is_some()) {
        true => unread
            .map(|UnreadPolicy { path, why }| Line::PolicyNotRead { path, why })
            .collect(),
        false => Vec::new(),
    };
    if let (Guard::Feature, Some(restorer)) = (guard, machine.restorer()) {
        let restorer = restorer.to_owned();
        lines.push(Line::GuardedByFeature { restorer });
    }
    let records: Vec<&QubeRecord> = qubes
        .iter()
        .filter(|plan| plan.new_name().is_some())
        .filter_map(|plan| Some(&archived.get(&plan.qube)?.record))
        .collect();
    let (in_net_order, circle) = net_order(&records);
    let mut steps = label_steps(&records, machine, &mut lines);
    let mut drafts = Vec::new();
    for plan in &qubes {
        let Some(one) = archived.get(&plan.qube) else {
            continue;
        };
        match plan.new_name() {
            None => lines.extend(fate_line(plan, &one.record)),
            Some(name) => {
                let mut draft = Draft::new(&one.record, name);
                draft.lines.extend(fate_line(plan, &one.record));
                fill(&mut draft, &scene, one, (guard, &circle));
                lines.append(&mut draft.lines);
                drafts.push(draft);
            }
        }
    }
    in_order(&mut steps, &mut drafts, &in_net_order, guard);
    let by_new_name = qubes
        .iter()
        .filter_map(|plan| Some((plan.new_name()?, archived.get(&plan.qube)?)))
        .collect();
    let needs = needs(&steps, &by_new_name);
    check_room(&needs, machine)?;
    Ok(Plan {
        needs,
        qubes,
        lines,
        steps,
    })
}

/// Labels that are not here, each once.
fn label_steps(records: &[&QubeRecord], machine: &Machine, lines: &mut Vec<Line>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known: BTreeSet<&str> = machine.labels.iter().map(String::as_str).collect();
    for label in records.iter().map(|record| &record.label) {
        if known.insert(&label.name) {
            let (name, color) = (label.name.clone(), label.color.clone());
            lines.push(Line::LabelMade {
                label: name.clone(),
            });
            steps.push(Step::CreateLabel { name, color });
        }
    }
    steps
}

fn fate_line(plan: &QubePlan, record: &QubeRecord) -> Option<Line> {
    let qube = plan.qube.clone();
    Some(match &plan.fate {
        Fate::Made => Line::Made {
            qube,
            class: record.class.clone(),
            template: record
                .template
                .clone()
                .filter(|_| record.class.has_template()),
        },
        Fate::MadeAs(name) => Line::MadeAs {
            qube,
            name: name.clone(),
        },
        Fate::Renamed(name) => Line::Renamed {
            qube,
            name: name.clone(),
        },
        Fate::AlreadyHere => Line::AlreadyHere { qube },
        Fate::NotRestored(why) => Line::NotRestored {
            qube,
            why: why.clone(),
        },
    })
}

/// All stages of one qube.
fn fill(
    draft: &mut Draft<'_>,
    scene: &Scene<'_>,
    one: &Archived,
    (guard, circle): (Guard, &BTreeSet<&str>),
) {
    let record = draft.record;
    let pools = pools(draft, scene);
    let qube = draft.new_name();
    draft.push(
        Stage::Create,
        Step::Create {
            qube: qube.clone(),
            class: record.class.clone(),
            template: record
                .template
                .clone()
                .filter(|_| record.class.has_template()),
            label: record.label.name.clone(),
            pools,
        },
    );
    draft.push(
        Stage::Create,
        Step::Guard {
            qube: qube.clone(),
            guard,
        },
    );
    draft.push(Stage::Create, Step::CutOff { qube: qube.clone() });
    draft.push(
        Stage::Create,
        Step::Mark {
            qube,
            nonce: scene.wish.nonce.clone(),
        },
    );
    if scene.wish.parts == Parts::DataOnly {
        let qube = draft.qube();
        draft.lines.push(Line::DataOnly { qube: qube.clone() });
        draft.lines.push(Line::CutOffWithoutSettings { qube });
    } else {
        plan_settings(draft, scene);
        plan_references(draft, scene, circle);
    }
    plan_volumes(draft, scene, one);
    tell_policy(draft, scene, one);
}

/// Names the places in which the policy speaks of the qube.
fn tell_policy(draft: &mut Draft<'_>, scene: &Scene<'_>, one: &Archived) {
    let uuid = one.uuid.as_ref().map(|uuid| uuid.as_str().to_owned());
    let tags = draft.record.tags.iter();
    let mut sought = vec![Sought::Name(draft.name)];
    sought.extend(tags.map(|tag| Sought::Tag(tag)));
    sought.extend(uuid.as_deref().map(Sought::Uuid));
    for sought in sought {
        let word = match sought {
            Sought::Name(name) => name.to_owned(),
            Sought::Tag(tag) => format!("@tag:{tag}"),
            Sought::Uuid(uuid) => format!("uuid:{uuid}"),
        };
        for place in mentions(&scene.machine.policy, sought) {
            let line = Line::InPolicy {
                qube: draft.qube(),
                word: word.clone(),
                file: place.file,
                line: place.line,
            };
            draft.lines.push(line);
        }
    }
}

/// The order that works: each qube is made and filled, then features of all, then properties, then
/// those that name qubes with net qubes first, then the rest, and the guards go last.
fn in_order(
    steps: &mut Vec<Step>,
    drafts: &mut [Draft<'_>],
    in_net_order: &[&QubeRecord],
    guard: Guard,
) {
    for stage in [Stage::Create, Stage::Features, Stage::Plain] {
        for draft in drafts.iter_mut() {
            steps.append(&mut draft.take(stage));
        }
    }
    for record in in_net_order {
        for draft in drafts
            .iter_mut()
            .filter(|draft| draft.record.name == record.name)
        {
            steps.append(&mut draft.take(Stage::References));
        }
    }
    for draft in drafts.iter_mut() {
        steps.append(&mut draft.take(Stage::Extras));
    }
    let mut prohibited = BTreeSet::new();
    for draft in drafts.iter_mut() {
        let mut late = draft.take(Stage::Late);
        if late.iter().any(sets_prohibition) {
            prohibited.insert(draft.new_name());
        }
        steps.append(&mut late);
    }
    for draft in drafts.iter_mut() {
        let qube = draft.new_name();
        steps.push(Step::Unmark { qube: qube.clone() });
        // The feature that guarded it has become its own.
        if guard == Guard::Tag || !prohibited.contains(&qube) {
            steps.push(Step::Unguard { qube, guard });
        }
    }
    for draft in drafts.iter_mut() {
        steps.append(&mut draft.take(Stage::After));
    }
}

fn sets_prohibition(step: &Step) -> bool {
    matches!(step, Step::SetFeature { feature, .. } if feature == GUARD_FEATURE)
}
