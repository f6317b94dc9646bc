// SPDX-License-Identifier: GPL-3.0-or-later
//! A helper without a key, and requests that the daemon signed: what they do, and what a machine
//! that has seen them can do with them. The server checks signatures.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use wyng_s3::{AccessKey, Action, S3Address, Signature, Stamp, Url, sha256};
use wyng_tests::sandbox::noise;
use wyng_tests::stores::{Action as Proxied, Kind, Proxy, SECRET, Seen, Server, Shelf, USER};
use wyng_wire::{
    BlobName, BytesStatus, Delete, Get, List, ListStatus, Open, OpenStatus, Page, Put,
    ReceiptStatus, Renew, Service, Signed, Stat, StatStatus, ToDaemon, ToHelper,
};

use super::call::{Call, name};

/// The keyholder's side: it alone has the key.
struct Keys {
    url: String,
    bucket: S3Address,
    key: AccessKey,
    /// Added to this machine's time in each signature, seconds.
    ahead_secs: i64,
}

/// A signature that a frame can borrow.
struct Made {
    time_secs: u64,
    signature: Signature,
    body_sha256: [u8; 32],
}

impl Keys {
    /// For the store `store` of a server that is reached over a port.
    fn over(server: &Server, port: u16) -> Self {
        Self::at(server.url_through(port, "store"))
    }

    fn at(url: String) -> Self {
        Self {
            bucket: S3Address::parse(&Url::parse(&url).unwrap()).unwrap(),
            url,
            key: AccessKey {
                id: USER.into(),
                secret: SECRET.to_owned().into(),
                token: None,
            },
            ahead_secs: 0,
        }
    }

    fn sign(&self, action: &Action<'_>) -> Made {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let secs = i64::try_from(now.as_secs()).unwrap() + self.ahead_secs;
        let signature = action.sign(&self.bucket, &self.key, Stamp::at(secs));
        Made {
            time_secs: u64::try_from(secs).unwrap(),
            signature,
            body_sha256: action.body_sha256(),
        }
    }

    /// A helper that has the address and the signature of the first look.
    fn open(&self, service: Service) -> (Call, OpenStatus) {
        let mut call = Call::start(service);
        let look = self.sign(&Action::Look);
        call.send(&ToHelper::Open(Open {
            create: false,
            tries: false,
            looks_at_versions: false,
            signed: Some(look.on_the_pipe()),
            lock_until_day: 0,
            destination: self.url.as_bytes(),
        }));
        let ToDaemon::Opened(opened) = call.read().0 else {
            panic!("no OPENED")
        };
        (call, opened.status)
    }

    fn opened(&self, service: Service) -> Call {
        let (mut call, status) = self.open(service);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        call
    }

    fn put(&self, call: &mut Call, name: BlobName, body: &[u8]) -> ReceiptStatus {
        let made = self.sign(&Action::Put {
            name: &name.0,
            length_bytes: body.len() as u32,
            body_sha256: sha256(body),
            lock: None,
        });
        put_with(call, name, body, &made)
    }

    /// A RENEW until a day, with the signature of one until another.
    fn renew(&self, call: &mut Call, name: BlobName, days: [u32; 2]) -> ReceiptStatus {
        let [until_day, signed_day] = days;
        let until = self.bucket.locked_until(signed_day).unwrap();
        let name_bytes = &name.0;
        let made = self.sign(&Action::Renew {
            name: name_bytes,
            until,
        });
        let number = call.next_number();
        call.send(&ToHelper::Renew(Renew {
            number,
            name,
            until_day,
            signed: Some(made.on_the_pipe()),
        }));
        receipt(call)
    }

    fn delete(&self, call: &mut Call, name: BlobName) -> ReceiptStatus {
        let made = self.sign(&Action::Delete(&name.0));
        let number = call.next_number();
        call.send(&ToHelper::Delete(Delete {
            number,
            name,
            signed: Some(made.on_the_pipe()),
        }));
        receipt(call)
    }

    fn stat(&self, call: &mut Call, name: BlobName) -> (StatStatus, u64) {
        let made = self.sign(&Action::Stat(&name.0));
        let request = call.next_number();
        call.send(&ToHelper::Stat(Stat {
            request,
            name,
            signed: Some(made.on_the_pipe()),
        }));
        match call.read().0 {
            ToDaemon::Stated(stated) => (stated.status, stated.length_bytes),
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, call: &mut Call, name: BlobName, range: (u64, u32)) -> (Vec<u8>, BytesStatus) {
        let made = self.sign(&Action::Get {
            name: &name.0,
            offset_bytes: range.0,
            length_bytes: range.1,
        });
        let request = call.next_number();
        call.send(&ToHelper::Get(Get {
            request,
            name,
            offset_bytes: range.0,
            length_bytes: range.1,
            version: 0,
            version_id: None,
            signed: Some(made.on_the_pipe()),
        }));
        call.answer()
    }

    fn page(&self, call: &mut Call, after: Option<BlobName>) -> (Vec<BlobName>, ListStatus) {
        let made = self.sign(&Action::Page {
            after: after.as_ref().map(|name| &name.0),
        });
        let request = call.next_number();
        let page = Some(Page {
            after,
            signed: made.on_the_pipe(),
        });
        call.send(&ToHelper::List(List { request, page }));
        let mut names = Vec::new();
        loop {
            match call.read().0 {
                ToDaemon::Entry(entry) => names.push(entry.name),
                ToDaemon::ListEnd(end) => return (names, end.status),
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Made {
    fn on_the_pipe(&self) -> Signed<'_> {
        Signed {
            time_secs: self.time_secs,
            signature: self.signature.mac,
            body_sha256: self.body_sha256,
            key_id: &self.signature.key_id,
            token: self.signature.token.as_deref().unwrap_or_default(),
        }
    }
}

fn put_with(call: &mut Call, name: BlobName, body: &[u8], made: &Made) -> ReceiptStatus {
    let number = call.next_number();
    call.send(&ToHelper::Put(Put {
        number,
        name,
        length_bytes: body.len() as u32,
        may_use_reserve: false,
        signed: Some(made.on_the_pipe()),
    }));
    call.send_raw(body);
    receipt(call)
}

fn receipt(call: &mut Call) -> ReceiptStatus {
    match call.read().0 {
        ToDaemon::Receipt(receipt) => receipt.status,
        other => panic!("{other:?}"),
    }
}

/// A store of one blob, and a proxy before it that keeps every request.
fn store_behind_a_proxy(test: &str) -> Option<(Server, Proxy, Keys)> {
    let server = Server::start(Kind::S3, test)?;
    server.plant("store", &name(0, 0), b"the first blob");
    let proxy = Proxy::start(server.port(), |_| Proxied::Pass);
    let keys = Keys::over(&server, proxy.port());
    Some((server, proxy, keys))
}

#[test]
fn a_helper_without_a_key_does_exactly_what_was_signed() {
    let test = "a_helper_without_a_key_does_exactly_what_was_signed";
    let Some((server, _proxy, keys)) = store_behind_a_proxy(test) else {
        return;
    };
    let body = noise(1_500_000, 3);
    let mut push = keys.opened(Service::Push);
    assert_eq!(
        keys.put(&mut push, name(1, 1), &body),
        ReceiptStatus::Stored
    );
    assert_eq!(keys.put(&mut push, name(2, 2), b""), ReceiptStatus::Stored);
    let again = keys.put(&mut push, name(1, 1), &noise(1_500_000, 4));
    assert_eq!(again, ReceiptStatus::ExistsUnknown, "it cannot read back");
    assert!(server.blob("store", &name(1, 1)).unwrap() == body);

    let mut fetch = keys.opened(Service::Fetch);
    let (bytes, status) = keys.get(&mut fetch, name(1, 1), (10, 1_400_000));
    assert!(bytes == body[10..1_400_010] && status == BytesStatus::Whole);
    let (bytes, status) = keys.get(&mut fetch, name(1, 1), (1_499_990, 100));
    assert!(bytes == body[1_499_990..] && status == BytesStatus::Short);
    let (_, status) = keys.get(&mut fetch, name(1, 1), (2_000_000, 10));
    assert_eq!(status, BytesStatus::Short, "the blob ends before the range");
    let (_, status) = keys.get(&mut fetch, name(1, 1), (5, 0));
    assert_eq!(status, BytesStatus::Whole, "a range of no bytes");
    let (_, status) = keys.get(&mut fetch, name(9, 9), (0, 10));
    assert_eq!(status, BytesStatus::Absent);
    assert_eq!(
        keys.stat(&mut fetch, name(1, 1)),
        (StatStatus::Present, 1_500_000)
    );
    assert_eq!(keys.stat(&mut fetch, name(9, 9)), (StatStatus::Absent, 0));
    let (names, status) = keys.page(&mut fetch, None);
    assert_eq!(names, [name(0, 0), name(1, 1), name(2, 2)]);
    assert_eq!(status, ListStatus::Complete);
    let (names, _) = keys.page(&mut fetch, Some(name(1, 1)));
    assert_eq!(names, [name(2, 2)]);

    let mut prune = keys.opened(Service::Prune);
    assert_eq!(keys.delete(&mut prune, name(1, 1)), ReceiptStatus::Deleted);
    assert_eq!(server.blob("store", &name(1, 1)), None);
    assert!(server.blob("store", &name(2, 2)).is_some());
}

#[test]
fn a_signed_renewal_is_one_of_its_very_name_and_day() {
    let test = "a_signed_renewal_is_one_of_its_very_name_and_day";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    server.plant("store", &name(0, 0), b"the first blob");
    let keys = Keys::at(format!("{}&lock=30d", server.url("store")));
    let mut push = keys.opened(Service::Push);
    // This server has no locks: by saying so it has accepted the signature.
    let own = keys.renew(&mut push, name(0, 0), [40_000, 40_000]);
    assert_eq!(own, ReceiptStatus::Unsupported, "{}", push.said());
    let longer = keys.renew(&mut push, name(0, 0), [40_001, 40_000]);
    assert_eq!(longer, ReceiptStatus::Refused, "{}", push.said());
    let put = keys.put(&mut push, name(1, 1), b"the call continues");
    assert_eq!(put, ReceiptStatus::Stored);
}

#[test]
fn a_range_goes_on_with_the_same_signature_where_the_connection_broke() {
    let test = "a_range_goes_on_with_the_same_signature_where_the_connection_broke";
    let Some((server, proxy, keys)) = store_behind_a_proxy(test) else {
        return;
    };
    let body = noise(3_000_000, 5);
    server.plant("store", &name(1, 1), &body);
    let cuts = std::sync::atomic::AtomicUsize::new(0);
    proxy.set_rule(move |seen| {
        let cut = cuts.fetch_add(
            usize::from(is_get(seen)),
            std::sync::atomic::Ordering::SeqCst,
        );
        if is_get(seen) && cut < 2 {
            Proxied::CutAnswer(700_000 * (cut + 1))
        } else {
            Proxied::Pass
        }
    });
    let mut fetch = keys.opened(Service::Fetch);
    let (bytes, status) = keys.get(&mut fetch, name(1, 1), (100, 2_500_000));
    assert_eq!(status, BytesStatus::Whole, "{}", fetch.said());
    assert!(bytes == body[100..2_500_100]);
}

/// Whether it reads an object.
fn is_get(seen: &Seen) -> bool {
    seen.is("GET") && !seen.head.contains("list-type")
}

#[test]
fn a_signature_of_another_time_is_expired_and_the_call_goes_on() {
    let test = "a_signature_of_another_time_is_expired_and_the_call_goes_on";
    let Some((server, _proxy, right)) = store_behind_a_proxy(test) else {
        return;
    };
    for ahead_secs in [-3600, 3600] {
        let wrong = Keys {
            ahead_secs,
            ..Keys::at(right.url.clone())
        };
        assert_eq!(wrong.open(Service::Push).1, OpenStatus::Expired);
        let mut push = right.opened(Service::Push);
        let expired = wrong.put(&mut push, name(1, 1), b"body");
        assert_eq!(expired, ReceiptStatus::Expired);
        assert_eq!(server.blob("store", &name(1, 1)), None);
        let stored = right.put(&mut push, name(1, 1), b"body");
        assert_eq!(stored, ReceiptStatus::Stored);

        let mut fetch = right.opened(Service::Fetch);
        let (_, status) = wrong.get(&mut fetch, name(1, 1), (0, 4));
        assert_eq!(status, BytesStatus::Expired);
        assert_eq!(wrong.page(&mut fetch, None), (vec![], ListStatus::Expired));
        let (bytes, _) = right.get(&mut fetch, name(1, 1), (0, 4));
        assert_eq!(bytes, b"body");

        let mut prune = right.opened(Service::Prune);
        let expired = wrong.delete(&mut prune, name(1, 1));
        assert_eq!(expired, ReceiptStatus::Expired);
        assert!(server.blob("store", &name(1, 1)).is_some());
        let deleted = right.delete(&mut prune, name(1, 1));
        assert_eq!(deleted, ReceiptStatus::Deleted);
    }
}

#[test]
fn pages_are_followed_by_the_last_name_and_foreign_objects_alone_end_a_listing() {
    let names: Vec<BlobName> = (0..2500_u32)
        .map(|number| {
            let mut name = [7; 32];
            name[..4].copy_from_slice(&number.to_be_bytes());
            BlobName(name)
        })
        .collect();
    let mut keys: std::collections::BTreeMap<String, u64> = names
        .iter()
        .map(|name| (format!("store/{name}"), 1))
        .collect();
    // Behind the last name that a blob can have.
    keys.extend((0..1500).map(|number| (format!("store/zzz{number:05}"), 1)));
    let shelf = Shelf::start(keys.clone(), |_, page| page);
    let address = |port: u16| {
        Keys::at(format!(
            "s3://disks/store?endpoint=http://127.0.0.1:{port}&insecure=true"
        ))
    };
    let at_shelf = address(shelf.port());
    let mut fetch = at_shelf.opened(Service::Fetch);
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (page, status) = at_shelf.page(&mut fetch, after);
        pages += 1;
        all.extend(page);
        after = all.last().copied();
        if status == ListStatus::Complete {
            break;
        }
        assert_eq!(status, ListStatus::More);
    }
    assert!(all == names && pages == 3);

    keys.extend((0..1500).map(|number| (format!("store/!{number:05}"), 1)));
    let shelf = Shelf::start(keys, |_, page| page);
    let at_shelf = address(shelf.port());
    let mut fetch = at_shelf.opened(Service::Fetch);
    let first = at_shelf.page(&mut fetch, None);
    assert_eq!(first, (vec![], ListStatus::Incomplete));
}

#[test]
fn only_s3_takes_signatures_and_no_credentials_beside_them() {
    let folder = super::call::store();
    let at = Keys::at("s3://disks/store?endpoint=http://127.0.0.1:1&insecure=true".into());
    for url in [
        format!("dir:{}", folder.path().display()),
        "webdav://127.0.0.1:1/x?insecure=true".into(),
        "sftp://127.0.0.1/x".into(),
        // Nor does a store whose address has credentials behind it.
        format!("{}\naccess_key_id = x\nsecret_access_key = x", at.url),
    ] {
        let elsewhere = Keys {
            url,
            ..Keys::at(at.url.clone())
        };
        let (_, status) = elsewhere.open(Service::Push);
        assert_eq!(status, OpenStatus::BadDestination, "{}", elsewhere.url);
    }
}

/// Sends a request as it is, past every helper; the status and the text of the answer.
fn send(port: u16, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut answer = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut text).unwrap(), 0, "{text}");
    }
    for line in text.to_ascii_lowercase().lines() {
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; if head.starts_with("HEAD ") { 0 } else { length }];
    answer.read_exact(&mut body).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text + &String::from_utf8_lossy(&body))
}

/// The request of a helper with this method; there is exactly one, perhaps sent once more as it is.
fn only(proxy: &Proxy, is: impl Fn(&Seen) -> bool) -> Seen {
    let found: Vec<Seen> = proxy.seen().into_iter().filter(|seen| is(seen)).collect();
    assert!((1..=2).contains(&found.len()), "{}", found.len());
    for again in &found {
        assert_eq!((&again.head, &again.body), (&found[0].head, &found[0].body));
    }
    found[0].clone()
}

/// The same request with more headers.
fn with_headers(head: &str, headers: &str) -> String {
    head.replacen("\r\n", &format!("\r\n{headers}"), 1)
}

#[test]
fn a_machine_that_keeps_the_request_of_a_put_can_do_nothing_else_with_it() {
    let test = "a_machine_that_keeps_the_request_of_a_put_can_do_nothing_else_with_it";
    let Some((server, proxy, keys)) = store_behind_a_proxy(test) else {
        return;
    };
    let (body, other) = (noise(5000, 1), noise(5000, 2));
    let mut push = keys.opened(Service::Push);
    assert_eq!(
        keys.put(&mut push, name(1, 1), &body),
        ReceiptStatus::Stored
    );
    assert_eq!(
        keys.put(&mut push, name(3, 3), &other),
        ReceiptStatus::Stored
    );
    let path = format!("PUT /disks/store/{} ", name(1, 1));
    let put = only(&proxy, |seen| seen.head.starts_with(&path));
    let head = put.head.clone();
    let before = server.files("store");

    // It replays it, also with other bytes, while the name is taken.
    assert_eq!(send(server.port(), &head, &body).0, 412);
    assert_ne!(send(server.port(), &head, &other).0, 200);
    assert!(server.blob("store", &name(1, 1)).unwrap() == body);
    // It leaves out the condition.
    let unconditional = head.replace("if-none-match: *\r\n", "");
    assert_ne!(unconditional, head);
    assert_eq!(send(server.port(), &unconditional, &body).0, 403);
    // It takes the signature for other names, methods and queries, to overwrite and to read.
    for (from, to) in [
        (name(1, 1).to_string(), name(3, 3).to_string()),
        (name(1, 1).to_string(), name(4, 4).to_string()),
        ("PUT ".into(), "GET ".into()),
        ("PUT ".into(), "HEAD ".into()),
        ("PUT ".into(), "DELETE ".into()),
        ("PUT ".into(), "POST ".into()),
        (" HTTP/1.1".into(), "?acl HTTP/1.1".into()),
        (" HTTP/1.1".into(), "?uploads HTTP/1.1".into()),
        (
            " HTTP/1.1".into(),
            "?partNumber=1&uploadId=1 HTTP/1.1".into(),
        ),
    ] {
        let changed = head.replacen(&from, &to, 1);
        assert_ne!(changed, head);
        let (status, answer) = send(server.port(), &changed, &body);
        assert_eq!(status, 403, "{to}: {answer}");
    }
    assert_eq!(server.files("store"), before);
    assert!(server.blob("store", &name(1, 1)).unwrap() == body);
    assert!(server.blob("store", &name(3, 3)).unwrap() == other);

    // It hoards the request, and uses it with other bytes while the name is free.
    std::fs::remove_file(server.path_of("store", &name(1, 1))).unwrap();
    for (bytes, length) in [(&other[..], 5000), (&body[..4999], 4999), (&[][..], 0)] {
        let changed = head.replace("content-length: 5000", &format!("content-length: {length}"));
        let (status, answer) = send(server.port(), &changed, bytes);
        assert!(status >= 400, "{answer}");
        assert_eq!(server.blob("store", &name(1, 1)), None);
    }
    let unsigned = head.replace(
        &format!("x-amz-content-sha256: {}", hex(&sha256(&body))),
        "x-amz-content-sha256: UNSIGNED-PAYLOAD",
    );
    assert_ne!(unsigned, head);
    assert_eq!(send(server.port(), &unsigned, &other).0, 403);
    assert_eq!(server.blob("store", &name(1, 1)), None);
    // All that is left to it is what was signed.
    assert_eq!(send(server.port(), &head, &body).0, 200);
    assert!(server.blob("store", &name(1, 1)).unwrap() == body);
}

#[test]
fn headers_that_are_not_signed_change_nothing_where_the_service_refuses_them() {
    let test = "headers_that_are_not_signed_change_nothing_where_the_service_refuses_them";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let (body, first) = (noise(5000, 1), name(0, 0));
    server.plant("store", &first, b"the first blob");
    let proxy = Proxy::strict(server.port(), |_| Proxied::Pass);
    let keys = Keys::over(&server, proxy.port());
    let mut push = keys.opened(Service::Push);
    assert_eq!(
        keys.put(&mut push, name(1, 1), &body),
        ReceiptStatus::Stored
    );
    let put = only(&proxy, |seen| seen.is("PUT"));
    for headers in [
        format!("x-amz-copy-source: /disks/store/{first}\r\n"),
        "x-amz-server-side-encryption-customer-algorithm: AES256\r\n".into(),
        "x-amz-acl: public-read-write\r\n".into(),
    ] {
        let changed = with_headers(&put.head, &headers);
        let (status, answer) = send(proxy.port(), &changed, &body);
        assert_eq!(status, 403, "{headers}: {answer}");
        assert!(server.blob("store", &name(1, 1)).unwrap() == body);
    }
    // This is what a lax service does, and why one is refused when an archive is made.
    let changed = with_headers(
        &put.head,
        &format!("x-amz-copy-source: /disks/store/{first}\r\n"),
    );
    assert_eq!(send(server.port(), &changed, &body).0, 200);
    let overwritten = server.blob("store", &name(1, 1)).unwrap();
    assert_eq!(
        overwritten, b"the first blob",
        "s3s-fs has become strict: say so in docs/stores.md"
    );
}

#[test]
fn a_machine_that_keeps_requests_to_read_list_or_delete_can_do_nothing_else_with_them() {
    let test = "a_machine_that_keeps_requests_to_read_list_or_delete_can_do_nothing_else_with_them";
    let Some((server, proxy, keys)) = store_behind_a_proxy(test) else {
        return;
    };
    for number in 1..4 {
        server.plant(
            "store",
            &name(number, number),
            &noise(1000, u64::from(number)),
        );
    }
    let mut fetch = keys.opened(Service::Fetch);
    let (bytes, _) = keys.get(&mut fetch, name(1, 1), (10, 20));
    assert!(bytes == noise(1000, 1)[10..30]);
    keys.page(&mut fetch, None);
    let mut prune = keys.opened(Service::Prune);
    assert_eq!(keys.delete(&mut prune, name(1, 1)), ReceiptStatus::Deleted);

    let get = only(&proxy, is_get).head;
    let page = only(&proxy, |seen| seen.head.contains("max-keys=1000")).head;
    let delete = only(&proxy, |seen| seen.is("DELETE")).head;
    let (one, two) = (name(1, 1).to_string(), name(2, 2).to_string());
    let refused: Vec<String> = [
        (&get, "bytes=10-29", "bytes=0-999"),
        (&get, "range: bytes=10-29\r\n", ""),
        (&get, &*one, &*two),
        (&get, "GET ", "DELETE "),
        (&get, "GET ", "PUT "),
        (&page, "prefix=store%2F", "prefix="),
        (&page, "max-keys=1000&", ""),
        (&page, "/disks?", "/disks?delete&"),
        (&delete, &*one, &*two),
        (&delete, "DELETE ", "GET "),
        (&delete, "DELETE ", "PUT "),
        (&delete, " HTTP/1.1", "?versionId=1 HTTP/1.1"),
    ]
    .into_iter()
    .map(|(head, from, to)| {
        let changed = head.replacen(from, to, 1);
        assert_ne!(&changed, head, "{from}");
        changed
    })
    .collect();
    let before: BTreeSet<String> = server.files("store").into_iter().collect();
    for head in refused {
        let (status, answer) = send(server.port(), &head, b"");
        assert!(matches!(status, 403 | 411), "{head}\n{answer}");
    }
    let after: BTreeSet<String> = server.files("store").into_iter().collect();
    assert_eq!(after, before);
    // The one deletion, once more, hits nothing: no name lives twice.
    assert_eq!(send(server.port(), &delete, b"").0, 204);
    let after: BTreeSet<String> = server.files("store").into_iter().collect();
    assert_eq!(after, before);
}

#[test]
fn a_helper_that_was_given_another_name_than_was_signed_stores_nothing() {
    let test = "a_helper_that_was_given_another_name_than_was_signed_stores_nothing";
    let Some((server, _proxy, keys)) = store_behind_a_proxy(test) else {
        return;
    };
    let made = keys.sign(&Action::Put {
        name: &name(1, 1).0,
        length_bytes: 4,
        body_sha256: sha256(b"body"),
        lock: None,
    });
    let mut push = keys.opened(Service::Push);
    let receipt = put_with(&mut push, name(2, 2), b"body", &made);
    assert_eq!(receipt, ReceiptStatus::Refused, "{}", push.said());
    assert_eq!(server.blob("store", &name(2, 2)), None);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
