// SPDX-License-Identifier: GPL-3.0-or-later
//! A body that is sent in parts, so that it is known how far it went.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

/// Maximum length of a part, bytes.
const PART_BYTES: usize = 256 * 1024;

/// A body that is sent. It shares its bytes with the other tries of its request.
pub(crate) struct Sent {
    left: Bytes,
    /// Dropped when a quarter of the body is left.
    turn: Option<OwnedSemaphorePermit>,
    quarter_bytes: usize,
    /// Until when the last byte is held back.
    end: Option<Pin<Box<Sleep>>>,
}

impl Sent {
    /// A body of these bytes.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            quarter_bytes: bytes.len() / 4,
            left: bytes,
            turn: None,
            end: None,
        }
    }

    /// The same, whose last byte is not sent before a moment. Only within the runtime.
    pub(crate) fn until(bytes: Bytes, end: Instant) -> Self {
        Self {
            end: Some(Box::pin(sleep_until(end))),
            ..Self::new(bytes)
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
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut part_bytes = self.left.len().min(PART_BYTES);
        if let Some(end) = &mut self.end {
            if part_bytes > 1 {
                part_bytes = part_bytes.saturating_sub(1);
            } else {
                ready!(end.as_mut().poll(context));
                self.end = None;
            }
        }
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
    fn a_last_byte_that_is_held_back_comes_at_its_moment() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let end = Instant::now() + std::time::Duration::from_millis(50);
            let mut body = Sent::until(Bytes::from_static(b"1234"), end);
            let part = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(&*part, b"123");
            let part = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(&*part, b"4");
            assert!(Instant::now() >= end);
            assert!(body.frame().await.is_none());
        });
    }

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
