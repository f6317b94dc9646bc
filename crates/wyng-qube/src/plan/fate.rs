// SPDX-License-Identifier: GPL-3.0-or-later
//! What becomes of each qube: made, made under another name, used as it is here, or not restored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::machine::Machine;
use super::order::{NETVM, creation_order};
use super::wish::{Archived, Asked, Proof, RestoreWish};
use crate::class::Class;
use crate::form::is_qube_name;
use crate::record::QubeRecord;
use crate::shown::Shown;

/// Maximum length of a qube's name, bytes.
const NAME_MAX_BYTES: usize = 31;
/// Maximum number of qubes of one plan.
const QUBES_MAX: usize = 4096;
/// The highest number behind the name of a qube that is renamed.
const SUFFIX_MAX: u32 = 99;
pub(super) const DEFAULT_DISPVM: &str = "default_dispvm";
pub(super) const PROVIDES_NETWORK: &str = "provides_network";
pub(super) const FOR_DISPOSABLES: &str = "template_for_dispvms";
pub(super) const BY_RPM: &str = "installed_by_rpm";

/// What becomes of a qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is made, under its name.
    Made,
    /// It is made under the name that was asked for.
    MadeAs(String),
    /// Its name is taken here; it is made under another.
    Renamed(String),
    /// It is here, and is used as it is.
    AlreadyHere,
    /// It is not restored.
    NotRestored(WhyNot),
}

/// Why a qube is not restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// Qubes of its class cannot be made.
    Class(Class),
    /// Nothing proves the history, and it is a qube that others depend on, or that runs its own
    /// root volume.
    Unproven,
    /// It is a template that a package installs.
    InstallFirst,
    /// Its template is neither here nor restored.
    NoTemplate(String),
    /// Its template is not one that disposables are made over.
    NotForDisposables(String),
    /// No name is left for it.
    NoName,
}

/// A qube of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QubePlan {
    /// Its name in the record.
    pub qube: String,
    /// What becomes of it.
    pub fate: Fate,
}

impl QubePlan {
    /// The name that the qube gets; `None` where none is made.
    pub fn new_name(&self) -> Option<&str> {
        match &self.fate {
            Fate::Made => Some(&self.qube),
            Fate::MadeAs(name) | Fate::Renamed(name) => Some(name),
            Fate::AlreadyHere | Fate::NotRestored(_) => None,
        }
    }
}

/// A restore that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The archive has no record of the qube.
    #[error("the archive has no settings of {}", Shown::of(.0))]
    Unknown(String),
    /// A new name is for one qube.
    #[error("a new name is for one qube")]
    NewNameForMany,
    /// No qube can have the name.
    #[error("no qube can be called {}", Shown::of(.0))]
    BadName(String),
    /// A qube has the name.
    #[error("there is a qube {} already", Shown::of(.0))]
    NameTaken(String),
    /// There are more than 4096 records.
    #[error("there are more than 4096 qubes")]
    TooMany,
    /// Settings are trusted by a person only.
    #[error("settings are never trusted without a person")]
    TrustedUnattended,
    /// A pool has too little room.
    #[error("the pool {} has {free_bytes} bytes free, and {needed_bytes} bytes are written to it", Shown::of(.pool))]
    NoRoom {
        /// The pool.
        pool: String,
        /// Bytes that it has free.
        free_bytes: u64,
        /// Bytes that are written to it.
        needed_bytes: u64,
    },
    /// A qube has power over all qubes that are being restored, and this release honours no other
    /// guard.
    #[error("{} has the tag backup-restore-mgmt, and nothing else can guard new qubes", Shown::of(.0))]
    NoGuard(String),
}

impl fmt::Display for WhyNot {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(to, "a qube of class {class} cannot be created"),
            Self::Unproven => to.write_str("nothing proves who wrote it; see --unproven"),
            Self::InstallFirst => to.write_str("install its package, then restore"),
            Self::NoTemplate(name) => {
                write!(to, "its template {} is missing", Shown::of(name))
            }
            Self::NotForDisposables(name) => {
                let name = Shown::of(name);
                write!(
                    to,
                    "no disposables are made over {name} without --trust-settings"
                )
            }
            Self::NoName => to.write_str("no name is left for it"),
        }
    }
}

/// The qubes of a plan in the order in which they are made.
pub(super) fn decide(
    archived: &BTreeMap<String, Archived>,
    wish: &RestoreWish,
    machine: &Machine,
) -> Result<Vec<QubePlan>, PlanError> {
    check(archived, wish, machine)?;
    let wanted: Vec<&Archived> = wanted(archived, wish, machine)
        .into_iter()
        .filter_map(|name| archived.get(name))
        .collect();
    let records: Vec<&QubeRecord> = wanted.iter().map(|archived| &archived.record).collect();
    // Of all qubes, those that are here are not made a second time.
    let are_here: BTreeSet<&str> = wanted
        .iter()
        .filter(|archived| wish.asked == Asked::All && archived.is_here)
        .map(|archived| archived.record.name.as_str())
        .collect();
    if let Some(new_name) = &wish.new_name
        && records
            .iter()
            .any(|record| record.name == *new_name && !is_asked(wish, record))
    {
        return Err(PlanError::NameTaken(new_name.clone()));
    }
    let mut taken: BTreeSet<String> = machine.qubes.keys().cloned().collect();
    taken.extend(records.iter().map(|record| record.name.clone()));
    let mut decided: Vec<QubePlan> = Vec::new();
    for record in creation_order(&records) {
        let fate = match are_here.contains(record.name.as_str()) {
            true => Fate::AlreadyHere,
            false => fate_of(record, wish, machine, &mut taken),
        };
        let fate = match fate {
            Fate::Made | Fate::MadeAs(_) | Fate::Renamed(_) => {
                lacks_template(record, wish, machine, (archived, &decided))
                    .map_or(fate, Fate::NotRestored)
            }
            Fate::AlreadyHere | Fate::NotRestored(_) => fate,
        };
        decided.push(QubePlan {
            qube: record.name.clone(),
            fate,
        });
    }
    Ok(decided)
}

fn check(
    archived: &BTreeMap<String, Archived>,
    wish: &RestoreWish,
    machine: &Machine,
) -> Result<(), PlanError> {
    if archived.len() > QUBES_MAX {
        return Err(PlanError::TooMany);
    }
    if wish.trust_settings && !wish.is_attended {
        return Err(PlanError::TrustedUnattended);
    }
    if let Asked::Names(names) = &wish.asked
        && let Some(unknown) = names.iter().find(|name| !archived.contains_key(*name))
    {
        return Err(PlanError::Unknown(unknown.clone()));
    }
    let Some(new_name) = &wish.new_name else {
        return Ok(());
    };
    let is_of_one = matches!(&wish.asked, Asked::Names(names) if names.len() == 1);
    if !is_of_one {
        return Err(PlanError::NewNameForMany);
    }
    if !is_qube_name(new_name) {
        return Err(PlanError::BadName(new_name.clone()));
    }
    if machine.qubes.contains_key(new_name) {
        return Err(PlanError::NameTaken(new_name.clone()));
    }
    Ok(())
}

/// The names of the qubes that are asked for, and with `with_needs` of those that they need.
fn wanted<'a>(
    archived: &'a BTreeMap<String, Archived>,
    wish: &'a RestoreWish,
    machine: &Machine,
) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = match &wish.asked {
        Asked::All => archived.keys().map(String::as_str).collect(),
        Asked::Names(names) => names.iter().map(String::as_str).collect(),
    };
    if !wish.with_needs {
        return found;
    }
    let mut open: VecDeque<&str> = found.iter().copied().collect();
    while let Some(name) = open.pop_front() {
        let Some(archived_one) = archived.get(name) else {
            continue;
        };
        let record = &archived_one.record;
        let needs = [
            record.template.as_deref(),
            record.effective(NETVM),
            record.effective(DEFAULT_DISPVM),
        ];
        for need in needs.into_iter().flatten() {
            if !machine.has(need) && archived.contains_key(need) && found.insert(need) {
                open.push_back(need);
            }
        }
    }
    found
}

fn fate_of(
    record: &QubeRecord,
    wish: &RestoreWish,
    machine: &Machine,
    taken: &mut BTreeSet<String>,
) -> Fate {
    let is_makeable = matches!(
        record.class,
        Class::Template | Class::Standalone | Class::App | Class::Disposable
    );
    if !is_makeable {
        return Fate::NotRestored(WhyNot::Class(record.class.clone()));
    }
    let is_named = matches!(&wish.asked, Asked::Names(names) if names.contains(&record.name));
    let present = machine.qubes.get(&record.name);
    let new_name = wish.new_name.as_ref().filter(|_| is_named);
    let is_a_need_of_others = is_depended_on(record)
        || present.is_some_and(|here| {
            here.class == Class::Template || here.provides_network || here.template_for_dispvms
        });
    if present.is_some() && new_name.is_none() && (is_a_need_of_others || !is_asked(wish, record)) {
        return Fate::AlreadyHere;
    }
    if record.class == Class::Template && record.is_true(BY_RPM) && !is_named {
        return Fate::NotRestored(WhyNot::InstallFirst);
    }
    if wish.proof == Proof::Unproven && is_powerful(record) {
        return Fate::NotRestored(WhyNot::Unproven);
    }
    match (new_name, present) {
        (Some(name), _) => Fate::MadeAs(name.clone()),
        (None, None) => Fate::Made,
        (None, Some(_)) => match free_name(&record.name, taken) {
            Some(name) => {
                taken.insert(name.clone());
                Fate::Renamed(name)
            }
            None => Fate::NotRestored(WhyNot::NoName),
        },
    }
}

fn is_asked(wish: &RestoreWish, record: &QubeRecord) -> bool {
    match &wish.asked {
        Asked::All => true,
        Asked::Names(names) => names.contains(&record.name),
    }
}

fn is_depended_on(record: &QubeRecord) -> bool {
    record.class == Class::Template
        || record.is_true(PROVIDES_NETWORK)
        || record.is_true(FOR_DISPOSABLES)
}

/// Whether other qubes run what is in it, or it runs its own root volume.
fn is_powerful(record: &QubeRecord) -> bool {
    is_depended_on(record) || record.class == Class::Standalone
}

/// `NAME-1` to `NAME-99`, the first that nobody has; the name is cut where it would be too long.
fn free_name(name: &str, taken: &BTreeSet<String>) -> Option<String> {
    (1..=SUFFIX_MAX).find_map(|number| {
        let suffix = format!("-{number}");
        let stem = name
            .get(..NAME_MAX_BYTES.saturating_sub(suffix.len()))
            .unwrap_or(name);
        let candidate = format!("{stem}{suffix}");
        (is_qube_name(&candidate) && !taken.contains(&candidate)).then_some(candidate)
    })
}

/// Why it cannot be made for want of its template. A template is never replaced by another.
fn lacks_template(
    record: &QubeRecord,
    wish: &RestoreWish,
    machine: &Machine,
    (archived, decided): (&BTreeMap<String, Archived>, &[QubePlan]),
) -> Option<WhyNot> {
    if !record.class.has_template() {
        return None;
    }
    let Some(template) = record.template.as_deref() else {
        return Some(WhyNot::NoTemplate(String::new()));
    };
    let is_disposable = record.class == Class::Disposable;
    let class = if is_disposable {
        Class::App
    } else {
        Class::Template
    };
    if let Some(here) = machine.qubes.get(template) {
        return if here.class != class {
            Some(WhyNot::NoTemplate(template.to_owned()))
        } else if is_disposable && !here.template_for_dispvms {
            Some(WhyNot::NotForDisposables(template.to_owned()))
        } else {
            None
        };
    }
    let is_made = decided
        .iter()
        .any(|plan| plan.new_name() == Some(template) && plan.qube == template);
    let made = archived.get(template).filter(|_| is_made);
    match made.map(|archived| &archived.record) {
        Some(made) if made.class == class => {
            let is_allowed = wish.trust_settings && made.is_true(FOR_DISPOSABLES);
            (is_disposable && !is_allowed).then(|| WhyNot::NotForDisposables(template.to_owned()))
        }
        _ => Some(WhyNot::NoTemplate(template.to_owned())),
    }
}
