// SPDX-License-Identifier: GPL-3.0-or-later
//! The results of `restore`: volumes, and of qubes the plan and what became of each.

use std::collections::BTreeMap;

use serde::Serialize;
use wyng_control::{RestoreReport, ToClient};

use super::dom0::Dom0Row;
use super::rows::{ProblemRow, QubeRow, Range, RestoredFields};

/// `restore`.
#[derive(Serialize)]
pub(super) struct Restore {
    dry_run: bool,
    volumes: Vec<RestoredVolume>,
    /// Objects that were read in an older version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemRow>,
    /// The lines of the plan, of a restore of qubes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) plan: Vec<String>,
    /// What became of each qube.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    qubes: Vec<QubeRow>,
    /// dom0's own files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dom0: Option<Dom0Row>,
    /// Lost ranges of volumes whose report has not come yet.
    #[serde(skip)]
    lost: BTreeMap<String, Vec<Range>>,
}

/// A volume with its lost ranges, which are zeros in the target.
#[derive(Serialize)]
struct RestoredVolume {
    #[serde(flatten, with = "RestoredFields")]
    report: RestoreReport,
    lost: Vec<Range>,
}

impl Restore {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            volumes: Vec::new(),
            problems: Vec::new(),
            plan: Vec::new(),
            qubes: Vec::new(),
            dom0: None,
            lost: BTreeMap::new(),
        }
    }

    /// Lost ranges may come before or after the report of their volume.
    pub(super) fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Problem(problem) => self.problems.push(ProblemRow(problem.clone())),
            ToClient::QubePlan(lines) => self.plan.extend(lines.iter().cloned()),
            ToClient::QubeRestored(qube) => self.qubes.push(QubeRow::of(qube)),
            ToClient::Restored(report) => self.volumes.push(RestoredVolume {
                lost: self.lost.remove(&report.name).unwrap_or_default(),
                report: report.clone(),
            }),
            ToClient::Lost { volume, ranges } => {
                let known = self
                    .volumes
                    .iter_mut()
                    .find(|known| known.report.name == *volume);
                let lost = match known {
                    Some(known) => &mut known.lost,
                    None => self.lost.entry(volume.clone()).or_default(),
                };
                lost.extend(ranges.iter().map(Range::of));
            }
            _ => {}
        }
    }
}
