// SPDX-License-Identifier: GPL-3.0-or-later
//! Which frame may come when, in each service, and which numbers it may carry. What a frame brings
//! about is not known here. A frame that its rules refuse ends the call.

use core::fmt;
use core::ops::RangeInclusive;

use crate::{
    BytesStatus, OpenStatus, Opened, Receipt, ReceiptStatus, Service, Tally, ToDaemon, ToHelper,
};

/// A frame came that may not come now, or with a number that it may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfPhase {
    /// No such frame in this service, or not now.
    Frame,
    /// The number is not the one that follows, or settles what was never sent.
    Number,
    /// END does not say what was received.
    Tally,
}

impl fmt::Display for OutOfPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "this frame may not come now in this service",
            Self::Number => "the frame's number is not the one that follows",
            Self::Tally => "END does not state what was received",
        })
    }
}

impl core::error::Error for OutOfPhase {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// HELLO was exchanged, OPEN not yet settled.
    Opening,
    /// The store is open.
    Serving,
    /// END or FINAL was seen, or the store did not open.
    Ended,
}

/// What the helper holds the daemon to.
#[derive(Clone, Debug)]
pub struct ToHelperRules {
    service: Service,
    phase: Phase,
    last_number: u64,
    received: Tally,
}

impl ToHelperRules {
    /// The rules behind a HELLO for this service.
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            phase: Phase::Opening,
            last_number: 0,
            received: Tally {
                count: 0,
                digest: 0,
            },
        }
    }

    /// Takes the next frame in the order of its coming.
    pub fn accept(&mut self, frame: &ToHelper<'_>) -> Result<(), OutOfPhase> {
        if !self.permits(frame) {
            return Err(OutOfPhase::Frame);
        }
        match frame {
            ToHelper::Open(_) => self.phase = Phase::Serving,
            ToHelper::Put(put) => {
                self.follows(put.number)?;
                self.received.add(&put.name);
            }
            ToHelper::Delete(delete) => {
                self.follows(delete.number)?;
                self.received.add(&delete.name);
            }
            ToHelper::List { request } => self.follows(*request)?,
            ToHelper::Stat(stat) => self.follows(stat.request)?,
            ToHelper::Get(get) => self.follows(get.request)?,
            ToHelper::End(sent) if *sent != self.received => return Err(OutOfPhase::Tally),
            ToHelper::End(_) => self.phase = Phase::Ended,
            ToHelper::Sync | ToHelper::KeepAlive => {}
        }
        Ok(())
    }

    /// The table: service, phase, frame.
    fn permits(&self, frame: &ToHelper<'_>) -> bool {
        use Phase::{Opening, Serving};
        use Service::{Fetch, Prune, Push};
        match (self.service, self.phase, frame) {
            (service, Opening, ToHelper::Open(open)) => service == Push || !open.create,
            (_, Opening | Serving, ToHelper::KeepAlive)
            | (Push, Serving, ToHelper::Put(_) | ToHelper::Sync | ToHelper::End(_))
            | (Prune, Serving, ToHelper::Delete(_) | ToHelper::End(_))
            | (Fetch, Serving, ToHelper::List { .. } | ToHelper::Stat(_) | ToHelper::Get(_)) => {
                true
            }
            _ => false,
        }
    }

    fn follows(&mut self, number: u64) -> Result<(), OutOfPhase> {
        if self.last_number.checked_add(1) != Some(number) {
            return Err(OutOfPhase::Number);
        }
        self.last_number = number;
        Ok(())
    }
}

/// What the daemon holds the helper to.
#[derive(Clone, Debug)]
pub struct ToDaemonRules {
    service: Service,
    phase: Phase,
    settled_through: u64,
}

impl ToDaemonRules {
    /// The rules behind a HELLO for this service.
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            phase: Phase::Opening,
            settled_through: 0,
        }
    }

    /// Takes the next frame in the order of its coming; `sent_through` is the last number that was
    /// sent.
    ///
    /// Returns the numbers that it settles: those of a receipt, or the one request whose last
    /// answer this is. The daemon itself remembers which verb a request was, and how many bytes of
    /// a GET are still owed.
    pub fn accept(
        &mut self,
        frame: &ToDaemon,
        sent_through: u64,
    ) -> Result<Option<RangeInclusive<u64>>, OutOfPhase> {
        if !self.permits(frame) {
            return Err(OutOfPhase::Frame);
        }
        match frame {
            ToDaemon::Opened(Opened {
                status: OpenStatus::Ok,
                ..
            }) => self.phase = Phase::Serving,
            ToDaemon::Opened(_) | ToDaemon::Final(_) => self.phase = Phase::Ended,
            ToDaemon::Receipt(receipt) => {
                return self.settle_receipt(*receipt, sent_through).map(Some);
            }
            ToDaemon::Entry(entry) => self.answers(entry.request, sent_through)?,
            ToDaemon::Bytes(bytes) if bytes.status == BytesStatus::More => {
                self.answers(bytes.request, sent_through)?
            }
            ToDaemon::Bytes(bytes) => {
                return self.settle_answer(bytes.request, sent_through).map(Some);
            }
            ToDaemon::ListEnd(end) => {
                return self.settle_answer(end.request, sent_through).map(Some);
            }
            ToDaemon::Stated(stated) => {
                return self.settle_answer(stated.request, sent_through).map(Some);
            }
            ToDaemon::KeepAlive => {}
        }
        Ok(None)
    }

    /// The table: service, phase, frame.
    fn permits(&self, frame: &ToDaemon) -> bool {
        use Phase::{Opening, Serving};
        use Service::{Fetch, Prune, Push};
        match (self.service, self.phase, frame) {
            (_, Opening, ToDaemon::Opened(_))
            | (_, Opening | Serving, ToDaemon::KeepAlive)
            | (Push | Prune, Serving, ToDaemon::Final(_))
            | (
                Fetch,
                Serving,
                ToDaemon::Entry(_)
                | ToDaemon::ListEnd(_)
                | ToDaemon::Stated(_)
                | ToDaemon::Bytes(_),
            ) => true,
            (service @ (Push | Prune), Serving, ToDaemon::Receipt(receipt)) => {
                belongs(receipt.status, service)
            }
            _ => false,
        }
    }

    fn settle_receipt(
        &mut self,
        receipt: Receipt,
        sent_through: u64,
    ) -> Result<RangeInclusive<u64>, OutOfPhase> {
        let first = self
            .settled_through
            .checked_add(1)
            .ok_or(OutOfPhase::Number)?;
        let in_order = if receipt.status.is_cumulative() {
            receipt.number >= first
        } else {
            receipt.number == first
        };
        if !in_order || receipt.number > sent_through {
            return Err(OutOfPhase::Number);
        }
        self.settled_through = receipt.number;
        Ok(first..=receipt.number)
    }

    fn settle_answer(
        &mut self,
        request: u64,
        sent_through: u64,
    ) -> Result<RangeInclusive<u64>, OutOfPhase> {
        self.answers(request, sent_through)?;
        self.settled_through = request;
        Ok(request..=request)
    }

    /// Requests are answered in their order, each to its end before the next.
    fn answers(&self, request: u64, sent_through: u64) -> Result<(), OutOfPhase> {
        if self.settled_through.checked_add(1) == Some(request) && request <= sent_through {
            Ok(())
        } else {
            Err(OutOfPhase::Number)
        }
    }
}

/// Whether a receipt of this status can come from this service.
fn belongs(status: ReceiptStatus, service: Service) -> bool {
    match status {
        ReceiptStatus::Refused | ReceiptStatus::Failed => true,
        ReceiptStatus::Deleted | ReceiptStatus::Absent => service == Service::Prune,
        ReceiptStatus::Stored
        | ReceiptStatus::ExistsSame
        | ReceiptStatus::ExistsDifferent
        | ReceiptStatus::ExistsUnknown
        | ReceiptStatus::Full => service == Service::Push,
    }
}
