// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Push`: stored blobs, their receipts, and files that are left alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use wyng_wire::{BODY_MAX, BlobName, OpenStatus, ReceiptStatus, Service, ToHelper};

use super::call::{Call, Reserve, Store, address, files, name, path_of, plant, store, traced};
use wyng_tests::disk::{ExfatDisk, SmallDisk};
use wyng_tests::foreign::Foreign;
use wyng_tests::require::{Component, require};

const MIB: usize = 1024 * 1024;

#[test]
fn a_blob_lies_under_its_name_when_its_receipt_comes() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    let bytes: Vec<u8> = (0..3 * MIB + 17).map(|place| (place % 251) as u8).collect();
    call.put(name(0xab, 1), &bytes);
    assert_eq!(call.receipts(), [ReceiptStatus::Stored]);
    assert!(fs::read(path_of(store.path(), &name(0xab, 1))).unwrap() == bytes);
    call.finish_settled(1);
}

#[test]
fn many_blobs_of_every_length_are_settled_in_order() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    for number in 0..100_u8 {
        call.put(name(number, 1), &vec![number; usize::from(number) * 1000]);
    }
    assert_eq!(call.finish(100), [ReceiptStatus::Stored; 100]);
    for number in 0..100_u8 {
        assert_eq!(
            fs::read(path_of(store.path(), &name(number, 1))).unwrap(),
            vec![number; usize::from(number) * 1000]
        );
    }
}

#[test]
fn the_second_put_of_a_blob_is_told_to_exist_within_one_call() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), b"new");
    call.put(name(2, 2), b"twice");
    call.put(name(2, 2), b"twice");
    call.put(name(3, 3), b"new");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::Stored,
        ReceiptStatus::ExistsSame,
        ReceiptStatus::Stored,
    ];
    assert_eq!(call.finish(4), expected);
}

#[test]
fn a_put_of_other_bytes_under_a_taken_name_is_told_apart() {
    let store = store();
    plant(store.path(), &name(5, 5), b"what was there");
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(5, 5), b"what was there");
    call.put(name(5, 5), b"what came late");
    call.put(name(5, 5), b"longer than what was there");
    let expected = [
        ReceiptStatus::ExistsSame,
        ReceiptStatus::ExistsDifferent,
        ReceiptStatus::ExistsDifferent,
    ];
    assert_eq!(call.finish(1), expected);
    assert_eq!(
        fs::read(path_of(store.path(), &name(5, 5))).unwrap(),
        b"what was there"
    );
    assert_eq!(files(store.path()).len(), 2);
}

#[test]
fn sync_brings_the_receipts_of_everything_before() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), b"a");
    call.put(name(2, 1), b"b");
    call.send(&ToHelper::Sync);
    assert_eq!(call.receipts(), [ReceiptStatus::Stored; 2]);
    call.finish_settled(2);
}

#[test]
fn the_longest_body_is_taken_and_an_empty_one_too() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), &vec![9; BODY_MAX as usize]);
    call.put(name(2, 1), b"");
    assert_eq!(call.finish(2), [ReceiptStatus::Stored; 2]);
    assert_eq!(
        fs::metadata(path_of(store.path(), &name(1, 1)))
            .unwrap()
            .len(),
        u64::from(BODY_MAX)
    );
    assert_eq!(
        fs::metadata(path_of(store.path(), &name(2, 1)))
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn what_is_no_file_takes_its_name_and_the_call_goes_on() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    for (number, kind) in (1..).zip(Foreign::ALL) {
        kind.place(&path_of(store.path(), &name(number, 1)));
        kind.place(&store.path().join(format!("a{number}")));
        call.put(name(number, 1), b"under its name");
        // A folder that someone else made is a shard too.
        call.put(name(0xa0 + number, 1), b"under its shard");
    }
    call.put(name(0xff, 1), b"goes on");
    let statuses = call.finish(1 + 1);
    for (kind, pair) in Foreign::ALL.iter().zip(statuses.chunks(2)) {
        let shard = if *kind == Foreign::Folder {
            ReceiptStatus::Stored
        } else {
            ReceiptStatus::ExistsDifferent
        };
        assert_eq!(pair, [ReceiptStatus::ExistsDifferent, shard], "{kind:?}");
    }
    assert_eq!(statuses.last(), Some(&ReceiptStatus::Stored));
}

#[test]
fn a_taken_name_that_the_disk_cannot_read_is_unknown_and_the_call_goes_on() {
    let test = "a_taken_name_that_the_disk_cannot_read_is_unknown_and_the_call_goes_on";
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    // Under the blob's name, and in the place of its shard.
    for (fault, path) in [
        ("openat:error=EIO", name(1, 1).to_string()),
        ("openat:error=EUCLEAN", "01".to_owned()),
    ] {
        let store = store();
        plant(store.path(), &name(1, 1), b"same");
        let mut call =
            Call::start_command(traced(fault, Some(&path), Service::Push), Service::Push);
        assert_eq!(
            call.ask_to_open(&address(store.path()), Store::Existing),
            OpenStatus::Ok
        );
        call.put(name(1, 1), b"same");
        call.put(name(2, 2), b"goes on");
        assert_eq!(
            call.finish(1),
            [ReceiptStatus::ExistsUnknown, ReceiptStatus::Stored],
            "{fault}"
        );
    }
}

#[test]
fn a_disk_without_links_keeps_a_second_blob_from_a_taken_name() {
    if !require(
        Component::Exfat,
        "a_disk_without_links_keeps_a_second_blob_from_a_taken_name",
    ) {
        return;
    }
    let disk = ExfatDisk::mount();
    let mut call = Call::start(Service::Push);
    assert_eq!(
        call.ask_to_open(&address(&disk.join("store")), Store::New),
        OpenStatus::Ok
    );
    call.put(name(1, 1), b"first");
    call.put(name(1, 1), b"first");
    call.put(name(1, 1), b"other");
    call.put(name(2, 2), b"second");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::ExistsSame,
        ReceiptStatus::ExistsDifferent,
        ReceiptStatus::Stored,
    ];
    assert_eq!(call.finish(3), expected);
    assert_eq!(
        fs::read(path_of(&disk.join("store"), &name(1, 1))).unwrap(),
        b"first"
    );
    assert_eq!(
        files(&disk.join("store")),
        [name_path(1, 1), name_path(2, 2)]
    );
    // The state after a writer was killed between claiming the name and renaming the file.
    plant(&disk.join("store"), &name(3, 3), b"");
    let mut call = Call::open(Service::Push, &disk.join("store"));
    call.put(name(3, 3), b"third");
    assert_eq!(call.finish(0), [ReceiptStatus::ExistsDifferent]);
}

#[test]
fn a_link_in_the_place_of_a_shard_is_not_followed() {
    let (store, elsewhere) = (store(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), store.path().join("ab")).unwrap();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(0xab, 1), b"must not go there");
    call.put(name(0xac, 1), b"goes on");
    assert_eq!(
        call.finish(1),
        [ReceiptStatus::ExistsDifferent, ReceiptStatus::Stored]
    );
    assert!(files(elsewhere.path()).is_empty());
}

#[test]
fn a_full_store_keeps_a_reserve_and_says_so() {
    if !require(Component::Root, "a_full_store_keeps_a_reserve_and_says_so") {
        return;
    }
    let disk = SmallDisk::mount(72);
    plant(disk.path(), &name(0, 0), b"");
    let mut call = Call::open(Service::Push, disk.path());
    call.put(name(1, 1), &vec![1; 4 * MIB]);
    call.put(name(2, 2), &vec![2; 8 * MIB]);
    call.put_with(name(3, 3), &vec![3; 8 * MIB], Reserve::Usable);
    call.put(name(4, 4), b"small, and still too much");
    let expected = [
        ReceiptStatus::Stored,
        ReceiptStatus::Full,
        ReceiptStatus::Stored,
        ReceiptStatus::Full,
    ];
    assert_eq!(call.finish(2), expected);
    assert_eq!(files(disk.path()).len(), 3);
}

#[test]
fn a_disk_that_fills_within_a_body_keeps_nothing_of_it_and_the_call_goes_on() {
    if !require(
        Component::Root,
        "a_disk_that_fills_within_a_body_keeps_nothing_of_it_and_the_call_goes_on",
    ) {
        return;
    }
    let disk = SmallDisk::mount(6);
    plant(disk.path(), &name(0, 0), b"");
    let mut call = Call::open(Service::Push, disk.path());
    call.put_with(name(1, 1), &vec![1; 16 * MIB], Reserve::Usable);
    call.put_with(name(2, 2), &vec![2; MIB], Reserve::Usable);
    assert_eq!(call.finish(1), [ReceiptStatus::Full, ReceiptStatus::Stored]);
    assert_eq!(files(disk.path()), [name_path(0, 0), name_path(2, 2)]);
}

fn name_path(first: u8, rest: u8) -> String {
    format!("{first:02x}/{}", name(first, rest))
}

#[test]
fn a_push_opens_no_stored_blob_but_the_one_whose_name_was_taken() {
    let test = "a_push_opens_no_stored_blob_but_the_one_whose_name_was_taken";
    // Only root can trace a process that has made itself undumpable.
    if !require(Component::Strace, test) || !require(Component::Root, test) {
        return;
    }
    let (store, scratch) = (store(), tempfile::tempdir().unwrap());
    let trace = scratch.path().join("trace");
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace);
    traced
        .arg(wyng_tests::programs::program("wyng-transport-vm"))
        .arg("push");
    let mut call = Call::start_command(traced, Service::Push);
    assert_eq!(
        call.ask_to_open(&address(store.path()), Store::Existing),
        OpenStatus::Ok
    );
    call.put(name(1, 1), b"new");
    call.put(name(2, 2), b"new");
    call.put(name(2, 2), b"new");
    assert_eq!(
        call.finish(3),
        [
            ReceiptStatus::Stored,
            ReceiptStatus::Stored,
            ReceiptStatus::ExistsSame
        ]
    );
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<_> = trace
        .lines()
        .filter_map(|line| line.split('"').nth(1))
        .filter(|path| BlobName::from_hex(path.as_bytes()).is_some())
        .collect();
    assert_eq!(opened, [name(2, 2).to_string()]);
}

#[test]
fn a_folder_has_no_locks_that_could_be_longer_and_its_push_continues() {
    let store = store();
    let mut call = Call::open(Service::Push, store.path());
    call.put(name(1, 1), b"a blob");
    call.renew(name(1, 1), 40_000);
    call.renew(name(2, 2), 40_000);
    call.put(name(3, 3), b"another");
    let (stored, unsupported) = (ReceiptStatus::Stored, ReceiptStatus::Unsupported);
    assert_eq!(call.finish(2), [stored, unsupported, unsupported, stored]);
    assert_eq!(files(store.path()).len(), 3);
}
