// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Fetch`: listings, lengths and ranges, and never more than was requested.

use std::fs;
use std::os::unix::fs::symlink;

use wyng_tests::foreign::Foreign;
use wyng_tests::require::{Component, require};
use wyng_wire::{
    BytesStatus, Entry, Get, List, ListEnd, ListStatus, OpenStatus, PIECE_MAX, Service, Stat,
    StatStatus, Stated, ToDaemon, ToHelper,
};

use super::call::{Call, Store, address, name, path_of, plant, store, traced};

#[test]
fn a_range_is_answered_with_exactly_its_bytes() {
    let store = store();
    let bytes: Vec<u8> = (0..100_000_u32).map(|place| (place % 251) as u8).collect();
    plant(store.path(), &name(1, 1), &bytes);
    let mut call = Call::open(Service::Fetch, store.path());
    assert_eq!(
        call.get(name(1, 1), 1000, 500, 0),
        (bytes[1000..1500].to_vec(), BytesStatus::Whole)
    );
    assert_eq!(
        call.get(name(1, 1), 0, 100_000, 0),
        (bytes.clone(), BytesStatus::Whole)
    );
    assert_eq!(
        call.get(name(1, 1), 99_990, 20, 0),
        (bytes[99_990..].to_vec(), BytesStatus::Short)
    );
    assert_eq!(
        call.get(name(1, 1), 100_000, 1, 0),
        (vec![], BytesStatus::Short)
    );
    assert_eq!(
        call.get(name(1, 1), u64::MAX, 1, 0),
        (vec![], BytesStatus::Short)
    );
    assert_eq!(call.get(name(1, 1), 7, 0, 0), (vec![], BytesStatus::Whole));
    assert_eq!(
        call.close(),
        Some(0),
        "an end of file between requests is the end"
    );
}

#[test]
fn a_long_range_comes_in_pieces() {
    let store = store();
    let bytes: Vec<u8> = (0..PIECE_MAX * 2 + 5)
        .map(|place| (place % 249) as u8)
        .collect();
    plant(store.path(), &name(1, 1), &bytes);
    let mut call = Call::open(Service::Fetch, store.path());
    assert!(call.get(name(1, 1), 0, PIECE_MAX * 2 + 5, 0) == (bytes.clone(), BytesStatus::Whole));
    assert!(call.get(name(1, 1), 5, PIECE_MAX * 2, 0) == (bytes[5..].to_vec(), BytesStatus::Whole));
    assert!(call.get(name(1, 1), 0, PIECE_MAX * 3, 0) == (bytes, BytesStatus::Short));
}

#[test]
fn what_is_absent_and_an_older_version_are_told_apart() {
    let store = store();
    let mut call = Call::open(Service::Fetch, store.path());
    assert_eq!(call.get(name(1, 1), 0, 1, 0), (vec![], BytesStatus::Absent));
    assert_eq!(
        call.get(name(0, 0), 0, 1, 1),
        (vec![], BytesStatus::NoVersion)
    );
    assert_eq!(
        call.get(name(0, 0), 0, 3, 0),
        (b"the".to_vec(), BytesStatus::Whole),
        "and the call goes on"
    );
}

#[test]
fn whatever_lies_under_a_name_and_is_no_file_is_foreign_and_ends_nothing() {
    let store = store();
    for (number, kind) in (1..).zip(Foreign::ALL) {
        kind.place(&path_of(store.path(), &name(number, 1)));
        // The same in the place of a shard.
        kind.place(&store.path().join(format!("a{number}")));
    }
    let mut call = Call::open(Service::Fetch, store.path());
    for (number, kind) in (1..).zip(Foreign::ALL) {
        assert_eq!(
            call.get(name(number, 1), 0, 1, 0),
            (vec![], BytesStatus::Foreign),
            "{kind:?}"
        );
        assert_eq!(
            call.stat(name(number, 1)),
            (StatStatus::Foreign, 0),
            "{kind:?}"
        );
        assert_eq!(
            call.get(name(0xa0 + number, 1), 0, 1, 0),
            (vec![], BytesStatus::Absent),
            "{kind:?} as a shard"
        );
        assert_eq!(
            call.stat(name(0xa0 + number, 1)),
            (StatStatus::Absent, 0),
            "{kind:?} as a shard"
        );
    }
    assert_eq!(
        call.get(name(0, 0), 0, 3, 0),
        (b"the".to_vec(), BytesStatus::Whole)
    );
    assert_eq!(call.close(), Some(0));
}

#[test]
fn what_the_disk_cannot_read_or_the_user_may_not_is_one_answer_and_the_next_one_is_right() {
    let test =
        "what_the_disk_cannot_read_or_the_user_may_not_is_one_answer_and_the_next_one_is_right";
    // Only root can trace a process that has made itself undumpable.
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    let cases = [
        ("openat", "EIO", BytesStatus::Failed, StatStatus::Present),
        (
            "openat",
            "EUCLEAN",
            BytesStatus::Failed,
            StatStatus::Present,
        ),
        (
            "openat",
            "EACCES",
            BytesStatus::Refused,
            StatStatus::Present,
        ),
        (
            "newfstatat",
            "EUCLEAN",
            BytesStatus::Failed,
            StatStatus::Failed,
        ),
    ];
    for (call, error, got, stated) in cases {
        let store = store();
        plant(store.path(), &name(1, 1), b"out of reach");
        let helper = traced(
            &format!("{call}:error={error}"),
            Some(&name(1, 1).to_string()),
            Service::Fetch,
        );
        let mut call = Call::start_command(helper, Service::Fetch);
        assert_eq!(
            call.ask_to_open(&address(store.path()), Store::Existing),
            OpenStatus::Ok
        );
        assert_eq!(call.get(name(1, 1), 0, 1, 0), (vec![], got), "{error}");
        assert_eq!(call.stat(name(1, 1)).0, stated, "{error}");
        assert_eq!(
            call.get(name(0, 0), 0, 3, 0),
            (b"the".to_vec(), BytesStatus::Whole),
            "{error}"
        );
        assert_eq!(call.close(), Some(0), "{error}");
    }
}

#[test]
fn a_process_without_files_ends_the_call_and_calls_no_blob_damaged() {
    let test = "a_process_without_files_ends_the_call_and_calls_no_blob_damaged";
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    let store = store();
    let helper = traced(
        "openat:error=EMFILE",
        Some(&name(0, 0).to_string()),
        Service::Fetch,
    );
    let mut call = Call::start_command(helper, Service::Fetch);
    assert_eq!(
        call.ask_to_open(&address(store.path()), Store::Existing),
        OpenStatus::Ok
    );
    let request = call.next_number();
    call.send(&ToHelper::Get(Get {
        request,
        name: name(0, 0),
        offset_bytes: 0,
        length_bytes: 1,
        version: 0,
        version_id: None,
        signed: None,
    }));
    assert_eq!(call.ended(), Some(14));
}

#[test]
fn requests_may_be_sent_ahead_and_are_answered_in_order() {
    let store = store();
    let mut call = Call::open(Service::Fetch, store.path());
    let first = call.next_number();
    call.send(&ToHelper::Stat(Stat {
        request: first,
        name: name(0, 0),
        signed: None,
    }));
    let second = call.next_number();
    call.send(&ToHelper::Stat(Stat {
        request: second,
        name: name(1, 1),
        signed: None,
    }));
    let third = call.next_number();
    call.send(&ToHelper::Get(Get {
        request: third,
        name: name(1, 1),
        offset_bytes: 0,
        length_bytes: 1,
        version: 0,
        version_id: None,
        signed: None,
    }));
    let present = Stated {
        request: first,
        length_bytes: 14,
        status: StatStatus::Present,
    };
    let absent = Stated {
        request: second,
        length_bytes: 0,
        status: StatStatus::Absent,
    };
    assert_eq!(call.read().0, ToDaemon::Stated(present));
    assert_eq!(call.read().0, ToDaemon::Stated(absent));
    assert!(matches!(call.read().0, ToDaemon::Bytes(_)));
}

#[test]
fn a_listing_shows_every_blob_and_nothing_else() {
    let store = store();
    let mut expected = vec![(name(0, 0), 14)];
    for number in 0..2000_u32 {
        let name = name((number % 256) as u8, (number / 256) as u8 + 1);
        plant(store.path(), &name, &vec![0; (number % 7) as usize]);
        expected.push((name, u64::from(number % 7)));
    }
    plant_foreign_things(store.path());
    let mut call = Call::open(Service::Fetch, store.path());
    let request = call.next_number();
    call.send(&ToHelper::List(List {
        request,
        page: None,
    }));
    let mut listed = Vec::new();
    let end = loop {
        match call.read().0 {
            ToDaemon::Entry(Entry {
                name, length_bytes, ..
            }) => listed.push((name, length_bytes)),
            other => break other,
        }
    };
    assert_eq!(
        end,
        ToDaemon::ListEnd(ListEnd {
            request,
            count: 2001,
            status: ListStatus::Complete
        })
    );
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

/// Entries of a folder that are no blobs.
fn plant_foreign_things(store: &std::path::Path) {
    fs::create_dir(store.join("lost+found")).unwrap();
    fs::write(store.join("README"), "not ours").unwrap();
    fs::write(store.join("01").join("short"), "not ours").unwrap();
    fs::write(
        store.join("01").join(name(2, 9).to_string()),
        "in the wrong shard",
    )
    .unwrap();
    fs::write(
        store
            .join("01")
            .join(name(0xab, 9).to_string().to_uppercase()),
        "in upper case",
    )
    .unwrap();
    fs::write(
        store.join("01").join(format!(".{}.0", name(1, 0xee))),
        "on its way in",
    )
    .unwrap();
    fs::create_dir(store.join("01").join(name(1, 0xdd).to_string())).unwrap();
    symlink("short", store.join("01").join(name(1, 0xcc).to_string())).unwrap();
}
