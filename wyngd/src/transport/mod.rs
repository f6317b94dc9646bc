// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with the far end. It alone parses what comes from the network VM; it holds
//! no key, and passes on ciphertext that the keyholder trusts only after opening it.

mod far_end;
mod hours;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use wyng_config::Config;
use wyng_wire::Open;
use zeroize::Zeroizing;

use crate::ipc::{
    Fatal, KeyholderToTransport, Received, Service, Signature, SpawnerToTransport,
    TransportToKeyholder, TransportToSpawner, Wire, enter_jail, not_enforced, wait,
};
use crate::roles::{Daemon, Role};
use far_end::{FarEnd, Limits, Ready, Request, Stop, ToKeyholder};
use hours::{Rates, RatesNow};

/// Serves until the keyholder is gone, with the time limits of the configuration.
pub fn run(daemon: Daemon, config: &Config) -> Result<(), Fatal> {
    let keyholder: ToKeyholder = Wire::inherited(Role::Transport, Role::Keyholder)?;
    let spawner: Wire<TransportToSpawner, SpawnerToTransport> =
        Wire::inherited(Role::Transport, Role::Spawner)?;
    let rates = Rates::of(&config.far_ends);
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
    serve(&keyholder, &spawner, Limits::of(config), &rates)
}

/// Serves the wires and the far ends: pipes wait for their OPEN, then a far end is open over them.
fn serve(
    keyholder: &ToKeyholder,
    spawner: &Wire<TransportToSpawner, SpawnerToTransport>,
    limits: Limits,
    rates: &Rates,
) -> Result<(), Fatal> {
    let mut waiting: VecDeque<(Service, [OwnedFd; 2])> = VecDeque::new();
    let mut open = OpenFarEnds::default();
    loop {
        open.heed(rates.now());
        let (push_in, push_out, push_timeout) = interests(open.push.as_ref(), keyholder);
        let (prune_in, prune_out, prune_timeout) = interests(open.prune.as_ref(), keyholder);
        let (fetch_in, fetch_out, fetch_timeout) = interests(open.fetch.as_ref(), keyholder);
        let timeouts = [push_timeout, prune_timeout, fetch_timeout];
        let timeout = timeouts.into_iter().flatten().min();
        let begun = Instant::now();
        let [
            from_keyholder,
            from_spawner,
            push_reads,
            push_writes,
            prune_reads,
            prune_writes,
            fetch_reads,
            fetch_writes,
        ] = wait(
            [
                (keyholder.as_fd(), PollFlags::IN),
                (spawner.as_fd(), PollFlags::IN),
                push_in,
                push_out,
                prune_in,
                prune_out,
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
            let received = keyholder.receive()?;
            take(keyholder, received, &mut waiting, &mut open, limits)?;
        }
        for (far_end, reads, writes) in [
            (&mut open.push, push_reads, push_writes),
            (&mut open.prune, prune_reads, prune_writes),
            (&mut open.fetch, fetch_reads, fetch_writes),
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

/// The far ends that are open, at most one of each service.
#[derive(Default)]
struct OpenFarEnds {
    push: Option<FarEnd>,
    prune: Option<FarEnd>,
    fetch: Option<FarEnd>,
}

impl OpenFarEnds {
    /// Heeds the limits of the rate that apply now.
    fn heed(&mut self, rates: RatesNow) {
        let all = [&mut self.push, &mut self.prune, &mut self.fetch];
        for far_end in all.into_iter().flatten() {
            far_end.heed(rates);
        }
    }

    fn of(&mut self, service: Service) -> &mut Option<FarEnd> {
        match service {
            Service::Push => &mut self.push,
            Service::Prune => &mut self.prune,
            Service::Fetch => &mut self.fetch,
        }
    }
}

type Interest<'a> = (std::os::fd::BorrowedFd<'a>, PollFlags);

/// What to poll for a far end. Where nothing is wanted of it, it is the keyholder's wire, for no
/// event: a pipe whose other end is closed would be ready at once, again and again.
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
            let reads = if far_end.wants_to_read() {
                (far_end.from(), PollFlags::IN)
            } else {
                (keyholder.as_fd(), PollFlags::empty())
            };
            let writes = if far_end.wants_to_write() {
                (far_end.to(), PollFlags::OUT)
            } else {
                (keyholder.as_fd(), PollFlags::empty())
            };
            (reads, writes, Some(far_end.timeout_millis()))
        }
    }
}

fn take(
    keyholder: &ToKeyholder,
    received: Received<KeyholderToTransport>,
    waiting: &mut VecDeque<(Service, [OwnedFd; 2])>,
    open: &mut OpenFarEnds,
    limits: Limits,
) -> Result<(), Fatal> {
    use crate::ipc::FarEndFault::Lost;
    let message = received.message.clone();
    if message == KeyholderToTransport::CloseAll {
        waiting.clear();
        *open = OpenFarEnds::default();
        return keyholder.send(&TransportToKeyholder::AllClosed, &[]);
    }
    if let KeyholderToTransport::Open {
        service,
        destination,
        create,
        tries,
        looks_at_versions,
        lock_until_day,
        signature,
    } = message
    {
        let destination = Zeroizing::new(destination);
        let place = waiting
            .iter()
            .position(|(found, _)| *found == service)
            .ok_or(Fatal::Unexpected("keyholder"))?;
        let (_, pipes) = waiting
            .remove(place)
            .ok_or(Fatal::Unexpected("keyholder"))?;
        let request = Open {
            create,
            tries,
            looks_at_versions,
            signed: signature.as_ref().map(Signature::on_the_pipe),
            lock_until_day,
            destination: destination.as_bytes(),
        };
        let far_end = match FarEnd::open(service, pipes, request, limits) {
            Ok(far_end) => far_end,
            Err(Stop::Fault(fault)) => {
                return keyholder.send(&TransportToKeyholder::Failed { service, fault }, &[]);
            }
            Err(Stop::Fatal(fatal)) => return Err(fatal),
        };
        *open.of(service) = Some(far_end);
        return Ok(());
    }
    let service = service_of(&message);
    let Some(far_end) = open.of(service) else {
        // The far end failed while the request was on its way, which is reported to the keyholder.
        return if service == Service::Fetch {
            let fault = Lost;
            keyholder.send(&TransportToKeyholder::Failed { service, fault }, &[])
        } else {
            Ok(())
        };
    };
    far_end.queue(request(received)?);
    Ok(())
}

/// The service of a request.
fn service_of(message: &KeyholderToTransport) -> Service {
    match message {
        KeyholderToTransport::Put { .. }
        | KeyholderToTransport::Renew { .. }
        | KeyholderToTransport::Sync
        | KeyholderToTransport::EndPush => Service::Push,
        KeyholderToTransport::Delete { .. } | KeyholderToTransport::EndPrune => Service::Prune,
        _ => Service::Fetch,
    }
}

/// Translates a message into a request to the far end.
fn request(received: Received<KeyholderToTransport>) -> Result<Request, Fatal> {
    Ok(match received.message.clone() {
        KeyholderToTransport::Put {
            number,
            name,
            length_bytes,
            may_use_reserve,
            signature,
        } => Request::Put {
            number,
            name,
            length_bytes,
            may_use_reserve,
            signature,
            file: received.descriptor()?,
        },
        KeyholderToTransport::Renew {
            number,
            name,
            until_day,
            signature,
        } => Request::Renew {
            number,
            name,
            until_day,
            signature,
        },
        KeyholderToTransport::Sync => Request::Sync,
        KeyholderToTransport::Delete {
            number,
            name,
            signature,
        } => Request::Delete {
            number,
            name,
            signature,
        },
        KeyholderToTransport::EndPush | KeyholderToTransport::EndPrune => Request::End,
        KeyholderToTransport::Get {
            name,
            offset_bytes,
            length_bytes,
            version,
            version_id,
            signature,
        } => Request::Get {
            name,
            offset_bytes,
            length_bytes,
            version,
            version_id,
            signature,
        },
        KeyholderToTransport::Versions { name, signature } => Request::Versions { name, signature },
        KeyholderToTransport::Stat { name, signature } => Request::Stat { name, signature },
        KeyholderToTransport::List { page } => Request::List { page },
        KeyholderToTransport::EndFetch => Request::Close,
        KeyholderToTransport::Open { .. } | KeyholderToTransport::CloseAll => {
            return Err(Fatal::Unexpected("keyholder"));
        }
    })
}
