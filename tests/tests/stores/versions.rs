// SPDX-License-Identifier: GPL-3.0-or-later
//! Older versions of objects, in a bucket that keeps them: what somebody overwrote or deleted is
//! read all the same, and reported.

use std::collections::BTreeSet;

use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::stores::Server;

const IMAGE_BYTES: usize = 1_500_000;
const OLDER: &str = "an older version of it in the store is sound";

/// An archive with one session of `disk.img`, and the names of its blobs by their length: the first
/// is the longest pack.
fn archive(server: &Server) -> (Sandbox, Vec<(String, usize)>) {
    let sandbox = Sandbox::new();
    sandbox.text("credentials", &server.credentials());
    let words = [
        "archive create home --credentials credentials --kdf-memory 64M --kdf-passes 3",
        "--pack-size 512K --chunk-size 64K --store",
    ]
    .join(" ");
    let url = server.url("store");
    let words: Vec<&str> = words.split(' ').chain([&*url]).collect();
    sandbox.wyng(&words).success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let mut blobs = server.objects("store");
    blobs.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    (sandbox, blobs)
}

/// The objects that were reported as read in an older version.
fn reported(outcome: &Outcome) -> BTreeSet<String> {
    let problems = outcome.json["problems"].as_array();
    let older = problems.into_iter().flatten().filter(|problem| {
        let text = problem["problem"].as_str().unwrap();
        text.contains(OLDER)
    });
    older
        .map(|problem| problem["object"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_was_overwritten_or_deleted_is_restored_from_its_older_version_and_reported() {
    let test = "what_was_overwritten_or_deleted_is_restored_from_its_older_version_and_reported";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let (sandbox, blobs) = archive(&server);
    let [(overwritten, length), (deleted, _), (twice, _)] = &blobs[..3] else {
        panic!("{blobs:?}")
    };
    server.overwrite("store", overwritten, &noise(*length, 9));
    server.delete("store", deleted);
    server.overwrite("store", twice, b"short");
    server.overwrite("store", twice, &noise(*length, 8));
    let names: BTreeSet<String> = [overwritten, deleted, twice].map(String::clone).into();

    let words = ["restore", "home", "disk.img", "--to", "out"];
    let restored = sandbox.wyng(&words);
    assert_eq!(reported(restored.success()), names);
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(IMAGE_BYTES, 1));

    // What the store serves is damaged all the same, and the next backup makes it anew.
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(reported(verified.expect(5)), names);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_store_where_everything_was_deleted_opens_and_restores_what_it_was() {
    let test = "a_store_where_everything_was_deleted_opens_and_restores_what_it_was";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let (sandbox, blobs) = archive(&server);
    for (name, _) in &blobs {
        server.delete("store", name);
    }
    assert_eq!(server.objects("store"), []);
    let restored = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out"]);
    restored.success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(IMAGE_BYTES, 1));
}

#[test]
fn slots_commits_and_the_metadata_of_packs_come_from_older_versions_on_a_new_machine() {
    let test = "slots_commits_and_the_metadata_of_packs_come_from_older_versions_on_a_new_machine";
    let Some(server) = Server::start_with_versions(test) else {
        return;
    };
    let (sandbox, blobs) = archive(&server);
    for (name, length) in &blobs {
        server.overwrite("store", name, &noise(*length, 7));
    }
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let url = server.url("store");
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    let opened = sandbox.wyng(&[&words[..], &["--store", &url]].concat());
    opened.expect(5);
    let restored = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out"]);
    restored.success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(IMAGE_BYTES, 1));
}
