// SPDX-License-Identifier: GPL-3.0-or-later
//! The three services, one file each, and the receipts that two of them give. A process runs only
//! one service.

pub(crate) mod fetch;
pub(crate) mod prune;
pub(crate) mod push;
mod room;

use wyng_wire::{BlobName, Receipt, ReceiptStatus, Tally, ToDaemon};

use crate::exit::CallError;
use crate::output::Output;

/// Receipts in the order of their numbers. A cumulative receipt is held back until it is flushed,
/// or until a receipt of another kind is due.
struct Receipts<'o> {
    output: &'o Output,
    held: Option<Receipt>,
    done: Tally,
}

impl<'o> Receipts<'o> {
    fn new(output: &'o Output) -> Self {
        Self {
            output,
            held: None,
            done: Tally::default(),
        }
    }

    /// Settles the next number, whose outcome is durable.
    fn settle(
        &mut self,
        number: u64,
        name: &BlobName,
        status: ReceiptStatus,
    ) -> Result<(), CallError> {
        self.settle_with(
            name,
            Receipt {
                number,
                status,
                free_mib: None,
            },
        )
    }

    /// The same with a whole receipt.
    fn settle_with(&mut self, name: &BlobName, receipt: Receipt) -> Result<(), CallError> {
        let status = receipt.status;
        if status.is_done() {
            self.done.add(name);
        }
        if status.is_cumulative() {
            self.held = Some(receipt);
            return Ok(());
        }
        self.flush()?;
        self.output.send(&ToDaemon::Receipt(receipt))
    }

    /// Sends the receipt that is held back.
    fn flush(&mut self) -> Result<(), CallError> {
        self.held.take().map_or(Ok(()), |receipt| {
            self.output.send(&ToDaemon::Receipt(receipt))
        })
    }

    /// Answers END.
    fn finish(mut self) -> Result<(), CallError> {
        self.flush()?;
        self.output.send(&ToDaemon::Final(self.done))
    }
}
