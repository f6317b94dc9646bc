// SPDX-License-Identifier: GPL-3.0-or-later
//! One conformance suite for every kind of store: puts, ranges, lengths, deletions.

use std::collections::BTreeSet;

use wyng_tests::sandbox::noise;
use wyng_tests::stores::{Kind, Server};
use wyng_wire::{BytesStatus, OpenStatus, ReceiptStatus, Service, StatStatus};

use super::call::{Call, Reserve, Store, name};

/// Runs a test against each kind of server, with a store of one blob.
pub(crate) fn with_each(test: &str, run: impl Fn(&Server, Kind)) {
    for kind in Kind::ALL {
        if let Some(server) = Server::start(kind, test) {
            server.plant("store", &name(0, 0), b"the first blob");
            run(&server, kind);
        }
    }
}

/// A helper with the store open.
pub(crate) fn open(service: Service, server: &Server) -> Call {
    let mut call = Call::start(service);
    let status = call.ask_to_open(&server.destination("store"), Store::Existing);
    assert_eq!(status, OpenStatus::Ok, "{}", call.said());
    call
}

#[test]
fn a_name_is_given_once_and_what_has_it_is_compared_byte_by_byte() {
    let test = "a_name_is_given_once_and_what_has_it_is_compared_byte_by_byte";
    with_each(test, |server, kind| {
        let bytes = noise(1_500_000, 3);
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        let mut call = open(Service::Push, server);
        call.put(name(1, 1), &bytes);
        call.put(name(1, 1), &bytes);
        call.put(name(1, 1), &other);
        call.put(name(1, 1), &bytes[1..]);
        call.put(name(2, 2), b"");
        call.put(name(3, 3), &other);
        use ReceiptStatus::{ExistsDifferent, ExistsSame, Stored};
        assert_eq!(
            call.finish(4),
            [
                Stored,
                ExistsSame,
                ExistsDifferent,
                ExistsDifferent,
                Stored,
                Stored
            ],
            "{kind:?}"
        );
        assert_eq!(
            server.blob("store", &name(1, 1)).unwrap(),
            bytes,
            "{kind:?}"
        );
        assert_eq!(server.blob("store", &name(2, 2)).unwrap(), b"", "{kind:?}");
        assert_eq!(
            server.files("store").len(),
            4,
            "{kind:?}: nothing else is left"
        );
    });
}

#[test]
fn of_two_helpers_that_put_one_name_at_a_time_one_stores_it() {
    let test = "of_two_helpers_that_put_one_name_at_a_time_one_stores_it";
    with_each(test, |server, kind| {
        let bodies = [noise(400_000, 1), noise(400_000, 2)];
        let mut calls = [open(Service::Push, server), open(Service::Push, server)];
        for round in 0..6 {
            for (call, body) in calls.iter_mut().zip(&bodies) {
                call.put(name(1, round), body);
            }
        }
        let [first, second] = calls;
        let (first, second) = (first, second);
        let outcomes: Vec<Vec<ReceiptStatus>> = [first, second]
            .into_iter()
            .map(|mut call| {
                call.end();
                call.receipts()
            })
            .collect();
        for round in 0..6_u8 {
            let statuses: BTreeSet<u8> = outcomes
                .iter()
                .map(|receipts| receipts[usize::from(round)] as u8)
                .collect();
            let stored = server.blob("store", &name(1, round)).unwrap();
            if matches!(kind, Kind::S3 | Kind::Wsgidav) {
                // These servers look, and write later: they may take both. Neither is cut.
                assert!(
                    statuses.contains(&(ReceiptStatus::Stored as u8)),
                    "{outcomes:?}"
                );
                assert!(bodies.contains(&stored), "round {round}");
                continue;
            }
            let one_each =
                [ReceiptStatus::Stored, ReceiptStatus::ExistsDifferent].map(|status| status as u8);
            assert_eq!(statuses, one_each.into(), "{kind:?}: {outcomes:?}");
            let winner = usize::from(outcomes[1][usize::from(round)] == ReceiptStatus::Stored);
            assert!(stored == bodies[winner], "{kind:?}, round {round}");
        }
    });
}

#[test]
fn a_body_that_is_not_whole_leaves_nothing() {
    with_each("a_body_that_is_not_whole_leaves_nothing", |server, kind| {
        let mut call = open(Service::Push, server);
        call.put(name(1, 1), b"whole");
        call.announce(name(2, 2), 1_000_000, Reserve::Kept);
        call.send_raw(&[7; 500_000]);
        assert_eq!(call.close(), Some(12));
        assert!(server.blob("store", &name(1, 1)).is_some(), "{kind:?}");
        assert_eq!(server.files("store").len(), 2, "{kind:?}");
    });
}

#[test]
fn ranges_lengths_and_what_is_absent() {
    with_each("ranges_lengths_and_what_is_absent", |server, kind| {
        let bytes = noise(3_200_000, 5);
        server.plant("store", &name(1, 1), &bytes);
        server.plant("store", &name(2, 2), b"");
        let mut call = open(Service::Fetch, server);
        let length = bytes.len() as u64;
        assert_eq!(
            call.stat(name(1, 1)),
            (StatStatus::Present, length),
            "{kind:?}"
        );
        assert_eq!(call.stat(name(9, 9)), (StatStatus::Absent, 0), "{kind:?}");
        for (offset, wanted, expected) in [
            (0, bytes.len(), BytesStatus::Whole),
            (0, 1, BytesStatus::Whole),
            (1_000_000, 2_100_000, BytesStatus::Whole),
            (bytes.len() - 1, 1, BytesStatus::Whole),
            (bytes.len() - 1, 2, BytesStatus::Short),
            (bytes.len(), 10, BytesStatus::Short),
            (bytes.len() + 5, 10, BytesStatus::Short),
            (7, 0, BytesStatus::Whole),
        ] {
            let (got, status) = call.get(name(1, 1), offset as u64, wanted as u32, 0);
            let end = (offset + wanted).min(bytes.len());
            let begin = offset.min(end);
            assert!(got == bytes[begin..end], "{kind:?}: {offset}, {wanted}");
            assert_eq!(status, expected, "{kind:?}: {offset}, {wanted}");
        }
        assert_eq!(
            call.get(name(2, 2), 0, 5, 0),
            (vec![], BytesStatus::Short),
            "{kind:?}"
        );
        assert_eq!(
            call.get(name(9, 9), 0, 5, 0),
            (vec![], BytesStatus::Absent),
            "{kind:?}"
        );
        assert_eq!(
            call.get(name(1, 1), 0, 5, 1).1,
            BytesStatus::NoVersion,
            "{kind:?}"
        );
        assert_eq!(call.close(), Some(0));
    });
}

#[test]
fn deletions_delete_these_names_and_no_other() {
    with_each(
        "deletions_delete_these_names_and_no_other",
        |server, kind| {
            for blob in 1..=3 {
                server.plant("store", &name(blob, blob), b"x");
            }
            let mut call = open(Service::Prune, server);
            call.delete(name(1, 1));
            call.delete(name(3, 3));
            assert_eq!(call.finish(2), [ReceiptStatus::Deleted; 2], "{kind:?}");
            assert!(server.blob("store", &name(1, 1)).is_none(), "{kind:?}");
            assert!(server.blob("store", &name(2, 2)).is_some(), "{kind:?}");

            let mut again = open(Service::Prune, server);
            again.delete(name(1, 1));
            let absent = if kind == Kind::S3 {
                ReceiptStatus::Deleted // S3 does not say
            } else {
                ReceiptStatus::Absent
            };
            assert_eq!(again.finish(1), [absent], "{kind:?}");
        },
    );
}

#[test]
fn a_store_is_missing_empty_or_not_empty() {
    with_each("a_store_is_missing_empty_or_not_empty", |server, kind| {
        let status = |store: &str, create| {
            let mut call = Call::start(Service::Push);
            let status = call.ask_to_open(&server.destination(store), create);
            if status != OpenStatus::Ok {
                assert_eq!(call.ended(), Some(13));
            }
            status
        };
        assert_eq!(status("store", Store::Existing), OpenStatus::Ok, "{kind:?}");
        assert_eq!(
            status("store", Store::New),
            OpenStatus::NotEmpty,
            "{kind:?}"
        );
        // A prefix without an object is no other thing than an empty one.
        let absent = if kind == Kind::S3 {
            OpenStatus::Empty
        } else {
            OpenStatus::Missing
        };
        assert_eq!(status("absent", Store::Existing), absent, "{kind:?}");
        assert_eq!(status("new", Store::New), OpenStatus::Ok, "{kind:?}");
        assert_eq!(
            status("new", Store::Existing),
            OpenStatus::Empty,
            "{kind:?}"
        );
    });
}

/// Peak of the helper's resident memory so far, MiB.
fn peak_mib(call: &Call) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", call.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

#[test]
fn a_push_and_a_fetch_of_full_packs_need_little_memory() {
    const PACK_BYTES: usize = 16 << 20;
    const LIMIT_MIB: u64 = 64;
    let test = "a_push_and_a_fetch_of_full_packs_need_little_memory";
    with_each(test, |server, kind| {
        let packs: Vec<Vec<u8>> = (1..=3).map(|seed| noise(PACK_BYTES, seed)).collect();
        let mut push = open(Service::Push, server);
        for blob in 0..12_u8 {
            push.put(name(1, blob), &packs[usize::from(blob % 3)]);
        }
        // What is there already is compared, and not held twice.
        push.put(name(1, 0), &packs[0]);
        push.receipts();
        let pushed = peak_mib(&push);
        push.finish_settled(13);
        let mut fetch = open(Service::Fetch, server);
        for blob in 0..3_u8 {
            let (bytes, status) = fetch.get(name(1, blob), 0, PACK_BYTES as u32, 0);
            assert_eq!(status, BytesStatus::Whole);
            assert!(bytes == packs[usize::from(blob)], "{kind:?} {blob}");
        }
        let fetched = peak_mib(&fetch);
        println!("{kind:?}: {pushed} MiB pushing, {fetched} MiB fetching");
        assert!(
            pushed <= LIMIT_MIB && fetched <= LIMIT_MIB,
            "{kind:?}: {pushed}, {fetched}"
        );
    });
}
