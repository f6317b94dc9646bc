// SPDX-License-Identifier: GPL-3.0-or-later
//! Results for people: a line each, most important first.

use std::io::Write;

use wyng_config::Config;
use wyng_control::{Method, RestoreReport, ToClient};

use super::{SnapshotLine, hex, plain};
use crate::quantity::{session_name, show_bytes};

/// Prints one result.
pub(super) fn show(event: &ToClient, quiet: bool, dry_run: bool) {
    if let ToClient::Restored(volume) = event {
        // Standard output may be the volume itself.
        let _ = writeln!(std::io::stderr(), "{}", restored(volume, dry_run));
        return;
    }
    let Some(line) = line(event, quiet) else { return };
    // A reader that went away (`| head`) is no failure.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn line(event: &ToClient, quiet: bool) -> Option<String> {
    Some(match event {
        ToClient::Archive(archive) => format!(
            "{}  {}  generation {}, {}, {} in {}\n  committed {}, {}\n  id {}, chunks of {}, packs of {}, zstd {}, through {}",
            plain(&archive.name),
            plain(&archive.store_url),
            archive.generation,
            counted(archive.volume_count, "volume"),
            show_bytes(archive.stored_bytes),
            counted(archive.pack_count, "pack"),
            session_name(archive.committed_time),
            if archive.verified_time > 0 {
                format!("verified since {}", session_name(archive.verified_time))
            } else {
                "never verified".into()
            },
            archive.id,
            show_bytes(archive.chunk_size_bytes.into()),
            show_bytes(archive.pack_size_bytes.into()),
            archive.zstd_level,
            plain(&archive.via),
        ),
        ToClient::Volume(volume) => format!("{}  {}", plain(&volume.name), show_bytes(volume.size_bytes)),
        ToClient::Session(session) => {
            let tags: String = session.tags.iter().map(|tag| format!("  ^{}", plain(tag))).collect();
            let live = if session.live { "  live" } else { "" };
            let damaged = match (session.damaged, session.acknowledged) {
                (true, false) => "  DAMAGED",
                (true, true) => "  damaged, acknowledged",
                (false, _) => "",
            };
            let (size, added) = (show_bytes(session.size_bytes), show_bytes(session.added_bytes));
            format!("  {}  {size}, added {added}{live}{damaged}{tags}", session_name(session.session))
        }
        ToClient::BackedUp(volume) => format!(
            "{}  {}  read {}, changed {}, new {} ({}{}){}",
            plain(&volume.name),
            volume.session.map_or_else(|| "no session".to_owned(), session_name),
            show_bytes(volume.read_bytes),
            show_bytes(volume.changed_bytes),
            show_bytes(volume.sent_bytes),
            method_name(volume.method),
            if volume.snapshot { "" } else { ", no snapshot" },
            volume.mounted_at.as_ref().filter(|_| !quiet).map_or_else(String::new, |place| hint_of_mount(place)),
        ),
        ToClient::Totals { .. } if quiet => return None,
        ToClient::Totals { sent_bytes, .. } => format!("sent {}", show_bytes(*sent_bytes)),
        ToClient::Monitored(volume) => format!(
            "{}  {} to be read by the next backup ({})",
            plain(&volume.name),
            show_bytes(volume.changed_bytes),
            method_name(volume.method)
        ),
        ToClient::Lost { volume, ranges } => {
            // Standard output may be the volume itself.
            for (begin, end) in ranges {
                let length = end.saturating_sub(*begin);
                let _ =
                    writeln!(std::io::stderr(), "{}: {length} bytes from byte {begin} on are lost; zeros take their place", plain(volume));
            }
            return None;
        }
        ToClient::Differences(ranges) => {
            let line = |(begin, end): &(u64, u64)| format!("{begin:>16}  {:>12}", end.saturating_sub(*begin));
            ranges.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        ToClient::Compared(sums) => format!(
            "{}  {} and {}: {} differ{}",
            plain(&sums.name),
            session_name(sums.session),
            sums.with.map_or_else(|| "the volume as it is".to_owned(), session_name),
            show_bytes(sums.differing_bytes),
            if sums.damaged_bytes == 0 {
                String::new()
            } else {
                format!(
                    "; nobody wrote {} of them: the disk is failing, restore the volume from this session",
                    show_bytes(sums.damaged_bytes)
                )
            }
        ),
        ToClient::Problem(problem) => {
            let needed: String = problem.volumes.iter().map(|session| format!("\n    needed by {}", plain(session))).collect();
            let seen = if problem.acknowledged { "acknowledged: " } else { "" };
            format!("{seen}{} {}: {}{needed}", problem.class.word(), plain(&problem.object), plain(&problem.problem))
        }
        ToClient::Acknowledged { what } => format!("damaged, acknowledged: {}", plain(what)),
        ToClient::Verified(verified) => format!(
            "checked {} objects, {}; problems: {}{}; foreign objects: {}{}",
            verified.objects_checked,
            show_bytes(verified.read_bytes),
            verified.problems,
            if verified.acknowledged > 0 { format!(", and {} that were acknowledged", verified.acknowledged) } else { String::new() },
            verified.foreign_objects,
            if verified.listed_whole { "" } else { " or more, as a part of the store cannot be listed" }
        ),
        ToClient::KeySlot(slot) => {
            let kind = if slot.recovery_key { "recovery key" } else { "passphrase" };
            let label = if slot.label.is_empty() { String::new() } else { format!("  {:?}", plain(&slot.label)) };
            let opened = match (slot.opens, slot.opened_time) {
                (true, _) => "  <- this one opens the archive".to_owned(),
                (false, 0) => String::new(),
                (false, time) => format!("  opened last, {}", session_name(time)),
            };
            let (made, memory_mib) = (session_name(slot.made_time), slot.memory_kib / 1024);
            format!("slot {}  {kind}{label}  made {made}, {memory_mib} MiB, {} passes{opened}", slot.number, slot.passes)
        }
        ToClient::Reached { via, service } => format!("{service} answers through {via}"),
        ToClient::Unlocked { until } => format!("unlocked until {}", session_name(*until)),
        ToClient::RecoverySheet(sheet) => super::sheet::lines(sheet).join("\n"),
        ToClient::Unenforced(missing) => {
            format!("not enforced: {} for {}: {}", plain(&missing.protection), plain(&missing.role), plain(&missing.reason))
        }
        ToClient::Hello { .. }
        | ToClient::Queued { .. }
        | ToClient::Anew
        | ToClient::Running { .. }
        | ToClient::Want { .. }
        | ToClient::Place { .. }
        | ToClient::Progress(_)
        | ToClient::Failed(_)
        | ToClient::Restored(_)
        | ToClient::DropBase { .. }
        | ToClient::Warned(_)
        | ToClient::Keep { .. }
        | ToClient::SnapshotsOf { .. }
        | ToClient::SnapshotOf(_)
        | ToClient::Forget { .. }
        | ToClient::Done { .. } => return None,
    })
}

/// Prints one base snapshot.
pub(super) fn show_snapshot(line: &SnapshotLine) {
    let archive = line.archive.clone().unwrap_or_else(|| hex(&line.archive_id));
    let state = match (line.removed, line.left_over, line.session) {
        (true, ..) => "  removed".to_owned(),
        (_, Some(why), _) => format!("  left over: {why}; `wyng-ctl snapshots clean` removes it"),
        (_, None, None) => "  the folder can be read by its owner and by root".to_owned(),
        (_, None, Some(_)) => String::new(),
    };
    let volume = line.volume.as_deref().unwrap_or("(unknown volume)");
    let session = line.session.map_or_else(String::new, |session| format!("  {}", session_name(session)));
    let folder = line.folder.display().to_string();
    let _ = writeln!(std::io::stdout(), "base snapshot of {}  {}{session}  in {}{state}", plain(&archive), plain(volume), plain(&folder));
}

/// What became of a volume that was restored, or would be.
fn restored(volume: &RestoreReport, dry_run: bool) -> String {
    let (name, session, path) = (plain(&volume.name), session_name(volume.session), plain(&volume.path));
    let (written, fetched) = (show_bytes(volume.written_bytes), show_bytes(volume.fetched_bytes));
    if dry_run {
        let lost = if volume.lost_bytes > 0 { format!("; {} are lost", show_bytes(volume.lost_bytes)) } else { String::new() };
        return format!("{name}  {session}  would write {written} to {path}, and fetch at most {fetched}{lost}");
    }
    let mut line = format!("{name}  {session}  restored to {path}, {written} written, {fetched} fetched");
    if volume.damaged_bytes > 0 {
        line.push_str(&format!(
            "\n  {} on this machine's disk were damaged, and came from the store: check the disk",
            show_bytes(volume.damaged_bytes)
        ));
    }
    if volume.unread_bytes > 0 {
        line.push_str(&format!("\n  {} were taken unread from the base snapshot (--quick)", show_bytes(volume.unread_bytes)));
    }
    line
}

/// Prints what a configuration says.
pub(super) fn show_config(config: &Config) {
    let archives = config.archives.iter().map(|(name, archive)| format!("archive {name}  {} through {}", archive.store, archive.via));
    let volumes = config.volumes.iter().map(|(name, path)| format!("volume {name}  {}", path.display()));
    let profiles =
        config.profiles.iter().map(|(name, profile)| format!("profile {name}  {} to {}", profile.volumes.join(", "), profile.archive));
    for line in archives.chain(volumes).chain(profiles) {
        let _ = writeln!(std::io::stdout(), "{}", plain(&line));
    }
}

/// What a person should know of a source that was in use and did not stand still.
fn hint_of_mount(place: &str) -> String {
    format!(
        "\n  it is in use ({}): what was written during the backup may be in this session in part. A snapshot of it, or the device unmounted, has no such gaps",
        plain(place)
    )
}

/// `1 pack`, `2 packs`.
fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// How `method` is called in JSON and for people.
pub(super) fn method_name(method: Method) -> &'static str {
    match method {
        Method::FullScan => "full-scan",
        Method::Fiemap => "fiemap",
        Method::BtrfsSearch => "btrfs-search",
        Method::ThinDelta => "thin-delta",
    }
}
