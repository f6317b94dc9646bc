// SPDX-License-Identifier: GPL-3.0-or-later
//! The object of `status` as metrics, in the text format of node_exporter's textfile collector.
//! The names of the metrics and of their labels are a contract, `docs/config.md`.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

/// A metric with its samples: the labels, between braces if there are any, and the value.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: Vec<(String, String)>,
}

/// The metrics of the object of a finished `status`.
pub(super) fn text(object: &Value) -> String {
    let mut text = String::new();
    for metric in of_archives(object).into_iter().chain(of_status(object)) {
        let Metric {
            name,
            help,
            samples,
        } = metric;
        if samples.is_empty() {
            continue;
        }
        // Writing to text cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

/// The metrics of each archive.
fn of_archives(object: &Value) -> Vec<Metric> {
    let archives = rows(object, "archives");
    let each = |value: &dyn Fn(&Value) -> Option<String>| {
        archives
            .iter()
            .filter_map(|archive| Some((labels(&[("archive", name(archive))]), value(archive)?)))
            .collect()
    };
    let field = |name: &'static str| move |archive: &Value| number(archive, name);
    let waiting = |archive: &Value| {
        let of_archive = rows(object, "waits")
            .iter()
            .filter(|waits| waits.get("archive") == archive.get("name"));
        let bytes = of_archive.filter_map(|waits| waits.get("bytes")?.as_u64());
        Some(bytes.fold(0, u64::saturating_add).to_string())
    };
    let newest = archives.iter().flat_map(|archive| {
        let volumes = archive.get("newest").and_then(Value::as_object);
        volumes.into_iter().flatten().filter_map(|(volume, row)| {
            let labels = labels(&[("archive", name(archive)), ("volume", volume)]);
            Some((labels, seconds(row.get("session")?)?))
        })
    });
    vec![
        Metric {
            name: "wyng_last_backup_timestamp_seconds",
            help: "Time that names the newest session of the volume.",
            samples: newest.collect(),
        },
        Metric {
            name: "wyng_last_verify_timestamp_seconds",
            help: "Time since which every part of the store was read and found intact.",
            samples: each(&|archive| seconds(archive.get("last_verify")?)),
        },
        Metric {
            name: "wyng_stored_bytes",
            help: "Size of the archive in the store.",
            samples: each(&field("stored_bytes")),
        },
        Metric {
            name: "wyng_waiting_bytes",
            help: "Size of the packs that wait for their deletion.",
            samples: each(&waiting),
        },
        Metric {
            name: "wyng_sessions",
            help: "Number of sessions of all volumes.",
            samples: each(&field("sessions")),
        },
        Metric {
            name: "wyng_proven_ratio",
            help: "Share of the store that was read back whole and right, 0 to 1.",
            samples: each(&field("proven_share")),
        },
        Metric {
            name: "wyng_prune_age_seconds",
            help: "Time since the last prune by rules of every volume that has rules.",
            samples: each(&field("last_prune_age_seconds")),
        },
        Metric {
            name: "wyng_rehearsal_age_seconds",
            help: "Time since the last rehearsal that found a session intact.",
            samples: each(&field("last_rehearsal_age_seconds")),
        },
        Metric {
            name: "wyng_store_free_bytes",
            help: "Free space of the store, as its far end last stated it.",
            samples: each(&field("store_free_bytes")),
        },
        Metric {
            name: "wyng_state_free_bytes",
            help: "Free space of the file system of the state directory.",
            samples: each(&field("state_free_bytes")),
        },
    ]
}

/// The metrics of the machine and of the command itself.
fn of_status(object: &Value) -> Vec<Metric> {
    let alone = |value: Option<String>| value.map(|value| (String::new(), value));
    let skew = rows(object, "archives").first();
    let skew = skew.and_then(|archive| number(archive, "clock_skew_seconds"));
    let exit = object.get("exit").and_then(Value::as_u64);
    let is_healthy = exit.map(|exit| u8::from(exit == 0).to_string());
    let warnings = warnings(object).into_iter();
    vec![
        Metric {
            name: "wyng_clock_skew_seconds",
            help: "How far the wall clock has parted from the kernel's count; above 0 it is ahead.",
            samples: alone(skew).into_iter().collect(),
        },
        Metric {
            name: "wyng_healthy",
            help: "Whether `wyng-ctl status` ended with 0.",
            samples: alone(is_healthy).into_iter().collect(),
        },
        Metric {
            name: "wyng_status_exit",
            help: "Exit status of `wyng-ctl status`: 0 fine, 3 overdue, 5 damage.",
            samples: alone(exit.map(|exit| exit.to_string()))
                .into_iter()
                .collect(),
        },
        Metric {
            name: "wyng_warning",
            help: "1 for each warning and error of `wyng-ctl status`, by its code.",
            samples: warnings
                .map(|(archive, code)| {
                    let labels = labels(&[("archive", archive), ("code", code)]);
                    (labels, "1".to_owned())
                })
                .collect(),
        },
    ]
}

/// Archives and codes of all warnings and errors, each once. A warning in an archive's own list is
/// not repeated among the errors, which name no archive.
fn warnings(object: &Value) -> BTreeSet<(&str, &str)> {
    let (mut found, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for archive in rows(object, "archives") {
        for warning in rows(archive, "warnings") {
            found.insert((name(archive), word(warning, "code")));
            texts.insert(word(warning, "text"));
        }
    }
    let others = rows(object, "warnings")
        .iter()
        .chain(rows(object, "errors"));
    found.extend(
        others
            .filter(|row| !texts.contains(word(row, "text")))
            .map(|row| ("", word(row, "code"))),
    );
    found
}

fn rows<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn word<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn name(archive: &Value) -> &str {
    word(archive, "name")
}

fn number(row: &Value, name: &str) -> Option<String> {
    row.get(name)
        .filter(|value| value.is_number())
        .map(Value::to_string)
}

/// A time in the form of a session's name, as seconds since 1970 UTC.
fn seconds(time: &Value) -> Option<String> {
    let time: Timestamp = time.as_str()?.parse().ok()?;
    Some(time.as_second().to_string())
}

/// Labels between braces. In a value, `\`, `"` and the end of a line are written as escapes.
fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_label() {
        let object = json!({
            "exit": 3,
            "archives": [{
                "name": "a\"} 1\nwyng_healthy 1\\",
                "stored_bytes": 7,
                "proven_share": 0.5,
                "last_verify": null,
                "newest": { "vm": { "session": "2026-11-23T06:43:10Z" } },
                "warnings": [{ "code": "backup-overdue", "text": "late" }],
            }],
            "errors": [
                { "code": "backup-overdue", "text": "late" },
                { "code": "state-io", "text": "full" },
            ],
        });
        let archive = r#"archive="a\"} 1\nwyng_healthy 1\\""#;
        let found = text(&object);
        let samples: Vec<&str> = found
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let expected = [
            format!("wyng_last_backup_timestamp_seconds{{{archive},volume=\"vm\"}} 1795416190"),
            format!("wyng_stored_bytes{{{archive}}} 7"),
            format!("wyng_waiting_bytes{{{archive}}} 0"),
            format!("wyng_proven_ratio{{{archive}}} 0.5"),
            "wyng_healthy 0".to_owned(),
            "wyng_status_exit 3".to_owned(),
            "wyng_warning{archive=\"\",code=\"state-io\"} 1".to_owned(),
            format!("wyng_warning{{{archive},code=\"backup-overdue\"}} 1"),
        ];
        assert_eq!(samples, expected);
    }
}
