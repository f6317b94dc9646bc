// SPDX-License-Identifier: GPL-3.0-or-later
//! A blob on its way to a server: buffered whole, so that it can be sent again, and sent from its
//! last byte on while the next blob is received.

use hyper::body::Bytes;
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Placed, StoreError, Upload};

const BUFFERING: &str = "store a blob";

/// The work that stores a whole blob.
type Sending = JoinHandle<Result<Placed, StoreError>>;

/// A blob that is being received, or sent.
pub(crate) struct Buffered {
    handle: Handle,
    body: Vec<u8>,
    length_bytes: usize,
    /// Begins to send.
    begin: Option<Box<dyn FnOnce(Bytes) -> Sending + Send>>,
    sending: Option<Sending>,
}

impl Buffered {
    /// A blob of this length, with the work that stores it.
    pub(super) fn new(
        handle: Handle,
        length_bytes: u32,
        begin: impl FnOnce(Bytes) -> Sending + Send + 'static,
    ) -> Result<Self, StoreError> {
        let length_bytes = length_bytes as usize;
        let mut body = Vec::new();
        // Once and exactly: growing would need twice the memory.
        body.try_reserve_exact(length_bytes)
            .map_err(|_| StoreError::Failed {
                step: BUFFERING,
                errno: Errno::NOMEM,
            })?;
        Ok(Self {
            handle,
            body,
            length_bytes,
            begin: Some(Box::new(begin)),
            sending: None,
        })
    }

    fn send(&mut self) {
        if let Some(begin) = self.begin.take() {
            let body = Bytes::from(std::mem::take(&mut self.body));
            self.sending = Some(begin(body));
        }
    }
}

impl Upload for Buffered {
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.body.extend_from_slice(piece);
        if self.body.len() >= self.length_bytes {
            self.send();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Placed, StoreError> {
        self.send(); // an empty blob has no last byte
        let lost = || StoreError::Failed {
            step: BUFFERING,
            errno: Errno::IO,
        };
        let sending = self.sending.take().ok_or_else(lost)?;
        self.handle.block_on(sending).map_err(|_| lost())?
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        // A blob that was given up is not sent any further.
        if let Some(sending) = &self.sending {
            sending.abort();
        }
    }
}
