// SPDX-License-Identifier: GPL-3.0-or-later
//! What a store can do beyond what an archive asks of it: noticed when an archive is made or opened
//! and by `store check`, kept, and shown.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};
use wyng_tests::sandbox::{Outcome, Sandbox};
use wyng_tests::stores::{Action, Kind, Proxy, Seen, Server};

use super::archives::{create, sandbox};

/// What the only archive of an object of `--json` says of its store.
fn abilities(outcome: &Outcome) -> [Value; 2] {
    let archive = &outcome.success().json["archives"][0];
    ["create_only", "durability"].map(|field| archive[field].clone())
}

fn shown(sandbox: &Sandbox) -> [Value; 2] {
    let shown = abilities(&sandbox.wyng(&["archive", "show", "home"]));
    assert_eq!(abilities(&sandbox.wyng(&["status", "home"])), shown);
    shown
}

/// What a command prints for a person.
pub(crate) fn text(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = Command::new(sandbox.program("wyng-ctl"));
    command
        .arg("--standalone")
        .arg("--state-dir")
        .arg(sandbox.state());
    let output = command.args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Answers the second PUT of each key with this status, as a server does that two writers reach at
/// the same moment.
pub(crate) fn second_put_is(status: &'static str) -> impl Fn(&Seen) -> Action + Send + Sync {
    let puts: Mutex<BTreeMap<String, u32>> = Mutex::default();
    move |seen| {
        let line = seen.head.lines().next().unwrap_or_default().to_owned();
        let mut puts = puts.lock().unwrap();
        let count = puts.entry(line).or_default();
        *count += u32::from(seen.is("PUT"));
        match seen.is("PUT") && *count == 2 {
            true => Action::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")),
            false => Action::Pass,
        }
    }
}

#[test]
fn a_bucket_that_takes_both_of_two_puts_at_one_moment_is_known_as_checked_and_not_atomic() {
    let test =
        "a_bucket_that_takes_both_of_two_puts_at_one_moment_is_known_as_checked_and_not_atomic";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    for (status, found, words) in [
        (
            "200 OK",
            "checked",
            "create-only in the store: checked, not atomic",
        ),
        ("412 Taken", "atomic", "create-only in the store: atomic"),
    ] {
        let proxy = Proxy::start(server.port(), second_put_is(status));
        let sandbox = sandbox(&server);
        let url = server.url_through(proxy.port(), found);
        create(&sandbox, &url).success();
        assert_eq!(shown(&sandbox), [json!(found), json!("durable")]);
        let text = text(&sandbox, &["archive", "show", "home"]);
        assert!(text.contains(words), "{text}");
        // A backup and an opening know no more, and forget nothing.
        sandbox.image("disk.img", 100_000, 1);
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        sandbox.wyng(&["archive", "open", "home"]).success();
        assert_eq!(shown(&sandbox), [json!(found), json!("durable")]);
        // Of the same store at another address nothing was tried.
        let words = ["archive", "open", "home", "--credentials", "credentials"];
        let elsewhere = server.url(found);
        sandbox
            .wyng(&[&words[..], &["--store", &elsewhere]].concat())
            .success();
        assert_eq!(shown(&sandbox), [Value::Null, json!("durable")]);
        // Whoever takes the archive over there finds it out before anything is committed.
        let other = Sandbox::new();
        other.text("credentials", &server.credentials());
        proxy.set_rule(second_put_is(status));
        let opened = other.wyng(&[&words[..], &["--store", &url]].concat());
        assert_eq!(abilities(&opened), [Value::Null, json!("durable")]);
        let gone = ["archive", "take-over", "home", "--other-writer-is-gone"];
        let mut taken = other.wyng(&gone[..3]);
        if found == "checked" {
            assert_eq!(taken.expect(1).codes(), ["writers-not-kept-apart"]);
            assert_eq!(shown(&other), [json!(found), json!("durable")]);
            // It was not taken over: the first machine writes on, and the second one may not.
            sandbox.image("disk.img", 100_000, 2);
            sandbox.wyng(&["backup", "home", "disk.img"]).success();
            other.wyng(&["archive", "open", "home"]).success();
            other.image("disk.img", 100_000, 3);
            let refused = other.wyng(&["backup", "home", "disk.img"]);
            assert_eq!(refused.expect(1).codes(), ["not-writer"]);
            taken = other.wyng(&gone);
        }
        assert_eq!(abilities(&taken), [json!(found), json!("durable")]);
        assert_eq!(shown(&other), [json!(found), json!("durable")]);
        other.wyng(&["verify", "home"]).success();
        // A place with blobs can be tried.
        proxy.set_rule(second_put_is(status));
        let words = ["store", "check", &url, "--credentials", "credentials"];
        let checked = sandbox.wyng(&words);
        assert_eq!(checked.success().json["create_only"], found);
        assert_eq!(checked.json["durability"], "durable");
    }
}

#[test]
fn a_folder_is_atomic_and_durable_and_webdav_is_neither() {
    let folder = Sandbox::with_archive(&[]);
    assert_eq!(shown(&folder), [json!("atomic"), json!("durable")]);
    let test = "a_folder_is_atomic_and_durable_and_webdav_is_neither";
    let Some(server) = Server::start(Kind::Rclone, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let url = server.url("store");
    let neither = [json!("checked"), json!("accepted")];
    assert_eq!(abilities(&create(&sandbox, &url)), neither);
    assert_eq!(shown(&sandbox), neither);
    let text = text(&sandbox, &["status", "home"]);
    assert!(
        text.contains("its receipts: accepted, not durable"),
        "{text}"
    );

    // A new machine learns it by opening.
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    sandbox
        .wyng(&[&words[..], &["--store", &url]].concat())
        .success();
    assert_eq!(shown(&sandbox), neither);
}
