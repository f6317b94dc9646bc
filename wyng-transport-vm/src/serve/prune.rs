// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Prune`: DELETE, END. All deletions that wait in the pipe are made durable together.
//! Nothing is read or stored.

use tracing::warn;
use wyng_wire::{BlobName, ReceiptStatus, ToHelper, ToHelperRules};

use super::Receipts;
use crate::exit::CallError;
use crate::input::Input;
use crate::output::Output;
use crate::store::{Given, Prune, StoreError};

/// Maximum number of deletions that are made durable together; it bounds the memory for them.
const BATCH_MAX: usize = 1024;

/// Numbers whose deletion is done but not durable yet.
type Pending = Vec<(u64, BlobName, Result<bool, StoreError>)>;

pub(crate) fn serve<S: Prune>(
    mut store: S,
    input: &mut Input,
    output: &Output,
    mut rules: ToHelperRules,
) -> Result<(), CallError> {
    let mut receipts = Receipts::new(output);
    let mut pending = Pending::new();
    loop {
        match input.frame(&mut rules)?.ok_or(CallError::EndedEarly)? {
            ToHelper::Delete(delete) => {
                let deleted = match &delete.signed {
                    Some(signed) => store.delete_signed(&delete.name, &Given::from(signed)),
                    None => store.delete(&delete.name),
                };
                pending.push((delete.number, delete.name, deleted))
            }
            ToHelper::End(_) => {
                settle(&mut store, &mut pending, &mut receipts)?;
                return receipts.finish();
            }
            // In this service the rules accept nothing else except KEEP_ALIVE.
            _ => {}
        }
        if pending.len() >= BATCH_MAX || !input.is_ready() {
            settle(&mut store, &mut pending, &mut receipts)?;
        }
    }
}

fn settle<S: Prune>(
    store: &mut S,
    pending: &mut Pending,
    receipts: &mut Receipts<'_>,
) -> Result<(), CallError> {
    let settled = store.settle();
    for (number, name, deleted) in pending.drain(..) {
        if let Err(StoreError::Lost { .. }) = &settled {
            break; // the exit status says why
        }
        if let Err(problem) = &settled {
            receipts.settle(number, &name, delete_status(problem))?;
            break;
        }
        match deleted {
            Ok(true) => receipts.settle(number, &name, ReceiptStatus::Deleted)?,
            Ok(false) => receipts.settle(number, &name, ReceiptStatus::Absent)?,
            Err(problem @ StoreError::Lost { .. }) => return Err(problem.into()),
            Err(problem) => {
                receipts.settle(number, &name, delete_status(&problem))?;
                if matches!(problem, StoreError::Full { .. } | StoreError::Failed { .. }) {
                    return Err(problem.into());
                }
            }
        }
    }
    settled?;
    receipts.flush()
}

/// The status of a name that was not deleted.
fn delete_status(problem: &StoreError) -> ReceiptStatus {
    warn!("{problem}");
    match problem {
        StoreError::Refused { .. }
        | StoreError::Foreign { .. }
        | StoreError::Unusable { .. }
        | StoreError::Lax { .. } => ReceiptStatus::Refused,
        StoreError::Expired { .. } => ReceiptStatus::Expired,
        StoreError::Full { .. } | StoreError::Failed { .. } | StoreError::Lost { .. } => {
            ReceiptStatus::Failed
        }
    }
}
