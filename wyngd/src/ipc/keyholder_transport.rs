// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between keyholder and transport: blobs, as sealed memory files. A descriptor travels
//! beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::Found;

use super::jail::NotEnforced;
use super::service::Service;

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
