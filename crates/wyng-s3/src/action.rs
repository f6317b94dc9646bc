// SPDX-License-Identifier: GPL-3.0-or-later
//! The requests that are ever signed for somebody else: each names one object, or a page of the
//! names behind the prefix. There is deliberately none for copies, several deletions at once,
//! several parts, rights, life cycles or versions.

use crate::{AccessKey, Request, S3Address, Signature, Stamp, sha256, signature};

/// Objects in one page of a listing; servers give no more.
pub const PAGE_KEYS: &str = "1000";

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
    /// Lists up to [`PAGE_KEYS`] objects.
    Page {
        /// Only those behind this name.
        after: Option<&'n [u8; 32]>,
    },
    /// Looks whether there is any object behind the prefix.
    Look,
}

impl Action<'_> {
    /// Signs the request that does it in this bucket, and nothing else.
    pub fn sign(&self, bucket: &S3Address, key: &AccessKey, stamp: Stamp) -> Signature {
        let (method, object) = match self {
            Self::Put { name, .. } => ("PUT", bucket.key_of(name)),
            Self::Delete(name) => ("DELETE", bucket.key_of(name)),
            Self::Get {
                name,
                length_bytes: 0,
                ..
            }
            | Self::Stat(name) => ("HEAD", bucket.key_of(name)),
            Self::Get { name, .. } => ("GET", bucket.key_of(name)),
            Self::Page { .. } | Self::Look => ("GET", String::new()),
        };
        let behind = match self {
            Self::Page { after: Some(name) } => Some(bucket.key_of(name)),
            _ => None,
        };
        let mut query = match self {
            Self::Page { .. } => pages(bucket, PAGE_KEYS),
            Self::Look => pages(bucket, "1"),
            _ => Vec::new(),
        };
        query.extend(behind.as_deref().map(|behind| ("start-after", behind)));
        let (length, range) = match self {
            Self::Put { length_bytes, .. } => (length_bytes.to_string(), String::new()),
            Self::Get {
                offset_bytes,
                length_bytes,
                ..
            } => {
                let last = offset_bytes
                    .saturating_add((*length_bytes).into())
                    .saturating_sub(1);
                (String::new(), format!("bytes={offset_bytes}-{last}"))
            }
            _ => (String::new(), String::new()),
        };
        let headers: &[(&str, &str)] = match method {
            "PUT" => &[("content-length", &length), ("if-none-match", "*")],
            "GET" if !range.is_empty() => &[("range", &range)],
            _ => &[],
        };
        let request = Request {
            method,
            host: &bucket.server.authority(),
            path: &bucket.path_of(&object),
            query: &query,
            headers,
            body_sha256: match self {
                Self::Put { body_sha256, .. } => *body_sha256,
                _ => sha256(b""),
            },
        };
        signature(&request, key, &bucket.region, stamp)
    }
}

/// The query of a page of the names behind the prefix.
fn pages<'r>(bucket: &'r S3Address, count: &'r str) -> Vec<(&'r str, &'r str)> {
    vec![
        ("list-type", "2"),
        ("max-keys", count),
        ("prefix", &bucket.prefix),
    ]
}
