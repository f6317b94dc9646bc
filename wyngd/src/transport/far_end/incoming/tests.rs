// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of what comes from a far end.

use std::time::{Duration, Instant};

use wyng_config::Config;
use wyng_wire::TO_DAEMON_MAX;

use super::super::watchdog::{Limits, Outstanding};
use super::*;

const NAME: BlobName = BlobName([7; 32]);

/// The helper's side of a call: what it says, and what came of it.
struct Call {
    incoming: Incoming,
    watchdog: Watchdog,
}

impl Call {
    /// A call whose helper has said HELLO.
    fn greeted(service: Service) -> Self {
        let mut call = Self {
            incoming: Incoming::new(service),
            watchdog: Watchdog::new(Limits::of(&Config::default()), Instant::now()),
        };
        assert_eq!(call.take(&Hello { service }.encode()), Ok(()));
        call
    }

    /// A call whose store is open.
    fn opened(service: Service) -> Self {
        let mut call = Self::greeted(service);
        assert_eq!(call.say(&OPENED), Ok(()));
        assert_eq!(call.heard(), [OPENED_HEARD]);
        call
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), FarEndFault> {
        match self.incoming.take(bytes, &mut self.watchdog) {
            Ok(()) => Ok(()),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(Stop::Fatal(fatal)) => panic!("{fatal}"),
        }
    }

    fn say(&mut self, frame: &ToDaemon) -> Result<(), FarEndFault> {
        self.take(&encoded(frame))
    }

    fn expect(&mut self, expected: Expected) {
        assert!(self.incoming.expect(expected).is_ok());
    }

    /// The messages for the keyholder so far.
    fn heard(&mut self) -> Vec<TransportToKeyholder> {
        std::iter::from_fn(|| self.incoming.next_answer())
            .map(|answer| answer.message)
            .collect()
    }
}

/// The window of an open store with nothing unsettled.
pub(in crate::transport::far_end) fn open_window() -> Window {
    Call::opened(Service::Push).incoming.window()
}

const OPENED: ToDaemon = ToDaemon::Opened(Opened {
    status: OpenStatus::Ok,
    create_only: wyng_wire::CreateOnly::Checked,
    durability: wyng_wire::Durability::Durable,
    free_mib: Some(7),
});

const OPENED_HEARD: TransportToKeyholder = TransportToKeyholder::Opened {
    free_mib: Some(7),
    abilities: Abilities {
        create_only: Some(CreateOnly::Checked),
        durability: Some(Durability::Durable),
    },
};

fn encoded(frame: &ToDaemon) -> Vec<u8> {
    frame.encode(&mut [0; TO_DAEMON_MAX]).unwrap().to_vec()
}

fn receipt(number: u64, status: ReceiptStatus) -> ToDaemon {
    ToDaemon::Receipt(Receipt {
        number,
        status,
        free_mib: None,
    })
}

fn put(number: u64, length_bytes: u32) -> Expected {
    Expected::Receipt {
        number,
        name: NAME,
        length_bytes,
    }
}

fn bytes(length_bytes: u32, status: BytesStatus) -> ToDaemon {
    ToDaemon::Bytes(BlobBytes {
        request: 1,
        length_bytes,
        status,
    })
}

#[test]
fn a_conversation_that_is_cut_anywhere_is_understood_alike() {
    let said = [
        Hello {
            service: Service::Fetch,
        }
        .encode()
        .to_vec(),
        encoded(&ToDaemon::KeepAlive),
        encoded(&OPENED),
        encoded(&bytes(3, BytesStatus::More)),
        b"abc".to_vec(),
        encoded(&bytes(2, BytesStatus::Whole)),
        b"de".to_vec(),
        encoded(&ToDaemon::KeepAlive),
    ]
    .concat();
    for cut in 1..said.len() {
        let mut call = Call {
            incoming: Incoming::new(Service::Fetch),
            watchdog: Watchdog::new(Limits::of(&Config::default()), Instant::now()),
        };
        call.expect(Expected::Bytes {
            request: 1,
            length_bytes: 5,
        });
        for part in [&said[..cut], &said[cut..]] {
            assert_eq!(call.take(part), Ok(()), "cut at {cut}");
        }
        let opened = call.incoming.next_answer().unwrap();
        assert_eq!(opened.message, OPENED_HEARD);
        let got = call.incoming.next_answer().unwrap();
        assert_eq!(
            got.message,
            TransportToKeyholder::Got { length_bytes: 5 },
            "cut at {cut}"
        );
        let mut content = [0; 5];
        rustix::io::pread(got.file.unwrap(), &mut content, 0).unwrap();
        assert_eq!(&content, b"abcde", "cut at {cut}");
        assert!(call.incoming.next_answer().is_none());
    }
}

#[test]
fn a_frame_that_is_not_allowed_now_ends_the_call() {
    let mut before_open = Call::greeted(Service::Push);
    before_open.expect(put(1, 10));
    assert_eq!(
        before_open.say(&receipt(1, ReceiptStatus::Stored)),
        Err(FarEndFault::Protocol)
    );
    let mut of_fetch = Call::opened(Service::Push);
    assert_eq!(
        of_fetch.say(&bytes(0, BytesStatus::Absent)),
        Err(FarEndFault::Protocol)
    );
    let mut unsent = Call::opened(Service::Push);
    assert_eq!(
        unsent.say(&receipt(1, ReceiptStatus::Stored)),
        Err(FarEndFault::Protocol)
    );
    let mut twice = Call::opened(Service::Push);
    assert_eq!(twice.say(&OPENED), Err(FarEndFault::Protocol));
}

#[test]
fn a_hello_of_something_else_or_of_another_service_ends_the_call() {
    for (said, fault) in [
        (b"Permission den".to_vec(), FarEndFault::Banner),
        (b"\xf7wynG".to_vec(), FarEndFault::Banner),
        (
            Hello {
                service: Service::Fetch,
            }
            .encode()
            .to_vec(),
            FarEndFault::Protocol,
        ),
    ] {
        let mut call = Call {
            incoming: Incoming::new(Service::Push),
            watchdog: Watchdog::new(Limits::of(&Config::default()), Instant::now()),
        };
        assert_eq!(call.take(&said), Err(fault), "{}", said.escape_ascii());
    }
}

#[test]
fn a_keep_alive_is_no_answer_and_gives_back_no_time() {
    let mut call = Call::opened(Service::Push);
    call.expect(put(1, 1 << 20));
    let stall = Duration::from_secs(Config::default().far_ends.stall_timeout_secs);
    call.watchdog.waited(stall, Outstanding::Answer);
    assert_eq!(call.say(&ToDaemon::KeepAlive), Ok(()));
    assert_eq!(call.heard(), []);
    assert!(call.incoming.owes_an_answer());
    let check = |call: &Call| call.watchdog.check(Instant::now(), Outstanding::Answer);
    assert_eq!(check(&call), Err(FarEndFault::Stalled));
    assert_eq!(call.say(&receipt(1, ReceiptStatus::Stored)), Ok(()));
    assert_eq!(check(&call), Ok(()));
    assert!(!call.incoming.owes_an_answer());
}

#[test]
fn final_must_name_what_the_receipts_said_and_nothing_may_be_outstanding() {
    let mut placed = Tally::default();
    placed.add(&NAME);
    for (status, tally, result) in [
        (ReceiptStatus::Stored, placed, Ok(())),
        (ReceiptStatus::ExistsSame, placed, Ok(())),
        (
            ReceiptStatus::Stored,
            Tally::default(),
            Err(FarEndFault::Protocol),
        ),
        (
            ReceiptStatus::ExistsDifferent,
            placed,
            Err(FarEndFault::Protocol),
        ),
        (ReceiptStatus::ExistsDifferent, Tally::default(), Ok(())),
    ] {
        let mut call = Call::opened(Service::Push);
        call.expect(put(1, 10));
        assert_eq!(call.say(&receipt(1, status)), Ok(()));
        assert_eq!(call.say(&ToDaemon::Final(tally)), result, "{status:?}");
        assert_eq!(call.incoming.is_finished(), result.is_ok());
    }
    let mut outstanding = Call::opened(Service::Push);
    outstanding.expect(put(1, 10));
    assert_eq!(
        outstanding.say(&ToDaemon::Final(Tally::default())),
        Err(FarEndFault::Protocol)
    );
}

#[test]
fn a_prune_hears_what_became_of_each_delete_and_final_names_what_is_gone() {
    let mut call = Call::opened(Service::Prune);
    for number in 1..=4 {
        call.expect(put(number, 0));
    }
    let mut gone = Tally::default();
    (0..3).for_each(|_| gone.add(&NAME));
    for frame in [
        receipt(2, ReceiptStatus::Deleted),
        receipt(3, ReceiptStatus::Absent),
        receipt(4, ReceiptStatus::Refused),
        ToDaemon::Final(gone),
    ] {
        assert_eq!(call.say(&frame), Ok(()), "{frame:?}");
    }
    let answers: Vec<_> = call
        .heard()
        .into_iter()
        .filter_map(|message| match message {
            TransportToKeyholder::Deleted {
                first,
                last,
                answer,
            } => Some((first, last, answer)),
            _ => None,
        })
        .collect();
    let expected = [
        (1, 2, DeleteAnswer::Deleted),
        (3, 3, DeleteAnswer::Absent),
        (4, 4, DeleteAnswer::Refused),
    ];
    assert_eq!(answers, expected);
    assert!(call.incoming.is_finished());
    let mut stored = Call::opened(Service::Prune);
    stored.expect(put(1, 0));
    let stored = stored.say(&receipt(1, ReceiptStatus::Stored));
    assert_eq!(stored, Err(FarEndFault::Protocol));
}

#[test]
fn a_renewal_is_settled_by_its_own_receipt_and_by_none_of_a_put() {
    let renewed = |number| Expected::Renewed { number, name: NAME };
    let mut call = Call::opened(Service::Push);
    let mut done = Tally::default();
    (0..2).for_each(|_| done.add(&NAME));
    let statuses = [
        (ReceiptStatus::Renewed, RenewAnswer::Renewed),
        (ReceiptStatus::NotThere, RenewAnswer::Missing),
        (ReceiptStatus::Unsupported, RenewAnswer::Unsupported),
        (ReceiptStatus::NotRenewed, RenewAnswer::NotRenewed),
        (ReceiptStatus::Refused, RenewAnswer::Refused),
        (ReceiptStatus::Expired, RenewAnswer::Expired),
        (ReceiptStatus::Renewed, RenewAnswer::Renewed),
    ];
    for (number, (status, answer)) in (1..).zip(statuses) {
        call.expect(renewed(number));
        assert_eq!(call.say(&receipt(number, status)), Ok(()));
        let heard = call.heard().pop();
        let expected = TransportToKeyholder::Renewed { number, answer };
        assert_eq!(heard, Some(expected));
    }
    assert_eq!(call.say(&ToDaemon::Final(done)), Ok(()));

    // A receipt that settles several numbers settles no renewal among them.
    for (sent, status, number) in [
        ([put(1, 0), renewed(2)], ReceiptStatus::Stored, 2),
        ([renewed(1), put(2, 0)], ReceiptStatus::Stored, 2),
        ([renewed(1), put(2, 0)], ReceiptStatus::Stored, 1),
        ([renewed(1), put(2, 0)], ReceiptStatus::ExistsSame, 1),
        ([put(1, 0), renewed(2)], ReceiptStatus::Renewed, 1),
        ([put(1, 0), renewed(2)], ReceiptStatus::NotThere, 1),
    ] {
        let mut call = Call::opened(Service::Push);
        sent.into_iter().for_each(|sent| call.expect(sent));
        let said = call.say(&receipt(number, status));
        assert_eq!(said, Err(FarEndFault::Protocol), "{status:?} {number}");
    }
}

#[test]
fn more_bytes_than_were_asked_for_end_the_call_before_they_are_read() {
    let asked = Expected::Bytes {
        request: 1,
        length_bytes: 5,
    };
    let mut at_once = Call::opened(Service::Fetch);
    at_once.expect(asked);
    assert_eq!(
        at_once.say(&bytes(6, BytesStatus::Whole)),
        Err(FarEndFault::Protocol)
    );
    let mut in_pieces = Call::opened(Service::Fetch);
    in_pieces.expect(asked);
    assert_eq!(in_pieces.say(&bytes(4, BytesStatus::More)), Ok(()));
    assert_eq!(in_pieces.take(b"abcd"), Ok(()));
    assert_eq!(
        in_pieces.say(&bytes(2, BytesStatus::Whole)),
        Err(FarEndFault::Protocol)
    );
    let mut too_few = Call::opened(Service::Fetch);
    too_few.expect(asked);
    assert_eq!(too_few.say(&bytes(4, BytesStatus::Whole)), Ok(()));
    assert_eq!(too_few.take(b"abcd"), Err(FarEndFault::Protocol));
}

#[test]
fn a_listing_must_have_as_many_entries_as_its_end_says() {
    let entry = ToDaemon::Entry(Entry {
        request: 1,
        name: NAME,
        length_bytes: 9,
    });
    let end = |count| {
        ToDaemon::ListEnd(ListEnd {
            request: 1,
            count,
            status: ListStatus::Complete,
        })
    };
    let mut listing = Call::opened(Service::Fetch);
    listing.expect(Expected::Entries { request: 1 });
    assert_eq!(listing.say(&entry), Ok(()));
    assert_eq!(listing.say(&end(1)), Ok(()));
    assert_eq!(
        listing.heard(),
        [
            TransportToKeyholder::Entries(vec![(NAME.0, 9)]),
            TransportToKeyholder::ListEnd(Listed::All)
        ]
    );
    let mut short = Call::opened(Service::Fetch);
    short.expect(Expected::Entries { request: 1 });
    assert_eq!(short.say(&end(1)), Err(FarEndFault::Protocol));
}

#[test]
fn of_versions_as_many_ids_come_as_their_end_says_and_never_more_than_15() {
    let version = |id: &str| {
        let id = wyng_wire::VersionId::new(id).unwrap();
        ToDaemon::Version(Version { request: 1, id })
    };
    let end = |count, status| {
        ToDaemon::VersionsEnd(VersionsEnd {
            request: 1,
            count,
            status,
        })
    };
    let asked = || {
        let mut call = Call::opened(Service::Fetch);
        call.expect(Expected::Versions { request: 1 });
        call
    };
    let mut call = asked();
    assert_eq!(call.say(&version("v2")), Ok(()));
    assert_eq!(call.say(&version("v1")), Ok(()));
    assert_eq!(call.say(&end(2, VersionsStatus::Shown)), Ok(()));
    let ids = ["v2", "v1"].map(str::to_owned).to_vec();
    assert_eq!(call.heard(), [TransportToKeyholder::Versions(ids)]);

    let mut call = asked();
    assert_eq!(call.say(&end(0, VersionsStatus::Expired)), Ok(()));
    assert_eq!(call.heard(), [TransportToKeyholder::VersionsExpired]);

    let mut call = asked();
    let refused = call.say(&end(1, VersionsStatus::Shown));
    assert_eq!(refused, Err(FarEndFault::Protocol), "none of them came");
    let mut call = asked();
    (0..15).for_each(|_| assert_eq!(call.say(&version("v")), Ok(())));
    assert_eq!(call.say(&version("v")), Err(FarEndFault::Protocol));

    // An answer to something else that was asked for.
    let mut call = Call::opened(Service::Fetch);
    call.expect(Expected::Stated { request: 1 });
    assert_eq!(call.say(&version("v")), Err(FarEndFault::Protocol));
    let mut call = Call::opened(Service::Fetch);
    call.expect(Expected::Stated { request: 1 });
    let refused = call.say(&end(0, VersionsStatus::Shown));
    assert_eq!(refused, Err(FarEndFault::Protocol));
    let mut call = asked();
    let refused = call.say(&bytes(0, BytesStatus::Absent));
    assert_eq!(refused, Err(FarEndFault::Protocol));
}

#[test]
fn the_window_has_room_for_one_body_of_any_length_and_for_more_that_fit_together() {
    let mut call = Call::opened(Service::Push);
    assert!(call.incoming.window().has_room_for(u32::MAX));
    let half = u32::try_from(WINDOW_BYTES / 2).unwrap();
    call.expect(put(1, half));
    assert!(call.incoming.window().has_room_for(half));
    assert!(!call.incoming.window().has_room_for(half + 1));
    assert_eq!(call.say(&receipt(1, ReceiptStatus::Stored)), Ok(()));
    assert!(call.incoming.window().has_room_for(half + 1));
    let closed = Call::greeted(Service::Push);
    assert!(!closed.incoming.window().has_room_for(1));
}
