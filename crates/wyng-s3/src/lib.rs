// SPDX-License-Identifier: GPL-3.0-or-later
//! Signature version 4 of S3, as header signatures over the body's SHA-256, and the addresses and
//! requests that it is about. Pure functions: no clock, no network, no file. Whoever calls them
//! decides what is worth a signature.
//!
//! A signature covers the method, the path, the query, the listed headers and the body. A server
//! therefore refuses the request if anybody on the way changed one of them. Presigned URLs leave
//! the body unsigned, so there are none here.

mod action;
mod address;
mod encode;
mod lock;
mod time;
mod url;
mod version_id;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use action::{Action, PAGE_KEYS, RETENTION, versions_query};
pub use address::{S3Address, Server, absolute, has_no_empty_or_climbing_part};
pub use encode::{encode_base64, encode_path, encode_query};
pub use lock::{Lock, LockMode, LockUntil};
pub use time::Stamp;
pub use url::Url;
pub use version_id::VersionId;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
const TERMINATOR: &str = "aws4_request";

/// An access key. The secret parts are wiped when it is dropped.
pub struct AccessKey {
    /// The public part.
    pub id: String,
    /// The secret part.
    pub secret: Zeroizing<String>,
    /// The token of a session, for keys that expire.
    pub token: Option<Zeroizing<String>>,
}

/// A request before it is signed.
pub struct Request<'r> {
    /// `GET`, `PUT`, and so on.
    pub method: &'r str,
    /// The header `host`, with the port unless it is that of the scheme.
    pub host: &'r str,
    /// The path from the root, not percent-encoded.
    pub path: &'r str,
    /// Keys and values of the query, not percent-encoded.
    pub query: &'r [(&'r str, &'r str)],
    /// Headers beside `host` and those that the signature brings; names in lower case, values
    /// without white space at their ends.
    pub headers: &'r [(&'r str, &'r str)],
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
}

/// A signed request: what is to be sent beside its method and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The path and the query, percent-encoded.
    pub target: String,
    /// Every header, `host` included.
    pub headers: Vec<(String, String)>,
}

/// SHA-256 of a body.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A signature that somebody else made, and the time and the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The public part of the access key.
    pub key_id: String,
    /// The token of a session, for keys that expire.
    pub token: Option<String>,
    /// When the request was signed.
    pub stamp: Stamp,
    /// HMAC-SHA256 over the request.
    pub mac: [u8; 32],
}

/// Signs a request for one region, at one time.
pub fn sign(request: &Request<'_>, key: &AccessKey, region: &str, stamp: Stamp) -> Signed {
    signed(request, &signature(request, key, region, stamp), region)
}

/// The signature of a request for one region, at one time.
pub fn signature(request: &Request<'_>, key: &AccessKey, region: &str, stamp: Stamp) -> Signature {
    let token = key.token.as_ref().map(|token| token.to_string());
    let canonical = Canonical::of(request, token.as_deref(), stamp);
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        stamp.basic(),
        scope(region, stamp),
        hex(&sha256(canonical.text(request).as_bytes()))
    );
    let signing_key = signing_key(key, region, &stamp.day());
    Signature {
        key_id: key.id.clone(),
        token,
        stamp,
        mac: *mac(&*signing_key, to_sign.as_bytes()),
    }
}

/// The request with a signature, which the server refuses if it is that of another request.
pub fn signed(request: &Request<'_>, signature: &Signature, region: &str) -> Signed {
    let Signature {
        key_id,
        token,
        stamp,
        mac,
    } = signature;
    let canonical = Canonical::of(request, token.as_deref(), *stamp);
    let names = canonical.names();
    let scope = scope(region, *stamp);
    let mut headers = canonical.headers;
    headers.push((
        "authorization".into(),
        format!(
            "{ALGORITHM} Credential={key_id}/{scope},SignedHeaders={names},Signature={}",
            hex(mac)
        ),
    ));
    Signed {
        target: if canonical.query.is_empty() {
            canonical.path
        } else {
            format!("{}?{}", canonical.path, canonical.query)
        },
        headers,
    }
}

/// The parts of a request in the form in which they are signed.
struct Canonical {
    path: String,
    query: String,
    /// In the order of their names.
    headers: Vec<(String, String)>,
}

impl Canonical {
    fn of(request: &Request<'_>, token: Option<&str>, stamp: Stamp) -> Self {
        let mut headers: Vec<(String, String)> = vec![
            ("host".into(), request.host.into()),
            ("x-amz-content-sha256".into(), hex(&request.body_sha256)),
            ("x-amz-date".into(), stamp.basic()),
        ];
        if let Some(token) = token {
            headers.push(("x-amz-security-token".into(), token.to_owned()));
        }
        let own = request.headers.iter();
        headers.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        headers.sort_unstable();
        Self {
            path: encode_path(request.path),
            query: encode_query(request.query),
            headers,
        }
    }

    /// The names of the headers.
    fn names(&self) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        names.join(";")
    }

    /// The text whose hash is signed.
    fn text(&self, request: &Request<'_>) -> String {
        let mut text = format!("{}\n{}\n{}\n", request.method, self.path, self.query);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}:{value}\n"));
        }
        text.push_str(&format!(
            "\n{}\n{}",
            self.names(),
            hex(&request.body_sha256)
        ));
        text
    }
}

/// For which day, region and service a signature counts.
fn scope(region: &str, stamp: Stamp) -> String {
    format!("{}/{region}/{SERVICE}/{TERMINATOR}", stamp.day())
}

/// The key of one day, region and service.
fn signing_key(key: &AccessKey, region: &str, day: &str) -> Zeroizing<[u8; 32]> {
    let secret = Zeroizing::new(format!("AWS4{}", *key.secret));
    let steps = [day, region, SERVICE, TERMINATOR];
    let mut step_key = Zeroizing::new(secret.as_bytes().to_vec());
    let mut last = Zeroizing::new([0; 32]);
    for step in steps {
        last = mac(&step_key, step.as_bytes());
        step_key = Zeroizing::new(last.to_vec());
    }
    last
}

fn mac(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of any length, so the other arm is never reached.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        return Zeroizing::new([0; 32]);
    };
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
