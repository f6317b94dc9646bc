// SPDX-License-Identifier: GPL-3.0-or-later
//! Every message between two roles. A descriptor travels beside a message only where its line says
//! so.

use bincode::{Decode, Encode};
use wyng_control::{
    Asked, BaseLabel, BaseOf, Command, ExitStatus, Failure, FoundSource, Method, NoSource,
    Remembered, TargetFault, TargetForm, TargetKind, TargetLook, ToClient, Wanted,
};
pub use wyng_control::{Beside, Found, There};

/// Ranges in one message: each is at most 18 bytes of it.
pub const CHANGES_MAX: usize = 2048;

/// A verb set of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Service {
    /// Stores, and reads nothing back.
    Push,
    /// Lists and reads.
    Fetch,
}

impl From<Service> for wyng_wire::Service {
    fn from(service: Service) -> Self {
        match service {
            Service::Push => Self::Push,
            Service::Fetch => Self::Fetch,
        }
    }
}

/// A protection that a role could not take.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NotEnforced {
    /// Which.
    pub protection: String,
    /// Why not.
    pub reason: String,
}

/// What a role tells control when it has entered its jail.
pub fn not_enforced(missing: Vec<(String, String)>) -> Vec<NotEnforced> {
    missing
        .into_iter()
        .map(|(protection, reason)| NotEnforced { protection, reason })
        .collect()
}

/// control → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToKeyholder {
    /// A job. The one before has ended, or has given its turn back. With the read end of a
    /// passphrase's pipe if `typed`.
    Start {
        /// What to do.
        command: Command,
        /// Whose process asked; nobody's number if that is not known.
        uid: u32,
        /// The number of the command, the same each time that it begins anew.
        turn: u64,
        /// It gave its turn back while it waited for a passphrase, which has been typed meanwhile.
        typed: bool,
    },
    /// Others wait while this job waits for a passphrase: it is to give its turn back.
    GiveBack,
    /// A command that gave its turn back does not begin anew: what was typed for it is wiped.
    Abandon {
        /// Its number.
        turn: u64,
    },
    /// Wipes keys that are kept, now, whatever runs. The answer is [`KeyholderToControl::Locked`].
    Lock {
        /// Of which archive; none: of all.
        archive: Option<String>,
    },
    /// The passphrase that was asked for; with the read end of a pipe.
    Passphrase {
        /// The question's number.
        item: u32,
    },
    /// There is no passphrase.
    NoPassphrase {
        /// The question's number.
        item: u32,
    },
    /// The target has its name, or `errno` says why not.
    Placed {
        /// The target's number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// What the caller found where a target goes.
    Looked {
        /// The target's number.
        item: u32,
        /// See above.
        look: TargetLook,
    },
    /// The far end runs, and the transport has its pipes.
    FarEndStarted {
        /// Which.
        service: Service,
    },
    /// The far end could not be started.
    FarEndNotStarted {
        /// Which.
        service: Service,
        /// Why.
        failure: Failure,
    },
    /// The far end's process ended.
    FarEndEnded {
        /// Which.
        service: Service,
        /// What that means if it was not done; none: its exit status was 0.
        failure: Option<Failure>,
    },
    /// The person interrupted.
    Cancel,
}

/// keyholder → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToControl {
    /// It and the transport, which has no wire to control, are in their jails; what could not be
    /// enforced.
    Ready {
        /// Of the keyholder.
        keyholder: Vec<NotEnforced>,
        /// Of the transport.
        transport: Vec<NotEnforced>,
    },
    /// For the client, as it is.
    Tell(ToClient),
    /// Ask the client for a passphrase.
    WantPassphrase {
        /// The question's number.
        item: u32,
        /// Which one.
        asked: Asked,
    },
    /// Ask the client for a pipe to write a secret to; the answer is
    /// [`ControlToKeyholder::Passphrase`] with that pipe. No person is asked.
    WantSecretPipe {
        /// The question's number.
        item: u32,
    },
    /// Have the client look at where a target goes.
    WantTargetLook {
        /// The target's number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// The session's name, seconds since 1970 UTC.
        session: i64,
        /// How many bytes the target will have.
        size_bytes: u64,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// Where the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// Start the far end.
    WantFarEnd {
        /// Which verb set.
        service: Service,
        /// What `wyng_config::Via` understands.
        via: String,
    },
    /// The far end's pipes are closed, or it is of no more use: it ends soon, or is killed.
    EndFarEnd {
        /// Which.
        service: Service,
    },
    /// The job has ended.
    Done(ExitStatus),
    /// The job has ended without effect, and begins anew when its passphrase has been typed.
    GivenBack,
    /// The keys are wiped, or there is no such archive. In the order of
    /// [`ControlToKeyholder::Lock`].
    Locked(Option<Failure>),
}

/// control → reader.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToReader {
    /// A look. The one before has ended.
    Start {
        /// The look.
        command: Command,
        /// Who looks, as the kernel says.
        uid: u32,
    },
    /// Nobody waits for it any more.
    Cancel,
}

/// reader → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReaderToControl {
    /// In its jail.
    Ready {
        /// What could not be enforced.
        missing: Vec<NotEnforced>,
        /// Peak of the reader's resident memory.
        peak_rss_bytes: u64,
    },
    /// For the client, as it is.
    Tell(ToClient),
    /// The look has ended.
    Done {
        /// How.
        exit: ExitStatus,
        /// Peak of the reader's resident memory.
        peak_rss_bytes: u64,
    },
}

/// control → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToVolumes {
    /// What was wanted is a volume of the configuration: open it.
    Configured {
        /// The question's number.
        item: u32,
    },
    /// The source that was wanted; where it can be cloned, a new file to clone it into, and the
    /// same for reading; and the base snapshot if there is one; with these descriptors.
    HereSource {
        /// The question's number.
        item: u32,
        /// Where it lies.
        found: FoundSource,
        /// It can be cloned.
        clones: bool,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
    },
    /// The source that was wanted could not be opened.
    NoSource {
        /// The question's number.
        item: u32,
        /// The path that was tried; empty if nobody is left to open it.
        path: Vec<u8>,
        /// Why.
        why: NoSource,
    },
    /// The target that was wanted; with it, what its form names, and the base snapshot if there is
    /// one.
    HereTarget {
        /// The question's number.
        item: u32,
        /// What the target is, and what else travels.
        form: TargetForm,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
        /// Where it lies, unless the person named this place for this very command.
        remembered: Option<Remembered>,
    },
    /// The snapshot has its name, or `errno` says why not.
    Kept {
        /// The source's number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// The target that was wanted cannot be had.
    NoTarget {
        /// The question's number.
        item: u32,
        /// Why.
        fault: TargetFault,
    },
    /// In dom0: have the qube run that is behind a far end. Until the answer only the next but one
    /// may come.
    PrepareQube {
        /// For which verb set.
        service: Service,
        /// What `wyng_config::Via` understands.
        via: String,
    },
    /// The far end has ended: its disposable is killed.
    EndQube {
        /// Of which verb set.
        service: Service,
    },
    /// Nobody waits for the qube any more.
    GiveUpQube,
}

/// volumes → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToControl {
    /// In its jail; what could not be enforced.
    Ready(Vec<NotEnforced>),
    /// Ask the client.
    Want {
        /// The question's number.
        item: u32,
        /// What.
        wanted: Wanted,
    },
    /// Have the client give a snapshot its name.
    Keep {
        /// The source's number.
        item: u32,
        /// What it is of.
        label: BaseLabel,
    },
    /// Have the client remove the base snapshot that it gave.
    DropBase {
        /// The number of the source or target.
        item: u32,
    },
    /// A base snapshot that is not what its label says cannot be removed.
    BaseKept {
        /// What the system said.
        errno: i32,
    },
    /// Have the client close a snapshot that is not needed.
    Forget {
        /// The source's number.
        item: u32,
    },
    /// The far end can be called.
    QubeReady {
        /// Which verb set.
        service: Service,
        /// The name of the disposable that was made.
        qube: Option<String>,
    },
    /// There is no qube, and nothing is left of one.
    QubeNotReady {
        /// Which verb set.
        service: Service,
        /// Why.
        failure: Failure,
    },
}

/// keyholder → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToVolumes {
    /// The command has ended: what was kept for it is closed.
    EndAll,
    /// A source, for reading.
    OpenSource {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// The path that it was backed up from, if the command itself does not say it.
        origin: Option<Vec<u8>>,
    },
    /// The next ranges that changed since the base.
    NextChanges {
        /// The source's number.
        item: u32,
    },
    /// The source's session is committed: what it was read from is the base from now on.
    Rotate {
        /// The source's number.
        item: u32,
        /// What it is of.
        label: BaseLabel,
    },
    /// The base snapshot of this source or target is not what its label says: it is removed.
    /// Nothing is answered.
    DropBase {
        /// Its number.
        item: u32,
    },
    /// This source has no session that is to be committed, or this target is done with.
    CloseSource {
        /// Its number.
        item: u32,
    },
    /// A target.
    OpenTarget {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// How many bytes it will have.
        size_bytes: u64,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// It is changed where it is.
        in_place: bool,
        /// The path that the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// A target that was changed where it is becomes again what it was.
    Undo {
        /// Its number.
        item: u32,
    },
}

/// volumes → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToKeyholder {
    /// A source; with its descriptor.
    Source {
        /// Its number.
        item: u32,
        /// Its size now.
        size_bytes: u64,
        /// The descriptor is a snapshot, which can become a base.
        snapshot: bool,
        /// What the snapshot's base is of, and the base's size.
        base: Option<(BaseLabel, u64)>,
        /// Where it lies.
        found: FoundSource,
        /// Peak of the volumes role's resident memory.
        peak_rss_bytes: u64,
    },
    /// The source could not be opened.
    NoSource {
        /// Its number.
        item: u32,
        /// The path that was tried.
        path: Vec<u8>,
        /// Why.
        why: NoSource,
    },
    /// Where bytes may have changed since the base: ranges `(begin, end)`, ascending, apart, at
    /// most [`CHANGES_MAX`]; none: that was all.
    Changes {
        /// The source's number.
        item: u32,
        /// How they were found.
        method: Method,
        /// Bytes of the source.
        ranges: Vec<(u64, u64)>,
    },
    /// What changed cannot be told.
    NoChanges {
        /// The source's number.
        item: u32,
    },
    /// The snapshot is the base now, or `errno` says why not.
    Rotated {
        /// The source's number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// A target; with its descriptor, and behind it that of what [`There::beside`] names.
    Target {
        /// Its number.
        item: u32,
        /// What kind of thing it is.
        kind: TargetKind,
        /// What is there.
        there: Option<There>,
        /// Where it lies, unless the person named this place for this very command.
        remembered: Option<Remembered>,
    },
    /// The target is again what it was, or `errno` says why not.
    Undone {
        /// Its number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// The target cannot be had.
    NoTarget {
        /// Its number.
        item: u32,
        /// Why.
        fault: TargetFault,
    },
}

/// control → spawner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToSpawner {
    /// Start the far end.
    Start {
        /// Which verb set.
        service: Service,
        /// What `wyng_config::Via` understands.
        via: String,
        /// In dom0 the name of the disposable that was made for it.
        qube: Option<String>,
    },
    /// This far end ends soon, or is killed.
    End {
        /// Which verb set.
        service: Service,
    },
    /// The command is over: far ends whose pipes are closed end soon, or are killed.
    EndAll,
}

/// spawner → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToControl {
    /// In its jail; what could not be enforced.
    Ready(Vec<NotEnforced>),
    /// It runs.
    Started {
        /// Which.
        service: Service,
    },
    /// It could not be started.
    NotStarted {
        /// Which.
        service: Service,
        /// Why.
        failure: Failure,
    },
    /// It ended.
    Ended {
        /// Which.
        service: Service,
        /// What that means if it was not done; none: its exit status was 0.
        failure: Option<Failure>,
        /// Peak of resident memory of the spawner and of its largest far end so far.
        peak_rss_bytes: u64,
    },
}

/// spawner → transport.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToTransport {
    /// The pipes of a far end: towards it, and from it.
    Pipes {
        /// Which.
        service: Service,
    },
}

/// transport → spawner: nothing is ever said.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TransportToSpawner {}

/// keyholder → transport.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToTransport {
    /// The command is over: whatever is still open is closed and forgotten.
    CloseAll,
    /// Open the destination over the pipes of this service.
    Open {
        /// Which.
        service: Service,
        /// The store's address, opaque.
        destination: String,
        /// Make its last folder.
        create: bool,
    },
    /// One blob; with a sealed memory file.
    Put {
        /// 1, 2, 3 and so on.
        number: u64,
        /// Its name.
        name: [u8; 32],
        /// Its length.
        length_bytes: u32,
        /// It may be stored in the reserve.
        may_use_reserve: bool,
    },
    /// Settle everything that was put.
    Sync,
    /// Nothing more is put.
    EndPush,
    /// A range of a blob.
    Get {
        /// Its name.
        name: [u8; 32],
        /// Where it begins.
        offset_bytes: u64,
        /// How long it is.
        length_bytes: u32,
    },
    /// Does a blob exist?
    Stat {
        /// Its name.
        name: [u8; 32],
    },
    /// All blobs.
    List,
    /// Nothing more is fetched.
    EndFetch,
}

/// transport → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TransportToKeyholder {
    /// In its jail.
    Ready {
        /// What could not be enforced.
        missing: Vec<NotEnforced>,
        /// How long the configuration lets anybody stand still, seconds.
        stall_secs: u64,
    },
    /// Nothing of the command before is left; the answer to [`KeyholderToTransport::CloseAll`].
    AllClosed,
    /// The destination is open.
    Opened,
    /// PUTs `first` to `last` ended so.
    Receipt {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
        /// How.
        answer: PutAnswer,
    },
    /// The far end has everything that was put.
    Final {
        /// Peak of the transport's resident memory.
        peak_rss_bytes: u64,
    },
    /// The range that was asked for; with a sealed memory file.
    Got {
        /// Its length.
        length_bytes: u32,
    },
    /// The range cannot be had.
    NotGot(NotGot),
    /// What lies under the name that was asked for.
    Stated(Found),
    /// Some of the blobs of the store.
    Entries(Vec<([u8; 32], u64)>),
    /// There are no more.
    ListEnd {
        /// The whole store could be listed.
        complete: bool,
    },
    /// The far end is of no more use.
    Failed {
        /// Which.
        service: Service,
        /// Why.
        fault: FarEndFault,
    },
}

/// How a PUT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PutAnswer {
    /// Durable, and new.
    Stored,
    /// Durable, and was there with the same bytes.
    ExistsSame,
    /// The name is taken by other bytes.
    ExistsDifferent,
    /// The name is taken; nobody may say by what.
    ExistsUnknown,
    /// No room.
    Full {
        /// What is free all the same, in MiB.
        free_mib: Option<u32>,
    },
    /// Not allowed.
    Refused,
    /// Tried and failed.
    Failed,
}

/// Why a range cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum NotGot {
    /// No such blob.
    Missing,
    /// The blob ends before the range does.
    Short,
    /// Something that is no blob lies under the name.
    Foreign,
    /// The store does not allow it.
    Refused,
    /// The store cannot read it.
    Failed,
}

/// Why a far end is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FarEndFault {
    /// It spoke first, in something else than the protocol.
    Banner,
    /// It broke the protocol.
    Protocol,
    /// It ended.
    Lost,
    /// Nothing moved for too long.
    Stalled,
    /// It did not greet in time.
    Silent,
    /// The store is not there.
    Missing,
    /// It is there, and holds nothing of an archive.
    Empty,
    /// It is no folder.
    NotAFolder,
    /// The store must be empty, and is not.
    NotEmpty,
    /// The store may not be used by this caller.
    Denied,
    /// The store can only be read.
    ReadOnly,
    /// The store has no room.
    Full {
        /// What is free all the same, in MiB.
        free_mib: Option<u32>,
    },
    /// The address is not understood.
    Address,
    /// The store does not answer.
    Unreachable,
    /// The store cannot do what is needed.
    Unsuitable,
    /// The store failed.
    Failed,
    /// No fault of its own: what it sent cannot be kept here.
    NoRoom {
        /// What the system said.
        errno: i32,
    },
}
