// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon tells its client: questions, progress, results line by line, and the end.
//!
//! Results are streamed, one packet each, so that no message grows with the archive.

use bincode::{Decode, Encode};

use crate::command::{BaseLabel, BaseOf};
use crate::failure::{ExitStatus, Failure, ObjectClass};
use crate::warning::Warning;

/// From the daemon to `wyng-ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToClient {
    /// First of all: the daemon's version of the conversation.
    Hello {
        /// See [`CONTROL_VERSION`](crate::CONTROL_VERSION).
        version: u32,
    },
    /// Other commands come first.
    Queued {
        /// How many, the running one included.
        before: u32,
    },
    /// The command gave its turn back while a passphrase was asked for, and begins anew once it has
    /// one: what was opened for it is to be closed, and is asked for again.
    Anew,
    /// To one who watches: this command of somebody runs now; its progress follows.
    Running {
        /// Its words.
        command: String,
        /// The archive that it is about.
        archive: Option<String>,
        /// How many wait for it.
        queued: u32,
    },
    /// Open this with the caller's rights and send it with
    /// [`ToDaemon::Given`](crate::ToDaemon::Given).
    Want {
        /// Names the question in the answer.
        item: u32,
        /// What.
        wanted: Wanted,
    },
    /// The target is complete and synced: give it its name, and say so with
    /// [`Given::Named`](crate::Given::Named).
    Place {
        /// The number under which the target was asked for.
        item: u32,
    },
    /// The session is committed: give the clone of its source its name as a base snapshot, and say
    /// so with [`Given::Named`](crate::Given::Named).
    Keep {
        /// The number under which the source was asked for.
        item: u32,
        /// What it is of.
        label: BaseLabel,
    },
    /// The clone of a source is not needed.
    Forget {
        /// The number under which the source was asked for.
        item: u32,
    },
    /// How far the job is.
    Progress(Progress),
    /// The name of an archive, where no more was asked.
    ArchiveName {
        /// On this machine.
        name: String,
    },
    /// `archive list`, `archive show`, `archive create`, `archive open`.
    Archive(ArchiveSummary),
    /// `list`: a volume; its sessions follow, oldest first.
    Volume(VolumeLine),
    /// `list`: a session of the last volume.
    Session(SessionLine),
    /// `backup`: one volume's session is committed.
    BackedUp(VolumeReport),
    /// `monitor`: one volume was looked at.
    Monitored(MonitorReport),
    /// `restore`, `diff`: the base snapshot that was given for this number says what is not so. It
    /// is to be removed.
    DropBase {
        /// The number under which the target or source was asked for.
        item: u32,
    },
    /// `restore`: one volume is complete.
    Restored(RestoreReport),
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
    /// `diff`: the sums, after all ranges.
    Compared(DiffReport),
    /// `verify`: something is wrong.
    Problem(Problem),
    /// `status`, `archive acknowledge`: damage that a person has seen.
    Acknowledged {
        /// `VOLUME SESSION`, `commit GENERATION` or `slot NUMBER`.
        what: String,
    },
    /// `verify`: the sums.
    Verified(VerifyReport),
    /// `key list`, `add`, `change`, `remove`: one slot. `key check`: the slot that opened.
    KeySlot(KeySlot),
    /// `unlock`: the key is kept until then.
    Unlocked {
        /// Seconds since 1970 UTC.
        until: i64,
    },
    /// `status`, `snapshots`, `archive forget`: an archive that is known here; the places of its
    /// volumes follow.
    SnapshotsOf {
        /// Its name here.
        archive: String,
        /// Its id.
        id: [u8; 16],
        /// All of its volumes follow. Otherwise it could not be opened, and those follow that are
        /// remembered.
        complete: bool,
    },
    /// Where a volume of the last archive is backed up from, and where its base snapshot lies.
    SnapshotOf(VolumePlace),
    /// `qubes check`: a service of a far end has answered.
    Reached {
        /// How it is reached.
        via: String,
        /// The name of its service.
        service: String,
    },
    /// `recovery-sheet`.
    RecoverySheet(RecoverySheet),
    /// `status`: a protection that the system would not let a role have.
    Unenforced(Unenforced),
    /// Something that a person must know although the command is done.
    Warned(Warning),
    /// Something failed; the job may go on with other volumes.
    Failed(Failure),
    /// The job's totals, once, before [`ToClient::Done`].
    Totals {
        /// Bytes sent to the store.
        sent_bytes: u64,
        /// Peaks of resident memory of all roles and of the far end, and the most that was on its
        /// way between them in memory files, summed. Each had its peak at a time of its own, and
        /// pages that they share count in each: it is never less than what was used.
        peak_rss_bytes: u64,
    },
    /// The end of the job and of the conversation.
    Done {
        /// The exit status of the command.
        exit: ExitStatus,
    },
}

/// What only the caller may open.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// The source of a volume, for reading: a regular file or a block device. The number is the
    /// index in the command's list.
    Source {
        /// The volume's name.
        volume: String,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// The path that it was backed up from, if the command itself does not say it.
        origin: Option<Vec<u8>>,
    },
    /// A look at where a target goes, before the passphrase is asked for and anything is fetched.
    TargetLook {
        /// The volume's name.
        volume: String,
        /// The name of the session that is restored, seconds since 1970 UTC.
        session: i64,
        /// How many bytes the target will have.
        size_bytes: u64,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// Where the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// A new, empty file to restore into, or a pipe; or what is changed where it is.
    Target {
        /// The volume's name.
        volume: String,
        /// How many bytes it will have.
        size_bytes: u64,
        /// Whose base snapshot to look for, where something is there.
        base_of: BaseOf,
        /// It is changed where it is.
        in_place: bool,
        /// The path that the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// The write end of a pipe, into which a recovery key is written, once, to be shown to the
    /// person.
    Secret,
    /// The read end of a pipe into which the passphrase is written, without a final newline, and
    /// which is then closed.
    Passphrase {
        /// Which one.
        asked: Asked,
    },
}

/// Which passphrase is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Asked {
    /// One that opens the archive.
    Known,
    /// The same after a wrong one. Only a person has another;
    /// [`NoPipe`](crate::Given::NoPipe) means that the first one counts.
    Again,
    /// One that is to open the archive from now on: a person is asked twice.
    New,
}

/// What the job does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// Deriving a key from the passphrase.
    Unlocking,
    /// Reading a source.
    Reading,
    /// Waiting until what was sent is durable.
    Committing,
    /// Reading the catalog.
    Loading,
    /// Writing a target.
    Restoring,
    /// Reading a target back.
    ReadingBack,
    /// Reading the store.
    Verifying,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// What is done.
    pub phase: Phase,
    /// For which volume, if for one.
    pub volume: Option<String>,
    /// Bytes behind us.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes sent so far.
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
    /// Of the newest commit that this machine knows; 0 if unknown.
    pub generation: u64,
    /// When that commit was made, seconds since 1970 UTC.
    pub committed_time: i64,
    /// All session keys up to this commit's time were derived and compared, seconds since 1970 UTC;
    /// 0: never.
    pub keys_proven_time: i64,
    /// When the pack that was read and found right longest ago was read, seconds since 1970 UTC; 0
    /// before the first verify.
    pub verified_time: i64,
    /// Size of a chunk.
    pub chunk_size_bytes: u32,
    /// Size of a pack.
    pub pack_size_bytes: u32,
    /// zstd's level.
    pub zstd_level: i8,
    /// Volumes in the archive.
    pub volume_count: u64,
    /// Packs in the archive.
    pub pack_count: u64,
    /// Bytes that the archive has in the store.
    pub stored_bytes: u64,
    /// Hold-off in runs.
    pub hold_off_runs: u32,
    /// Hold-off in seconds.
    pub hold_off_secs: u64,
}

/// A volume in a list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumeLine {
    /// Its name.
    pub name: String,
    /// Size of its newest session.
    pub size_bytes: u64,
}

/// Where a volume and its base snapshot lie, as far as this machine remembers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumePlace {
    /// The volume's name.
    pub volume: String,
    /// Its id; none if the archive could not be opened.
    pub id: Option<[u8; 16]>,
    /// The path from which it was backed up last; only for the user who named it, and for root.
    pub path: Option<Vec<u8>>,
    /// The folder in which its base snapshot was kept last.
    pub folder: Option<Vec<u8>>,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionLine {
    /// Its name: seconds since 1970 UTC.
    pub session: i64,
    /// Generation of the commit that brought it.
    pub generation: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Size of the volume then.
    pub size_bytes: u64,
    /// Bytes that it added to the store.
    pub added_bytes: u64,
    /// Taken from a running system.
    pub live: bool,
    /// Something that it needs was found missing or damaged in the store, and was not healed yet.
    pub damaged: bool,
    /// A person has seen that.
    pub acknowledged: bool,
}

/// How the changes of a volume were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// All was read.
    FullScan,
    /// Extents of two reflinked files were compared.
    Fiemap,
    /// btrfs's tree was searched, without regard to generations.
    BtrfsSearch,
    /// The thin pool's metadata was compared.
    ThinDelta,
}

/// The result of a backup for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VolumeReport {
    /// The volume's name.
    pub name: String,
    /// The new session; none with `--dry-run`, or unchanged with `--skip-unchanged`.
    pub session: Option<i64>,
    /// How changes were found.
    pub method: Method,
    /// It stood still while it was read. Of a volume that was in use and did not, the session may
    /// be of many moments.
    pub snapshot: bool,
    /// Where the source, a device that did not stand still, is mounted.
    pub mounted_at: Option<String>,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes read only to check what was reported as unchanged.
    pub sampled_bytes: u64,
    /// Bytes of chunks that differ from the last session.
    pub changed_bytes: u64,
    /// Bytes of records sent for it.
    pub sent_bytes: u64,
    /// CPU time of the keyholder for it, microseconds.
    pub cpu_micros: u64,
}

/// The result of a restore for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestoreReport {
    /// The number under which its target was asked for.
    pub item: u32,
    /// The volume's name.
    pub name: String,
    /// The session's name.
    pub session: i64,
    /// Where it was restored to; `-` is standard output.
    pub path: String,
    /// Bytes written to the target; holes are not written.
    pub written_bytes: u64,
    /// Bytes fetched from the store for it.
    pub fetched_bytes: u64,
    /// Bytes of what was there that could not be read, or were not what its base snapshot said; the
    /// store's took their place.
    pub damaged_bytes: u64,
    /// Bytes that were taken unread from what was there, as a base snapshot said that they are the
    /// same.
    pub unread_bytes: u64,
    /// Lost bytes, which are zeros in the target.
    pub lost_bytes: u64,
}

/// The result of a monitor for one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MonitorReport {
    /// The volume's name.
    pub name: String,
    /// How the next backup would find changes; [`Method::FullScan`]: it has no base snapshot that
    /// is to be trusted.
    pub method: Method,
    /// Bytes that it would read.
    pub changed_bytes: u64,
}

/// The sums of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DiffReport {
    /// The volume's name.
    pub name: String,
    /// The session's name.
    pub session: i64,
    /// Its size.
    pub size_bytes: u64,
    /// The other session's name; none: the volume as it is.
    pub with: Option<i64>,
    /// The size of that.
    pub with_size_bytes: u64,
    /// Bytes of chunks that differ; what only the larger one has is among them.
    pub differing_bytes: u64,
    /// Bytes that were read of the volume as it is.
    pub read_bytes: u64,
    /// Bytes among those that differ which nobody wrote, by what the file system says: the disk
    /// gives back something else than it was given.
    pub damaged_bytes: u64,
}

/// One thing that verify found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Problem {
    /// Its name in the store, hexadecimal.
    pub object: String,
    /// What kind of object.
    pub class: ObjectClass,
    /// What is wrong, in our own words.
    pub problem: String,
    /// The sessions that need it, as `VOLUME SESSION`; at most 100 are named.
    pub volumes: Vec<String>,
    /// A person has seen that all of these are damaged: it is no failure.
    pub acknowledged: bool,
}

/// The sums of a verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct VerifyReport {
    /// Objects that were read whole and compared.
    pub objects_checked: u64,
    /// Objects in the store that are not the archive's.
    pub foreign_objects: u64,
    /// Every part of the store could be listed; otherwise there may be more foreign objects than
    /// were counted.
    pub listed_whole: bool,
    /// Bytes read.
    pub read_bytes: u64,
    /// Problems found, but for those that were acknowledged.
    pub problems: u64,
    /// Problems found that were acknowledged.
    pub acknowledged: u64,
}

/// One key slot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeySlot {
    /// Its number.
    pub number: u8,
    /// A printed recovery key instead of a passphrase.
    pub recovery_key: bool,
    /// Argon2's memory.
    pub memory_kib: u32,
    /// Argon2's passes.
    pub passes: u32,
    /// When it was made, seconds since 1970 UTC.
    pub made_time: i64,
    /// What a person calls it; may be empty.
    pub label: String,
    /// The passphrase that was given to this command is this slot's.
    pub opens: bool,
    /// When it was the last slot to open the archive on this machine, seconds since 1970 UTC; 0:
    /// another one was, or none yet.
    pub opened_time: i64,
}

/// What a person keeps on paper.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoverySheet {
    /// The archive's name here.
    pub name: String,
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// Where the store is, without credentials.
    pub store_url: String,
    /// Of the keys.
    pub epoch: u32,
    /// Of the newest commit known here.
    pub generation: u64,
    /// When that commit was made, seconds since 1970 UTC.
    pub committed_time: i64,
    /// What `archive open --expect` takes.
    pub code: String,
}

/// A protection that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unenforced {
    /// Which process.
    pub role: String,
    /// Which protection.
    pub protection: String,
    /// Why not.
    pub reason: String,
}

/// What kind of thing the caller gave as a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TargetKind {
    /// A regular file: holes stay holes.
    File,
    /// A block device: its size is its own.
    Device,
    /// A pipe or terminal: written from begin to end.
    Stream,
}
