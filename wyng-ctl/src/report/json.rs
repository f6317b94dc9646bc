// SPDX-License-Identifier: GPL-3.0-or-later
//! Results for programs: one JSON object a command. Its fields are a contract,
//! `docs/schema/output.json`.

use serde::Serialize;
use serde_json::Value;
use wyng_control::{ExitStatus, Warning};

use super::found::Found;
use super::told::Told;
use crate::cli::Kind;

/// The version of the contract, which rises when a field changes its meaning or is removed.
const SCHEMA: u32 = 1;

/// The parts of a command's object.
pub(super) struct Parts<'a> {
    pub(super) kind: Kind,
    pub(super) exit: ExitStatus,
    pub(super) archive: Option<&'a str>,
    pub(super) errors: &'a [Told],
    pub(super) warnings: &'a [Warning],
    pub(super) found: &'a Found,
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    command: Option<&'static str>,
    exit: u8,
    errors: &'a [Told],
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningRow>>,
    /// `Some(None)` is null: a command about one archive that found none.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<Option<&'a str>>,
    #[serde(flatten)]
    found: &'a Found,
}

#[derive(Serialize)]
struct WarningRow {
    code: &'static str,
    text: String,
    next: &'static str,
}

impl WarningRow {
    fn of(warning: &Warning) -> Self {
        Self {
            code: warning.code(),
            text: warning.to_string(),
            next: warning.next(),
        }
    }
}

/// The object of a finished command in one line, with its fields in alphabetical order.
pub(super) fn object(parts: &Parts<'_>) -> String {
    let lists_warnings = !parts.warnings.is_empty() || parts.kind == Kind::ArchiveOpen;
    let shows_archive = parts.archive.is_some() || parts.kind.is_of_one_archive();
    line(&Object {
        schema: SCHEMA,
        command: Some(parts.kind.words()),
        exit: parts.exit.code(),
        errors: parts.errors,
        warnings: lists_warnings.then(|| parts.warnings.iter().map(WarningRow::of).collect()),
        archive: shows_archive.then_some(parts.archive),
        found: parts.found,
    })
}

/// The object of an invalid command line.
pub(super) fn of_unparsed(told: &Told) -> String {
    line(&Object {
        schema: SCHEMA,
        command: None,
        exit: told.exit.code(),
        errors: std::slice::from_ref(told),
        warnings: None,
        archive: None,
        found: &Found::Nothing {},
    })
}

/// The object as text. Every key is text and every value has a form in JSON, so this cannot fail.
fn line(object: &Object<'_>) -> String {
    serde_json::to_value(object)
        .unwrap_or(Value::Null)
        .to_string()
}
