// SPDX-License-Identifier: GPL-3.0-or-later
//! The error catalogue: every failure that a person can see, with what happened, what is safe, and
//! what to do next.
//!
//! The daemon sends the variant, never a text, and never a text that came from the far end. Scripts
//! rely on [`Failure::code`] and on the exit status.

use bincode::{Decode, Encode};

use crate::target::Unfit;

/// The exit status of a command, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ExitStatus {
    /// Everything asked was done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Done for some volumes only.
    Partial,
    /// A sound slot refuses the passphrase, or the archive is locked.
    Locked,
    /// Damage, tampering or rollback was found.
    Damage,
    /// The store or the transport cannot be reached.
    Unreachable,
    /// Interrupted.
    Interrupted,
    /// Put off: not now, but soon.
    Deferred,
}

impl ExitStatus {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Locked => 4,
            Self::Damage => 5,
            Self::Unreachable => 6,
            Self::Deferred => 7,
            Self::Interrupted => 130,
        }
    }
}

/// What kind of object a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ObjectClass {
    /// A key slot.
    Slot,
    /// A commit.
    Commit,
    /// A pack.
    Pack,
    /// The directory of a pack.
    Directory,
    /// A node of a tree.
    Node,
    /// A chunk's record.
    Record,
    /// A session key.
    Key,
}

impl ObjectClass {
    /// The word of the glossary.
    pub fn word(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Commit => "commit",
            Self::Pack => "pack",
            Self::Directory => "directory",
            Self::Node => "node",
            Self::Record => "record",
            Self::Key => "key",
        }
    }
}

/// A failure, as the daemon tells it.
#[allow(missing_docs)] // the fields' names say all; each variant's line says what happened
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Failure {
    /// The two programs are of different versions.
    VersionMismatch,
    /// No archive of this name is known here.
    UnknownArchive { archive: String },
    /// The local name is taken.
    ArchiveNameTaken { archive: String },
    /// An archive is to be opened for the first time, and nobody says where it is.
    StoreUnnamed { archive: String },
    /// The slot that is to be removed is the one whose passphrase was typed.
    SlotInUse { slot: u8 },
    /// The archive is known here under another name.
    ArchiveKnown { archive: String, known_as: String },
    /// A name that cannot be a volume's or an archive's.
    BadName { name: String },
    /// A setting outside its bounds.
    BadSetting { setting: String, allowed: String },
    /// No such volume.
    UnknownVolume { volume: String },
    /// No such session.
    UnknownSession { volume: String, session: String },
    /// The beginning of a name fits several sessions.
    AmbiguousSession {
        volume: String,
        session: String,
        count: u64,
    },
    /// No volume has a session that was asked for of all.
    NoSession { session: String },
    /// What is between two backups was asked of a volume that has none.
    NeverBackedUp { volume: String },
    /// The volume exists, and was made from another source.
    VolumeNameTaken { volume: String },
    /// The volume was backed up from another path before.
    VolumeOfOtherPath {
        volume: String,
        path: String,
        known: String,
    },
    /// The path is the one known, and leads to another file or device than before.
    VolumeElsewhere {
        volume: String,
        path: String,
        was: String,
        now: String,
    },
    /// Another command writes to this archive from here.
    Busy { archive: String },
    /// A user has as many connections to the daemon as one may have.
    TooManyConnections { limit: u32 },
    /// Only root and the daemon's own user may do this; `what` completes "may …".
    NotAllowed { what: String },
    /// There is no state folder, and so no archive to look at.
    NoState { folder: String },
    /// The passphrase opens no slot, and no slot is damaged.
    WrongPassphrase,
    /// The passphrase opens a slot that the newest commit does not list.
    PassphraseRemoved,
    /// A slot that stays opens with the new passphrase already.
    PassphraseTaken { slot: u8 },
    /// Several names for new slots are taken in the store, and not by this machine.
    SlotNamesTaken,
    /// The recovery sheet's code has another form, or its check digits do not fit.
    CodeMistyped,
    /// The command needs a passphrase and none was given.
    NoPassphrase,
    /// A source could not be opened by the caller.
    SourceUnavailable {
        volume: String,
        path: String,
        errno: i32,
    },
    /// A source lies behind a link that somebody else than root could have made.
    SourceLink { volume: String, path: String },
    /// A source is away while its qube runs.
    SourceOfRunningQube { volume: String, path: String },
    /// A source is neither a regular file nor a block device; `kind` says what it is.
    SourceKind {
        volume: String,
        path: String,
        kind: String,
    },
    /// A source could not be read at a place.
    SourceRead {
        volume: String,
        path: String,
        offset_bytes: u64,
        errno: i32,
    },
    /// A source changed its size while it was read.
    SourceResized {
        volume: String,
        path: String,
        expected_bytes: u64,
        found_bytes: u64,
    },
    /// A source has no bytes, though it is a device or had some in its newest session.
    SourceEmpty {
        volume: String,
        path: String,
        was_bytes: u64,
    },
    /// The target exists.
    TargetExists { volume: String, path: String },
    /// The target could not be made or given its name.
    TargetUnavailable {
        volume: String,
        path: String,
        errno: i32,
    },
    /// The target is changed where it is, and belongs to a qube that runs.
    TargetOfRunningQube { volume: String, path: String },
    /// The target is of a kind that can hold no volume.
    TargetKind {
        volume: String,
        path: String,
        kind: Unfit,
    },
    /// The target is a block device, and was not to be changed where it is.
    TargetIsDevice { volume: String, path: String },
    /// The target is smaller than the session.
    TargetTooSmall {
        volume: String,
        path: String,
        has_bytes: u64,
        size_bytes: u64,
    },
    /// The target is in use.
    TargetInUse {
        volume: String,
        path: String,
        how: String,
    },
    /// A file that is replaced would lose something that is not content.
    TargetLoses {
        volume: String,
        path: String,
        what: String,
    },
    /// There is no room for the target.
    TargetNoRoom {
        volume: String,
        path: String,
        free_bytes: u64,
        needed_bytes: u64,
    },
    /// The person did not agree to overwrite the target.
    NotConfirmed { volume: String, path: String },
    /// The target could not be written.
    TargetWrite {
        volume: String,
        path: String,
        errno: i32,
    },
    /// A target that is changed where it is could not be written, and is again what it was.
    TargetWriteUndone {
        volume: String,
        path: String,
        errno: i32,
    },
    /// Standard output could not be written.
    OutputWrite { volume: String, errno: i32 },
    /// What was written to the target is not what its medium has.
    TargetDiffers {
        volume: String,
        path: String,
        offset_bytes: u64,
    },
    /// What was written to the target cannot be read back from its medium.
    TargetUnreadable {
        volume: String,
        path: String,
        offset_bytes: u64,
        errno: i32,
    },
    /// A volume that was changed where it is could not be finished, nor made again what it was.
    /// `why` and `exit` are of what ended it.
    TargetUnfinished {
        volume: String,
        path: String,
        why: String,
        exit: ExitStatus,
    },
    /// A base snapshot is not what its label says, and could not be removed.
    BaseKept { errno: i32 },
    /// The session needs something that is known to be lost.
    SessionDamaged { volume: String, session: String },
    /// It is not known where a volume was backed up from.
    NoOrigin { volume: String },
    /// The far end could not be started.
    FarEndStart { via: String, errno: i32 },
    /// The far end spoke first in words that are not the protocol.
    FarEndBanner,
    /// The far end broke the protocol.
    FarEndProtocol,
    /// The far end ended before the job was done.
    FarEndLost,
    /// Nothing moved for too long.
    FarEndStalled,
    /// The far end did not greet in time.
    FarEndSilent { via: String },
    /// The helper is not installed there.
    FarEndMissing { via: String },
    /// The helper is there and cannot be executed.
    FarEndNotExecutable { via: String },
    /// A policy refuses the call.
    FarEndRefused { via: String },
    /// The helper was killed.
    FarEndKilled { via: String, signal: u8 },
    /// ssh could not connect, or lost the connection.
    SshFailed { via: String },
    /// There is no program that calls other qubes.
    QrexecMissing { program: String },
    /// qrexec could not make the call.
    QrexecFailed { via: String },
    /// The qube ended, or the link to it.
    QubeLost { via: String },
    /// qubesd cannot be asked.
    QubesdUnreachable { errno: i32 },
    /// qubesd closed the connection without a word.
    QubesdRefused,
    /// What qubesd answered is none of its answers.
    QubesdAnswer,
    /// There is no qube of this name.
    UnknownQube { qube: String },
    /// The qube could not be made or started; `why` is the name of qubesd's error.
    QubeNotStarted { qube: String, why: String },
    /// The qube has no memory to start in.
    QubeNoMemory { qube: String },
    /// The qube is paused.
    QubePaused { qube: String },
    /// The qube was shutting down all the time.
    QubeHalting { qube: String },
    /// The store's folder or bucket is not there.
    StoreMissing { store: String },
    /// The folder in which a new store is to be made is not there.
    StoreNoParent { store: String },
    /// It is a folder, and holds nothing of an archive.
    StoreEmpty { store: String },
    /// It is no folder.
    StoreNotAFolder { store: String },
    /// The store refuses this caller.
    StoreDenied { store: String },
    /// The store may only be read.
    StoreReadOnly { store: String },
    /// The store cannot be reached.
    StoreUnreachable { store: String },
    /// The URL is not understood by the helper.
    StoreAddress { store: String },
    /// A new archive needs an empty place.
    StoreNotEmpty { store: String },
    /// The store is full.
    StoreFull {
        store: String,
        free_mib: Option<u32>,
        reserve_mib: u32,
    },
    /// The disk or service behind the store failed.
    StoreFailed { store: String },
    /// The store does not tell when a name is taken.
    StoreNotExclusive { store: String },
    /// The place holds no archive.
    NotAnArchive,
    /// The store holds another archive than the one that is known under this name.
    OtherArchive,
    /// The commit's name is taken by other bytes.
    Forked { generation: u64 },
    /// An earlier run found a fork; nothing is pushed until `archive open`.
    Stopped,
    /// The commit's name is taken, and the far end for pushing may not read by what.
    CommitUnsettled { generation: u64 },
    /// Two copies of a commit authenticate and differ.
    TwoCommits { generation: u64 },
    /// No copy of the newest commit, or of what it reaches first, can be read. `opened`: the older
    /// generation that was opened; 0: none.
    NewestDamaged { generation: u64, opened: u64 },
    /// `--before` names a generation that this machine has committed or adopted, or an older one.
    BeforeKnown { known_generation: u64 },
    /// The archive was opened at an older generation than the newest; it can be read.
    NewerPassedOver { generation: u64, newest: u64 },
    /// The same, and a newer generation is sound, so that nothing can be written after this one.
    NewerSound { generation: u64, newest: u64 },
    /// Another machine is the archive's writer.
    NotWriter { archive: String },
    /// The store shows an older state than this machine has seen.
    RolledBack {
        known_generation: u64,
        shown_generation: u64,
    },
    /// The store shows a state that does not descend from the known one.
    NotDescended { known_generation: u64 },
    /// An object is missing.
    Missing {
        class: ObjectClass,
        object: String,
        volume: Option<String>,
    },
    /// An object is not what was stored.
    Damaged {
        class: ObjectClass,
        object: String,
        what: String,
        volume: Option<String>,
    },
    /// A volume was restored, with zeros in the place of lost bytes.
    RestoredAround { volume: String, lost_bytes: u64 },
    /// The list of a volume's sessions lies in packs that are lost.
    SessionsLost { volume: String },
    /// verify found problems; each was told.
    ProblemsFound { count: u64 },
    /// verify found so much missing or damaged that it is more likely another disk, or a store that
    /// lies.
    MuchDamaged { packs: u64 },
    /// A file of the local state is damaged.
    StateDamaged { file: String, what: String },
    /// The cache is lost or behind; backup cannot run without it.
    CacheLost,
    /// The local state cannot be read or written.
    StateIo { file: String, errno: i32 },
    /// Not enough memory.
    OutOfMemory,
    /// A blob on its way cannot be kept in a memory file.
    MemoryFile { errno: i32 },
    /// A chunk differed after it was compressed and decompressed again: faulty memory or processor.
    SelfCheck { volume: String },
    /// The kernel gives no random bytes, or a limit of a key was reached, or another inner rule was
    /// broken.
    Internal { what: String },
    /// The person interrupted.
    Interrupted,
}

/// What is safe when a command stops halfway, as a backup says it. Whoever shows it says what holds
/// for the command that it was.
pub const RESUMES: &str = "What was sent stays; all earlier sessions are whole. The same command goes on where this one stopped.";

impl Failure {
    /// A short word for scripts, stable over versions.
    pub fn code(&self) -> &'static str {
        self.explain().code
    }

    /// The exit status of a command that ends with this failure.
    pub fn exit(&self) -> ExitStatus {
        self.explain().exit
    }

    /// What happened.
    pub fn text(&self) -> String {
        self.explain().text
    }

    /// What is safe.
    pub fn safe(&self) -> &'static str {
        self.explain().safe
    }

    /// What to do next.
    pub fn next(&self) -> &'static str {
        self.explain().next
    }

    /// The volume that it is about, if one.
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::UnknownVolume { volume }
            | Self::UnknownSession { volume, .. }
            | Self::AmbiguousSession { volume, .. }
            | Self::NeverBackedUp { volume }
            | Self::VolumeNameTaken { volume }
            | Self::VolumeOfOtherPath { volume, .. }
            | Self::VolumeElsewhere { volume, .. }
            | Self::SourceUnavailable { volume, .. }
            | Self::SourceLink { volume, .. }
            | Self::SourceOfRunningQube { volume, .. }
            | Self::TargetOfRunningQube { volume, .. }
            | Self::SourceKind { volume, .. }
            | Self::SourceEmpty { volume, .. }
            | Self::SourceRead { volume, .. }
            | Self::SourceResized { volume, .. }
            | Self::TargetExists { volume, .. }
            | Self::TargetUnavailable { volume, .. }
            | Self::TargetKind { volume, .. }
            | Self::TargetIsDevice { volume, .. }
            | Self::TargetTooSmall { volume, .. }
            | Self::TargetInUse { volume, .. }
            | Self::TargetLoses { volume, .. }
            | Self::TargetNoRoom { volume, .. }
            | Self::NotConfirmed { volume, .. }
            | Self::TargetWrite { volume, .. }
            | Self::TargetWriteUndone { volume, .. }
            | Self::OutputWrite { volume, .. }
            | Self::TargetDiffers { volume, .. }
            | Self::TargetUnreadable { volume, .. }
            | Self::TargetUnfinished { volume, .. }
            | Self::SessionDamaged { volume, .. }
            | Self::NoOrigin { volume }
            | Self::SessionsLost { volume }
            | Self::RestoredAround { volume, .. }
            | Self::SelfCheck { volume } => Some(volume),
            Self::Missing { volume, .. } | Self::Damaged { volume, .. } => volume.as_deref(),
            _ => None,
        }
    }

    fn explain(&self) -> Explained {
        use ExitStatus::{Damage, Failed, Interrupted, Locked, Unreachable, Usage};
        let kept = "Nothing was changed.";
        let resumes = RESUMES;
        let stays = "What is stored stays as it is.";
        let intact = "No wrong byte reached a target, and nothing was changed.";
        let say = |code, exit, text: String, safe, next| Explained {
            code,
            exit,
            text,
            safe,
            next,
        };
        let system = |errno: &i32| std::io::Error::from_raw_os_error(*errno).to_string();
        match self {
            Self::VersionMismatch => say(
                "version-mismatch",
                Failed,
                "wyng-ctl and the running daemon are of different versions".into(),
                kept,
                "Restart the daemon (systemctl restart wyngd), or use --standalone.",
            ),
            Self::UnknownArchive { archive } => say(
                "unknown-archive",
                Usage,
                format!("no archive is called {archive:?} here"),
                kept,
                "See `wyng-ctl archive list`; adopt one with `wyng-ctl archive open NAME --store URL`.",
            ),
            Self::ArchiveNameTaken { archive } => say(
                "archive-name-taken",
                Usage,
                format!("an archive is already called {archive:?} here"),
                kept,
                "Choose another name, or remove the local state with `wyng-ctl archive forget ARCHIVE`.",
            ),
            Self::StoreUnnamed { archive } => say(
                "store-unnamed",
                Usage,
                format!("archive {archive:?} is not known here yet, and nothing says where it is"),
                kept,
                "Add --store URL.",
            ),
            Self::SlotInUse { slot } => say(
                "slot-in-use",
                Usage,
                format!("slot {slot} is the passphrase that you typed"),
                kept,
                "Type the passphrase of a slot that stays.",
            ),
            Self::ArchiveKnown { archive, known_as } => say(
                "archive-known",
                Usage,
                format!("this archive is known here as {known_as:?} and cannot be opened as {archive:?} too"),
                kept,
                "Use the name that it has here; `wyng-ctl archive forget NAME` gives that name up.",
            ),
            Self::BadName { name } => say(
                "bad-name",
                Usage,
                format!("{name:?} cannot be a name"),
                kept,
                "Give a volume another name with NAME=PATH: 1 to 200 bytes without `/` and control characters. An archive's name has 1 to 64 of A-Z a-z 0-9 . _ -. Neither begins with `.` or `-`.",
            ),
            Self::BadSetting { setting, allowed } => {
                say("bad-setting", Usage, format!("{setting} is out of bounds: {allowed}"), kept, "Give a value within the bounds.")
            }
            Self::UnknownVolume { volume } => {
                say("unknown-volume", Usage, format!("the archive has no volume {volume:?}"), kept, "See `wyng-ctl list ARCHIVE`.")
            }
            Self::UnknownSession { volume, session } => say(
                "unknown-session",
                Usage,
                format!("volume {volume:?} has no session {session:?}"),
                kept,
                "See `wyng-ctl list ARCHIVE VOLUME`.",
            ),
            Self::AmbiguousSession { volume, session, count } => say(
                "ambiguous-session",
                Usage,
                format!("the names of {count} sessions of volume {volume:?} begin with {session:?}"),
                kept,
                "Write more of the name, or a day such as 2026-11-28 for its last session; see `wyng-ctl list ARCHIVE VOLUME`.",
            ),
            Self::NoSession { session } => say(
                "no-session",
                Usage,
                match session.as_str() {
                    "latest" => "the archive has no session yet".into(),
                    session => format!("no volume of the archive has a session {session:?}"),
                },
                kept,
                "See `wyng-ctl list ARCHIVE`.",
            ),
            Self::NeverBackedUp { volume } => say(
                "never-backed-up",
                Usage,
                format!("volume {volume:?} was never backed up, so there is nothing to compare it with"),
                kept,
                "Back it up once; `monitor` is for the time between two backups.",
            ),
            Self::VolumeNameTaken { volume } => say(
                "volume-name-taken",
                Usage,
                format!("two sources of this run would both be volume {volume:?}"),
                kept,
                "Give one of them a name of its own: NAME=PATH.",
            ),
            Self::VolumeOfOtherPath { volume, path, known } => say(
                "volume-of-other-path",
                Usage,
                format!("volume {volume:?} was backed up from {known} before, and not from {path}"),
                "No session was made of it; its earlier ones are whole.",
                "If this is the same volume, say so with NAME=PATH; if it is another one, give it a name of its own: OTHERNAME=PATH.",
            ),
            Self::VolumeElsewhere { volume, path, was, now } => say(
                "volume-elsewhere",
                Usage,
                format!("{path} of volume {volume:?} leads to {now} now, and led to {was} when it was last backed up"),
                "Nothing was read from it or written to it; all sessions are whole.",
                "Attach or mount the right one. If the volume is there now, say so once: `wyng-ctl backup ARCHIVE NAME=PATH`.",
            ),
            Self::Busy { archive } => {
                say("busy", Failed, format!("another command is at work on {archive:?}"), kept, "Wait until it has ended, and try again.")
            }
            Self::TooManyConnections { limit } => say(
                "too-many-connections",
                Failed,
                format!("this user has {limit} connections to the daemon already, and may have no more"),
                kept,
                "Wait until one of the commands has ended, and try again.",
            ),
            Self::NotAllowed { what } => say(
                "not-allowed",
                Failed,
                format!("only root and the user who runs the daemon may {what}"),
                kept,
                "Name the archive's store and far end in the configuration and restart the daemon, or run the command as root.",
            ),
            Self::NoState { folder } => say(
                "no-state",
                Usage,
                format!("no archive is known here: there is no state folder {folder}"),
                kept,
                "If there should be some, correct --state-dir. Make an archive with `wyng-ctl archive create NAME --store URL`, or adopt one with `wyng-ctl archive open NAME --store URL`.",
            ),
            Self::WrongPassphrase => {
                say("wrong-passphrase", Locked, "wrong passphrase".into(), kept, "Try again; a recovery key works too.")
            }
            Self::PassphraseRemoved => say(
                "passphrase-removed",
                Locked,
                "this passphrase was removed from the archive".into(),
                kept,
                "Use one that is still valid; `wyng-ctl key list ARCHIVE` shows them on a machine that has the archive.",
            ),
            Self::PassphraseTaken { slot } => say(
                "passphrase-taken",
                Usage,
                format!("slot {slot} opens with this passphrase already"),
                kept,
                "Choose another passphrase, or keep the slot that has this one.",
            ),
            Self::SlotNamesTaken => say(
                "slot-names-taken",
                Damage,
                "the names of the next slots are taken in the store, and not by this machine".into(),
                "The passphrases that `wyng-ctl key list ARCHIVE` shows stay valid; none was added.",
                "Somebody else writes to the store: find out who. If it was another machine of yours, run `wyng-ctl archive open ARCHIVE` and try again.",
            ),
            Self::CodeMistyped => say(
                "code-mistyped",
                Usage,
                "the recovery sheet's code is mistyped".into(),
                kept,
                "Type it as the sheet has it: a code looks like 18-5cd87b25239ff2b6-52.",
            ),
            Self::NoPassphrase => say(
                "no-passphrase",
                Locked,
                "this needs the passphrase, and none was given".into(),
                kept,
                "Run it on a terminal, or give --passphrase-file FILE.",
            ),
            Self::SourceUnavailable { volume, path, errno } => say(
                "source-unavailable",
                Failed,
                format!("{} cannot be opened: {}", source(volume, path), system(errno)),
                "No session was made for this volume; its earlier ones are whole.",
                "Check the path and its permissions. A folder that was made or mounted after the daemon began is found when the daemon is restarted.",
            ),
            Self::SourceLink { volume, path } => say(
                "source-link",
                Failed,
                format!("{} lies behind a link that is not root's, or in a folder that is not", source(volume, path)),
                "No session was made for this volume; its earlier ones are whole.",
                "Put the path where the link leads into the configuration, if that is the volume; or give link and folder to root.",
            ),
            Self::SourceOfRunningQube { volume, path } => say(
                "source-of-running-qube",
                Failed,
                format!(
                    "{} is away while its qube runs: the qube keeps no revisions, so there is its -dirty file only",
                    source(volume, path)
                ),
                "No session was made for this volume; its earlier ones are whole.",
                "Shut the qube down and run the same command again; or have it keep a revision, from its next start on: qvm-volume config QUBE:VOLUME revisions_to_keep 1.",
            ),
            Self::SourceKind { volume, path, kind } => say(
                "source-kind",
                Usage,
                format!("{} is {kind}, not a regular file or a block device", source(volume, path)),
                "No session was made for this volume.",
                "Name a disk image or a block device.",
            ),
            Self::SourceEmpty { volume, path, was_bytes } => say(
                "source-empty",
                Failed,
                match was_bytes {
                    0 => format!("{} is a device of 0 bytes: nothing is attached to it", source(volume, path)),
                    was_bytes => format!("{} has 0 bytes, and had {was_bytes} in its newest session", source(volume, path)),
                },
                "No session was made for this volume; its earlier ones are whole.",
                "Attach the device or bring the file back, and run the same command again. A file that is meant to be empty needs a name of its own: OTHERNAME=PATH.",
            ),
            Self::SourceRead { volume, path, offset_bytes, errno } => say(
                "source-read",
                Failed,
                format!("{} cannot be read at byte {offset_bytes}: {}", source(volume, path), system(errno)),
                "No session was made for this volume; its earlier ones are whole.",
                "Check the disk that holds the source.",
            ),
            Self::SourceResized { volume, path, expected_bytes, found_bytes } => say(
                "source-resized",
                Failed,
                format!("{} had {expected_bytes} bytes and ended at {found_bytes} while it was read", source(volume, path)),
                "No session was made for this volume; its earlier ones are whole.",
                "Back up a snapshot, or stop what writes to the source, and run the same command again.",
            ),
            Self::TargetExists { path, .. } => say(
                "target-exists",
                Failed,
                format!("{path} exists"),
                kept,
                "Choose another path, or add --overwrite to replace it once the new file is complete.",
            ),
            Self::TargetUnavailable { volume, path, errno } => say(
                "target-unavailable",
                Failed,
                format!("{path} cannot be the target of {volume:?}: {}", system(errno)),
                "No target holds wrong or partial bytes under its name.",
                "Check the path, its folder and the permissions of both.",
            ),
            Self::TargetOfRunningQube { volume, path } => say(
                "target-of-running-qube",
                Failed,
                format!("{path} is of a qube that runs: what is written of {volume:?} there is lost when the qube halts"),
                kept,
                "Shut the qube down, keep it from starting (qvm-features QUBE prohibit-start restore), and run the same command again; or restore to a file with --to.",
            ),
            Self::TargetKind { path, kind, .. } => say(
                "target-kind",
                Usage,
                format!("{path} is {}", kind.phrase()),
                kept,
                "Name a new file, a file to --overwrite, or a file or block device to change --in-place; `-` is standard output.",
            ),
            Self::TargetIsDevice { path, .. } => say(
                "target-is-device",
                Usage,
                format!("{path} is a block device, which is never replaced"),
                kept,
                "Write onto the device with --to PATH --in-place: what it holds is then overwritten.",
            ),
            Self::TargetTooSmall { volume, path, has_bytes, size_bytes } => say(
                "target-too-small",
                Failed,
                format!("{path} has {has_bytes} bytes, and the session of {volume:?} has {size_bytes}"),
                kept,
                "Choose a device of at least the session's size.",
            ),
            Self::TargetInUse { path, how, .. } => say(
                "target-in-use",
                Failed,
                format!("{path} is in use: {how}"),
                kept,
                "Unmount it or stop what uses it, or choose another target, and run the same command again.",
            ),
            Self::TargetLoses { path, what, .. } => say(
                "target-loses",
                Failed,
                format!("{path} would lose {what} if it was replaced"),
                kept,
                "Change it where it is with --to PATH --in-place, which keeps all of that; or choose another path.",
            ),
            Self::TargetNoRoom { volume, path, free_bytes, needed_bytes } => say(
                "target-no-room",
                Failed,
                format!("{path} has no room: {volume:?} needs {needed_bytes} bytes, and {free_bytes} are free"),
                kept,
                "Make room, or choose a place on another disk.",
            ),
            Self::NotConfirmed { path, .. } => {
                say("not-confirmed", Interrupted, format!("overwriting {path} was not confirmed"), kept, "Run it again, and answer yes.")
            }
            Self::TargetWrite { path, errno, .. } => say(
                "target-write",
                Failed,
                format!("{path} cannot be written: {}", system(errno)),
                "The unfinished file was removed. A file that it was to replace is as it was.",
                "Make room, or choose another place, and run the same command again.",
            ),
            Self::TargetWriteUndone { path, errno, .. } => say(
                "target-write-undone",
                Failed,
                format!("{path} cannot be written: {}", system(errno)),
                "The target is what it was before.",
                "Make room on its file system, or look after its disk, and run the same command again.",
            ),
            Self::OutputWrite { volume, errno } => say(
                "output-write",
                Failed,
                format!("standard output cannot take {volume:?}: {}", system(errno)),
                "Whoever read it has only the beginning of the volume.",
                "Discard what was read, and run the same command again.",
            ),
            Self::TargetDiffers { path, offset_bytes, .. } => say(
                "target-differs",
                Failed,
                format!("{path} gives back something else at byte {offset_bytes} than was written to it"),
                "The archive is untouched. The target is not the session.",
                "Look after the disk of the target, and restore to another one.",
            ),
            Self::TargetUnreadable { path, offset_bytes, errno, .. } => say(
                "target-unreadable",
                Failed,
                format!("{path} cannot be read back at byte {offset_bytes}: {}", system(errno)),
                "The archive is untouched. The target is not the session.",
                "Look after the disk of the target, and restore to another one.",
            ),
            Self::TargetUnfinished { path, why, exit, .. } => say(
                "target-unfinished",
                if *exit == ExitStatus::Done { Failed } else { *exit },
                format!("{path} is neither what it was nor the session, because {why}"),
                "The archive is untouched. Each chunk of the target is either the old one or the restored one.",
                "Run the same command again: only what still differs is fetched and written.",
            ),
            Self::BaseKept { errno } => say(
                "base-kept",
                Failed,
                format!("a base snapshot is damaged, and cannot be removed: {}", system(errno)),
                "The archive is untouched, and what was restored is right.",
                "Remove it from the folder .wyng on the volume's file system (`wyng-ctl snapshots list` names the folder): the next backup then reads the volume whole.",
            ),
            Self::SessionDamaged { volume, session } => say(
                "session-damaged",
                Damage,
                format!("session {session} of {volume:?} needs something that the store has lost"),
                kept,
                "Restore another session, or what is left of this one with `--around-damage`. If the store has it again, run `wyng-ctl verify ARCHIVE`, which looks, and then the same command.",
            ),
            Self::NoOrigin { volume } => say(
                "no-origin",
                Usage,
                format!("this machine does not know where {volume:?} was backed up from"),
                kept,
                "Say where it is: --to PATH.",
            ),
            Self::FarEndStart { via, errno } => say(
                "far-end-start",
                Unreachable,
                format!("the far end {via:?} cannot be started: {}", system(errno)),
                resumes,
                "Check that wyng-transport-vm is installed there (or beside wyng-ctl), and that the VM or host can be reached.",
            ),
            Self::FarEndBanner => say(
                "far-end-banner",
                Unreachable,
                "the far end printed something before the protocol began".into(),
                resumes,
                "A login script in the template or account prints; silence it for calls that are not interactive.",
            ),
            Self::FarEndProtocol => say(
                "far-end-protocol",
                Unreachable,
                "the far end broke the protocol; the call was ended".into(),
                resumes,
                "Check that both ends have the same version of Wyng. If that repeats, do not trust this transport.",
            ),
            Self::FarEndLost => say(
                "far-end-lost",
                Unreachable,
                "the far end was lost before the job was done".into(),
                resumes,
                "Run the same command again.",
            ),
            Self::FarEndStalled => say(
                "far-end-stalled",
                Unreachable,
                "the far end stood still for too long; the call was ended".into(),
                resumes,
                "Check the network and the disk or service behind the store, and run the same command again. A slower store needs a longer [far_ends] stall_timeout.",
            ),
            Self::FarEndSilent { via } => say(
                "far-end-silent",
                Unreachable,
                format!("the helper behind {via:?} did not greet in time after it was called"),
                resumes,
                "Check that the qube or host answers any call (qvm-run QUBE true; ssh HOST true), and that no question about this call waits on dom0's screen. A qube that needs longer needs a longer [qubes] start_timeout.",
            ),
            Self::FarEndMissing { via } => say(
                "far-end-missing",
                Unreachable,
                format!("the helper is not installed behind {via:?}"),
                resumes,
                "Install the helper's package there: for a qube in the template that it is based on, and then restart the qube; for ssh where the account's PATH leads.",
            ),
            Self::FarEndRefused { via } => say(
                "far-end-refused",
                Unreachable,
                format!("dom0 refuses to call {via:?}: its RPC policy does not allow it, or the qube could not be made or started"),
                resumes,
                "In dom0, /var/log/qubes/qrexec.NAME.log says which, where NAME is this qube. Allow wyng.Push and wyng.Fetch from this qube to that one in /etc/qubes/policy.d, or start that qube by hand to see why it does not start. `ask` is always denied for a qube without a GUI domain.",
            ),
            Self::FarEndNotExecutable { via } => say(
                "far-end-not-executable",
                Unreachable,
                format!("the helper behind {via:?} is there, but cannot be executed"),
                resumes,
                "Install the helper's package there again: for a qube in the template that it is based on, where /etc/qubes-rpc/wyng.Push and /usr/libexec/wyng/wyng-transport-vm need mode 0755 and the machine's own architecture; then restart the qube.",
            ),
            Self::FarEndKilled { via, signal } => say(
                "far-end-killed",
                Unreachable,
                format!("the helper behind {via:?} was killed by signal {signal}"),
                resumes,
                "Most often the qube has too little memory: give it, or the template of the disposable, 400 MB or more, and run the same command again.",
            ),
            Self::SshFailed { via } => say(
                "ssh-failed",
                Unreachable,
                format!("ssh could not reach {via:?}, or lost it"),
                resumes,
                "Run `ssh HOST true` as whoever runs the daemon: it shows why, and has to succeed without asking for anything. Then run the same command again.",
            ),
            Self::QrexecMissing { program } => say(
                "qrexec-missing",
                Unreachable,
                format!("this system has no {program}, so no qube can be called"),
                kept,
                "Run the daemon in dom0 or in an admin qube, correct [qubes] in the configuration, or use another far end: local, ssh:HOST.",
            ),
            Self::QrexecFailed { via } => say(
                "qrexec-failed",
                Unreachable,
                format!("qrexec could not make the call to {via:?}"),
                resumes,
                "Check that the qube runs and that its qrexec agent answers (qvm-run QUBE true); dom0's log is /var/log/qubes/qrexec.QUBE.log.",
            ),
            Self::QubeLost { via } => say(
                "qube-lost",
                Unreachable,
                format!("the qube behind {via:?} ended, or the link to it"),
                resumes,
                "Run the same command again; if that repeats, look at the qube's log and its memory.",
            ),
            Self::QubesdUnreachable { errno } => say(
                "qubesd-unreachable",
                Unreachable,
                format!("qubesd cannot be asked for the qube: {}", system(errno)),
                resumes,
                "Check that qubesd runs (systemctl status qubesd), and that the daemon may use its socket.",
            ),
            Self::QubesdRefused => say(
                "qubesd-refused",
                Unreachable,
                "qubesd did not answer: it refused, or failed".into(),
                resumes,
                "See journalctl -u qubesd.",
            ),
            Self::QubesdAnswer => say(
                "qubesd-answer",
                Unreachable,
                "qubesd answered in a form that is not understood".into(),
                resumes,
                "Check that this version of Wyng is for this release of Qubes OS.",
            ),
            Self::UnknownQube { qube } => say(
                "unknown-qube",
                Unreachable,
                format!("there is no qube {qube:?}"),
                kept,
                "See qvm-ls, and correct the far end: qrexec:VM or qrexec:@dispvm:TEMPLATE.",
            ),
            Self::QubeNotStarted { qube, why } => say(
                "qube-not-started",
                Unreachable,
                format!("the qube {qube:?} cannot be made or started: qubesd says {why}"),
                resumes,
                "Start it by hand (qvm-start QUBE, or qvm-run --dispvm=TEMPLATE true) to see why; a template of disposables needs template_for_dispvms.",
            ),
            Self::QubeNoMemory { qube } => say(
                "qube-no-memory",
                Unreachable,
                format!("there is not enough memory to start the qube {qube:?}"),
                resumes,
                "Shut down other qubes, or give this one less memory, and run the same command again.",
            ),
            Self::QubePaused { qube } => say(
                "qube-paused",
                Unreachable,
                format!("the qube {qube:?} is paused"),
                resumes,
                "Let it go on (qvm-unpause QUBE), and run the same command again.",
            ),
            Self::QubeHalting { qube } => say(
                "qube-halting",
                Unreachable,
                format!("the qube {qube:?} is shutting down, and has not ended within [qubes] start_timeout"),
                resumes,
                "Wait until it has halted (qvm-ls QUBE), or end it (qvm-kill QUBE), and run the same command again.",
            ),
            Self::StoreMissing { store } => say(
                "store-missing",
                Unreachable,
                format!("the store {store} is not there"),
                kept,
                "Mount the disk that it lies on. If it was moved, say where it is: `wyng-ctl archive open ARCHIVE --store URL`.",
            ),
            Self::StoreNoParent { store } => say(
                "store-no-parent",
                Failed,
                format!("the folder in which {store} is to be made is not there"),
                kept,
                "Mount its disk, or make that folder first: `archive create` makes only the last one of the path.",
            ),
            Self::StoreEmpty { store } => say(
                "store-empty",
                Unreachable,
                format!("{store} is a folder that holds no archive"),
                kept,
                "Mount the disk that belongs there, or name the archive's own folder, and not the one above it: `wyng-ctl archive open ARCHIVE --store URL`.",
            ),
            Self::StoreNotAFolder { store } => say(
                "store-not-a-folder",
                Unreachable,
                format!("{store} is not a folder"),
                kept,
                "Name a folder: --store dir:/absolute/path.",
            ),
            Self::StoreDenied { store } => say(
                "store-denied",
                Unreachable,
                format!("the store {store} refuses access"),
                stays,
                "Check the permissions there, the credentials, and limits of the helper (ulimit -f); then run the same command again.",
            ),
            Self::StoreReadOnly { store } => say(
                "store-read-only",
                Unreachable,
                format!("the store {store} can only be read"),
                stays,
                "Mount it writable, and run the same command again.",
            ),
            Self::StoreUnreachable { store } => say(
                "store-unreachable",
                Unreachable,
                format!("the store {store} cannot be reached"),
                stays,
                "Check the network and the address, and run the same command again.",
            ),
            Self::StoreAddress { store } => say(
                "store-address",
                Usage,
                format!("the helper does not understand the store's address {store:?}"),
                kept,
                "Use dir:/absolute/path; other kinds depend on the helper's version.",
            ),
            Self::StoreNotEmpty { store } => say(
                "store-not-empty",
                Failed,
                format!("{store} is not empty, and a new archive needs an empty place"),
                kept,
                "Name a new or empty folder, or adopt what is there with `wyng-ctl archive open`.",
            ),
            Self::StoreFull { store, free_mib, reserve_mib } => say(
                "store-full",
                Failed,
                match free_mib {
                    Some(free) => format!(
                        "the store {store} is full: {free} MiB are free, and {reserve_mib} MiB are kept back for what a backup must still write at its end"
                    ),
                    None => format!("the store {store} is full"),
                },
                stays,
                "Make room in the store, and run the same command again.",
            ),
            Self::StoreFailed { store } => say(
                "store-failed",
                Failed,
                format!("the disk or service behind the store {store} failed"),
                stays,
                "Check it (the system's log says more), and run the same command again.",
            ),
            Self::StoreNotExclusive { store } => say(
                "store-not-exclusive",
                Failed,
                format!("the file system of {store} cannot keep a second file from a name that is taken"),
                "No archive was made.",
                "Two writers could not be told apart there: use a disk with another file system, or another place.",
            ),
            Self::NotAnArchive => say(
                "not-an-archive",
                Failed,
                "the place holds no slot of a Wyng archive".into(),
                kept,
                "Check the address of the store. If it is right, the store has lost the slots: `wyng-ctl verify` and `wyng-ctl backup` on a machine that has the archive put them back.",
            ),
            Self::OtherArchive => say(
                "other-archive",
                Damage,
                "the store holds another archive than the one known under this name".into(),
                kept,
                "Check the address; if the archive was replaced by somebody else, do not use it.",
            ),
            Self::Forked { generation } => say(
                "forked",
                Damage,
                format!(
                    "commit {generation} exists with other bytes: this machine's state is older than the archive, another machine writes to it, or the commit is damaged"
                ),
                "Nothing was overwritten, and what was sent stays. No command pushes until this is settled.",
                "Run `wyng-ctl archive open ARCHIVE`, which reads what is there and finds out which; then run the same command again.",
            ),
            Self::Stopped => say(
                "stopped",
                Damage,
                "an earlier run found that the archive has another writer, or that this state is old".into(),
                kept,
                "Run `wyng-ctl archive open ARCHIVE` first.",
            ),
            Self::CommitUnsettled { generation } => say(
                "commit-unsettled",
                Damage,
                format!("the store has commit {generation}, and may not say during a push whether it is this machine's"),
                "What was sent stays and is not sent again. No command pushes until this is settled.",
                "Run `wyng-ctl archive open ARCHIVE`, which reads the commit; then run the same command again.",
            ),
            Self::TwoCommits { generation } => say(
                "two-commits",
                Damage,
                format!("two different commits of generation {generation} are in the store: two machines wrote it"),
                intact,
                "Go on with the machine whose sessions you want to keep, and start a new archive from it; what was restored from either is right.",
            ),
            Self::NewestDamaged { generation, opened } => say(
                "newest-damaged",
                Damage,
                match opened {
                    0 => format!("the newest generation, {generation}, is damaged"),
                    opened => format!(
                        "the newest generation, {generation}, is damaged; the archive was opened for reading as generation {opened} left it"
                    ),
                },
                "Sessions of older generations are whole, unless a problem names them. Nothing in the store was changed.",
                "Restore older sessions by name, with --session. If the machine that wrote the newest generation still has its state, run `wyng-ctl backup` there, which repairs it, and `wyng-ctl archive open ARCHIVE` here again; otherwise accept the older state with `wyng-ctl archive open ARCHIVE --before GENERATION`, giving the damaged generation.",
            ),
            Self::BeforeKnown { known_generation } => say(
                "before-known",
                Usage,
                match known_generation {
                    0 => "there is no generation below the first".into(),
                    known => format!("this machine knows generation {known}, and opens none that is older"),
                },
                kept,
                "Give --before a higher generation, or leave it out.",
            ),
            Self::NewerPassedOver { generation, newest } => say(
                "newer-passed-over",
                Damage,
                format!(
                    "newer generations existed, up to {newest}, and are damaged; the archive is open as generation {generation} left it"
                ),
                "Sessions up to this generation restore. Sessions that only newer ones have are not shown.",
                "Run `wyng-ctl archive take-over ARCHIVE` to go on from this generation, or `wyng-ctl archive open ARCHIVE` if the newer ones were repaired.",
            ),
            Self::NewerSound { generation, newest } => say(
                "newer-sound",
                Damage,
                format!(
                    "generation {newest} is sound, and the archive is open as generation {generation} left it: it can be read, and not be written"
                ),
                kept,
                "Run `wyng-ctl archive open ARCHIVE` without --before to go on from the newest generation.",
            ),
            Self::NotWriter { archive } => say(
                "not-writer",
                Failed,
                format!("another machine writes to {archive:?}; this one may read it"),
                kept,
                "If the other machine is out of use, run `wyng-ctl archive take-over ARCHIVE`.",
            ),
            Self::RolledBack { known_generation, shown_generation } => say(
                "rolled-back",
                Damage,
                format!("the store shows generation {shown_generation}, and this machine knows {known_generation}: it was rolled back"),
                intact,
                "Ask who keeps the store. If it was restored from a copy, its newer sessions are lost there.",
            ),
            Self::NotDescended { known_generation } => say(
                "not-descended",
                Damage,
                format!("what the store shows does not descend from generation {known_generation}, known here"),
                intact,
                "Somebody wrote another history. Do not use it without the recovery sheet's code.",
            ),
            Self::Missing { class, object, volume } => say(
                "missing",
                Damage,
                format!("{} {object}{} is missing from the store", class.word(), needed_by(volume)),
                intact,
                "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … --around-damage` restores what is left of them.",
            ),
            Self::Damaged { class, object, what, volume } => say(
                "damaged",
                Damage,
                format!("{} {object}{} is damaged: {what}", class.word(), needed_by(volume)),
                intact,
                "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … --around-damage` restores what is left of them.",
            ),
            Self::RestoredAround { volume, lost_bytes } => say(
                "restored-around-damage",
                Damage,
                format!("{lost_bytes} bytes of volume {volume:?} are lost; the target has zeros in their place"),
                "Every other byte is exact. The archive is untouched.",
                "Check the file system on the volume. What lay in the listed ranges may still be in another session, or come back with the next backup.",
            ),
            Self::SessionsLost { volume } => say(
                "sessions-lost",
                Damage,
                format!("the store has lost the list of the sessions of volume {volume:?}"),
                "Other volumes do not need it. Nothing was changed.",
                "On a machine that still has its cache of the archive, `wyng-ctl backup` writes the list again. Else the list may come back with the store's disk; without these sessions `wyng-ctl backup ARCHIVE … --heal` goes on, and if the source is gone too, `wyng-ctl archive acknowledge ARCHIVE` ends the alarm.",
            ),
            Self::ProblemsFound { count } => say(
                "problems-found",
                Damage,
                if *count == 1 { "1 problem was found".into() } else { format!("{count} problems were found") },
                "Nothing in the store was changed. Sessions that are not named restore.",
                "Back up again: what the sources still have is sent anew, and then `wyng-ctl verify ARCHIVE` names what stays damaged. Look after the disk or service behind the store. What cannot heal any more can be acknowledged: `wyng-ctl archive acknowledge ARCHIVE`.",
            ),
            Self::MuchDamaged { packs } => say(
                "much-damaged",
                Damage,
                format!("{packs} packs were found missing or damaged, more than a tenth of what verify read"),
                "None of them counts as lost, so no backup sends everything again. Nothing in the store was changed.",
                "Check that it is the right disk or store, whole and mounted, and verify again. If the damage is real, `wyng-ctl backup ARCHIVE … --heal` sends again what the sources still have.",
            ),
            Self::StateDamaged { file, what } => say(
                "state-damaged",
                Failed,
                format!("the local state file {file} is damaged: {what}"),
                "The archive in the store is untouched.",
                "Run `wyng-ctl archive forget ARCHIVE`, then `wyng-ctl archive open ARCHIVE --store URL --expect CODE` with the recovery sheet's code, and `wyng-ctl archive take-over ARCHIVE` to write.",
            ),
            Self::CacheLost => say(
                "cache-lost",
                Failed,
                "the local cache is lost or does not fit the archive's state".into(),
                "Nothing was sent; no data is lost.",
                "Run `wyng-ctl archive open ARCHIVE`, which fetches it back.",
            ),
            Self::StateIo { file, errno } => say(
                "state-io",
                Failed,
                format!("the local state ({file}) cannot be read or written: {}", system(errno)),
                resumes,
                "Check that its folder is there, that its disk is writable and not full, and that the folder is owned by whoever runs the daemon.",
            ),
            Self::OutOfMemory => {
                say("out-of-memory", Failed, "there is not enough memory".into(), kept, "Free some memory, and run the same command again.")
            }
            Self::MemoryFile { errno } => say(
                "memory-file",
                Failed,
                format!("a blob on its way cannot be kept in memory: {}", system(errno)),
                resumes,
                "Free some memory, or lift the limit on the size of files (ulimit -f, LimitFSIZE=), and run the same command again.",
            ),
            Self::SelfCheck { volume } => say(
                "self-check",
                Failed,
                format!("a chunk of {volume:?} differed after it was compressed and decompressed again"),
                "The chunk was not sent; no session was made for this volume.",
                "Memory or processor may be faulty: test them before the next backup.",
            ),
            Self::Internal { what } => say(
                "internal",
                Failed,
                format!("an inner rule was broken: {what}"),
                resumes,
                "Please report this with what was being done.",
            ),
            Self::Interrupted => say("interrupted", Interrupted, "interrupted".into(), resumes, "Run the same command again."),
        }
    }
}

/// Whom a damaged object hurts, in the middle of a sentence.
fn needed_by(volume: &Option<String>) -> String {
    volume
        .as_ref()
        .map(|volume| format!(", which volume {volume:?} needs,"))
        .unwrap_or_default()
}

/// A source in a sentence: its volume, and its path where that is known.
fn source(volume: &str, path: &str) -> String {
    if path.is_empty() {
        format!("the source of {volume:?}")
    } else {
        format!("{path}, the source of {volume:?},")
    }
}

/// One row of the catalogue.
struct Explained {
    code: &'static str,
    exit: ExitStatus,
    text: String,
    safe: &'static str,
    next: &'static str,
}
