// SPDX-License-Identifier: GPL-3.0-or-later
//! The role of LVM thin pools and of ZFS volumes. It makes snapshots for volumes, says which of their
//! ranges changed, and removes them. It starts lvm, dmsetup and zfs, and nothing else; it reads a
//! thin pool's metadata, and no byte of a volume. Where it runs not, these volumes are read whole.
//!
//! It is never killed: the supervisor waits until it has put everything in order. If the supervisor
//! is killed, the role notices that volumes is gone, and ends as well.

mod journal;
mod kept;
mod kernel;
mod label;
mod listed;
mod made;
mod names;
mod pools;
mod programs;
mod reservation;
mod spool;
mod successor;
mod targets;
mod trouble;
mod udev;
mod walk;
mod waste;
mod zfs;

use std::os::fd::AsFd;

use rustix::io::Errno;
use wyng_control::{TargetFault, ThinRemoval};

use crate::ipc::{
    Fatal, PoolToVolumes, QuestionOfQube, VolumesToPool, Wire, enter_jail, not_enforced,
};
use crate::roles::{Daemon, Role};
use pools::Pools;
use successor::Looked;
use targets::Made;
use trouble::Trouble;

/// Serves until volumes is gone.
pub fn run(daemon: Daemon) -> Result<(), Fatal> {
    let wire = Wire::inherited(Role::Pool, Role::Volumes)?;
    wyng_jail::outlive_parent()?;
    let missing = enter_jail(Role::Pool, daemon, || {
        vec![
            ("empty network", wyng_jail::empty_network_namespace()),
            (
                "not killed when memory runs out",
                wyng_jail::outlive_memory_shortage(),
            ),
        ]
    });
    wire.send(&PoolToVolumes::Ready(not_enforced(missing)), &[])?;
    let mut pools = None;
    let served = serve(&wire, &mut pools);
    // Volumes is gone, or sent what is no message: nobody needs the snapshots any more.
    if let Some(pools) = &mut pools {
        Pools::release_all(pools);
    }
    served
}

/// Answers until volumes is gone. The pools are looked at when they are asked for.
fn serve(
    wire: &Wire<PoolToVolumes, VolumesToPool>,
    pools: &mut Option<Pools>,
) -> Result<(), Fatal> {
    loop {
        let message = match wire.receive() {
            Err(Fatal::Gone(_)) => return Ok(()),
            received => received?.message,
        };
        if let VolumesToPool::List { from } = message {
            wire.send(&PoolToVolumes::Listed(waste::listed(from)), &[])?;
            continue;
        }
        let known = match pools {
            Some(known) => known,
            None => match Pools::new() {
                Ok(new) => pools.insert(new),
                Err(trouble) => {
                    wire.send(&refusal(&message, &trouble), &[])?;
                    continue;
                }
            },
        };
        match message {
            VolumesToPool::Snapshot { device, of } => match known.snapshot(device, of) {
                Ok(made) => wire.send(
                    &PoolToVolumes::Snapshot {
                        number: made.number,
                        size_bytes: made.size_bytes,
                        base: made.base,
                        whole: made.whole,
                        method: made.method,
                    },
                    &[made.device.as_fd()],
                )?,
                Err(trouble) => wire.send(&no_snapshot(&trouble), &[])?,
            },
            VolumesToPool::NextRanges { number, kind } => wire.send(
                &known
                    .next_ranges(number, kind)
                    .map_or_else(PoolToVolumes::NoRanges, PoolToVolumes::Ranges),
                &[],
            )?,
            VolumesToPool::Keep { number, label } => {
                wire.send(&done(known.keep(number, label)), &[])?
            }
            VolumesToPool::DropBase { number } => wire.send(&done(known.drop_base(number)), &[])?,
            VolumesToPool::Make {
                place,
                size_bytes,
                of,
            } => send_made(wire, known.make(&place, size_bytes, &of))?,
            VolumesToPool::OfQube(question) => answer_of_qube(wire, known, question)?,
            VolumesToPool::Name { number } => wire.send(&done(known.name(number)), &[])?,
            VolumesToPool::Remove(waste) => {
                wire.send(&PoolToVolumes::Removed(known.discard(&waste)), &[])?
            }
            VolumesToPool::List { .. } => {}
            VolumesToPool::Release { number } => known.release(number),
        }
    }
}

/// Answers what is asked about a qube's volume.
fn answer_of_qube(
    wire: &Wire<PoolToVolumes, VolumesToPool>,
    known: &mut Pools,
    question: QuestionOfQube,
) -> Result<(), Fatal> {
    let looked = |looked: Result<Looked, TargetFault>| match looked {
        Ok(looked) => PoolToVolumes::OfQube {
            kept_bytes: looked.kept_bytes,
            is_back: looked.is_back,
            has_room: looked.has_room,
        },
        Err(fault) => PoolToVolumes::NotMade(fault),
    };
    let answer = match question {
        QuestionOfQube::Look(of) => looked(known.look_at_qube(&of)),
        QuestionOfQube::Keep(of) => {
            let kept = known.keep_of_qube(&of);
            looked(kept.and_then(|()| known.look_at_qube(&of)))
        }
        QuestionOfQube::Make {
            of,
            from,
            size_bytes,
        } => return send_made(wire, known.make_of_qube(&of, from, size_bytes)),
        QuestionOfQube::PutImport { number } => done(known.put_import(number)),
        QuestionOfQube::CheckImport { number } => done(known.check_import(number)),
        QuestionOfQube::GiveUp(of) => match known.give_up_of_qube(&of) {
            Ok(()) => done(Ok(())),
            Err(fault) => PoolToVolumes::NotMade(fault),
        },
    };
    wire.send(&answer, &[])
}

fn send_made(
    wire: &Wire<PoolToVolumes, VolumesToPool>,
    made: Result<(u32, Made), TargetFault>,
) -> Result<(), Fatal> {
    match made {
        Ok((number, made)) => wire.send(
            &PoolToVolumes::Made {
                number,
                size_bytes: made.size_bytes,
                discards_bytes: made.discards_bytes,
                room_bytes: made.room_bytes,
                block_bytes: made.block_bytes,
                base: made.base,
            },
            &[made.device.as_fd()],
        ),
        Err(fault) => wire.send(&PoolToVolumes::NotMade(fault), &[]),
    }
}

fn no_snapshot(trouble: &Trouble) -> PoolToVolumes {
    let why = trouble.cause();
    if why.is_some() {
        tracing::warn!(%trouble, "a volume is read whole, and while it changes");
    }
    PoolToVolumes::NoSnapshot { why }
}

/// The answer where the role's folder cannot be made.
fn refusal(message: &VolumesToPool, trouble: &Trouble) -> PoolToVolumes {
    match message {
        VolumesToPool::Remove(_) => {
            tracing::warn!(%trouble, "nothing is removed");
            PoolToVolumes::Removed(ThinRemoval::Failed)
        }
        VolumesToPool::Make { .. } | VolumesToPool::OfQube(_) => {
            PoolToVolumes::NotMade(pools::fault(trouble))
        }
        _ => no_snapshot(trouble),
    }
}

fn done(done: Result<(), Trouble>) -> PoolToVolumes {
    let errno = done.err().map_or(0, |trouble| {
        tracing::warn!(%trouble, "a base was not changed");
        Errno::IO.raw_os_error()
    });
    PoolToVolumes::Done { errno }
}
