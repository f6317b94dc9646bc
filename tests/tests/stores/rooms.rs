// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores that are full, that may only be read, and that stop in the middle of an answer: the error
//! says so, and the same command goes on afterwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wyng_tests::disk::LoopMount;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise, write_at};
use wyng_tests::stores::{Action, Kind, Proxy, Server};

use super::archives::{create, sandbox};

const IMAGE_BYTES: usize = 8_000_000;
const BACKUP: [&str; 3] = ["backup", "home", "disk.img"];

/// Fills a file system but for this many bytes.
fn fill(folder: &Path, left_bytes: u64) {
    let space = rustix::fs::statvfs(folder).unwrap();
    let free_bytes = space.f_bavail * space.f_frsize;
    let ballast = noise(usize::try_from(free_bytes - left_bytes).unwrap(), 9);
    std::fs::write(folder.join("ballast"), ballast).unwrap();
}

/// A backup that finds no room, and the same one after room was made.
fn assert_goes_on(sandbox: &Sandbox, url: &str, make_room: impl FnOnce()) {
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let full = sandbox.wyng(&BACKUP);
    assert_eq!(full.expect(1).codes(), ["store-full"]);
    let text = full.json["errors"][0]["text"].as_str().unwrap();
    let named = url.split('?').next().unwrap();
    assert!(text.contains(named), "{text}");
    make_room();
    let session = sandbox.wyng(&BACKUP).success().session(0);
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
}

#[test]
fn a_full_disk_behind_webdav_is_named_and_the_same_backup_goes_on_after_room_was_made() {
    let test = "a_full_disk_behind_webdav_is_named_and_the_same_backup_goes_on_after_room_was_made";
    if !(require(Component::Root, test) && require(Component::Ext4, test)) {
        return;
    }
    let disk = LoopMount::mount("ext4", 40, "");
    // The server answers 500, and states the free space where it is asked for.
    let Some(server) = Server::start_over(Kind::Wsgidav, &disk.path(), &[], test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let url = server.url("store");
    create(&sandbox, &url).success();
    fill(&disk.path(), 3_000_000);
    assert_goes_on(&sandbox, &url, || {
        std::fs::remove_file(disk.path().join("ballast")).unwrap();
    });
}

#[test]
fn a_bucket_whose_quota_is_used_up_is_named_and_the_same_backup_goes_on_after_room_was_made() {
    let test =
        "a_bucket_whose_quota_is_used_up_is_named_and_the_same_backup_goes_on_after_room_was_made";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let sandbox = sandbox(&server);
    let url = server.url_through(proxy.port(), "store");
    create(&sandbox, &url).success();
    // In the words of MinIO, after three packs.
    let text = "<Error><Code>XMinioStorageFull</Code></Error>";
    let full = format!(
        "HTTP/1.1 507 Insufficient Storage\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let packs = AtomicUsize::new(0);
    proxy.set_rule(move |seen| {
        let is_pack = seen.is("PUT") && seen.body.len() > 100_000;
        match is_pack && packs.fetch_add(1, Ordering::SeqCst) >= 3 {
            true => Action::Answer(full.clone()),
            false => Action::Pass,
        }
    });
    assert_goes_on(&sandbox, &url, || proxy.set_rule(|_| Action::Pass));
}

/// What a store that may only be read is good for.
fn assert_is_only_read(sandbox: &Sandbox, url: &str) {
    let open = ["archive", "open", "home", "--credentials", "credentials"];
    let opened = sandbox.wyng(&[&open[..], &["--store", url]].concat());
    opened.success();
    sandbox.assert_restores("disk.img", "latest", &noise(IMAGE_BYTES, 1));
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
    write_at(&sandbox.path("disk.img"), 0, &noise(1_000_000, 2));
    let denied = sandbox.wyng(&BACKUP);
    assert_eq!(denied.expect(6).codes(), ["store-denied"]);
    let text = denied.json["errors"][0]["text"].as_str().unwrap();
    assert!(text.contains(url.split('?').next().unwrap()), "{text}");
}

#[test]
fn what_may_only_be_read_is_restored_and_verified_and_a_backup_is_denied() {
    let test = "what_may_only_be_read_is_restored_and_verified_and_a_backup_is_denied";
    for kind in [Kind::Rclone, Kind::S3] {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let sandbox = sandbox(&server);
        create(&sandbox, &server.url("store")).success();
        sandbox.image("disk.img", IMAGE_BYTES, 1);
        sandbox.wyng(&BACKUP).success();
        let before = server.files("store");
        if kind == Kind::S3 {
            // A policy that allows s3:GetObject and s3:ListBucket alone.
            let proxy = Proxy::start(server.port(), |seen| {
                let text = "<Error><Code>AccessDenied</Code></Error>";
                match seen.is("PUT") || seen.is("DELETE") {
                    true => Action::Answer(format!(
                        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{text}",
                        text.len()
                    )),
                    false => Action::Pass,
                }
            });
            assert_is_only_read(&sandbox, &server.url_through(proxy.port(), "store"));
        } else {
            let data = server.data();
            let read_only = Server::start_over(kind, &data, &["--read-only"], test).unwrap();
            assert_is_only_read(&sandbox, &read_only.url("store"));
        }
        assert_eq!(server.files("store"), before, "{kind:?}");
        let url = server.url("store");
        let open = ["archive", "open", "home", "--credentials", "credentials"];
        sandbox
            .wyng(&[&open[..], &["--store", &url]].concat())
            .success();
        sandbox.wyng(&BACKUP).success();
    }
}

#[test]
fn a_server_that_stops_in_the_middle_of_an_answer_is_given_up_and_the_same_command_goes_on() {
    let test =
        "a_server_that_stops_in_the_middle_of_an_answer_is_given_up_and_the_same_command_goes_on";
    for kind in [Kind::S3, Kind::Wsgidav] {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        let sandbox = sandbox(&server);
        create(&sandbox, &server.url_through(proxy.port(), "store")).success();
        sandbox.image("disk.img", 1_000_000, 1);
        sandbox.wyng(&BACKUP).success();
        let stalled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&stalled);
        proxy.set_rule(move |seen| {
            let name = seen.head.split([' ', '?']).nth(1).unwrap_or_default();
            let is_blob = name.rsplit('/').next().is_some_and(|name| name.len() == 64);
            match seen.is("GET") && is_blob {
                true => {
                    count.fetch_add(1, Ordering::SeqCst);
                    Action::StallAnswer(1000)
                }
                false => Action::Pass,
            }
        });
        let impatient = sandbox.text("impatient.toml", "[far_ends]\nstall_timeout = \"3s\"\n");
        let deep = ["verify", "home", "--deep"];
        let given_up = sandbox.wyng(&[&deep[..], &["--config", &impatient]].concat());
        assert_eq!(given_up.expect(6).codes(), ["far-end-stalled"], "{kind:?}");
        let text = given_up.json["errors"][0]["text"].as_str().unwrap();
        let url = server.url_through(proxy.port(), "store");
        assert!(text.contains(url.split('?').next().unwrap()), "{text}");
        assert!(stalled.load(Ordering::SeqCst) > 0);
        proxy.set_rule(|_| Action::Pass);
        let verified = sandbox.wyng(&deep);
        assert_eq!(verified.success().json["problems"], serde_json::json!([]));
    }
}
