// SPDX-License-Identifier: GPL-3.0-or-later
//! The examples that Amazon publishes for header signatures of S3 ("Signature Calculations for the
//! Authorization Header: Transferring Payload in a Single Chunk").

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wyng_s3::{AccessKey, Request, Stamp, sha256, sign};

const HOST: &str = "examplebucket.s3.amazonaws.com";
/// 24 May 2013, 00:00:00 UTC.
const SECS: i64 = 1_369_353_600;

fn signature(request: &Request<'_>) -> String {
    let key = AccessKey {
        id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned().into(),
        token: None,
    };
    let signed = sign(request, &key, "us-east-1", Stamp::at(SECS));
    let (_, authorization) = signed
        .headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .unwrap();
    let (_, signature) = authorization.split_once("Signature=").unwrap();
    signature.to_owned()
}

fn get<'r>(
    path: &'r str,
    query: &'r [(&'r str, &'r str)],
    headers: &'r [(&'r str, &'r str)],
) -> Request<'r> {
    Request {
        method: "GET",
        host: HOST,
        path,
        query,
        headers,
        body_sha256: sha256(b""),
    }
}

#[test]
fn an_object_is_read() {
    assert_eq!(
        signature(&get("/test.txt", &[], &[("range", "bytes=0-9")])),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
}

#[test]
fn an_object_is_written() {
    let request = Request {
        method: "PUT",
        host: HOST,
        path: "/test$file.text",
        query: &[],
        headers: &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        body_sha256: sha256(b"Welcome to Amazon S3."),
    };
    assert_eq!(
        signature(&request),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    );
}

#[test]
fn a_setting_is_read() {
    assert_eq!(
        signature(&get("/", &[("lifecycle", "")], &[])),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    );
}

#[test]
fn objects_are_listed() {
    assert_eq!(
        signature(&get("/", &[("max-keys", "2"), ("prefix", "J")], &[])),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
}

#[test]
fn the_token_of_a_session_is_signed_and_the_target_is_encoded() {
    let key = AccessKey {
        id: "id".into(),
        secret: "secret".to_owned().into(),
        token: Some("token".to_owned().into()),
    };
    let query = [("prefix", "a b/ü"), ("list-type", "2")];
    let signed = sign(&get("/disk images", &query, &[]), &key, "r", Stamp::at(0));
    assert_eq!(
        signed.target,
        "/disk%20images?list-type=2&prefix=a%20b%2F%C3%BC"
    );
    assert!(
        signed
            .headers
            .contains(&("x-amz-security-token".into(), "token".into()))
    );
    let signs_the_token = |(name, value): &(String, String)| {
        name == "authorization" && value.contains("x-amz-date;x-amz-security-token,")
    };
    assert!(signed.headers.iter().any(signs_the_token));
}
