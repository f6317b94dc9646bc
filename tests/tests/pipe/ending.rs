// SPDX-License-Identifier: GPL-3.0-or-later
//! How calls fail: durable blobs stay, nothing unfinished is left, and the exit status shows the
//! cause.

use wyng_wire::{DESTINATION_MAX, ReceiptStatus, Service, Tally, ToHelper};

use super::call::{Call, Reserve, address, files, name, store};

#[test]
fn an_end_of_file_without_end_is_an_abort_and_keeps_what_has_a_receipt() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), b"durable");
    assert_eq!(call.receipts(), [ReceiptStatus::Stored]);
    assert_eq!(call.close(), Some(12));
    assert_eq!(files(store.path()).len(), 2);
}

#[test]
fn an_end_of_file_within_a_body_leaves_nothing_of_it() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.announce(name(1, 1), 1_000_000, Reserve::Kept);
    call.send_raw(&[7; 500_000]);
    assert_eq!(call.close(), Some(12));
    assert_eq!(files(store.path()).len(), 1);
}

#[test]
fn a_helper_killed_within_a_body_leaves_nothing_that_the_next_run_does_not_clear() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.announce(name(1, 1), 1_000_000, Reserve::Kept);
    call.send_raw(&[7; 500_000]);
    call.child.kill().unwrap();
    call.child.wait().unwrap();

    let mut next = Call::open(Service::Push, store.path());
    next.put(name(1, 1), b"another try");
    assert_eq!(next.finish(1), [ReceiptStatus::Stored]);
    assert_eq!(files(store.path()).len(), 2);
}

#[test]
fn a_prune_or_a_call_without_open_that_ends_early_is_an_abort() {
    let store = store();
    assert_eq!(Call::open(Service::Prune, store.path()).close(), Some(12));
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        assert_eq!(Call::start(service).close(), Some(12));
    }
}

#[test]
fn a_second_open_is_refused() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.send(&ToHelper::Open(wyng_wire::Open {
        create: false,
        tries: false,
        looks_at_versions: false,
        signed: None,
        lock_until_day: 0,
        destination: &address(store.path()),
    }));
    assert_eq!(call.ended(), Some(11));
}

#[test]
fn a_verb_of_another_set_is_refused() {
    let store = store();
    let deletion = ToHelper::Delete(wyng_wire::Delete {
        number: 1,
        name: name(0, 0),
        signed: None,
    });
    let renewal = ToHelper::Renew(wyng_wire::Renew {
        number: 1,
        name: name(0, 0),
        until_day: 40_000,
        signed: None,
    });
    for (service, verb) in [
        (Service::Push, deletion),
        (Service::Prune, renewal),
        (Service::Fetch, renewal),
        (Service::Fetch, deletion),
        (
            Service::Push,
            ToHelper::List(wyng_wire::List {
                request: 1,
                page: None,
            }),
        ),
        (
            Service::Prune,
            ToHelper::Stat(wyng_wire::Stat {
                request: 1,
                name: name(0, 0),
                signed: None,
            }),
        ),
        (Service::Prune, ToHelper::Sync),
        (Service::Fetch, ToHelper::End(Tally::default())),
    ] {
        let mut call = Call::open(service, store.path());
        call.send(&verb);
        assert_eq!(call.ended(), Some(11), "{service:?} {verb:?}");
    }
    assert_eq!(files(store.path()).len(), 1);
}

#[test]
fn an_oversized_or_unknown_frame_ends_the_call_at_its_header() {
    let store = store();
    let too_long = ((DESTINATION_MAX + wyng_wire::SIGNED_MAX) as u32 + 9).to_le_bytes();
    for header in [
        [
            1,
            0,
            0,
            0,
            too_long[0],
            too_long[1],
            too_long[2],
            too_long[3],
        ],
        [2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x55, 0, 0, 0, 0, 0, 0, 0],
        [3, 1, 0, 0, 0, 0, 0, 0],
    ] {
        let mut call = Call::open(Service::Push, store.path());
        call.send_raw(&header);
        assert_eq!(call.ended(), Some(11), "{header:?}");
    }
}

#[test]
fn a_body_beyond_its_maximum_is_refused() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    let mut put = [0; 56];
    put[..16].copy_from_slice(&[2, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    put[48..52].copy_from_slice(&(wyng_wire::BODY_MAX + 1).to_le_bytes());
    call.send_raw(&put);
    assert_eq!(call.ended(), Some(11));
}

#[test]
fn an_end_that_counts_otherwise_is_refused() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), b"a");
    call.send(&ToHelper::End(Tally::default()));
    assert_eq!(call.ended(), Some(11));
}

#[test]
fn something_that_is_not_wyng_is_told_so() {
    let mut call = Call::start_saying(Service::Push, b"Welcome to this qube!\n");
    assert_eq!(call.ended(), Some(11));
    assert!(call.said().contains("does not speak Wyng's protocol"));
}

#[test]
fn random_bytes_after_open_end_the_call_and_change_nothing() {
    let store = store();
    // A fixed generator: the bytes of each round are the same everywhere.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..50 {
        let mut call = Call::open(
            [Service::Push, Service::Prune, Service::Fetch][round % 3],
            store.path(),
        );
        let mut bytes = Vec::new();
        for _ in 0..64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes[0] %= 9;
        bytes[1..4].fill(0);
        call.try_send_raw(&bytes);
        let status = call.close();
        assert!(matches!(status, Some(11 | 12)), "round {round}: {status:?}");
    }
    assert_eq!(files(store.path()).len(), 1);
}
