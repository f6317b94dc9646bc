// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects that are locked when they are stored: nobody deletes what they are before the day that
//! this machine set.

use jiff::Timestamp;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::stores::{Action, Kind, Proxy, Server};
use wyng_wire::{OpenStatus, ReceiptStatus, Service};

use super::call::{Call, Store, name};

const IMAGE_BYTES: usize = 1_000_000;

fn create(sandbox: &Sandbox, server: &Server, query: &str) -> Outcome {
    sandbox.text("credentials", &server.credentials());
    let words = [
        "archive create home --credentials credentials --kdf-memory 64M --kdf-passes 3",
        "--minimum-age 0s --hold-off 0,0s --pack-size 512K --chunk-size 64K --store",
    ]
    .join(" ");
    let url = format!("{}&{query}", server.url("store"));
    let words: Vec<&str> = words.split(' ').chain([&*url]).collect();
    sandbox.wyng(&words)
}

/// The mode and the end of the lock of an object, among the headers of the answer.
fn lock(server: &Server, object: &str) -> String {
    let path = format!("/disks/store/{object}");
    server.ask("HEAD", &path, "", b"").success()
}

/// The id of the newest version of an object.
fn version(server: &Server, object: &str) -> String {
    let path = format!("/disks?versions&prefix=store/{object}");
    let versions = server.ask("GET", &path, "", b"").success();
    let (_, id) = versions.split_once("<VersionId>").unwrap();
    id.split_once('<').unwrap().0.to_owned()
}

/// The beginning of the day after this number of days from now.
fn day_after(days: i64) -> String {
    let day = Timestamp::now().as_second() / 86_400 + days + 1;
    let begin = Timestamp::from_second(day * 86_400).unwrap();
    format!(
        "x-amz-object-lock-retain-until-date: {}",
        begin.strftime("%Y-%m-%dT00:00:00")
    )
}

fn assert_all_are_locked(server: &Server, mode: &str, days: i64) {
    // The day may have ended since the objects were stored.
    let days = [day_after(days), day_after(days - 1)];
    let objects = server.objects("store");
    assert!(objects.len() > 3, "{objects:?}");
    for (object, _) in objects {
        let lock = lock(server, &object);
        let mode = format!("x-amz-object-lock-mode: {mode}");
        assert!(lock.contains(&mode), "{lock}");
        assert!(days.iter().any(|day| lock.contains(&**day)), "{lock}");
    }
}

#[test]
fn every_object_is_locked_for_the_days_of_the_address_and_prune_works_all_the_same() {
    let test = "every_object_is_locked_for_the_days_of_the_address_and_prune_works_all_the_same";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let sandbox = Sandbox::new();
    create(&sandbox, &server, "lock=30d").success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_all_are_locked(&server, "COMPLIANCE", 30);
    let (object, _) = server.objects("store").remove(0);
    let id = version(&server, &object);
    let path = format!("/disks/store/{object}?versionId={id}");
    let refused = server.ask("DELETE", &path, "", b"").0;
    assert!(refused.contains(" 403 "), "{refused}");

    // Also where this machine signs the requests. It changes the lock with the address. This server
    // looks at no signature, which shows only where something may be stored.
    let proxy = Proxy::start(server.port(), |seen| match seen.is("PUT") {
        true => Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into()),
        false => Action::Pass,
    });
    let url = server.url_through(proxy.port(), "store");
    let url = format!("{url}&lock=7d&lock_mode=governance");
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    let signed = ["--signed", "--store", &url];
    sandbox.wyng(&[&words[..], &signed].concat()).success();
    proxy.set_rule(|_| Action::Pass);
    let before = server.objects("store");
    sandbox.image("disk.img", IMAGE_BYTES, 2);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    for object in server.objects("store") {
        if !before.contains(&object) {
            let lock = lock(&server, &object.0);
            assert!(
                lock.contains("x-amz-object-lock-mode: GOVERNANCE"),
                "{lock}"
            );
        }
    }

    // A DELETE leaves a marker: what was deleted is there as an older version.
    let pruned = sandbox.wyng(&["prune", "home", "--keep-last", "1"]);
    pruned.success();
    sandbox.wyng(&["compact", "home"]).success();
    let left = server.objects("store");
    assert!(before.iter().any(|object| !left.contains(object)));
    sandbox.wyng(&["verify", "home"]).success();
    sandbox.assert_restores("disk.img", "latest", &noise(IMAGE_BYTES, 2));
}

#[test]
fn a_bucket_without_object_lock_takes_nothing_that_is_to_be_locked() {
    let test = "a_bucket_without_object_lock_takes_nothing_that_is_to_be_locked";
    let Some(server) = Server::start(Kind::Moto, test) else {
        return;
    };
    server.ask("PUT", "/disks", "", b"").success();
    let sandbox = Sandbox::new();
    let refused = create(&sandbox, &server, "lock=30d");
    assert_eq!(refused.expect(6).codes(), ["store-denied"]);
    assert_eq!(server.objects("store"), []);

    // A day in the past is refused by the service, and a lock that the address does not have here.
    let mut call = Call::start(Service::Push);
    let destination = server.destination("store");
    let status = call.ask_to_open_locked(&destination, Store::New, 20_000);
    assert_eq!(status, OpenStatus::BadDestination);
    let mut call = Call::start(Service::Push);
    let status = call.ask_to_open(&destination, Store::New);
    assert_eq!(status, OpenStatus::Ok);
    call.put(name(1, 1), b"not locked");
    assert_eq!(call.finish(1), [ReceiptStatus::Stored]);
}
