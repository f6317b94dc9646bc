// SPDX-License-Identifier: GPL-3.0-or-later
//! The pools that a new qube's volumes are made in, and what is done to its volumes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::draft::{Draft, Scene, Stage};
use super::line::{Instead, Line, Need, Setting, WhyLeft};
use super::step::Step;
use super::wish::{Archived, Parts};
use crate::class::Class;

const ROOT: &str = "root";
const PRIVATE: &str = "private";
pub(super) const VOLATILE: &str = "volatile";
pub(super) const KERNEL: &str = "kernel";
/// The lengths that a record may give a volume, bytes: 1 MiB to 16 TiB.
pub(super) const SIZE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 44;
/// The number of older states that pools keep where nothing else is set.
const REVISIONS: i64 = 1;

/// The volumes for which a pool can be named when a qube of the class is made.
fn with_a_pool(class: &Class) -> &'static [&'static str] {
    match class {
        Class::Template | Class::Standalone => &[PRIVATE, ROOT, VOLATILE],
        Class::App => &[PRIVATE, VOLATILE],
        _ => &[VOLATILE],
    }
}

/// The volumes of a class that keep what is written to them, and can be imported into.
pub(super) fn with_data(class: &Class) -> &'static [&'static str] {
    match class {
        Class::Template | Class::Standalone => &[PRIVATE, ROOT],
        Class::App => &[PRIVATE],
        _ => &[],
    }
}

/// The pool of each volume of which one can be named: that of the record, else the default one.
pub(super) fn pools(draft: &mut Draft<'_>, scene: &Scene<'_>) -> BTreeMap<String, String> {
    let machine = scene.machine;
    let mut pools = BTreeMap::new();
    for volume in with_a_pool(&draft.record.class) {
        let recorded = draft.record.volumes.get(*volume);
        let pool = match recorded {
            Some(recorded) if machine.pools.contains_key(&recorded.pool) => recorded.pool.clone(),
            Some(recorded) => {
                let line = Line::Missing {
                    qube: draft.qube(),
                    need: Need::Pool,
                    name: recorded.pool.clone(),
                    instead: Instead::DefaultPool(machine.default_pool.clone()),
                };
                if !draft.lines.contains(&line) {
                    draft.lines.push(line);
                }
                machine.default_pool.clone()
            }
            None => machine.default_pool.clone(),
        };
        pools.insert((*volume).to_owned(), pool);
    }
    pools
}

/// Imports, lengths and settings of volumes, in the order that works: whether a volume can be
/// written to comes last, because nothing else can be done to one that cannot.
pub(super) fn plan_volumes(draft: &mut Draft<'_>, scene: &Scene<'_>, archived: &Archived) {
    let parts = scene.wish.parts;
    if parts != Parts::DataOnly {
        plan_ephemeral(draft, scene);
    }
    if parts == Parts::SettingsOnly {
        let qube = draft.qube();
        draft.lines.push(Line::SettingsOnly { qube });
    } else {
        plan_imports(draft, archived);
    }
    if parts != Parts::DataOnly {
        plan_sizes(draft, parts);
        plan_revisions(draft, scene);
        plan_read_only(draft);
    }
}

fn plan_ephemeral(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    for (volume, kept) in &draft.record.volumes {
        // Setting what is already so would leave a trace.
        if !kept.ephemeral || volume == KERNEL {
            continue;
        }
        let setting = Setting::Volume(volume.clone(), "encryption");
        if scene.wish.trust_settings {
            let step = Step::SetEphemeral {
                qube: draft.new_name(),
                volume: volume.clone(),
                is_ephemeral: true,
            };
            draft.add(Stage::Create, step, setting);
        } else {
            draft.left_out(setting, WhyLeft::Untrusted);
        }
    }
}

fn plan_imports(draft: &mut Draft<'_>, archived: &Archived) {
    let possible = with_data(&draft.record.class);
    for (volume, size_bytes) in &archived.volumes {
        let setting = Setting::Volume(volume.clone(), "data");
        if !possible.contains(&volume.as_str()) {
            draft.left_out(setting, WhyLeft::NoSuchVolume);
            continue;
        }
        if *size_bytes == 0 {
            // qubesd begins no import of nothing.
            draft.left_out(setting, WhyLeft::OutOfBounds);
            continue;
        }
        let step = Step::Import {
            qube: draft.new_name(),
            volume: volume.clone(),
            size_bytes: *size_bytes,
        };
        if draft.add(Stage::Create, step, setting) {
            let (qube, volume, size_bytes) = (draft.qube(), volume.clone(), *size_bytes);
            draft.lines.push(Line::Imports {
                qube,
                volume,
                size_bytes,
            });
        }
    }
    for volume in possible {
        if !archived.volumes.contains_key(*volume) {
            let line = Line::Missing {
                qube: draft.qube(),
                need: Need::Volume,
                name: (*volume).to_owned(),
                instead: Instead::Empty,
            };
            draft.lines.push(line);
        }
    }
}

/// An import sets the length; where there is none, the record does.
fn plan_sizes(draft: &mut Draft<'_>, parts: Parts) {
    let class = &draft.record.class;
    let mut resized = vec![VOLATILE];
    if parts == Parts::SettingsOnly {
        resized.extend(with_data(class));
    }
    for volume in resized {
        let Some(kept) = draft.record.volumes.get(volume) else {
            continue;
        };
        let setting = Setting::Volume(volume.to_owned(), "size");
        if SIZE_BYTES.contains(&kept.size) {
            let step = Step::Resize {
                qube: draft.new_name(),
                volume: volume.to_owned(),
                size_bytes: kept.size,
            };
            draft.add(Stage::Create, step, setting);
        } else {
            draft.left_out(setting, WhyLeft::OutOfBounds);
        }
    }
}

fn plan_revisions(draft: &mut Draft<'_>, scene: &Scene<'_>) {
    for volume in with_data(&draft.record.class) {
        let Some(kept) = draft.record.volumes.get(*volume) else {
            continue;
        };
        let setting = Setting::Volume((*volume).to_owned(), "revisions_to_keep");
        if scene.wish.trust_settings {
            let step = Step::SetRevisions {
                qube: draft.new_name(),
                volume: (*volume).to_owned(),
                count: kept.revisions_to_keep,
            };
            draft.add(Stage::Create, step, setting);
        } else if kept.revisions_to_keep != REVISIONS {
            draft.left_out(setting, WhyLeft::Untrusted);
        }
    }
}

fn plan_read_only(draft: &mut Draft<'_>) {
    for (volume, kept) in &draft.record.volumes {
        if kept.rw || volume == KERNEL {
            continue;
        }
        let step = Step::SetReadOnly {
            qube: draft.new_name(),
            volume: volume.clone(),
        };
        let setting = Setting::Volume(volume.clone(), "rw");
        draft.add(Stage::Create, step, setting);
    }
}
