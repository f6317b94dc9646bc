// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports of `compact`, `undelete` and `archive copy`, and of packs that wait for their deletion.

use serde::Serialize;
use wyng_control::{CompactReport, CopyReport, ToClient, UndeleteReport, WaitReason, Waits};

use super::rows::ProblemRow;
use crate::plain::plain;
use crate::quantity::{counted, session_name, show_bytes};

/// Seconds in an hour.
const HOUR_SECS: u64 = 3600;

/// `compact`.
#[derive(Default, Serialize)]
pub(super) struct Compact {
    problems: Vec<ProblemRow>,
    waits: Vec<WaitsRow>,
    #[serde(flatten)]
    sums: Option<CompactRow>,
}

#[derive(Serialize)]
#[serde(remote = "CompactReport")]
struct CompactFields {
    rewritten_packs: u64,
    read_bytes: u64,
    moved_bytes: u64,
    deleted_packs: u64,
    freed_bytes: u64,
    deleted_orphans: u64,
    waiting_bytes: u64,
    proof_bytes: u64,
    unknown: bool,
}

#[derive(Serialize)]
struct CompactRow(#[serde(with = "CompactFields")] CompactReport);

/// Packs that wait for the same kind of thing.
#[derive(Serialize)]
pub(super) struct WaitsRow {
    /// The archive, where there may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<String>,
    reason: &'static str,
    packs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

impl WaitsRow {
    /// The row of a group.
    pub(super) fn of(waits: &Waits, archive: Option<String>) -> Self {
        let (reason, runs_left, seconds_left) = match waits.reason {
            WaitReason::HoldOff {
                runs_left,
                secs_left,
            } => ("hold-off", Some(runs_left), Some(secs_left)),
            WaitReason::Reader => ("reader", None, None),
            WaitReason::HeirLost => ("heir-lost", None, None),
            WaitReason::FetchRefused => ("fetch-refused", None, None),
            WaitReason::Needed => ("needed", None, None),
            WaitReason::Proof { .. } => ("proof", None, None),
            WaitReason::DeleteRefused => ("delete-refused", None, None),
            WaitReason::StoreRefused { secs_left } => ("store-refused", None, Some(secs_left)),
        };
        Self {
            archive,
            reason,
            packs: waits.packs,
            bytes: waits.bytes,
            runs_left,
            seconds_left,
        }
    }
}

impl Compact {
    /// Takes one result.
    pub(super) fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Problem(problem) => self.problems.push(ProblemRow(problem.clone())),
            ToClient::Waits(waits) => self.waits.push(WaitsRow::of(waits, None)),
            ToClient::Compacted(report) => self.sums = Some(CompactRow(*report)),
            _ => {}
        }
    }
}

/// `archive copy`.
#[derive(Default, Serialize)]
pub(super) struct Copied {
    problems: Vec<ProblemRow>,
    #[serde(flatten)]
    sums: Option<CopiedRow>,
}

#[derive(Serialize)]
#[serde(remote = "CopyReport")]
struct CopiedFields {
    store: String,
    generation: u64,
    sent_objects: u64,
    sent_bytes: u64,
    read_bytes: u64,
    deleted_objects: u64,
    waiting_objects: u64,
    deletes_refused: bool,
}

#[derive(Serialize)]
struct CopiedRow(#[serde(with = "CopiedFields")] CopyReport);

impl Copied {
    /// Takes one result.
    pub(super) fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Problem(problem) => self.problems.push(ProblemRow(problem.clone())),
            ToClient::Copied(report) => self.sums = Some(CopiedRow(report.clone())),
            _ => {}
        }
    }
}

/// The line of a copy.
pub(super) fn copied(report: &CopyReport) -> String {
    let sent = match report.sent_objects {
        0 => "nothing to send".into(),
        count => format!(
            "{} sent, {}",
            counted(count, "blob"),
            show_bytes(report.sent_bytes)
        ),
    };
    let read = match report.read_bytes {
        0 => String::new(),
        bytes => format!("; {} read back", show_bytes(bytes)),
    };
    let state = match (report.problems, report.generation) {
        (0, generation) => format!("holds generation {generation}"),
        (_, 0) => "is not complete".into(),
        (_, generation) => format!("is whole up to generation {generation}"),
    };
    let mut line = format!("{} {state}: {sent}{read}", plain(&report.store));
    if report.deleted_objects > 0 {
        let deleted = counted(report.deleted_objects, "blob");
        line.push_str(&format!("; {deleted} that the archive gave up deleted"));
    }
    match report.waiting_objects {
        0 => {}
        count if report.deletes_refused => line.push_str(&format!(
            "; {} that the archive gave up stay: nothing may be deleted there",
            counted(count, "blob")
        )),
        count => line.push_str(&format!(
            "; {} that the archive gave up wait for their deletion",
            counted(count, "blob")
        )),
    }
    line
}

/// `undelete`.
#[derive(Default, Serialize)]
pub(super) struct Undelete {
    #[serde(flatten)]
    sums: Option<UndeletedRow>,
}

#[derive(Serialize)]
struct UndeletedRow {
    volume: String,
    session: String,
    revived_packs: u64,
    read_bytes: Option<u64>,
}

impl Undelete {
    /// Takes one result.
    pub(super) fn take(&mut self, event: &ToClient) {
        if let ToClient::Undeleted(report) = event {
            self.sums = Some(UndeletedRow {
                volume: report.volume.clone(),
                session: session_name(report.session),
                revived_packs: report.revived_packs,
                read_bytes: report.read_bytes,
            });
        }
    }
}

/// The line below a compaction.
pub(super) fn compacted(report: &CompactReport) -> String {
    if report.unknown {
        return "metadata is lost, so that it is not known what is needed: nothing was rewritten"
            .into();
    }
    let rewritten = match report.rewritten_packs {
        0 => "nothing to rewrite".into(),
        packs => format!(
            "{} rewritten, {} into {}",
            counted(packs, "pack"),
            show_bytes(report.read_bytes),
            show_bytes(report.moved_bytes)
        ),
    };
    let deleted = match report.deleted_packs {
        0 => String::new(),
        packs => format!(
            "; {} deleted, {} freed",
            counted(packs, "pack"),
            show_bytes(report.freed_bytes)
        ),
    };
    let orphans = match report.deleted_orphans {
        0 => String::new(),
        count => format!("; {} of interrupted runs deleted", counted(count, "blob")),
    };
    format!("{rewritten}{deleted}{orphans}")
}

/// The line for packs that wait.
pub(super) fn waiting(waits: &Waits) -> String {
    let why = match waits.reason {
        WaitReason::HoldOff {
            runs_left,
            secs_left,
        } => match (runs_left, secs_left) {
            (0, secs) => format!("for {} of the hold-off", hours(secs)),
            (runs, 0) => format!("for {} of the hold-off", counted(runs, "run")),
            (runs, secs) => {
                format!(
                    "for {} and {} of the hold-off",
                    counted(runs, "run"),
                    hours(secs)
                )
            }
        },
        WaitReason::Reader => "for a command that reads".into(),
        WaitReason::HeirLost => "because a pack that took over their data is lost".into(),
        WaitReason::FetchRefused => {
            "for proof: the far end refuses to fetch, so that nothing is deleted".into()
        }
        WaitReason::Needed => "for other packs that wait".into(),
        WaitReason::Proof {
            commits_left,
            packs_left,
        } => format!(
            "for proof: {} and {} have to be read back",
            counted(packs_left, "pack"),
            counted(commits_left, "commit")
        ),
        WaitReason::DeleteRefused => "because the far end refuses to delete".into(),
        WaitReason::StoreRefused { secs_left } => {
            format!(
                "because the store refused to delete; next try in {}",
                hours(secs_left)
            )
        }
    };
    let packs = counted(waits.packs, "pack");
    format!("{packs}, {}: waiting {why}", show_bytes(waits.bytes))
}

/// The line below an undelete.
pub(super) fn undeleted(report: &UndeleteReport) -> String {
    let read = match report.read_bytes {
        Some(bytes) => format!("{} read back", show_bytes(bytes)),
        None => "not read back, because the far end refuses to fetch".into(),
    };
    format!(
        "{} {} is back and pinned ({}, {read})",
        plain(&report.volume),
        session_name(report.session),
        counted(report.revived_packs, "pack")
    )
}

fn hours(secs: u64) -> String {
    let hours = secs.div_ceil(HOUR_SECS);
    if hours < 48 {
        counted(hours, "hour")
    } else {
        counted(hours.div_ceil(24), "day")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_says_for_what() {
        let waits = |reason| Waits {
            reason,
            packs: 1,
            bytes: 1 << 20,
        };
        let hold_off = WaitReason::HoldOff {
            runs_left: 2,
            secs_left: 80 * HOUR_SECS,
        };
        assert_eq!(
            waiting(&waits(hold_off)),
            "1 pack, 1 MiB: waiting for 2 runs and 4 days of the hold-off"
        );
        let refused = WaitReason::StoreRefused { secs_left: 60 };
        assert_eq!(
            waiting(&waits(refused)),
            "1 pack, 1 MiB: waiting because the store refused to delete; next try in 1 hour"
        );
    }
}
