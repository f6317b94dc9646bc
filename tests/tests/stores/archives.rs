// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole archives in each kind of store, by the real programs from `wyng-ctl` to the server's disk.

use serde_json::{Value, json};
use wyng_tests::sandbox::{Outcome, Sandbox, files_below, noise, write_at};
use wyng_tests::stores::{Action, Kind, Proxy, SECRET, Server};

const IMAGE_BYTES: usize = 3_000_000;

/// A sandbox with the file `credentials`.
pub(crate) fn sandbox(server: &Server) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.text("credentials", &server.credentials());
    sandbox
}

/// Creates an archive whose sessions and packs may go at once.
pub(crate) fn create(sandbox: &Sandbox, url: &str) -> Outcome {
    let words = [
        "archive create home --credentials credentials --kdf-memory 64M --kdf-passes 3",
        "--minimum-age 0s --hold-off 0,0s --pack-size 512K --chunk-size 64K --store",
    ]
    .join(" ");
    let words: Vec<&str> = words.split(' ').chain([url]).collect();
    sandbox.wyng(&words)
}

/// Opens the archive on a machine that may not know it.
pub(crate) fn adopt(sandbox: &Sandbox, url: &str, more: &[&str]) -> Outcome {
    let words = "archive open home --credentials credentials --store";
    let words: Vec<&str> = words.split(' ').chain([url]).collect();
    sandbox.wyng(&[&words, more].concat())
}

/// Fails the test if the secret is in what a command printed, or anywhere in the state except in
/// the file that keeps it for its owner alone.
fn assert_secret_is_kept(sandbox: &Sandbox, outcome: &Outcome) {
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&outcome.stdout),
        outcome.stderr
    );
    assert!(!printed.contains(SECRET), "{printed}");
    for path in files_below(&sandbox.state()) {
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(SECRET.len())
            .any(|bytes| bytes == SECRET.as_bytes());
        assert_eq!(found, path.ends_with("store-credentials"), "{path:?}");
        if found {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&path).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[test]
fn an_archive_lives_in_every_kind_of_store() {
    for kind in Kind::ALL {
        let Some(server) = Server::start(kind, "an_archive_lives_in_every_kind_of_store") else {
            continue;
        };
        let sandbox = sandbox(&server);
        let url = server.url("store");
        let check = || sandbox.wyng(&["store", "check", &url, "--credentials", "credentials"]);
        let checked = check();
        let all: Vec<Value> = ["put", "exclude", "fetch", "list", "delete"]
            .map(|trial| json!({"trial": trial, "result": "works"}))
            .to_vec();
        assert_eq!(checked.success().json["trials"], json!(all), "{kind:?}");
        let created = create(&sandbox, &url);
        created.success();
        assert_secret_is_kept(&sandbox, &created);
        let before = server.files("store");
        check().success();
        assert_eq!(server.files("store"), before, "{kind:?}");

        let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
        let first = sandbox.wyng(&["backup", "home", "disk.img"]);
        let first = first.success().session(0);
        write_at(&image, 1_000_000, &noise(700_000, 7));
        let second = sandbox.wyng(&["backup", "home", "disk.img", "--verify"]);
        second.success();
        assert_secret_is_kept(&sandbox, &second);
        let deep = sandbox.wyng(&["verify", "home", "--deep"]);
        assert_eq!(deep.success().json["problems"], json!([]));
        sandbox.assert_restores("disk.img", &first, &noise(IMAGE_BYTES, 1));
        let newest = std::fs::read(&image).unwrap();
        sandbox.assert_restores("disk.img", "latest", &newest);

        let before = server.files("store");
        sandbox
            .wyng(&["prune", "home", "--keep-last", "1"])
            .success();
        sandbox.wyng(&["compact", "home"]).success();
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        let after = server.files("store");
        let is_gone = |file: &&String| !after.contains(file);
        let gone = before.iter().filter(is_gone).count();
        assert!(gone > 0, "{kind:?}: {before:?}, then {after:?}");

        // A new machine, which has the address, the credentials and the passphrase.
        std::fs::remove_dir_all(sandbox.state()).unwrap();
        let words = ["archive", "open", "home", "--credentials", "credentials"];
        sandbox
            .wyng(&[&words[..], &["--store", &url]].concat())
            .success();
        sandbox.assert_restores("disk.img", "latest", &newest);
        let deep = sandbox.wyng(&["verify", "home", "--deep"]);
        assert_eq!(deep.success().json["problems"], json!([]));
    }
}

#[test]
fn a_second_archive_in_the_same_place_is_refused() {
    let test = "a_second_archive_in_the_same_place_is_refused";
    for kind in Kind::ALL {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let (first, second) = (sandbox(&server), sandbox(&server));
        let url = server.url("store");
        create(&first, &url).success();
        let files = server.files("store");
        let refused = create(&second, &url);
        assert_eq!(refused.codes(), ["store-not-empty"], "{kind:?}");
        assert_eq!(server.files("store"), files, "{kind:?}");
    }
}

#[test]
fn credentials_that_are_missing_or_wrong_are_refused_and_the_right_ones_then_work() {
    let test = "credentials_that_are_missing_or_wrong_are_refused_and_the_right_ones_then_work";
    for kind in Kind::ALL {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let sandbox = sandbox(&server);
        let url = server.url("store");
        let right = server.credentials();
        sandbox.text("credentials", &right.replace(SECRET, "another"));
        let refused = create(&sandbox, &url);
        assert_eq!(refused.codes(), ["store-denied"], "{kind:?}");
        sandbox.text("credentials", "no credentials at all");
        assert_eq!(
            create(&sandbox, &url).codes(),
            ["bad-credentials"],
            "{kind:?}"
        );
        std::fs::remove_file(sandbox.path("credentials")).unwrap();
        let missing = create(&sandbox, &url);
        assert_eq!(missing.codes(), ["no-credentials"], "{kind:?}");
        assert!(missing.stderr.is_empty() || !missing.stderr.contains("panicked"));
        sandbox.text("credentials", &right);
        create(&sandbox, &url).success();
    }
}

#[test]
fn another_address_never_gets_the_credentials_of_the_one_before() {
    let test = "another_address_never_gets_the_credentials_of_the_one_before";
    let Some(server) = Server::start(Kind::Wsgidav, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    create(&sandbox, &server.url("store")).success();
    let thief = Proxy::start(server.port(), |_| Action::Pass);
    let elsewhere = server.url_through(thief.port(), "store");
    let refused = sandbox.wyng(&["archive", "open", "home", "--store", &elsewhere]);
    assert_eq!(refused.codes(), ["store-denied"]);
    let seen = thief.seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert!(!request.head.to_lowercase().contains("authorization"));
    }
    // The archive still works where it was.
    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
}

#[test]
fn each_service_gets_the_lines_that_are_meant_for_it() {
    let test = "each_service_gets_the_lines_that_are_meant_for_it";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let right = server.credentials();
    let wrong = right.replace(SECRET, "another");
    sandbox.text("credentials", &format!("[push]\n{right}[fetch]\n{wrong}"));
    create(&sandbox, &server.url("store")).success();
    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(sandbox.wyng(&["verify", "home"]).codes(), ["store-denied"]);
    let words = ["archive", "open", "home", "--credentials"];
    let all = sandbox.text("all", &right);
    sandbox.wyng(&[&words[..], &[&all]].concat()).success();
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_missing_bucket_or_parent_folder_is_named() {
    let test = "a_missing_bucket_or_parent_folder_is_named";
    for kind in Kind::ALL {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let sandbox = sandbox(&server);
        let url = server.url("a/b/store").replace("disks", "nowhere");
        let refused = create(&sandbox, &url);
        assert_eq!(refused.codes(), ["store-no-parent"], "{kind:?}");
        assert!(
            refused.json["errors"][0]["text"]
                .as_str()
                .unwrap()
                .contains(&url)
        );
    }
}
