// SPDX-License-Identifier: GPL-3.0-or-later
//! Uploads that run beside each other, one thread each, so that the round trips of one are filled
//! by the blocks of another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::io::Errno;
use wyng_wire::BlobName;

use super::Sftp;
use super::upload::{Begin, SftpUpload};
use crate::store::turns::Turn;
use crate::store::{NETWORK_BODIES_AT_ONCE, Placed, Push, Reserve, StoreError, Upload};

const STORING: &str = "store a blob";
/// Maximum time that the blocks of an upload wait for those of the one before.
const LINE_MAX: Duration = Duration::from_secs(5);

/// A blob whose bytes go to the thread that stores it. The caller bounds how many there are.
pub(crate) struct StreamedUpload {
    /// `None` once all pieces are there.
    pieces: Option<Sender<Vec<u8>>>,
    storing: Option<JoinHandle<Result<Placed, StoreError>>>,
}

/// What the uploads of a call share.
#[derive(Default)]
pub(super) struct Uploads {
    /// Bytes of the blobs that are being stored, which free space must be enough for.
    open_bytes: AtomicU64,
    /// Whether an upload sends most of its blocks. Uploads that begin together would end together,
    /// and nothing would be sent while both wait for their answers.
    is_sending: Mutex<bool>,
    changed: Condvar,
}

/// The right to send blocks, until most of them are sent.
struct Line<'u>(&'u Uploads);

impl Uploads {
    /// Waits until most blocks of the upload before are sent; `None` if that takes too long.
    fn line_up(&self) -> Option<Line<'_>> {
        let is_sending = self
            .is_sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut is_sending, waited) = self
            .changed
            .wait_timeout_while(is_sending, LINE_MAX, |is_sending| *is_sending)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *is_sending = true;
        Some(Line(self))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        *self
            .0
            .is_sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
        self.0.changed.notify_one();
    }
}

impl Push for Sftp {
    type Upload = StreamedUpload;

    const BODIES_AT_ONCE: usize = NETWORK_BODIES_AT_ONCE;

    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        reserve: Reserve,
    ) -> Result<StreamedUpload, StoreError> {
        let turn = self.turns.take(name);
        let uploads = Arc::clone(&self.uploads);
        let length = u64::from(length_bytes);
        let before = uploads.open_bytes.fetch_add(length, Ordering::SeqCst);
        let begin = Begin {
            places: Arc::clone(&self.places),
            naming: Arc::clone(&self.naming),
            name: *name,
            length_bytes,
            reserve,
            other_bytes: before,
        };
        let (pieces, next_piece) = channel();
        let storing = Builder::new().name("store".into()).spawn(move || {
            let placed = store(begin, &uploads, &next_piece, length, turn);
            uploads.open_bytes.fetch_sub(length, Ordering::SeqCst);
            placed
        });
        let storing = storing.map_err(|problem| StoreError::Failed {
            step: STORING,
            errno: Errno::from_io_error(&problem).unwrap_or(Errno::AGAIN),
        })?;
        Ok(StreamedUpload {
            pieces: Some(pieces),
            storing: Some(storing),
        })
    }
}

/// Stores a blob, or leaves nothing behind if its pieces end early.
fn store(
    begin: Begin,
    uploads: &Uploads,
    pieces: &Receiver<Vec<u8>>,
    length_bytes: u64,
    _turn: Turn,
) -> Result<Placed, StoreError> {
    let mut upload: SftpUpload = begin.run()?;
    let mut line = uploads.line_up();
    let mut left_bytes = length_bytes;
    while left_bytes > 0 {
        let Ok(piece) = pieces.recv() else {
            // Nobody asks for this outcome.
            return Ok(Placed::Unknown);
        };
        upload.write(&piece)?;
        left_bytes = left_bytes.saturating_sub(piece.len() as u64);
        line = line.filter(|_| left_bytes > length_bytes / 4);
    }
    drop(line);
    upload.finish()
}

impl Upload for StreamedUpload {
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        if let Some(pieces) = &self.pieces {
            // A thread that has ended says why in the end.
            let _ = pieces.send(piece.to_vec());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Placed, StoreError> {
        self.pieces = None;
        let (step, errno) = (STORING, Errno::IO);
        let lost = || StoreError::Failed { step, errno };
        let storing = self.storing.take().ok_or_else(lost)?;
        storing.join().unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for StreamedUpload {
    fn drop(&mut self) {
        self.pieces = None;
        // What was given up is removed before the call ends.
        if let Some(storing) = self.storing.take() {
            let _ = storing.join();
        }
    }
}
