// SPDX-License-Identifier: GPL-3.0-or-later
//! Results for programs: one object a command. Field names are a contract,
//! `docs/schema/output.json`; numbers of bytes are whole numbers.

use serde_json::{Map, Value, json};
use wyng_config::Profile;
use wyng_control::{ExitStatus, SessionLine, ToClient};

use super::Report;
use super::human::method_name;
use super::rows::SnapshotLine;
use super::told::Told;
use crate::quantity::{hex, session_name};

/// Raised when a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// The object of words that are no command.
pub(super) fn of_unparsed(told: &Told) -> Value {
    json!({"schema": SCHEMA, "command": null, "exit": told.exit.code(), "errors": [error(told)]})
}

fn error(told: &Told) -> Value {
    json!({"code": told.code, "text": told.text, "safe": told.safe, "next": told.next, "volume": told.volume})
}

/// The object of a finished command.
pub(super) fn object(report: &Report, exit: ExitStatus) -> Value {
    let errors: Vec<Value> = report.messages.iter().map(error).collect();
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("schema", json!(SCHEMA));
    set("command", json!(report.command));
    set("exit", json!(exit.code()));
    set("errors", Value::Array(errors));
    let warnings: Vec<Value> =
        report.warnings.iter().map(|warning| json!({"code": warning.code(), "text": warning.to_string(), "next": warning.next()})).collect();
    if !warnings.is_empty() || report.command == "archive open" {
        set("warnings", Value::Array(warnings));
    }
    // An archive that was left out, and could not be told, is null.
    if report.archive.is_some()
        || !matches!(
            report.command,
            "archive list"
                | "status"
                | "lock"
                | "watch"
                | "config check"
                | "qubes check"
                | "snapshots list"
                | "snapshots clean"
                | "completions"
                | "man"
        )
    {
        set("archive", json!(report.archive));
    }
    match report.command {
        "config check" => {
            if let Some(config) = &report.config {
                set(
                    "archives",
                    config
                        .archives
                        .iter()
                        .map(|(name, archive)| json!({"name": name, "store": archive.store, "via": archive.via}))
                        .collect(),
                );
                set(
                    "volumes",
                    config
                        .volumes
                        .iter()
                        .map(|(name, path)| json!({"name": name, "path": path}))
                        .collect(),
                );
                set("profiles", config.profiles.iter().map(profile).collect());
            }
        }
        "list" => drop(set("volumes", listed(report))),
        "backup" => {
            set(
                "volumes",
                Value::Array(report.events.iter().filter_map(backed_up).collect()),
            );
            for event in &report.events {
                if let ToClient::Totals {
                    sent_bytes,
                    peak_rss_bytes,
                } = event
                {
                    set("sent_bytes", json!(sent_bytes));
                    set("peak_rss_bytes", json!(peak_rss_bytes));
                }
            }
        }
        "restore" => {
            set("dry_run", json!(report.dry_run));
            let restored = report
                .events
                .iter()
                .filter_map(|event| restored(event, &report.events));
            set("volumes", Value::Array(restored.collect()));
        }
        "monitor" => drop(set(
            "volumes",
            Value::Array(report.events.iter().filter_map(monitored).collect()),
        )),
        "diff" => {
            let mut differing = Vec::new();
            for event in &report.events {
                match event {
                    ToClient::Differences(page) => differing.extend(ranges(page)),
                    ToClient::Compared(sums) => {
                        set("volume", json!(sums.name));
                        set("session", json!(session_name(sums.session)));
                        set("with", json!(sums.with.map(session_name)));
                        set("size_bytes", json!(sums.size_bytes));
                        set("with_size_bytes", json!(sums.with_size_bytes));
                        set("differing_bytes", json!(sums.differing_bytes));
                        set("read_bytes", json!(sums.read_bytes));
                        set("damaged_bytes", json!(sums.damaged_bytes));
                    }
                    _ => {}
                }
            }
            set("ranges", Value::Array(differing));
        }
        "verify" => {
            set(
                "problems",
                Value::Array(report.events.iter().filter_map(problem).collect()),
            );
            for event in &report.events {
                if let ToClient::Verified(verified) = event {
                    set("objects_checked", json!(verified.objects_checked));
                    set("foreign_objects", json!(verified.foreign_objects));
                    set("listed_whole", json!(verified.listed_whole));
                    set("acknowledged", json!(verified.acknowledged));
                    set("read_bytes", json!(verified.read_bytes));
                }
            }
        }
        "unlock" => {
            for event in &report.events {
                if let ToClient::Unlocked { until } = event {
                    set("until", json!(session_name(*until)));
                }
            }
        }
        "recovery-sheet" => {
            for event in &report.events {
                if let ToClient::RecoverySheet(sheet) = event {
                    set("id", json!(sheet.id));
                    set("store", json!(sheet.store_url));
                    set("epoch", json!(sheet.epoch));
                    set("generation", json!(sheet.generation));
                    set("committed", json!(session_name(sheet.committed_time)));
                    set("code", json!(sheet.code));
                    set(
                        "second_reader_sha256",
                        json!(super::sheet::SECOND_READER_SHA256),
                    );
                }
            }
        }
        "key list" | "key add" | "key change" | "key remove" => {
            set(
                "slots",
                Value::Array(report.events.iter().filter_map(slot).collect()),
            );
            if let Some(key) = &report.secret {
                set("recovery_key", json!(key.as_str()));
            }
        }
        "qubes check" => {
            let reached = report.events.iter().filter_map(|event| match event {
                ToClient::Reached { via, service } => {
                    Some(json!({ "via": via, "service": service }))
                }
                _ => None,
            });
            set("reached", reached.collect());
        }
        "archive acknowledge" => {
            set(
                "acknowledged",
                Value::Array(report.events.iter().filter_map(acknowledged).collect()),
            );
        }
        "key check" => drop(set(
            "slot",
            report.events.iter().find_map(slot).unwrap_or(Value::Null),
        )),
        "completions" => drop(set("script", json!(report.script))),
        "lock" | "watch" | "man" => {}
        "snapshots list" | "snapshots clean" | "archive forget" => {
            set("snapshots", report.snapshots.iter().map(snapshot).collect());
        }
        command => {
            set("archives", archives(report));
            if command == "archive open" {
                set(
                    "problems",
                    Value::Array(report.events.iter().filter_map(problem).collect()),
                );
            }
            if command == "status" {
                set(
                    "unenforced",
                    Value::Array(report.events.iter().filter_map(unenforced).collect()),
                );
                set("snapshots", report.snapshots.iter().map(snapshot).collect());
            }
        }
    }
    Value::Object(object)
}

/// Sessions follow their volume, oldest first.
fn listed(report: &Report) -> Value {
    let mut volumes: Vec<Value> = Vec::new();
    for event in &report.events {
        match event {
            ToClient::Volume(volume) => volumes.push(
                json!({"name": volume.name, "size_bytes": volume.size_bytes, "sessions": []}),
            ),
            ToClient::Session(line) => {
                if let Some(Value::Array(sessions)) = volumes
                    .last_mut()
                    .and_then(|volume| volume.get_mut("sessions"))
                {
                    sessions.push(session(line));
                }
            }
            _ => {}
        }
    }
    Value::Array(volumes)
}

fn session(session: &SessionLine) -> Value {
    json!({
        "session": session_name(session.session),
        "generation": session.generation,
        "tags": session.tags,
        "size_bytes": session.size_bytes,
        "added_bytes": session.added_bytes,
        "live": session.live,
        "damaged": session.damaged,
        "acknowledged": session.acknowledged,
    })
}

/// Archives; with `status` each one's volumes follow it, with their newest sessions.
fn archives(report: &Report) -> Value {
    let mut archives: Vec<Value> = Vec::new();
    let mut volume_name = "";
    for event in &report.events {
        match event {
            ToClient::Archive(_) => archives.extend(archive(event)),
            ToClient::Volume(volume) => volume_name = &volume.name,
            ToClient::Session(line) => {
                if let Some(Value::Object(archive)) = archives.last_mut() {
                    let newest = archive.entry("newest").or_insert_with(|| json!({}));
                    newest
                        .as_object_mut()
                        .and_then(|newest| newest.insert(volume_name.to_owned(), session(line)));
                }
            }
            ToClient::Acknowledged { what } => {
                if let Some(Value::Object(archive)) = archives.last_mut()
                    && let Some(seen) = archive
                        .entry("acknowledged")
                        .or_insert_with(|| json!([]))
                        .as_array_mut()
                {
                    seen.push(json!(what));
                }
            }
            _ => {}
        }
    }
    Value::Array(archives)
}

fn acknowledged(event: &ToClient) -> Option<Value> {
    if let ToClient::Acknowledged { what } = event {
        Some(json!(what))
    } else {
        None
    }
}

fn snapshot(line: &SnapshotLine) -> Value {
    json!({
        "archive": line.archive,
        "archive_id": hex(&line.archive_id),
        "volume": line.volume,
        "session": line.session.map(session_name),
        "folder": line.folder.display().to_string(),
        "left_over": line.left_over,
        "removed": line.removed,
    })
}

fn backed_up(event: &ToClient) -> Option<Value> {
    let ToClient::BackedUp(volume) = event else {
        return None;
    };
    Some(json!({
        "name": volume.name,
        "session": volume.session.map(session_name),
        "method": method_name(volume.method),
        "snapshot": volume.snapshot,
        "mounted_at": volume.mounted_at,
        "read_bytes": volume.read_bytes,
        "sampled_bytes": volume.sampled_bytes,
        "changed_bytes": volume.changed_bytes,
        "sent_bytes": volume.sent_bytes,
        "cpu_seconds": std::time::Duration::from_micros(volume.cpu_micros).as_secs_f64(),
    }))
}

fn monitored(event: &ToClient) -> Option<Value> {
    let ToClient::Monitored(volume) = event else {
        return None;
    };
    Some(
        json!({"name": volume.name, "method": method_name(volume.method), "changed_bytes": volume.changed_bytes}),
    )
}

/// Ranges of bytes as their begin and length.
fn ranges(page: &[(u64, u64)]) -> Vec<Value> {
    page.iter().map(|(begin, end)| json!({"offset_bytes": begin, "length_bytes": end.saturating_sub(*begin)})).collect()
}

fn restored(event: &ToClient, all: &[ToClient]) -> Option<Value> {
    let ToClient::Restored(volume) = event else {
        return None;
    };
    let lost = all.iter().filter_map(|event| match event {
        ToClient::Lost {
            volume: of,
            ranges: page,
        } if *of == volume.name => Some(ranges(page)),
        _ => None,
    });
    Some(json!({
        "name": volume.name,
        "session": session_name(volume.session),
        "target": volume.path,
        "written_bytes": volume.written_bytes,
        "fetched_bytes": volume.fetched_bytes,
        "damaged_bytes": volume.damaged_bytes,
        "unread_bytes": volume.unread_bytes,
        "lost_bytes": volume.lost_bytes,
        "lost": lost.flatten().collect::<Vec<_>>(),
    }))
}

fn problem(event: &ToClient) -> Option<Value> {
    let ToClient::Problem(problem) = event else {
        return None;
    };
    Some(json!({
        "object": problem.object,
        "class": problem.class.word(),
        "problem": problem.problem,
        "volumes": problem.volumes,
        "acknowledged": problem.acknowledged,
    }))
}

fn profile((name, profile): (&String, &Profile)) -> Value {
    json!({
        "name": name,
        "archive": profile.archive,
        "volumes": profile.volumes,
        "live": profile.live,
        "skip_unchanged": profile.skip_unchanged,
        "backup_overdue_secs": profile.backup_overdue_secs,
        "verify_overdue_secs": profile.verify_overdue_secs,
        "verify_budget_bytes": profile.verify_budget_bytes,
    })
}

fn slot(event: &ToClient) -> Option<Value> {
    let ToClient::KeySlot(slot) = event else {
        return None;
    };
    Some(json!({
        "number": slot.number,
        "kind": if slot.recovery_key { "recovery-key" } else { "passphrase" },
        "memory_kib": slot.memory_kib,
        "passes": slot.passes,
        "made": session_name(slot.made_time),
        "label": slot.label,
        "opens": slot.opens,
        "opened": (slot.opened_time != 0).then(|| session_name(slot.opened_time)),
    }))
}

fn archive(event: &ToClient) -> Option<Value> {
    let ToClient::Archive(archive) = event else {
        return None;
    };
    Some(json!({
        "name": archive.name,
        "id": archive.id,
        "store": archive.store_url,
        "via": archive.via,
        "generation": archive.generation,
        "committed": session_name(archive.committed_time),
        "verified": (archive.verified_time > 0).then(|| session_name(archive.verified_time)),
        "keys_proven": (archive.keys_proven_time > 0).then(|| session_name(archive.keys_proven_time)),
        "chunk_size_bytes": archive.chunk_size_bytes,
        "pack_size_bytes": archive.pack_size_bytes,
        "zstd_level": archive.zstd_level,
        "volumes": archive.volume_count,
        "packs": archive.pack_count,
        "stored_bytes": archive.stored_bytes,
        "hold_off_runs": archive.hold_off_runs,
        "hold_off_secs": archive.hold_off_secs,
    }))
}

fn unenforced(event: &ToClient) -> Option<Value> {
    let ToClient::Unenforced(missing) = event else {
        return None;
    };
    Some(json!({"role": missing.role, "protection": missing.protection, "reason": missing.reason}))
}
