// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames that the daemon sends. `rules` says when each of them may come; their effect is not
//! known here.

use core::fmt;

use crate::fields::{self, Fields};
use crate::signed::SIGNED_MIN;
use crate::{
    BODY_MAX, BlobName, DESTINATION_MAX, DecodeError, EncodeError, GET_VERSION_MAX, HEADER_BYTES,
    SIGNED_MAX, Signed, Tally, VERSION_ID_MAX, VersionId,
};

const OPEN: u8 = 0x01;
const PUT: u8 = 0x02;
const SYNC: u8 = 0x03;
const END: u8 = 0x04;
const DELETE: u8 = 0x05;
const LIST: u8 = 0x06;
const STAT: u8 = 0x07;
const GET: u8 = 0x08;
const RENEW: u8 = 0x09;
const VERSIONS: u8 = 0x0a;
const KEEP_ALIVE: u8 = 0x7f;

/// Bytes of OPEN between its header and the store's address.
const OPEN_FIXED_BYTES: usize = 8;
/// Bytes of each frame between its header and its signature, if it has one.
const PUT_BYTES: usize = 48;
const NAMED_BYTES: usize = 40;
const GET_BYTES: usize = 56;
/// The same of a GET of an older version, whose id comes before the signature.
const GET_VERSION_BYTES: usize = GET_BYTES + VERSION_ID_MAX;
const RENEW_BYTES: usize = 48;
/// The same of a LIST of one page; a LIST of everything has its number alone.
const PAGE_BYTES: usize = 48;
const LIST_BYTES: usize = 8;
/// Flags of OPEN.
const CREATE: u8 = 1;
const REQUESTS_ARE_SIGNED: u8 = 2;
const TRIES: u8 = 4;
const LOOKS_AT_VERSIONS: u8 = 8;

/// A frame from the daemon to the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHelper<'a> {
    /// The store's address. Comes once, as the first frame.
    Open(Open<'a>),
    /// Stores one blob, whose bytes follow the frame.
    Put(Put<'a>),
    /// Lengthens the lock of one blob that is stored.
    Renew(Renew<'a>),
    /// Requests that everything sent before is settled and its receipts are sent now.
    Sync,
    /// The last frame, with the tally of every PUT and RENEW, or of every DELETE.
    End(Tally),
    /// Deletes one blob.
    Delete(Delete<'a>),
    /// Requests names of blobs in the store.
    List(List<'a>),
    /// Requests whether a blob exists, and its length.
    Stat(Stat<'a>),
    /// Requests a range of a blob.
    Get(Get<'a>),
    /// Requests the ids of a blob's older versions.
    Versions(Versions<'a>),
    /// The daemon is alive and has nothing else to send.
    KeepAlive,
}

/// `flags:u8 zero signed_length:u16 lock_until_day:u32 destination[1..=4096] signed`. The
/// destination is the store's address, behind which credentials may follow, and is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Flag 1: the store is new. The last folder of its path is made if it is missing, and must be
    /// empty. Without the flag nothing is made.
    pub create: bool,
    /// Flag 4: the first PUT of the call also tries what the store refuses, where that does no harm
    /// to the blob.
    pub tries: bool,
    /// Flag 8, with a signature: the first look is at older versions of blobs. The store counts as
    /// empty only if there is none either.
    pub looks_at_versions: bool,
    /// Flag 2: every request of the call is signed by the daemon. The signature is that of the
    /// first request, which looks whether the store is there and holds anything.
    pub signed: Option<Signed<'a>>,
    /// What this call stores cannot be deleted before the beginning of this day of UTC, counted
    /// from the beginning of 1970; 0: nothing is locked. The store's address says how it is locked.
    pub lock_until_day: u32,
    /// The store's address: 1 to [`DESTINATION_MAX`] bytes, opaque to the daemon.
    pub destination: &'a [u8],
}

impl fmt::Debug for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("create", &self.create)
            .field("tries", &self.tries)
            .field("looks_at_versions", &self.looks_at_versions)
            .field("signed", &self.signed)
            .field("lock_until_day", &self.lock_until_day)
            .finish_non_exhaustive()
    }
}

/// `number:u64 name[32] length:u32 flags:u8 zero[3] signed`, followed by `length` raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// The name under which the bytes are stored, unless it is taken.
    pub name: BlobName,
    /// Length of the body, bytes; at most [`BODY_MAX`].
    pub length_bytes: u32,
    /// Flag 1: the body may be stored in the last [`crate::RESERVE_BYTES`] of the store.
    pub may_use_reserve: bool,
    /// The signature of the request that stores it.
    pub signed: Option<Signed<'a>>,
}

/// `number:u64 name[32] until_day:u32 zero[4] signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renew<'a> {
    /// The number after that of the last PUT or RENEW.
    pub number: u64,
    /// The blob whose lock is lengthened. Nothing else of it changes.
    pub name: BlobName,
    /// It cannot be deleted before the beginning of this day of UTC, counted from the beginning of
    /// 1970; at least 1. A lock that lasts as long, or longer, stays as it is.
    pub until_day: u32,
    /// The signature of the request that lengthens it.
    pub signed: Option<Signed<'a>>,
}

/// `number:u64 name[32] signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// The name to delete.
    pub name: BlobName,
    /// The signature of the request that deletes it.
    pub signed: Option<Signed<'a>>,
}

/// `request:u64`, for all blobs; or `request:u64 flags:u8 zero[7] after[32] signed`, for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a> {
    /// 1, 2, 3 and so on, over all requests of the call.
    pub request: u64,
    /// The page that is requested; `None`: everything.
    pub page: Option<Page<'a>>,
}

/// A page of a listing, in ascending order of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Flag 1: the page begins behind this name; `None`: with the first.
    pub after: Option<BlobName>,
    /// The signature of the request for the page.
    pub signed: Signed<'a>,
}

/// `request:u64 name[32] signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// 1, 2, 3 and so on, over all requests of the call.
    pub request: u64,
    /// The name to look for.
    pub name: BlobName,
    /// The signature of the request that looks.
    pub signed: Option<Signed<'a>>,
}

/// `request:u64 name[32] offset:u64 length:u32 version:u8 zero[3]`, then `signed`, or for an older
/// version `version_id[64] signed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get<'a> {
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
    /// The id of that version: exactly where an older one is requested with a signature.
    pub version_id: Option<VersionId>,
    /// The signature of the request for this range.
    pub signed: Option<Signed<'a>>,
}

/// `request:u64 name[32] signed`. Only in a call whose requests are signed: a helper with
/// credentials of its own finds the versions itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions<'a> {
    /// 1, 2, 3 and so on, over all requests of the call.
    pub request: u64,
    /// The blob whose versions are listed.
    pub name: BlobName,
    /// The signature of the request that lists them.
    pub signed: Signed<'a>,
}

impl<'a> ToHelper<'a> {
    /// Number of bytes that complete the frame of this header: at most
    /// `TO_HELPER_MAX - HEADER_BYTES`.
    pub fn rest_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, DecodeError> {
        let (kind, length) = fields::header(header)?;
        let bytes = length as usize;
        let is_signed = |fixed: usize| {
            let signed = bytes.checked_sub(fixed);
            signed.is_some_and(|signed| (SIGNED_MIN..=SIGNED_MAX).contains(&signed))
        };
        let fits = match kind {
            OPEN => {
                let variable = bytes.checked_sub(OPEN_FIXED_BYTES);
                let max = DESTINATION_MAX.saturating_add(SIGNED_MAX);
                variable.is_some_and(|variable| (1..=max).contains(&variable))
            }
            PUT => bytes == PUT_BYTES || is_signed(PUT_BYTES),
            SYNC | KEEP_ALIVE => length == 0,
            END => length == 24,
            DELETE | STAT => bytes == NAMED_BYTES || is_signed(NAMED_BYTES),
            LIST => bytes == LIST_BYTES || is_signed(PAGE_BYTES),
            GET => bytes == GET_BYTES || is_signed(GET_BYTES) || is_signed(GET_VERSION_BYTES),
            VERSIONS => is_signed(NAMED_BYTES),
            RENEW => bytes == RENEW_BYTES || is_signed(RENEW_BYTES),
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
            OPEN => return Open::decode(fields).map(Self::Open),
            PUT => return Put::decode(fields).map(Self::Put),
            SYNC => Self::Sync,
            END => Self::End(Tally {
                count: fields.u64()?,
                digest: fields.u128()?,
            }),
            DELETE => {
                return Ok(Self::Delete(Delete {
                    number: fields.number()?,
                    name: fields.name()?,
                    signed: Signed::decode_rest(fields)?,
                }));
            }
            LIST => return List::decode(fields).map(Self::List),
            STAT => {
                return Ok(Self::Stat(Stat {
                    request: fields.number()?,
                    name: fields.name()?,
                    signed: Signed::decode_rest(fields)?,
                }));
            }
            GET => return Get::decode(fields).map(Self::Get),
            VERSIONS => {
                return Ok(Self::Versions(Versions {
                    request: fields.number()?,
                    name: fields.name()?,
                    signed: Signed::decode(fields)?,
                }));
            }
            RENEW => return Renew::decode(fields).map(Self::Renew),
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
            Self::Open(open) => open.encode(out),
            Self::Put(put) => {
                in_bounds(put.number >= 1 && put.length_bytes <= BODY_MAX)?;
                let (number, length) = (put.number.to_le_bytes(), put.length_bytes.to_le_bytes());
                let flags = [u8::from(put.may_use_reserve), 0, 0, 0];
                let fields: [&[u8]; 4] = [&number, &put.name.0, &length, &flags];
                encode_signed(out, PUT, fields, put.signed.as_ref())
            }
            Self::Sync => fields::encode(out, SYNC, &[]),
            Self::End(tally) => fields::encode(
                out,
                END,
                &[&tally.count.to_le_bytes(), &tally.digest.to_le_bytes()],
            ),
            Self::Delete(delete) => {
                in_bounds(delete.number >= 1)?;
                let fields: [&[u8]; 2] = [&delete.number.to_le_bytes(), &delete.name.0];
                encode_signed(out, DELETE, fields, delete.signed.as_ref())
            }
            Self::List(list) => {
                in_bounds(list.request >= 1)?;
                let request = list.request.to_le_bytes();
                let Some(page) = &list.page else {
                    return fields::encode(out, LIST, &[&request]);
                };
                let after = page.after.map_or([0; 32], |name| name.0);
                let flags = [u8::from(page.after.is_some()), 0, 0, 0, 0, 0, 0, 0];
                let fields: [&[u8]; 3] = [&request, &flags, &after];
                encode_signed(out, LIST, fields, Some(&page.signed))
            }
            Self::Stat(stat) => {
                in_bounds(stat.request >= 1)?;
                let fields: [&[u8]; 2] = [&stat.request.to_le_bytes(), &stat.name.0];
                encode_signed(out, STAT, fields, stat.signed.as_ref())
            }
            Self::Get(get) => {
                in_bounds(get.request >= 1 && get.is_in_bounds())?;
                let (request, offset) = (get.request.to_le_bytes(), get.offset_bytes.to_le_bytes());
                let length = get.length_bytes.to_le_bytes();
                let version = [get.version, 0, 0, 0];
                let id: &[u8] = get.version_id.as_ref().map_or(&[], |id| id.as_padded());
                let fields: [&[u8]; 6] = [&request, &get.name.0, &offset, &length, &version, id];
                encode_signed(out, GET, fields, get.signed.as_ref())
            }
            Self::Versions(versions) => {
                in_bounds(versions.request >= 1)?;
                let fields: [&[u8]; 2] = [&versions.request.to_le_bytes(), &versions.name.0];
                encode_signed(out, VERSIONS, fields, Some(&versions.signed))
            }
            Self::Renew(renew) => {
                in_bounds(renew.number >= 1 && renew.until_day >= 1)?;
                let (number, day) = (renew.number.to_le_bytes(), renew.until_day.to_le_bytes());
                let fields: [&[u8]; 4] = [&number, &renew.name.0, &day, &[0; 4]];
                encode_signed(out, RENEW, fields, renew.signed.as_ref())
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

/// Encodes a frame that may end with a signature.
fn encode_signed<'b, const N: usize>(
    out: &'b mut [u8],
    kind: u8,
    fields: [&[u8]; N],
    signed: Option<&Signed<'_>>,
) -> Result<&'b [u8], EncodeError> {
    let Some(signed) = signed else {
        return fields::encode(out, kind, &fields);
    };
    let fixed = signed.encode_fixed()?;
    // The longest frame has six fields.
    let mut all: [&[u8]; 9] = [&[]; 9];
    let end: [&[u8]; 3] = [&fixed, signed.key_id.as_bytes(), signed.token.as_bytes()];
    let places = all.iter_mut();
    places
        .zip(fields.into_iter().chain(end))
        .for_each(|(place, field)| *place = field);
    fields::encode(out, kind, &all)
}

impl<'a> Open<'a> {
    fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let flags = fields.u8()?;
        if flags & !(CREATE | REQUESTS_ARE_SIGNED | TRIES | LOOKS_AT_VERSIONS) != 0 {
            return Err(DecodeError::UnknownFlag(flags));
        }
        fields.zeros::<1>()?;
        let signed_bytes = usize::from(fields.u16()?);
        let lock_until_day = fields.u32()?;
        let (destination, signed) = fields.split_end(signed_bytes)?;
        let destination = destination.remainder();
        if !(1..=DESTINATION_MAX).contains(&destination.len()) {
            return Err(DecodeError::OutOfBounds);
        }
        let signed = Signed::decode_rest(signed)?;
        let looks_at_versions = flags & LOOKS_AT_VERSIONS != 0;
        let is_signed = flags & REQUESTS_ARE_SIGNED != 0;
        if signed.is_some() != is_signed || (looks_at_versions && !is_signed) {
            return Err(DecodeError::OutOfBounds);
        }
        Ok(Self {
            create: flags & CREATE != 0,
            tries: flags & TRIES != 0,
            looks_at_versions,
            signed,
            lock_until_day,
            destination,
        })
    }

    fn encode<'b>(&self, out: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        in_bounds((1..=DESTINATION_MAX).contains(&self.destination.len()))?;
        let create = if self.create { CREATE } else { 0 };
        let flags = create | if self.tries { TRIES } else { 0 };
        let lock = self.lock_until_day.to_le_bytes();
        let Some(signed) = &self.signed else {
            in_bounds(!self.looks_at_versions)?;
            let flags = [flags, 0, 0, 0];
            return fields::encode(out, OPEN, &[&flags, &lock, self.destination]);
        };
        let fixed = signed.encode_fixed()?;
        let end: [&[u8]; 3] = [&fixed, signed.key_id.as_bytes(), signed.token.as_bytes()];
        let length: usize = end.iter().map(|part| part.len()).sum();
        let length = u16::try_from(length).map_err(|_| EncodeError::OutOfBounds)?;
        let [low, high] = length.to_le_bytes();
        let [fixed, key_id, token] = end;
        let looks = if self.looks_at_versions {
            LOOKS_AT_VERSIONS
        } else {
            0
        };
        let flags = [flags | looks | REQUESTS_ARE_SIGNED, 0, low, high];
        let parts: [&[u8]; 6] = [&flags, &lock, self.destination, fixed, key_id, token];
        fields::encode(out, OPEN, &parts)
    }
}

impl<'a> Put<'a> {
    fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let (number, name, length_bytes) = (fields.number()?, fields.name()?, fields.u32()?);
        let may_use_reserve = fields.flag()?;
        fields.zeros::<3>()?;
        if length_bytes > BODY_MAX {
            return Err(DecodeError::OutOfBounds);
        }
        Ok(Self {
            number,
            name,
            length_bytes,
            may_use_reserve,
            signed: Signed::decode_rest(fields)?,
        })
    }
}

impl<'a> Renew<'a> {
    fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let (number, name, until_day) = (fields.number()?, fields.name()?, fields.u32()?);
        fields.zeros::<4>()?;
        if until_day == 0 {
            return Err(DecodeError::OutOfBounds);
        }
        Ok(Self {
            number,
            name,
            until_day,
            signed: Signed::decode_rest(fields)?,
        })
    }
}

impl<'a> List<'a> {
    fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let request = fields.number()?;
        if fields.is_empty() {
            return Ok(Self {
                request,
                page: None,
            });
        }
        let is_after = fields.flag()?;
        fields.zeros::<7>()?;
        let after = fields.name()?;
        if !is_after && after.0 != [0; 32] {
            return Err(DecodeError::Reserved);
        }
        let page = Page {
            after: is_after.then_some(after),
            signed: Signed::decode(fields)?,
        };
        Ok(Self {
            request,
            page: Some(page),
        })
    }
}

impl<'a> Get<'a> {
    fn decode(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let (request, name, offset_bytes) = (fields.number()?, fields.name()?, fields.u64()?);
        let (length_bytes, version) = (fields.u32()?, fields.u8()?);
        fields.zeros::<3>()?;
        let version_id = if version > 0 && !fields.is_empty() {
            Some(VersionId::decode(&mut fields)?)
        } else {
            None
        };
        let get = Self {
            request,
            name,
            offset_bytes,
            length_bytes,
            version,
            version_id,
            signed: Signed::decode_rest(fields)?,
        };
        if get.is_in_bounds() {
            Ok(get)
        } else {
            Err(DecodeError::OutOfBounds)
        }
    }

    fn is_in_bounds(&self) -> bool {
        // Without a signature, the helper knows by the number which version is meant.
        let must_have_id = self.version > 0 && self.signed.is_some();
        self.length_bytes <= BODY_MAX
            && self.version <= GET_VERSION_MAX
            && self.version_id.is_some() == must_have_id
    }
}
