// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of an archive, by the real programs: from a folder to another folder, to each kind of
//! server, and back.

use std::path::Path;

use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::stores::{Action, Kind, Proxy, Server};

const IMAGE_BYTES: usize = 3_000_000;
const OPTIONS: [&str; 4] = ["--pack-size", "512K", "--chunk-size", "64K"];

/// A sandbox with an archive of one session, in a folder.
fn with_session() -> Sandbox {
    let sandbox = Sandbox::with_archive(&OPTIONS);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox
}

fn copy(sandbox: &Sandbox, url: &str) -> Outcome {
    sandbox.wyng(&["archive", "copy", "home", "--to", url])
}

fn number(outcome: &Outcome, field: &str) -> u64 {
    outcome.json[field].as_u64().unwrap()
}

/// Opens the copy on a machine that has the address, the credentials and the passphrase.
fn assert_opens(url: &str, credentials: Option<&str>, newest: &[u8]) {
    let new = Sandbox::new();
    let mut words = vec!["archive", "open", "home", "--store", url];
    if let Some(text) = credentials {
        new.text("credentials", text);
        words.extend(["--credentials", "credentials"]);
    }
    new.wyng(&words).success();
    new.assert_restores("disk.img", "latest", newest);
    let deep = new.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
    assert_eq!(deep.json["foreign_objects"], 0);
}

fn folder_url(path: &Path) -> String {
    format!("dir:{}", path.display())
}

/// The only copy that an archive is reported to have.
fn known_copy(sandbox: &Sandbox) -> serde_json::Value {
    let of = |words: &[&str]| {
        let shown = sandbox.wyng(words);
        let copies = shown.success().json["archives"][0]["copies"].clone();
        assert_eq!(copies.as_array().unwrap().len(), 1, "{copies}");
        copies[0].clone()
    };
    let shown = of(&["archive", "show", "home"]);
    assert_eq!(of(&["status", "home"]), shown);
    shown
}

#[test]
fn a_copy_in_another_folder_follows_the_archive_and_opens_like_it() {
    let sandbox = with_session();
    let url = folder_url(&sandbox.path("copy"));
    let first = copy(&sandbox, &url);
    assert_eq!(first.success().json["store"], url);
    assert!(number(&first, "sent_bytes") > IMAGE_BYTES as u64);
    assert_eq!(number(&first, "sent_bytes"), number(&first, "read_bytes"));

    write_at(&sandbox.path("disk.img"), 1_000_000, &noise(300_000, 7));
    let known = known_copy(&sandbox);
    assert_eq!(known["store"], url);
    assert_eq!(known["generation"], first.json["generation"]);
    assert_eq!(
        (&known["behind"], &known["proven_share"]),
        (&0.into(), &1.0.into())
    );
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let known = known_copy(&sandbox);
    assert!(
        known["copied"].is_string() && known["behind"].as_u64() > Some(0),
        "{known}"
    );
    assert!(
        known["proven_share"]
            .as_f64()
            .is_some_and(|share| 0.5 < share && share < 1.0)
    );
    let second = copy(&sandbox, &url);
    assert!(number(second.success(), "generation") > number(&first, "generation"));
    let sent_bytes = number(&second, "sent_bytes");
    assert!((300_000..700_000).contains(&sent_bytes), "{sent_bytes}");
    assert_eq!(number(&second, "read_bytes"), sent_bytes);
    let third = copy(&sandbox, &url);
    assert_eq!(number(third.success(), "sent_objects"), 0);
    let newest = std::fs::read(sandbox.path("disk.img")).unwrap();
    assert_opens(&url, None, &newest);

    // Without the archive's own store, the copy takes its place.
    std::fs::rename(sandbox.store(), sandbox.path("lost")).unwrap();
    sandbox
        .wyng(&["archive", "open", "home", "--store", &url])
        .success();
    let refused = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(refused.expect(1).codes(), ["is-copy"]);
    sandbox.assert_restores("disk.img", "latest", &newest);
    sandbox
        .wyng(&["archive", "take-over", "home", "--promote", "--yes"])
        .success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    std::fs::rename(sandbox.path("lost"), sandbox.store()).unwrap();
    let own = folder_url(&sandbox.store());
    let refused = sandbox.wyng(&["archive", "open", "home", "--store", &own]);
    assert_eq!(refused.expect(5).codes(), ["rolled-back"]);
    copy(&sandbox, &own).success();
    assert_opens(&own, None, &newest);
}

#[test]
fn a_copy_in_every_kind_of_store_is_taken_up_after_a_failure_in_the_middle() {
    let test = "a_copy_in_every_kind_of_store_is_taken_up_after_a_failure_in_the_middle";
    let sandbox = with_session();
    let newest = noise(IMAGE_BYTES, 1);
    for kind in Kind::ALL {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        let proxy = Proxy::start(server.port(), |_| Action::Pass);
        let url = server.url_through(proxy.port(), "copy");
        sandbox.text("credentials", &server.credentials());
        // Bodies of packs: the fourth and all after it are refused.
        let count = std::sync::atomic::AtomicUsize::new(0);
        proxy.set_rule(move |seen| {
            let is_pack = seen.is("PUT") && seen.body.len() > 100_000;
            let before = count.fetch_add(usize::from(is_pack), std::sync::atomic::Ordering::SeqCst);
            match is_pack && before >= 3 {
                true => Action::Answer(
                    "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .into(),
                ),
                false => Action::Pass,
            }
        });
        let words = ["archive", "copy", "home", "--credentials", "credentials"];
        let cut = sandbox.wyng(&[&words[..], &["--to", &url]].concat());
        assert_eq!(cut.expect(6).codes(), ["store-denied"], "{kind:?}");
        proxy.set_rule(|_| Action::Pass);
        let seen = proxy.seen().len();
        // The credentials are known by now, unless nothing was ever stored.
        let whole = copy(&sandbox, &url);
        let sent_bytes = number(whole.success(), "sent_bytes");
        let put: usize = proxy.seen()[seen..]
            .iter()
            .filter(|seen| seen.is("PUT"))
            .map(|seen| seen.body.len())
            .sum();
        assert!(put as u64 >= sent_bytes, "{kind:?}: {put} < {sent_bytes}");
        assert!(
            put < IMAGE_BYTES - 900_000,
            "{kind:?}: {put} bytes were put again"
        );
        let again = copy(&sandbox, &url);
        assert_eq!(number(again.success(), "sent_objects"), 0, "{kind:?}");
        assert_opens(&server.url("copy"), Some(&server.credentials()), &newest);

        // Another name of the server leads to the same copy, and other credentials are needed.
        if kind == Kind::S3 {
            let own = Sandbox::new();
            own.text("credentials", &server.credentials());
            let open = ["archive", "open", "home", "--credentials", "credentials"];
            own.wyng(&[&open[..], &["--store", &server.url("copy")]].concat())
                .success();
            let other = url.replace("127.0.0.1", "localhost");
            let words = ["archive", "copy", "home", "--credentials", "credentials"];
            let refused = own.wyng(&[&words[..], &["--to", &other]].concat());
            assert_eq!(refused.expect(1).codes(), ["copy-is-source"]);
        }
    }
}

#[test]
fn no_copy_is_made_in_the_archives_own_store_nor_in_that_of_another() {
    let sandbox = with_session();
    let store = sandbox.store();
    std::os::unix::fs::symlink(&store, sandbox.path("link")).unwrap();
    for spelling in [
        folder_url(&store),
        format!("dir:{}/", store.display()),
        folder_url(&sandbox.path("link")),
    ] {
        let refused = copy(&sandbox, &spelling);
        assert_eq!(refused.expect(1).codes(), ["copy-is-source"], "{spelling}");
    }
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.success().json["foreign_objects"], 0);

    let other = Sandbox::with_archive(&OPTIONS);
    let before = other.blobs();
    let refused = copy(&sandbox, &folder_url(&other.store()));
    assert_eq!(refused.expect(1).codes(), ["copy-of-other"]);
    assert_eq!(other.blobs(), before, "nothing was put there");
}
