// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob if its key is free: one PUT with `If-None-Match: *`, whose body's hash is signed.
//! The body is buffered, so that it can be sent again; the next one is received meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use hyper::body::Bytes;
use rustix::io::Errno;
use tracing::warn;
use wyng_wire::BlobName;

use super::S3;
use super::bucket::{Ask, Bucket};
use crate::net::{Faced, Patience};
use crate::store::buffered::Buffered;
use crate::store::{Given, NETWORK_BODIES_AT_ONCE, Placed, Push, Reserve, StoreError};

const STORING: &str = "store a blob";
const COMPARING: &str = "compare a blob";

impl Push for S3 {
    type Upload = Buffered;

    const BODIES_AT_ONCE: usize = NETWORK_BODIES_AT_ONCE;

    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        _: Reserve,
    ) -> Result<Buffered, StoreError> {
        self.begin_with(name, length_bytes, None)
    }

    fn begin_signed(
        &self,
        name: &BlobName,
        length_bytes: u32,
        given: Given,
    ) -> Result<Buffered, StoreError> {
        self.begin_with(name, length_bytes, Some(given))
    }
}

impl S3 {
    fn begin_with(
        &self,
        name: &BlobName,
        length_bytes: u32,
        given: Option<Given>,
    ) -> Result<Buffered, StoreError> {
        let (bucket, key) = (Arc::clone(&self.bucket), self.bucket.key_of(name));
        let handle = self.network.handle();
        let turn = self.turns.take(name);
        Buffered::new(self.network.handle(), length_bytes, move |body| {
            handle.spawn(async move {
                let _turn = turn;
                match &given {
                    Some(given) if bucket.probes.swap(false, Ordering::SeqCst) => {
                        bucket.put_and_probe(&key, body, given).await
                    }
                    given => bucket.put(&key, body, given.as_ref()).await,
                }
            })
        })
    }
}

impl Bucket {
    /// Puts a blob, and tries what a machine could do that keeps the request: other bytes before, and
    /// a copy of the object onto itself behind it. A server that takes either cannot be given
    /// requests of this kind.
    async fn put_and_probe(
        &self,
        key: &str,
        body: Bytes,
        given: &Given,
    ) -> Result<Placed, StoreError> {
        let headers = self.put_headers(&given.body_sha256);
        let headers = pairs_of(&headers);
        let signed = |body| Ask {
            signature: Some(&given.signature),
            ..put_request(key, body, given.body_sha256, &headers)
        };
        let mut other = body.to_vec();
        if let Some(last) = other.last_mut() {
            *last ^= 1;
            let answer = self.try_once(&signed(other.into())).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                let accepted = "it takes other bytes";
                return Err(StoreError::Lax { accepted });
            }
        }
        let placed = self.put(key, body.clone(), Some(given)).await?;
        let source = wyng_s3::encode_path(&format!("/{}/{key}", self.address.bucket));
        let ask = Ask {
            unsigned: Some(("x-amz-copy-source", &source)),
            ..signed(body)
        };
        if let Ok(answer) = self.try_once(&ask).await {
            let is_copied = answer.status.is_success();
            // Some servers copy no object onto itself; that they say so means that they would copy.
            if is_copied || self.refusal(STORING, answer).await.code == "InvalidRequest" {
                let accepted = "it heeds a header that is not signed";
                return Err(StoreError::Lax { accepted });
            }
        }
        Ok(placed)
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        given: Option<&Given>,
    ) -> Result<Placed, StoreError> {
        let sha256 = given.map_or_else(|| wyng_s3::sha256(&body), |given| given.body_sha256);
        let headers = self.put_headers(&sha256);
        let headers = pairs_of(&headers);
        let ask = Ask {
            signature: given.map(|given| &given.signature),
            ..put_request(key, body.clone(), sha256, &headers)
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
                400 if self.lock.is_some() => {
                    warn!("the bucket may have no object lock, or the date of this lock is wrong");
                    let _ = self.refusal(STORING, answer).await;
                    let (step, errno) = (STORING, Errno::ACCESS);
                    return Err(StoreError::Refused { step, errno });
                }
                _ => return Err(self.refusal(STORING, answer).await.into_error(STORING)),
            }
            // The daemon signed no request to read, and knows what that means.
            if given.is_some() {
                return Ok(Placed::Unknown);
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

    /// The headers of a PUT, beside those of every request.
    fn put_headers(&self, body_sha256: &[u8; 32]) -> Vec<(&'static str, String)> {
        let mut headers = vec![("if-none-match", "*".to_owned())];
        headers.extend(self.lock.iter().flat_map(|lock| lock.headers(body_sha256)));
        headers
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
            match self.http.is_same(answer, body).await {
                Ok(true) => return Ok(Some(Placed::Same)),
                Ok(false) => return Ok(Some(Placed::Different)),
                Err(problem) => {
                    let errno = problem.errno();
                    if !patience.again(&Faced::Error(problem)).await {
                        let step = COMPARING;
                        return Err(StoreError::Failed { step, errno });
                    }
                }
            }
        }
    }
}

/// The request that stores a body.
fn put_request<'a>(
    key: &'a str,
    body: Bytes,
    sha256: [u8; 32],
    headers: &'a [(&'a str, &'a str)],
) -> Ask<'a> {
    Ask {
        headers,
        body,
        sha256,
        // Another write of the same key is under way.
        passing: Some(StatusCode::CONFLICT),
        ..Ask::new(STORING, "PUT", key)
    }
}

fn pairs_of<'h>(headers: &'h [(&'static str, String)]) -> Vec<(&'h str, &'h str)> {
    let pairs = headers.iter().map(|(name, value)| (*name, &**value));
    pairs.collect()
}
