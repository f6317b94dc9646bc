// SPDX-License-Identifier: GPL-3.0-or-later
//! The order in which frames may come in each service, and the numbers that they may carry. A frame
//! that breaks the rules ends the call. The effect of a frame is not known here.

use core::fmt;
use core::ops::RangeInclusive;

use crate::{
    BytesStatus, OpenStatus, Opened, Receipt, ReceiptStatus, Service, Tally, ToDaemon, ToHelper,
};

/// Why a well-formed frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfPhase {
    /// The service does not have this frame, or not in this phase.
    Frame,
    /// The number does not follow the last one, or settles something that was never sent.
    Number,
    /// The tally of END differs from what was received.
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
    /// HELLO was exchanged, and OPEN is not answered yet.
    Opening,
    /// The store is open.
    Serving,
    /// END or FINAL was seen, or the store could not be opened.
    Ended,
}

/// The rules by which the helper accepts the daemon's frames.
#[derive(Clone, Debug)]
pub struct ToHelperRules {
    service: Service,
    phase: Phase,
    /// OPEN said that requests come signed.
    are_signed: bool,
    last_number: u64,
    received: Tally,
}

impl ToHelperRules {
    /// The rules after a HELLO for this service.
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            phase: Phase::Opening,
            are_signed: false,
            last_number: 0,
            received: Tally {
                count: 0,
                digest: 0,
            },
        }
    }

    /// Checks the next frame and remembers it. Frames must be passed in the order in which they
    /// came.
    pub fn accept(&mut self, frame: &ToHelper<'_>) -> Result<(), OutOfPhase> {
        if !self.permits(frame) {
            return Err(OutOfPhase::Frame);
        }
        match frame {
            ToHelper::Open(open) => {
                self.phase = Phase::Serving;
                self.are_signed = open.signed.is_some();
            }
            ToHelper::Put(put) => {
                self.follows(put.number)?;
                self.received.add(&put.name);
            }
            ToHelper::Renew(renew) => {
                self.follows(renew.number)?;
                self.received.add(&renew.name);
            }
            ToHelper::Delete(delete) => {
                self.follows(delete.number)?;
                self.received.add(&delete.name);
            }
            ToHelper::List(list) => self.follows(list.request)?,
            ToHelper::Stat(stat) => self.follows(stat.request)?,
            ToHelper::Get(get) => self.follows(get.request)?,
            ToHelper::Versions(versions) => self.follows(versions.request)?,
            ToHelper::End(sent) if *sent != self.received => return Err(OutOfPhase::Tally),
            ToHelper::End(_) => self.phase = Phase::Ended,
            ToHelper::Sync | ToHelper::KeepAlive => {}
        }
        Ok(())
    }

    /// Whether the service has the frame in this phase.
    fn permits(&self, frame: &ToHelper<'_>) -> bool {
        use Phase::{Opening, Serving};
        use Service::{Fetch, Prune, Push};
        let is_signed = match frame {
            ToHelper::Put(put) => put.signed.is_some(),
            ToHelper::Renew(renew) => renew.signed.is_some(),
            ToHelper::Delete(delete) => delete.signed.is_some(),
            ToHelper::List(list) => list.page.is_some(),
            ToHelper::Stat(stat) => stat.signed.is_some(),
            ToHelper::Get(get) => get.signed.is_some(),
            ToHelper::Versions(_) => true,
            ToHelper::Open(_) | ToHelper::Sync | ToHelper::End(_) | ToHelper::KeepAlive => {
                self.are_signed
            }
        };
        if is_signed != self.are_signed {
            return false;
        }
        match (self.service, self.phase, frame) {
            (service, Opening, ToHelper::Open(open)) => {
                let asks_of_push = open.create || open.tries || open.lock_until_day > 0;
                let fits_push = service == Push || !asks_of_push;
                fits_push && (service == Fetch || !open.looks_at_versions)
            }
            (_, Opening | Serving, ToHelper::KeepAlive)
            | (
                Push,
                Serving,
                ToHelper::Put(_) | ToHelper::Renew(_) | ToHelper::Sync | ToHelper::End(_),
            )
            | (Prune, Serving, ToHelper::Delete(_) | ToHelper::End(_))
            | (
                Fetch,
                Serving,
                ToHelper::List(_) | ToHelper::Stat(_) | ToHelper::Get(_) | ToHelper::Versions(_),
            ) => true,
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

/// The rules by which the daemon accepts the helper's frames.
#[derive(Clone, Debug)]
pub struct ToDaemonRules {
    service: Service,
    phase: Phase,
    settled_through: u64,
}

impl ToDaemonRules {
    /// The rules after a HELLO for this service.
    pub const fn new(service: Service) -> Self {
        Self {
            service,
            phase: Phase::Opening,
            settled_through: 0,
        }
    }

    /// Checks the next frame and remembers it; `sent_through` is the last number that the daemon
    /// sent.
    ///
    /// Returns the numbers that the frame settles: those of a receipt, or the request of which it
    /// is the last answer. The caller remembers which verb a request was, and how many bytes of a
    /// GET are outstanding.
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
            ToDaemon::Version(version) => self.answers(version.request, sent_through)?,
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
            ToDaemon::VersionsEnd(end) => {
                return self.settle_answer(end.request, sent_through).map(Some);
            }
            ToDaemon::KeepAlive => {}
        }
        Ok(None)
    }

    /// Whether the service has the frame in this phase.
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
                | ToDaemon::Bytes(_)
                | ToDaemon::Version(_)
                | ToDaemon::VersionsEnd(_),
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

    /// Requests are answered in order, and each is answered completely before the next one.
    fn answers(&self, request: u64, sent_through: u64) -> Result<(), OutOfPhase> {
        if self.settled_through.checked_add(1) == Some(request) && request <= sent_through {
            Ok(())
        } else {
            Err(OutOfPhase::Number)
        }
    }
}

/// Whether the service can give a receipt of this status.
fn belongs(status: ReceiptStatus, service: Service) -> bool {
    match status {
        ReceiptStatus::Refused | ReceiptStatus::Failed | ReceiptStatus::Expired => true,
        ReceiptStatus::Deleted | ReceiptStatus::Absent => service == Service::Prune,
        ReceiptStatus::Stored
        | ReceiptStatus::ExistsSame
        | ReceiptStatus::ExistsDifferent
        | ReceiptStatus::ExistsUnknown
        | ReceiptStatus::Full
        | ReceiptStatus::Lax
        | ReceiptStatus::StoredOnce
        | ReceiptStatus::StoredTwice
        | ReceiptStatus::Renewed
        | ReceiptStatus::NotThere
        | ReceiptStatus::Unsupported
        | ReceiptStatus::NotRenewed => service == Service::Push,
    }
}
