// SPDX-License-Identifier: GPL-3.0-or-later
//! A fetch from a store behind a network. Requests that were sent ahead are worked on at the same
//! time, because each of them costs the store's round trip; their answers leave in the order of the
//! requests. The bytes that wait for their turn are bounded.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use wyng_wire::{
    BlobBytes, BytesStatus, GET_VERSION_MAX, PIECE_MAX, ToDaemon, ToHelper, ToHelperRules,
};

use super::answers::{
    AskedGet, AskedList, AskedStat, AskedVersions, list, read_range, stated, versions,
};
use crate::exit::CallError;
use crate::input::Input;
use crate::output::Output;
use crate::piece::{Contents, Piece};
use crate::serve::room::{Hold, Room};
use crate::store::Fetch;

/// Maximum length of the ranges that are read and not answered, bytes; one that is longer is alone,
/// and waits in the store's connection once this much of it is here. Many times what a fast link
/// carries in a round trip.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of requests that are read from the pipe and not answered.
const REQUESTS_MAX: usize = 256;

/// A request whose answer is due.
enum Due {
    /// It is answered when its turn comes: a listing is as long as the store.
    List(AskedList),
    /// Its answer comes from a worker.
    Parts(Receiver<Result<Part, CallError>>, Hold),
}

/// A frame of an answer, and its body.
struct Part {
    frame: ToDaemon,
    body: Vec<u8>,
}

/// What a worker does, and where its answer goes.
enum Job {
    Stat(AskedStat, SyncSender<Result<Part, CallError>>),
    Get(AskedGet, SyncSender<Result<Part, CallError>>),
    Versions(AskedVersions, SyncSender<Result<Part, CallError>>),
}

pub(super) fn serve<S: Fetch + Send + Sync + 'static>(
    store: S,
    input: &mut Input,
    output: &Output,
    mut rules: ToHelperRules,
) -> Result<(), CallError> {
    let store = Arc::new(store);
    let jobs = start_workers(&store)?;
    let (due, next_due) = sync_channel(REQUESTS_MAX);
    let room = Room::new(ROOM_BYTES);
    let (stop, stopper) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallError::Thread(errno.into()))?;
    input.stop_with(stop);
    thread::scope(|scope| {
        let answering = thread::Builder::new().name("answer".into());
        let (store, answering_room) = (&*store, &room);
        let answering = answering.spawn_scoped(scope, move || {
            let ended = answer(store, &next_due, output);
            // Wakes the receiving thread, whatever it waits for.
            drop(next_due);
            answering_room.close();
            drop(stopper);
            ended
        });
        let answering = answering.map_err(CallError::Thread)?;
        let received = receive(input, &mut rules, &room, &jobs, &due);
        // What was asked for before the end of the pipe is answered.
        drop(due);
        // The error of the answering thread is the cause; the stop of the receiving thread is its
        // consequence.
        answering
            .join()
            .unwrap_or(Err(CallError::Stopped))
            .and(received)
    })
}

/// Starts the threads that ask the store. They end with the jobs, or with the process: a store that
/// does not answer must not hold up the end of the call.
fn start_workers<S: Fetch + Send + Sync + 'static>(
    store: &Arc<S>,
) -> Result<Sender<Job>, CallError> {
    let (jobs, next_job) = channel();
    let next_job = Arc::new(Mutex::new(next_job));
    for _ in 0..S::REQUESTS_AT_ONCE {
        let (store, next_job) = (Arc::clone(store), Arc::clone(&next_job));
        let worker = thread::Builder::new().name("fetch".into());
        worker
            .spawn(move || work(&*store, &next_job))
            .map_err(CallError::Thread)?;
    }
    Ok(jobs)
}

fn receive(
    input: &mut Input,
    rules: &mut ToHelperRules,
    room: &Arc<Room>,
    jobs: &Sender<Job>,
    due: &SyncSender<Due>,
) -> Result<(), CallError> {
    let hold = |bytes: u64| room.hold(bytes).ok_or(CallError::Stopped);
    while let Some(frame) = input.frame(rules)? {
        let (next, job) = match frame {
            ToHelper::List(asked) => (Due::List(AskedList::from(&asked)), None),
            ToHelper::Stat(stat) => {
                let (parts, answer) = sync_channel(1);
                let asked = AskedStat::from(&stat);
                (Due::Parts(answer, hold(0)?), Some(Job::Stat(asked, parts)))
            }
            ToHelper::Get(get) => {
                let held_bytes = u64::from(get.length_bytes).min(ROOM_BYTES);
                let (asked, hold) = (AskedGet::from(&get), hold(held_bytes)?);
                let pieces = usize::try_from(held_bytes / u64::from(PIECE_MAX)).unwrap_or(0);
                let (parts, answer) = sync_channel(pieces.saturating_add(1));
                (Due::Parts(answer, hold), Some(Job::Get(asked, parts)))
            }
            ToHelper::Versions(versions) => {
                // Each id, and the end.
                let (parts, answer) = sync_channel(usize::from(GET_VERSION_MAX).saturating_add(1));
                let asked = AskedVersions::from(&versions);
                (
                    Due::Parts(answer, hold(0)?),
                    Some(Job::Versions(asked, parts)),
                )
            }
            // In this service the rules accept nothing else except KEEP_ALIVE.
            _ => continue,
        };
        // Each worker takes the oldest job, so the answer whose turn it is never waits for another.
        if let Some(job) = job {
            jobs.send(job).map_err(|_| CallError::Stopped)?;
        }
        due.send(next).map_err(|_| CallError::Stopped)?;
    }
    Ok(())
}

fn work<S: Fetch>(store: &S, next_job: &Mutex<Receiver<Job>>) {
    let mut piece = Piece::in_memory();
    loop {
        let next = {
            let next_job = next_job.lock().unwrap_or_else(PoisonError::into_inner);
            next_job.recv()
        };
        match next {
            Err(_) => return,
            Ok(Job::Stat(stat, parts)) => {
                let part = stated(store, &stat).map(|stated| Part {
                    frame: ToDaemon::Stated(stated),
                    body: Vec::new(),
                });
                // The call may be over by now.
                let _ = parts.send(part);
            }
            Ok(Job::Versions(asked, parts)) => match versions(store, &asked) {
                Ok((shown, end)) => {
                    let shown = shown.into_iter().map(ToDaemon::Version);
                    for frame in shown.chain([ToDaemon::VersionsEnd(end)]) {
                        let body = Vec::new();
                        let _ = parts.send(Ok(Part { frame, body }));
                    }
                }
                Err(problem) => drop(parts.send(Err(problem))),
            },
            Ok(Job::Get(get, parts)) => {
                let read = read_range(store, &get, &mut piece, &mut |bytes, piece| {
                    let part = Part {
                        frame: ToDaemon::Bytes(bytes),
                        body: piece.take_bytes(),
                    };
                    parts.send(Ok(part)).map_err(|_| CallError::Stopped)
                });
                if let Err(problem) = read {
                    let _ = parts.send(Err(problem));
                }
            }
        }
    }
}

/// Sends the answers in the order of the requests.
fn answer<S: Fetch>(store: &S, next_due: &Receiver<Due>, output: &Output) -> Result<(), CallError> {
    for due in next_due {
        match due {
            Due::List(asked) => list(store, output, &asked)?,
            Due::Parts(parts, _hold) => {
                let mut is_complete = false;
                for part in parts {
                    let Part { frame, body } = part?;
                    output.send_with_body(&frame, Contents::Bytes(&body))?;
                    is_complete = !matches!(
                        frame,
                        ToDaemon::Version(_)
                            | ToDaemon::Bytes(BlobBytes {
                                status: BytesStatus::More,
                                ..
                            })
                    );
                }
                if !is_complete {
                    return Err(CallError::Stopped);
                }
            }
        }
    }
    Ok(())
}
