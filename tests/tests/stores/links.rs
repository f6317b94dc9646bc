// SPDX-License-Identifier: GPL-3.0-or-later
//! A link with a delay between helper and server: round trips overlap, in both directions.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use wyng_tests::relay::{Carried, Relay};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{create_home, noise};
use wyng_tests::sshd::Sshd;
use wyng_tests::stores::{Action, Kind, Proxy, Server};
use wyng_wire::{BytesStatus, OpenStatus, ReceiptStatus, Service, ToDaemon};

use super::call::{Call, Store, command, name, plant};

/// As many bytes are on their way as on a link of 200 Mbit/s and 50 ms, and a busy machine keeps up.
const BYTES_PER_SEC: u64 = 5_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(250);
const LEAST_SHARE: f64 = 0.6;

/// Stores blobs through a link and reads them back. They are so short that one or two at a time fill
/// less than half of the link.
fn fill_a_link(relay: &Relay, open: impl Fn(Service) -> Call, blob_bytes: usize, what: &str) {
    let count = u8::try_from((10 << 20) / blob_bytes).unwrap();
    let is_filled = |carried: Carried| {
        let share = carried.middle_share_of(BYTES_PER_SEC);
        println!("{what}: {share:.2} of the link");
        assert!(share >= LEAST_SHARE, "{what}: {share:.2}, {carried:?}");
    };
    let mut push = open(Service::Push);
    relay.take_up();
    let blobs: Vec<Vec<u8>> = (0..count)
        .map(|blob| noise(blob_bytes, blob.into()))
        .collect();
    for (blob, bytes) in (0..).zip(&blobs) {
        push.put(name(7, blob), bytes);
    }
    let stored = vec![ReceiptStatus::Stored; usize::from(count)];
    assert_eq!(push.finish(count.into()), stored, "{what}");
    is_filled(relay.take_up());

    let mut fetch = open(Service::Fetch);
    relay.take_down();
    for blob in 0..count {
        fetch.request(name(7, blob), 0, blob_bytes as u32, 0);
    }
    for bytes in &blobs {
        let answer = fetch.answer();
        assert_eq!(answer.1, BytesStatus::Whole, "{what}");
        assert!(answer.0 == *bytes, "{what}: the answers keep their order");
    }
    is_filled(relay.take_down());
}

#[test]
fn a_link_with_a_delay_is_filled_in_both_directions() {
    let test = "a_link_with_a_delay_is_filled_in_both_directions";
    // WebDAV has a MOVE more.
    let kinds = [
        (Kind::S3, 512 << 10, ROUND_TRIP),
        (Kind::Rclone, 1 << 20, ROUND_TRIP * 3 / 4),
    ];
    for (kind, blob_bytes, round_trip) in kinds {
        let Some(server) = Server::start(kind, test) else {
            continue;
        };
        server.plant("store", &name(0, 0), b"the first blob");
        let relay = Relay::start(server.port(), round_trip, BYTES_PER_SEC);
        let address = server.destination_through(relay.port(), "store");
        let open = |service| {
            let mut call = Call::start(service);
            let status = call.ask_to_open(&address, Store::Existing);
            assert_eq!(status, OpenStatus::Ok, "{}", call.said());
            call
        };
        fill_a_link(&relay, open, blob_bytes, &format!("{kind:?}"));
    }
}

#[test]
fn a_link_with_a_delay_is_filled_over_sftp() {
    if !require(Component::Sshd, "a_link_with_a_delay_is_filled_over_sftp") {
        return;
    }
    let (sshd, folder) = (Sshd::start(""), tempfile::tempdir().unwrap());
    plant(folder.path(), &name(0, 0), b"the first blob");
    let relay = Relay::start(sshd.port(), ROUND_TRIP, BYTES_PER_SEC);
    fill_a_link(
        &relay,
        over_sftp(&sshd, &relay, folder.path()),
        1 << 20,
        "SFTP",
    );
}

/// Calls with a store in this folder behind an SFTP server and a link.
fn over_sftp(sshd: &Sshd, relay: &Relay, folder: &Path) -> impl Fn(Service) -> Call {
    sshd.know_at(relay.port());
    let address = format!("sftp://root@127.0.0.1:{}{}", relay.port(), folder.display());
    move |service| {
        let mut command = command(service);
        command.env("PATH", sshd.path());
        let mut call = Call::start_command(command, service);
        let status = call.ask_to_open(address.as_bytes(), Store::Existing);
        assert_eq!(status, OpenStatus::Ok, "{}", call.said());
        call
    }
}

#[test]
fn a_blob_over_sftp_takes_four_round_trips_and_a_store_opens_in_few() {
    let test = "a_blob_over_sftp_takes_four_round_trips_and_a_store_opens_in_few";
    if !require(Component::Sshd, test) {
        return;
    }
    let (sshd, folder) = (Sshd::start(""), tempfile::tempdir().unwrap());
    plant(folder.path(), &name(0, 0), b"the first blob");
    let relay = Relay::start(sshd.port(), ROUND_TRIP, BYTES_PER_SEC);
    let open = over_sftp(&sshd, &relay, folder.path());
    let opening = |service| {
        relay.take_up();
        let call = open(service);
        (call, relay.take_up().waits)
    };
    // A busy machine may tear apart what is sent at once, but hardly each time. Ssh itself takes
    // about eight round trips.
    let fetching: Vec<u64> = (0..3).map(|_| opening(Service::Fetch).1).collect();
    let (mut push, _) = opening(Service::Push); // makes the folder of blobs on their way in
    let pushing: Vec<u64> = (0..3).map(|_| opening(Service::Push).1).collect();
    println!("opened in {fetching:?} and {pushing:?} round trips");
    assert!(*fetching.iter().min().unwrap() <= 14, "{fetching:?}");
    assert!(*pushing.iter().min().unwrap() <= 14, "{pushing:?}");

    // Each in a shard of its own, which is made.
    let mut putting = || -> Vec<u64> {
        let waits = (1..=5).map(|shard| {
            relay.take_up();
            push.put(name(shard, 1), b"a blob");
            assert!(matches!(push.read(), (ToDaemon::Receipt(_), Some(_))));
            relay.take_up().waits
        });
        waits.collect()
    };
    let waits = putting();
    println!("blobs are stored in {waits:?} round trips");
    assert!(*waits.iter().min().unwrap() <= 4, "{waits:?}");
    // As the newest commit by every backup.
    let waits = putting();
    println!("and found to be there in {waits:?}");
    assert!(*waits.iter().min().unwrap() <= 3, "{waits:?}");
    push.finish_settled(10);
}

#[test]
fn an_archive_is_opened_by_one_range_a_pack_and_many_of_them_at_a_time() {
    const PACKS: usize = 200;
    let test = "an_archive_is_opened_by_one_range_a_pack_and_many_of_them_at_a_time";
    let Some(server) = Server::start(Kind::Rclone, test) else {
        return;
    };
    let sandbox = super::archives::sandbox(&server);
    // A folder and WebDAV share their layout, and a folder is faster to fill.
    let folder = server.folder("store");
    let store = format!("dir:{}", folder.display());
    let sizes = ["--pack-size", "128K", "--chunk-size", "64K"];
    sandbox
        .wyng(&[&create_home(&store)[..], &sizes].concat())
        .success();
    sandbox.image("disk.img", PACKS * 64 * 1024, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let packs = server.files("store").len();
    assert!(packs >= PACKS, "{packs}");

    std::fs::remove_dir_all(sandbox.state()).unwrap();
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let round_trip = Duration::from_millis(50);
    let relay = Relay::start(proxy.port(), round_trip, 25_000_000);
    let url = server.url_through(relay.port(), "store");
    let words = ["archive", "open", "home", "--credentials", "credentials"];
    sandbox
        .wyng(&[&words[..], &["--store", &url]].concat())
        .success();
    let waits = relay.take_up().waits;
    assert!(waits < packs as u64 / 2, "{waits} waits for {packs} packs");
    let mut ranges: BTreeMap<String, usize> = BTreeMap::new();
    for seen in proxy.seen().iter().filter(|seen| seen.is("GET")) {
        let line = seen.head.lines().next().unwrap().to_owned();
        *ranges.entry(line).or_default() += 1;
    }
    assert!(ranges.len() >= PACKS, "{}", ranges.len());
    // The last packs have nodes, which are read alone where they are many, or one by one.
    let again = ranges.values().filter(|count| **count > 1).count();
    assert!(again <= packs / 20, "{again} of {packs} packs: {ranges:?}");
    sandbox.assert_restores("disk.img", "latest", &noise(PACKS * 64 * 1024, 1));
}

#[test]
fn a_restore_asks_for_what_its_volume_needs() {
    let test = "a_restore_asks_for_what_its_volume_needs";
    let Some(server) = Server::start(Kind::S3, test) else {
        return;
    };
    let sandbox = super::archives::sandbox(&server);
    let proxy = Proxy::start(server.port(), |_| Action::Pass);
    let url = server.url_through(proxy.port(), "store");
    super::archives::create(&sandbox, &url).success();
    sandbox.image("large.img", 6_000_000, 1);
    sandbox.image("small.img", 400_000, 2);
    sandbox
        .wyng(&["backup", "home", "large.img", "small.img"])
        .success();
    let before = proxy.seen().len();
    sandbox.assert_restores("small.img", "latest", &noise(400_000, 2));
    let asked_bytes: u64 = proxy.seen()[before..]
        .iter()
        .filter(|seen| seen.is("GET"))
        .filter_map(|seen| {
            let head = seen.head.to_ascii_lowercase();
            let line = head.lines().find_map(|line| line.strip_prefix("range:"))?;
            let (first, last) = line.trim().strip_prefix("bytes=")?.split_once('-')?;
            Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
        })
        .sum();
    assert!(
        (400_000..500_000).contains(&asked_bytes),
        "{asked_bytes} bytes were asked for"
    );
}
