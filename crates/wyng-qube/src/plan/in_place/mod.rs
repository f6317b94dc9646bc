// SPDX-License-Identifier: GPL-3.0-or-later
//! The plan of a restore into a qube that is here: its volumes become what they were, and of its
//! settings those that give no power. Everything that is changed has a way back.
//!
//! It deliberately does nothing: whoever carries the plan out keeps the volumes first, notes what
//! it is about to do, and puts everything back if one volume fails.

mod change;
mod lines;
mod note;
mod settings;
mod shape;

use std::collections::BTreeMap;

use super::fate::{FOR_DISPOSABLES, PROVIDES_NETWORK};
use super::machine::Machine;
use super::volumes::with_data;
use super::wish::{Archived, Parts, Proof};
use crate::class::Class;
use crate::record::QubeRecord;
use crate::uuid::QubeUuid;

pub use change::{Back, Change, Field, back};
pub use lines::InPlaceLine;
pub use note::{
    BadNotes, InPlaceNote, InPlaceState, KeptVolume, NOTES_MAX_BYTES, NotesFile, ThinVolume,
};
pub use shape::{InPlacePlan, InPlaceWish};

/// The qube that is changed.
#[derive(Debug, Clone)]
pub struct Present {
    /// What it is now.
    pub record: QubeRecord,
    /// Its uuid.
    pub uuid: QubeUuid,
    /// Whether it is halted.
    pub is_halted: bool,
    /// What is kept from an earlier restore in place.
    pub has_kept: bool,
    /// Why a volume cannot be kept before it is changed; the end of a sentence. Volumes that can
    /// be are missing here.
    pub not_kept: BTreeMap<String, String>,
}

/// Why a qube is not restored in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNotInPlace {
    /// Nothing keeps it from starting.
    #[error(
        "this release of Qubes OS does not honour prohibit-start, so that it could start meanwhile"
    )]
    NoGuard,
    /// It is not halted.
    #[error("it is not halted; shut it down first")]
    Runs,
    /// It is of another class.
    #[error("it is of class {here}, and the archive's is of class {archived}")]
    OtherClass {
        /// The class of the qube that is here.
        here: Class,
        /// The class in the record.
        archived: Class,
    },
    /// A qube of the class keeps nothing.
    #[error("a qube of class {0} keeps no volume")]
    NoVolumes(Class),
    /// It is not known to be the qube of the archive.
    #[error(
        "it is not known to be the qube of that name in the archive; `--as {0}` says that it is meant"
    )]
    OtherQube(String),
    /// What was there before an earlier restore is still kept.
    #[error(
        "what it was before its last restore in place is still kept; end that with --accept or --undo"
    )]
    StillKept,
    /// The history is not proven, and others depend on the qube, or it runs its own root volume.
    #[error("nothing proves who wrote it; see --unproven")]
    Unproven,
    /// A volume cannot be kept.
    #[error("its volume {volume} cannot be kept as it is: {why}")]
    NotKept {
        /// The volume.
        volume: String,
        /// Why; the end of a sentence.
        why: String,
    },
    /// The archive has nothing that would be changed.
    #[error("the archive has no volume of it in this session")]
    Nothing,
}

/// Plans a restore into a qube that is here. `uuid` in `archived` is the one that this machine
/// knows the history under.
pub fn plan_in_place(
    archived: &Archived,
    present: &Present,
    wish: &InPlaceWish<'_>,
    machine: &Machine,
) -> Result<InPlacePlan, WhyNotInPlace> {
    check(archived, present, wish, machine)?;
    let mut plan = InPlacePlan {
        lines: vec![InPlaceLine::Changed {
            qube: wish.name.to_owned(),
            archived: archived.record.name.clone(),
        }],
        volumes: Vec::new(),
        labels: Vec::new(),
        before: Vec::new(),
        after: Vec::new(),
    };
    if wish.parts != Parts::SettingsOnly {
        plan_volumes(&mut plan, archived, present, wish.name)?;
    }
    if wish.parts != Parts::DataOnly {
        settings::plan_settings(
            &mut plan,
            (&archived.record, &present.record),
            wish,
            machine,
        );
    }
    if plan.volumes.is_empty() && wish.parts == Parts::DataOnly {
        return Err(WhyNotInPlace::Nothing);
    }
    plan.lines.push(InPlaceLine::Kept {
        qube: wish.name.to_owned(),
    });
    Ok(plan)
}

fn check(
    archived: &Archived,
    present: &Present,
    wish: &InPlaceWish<'_>,
    machine: &Machine,
) -> Result<(), WhyNotInPlace> {
    let (record, here) = (&archived.record, &present.record);
    if here.class != record.class {
        return Err(WhyNotInPlace::OtherClass {
            here: here.class.clone(),
            archived: record.class.clone(),
        });
    }
    if with_data(&here.class).is_empty() {
        return Err(WhyNotInPlace::NoVolumes(here.class.clone()));
    }
    if !machine.honours_prohibit_start {
        return Err(WhyNotInPlace::NoGuard);
    }
    let is_it = archived.uuid.as_ref() == Some(&present.uuid);
    if !is_it && !wish.is_named_apart {
        return Err(WhyNotInPlace::OtherQube(wish.name.to_owned()));
    }
    if wish.proof == Proof::Unproven && (has_power(record) || has_power(here)) {
        return Err(WhyNotInPlace::Unproven);
    }
    if !present.is_halted {
        return Err(WhyNotInPlace::Runs);
    }
    if present.has_kept {
        return Err(WhyNotInPlace::StillKept);
    }
    Ok(())
}

/// Whether other qubes run what is in it, or it runs its own root volume.
fn has_power(record: &QubeRecord) -> bool {
    matches!(record.class, Class::Template | Class::Standalone)
        || record.is_true(PROVIDES_NETWORK)
        || record.is_true(FOR_DISPOSABLES)
}

fn plan_volumes(
    plan: &mut InPlacePlan,
    archived: &Archived,
    present: &Present,
    name: &str,
) -> Result<(), WhyNotInPlace> {
    let possible = with_data(&present.record.class);
    for (volume, size_bytes) in &archived.volumes {
        let here = present.record.volumes.get(volume);
        let line = match here {
            Some(here) if possible.contains(&volume.as_str()) && *size_bytes > 0 => {
                plan.volumes.push((volume.clone(), *size_bytes));
                InPlaceLine::Volume {
                    qube: name.to_owned(),
                    volume: volume.clone(),
                    here_bytes: here.size,
                    size_bytes: *size_bytes,
                }
            }
            _ => InPlaceLine::NoVolume {
                qube: name.to_owned(),
                volume: volume.clone(),
            },
        };
        plan.lines.push(line);
    }
    for volume in possible {
        if !archived.volumes.contains_key(*volume) {
            plan.lines.push(InPlaceLine::NoSession {
                qube: name.to_owned(),
                volume: (*volume).to_owned(),
            });
        }
    }
    let not_kept = plan
        .volumes
        .iter()
        .find_map(|(volume, _)| Some((volume, present.not_kept.get(volume)?)));
    match not_kept {
        Some((volume, why)) => Err(WhyNotInPlace::NotKept {
            volume: volume.clone(),
            why: why.clone(),
        }),
        None => Ok(()),
    }
}
