// SPDX-License-Identifier: GPL-3.0-or-later
//! Older versions of objects, in a bucket that keeps them: what somebody overwrote or deleted is
//! read all the same, and reported.

use std::collections::BTreeSet;

use wyng_tests::programs::program;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::stores::{Action, Checker, Kind, Proxy, Seen, Server};

const IMAGE_BYTES: usize = 1_500_000;
const OLDER: &str = "an older version of it in the store is sound";

/// Who signs the requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    /// The helper, which has the key.
    Helper,
    /// The daemon.
    Daemon,
}

impl Signs {
    fn option(self) -> &'static [&'static str] {
        match self {
            Self::Helper => &[],
            Self::Daemon => &["--signed"],
        }
    }
}

/// An archive with one session of `disk.img`, and the names of its blobs by their length: the first
/// is the longest pack.
fn archive(server: &Server) -> (Sandbox, Vec<(String, usize)>) {
    archive_at(server, &server.url("store"), Signs::Helper)
}

/// The same at this address, which leads to the server.
fn archive_at(server: &Server, url: &str, signs: Signs) -> (Sandbox, Vec<(String, usize)>) {
    let sandbox = made(server, url, signs);
    let mut blobs = server.objects("store");
    blobs.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    (sandbox, blobs)
}

/// A sandbox with such an archive.
fn made(server: &Server, url: &str, signs: Signs) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.text("credentials", &server.credentials());
    let words = [
        "archive create home --credentials credentials --kdf-memory 64M --kdf-passes 3",
        "--pack-size 512K --chunk-size 64K --store",
    ]
    .join(" ");
    let words = words.split(' ').chain([url]);
    let words: Vec<&str> = words.chain(signs.option().iter().copied()).collect();
    sandbox.wyng(&words).success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox
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

/// `moto_server` behind a proxy that checks every signature and every header, as a service does,
/// and an archive in it whose requests the daemon signs.
struct SignedArchive {
    server: Server,
    proxy: Proxy,
    sandbox: Sandbox,
    blobs: Vec<(String, usize)>,
    url: String,
}

impl SignedArchive {
    fn new(test: &str) -> Option<Self> {
        let server = Server::start_with_versions(test)?;
        let checker = Checker::start(test)?;
        let proxy = Proxy::strict(server.port(), move |seen| {
            checker.refuses(seen).unwrap_or(Action::Pass)
        });
        let url = server.url_through(proxy.port(), "store");
        let (sandbox, blobs) = archive_at(&server, &url, Signs::Daemon);
        Some(Self {
            server,
            proxy,
            sandbox,
            blobs,
            url,
        })
    }

    fn restore(&self) -> Outcome {
        let _ = std::fs::remove_file(self.sandbox.path("out"));
        let words = ["restore", "home", "disk.img", "--to", "out"];
        self.sandbox.wyng(&words)
    }

    fn assert_restored(&self) {
        assert!(std::fs::read(self.sandbox.path("out")).unwrap() == noise(IMAGE_BYTES, 1));
    }

    /// The requests so far that list versions, or name one.
    fn of_versions(&self) -> Vec<Seen> {
        let mut seen = self.proxy.seen();
        seen.retain(|seen| {
            let line = seen.head.lines().next().unwrap_or_default();
            line.contains("versionId=") || line.contains("versions=")
        });
        seen
    }
}

#[test]
fn the_checker_of_signatures_refuses_another_query_another_method_and_another_body() {
    let test = "the_checker_of_signatures_refuses_another_query_another_method_and_another_body";
    let Some(signed) = SignedArchive::new(test) else {
        return;
    };
    let Some(checker) = Checker::start(test) else {
        return;
    };
    let seen = signed.proxy.seen();
    // The first of all is a trial with another body.
    let put = seen.iter().rfind(|seen| seen.is("PUT")).unwrap();
    assert_eq!(checker.fault_of(put), None);
    let changed = |from: &str, to: &str| Seen {
        head: put.head.replacen(from, to, 1),
        ..put.clone()
    };
    assert!(checker.fault_of(&changed("PUT ", "DELETE ")).is_some());
    let with_query = changed(" HTTP", "?versionId=v HTTP");
    assert!(checker.fault_of(&with_query).is_some());
    let unsigned = changed("\r\n", "\r\nx-amz-acl: private\r\n");
    assert!(checker.fault_of(&unsigned).is_some());
    let mut body = put.clone();
    body.body.push(0);
    assert!(checker.fault_of(&body).is_some());
}

#[test]
fn older_versions_are_read_by_requests_that_the_daemon_signs() {
    let Some(signed) =
        SignedArchive::new("older_versions_are_read_by_requests_that_the_daemon_signs")
    else {
        return;
    };
    let (server, sandbox) = (&signed.server, &signed.sandbox);
    let [(overwritten, length), (deleted, _), (twice, _)] = &signed.blobs[..3] else {
        panic!("{:?}", signed.blobs)
    };
    server.overwrite("store", overwritten, &noise(*length, 9));
    server.delete("store", deleted);
    server.overwrite("store", twice, b"short");
    server.overwrite("store", twice, &noise(*length, 8));
    let names: BTreeSet<String> = [overwritten, deleted, twice].map(String::clone).into();
    assert_eq!(reported(signed.restore().success()), names);
    signed.assert_restored();

    let asked = signed.of_versions();
    let line = |seen: &Seen| seen.head.lines().next().unwrap().to_owned();
    for name in &names {
        let lists = asked.iter().map(line).filter(|line| {
            line.starts_with("GET /disks?max-keys=100&prefix=store%2F") && line.contains(name)
        });
        assert_eq!(lists.count(), 1, "its versions are listed once in a run");
    }
    for seen in &asked {
        assert!(seen.is("GET"), "{}", seen.head);
        let line = line(seen);
        assert!(names.iter().any(|name| line.contains(name)), "{line}");
    }

    // What the store serves is damaged all the same, and the next backup makes it anew, for which
    // nothing is asked of versions.
    let verified = sandbox.wyng(&["verify", "home"]);
    assert_eq!(reported(verified.expect(5)), names);
    let before = signed.of_versions().len();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(signed.of_versions().len(), before);
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_copy_gets_older_versions_by_signed_requests() {
    let test = "a_copy_gets_older_versions_by_signed_requests";
    let Some(signed) = SignedArchive::new(test) else {
        return;
    };
    let (server, sandbox) = (&signed.server, &signed.sandbox);
    let [(overwritten, length), (deleted, _), ..] = &signed.blobs[..] else {
        panic!("{:?}", signed.blobs)
    };
    server.overwrite("store", overwritten, &noise(*length, 9));
    server.delete("store", deleted);
    let names: BTreeSet<String> = [overwritten, deleted].map(String::clone).into();
    let to = format!("dir:{}", sandbox.path("copy").display());
    let copied = sandbox.wyng(&["archive", "copy", "home", "--to", &to]);
    assert_eq!(reported(&copied), names);
    let read = std::fs::read_dir(sandbox.path("copy").join(&deleted[..2])).unwrap();
    assert!(read.count() > 0, "what was deleted is in the copy");
}

#[test]
fn a_signed_store_where_everything_was_deleted_opens_and_restores_what_it_was() {
    let test = "a_signed_store_where_everything_was_deleted_opens_and_restores_what_it_was";
    let Some(signed) = SignedArchive::new(test) else {
        return;
    };
    for (name, _) in &signed.blobs {
        signed.server.delete("store", name);
    }
    assert_eq!(signed.server.objects("store"), []);
    signed.restore().success();
    signed.assert_restored();
}

#[test]
fn a_signed_archive_whose_every_object_was_overwritten_opens_on_a_new_machine() {
    let test = "a_signed_archive_whose_every_object_was_overwritten_opens_on_a_new_machine";
    let Some(signed) = SignedArchive::new(test) else {
        return;
    };
    for (name, length) in &signed.blobs {
        signed.server.overwrite("store", name, &noise(*length, 7));
    }
    std::fs::remove_dir_all(signed.sandbox.state()).unwrap();
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    let words = [&words[..], &["--signed", "--store", &signed.url]].concat();
    signed.sandbox.wyng(&words).expect(5);
    signed.restore().success();
    signed.assert_restored();
}

#[test]
fn a_service_without_versions_is_asked_once_for_an_object_and_the_damage_is_reported() {
    let test = "a_service_without_versions_is_asked_once_for_an_object_and_the_damage_is_reported";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    // It checks signatures itself.
    let proxy = Proxy::strict(server.port(), |_| Action::Pass);
    let url = server.url_through(proxy.port(), "store");
    let sandbox = made(&server, &url, Signs::Daemon);
    let mut packs = server.files("store");
    packs.retain(|name| server.folder("store").join(name).metadata().unwrap().len() > 200_000);
    let (damaged, _) = packs.split_first().unwrap();
    std::fs::write(server.folder("store").join(damaged), noise(300_000, 9)).unwrap();
    let restored = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out"]);
    restored.expect(5);
    assert_eq!(reported(&restored), BTreeSet::new());
    let lists = proxy.seen().into_iter().filter(|seen| {
        let line = seen.head.lines().next().unwrap_or_default();
        line.contains("versions=") && line.contains(&**damaged)
    });
    assert_eq!(lists.count(), 1);
}

#[test]
fn what_a_lying_helper_says_of_versions_ends_the_call_or_is_no_version() {
    let test = "what_a_lying_helper_says_of_versions_ends_the_call_or_is_no_version";
    let Some(mut signed) = SignedArchive::new(test) else {
        return;
    };
    let (damaged, length) = signed.blobs[0].clone();
    signed
        .server
        .overwrite("store", &damaged, &noise(length, 9));
    let liar = program("version-liar");
    let restore_with = |signed: &mut SignedArchive, lie: &str| {
        let script = format!("exec {} $HELPER $1 {lie}", liar.display());
        signed.sandbox.replace_helper(&script);
        let before = signed.of_versions().len();
        let outcome = signed.restore();
        (outcome, signed.of_versions().split_off(before))
    };
    for lie in [
        "long",
        "sixteen",
        "id ''",
        "id 'v&delete'",
        "id 'v%26delete'",
        "id 'v/../other'",
        "id 'v w'",
        "id $'v\\xc3\\xa9'",
    ] {
        let (outcome, asked) = restore_with(&mut signed, lie);
        assert_eq!(outcome.expect(6).codes(), ["far-end-protocol"], "{lie}");
        let has_id = |seen: &Seen| seen.head.contains("versionId");
        assert!(!asked.iter().any(has_id), "{lie}: nothing was signed");
    }
    // The id of another object's version leads to no other object.
    let other = signed
        .server
        .ask("GET", "/disks?versions&prefix=store/", "", b"");
    let other = other.success();
    let ids = other.split("<VersionId>").skip(1);
    let foreign = ids.last().unwrap().split('<').next().unwrap().to_owned();
    let (outcome, asked) = restore_with(&mut signed, &format!("id {foreign}"));
    outcome.expect(5);
    assert_eq!(reported(&outcome), BTreeSet::new());
    let named = format!("GET /disks/store/{damaged}?versionId={foreign} ");
    assert!(asked.iter().any(|seen| seen.head.starts_with(&named)));
    // Bytes that do not authenticate are no version, whatever their id.
    let (outcome, _) = restore_with(&mut signed, "bytes");
    outcome.expect(5);
    assert_eq!(reported(&outcome), BTreeSet::new());
    signed.sandbox.restore_helper();
    let names: BTreeSet<String> = [damaged].into();
    assert_eq!(reported(signed.restore().success()), names);
    signed.assert_restored();
}
