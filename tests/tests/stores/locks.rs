// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects that are locked when they are stored: nobody deletes what they are before the day that
//! this machine set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::stores::{Action, Kind, Proxy, Server};
use wyng_wire::{BlobName, OpenStatus, ReceiptStatus, Service};

use super::archives::adopt;
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

/// The present day of UTC, counted from the beginning of 1970.
fn today() -> u32 {
    u32::try_from(Timestamp::now().as_second() / 86_400).unwrap()
}

/// The day at whose beginning the lock of a blob ends.
fn end_of(server: &Server, blob: &BlobName) -> u32 {
    let answer = lock(server, &blob.to_string());
    let (_, date) = answer.split_once("retain-until-date: ").unwrap();
    let end: Timestamp = date.lines().next().unwrap().trim().parse().unwrap();
    u32::try_from(end.as_second() / 86_400).unwrap()
}

#[test]
fn a_lock_is_made_longer_and_never_shorter_and_what_is_not_there_is_no_success() {
    let test = "a_lock_is_made_longer_and_never_shorter_and_what_is_not_there_is_no_success";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let place = |query: &str| {
        let url = server.url("store");
        format!("{url}{query}\n{}", server.credentials()).into_bytes()
    };
    let (locked, today) = (name(1, 1), today());
    let mut call = Call::start(Service::Push);
    let status = call.ask_to_open_locked(&place("&lock=30d"), Store::New, today + 30);
    assert_eq!(status, OpenStatus::Ok);
    call.put(locked, b"a blob");
    call.put(name(2, 2), b"another");
    let stored = ReceiptStatus::Stored;
    assert_eq!(call.finish(2), [stored, stored]);
    server.delete("store", &name(2, 2).to_string());

    // Requests of one call are under way at once; a later call finds the lock as it is.
    let renewed = ReceiptStatus::Renewed;
    let absent = ReceiptStatus::NotThere;
    for days in [&[today + 60][..], &[today + 60, today + 40]] {
        let mut call = Call::start(Service::Push);
        let status = call.ask_to_open(&place("&lock=30d"), Store::Existing);
        assert_eq!(status, OpenStatus::Ok);
        days.iter().for_each(|day| call.renew(locked, *day));
        call.renew(name(2, 2), today + 60);
        call.renew(name(3, 3), today + 60);
        let expected = [&vec![renewed; days.len()][..], &[absent, absent]].concat();
        assert_eq!(call.receipts(), expected, "{}", call.said());
    }
    assert_eq!(end_of(&server, &locked), today + 60);
    let id = version(&server, &locked.to_string());
    let path = format!("/disks/store/{locked}?versionId={id}");
    let refused = server.ask("DELETE", &path, "", b"").0;
    assert!(refused.contains(" 403 "), "{refused}");

    // Without a lock in the address nothing says how.
    let mut call = Call::start(Service::Push);
    let status = call.ask_to_open(&place(""), Store::Existing);
    assert_eq!(status, OpenStatus::Ok);
    call.renew(locked, today + 90);
    assert_eq!(call.finish(0), [ReceiptStatus::Unsupported]);
    assert_eq!(end_of(&server, &locked), today + 60);
}

#[test]
fn a_backup_makes_the_locks_longer_of_which_half_is_over() {
    let test = "a_backup_makes_the_locks_longer_of_which_half_is_over";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let sandbox = Sandbox::new();
    create(&sandbox, &server, "lock=2d").success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_all_are_locked(&server, "COMPLIANCE", 2);

    // With another period, less than half of it is left of these.
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let renewals = Arc::new(AtomicUsize::new(0));
    let open = |query: &str, words: &[&str]| {
        let count = Arc::clone(&renewals);
        proxy.set_rule(move |seen| {
            let is_trial = seen.is("PUT") && !seen.head.contains("?retention");
            match is_trial {
                true => Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into()),
                false => Action::Pass,
            }
        });
        let url = format!("{}&{query}", server.url_through(proxy.port(), "store"));
        adopt(&sandbox, &url, words).success();
        proxy.set_rule(move |seen| {
            let renews = seen.is("PUT") && seen.head.contains("?retention");
            count.fetch_add(usize::from(renews), Ordering::SeqCst);
            Action::Pass
        });
    };
    for (query, words, days) in [("lock=30d", &[][..], 30), ("lock=70d", &["--signed"], 70)] {
        open(query, words);
        let known = server.objects("store").len();
        let before = sandbox.wyng(&["archive", "show", "home"]);
        let lock = &before.success().json["archives"][0]["lock"];
        assert_eq!(lock["period_days"], days);
        let is_other_address = words.is_empty();
        let unknown = if is_other_address { known } else { 0 };
        assert_eq!(lock["unknown_objects"], unknown);
        sandbox.image("disk.img", IMAGE_BYTES, u64::try_from(days).unwrap());
        let backed_up = sandbox.wyng(&["backup", "home", "disk.img"]);
        assert!(
            backed_up.success().json["warnings"]
                .as_array()
                .is_none_or(Vec::is_empty)
        );
        assert_all_are_locked(&server, "COMPLIANCE", days);
        assert_eq!(
            renewals.swap(0, Ordering::SeqCst),
            known,
            "one request for each"
        );
        let after = sandbox.wyng(&["status", "home"]);
        let lock = &after.success().json["archives"][0]["lock"];
        let ends = lock["ends"].as_str().unwrap();
        let days = [day_after(days), day_after(days - 1)];
        assert!(
            days.iter()
                .any(|day| day.ends_with(&ends[..10]) || day.contains(&ends[..10]))
        );
        assert_eq!(lock["unknown_objects"], 0);
        assert_eq!(lock["ends_soon"], false);
        sandbox.image("disk.img", IMAGE_BYTES, 1);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        assert_eq!(renewals.load(Ordering::SeqCst), 0, "they are new");
    }
}

#[test]
fn what_the_service_refuses_to_lock_longer_is_a_warning_and_stays_as_it_was() {
    let test = "what_the_service_refuses_to_lock_longer_is_a_warning_and_stays_as_it_was";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let sandbox = Sandbox::new();
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    sandbox.text("credentials", &server.credentials());
    create(&sandbox, &server, "lock=2d").success();
    for (query, status, code, words) in [
        (
            "lock=30d",
            "403 Forbidden",
            "locks-not-renewed",
            "are refused by the store",
        ),
        (
            "lock=31d",
            "501 Not Implemented",
            "locks-not-supported",
            "for its first days",
        ),
        (
            "lock=32d",
            "404 Not Found",
            "locks-not-renewed",
            "objects are missing",
        ),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        proxy.set_rule(move |seen| match seen.head.contains("?retention") {
            true => Action::Answer(answer.clone()),
            false => Action::Pass,
        });
        let url = format!("{}&{query}", server.url_through(proxy.port(), "store"));
        adopt(&sandbox, &url, &[]).success();
        sandbox.image("disk.img", 100_000, 1);
        let backed_up = sandbox.wyng(&["backup", "home", "disk.img"]);
        let warning = &backed_up.success().json["warnings"][0];
        assert_eq!(warning["code"], code, "{warning}");
        assert!(
            warning["text"].as_str().unwrap().contains(words),
            "{warning}"
        );
    }
}

#[test]
fn a_failure_for_one_object_keeps_no_other_lock_short_and_the_next_backup_asks_again() {
    let test = "a_failure_for_one_object_keeps_no_other_lock_short_and_the_next_backup_asks_again";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let sandbox = Sandbox::new();
    create(&sandbox, &server, "lock=2d").success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let invalid = "<Error><Code>InvalidRequest</Code></Error>";
    let unavailable = ("503 Service Unavailable", "");
    for (days, (status, body), words) in [
        (30, unavailable, "for 1 it failed"),
        (
            40,
            ("400 Bad Request", invalid),
            "1 are refused by the store",
        ),
    ] {
        let before = server.objects("store");
        let (failing, _) = before[0].clone();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let url = server.url_through(proxy.port(), "store");
        let url = format!("{url}&lock={days}d");
        let open = ["archive", "open", "home", "--credentials", "credentials"];
        let open = [&open[..], &["--store", &url]].concat();
        sandbox.wyng(&open).success();
        let of_one = failing.clone();
        proxy.set_rule(move |seen| {
            let is_of_one = seen.head.contains("?retention") && seen.head.contains(&of_one);
            match is_of_one {
                true => Action::Answer(answer.clone()),
                false => Action::Pass,
            }
        });
        let backed_up = sandbox.wyng(&["backup", "home", "disk.img"]);
        let warning = &backed_up.success().json["warnings"][0];
        assert_eq!(warning["code"], "locks-not-renewed", "{warning}");
        assert!(
            warning["text"].as_str().unwrap().contains(words),
            "{warning}"
        );
        let ends = [day_after(days), day_after(days - 1)];
        let is_long = |object: &str| {
            let lock = lock(&server, object);
            ends.iter().any(|day| lock.contains(&**day))
        };
        for (object, _) in &before {
            assert_eq!(is_long(object), *object != failing, "{object}");
        }
        proxy.set_rule(|_| Action::Pass);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        assert!(is_long(&failing));
    }

    // Where the service fails for every object, the backup is done soon all the same.
    let url = server.url_through(proxy.port(), "store");
    let url = format!("{url}&lock=50d");
    let open = ["archive", "open", "home", "--credentials", "credentials"];
    let open = [&open[..], &["--store", &url]].concat();
    sandbox.wyng(&open).success();
    let (status, _) = unavailable;
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    proxy.set_rule(move |seen| match seen.head.contains("?retention") {
        true => Action::Answer(answer.clone()),
        false => Action::Pass,
    });
    let backed_up = sandbox.wyng(&["backup", "home", "disk.img"]);
    let warning = &backed_up.success().json["warnings"][0];
    assert_eq!(warning["code"], "locks-not-renewed", "{warning}");
    let text = warning["text"].as_str().unwrap();
    assert!(text.contains("for 8 it failed"), "{warning}");
}
