// SPDX-License-Identifier: GPL-3.0-or-later
//! Results for users: sentences as they arrive, and tables once their last row is known. With
//! `--quiet` only results that were asked for, and problems.

use std::time::Instant;

use wyng_config::Config;
use wyng_control::{
    Abilities, ArchiveSummary, CopyLine, CreateOnly, Durability, ExitStatus, JudgedSession,
    KeySlot, LockSummary, Problem, ProofSummary, RestoreReport, SessionLine, SlotKind, SpaceReport,
    StoreChecked, ToClient, Trial, TrialResult, Unenforced, VerifyReport, VolumeLine, VolumeReport,
    WholeCause,
};

use super::advice::Advice;
use super::dom0::Dom0Row;
use super::found::Found;
use super::pools;
use super::pruned::{row, summary};
use super::rows::{SessionRow, SnapshotLine, method_name};
use super::space::{compacted, copied, undeleted, waiting};
use super::table::{Cell, Side, State, Table, painted};
use crate::cli::{Cli, Kind};
use crate::clock::{Clock, duration};
use crate::history::{chart, day_name, line};
use crate::output::{Output, has_colours, terminal_columns};
use crate::plain::plain;
use crate::quantity::{column_bytes, counted, hex, session_name, show_bytes, show_share};
use crate::thin::Thin;

/// Minimum difference between the wall clock and the kernel's count that is shown, seconds.
const SKEW_SHOWN_SECS: u64 = 600;

/// Shows results as they arrive.
pub(super) struct Human {
    quiet: bool,
    verbose: bool,
    colours: bool,
    clock: Clock,
    began: Instant,
    kind: Kind,
    /// The command changes nothing.
    dry_run: bool,
    /// The restore makes a volume in a thin pool.
    in_pool: bool,
    /// Only a part of the archive is verified.
    checks_part: bool,
    listing: Listing,
    unenforced: Vec<Unenforced>,
    /// The last volume that was backed up. If it stays the only one, its line also shows the time
    /// taken.
    last_backed_up: Option<VolumeReport>,
}

/// The tables of archives, volumes and sessions.
struct Listing {
    /// The last volume, as long as none of its sessions has arrived.
    volume: Option<String>,
    /// The name of the last volume, for the rows of its sessions.
    volume_name: String,
    sessions: Table<7>,
    newest: Table<6>,
    archives: Table<6>,
    judged: Table<4>,
    /// With sizes: what each session needs.
    sizes: Table<7>,
    /// `why`: each part of the store, with its bytes.
    space: Table<2>,
    descriptions: Table<2>,
}

impl Listing {
    /// Empty tables. `of_one_volume`: every session belongs to the volume that the user named.
    fn new(of_one_volume: bool) -> Self {
        use Side::{Left, Right};
        let mut listing = Self {
            volume: None,
            volume_name: String::new(),
            sessions: Table::new([
                ("VOLUME", Left),
                ("SESSION", Left),
                ("LOCAL TIME", Left),
                ("AGE", Right),
                ("LOGICAL", Right),
                ("ADDED", Right),
                ("", Left),
            ]),
            newest: Table::new([
                ("VOLUME", Left),
                ("NEWEST SESSION", Left),
                ("LOCAL TIME", Left),
                ("AGE", Right),
                ("SIZE", Right),
                ("", Left),
            ]),
            archives: Table::new([
                ("ARCHIVE", Left),
                ("VOLUMES", Right),
                ("STORED", Right),
                ("LAST COMMIT", Right),
                ("VERIFIED", Right),
                ("STORE", Left),
            ]),
            judged: Table::new([
                ("VOLUME", Left),
                ("SESSION", Left),
                ("", Left),
                ("BECAUSE", Left),
            ]),
            sizes: Table::new([
                ("VOLUME", Left),
                ("SESSION", Left),
                ("LOGICAL", Right),
                ("DATA", Right),
                ("STORED", Right),
                ("UNIQUE", Right),
                ("ADDED", Right),
            ]),
            space: Table::new([("PART OF THE STORE", Left), ("BYTES", Right)]),
            descriptions: Table::new([("VOLUME", Left), ("DESCRIPTION", Left)]),
        };
        if of_one_volume {
            listing.sizes.hide_first();
            listing.sessions.hide_first();
        }
        listing
    }
}

impl Human {
    pub(super) fn new(cli: &Cli) -> Self {
        Self {
            quiet: cli.options.quiet,
            verbose: cli.options.verbose,
            colours: has_colours(),
            clock: Clock::here(),
            began: Instant::now(),
            kind: cli.kind(),
            dry_run: cli.is_dry_run(),
            in_pool: cli.restores_to_pool(),
            checks_part: cli.checks_part(),
            listing: Listing::new(cli.is_of_one_volume()),
            unenforced: Vec::new(),
            last_backed_up: None,
        }
    }

    /// Takes one result, which is also the last in `found`.
    pub(super) fn take(&mut self, event: &ToClient, found: &Found, output: &mut Output) {
        match event {
            ToClient::Archive(archive) => self.archive(archive, output),
            ToClient::Volume(volume) => self.volume(volume),
            ToClient::Session(session) => self.session(session),
            ToClient::Space(space) => self.space(space),
            ToClient::BackedUp(volume) => {
                self.flush(output);
                self.last_backed_up = Some(volume.clone());
            }
            ToClient::Totals { sent_bytes, .. } => self.totals(*sent_bytes, found, output),
            ToClient::Unenforced(missing) => self.unenforced.push(missing.clone()),
            ToClient::Judged(judged) => self.judged(judged, output),
            ToClient::Pruned(report) => {
                self.flush(output);
                self.say(&summary(report, found.removed_count()), output);
            }
            ToClient::Verified(verified) => self.verified(verified, output),
            ToClient::Restored(volume) => self.restored(volume, output),
            event => {
                self.flush(output);
                let lines = self.lines(event);
                lines
                    .iter()
                    .filter(|_| !self.quiet || self.is_asked_for(event))
                    .for_each(|line| output.line(line));
            }
        }
    }

    /// Shows the rows and lines held back so far.
    pub(super) fn flush(&mut self, output: &mut Output) {
        self.end_volume();
        let lists = !(self.quiet && self.kind == Kind::Status);
        let listing = &mut self.listing;
        let lines = [
            listing.sessions.sorted().take_lines("", self.colours),
            listing.newest.sorted().take_lines("  ", self.colours),
            listing.archives.take_lines("", self.colours),
            listing.judged.take_lines("", self.colours),
            listing.sizes.sorted().take_lines("", self.colours),
            listing.space.take_lines("", self.colours),
            listing.descriptions.sorted().take_lines("", self.colours),
        ];
        lines
            .iter()
            .flatten()
            .filter(|_| lists)
            .for_each(|line| output.line(line));
        if let Some(volume) = self.last_backed_up.take() {
            self.say_backed_up(&volume, "", output);
        }
    }

    /// Shows the summary of a finished command.
    pub(super) fn finish(
        &mut self,
        exit: ExitStatus,
        archive: Option<&str>,
        found: &Found,
        advice: &Advice,
        output: &mut Output,
    ) {
        self.flush(output);
        self.say_unenforced(output);
        self.say_left_over(found, advice, output);
        if exit != ExitStatus::Done {
            return;
        }
        let archive = archive.unwrap_or_default();
        match (self.kind, found) {
            (Kind::List, Found::List(list)) if list.volumes.is_empty() => {
                output.line(&format!("archive {archive:?} has no session yet"))
            }
            (Kind::List, Found::List(list)) => {
                let added_bytes = list
                    .sessions()
                    .map(|SessionRow(line)| line.added_bytes)
                    .fold(0, u64::saturating_add);
                output.line(&format!(
                    "{}, {}, {} added",
                    counted(list.volumes.len(), "volume"),
                    counted(list.sessions().count(), "session"),
                    show_bytes(added_bytes)
                ));
            }
            (Kind::History, _) if found.history().is_empty() => {
                output.line(&format!("archive {archive:?} has no session yet"))
            }
            (Kind::History, _) => {
                let lines = match terminal_columns() {
                    Some(columns) => chart(found.history(), columns),
                    None => found.history().iter().map(line).collect(),
                };
                lines.iter().for_each(|line| output.line(line));
            }
            (Kind::ArchiveList, _) if found.archive_count() == 0 => {
                output.line("no archive is known")
            }
            (Kind::Status, _) if found.archive_count() == 0 => {
                self.say("no archive is known", output)
            }
            (Kind::SnapshotsList, _) if found.snapshots().is_empty() => {
                output.line("no base snapshot was found")
            }
            (Kind::SnapshotsClean, _) => {
                let removed = found.snapshots().iter().filter(|line| line.removed);
                self.say(
                    &format!("{} removed", counted(removed.count(), "base snapshot")),
                    output,
                )
            }
            (_, Found::Acknowledged(damage)) if damage.acknowledged.is_empty() => {
                let line = "no damage is known; `wyng-ctl verify ARCHIVE` looks for it";
                self.say(&advice.paste(line, None, None), output);
            }
            (Kind::ArchiveForget, _) => self.say(
                &format!(
                    "archive {archive:?} is forgotten on this machine; its store was not touched"
                ),
                output,
            ),
            (Kind::VolumeRename, Found::List(list)) => {
                for volume in &list.volumes {
                    let line = format!(
                        "the volume is called {:?} from now on; a configuration that names it \
                         needs the new name",
                        plain(&volume.name)
                    );
                    self.say(&line, output);
                }
            }
            (Kind::VolumeDescribe, Found::List(list)) => {
                for volume in &list.volumes {
                    let (name, text) = (plain(&volume.name), plain(&volume.description));
                    self.say(format!("{name}  {text}").trim_end(), output);
                }
            }
            (Kind::KeyCheck, _) => {
                self.say(&format!("the passphrase opens archive {archive:?}"), output)
            }
            (Kind::Lock, _) => self.say("locked", output),
            _ => {}
        }
    }

    /// Shows base snapshots below their archives.
    pub(super) fn snapshots(&mut self, lines: &[SnapshotLine], output: &mut Output) {
        use Side::{Left, Right};
        self.flush(output);
        let mut table = Table::new([
            ("BASE SNAPSHOT OF", Left),
            ("VOLUME", Left),
            ("SESSION", Left),
            ("AGE", Right),
            ("PLACE", Left),
            ("", Left),
        ]);
        let unknown = || "-".to_owned();
        for line in lines {
            table.push([
                archive_of(line).into(),
                line.volume.as_deref().map_or_else(unknown, plain).into(),
                line.session.map_or_else(unknown, session_name).into(),
                line.session
                    .map_or_else(|| unknown().into(), |session| self.age(session)),
                place_of(line).into(),
                snapshot_state(line),
            ]);
        }
        let shown = !self.quiet || self.kind == Kind::SnapshotsList;
        table
            .sorted()
            .take_lines("", self.colours)
            .iter()
            .filter(|_| shown)
            .for_each(|line| output.line(line));
    }

    /// Shows what was collected or written back of dom0's files.
    pub(super) fn dom0(&mut self, row: &Dom0Row, output: &mut Output) {
        self.flush(output);
        for line in row.lines() {
            self.say(&line, output);
        }
    }

    /// Shows the use of thin pools, and why they are missing from a list.
    pub(super) fn pools(&mut self, thin: &Thin, output: &mut Output) {
        self.flush(output);
        for line in pools::lines(thin) {
            self.say(&plain(&line), output);
        }
        let lists = !matches!(self.kind, Kind::Status | Kind::Monitor);
        if let Some(why) = thin.unlisted.filter(|_| lists) {
            self.say(pools::hint(why), output);
        }
    }

    /// Prints a configuration.
    pub(super) fn config(&self, config: &Config, output: &mut Output) {
        let archives = config.archives.iter().map(|(name, archive)| {
            format!("archive {name}  {} through {}", archive.store, archive.via)
        });
        let volumes = config
            .volumes
            .iter()
            .map(|(name, path)| format!("volume {name}  {}", path.display()));
        let profiles = config.profiles.iter().map(|(name, profile)| {
            let taken: Vec<&str> = profile
                .volumes
                .iter()
                .chain(&profile.qubes.qubes)
                .map(|word| &**word)
                .collect();
            let without = match &profile.qubes.exclude[..] {
                [] => String::new(),
                exclude => format!(" without {}", exclude.join(", ")),
            };
            format!(
                "profile {name}  {}{without} to {}",
                taken.join(", "),
                profile.archives.join(", ")
            )
        });
        archives
            .chain(volumes)
            .chain(profiles)
            .for_each(|line| self.say(&plain(&line), output));
    }

    /// Prints a line, unless `--quiet` was given.
    pub(super) fn say(&self, line: &str, output: &mut Output) {
        if !self.quiet {
            output.line(line);
        }
    }

    /// Whether `--quiet` shows the result: a result that was asked for, or a problem.
    fn is_asked_for(&self, event: &ToClient) -> bool {
        match event {
            ToClient::KeySlot(_) => self.kind == Kind::KeyList,
            ToClient::Monitored(_)
            | ToClient::LeftOut(_)
            | ToClient::Rehearsing { .. }
            | ToClient::Unlocked { .. }
            | ToClient::Machine(_)
            | ToClient::Reached { .. }
            | ToClient::Waits(_)
            | ToClient::Deleted(_)
            | ToClient::Compacted(_)
            | ToClient::Copied(_)
            | ToClient::Undeleted(_)
            | ToClient::Acknowledged { .. } => false,
            ToClient::Problem(problem) => !problem.acknowledged,
            _ => true,
        }
    }

    fn archive(&mut self, archive: &ArchiveSummary, output: &mut Output) {
        self.flush(output);
        let verified = archive.verified_time;
        if self.kind == Kind::ArchiveList {
            self.listing.archives.push([
                plain(&archive.name).into(),
                archive.volume_count.to_string().into(),
                column_bytes(archive.stored_bytes).into(),
                self.ago(archive.committed_time),
                match (verified, archive.verified_age_secs) {
                    (0, _) => Cell::new("never".into(), State::Warning),
                    (time, Some(age)) => {
                        format!("{} ago", self.clock.given_age(time, Some(age))).into()
                    }
                    (time, None) => Cell::new(self.clock.given_age(time, None), State::Warning),
                },
                plain(&archive.store_url).into(),
            ]);
            return;
        }
        let verified = match verified {
            0 => "never verified".to_owned(),
            time => {
                let age = self.clock.given_age(time, archive.verified_age_secs);
                let ago = archive.verified_age_secs.map_or("", |_| " ago");
                format!("all verified since {} ({age}{ago})", self.clock.local(time))
            }
        };
        let mut lines = vec![
            format!("{}  {}", plain(&archive.name), plain(&archive.store_url)),
            format!(
                "  {}, {} stored; last commit {} ({}); {verified}",
                counted(archive.volume_count, "volume"),
                show_bytes(archive.stored_bytes),
                self.clock.local(archive.committed_time),
                self.clock.ago(archive.committed_time),
            ),
        ];
        if archive.clock_skew_secs.unsigned_abs() >= SKEW_SHOWN_SECS {
            let skew = archive.clock_skew_secs;
            let way = if skew < 0 { "behind" } else { "ahead of" };
            lines.push(format!(
                "  this machine's clock is {} {way} its own count since a person last looked",
                duration(skew.saturating_abs()),
            ));
        }
        lines.push(format!(
            "  {}; {}",
            proven(&archive.proof),
            match archive.rehearsed_time {
                0 => "never rehearsed".to_owned(),
                time => format!("last rehearsal {}", self.clock.ago(time)),
            }
        ));
        if self.kind != Kind::Status || self.verbose {
            lines.push(format!(
                "  id {}, generation {}, {} of {}, chunks of {}, zstd {}, through {}",
                archive.id,
                archive.generation,
                counted(archive.pack_count, "pack"),
                show_bytes(archive.pack_size_bytes.into()),
                show_bytes(archive.chunk_size_bytes.into()),
                archive.zstd_level,
                plain(&archive.via),
            ));
            lines.extend(
                archive
                    .verify_via
                    .as_ref()
                    .map(|via| format!("  what was pushed is checked through {}", plain(via))),
            );
            lines.push(format!(
                "  hold-off {} and {}, minimum age of sessions {}",
                counted(u64::from(archive.hold_off_runs), "run"),
                duration(i64::try_from(archive.hold_off_secs).unwrap_or(i64::MAX)),
                duration(i64::try_from(archive.minimum_age_secs).unwrap_or(i64::MAX)),
            ));
        }
        if self.kind != Kind::Status || self.verbose || lacks_ability(archive.abilities) {
            lines.push(format!("  {}", able(archive.abilities)));
        }
        lines.extend(archive.lock.map(|lock| format!("  {}", lock_line(lock))));
        lines.extend(archive.copies.iter().map(|copy| {
            let ago = self.clock.ago(copy.copied_time);
            format!("  {}", copy_line(copy, &ago))
        }));
        let shown = !self.quiet || self.kind == Kind::ArchiveShow;
        lines
            .iter()
            .filter(|_| shown)
            .for_each(|line| output.line(line));
    }

    fn volume(&mut self, volume: &VolumeLine) {
        self.end_volume();
        self.listing.volume_name = plain(&volume.name);
        // Where a volume's entry was changed, its row would say that it has no session.
        let lists = !matches!(
            self.kind,
            Kind::VolumeRename | Kind::VolumeDescribe | Kind::Why
        );
        if let (Kind::Why, Some(sizes)) = (self.kind, volume.sizes) {
            self.listing.space.push([
                format!("volume {}", plain(&volume.name)).into(),
                column_bytes(sizes.unique_bytes).into(),
            ]);
        }
        self.listing.volume = lists.then(|| plain(&volume.name));
        if self.kind == Kind::List && !volume.description.is_empty() {
            self.listing.descriptions.push([
                plain(&volume.name).into(),
                plain(&volume.description).into(),
            ]);
        }
    }

    /// Adds the row of a volume without a session.
    fn end_volume(&mut self) {
        let Some(name) = self.listing.volume.take() else {
            return;
        };
        let none = || Cell::from("-".to_owned());
        if self.kind == Kind::Status {
            self.listing.newest.push([
                name.into(),
                Cell::new("none".into(), State::Warning),
                none(),
                none(),
                none(),
                none(),
            ]);
        } else {
            self.listing.sessions.push([
                name.into(),
                Cell::new("none".into(), State::Warning),
                none(),
                none(),
                none(),
                none(),
                none(),
            ]);
        }
    }

    /// Adds the parts of the store that belong to no volume.
    fn space(&mut self, space: &SpaceReport) {
        let waiting = format!(
            "waiting for deletion, {}",
            counted(space.waiting_packs, "pack")
        );
        let lost = format!("missing or damaged, {}", counted(space.lost_packs, "pack"));
        let parts = [
            ("shared by several volumes", space.shared_bytes),
            ("metadata", space.metadata_bytes),
            ("no longer needed, in packs in use", space.dead_bytes),
            ("filler", space.filler_bytes),
            (waiting.as_str(), space.waiting_bytes),
            (lost.as_str(), space.lost_bytes),
            ("all packs", space.stored_bytes),
        ];
        for (part, bytes) in parts {
            self.listing
                .space
                .push([part.to_owned().into(), column_bytes(bytes).into()]);
        }
    }

    fn session(&mut self, session: &SessionLine) {
        self.listing.volume = None;
        if let Some(sizes) = session.sizes {
            return self.listing.sizes.push([
                self.listing.volume_name.clone().into(),
                session_name(session.session).into(),
                column_bytes(session.size_bytes).into(),
                column_bytes(sizes.data_bytes).into(),
                column_bytes(sizes.stored_bytes).into(),
                column_bytes(sizes.unique_bytes).into(),
                column_bytes(session.added_bytes).into(),
            ]);
        }
        let name: Cell = self.listing.volume_name.clone().into();
        let (time, local) = (
            session_name(session.session),
            self.clock.local(session.session),
        );
        let (age, size, notes) = (
            Cell::new(
                self.clock.given_age(session.session, session.age_secs),
                match session.age_secs {
                    Some(_) => State::Plain,
                    None => State::Warning,
                },
            ),
            column_bytes(session.size_bytes),
            self.notes(session),
        );
        if self.kind == Kind::Status {
            self.listing
                .newest
                .push([name, time.into(), local.into(), age, size.into(), notes]);
        } else {
            self.listing.sessions.push([
                name,
                time.into(),
                local.into(),
                age,
                size.into(),
                column_bytes(session.added_bytes).into(),
                notes,
            ]);
        }
    }

    fn age(&self, time: i64) -> Cell {
        Cell::new(
            self.clock.age(time),
            if self.clock.is_ahead(time) {
                State::Warning
            } else {
                State::Plain
            },
        )
    }

    fn ago(&self, time: i64) -> Cell {
        Cell::new(
            self.clock.ago(time),
            if self.clock.is_ahead(time) {
                State::Warning
            } else {
                State::Plain
            },
        )
    }

    fn notes(&self, session: &SessionLine) -> Cell {
        let words = [
            (session.damaged && !session.acknowledged, "DAMAGED"),
            (
                session.damaged && session.acknowledged,
                "damaged, acknowledged",
            ),
            (session.age_secs.is_none(), "ahead of the clock"),
            (session.live, "live"),
            (session.pinned, "pinned"),
        ];
        let words = words
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, word)| word.to_owned());
        let notes: Vec<String> = words
            .chain(session.tags.iter().map(|tag| format!("^{}", plain(tag))))
            .collect();
        let state = match () {
            () if session.damaged && !session.acknowledged => State::Bad,
            () if session.damaged => State::Warning,
            () if session.age_secs.is_none() => State::Warning,
            () => State::Plain,
        };
        Cell::new(notes.join(", "), state)
    }

    /// Prints the line of a volume that was backed up, with `end` at its end.
    fn say_backed_up(&self, volume: &VolumeReport, end: &str, output: &mut Output) {
        self.say(&format!("{}{end}", self.backed_up(volume)), output);
        if let Some(place) = &volume.mounted_at {
            self.say(&hint_of_mount(place), output);
        }
        if let Some(cause) = volume.whole.and_then(|cause| self.hint_of_cause(cause)) {
            self.say(&cause, output);
        }
    }

    /// Why a volume was read whole. That the first backup has no base is no news, nor that ZFS does
    /// not say where a volume changed.
    fn hint_of_cause(&self, cause: WholeCause) -> Option<String> {
        let usual = [WholeCause::NoBase, WholeCause::RangesUntold];
        let is_news = self.verbose || !usual.contains(&cause);
        is_news.then(|| {
            format!(
                "  it was read whole, because {}.\n  next: {}",
                cause.what(),
                cause.next()
            )
        })
    }

    fn backed_up(&self, volume: &VolumeReport) -> String {
        let session = match volume.session {
            Some(session) => session_name(session),
            None if self.dry_run => "dry run".to_owned(),
            None => "no session".to_owned(),
        };
        let changed = if volume.changed_bytes == 0 {
            "unchanged".to_owned()
        } else {
            format!("{} changed", show_bytes(volume.changed_bytes))
        };
        let stored = if self.dry_run || volume.sent_bytes == 0 {
            String::new()
        } else {
            format!(", {} stored", show_bytes(volume.sent_bytes))
        };
        let how = if self.verbose {
            let snapshot = if volume.snapshot { "" } else { ", no snapshot" };
            format!(
                " (read {}, {}{snapshot})",
                show_bytes(volume.read_bytes),
                method_name(volume.method)
            )
        } else {
            String::new()
        };
        format!("{}  {session}  {changed}{stored}{how}", plain(&volume.name))
    }

    /// Prints the lines of a volume that was restored, or would be. Damage of the disk and content
    /// kept unread are always shown.
    fn restored(&self, volume: &RestoreReport, output: &mut Output) {
        let (name, session, path) = (
            plain(&volume.name),
            session_name(volume.session),
            plain(&volume.path),
        );
        let (written, fetched) = (
            show_bytes(volume.written_bytes),
            show_bytes(volume.fetched_bytes),
        );
        let line = if self.kind == Kind::Rehearse {
            format!(
                "{name}  {session}  restored to scratch and right: {written} written, {fetched} fetched"
            )
        } else if self.dry_run {
            let lost = if volume.lost_bytes > 0 {
                format!("; {} are lost", show_bytes(volume.lost_bytes))
            } else {
                String::new()
            };
            format!(
                "{name}  {session}  would write {written} to {path}, and fetch at most {fetched}{lost}"
            )
        } else {
            format!("{name}  {session}  restored to {path}: {written} written, {fetched} fetched")
        };
        self.say(&line, output);
        if self.in_pool && !self.dry_run {
            let name = path.trim_start_matches("/dev/");
            let how = format!("lvchange --activate y --ignoreactivationskip {name}");
            self.say(&format!("  It is not active, because udev would look into what a guest wrote. To use it: {how}"), output);
        }
        if volume.damaged_bytes > 0 {
            let damaged = show_bytes(volume.damaged_bytes);
            output.line(&format!("  {name}: {damaged} on this machine's disk were damaged, and were fetched from the store: check the disk"));
        }
        if volume.unread_bytes > 0 {
            let unread = show_bytes(volume.unread_bytes);
            output.line(&format!(
                "  {name}: {unread} were kept unread, as the base snapshot reports them as equal (--quick)"
            ));
        }
    }

    fn totals(&mut self, sent_bytes: u64, found: &Found, output: &mut Output) {
        let volume_count = match found {
            Found::Backup(backup) => backup.volumes.len(),
            _ => 0,
        };
        let took = duration(i64::try_from(self.began.elapsed().as_secs()).unwrap_or(i64::MAX));
        match self.last_backed_up.take() {
            Some(volume) if volume_count == 1 => {
                self.say_backed_up(&volume, &format!(", {took}"), output)
            }
            last => {
                self.last_backed_up = last;
                self.flush(output);
                let sent = if self.dry_run {
                    String::new()
                } else {
                    format!("{} sent, ", show_bytes(sent_bytes))
                };
                self.say(
                    &format!("{}: {sent}{took}", counted(volume_count, "volume")),
                    output,
                );
            }
        }
    }

    /// Adds the row of a session that was judged; `pin` and `unpin` say it in a line.
    fn judged(&mut self, judged: &JudgedSession, output: &mut Output) {
        let is = match self.kind {
            Kind::Pin => "pinned: nothing removes it until it is unpinned",
            Kind::Unpin => "no longer pinned",
            // What a prune keeps is in the table only where somebody asked for it.
            _ if self.kind == Kind::Backup || (self.quiet && !self.dry_run) => return,
            _ => return self.listing.judged.push(row(judged)),
        };
        let (volume, session) = (plain(&judged.volume), session_name(judged.session));
        self.say(&format!("{volume} {session} is {is}"), output);
    }

    fn verified(&mut self, verified: &VerifyReport, output: &mut Output) {
        self.flush(output);
        let read = show_bytes(verified.read_bytes);
        let checked = if self.kind == Kind::Backup {
            format!("{read} read back")
        } else if self.checks_part {
            format!("{read} checked")
        } else {
            format!("all {read} checked")
        };
        let line = match verified.problems {
            0 => format!("{checked}: no problem"),
            count => format!(
                "{read} checked: {}",
                painted(&counted(count, "problem"), State::Bad, self.colours)
            ),
        };
        let seen = match verified.acknowledged {
            0 => String::new(),
            count => format!(", and {count} acknowledged"),
        };
        let details = if self.verbose {
            let more = if verified.listed_whole {
                ""
            } else {
                " or more, because a part of the store cannot be listed"
            };
            format!(
                " ({} objects; {} foreign{more})",
                verified.objects_checked, verified.foreign_objects
            )
        } else {
            String::new()
        };
        if !self.quiet || verified.problems > 0 {
            output.line(&format!("{line}{seen}{details}"));
        }
    }

    fn say_unenforced(&mut self, output: &mut Output) {
        let missing = std::mem::take(&mut self.unenforced);
        if self.verbose {
            for missing in missing {
                let (protection, role, reason) = (
                    plain(&missing.protection),
                    plain(&missing.role),
                    plain(&missing.reason),
                );
                self.say(
                    &format!("not enforced: {protection} for {role}: {reason}"),
                    output,
                );
            }
        } else if !missing.is_empty() {
            let count = counted(missing.len(), "protection");
            self.say(
                &format!("{count} of the daemon cannot be enforced on this system; -v lists them"),
                output,
            );
        }
    }

    fn say_left_over(&self, found: &Found, advice: &Advice, output: &mut Output) {
        let left_over = found.snapshots().iter().filter(|line| is_left_over(line));
        let (count, verb, object) = match left_over.count() {
            0 => return,
            1 => ("1 base snapshot".to_owned(), "is", "it"),
            count => (format!("{count} base snapshots"), "are", "them"),
        };
        let line =
            format!("{count} {verb} no longer used; `wyng-ctl snapshots clean` removes {object}");
        self.say(&advice.paste(&line, None, None), output);
    }

    /// The lines of a result that stands alone.
    fn lines(&self, event: &ToClient) -> Vec<String> {
        match event {
            ToClient::Monitored(volume) => {
                let line = format!(
                    "{}  {} to be read by the next backup{}",
                    plain(&volume.name),
                    show_bytes(volume.changed_bytes),
                    if self.verbose {
                        format!(" ({})", method_name(volume.method))
                    } else {
                        String::new()
                    }
                );
                let cause = volume.whole.and_then(|cause| self.hint_of_cause(cause));
                [line].into_iter().chain(cause).collect()
            }
            ToClient::QubePlan(lines) => lines.iter().map(|line| plain(line)).collect(),
            ToClient::QubeRestored(qube) if qube.uuid.is_none() => Vec::new(),
            ToClient::QubeRestored(qube) => {
                let name = plain(&qube.name);
                let unset = qube.unset.iter();
                std::iter::once(format!("{name}  {}", qube.deed.word()))
                    .chain(unset.map(|unset| format!("{name}  not set: {}", plain(unset))))
                    .collect()
            }
            ToClient::LeftOut(left_out) => {
                let left = if left_out.why.is_taken() {
                    ""
                } else {
                    " is left out"
                };
                let why = left_out.why.to_string();
                vec![format!("{}{left}: {}", plain(&left_out.what), plain(&why))]
            }
            ToClient::Rehearsing { volume, session } => vec![format!(
                "{}  {}  is being restored to scratch",
                plain(volume),
                session_name(*session)
            )],
            ToClient::Lost { volume, ranges } => {
                let volume = plain(volume);
                let lost = |(begin, end): &(u64, u64)| {
                    let length = end.saturating_sub(*begin);
                    format!(
                        "{volume}: {length} bytes from byte {begin} on are lost and replaced by zeros"
                    )
                };
                ranges.iter().map(lost).collect()
            }
            ToClient::Differences(ranges) => ranges
                .iter()
                .map(|(begin, end)| format!("{begin:>16}  {:>12}", end.saturating_sub(*begin)))
                .collect(),
            ToClient::Compared(sums) => vec![format!(
                "{}  {} and {}: {} differ{}",
                plain(&sums.name),
                session_name(sums.session),
                sums.with
                    .map_or_else(|| "the volume as it is".to_owned(), session_name),
                show_bytes(sums.differing_bytes),
                if sums.damaged_bytes == 0 {
                    String::new()
                } else {
                    format!(
                        "; {} of them were never written: the disk is failing, restore the volume from this session",
                        show_bytes(sums.damaged_bytes)
                    )
                }
            )],
            ToClient::Problem(problem) => self.problem(problem),
            ToClient::Compacted(report) => vec![compacted(report)],
            ToClient::Copied(report) => vec![copied(report)],
            ToClient::Undeleted(report) => vec![undeleted(report)],
            ToClient::Waits(waits) => vec![waiting(waits)],
            ToClient::Deleted(report) => vec![format!(
                "{} deleted, {}",
                counted(report.packs, "pack"),
                show_bytes(report.bytes)
            )],
            ToClient::Acknowledged { what } => {
                vec![format!("damaged, acknowledged: {}", plain(what))]
            }
            ToClient::KeySlot(slot) => vec![self.key_slot(slot)],
            ToClient::StoreChecked(checked) => store_checked(checked),
            ToClient::Machine(fact) => {
                vec![format!("{}: {}", plain(&fact.title()), plain(&fact.detail))]
            }
            ToClient::Reached { via, service } => {
                vec![format!("{service} answers through {}", plain(via))]
            }
            ToClient::Unlocked { until } => vec![format!(
                "unlocked until {} ({})",
                self.clock.local(*until),
                self.clock.age(*until)
            )],
            ToClient::RecoverySheet(sheet) => super::sheet::lines(sheet),
            _ => Vec::new(),
        }
    }

    fn key_slot(&self, slot: &KeySlot) -> String {
        let kind = match slot.kind {
            SlotKind::Passphrase => "passphrase",
            SlotKind::RecoveryKey => "recovery key",
            SlotKind::Token => "hardware token",
        };
        let label = if slot.label.is_empty() {
            String::new()
        } else {
            format!("  {:?}", plain(&slot.label))
        };
        let opened = match (slot.opens, slot.opened_time) {
            (true, _) => "  <- this one opens the archive".to_owned(),
            (false, 0) => String::new(),
            (false, time) => format!("  opened last, {}", session_name(time)),
        };
        let (made, memory_mib) = (session_name(slot.made_time), slot.memory_kib / 1024);
        if slot.kind == SlotKind::Token {
            return format!(
                "slot {}  {kind}{label}  made {made}, of a kind that this version cannot open",
                slot.number
            );
        }
        format!(
            "slot {}  {kind}{label}  made {made}, {memory_mib} MiB, {} passes{opened}",
            slot.number, slot.passes
        )
    }

    fn problem(&self, problem: &Problem) -> Vec<String> {
        let (seen, state) = if problem.acknowledged {
            ("acknowledged: ", State::Warning)
        } else {
            ("", State::Bad)
        };
        let class = painted(problem.class.word(), state, self.colours);
        let needed = problem
            .volumes
            .iter()
            .map(|session| format!("    needed by {}", plain(session)));
        std::iter::once(format!(
            "{seen}{class} {}: {}",
            plain(&problem.object),
            plain(&problem.problem)
        ))
        .chain(needed)
        .collect()
    }
}

/// The warning about a source that was in use and read without a snapshot.
fn hint_of_mount(place: &str) -> String {
    format!(
        "  it is in use ({}): this session may have only a part of what was written during the backup. Back up a snapshot, or unmount the device, to avoid that",
        plain(place)
    )
}

fn is_left_over(line: &SnapshotLine) -> bool {
    !line.removed && line.left_over.is_some()
}

/// The archive's name, or else its id.
fn archive_of(line: &SnapshotLine) -> String {
    match (&line.archive, &line.archive_id) {
        (Some(name), _) => plain(name),
        (None, Some(id)) => hex(id),
        (None, None) => "-".to_owned(),
    }
}

/// The logical volume with what the pool holds for it, or that of ZFS with what only it holds, or
/// else the folder.
fn place_of(line: &SnapshotLine) -> String {
    match (
        &line.logical_volume,
        line.mapped_bytes.or(line.exclusive_bytes),
    ) {
        (Some(volume), Some(bytes)) => format!("{} ({})", plain(volume), show_bytes(bytes)),
        (Some(volume), None) => plain(volume),
        (None, _) => plain(&line.folder.display().to_string()),
    }
}

fn snapshot_state(line: &SnapshotLine) -> Cell {
    match (line.removed, line.left_over, line.session) {
        (true, ..) => "removed".to_owned().into(),
        (_, Some(why), _) => Cell::new(format!("left over: {why}"), State::Warning),
        (_, None, None) if line.logical_volume.is_some() => {
            "kept: what a qube was before its restore in place"
                .to_owned()
                .into()
        }
        (_, None, None) => Cell::new(
            "only its owner and root can read it".to_owned(),
            State::Warning,
        ),
        (_, None, Some(_)) => String::new().into(),
    }
}

/// How much of an archive is proven, in words.
fn proven(proof: &ProofSummary) -> String {
    if proof.total_bytes == 0 {
        return "nothing to prove yet".to_owned();
    }
    let share = |part| show_share(part, proof.total_bytes);
    let mut words = format!("{} proven", share(proof.proven_bytes));
    if proof.by_pusher_bytes > 0 {
        let by_pusher = share(proof.by_pusher_bytes);
        words.push_str(&format!(" ({by_pusher} only by the VM that pushed it)"));
    }
    match proof.oldest_unproven_secs {
        Some(secs) => {
            let age = duration(i64::try_from(secs).unwrap_or(i64::MAX));
            words.push_str(&format!(", the oldest unproven part is {age} old"));
        }
        None if proof.proven_bytes < proof.total_bytes => {
            words.push_str(", the age of the oldest unproven part is not known");
        }
        None => {}
    }
    words
}

/// What is known of a store, in words.
fn able(abilities: Abilities) -> String {
    format!(
        "create-only in the store: {}; its receipts: {}",
        CreateOnly::words(abilities.create_only),
        Durability::words(abilities.durability),
    )
}

/// Whether a person should know what the store cannot do.
fn lacks_ability(abilities: Abilities) -> bool {
    abilities.create_only == Some(CreateOnly::Checked)
        || abilities.durability == Some(Durability::Accepted)
}

/// What this machine knows of the object locks of an archive, in words.
fn lock_line(lock: LockSummary) -> String {
    let period = counted(u64::from(lock.period_days), "day");
    let end = match lock.end_time {
        Some(time) => format!("the first ends on {}", day_name(time)),
        None => "when the first ends is not known".to_owned(),
    };
    let unknown = match (lock.unknown_count, lock.end_time) {
        (0, _) | (_, None) => String::new(),
        (count, Some(_)) => format!(", and that of {} is not known", counted(count, "object")),
    };
    format!("locked for {period}: {end}{unknown}")
}

/// The line of a copy that this machine knows.
fn copy_line(copy: &CopyLine, ago: &str) -> String {
    let store = plain(&copy.store_url);
    if copy.generation == 0 {
        return format!("copy {store}: not complete; run `archive copy`");
    }
    let behind = match copy.behind {
        0 => "up to date".to_owned(),
        count => format!("{} behind", counted(count, "commit")),
    };
    let proven = match copy.total_bytes {
        0 => String::new(),
        total => format!(", {} proven", show_share(copy.proven_bytes, total)),
    };
    format!(
        "copy {store}: {behind}, at generation {} since {ago}{proven}",
        copy.generation
    )
}

/// The trials of a store, a line each, and what follows from a refusal.
fn store_checked(checked: &StoreChecked) -> Vec<String> {
    let mut lines = vec![match checked.free_bytes {
        Some(bytes) => format!(
            "store {}, {} free",
            plain(&checked.store_url),
            show_bytes(bytes)
        ),
        None => format!("store {}", plain(&checked.store_url)),
    }];
    lines.extend(checked.results.iter().map(|(trial, result)| {
        let result = match (result, trial) {
            (TrialResult::Works, _) => "works",
            (TrialResult::Lacking, _) => "does not work",
            (TrialResult::Untried, _) => "not tried: nothing can be deleted, so it would stay",
            (TrialResult::Refused, Trial::Delete) => "refused: prune frees nothing",
            (TrialResult::Refused, Trial::Put | Trial::Exclude) => "refused",
            (TrialResult::Refused, Trial::Fetch | Trial::List) => {
                "refused: no restore, no verify, and nothing is deleted"
            }
        };
        format!("  {:26} {result}", trial.words())
    }));
    lines.push(format!("  {}", able(checked.abilities)));
    lines.extend(
        checked
            .left_blob
            .as_ref()
            .map(|name| format!("  left in the store: {name}. Remove it before `archive create`.")),
    );
    lines
}
