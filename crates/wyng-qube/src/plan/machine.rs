// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine, as far as a plan depends on it. What changed between plan and restore is found by
//! comparing two of these.

use std::collections::{BTreeMap, BTreeSet};

use crate::class::Class;
use crate::driver::Driver;
use crate::form::DOM0;

/// The tag whose bearers may do everything to qubes that are being restored.
pub(super) const RESTORER_TAG: &str = "backup-restore-mgmt";

/// What is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Every qube by its name, without dom0.
    pub qubes: BTreeMap<String, PresentQube>,
    /// Names of labels.
    pub labels: BTreeSet<String>,
    /// The driver of each pool.
    pub pools: BTreeMap<String, Driver>,
    /// Bytes that each pool has free, as far as it is known.
    pub free_bytes: BTreeMap<String, u64>,
    /// The pool that volumes are made in where nothing else is said.
    pub default_pool: String,
    /// Names of kernels.
    pub kernels: BTreeSet<String>,
    /// Classes of devices that this release knows.
    pub device_classes: BTreeSet<String>,
    /// What a new qube without own values has of the properties in
    /// [`EFFECTIVE`](crate::record::EFFECTIVE): the defaults of the system; `None` for none.
    pub defaults: BTreeMap<String, Option<String>>,
    /// Whether the feature `prohibit-start` keeps a qube from starting in this release.
    pub honours_prohibit_start: bool,
    /// The files of the policy.
    pub policy: Vec<PolicyFile>,
    /// What of the policy cannot be read.
    pub unread_policy: Vec<UnreadPolicy>,
}

/// A qube that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentQube {
    /// Its class.
    pub class: Class,
    /// Whether other qubes reach the network through it.
    pub provides_network: bool,
    /// Whether disposables are made over it.
    pub template_for_dispvms: bool,
    /// Whether it has the tag `backup-restore-mgmt`.
    pub is_restorer: bool,
}

/// A file of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its name in the policy's folder; its path where it is in another folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A file or folder of the policy that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadPolicy {
    /// Its path.
    pub path: String,
    /// Why; the end of a sentence.
    pub why: String,
}

impl Machine {
    /// Whether a domain of this name is here.
    pub(super) fn has(&self, name: &str) -> bool {
        name == DOM0 || self.qubes.contains_key(name)
    }

    /// The qube that has power over all qubes that are being restored, if one has.
    pub(super) fn restorer(&self) -> Option<&str> {
        let mut restorers = self.qubes.iter().filter(|(_, qube)| qube.is_restorer);
        restorers.next().map(|(name, _)| name.as_str())
    }
}
