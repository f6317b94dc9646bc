// SPDX-License-Identifier: GPL-3.0-or-later
//! Signature version 4 of S3, as header signatures over the body's SHA-256. Pure functions: no
//! clock, no network, no file. Whoever calls them decides what is worth a signature.
//!
//! A signature covers the method, the path, the query, the listed headers and the body. A server
//! therefore refuses the request if anybody on the way changed one of them. Presigned URLs leave
//! the body unsigned, so there are none here.

mod encode;
mod time;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use encode::{encode_path, encode_query};
pub use time::Stamp;

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

/// Signs a request for one region, at one time.
pub fn sign(request: &Request<'_>, key: &AccessKey, region: &str, stamp: Stamp) -> Signed {
    let mut headers: Vec<(String, String)> = vec![
        ("host".into(), request.host.into()),
        ("x-amz-content-sha256".into(), hex(&request.body_sha256)),
        ("x-amz-date".into(), stamp.basic()),
    ];
    if let Some(token) = &key.token {
        headers.push(("x-amz-security-token".into(), token.to_string()));
    }
    let own = request.headers.iter();
    headers.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    headers.sort_unstable();

    let path = encode_path(request.path);
    let query = encode_query(request.query);
    let names: Vec<&str> = headers.iter().map(|(name, _)| &**name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{path}\n{query}\n", request.method);
    for (name, value) in &headers {
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    canonical.push_str(&format!("\n{names}\n{}", hex(&request.body_sha256)));

    let scope = format!("{}/{region}/{SERVICE}/{TERMINATOR}", stamp.day());
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        stamp.basic(),
        hex(&sha256(canonical.as_bytes()))
    );
    let signing_key = signing_key(key, region, &stamp.day());
    let signature = hex(&*mac(&*signing_key, to_sign.as_bytes()));
    headers.push((
        "authorization".into(),
        format!(
            "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            key.id
        ),
    ));
    Signed {
        target: if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        },
        headers,
    }
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
