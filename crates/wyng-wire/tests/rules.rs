// SPDX-License-Identifier: GPL-3.0-or-later
//! The order in which frames may come. Layouts are tested in `frames`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Delete, Entry, Get, List, ListEnd, ListStatus, Open,
    OpenStatus, Opened, OutOfPhase, Page, Put, Receipt, ReceiptStatus, Renew, Service, Signed,
    Stat, StatStatus, Stated, Tally, ToDaemon, ToDaemonRules, ToHelper, ToHelperRules, Version,
    VersionId, Versions, VersionsEnd, VersionsStatus,
};

const NAME: BlobName = BlobName([7; 32]);
const SIGNED: Signed<'static> = Signed {
    time_secs: 1,
    signature: [1; 32],
    body_sha256: [2; 32],
    key_id: "key",
    token: "",
};
const OPEN_SIGNED: Open<'static> = Open {
    create: false,
    tries: false,
    looks_at_versions: false,
    signed: Some(SIGNED),
    lock_until_day: 0,
    destination: b"s3://b",
};
const OPEN: ToHelper<'static> = ToHelper::Open(Open {
    create: false,
    tries: false,
    looks_at_versions: false,
    signed: None,
    lock_until_day: 0,
    destination: b"dir:/x",
});

fn put(number: u64) -> ToHelper<'static> {
    ToHelper::Put(Put {
        number,
        name: NAME,
        length_bytes: 0,
        may_use_reserve: false,
        signed: None,
    })
}

fn renew(number: u64) -> ToHelper<'static> {
    ToHelper::Renew(Renew {
        number,
        name: NAME,
        until_day: 20_000,
        signed: None,
    })
}

fn delete(number: u64) -> ToHelper<'static> {
    ToHelper::Delete(Delete {
        number,
        name: NAME,
        signed: None,
    })
}

fn get(request: u64) -> ToHelper<'static> {
    ToHelper::Get(Get {
        request,
        name: NAME,
        offset_bytes: 0,
        length_bytes: 0,
        version: 0,
        version_id: None,
        signed: None,
    })
}

fn stat(request: u64) -> ToHelper<'static> {
    ToHelper::Stat(Stat {
        request,
        name: NAME,
        signed: None,
    })
}

fn list(request: u64) -> ToHelper<'static> {
    ToHelper::List(List {
        request,
        page: None,
    })
}

fn receipt(number: u64, status: ReceiptStatus) -> ToDaemon {
    ToDaemon::Receipt(Receipt {
        number,
        status,
        free_mib: None,
    })
}

fn opened(status: OpenStatus) -> ToDaemon {
    ToDaemon::Opened(Opened::of(status))
}

fn bytes(request: u64, status: BytesStatus) -> ToDaemon {
    ToDaemon::Bytes(BlobBytes {
        request,
        length_bytes: u32::from(status == BytesStatus::More),
        status,
    })
}

fn tally(names: u64) -> Tally {
    let mut tally = Tally::default();
    (0..names).for_each(|_| tally.add(&NAME));
    tally
}

/// The helper's rules, with the store open.
fn helper_open(service: Service) -> ToHelperRules {
    let mut rules = ToHelperRules::new(service);
    rules.accept(&OPEN).unwrap();
    rules
}

/// The daemon's rules, with the store open.
fn daemon_open(service: Service) -> ToDaemonRules {
    let mut rules = ToDaemonRules::new(service);
    rules.accept(&opened(OpenStatus::Ok), 0).unwrap();
    rules
}

#[test]
fn each_service_takes_its_own_verbs_and_no_other() {
    let verbs = [
        put(1),
        ToHelper::Sync,
        ToHelper::End(tally(0)),
        delete(1),
        list(1),
        stat(1),
        get(1),
        renew(1),
    ];
    for (service, taken) in [
        (
            Service::Push,
            [true, true, true, false, false, false, false, true],
        ),
        (
            Service::Prune,
            [false, false, true, true, false, false, false, false],
        ),
        (
            Service::Fetch,
            [false, false, false, false, true, true, true, false],
        ),
    ] {
        for (verb, taken) in verbs.iter().zip(taken) {
            let expected = if taken {
                Ok(())
            } else {
                Err(OutOfPhase::Frame)
            };
            assert_eq!(
                helper_open(service).accept(verb),
                expected,
                "{service:?} {verb:?}"
            );
        }
    }
}

#[test]
fn nothing_but_open_and_keep_alive_comes_before_open() {
    let mut rules = ToHelperRules::new(Service::Push);
    assert_eq!(rules.accept(&ToHelper::KeepAlive), Ok(()));
    assert_eq!(rules.accept(&put(1)), Err(OutOfPhase::Frame));
    assert_eq!(rules.accept(&OPEN), Ok(()));
}

#[test]
fn every_request_is_signed_if_open_said_so_and_none_otherwise() {
    let requests = |mut frame: ToHelper<'static>, with: Option<Signed<'static>>| {
        match &mut frame {
            ToHelper::Put(put) => put.signed = with,
            ToHelper::Renew(renew) => renew.signed = with,
            ToHelper::Delete(delete) => delete.signed = with,
            ToHelper::Stat(stat) => stat.signed = with,
            ToHelper::Get(get) => get.signed = with,
            ToHelper::List(list) => {
                list.page = with.map(|signed| Page {
                    after: None,
                    signed,
                })
            }
            _ => {}
        }
        frame
    };
    let (signed, open) = (SIGNED, ToHelper::Open(OPEN_SIGNED));
    for (service, frame) in [
        (Service::Push, put(1)),
        (Service::Push, renew(1)),
        (Service::Prune, delete(1)),
        (Service::Fetch, list(1)),
        (Service::Fetch, stat(1)),
        (Service::Fetch, get(1)),
    ] {
        for (first, are_signed) in [(open, true), (OPEN, false)] {
            for with in [None, Some(signed)] {
                let mut rules = ToHelperRules::new(service);
                rules.accept(&first).unwrap();
                let accepted = rules.accept(&requests(frame, with)).is_ok();
                assert_eq!(accepted, with.is_some() == are_signed, "{frame:?}");
                let mut rules = ToHelperRules::new(service);
                rules.accept(&first).unwrap();
                assert_eq!(rules.accept(&ToHelper::KeepAlive), Ok(()));
            }
        }
    }
}

#[test]
fn versions_are_listed_and_looked_at_in_a_fetch_whose_requests_are_signed_alone() {
    let versions = |request| {
        ToHelper::Versions(Versions {
            request,
            name: NAME,
            signed: SIGNED,
        })
    };
    let looks = ToHelper::Open(Open {
        looks_at_versions: true,
        ..OPEN_SIGNED
    });
    for service in [Service::Push, Service::Prune, Service::Fetch] {
        let is_fetch = service == Service::Fetch;
        let mut rules = ToHelperRules::new(service);
        assert_eq!(rules.accept(&looks).is_ok(), is_fetch, "{service:?}");
        let mut rules = ToHelperRules::new(service);
        rules.accept(&ToHelper::Open(OPEN_SIGNED)).unwrap();
        let accepted = rules.accept(&versions(1)).is_ok();
        assert_eq!(accepted, is_fetch, "{service:?}");
        let refused = helper_open(service).accept(&versions(1));
        assert_eq!(refused, Err(OutOfPhase::Frame), "not signed");
    }
    let mut rules = ToHelperRules::new(Service::Fetch);
    rules.accept(&ToHelper::Open(OPEN_SIGNED)).unwrap();
    assert_eq!(rules.accept(&versions(2)), Err(OutOfPhase::Number));
}

#[test]
fn versions_are_an_answer_to_the_next_request_of_a_fetch() {
    let version = |request| {
        let id = VersionId::new("v").unwrap();
        ToDaemon::Version(Version { request, id })
    };
    let end = |request| {
        ToDaemon::VersionsEnd(VersionsEnd {
            request,
            count: 1,
            status: VersionsStatus::Shown,
        })
    };
    for service in [Service::Push, Service::Prune] {
        for frame in [version(1), end(1)] {
            let refused = daemon_open(service).accept(&frame, 1);
            assert_eq!(refused, Err(OutOfPhase::Frame), "{service:?}");
        }
    }
    let mut rules = daemon_open(Service::Fetch);
    assert_eq!(rules.accept(&version(1), 0), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&version(2), 2), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&version(1), 2), Ok(None));
    assert_eq!(rules.accept(&end(1), 2), Ok(Some(1..=1)));
    assert_eq!(rules.accept(&version(1), 2), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&end(2), 2), Ok(Some(2..=2)));
}

#[test]
fn a_second_open_is_refused() {
    assert_eq!(
        helper_open(Service::Push).accept(&OPEN),
        Err(OutOfPhase::Frame)
    );
}

#[test]
fn only_push_may_create_try_or_lock() {
    for (create, tries, lock_until_day) in [
        (true, false, 0),
        (false, true, 0),
        (true, true, 0),
        (false, false, 20_000),
    ] {
        let open = ToHelper::Open(Open {
            create,
            tries,
            looks_at_versions: false,
            signed: None,
            lock_until_day,
            destination: b"dir:/x",
        });
        for (service, expected) in [
            (Service::Push, Ok(())),
            (Service::Prune, Err(OutOfPhase::Frame)),
            (Service::Fetch, Err(OutOfPhase::Frame)),
        ] {
            let accepted = ToHelperRules::new(service).accept(&open);
            assert_eq!(accepted, expected, "{service:?}");
        }
    }
}

#[test]
fn numbers_count_from_one_without_a_gap() {
    let mut rules = helper_open(Service::Push);
    assert_eq!(rules.accept(&put(2)), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&put(1)), Ok(()));
    assert_eq!(rules.accept(&put(1)), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&put(2)), Ok(()));
    assert_eq!(rules.accept(&renew(2)), Err(OutOfPhase::Number));
    assert_eq!(rules.accept(&renew(3)), Ok(()));
    assert_eq!(rules.accept(&put(4)), Ok(()));
}

#[test]
fn requests_of_every_verb_share_their_numbers() {
    let mut rules = helper_open(Service::Fetch);
    assert_eq!(rules.accept(&stat(1)), Ok(()));
    assert_eq!(rules.accept(&get(2)), Ok(()));
    assert_eq!(rules.accept(&list(2)), Err(OutOfPhase::Number));
}

#[test]
fn an_end_with_another_tally_is_refused() {
    let mut rules = helper_open(Service::Push);
    rules.accept(&put(1)).unwrap();
    assert_eq!(
        rules.clone().accept(&ToHelper::End(tally(2))),
        Err(OutOfPhase::Tally)
    );
    assert_eq!(rules.accept(&ToHelper::End(tally(1))), Ok(()));
    assert_eq!(
        rules.accept(&ToHelper::KeepAlive),
        Err(OutOfPhase::Frame),
        "nothing comes after END"
    );
}

#[test]
fn a_cumulative_receipt_settles_everything_since_the_last() {
    let mut rules = daemon_open(Service::Push);
    assert_eq!(
        rules.accept(&receipt(5, ReceiptStatus::Stored), 9),
        Ok(Some(1..=5))
    );
    assert_eq!(
        rules.accept(&receipt(6, ReceiptStatus::ExistsSame), 9),
        Ok(Some(6..=6))
    );
    assert_eq!(
        rules.accept(&receipt(9, ReceiptStatus::Stored), 9),
        Ok(Some(7..=9))
    );
}

#[test]
fn any_other_receipt_settles_only_the_next_number() {
    for status in ReceiptStatus::ALL
        .iter()
        .copied()
        .filter(|status| !status.is_cumulative())
    {
        let service = if status == ReceiptStatus::Absent {
            Service::Prune
        } else {
            Service::Push
        };
        assert_eq!(
            daemon_open(service).accept(&receipt(2, status), 9),
            Err(OutOfPhase::Number),
            "{status:?}"
        );
        assert_eq!(
            daemon_open(service).accept(&receipt(1, status), 9),
            Ok(Some(1..=1)),
            "{status:?}"
        );
    }
}

#[test]
fn a_receipt_for_a_number_that_was_not_sent_or_is_settled_is_refused() {
    let mut rules = daemon_open(Service::Push);
    assert_eq!(
        rules.accept(&receipt(4, ReceiptStatus::Stored), 3),
        Err(OutOfPhase::Number)
    );
    assert_eq!(
        rules.accept(&receipt(3, ReceiptStatus::Stored), 3),
        Ok(Some(1..=3))
    );
    assert_eq!(
        rules.accept(&receipt(3, ReceiptStatus::Stored), 3),
        Err(OutOfPhase::Number)
    );
}

#[test]
fn a_push_gets_no_receipt_of_a_deletion_and_a_prune_none_of_a_stored_blob() {
    assert_eq!(
        daemon_open(Service::Push).accept(&receipt(1, ReceiptStatus::Deleted), 1),
        Err(OutOfPhase::Frame)
    );
    assert_eq!(
        daemon_open(Service::Prune).accept(&receipt(1, ReceiptStatus::Stored), 1),
        Err(OutOfPhase::Frame)
    );
}

#[test]
fn push_and_prune_never_get_bytes_or_entries() {
    let entry = ToDaemon::Entry(Entry {
        request: 1,
        name: NAME,
        length_bytes: 1,
    });
    let stated = ToDaemon::Stated(Stated {
        request: 1,
        length_bytes: 0,
        status: StatStatus::Absent,
    });
    let list_end = ToDaemon::ListEnd(ListEnd {
        request: 1,
        count: 0,
        status: ListStatus::Complete,
    });
    for service in [Service::Push, Service::Prune] {
        for frame in [entry, stated, list_end, bytes(1, BytesStatus::Whole)] {
            assert_eq!(
                daemon_open(service).accept(&frame, 1),
                Err(OutOfPhase::Frame),
                "{service:?} {frame:?}"
            );
        }
    }
}

#[test]
fn answers_come_in_the_order_of_their_requests() {
    let mut rules = daemon_open(Service::Fetch);
    assert_eq!(
        rules.accept(&bytes(2, BytesStatus::Whole), 2),
        Err(OutOfPhase::Number)
    );
    assert_eq!(rules.accept(&bytes(1, BytesStatus::More), 2), Ok(None));
    assert_eq!(
        rules.accept(&bytes(1, BytesStatus::Short), 2),
        Ok(Some(1..=1))
    );
    assert_eq!(
        rules.accept(&bytes(1, BytesStatus::Short), 2),
        Err(OutOfPhase::Number)
    );
    assert_eq!(
        rules.accept(&bytes(2, BytesStatus::Absent), 2),
        Ok(Some(2..=2))
    );
    assert_eq!(
        rules.accept(&bytes(3, BytesStatus::Absent), 2),
        Err(OutOfPhase::Number),
        "never asked for"
    );
}

#[test]
fn after_a_store_that_did_not_open_no_frame_may_come() {
    let mut rules = ToDaemonRules::new(Service::Push);
    assert_eq!(rules.accept(&opened(OpenStatus::Missing), 0), Ok(None));
    assert_eq!(
        rules.accept(&ToDaemon::KeepAlive, 0),
        Err(OutOfPhase::Frame)
    );
    assert_eq!(
        rules.accept(&opened(OpenStatus::Ok), 0),
        Err(OutOfPhase::Frame)
    );
}

#[test]
fn final_comes_once_and_last_and_never_from_fetch() {
    let mut rules = daemon_open(Service::Prune);
    assert_eq!(rules.accept(&ToDaemon::Final(tally(0)), 0), Ok(None));
    assert_eq!(
        rules.accept(&ToDaemon::Final(tally(0)), 0),
        Err(OutOfPhase::Frame)
    );
    assert_eq!(
        daemon_open(Service::Fetch).accept(&ToDaemon::Final(tally(0)), 0),
        Err(OutOfPhase::Frame)
    );
}
