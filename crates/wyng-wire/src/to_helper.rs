// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames that the daemon sends. `rules` says when each of them may come; their effect is not
//! known here.

use core::fmt;

use crate::fields::{self, Fields};
use crate::{
    BODY_MAX, BlobName, DESTINATION_MAX, DecodeError, EncodeError, GET_VERSION_MAX, HEADER_BYTES,
    Tally,
};

const OPEN: u8 = 0x01;
const PUT: u8 = 0x02;
const SYNC: u8 = 0x03;
const END: u8 = 0x04;
const DELETE: u8 = 0x05;
const LIST: u8 = 0x06;
const STAT: u8 = 0x07;
const GET: u8 = 0x08;
const KEEP_ALIVE: u8 = 0x7f;

/// Bytes of OPEN between its header and the store's address.
const OPEN_FIXED_BYTES: u32 = 8;

/// A frame from the daemon to the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHelper<'a> {
    /// The store's address. Comes once, as the first frame.
    Open(Open<'a>),
    /// Stores one blob, whose bytes follow the frame.
    Put(Put),
    /// Requests that everything sent before is settled and its receipts are sent now.
    Sync,
    /// The last frame, with the tally of every PUT or every DELETE.
    End(Tally),
    /// Deletes one blob.
    Delete(Delete),
    /// Requests the names of all blobs in the store.
    List {
        /// The number of the request.
        request: u64,
    },
    /// Requests whether a blob exists, and its length.
    Stat(Stat),
    /// Requests a range of a blob.
    Get(Get),
    /// The daemon is alive and has nothing else to send.
    KeepAlive,
}

/// `flags:u8 zero[7] destination[1..=4096]`. The destination is the store's address, which may hold
/// a password, and is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Flag 1: the store is new. The last folder of its path is made if it is missing, and must be
    /// empty. Without the flag nothing is made.
    pub create: bool,
    /// The store's address: 1 to [`DESTINATION_MAX`] bytes, opaque to the daemon.
    pub destination: &'a [u8],
}

impl fmt::Debug for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}

/// `number:u64 name[32] length:u32 flags:u8 zero[3]`, followed by `length` raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// The name under which the bytes are stored, unless it is taken.
    pub name: BlobName,
    /// Length of the body, bytes; at most [`BODY_MAX`].
    pub length_bytes: u32,
    /// Flag 1: the body may be stored in the last [`crate::RESERVE_BYTES`] of the store.
    pub may_use_reserve: bool,
}

/// `number:u64 name[32]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// The name to delete.
    pub name: BlobName,
}

/// `request:u64 name[32]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// 1, 2, 3 and so on, over all requests of the call.
    pub request: u64,
    /// The name to look for.
    pub name: BlobName,
}

/// `request:u64 name[32] offset:u64 length:u32 version:u8 zero[3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get {
    /// 1, 2, 3 and so on, over all requests of the call.
    pub request: u64,
    /// The blob to read.
    pub name: BlobName,
    /// Beginning of the range, bytes.
    pub offset_bytes: u64,
    /// Length of the range, bytes; at most [`BODY_MAX`].
    pub length_bytes: u32,
    /// 0 for the current version of the blob, 1 to [`GET_VERSION_MAX`] for older versions in a
    /// store that keeps them.
    pub version: u8,
}

impl<'a> ToHelper<'a> {
    /// Number of bytes that complete the frame of this header: at most
    /// `TO_HELPER_MAX - HEADER_BYTES`.
    pub fn rest_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, DecodeError> {
        let (kind, length) = fields::header(header)?;
        let fits = match kind {
            OPEN => length
                .checked_sub(OPEN_FIXED_BYTES)
                .is_some_and(|bytes| (1..=DESTINATION_MAX).contains(&(bytes as usize))),
            PUT => length == 48,
            SYNC | KEEP_ALIVE => length == 0,
            END => length == 24,
            DELETE | STAT => length == 40,
            LIST => length == 8,
            GET => length == 56,
            _ => return Err(DecodeError::UnknownKind(kind)),
        };
        if fits {
            Ok(length as usize)
        } else {
            Err(DecodeError::Length {
                kind,
                bytes: length,
            })
        }
    }

    /// Decodes one whole frame, header included. Bytes after the frame are an error.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, mut fields) = Fields::behind_header(frame)?;
        let decoded = match kind {
            OPEN => {
                let create = fields.flag()?;
                fields.zeros::<7>()?;
                let destination = fields.remainder();
                if !(1..=DESTINATION_MAX).contains(&destination.len()) {
                    return Err(DecodeError::OutOfBounds);
                }
                return Ok(Self::Open(Open {
                    create,
                    destination,
                }));
            }
            PUT => Self::Put(Put::decode(&mut fields)?),
            SYNC => Self::Sync,
            END => Self::End(Tally {
                count: fields.u64()?,
                digest: fields.u128()?,
            }),
            DELETE => Self::Delete(Delete {
                number: fields.number()?,
                name: fields.name()?,
            }),
            LIST => Self::List {
                request: fields.number()?,
            },
            STAT => Self::Stat(Stat {
                request: fields.number()?,
                name: fields.name()?,
            }),
            GET => Self::Get(Get::decode(&mut fields)?),
            KEEP_ALIVE => Self::KeepAlive,
            _ => return Err(DecodeError::UnknownKind(kind)),
        };
        fields.end()?;
        Ok(decoded)
    }

    /// Encodes the frame at the start of `out`, and returns that part of it.
    /// [`crate::TO_HELPER_MAX`] bytes are enough for any.
    pub fn encode<'b>(&self, out: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        match self {
            Self::Open(open) => {
                if !(1..=DESTINATION_MAX).contains(&open.destination.len()) {
                    return Err(EncodeError::OutOfBounds);
                }
                fields::encode(
                    out,
                    OPEN,
                    &[&[u8::from(open.create)], &[0; 7], open.destination],
                )
            }
            Self::Put(put) => {
                in_bounds(put.number >= 1 && put.length_bytes <= BODY_MAX)?;
                let (number, length) = (put.number.to_le_bytes(), put.length_bytes.to_le_bytes());
                fields::encode(
                    out,
                    PUT,
                    &[
                        &number,
                        &put.name.0,
                        &length,
                        &[u8::from(put.may_use_reserve), 0, 0, 0],
                    ],
                )
            }
            Self::Sync => fields::encode(out, SYNC, &[]),
            Self::End(tally) => fields::encode(
                out,
                END,
                &[&tally.count.to_le_bytes(), &tally.digest.to_le_bytes()],
            ),
            Self::Delete(delete) => {
                in_bounds(delete.number >= 1)?;
                fields::encode(out, DELETE, &[&delete.number.to_le_bytes(), &delete.name.0])
            }
            Self::List { request } => {
                in_bounds(*request >= 1)?;
                fields::encode(out, LIST, &[&request.to_le_bytes()])
            }
            Self::Stat(stat) => {
                in_bounds(stat.request >= 1)?;
                fields::encode(out, STAT, &[&stat.request.to_le_bytes(), &stat.name.0])
            }
            Self::Get(get) => {
                in_bounds(
                    get.request >= 1
                        && get.length_bytes <= BODY_MAX
                        && get.version <= GET_VERSION_MAX,
                )?;
                let (request, offset) = (get.request.to_le_bytes(), get.offset_bytes.to_le_bytes());
                let length = get.length_bytes.to_le_bytes();
                fields::encode(
                    out,
                    GET,
                    &[
                        &request,
                        &get.name.0,
                        &offset,
                        &length,
                        &[get.version, 0, 0, 0],
                    ],
                )
            }
            Self::KeepAlive => fields::encode(out, KEEP_ALIVE, &[]),
        }
    }

    /// Number of raw bytes that follow the frame.
    pub const fn body_bytes(&self) -> u32 {
        match self {
            Self::Put(put) => put.length_bytes,
            _ => 0,
        }
    }
}

fn in_bounds(holds: bool) -> Result<(), EncodeError> {
    if holds {
        Ok(())
    } else {
        Err(EncodeError::OutOfBounds)
    }
}

impl Put {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let put = Self {
            number: fields.number()?,
            name: fields.name()?,
            length_bytes: fields.u32()?,
            may_use_reserve: fields.flag()?,
        };
        fields.zeros::<3>()?;
        if put.length_bytes <= BODY_MAX {
            Ok(put)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }
}

impl Get {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let get = Self {
            request: fields.number()?,
            name: fields.name()?,
            offset_bytes: fields.u64()?,
            length_bytes: fields.u32()?,
            version: fields.u8()?,
        };
        fields.zeros::<3>()?;
        if get.length_bytes <= BODY_MAX && get.version <= GET_VERSION_MAX {
            Ok(get)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }
}
