// SPDX-License-Identifier: GPL-3.0-or-later
//! Archives whose requests are signed on this machine, by the real programs: the helper has no key,
//! and the server checks every signature.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wyng_archive::plan::kept_clock::KeptClock;
use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::stores::{Action, Kind, Proxy, SECRET, Seen, Server, USER};
use wyng_wire::BlobName;

const IMAGE_BYTES: usize = 3_000_000;
const EXPIRED: &str = "<Error><Code>RequestTimeTooSkewed</Code></Error>";

/// A sandbox with the credentials, whose helper leaves in `pipe` what it was sent.
fn sandbox(server: &Server) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.text("credentials", &server.credentials());
    let record = pipe(&sandbox);
    sandbox.replace_helper(&format!(
        "exec $HELPER \"$@\" < <(exec tee -a {})",
        record.display()
    ));
    sandbox
}

/// What the helpers were sent.
fn pipe(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("pipe")
}

fn create(sandbox: &Sandbox, url: &str) -> Outcome {
    let words = [
        "archive create home --credentials credentials --signed --kdf-memory 64M --kdf-passes 3",
        "--minimum-age 0s --hold-off 0,0s --pack-size 512K --chunk-size 64K --store",
    ]
    .join(" ");
    let words: Vec<&str> = words.split(' ').chain([url]).collect();
    sandbox.wyng(&words)
}

fn finds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The secret and everything derived from it with which requests could be signed: the keys of a
/// day, of a region, of the service, and the last one.
fn secrets() -> Vec<Vec<u8>> {
    let now = jiff::Timestamp::now();
    let days = [now, now - jiff::Span::new().hours(1)];
    let mut secrets = vec![SECRET.as_bytes().to_vec()];
    for day in days {
        let day = day.strftime("%Y%m%d").to_string();
        let mut key = format!("AWS4{SECRET}").into_bytes();
        for step in [&*day, "us-east-1", "s3", "aws4_request"] {
            key = mac(&key, step);
            secrets.push(key.clone());
        }
    }
    secrets
}

/// The whole life of an archive; what it restores is checked.
fn live(sandbox: &Sandbox, url: &str) {
    create(sandbox, url).success();
    let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
    let first = sandbox.wyng(&["backup", "home", "disk.img"]);
    let first = first.success().session(0);
    write_at(&image, 1_000_000, &noise(700_000, 7));
    sandbox
        .wyng(&["backup", "home", "disk.img", "--verify"])
        .success();
    sandbox.assert_restores("disk.img", &first, &noise(IMAGE_BYTES, 1));
    let newest = std::fs::read(&image).unwrap();
    sandbox
        .wyng(&["prune", "home", "--keep-last", "1"])
        .success();
    let compacted = sandbox.wyng(&["compact", "home"]);
    compacted.success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
    sandbox.assert_restores("disk.img", "latest", &newest);
}

#[test]
fn an_archive_lives_though_no_helper_has_a_key_and_none_is_in_the_pipe() {
    let test = "an_archive_lives_though_no_helper_has_a_key_and_none_is_in_the_pipe";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let proxy = Proxy::strict(server.port(), |_| Action::Pass);
    let url = server.url_through(proxy.port(), "store");
    live(&sandbox, &url);

    // More names than a page has.
    for number in 0..1100_u32 {
        let mut name = [9; 32];
        name[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        server.plant("store", &BlobName(name), b"x");
    }
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(verified.success().json["foreign_objects"], 1100);

    // A new machine.
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    sandbox
        .wyng(&[&words[..], &["--signed", "--store", &url]].concat())
        .success();
    let newest = std::fs::read(sandbox.path("disk.img")).unwrap();
    sandbox.assert_restores("disk.img", "latest", &newest);

    let sent = std::fs::read(pipe(&sandbox)).unwrap();
    assert!(sent.len() > IMAGE_BYTES, "all of it was recorded");
    assert!(finds(&sent, USER.as_bytes()), "the public part is known");
    for secret in secrets() {
        assert!(!finds(&sent, &secret), "{}", secret.escape_ascii());
    }
}

#[test]
fn credentials_that_went_to_the_far_end_can_be_replaced_by_signatures() {
    let test = "credentials_that_went_to_the_far_end_can_be_replaced_by_signatures";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let words = "archive create home --credentials credentials --kdf-memory 64M --kdf-passes 3";
    let url = server.url_through(proxy.port(), "store");
    let words: Vec<&str> = words.split(' ').chain(["--store", &url]).collect();
    sandbox.wyng(&words).success();
    let image = sandbox.image("disk.img", 100_000, 1);
    let mut seed = 1;
    // Whether the secret went to a helper since the last question.
    let mut is_handed_over = |sandbox: &Sandbox| {
        seed += 1;
        write_at(&image, 0, &noise(50_000, seed));
        sandbox.wyng(&["backup", "home", "disk.img"]).success();
        let sent = std::fs::read(pipe(sandbox)).unwrap();
        std::fs::remove_file(pipe(sandbox)).unwrap();
        finds(&sent, SECRET.as_bytes())
    };
    assert!(is_handed_over(&sandbox), "the recorder works");
    let open = ["archive", "open", "home", "--credentials", "credentials"];
    let signed = [&open[..], &["--signed"]].concat();
    // The server of the tests heeds headers that are not signed: nothing is changed over.
    assert_eq!(sandbox.wyng(&signed).expect(1).codes(), ["store-lax"]);
    assert!(is_handed_over(&sandbox));
    proxy.set_strict_rule(|_| Action::Pass);
    sandbox.wyng(&signed).success();
    std::fs::remove_file(pipe(&sandbox)).unwrap();
    assert!(!is_handed_over(&sandbox));

    // New credentials change nothing of that, also at another address, unless it is said.
    sandbox.wyng(&open).success();
    assert!(!is_handed_over(&sandbox));
    let (place, options) = url.split_once('?').unwrap();
    let options: Vec<&str> = options.split('&').rev().collect();
    let elsewhere = format!("{place}?{}", options.join("&"));
    assert_ne!(elsewhere, url);
    sandbox
        .wyng(&[&open[..], &["--store", &elsewhere]].concat())
        .success();
    assert!(!is_handed_over(&sandbox));
    sandbox
        .wyng(&[&open[..], &["--no-signed"]].concat())
        .success();
    assert!(is_handed_over(&sandbox));
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
    assert_eq!(deep.json["foreign_objects"], 0);

    // A key that may not store anything can do no harm either.
    proxy.set_strict_rule(|seen| match seen.is("PUT") {
        true => Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into()),
        false => Action::Pass,
    });
    sandbox.wyng(&signed).success();
}

#[test]
fn a_service_that_heeds_a_key_to_encrypt_with_that_was_not_signed_is_refused() {
    let test = "a_service_that_heeds_a_key_to_encrypt_with_that_was_not_signed_is_refused";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let heeds = "<Error><Code>InvalidArgument</Code></Error>";
    let heeds = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{heeds}",
        heeds.len()
    );
    let proxy = Proxy::start(server.port(), move |seen| {
        let head = seen.head.to_ascii_lowercase();
        if head.contains("x-amz-server-side-encryption-customer-algorithm") {
            return Action::Answer(heeds.clone());
        }
        seen.has_unsigned_headers().unwrap_or(Action::Pass)
    });
    let refused = create(
        &sandbox(&server),
        &server.url_through(proxy.port(), "store"),
    );
    assert_eq!(refused.expect(1).codes(), ["store-lax"]);
}

#[test]
fn requests_to_another_kind_of_store_cannot_be_signed() {
    let sandbox = Sandbox::new();
    sandbox.text("credentials", "user = ann\npassword = x\n");
    for url in ["webdavs://127.0.0.1:1/x", "sftp://127.0.0.1/x"] {
        let refused = create(&sandbox, url);
        assert_eq!(refused.expect(2).codes(), ["not-signable"], "{url}");
    }
    sandbox.text("credentials", "vm:nas");
    let refused = create(&sandbox, "s3://disks/store");
    assert_eq!(refused.expect(2).codes(), ["bad-credentials"]);
}

/// What a server says to a signature whose time it takes for wrong.
fn expired() -> Action {
    Action::Answer(format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{EXPIRED}",
        EXPIRED.len()
    ))
}

/// The first look at a store, and questions whose answers have no body that could say why.
fn is_asked_once(seen: &Seen) -> bool {
    seen.is("HEAD") || seen.head.contains("max-keys=1&")
}

#[test]
fn a_service_that_also_does_what_was_not_signed_is_refused_when_an_archive_is_made() {
    let test = "a_service_that_also_does_what_was_not_signed_is_refused_when_an_archive_is_made";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    // The server of the tests copies an object for whoever adds a header.
    let heeds_headers = sandbox(&server);
    let refused = create(&heeds_headers, &server.url("store"));
    assert_eq!(refused.expect(1).codes(), ["store-lax"]);
    // One that does not compare a body with its hash.
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let proxy = Proxy::strict(server.port(), |seen| {
        if seen.is("PUT") {
            Action::Answer(ok.into())
        } else {
            Action::Pass
        }
    });
    let takes_bytes = sandbox(&server);
    let refused = create(&takes_bytes, &server.url_through(proxy.port(), "other"));
    assert_eq!(refused.expect(1).codes(), ["store-lax"]);
    assert_eq!(proxy.seen().iter().filter(|seen| seen.is("PUT")).count(), 1);
}

#[test]
fn every_request_is_signed_again_where_its_time_was_refused() {
    let test = "every_request_is_signed_again_where_its_time_was_refused";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let refused: Mutex<BTreeSet<String>> = Mutex::default();
    let proxy = Proxy::strict(server.port(), move |seen| {
        let line = seen.head.lines().next().unwrap_or_default();
        let range = seen.head.lines().find(|line| line.starts_with("range"));
        let request = format!("{line} {range:?}");
        if !is_asked_once(seen) && refused.lock().unwrap().insert(request) {
            expired()
        } else {
            Action::Pass
        }
    });
    live(&sandbox, &server.url_through(proxy.port(), "store"));
    for method in ["PUT", "GET", "DELETE"] {
        let count = proxy.seen().iter().filter(|seen| seen.is(method)).count();
        assert!(count > 2, "{method}: {count}");
    }
}

#[test]
fn a_clock_that_stays_wrong_ends_the_command_after_three_more_signatures() {
    let test = "a_clock_that_stays_wrong_ends_the_command_after_three_more_signatures";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let proxy = Proxy::strict(server.port(), |_| Action::Pass);
    create(&sandbox, &server.url_through(proxy.port(), "store")).success();
    sandbox.image("disk.img", 100_000, 1);
    let year = jiff::Timestamp::now().strftime("%Y").to_string();
    for (method, words, tries) in [
        ("PUT", &["backup", "home", "disk.img"][..], 4),
        ("GET", &["verify", "home", "--deep"], 4),
        ("GET /disks?", &["verify", "home"], 1),
    ] {
        let before = proxy.seen().len();
        proxy.set_strict_rule(move |seen| {
            let is_look = method.ends_with('?') || !is_asked_once(seen);
            if seen.head.starts_with(method) && is_look {
                expired()
            } else {
                Action::Pass
            }
        });
        let ended = sandbox.wyng(words);
        assert_eq!(ended.expect(6).codes(), ["store-clock"], "{method}");
        let error = &ended.json["errors"][0];
        assert!(!error.to_string().contains(&year), "{error}");
        let seen = proxy.seen().split_off(before);
        let lines: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.head.starts_with(method))
            .filter(|seen| method.ends_with('?') || !is_asked_once(seen))
            .filter_map(|seen| seen.head.lines().next())
            .collect();
        let first = lines.iter().filter(|line| *line == &lines[0]).count();
        assert_eq!(first, tries, "{method}: {lines:?}");
    }
    proxy.set_strict_rule(|_| Action::Pass);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.wyng(&["verify", "home", "--deep"]).success();
}

/// Loses the first answer to each request that `is` it.
fn loses_answers(
    is: impl Fn(&Seen) -> bool + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Action + Send + Sync + 'static {
    let lost: Mutex<BTreeSet<String>> = Mutex::default();
    move |seen| {
        let line = seen.head.lines().next().unwrap_or_default().to_owned();
        if is(seen) && lost.lock().unwrap().insert(line) {
            Action::CutAnswer(0)
        } else {
            Action::Pass
        }
    }
}

#[test]
fn where_an_answer_is_lost_a_pack_counts_as_stored_and_a_commit_is_settled_by_opening() {
    let test = "where_an_answer_is_lost_a_pack_counts_as_stored_and_a_commit_is_settled_by_opening";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let proxy = Proxy::strict(server.port(), loses_answers(|seen| seen.is("PUT")));
    // Making an archive reads back what it cannot tell.
    create(&sandbox, &server.url_through(proxy.port(), "store")).success();

    let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
    let is_pack = |seen: &Seen| seen.is("PUT") && seen.body.len() > 100_000;
    proxy.set_strict_rule(loses_answers(is_pack));
    let before = server.files("store").len();
    let backup = sandbox.wyng(&["backup", "home", "disk.img"]);
    backup.success();
    let packs = proxy.seen().iter().filter(|seen| is_pack(seen)).count();
    assert!(packs >= 12, "each of six packs twice: {packs}");
    let stored = server.files("store").len() - before;
    assert!(stored < packs, "none was stored under another name");

    write_at(&image, 0, &noise(10_000, 9));
    proxy.set_strict_rule(loses_answers(|seen| seen.is("PUT")));
    let unsettled = sandbox.wyng(&["backup", "home", "disk.img"]);
    assert_eq!(unsettled.codes(), ["commit-unsettled"]);
    proxy.set_strict_rule(|_| Action::Pass);
    sandbox.wyng(&["archive", "open", "home"]).success();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let newest = std::fs::read(&image).unwrap();
    sandbox.assert_restores("disk.img", "latest", &newest);
    let deep = sandbox.wyng(&["verify", "home", "--deep"]);
    assert_eq!(deep.success().json["problems"], serde_json::json!([]));
}

#[test]
fn an_archive_whose_making_was_cut_is_made_by_the_same_command() {
    let test = "an_archive_whose_making_was_cut_is_made_by_the_same_command";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let puts = std::sync::atomic::AtomicUsize::new(0);
    let proxy = Proxy::strict(server.port(), move |seen| {
        let put = puts.fetch_add(
            usize::from(seen.is("PUT")),
            std::sync::atomic::Ordering::SeqCst,
        );
        if seen.is("PUT") && put >= 2 {
            Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into())
        } else {
            Action::Pass
        }
    });
    let url = server.url_through(proxy.port(), "store");
    // Another machine is cut before it stores anything, and goes on when the place is taken.
    let nothing = Proxy::strict(server.port(), |seen| {
        if seen.is("PUT") {
            Action::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into())
        } else {
            Action::Pass
        }
    });
    let other = self::sandbox(&server);
    let elsewhere = server.url_through(nothing.port(), "store");
    assert_eq!(create(&other, &elsewhere).codes(), ["store-denied"]);

    assert_eq!(create(&sandbox, &url).codes(), ["store-denied"]);
    assert!(!server.files("store").is_empty(), "its slot is there");
    proxy.set_strict_rule(|_| Action::Pass);
    create(&sandbox, &url).success();
    sandbox.image("disk.img", 100_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();

    nothing.set_strict_rule(|_| Action::Pass);
    assert_eq!(create(&other, &elsewhere).codes(), ["store-not-empty"]);
}

/// From now on the machine knows that its wall clock is so much ahead.
fn set_clock_ahead(sandbox: &Sandbox, secs: i64) {
    let path = sandbox.state().join("clock");
    let mut clock = KeptClock::decode(&std::fs::read(&path).unwrap()).unwrap();
    clock.parted_secs = secs;
    clock.jumped = true;
    std::fs::write(path, clock.encode()).unwrap();
}

#[test]
fn while_the_clock_is_ahead_nothing_that_reads_lists_or_deletes_is_signed() {
    let test = "while_the_clock_is_ahead_nothing_that_reads_lists_or_deletes_is_signed";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = sandbox(&server);
    let proxy = Proxy::strict(server.port(), |_| Action::Pass);
    let url = server.url_through(proxy.port(), "store");
    create(&sandbox, &url).success();
    let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let restore = ["restore", "home", "disk.img", "--to", "out"];
    // A clock that drifts is none that jumped, and neither is one that is behind.
    for secs in [3000, -7200] {
        set_clock_ahead(&sandbox, secs);
        sandbox.wyng(&restore).success();
        std::fs::remove_file(sandbox.path("out")).unwrap();
    }

    set_clock_ahead(&sandbox, 7200);
    let before = proxy.seen().len();
    let refused = sandbox.wyng(&restore);
    assert_eq!(refused.expect(1).codes(), ["store-clock-ahead"]);
    assert_eq!(proxy.seen().len(), before, "nothing was sent");
    write_at(&image, 0, &noise(IMAGE_BYTES, 2));
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    // What is given up stays until the clock is right.
    let pruned = sandbox.wyng(&["prune", "home", "--keep-last", "1"]);
    assert_eq!(pruned.expect(1).codes(), ["store-clock-ahead"]);
    let seen = proxy.seen().split_off(before);
    let look = "GET /disks?list-type=2&max-keys=1&prefix=store%2F ";
    for seen in &seen {
        let is_harmless = seen.is("PUT") || seen.head.starts_with(look);
        assert!(is_harmless, "{}", seen.head);
    }
    assert!(seen.iter().any(|seen| seen.is("PUT")));

    sandbox.wyng(&["status", "--trust-clock"]).success();
    sandbox.wyng(&restore).success();
    assert!(std::fs::read(sandbox.path("out")).unwrap() == noise(IMAGE_BYTES, 2));
}
