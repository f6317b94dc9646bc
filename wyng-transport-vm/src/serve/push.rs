// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Push`: PUT, RENEW, SYNC, END. One thread receives a body while another thread waits until the
//! bodies before it are durable, so that neither the pipe nor the store waits for the other. A
//! folder has two bodies open at a time; a store behind a network has as many as make up for its
//! round trips. Receipts keep the order of the numbers. Nothing is read back.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use tracing::warn;
use wyng_wire::{BlobName, Receipt, ReceiptStatus, ToHelper, ToHelperRules, WINDOW_BYTES};

use super::Receipts;
use super::room::{Hold, Room};
use crate::exit::CallError;
use crate::input::Input;
use crate::output::Output;
use crate::store::{Given, Placed, Push, Renewal, Renewed, Reserve, StoreError, Upload};

/// Maximum time that a receipt is held back while more blobs wait.
const HOLD_BACK: Duration = Duration::from_millis(50);

/// Work of the receiving thread for the settling thread, in the order of the pipe.
enum Work<U> {
    /// A body that was received, or the reason why it was not.
    Body {
        number: u64,
        name: BlobName,
        upload: Result<U, StoreError>,
        hold: Hold,
    },
    /// A lock that is being lengthened.
    Renewal {
        number: u64,
        name: BlobName,
        renewal: Renewal,
    },
    /// SYNC.
    Flush,
    /// END.
    Finish,
}

pub(crate) fn serve<S: Push>(
    store: &S,
    input: &mut Input,
    output: &Output,
    mut rules: ToHelperRules,
) -> Result<(), CallError> {
    // One body is received, and one is settled. Without capacity, a body is handed over when the
    // previous body is settled.
    let (bodies, work) = sync_channel(S::BODIES_AT_ONCE.saturating_sub(2));
    let room = Room::new(WINDOW_BYTES);
    let (stop, stopper) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallError::Thread(errno.into()))?;
    input.stop_with(stop);
    thread::scope(|scope| {
        let settling_room = &room;
        let settling =
            thread::Builder::new()
                .name("settle".into())
                .spawn_scoped(scope, move || {
                    let ended = settle(&work, Receipts::new(output));
                    // Wakes the receiving thread, whatever it waits for.
                    drop(work);
                    settling_room.close();
                    drop(stopper);
                    ended
                });
        let settling = settling.map_err(CallError::Thread)?;
        let received = receive(store, input, &room, &bodies, &mut rules);
        drop(bodies);
        // The error of the settling thread is the cause; the stop of the receiving thread is its
        // consequence.
        settling
            .join()
            .unwrap_or(Err(CallError::Stopped))
            .and(received)
    })
}

fn receive<S: Push>(
    store: &S,
    input: &mut Input,
    room: &Arc<Room>,
    work: &SyncSender<Work<S::Upload>>,
    rules: &mut ToHelperRules,
) -> Result<(), CallError> {
    loop {
        let next = match input.frame(rules)?.ok_or(CallError::EndedEarly)? {
            ToHelper::Put(put) => {
                let hold = room.hold(put.length_bytes.into());
                let announced = Announced {
                    number: put.number,
                    name: put.name,
                    length_bytes: put.length_bytes,
                    reserve: if put.may_use_reserve {
                        Reserve::Usable
                    } else {
                        Reserve::Kept
                    },
                    given: put.signed.as_ref().map(Given::from),
                };
                receive_body(store, input, announced, hold.ok_or(CallError::Stopped)?)?
            }
            ToHelper::Renew(renew) => {
                let given = renew.signed.as_ref().map(Given::from);
                Work::Renewal {
                    number: renew.number,
                    name: renew.name,
                    renewal: store.renew(&renew.name, renew.until_day, given),
                }
            }
            ToHelper::Sync => Work::Flush,
            ToHelper::End(_) => Work::Finish,
            // In this service the rules accept nothing else except KEEP_ALIVE.
            _ => continue,
        };
        let last = matches!(next, Work::Finish);
        work.send(next).map_err(|_| CallError::Stopped)?;
        if last {
            return Ok(());
        }
    }
}

/// A body that follows.
struct Announced {
    number: u64,
    name: BlobName,
    length_bytes: u32,
    reserve: Reserve,
    given: Option<Given>,
}

/// Streams a body into the store. A body that the store refuses is read to its end too, because the
/// next frame follows it.
fn receive_body<S: Push>(
    store: &S,
    input: &mut Input,
    put: Announced,
    hold: Hold,
) -> Result<Work<S::Upload>, CallError> {
    let mut upload = match put.given {
        Some(given) => store.begin_signed(&put.name, put.length_bytes, given),
        None => store.begin(&put.name, put.length_bytes, put.reserve),
    };
    let mut left_bytes = put.length_bytes;
    if let Some(file) = upload.as_ref().ok().and_then(Upload::file) {
        let (moved_bytes, refused) = input.move_body(left_bytes, file)?;
        left_bytes = left_bytes.saturating_sub(moved_bytes);
        if let Some(errno) = refused {
            upload = Err(StoreError::in_writing("write a blob", errno));
        }
    }
    input.body(left_bytes, |piece| {
        if let Err(problem) = upload.as_mut().map_or(Ok(()), |open| open.write(piece)) {
            upload = Err(problem);
        }
    })?;
    Ok(Work::Body {
        number: put.number,
        name: put.name,
        upload,
        hold,
    })
}

fn settle<U: Upload>(
    work: &Receiver<Work<U>>,
    mut receipts: Receipts<'_>,
) -> Result<(), CallError> {
    let mut last_flush = Instant::now();
    loop {
        let next = match work.try_recv() {
            Ok(next) if last_flush.elapsed() < HOLD_BACK => Some(next),
            waiting => {
                receipts.flush()?;
                last_flush = Instant::now();
                match waiting {
                    Ok(next) => Some(next),
                    Err(TryRecvError::Empty) => work.recv().ok(),
                    Err(TryRecvError::Disconnected) => None,
                }
            }
        };
        match next {
            Some(Work::Body {
                number,
                name,
                upload,
                hold,
            }) => {
                settle_body(number, &name, upload, &mut receipts)?;
                drop(hold);
            }
            Some(Work::Renewal {
                number,
                name,
                renewal,
            }) => settle_renewal(number, &name, renewal, &mut receipts)?,
            Some(Work::Flush) => receipts.flush()?,
            Some(Work::Finish) => return receipts.finish(),
            // The pipe ended early: complete bodies are settled and reported by now.
            None => return Ok(()),
        }
    }
}

fn settle_body<U: Upload>(
    number: u64,
    name: &BlobName,
    upload: Result<U, StoreError>,
    receipts: &mut Receipts<'_>,
) -> Result<(), CallError> {
    match upload.and_then(Upload::finish) {
        Ok(placed) => receipts.settle(number, name, status_of_placed(placed)),
        // Nothing is known of this blob, and the exit status says why.
        Err(problem @ StoreError::Lost { .. }) => {
            receipts.flush()?;
            Err(problem.into())
        }
        Err(problem) => {
            let free_mib = if let StoreError::Full { free_mib } = problem {
                free_mib
            } else {
                None
            };
            receipts.settle_with(
                name,
                Receipt {
                    number,
                    status: put_status(&problem),
                    free_mib,
                },
            )?;
            if matches!(problem, StoreError::Failed { .. }) {
                Err(problem.into())
            } else {
                Ok(())
            }
        }
    }
}

fn settle_renewal(
    number: u64,
    name: &BlobName,
    renewal: Renewal,
    receipts: &mut Receipts<'_>,
) -> Result<(), CallError> {
    match renewal() {
        Ok(Renewed::Locked) => receipts.settle(number, name, ReceiptStatus::Renewed),
        Ok(Renewed::Absent) => receipts.settle(number, name, ReceiptStatus::NotThere),
        Ok(Renewed::Unsupported) => receipts.settle(number, name, ReceiptStatus::Unsupported),
        Err(problem @ StoreError::Lost { .. }) => {
            receipts.flush()?;
            Err(problem.into())
        }
        // Whether the store fails for others too, the daemon counts.
        Err(problem) => receipts.settle(number, name, renew_status(&problem)),
    }
}

/// The status of a lock that was not lengthened.
fn renew_status(problem: &StoreError) -> ReceiptStatus {
    warn!("{problem}");
    match problem {
        StoreError::Refused { .. }
        | StoreError::Foreign { .. }
        | StoreError::Unusable { .. }
        | StoreError::Lax { .. } => ReceiptStatus::Refused,
        StoreError::Expired { .. } => ReceiptStatus::Expired,
        StoreError::Full { .. } | StoreError::Failed { .. } | StoreError::Lost { .. } => {
            ReceiptStatus::NotRenewed
        }
    }
}

/// The status of a body that was not stored. To the sender, a place that cannot be used is a name
/// that is taken.
fn put_status(problem: &StoreError) -> ReceiptStatus {
    warn!("{problem}");
    match problem {
        StoreError::Full { .. } => ReceiptStatus::Full,
        StoreError::Refused { .. } => ReceiptStatus::Refused,
        StoreError::Foreign { .. } => ReceiptStatus::ExistsDifferent,
        StoreError::Unusable { .. } => ReceiptStatus::ExistsUnknown,
        StoreError::Expired { .. } => ReceiptStatus::Expired,
        StoreError::Lax { .. } => ReceiptStatus::Lax,
        StoreError::Failed { .. } | StoreError::Lost { .. } => ReceiptStatus::Failed,
    }
}

fn status_of_placed(placed: Placed) -> ReceiptStatus {
    match placed {
        Placed::New => ReceiptStatus::Stored,
        Placed::Once => ReceiptStatus::StoredOnce,
        Placed::Twice => ReceiptStatus::StoredTwice,
        Placed::Same => ReceiptStatus::ExistsSame,
        Placed::Different => ReceiptStatus::ExistsDifferent,
        Placed::Unknown => ReceiptStatus::ExistsUnknown,
    }
}
