// SPDX-License-Identifier: GPL-3.0-or-later
//! The far ends over real wires, whose other ends the test holds.

use std::fs::File;

use wyng_control::{Abilities, Via};
use wyng_wire::{BlobName, Service as Verb};

use super::{Clocks, FarEnds};
use crate::ipc::{
    ControlToKeyholder, KeyholderToControl, KeyholderToTransport, NotGot, PutAnswer, Service,
    TransportToKeyholder, Wire,
};
use crate::keyholder::real_world::{KernelClock, SharedControl, StateFiles};
use wyng_engine::world::{Fetched, OpenStore, Place, Reserve, Store, Wait};

const NAME: BlobName = BlobName([7; 32]);
const OPENED: TransportToKeyholder = TransportToKeyholder::Opened {
    free_mib: None,
    abilities: Abilities {
        create_only: None,
        durability: None,
    },
};

/// Far ends, and what transport and control have of them.
struct Ends {
    far_ends: FarEnds,
    transport: Wire<TransportToKeyholder, KeyholderToTransport>,
    control: Wire<ControlToKeyholder, KeyholderToControl>,
}

impl Ends {
    fn new() -> Self {
        let (own, transport) = wyng_jail::packet_pair().unwrap();
        let (to_control, control) = wyng_jail::packet_pair().unwrap();
        let files = StateFiles::only_read(File::open("/").unwrap().into());
        let clocks = Clocks::new(KernelClock::start(), files.only_reading());
        let shared = SharedControl::new(Wire::new(to_control, "control"), files);
        Self {
            far_ends: FarEnds::new(shared, Wire::new(own, "transport"), clocks),
            transport: Wire::new(transport, "keyholder"),
            control: Wire::new(control, "keyholder"),
        }
    }

    fn put(&mut self) {
        let reserve = Reserve::Untouched;
        self.far_ends.put(NAME, vec![1; 10], 10, reserve).unwrap();
    }

    fn say(&self, message: &TransportToKeyholder) {
        self.transport.send(message, &[]).unwrap();
    }

    fn stored(&self, first: u64, last: u64) {
        self.say(&TransportToKeyholder::Receipt {
            first,
            last,
            answer: PutAnswer::Stored,
        });
    }

    /// Opens a store whose far end control starts at once.
    fn connect(&mut self, verb: Verb, service: Service) {
        let started = ControlToKeyholder::FarEndStarted { service };
        self.control.send(&started, &[]).unwrap();
        let place = Place::open("dir:/srv/wyng", &Via::Local);
        let opened = self.far_ends.connect(verb, &place, OpenStore::Existing);
        opened.unwrap();
    }

    /// Numbers of the receipts that are there.
    fn receipts(&mut self) -> Vec<u64> {
        let next = || self.far_ends.receipt(Wait::Never).unwrap();
        std::iter::from_fn(next)
            .map(|receipt| receipt.number)
            .collect()
    }
}

#[test]
fn of_small_blobs_at_most_64_have_no_receipt() {
    let mut ends = Ends::new();
    for number in 1..=200_u64 {
        if let Some(oldest) = number.checked_sub(64).filter(|oldest| *oldest > 0) {
            ends.stored(oldest, oldest);
        }
        ends.put();
        // Transport takes what comes, so that only the bound holds the keyholder up.
        let taken = ends.transport.receive().unwrap().message;
        assert!(matches!(taken, KeyholderToTransport::Put { .. }));
        let unsettled = ends.far_ends.push.unsettled.len() as u64;
        assert_eq!(unsettled, number.min(64));
    }
    assert_eq!(ends.receipts(), (1..=136).collect::<Vec<u64>>());
}

#[test]
fn receipts_and_answers_that_come_while_another_far_end_opens_are_kept() {
    let mut ends = Ends::new();
    for _ in 0..3 {
        ends.put();
    }
    ends.stored(1, 2);
    ends.say(&OPENED);
    ends.connect(Verb::Fetch, Service::Fetch);
    assert_eq!(ends.receipts(), [1, 2]);

    for _ in 0..2 {
        ends.far_ends.request(NAME, 0, 10).unwrap();
    }
    ends.say(&TransportToKeyholder::NotGot(NotGot::Missing));
    ends.stored(3, 3);
    ends.say(&OPENED);
    ends.connect(Verb::Prune, Service::Prune);
    assert_eq!(ends.receipts(), [3]);
    ends.say(&TransportToKeyholder::NotGot(NotGot::Short));
    assert!(matches!(ends.far_ends.answer(), Ok(Fetched::Missing)));
    assert!(matches!(ends.far_ends.answer(), Ok(Fetched::Short)));
}
