// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of reports, and what writes docs/errors.md and the objects that scripts rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Error;
use std::path::Path;

use rustix::io::Errno;
use wyng_config::Mistake;
use wyng_control::{
    Abilities, ArchiveAges, ArchiveSummary, CompactReport, CopyLine, CopyReport, CreateOnly,
    DayLine, DayState, DeletedReport, DiffReport, Durability, JudgedSession, KeepReason, KeySlot,
    LockSummary, LogicalName, MachineFact, MachineFault, MachineSubject, Method, MonitorReport,
    ObjectClass, Problem, PruneReport, RemovedFor, RestoreReport, Safe, SessionFate, SessionLine,
    SessionSizes, SlotKind, SpaceReport, StoreChecked, ThinPool, ThinRemoval, Trial, TrialResult,
    UndeleteReport, Unenforced, VerifyReport, VolumeLine, VolumeReport, VolumeSizes, WaitReason,
    Waits, WholeCause,
};

use super::*;
use crate::client::ClientError;
use crate::clock::Clock;
use crate::confirm::Answer;
use crate::dom0::{LeftOut, Why};
use crate::message::{Success, Verified};

const HEAD: &str = "\
# Errors

Every error that the programs report. With `--json`, each is an object in `errors[]`: `code`, `text`, `safe`, `next` and `volume`. The text
says what happened, with names and numbers; what is safe and what to do next are listed here. The exit status of a command is that of the first error that
ended it, or 3 when it was done for some volumes only.

Between back quotes a command is shown with the names and options that lead to the same archive.

## What is safe when a command stops halfway

Some errors below describe what is safe for a backup: what was sent, and that the command continues. For other commands they say instead:

| command | what is safe |
|---|---|
%STAYS%| every other one | %NOTHING% |

## All errors

| code | exit | what is safe | what to do next |
|---|---|---|---|
";

const WARNINGS: &str = "
## Warnings

What a person must know although the command did what it was asked to. With `--json` each stands in `warnings[]`: `code`, `text` and `next`.

| code | what to do next |
|---|---|
";

/// Each warning as a row. A variant without one does not compile.
fn warnings() -> String {
    let all = [
        Warning::OlderOpened {
            generation: 1,
            newest: 2,
        },
        Warning::NewestDamaged {
            generation: 1,
            newest: 2,
        },
        Warning::SlotNotListed {
            slot: 0,
            generation: 1,
        },
        Warning::HistoryGap { generation: 1 },
        Warning::ClockJumped { ahead_secs: 7200 },
        Warning::ClockLost,
        Warning::NotLocked,
        Warning::LocksNotRenewed {
            renewed: 1,
            missing: 0,
            refused: 0,
            failed: 0,
            left: 1,
            why: None,
        },
        Warning::LocksNotSupported,
        Warning::LockEndsSoon {
            archive: String::new(),
            end_time: 0,
        },
        Warning::PoolFilling {
            pool: "vg/pool".into(),
            percent: 84,
        },
        Warning::PoolFull {
            pool: "vg/pool".into(),
            percent: 94,
        },
        Warning::PoolBasesDropped {
            pool: "vg/pool".into(),
            count: 2,
        },
        Warning::PoolMetadataLeft {
            pool: "vg/pool".into(),
        },
        Warning::Unproven,
        Warning::HistoryNotContinued {
            qube: "work".into(),
            label: "work@2".into(),
        },
        Warning::QubeKept {
            qube: "work".into(),
            left_secs: 1_209_600,
        },
        Warning::TooSoon { left_secs: 60 },
    ];
    let machine = MachineFault::ALL.map(|fault| Warning::Machine {
        fault,
        what: String::new(),
    });
    let all: Vec<Warning> = all.into_iter().chain(machine).collect();
    for warning in &all {
        match warning {
            Warning::OlderOpened { .. }
            | Warning::NewestDamaged { .. }
            | Warning::SlotNotListed { .. }
            | Warning::HistoryGap { .. }
            | Warning::ClockJumped { .. }
            | Warning::ClockLost
            | Warning::NotLocked
            | Warning::LocksNotRenewed { .. }
            | Warning::LocksNotSupported
            | Warning::LockEndsSoon { .. }
            | Warning::PoolFilling { .. }
            | Warning::PoolFull { .. }
            | Warning::PoolBasesDropped { .. }
            | Warning::PoolMetadataLeft { .. }
            | Warning::Unproven
            | Warning::HistoryNotContinued { .. }
            | Warning::Machine { .. }
            | Warning::QubeKept { .. }
            | Warning::TooSoon { .. } => {}
        }
    }
    all.iter()
        .map(|warning| format!("| `{}` | {} |\n", warning.code(), warning.next()))
        .collect()
}

/// Each variant with empty names and zeros: its number and zeros in bincode.
fn failures() -> Vec<Failure> {
    let decode = |index: u8| {
        let mut bytes = vec![0; 64];
        bytes[0] = index;
        bincode::decode_from_slice(&bytes, bincode::config::standard())
            .ok()
            .map(|(failure, _)| failure)
    };
    let found: Vec<Failure> = (0..=u8::MAX).map_while(decode).collect();
    assert!(decode(u8::try_from(found.len()).unwrap()).is_none());
    found
}

/// The errors that wyng-ctl finds without the daemon.
fn own() -> Vec<Message> {
    let path = Path::new("/path");
    let mistake = Mistake {
        line: 1,
        what: "what".into(),
        remedy: "As the text says.".into(),
    };
    let (error, clock) = (Error::from_raw_os_error(2), Clock::here());
    vec![
        Message::usage("what", "As the text says."),
        Message::of_mistake(path, &mistake),
        Message::of_unusable_volume("vm", path, "is a folder"),
        Message::of_overdue_backup("PROFILE", "vm", None, 86_400),
        Message::of_overdue_archive(Success::Backup, "home", None, 86_400),
        Message::of_overdue_archive(Success::Verify, "home", Some(90_000), 86_400),
        Message::of_overdue_archive(Success::KeyProof, "home", None, 86_400),
        Message::of_overdue_archive(Success::Prune, "home", None, 86_400),
        Message::of_overdue_archive(Success::Rehearsal, "home", None, 86_400),
        Message::of_full_store("home", 1 << 30, (60, &clock), 10 << 30),
        Message::of_full_state(1 << 20, 256 << 20),
        Message::of_session_ahead("PROFILE", "vm", i64::from(u32::MAX), &clock),
        Message::of_overdue_verify("PROFILE", "home", Verified::Never, 86_400),
        Message::of_missing_policy("/path"),
        Message::of_snapshots_left(path, Errno::ACCESS),
        Message::of_thin_left("GROUP/VOLUME", ThinRemoval::Failed),
        Message::of_dom0_needs_root(),
        Message::of_unreadable_dom0(path, &error),
        Message::of_large_dom0(5 << 30, "home/user", 4 << 30, 4 << 30),
        Message::of_incomplete_dom0(&[LeftOut {
            path: "etc/qubes".into(),
            why: Why::TooDeep,
        }])
        .unwrap(),
        Message::of_foreign_dom0("why"),
        Message::of_unproven_dom0(),
        Message::of_lost_target(path),
        Message::of_deferred(50, "why"),
        Message::of_output(&error),
        Message::of_unshown_key(&error),
        Message::of_unwritable(path, &error),
        Message::of_answer(Answer::NoTerminal, "overwriting /path"),
        Message::of_answer(Answer::No, "overwriting /path"),
        Message::of_needed_archive(&["home".into(), "office".into()]),
        Message::of_unheard_signals(&error),
        Message::of_no_notices(&error),
        Message::of_no_terminal(),
        Message::of_unusable_terminal(&error),
        ClientError::NoDaemon(path.into()).message(),
        ClientError::Denied(path.into()).message(),
        ClientError::NoState(path.into()).message(),
        ClientError::NotStarted(path.into(), error).message(),
        ClientError::Lost.message(),
    ]
}

#[test]
fn every_error_says_what_is_safe_and_what_is_next_and_is_in_the_catalogue() {
    let failures = failures();
    assert!(failures.len() > 40, "{} variants", failures.len());
    let mut rows = BTreeMap::new();
    for message in failures.iter().map(Message::of_failure).chain(own()) {
        let Message {
            code,
            exit,
            text,
            safe,
            next,
            ..
        } = message;
        assert!(
            !code.is_empty()
                && code
                    .chars()
                    .all(|char| char.is_ascii_lowercase() || char == '-'),
            "{code}"
        );
        assert!(text.len() > 3 && !text.ends_with('.'), "{code}: {text:?}");
        let safe = match safe {
            Safe::Always(safe) => safe,
            Safe::OfCommand => advice::RESUMES,
        };
        for sentence in [safe, &next] {
            assert!(
                sentence.ends_with('.') && sentence.starts_with(|char: char| !char.is_lowercase()),
                "{code}: {sentence:?}"
            );
        }
        rows.entry(code)
            .or_insert_with(BTreeSet::new)
            .insert(format!(
                "| `{code}` | {} | {safe} | {next} |\n",
                exit.code()
            ));
    }
    let several: Vec<_> = rows.values().filter(|rows| rows.len() > 1).collect();
    assert!(several.is_empty(), "one code, one meaning: {several:?}");
    let stays: String = advice::WHAT_STAYS
        .iter()
        .skip(1)
        .map(|(commands, stays)| {
            format!(
                "| {} | {stays} |\n",
                commands
                    .iter()
                    .map(|command| format!("`{}`", command.words()))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        })
        .collect();
    let head = HEAD
        .replace("%STAYS%", &stays)
        .replace("%NOTHING%", advice::NOTHING_CHANGED);
    let catalogue = format!(
        "{head}{}{WARNINGS}{}",
        rows.values().flatten().cloned().collect::<String>(),
        warnings()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var_os("WYNG_WRITE_DOCS").is_some() {
        std::fs::write(&path, &catalogue).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == catalogue,
        "docs/errors.md is of another version: run this with WYNG_WRITE_DOCS=1"
    );
}

/// One result of each kind.
fn results() -> Vec<ToClient> {
    [of_archive(), of_runs(), of_removal(), of_keys_and_stores()].concat()
}

fn archive() -> ArchiveSummary {
    ArchiveSummary {
        name: "home".into(),
        id: "0123456789abcdef0123456789abcdef".into(),
        store_url: "dir:/srv/wyng".into(),
        via: "local".into(),
        verify_via: Some("ssh:other".into()),
        abilities: Abilities {
            create_only: Some(CreateOnly::Checked),
            durability: None,
        },
        lock: Some(LockSummary {
            period_days: 30,
            end_time: Some(1_797_984_000),
            unknown_count: 1,
            ends_soon: false,
        }),
        copies: vec![CopyLine {
            store_url: "dir:/mnt/usb/wyng".into(),
            via: "local".into(),
            generation: 5,
            behind: 2,
            copied_time: 1_795_416_190,
            proven_bytes: 1_500_000,
            total_bytes: 3_000_000,
        }],
        generation: 7,
        committed_time: 1_795_416_190,
        keys_proven_time: 0,
        keys_proven_age_secs: None,
        verified_time: 1_795_416_191,
        verified_age_secs: Some(60),
        clock_skew_secs: -5,
        rehearsed_time: 1_795_416_192,
        proof: wyng_control::ProofSummary {
            proven_bytes: 2_000_000,
            by_pusher_bytes: 500_000,
            total_bytes: 3_000_000,
            oldest_unproven_secs: Some(90_000),
        },
        chunk_size_bytes: 131_072,
        pack_size_bytes: 16_777_216,
        zstd_level: 3,
        volume_count: 1,
        pack_count: 2,
        stored_bytes: 3_000_000,
        hold_off_runs: 3,
        hold_off_secs: 604_800,
        minimum_age_secs: 604_800,
    }
}

fn session() -> SessionLine {
    SessionLine {
        session: 1_795_416_190,
        age_secs: Some(61),
        generation: 7,
        tags: vec!["before".into()],
        size_bytes: 4096,
        added_bytes: 512,
        live: true,
        pinned: true,
        damaged: true,
        acknowledged: false,
        sizes: Some(SessionSizes {
            data_bytes: 4000,
            stored_bytes: 900,
            unique_bytes: 300,
        }),
    }
}

fn of_archive() -> Vec<ToClient> {
    vec![
        ToClient::Archive(Box::new(archive())),
        ToClient::Volume(VolumeLine {
            name: "vm".into(),
            size_bytes: 4096,
            description: "mail and letters".into(),
            sizes: Some(VolumeSizes {
                stored_bytes: 1000,
                unique_bytes: 800,
            }),
        }),
        ToClient::Session(session()),
        ToClient::Space(SpaceReport {
            stored_bytes: 3000,
            shared_bytes: 200,
            metadata_bytes: 300,
            dead_bytes: 400,
            filler_bytes: 500,
            waiting_bytes: 600,
            waiting_packs: 1,
            lost_bytes: 200,
            lost_packs: 2,
        }),
        ToClient::Day(DayLine {
            time: 1_795_392_000,
            added_bytes: 28,
            state: None,
        }),
        ToClient::Day(DayLine {
            time: 1_795_478_400,
            added_bytes: 29,
            state: Some(DayState {
                sessions: 30,
                stored_bytes: 31,
                waiting_bytes: 32,
                damaged_sessions: 33,
            }),
        }),
        ToClient::Ages(ArchiveAges {
            last_backup_time: 1_795_416_190,
            backup_secs: Some(3600),
            last_verify_time: 0,
            verify_secs: None,
            key_proof_secs: None,
            prune_secs: Some(7200),
            rehearsal_secs: None,
            store_free_bytes: Some(5 << 30),
            store_free_time: 1_795_416_190,
            state_free_bytes: Some(1 << 30),
            session_count: 12,
        }),
        ToClient::Acknowledged {
            what: "vm 2026-11-23T06:43:10Z".into(),
        },
    ]
}

fn of_runs() -> Vec<ToClient> {
    vec![
        ToClient::BackedUp(VolumeReport {
            name: "vm".into(),
            session: Some(1_795_416_190),
            method: Method::Fiemap,
            snapshot: false,
            whole: Some(WholeCause::PoolFilling),
            mounted_at: Some("/mnt".into()),
            read_bytes: 10,
            sampled_bytes: 11,
            changed_bytes: 12,
            sent_bytes: 13,
            cpu_micros: 1_234_567,
        }),
        ToClient::Monitored(MonitorReport {
            name: "vm".into(),
            method: Method::ThinDelta,
            whole: Some(WholeCause::NoBase),
            changed_bytes: 14,
        }),
        ToClient::Rehearsing {
            volume: "vm".into(),
            session: 1_795_416_190,
        },
        ToClient::Restored(RestoreReport {
            item: 0,
            name: "vm".into(),
            session: 1_795_416_190,
            path: "/tmp/vm".into(),
            written_bytes: 15,
            fetched_bytes: 16,
            damaged_bytes: 17,
            unread_bytes: 18,
            lost_bytes: 19,
        }),
        ToClient::Lost {
            volume: "vm".into(),
            ranges: vec![(0, 4096), (8192, 8193)],
        },
        ToClient::Lost {
            volume: "other".into(),
            ranges: vec![(1, 2)],
        },
        ToClient::Differences(vec![(20, 30), (40, 41)]),
        ToClient::Compared(DiffReport {
            name: "vm".into(),
            session: 1_795_416_190,
            size_bytes: 20,
            with: None,
            with_size_bytes: 21,
            differing_bytes: 22,
            read_bytes: 23,
            damaged_bytes: 24,
        }),
    ]
}

fn of_removal() -> Vec<ToClient> {
    let judged = |fate| {
        ToClient::Judged(JudgedSession {
            volume: "vm".into(),
            session: 1_795_416_190,
            fate,
        })
    };
    vec![
        judged(SessionFate::Removed(RemovedFor::NoRule)),
        judged(SessionFate::Removed(RemovedFor::Damaged)),
        judged(SessionFate::Kept(vec![
            KeepReason::Newest,
            KeepReason::NewestSound,
            KeepReason::Tag("before".into()),
            KeepReason::Daily,
        ])),
        ToClient::Pruned(PruneReport {
            freed_bytes: 30,
            waiting_bytes: 31,
            unknown_objects: 0,
            dry_run: true,
        }),
        ToClient::Problem(Problem {
            class: ObjectClass::Pack,
            object: "00ff".into(),
            problem: "it is missing".into(),
            volumes: vec!["vm 2026-11-23T06:43:10Z".into()],
            acknowledged: false,
        }),
        ToClient::Verified(VerifyReport {
            objects_checked: 25,
            read_bytes: 26,
            foreign_objects: 27,
            listed_whole: true,
            problems: 1,
            acknowledged: 2,
        }),
        ToClient::Copied(CopyReport {
            store: "dir:/mnt/usb/wyng".into(),
            generation: 7,
            sent_objects: 8,
            sent_bytes: 9,
            read_bytes: 10,
            deleted_objects: 11,
            waiting_objects: 12,
            deletes_refused: true,
            problems: 0,
        }),
        ToClient::Compacted(CompactReport {
            rewritten_packs: 30,
            read_bytes: 31,
            moved_bytes: 32,
            deleted_packs: 33,
            freed_bytes: 34,
            deleted_orphans: 35,
            waiting_bytes: 36,
            proof_bytes: 37,
            problems: 0,
            unknown: false,
        }),
        ToClient::Deleted(DeletedReport {
            packs: 45,
            bytes: 46,
        }),
        ToClient::Waits(Waits {
            reason: WaitReason::HoldOff {
                runs_left: 38,
                secs_left: 39,
            },
            packs: 40,
            bytes: 41,
        }),
        ToClient::Undeleted(UndeleteReport {
            volume: "vm".into(),
            session: 1_795_416_190,
            revived_packs: 42,
            read_bytes: Some(43),
        }),
    ]
}

fn of_keys_and_stores() -> Vec<ToClient> {
    let slot = |number, opens| KeySlot {
        number,
        kind: if number > 0 {
            SlotKind::RecoveryKey
        } else {
            SlotKind::Passphrase
        },
        memory_kib: 65_536,
        passes: 3,
        made_time: 1_795_416_190,
        label: "mine".into(),
        opens,
        opened_time: i64::from(number) * 1_795_416_192,
    };
    vec![
        ToClient::KeySlot(slot(0, true)),
        ToClient::KeySlot(slot(1, false)),
        ToClient::Unlocked {
            until: 1_795_416_190,
        },
        ToClient::Machine(MachineFact {
            subject: MachineSubject::Pool,
            name: "vm-pool".into(),
            detail: "file: it has no snapshots".into(),
            fault: Some(MachineFault::PoolReadWhole),
        }),
        ToClient::Reached {
            via: "qrexec:backup".into(),
            service: "wyng.Push".into(),
        },
        ToClient::StoreChecked(StoreChecked {
            store_url: "dir:/srv/wyng".into(),
            via: "qrexec:backup".into(),
            free_bytes: Some(1 << 30),
            left_blob: Some("ab".repeat(32)),
            results: vec![
                (Trial::Put, TrialResult::Works),
                (Trial::Delete, TrialResult::Refused),
            ],
            abilities: Abilities {
                create_only: Some(CreateOnly::Atomic),
                durability: Some(Durability::Durable),
            },
        }),
        ToClient::RecoverySheet(RecoverySheet {
            name: "home".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            store_url: "dir:/srv/wyng".into(),
            epoch: 1,
            generation: 7,
            committed_time: 1_795_416_190,
            code: "7-5cd87b25239ff2b6-52".into(),
        }),
        ToClient::Unenforced(Unenforced {
            role: "transport".into(),
            protection: "Landlock".into(),
            reason: "the kernel has none".into(),
        }),
        ToClient::Warned(Warning::HistoryGap { generation: 6 }),
        ToClient::Failed(Failure::SelfCheck {
            volume: "vm".into(),
        }),
        ToClient::Totals {
            sent_bytes: 28,
            peak_rss_bytes: 29,
        },
    ]
}

/// The object of a command without results, and with all of them.
fn objects(words: &[&str]) -> String {
    let mut cli = Cli::of(words);
    cli.options.json = true;
    let mut report = Report::new(&cli);
    let mut lines = format!("{}\n", report.object(ExitStatus::Done));
    for event in results() {
        report.take(event);
    }
    let snapshot = SnapshotLine {
        archive: None,
        archive_id: Some([0xab; 16]),
        volume: Some("vm".into()),
        session: Some(1_795_416_190),
        folder: "/srv/.wyng".into(),
        logical_volume: None,
        mapped_bytes: None,
        exclusive_bytes: None,
        left_over: Some("its source is gone"),
        removed: false,
    };
    report.take_snapshots(vec![snapshot]);
    report.take_pools(&Thin {
        pools: vec![ThinPool {
            pool: LogicalName::new("vg", "pool").unwrap(),
            used_percent: Some((91, 4)),
            metadata_left: true,
            bases_dropped: 0,
        }],
        volumes: Vec::new(),
        unlisted: None,
    });
    report.take_script("complete".into());
    report.show_secret(Zeroizing::new("0123-4567".into()));
    let config = "[archives.home]\nstore = \"dir:/srv/wyng\"\n[volumes]\nvm = \"/srv/vm\"\n[profiles.nightly]\narchive = \"home\"\nvolumes = [\"vm\"]\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, config).unwrap();
    report.take_config(Config::read(file.path()).unwrap(), ExitStatus::Done);
    lines.push_str(&format!("{}\n", report.object(ExitStatus::Damage)));
    lines
}

const EVERY_COMMAND: [&[&str]; 49] = [
    &["archive", "create", "home", "--store", "dir:/x"],
    &["arch-init", "home", "--store", "dir:/x"],
    &["archive", "open", "home"],
    &["archive", "copy", "home", "--to", "dir:/x"],
    &["archive", "take-over", "home"],
    &["archive", "list"],
    &["archive", "show", "home"],
    &["archive", "acknowledge", "home"],
    &["archive", "forget", "home"],
    &["key", "list", "home"],
    &["key", "add", "home"],
    &["key", "change", "home"],
    &["key", "remove", "home", "1"],
    &["key", "check", "home"],
    &["recovery-sheet", "home"],
    &["backup", "home", "vm"],
    &["monitor", "home", "vm"],
    &["list", "home"],
    &["list"],
    &["prune", "home", "--keep-daily", "7"],
    &["session", "remove", "home", "vm", "latest"],
    &["volume", "remove", "home", "vm"],
    &["pin", "home", "vm", "latest"],
    &["unpin", "home", "vm", "latest"],
    &["list", "home", "--sizes"],
    &["why", "home"],
    &["history", "home"],
    &["volume", "rename", "home", "vm", "work"],
    &["volume", "describe", "home", "vm", "mail and letters"],
    &["tag", "add", "home", "vm", "latest", "before"],
    &["tag", "remove", "home", "vm", "^before", "before"],
    &["restore", "home", "vm", "--to", "x"],
    &["restore", "home", "vm", "--to", "x", "--dry-run"],
    &["diff", "home", "vm"],
    &["rehearse", "home"],
    &["verify", "home"],
    &["compact", "home"],
    &["undelete", "home", "vm", "2026-11-23"],
    &["status"],
    &["watch"],
    &["unlock", "home"],
    &["lock"],
    &["snapshots", "list"],
    &["snapshots", "clean", "home"],
    &["tui"],
    &["config", "check"],
    &["qubes", "check"],
    &["store", "check", "dir:/srv/wyng"],
    &["completions", "bash"],
];

#[test]
fn the_object_of_every_command_is_what_scripts_rely_on() {
    let found: String = EVERY_COMMAND
        .iter()
        .map(|words| format!("{}\n{}", words.join(" "), objects(words)))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/objects.txt");
    if std::env::var_os("WYNG_WRITE_DOCS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap());
}
