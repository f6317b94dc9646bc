// SPDX-License-Identifier: GPL-3.0-or-later
//! A body that is sent in parts, so that it is known how far it went.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Maximum length of a part, bytes.
const PART_BYTES: usize = 256 * 1024;

/// A body that is sent. It shares its bytes with the other tries of its request.
pub(crate) struct Sent {
    left: Bytes,
    /// Dropped when a quarter of the body is left.
    turn: Option<OwnedSemaphorePermit>,
    quarter_bytes: usize,
}

impl Sent {
    /// A body of these bytes.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            quarter_bytes: bytes.len() / 4,
            left: bytes,
            turn: None,
        }
    }

    /// Keeps the next body from being sent until most of this one is. Bodies that begin together
    /// would end together, and nothing would be sent while both wait for their answers.
    pub(super) fn hold(&mut self, turn: Option<OwnedSemaphorePermit>) {
        self.turn = turn;
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part_bytes = self.left.len().min(PART_BYTES);
        let part = self.left.split_to(part_bytes);
        if self.left.len() <= self.quarter_bytes {
            self.turn = None;
        }
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn the_next_body_may_go_when_a_quarter_of_this_one_is_left() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let turns = Arc::new(Semaphore::new(1));
        let mut body = Sent::new(vec![7; 16 * PART_BYTES].into());
        body.hold(Some(Arc::clone(&turns).try_acquire_owned().unwrap()));
        let mut sent_bytes = 0;
        while let Some(frame) = runtime.block_on(body.frame()) {
            sent_bytes += frame.unwrap().into_data().unwrap().len();
            let may_go = turns.available_permits() == 1;
            assert_eq!(may_go, sent_bytes >= 12 * PART_BYTES, "after {sent_bytes}");
        }
        assert_eq!(sent_bytes, 16 * PART_BYTES);
    }
}
