// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing a blob if its key is free: one PUT with `If-None-Match: *`, whose body's hash is signed.
//! The body is buffered, so that it can be sent again; the next one is received meanwhile. Until the
//! server is seen to keep to the condition, the key is looked up before each PUT.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use rustix::io::Errno;
use tokio::time::Instant;
use tracing::warn;
use wyng_wire::BlobName;

use super::S3;
use super::bucket::{Ask, Bucket};
use super::condition::Seen;
use crate::net::{Answer, Faced, Patience, is_passing, retry_after};
use crate::store::buffered::Buffered;
use crate::store::{Given, NETWORK_BODIES_AT_ONCE, Placed, Push, Renewal, Reserve, StoreError};

const STORING: &str = "store a blob";
const COMPARING: &str = "compare a blob";
/// How long the last bytes of two equal requests are held back, so that the server has begun both.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Maximum length of a blob that is sent twice for a trial, bytes.
const TWICE_MAX_BYTES: usize = 64 * 1024;
/// Maximum length of the answer to a PUT, bytes.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Nobody but the server could keep a second object from a key whose PUTs come signed.
const REPLACES: StoreError = StoreError::Lax {
    accepted: "it replaces an object although If-None-Match forbids it",
};

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

    fn renew(&self, name: &BlobName, until_day: u32, given: Option<Given>) -> Renewal {
        self.begin_renewal(name, until_day, given)
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
                if bucket.tries.swap(false, Ordering::SeqCst) {
                    bucket.put_and_try(&key, body, given.as_ref()).await
                } else {
                    bucket.put(&key, body, given.as_ref()).await
                }
            })
        })
    }
}

impl Bucket {
    /// Puts a blob, and tries what the server refuses: one of two requests at the same moment and,
    /// where requests come signed, what a machine could do that keeps such a request.
    async fn put_and_try(
        self: &Arc<Self>,
        key: &str,
        body: Bytes,
        given: Option<&Given>,
    ) -> Result<Placed, StoreError> {
        let Some(given) = given else {
            return self.put_twice(key, body, None).await;
        };
        self.refuses_other_bytes(key, &body, given).await?;
        let placed = self.put_twice(key, body.clone(), Some(given)).await?;
        self.refuses_other_headers(key, &body, given).await?;
        Ok(placed)
    }

    /// Sends other bytes than those whose hash is signed.
    async fn refuses_other_bytes(
        &self,
        key: &str,
        body: &Bytes,
        given: &Given,
    ) -> Result<(), StoreError> {
        let mut other = body.to_vec();
        let Some(last) = other.last_mut() else {
            return Ok(());
        };
        *last ^= 1;
        let headers = self.put_headers(body, Some(given));
        let headers = headers.pairs();
        let ask = put_request(key, other.into(), Some(given), &headers);
        match self.try_once(&ask).await {
            Ok(answer) if answer.status.is_success() => Err(StoreError::Lax {
                accepted: "it takes other bytes",
            }),
            _ => Ok(()),
        }
    }

    /// Sends the request once more with a header that is not signed: one by which the object would
    /// be copied onto itself, then one by which it would be encrypted with a key that is missing.
    async fn refuses_other_headers(
        &self,
        key: &str,
        body: &Bytes,
        given: &Given,
    ) -> Result<(), StoreError> {
        let source = wyng_s3::encode_path(&format!("/{}/{key}", self.address.bucket));
        let customer_key = "x-amz-server-side-encryption-customer-algorithm";
        let headers = self.put_headers(body, Some(given));
        let headers = headers.pairs();
        for header in [("x-amz-copy-source", &*source), (customer_key, "AES256")] {
            let ask = Ask {
                unsigned: Some(header),
                ..put_request(key, body.clone(), Some(given), &headers)
            };
            let Ok(answer) = self.try_once(&ask).await else {
                continue;
            };
            let is_done = answer.status.is_success();
            // A server that complains about what the header asks for has read it: some copy no
            // object onto itself, and none encrypts without a key.
            let code = self.refusal(STORING, answer).await.code;
            if is_done || matches!(&*code, "InvalidRequest" | "InvalidArgument") {
                return Err(StoreError::Lax {
                    accepted: "it heeds a header that is not signed",
                });
            }
        }
        Ok(())
    }

    /// Puts a blob by two equal requests whose last bytes are sent at the same moment. A server
    /// that looks whether a key is free when a request begins, or that ignores the condition, takes
    /// both.
    async fn put_twice(
        self: &Arc<Self>,
        key: &str,
        body: Bytes,
        given: Option<&Given>,
    ) -> Result<Placed, StoreError> {
        if body.len() > TWICE_MAX_BYTES {
            return self.put(key, body, given).await;
        }
        if given.is_none() {
            match self.compare(key, &body).await? {
                None | Some(Placed::Unknown) => {}
                Some(_) => return self.put(key, body, None).await,
            }
        }
        let end = Instant::now() + HELD_BACK;
        let (bucket, own) = (
            Arc::clone(self),
            (key.to_owned(), body.clone(), given.cloned()),
        );
        let other = tokio::spawn(async move {
            let (key, body, given) = own;
            bucket.put_at(&key, body, given.as_ref(), end).await
        });
        let one = self.put_at(key, body.clone(), given, end).await;
        match (one, other.await.ok().flatten()) {
            (Some(true), Some(both)) | (Some(both), Some(true)) => {
                let headers = self.put_headers(&body, given);
                let headers = headers.pairs();
                self.learn(&put_request(key, body, given, &headers)).await;
                let took_both = both || self.condition.seen() == Seen::Replaced;
                let placed = if took_both {
                    Placed::Twice
                } else {
                    Placed::Once
                };
                self.when_new(given).map(|_| placed)
            }
            // Whatever happened to them, one more request shows what the key holds.
            _ => self.put(key, body, given).await,
        }
    }

    /// Puts a blob by one request whose last byte is sent at a moment. Returns whether the server
    /// took it; `None`: it said neither that, nor that the key is taken.
    async fn put_at(
        &self,
        key: &str,
        body: Bytes,
        given: Option<&Given>,
        end: Instant,
    ) -> Option<bool> {
        let headers = self.put_headers(&body, given);
        let headers = headers.pairs();
        let ask = Ask {
            until: Some(end),
            ..put_request(key, body, given, &headers)
        };
        let answer = self.try_once(&ask).await.ok()?;
        let is_taken = match answer.status.as_u16() {
            200 | 201 | 204 => Some(true),
            409 | 412 => Some(false),
            _ => None,
        };
        let _ = self.http.read_whole(answer, ANSWER_MAX_BYTES).await;
        is_taken
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        given: Option<&Given>,
    ) -> Result<Placed, StoreError> {
        let headers = self.put_headers(&body, given);
        let headers = headers.pairs();
        let ask = put_request(key, body, given, &headers);
        match (given, self.condition.seen()) {
            // The daemon signed no request to look first.
            (Some(_), Seen::Replaced) => Err(REPLACES),
            (Some(_), _) | (None, Seen::Refused) => self.put_if_free(&ask, given).await,
            (None, Seen::Nothing | Seen::Replaced) => self.look_and_put(&ask).await,
        }
    }

    /// Puts a blob by a request that the server refuses if the key is taken.
    async fn put_if_free(
        &self,
        ask: &Ask<'_>,
        given: Option<&Given>,
    ) -> Result<Placed, StoreError> {
        let mut patience = Patience::to(STORING);
        loop {
            let (answer, _) = self.ask(ask).await?;
            match answer.status.as_u16() {
                200 | 201 | 204 => {
                    self.http.give_back(answer);
                    self.learn(ask).await;
                    return self.when_new(given);
                }
                412 => {
                    self.condition.note(Seen::Refused);
                    let _ = self.refusal(STORING, answer).await;
                }
                _ => return Err(self.refused_put(answer).await),
            }
            // The daemon signed no request to read, and knows what that means.
            if given.is_some() {
                return Ok(Placed::Unknown);
            }
            // Also what an earlier try stored, whose answer was lost.
            if let Some(placed) = self.compare(ask.object, &ask.body).await? {
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

    /// Puts a blob where the server may replace what has the key: the key is looked up before each
    /// try, and what has it is compared.
    async fn look_and_put(&self, ask: &Ask<'_>) -> Result<Placed, StoreError> {
        let mut patience = Patience::to(STORING);
        loop {
            match self.compare(ask.object, &ask.body).await? {
                None => {}
                // A key that may store and not read.
                Some(Placed::Unknown) if self.condition.seen() != Seen::Replaced => {
                    return self.put_if_free(ask, None).await;
                }
                Some(Placed::Unknown) => {
                    warn!(
                        "the key of this service must be allowed to read: the server replaces \
                           objects, and only a look shows that a name is free"
                    );
                    let (step, errno) = (STORING, Errno::ACCESS);
                    return Err(StoreError::Refused { step, errno });
                }
                Some(placed) => {
                    // With the same bytes, a PUT does no harm and shows what the server does.
                    if placed == Placed::Same {
                        self.learn(ask).await;
                    }
                    return Ok(placed);
                }
            }
            let faced = match self.try_once(ask).await {
                Ok(answer) => match answer.status.as_u16() {
                    200 | 201 | 204 => {
                        self.http.give_back(answer);
                        self.learn(ask).await;
                        return self.when_new(None);
                    }
                    412 => {
                        self.condition.note(Seen::Refused);
                        let _ = self.refusal(STORING, answer).await;
                        return self.put_if_free(ask, None).await;
                    }
                    // 409: another write of the same key is under way.
                    status if status == 409 || is_passing(answer.status) => {
                        Faced::Status(answer.status, retry_after(&answer))
                    }
                    _ => return Err(self.refused_put(answer).await),
                },
                Err(problem) => Faced::Error(problem),
            };
            if !patience.again(&faced).await {
                let (step, errno) = (STORING, faced.errno());
                return Err(StoreError::Failed { step, errno });
            }
        }
    }

    /// Sends the PUT of an object that is there once more, if this call has not seen yet what the
    /// server makes of it. Both have the same bytes, so that no harm is done.
    async fn learn(&self, ask: &Ask<'_>) {
        if self.condition.seen() != Seen::Nothing || ask.body.len() > TWICE_MAX_BYTES {
            return;
        }
        let Ok(answer) = self.try_once(ask).await else {
            return;
        };
        match answer.status.as_u16() {
            200 | 201 | 204 => {
                warn!("the server replaces an object although it is told not to (If-None-Match)");
                self.condition.note(Seen::Replaced);
            }
            412 => self.condition.note(Seen::Refused),
            _ => {}
        }
        let _ = self.http.read_whole(answer, ANSWER_MAX_BYTES).await;
    }

    /// The outcome for a blob that is new. Where the server replaces objects, each one says so.
    fn when_new(&self, given: Option<&Given>) -> Result<Placed, StoreError> {
        match (self.condition.seen(), given) {
            (Seen::Replaced, Some(_)) => Err(REPLACES),
            (Seen::Replaced, None) => Ok(Placed::Twice),
            (Seen::Nothing | Seen::Refused, _) => Ok(Placed::New),
        }
    }

    /// Why a PUT was not done.
    async fn refused_put(&self, answer: Answer) -> StoreError {
        let is_of_the_lock = answer.status == StatusCode::BAD_REQUEST && self.lock.is_some();
        let refusal = self.refusal(STORING, answer).await;
        if is_of_the_lock {
            warn!("the bucket may have no object lock, or the date of this lock is wrong");
            let (step, errno) = (STORING, Errno::ACCESS);
            return StoreError::Refused { step, errno };
        }
        refusal.into_error(STORING)
    }

    /// The headers of a PUT of this body, whose hash the daemon has signed where it signs.
    fn put_headers(&self, body: &[u8], given: Option<&Given>) -> PutHeaders {
        let sha256 = given.map_or_else(|| wyng_s3::sha256(body), |given| given.body_sha256);
        let mut own = vec![("if-none-match", "*".to_owned())];
        own.extend(self.lock.iter().flat_map(|lock| lock.headers(&sha256)));
        PutHeaders { own, sha256 }
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
                    let _ = self.http.read_whole(answer, ANSWER_MAX_BYTES).await;
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

/// The headers of a PUT, beside those of every request.
struct PutHeaders {
    own: Vec<(&'static str, String)>,
    sha256: [u8; 32],
}

impl PutHeaders {
    fn pairs(&self) -> ([u8; 32], Vec<(&str, &str)>) {
        let pairs = self.own.iter().map(|(name, value)| (*name, &**value));
        (self.sha256, pairs.collect())
    }
}

/// The request that stores a body, perhaps as the daemon signed it.
fn put_request<'a>(
    key: &'a str,
    body: Bytes,
    given: Option<&'a Given>,
    (sha256, headers): &'a ([u8; 32], Vec<(&'a str, &'a str)>),
) -> Ask<'a> {
    Ask {
        headers,
        sha256: *sha256,
        signature: given.map(|given| &given.signature),
        body,
        // Another write of the same key is under way.
        passing: Some(StatusCode::CONFLICT),
        ..Ask::new(STORING, "PUT", key)
    }
}
