// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames that the helper sends: numbers only, of fixed sizes. There is no place in them for
//! text, so that nothing which the network VM says can reach a terminal, a log or a path.

use crate::fields::{self, Fields, byte_enum};
use crate::{BlobName, DecodeError, EncodeError, HEADER_BYTES, PIECE_MAX, Tally};

const OPENED: u8 = 0x81;
const RECEIPT: u8 = 0x82;
const FINAL: u8 = 0x83;
const ENTRY: u8 = 0x84;
const LIST_END: u8 = 0x85;
const STATED: u8 = 0x86;
const BYTES: u8 = 0x87;
const KEEP_ALIVE: u8 = 0x7f;

byte_enum! {
    /// What became of OPEN. After anything but `Ok` the helper ends.
    OpenStatus {
        /// The store is open.
        Ok = 0,
        /// The folder or bucket does not exist.
        Missing = 1,
        /// The folder is there and holds no blob: a disk is probably not mounted. (Not told for
        /// `create`.)
        Empty = 2,
        /// `create` was asked, and the store holds something.
        NotEmpty = 3,
        /// The path leads to something that is no folder.
        NotAFolder = 4,
        /// The helper's user or the credential may not do what the service needs.
        Permission = 5,
        /// The store cannot be written.
        ReadOnly = 6,
        /// There is no space to create the store.
        Full = 7,
        /// The destination is malformed, relative, climbs with `..`, or is of a kind that this
        /// helper has no store for.
        BadDestination = 8,
        /// The store does not answer.
        Unreachable = 9,
        /// The store lacks what the protocol needs, such as putting a blob only if it is absent.
        Unsuitable = 10,
        /// Anything else; the helper's own journal says more.
        Failed = 11,
    }
}

byte_enum! {
    /// What became of a PUT or a DELETE.
    ReceiptStatus {
        /// Durable, and was not there before. The one cumulative status of a PUT.
        Stored = 1,
        /// The name is taken by the same bytes, compared by the helper; durable.
        ExistsSame = 2,
        /// The name is taken by something else. Nothing was stored.
        ExistsDifferent = 3,
        /// The name is taken, and the store cannot or may not read by what. Nothing was stored.
        ExistsUnknown = 4,
        /// No space, or only the reserve is left. Nothing was stored.
        Full = 5,
        /// The store does not allow it. Nothing was stored or deleted.
        Refused = 6,
        /// The store failed; nothing is known about this number or any later one. The helper ends.
        Failed = 7,
        /// Gone, and durably so. The one cumulative status of a DELETE.
        Deleted = 8,
        /// There was nothing to delete.
        Absent = 9,
    }
}

impl ReceiptStatus {
    /// Whether a receipt of this status also settles the numbers since the receipt before it.
    pub const fn is_cumulative(self) -> bool {
        matches!(self, Self::Stored | Self::Deleted)
    }

    /// Whether this counts in FINAL: what was asked for is so, and stays so.
    pub const fn is_done(self) -> bool {
        matches!(
            self,
            Self::Stored | Self::ExistsSame | Self::Deleted | Self::Absent
        )
    }
}

byte_enum! {
    /// What became of a STAT.
    StatStatus {
        /// The blob exists.
        Present = 0,
        /// It does not.
        Absent = 1,
        /// The store does not allow to look.
        Refused = 2,
        /// The store cannot look; other requests may still work.
        Failed = 3,
        /// Something that is no blob lies under the name.
        Foreign = 4,
    }
}

byte_enum! {
    /// What one BYTES frame means for its GET.
    BytesStatus {
        /// Bytes follow, and after them another BYTES of the same request.
        More = 0,
        /// The last bytes follow, and the range is complete.
        Whole = 1,
        /// The last bytes follow, and the blob ends before the range does.
        Short = 2,
        /// There is no such blob. No bytes.
        Absent = 3,
        /// The store does not allow to read it. No bytes.
        Refused = 4,
        /// The store failed here; what came before was read. No bytes. Other requests may still
        /// work.
        Failed = 5,
        /// The store keeps no such version. No bytes.
        NoVersion = 6,
        /// Something that is no blob lies under the name. No bytes.
        Foreign = 7,
    }
}

impl BytesStatus {
    const fn allows(self, length_bytes: u32) -> bool {
        match self {
            Self::More => length_bytes > 0 && length_bytes <= PIECE_MAX,
            Self::Whole | Self::Short => length_bytes <= PIECE_MAX,
            Self::Absent | Self::Refused | Self::Failed | Self::NoVersion | Self::Foreign => {
                length_bytes == 0
            }
        }
    }
}

/// A frame from the helper to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToDaemon {
    /// The answer to OPEN.
    Opened(Opened),
    /// What became of PUTs or DELETEs.
    Receipt(Receipt),
    /// The answer to END: what is done and durable.
    Final(Tally),
    /// One blob of a LIST.
    Entry(Entry),
    /// The last answer to a LIST.
    ListEnd(ListEnd),
    /// The answer to a STAT.
    Stated(Stated),
    /// One piece of the answer to a GET; its bytes follow the frame.
    Bytes(BlobBytes),
    /// The helper is alive.
    KeepAlive,
}

/// `status:u8 zero[3] free:u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What became of OPEN.
    pub status: OpenStatus,
    /// Only with `Full`: the store's free space in whole MiB, if that is known.
    pub free_mib: Option<u32>,
}

/// `number:u64 status:u8 zero[3] free:u32`. Receipts come in ascending order of their numbers.
///
/// A cumulative status settles every number since the receipt before, up to and with its own. Any
/// other settles its own number alone, which is then the next one: so every number is settled
/// exactly once, and a blob that was already there is never covered by a `Stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The last number that this settles.
    pub number: u64,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Only with `Full`: the store's free space in whole MiB, if that is known.
    pub free_mib: Option<u32>,
}

/// `request:u64 name[32] length:u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of the LIST.
    pub request: u64,
    /// A blob's name.
    pub name: BlobName,
    /// Its length.
    pub length_bytes: u64,
}

/// `request:u64 count:u64 flags:u8 zero[7]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEnd {
    /// The number of the LIST.
    pub request: u64,
    /// How many entries were sent.
    pub count: u64,
    /// Flag 1: the listing is complete; otherwise part of the store could not be read.
    pub complete: bool,
}

/// `request:u64 length:u64 status:u8 zero[7]`; the length is 0 unless the blob is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The number of the STAT.
    pub request: u64,
    /// The blob's length.
    pub length_bytes: u64,
    /// Whether it is there.
    pub status: StatStatus,
}

/// `request:u64 length:u32 status:u8 zero[3]`, followed by `length` raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobBytes {
    /// The number of the GET.
    pub request: u64,
    /// Length of the body, at most [`PIECE_MAX`].
    pub length_bytes: u32,
    /// What it means.
    pub status: BytesStatus,
}

impl ToDaemon {
    /// How many bytes follow this header and complete the frame: at most
    /// `TO_DAEMON_MAX - HEADER_BYTES`.
    pub fn rest_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, DecodeError> {
        let (kind, length) = fields::header(header)?;
        let expected = match kind {
            OPENED => 8,
            RECEIPT | BYTES => 16,
            FINAL | LIST_END | STATED => 24,
            ENTRY => 48,
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

    /// Decodes one whole frame, header included, and nothing behind it.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let (kind, mut fields) = Fields::behind_header(frame)?;
        let decoded = match kind {
            OPENED => {
                let status = status(fields.u8()?, OpenStatus::from_byte)?;
                Self::Opened(Opened {
                    status,
                    free_mib: free(&mut fields, status == OpenStatus::Full)?,
                })
            }
            RECEIPT => {
                let (number, status) = (
                    fields.number()?,
                    status(fields.u8()?, ReceiptStatus::from_byte)?,
                );
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
                    complete: fields.flag()?,
                };
                fields.zeros::<7>()?;
                Self::ListEnd(end)
            }
            STATED => Self::Stated(Stated::decode(&mut fields)?),
            BYTES => Self::Bytes(BlobBytes::decode(&mut fields)?),
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
                let free = free_bytes(opened.free_mib, opened.status == OpenStatus::Full)?;
                fields::encode(out, OPENED, &[&[opened.status.byte(), 0, 0, 0], &free])
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
                    &[&request, &count, &[u8::from(end.complete)], &[0; 7]],
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
            Self::KeepAlive => fields::encode(out, KEEP_ALIVE, &[]),
        }
    }

    /// How many raw bytes follow the frame.
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

/// Stands in the place of the free space that is not known.
const NOT_KNOWN: u32 = u32::MAX;

/// Three zeros and the free space, which only a full store states.
fn free(fields: &mut Fields<'_>, is_full: bool) -> Result<Option<u32>, DecodeError> {
    fields.zeros::<3>()?;
    if !is_full {
        return fields.zeros::<4>().map(|()| None);
    }
    Ok(Some(fields.u32()?).filter(|mib| *mib != NOT_KNOWN))
}

fn free_bytes(free_mib: Option<u32>, is_full: bool) -> Result<[u8; 4], EncodeError> {
    match free_mib {
        None if !is_full => Ok([0; 4]),
        None => Ok(NOT_KNOWN.to_le_bytes()),
        Some(mib) => in_bounds(is_full && mib != NOT_KNOWN).map(|()| mib.to_le_bytes()),
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
