// SPDX-License-Identifier: GPL-3.0-or-later
//! The request of a prune, and the policy of each volume that follows from it.

use wyng_archive::plan::retention::{Policy, minimum_age_secs};
use wyng_control::{Failure, KeepRules, PruneRules};

/// A prune of one archive.
#[derive(Debug, Clone)]
pub struct PruneRequest {
    /// The archive's name.
    pub archive: String,
    /// The names of the volumes; empty: all volumes for which there is a rule.
    pub volumes: Vec<String>,
    /// Rules by which sessions are kept.
    pub rules: PruneRules,
    /// Reports what would be removed, and changes nothing.
    pub dry_run: bool,
    /// A timer started it.
    pub unattended: bool,
    /// The person has checked the clock, and accepts its present time.
    pub trust_clock: bool,
}

impl PruneRequest {
    /// Refuses a prune without any rule, and volumes that are named and have none:
    /// [`Failure::NoRules`].
    pub(super) fn check_rules(&self) -> Result<(), Failure> {
        let named_without = self
            .volumes
            .iter()
            .any(|volume| rules_of(&self.rules, volume).is_empty());
        if self.rules.is_empty() || named_without {
            Err(Failure::NoRules)
        } else {
            Ok(())
        }
    }
}

/// The policy for a volume in an archive whose commit states `archive_minimum_age_secs`; `None` if
/// there is no rule, so that the volume keeps all of its sessions.
pub(super) fn policy_of(
    rules: &PruneRules,
    volume: &str,
    archive_minimum_age_secs: u64,
) -> Option<Policy> {
    let keep = rules_of(rules, volume);
    let policy = Policy {
        last: keep.last,
        hourly: keep.hourly,
        daily: keep.daily,
        weekly: keep.weekly,
        monthly: keep.monthly,
        yearly: keep.yearly,
        within_secs: keep.within_secs,
        tags: keep.tags.clone(),
        minimum_age_secs: minimum_age_secs(archive_minimum_age_secs, rules.minimum_age_secs),
    };
    (!policy.is_empty()).then_some(policy)
}

fn rules_of<'a>(rules: &'a PruneRules, volume: &str) -> &'a KeepRules {
    rules
        .of_volumes
        .iter()
        .find(|(name, _)| name == volume)
        .map_or(&rules.keep, |(_, keep)| keep)
}
