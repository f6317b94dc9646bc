// SPDX-License-Identifier: GPL-3.0-or-later
//! What is signed for somebody else is one request, written out here by hand, and no other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::num::NonZeroU32;

use wyng_s3::{
    AccessKey, Action, Request, S3Address, Signature, Stamp, Url, VersionId, sha256, sign,
    signature, signed,
};

const NAME: [u8; 32] = [0xab; 32];
const STAMP: i64 = 1_369_353_600;

fn key(token: Option<&str>) -> AccessKey {
    AccessKey {
        id: "AKIA".into(),
        secret: "secret".to_owned().into(),
        token: token.map(|token| token.to_owned().into()),
    }
}

fn bucket(url: &str) -> S3Address {
    S3Address::parse(&Url::parse(url).unwrap()).unwrap()
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

#[test]
fn each_action_is_exactly_one_request() {
    let bucket = bucket("s3://disks/a/b?endpoint=https://host:9000&region=mars&lock=3d");
    let bucket_lock = bucket.lock.unwrap();
    let object = format!("/disks/a/b/{}", "ab".repeat(32));
    let key_of = format!("a/b/{}", "ab".repeat(32));
    let all = [("list-type", "2"), ("max-keys", "1000"), ("prefix", "a/b/")];
    let one = [("list-type", "2"), ("max-keys", "1"), ("prefix", "a/b/")];
    let behind = [&all[..], &[("start-after", &*key_of)]].concat();
    let (name, nothing): (_, Pairs<'_>) = (&NAME, &[]);
    let (body_sha256, empty) = (sha256(b"body"), sha256(b""));
    let put = Action::Put {
        name,
        length_bytes: 4,
        body_sha256,
        lock: None,
    };
    let lock = bucket_lock.until(19_782);
    let locked = Action::Put {
        name,
        length_bytes: 4,
        body_sha256,
        lock: Some(lock),
    };
    let get = |length_bytes| Action::Get {
        name,
        offset_bytes: 10,
        length_bytes,
    };
    let put_headers: Pairs<'_> = &[("content-length", "4"), ("if-none-match", "*")];
    let locked_headers: Pairs<'_> = &[
        ("content-length", "4"),
        ("if-none-match", "*"),
        (
            "x-amz-checksum-sha256",
            "Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU=",
        ),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2024-02-29T00:00:00Z",
        ),
        ("x-amz-sdk-checksum-algorithm", "SHA256"),
    ];
    // One line: what is signed is this text, byte for byte.
    let retention = sha256(
        b"<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>COMPLIANCE</Mode>\
          <RetainUntilDate>2024-02-29T00:00:00Z</RetainUntilDate></Retention>",
    );
    let checksum = wyng_s3::encode_base64(&retention);
    let renew_headers: Pairs<'_> = &[
        ("content-length", "149"),
        ("x-amz-checksum-sha256", &checksum),
        ("x-amz-sdk-checksum-algorithm", "SHA256"),
    ];
    let of_lock: Pairs<'_> = &[("retention", "")];
    let renew = Action::Renew { name, until: lock };
    let range: Pairs<'_> = &[("range", "bytes=10-29")];
    // An id is a value of the query, whatever it looks like.
    let id = VersionId::new("null.-_delete").unwrap();
    let of_version: Pairs<'_> = &[("versionId", "null.-_delete")];
    let older = Action::GetVersion {
        name,
        id: &id,
        offset_bytes: 10,
        length_bytes: NonZeroU32::new(20).unwrap(),
    };
    let of_object = [("max-keys", "100"), ("prefix", &*key_of), ("versions", "")];
    let of_all = [("max-keys", "100"), ("prefix", "a/b/"), ("versions", "")];
    let versions = Action::Versions(name);
    let look = Action::LookAtVersions;
    let page = |after| Action::Page { after };
    for (action, method, path, query, headers, sha) in [
        (put, "PUT", &*object, nothing, put_headers, body_sha256),
        (locked, "PUT", &object, nothing, locked_headers, body_sha256),
        (renew, "PUT", &object, of_lock, renew_headers, retention),
        (
            Action::Delete(name),
            "DELETE",
            &object,
            nothing,
            nothing,
            empty,
        ),
        (Action::Stat(name), "HEAD", &object, nothing, nothing, empty),
        (get(20), "GET", &object, nothing, range, empty),
        (older, "GET", &object, of_version, range, empty),
        (versions, "GET", "/disks", &of_object, nothing, empty),
        (look, "GET", "/disks", &of_all, nothing, empty),
        (get(0), "HEAD", &object, nothing, nothing, empty),
        (page(None), "GET", "/disks", &all, nothing, empty),
        (page(Some(name)), "GET", "/disks", &behind, nothing, empty),
        (Action::Look, "GET", "/disks", &one, nothing, empty),
    ] {
        let request = Request {
            method,
            host: "host:9000",
            path,
            query,
            headers,
            body_sha256: sha,
        };
        for token in [None, Some("a token")] {
            let (key, stamp) = (key(token), Stamp::at(STAMP));
            let made: Signature = action.sign(&bucket, &key, stamp);
            assert_eq!(made, signature(&request, &key, "mars", stamp), "{action:?}");
            // Whoever sends it without the key sends what its owner would.
            let own = sign(&request, &key, "mars", stamp);
            assert_eq!(signed(&request, &made, "mars"), own, "{action:?}");
            let has_token = own
                .headers
                .iter()
                .any(|(name, _)| name == "x-amz-security-token");
            assert_eq!(has_token, token.is_some());
        }
    }
}

#[test]
fn a_signature_of_one_request_is_none_of_another() {
    let place = bucket("s3://disks/a?endpoint=https://host&region=mars");
    let elsewhere = [
        "s3://other/a?endpoint=https://host&region=mars",
        "s3://disks/b?endpoint=https://host&region=mars",
        "s3://disks/a?endpoint=https://other&region=mars",
        "s3://disks/a?endpoint=https://host&region=venus",
        "s3://disks/a?endpoint=https://host&region=mars&style=virtual",
    ];
    let (key, stamp) = (key(None), Stamp::at(STAMP));
    let action = Action::Delete(&NAME);
    let made = action.sign(&place, &key, stamp);
    for url in elsewhere {
        assert_ne!(
            action.sign(&bucket(url), &key, stamp).mac,
            made.mac,
            "{url}"
        );
    }
    let later = action.sign(&place, &key, Stamp::at(STAMP + 1));
    assert_ne!(later.mac, made.mac);
}
