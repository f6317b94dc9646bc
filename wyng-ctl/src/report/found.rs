// SPDX-License-Identifier: GPL-3.0-or-later
//! The results of a command: one struct a command, which collects them and is their JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use wyng_config::Config;
use wyng_control::{ArchiveSummary, DayLine, MachineFault, ToClient};
use zeroize::Zeroizing;

use super::dom0::Dom0Row;
use super::pools::Pools;
use super::pruned::Pruned;
use super::restored::Restore;
use super::rows::{
    AbilitiesRow, AgesRow, ArchiveFields, BackedUpRow, ComparedRow, DayRow, LeftOutRow,
    MonitoredRow, ProblemRow, ProfileRow, Range, SessionRow, SheetRow, SlotRow, SnapshotLine,
    SpaceRow, UnenforcedRow, VerifiedRow, VolumeSizesRow,
};
use super::sheet::SECOND_READER_SHA256;
use super::space::{Compact, Copied, Undelete, WaitsRow};
use super::told::{OverdueRow, Told};
use crate::cli::{Cli, Kind};
use crate::quantity::session_name;
use crate::thin::Thin;

/// The results of one command. [`Found::of`] maps commands to structs.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Found {
    Archives(Archives),
    Opened(Opened),
    Acknowledged(Acknowledged),
    Snapshots(Snapshots),
    Keys(Keys),
    KeyCheck(KeyCheck),
    Sheet(Sheet),
    Backup(Backup),
    Monitor(Monitor),
    List(List),
    Why(Why),
    History(History),
    Restore(Restore),
    Rehearse(Rehearse),
    Diff(Diff),
    Verify(Verify),
    Pruned(Pruned),
    Compact(Compact),
    Copied(Copied),
    Undelete(Undelete),
    Status(Status),
    Unlock(Unlock),
    ConfigCheck(ConfigCheck),
    QubesCheck(QubesCheck),
    StoreCheck(StoreCheck),
    Completions(Completions),
    Nothing {},
}

impl Found {
    /// The empty results of a command.
    pub(super) fn of(cli: &Cli) -> Self {
        match cli.kind() {
            Kind::ArchiveCreate | Kind::ArchiveTakeOver | Kind::ArchiveList | Kind::ArchiveShow => {
                Self::Archives(Archives::default())
            }
            Kind::ArchiveOpen => Self::Opened(Opened::default()),
            Kind::ArchiveAcknowledge => Self::Acknowledged(Acknowledged::default()),
            Kind::ArchiveForget | Kind::SnapshotsList | Kind::SnapshotsClean => {
                Self::Snapshots(Snapshots::default())
            }
            Kind::KeyList | Kind::KeyAdd | Kind::KeyChange | Kind::KeyRemove => {
                Self::Keys(Keys::default())
            }
            Kind::KeyCheck => Self::KeyCheck(KeyCheck::default()),
            Kind::RecoverySheet => Self::Sheet(Sheet::default()),
            Kind::Backup => Self::Backup(Backup::default()),
            Kind::Monitor => Self::Monitor(Monitor::default()),
            Kind::Why => Self::Why(Why::default()),
            Kind::History => Self::History(History::default()),
            Kind::List
            | Kind::VolumeRename
            | Kind::VolumeDescribe
            | Kind::TagAdd
            | Kind::TagRemove => Self::List(List::default()),
            Kind::Restore => Self::Restore(Restore::new(cli.is_dry_run())),
            Kind::Rehearse => Self::Rehearse(Rehearse::default()),
            Kind::Diff => Self::Diff(Diff::default()),
            Kind::Verify => Self::Verify(Verify::default()),
            Kind::Compact => Self::Compact(Compact::default()),
            Kind::ArchiveCopy => Self::Copied(Copied::default()),
            Kind::Undelete => Self::Undelete(Undelete::default()),
            Kind::Prune | Kind::SessionRemove | Kind::VolumeRemove | Kind::Pin | Kind::Unpin => {
                Self::Pruned(Pruned::default())
            }
            Kind::Status => Self::Status(Status::default()),
            Kind::Unlock => Self::Unlock(Unlock::default()),
            Kind::ConfigCheck => Self::ConfigCheck(ConfigCheck::default()),
            Kind::QubesCheck => Self::QubesCheck(QubesCheck::default()),
            Kind::StoreCheck => Self::StoreCheck(StoreCheck::default()),
            Kind::Completions => Self::Completions(Completions::default()),
            Kind::Watch | Kind::Tui | Kind::Lock | Kind::Man => Self::Nothing {},
        }
    }

    /// Takes one result. Results of other commands are ignored.
    pub(super) fn take(&mut self, event: &ToClient) {
        match self {
            Self::Archives(found) => found.take(event),
            Self::Opened(found) => found.take(event),
            Self::Acknowledged(found) => found.take(event),
            Self::Keys(found) => found.take(event),
            Self::KeyCheck(found) => found.take(event),
            Self::Sheet(found) => found.take(event),
            Self::Backup(found) => found.take(event),
            Self::Monitor(found) => found.take(event),
            Self::List(found) => found.take(event),
            Self::Why(found) => found.take(event),
            Self::History(found) => found.take(event),
            Self::Restore(found) => found.take(event),
            Self::Rehearse(found) => found.take(event),
            Self::Diff(found) => found.take(event),
            Self::Verify(found) => found.take(event),
            Self::Pruned(found) => found.take(event),
            Self::Compact(found) => found.take(event),
            Self::Copied(found) => found.take(event),
            Self::Undelete(found) => found.take(event),
            Self::Status(found) => found.take(event),
            Self::Unlock(found) => found.take(event),
            Self::QubesCheck(found) => found.take(event),
            Self::StoreCheck(found) => found.take(event),
            Self::Snapshots(_) | Self::ConfigCheck(_) | Self::Completions(_) | Self::Nothing {} => {
            }
        }
    }

    /// The lines of the plan of a restore of qubes.
    pub(super) fn plan(&self) -> &[String] {
        match self {
            Self::Restore(restore) => &restore.plan,
            _ => &[],
        }
    }

    /// Forgets the plan of a command that begins anew.
    pub(super) fn forget_plan(&mut self) {
        if let Self::Restore(restore) = self {
            restore.plan.clear();
        }
    }

    /// Takes base snapshots.
    pub(super) fn take_snapshots(&mut self, lines: Vec<SnapshotLine>) {
        if let Self::Snapshots(Snapshots { snapshots, .. })
        | Self::Status(Status { snapshots, .. }) = self
        {
            snapshots.extend(lines);
        }
    }

    /// Takes dom0's files.
    pub(super) fn take_dom0(&mut self, row: Dom0Row) {
        match self {
            Self::Backup(Backup { dom0, .. }) => *dom0 = Some(row),
            Self::Restore(restore) => restore.dom0 = Some(row),
            _ => {}
        }
    }

    /// Takes thin pools.
    pub(super) fn take_pools(&mut self, thin: &Thin) {
        if let Self::Snapshots(Snapshots { pools, .. })
        | Self::Status(Status { pools, .. })
        | Self::Monitor(Monitor { pools, .. }) = self
        {
            pools.take(thin);
        }
    }

    /// Takes something overdue of an archive.
    pub(super) fn take_overdue(&mut self, name: &str, told: &Told) {
        if let Self::Status(Status { archives, .. }) = self {
            let archives = archives.archives.iter_mut();
            archives
                .filter(|archive| archive.summary.name == name)
                .filter_map(|archive| archive.warnings.as_mut())
                .for_each(|warnings| warnings.push(OverdueRow::of(told)));
        }
    }

    /// Takes the configuration.
    pub(super) fn take_config(&mut self, config: &Config) {
        if let Self::ConfigCheck(found) = self {
            found.config = Some(ConfigRows::of(config));
        }
    }

    /// Takes the script of a shell.
    pub(super) fn take_script(&mut self, script: String) {
        if let Self::Completions(found) = self {
            found.script = Some(script);
        }
    }

    /// Takes a recovery key.
    pub(super) fn take_key(&mut self, key: Zeroizing<String>) {
        if let Self::Keys(found) = self {
            found.recovery_key = Some(key);
        }
    }

    /// Number of sessions that were removed.
    pub(super) fn removed_count(&self) -> usize {
        match self {
            Self::Pruned(found) => found.removed_count(),
            Self::Backup(found) => found.pruned.removed_count(),
            _ => 0,
        }
    }

    /// The days of `history`.
    pub(super) fn history(&self) -> &[DayLine] {
        match self {
            Self::History(found) => &found.lines,
            _ => &[],
        }
    }

    /// Number of archives.
    pub(super) fn archive_count(&self) -> usize {
        match self {
            Self::Archives(found)
            | Self::Opened(Opened {
                archives: found, ..
            })
            | Self::Status(Status {
                archives: found, ..
            }) => found.archives.len(),
            _ => 0,
        }
    }

    /// The base snapshots.
    pub(super) fn snapshots(&self) -> &[SnapshotLine] {
        match self {
            Self::Snapshots(Snapshots { snapshots, .. })
            | Self::Status(Status { snapshots, .. }) => snapshots,
            _ => &[],
        }
    }
}

/// `archive create`, `take-over`, `list` and `show`.
#[derive(Default, Serialize)]
pub(super) struct Archives {
    archives: Vec<Archive>,
    /// The volume to which the next sessions belong.
    #[serde(skip)]
    volume: String,
}

/// An archive; with `status` also the newest sessions of its volumes, and acknowledged damage.
#[derive(Serialize)]
struct Archive {
    #[serde(flatten, with = "ArchiveFields")]
    summary: ArchiveSummary,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<String, SessionRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acknowledged: Vec<String>,
    #[serde(flatten)]
    ages: Option<AgesRow>,
    /// Length of the packs that wait for their deletion; with `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_bytes: Option<u64>,
    /// Everything overdue; with `status` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<OverdueRow>>,
}

impl Archives {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Archive(summary) => self.archives.push(Archive {
                summary: (**summary).clone(),
                newest: BTreeMap::new(),
                acknowledged: Vec::new(),
                ages: None,
                waiting_bytes: None,
                warnings: None,
            }),
            ToClient::Ages(ages) => {
                if let Some(archive) = self.archives.last_mut() {
                    archive.ages = Some(AgesRow(*ages));
                    archive.waiting_bytes = Some(0);
                    archive.warnings = Some(Vec::new());
                }
            }
            ToClient::Waits(waits) => {
                let archive = self.archives.last_mut();
                if let Some(bytes) = archive.and_then(|archive| archive.waiting_bytes.as_mut()) {
                    *bytes = bytes.saturating_add(waits.bytes);
                }
            }
            ToClient::Volume(volume) => self.volume.clone_from(&volume.name),
            ToClient::Session(line) => {
                if let Some(archive) = self.archives.last_mut() {
                    let row = SessionRow(line.clone());
                    archive.newest.insert(self.volume.clone(), row);
                }
            }
            ToClient::Acknowledged { what } => {
                if let Some(archive) = self.archives.last_mut() {
                    archive.acknowledged.push(what.clone());
                }
            }
            _ => {}
        }
    }
}

/// `archive open`.
#[derive(Default, Serialize)]
pub(super) struct Opened {
    #[serde(flatten)]
    archives: Archives,
    problems: Vec<ProblemRow>,
}

impl Opened {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Problem(problem) = event {
            self.problems.push(ProblemRow(problem.clone()));
        }
        self.archives.take(event);
    }
}

/// `archive acknowledge`.
#[derive(Default, Serialize)]
pub(super) struct Acknowledged {
    pub(super) acknowledged: Vec<String>,
}

impl Acknowledged {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Acknowledged { what } = event {
            self.acknowledged.push(what.clone());
        }
    }
}

/// `archive forget`, `snapshots list` and `snapshots clean`.
#[derive(Default, Serialize)]
pub(super) struct Snapshots {
    snapshots: Vec<SnapshotLine>,
    #[serde(flatten)]
    pools: Pools,
}

/// `key list`, `add`, `change` and `remove`.
#[derive(Default, Serialize)]
pub(super) struct Keys {
    slots: Vec<SlotRow>,
    /// A new recovery key.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_once")]
    recovery_key: Option<Zeroizing<String>>,
}

impl Keys {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::KeySlot(slot) = event {
            self.slots.push(SlotRow(slot.clone()));
        }
    }
}

fn shown_once<S: Serializer>(key: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|key| key.as_str()).serialize(to)
}

/// `key check`.
#[derive(Default, Serialize)]
pub(super) struct KeyCheck {
    /// The slot that the passphrase opened.
    slot: Option<SlotRow>,
}

impl KeyCheck {
    fn take(&mut self, event: &ToClient) {
        if let (ToClient::KeySlot(slot), None) = (event, &self.slot) {
            self.slot = Some(SlotRow(slot.clone()));
        }
    }
}

/// `recovery-sheet`.
#[derive(Default, Serialize)]
pub(super) struct Sheet {
    #[serde(flatten)]
    sheet: Option<WholeSheet>,
}

#[derive(Serialize)]
struct WholeSheet {
    #[serde(flatten)]
    sheet: SheetRow,
    second_reader_sha256: &'static str,
}

impl Sheet {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::RecoverySheet(sheet) = event {
            self.sheet = Some(WholeSheet {
                sheet: SheetRow(sheet.clone()),
                second_reader_sha256: SECOND_READER_SHA256,
            });
        }
    }
}

/// `backup`.
#[derive(Default, Serialize)]
pub(super) struct Backup {
    pub(super) volumes: Vec<BackedUpRow>,
    /// What was asked for and is not in the backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOutRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_bytes: Option<u64>,
    /// Result of `--verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_back: Option<Verify>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_bytes: Option<u64>,
    /// dom0's own files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dom0: Option<Dom0Row>,
    /// Of the prune after the backup.
    #[serde(skip_serializing_if = "Pruned::is_empty")]
    pub(super) pruned: Pruned,
}

impl Backup {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::BackedUp(volume) => self.volumes.push(BackedUpRow(volume.clone())),
            ToClient::LeftOut(left_out) => self.left_out.push(LeftOutRow::of(left_out)),
            ToClient::Totals {
                sent_bytes,
                peak_rss_bytes,
            } => {
                self.sent_bytes = Some(*sent_bytes);
                self.peak_rss_bytes = Some(*peak_rss_bytes);
            }
            ToClient::Problem(_) | ToClient::Verified(_) => {
                self.read_back.get_or_insert_default().take(event);
            }
            event => self.pruned.take(event),
        }
    }
}

/// `monitor`.
#[derive(Default, Serialize)]
pub(super) struct Monitor {
    volumes: Vec<MonitoredRow>,
    #[serde(flatten)]
    pools: Pools,
}

impl Monitor {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Monitored(volume) = event {
            self.volumes.push(MonitoredRow(volume.clone()));
        }
    }
}

/// `list`, `volume rename`, `volume describe`, `tag add` and `tag remove`.
#[derive(Default, Serialize)]
pub(super) struct List {
    pub(super) volumes: Vec<ListedVolume>,
}

/// A volume with its sessions, oldest first.
#[derive(Serialize)]
pub(super) struct ListedVolume {
    pub(super) name: String,
    pub(super) description: String,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sizes: Option<VolumeSizesRow>,
    pub(super) sessions: Vec<SessionRow>,
}

impl List {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Volume(volume) => self.volumes.push(ListedVolume {
                name: volume.name.clone(),
                description: volume.description.clone(),
                size_bytes: volume.size_bytes,
                sizes: volume.sizes.map(VolumeSizesRow::of),
                sessions: Vec::new(),
            }),
            ToClient::Session(line) => {
                if let Some(volume) = self.volumes.last_mut() {
                    volume.sessions.push(SessionRow(line.clone()));
                }
            }
            _ => {}
        }
    }

    /// Every session of every volume.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &SessionRow> {
        self.volumes.iter().flat_map(|volume| &volume.sessions)
    }
}

/// `why`.
#[derive(Default, Serialize)]
pub(super) struct Why {
    #[serde(flatten)]
    list: List,
    #[serde(flatten)]
    space: Option<SpaceRow>,
}

impl Why {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Space(space) = event {
            self.space = Some(SpaceRow(*space));
        }
        self.list.take(event);
    }
}

/// `history`.
#[derive(Default, Serialize)]
pub(super) struct History {
    days: Vec<DayRow>,
    /// The same, as the daemon reported them.
    #[serde(skip)]
    pub(super) lines: Vec<DayLine>,
}

impl History {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Day(day) = event {
            self.days.push(DayRow::of(day));
            self.lines.push(*day);
        }
    }
}

/// `rehearse`.
#[derive(Default, Serialize)]
pub(super) struct Rehearse {
    /// The volume and the session that were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched_bytes: Option<u64>,
}

impl Rehearse {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Rehearsing { volume, session } => {
                self.volume = Some(volume.clone());
                self.session = Some(session_name(*session));
            }
            ToClient::Restored(report) => {
                self.written_bytes = Some(report.written_bytes);
                self.fetched_bytes = Some(report.fetched_bytes);
            }
            _ => {}
        }
    }
}

/// `diff`.
#[derive(Default, Serialize)]
pub(super) struct Diff {
    #[serde(flatten)]
    sums: Option<ComparedRow>,
    ranges: Vec<Range>,
}

impl Diff {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Differences(page) => self.ranges.extend(page.iter().map(Range::of)),
            ToClient::Compared(sums) => self.sums = Some(ComparedRow(sums.clone())),
            _ => {}
        }
    }
}

/// `verify`.
#[derive(Default, Serialize)]
pub(super) struct Verify {
    problems: Vec<ProblemRow>,
    #[serde(flatten)]
    sums: Option<VerifiedRow>,
}

impl Verify {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Problem(problem) => self.problems.push(ProblemRow(problem.clone())),
            ToClient::Verified(sums) => self.sums = Some(VerifiedRow(*sums)),
            _ => {}
        }
    }
}

/// `status`.
#[derive(Default, Serialize)]
pub(super) struct Status {
    #[serde(flatten)]
    archives: Archives,
    unenforced: Vec<UnenforcedRow>,
    snapshots: Vec<SnapshotLine>,
    #[serde(flatten)]
    pools: Pools,
    waits: Vec<WaitsRow>,
    /// The archive of the last summary.
    #[serde(skip)]
    last: Option<String>,
}

impl Status {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Archive(archive) => self.last = Some(archive.name.clone()),
            ToClient::Waits(waits) => self.waits.push(WaitsRow::of(waits, self.last.clone())),
            _ => {}
        }
        if let ToClient::Unenforced(missing) = event {
            self.unenforced.push(UnenforcedRow(missing.clone()));
        }
        self.archives.take(event);
    }
}

/// `unlock`.
#[derive(Default, Serialize)]
pub(super) struct Unlock {
    /// The end of the time for which the key is kept, in the form of a session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Unlock {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::Unlocked { until } = event {
            self.until = Some(session_name(*until));
        }
    }
}

/// `config check`.
#[derive(Default, Serialize)]
pub(super) struct ConfigCheck {
    /// `None` if the configuration cannot be read.
    #[serde(flatten)]
    config: Option<ConfigRows>,
}

#[derive(Serialize)]
struct ConfigRows {
    archives: Vec<ConfiguredArchive>,
    volumes: Vec<ConfiguredVolume>,
    profiles: Vec<ProfileRow>,
}

#[derive(Serialize)]
struct ConfiguredArchive {
    name: String,
    store: String,
    via: String,
    verify_via: Option<String>,
}

#[derive(Serialize)]
struct ConfiguredVolume {
    name: String,
    path: String,
}

impl ConfigRows {
    fn of(config: &Config) -> Self {
        let archives = config
            .archives
            .iter()
            .map(|(name, archive)| ConfiguredArchive {
                name: name.clone(),
                store: archive.store.clone(),
                via: archive.via.to_string(),
                verify_via: archive.verify_via.as_ref().map(ToString::to_string),
            });
        let volumes = config.volumes.iter().map(|(name, path)| ConfiguredVolume {
            name: name.clone(),
            path: path.display().to_string(),
        });
        let profiles = config
            .profiles
            .iter()
            .map(|(name, profile)| ProfileRow::of(name, profile));
        Self {
            archives: archives.collect(),
            volumes: volumes.collect(),
            profiles: profiles.collect(),
        }
    }
}

/// `qubes check`.
#[derive(Default, Serialize)]
pub(super) struct QubesCheck {
    machine: Vec<FactRow>,
    reached: Vec<Reached>,
}

/// Something that whole qubes depend on.
#[derive(Serialize)]
struct FactRow {
    subject: &'static str,
    name: String,
    detail: String,
    fault: Option<&'static str>,
}

/// A service that answered.
#[derive(Serialize)]
struct Reached {
    via: String,
    service: String,
}

impl QubesCheck {
    fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Machine(fact) => self.machine.push(FactRow {
                subject: fact.subject.key(),
                name: fact.name.clone(),
                detail: fact.detail.clone(),
                fault: fact.fault.map(MachineFault::code),
            }),
            ToClient::Reached { via, service } => self.reached.push(Reached {
                via: via.clone(),
                service: service.clone(),
            }),
            _ => {}
        }
    }
}

/// `store check`.
#[derive(Default, Serialize)]
pub(super) struct StoreCheck {
    store: Option<String>,
    via: Option<String>,
    free_bytes: Option<u64>,
    left_blob: Option<String>,
    trials: Vec<TrialRow>,
    #[serde(flatten)]
    abilities: Option<AbilitiesRow>,
}

/// Something that an archive asks of its store, and whether it works.
#[derive(Serialize)]
struct TrialRow {
    trial: &'static str,
    result: &'static str,
}

impl StoreCheck {
    fn take(&mut self, event: &ToClient) {
        if let ToClient::StoreChecked(checked) = event {
            let trials = checked.results.iter().map(|(trial, result)| TrialRow {
                trial: trial.key(),
                result: result.key(),
            });
            *self = Self {
                store: Some(checked.store_url.clone()),
                via: Some(checked.via.clone()),
                free_bytes: checked.free_bytes,
                left_blob: checked.left_blob.clone(),
                trials: trials.collect(),
                abilities: Some(AbilitiesRow::of(checked.abilities)),
            };
        }
    }
}

/// `completions`.
#[derive(Default, Serialize)]
pub(super) struct Completions {
    script: Option<String>,
}
