// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob if its key is free: one PUT with `If-None-Match: *`, whose body's hash is signed.
//! The body is buffered, so that it can be sent again; the next one is received meanwhile.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use wyng_wire::BlobName;

use super::S3;
use super::bucket::{Ask, Bucket, errno_of};
use crate::net::{Faced, Patience};
use crate::store::{Placed, Push, Reserve, StoreError, Upload};

const STORING: &str = "store a blob";
const COMPARING: &str = "compare a blob";

/// A blob that is being stored in a bucket.
pub(crate) struct BucketUpload {
    bucket: Arc<Bucket>,
    handle: Handle,
    key: String,
    body: Vec<u8>,
    length_bytes: usize,
    /// The request, from the last byte on.
    sent: Option<JoinHandle<Result<Placed, StoreError>>>,
}

impl Push for S3 {
    type Upload = BucketUpload;

    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        _: Reserve,
    ) -> Result<BucketUpload, StoreError> {
        let length_bytes = length_bytes as usize;
        let mut body = Vec::new();
        body.try_reserve_exact(length_bytes)
            .map_err(|_| StoreError::Failed {
                step: STORING,
                errno: Errno::NOMEM,
            })?;
        Ok(BucketUpload {
            bucket: Arc::clone(&self.bucket),
            handle: self.network.handle(),
            key: self.bucket.key_of(name),
            body,
            length_bytes,
            sent: None,
        })
    }
}

impl Upload for BucketUpload {
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.body.extend_from_slice(piece);
        if self.body.len() >= self.length_bytes {
            self.send();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Placed, StoreError> {
        if self.sent.is_none() {
            self.send();
        }
        let lost = || StoreError::Failed {
            step: STORING,
            errno: Errno::IO,
        };
        let sent = self.sent.take().ok_or_else(lost)?;
        self.handle.block_on(sent).map_err(|_| lost())?
    }
}

impl BucketUpload {
    /// Begins the request, which goes on while the next blob is received.
    fn send(&mut self) {
        let (bucket, key) = (Arc::clone(&self.bucket), std::mem::take(&mut self.key));
        let body = Bytes::from(std::mem::take(&mut self.body));
        let put = async move { bucket.put(&key, body).await };
        self.sent = Some(self.handle.spawn(put));
    }
}

impl Drop for BucketUpload {
    fn drop(&mut self) {
        // A body that was given up is not sent any further.
        if let Some(sent) = &self.sent {
            sent.abort();
        }
    }
}

impl Bucket {
    async fn put(&self, key: &str, body: Bytes) -> Result<Placed, StoreError> {
        let ask = Ask {
            headers: &[("if-none-match", "*")],
            sha256: wyng_s3::sha256(&body),
            body: body.clone(),
            // Another write of the same key is under way.
            passing: Some(StatusCode::CONFLICT),
            ..Ask::new(STORING, "PUT", key)
        };
        let mut patience = Patience::to(STORING);
        loop {
            let (answer, _) = self.ask(&ask).await?;
            match answer.status.as_u16() {
                200 | 201 | 204 => {
                    self.http.give_back(answer);
                    return Ok(Placed::New);
                }
                412 => {
                    let _ = self.refusal(STORING, answer).await;
                }
                _ => return Err(self.refusal(STORING, answer).await.into_error(STORING)),
            }
            // Also what an earlier try stored, whose answer was lost.
            if let Some(placed) = self.compare(key, &body).await? {
                return Ok(placed);
            }
            // Taken a moment ago, and gone now.
            let status = StatusCode::PRECONDITION_FAILED;
            if !patience.again(&Faced::Status(status, None)).await {
                let (step, errno) = (STORING, Errno::BUSY);
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    /// Compares a body with the object that has its key; `None` if there is none. An ETag is no
    /// evidence: the bytes are read.
    async fn compare(&self, key: &str, body: &[u8]) -> Result<Option<Placed>, StoreError> {
        let ask = Ask::new(COMPARING, "GET", key);
        let mut patience = Patience::to(COMPARING);
        loop {
            let (answer, _) = self.ask(&ask).await?;
            match answer.status.as_u16() {
                200 => {}
                404 => {
                    let _ = self.refusal(COMPARING, answer).await;
                    return Ok(None);
                }
                _ => {
                    let refused = self.refusal(COMPARING, answer).await;
                    return match refused.into_error(COMPARING) {
                        StoreError::Refused { .. } => Ok(Some(Placed::Unknown)),
                        problem => Err(problem),
                    };
                }
            }
            match self.same(answer, body).await {
                Ok(true) => return Ok(Some(Placed::Same)),
                Ok(false) => return Ok(Some(Placed::Different)),
                Err(problem) => {
                    let errno = errno_of(&problem);
                    if !patience.again(&Faced::Error(problem)).await {
                        let step = COMPARING;
                        return Err(StoreError::Failed { step, errno });
                    }
                }
            }
        }
    }

    async fn same(
        &self,
        mut answer: crate::net::Answer,
        body: &[u8],
    ) -> Result<bool, crate::net::HttpError> {
        let mut rest = body;
        while let Some(part) = answer.next().await? {
            match rest.strip_prefix(&*part) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        self.http.give_back(answer);
        Ok(rest.is_empty())
    }
}
