// SPDX-License-Identifier: GPL-3.0-or-later
//! Listings: all names in pages, and what a listing that lies comes to.

use std::collections::{BTreeMap, BTreeSet};

use wyng_tests::stores::{Server, Shelf};
use wyng_wire::{BlobName, List, ListStatus, OpenStatus, Service, ToDaemon, ToHelper};

use super::blobs::{open, with_each};
use super::call::{Call, Store, name};

/// The names and lengths of a listing, and whether it is complete.
fn listed(call: &mut Call) -> (BTreeMap<[u8; 32], u64>, bool) {
    let request = call.next_number();
    call.send(&ToHelper::List(List {
        request,
        page: None,
    }));
    let mut found = BTreeMap::new();
    loop {
        match call.read().0 {
            ToDaemon::Entry(entry) => {
                let before = found.insert(entry.name.0, entry.length_bytes);
                assert_eq!(before, None, "listed twice");
            }
            ToDaemon::ListEnd(end) => {
                assert_eq!(end.count, found.len() as u64);
                return (found, end.status == ListStatus::Complete);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_blob_is_listed_and_nothing_else() {
    with_each(
        "every_blob_is_listed_and_nothing_else",
        |server: &Server, kind| {
            for blob in 1..=40 {
                server.plant("store", &name(blob, blob), &vec![0; usize::from(blob)]);
            }
            let foreign = server.path_of("store", &name(1, 1));
            std::fs::write(foreign.with_file_name("README"), "not a blob").unwrap();
            let mut call = open(Service::Fetch, server);
            let (found, complete) = listed(&mut call);
            let lengths = (1..=40).map(|blob| (name(blob, blob).0, u64::from(blob)));
            let expected: BTreeMap<_, _> = lengths.chain([(name(0, 0).0, 14)]).collect();
            assert_eq!((found, complete), (expected, true), "{kind:?}");
            assert_eq!(call.close(), Some(0));
        },
    );
}

fn shelf(count: u64, twist: impl Fn(usize, String) -> String + Send + Sync + 'static) -> Shelf {
    let keys = (0..count).map(|number| {
        // An odd factor spreads the names over the whole alphabet.
        let mut name = [0; 32];
        name[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        (format!("p/{}", BlobName(name)), number)
    });
    Shelf::start(keys.collect(), twist)
}

fn fetch(shelf: &Shelf) -> Call {
    let address = format!(
        "s3://b/p?endpoint=http://127.0.0.1:{}&insecure=true\naccess_key_id=a\nsecret_access_key=b",
        shelf.port()
    );
    let mut call = Call::start(Service::Fetch);
    let status = call.ask_to_open(address.as_bytes(), Store::Existing);
    assert_eq!(status, OpenStatus::Ok, "{}", call.said());
    call
}

#[test]
fn a_hundred_thousand_names_come_in_pages() {
    let shelf = shelf(100_000, |_, page| page);
    let mut call = fetch(&shelf);
    let (found, complete) = listed(&mut call);
    assert!(complete);
    let lengths: BTreeSet<u64> = found.values().copied().collect();
    assert_eq!((found.len(), lengths.len()), (100_000, 100_000));
    assert_eq!(shelf.pages(), 1 + 100, "one look, and pages of 1000");
    assert_eq!(call.close(), Some(0));
}

#[test]
fn a_listing_that_repeats_goes_back_leaves_its_prefix_or_is_no_listing_is_incomplete() {
    type Twist = fn(usize, String) -> String;
    let twists: [(&str, Twist); 5] = [
        ("no listing", |number, page| {
            if number == 2 { "<html/>".into() } else { page }
        }),
        ("cut", |number, page| {
            if number == 2 {
                page[..page.len() / 2].to_owned()
            } else {
                page
            }
        }),
        ("another prefix", |number, page| {
            if number == 2 {
                page.replace("<Key>p/", "<Key>q/")
            } else {
                page
            }
        }),
        ("nothing, and more to follow", |number, page| {
            if number == 2 {
                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>".into()
            } else {
                page
            }
        }),
        ("the first page again", |number, page| {
            let first = "<Contents><Key>p/00</Key><Size>1</Size></Contents>";
            if number == 2 {
                page.replacen("<Contents>", &format!("{first}<Contents>"), 1)
            } else {
                page
            }
        }),
    ];
    for (what, twist) in twists {
        let shelf = shelf(3000, twist);
        let mut call = fetch(&shelf);
        let (found, complete) = listed(&mut call);
        assert!(!complete, "{what}");
        assert!(found.len() < 3000, "{what}");
        assert!(shelf.pages() < 10, "{what}: {} pages", shelf.pages());
    }
}
