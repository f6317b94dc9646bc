// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames that the helper sends: numbers only, of fixed sizes. They have no place for text, so
//! that no text of the network VM can reach a terminal, a log or a path. The id of a version is the
//! exception: it has an alphabet of its own, and is never printed.

use crate::fields::{self, Fields, byte_enum};
use crate::{
    BlobName, DecodeError, EncodeError, GET_VERSION_MAX, HEADER_BYTES, PIECE_MAX, Tally, VersionId,
};

const OPENED: u8 = 0x81;
const RECEIPT: u8 = 0x82;
const FINAL: u8 = 0x83;
const ENTRY: u8 = 0x84;
const LIST_END: u8 = 0x85;
const STATED: u8 = 0x86;
const BYTES: u8 = 0x87;
const VERSION: u8 = 0x88;
const VERSIONS_END: u8 = 0x89;
const KEEP_ALIVE: u8 = 0x7f;

byte_enum! {
    /// The outcome of OPEN. After any status except `Ok` the helper ends.
    OpenStatus {
        /// The store is open.
        Ok = 0,
        /// The folder or bucket does not exist.
        Missing = 1,
        /// The folder exists and holds no blob: a disk is probably not mounted. Not used with
        /// `create`.
        Empty = 2,
        /// With `create`: the folder is not empty.
        NotEmpty = 3,
        /// The path leads to something other than a folder.
        NotAFolder = 4,
        /// The helper's user or the store's credential lacks a permission that the service needs.
        Permission = 5,
        /// The store is read-only.
        ReadOnly = 6,
        /// There is not enough space to create the store.
        Full = 7,
        /// The store's address is malformed, relative or has `..` in it, or this helper does not
        /// know its scheme.
        BadDestination = 8,
        /// The store does not answer.
        Unreachable = 9,
        /// The store lacks what the protocol needs, such as putting a blob only if it is absent.
        Unsuitable = 10,
        /// Any other failure; the helper's journal has the details.
        Failed = 11,
        /// The store rejects the signature's time.
        Expired = 12,
    }
}

byte_enum! {
    /// What keeps two blobs from one name, as far as the helper knows it when the store is open.
    CreateOnly {
        /// The helper does not know.
        Unknown = 0,
        /// The store takes one of two blobs that come at the same moment.
        Atomic = 1,
        /// The name is checked first and taken afterwards, so that two writers that act at the
        /// same moment can replace each other's blob.
        Checked = 2,
    }
}

byte_enum! {
    /// What a receipt means after a power cut of the store.
    Durability {
        /// The helper does not know.
        Unknown = 0,
        /// What has a receipt is there.
        Durable = 1,
        /// The store has no way to say that a blob is durable: what it accepted last may be gone.
        Accepted = 2,
    }
}

byte_enum! {
    /// The outcome of a PUT, a RENEW or a DELETE.
    ReceiptStatus {
        /// The blob is new and durable. The only cumulative status of a PUT.
        Stored = 1,
        /// The name holds the same bytes already, which the helper compared; they are durable.
        ExistsSame = 2,
        /// The name holds something else. Nothing was stored.
        ExistsDifferent = 3,
        /// The name is taken, and what it holds cannot or may not be read. Nothing was stored.
        ExistsUnknown = 4,
        /// There is no free space beyond the reserve. Nothing was stored.
        Full = 5,
        /// The store denies permission. Nothing was stored, locked or deleted.
        Refused = 6,
        /// The store failed; the outcome of this number and of all later ones is unknown. The
        /// helper ends.
        Failed = 7,
        /// The blob is deleted durably. The only cumulative status of a DELETE.
        Deleted = 8,
        /// There was no such blob.
        Absent = 9,
        /// The store rejects the signature's time. An earlier try of the same request,
        /// whose answer was lost, may have had its effect. The call continues.
        Expired = 10,
        /// The store also does what was not signed, or replaces what has the name although the signed
        /// request forbids it.
        Lax = 11,
        /// The blob is new and durable. It was sent twice at the same moment, and the store refused
        /// one of the two. Only for the first PUT of a call that tries the store.
        StoredOnce = 12,
        /// The blob is new and durable. It was sent twice at the same moment, and the store took
        /// both; or the store was seen in this call to replace what has a name.
        StoredTwice = 13,
        /// The blob is locked until the day of its RENEW, or longer.
        Renewed = 14,
        /// There is no such blob that could be locked.
        NotThere = 15,
        /// The store has no locks that could be lengthened, or its address does not say how.
        Unsupported = 16,
        /// The store failed for this RENEW. The call continues.
        NotRenewed = 17,
    }
}

impl ReceiptStatus {
    /// Whether a receipt of this status also settles the numbers since the receipt before it.
    pub const fn is_cumulative(self) -> bool {
        matches!(self, Self::Stored | Self::Deleted)
    }

    /// Whether FINAL counts the number: the requested state is reached and durable.
    pub const fn is_done(self) -> bool {
        matches!(
            self,
            Self::Stored
                | Self::StoredOnce
                | Self::StoredTwice
                | Self::ExistsSame
                | Self::Deleted
                | Self::Absent
                | Self::Renewed
        )
    }
}

byte_enum! {
    /// The outcome of a STAT.
    StatStatus {
        /// The blob exists.
        Present = 0,
        /// The blob does not exist.
        Absent = 1,
        /// The store denies permission to look.
        Refused = 2,
        /// The store cannot look for this blob; other requests may still work.
        Failed = 3,
        /// The name holds something other than a blob.
        Foreign = 4,
        /// The store rejects the signature's time.
        Expired = 5,
    }
}

byte_enum! {
    /// What follows the entries of a LIST.
    ListStatus {
        /// Part of the store could not be read.
        Incomplete = 0,
        /// Nothing: the entries are all that there are.
        Complete = 1,
        /// More pages. Only where a page was requested.
        More = 2,
        /// The store rejects the signature's time; there are no entries.
        Expired = 3,
    }
}

byte_enum! {
    /// What the ids of a VERSIONS are.
    VersionsStatus {
        /// All older versions that the store shows, or the newest [`crate::GET_VERSION_MAX`].
        Shown = 0,
        /// The store shows no versions of this blob; there are no ids.
        NotShown = 1,
        /// The store rejects the signature's time; there are no ids.
        Expired = 2,
    }
}

byte_enum! {
    /// What a BYTES frame means for its GET.
    BytesStatus {
        /// Bytes follow, then another BYTES frame of the same request.
        More = 0,
        /// The last bytes follow, and the range is complete.
        Whole = 1,
        /// The last bytes follow, and the blob ends before the range does.
        Short = 2,
        /// There is no such blob. No bytes follow.
        Absent = 3,
        /// The store denies permission to read the blob. No bytes follow.
        Refused = 4,
        /// The store failed at this place of the blob; the bytes before it were read. No bytes
        /// follow. Other requests may still work.
        Failed = 5,
        /// The store does not keep that version. No bytes follow.
        NoVersion = 6,
        /// The name holds something other than a blob. No bytes.
        Foreign = 7,
        /// The store rejects the signature's time. No bytes follow.
        Expired = 8,
    }
}

impl BytesStatus {
    const fn allows(self, length_bytes: u32) -> bool {
        match self {
            Self::More => length_bytes > 0 && length_bytes <= PIECE_MAX,
            Self::Whole | Self::Short => length_bytes <= PIECE_MAX,
            Self::Absent
            | Self::Refused
            | Self::Failed
            | Self::NoVersion
            | Self::Foreign
            | Self::Expired => length_bytes == 0,
        }
    }
}

/// A frame from the helper to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToDaemon {
    /// The answer to OPEN.
    Opened(Opened),
    /// The outcome of PUTs, RENEWs or DELETEs.
    Receipt(Receipt),
    /// The answer to END: the tally of what is done and durable.
    Final(Tally),
    /// One blob of a LIST.
    Entry(Entry),
    /// The last answer to a LIST.
    ListEnd(ListEnd),
    /// The answer to a STAT.
    Stated(Stated),
    /// One piece of the answer to a GET; its bytes follow the frame.
    Bytes(BlobBytes),
    /// One older version of the blob of a VERSIONS.
    Version(Version),
    /// The last answer to a VERSIONS.
    VersionsEnd(VersionsEnd),
    /// The helper is alive and has nothing else to send.
    KeepAlive,
}

impl OpenStatus {
    /// Whether the store's free space is stated with it.
    fn states_room(self) -> bool {
        matches!(self, Self::Ok | Self::Full)
    }
}

/// `status:u8 create_only:u8 durability:u8 zero free:u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The outcome of OPEN.
    pub status: OpenStatus,
    /// What keeps two blobs from one name. `Unknown` unless the store is open.
    pub create_only: CreateOnly,
    /// What a receipt means. `Unknown` unless the store is open.
    pub durability: Durability,
    /// The store's free space, MiB, if it is known. Only with `Ok` and `Full`.
    pub free_mib: Option<u32>,
}

impl Opened {
    /// This outcome, with nothing known of the store.
    pub const fn of(status: OpenStatus) -> Self {
        Self {
            status,
            create_only: CreateOnly::Unknown,
            durability: Durability::Unknown,
            free_mib: None,
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let opened = Self {
            status: status(fields.u8()?, OpenStatus::from_byte)?,
            create_only: status(fields.u8()?, CreateOnly::from_byte)?,
            durability: status(fields.u8()?, Durability::from_byte)?,
            free_mib: None,
        };
        fields.zeros::<1>()?;
        if !opened.is_consistent() {
            return Err(DecodeError::OutOfBounds);
        }
        let free_mib = free(fields, opened.status.states_room())?;
        Ok(Self { free_mib, ..opened })
    }

    /// Nothing is known of a store that is not open.
    fn is_consistent(&self) -> bool {
        let knows_nothing =
            self.create_only == CreateOnly::Unknown && self.durability == Durability::Unknown;
        self.status == OpenStatus::Ok || knows_nothing
    }
}

/// `number:u64 status:u8 zero[3] free:u32`. Receipts come in ascending order of their numbers.
///
/// A cumulative status settles every number after the previous receipt, its own included. Any other
/// status settles its own number only, which must be the next one. So every number is settled
/// exactly once, and a blob that existed before is never covered by a `Stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The last number that the receipt settles.
    pub number: u64,
    /// The outcome of that number.
    pub status: ReceiptStatus,
    /// The store's free space, MiB, if it is known. Only with `Full`.
    pub free_mib: Option<u32>,
}

/// `request:u64 name[32] length:u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the LIST.
    pub request: u64,
    /// The blob's name.
    pub name: BlobName,
    /// The blob's length, bytes.
    pub length_bytes: u64,
}

/// `request:u64 count:u64 status:u8 zero[7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEnd {
    /// The number of the LIST.
    pub request: u64,
    /// Number of entries that were sent.
    pub count: u64,
    /// What follows the entries.
    pub status: ListStatus,
}

/// `request:u64 length:u64 status:u8 zero[7]`; the length is 0 unless the blob is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The number of the STAT.
    pub request: u64,
    /// The blob's length, bytes.
    pub length_bytes: u64,
    /// Whether the blob exists.
    pub status: StatStatus,
}

/// `request:u64 length:u32 status:u8 zero[3]`, followed by `length` raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobBytes {
    /// The number of the GET.
    pub request: u64,
    /// Length of the body, bytes; at most [`PIECE_MAX`].
    pub length_bytes: u32,
    /// What the frame means for its GET.
    pub status: BytesStatus,
}

/// `request:u64 version_id[64]`. The newest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number of the VERSIONS.
    pub request: u64,
    /// The id by which the store names the version.
    pub id: VersionId,
}

/// `request:u64 count:u8 status:u8 zero[6]`; the count is 0 unless versions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionsEnd {
    /// The number of the VERSIONS.
    pub request: u64,
    /// Number of ids that were sent, at most [`crate::GET_VERSION_MAX`].
    pub count: u8,
    /// What they are.
    pub status: VersionsStatus,
}

impl ToDaemon {
    /// Number of bytes that complete the frame of this header: at most
    /// `TO_DAEMON_MAX - HEADER_BYTES`.
    pub fn rest_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, DecodeError> {
        let (kind, length) = fields::header(header)?;
        let expected = match kind {
            OPENED => 8,
            RECEIPT | BYTES | VERSIONS_END => 16,
            FINAL | LIST_END | STATED => 24,
            ENTRY => 48,
            VERSION => 72,
            KEEP_ALIVE => 0,
            _ => return Err(DecodeError::UnknownKind(kind)),
        };
        if length == expected {
            Ok(length as usize)
        } else {
            Err(DecodeError::Length {
                kind,
                bytes: length,
            })
        }
    }

    /// Decodes one whole frame, header included. Bytes after the frame are an error.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let (kind, mut fields) = Fields::behind_header(frame)?;
        let decoded = match kind {
            OPENED => Self::Opened(Opened::decode(&mut fields)?),
            RECEIPT => {
                let (number, status) = (
                    fields.number()?,
                    status(fields.u8()?, ReceiptStatus::from_byte)?,
                );
                fields.zeros::<3>()?;
                Self::Receipt(Receipt {
                    number,
                    status,
                    free_mib: free(&mut fields, status == ReceiptStatus::Full)?,
                })
            }
            FINAL => Self::Final(Tally {
                count: fields.u64()?,
                digest: fields.u128()?,
            }),
            ENTRY => Self::Entry(Entry {
                request: fields.number()?,
                name: fields.name()?,
                length_bytes: fields.u64()?,
            }),
            LIST_END => {
                let end = ListEnd {
                    request: fields.number()?,
                    count: fields.u64()?,
                    status: status(fields.u8()?, ListStatus::from_byte)?,
                };
                fields.zeros::<7>()?;
                Self::ListEnd(end)
            }
            STATED => Self::Stated(Stated::decode(&mut fields)?),
            BYTES => Self::Bytes(BlobBytes::decode(&mut fields)?),
            VERSION => Self::Version(Version {
                request: fields.number()?,
                id: VersionId::decode(&mut fields)?,
            }),
            VERSIONS_END => Self::VersionsEnd(VersionsEnd::decode(&mut fields)?),
            KEEP_ALIVE => Self::KeepAlive,
            _ => return Err(DecodeError::UnknownKind(kind)),
        };
        fields.end()?;
        Ok(decoded)
    }

    /// Encodes the frame at the start of `out`, and returns that part of it.
    /// [`crate::TO_DAEMON_MAX`] bytes are enough for any.
    pub fn encode<'b>(&self, out: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        match self {
            Self::Opened(opened) => {
                in_bounds(opened.is_consistent())?;
                let free = free_bytes(opened.free_mib, opened.status.states_room())?;
                let Opened {
                    status,
                    create_only,
                    durability,
                    ..
                } = opened;
                let states = [status.byte(), create_only.byte(), durability.byte(), 0];
                fields::encode(out, OPENED, &[&states, &free])
            }
            Self::Receipt(receipt) => {
                in_bounds(receipt.number >= 1)?;
                let free = free_bytes(receipt.free_mib, receipt.status == ReceiptStatus::Full)?;
                fields::encode(
                    out,
                    RECEIPT,
                    &[
                        &receipt.number.to_le_bytes(),
                        &[receipt.status.byte(), 0, 0, 0],
                        &free,
                    ],
                )
            }
            Self::Final(tally) => fields::encode(
                out,
                FINAL,
                &[&tally.count.to_le_bytes(), &tally.digest.to_le_bytes()],
            ),
            Self::Entry(entry) => {
                in_bounds(entry.request >= 1)?;
                let (request, length) = (
                    entry.request.to_le_bytes(),
                    entry.length_bytes.to_le_bytes(),
                );
                fields::encode(out, ENTRY, &[&request, &entry.name.0, &length])
            }
            Self::ListEnd(end) => {
                in_bounds(end.request >= 1)?;
                let (request, count) = (end.request.to_le_bytes(), end.count.to_le_bytes());
                fields::encode(
                    out,
                    LIST_END,
                    &[&request, &count, &[end.status.byte()], &[0; 7]],
                )
            }
            Self::Stated(stated) => {
                in_bounds(stated.request >= 1 && stated.is_consistent())?;
                let (request, length) = (
                    stated.request.to_le_bytes(),
                    stated.length_bytes.to_le_bytes(),
                );
                fields::encode(
                    out,
                    STATED,
                    &[&request, &length, &[stated.status.byte()], &[0; 7]],
                )
            }
            Self::Bytes(bytes) => {
                in_bounds(bytes.request >= 1 && bytes.status.allows(bytes.length_bytes))?;
                let (request, length) = (
                    bytes.request.to_le_bytes(),
                    bytes.length_bytes.to_le_bytes(),
                );
                fields::encode(
                    out,
                    BYTES,
                    &[&request, &length, &[bytes.status.byte(), 0, 0, 0]],
                )
            }
            Self::Version(version) => {
                in_bounds(version.request >= 1)?;
                let request = version.request.to_le_bytes();
                fields::encode(out, VERSION, &[&request, version.id.as_padded()])
            }
            Self::VersionsEnd(end) => {
                in_bounds(end.request >= 1 && end.is_consistent())?;
                let request = end.request.to_le_bytes();
                let states = [end.count, end.status.byte(), 0, 0, 0, 0, 0, 0];
                fields::encode(out, VERSIONS_END, &[&request, &states])
            }
            Self::KeepAlive => fields::encode(out, KEEP_ALIVE, &[]),
        }
    }

    /// Number of raw bytes that follow the frame.
    pub const fn body_bytes(&self) -> u32 {
        match self {
            Self::Bytes(bytes) => bytes.length_bytes,
            _ => 0,
        }
    }
}

fn status<T>(byte: u8, from_byte: impl Fn(u8) -> Option<T>) -> Result<T, DecodeError> {
    from_byte(byte).ok_or(DecodeError::UnknownStatus(byte))
}

/// On the wire: the free space is not known.
const NOT_KNOWN: u32 = u32::MAX;

/// Reads the free space, if the status is one with which a store states it.
fn free(fields: &mut Fields<'_>, is_stated: bool) -> Result<Option<u32>, DecodeError> {
    if !is_stated {
        return fields.zeros::<4>().map(|()| None);
    }
    Ok(Some(fields.u32()?).filter(|mib| *mib != NOT_KNOWN))
}

fn free_bytes(free_mib: Option<u32>, is_stated: bool) -> Result<[u8; 4], EncodeError> {
    match free_mib {
        None if !is_stated => Ok([0; 4]),
        None => Ok(NOT_KNOWN.to_le_bytes()),
        Some(mib) => in_bounds(is_stated && mib != NOT_KNOWN).map(|()| mib.to_le_bytes()),
    }
}

fn in_bounds(holds: bool) -> Result<(), EncodeError> {
    if holds {
        Ok(())
    } else {
        Err(EncodeError::OutOfBounds)
    }
}

impl Stated {
    fn is_consistent(&self) -> bool {
        self.status == StatStatus::Present || self.length_bytes == 0
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let stated = Self {
            request: fields.number()?,
            length_bytes: fields.u64()?,
            status: status(fields.u8()?, StatStatus::from_byte)?,
        };
        fields.zeros::<7>()?;
        if stated.is_consistent() {
            Ok(stated)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }
}

impl VersionsEnd {
    fn is_consistent(&self) -> bool {
        let is_shown = self.status == VersionsStatus::Shown;
        self.count <= GET_VERSION_MAX && (is_shown || self.count == 0)
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let end = Self {
            request: fields.number()?,
            count: fields.u8()?,
            status: status(fields.u8()?, VersionsStatus::from_byte)?,
        };
        fields.zeros::<6>()?;
        if end.is_consistent() {
            Ok(end)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }
}

impl BlobBytes {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let bytes = Self {
            request: fields.number()?,
            length_bytes: fields.u32()?,
            status: status(fields.u8()?, BytesStatus::from_byte)?,
        };
        fields.zeros::<3>()?;
        if bytes.status.allows(bytes.length_bytes) {
            Ok(bytes)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }
}
