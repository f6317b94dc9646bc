// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between keyholder and transport: blobs, as sealed memory files. A descriptor travels
//! beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{Abilities, Found};
use wyng_wire::Signed;

use super::jail::NotEnforced;
use super::service::Service;

/// A request that the keyholder signed: what the helper adds to the request that it sends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Signature {
    /// When it was signed, seconds since the beginning of 1970 UTC.
    pub time_secs: u64,
    /// HMAC-SHA256 over the request.
    pub signature: [u8; 32],
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// The public part of the access key.
    pub key_id: String,
    /// The token of a session; empty: none.
    pub token: String,
}

impl Signature {
    /// The signature as frames carry it.
    pub fn on_the_pipe(&self) -> Signed<'_> {
        Signed {
            time_secs: self.time_secs,
            signature: self.signature,
            body_sha256: self.body_sha256,
            key_id: &self.key_id,
            token: &self.token,
        }
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedPage {
    /// It begins behind this name; `None`: with the first.
    pub after: Option<[u8; 32]>,
    /// The signature of the request for it.
    pub signature: Signature,
}

/// keyholder → transport.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToTransport {
    /// The command is over: everything that is still open is closed and forgotten.
    CloseAll,
    /// The store is to be opened over the pipes of this service.
    Open {
        /// Which of the far end's services.
        service: Service,
        /// The store's address, opaque.
        destination: String,
        /// The store's last folder is to be made.
        create: bool,
        /// The first PUT also tries what the store refuses.
        tries: bool,
        /// The first look is at older versions.
        looks_at_versions: bool,
        /// What is stored is locked until this day; 0: not at all.
        lock_until_day: u32,
        /// The first look at the store, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// One blob to store; with a sealed memory file.
    Put {
        /// 1, 2, 3 and so on.
        number: u64,
        /// Its name.
        name: [u8; 32],
        /// Its length, bytes.
        length_bytes: u32,
        /// It may use the reserve.
        may_use_reserve: bool,
        /// The request, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// One blob whose lock is to be lengthened.
    Renew {
        /// 1, 2, 3 and so on, in a call that puts nothing.
        number: u64,
        /// Its name.
        name: [u8; 32],
        /// The day of UTC until whose beginning it is locked, counted from the beginning of 1970.
        until_day: u32,
        /// The request, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// Everything that was put is to be settled.
    Sync,
    /// The push is over.
    EndPush,
    /// One blob to delete.
    Delete {
        /// 1, 2, 3 and so on.
        number: u64,
        /// Its name.
        name: [u8; 32],
        /// The request, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// The prune is over.
    EndPrune,
    /// A range of a blob is wanted.
    Get {
        /// Its name.
        name: [u8; 32],
        /// Where the range begins, bytes.
        offset_bytes: u64,
        /// Length of the range, bytes.
        length_bytes: u32,
        /// 0 for what the store serves, else the number of an older version.
        version: u8,
        /// The id of that version, in a call whose requests are signed.
        version_id: Option<String>,
        /// The request, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// The ids of a blob's older versions are wanted, in a call whose requests are signed.
    Versions {
        /// Its name.
        name: [u8; 32],
        /// The request.
        signature: Signature,
    },
    /// Whether a blob exists.
    Stat {
        /// Its name.
        name: [u8; 32],
        /// The request, in a call whose requests are signed.
        signature: Option<Signature>,
    },
    /// Blobs are to be listed.
    List {
        /// One page, in a call whose requests are signed; `None`: all.
        page: Option<SignedPage>,
    },
    /// The fetch is over.
    EndFetch,
}

/// transport → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TransportToKeyholder {
    /// The transport is in its jail.
    Ready {
        /// Protections that could not be enforced.
        missing: Vec<NotEnforced>,
        /// Maximum time without progress by the configuration, seconds.
        stall_secs: u64,
    },
    /// Nothing is left of the command before; the answer to [`KeyholderToTransport::CloseAll`].
    AllClosed,
    /// The store is open.
    Opened {
        /// Free space that the far end states, MiB; `None`: not known.
        free_mib: Option<u32>,
        /// What it states about the store.
        abilities: Abilities,
    },
    /// PUTs `first` to `last` have this answer.
    Receipt {
        /// Number of the first PUT.
        first: u64,
        /// Number of the last PUT.
        last: u64,
        /// The answer.
        answer: PutAnswer,
    },
    /// The RENEW of this number has this answer.
    Renewed {
        /// Its number.
        number: u64,
        /// The answer.
        answer: RenewAnswer,
    },
    /// DELETEs `first` to `last` have this answer.
    Deleted {
        /// Number of the first DELETE.
        first: u64,
        /// Number of the last DELETE.
        last: u64,
        /// The answer.
        answer: DeleteAnswer,
    },
    /// The store has everything that was put, or every deletion is durable.
    Final {
        /// Peak of the transport's resident memory, bytes.
        peak_rss_bytes: u64,
    },
    /// The range that was asked for; with a sealed memory file.
    Got {
        /// Its length, bytes.
        length_bytes: u32,
    },
    /// The range is not available.
    NotGot(NotGot),
    /// The ids of the older versions that were asked for, as the far end states them; the newest
    /// first.
    Versions(Vec<String>),
    /// The store rejects the time of the signature of that question.
    VersionsExpired,
    /// What lies under the name that was asked for.
    Stated(Found),
    /// The store rejects the time of the signature of that question.
    StatExpired,
    /// Some of the blobs of the store.
    Entries(Vec<([u8; 32], u64)>),
    /// No more blobs follow to what was asked for.
    ListEnd(Listed),
    /// The far end is of no more use.
    Failed {
        /// Which of the far end's services.
        service: Service,
        /// Why it is of no more use.
        fault: FarEndFault,
    },
}

/// What the end of a listing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Listed {
    /// The whole store could be listed.
    All,
    /// A part of it could not.
    Part,
    /// More pages follow.
    More,
    /// The store rejects the signature's time.
    Expired,
}

/// The answer to a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PutAnswer {
    /// The blob is durable, and new.
    Stored,
    /// The same; it was sent twice at the same moment, and the store refused one of the two.
    StoredOnce,
    /// The same; it was sent twice at the same moment, and the store took both.
    StoredTwice,
    /// The blob is durable, and was there with the same bytes.
    ExistsSame,
    /// The name is taken by other bytes.
    ExistsDifferent,
    /// The name is taken; the store may not say by which bytes.
    ExistsUnknown,
    /// The store has no room.
    Full {
        /// Space that is free all the same, MiB.
        free_mib: Option<u32>,
    },
    /// The store does not allow it.
    Refused,
    /// The store failed.
    Failed,
    /// The store rejects the signature's time.
    Expired,
    /// The store also does what was not signed.
    Lax,
}

/// The answer to a RENEW.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RenewAnswer {
    /// The blob is locked until the day, or longer.
    Renewed,
    /// There is no such blob.
    Missing,
    /// The store has no locks.
    Unsupported,
    /// The store does not allow it.
    Refused,
    /// The store failed for this blob, and the call continues.
    NotRenewed,
    /// The store failed, and the call ends.
    Failed,
    /// The store rejects the signature's time.
    Expired,
}

/// The answer to a DELETE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum DeleteAnswer {
    /// The blob was there and is gone, durably.
    Deleted,
    /// There was no such blob.
    Absent,
    /// The store does not allow it, or something that is no blob lies under the name.
    Refused,
    /// The store failed.
    Failed,
    /// The store rejects the signature's time.
    Expired,
}

/// Why a range is not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum NotGot {
    /// There is no such blob.
    Missing,
    /// The blob ends before the range does.
    Short,
    /// Something that is no blob lies under the name.
    Foreign,
    /// The store does not allow it.
    Refused,
    /// The store cannot read it.
    Failed,
    /// The store rejects the signature's time.
    Expired,
}

/// Why a far end is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum FarEndFault {
    /// It spoke first, in words that are not the protocol.
    Banner,
    /// It broke the protocol.
    Protocol,
    /// It ended before the call was over.
    Lost,
    /// It was silent, or made no progress, for too long.
    Stalled,
    /// It did not say HELLO in time.
    Silent,
    /// The store's folder is not there.
    Missing,
    /// The store's folder is there, and holds nothing of an archive.
    Empty,
    /// The store's address names no folder.
    NotAFolder,
    /// The store must be empty, and is not.
    NotEmpty,
    /// The store may not be used by this caller.
    Denied,
    /// The store can only be read.
    ReadOnly,
    /// The store has no room.
    Full {
        /// Space that is free all the same, MiB.
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
    /// The store rejects the signature's time.
    Expired,
    /// No fault of the far end: what it sent cannot be kept on this machine.
    NoRoom {
        /// The system's error number.
        errno: i32,
    },
}
