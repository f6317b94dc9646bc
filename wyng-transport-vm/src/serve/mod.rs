// SPDX-License-Identifier: GPL-3.0-or-later
//! The three verb sets, one file each, and the receipts that two of them give. Only one of them
//! runs in a process.

pub(crate) mod fetch;
pub(crate) mod prune;
pub(crate) mod push;

use wyng_wire::{BlobName, Receipt, ReceiptStatus, Tally, ToDaemon};

use crate::exit::CallError;
use crate::output::Output;

/// Receipts in the order of their numbers: cumulative ones are held back until they are flushed, or
/// until one of its own is due.
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

    /// Settles the next number. What is settled is durable.
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

    /// The same for a receipt that says more.
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

    /// Sends what is held back.
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
