// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's own files in the results: what was collected, or written back.

use std::path::Path;

use serde::Serialize;

use crate::dom0::{Difference, LeftOut, Packed, State, Unpacked};
use crate::plain::plain;
use crate::quantity::show_bytes;

/// dom0's files.
#[derive(Serialize)]
pub(super) struct Dom0Row {
    /// The folder of a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    files: u64,
    bytes: u64,
    left_out: Vec<LeftOutRow>,
    /// Links, which a restore only names.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<LinkRow>>,
    /// How the restored policy differs from the one here.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Vec<PolicyRow>>,
}

#[derive(Serialize)]
struct LeftOutRow {
    path: String,
    why: &'static str,
    text: String,
}

#[derive(Serialize)]
struct LinkRow {
    path: String,
    target: String,
}

#[derive(Serialize)]
struct PolicyRow {
    file: String,
    state: &'static str,
    lines: Vec<String>,
}

impl Dom0Row {
    pub(super) fn of_backup(packed: &Packed) -> Self {
        Self {
            folder: None,
            files: packed.files,
            bytes: packed.bytes,
            left_out: packed.left_out.iter().map(LeftOutRow::of).collect(),
            links: None,
            policy: None,
        }
    }

    pub(super) fn of_restore(folder: &Path, unpacked: &Unpacked) -> Self {
        let link = |(path, target): &(String, String)| LinkRow {
            path: path.clone(),
            target: target.clone(),
        };
        Self {
            folder: Some(folder.to_string_lossy().into_owned()),
            files: unpacked.files,
            bytes: unpacked.bytes,
            left_out: unpacked.left_out.iter().map(LeftOutRow::of).collect(),
            links: Some(unpacked.links.iter().map(link).collect()),
            policy: Some(unpacked.policy.iter().map(PolicyRow::of).collect()),
        }
    }

    /// The lines for a person.
    pub(super) fn lines(&self) -> Vec<String> {
        let (files, bytes) = (self.files, show_bytes(self.bytes));
        let first = match &self.folder {
            Some(folder) => format!("dom0  {files} files of {bytes} written to {folder}"),
            None => format!("dom0  {files} files of {bytes} collected"),
        };
        let left_out = self
            .left_out
            .iter()
            .map(|left| format!("{} is left out: {}", left.path, left.text));
        let links = self
            .links
            .iter()
            .flatten()
            .map(|link| format!("{} was a link to {}", link.path, link.target));
        let policy = self.policy.iter().flatten().flat_map(PolicyRow::lines);
        let lines = std::iter::once(first).chain(left_out).chain(links);
        lines.chain(policy).map(|line| plain(&line)).collect()
    }
}

impl LeftOutRow {
    fn of(left_out: &LeftOut) -> Self {
        Self {
            path: left_out.path.clone(),
            why: left_out.why.code(),
            text: left_out.why.phrase(),
        }
    }
}

impl PolicyRow {
    fn of(difference: &Difference) -> Self {
        Self {
            file: difference.file.clone(),
            state: difference.state.code(),
            lines: difference.lines.clone(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let how = match self.state {
            state if state == State::New.code() => "is not here",
            state if state == State::Missing.code() => "is here alone",
            _ => "differs (- here, + restored)",
        };
        let first = format!("policy {} {how}", self.file);
        let lines = self.lines.iter().map(|line| format!("  {line}"));
        std::iter::once(first).chain(lines).collect()
    }
}
