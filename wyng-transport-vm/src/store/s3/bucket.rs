// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests to one bucket: signed anew for each try, repeated while the answer may pass, and their
//! refusals in words of the store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use rustix::io::Errno;
use tokio::time::Instant;
use tracing::warn;
use wyng_s3::{AccessKey, LockUntil, S3Address, Signature, Stamp};

use super::condition::Condition;
use super::listing::error_code;
use super::versions::Versions;
use crate::net::{Answer, Http, HttpError, Patience, Sent, until_it_lasts};
use crate::store::StoreError;

/// The first step of a call.
pub(super) const OPENING: &str = "open the bucket";
/// The two steps of a renewal.
pub(super) const LOOKING: &str = "look at the lock of a blob";
pub(super) const RENEWING: &str = "make the lock of a blob longer";
/// Maximum length of the text of an error, bytes.
const ERROR_MAX_BYTES: usize = 64 * 1024;

/// A bucket, and the key that opens it; without a key, the daemon signs each request.
pub(super) struct Bucket {
    pub(super) http: Arc<Http>,
    pub(super) address: S3Address,
    pub(super) key: Option<AccessKey>,
    /// The next PUT also tries what the server refuses.
    pub(super) tries: AtomicBool,
    /// Whether it keeps to the condition of a PUT.
    pub(super) condition: Condition,
    /// Until when what is stored is locked.
    pub(super) lock: Option<LockUntil>,
    /// The ids of older versions that were listed in this call, by key.
    pub(super) versions: Versions,
}

/// A request to the bucket.
pub(super) struct Ask<'a> {
    /// What it does, in words that complete "cannot …".
    pub(super) step: &'static str,
    pub(super) method: &'static str,
    /// The key of an object; empty: the bucket itself.
    pub(super) object: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Bytes,
    /// SHA-256 of the body.
    pub(super) sha256: [u8; 32],
    /// The daemon's signature of this very request.
    pub(super) signature: Option<&'a Signature>,
    /// A header that is sent and not signed.
    pub(super) unsigned: Option<(&'a str, &'a str)>,
    /// A status, beside those that always do, that may pass.
    pub(super) passing: Option<StatusCode>,
    /// The last byte of the body is held back until then.
    pub(super) until: Option<Instant>,
}

impl<'a> Ask<'a> {
    /// A request without a body.
    pub(super) fn new(step: &'static str, method: &'static str, object: &'a str) -> Self {
        Self {
            step,
            method,
            object,
            query: &[],
            headers: &[],
            body: Bytes::new(),
            sha256: wyng_s3::sha256(b""),
            signature: None,
            unsigned: None,
            passing: None,
            until: None,
        }
    }
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The code of S3, or empty.
    pub(super) code: String,
    /// The server rejects the time of the daemon's signature.
    pub(super) has_expired: bool,
}

impl Bucket {
    /// Sends a request until the answer is one that does not pass. Also returns whether an earlier
    /// try may have had its effect.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<(Answer, bool), StoreError> {
        let patience = if matches!(ask.step, OPENING | LOOKING | RENEWING) {
            Patience::a_little(ask.step)
        } else {
            Patience::to(ask.step)
        };
        let answered = until_it_lasts(patience, ask.passing, || self.try_once(ask)).await;
        answered.map_err(|faced| StoreError::Failed {
            step: ask.step,
            errno: faced.errno(),
        })
    }

    /// Sends a request once.
    pub(super) async fn try_once(&self, ask: &Ask<'_>) -> Result<Answer, HttpError> {
        let host = self.http.authority();
        let path = self.address.path_of(ask.object);
        let length = ask.body.len().to_string();
        let mut headers = ask.headers.to_vec();
        if ask.method == "PUT" {
            headers.push(("content-length", &length));
        }
        let request = || {
            let unsigned = wyng_s3::Request {
                method: ask.method,
                host: &host,
                path: &path,
                query: ask.query,
                headers: &headers,
                body_sha256: ask.sha256,
            };
            let region = &self.address.region;
            let signed = match &self.key {
                Some(key) => wyng_s3::sign(&unsigned, key, region, now()),
                None => wyng_s3::signed(&unsigned, ask.signature?, region),
            };
            let mut request = Request::builder().method(ask.method).uri(signed.target);
            for (name, value) in signed.headers {
                request = request.header(name, value);
            }
            if let Some((name, value)) = ask.unsigned {
                request = request.header(name, value);
            }
            let body = ask.body.clone();
            let body = match ask.until {
                Some(end) => Sent::until(body, end),
                None => Sent::new(body),
            };
            request.body(body).ok()
        };
        self.http.send(&request, ask.body.len()).await
    }

    /// What an answer that is no success says.
    pub(super) async fn refusal(&self, step: &'static str, answer: Answer) -> Refusal {
        let status = answer.status;
        let region = answer.header("x-amz-bucket-region").unwrap_or_default();
        if status.is_redirection() {
            let region: String = region
                .chars()
                .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
                .take(64)
                .collect();
            warn!("the bucket is in another region: set region={region} in the store's address");
        }
        let text = self.http.read_whole(answer, ERROR_MAX_BYTES).await;
        let code = error_code(&text.unwrap_or_default());
        warn!(
            "cannot {step}: the server answers {} {code}",
            status.as_u16()
        );
        Refusal {
            status,
            has_expired: self.key.is_none() && code == "RequestTimeTooSkewed",
            code,
        }
    }
}

impl Refusal {
    /// Whether the bucket is not there.
    pub(super) fn lacks_bucket(&self) -> bool {
        self.code == "NoSuchBucket"
    }

    /// Whether the server does not accept the key at all; it may still accept another one.
    pub(super) fn is_of_the_key(&self) -> bool {
        const OF_THE_KEY: [&str; 7] = [
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "RequestTimeTooSkewed",
            "AuthorizationHeaderMalformed",
            "NotSignedUp",
        ];
        self.status == StatusCode::UNAUTHORIZED || OF_THE_KEY.contains(&&*self.code)
    }

    fn is_full(&self) -> bool {
        const FULL: [&str; 5] = [
            "QuotaExceeded",
            "QuotaExceededException",
            "InsufficientCapacity",
            "XMinioStorageFull",
            "StorageQuotaExceeded",
        ];
        self.status == StatusCode::INSUFFICIENT_STORAGE || FULL.contains(&&*self.code)
    }

    /// The refusal as an error of the store.
    pub(super) fn into_error(self, step: &'static str) -> StoreError {
        if self.has_expired {
            return StoreError::Expired { step };
        }
        if self.is_full() {
            return StoreError::Full { free_mib: None };
        }
        let errno = match self.status.as_u16() {
            401 | 403 | 405 | 501 => Errno::ACCESS,
            _ if self.is_of_the_key() => Errno::ACCESS,
            404 => Errno::NOENT,
            300..=399 => Errno::HOSTUNREACH,
            _ => Errno::IO,
        };
        match errno {
            Errno::ACCESS => StoreError::Refused { step, errno },
            _ => StoreError::Failed { step, errno },
        }
    }
}

fn now() -> Stamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Stamp::at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
