// SPDX-License-Identifier: GPL-3.0-or-later
//! The requests that are ever signed for somebody else: each names one object, or a page of the
//! names behind the prefix. There is deliberately none for copies, several deletions at once,
//! several parts, rights or life cycles, nor one that removes a lock: the service makes a lock
//! longer, and refuses to make it shorter. Older versions are listed and read, and nothing else.

use std::num::NonZeroU32;

use crate::{
    AccessKey, LockUntil, Request, S3Address, Signature, Stamp, VersionId, sha256, signature,
};

/// Objects in one page of a listing; servers give no more.
pub const PAGE_KEYS: &str = "1000";

/// Versions and markers in a listing of versions; what is behind them is not looked at.
pub(crate) const VERSIONS_KEYS: &str = "100";

/// The query of the request that lengthens a lock.
pub const RETENTION: [(&str, &str); 1] = [("retention", "")];

/// What a signature allows. A name is the 32 bytes whose hexadecimal digits follow the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'n> {
    /// Stores exactly these bytes, if the name is free.
    Put {
        /// The name.
        name: &'n [u8; 32],
        /// Length of the body, bytes.
        length_bytes: u32,
        /// SHA-256 of the body.
        body_sha256: [u8; 32],
        /// Until when it is locked; `None`: not at all.
        lock: Option<LockUntil>,
    },
    /// Lengthens the object's lock.
    Renew {
        /// The name.
        name: &'n [u8; 32],
        /// Until when it is locked.
        until: LockUntil,
    },
    /// Deletes the object.
    Delete(&'n [u8; 32]),
    /// Looks whether the object exists.
    Stat(&'n [u8; 32]),
    /// Reads one range of the object.
    Get {
        /// The name.
        name: &'n [u8; 32],
        /// Where the range begins, bytes.
        offset_bytes: u64,
        /// Length of the range, bytes. If it is 0 the object is only looked for.
        length_bytes: u32,
    },
    /// Reads one range of an older version of the object.
    GetVersion {
        /// The name.
        name: &'n [u8; 32],
        /// The version.
        id: &'n VersionId,
        /// Where the range begins, bytes.
        offset_bytes: u64,
        /// Length of the range, bytes.
        length_bytes: NonZeroU32,
    },
    /// Lists up to 100 versions of the object, and of those whose keys begin with its
    /// key.
    Versions(&'n [u8; 32]),
    /// Lists up to [`PAGE_KEYS`] objects.
    Page {
        /// Only those behind this name.
        after: Option<&'n [u8; 32]>,
    },
    /// Looks whether there is any object behind the prefix.
    Look,
    /// Looks whether there is a version of any object behind the prefix.
    LookAtVersions,
}

impl Action<'_> {
    /// Signs the request that does it in this bucket, and nothing else.
    pub fn sign(&self, bucket: &S3Address, key: &AccessKey, stamp: Stamp) -> Signature {
        let (method, object) = match self {
            Self::Put { name, .. } | Self::Renew { name, .. } => ("PUT", bucket.key_of(name)),
            Self::Delete(name) => ("DELETE", bucket.key_of(name)),
            Self::Get {
                name,
                length_bytes: 0,
                ..
            }
            | Self::Stat(name) => ("HEAD", bucket.key_of(name)),
            Self::Get { name, .. } | Self::GetVersion { name, .. } => ("GET", bucket.key_of(name)),
            Self::Page { .. } | Self::Look | Self::Versions(_) | Self::LookAtVersions => {
                ("GET", String::new())
            }
        };
        let all_of = match self {
            Self::Versions(name) => bucket.key_of(name),
            _ => bucket.prefix.clone(),
        };
        let behind = match self {
            Self::Page { after: Some(name) } => Some(bucket.key_of(name)),
            _ => None,
        };
        let mut query = match self {
            Self::Page { .. } => pages(bucket, PAGE_KEYS),
            Self::Look => pages(bucket, "1"),
            Self::Renew { .. } => RETENTION.to_vec(),
            Self::GetVersion { id, .. } => vec![("versionId", id.as_str())],
            Self::Versions(_) | Self::LookAtVersions => versions_query(&all_of).to_vec(),
            _ => Vec::new(),
        };
        query.extend(behind.as_deref().map(|behind| ("start-after", behind)));
        let headers = self.headers();
        let pairs: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let request = Request {
            method,
            host: &bucket.server.authority(),
            path: &bucket.path_of(&object),
            query: &query,
            headers: &pairs,
            body_sha256: self.body_sha256(),
        };
        signature(&request, key, &bucket.region, stamp)
    }

    /// SHA-256 of the request's body.
    pub fn body_sha256(&self) -> [u8; 32] {
        match self {
            Self::Put { body_sha256, .. } => *body_sha256,
            Self::Renew { until, .. } => sha256(until.retention().as_bytes()),
            _ => sha256(b""),
        }
    }

    /// The headers that are signed beside those of every signature.
    fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Put {
                length_bytes,
                body_sha256,
                lock,
                ..
            } => {
                let mut headers = vec![
                    ("content-length", length_bytes.to_string()),
                    ("if-none-match", "*".into()),
                ];
                headers.extend(lock.iter().flat_map(|lock| lock.headers(body_sha256)));
                headers
            }
            Self::Renew { until, .. } => {
                let body = until.retention();
                let mut headers = vec![("content-length", body.len().to_string())];
                headers.extend(until.retention_headers(&sha256(body.as_bytes())));
                headers
            }
            Self::Get {
                offset_bytes,
                length_bytes,
                ..
            } if *length_bytes > 0 => vec![range(*offset_bytes, *length_bytes)],
            Self::GetVersion {
                offset_bytes,
                length_bytes,
                ..
            } => vec![range(*offset_bytes, length_bytes.get())],
            _ => Vec::new(),
        }
    }
}

/// The header that asks for a range of at least one byte.
fn range(offset_bytes: u64, length_bytes: u32) -> (&'static str, String) {
    let end = offset_bytes.saturating_add(length_bytes.into());
    let last = end.saturating_sub(1);
    ("range", format!("bytes={offset_bytes}-{last}"))
}

/// The query that lists versions of objects whose keys begin with these characters. Where it is a
/// whole key, versions of others may follow, and the reader leaves them out.
pub fn versions_query(all_of: &str) -> [(&str, &str); 3] {
    [
        ("max-keys", VERSIONS_KEYS),
        ("prefix", all_of),
        ("versions", ""),
    ]
}

/// The query of a page of the names behind the prefix.
fn pages<'r>(bucket: &'r S3Address, count: &'r str) -> Vec<(&'r str, &'r str)> {
    vec![
        ("list-type", "2"),
        ("max-keys", count),
        ("prefix", &bucket.prefix),
    ]
}
