// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Fetch`: LIST, STAT, GET, answered in order. An end of file between two requests ends the
//! call, because nothing has to be finished. Nothing is written.

use tracing::warn;
use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Entry, Get, List, ListEnd, ListStatus, PIECE_MAX, Stat,
    StatStatus, Stated, TO_DAEMON_MAX, ToDaemon, ToHelper, ToHelperRules,
};

use crate::exit::CallError;
use crate::input::Input;
use crate::output::Output;
use crate::piece::Piece;
use crate::store::{Blob, Fetch, Given, Opened, StoreError, Wanted};

/// Maximum length of the part of a listing that is sent at once, bytes.
const LISTING_BYTES: usize = 64 * 1024;

pub(crate) fn serve<S: Fetch>(
    store: &S,
    input: &mut Input,
    output: &Output,
    mut rules: ToHelperRules,
) -> Result<(), CallError> {
    let mut piece = Piece::new()?;
    while let Some(frame) = input.frame(&mut rules)? {
        match frame {
            ToHelper::List(asked) => list(store, output, &asked)?,
            ToHelper::Stat(stat) => output.send(&ToDaemon::Stated(stated(store, &stat)?))?,
            ToHelper::Get(get) => send_range(store, output, &get, &mut piece)?,
            // In this service the rules accept nothing else except KEEP_ALIVE.
            _ => {}
        }
    }
    Ok(())
}

fn list<S: Fetch>(store: &S, output: &Output, asked: &List<'_>) -> Result<(), CallError> {
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
        Some(page) => store.list_page(page.after.as_ref(), &Given::from(&page.signed), visit)?,
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

fn stated<S: Fetch>(store: &S, stat: &Stat) -> Result<Stated, CallError> {
    let found = match &stat.signed {
        Some(signed) => store.stat_signed(&stat.name, &Given::from(signed)),
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

fn send_range<S: Fetch>(
    store: &S,
    output: &Output,
    get: &Get,
    piece: &mut Piece,
) -> Result<(), CallError> {
    let without_bytes = |status| {
        output.send(&ToDaemon::Bytes(BlobBytes {
            request: get.request,
            length_bytes: 0,
            status,
        }))
    };
    let wanted = Wanted {
        version: get.version,
        offset_bytes: get.offset_bytes,
        length_bytes: get.length_bytes,
        given: get.signed.as_ref().map(Given::from),
    };
    match store.open_range(&get.name, &wanted) {
        Ok(Opened::Blob(blob)) => send_pieces(&blob, output, get, piece),
        Ok(Opened::Absent) => without_bytes(BytesStatus::Absent),
        Ok(Opened::NoVersion) => without_bytes(BytesStatus::NoVersion),
        Err(problem) => without_bytes(failed(problem)?),
    }
}

/// Sends the range in pieces, and never more than the range.
fn send_pieces(
    blob: &impl Blob,
    output: &Output,
    get: &Get,
    piece: &mut Piece,
) -> Result<(), CallError> {
    let there_bytes = blob.length_bytes().saturating_sub(get.offset_bytes);
    let mut left_bytes = u64::from(get.length_bytes).min(there_bytes);
    let mut offset_bytes = get.offset_bytes;
    let last = if left_bytes == u64::from(get.length_bytes) {
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
        let length_bytes = u32::try_from(count).unwrap_or(PIECE_MAX);
        output.send_with_body(
            &ToDaemon::Bytes(BlobBytes {
                request: get.request,
                length_bytes,
                status,
            }),
            piece,
        )?;
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
