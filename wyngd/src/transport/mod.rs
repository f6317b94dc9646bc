// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with the far end. It alone parses what comes from the network VM; it holds
//! no key, and passes on ciphertext that the keyholder trusts only after opening it.

mod far_end;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use wyng_config::Config;
use wyng_wire::Open;

use crate::ipc::{
    Fatal, KeyholderToTransport, Received, Service, SpawnerToTransport, TransportToKeyholder,
    TransportToSpawner, Wire, enter_jail, not_enforced, wait,
};
use crate::roles::{Daemon, Role};
use far_end::{FarEnd, Limits, Ready, Request, Stop, ToKeyholder};

/// Serves until the keyholder is gone, with the time limits of the configuration.
pub fn run(daemon: Daemon, config: &Config) -> Result<(), Fatal> {
    let keyholder: ToKeyholder = Wire::inherited(Role::Transport, Role::Keyholder)?;
    let spawner: Wire<TransportToSpawner, SpawnerToTransport> =
        Wire::inherited(Role::Transport, Role::Spawner)?;
    let missing = enter_jail(Role::Transport, daemon, || {
        vec![
            ("empty network", wyng_jail::empty_network_namespace()),
            ("no paths", wyng_jail::restrict_paths(&[])),
        ]
    });
    let stall_secs = config.far_ends.stall_timeout_secs;
    keyholder.send(
        &TransportToKeyholder::Ready {
            missing: not_enforced(missing),
            stall_secs,
        },
        &[],
    )?;
    serve(&keyholder, &spawner, Limits::of(config))
}

/// Serves the wires and the far ends: pipes wait for their OPEN, then a far end is open over them.
fn serve(
    keyholder: &ToKeyholder,
    spawner: &Wire<TransportToSpawner, SpawnerToTransport>,
    limits: Limits,
) -> Result<(), Fatal> {
    let mut waiting: VecDeque<(Service, [OwnedFd; 2])> = VecDeque::new();
    let mut push: Option<FarEnd> = None;
    let mut fetch: Option<FarEnd> = None;
    loop {
        let (push_in, push_out, push_timeout) = interests(push.as_ref(), keyholder);
        let (fetch_in, fetch_out, fetch_timeout) = interests(fetch.as_ref(), keyholder);
        let timeout = [push_timeout, fetch_timeout].into_iter().flatten().min();
        let begun = Instant::now();
        let [
            from_keyholder,
            from_spawner,
            push_reads,
            push_writes,
            fetch_reads,
            fetch_writes,
        ] = wait(
            [
                (keyholder.as_fd(), PollFlags::IN),
                (spawner.as_fd(), PollFlags::IN),
                push_in,
                push_out,
                fetch_in,
                fetch_out,
            ],
            timeout,
        )?;
        let waited = begun.elapsed();
        if from_spawner {
            let received = spawner.receive()?;
            let SpawnerToTransport::Pipes { service } = received.message;
            waiting.push_back((service, received.two_descriptors()?));
        }
        if from_keyholder {
            take(
                keyholder,
                keyholder.receive()?,
                &mut waiting,
                &mut push,
                &mut fetch,
                limits,
            )?;
        }
        for (far_end, reads, writes) in [
            (&mut push, push_reads, push_writes),
            (&mut fetch, fetch_reads, fetch_writes),
        ] {
            let Some(open) = far_end else { continue };
            match open.work(Ready { reads, writes }, waited, keyholder) {
                Ok(()) if open.is_finished() => *far_end = None,
                Ok(()) => {}
                Err(Stop::Fault(fault)) => {
                    let service = open.service();
                    keyholder.send(&TransportToKeyholder::Failed { service, fault }, &[])?;
                    *far_end = None;
                }
                Err(Stop::Fatal(fatal)) => return Err(fatal),
            }
        }
    }
}

type Interest<'a> = (std::os::fd::BorrowedFd<'a>, PollFlags);

/// What to poll for a far end. Without one, it is the keyholder's wire, for no event.
fn interests<'a>(
    far_end: Option<&'a FarEnd>,
    keyholder: &'a ToKeyholder,
) -> (Interest<'a>, Interest<'a>, Option<u64>) {
    match far_end {
        None => (
            (keyholder.as_fd(), PollFlags::empty()),
            (keyholder.as_fd(), PollFlags::empty()),
            None,
        ),
        Some(far_end) => {
            let writes = if far_end.wants_to_write() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            (
                (far_end.from(), PollFlags::IN),
                (far_end.to(), writes),
                Some(far_end.timeout_millis()),
            )
        }
    }
}

fn take(
    keyholder: &ToKeyholder,
    received: Received<KeyholderToTransport>,
    waiting: &mut VecDeque<(Service, [OwnedFd; 2])>,
    push: &mut Option<FarEnd>,
    fetch: &mut Option<FarEnd>,
    limits: Limits,
) -> Result<(), Fatal> {
    use crate::ipc::FarEndFault::Lost;
    let message = received.message.clone();
    if message == KeyholderToTransport::CloseAll {
        waiting.clear();
        (*push, *fetch) = (None, None);
        return keyholder.send(&TransportToKeyholder::AllClosed, &[]);
    }
    if let KeyholderToTransport::Open {
        service,
        destination,
        create,
    } = message
    {
        let place = waiting
            .iter()
            .position(|(found, _)| *found == service)
            .ok_or(Fatal::Unexpected("keyholder"))?;
        let (_, pipes) = waiting
            .remove(place)
            .ok_or(Fatal::Unexpected("keyholder"))?;
        let open = Open {
            create,
            destination: destination.as_bytes(),
        };
        let far_end = match FarEnd::open(service, pipes, open, limits) {
            Ok(far_end) => far_end,
            Err(Stop::Fault(fault)) => {
                return keyholder.send(&TransportToKeyholder::Failed { service, fault }, &[]);
            }
            Err(Stop::Fatal(fatal)) => return Err(fatal),
        };
        match service {
            Service::Push => *push = Some(far_end),
            Service::Fetch => *fetch = Some(far_end),
        }
        return Ok(());
    }
    let is_push = matches!(
        message,
        KeyholderToTransport::Put { .. }
            | KeyholderToTransport::Sync
            | KeyholderToTransport::EndPush
    );
    let Some(far_end) = (if is_push { push } else { fetch }) else {
        // The far end failed while the request was on its way, which is reported to the keyholder.
        return if is_push {
            Ok(())
        } else {
            keyholder.send(
                &TransportToKeyholder::Failed {
                    service: Service::Fetch,
                    fault: Lost,
                },
                &[],
            )
        };
    };
    let request = match message {
        KeyholderToTransport::Put {
            number,
            name,
            length_bytes,
            may_use_reserve,
        } => Request::Put {
            number,
            name,
            length_bytes,
            may_use_reserve,
            file: received.descriptor()?,
        },
        KeyholderToTransport::Sync => Request::Sync,
        KeyholderToTransport::EndPush => Request::End,
        KeyholderToTransport::Get {
            name,
            offset_bytes,
            length_bytes,
        } => Request::Get {
            name,
            offset_bytes,
            length_bytes,
        },
        KeyholderToTransport::Stat { name } => Request::Stat { name },
        KeyholderToTransport::List => Request::List,
        KeyholderToTransport::EndFetch => Request::Close,
        KeyholderToTransport::Open { .. } | KeyholderToTransport::CloseAll => {
            return Err(Fatal::Unexpected("keyholder"));
        }
    };
    far_end.queue(request);
    Ok(())
}
