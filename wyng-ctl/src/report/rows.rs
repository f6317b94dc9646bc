// SPDX-License-Identifier: GPL-3.0-or-later
//! One row of each kind of result: what the daemon reported, and its names in JSON.
//!
//! The names are a contract, `docs/schema/output.json`. Each `…Fields` lists them for a struct of
//! `wyng-control`, which itself knows no JSON; numbers of bytes are whole numbers, and times are
//! written as sessions are named.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use wyng_config::Profile;
use wyng_control::{
    Abilities, ArchiveAges, ArchiveSummary, CopyLine, CreateOnly, DayLine, DiffReport, Durability,
    KeySlot, LeftOut, LockSummary, Method, MonitorReport, ObjectClass, Problem, ProofSummary,
    RecoverySheet, RestoreReport, RestoredQube, SessionLine, SessionSizes, SlotKind, SpaceReport,
    Unenforced, VerifyReport, VolumeReport, VolumeSizes, WholeCause,
};

use crate::history::day_name;
use crate::quantity::{hex, session_name};

/// An archive as this machine knows it.
#[derive(Serialize)]
#[serde(remote = "ArchiveSummary")]
pub(super) struct ArchiveFields {
    name: String,
    id: String,
    #[serde(rename = "store")]
    store_url: String,
    via: String,
    verify_via: Option<String>,
    #[serde(flatten, serialize_with = "abilities")]
    abilities: Abilities,
    #[serde(serialize_with = "lock")]
    lock: Option<LockSummary>,
    #[serde(serialize_with = "copies")]
    copies: Vec<CopyLine>,
    generation: u64,
    #[serde(rename = "committed", serialize_with = "time")]
    committed_time: i64,
    #[serde(rename = "verified", serialize_with = "time_or_never")]
    verified_time: i64,
    /// `ArchiveAges` has it.
    #[serde(skip)]
    verified_age_secs: Option<u64>,
    #[serde(rename = "keys_proven", serialize_with = "time_or_never")]
    keys_proven_time: i64,
    /// The same.
    #[serde(skip)]
    keys_proven_age_secs: Option<u64>,
    #[serde(rename = "clock_skew_seconds")]
    clock_skew_secs: i64,
    #[serde(rename = "rehearsed", serialize_with = "time_or_never")]
    rehearsed_time: i64,
    #[serde(flatten, serialize_with = "proof")]
    proof: ProofSummary,
    chunk_size_bytes: u32,
    pack_size_bytes: u32,
    zstd_level: i8,
    #[serde(rename = "volumes")]
    volume_count: u64,
    #[serde(rename = "packs")]
    pack_count: u64,
    stored_bytes: u64,
    hold_off_runs: u32,
    hold_off_secs: u64,
    minimum_age_secs: u64,
}

/// What is known of a store.
#[derive(Serialize)]
pub(super) struct AbilitiesRow {
    create_only: Option<&'static str>,
    durability: Option<&'static str>,
}

impl AbilitiesRow {
    /// The words of what is known.
    pub(super) fn of(abilities: Abilities) -> Self {
        Self {
            create_only: abilities.create_only.map(CreateOnly::key),
            durability: abilities.durability.map(Durability::key),
        }
    }
}

/// The object locks of an archive.
#[derive(Serialize)]
struct LockRow {
    period_days: u16,
    #[serde(serialize_with = "time_if_any")]
    ends: Option<i64>,
    unknown_objects: u64,
    ends_soon: bool,
}

/// A copy of an archive.
#[derive(Serialize)]
struct CopyRow<'a> {
    store: &'a str,
    via: &'a str,
    generation: u64,
    behind: u64,
    #[serde(serialize_with = "time_or_never")]
    copied: i64,
    proven_share: Option<f64>,
}

#[derive(Serialize)]
#[serde(remote = "ArchiveAges")]
struct AgesFields {
    #[serde(rename = "last_backup", serialize_with = "time_or_never")]
    last_backup_time: i64,
    #[serde(rename = "last_backup_age_seconds")]
    backup_secs: Option<u64>,
    #[serde(rename = "last_verify", serialize_with = "time_or_never")]
    last_verify_time: i64,
    #[serde(rename = "last_verify_age_seconds")]
    verify_secs: Option<u64>,
    #[serde(rename = "key_proof_age_seconds")]
    key_proof_secs: Option<u64>,
    #[serde(rename = "last_prune_age_seconds")]
    prune_secs: Option<u64>,
    #[serde(rename = "last_rehearsal_age_seconds")]
    rehearsal_secs: Option<u64>,
    store_free_bytes: Option<u64>,
    #[serde(rename = "store_free_noted", serialize_with = "time_or_never")]
    store_free_time: i64,
    state_free_bytes: Option<u64>,
    #[serde(rename = "sessions")]
    session_count: u64,
}

/// A day of an archive.
#[derive(Serialize)]
pub(super) struct DayRow {
    day: String,
    added_bytes: u64,
    /// `None`: not noted.
    sessions: Option<u64>,
    stored_bytes: Option<u64>,
    waiting_bytes: Option<u64>,
    damaged_sessions: Option<u64>,
}

impl DayRow {
    /// The row of a day.
    pub(super) fn of(day: &DayLine) -> Self {
        Self {
            day: day_name(day.time),
            added_bytes: day.added_bytes,
            sessions: day.state.map(|state| state.sessions),
            stored_bytes: day.state.map(|state| state.stored_bytes),
            waiting_bytes: day.state.map(|state| state.waiting_bytes),
            damaged_sessions: day.state.map(|state| state.damaged_sessions),
        }
    }
}

/// When the last successes of an archive were.
#[derive(Serialize)]
pub(super) struct AgesRow(#[serde(with = "AgesFields")] pub(super) ArchiveAges);

#[derive(Serialize)]
#[serde(remote = "SessionLine")]
struct SessionFields {
    #[serde(serialize_with = "time")]
    session: i64,
    /// A list that is the same each time does not have it.
    #[serde(skip)]
    age_secs: Option<u64>,
    generation: u64,
    tags: Vec<String>,
    size_bytes: u64,
    added_bytes: u64,
    live: bool,
    pinned: bool,
    damaged: bool,
    acknowledged: bool,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "session_sizes"
    )]
    sizes: Option<SessionSizes>,
}

#[derive(Serialize)]
struct SessionSizesRow {
    data_bytes: u64,
    stored_bytes: u64,
    unique_bytes: u64,
    shared_bytes: u64,
}

fn session_sizes<S: Serializer>(sizes: &Option<SessionSizes>, to: S) -> Result<S::Ok, S::Error> {
    sizes
        .map(|sizes| SessionSizesRow {
            data_bytes: sizes.data_bytes,
            stored_bytes: sizes.stored_bytes,
            unique_bytes: sizes.unique_bytes,
            shared_bytes: sizes.stored_bytes.saturating_sub(sizes.unique_bytes),
        })
        .serialize(to)
}

/// What the sessions of a volume need in the store.
#[derive(Serialize)]
pub(super) struct VolumeSizesRow {
    stored_bytes: u64,
    unique_bytes: u64,
}

impl VolumeSizesRow {
    pub(super) fn of(sizes: VolumeSizes) -> Self {
        Self {
            stored_bytes: sizes.stored_bytes,
            unique_bytes: sizes.unique_bytes,
        }
    }
}

#[derive(Serialize)]
#[serde(remote = "SpaceReport")]
struct SpaceFields {
    stored_bytes: u64,
    shared_bytes: u64,
    metadata_bytes: u64,
    dead_bytes: u64,
    filler_bytes: u64,
    waiting_bytes: u64,
    waiting_packs: u64,
    lost_bytes: u64,
    lost_packs: u64,
}

/// What the packs of an archive hold.
#[derive(Serialize)]
pub(super) struct SpaceRow(#[serde(with = "SpaceFields")] pub(super) SpaceReport);

/// A session of a volume.
#[derive(Serialize)]
pub(super) struct SessionRow(#[serde(with = "SessionFields")] pub(super) SessionLine);

#[derive(Serialize)]
#[serde(remote = "VolumeReport")]
struct BackedUpFields {
    name: String,
    #[serde(serialize_with = "time_if_any")]
    session: Option<i64>,
    #[serde(serialize_with = "method")]
    method: Method,
    snapshot: bool,
    #[serde(serialize_with = "whole")]
    whole: Option<WholeCause>,
    mounted_at: Option<String>,
    read_bytes: u64,
    sampled_bytes: u64,
    changed_bytes: u64,
    sent_bytes: u64,
    #[serde(rename = "cpu_seconds", serialize_with = "seconds")]
    cpu_micros: u64,
}

/// Something that is not in a backup although something asked for it.
#[derive(Serialize)]
pub(super) struct LeftOutRow {
    what: String,
    why: &'static str,
}

impl LeftOutRow {
    pub(super) fn of(left_out: &LeftOut) -> Self {
        Self {
            what: left_out.what.clone(),
            why: left_out.why.code(),
        }
    }
}

/// A qube of a restore.
#[derive(Serialize)]
pub(super) struct QubeRow {
    qube: String,
    name: String,
    deed: &'static str,
    made: bool,
    unset: Vec<String>,
}

impl QubeRow {
    pub(super) fn of(qube: &RestoredQube) -> Self {
        Self {
            qube: qube.qube.clone(),
            name: qube.name.clone(),
            deed: qube.deed.code(),
            made: qube.uuid.is_some(),
            unset: qube.unset.clone(),
        }
    }
}

/// A volume that was backed up.
#[derive(Serialize)]
pub(super) struct BackedUpRow(#[serde(with = "BackedUpFields")] pub(super) VolumeReport);

#[derive(Serialize)]
#[serde(remote = "MonitorReport")]
struct MonitoredFields {
    name: String,
    #[serde(serialize_with = "method")]
    method: Method,
    #[serde(serialize_with = "whole")]
    whole: Option<WholeCause>,
    changed_bytes: u64,
}

/// A volume that `monitor` looked at.
#[derive(Serialize)]
pub(super) struct MonitoredRow(#[serde(with = "MonitoredFields")] pub(super) MonitorReport);

/// A volume that was restored, or would be restored.
#[derive(Serialize)]
#[serde(remote = "RestoreReport")]
pub(super) struct RestoredFields {
    name: String,
    #[serde(serialize_with = "time")]
    session: i64,
    #[serde(rename = "target")]
    path: String,
    written_bytes: u64,
    fetched_bytes: u64,
    damaged_bytes: u64,
    unread_bytes: u64,
    lost_bytes: u64,
}

#[derive(Serialize)]
#[serde(remote = "DiffReport")]
struct ComparedFields {
    #[serde(rename = "volume")]
    name: String,
    #[serde(serialize_with = "time")]
    session: i64,
    #[serde(serialize_with = "time_if_any")]
    with: Option<i64>,
    size_bytes: u64,
    with_size_bytes: u64,
    differing_bytes: u64,
    read_bytes: u64,
    damaged_bytes: u64,
}

/// The totals of a comparison.
#[derive(Serialize)]
pub(super) struct ComparedRow(#[serde(with = "ComparedFields")] pub(super) DiffReport);

#[derive(Serialize)]
#[serde(remote = "VerifyReport")]
struct VerifiedFields {
    objects_checked: u64,
    foreign_objects: u64,
    listed_whole: bool,
    acknowledged: u64,
    read_bytes: u64,
}

/// The totals of a verify.
#[derive(Serialize)]
pub(super) struct VerifiedRow(#[serde(with = "VerifiedFields")] pub(super) VerifyReport);

#[derive(Serialize)]
#[serde(remote = "Problem")]
struct ProblemFields {
    object: String,
    #[serde(serialize_with = "class")]
    class: ObjectClass,
    problem: String,
    volumes: Vec<String>,
    acknowledged: bool,
}

/// A problem.
#[derive(Serialize)]
pub(super) struct ProblemRow(#[serde(with = "ProblemFields")] pub(super) Problem);

#[derive(Serialize)]
#[serde(remote = "KeySlot")]
struct SlotFields {
    number: u8,
    #[serde(serialize_with = "slot_kind")]
    kind: SlotKind,
    memory_kib: u32,
    passes: u32,
    #[serde(rename = "made", serialize_with = "time")]
    made_time: i64,
    label: String,
    opens: bool,
    #[serde(rename = "opened", serialize_with = "time_or_never")]
    opened_time: i64,
}

/// A key slot.
#[derive(Serialize)]
pub(super) struct SlotRow(#[serde(with = "SlotFields")] pub(super) KeySlot);

#[derive(Serialize)]
#[serde(remote = "RecoverySheet")]
struct SheetFields {
    id: String,
    #[serde(rename = "store")]
    store_url: String,
    epoch: u32,
    generation: u64,
    #[serde(rename = "committed", serialize_with = "time")]
    committed_time: i64,
    code: String,
}

/// A recovery sheet.
#[derive(Serialize)]
pub(super) struct SheetRow(#[serde(with = "SheetFields")] pub(super) RecoverySheet);

#[derive(Serialize)]
#[serde(remote = "Unenforced")]
struct UnenforcedFields {
    role: String,
    protection: String,
    reason: String,
}

/// A protection that is not enforced.
#[derive(Serialize)]
pub(super) struct UnenforcedRow(#[serde(with = "UnenforcedFields")] pub(super) Unenforced);

/// A base snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotLine {
    /// The archive's name; `None` if this machine does not know the archive.
    pub(crate) archive: Option<String>,
    /// The archive's id; `None` if it is unfinished.
    #[serde(serialize_with = "id_if_any")]
    pub(crate) archive_id: Option<[u8; 16]>,
    /// The volume's name, if it is known.
    pub(crate) volume: Option<String>,
    /// The session of which it is the state; `None` if its folder cannot be read.
    #[serde(serialize_with = "time_if_any")]
    pub(crate) session: Option<i64>,
    /// The folder that holds it.
    #[serde(serialize_with = "path")]
    pub(crate) folder: PathBuf,
    /// `GROUP/VOLUME`, if it is a logical volume; `POOL/DATASET@SNAPSHOT`, if it is one of ZFS.
    pub(crate) logical_volume: Option<String>,
    /// Bytes that its pool holds for it, shared ones included, if LVM says so.
    pub(crate) mapped_bytes: Option<u64>,
    /// Bytes that its pool gets back when it is removed, if ZFS says so.
    pub(crate) exclusive_bytes: Option<u64>,
    /// Why it is unused; `None` if it is in use.
    pub(crate) left_over: Option<&'static str>,
    /// It was removed.
    pub(crate) removed: bool,
}

/// A range of bytes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Range {
    offset_bytes: u64,
    length_bytes: u64,
}

impl Range {
    /// The range from an offset to an exclusive end.
    pub(super) fn of((begin, end): &(u64, u64)) -> Self {
        Self {
            offset_bytes: *begin,
            length_bytes: end.saturating_sub(*begin),
        }
    }
}

/// A profile of the configuration.
#[derive(Serialize)]
pub(super) struct ProfileRow {
    name: String,
    archive: String,
    archives: Vec<String>,
    volumes: Vec<String>,
    qubes: Vec<String>,
    exclude: Vec<String>,
    dom0: bool,
    dom0_paths: Vec<PathBuf>,
    live: bool,
    skip_unchanged: bool,
    verify: bool,
    backup_overdue_secs: u64,
    verify_overdue_secs: Option<u64>,
    verify_budget_bytes: Option<u64>,
    scratch: Option<PathBuf>,
    max_new_bytes: Option<u64>,
    prune_after_backup: bool,
}

impl ProfileRow {
    /// The profile `name`.
    pub(super) fn of(name: &str, profile: &Profile) -> Self {
        Self {
            name: name.to_owned(),
            archive: profile.archives.first().cloned().unwrap_or_default(),
            archives: profile.archives.clone(),
            volumes: profile.volumes.clone(),
            qubes: profile.qubes.qubes.clone(),
            exclude: profile.qubes.exclude.clone(),
            dom0: profile.dom0,
            dom0_paths: profile.dom0_paths.clone(),
            live: profile.live,
            skip_unchanged: profile.skip_unchanged,
            verify: profile.verify,
            backup_overdue_secs: profile.backup_overdue_secs,
            verify_overdue_secs: profile.verify_overdue_secs,
            verify_budget_bytes: profile.verify_budget_bytes,
            scratch: profile.scratch.clone(),
            max_new_bytes: profile.max_new_bytes,
            prune_after_backup: profile.prune_after_backup,
        }
    }
}

/// How much of an archive is proven.
#[derive(Serialize)]
struct ProofRow {
    proven_share: Option<f64>,
    proven_by_pusher_share: Option<f64>,
    #[serde(rename = "oldest_unproven")]
    oldest_unproven_secs: Option<u64>,
}

/// The name of a method, in JSON and for users.
pub(super) fn method_name(method: Method) -> &'static str {
    match method {
        Method::FullScan => "full-scan",
        Method::Fiemap => "fiemap",
        Method::BtrfsSearch => "btrfs-search",
        Method::ThinDelta => "thin-delta",
        Method::ZfsWritten => "zfs-written",
    }
}

fn time<S: Serializer>(time: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&session_name(*time))
}

fn time_if_any<S: Serializer>(time: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
    time.map(session_name).serialize(to)
}

/// A time of which 0 stands for never.
fn time_or_never<S: Serializer>(time: &i64, to: S) -> Result<S::Ok, S::Error> {
    time_if_any(&Some(*time).filter(|time| *time > 0), to)
}

fn seconds<S: Serializer>(micros: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(std::time::Duration::from_micros(*micros).as_secs_f64())
}

fn proof<S: Serializer>(proof: &ProofSummary, to: S) -> Result<S::Ok, S::Error> {
    ProofRow {
        proven_share: share(proof.proven_bytes, proof.total_bytes),
        proven_by_pusher_share: share(proof.by_pusher_bytes, proof.total_bytes),
        oldest_unproven_secs: proof.oldest_unproven_secs,
    }
    .serialize(to)
}

fn abilities<S: Serializer>(abilities: &Abilities, to: S) -> Result<S::Ok, S::Error> {
    AbilitiesRow::of(*abilities).serialize(to)
}

fn lock<S: Serializer>(lock: &Option<LockSummary>, to: S) -> Result<S::Ok, S::Error> {
    let row = lock.map(|lock| LockRow {
        period_days: lock.period_days,
        ends: lock.end_time,
        unknown_objects: lock.unknown_count,
        ends_soon: lock.ends_soon,
    });
    row.serialize(to)
}

fn copies<S: Serializer>(copies: &[CopyLine], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(copies.iter().map(|copy| CopyRow {
        store: &copy.store_url,
        via: &copy.via,
        generation: copy.generation,
        behind: copy.behind,
        copied: copy.copied_time,
        proven_share: share(copy.proven_bytes, copy.total_bytes),
    }))
}

/// A part of a whole, rounded down to 0.0001, so that 1 is the whole; `None` of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    let parts = u128::from(part)
        .saturating_mul(10_000)
        .checked_div(whole.into())?;
    Some(f64::from(u32::try_from(parts).ok()?) / 10_000.0)
}

fn method<S: Serializer>(method: &Method, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(method_name(*method))
}

fn class<S: Serializer>(class: &ObjectClass, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(class.word())
}

fn slot_kind<S: Serializer>(kind: &SlotKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match kind {
        SlotKind::Passphrase => "passphrase",
        SlotKind::RecoveryKey => "recovery-key",
        SlotKind::Token => "hardware-token",
    })
}

/// Why a volume was read whole: what happened, and what to do next.
fn whole<S: Serializer>(cause: &Option<WholeCause>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row {
        code: &'static str,
        text: &'static str,
        next: &'static str,
    }
    cause
        .map(|cause| Row {
            code: cause.code(),
            text: cause.what(),
            next: cause.next(),
        })
        .serialize(to)
}

fn id_if_any<S: Serializer>(id: &Option<[u8; 16]>, to: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(|id| hex(id)).serialize(to)
}

/// A path as text; bytes that are not UTF-8 become replacement characters.
fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}
