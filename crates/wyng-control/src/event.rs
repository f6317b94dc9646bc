// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages from the daemon to its client: questions, progress, results, and the end.
//!
//! Results are streamed, one packet each, so that no message grows with the archive.

use bincode::{Decode, Encode};

use crate::base::{BaseLabel, BaseOf};
use crate::failure::{ExitStatus, Failure, ObjectClass};
use crate::machine::MachineFact;
use crate::qube::LeftOut;
use crate::restoring::RestoredQube;
use crate::thin::{ThinPool, ThinRemoval, ThinUnlisted, ThinVolume, ThinWaste, WholeCause};
use crate::trial::{Abilities, StoreChecked};
use crate::warning::Warning;

/// From the daemon to `wyng-ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToClient {
    /// First of all: the daemon's version of the conversation.
    Hello {
        /// See [`CONTROL_VERSION`](crate::CONTROL_VERSION).
        version: u32,
    },
    /// The command waits for others.
    Queued {
        /// The number of commands before it, the running one included.
        before: u32,
    },
    /// The command gave up its turn while it waited for a passphrase, and now starts again. The
    /// client closes what it opened for the command, and is asked for it again.
    Anew,
    /// To a client that watches: this command runs now; its progress follows.
    Running {
        /// The command's words, such as `archive list`.
        command: String,
        /// The archive that the command names.
        archive: Option<String>,
        /// The number of commands that wait.
        queued: u32,
    },
    /// To a client that watches: a command that it has heard of has ended.
    Ended(EndedCommand),
    /// The client must open this with the caller's rights and send it with
    /// [`ToDaemon::Given`](crate::ToDaemon::Given).
    Want {
        /// The number of the question, which the answer repeats.
        item: u32,
        /// What must be opened.
        wanted: Wanted,
    },
    /// The target is complete and synced. The client must give it its name, and answer with
    /// [`Given::Done`](crate::Given::Done).
    Place {
        /// The number of the question for the target.
        item: u32,
    },
    /// The session is committed. The client must give the clone of its source its name as a base
    /// snapshot, and answer with [`Given::Done`](crate::Given::Done).
    Keep {
        /// The number of the question for the source.
        item: u32,
        /// The session of which it is the state.
        label: BaseLabel,
    },
    /// The clone of a source is not needed.
    Forget {
        /// The number of the question for the source.
        item: u32,
    },
    /// The progress of the job.
    Progress(Progress),
    /// The name of an archive, for a command that asks for names alone.
    ArchiveName {
        /// The archive's name on this machine.
        name: String,
    },
    /// `archive list`, `archive show`, `archive create`, `archive open`.
    Archive(Box<ArchiveSummary>),
    /// `status`: the ages of the last archive.
    Ages(ArchiveAges),
    /// `list`: a volume; its sessions follow, oldest first. `volume rename`, `volume describe`,
    /// `tag`: the volume as it is now.
    Volume(VolumeLine),
    /// `list`: a session of the last volume. `tag`: the session as it is now.
    Session(SessionLine),
    /// `why`: the contents of the packs, after the volumes and sessions.
    Space(SpaceReport),
    /// `history`: one day, oldest first.
    Day(DayLine),
    /// `backup`: a qube, or a volume of one, that is not taken.
    LeftOut(LeftOut),
    /// `backup`: one volume's session is committed.
    BackedUp(VolumeReport),
    /// `monitor`: one volume was looked at.
    Monitored(MonitorReport),
    /// `restore`, `diff`: the base snapshot that was sent for this question does not match its
    /// label. The client must remove it, and answer with [`Given::Done`](crate::Given::Done).
    DropBase {
        /// The number of the question for the target or source.
        item: u32,
    },
    /// `rehearse`: this session is being restored to scratch.
    Rehearsing {
        /// The volume's name.
        volume: String,
        /// The time that names the session, seconds since 1970 UTC.
        session: i64,
    },
    /// `restore`, `rehearse`: one volume is complete.
    Restored(RestoreReport),
    /// `restore` of qubes: lines of the plan, in their order, at most 16 KiB in one message.
    QubePlan(Vec<String>),
    /// `restore` of qubes: what became of one.
    QubeRestored(RestoredQube),
    /// `restore --around-damage`: ranges of lost bytes, which are zeros in the target,
    /// `(begin, end)` in bytes, ascending; at most 1000.
    Lost {
        /// The volume's name.
        volume: String,
        /// The ranges.
        ranges: Vec<(u64, u64)>,
    },
    /// `diff`: ranges of bytes that differ, `(begin, end)`, ascending; at most 1000.
    Differences(Vec<(u64, u64)>),
    /// `diff`: the totals, after all ranges.
    Compared(DiffReport),
    /// `prune`, `session remove`, `volume remove`, `pin`, `unpin`: the fate of one session, oldest
    /// first in each volume. Sent once it is committed, or at once by a dry run.
    Judged(JudgedSession),
    /// `prune`, `session remove`, `volume remove`: the totals.
    Pruned(PruneReport),
    /// `prune`: what was deleted of the packs that waited, if anything was.
    Deleted(DeletedReport),
    /// `verify`: a problem.
    Problem(Problem),
    /// `status`, `archive acknowledge`: damage that a user has acknowledged.
    Acknowledged {
        /// `VOLUME SESSION`, `commit GENERATION` or `slot NUMBER`.
        what: String,
    },
    /// `verify`: the totals.
    Verified(VerifyReport),
    /// `compact`: the totals.
    Compacted(CompactReport),
    /// `compact`, `status`: packs of the last archive that wait for their deletion, by what they
    /// wait for.
    Waits(Waits),
    /// `archive copy`: the totals.
    Copied(CopyReport),
    /// `undelete`: the session is back.
    Undeleted(UndeleteReport),
    /// `key list`, `add`, `change`, `remove`: one slot. `key check`: the slot that opened.
    KeySlot(KeySlot),
    /// `unlock`: the daemon keeps the key until this time.
    Unlocked {
        /// Seconds since 1970 UTC.
        until: i64,
    },
    /// `status`, `snapshots`, `archive forget`: an archive that this machine knows. The places of
    /// its volumes follow.
    SnapshotsOf {
        /// The archive's name on this machine.
        archive: String,
        /// The archive's id.
        id: [u8; 16],
        /// All of its volumes follow. Otherwise the archive could not be opened, and only the
        /// volumes that this machine remembers follow.
        complete: bool,
    },
    /// The place of a volume of the last archive, and of its base snapshot.
    SnapshotOf(VolumePlace),
    /// A thin pool with at least one of the volumes that follow.
    ThinPool(ThinPool),
    /// A volume that the daemon made in a thin pool.
    ThinVolume(ThinVolume),
    /// Nothing is reported of thin pools.
    ThinUnlisted(ThinUnlisted),
    /// What became of something that was to be removed from a thin pool.
    ThinRemoved {
        /// What was to be removed.
        waste: ThinWaste,
        /// What became of it.
        removal: ThinRemoval,
    },
    /// `qubes check`: a service of a far end answered.
    Reached {
        /// The far end.
        via: String,
        /// The name of the service.
        service: String,
    },
    /// `qubes check`: something that whole qubes depend on.
    Machine(MachineFact),
    /// `store check`.
    StoreChecked(StoreChecked),
    /// `recovery-sheet`.
    RecoverySheet(RecoverySheet),
    /// `status`: a protection of a role that the system does not support.
    Unenforced(Unenforced),
    /// A warning.
    Warned(Warning),
    /// A failure; the job may continue with other volumes.
    Failed(Failure),
    /// The job's totals, sent once before [`ToClient::Done`].
    Totals {
        /// Bytes sent to the store.
        sent_bytes: u64,
        /// Upper bound of the memory used, bytes: the sum of the peaks of resident memory of all
        /// roles and the far end, and of the peak of memory files between them. The peaks may be
        /// of different times, and shared pages count in each.
        peak_rss_bytes: u64,
    },
    /// The end of the job and of the conversation.
    Done {
        /// The exit status of the command.
        exit: ExitStatus,
    },
}

/// What only the client may open.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// The source of a volume, for reading: a regular file or a block device. The number is the
    /// index in the command's list.
    Source {
        /// The volume's name.
        volume: String,
        /// The volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// The path from which it was backed up, if the command does not name it.
        origin: Option<Vec<u8>>,
    },
    /// A look at the place of a target, before a passphrase is asked for and anything is fetched.
    TargetLook {
        /// The volume's name.
        volume: String,
        /// The time that names the session to restore, seconds since 1970 UTC.
        session: i64,
        /// The size of the target, bytes.
        size_bytes: u64,
        /// The volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// The path from which the volume was backed up.
        origin: Option<Vec<u8>>,
    },
    /// The target: a new, empty file, a pipe, or a file or device that is changed in place.
    Target {
        /// The volume's name.
        volume: String,
        /// The size of the target, bytes.
        size_bytes: u64,
        /// The volume whose base snapshot is looked for, if a file or device is there.
        base_of: BaseOf,
        /// The target is changed in place.
        in_place: bool,
        /// The path from which the volume was backed up.
        origin: Option<Vec<u8>>,
    },
    /// A person's confirmation of the plan that was sent; the answer is
    /// [`Given::Done`](crate::Given::Done).
    Confirmation,
    /// The write end of a pipe into which the daemon writes a recovery key, which is shown to the
    /// user once.
    Secret,
    /// The read end of a pipe into which the client writes the passphrase without a final newline,
    /// and which it then closes.
    Passphrase {
        /// Which passphrase.
        asked: Asked,
    },
}

/// Which passphrase, or other secret of the client, a command requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Asked {
    /// A passphrase that opens the archive.
    Known,
    /// The same after a wrong one. Only a user at a terminal has another;
    /// [`NoPipe`](crate::Given::NoPipe) means that the first one stands.
    Again,
    /// A new passphrase of the archive, which a user types twice.
    New,
    /// No passphrase: the store's credentials, at most 8 KiB of text.
    StoreCredentials,
}

/// The present step of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// Deriving a key from the passphrase.
    Unlocking,
    /// Reading a source.
    Reading,
    /// Waiting until everything sent is durable.
    Committing,
    /// Reading the catalog.
    Loading,
    /// Writing a target.
    Restoring,
    /// Reading a target back.
    ReadingBack,
    /// Reading the store.
    Verifying,
    /// Sending blobs from one store to another.
    Copying,
}

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The present step.
    pub phase: Phase,
    /// The volume that the step is about, if it is about one.
    pub volume: Option<String>,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in total.
    pub total_bytes: u64,
    /// Bytes sent so far.
    pub sent_bytes: u64,
}

/// How a command ended, for clients that watch. They may list the archive and follow the progress
/// anyway; what failed, and why, is reported to the command's own client alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EndedCommand {
    /// The command's words, such as `archive copy`.
    pub command: String,
    /// The archive that the command names, at most
    /// [`ARCHIVE_NAME_MAX_BYTES`](crate::ARCHIVE_NAME_MAX_BYTES).
    pub archive: Option<String>,
    /// Its exit status.
    pub exit: ExitStatus,
    /// Number of volumes that were backed up or restored.
    pub volumes: u32,
    /// Number of failures.
    pub failures: u32,
    /// Bytes sent to the store.
    pub sent_bytes: u64,
}

/// An archive as this machine knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ArchiveSummary {
    /// The local name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub id: String,
    /// Where the store is, without credentials.
    pub store_url: String,
    /// The far end.
    pub via: String,
    /// The far end through which what was pushed is checked, if it is another one.
    pub verify_via: Option<String>,
    /// What is known of its store.
    pub abilities: Abilities,
    /// What is known of the locks of its store; `None`: its address has no lock.
    pub lock: Option<LockSummary>,
    /// Its copies that this machine has made, by address.
    pub copies: Vec<CopyLine>,
    /// Generation of the newest commit that this machine knows; 0 if it knows none.
    pub generation: u64,
    /// Time of that commit, seconds since 1970 UTC.
    pub committed_time: i64,
    /// When the session keys were last all derived and compared, seconds since 1970 UTC; 0: never.
    pub keys_proven_time: i64,
    /// The time since then, seconds, by the clock that says more; `None`: never, or at a time ahead
    /// of now.
    pub keys_proven_age_secs: Option<u64>,
    /// Earliest of the times at which each pack was last read and found intact, seconds since 1970
    /// UTC; 0 before the first verify.
    pub verified_time: i64,
    /// The greatest time since a pack was last read and found intact, seconds, by the clock that
    /// says more; `None`: never, or at a time ahead of now.
    pub verified_age_secs: Option<u64>,
    /// Difference between this machine's wall clock and the kernel's count since a person last
    /// accepted it, seconds; positive if the wall clock is ahead.
    pub clock_skew_secs: i64,
    /// Time of the last rehearsal that restored a session and found it intact, seconds since 1970
    /// UTC; 0 if there was none.
    pub rehearsed_time: i64,
    /// Proven share of the archive.
    pub proof: ProofSummary,
    /// Size of a chunk, bytes.
    pub chunk_size_bytes: u32,
    /// Size of a pack, bytes.
    pub pack_size_bytes: u32,
    /// Compression level of zstd.
    pub zstd_level: i8,
    /// Number of volumes in the archive.
    pub volume_count: u64,
    /// Number of packs in the archive.
    pub pack_count: u64,
    /// Size of the archive in the store, bytes.
    pub stored_bytes: u64,
    /// Hold-off, committed runs.
    pub hold_off_runs: u32,
    /// Hold-off, seconds.
    pub hold_off_secs: u64,
    /// Minimum age of a session that a prune removes, seconds.
    pub minimum_age_secs: u64,
}

/// The object locks of what an archive needs, as far as this machine has set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct LockSummary {
    /// For how many days the store's address says that everything is locked.
    pub period_days: u16,
    /// When the first of the known locks ends, seconds since 1970 UTC; `None`: none is known.
    pub end_time: Option<i64>,
    /// Number of packs, slots and commits whose lock this machine does not know: an earlier version
    /// or another machine stored them.
    pub unknown_count: u64,
    /// The first of the known locks ends within a quarter of the period, by the clock that says
    /// less.
    pub ends_soon: bool,
}

/// A copy of an archive, as this machine knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CopyLine {
    /// Its address, without credentials.
    pub store_url: String,
    /// The far end.
    pub via: String,
    /// The newest generation of which the copy is whole and was read back; 0: none.
    pub generation: u64,
    /// Number of commits of the archive that it does not have.
    pub behind: u64,
    /// When that generation was reached, seconds since 1970 UTC; 0: never.
    pub copied_time: i64,
    /// Length of the packs of the archive that were read back from the copy, bytes.
    pub proven_bytes: u64,
    /// Length of all packs that the archive needs, bytes.
    pub total_bytes: u64,
}

/// Proven share of an archive: packs that were read back whole and intact, at least a day after
/// their push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ProofSummary {
    /// Length of the proven packs, bytes.
    pub proven_bytes: u64,
    /// Length of those among them that only the VM that pushed them has read back, bytes.
    pub by_pusher_bytes: u64,
    /// Length of all packs that the archive needs, bytes.
    pub total_bytes: u64,
    /// Age of the oldest pack that is not proven, since its push, seconds; `None` if all are
    /// proven, or if that age is not known.
    pub oldest_unproven_secs: Option<u64>,
}

/// Times and ages of the last successes of an archive. An age is in seconds; `None`: never, or at a
/// time ahead of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ArchiveAges {
    /// Time that names the newest session of any volume, seconds since 1970 UTC; 0 if there is
    /// none.
    pub last_backup_time: i64,
    /// The age of that session.
    pub backup_secs: Option<u64>,
    /// Time since which every pack was read and found intact, seconds since 1970 UTC; 0 before the
    /// first verify.
    pub last_verify_time: i64,
    /// The age of that time.
    pub verify_secs: Option<u64>,
    /// The age of the newest commit whose session keys were all derived and compared.
    pub key_proof_secs: Option<u64>,
    /// The time since the last prune by rules of every volume that has rules.
    pub prune_secs: Option<u64>,
    /// The time since the last rehearsal that restored a session and found it intact.
    pub rehearsal_secs: Option<u64>,
    /// Free space that the far end stated when it last opened the store, bytes; `None`: not known.
    pub store_free_bytes: Option<u64>,
    /// When it stated that, seconds since 1970 UTC; 0: never.
    pub store_free_time: i64,
    /// Free space of the file system of the state directory, bytes; `None`: not known.
    pub state_free_bytes: Option<u64>,
    /// Number of sessions of all volumes.
    pub session_count: u64,
}

/// A volume in a list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumeLine {
    /// The volume's name.
    pub name: String,
    /// Size of its newest session, bytes.
    pub size_bytes: u64,
    /// The user's description; may be empty.
    pub description: String,
    /// Bytes that its sessions need in the store; only with `list --sizes` and `why`.
    pub sizes: Option<VolumeSizes>,
}

/// Bytes that the sessions of a volume need in the store together: records of chunks and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct VolumeSizes {
    /// Bytes of the records that they reach, each counted once.
    pub stored_bytes: u64,
    /// Bytes of the records that no session of another volume reaches.
    pub unique_bytes: u64,
}

/// Bytes that a session needs in the store: records of chunks and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionSizes {
    /// Bytes of the volume that are not holes, before compression.
    pub data_bytes: u64,
    /// Bytes of the records that it reaches, each counted once.
    pub stored_bytes: u64,
    /// Bytes of the records that no other session reaches: its removal would free them.
    pub unique_bytes: u64,
}

/// Contents of the packs of an archive. The parts, with the `unique_bytes` of all volumes, add up
/// to `stored_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct SpaceReport {
    /// Length of all packs, bytes.
    pub stored_bytes: u64,
    /// Records that sessions of several volumes reach, bytes.
    pub shared_bytes: u64,
    /// Nodes of the tables, and directories of packs, bytes.
    pub metadata_bytes: u64,
    /// Records in live packs that nothing reaches, bytes.
    pub dead_bytes: u64,
    /// Random bytes that hide the length of what was packed.
    pub filler_bytes: u64,
    /// Packs that were given up and wait for their deletion, bytes.
    pub waiting_bytes: u64,
    /// Number of these packs.
    pub waiting_packs: u64,
    /// Packs that are missing or damaged, bytes.
    pub lost_bytes: u64,
    /// Number of these packs.
    pub lost_packs: u64,
}

/// A day of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DayLine {
    /// Its first second, seconds since 1970 UTC.
    pub time: i64,
    /// Bytes that the sessions of this day added to the store; where the day was noted, removed
    /// sessions included.
    pub added_bytes: u64,
    /// State of the archive at the end of the day's last command; `None` if it was not noted.
    pub state: Option<DayState>,
}

/// State of an archive on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct DayState {
    /// Number of sessions of all volumes.
    pub sessions: u64,
    /// Size of the archive in the store, bytes.
    pub stored_bytes: u64,
    /// Size of the packs that wait for their deletion, bytes.
    pub waiting_bytes: u64,
    /// Number of sessions that are known to be damaged, acknowledged ones included.
    pub damaged_sessions: u64,
}

/// The places of a volume and of its base snapshot, as far as this machine remembers them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumePlace {
    /// The volume's name.
    pub volume: String,
    /// The volume's id; `None` if the archive could not be opened.
    pub id: Option<[u8; 16]>,
    /// The path from which it was last backed up; only for root and for the user who named it.
    pub path: Option<Vec<u8>>,
    /// The last known folder of its base snapshot.
    pub folder: Option<Vec<u8>>,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionLine {
    /// The time that names it, seconds since 1970 UTC.
    pub session: i64,
    /// The time since it was made, seconds, by the clock that says more; `None`: at a time ahead of
    /// now.
    pub age_secs: Option<u64>,
    /// Generation of the commit that added it.
    pub generation: u64,
    /// The session's tags.
    pub tags: Vec<String>,
    /// Size of the volume in this session, bytes.
    pub size_bytes: u64,
    /// Bytes that the session added to the store.
    pub added_bytes: u64,
    /// The volume was in use during the backup.
    pub live: bool,
    /// A person pinned it: no prune removes it.
    pub pinned: bool,
    /// An object that the session needs is missing or damaged in the store, and was not healed.
    pub damaged: bool,
    /// A user has acknowledged that damage.
    pub acknowledged: bool,
    /// Bytes that it needs in the store; only with `list --sizes` and `why`.
    pub sizes: Option<SessionSizes>,
}

/// The method that found the changes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// The whole volume was read.
    FullScan,
    /// The extents of two reflinked files were compared.
    Fiemap,
    /// The tree of btrfs was searched, without regard to generations.
    BtrfsSearch,
    /// The metadata of a thin pool was compared.
    ThinDelta,
    /// ZFS counted no byte that was written between two snapshots.
    ZfsWritten,
}

/// The result of a backup for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumeReport {
    /// The volume's name.
    pub name: String,
    /// The time that names the new session, seconds since 1970 UTC. `None` with `--dry-run`, and
    /// for an unchanged volume with `--skip-unchanged`.
    pub session: Option<i64>,
    /// The method that found the changes.
    pub method: Method,
    /// A snapshot was read. Without one, the session of a volume in use may mix several moments.
    pub snapshot: bool,
    /// Why a volume of a thin pool was read whole, or without a snapshot.
    pub whole: Option<WholeCause>,
    /// The place where the source is mounted, if it is a device that was read without a snapshot.
    pub mounted_at: Option<String>,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes read only to check ranges that were reported as unchanged.
    pub sampled_bytes: u64,
    /// Bytes of the chunks that differ from the last session.
    pub changed_bytes: u64,
    /// Bytes of the records sent for this volume.
    pub sent_bytes: u64,
    /// CPU time of the keyholder for this volume, microseconds.
    pub cpu_micros: u64,
}

/// The result of a restore for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestoreReport {
    /// The number of the question for its target.
    pub item: u32,
    /// The volume's name.
    pub name: String,
    /// The time that names the session, seconds since 1970 UTC.
    pub session: i64,
    /// The path of the target; `-` is standard output.
    pub path: String,
    /// Bytes written to the target; holes are not written.
    pub written_bytes: u64,
    /// Bytes fetched from the store for this volume.
    pub fetched_bytes: u64,
    /// Bytes of the old content that could not be read, or that contradicted the base snapshot, and
    /// that were replaced from the store.
    pub damaged_bytes: u64,
    /// Bytes of the old content that were kept unread, because a base snapshot reports them as
    /// equal.
    pub unread_bytes: u64,
    /// Bytes that are lost, and zeros in the target.
    pub lost_bytes: u64,
}

/// The result of a monitor for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MonitorReport {
    /// The volume's name.
    pub name: String,
    /// The method by which the next backup would find changes; [`Method::FullScan`] if no base
    /// snapshot can be trusted.
    pub method: Method,
    /// Why the next backup reads a volume of a thin pool whole.
    pub whole: Option<WholeCause>,
    /// Bytes that the next backup would read.
    pub changed_bytes: u64,
}

/// The totals of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DiffReport {
    /// The volume's name.
    pub name: String,
    /// The time that names the session, seconds since 1970 UTC.
    pub session: i64,
    /// The session's size, bytes.
    pub size_bytes: u64,
    /// The time that names the other session, seconds since 1970 UTC; `None`: the volume as it is.
    pub with: Option<i64>,
    /// The size of that session or volume, bytes.
    pub with_size_bytes: u64,
    /// Bytes of the chunks that differ, including what only the larger one has.
    pub differing_bytes: u64,
    /// Bytes read of the volume as it is.
    pub read_bytes: u64,
    /// Bytes among the differing ones that the file system reports as not written: the disk returns
    /// other bytes than it was given.
    pub damaged_bytes: u64,
}

/// Decision of a prune, or of a person, about a session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JudgedSession {
    /// The volume's name.
    pub volume: String,
    /// The time that names the session, seconds since 1970 UTC.
    pub session: i64,
    /// Its fate.
    pub fate: SessionFate,
}

/// Fate of a session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SessionFate {
    /// It is kept; a prune names at least one reason.
    Kept(Vec<KeepReason>),
    /// It is removed.
    Removed(RemovedFor),
}

/// Why a prune keeps a session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeepReason {
    /// It is the volume's newest session.
    Newest,
    /// It is the volume's newest sound session.
    NewestSound,
    /// It is damaged, and no person has asked for this prune.
    Damaged,
    /// A person pinned it.
    Pinned,
    /// It is younger than the minimum age.
    Young,
    /// It has this tag.
    Tag(String),
    /// It is within the time that is kept.
    Within,
    /// It is among the newest.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
}

/// Why a session is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RemovedFor {
    /// It is damaged, and no rule counts a damaged session.
    Damaged,
    /// No rule keeps it.
    NoRule,
    /// A person named it.
    Asked {
        /// It is the volume's newest session.
        newest: bool,
        /// No sound session of the volume is left.
        last_sound: bool,
    },
}

/// The totals of a prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PruneReport {
    /// Bytes of the packs that nothing needs any more.
    pub freed_bytes: u64,
    /// Bytes of all packs that wait for their deletion, these included.
    pub waiting_bytes: u64,
    /// Number of parts of the archive that are lost: while it is not 0, nothing is freed, because
    /// the needs of a lost part are not known.
    pub unknown_objects: u64,
    /// Nothing was changed.
    pub dry_run: bool,
}

/// What a prune deleted of the packs that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DeletedReport {
    /// Number of packs.
    pub packs: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

/// One problem that `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Problem {
    /// The object's name in the store, hexadecimal.
    pub object: String,
    /// The kind of the object.
    pub class: ObjectClass,
    /// What is wrong; never a text from the far end.
    pub problem: String,
    /// The sessions that need it, as `VOLUME SESSION`; at most 100.
    pub volumes: Vec<String>,
    /// A user has acknowledged the damage of all of these sessions, so it is not a failure.
    pub acknowledged: bool,
}

/// The totals of a verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct VerifyReport {
    /// Number of objects that were read completely and compared.
    pub objects_checked: u64,
    /// Number of objects in the store that do not belong to the archive.
    pub foreign_objects: u64,
    /// Every part of the store could be listed. Otherwise `foreign_objects` is a lower bound.
    pub listed_whole: bool,
    /// Bytes read.
    pub read_bytes: u64,
    /// Number of problems, except for acknowledged ones.
    pub problems: u64,
    /// Number of acknowledged problems.
    pub acknowledged: u64,
}

/// The totals of a copying.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CopyReport {
    /// The copy's address.
    pub store: String,
    /// The newest generation of which the copy is whole and was read back; 0: none.
    pub generation: u64,
    /// Number of blobs that were sent.
    pub sent_objects: u64,
    /// Their length, bytes.
    pub sent_bytes: u64,
    /// Bytes that were read back.
    pub read_bytes: u64,
    /// Number of blobs that the archive gave up and that were deleted from the copy.
    pub deleted_objects: u64,
    /// Number of such blobs that are still there.
    pub waiting_objects: u64,
    /// The copy's far end or store refuses to delete.
    pub deletes_refused: bool,
    /// Number of problems, in the archive's own store or in the copy.
    pub problems: u64,
}

/// The totals of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct CompactReport {
    /// Number of packs that were rewritten, or in which nothing was alive.
    pub rewritten_packs: u64,
    /// Their length, bytes.
    pub read_bytes: u64,
    /// Length of the records that were moved out of them, bytes.
    pub moved_bytes: u64,
    /// Number of packs that were deleted.
    pub deleted_packs: u64,
    /// Their length, bytes.
    pub freed_bytes: u64,
    /// Number of blobs that were deleted although no commit ever had them.
    pub deleted_orphans: u64,
    /// Length of the packs that wait for their deletion, bytes.
    pub waiting_bytes: u64,
    /// Bytes that were read back before packs were deleted.
    pub proof_bytes: u64,
    /// Number of problems.
    pub problems: u64,
    /// Nothing was rewritten, because metadata is lost and the needed records are not known.
    pub unknown: bool,
}

/// Packs that wait for the same kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Waits {
    /// Their obstacle, with the most runs, time or objects left for any of them.
    pub reason: WaitReason,
    /// Number of packs.
    pub packs: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

/// Obstacle that a pack waits for before it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum WaitReason {
    /// The hold-off.
    HoldOff {
        /// Runs still to be counted.
        runs_left: u64,
        /// Time still to pass, seconds.
        secs_left: u64,
    },
    /// A command that reads with an older state of the archive.
    Reader,
    /// A pack that took over its records is lost.
    HeirLost,
    /// Fetching is refused, so that the store cannot prove its contents.
    FetchRefused,
    /// Another waiting pack names it among its heirs.
    Needed,
    /// Objects that live on must be read back first.
    Proof {
        /// Commits to read.
        commits_left: u64,
        /// Packs to read.
        packs_left: u64,
    },
    /// Deleting is not allowed.
    DeleteRefused,
    /// The store refused to delete.
    StoreRefused {
        /// Time until the next try, seconds.
        secs_left: u64,
    },
}

/// A session that came back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UndeleteReport {
    /// The volume's name now.
    pub volume: String,
    /// The session's time, seconds since 1970 UTC.
    pub session: i64,
    /// Number of packs that became live again.
    pub revived_packs: u64,
    /// Bytes that were read back; `None` if fetching is refused.
    pub read_bytes: Option<u64>,
}

/// The kind of secret that opens a key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase,
    /// A recovery key.
    RecoveryKey,
    /// A hardware token: a kind that this version cannot open.
    Token,
}

/// One key slot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeySlot {
    /// The slot's number.
    pub number: u8,
    /// The kind of secret that opens it.
    pub kind: SlotKind,
    /// Memory of Argon2, KiB; 0 for a kind that this version cannot open.
    pub memory_kib: u32,
    /// Passes of Argon2; 0 for a kind that this version cannot open.
    pub passes: u32,
    /// Time of its creation, seconds since 1970 UTC.
    pub made_time: i64,
    /// The user's label; may be empty.
    pub label: String,
    /// The passphrase of this command opened this slot.
    pub opens: bool,
    /// Time at which it opened the archive, seconds since 1970 UTC, if it was the last slot to do
    /// so on this machine; otherwise 0.
    pub opened_time: i64,
}

/// The sheet that a user keeps on paper.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoverySheet {
    /// The archive's name on this machine.
    pub name: String,
    /// The archive's id, 32 hexadecimal digits.
    pub id: String,
    /// Where the store is, without credentials.
    pub store_url: String,
    /// Epoch of the keys.
    pub epoch: u32,
    /// Generation of the newest commit that this machine knows.
    pub generation: u64,
    /// Time of that commit, seconds since 1970 UTC.
    pub committed_time: i64,
    /// The code for `archive open --expect`.
    pub code: String,
}

/// A protection that is not enforced.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unenforced {
    /// The process that lacks it.
    pub role: String,
    /// The protection.
    pub protection: String,
    /// Why it is not enforced.
    pub reason: String,
}

/// The kind of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TargetKind {
    /// A regular file, which keeps holes.
    File,
    /// A block device, whose size is fixed.
    Device,
    /// A pipe or terminal, written from beginning to end.
    Stream,
}
