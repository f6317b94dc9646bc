// SPDX-License-Identifier: GPL-3.0-or-later
//! The qubes of a restore, as the command line names them.

use clap::Args;
use wyng_control::{InPlaceEnd, QubeParts, QubesWish};

/// Which qubes are restored, and how.
#[derive(Debug, Args)]
pub(crate) struct QubesBackArgs {
    /// In dom0: make this qube again, with volumes and settings, after its plan is confirmed; may
    /// be given several times
    #[arg(long, value_name = "QUBE", groups = [NAMED, GIVEN], conflicts_with_all = NEVER_BESIDE)]
    qube: Vec<String>,
    /// Make every qube of the archive again that is not here. One whose name another qube has gets a
    /// number behind its name; templates, net qubes and disposable templates of that name are used
    #[arg(long, groups = [NAMED, GIVEN], conflicts_with_all = NEVER_BESIDE, conflicts_with = "in_place")]
    all_qubes: bool,
    /// Make the qube under this name; with --in-place, change the qube of this name
    #[arg(long = "as", value_name = "NAME", requires = "qube")]
    new_name: Option<String>,
    /// Give up what this qube was before it was restored in place
    #[arg(long, requires = "qube", conflicts_with_all = NEVER_SETTLED)]
    accept: bool,
    /// Put this qube back: it becomes what it was before it was restored in place, and what it
    /// wrote since is lost
    #[arg(long, requires = "qube", conflicts_with_all = NEVER_SETTLED, conflicts_with = "accept")]
    undo: bool,
    /// Restore settings alone; the volumes are those of a new qube
    #[arg(long, requires = NAMED, conflicts_with = "data_only")]
    settings_only: bool,
    /// Restore volumes alone; the qube has no network
    #[arg(long, requires = NAMED)]
    data_only: bool,
    /// Also make the templates, net qubes and disposable templates that are needed and not here
    #[arg(long, requires = NAMED, conflicts_with = "in_place")]
    with_needs: bool,
    /// Also apply settings that give a qube power: features, tags, autostart and others. A person
    /// must confirm the plan
    #[arg(long, requires = NAMED, conflicts_with = "in_place")]
    trust_settings: bool,
    /// Also restore templates, StandaloneVMs, net qubes and disposable templates, or dom0's files, of
    /// an archive that was opened without the code of its recovery sheet
    #[arg(long, requires = GIVEN)]
    pub(crate) unproven: bool,
}

/// The group of options of which one names the qubes.
const NAMED: &str = "of_qubes";
/// The group of options of which one names qubes or dom0.
pub(super) const GIVEN: &str = "qubes_or_dom0";
/// What a restore of volumes or qubes has, and one of dom0's files has not.
pub(super) const NEVER_WITH_DOM0: [&str; 7] = [
    "volumes",
    "all",
    "overwrite",
    "in_place",
    "quick",
    "around_damage",
    NAMED,
];
/// What a restore of qubes has, and the end of one in place has not.
const NEVER_SETTLED: [&str; 8] = [
    "in_place",
    "new_name",
    "settings_only",
    "data_only",
    "with_needs",
    "trust_settings",
    "unproven",
    "dry_run",
];
/// What a restore of volumes has, and one of qubes has not.
const NEVER_BESIDE: [&str; 5] = ["volumes", "all", "to", "overwrite", "around_damage"];

impl QubesBackArgs {
    /// Whether qubes are restored.
    pub(crate) fn are_named(&self) -> bool {
        self.all_qubes || !self.qube.is_empty()
    }

    /// The qubes whose restores in place are to be ended, and how.
    pub(crate) fn settled(&self) -> Option<(&[String], InPlaceEnd)> {
        let end = match (self.accept, self.undo) {
            (true, _) => InPlaceEnd::Accept,
            (false, true) => InPlaceEnd::Undo,
            (false, false) => return None,
        };
        Some((&self.qube, end))
    }

    /// Whether more than one qube is named.
    pub(super) fn are_several(&self) -> bool {
        self.qube.len() > 1
    }

    /// What is asked for. `attended`: a person reads the plan.
    pub(super) fn wish(&self, attended: bool, in_place: bool) -> QubesWish {
        let parts = match (self.settings_only, self.data_only) {
            (true, _) => QubeParts::SettingsOnly,
            (false, true) => QubeParts::DataOnly,
            (false, false) => QubeParts::Both,
        };
        QubesWish {
            qubes: self.qube.clone(),
            new_name: self.new_name.clone(),
            parts,
            with_needs: self.with_needs,
            trust_settings: self.trust_settings,
            unproven: self.unproven,
            attended,
            in_place,
        }
    }
}
