// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengthening the lock of an object that is stored. No lock is removed or made shorter: the
//! request that could do so to a lock of mode governance has a header that is never sent.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use rustix::io::Errno;
use wyng_s3::{LockUntil, RETENTION, sha256};
use wyng_wire::BlobName;

use super::S3;
use super::bucket::{Ask, Bucket, LOOKING, RENEWING};
use crate::store::{Given, Renewal, Renewed, StoreError};

/// Maximum length of the answer, bytes.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

impl S3 {
    /// Begins to lengthen the lock of a blob.
    pub(super) fn begin_renewal(
        &self,
        name: &BlobName,
        until_day: u32,
        given: Option<Given>,
    ) -> Renewal {
        let Some(until) = self.bucket.address.locked_until(until_day) else {
            return Box::new(|| Ok(Renewed::Unsupported));
        };
        let (bucket, key) = (Arc::clone(&self.bucket), self.bucket.key_of(name));
        let handle = self.network.handle();
        let renewing = handle.spawn(async move { bucket.renew(&key, until, given).await });
        Box::new(move || {
            let lost = |_| StoreError::Failed {
                step: RENEWING,
                errno: Errno::IO,
            };
            handle.block_on(renewing).map_err(lost)?
        })
    }
}

impl Bucket {
    /// Lengthens a lock, unless it lasts as long already. Where the daemon signs, it signed one
    /// request alone, and the server is the one to keep a longer lock.
    async fn renew(
        &self,
        key: &str,
        until: LockUntil,
        given: Option<Given>,
    ) -> Result<Renewed, StoreError> {
        if given.is_none() {
            if let Some(known) = self.look_at_lock(key, until).await? {
                return Ok(known);
            }
        }
        let body = until.retention();
        let sha256 = sha256(body.as_bytes());
        let headers = until.retention_headers(&sha256);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let ask = Ask {
            query: &RETENTION,
            headers: &headers,
            body: Bytes::from(body.into_bytes()),
            sha256,
            signature: given.as_ref().map(|given| &given.signature),
            passing: Some(StatusCode::CONFLICT),
            ..Ask::new(RENEWING, "PUT", key)
        };
        let (answer, _) = self.ask(&ask).await?;
        if matches!(answer.status.as_u16(), 200 | 204) {
            let _ = self.http.read_whole(answer, ANSWER_MAX_BYTES).await;
            return Ok(Renewed::Locked);
        }
        let refused = self.refusal(RENEWING, answer).await;
        match refused.status.as_u16() {
            404 if !refused.lacks_bucket() && refused.code != NO_LOCKS => Ok(Renewed::Absent),
            // A delete marker is in its place.
            405 => Ok(Renewed::Absent),
            // A bucket without object lock.
            400 if refused.code == "InvalidRequest" => Ok(Renewed::Unsupported),
            404 if refused.code == NO_LOCKS => Ok(Renewed::Unsupported),
            501 => Ok(Renewed::Unsupported),
            400 if !refused.has_expired => Err(StoreError::Refused {
                step: RENEWING,
                errno: Errno::INVAL,
            }),
            _ => Err(refused.into_error(RENEWING)),
        }
    }

    /// What the object's own headers settle; `None`: its lock is to be lengthened, or a key that
    /// may not read is not shown them.
    async fn look_at_lock(
        &self,
        key: &str,
        until: LockUntil,
    ) -> Result<Option<Renewed>, StoreError> {
        let (answer, _) = self.ask(&Ask::new(LOOKING, "HEAD", key)).await?;
        let found = match answer.status.as_u16() {
            200 => until
                .is_kept_by(
                    answer.header("x-amz-object-lock-mode"),
                    answer.header("x-amz-object-lock-retain-until-date"),
                )
                .then_some(Renewed::Locked),
            404 => Some(Renewed::Absent),
            _ => None,
        };
        self.http.give_back(answer);
        Ok(found)
    }
}

/// The code of a bucket that has no locks.
const NO_LOCKS: &str = "ObjectLockConfigurationNotFoundError";
