// SPDX-License-Identifier: GPL-3.0-or-later
//! The answers to LIST, STAT and GET.

use tracing::warn;
use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Entry, GET_VERSION_MAX, Get, List, ListEnd, ListStatus,
    PIECE_MAX, Stat, StatStatus, Stated, TO_DAEMON_MAX, ToDaemon, Version, VersionId, Versions,
    VersionsEnd, VersionsStatus,
};

use crate::exit::CallError;
use crate::output::Output;
use crate::piece::Piece;
use crate::store::{Blob, Fetch, Given, Opened, StoreError, Wanted};

/// Maximum length of the part of a listing that is sent at once, bytes.
const LISTING_BYTES: usize = 64 * 1024;

/// A LIST, apart from the buffer of its frame.
pub(super) struct AskedList {
    pub(super) request: u64,
    pub(super) page: Option<(Option<BlobName>, Given)>,
}

/// A STAT.
pub(super) struct AskedStat {
    pub(super) request: u64,
    pub(super) name: BlobName,
    pub(super) given: Option<Given>,
}

/// A VERSIONS.
pub(super) struct AskedVersions {
    pub(super) request: u64,
    pub(super) name: BlobName,
    pub(super) given: Given,
}

/// A GET.
pub(super) struct AskedGet {
    pub(super) request: u64,
    pub(super) name: BlobName,
    pub(super) wanted: Wanted,
}

impl From<&List<'_>> for AskedList {
    fn from(list: &List<'_>) -> Self {
        let page = list.page.as_ref();
        Self {
            request: list.request,
            page: page.map(|page| (page.after, Given::from(&page.signed))),
        }
    }
}

impl From<&Stat<'_>> for AskedStat {
    fn from(stat: &Stat<'_>) -> Self {
        Self {
            request: stat.request,
            name: stat.name,
            given: stat.signed.as_ref().map(Given::from),
        }
    }
}

impl From<&Versions<'_>> for AskedVersions {
    fn from(versions: &Versions<'_>) -> Self {
        Self {
            request: versions.request,
            name: versions.name,
            given: Given::from(&versions.signed),
        }
    }
}

impl From<&Get<'_>> for AskedGet {
    fn from(get: &Get<'_>) -> Self {
        Self {
            request: get.request,
            name: get.name,
            wanted: Wanted {
                version: get.version,
                version_id: get.version_id.map(|id| id.as_str().to_owned()),
                offset_bytes: get.offset_bytes,
                length_bytes: get.length_bytes,
                given: get.signed.as_ref().map(Given::from),
            },
        }
    }
}

pub(super) fn list<S: Fetch>(
    store: &S,
    output: &Output,
    asked: &AskedList,
) -> Result<(), CallError> {
    let request = asked.request;
    let mut count = 0_u64;
    let mut encoded = Vec::with_capacity(LISTING_BYTES);
    let visit = |name: &BlobName, length_bytes| {
        let entry = ToDaemon::Entry(Entry {
            request,
            name: *name,
            length_bytes,
        });
        encoded.extend_from_slice(entry.encode(&mut [0; TO_DAEMON_MAX])?);
        count = count.saturating_add(1);
        if encoded.len().saturating_add(TO_DAEMON_MAX) > LISTING_BYTES {
            output.send_encoded(&encoded)?;
            encoded.clear();
        }
        Ok::<(), CallError>(())
    };
    let status = match &asked.page {
        Some((after, given)) => store.list_page(after.as_ref(), given, visit)?,
        None if store.list(visit)? => ListStatus::Complete,
        None => ListStatus::Incomplete,
    };
    output.send_encoded(&encoded)?;
    output.send(&ToDaemon::ListEnd(ListEnd {
        request,
        count,
        status,
    }))
}

pub(super) fn stated<S: Fetch>(store: &S, stat: &AskedStat) -> Result<Stated, CallError> {
    let found = match &stat.given {
        Some(given) => store.stat_signed(&stat.name, given),
        None => store.stat(&stat.name),
    };
    let (status, length_bytes) = match found {
        Ok(Some(length_bytes)) => (StatStatus::Present, length_bytes),
        Ok(None) => (StatStatus::Absent, 0),
        Err(problem) => {
            let status = match unread(problem)? {
                Unread::Refused => StatStatus::Refused,
                Unread::Failed => StatStatus::Failed,
                Unread::Foreign => StatStatus::Foreign,
                Unread::Expired => StatStatus::Expired,
            };
            (status, 0)
        }
    };
    Ok(Stated {
        request: stat.request,
        length_bytes,
        status,
    })
}

/// The ids for a VERSIONS, the newest first, and its end.
pub(super) fn versions<S: Fetch>(
    store: &S,
    asked: &AskedVersions,
) -> Result<(Vec<Version>, VersionsEnd), CallError> {
    let request = asked.request;
    let (ids, status) = match store.versions_signed(&asked.name, &asked.given) {
        Ok(ids) => (ids, VersionsStatus::Shown),
        Err(problem) => match unread(problem)? {
            Unread::Expired => (Vec::new(), VersionsStatus::Expired),
            Unread::Refused | Unread::Failed | Unread::Foreign => {
                (Vec::new(), VersionsStatus::NotShown)
            }
        },
    };
    let shown: Vec<Version> = ids
        .iter()
        .filter_map(|id| VersionId::new(id))
        .take(GET_VERSION_MAX.into())
        .map(|id| Version { request, id })
        .collect();
    let end = VersionsEnd {
        request,
        count: u8::try_from(shown.len()).unwrap_or(GET_VERSION_MAX),
        status,
    };
    Ok((shown, end))
}

/// Passes on one BYTES of an answer. Its body is in the piece.
pub(super) type Pass<'p> = dyn FnMut(BlobBytes, &mut Piece) -> Result<(), CallError> + 'p;

/// Answers a GET.
pub(super) fn read_range<S: Fetch>(
    store: &S,
    get: &AskedGet,
    piece: &mut Piece,
    pass: &mut Pass<'_>,
) -> Result<(), CallError> {
    let status = match store.open_range(&get.name, &get.wanted) {
        Ok(Opened::Blob(blob)) => return read_pieces(&blob, get, piece, pass),
        Ok(Opened::Absent) => BytesStatus::Absent,
        Ok(Opened::NoVersion) => BytesStatus::NoVersion,
        Err(problem) => failed(problem)?,
    };
    let bytes = BlobBytes {
        request: get.request,
        length_bytes: 0,
        status,
    };
    pass(bytes, piece)
}

/// Passes on the range in pieces, and never more than the range.
fn read_pieces(
    blob: &impl Blob,
    get: &AskedGet,
    piece: &mut Piece,
    pass: &mut Pass<'_>,
) -> Result<(), CallError> {
    let there_bytes = blob.length_bytes().saturating_sub(get.wanted.offset_bytes);
    let mut left_bytes = u64::from(get.wanted.length_bytes).min(there_bytes);
    let mut offset_bytes = get.wanted.offset_bytes;
    let last = if left_bytes == u64::from(get.wanted.length_bytes) {
        BytesStatus::Whole
    } else {
        BytesStatus::Short
    };
    loop {
        // At most a piece comes; the rest is asked for next.
        let wanted = usize::try_from(left_bytes).unwrap_or(usize::MAX);
        let (count, status) = match blob.fill(piece, offset_bytes, wanted) {
            Ok(count) if count as u64 == left_bytes => (count, last),
            // The blob has become shorter since it was opened.
            Ok(0) => (0, BytesStatus::Short),
            Ok(count) => (count, BytesStatus::More),
            Err(problem) => (0, failed(problem)?),
        };
        let bytes = BlobBytes {
            request: get.request,
            length_bytes: u32::try_from(count).unwrap_or(PIECE_MAX),
            status,
        };
        pass(bytes, piece)?;
        if status != BytesStatus::More {
            return Ok(());
        }
        offset_bytes = offset_bytes.saturating_add(count as u64);
        left_bytes = left_bytes.saturating_sub(count as u64);
    }
}

/// Why a blob is not read.
enum Unread {
    Refused,
    Failed,
    Foreign,
    Expired,
}

/// A fault of this blob is reported; a fault that every other blob would meet too ends the call.
fn unread(problem: StoreError) -> Result<Unread, CallError> {
    match problem {
        StoreError::Failed { .. } | StoreError::Full { .. } | StoreError::Lost { .. } => {
            return Err(problem.into());
        }
        StoreError::Refused { .. }
        | StoreError::Foreign { .. }
        | StoreError::Unusable { .. }
        | StoreError::Expired { .. }
        | StoreError::Lax { .. } => {
            warn!("{problem}")
        }
    }
    Ok(match problem {
        StoreError::Refused { .. } => Unread::Refused,
        StoreError::Foreign { .. } => Unread::Foreign,
        StoreError::Expired { .. } => Unread::Expired,
        _ => Unread::Failed,
    })
}

fn failed(problem: StoreError) -> Result<BytesStatus, CallError> {
    Ok(match unread(problem)? {
        Unread::Refused => BytesStatus::Refused,
        Unread::Failed => BytesStatus::Failed,
        Unread::Foreign => BytesStatus::Foreign,
        Unread::Expired => BytesStatus::Expired,
    })
}
