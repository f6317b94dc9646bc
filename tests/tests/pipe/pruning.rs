// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Prune`: deletions and their receipts.

use std::fs;
use std::os::unix::fs::symlink;

use wyng_wire::{ReceiptStatus, Service};

use super::call::{Call, files, name, path_of, plant, store};

#[test]
fn a_name_is_deleted_once_and_absent_the_second_time() {
    let store = store();
    for first in [1, 2, 3] {
        plant(store.path(), &name(first, 1), b"old");
    }
    let mut call = Call::open(Service::Prune, store.path());
    for first in [1, 2, 2, 9, 3] {
        call.delete(name(first, 1));
    }
    use ReceiptStatus::{Absent, Deleted};
    assert_eq!(call.finish(5), [Deleted, Deleted, Absent, Absent, Deleted]);
    assert_eq!(files(store.path()).len(), 1, "what was not named stays");
}

#[test]
fn thousands_of_names_are_settled() {
    let store = store();
    let names: Vec<_> = (0..3000_u32)
        .map(|number| name((number % 256) as u8, (number / 256) as u8 + 1))
        .collect();
    for name in &names {
        plant(store.path(), name, b"old");
    }
    let mut call = Call::open(Service::Prune, store.path());
    for name in &names {
        call.delete(*name);
    }
    assert_eq!(call.finish(3000), [ReceiptStatus::Deleted; 3000]);
    assert_eq!(files(store.path()).len(), 1);
}

#[test]
fn nothing_is_deleted_through_a_link_in_the_place_of_a_shard() {
    let (store, elsewhere) = (store(), tempfile::tempdir().unwrap());
    plant(elsewhere.path(), &name(0xab, 1), b"stays");
    symlink(elsewhere.path().join("ab"), store.path().join("ab")).unwrap();
    let mut call = Call::open(Service::Prune, store.path());
    call.delete(name(0xab, 1));
    assert_eq!(call.finish(0), [ReceiptStatus::Refused]);
    assert!(path_of(elsewhere.path(), &name(0xab, 1)).exists());
}

#[test]
fn a_folder_under_the_name_is_refused() {
    let store = store();
    fs::create_dir_all(path_of(store.path(), &name(1, 1))).unwrap();
    let mut call = Call::open(Service::Prune, store.path());
    call.delete(name(1, 1));
    assert_eq!(call.finish(0), [ReceiptStatus::Refused]);
}
