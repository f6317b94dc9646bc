// SPDX-License-Identifier: GPL-3.0-or-later
//! Uploads that run beside each other, one thread each, so that the round trips of one are filled
//! by the blocks of another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use rustix::io::Errno;
use wyng_wire::BlobName;

use super::Sftp;
use super::upload::{Begin, SftpUpload};
use super::uploads::Uploads;
use crate::store::turns::Turn;
use crate::store::{NETWORK_BODIES_AT_ONCE, Placed, Push, Reserve, StoreError, Upload};

const STORING: &str = "store a blob";

/// A blob whose bytes go to the thread that stores it. The caller bounds how many there are.
pub(crate) struct StreamedUpload {
    /// `None` once all pieces are there.
    pieces: Option<Sender<Vec<u8>>>,
    storing: Option<JoinHandle<Result<Placed, StoreError>>>,
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
