// SPDX-License-Identifier: GPL-3.0-or-later
//! Services of S3 that ignore If-None-Match and replace what has the key: each key is looked up
//! before it is put to, which is recorded as checked and not atomic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use serde_json::json;
use wyng_archive::format::COMMIT_BYTES;
use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::stores::{Action, Kind, Proxy, Seen, Server};
use wyng_wire::{OpenStatus, ReceiptStatus, Service};

use super::archives::{adopt, create, sandbox};
use super::call::{Call, Store, name};

/// Makes a server replace what has a key, by taking it away before each PUT: the signature of the
/// condition stays whole, and so the server still checks it.
fn replacing(server: &Server) -> impl Fn(&Seen) -> Action + Send + Sync + 'static {
    let data = server.data();
    move |seen| {
        if let Some(path) = object(&data, seen).filter(|_| seen.is("PUT")) {
            let _ = std::fs::remove_file(path);
        }
        Action::Pass
    }
}

/// The server's file for the object of a request.
fn object(data: &Path, seen: &Seen) -> Option<PathBuf> {
    let target = seen.head.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (!query.contains("retention")).then(|| data.join(path.trim_start_matches('/')))
}

/// All objects of the store and their bytes.
fn objects(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let names = server.files("store").into_iter();
    names
        .map(|file| {
            let bytes = std::fs::read(server.folder("store").join(&file)).unwrap();
            (file, bytes)
        })
        .collect()
}

fn open(server: &Server, proxy: &Proxy) -> Call {
    server.plant("store", &name(0, 0), b"the first blob");
    let mut call = Call::start(Service::Push);
    let place = server.destination_through(proxy.port(), "store");
    let status = call.ask_to_open(&place, Store::Existing);
    assert_eq!(status, OpenStatus::Ok, "{}", call.said());
    call
}

fn create_only(outcome: &Outcome) -> serde_json::Value {
    outcome.success().json["archives"][0]["create_only"].clone()
}

#[test]
fn nothing_is_replaced_where_the_server_would_replace_it() {
    let test = "nothing_is_replaced_where_the_server_would_replace_it";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxy = Proxy::start(server.port(), replacing(&server));
    let bytes = noise(1_500_000, 3);
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    use ReceiptStatus::{ExistsDifferent, ExistsSame, Stored, StoredTwice};
    // A body that is too long to be sent again shows nothing of the server.
    let mut call = open(&server, &proxy);
    call.put(name(1, 1), &bytes);
    call.put(name(1, 1), &bytes);
    call.put(name(1, 1), &other);
    call.put(name(1, 1), &other[1..]);
    let different = [ExistsDifferent, ExistsDifferent];
    let receipts = call.finish(2);
    assert_eq!(receipts, [&[Stored, ExistsSame][..], &different].concat());
    // A short one does. Puts of one name follow each other.
    let mut call = open(&server, &proxy);
    call.put(name(2, 2), b"short");
    call.put(name(2, 2), b"short");
    call.put(name(2, 2), b"other");
    call.put(name(2, 2), &bytes);
    let receipts = call.finish(2);
    assert_eq!(
        receipts,
        [&[StoredTwice, ExistsSame][..], &different].concat()
    );
    assert!(server.blob("store", &name(1, 1)).unwrap() == bytes);
    assert_eq!(server.blob("store", &name(2, 2)).unwrap(), b"short");
}

#[test]
fn a_key_that_may_not_look_stores_nothing_once_the_server_was_seen_to_replace() {
    let test = "a_key_that_may_not_look_stores_nothing_once_the_server_was_seen_to_replace";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let replaces = replacing(&server);
    let proxy = Proxy::start(server.port(), move |seen| {
        // The first look at the bucket has no key of an object.
        match seen.is("GET") && !seen.head.contains("list-type") {
            true => Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into()),
            false => replaces(seen),
        }
    });
    let mut call = open(&server, &proxy);
    call.put(name(1, 1), b"the first");
    call.end();
    // It was new, and found out what the server does.
    assert_eq!(call.receipts(), [ReceiptStatus::StoredTwice]);
    let mut call = open(&server, &proxy);
    call.put(name(1, 2), b"one");
    call.put(name(1, 2), b"two");
    call.end();
    let receipts = call.receipts();
    assert_eq!(receipts[1], ReceiptStatus::Refused, "{receipts:?}");
    assert_eq!(server.blob("store", &name(1, 2)).unwrap(), b"one");
}

#[test]
fn an_archive_whose_store_replaces_objects_is_checked_and_not_atomic() {
    let test = "an_archive_whose_store_replaces_objects_is_checked_and_not_atomic";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxy = Proxy::start(server.port(), replacing(&server));
    let url = server.url_through(proxy.port(), "store");
    let first = sandbox(&server);
    let words = ["store", "check", &url, "--credentials", "credentials"];
    let checked = first.wyng(&words);
    assert_eq!(checked.success().json["create_only"], "checked");
    let trials = checked.json["trials"].as_array().unwrap();
    let exclude = json!({"trial": "exclude", "result": "works"});
    assert!(trials.contains(&exclude), "{trials:?}");
    create(&first, &url).success();
    let image = first.image("disk.img", 1_000_000, 1);
    first.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(
        create_only(&first.wyng(&["archive", "show", "home"])),
        "checked"
    );

    // Another machine takes over, and the first one does not know that.
    let second = sandbox(&server);
    adopt(&second, &url, &[]).success();
    let gone = ["archive", "take-over", "home", "--other-writer-is-gone"];
    let refused = second.wyng(&gone[..3]);
    assert_eq!(refused.expect(1).codes(), ["writers-not-kept-apart"]);
    second.wyng(&gone).success();
    second.image("disk.img", 1_000_000, 2);
    second.wyng(&["backup", "home", "disk.img"]).success();
    let before = objects(&server);
    write_at(&image, 0, &noise(500_000, 9));
    let refused = first.wyng(&["backup", "home", "disk.img"]);
    assert_ne!(refused.status, 0, "{}", refused.stderr);
    let after = objects(&server);
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{name} was replaced");
    }
    let deep = second.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], json!([]));
}

#[test]
fn a_store_that_was_atomic_and_replaces_objects_now_is_found_by_the_next_backup() {
    let test = "a_store_that_was_atomic_and_replaces_objects_now_is_found_by_the_next_backup";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxy = Proxy::start(server.port(), super::abilities::second_put_is("412 Taken"));
    let url = server.url_through(proxy.port(), "store");
    let sandbox = sandbox(&server);
    create(&sandbox, &url).success();
    let show = || create_only(&sandbox.wyng(&["status", "home"]));
    assert_eq!(show(), "atomic");
    proxy.set_rule(replacing(&server));
    sandbox.image("disk.img", 300_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(show(), "checked");
    let said = super::abilities::text(&sandbox, &["status", "home"]);
    assert!(said.contains("checked, not atomic"), "{said}");
}

/// The same for requests that are signed here: the server refuses what is not signed.
fn strictly_replacing(server: &Server) -> impl Fn(&Seen) -> Action + Send + Sync + 'static {
    let replaces = replacing(server);
    move |seen| {
        // A signature that the server rejects takes nothing away.
        let refused = seen.has_unsigned_headers();
        refused.unwrap_or_else(|| match has_other_bytes(seen) {
            true => Action::Pass,
            false => replaces(seen),
        })
    }
}

/// Whether the body is not the one whose hash is signed.
fn has_other_bytes(seen: &Seen) -> bool {
    let signed = seen.head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_hash = name.eq_ignore_ascii_case("x-amz-content-sha256");
        is_hash.then(|| value.trim().to_owned())
    });
    let own: String = {
        use sha2::Digest;
        let hash = sha2::Sha256::digest(&seen.body);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    signed.is_some_and(|signed| signed != own)
}

#[test]
fn where_requests_are_signed_here_a_store_that_replaces_objects_is_refused() {
    let test = "where_requests_are_signed_here_a_store_that_replaces_objects_is_refused";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxy = Proxy::start(server.port(), strictly_replacing(&server));
    let words = "archive create home --signed --kdf-memory 64M --kdf-passes 3 --credentials";
    let create = |sandbox: &Sandbox, store: &str| {
        let url = server.url_through(proxy.port(), store);
        let words = words.split(' ').chain(["credentials", "--store", &url]);
        sandbox.wyng(&words.collect::<Vec<_>>())
    };
    let refused = create(&sandbox(&server), "other");
    assert_eq!(refused.expect(1).codes(), ["store-lax"]);

    // One that kept to it when the archive was made.
    proxy.set_strict_rule(|_| Action::Pass);
    let sandbox = sandbox(&server);
    create(&sandbox, "store").success();
    sandbox.image("disk.img", 300_000, 1);
    proxy.set_rule(strictly_replacing(&server));
    let before = objects(&server);
    let refused = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(refused.expect(1).codes(), ["store-lax"]);
    let after = objects(&server);
    assert!(
        before
            .iter()
            .all(|(name, bytes)| after.get(name) == Some(bytes))
    );
    // The next step that it names.
    let words = "archive open home --no-signed --credentials credentials";
    sandbox
        .wyng(&words.split(' ').collect::<Vec<_>>())
        .success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(create_only(&sandbox.wyng(&["status", "home"])), "checked");
}

#[test]
fn of_two_machines_that_commit_at_one_moment_the_replaced_one_is_told() {
    let test = "of_two_machines_that_commit_at_one_moment_the_replaced_one_is_told";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxies = [(); 2].map(|()| Proxy::start(server.port(), replacing(&server)));
    let urls = proxies
        .each_ref()
        .map(|proxy| server.url_through(proxy.port(), "store"));
    let first = sandbox(&server);
    create(&first, &urls[0]).success();
    let image = first.image("disk.img", 300_000, 1);
    first.wyng(&["backup", "home", "disk.img"]).success();
    let second = sandbox(&server);
    adopt(&second, &urls[1], &[]).success();

    // The first machine has seen that the name of its commit is free, and waits.
    let (reached, is_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (data, replaces, waits) = (server.data(), replacing(&server), Mutex::new(may_go_on));
    proxies[0].set_rule(move |seen| {
        let length = format!("content-length: {COMMIT_BYTES}\r\n");
        let is_commit = seen.is("PUT") && seen.head.to_ascii_lowercase().contains(&length);
        if is_commit && object(&data, seen).is_some_and(|path| !path.exists()) {
            reached.send(()).unwrap();
            // Afterwards nobody sends any more, and nothing waits.
            let _ = waits.lock().unwrap().recv();
        }
        replaces(seen)
    });
    write_at(&image, 0, &noise(200_000, 2));
    let mut backup = first.command(&["backup", "home", "disk.img"]);
    let backup = std::thread::spawn(move || Outcome::of(backup.output().unwrap()));
    is_reached.recv().unwrap();
    // Somebody says what is not so.
    let gone = ["archive", "take-over", "home", "--other-writer-is-gone"];
    second.wyng(&gone).success();
    drop(go_on);
    backup.join().unwrap().success();

    // The store has the first machine's commit now, and the second machine says so.
    for (words, code) in [
        (["archive", "open", "home"].as_slice(), "not-descended"),
        (&["verify", "home"], "forked"),
    ] {
        let told = second.wyng(words);
        assert_eq!(told.expect(5).codes(), [code], "{words:?}");
    }
    let deep = first.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], json!([]));
}
