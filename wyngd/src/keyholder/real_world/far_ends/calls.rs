// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls of far ends: how each is started, opened, waited for, given up and ended, and how a push
//! is begun once more in a new disposable. What goes over the calls is in `store`.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::PollFlags;
use wyng_config::without_credentials;
use wyng_control::{Abilities, CreateOnly, Failure, Via};

use super::ahead::Clocks;
use super::asked::Asked;
use super::faults::{Opening, failure_of};
use super::fetch::Fetch;
use super::older::OlderVersions;
use super::push::{Again, Push, Sent};
use super::signer::{Look, SIGNED_AGAIN_MAX, Signer};
use crate::ipc::{
    ControlToKeyholder, DeleteAnswer, FarEndFault, Fatal, KeyholderToControl, KeyholderToTransport,
    PutAnswer, Received, RenewAnswer, Service, TransportToKeyholder, Wire,
};
use crate::keyholder::real_world::control::{Control, SharedControl, broken};
use wyng_engine::world::{Doomed, Lasting, OpenStore, Place, Reserve};
use wyng_jail::MappedFile;
use zeroize::Zeroize;

/// The wire to transport.
pub type TransportWire = Wire<KeyholderToTransport, TransportToKeyholder>;

/// Maximum silence of a far end after a cancel, in which it may still say what became of what it
/// has, milliseconds.
const CANCEL_PATIENCE_MS: u64 = 2000;
/// Maximum time after a cancel until a far end is given up, whatever it says.
const CANCEL_LIMIT: Duration = Duration::from_secs(20);
/// Time in which a far end that has said its last word may end by itself, milliseconds; then the
/// spawner ends it.
const END_PATIENCE_MS: u64 = 5000;
/// Time in which a far end that is of no more use must have ended, milliseconds: the spawner kills
/// it sooner.
const KILL_PATIENCE_MS: u64 = 10_000;

/// The far ends of a command, over the wires to control and transport.
pub struct FarEnds {
    pub(super) control: SharedControl,
    pub(super) transport: TransportWire,
    /// Whether the wall clock is ahead, for signatures.
    clocks: Clocks,
    pub(super) push: Push,
    /// What each service's far end was last asked to open.
    openings: HashMap<Service, Opening>,
    /// The failures of calls that were over before their end, except of a push.
    failed: HashMap<Service, Failure>,
    /// What signs the requests of each call whose far end has no key.
    signers: HashMap<Service, Signer>,
    pub(super) prune: Asked<Doomed, DeleteAnswer>,
    pub(super) renewals: Asked<Lasting, RenewAnswer>,
    pub(super) fetch: Fetch<MappedFile>,
    /// Ids of older versions that were listed in the present fetch.
    pub(super) older: OlderVersions,
    /// Answers to a fetch that came while a receipt was waited for. At most as many as were
    /// requested.
    pub(super) heard: VecDeque<Received<TransportToKeyholder>>,
    /// Reusable buffers of blobs already sent. Fresh memory costs the kernel more than all copying.
    pub(super) spare: Vec<Vec<u8>>,
    /// Peak of the memory of the role that carries blobs, bytes.
    pub(super) peak_bytes: u64,
    /// Free space that a far end stated last, MiB, until the engine takes it.
    pub(super) free_mib: Option<u32>,
    /// What far ends stated about the store, and what trials showed, until the engine takes it.
    pub(super) abilities: Abilities,
}

impl FarEnds {
    /// No far end is started yet.
    pub(in crate::keyholder::real_world) fn new(
        control: SharedControl,
        transport: TransportWire,
        clocks: Clocks,
    ) -> Self {
        Self {
            control,
            transport,
            clocks,
            push: Push::default(),
            openings: HashMap::new(),
            failed: HashMap::new(),
            signers: HashMap::new(),
            prune: Asked::default(),
            renewals: Asked::default(),
            fetch: Fetch::default(),
            older: OlderVersions::default(),
            heard: VecDeque::new(),
            spare: Vec::new(),
            peak_bytes: 0,
            free_mib: None,
            abilities: Abilities::default(),
        }
    }

    /// Closes what a command that failed may have left: open far ends, and answers on their way.
    pub(in crate::keyholder::real_world) fn close_all(&mut self) -> Result<(), Fatal> {
        self.transport.send(&KeyholderToTransport::CloseAll, &[])?;
        while !matches!(
            self.transport.receive()?.message,
            TransportToKeyholder::AllClosed
        ) {}
        self.push.begin(None);
        self.renewals = Asked::default();
        self.heard.clear();
        self.signers.clear();
        Ok(())
    }

    /// Starts a far end and has it open the store. A push through a disposable is begun anew when
    /// the disposable is lost.
    pub(super) fn connect_far_end(
        &mut self,
        service: Service,
        place: &Place,
        open: OpenStore,
    ) -> Result<(), Failure> {
        match service {
            Service::Push => {
                self.push.begin(None);
                self.renewals = Asked::default();
            }
            Service::Prune => self.prune = Asked::default(),
            Service::Fetch => {
                self.fetch = Fetch::default();
                self.older = OlderVersions::default();
                self.heard.clear();
            }
        }
        match self.call(service, place, open, Look::Served) {
            // Where everything was deleted, a fetch may still find what it was.
            Err(Failure::StoreEmpty { .. })
                if service == Service::Fetch && self.signer(service).is_some() =>
            {
                self.call(service, place, open, Look::Versions)?;
            }
            opened => opened?,
        }
        // A store that is just made cannot be made again; the next run takes up what was cut.
        if service == Service::Push
            && open == OpenStore::Existing
            && matches!(place.via, Via::Disposable(_))
        {
            self.push.again = Some(Again {
                place: place.clone(),
                fruitless: false,
            });
        }
        Ok(())
    }

    /// Has a far end started for a service and has it open the store.
    fn call(
        &mut self,
        service: Service,
        place: &Place,
        open: OpenStore,
        look: Look,
    ) -> Result<(), Failure> {
        self.control.with(Control::unless_cancelled)?;
        // One far end of a service at a time: the end of one that could not open its store must not
        // be taken for the end of the next.
        if self
            .control
            .with(|control| control.running.contains(&service))
        {
            self.end_far_end(service)?;
        }
        self.control.with(|control| control.ended.remove(&service));
        self.failed.remove(&service);
        self.signers.remove(&service);
        let clocks = &mut self.clocks;
        if let Some(signer) = Signer::of(place, service, || clocks.now())? {
            signer.check_clock()?;
            self.signers.insert(service, signer);
        }
        self.control.with(|control| {
            control.send(&KeyholderToControl::WantFarEnd {
                service,
                via: place.via.clone(),
            })
        })?;
        match self.control.with(Control::answer)?.message {
            ControlToKeyholder::FarEndStarted { service: started } if started == service => {
                self.control.with(|control| control.running.insert(service));
            }
            ControlToKeyholder::FarEndNotStarted { failure, .. } => return Err(failure),
            _ => return Err(broken(&Fatal::Unexpected("control"))),
        }
        self.openings.insert(
            service,
            Opening {
                via: place.via.to_string(),
                store: without_credentials(&place.url),
                open,
            },
        );
        let mut message = KeyholderToTransport::Open {
            service,
            destination: place.destination(service.into()).to_string(),
            create: open == OpenStore::New,
            tries: open != OpenStore::Existing,
            looks_at_versions: look == Look::Versions,
            lock_until_day: match service {
                Service::Push => place.lock_until_day,
                Service::Fetch | Service::Prune => 0,
            },
            signature: self
                .signer(service)
                .map(|signer| signer.look(look))
                .transpose()?,
        };
        let sent = self.send_transport(&message);
        if let KeyholderToTransport::Open { destination, .. } = &mut message {
            destination.zeroize();
        }
        sent?;
        loop {
            let received = self.transport_message()?;
            match received.message {
                TransportToKeyholder::Opened {
                    free_mib,
                    abilities,
                } => {
                    self.free_mib = free_mib.or(self.free_mib);
                    self.abilities = abilities.or(self.abilities);
                    return Ok(());
                }
                // The other calls go on meanwhile.
                TransportToKeyholder::Receipt {
                    first,
                    last,
                    answer,
                } if service != Service::Push => self.settle_put(first, last, answer)?,
                TransportToKeyholder::Got { .. } | TransportToKeyholder::NotGot(_)
                    if service != Service::Fetch =>
                {
                    self.heard.push_back(received);
                }
                _ => return Err(broken(&Fatal::Unexpected("transport"))),
            }
        }
    }

    /// The next message of the transport. A far end that failed ends what was under way, and so
    /// does one that is silent after a cancel.
    pub(super) fn transport_message(&mut self) -> Result<Received<TransportToKeyholder>, Failure> {
        loop {
            // However much a far end has to say, an interrupt is heard.
            self.control.with(Control::poll)?;
            let patience = self.patience_ms()?;
            let timeout = [
                patience,
                self.control.with(|control| control.keys.wipe_expired()),
            ]
            .into_iter()
            .flatten()
            .min();
            let answered = (self.transport.as_fd(), PollFlags::IN);
            let heard = self
                .control
                .with(|control| control.wait_beside(answered, timeout))?;
            match heard {
                [true, _] => {}
                [false, false] if patience.is_some() && patience == timeout => {
                    return Err(Failure::Interrupted);
                }
                [false, _] => continue,
            }
            let received = self.transport.receive().map_err(|fatal| broken(&fatal))?;
            let TransportToKeyholder::Failed { service, fault } = received.message else {
                return Ok(received);
            };
            let failure = self.failure_of(service, fault)?;
            if service != Service::Push {
                self.failed.insert(service, failure.clone());
                return Err(failure);
            }
            self.begin_again(failure)?;
        }
    }

    /// How long a far end may be silent now, milliseconds; `None`: as long as the transport lets
    /// it. [`Failure::Interrupted`] when its time after a cancel is over.
    fn patience_ms(&self) -> Result<Option<u64>, Failure> {
        let Some(since) = self.control.with(|control| control.cancelled) else {
            return Ok(None);
        };
        let left = CANCEL_LIMIT
            .checked_sub(since.elapsed())
            .ok_or(Failure::Interrupted)?;
        Ok(Some(
            u64::try_from(left.as_millis())
                .unwrap_or(u64::MAX)
                .min(CANCEL_PATIENCE_MS),
        ))
    }

    /// The next message about a fetch, unless the command was cancelled.
    pub(super) fn fetch_message(&mut self) -> Result<Received<TransportToKeyholder>, Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.message_of(Service::Fetch)
    }

    /// The next message about a fetch or a prune; receipts of a push that come before it are noted.
    /// A call that has failed answers nothing any more; whoever still waits for its answers gets
    /// its failure.
    pub(super) fn message_of(
        &mut self,
        service: Service,
    ) -> Result<Received<TransportToKeyholder>, Failure> {
        if service == Service::Fetch
            && let Some(received) = self.heard.pop_front()
        {
            return Ok(received);
        }
        loop {
            if let Some(failed) = self.failed.get(&service) {
                return Err(failed.clone());
            }
            let received = self.transport_message()?;
            // A push goes on beside what is read.
            let TransportToKeyholder::Receipt {
                first,
                last,
                answer,
            } = received.message
            else {
                return Ok(received);
            };
            self.settle_put(first, last, answer)?;
        }
    }

    /// What signs the requests of a call, if its far end has no key.
    pub(super) fn signer(&self, service: Service) -> Option<&Signer> {
        self.signers.get(&service)
    }

    /// The store of a service's call rejects the time of this machine's signatures.
    pub(super) fn wrong_clock(&self, service: Service) -> Failure {
        if self.signer(service).is_none() {
            return Failure::FarEndProtocol; // nothing was signed
        }
        let store = self.opening(service).store;
        Failure::StoreClock { store }
    }

    /// PUTs of the push were answered. One whose signature was too old is signed and sent again.
    pub(super) fn settle_put(
        &mut self,
        first: u64,
        last: u64,
        answer: PutAnswer,
    ) -> Result<(), Failure> {
        self.abilities = shown_by(answer).or(self.abilities);
        if answer != PutAnswer::Expired {
            return self.push.settle(first, last, answer);
        }
        for number in first..=last {
            let Some(sent) = self.push.send_again(number, SIGNED_AGAIN_MAX)? else {
                return Err(self.wrong_clock(Service::Push));
            };
            let signer = self.signers.get(&Service::Push);
            send_put(&self.transport, signer, sent)?;
        }
        Ok(())
    }

    /// What the far end of a service was last asked to open.
    pub(super) fn opening(&self, service: Service) -> Opening {
        self.openings.get(&service).cloned().unwrap_or_default()
    }

    /// What a fault is to the person: the exit status of a far end that was lost says more.
    fn failure_of(&mut self, service: Service, fault: FarEndFault) -> Result<Failure, Failure> {
        if fault == FarEndFault::Lost
            && self
                .control
                .with(|control| control.running.contains(&service))
        {
            self.end_far_end(service)?;
        }
        let reported = self
            .control
            .with(|control| control.ended.get(&service).cloned().flatten());
        let opening = self.opening(service);
        Ok(match (fault, reported) {
            // The exit status says what became of the store, and not which store it is.
            (FarEndFault::Lost, Some(Failure::StoreFailed { .. })) => Failure::StoreFailed {
                store: opening.store,
            },
            (FarEndFault::Lost, Some(Failure::StoreUnreachable { .. })) => {
                Failure::StoreUnreachable {
                    store: opening.store,
                }
            }
            (FarEndFault::Lost, Some(failure)) => failure,
            // Nothing was signed whose time could be wrong.
            (FarEndFault::Expired, _) if self.signer(service).is_none() => Failure::FarEndProtocol,
            _ => failure_of(fault, &opening),
        })
    }

    /// Goes on after the loss of a disposable: in a new one, with everything that has no receipt.
    /// What has a receipt is durable and is not sent again. A call in which nothing was settled is
    /// followed by another one only once.
    fn begin_again(&mut self, failure: Failure) -> Result<(), Failure> {
        let is_loss = matches!(
            failure,
            Failure::FarEndLost
                | Failure::FarEndKilled { .. }
                | Failure::QubeLost { .. }
                | Failure::QrexecFailed { .. }
        );
        let Some(again) = self.push.again.take().filter(|again| {
            // A lock that was not made longer is for the next run.
            let resumes = is_loss && self.renewals.is_empty();
            resumes && !again.fruitless && self.control.with(|control| control.cancelled).is_none()
        }) else {
            return Err(failure);
        };
        tracing::warn!(
            code = failure.code(),
            "a disposable was lost; its push goes on in a new one"
        );
        let (place, open) = (&again.place, OpenStore::Existing);
        self.call(Service::Push, place, open, Look::Served)?;
        self.push.again = Some(Again {
            fruitless: true,
            ..again
        });
        self.push.begin_call();
        for sent in &self.push.unsettled {
            if sent.answer.is_none() {
                self.send_put(sent)?;
            }
        }
        if self.push.ended {
            self.send_transport(&KeyholderToTransport::EndPush)
        } else {
            Ok(())
        }
    }

    /// Sends a blob over the present call.
    pub(super) fn send_put(&self, sent: &Sent) -> Result<(), Failure> {
        send_put(&self.transport, self.signer(Service::Push), sent)
    }

    /// Lets a far end that has said its last word end. How it ends says nothing about what it did:
    /// a wrapper may linger, and qrexec may lose the link behind the last byte.
    pub(super) fn let_end(&mut self, service: Service) -> Result<(), Failure> {
        let ended = match self.pump_until_ended(service, END_PATIENCE_MS) {
            Ok(false) => self.end_far_end(service),
            ended => ended.map(drop),
        };
        if let Some(Some(failure)) = self.control.with(|control| control.ended.remove(&service)) {
            tracing::info!(
                code = failure.code(),
                "the far end was done, and did not end well"
            );
        }
        match ended {
            Err(Failure::Interrupted | Failure::FarEndStalled { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Has a far end that is of no more use ended, by itself or by the spawner.
    fn end_far_end(&mut self, service: Service) -> Result<(), Failure> {
        self.control
            .with(|control| control.send(&KeyholderToControl::EndFarEnd { service }))?;
        if self.pump_until_ended(service, KILL_PATIENCE_MS)? {
            Ok(())
        } else {
            let store = self.opening(service).store;
            Err(Failure::FarEndStalled { store })
        }
    }

    /// Waits for the end of a far end, at most `patience_ms` without any word; returns whether it
    /// came.
    fn pump_until_ended(&mut self, service: Service, patience_ms: u64) -> Result<bool, Failure> {
        while self
            .control
            .with(|control| control.running.contains(&service))
        {
            let patience = self
                .patience_ms()?
                .map_or(patience_ms, |patience| patience.min(patience_ms));
            let heard = self.control.with(|control| control.hear_within(patience))?;
            if !heard {
                return if self.control.with(|control| control.cancelled).is_some() {
                    Err(Failure::Interrupted)
                } else {
                    Ok(false)
                };
            }
        }
        Ok(true)
    }

    pub(super) fn send_transport(&self, message: &KeyholderToTransport) -> Result<(), Failure> {
        self.transport
            .send(message, &[])
            .map_err(|fatal| broken(&fatal))
    }
}

/// What the answer to a PUT shows about the store.
fn shown_by(answer: PutAnswer) -> Abilities {
    let create_only = match answer {
        PutAnswer::StoredOnce => Some(CreateOnly::Atomic),
        PutAnswer::StoredTwice => Some(CreateOnly::Checked),
        _ => None,
    };
    Abilities {
        create_only,
        durability: None,
    }
}

/// Sends a blob. Its request is signed as late as here, so that no wait lies between its time and
/// its body.
fn send_put(
    transport: &TransportWire,
    signer: Option<&Signer>,
    sent: &Sent,
) -> Result<(), Failure> {
    let Sent {
        on_the_pipe,
        ref name,
        length_bytes,
        reserve,
        sha256,
        ..
    } = *sent;
    let sign = |(signer, sha256): (&Signer, _)| signer.put(name, length_bytes, sha256);
    let message = KeyholderToTransport::Put {
        number: on_the_pipe,
        name: *name,
        length_bytes,
        may_use_reserve: reserve == Reserve::Usable,
        signature: signer.zip(sha256).map(sign),
    };
    transport
        .send(&message, &[sent.file.as_fd()])
        .map_err(|fatal| broken(&fatal))
}
