// SPDX-License-Identifier: GPL-3.0-or-later
//! The far ends of a command, as the keyholder sees them: started by others, opened, lost, and for
//! a push in a disposable begun once more with what has no receipt.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use wyng_archive::Fault;
use wyng_config::without_credentials;
use wyng_control::{Failure, Via};
use wyng_jail::{MappedFile, MemfileError, new_file, seal_file};
use wyng_wire::{BlobName, RESERVE_BYTES};

use super::control::{Control, SharedControl, broken};
use crate::ipc::{
    ControlToKeyholder, FarEndFault, Fatal, KeyholderToControl, KeyholderToTransport, NotGot,
    PutAnswer, Received, Service, TransportToKeyholder, Wire, wait,
};
use wyng_engine::world::{Fetched, Found, Kept, OpenStore, Receipt, Reserve, Store, Wait};

/// The wire to transport.
pub type TransportWire = Wire<KeyholderToTransport, TransportToKeyholder>;

/// Blobs that the transport has and the far end has not settled: memory is bounded by it.
const UNSETTLED_MAX_BYTES: u64 = 32 << 20;
/// Rooms for blobs that are kept for the next: one is filled while one is named.
const SPARE_ROOMS: usize = 2;
/// After a cancel a far end may still say what became of what it has: it is given up when it says
/// nothing for so long,
const CANCEL_PATIENCE_MS: u64 = 2000;
/// and after so long whatever it says.
const CANCEL_LIMIT: Duration = Duration::from_secs(20);
/// A far end that has said its last word has so long to end by itself; then the spawner ends it.
const END_PATIENCE_MS: u64 = 5000;
/// One that is of no more use is killed sooner by the spawner, and then has ended.
const KILL_PATIENCE_MS: u64 = 10_000;

/// The push of a command. Numbers of PUTs count on though its call is begun anew; on the pipe they
/// count from 1 in each call.
#[derive(Default)]
struct Push {
    /// The last PUT.
    number: u64,
    /// PUTs of earlier calls, all of them settled.
    before: u64,
    unsettled: VecDeque<Sent>,
    /// Receipts that nobody asked for yet, each with what the store did not take because its name
    /// was taken.
    receipts: VecDeque<(u64, PutAnswer, Option<Sent>)>,
    /// What the store did not take of the receipt that was asked for last.
    returned: Option<Sent>,
    /// Nothing was put since the transport was told to settle all.
    synced: bool,
    /// Nothing more will be put.
    ended: bool,
    /// How to begin anew, where that makes sense.
    again: Option<Again>,
    /// The most bytes of blobs that were unsettled at once.
    unsettled_peak_bytes: u64,
}

/// A blob that was put and is not settled.
struct Sent {
    number: u64,
    name: [u8; 32],
    length_bytes: u32,
    reserve: Reserve,
    /// Its pages are the ones that are on their way; it may have to be sent again.
    file: OwnedFd,
}

/// A call that may be begun anew.
#[derive(Clone)]
struct Again {
    via: Via,
    address: String,
    /// It is the second call or a later one, and nothing was settled in it.
    fruitless: bool,
}

/// What a far end was last asked to open, as it is shown.
#[derive(Clone, Default)]
struct Opening {
    via: String,
    store: String,
    open: OpenStore,
}

impl Push {
    fn unsettled_bytes(&self) -> u64 {
        self.unsettled.iter().fold(0, |sum: u64, sent| {
            sum.saturating_add(u64::from(sent.length_bytes))
        })
    }

    fn begin(&mut self, again: Option<Again>) {
        *self = Self {
            unsettled_peak_bytes: self.unsettled_peak_bytes,
            again,
            ..Self::default()
        };
    }
}

/// See the module's first line.
pub struct FarEnds {
    control: SharedControl,
    transport: TransportWire,
    push: Push,
    /// What each service's far end was last asked to open.
    openings: HashMap<Service, Opening>,
    /// What became of the fetch, if it is over before its end.
    fetch_failed: Option<Failure>,
    /// Reusable buffers of blobs already sent. Fresh memory costs the kernel more than all copying.
    spare: Vec<Vec<u8>>,
    peak_bytes: u64,
}

impl FarEnds {
    /// Over the wires to control and transport.
    pub(super) fn new(control: SharedControl, transport: TransportWire) -> Self {
        Self {
            control,
            transport,
            push: Push::default(),
            openings: HashMap::new(),
            fetch_failed: None,
            spare: Vec::new(),
            peak_bytes: 0,
        }
    }

    /// A command that failed may have left far ends open, and answers of theirs on the way.
    pub(super) fn close_all(&mut self) -> Result<(), Fatal> {
        self.transport.send(&KeyholderToTransport::CloseAll, &[])?;
        while !matches!(
            self.transport.receive()?.message,
            TransportToKeyholder::AllClosed
        ) {}
        self.push.begin(None);
        Ok(())
    }

    /// Starts a far end and has it open the store. A push through a disposable is begun anew when
    /// the disposable is lost.
    fn connect_far_end(
        &mut self,
        service: Service,
        via: &Via,
        address: &str,
        open: OpenStore,
    ) -> Result<(), Failure> {
        if service == Service::Push {
            self.push.begin(None);
        }
        self.call(service, via, address, open)?;
        // A store that is just made cannot be made again; the next run takes up what was cut.
        if service == Service::Push
            && open == OpenStore::Existing
            && matches!(via, Via::Disposable(_))
        {
            self.push.again = Some(Again {
                via: via.clone(),
                address: address.to_owned(),
                fruitless: false,
            });
        }
        Ok(())
    }

    fn call(
        &mut self,
        service: Service,
        via: &Via,
        address: &str,
        open: OpenStore,
    ) -> Result<(), Failure> {
        self.control.with(Control::unless_cancelled)?;
        // One at a time: the end of one that could not open its store is not taken for the end of
        // this one.
        if self
            .control
            .with(|control| control.running.contains(&service))
        {
            self.end_far_end(service)?;
        }
        self.control.with(|control| control.ended.remove(&service));
        if service == Service::Fetch {
            self.fetch_failed = None;
        }
        self.control.with(|control| {
            control.send(&KeyholderToControl::WantFarEnd {
                service,
                via: via.clone(),
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
                via: via.to_string(),
                store: without_credentials(address),
                open,
            },
        );
        self.send_transport(&KeyholderToTransport::Open {
            service,
            destination: address.to_owned(),
            create: open == OpenStore::New,
        })?;
        match self.transport_message()?.message {
            TransportToKeyholder::Opened => Ok(()),
            _ => Err(broken(&Fatal::Unexpected("transport"))),
        }
    }

    /// The next message of the transport. A far end that failed ends what was under way, and so
    /// does one that is silent after a cancel.
    fn transport_message(&mut self) -> Result<Received<TransportToKeyholder>, Failure> {
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
                self.fetch_failed = Some(failure.clone());
                return Err(failure);
            }
            self.begin_again(failure)?;
        }
    }

    /// How long a far end may be silent now; none: as long as the transport lets it.
    /// [`Failure::Interrupted`] when its time after a cancel is over.
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

    /// The next message about a fetch. One that has failed answers nothing any more, and whoever
    /// still waits for answers hears why.
    fn fetch_message(&mut self) -> Result<Received<TransportToKeyholder>, Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.fetch_failed
            .clone()
            .map_or_else(|| self.transport_message(), Err)
    }

    fn opening(&self, service: Service) -> Opening {
        self.openings.get(&service).cloned().unwrap_or_default()
    }

    /// What a fault is to the person: of a far end that was lost, its exit status tells more.
    fn failure_of(&mut self, service: Service, fault: FarEndFault) -> Result<Failure, Failure> {
        if fault == FarEndFault::Lost
            && self
                .control
                .with(|control| control.running.contains(&service))
        {
            self.end_far_end(service)?;
        }
        let told = self
            .control
            .with(|control| control.ended.get(&service).cloned().flatten());
        let opening = self.opening(service);
        Ok(match (fault, told) {
            // Its exit status says that the store failed, and not which.
            (FarEndFault::Lost, Some(Failure::StoreFailed { .. })) => Failure::StoreFailed {
                store: opening.store,
            },
            (FarEndFault::Lost, Some(failure)) => failure,
            _ => failure_of(fault, &opening),
        })
    }

    /// After the loss of a disposable: a new one, and everything that has no receipt once more.
    /// What has one is durable and is not sent again. A call in which nothing was settled is
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
            is_loss && !again.fruitless && self.control.with(|control| control.cancelled).is_none()
        }) else {
            return Err(failure);
        };
        tracing::warn!(
            code = failure.code(),
            "a disposable was lost; its push goes on in a new one"
        );
        self.call(
            Service::Push,
            &again.via,
            &again.address,
            OpenStore::Existing,
        )?;
        self.push.again = Some(Again {
            fruitless: true,
            ..again
        });
        self.push.synced = false;
        self.push.before = self
            .push
            .number
            .saturating_sub(self.push.unsettled.len() as u64);
        for sent in &self.push.unsettled {
            self.send_put(sent)?;
        }
        if self.push.ended {
            self.send_transport(&KeyholderToTransport::EndPush)
        } else {
            Ok(())
        }
    }

    fn send_put(&self, sent: &Sent) -> Result<(), Failure> {
        let Sent {
            number,
            name,
            length_bytes,
            reserve,
            ..
        } = *sent;
        let message = KeyholderToTransport::Put {
            number: number.saturating_sub(self.push.before),
            name,
            length_bytes,
            may_use_reserve: reserve == Reserve::Usable,
        };
        self.transport
            .send(&message, &[sent.file.as_fd()])
            .map_err(|fatal| broken(&fatal))
    }

    fn put_blob(
        &mut self,
        name: BlobName,
        bytes: Vec<u8>,
        length: usize,
        reserve: Reserve,
    ) -> Result<u64, Failure> {
        while !self.push.unsettled.is_empty()
            && self.push.unsettled_bytes().saturating_add(length as u64) > UNSETTLED_MAX_BYTES
        {
            self.take_receipt()?;
        }
        let file = memory_file(bytes.get(..length).unwrap_or_default()).map_err(|error| {
            Failure::MemoryFile {
                errno: error.raw_os_error().unwrap_or(0),
            }
        })?;
        if self.spare.len() < SPARE_ROOMS {
            self.spare.push(bytes);
        }
        let number = self.push.number.saturating_add(1);
        let length_bytes =
            u32::try_from(length).map_err(|_| Failure::internal("a blob is too long"))?;
        let sent = Sent {
            number,
            name: name.0,
            length_bytes,
            reserve,
            file,
        };
        self.send_put(&sent)?;
        self.push.number = number;
        self.push.unsettled.push_back(sent);
        self.push.unsettled_peak_bytes = self
            .push
            .unsettled_peak_bytes
            .max(self.push.unsettled_bytes());
        self.push.synced = false;
        Ok(number)
    }

    fn next_receipt(&mut self, patience: Wait) -> Result<Option<Receipt>, Failure> {
        while self.push.receipts.is_empty() && !self.push.unsettled.is_empty() {
            let there = wait([(self.transport.as_fd(), PollFlags::IN)], Some(0))
                .map_err(|fatal| broken(&fatal))?
                == [true];
            if !there && patience == Wait::Never {
                break;
            }
            if !there && !self.push.synced {
                self.send_transport(&KeyholderToTransport::Sync)?;
                self.push.synced = true;
            }
            self.take_receipt()?;
        }
        let Some((number, answer, returned)) = self.push.receipts.pop_front() else {
            return Ok(None);
        };
        self.push.returned = returned;
        Ok(Some(Receipt {
            number,
            kept: kept(answer, &self.opening(Service::Push).store)?,
        }))
    }

    fn take_back_blob(&mut self) -> Result<Vec<u8>, Failure> {
        let internal = || Failure::internal("a blob that was not returned is taken back");
        let sent = self.push.returned.take().ok_or_else(internal)?;
        let length = usize::try_from(sent.length_bytes).map_err(|_| internal())?;
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(length, 0);
        match read_at(&sent.file, 0, &mut bytes) {
            Ok(read) if read == length => Ok(bytes),
            _ => Err(internal()),
        }
    }

    fn take_receipt(&mut self) -> Result<(), Failure> {
        let TransportToKeyholder::Receipt {
            first,
            last,
            answer,
        } = self.transport_message()?.message
        else {
            return Err(Failure::FarEndProtocol);
        };
        for number in first..=last {
            let sent = self
                .push
                .unsettled
                .pop_front()
                .ok_or(Failure::FarEndProtocol)?;
            if number.checked_add(self.push.before) != Some(sent.number) {
                return Err(Failure::FarEndProtocol);
            }
            let is_taken = matches!(
                answer,
                PutAnswer::ExistsDifferent | PutAnswer::ExistsUnknown
            );
            self.push
                .receipts
                .push_back((sent.number, answer, is_taken.then_some(sent)));
        }
        if let Some(again) = &mut self.push.again {
            again.fruitless = false;
        }
        Ok(())
    }

    /// FINAL, with the tally of what has a receipt: from there on all of it is durable.
    fn end_push(&mut self) -> Result<(), Failure> {
        self.push.ended = true;
        self.send_transport(&KeyholderToTransport::EndPush)?;
        let TransportToKeyholder::Final { peak_rss_bytes } = self.transport_message()?.message
        else {
            return Err(Failure::FarEndProtocol);
        };
        self.peak_bytes = peak_rss_bytes;
        self.let_end(Service::Push)
    }

    /// Has a far end end that has said its last word. How it does says nothing about what it did: a
    /// wrapper may linger, and qrexec may lose the link behind the last byte.
    fn let_end(&mut self, service: Service) -> Result<(), Failure> {
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
            Err(Failure::Interrupted | Failure::FarEndStalled) => Ok(()),
            ended => ended,
        }
    }

    /// Has a far end that is of no more use ended, by itself or not.
    fn end_far_end(&mut self, service: Service) -> Result<(), Failure> {
        self.control
            .with(|control| control.send(&KeyholderToControl::EndFarEnd { service }))?;
        if self.pump_until_ended(service, KILL_PATIENCE_MS)? {
            Ok(())
        } else {
            Err(Failure::FarEndStalled)
        }
    }

    /// Waits so long without any word for the end; whether it came.
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

    fn send_transport(&self, message: &KeyholderToTransport) -> Result<(), Failure> {
        self.transport
            .send(message, &[])
            .map_err(|fatal| broken(&fatal))
    }
}

impl Store for FarEnds {
    type Buffer = Vec<u8>;
    type Bytes = MappedFile;

    fn connect(
        &mut self,
        service: wyng_wire::Service,
        via: &Via,
        address: &str,
        open: OpenStore,
    ) -> Result<(), Failure> {
        let service = match service {
            wyng_wire::Service::Push => Service::Push,
            wyng_wire::Service::Fetch => Service::Fetch,
            wyng_wire::Service::Prune => {
                return Err(Failure::internal("prune is not part of this version"));
            }
        };
        self.control.with(|control| control.prompts.work_begins());
        self.connect_far_end(service, via, address, open)
    }

    fn buffer(&mut self, length_bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut room = self.spare.pop().unwrap_or_default();
        room.try_reserve_exact(length_bytes.saturating_sub(room.len()))
            .map_err(|_| Failure::OutOfMemory)?;
        room.resize(length_bytes, 0);
        Ok(room)
    }

    fn put(
        &mut self,
        name: BlobName,
        bytes: Vec<u8>,
        length_bytes: usize,
        reserve: Reserve,
    ) -> Result<u64, Failure> {
        self.control.with(|control| control.prompts.work_begins());
        self.put_blob(name, bytes, length_bytes, reserve)
    }

    fn receipt(&mut self, patience: Wait) -> Result<Option<Receipt>, Failure> {
        self.next_receipt(patience)
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        self.take_back_blob()
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        self.end_push()
    }

    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure> {
        self.control.with(|control| control.prompts.work_begins());
        self.control.with(Control::unless_cancelled)?;
        self.send_transport(&KeyholderToTransport::Get {
            name: name.0,
            offset_bytes: u64::from(offset_bytes),
            length_bytes,
        })
    }

    fn answer(&mut self) -> Result<Fetched<MappedFile>, Failure> {
        let received = self.fetch_message()?;
        match received.message {
            TransportToKeyholder::Got { length_bytes } => {
                let length = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                let file = received.descriptor().map_err(|fatal| broken(&fatal))?;
                let mapped = MappedFile::map(&file, length).map_err(|error| match error {
                    MemfileError::Io(error) => Failure::MemoryFile {
                        errno: error.raw_os_error().unwrap_or(0),
                    },
                    MemfileError::NotSealed | MemfileError::Length => {
                        broken(&Fatal::Unexpected("transport"))
                    }
                })?;
                Ok(Fetched::Bytes(mapped))
            }
            TransportToKeyholder::NotGot(NotGot::Missing) => Ok(Fetched::Missing),
            TransportToKeyholder::NotGot(NotGot::Short) => Ok(Fetched::Short),
            TransportToKeyholder::NotGot(NotGot::Foreign) => {
                Ok(Fetched::Unreadable(Fault::Foreign))
            }
            TransportToKeyholder::NotGot(NotGot::Refused) => {
                Ok(Fetched::Unreadable(Fault::Refused))
            }
            TransportToKeyholder::NotGot(NotGot::Failed) => {
                Ok(Fetched::Unreadable(Fault::Unreadable))
            }
            _ => Err(broken(&Fatal::Unexpected("transport"))),
        }
    }

    fn stat(&mut self, name: BlobName) -> Result<Found, Failure> {
        self.control.with(|control| control.prompts.work_begins());
        self.control.with(Control::unless_cancelled)?;
        self.send_transport(&KeyholderToTransport::Stat { name: name.0 })?;
        match self.fetch_message()?.message {
            TransportToKeyholder::Stated(found) => Ok(found),
            _ => Err(broken(&Fatal::Unexpected("transport"))),
        }
    }

    fn list(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        self.send_transport(&KeyholderToTransport::List)?;
        loop {
            match self.fetch_message()?.message {
                TransportToKeyholder::Entries(entries) => entries
                    .into_iter()
                    .for_each(|(name, length)| visit(BlobName(name), length)),
                TransportToKeyholder::ListEnd { complete } => return Ok(complete),
                _ => return Err(broken(&Fatal::Unexpected("transport"))),
            }
        }
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        self.send_transport(&KeyholderToTransport::EndFetch)?;
        self.let_end(Service::Fetch)
    }

    fn peak_bytes(&self) -> u64 {
        self.push
            .unsettled_peak_bytes
            .saturating_add(self.peak_bytes)
    }
}

/// What became of a blob that is settled; an error if the store takes none.
fn kept(answer: PutAnswer, store: &str) -> Result<Kept, Failure> {
    let store = || store.to_owned();
    match answer {
        PutAnswer::Stored => Ok(Kept::New),
        PutAnswer::ExistsSame => Ok(Kept::Same),
        PutAnswer::ExistsDifferent => Ok(Kept::Different),
        PutAnswer::ExistsUnknown => Ok(Kept::Unknown),
        PutAnswer::Full { free_mib } => Err(full(store(), free_mib)),
        PutAnswer::Refused => Err(Failure::StoreDenied { store: store() }),
        PutAnswer::Failed => Err(Failure::StoreFailed { store: store() }),
    }
}

fn full(store: String, free_mib: Option<u32>) -> Failure {
    Failure::StoreFull {
        store,
        free_mib,
        reserve_mib: u32::try_from(RESERVE_BYTES >> 20).unwrap_or(u32::MAX),
    }
}

fn failure_of(fault: FarEndFault, opening: &Opening) -> Failure {
    let store = opening.store.clone();
    match fault {
        FarEndFault::Banner => Failure::FarEndBanner,
        FarEndFault::Protocol => Failure::FarEndProtocol,
        FarEndFault::Lost => Failure::FarEndLost,
        FarEndFault::Stalled => Failure::FarEndStalled,
        FarEndFault::Silent => Failure::FarEndSilent {
            via: opening.via.clone(),
        },
        FarEndFault::Missing if opening.open == OpenStore::New => Failure::StoreNoParent { store },
        FarEndFault::Missing => Failure::StoreMissing { store },
        FarEndFault::Empty => Failure::StoreEmpty { store },
        FarEndFault::NotAFolder => Failure::StoreNotAFolder { store },
        FarEndFault::NotEmpty => Failure::StoreNotEmpty { store },
        FarEndFault::Denied => Failure::StoreDenied { store },
        FarEndFault::ReadOnly => Failure::StoreReadOnly { store },
        FarEndFault::Full { free_mib } => full(store, free_mib),
        FarEndFault::Address => Failure::StoreAddress { store },
        FarEndFault::Unreachable => Failure::StoreUnreachable { store },
        FarEndFault::Unsuitable => Failure::StoreNotExclusive { store },
        FarEndFault::Failed => Failure::StoreFailed { store },
        FarEndFault::NoRoom { errno } => Failure::MemoryFile { errno },
    }
}

/// Fills `bytes` from `offset`; how many, less than asked only at the end.
fn read_at(file: &OwnedFd, mut offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset) {
            Ok(0) => break,
            Ok(read) => {
                done = done.saturating_add(read);
                offset = offset.saturating_add(read as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// A sealed memory file with these bytes. It is written and not mapped: the kernel then has no
/// pages to zero and none to fault in.
fn memory_file(mut bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = new_file()?;
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    seal_file(&file)?;
    Ok(file)
}
