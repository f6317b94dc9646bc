// SPDX-License-Identifier: GPL-3.0-or-later
//! One call of the far end: frames out, frames in, window, keep-alive, watchdog. Every byte from
//! the VM is decoded here, by `wyng-wire`, and held to its rules; the first that breaks them ends
//! the call.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use wyng_config::Config;
use wyng_control::Found;
use wyng_jail::{new_file, seal_file};
use wyng_wire::{
    BlobName, BytesStatus, EncodeError, Get, HEADER_BYTES, HELLO_BYTES, Hello, HelloError,
    KEEP_ALIVE_SECS, MAGIC, Open, OpenStatus, Opened, Put, Receipt, ReceiptStatus, Stat,
    StatStatus, TO_HELPER_MAX, Tally, ToDaemon, ToDaemonRules, ToHelper, WATCHDOG_SECS,
    WINDOW_BYTES,
};

use super::ToKeyholder;
use super::pace::{ANSWER_WORTH_BYTES, ENTRY_WORTH_BYTES, Pace};
use crate::ipc::{FarEndFault, Fatal, NotGot, PutAnswer, Service, TransportToKeyholder};

// Whatever address passes the daemon's door fits an OPEN.
const _: () = assert!(wyng_control::STORE_MAX_BYTES <= wyng_wire::DESTINATION_MAX);

/// Read from the pipe at once.
const READ_BYTES: usize = 256 * 1024;
/// A store has fewer blobs than this: at 16 MiB each they would hold 256 TiB. A longer listing
/// never ends.
const LISTED_MAX: u64 = 1 << 24;
/// Entries of a listing in one message.
const ENTRIES_A_MESSAGE: usize = 1000;

/// Behind the time that qrexec gives to a qube's agent, for the helper to greet.
const GREETING: Duration = Duration::from_secs(10);

/// How long the far end may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    keep_alive: Duration,
    /// For its HELLO.
    greeting: Duration,
    /// For any byte.
    watchdog: Duration,
    /// Maximum waiting time while something is due, reduced and restored as [`Pace`] says.
    stall: Duration,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            keep_alive: Duration::from_secs(KEEP_ALIVE_SECS),
            greeting: Duration::from_secs(config.qubes.start_timeout_secs).saturating_add(GREETING),
            watchdog: Duration::from_secs(WATCHDOG_SECS),
            stall: Duration::from_secs(config.far_ends.stall_timeout_secs),
        }
    }
}

/// Which of a far end's pipes can be used now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) reads: bool,
    pub(super) writes: bool,
}

/// What the keyholder wants sent.
pub(super) enum Outgoing {
    Put {
        number: u64,
        name: [u8; 32],
        length_bytes: u32,
        may_use_reserve: bool,
        file: OwnedFd,
    },
    Sync,
    End,
    Get {
        name: [u8; 32],
        offset_bytes: u64,
        length_bytes: u32,
    },
    Stat {
        name: [u8; 32],
    },
    List,
    /// A fetch ends when its pipe is closed.
    Close,
}

/// A body that is being sent.
struct Body {
    file: OwnedFd,
    offset: u64,
    left_bytes: usize,
}

/// A question whose answer is due; answers come in the order of the questions.
enum Due {
    Get {
        length_bytes: u32,
        file: OwnedFd,
        got_bytes: u32,
    },
    Stat,
    List {
        entries: Vec<([u8; 32], u64)>,
        count: u64,
    },
}

/// What the next bytes from the pipe are.
enum Expecting {
    Hello,
    Header,
    Frame(usize),
    Body {
        left_bytes: u32,
        status: BytesStatus,
    },
}

/// See the module's first line.
pub(super) struct FarEnd {
    service: Service,
    to: Option<OwnedFd>,
    from: OwnedFd,
    limits: Limits,
    rules: ToDaemonRules,
    queue: VecDeque<Outgoing>,
    /// Frames that are encoded and not yet written.
    frames: Vec<u8>,
    body: Option<Body>,
    sent_through: u64,
    sent: Tally,
    /// Of those, what the store has now by its receipts. A name that it holds with other bytes is
    /// not among them.
    placed: Tally,
    /// Number, name and length of each body that is not settled yet.
    unsettled: VecDeque<(u64, BlobName, u32)>,
    due: VecDeque<Due>,
    expecting: Expecting,
    incoming: Vec<u8>,
    /// Room for what is read from the pipe.
    room: Vec<u8>,
    opened: bool,
    /// END is sent; FINAL is due.
    ends: bool,
    finished: bool,
    heard: Instant,
    wrote: Instant,
    pace: Pace,
}

/// What became of an attempt to move a body.
enum Moved {
    /// Some of it is where it belongs.
    Some,
    /// The pipe is empty.
    NotNow,
    /// The pipe has ended.
    AtEnd,
}

/// Why work on a call stops: the far end's fault, or this process's.
enum Stop {
    Fault(FarEndFault),
    Fatal(Fatal),
}

impl From<FarEndFault> for Stop {
    fn from(fault: FarEndFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<EncodeError> for Stop {
    /// The keyholder asked for what no frame can say.
    fn from(_: EncodeError) -> Self {
        Self::Fatal(Fatal::Unexpected("keyholder"))
    }
}

impl FarEnd {
    /// Takes the pipes, and queues HELLO and OPEN. The inner error is [`FarEndFault::Address`]: no
    /// OPEN can carry this destination.
    pub(super) fn open(
        service: Service,
        [to, from]: [OwnedFd; 2],
        destination: &str,
        create: bool,
        limits: Limits,
    ) -> Result<Result<Self, FarEndFault>, Fatal> {
        for pipe in [&to, &from] {
            rustix::fs::fcntl_setfl(pipe, rustix::fs::OFlags::NONBLOCK)?;
        }
        let now = Instant::now();
        let mut far_end = Self {
            service,
            to: Some(to),
            from,
            limits,
            rules: ToDaemonRules::new(service.into()),
            queue: VecDeque::new(),
            frames: Hello {
                service: service.into(),
            }
            .encode()
            .to_vec(),
            body: None,
            sent_through: 0,
            sent: Tally::default(),
            placed: Tally::default(),
            unsettled: VecDeque::new(),
            due: VecDeque::new(),
            expecting: Expecting::Hello,
            incoming: Vec::new(),
            room: vec![0; READ_BYTES],
            opened: false,
            ends: false,
            finished: false,
            heard: now,
            wrote: now,
            pace: Pace::new(limits.stall),
        };
        let opened = far_end.encode(&ToHelper::Open(Open {
            create,
            destination: destination.as_bytes(),
        }));
        Ok(opened.map(|()| far_end).map_err(|_| FarEndFault::Address))
    }

    pub(super) fn to(&self) -> BorrowedFd<'_> {
        self.to.as_ref().map_or(self.from.as_fd(), AsFd::as_fd)
    }

    pub(super) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    pub(super) fn queue(&mut self, outgoing: Outgoing) {
        self.queue.push_back(outgoing);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn wants_to_write(&self) -> bool {
        self.to.is_some() && (!self.frames.is_empty() || self.body.is_some() || self.next_may_go())
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// How long it may say nothing at all.
    fn silence(&self) -> Duration {
        if matches!(self.expecting, Expecting::Hello) {
            self.limits.greeting
        } else {
            self.limits.watchdog
        }
    }

    /// Whether the far end owes an answer: an opened store, a receipt, bytes, the end. Keep-alives
    /// are none.
    fn is_something_due(&self) -> bool {
        let opens = !self.opened && !matches!(self.expecting, Expecting::Hello);
        opens
            || self.ends
            || self.body.is_some()
            || !self.unsettled.is_empty()
            || !self.due.is_empty()
    }

    /// Until the next keep-alive or the watchdog.
    pub(super) fn timeout_millis(&self) -> u64 {
        let stall = self.is_something_due().then(|| self.pace.left());
        let next = self
            .limits
            .keep_alive
            .saturating_sub(self.wrote.elapsed())
            .min(self.silence().saturating_sub(self.heard.elapsed()));
        let next = stall.map_or(next, |stall| next.min(stall));
        u64::try_from(next.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// Does what can be done now. The inner error is the far end's fault; it is of no more use
    /// then. `waited` is how long this process has waited for something to do.
    pub(super) fn work(
        &mut self,
        ready: Ready,
        waited: Duration,
        keyholder: &ToKeyholder,
    ) -> Result<Result<(), FarEndFault>, Fatal> {
        if self.is_something_due() {
            self.pace.wait(waited);
        }
        let Ready { reads, writes } = ready;
        match self.try_work(reads, writes, keyholder) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Fault(fault)) => Ok(Err(fault)),
            Err(Stop::Fatal(fatal)) => Err(fatal),
        }
    }

    fn try_work(&mut self, reads: bool, writes: bool, keyholder: &ToKeyholder) -> Result<(), Stop> {
        // Reading first: what the helper says before it ends tells more than a broken pipe.
        if reads {
            self.read(keyholder)?;
        }
        if !self.finished && (writes || self.wants_to_write()) {
            self.write()?;
        }
        if self.finished {
            return Ok(());
        }
        let stalled = self.is_something_due() && self.pace.left().is_zero();
        if self.heard.elapsed() > self.silence() || stalled {
            let greets = matches!(self.expecting, Expecting::Hello);
            return Err(if greets {
                FarEndFault::Silent
            } else {
                FarEndFault::Stalled
            }
            .into());
        }
        if self.wrote.elapsed() >= self.limits.keep_alive
            && self.frames.is_empty()
            && self.body.is_none()
            && self.to.is_some()
        {
            self.encode(&ToHelper::KeepAlive)?;
            self.write()?;
        }
        Ok(())
    }

    /// May the next one of the queue go? A body waits for the window, unless it would be alone in
    /// it.
    fn next_may_go(&self) -> bool {
        match self.queue.front() {
            _ if !self.opened => false,
            None => false,
            Some(Outgoing::Put { length_bytes, .. }) => {
                let unsettled = self.unsettled.iter().fold(0u64, |sum, (_, _, length)| {
                    sum.saturating_add(u64::from(*length))
                });
                self.unsettled.is_empty()
                    || unsettled.saturating_add(u64::from(*length_bytes)) <= WINDOW_BYTES
            }
            Some(_) => true,
        }
    }

    fn write(&mut self) -> Result<(), Stop> {
        loop {
            let Some(to) = &self.to else { return Ok(()) };
            if !self.frames.is_empty() {
                match rustix::io::write(to, &self.frames) {
                    Ok(written) => {
                        self.frames.drain(..written.min(self.frames.len()));
                        self.wrote = Instant::now();
                    }
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR) => {}
                    Err(_) => return self.broken(),
                }
                continue;
            }
            if let Some(body) = &mut self.body {
                // The file is sealed, so its pages can go into the pipe as they are.
                match rustix::pipe::splice(
                    &body.file,
                    Some(&mut body.offset),
                    to,
                    None,
                    body.left_bytes,
                    SpliceFlags::NONBLOCK,
                ) {
                    Ok(0) => return Err(Fatal::Unexpected("keyholder").into()),
                    Ok(sent) => {
                        body.left_bytes = body.left_bytes.saturating_sub(sent);
                        self.wrote = Instant::now();
                        self.pace.moved(sent as u64);
                    }
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR) => {}
                    Err(_) => return self.broken(),
                }
                if self.body.as_ref().is_some_and(|body| body.left_bytes == 0) {
                    self.body = None;
                }
                continue;
            }
            if !self.next_may_go() {
                return Ok(());
            }
            let Some(next) = self.queue.pop_front() else {
                return Ok(());
            };
            self.begin(next)?;
        }
    }

    /// The helper may have said why it ended before the pipe broke; that is read first.
    fn broken(&mut self) -> Result<(), Stop> {
        self.to = None;
        Ok(())
    }

    fn begin(&mut self, outgoing: Outgoing) -> Result<(), Stop> {
        match outgoing {
            Outgoing::Put {
                number,
                name,
                length_bytes,
                may_use_reserve,
                file,
            } => {
                let name = BlobName(name);
                self.encode(&ToHelper::Put(Put {
                    number,
                    name,
                    length_bytes,
                    may_use_reserve,
                }))?;
                self.sent_through = number;
                self.sent.add(&name);
                self.unsettled.push_back((number, name, length_bytes));
                let left_bytes = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                self.body = (left_bytes > 0).then_some(Body {
                    file,
                    offset: 0,
                    left_bytes,
                });
            }
            Outgoing::Sync => self.encode(&ToHelper::Sync)?,
            Outgoing::End => {
                self.encode(&ToHelper::End(self.sent))?;
                self.ends = true;
            }
            Outgoing::Get {
                name,
                offset_bytes,
                length_bytes,
            } => {
                let request = self.next_request();
                self.encode(&ToHelper::Get(Get {
                    request,
                    name: BlobName(name),
                    offset_bytes,
                    length_bytes,
                    version: 0,
                }))?;
                self.due.push_back(Due::Get {
                    length_bytes,
                    file: new_file().map_err(|error| no_room(&error))?,
                    got_bytes: 0,
                });
            }
            Outgoing::Stat { name } => {
                let request = self.next_request();
                self.encode(&ToHelper::Stat(Stat {
                    request,
                    name: BlobName(name),
                }))?;
                self.due.push_back(Due::Stat);
            }
            Outgoing::List => {
                let request = self.next_request();
                self.encode(&ToHelper::List { request })?;
                self.due.push_back(Due::List {
                    entries: Vec::new(),
                    count: 0,
                });
            }
            Outgoing::Close => {
                self.to = None;
                self.finished = true;
            }
        }
        Ok(())
    }

    fn next_request(&mut self) -> u64 {
        self.sent_through = self.sent_through.saturating_add(1);
        self.sent_through
    }

    /// Appends a frame to what is to be written. Fails where a field is out of its bounds.
    fn encode(&mut self, frame: &ToHelper<'_>) -> Result<(), EncodeError> {
        let mut buffer = [0; TO_HELPER_MAX];
        let encoded = frame.encode(&mut buffer)?;
        self.frames.extend_from_slice(encoded);
        Ok(())
    }

    fn read(&mut self, keyholder: &ToKeyholder) -> Result<(), Stop> {
        let mut room = std::mem::take(&mut self.room);
        let read = self.read_into(&mut room, keyholder);
        self.room = room;
        read
    }

    fn read_into(&mut self, buffer: &mut [u8], keyholder: &ToKeyholder) -> Result<(), Stop> {
        loop {
            // A body goes from the pipe into its file without passing through this process; so only
            // what is before it is read here.
            let wanted = match (&self.expecting, self.due.front()) {
                (Expecting::Body { left_bytes, status }, _) => {
                    match self.move_body(*left_bytes, *status, keyholder)? {
                        Moved::Some => continue,
                        Moved::NotNow => return Ok(()),
                        Moved::AtEnd => return self.at_end(),
                    }
                }
                (Expecting::Header, Some(Due::Get { .. })) => {
                    HEADER_BYTES.saturating_sub(self.incoming.len())
                }
                (Expecting::Frame(whole), Some(Due::Get { .. })) => {
                    whole.saturating_sub(self.incoming.len())
                }
                _ => buffer.len(),
            };
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            match rustix::io::read(&self.from, room) {
                Ok(0) => return self.at_end(),
                Ok(length) => {
                    self.heard = Instant::now();
                    self.parse(buffer.get(..length).unwrap_or_default(), keyholder)?;
                    if self.finished {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(FarEndFault::Lost.into()),
            }
        }
    }

    /// An end that looks clean is one only after FINAL.
    fn at_end(&mut self) -> Result<(), Stop> {
        if self.finished {
            Ok(())
        } else {
            Err(FarEndFault::Lost.into())
        }
    }

    fn parse(&mut self, mut bytes: &[u8], keyholder: &ToKeyholder) -> Result<(), Stop> {
        while !bytes.is_empty() && !self.finished {
            if let Expecting::Body { left_bytes, status } = self.expecting {
                bytes = self.take_body(bytes, left_bytes, status, keyholder)?;
                continue;
            }
            let wanted = match self.expecting {
                Expecting::Hello => HELLO_BYTES,
                Expecting::Header => HEADER_BYTES,
                Expecting::Frame(whole) => whole,
                Expecting::Body { .. } => 0,
            };
            let missing = wanted.saturating_sub(self.incoming.len());
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.incoming.extend_from_slice(part);
            bytes = rest;
            if matches!(self.expecting, Expecting::Hello)
                && self
                    .incoming
                    .iter()
                    .zip(MAGIC)
                    .any(|(found, magic)| *found != magic)
            {
                return Err(FarEndFault::Banner.into());
            }
            if self.incoming.len() == wanted {
                self.take_whole(keyholder)?;
            }
        }
        Ok(())
    }

    fn take_whole(&mut self, keyholder: &ToKeyholder) -> Result<(), Stop> {
        let protocol = |_| Stop::Fault(FarEndFault::Protocol);
        match self.expecting {
            Expecting::Hello => {
                let hello = self
                    .incoming
                    .first_chunk::<HELLO_BYTES>()
                    .ok_or(FarEndFault::Protocol)?;
                match Hello::decode(hello) {
                    Ok(Hello { service }) if service == self.service.into() => {}
                    Err(HelloError::NotWyng) => return Err(FarEndFault::Banner.into()),
                    _ => return Err(FarEndFault::Protocol.into()),
                }
                self.incoming.clear();
                self.pace.begin();
                self.expecting = Expecting::Header;
            }
            Expecting::Header => {
                let header = self
                    .incoming
                    .first_chunk::<HEADER_BYTES>()
                    .ok_or(FarEndFault::Protocol)?;
                let rest = ToDaemon::rest_bytes(header).map_err(protocol)?;
                if rest == 0 {
                    return self.take_frame(keyholder);
                }
                self.expecting = Expecting::Frame(HEADER_BYTES.saturating_add(rest));
            }
            Expecting::Frame(_) => return self.take_frame(keyholder),
            Expecting::Body { .. } => {}
        }
        Ok(())
    }

    fn take_frame(&mut self, keyholder: &ToKeyholder) -> Result<(), Stop> {
        let frame = ToDaemon::decode(&self.incoming).map_err(|_| FarEndFault::Protocol)?;
        self.incoming.clear();
        self.expecting = Expecting::Header;
        let settles = self
            .rules
            .accept(&frame, self.sent_through)
            .map_err(|_| FarEndFault::Protocol)?;
        match frame {
            ToDaemon::KeepAlive => Ok(()),
            ToDaemon::Opened(Opened {
                status: OpenStatus::Ok,
                ..
            }) => {
                self.opened = true;
                self.pace.begin();
                Ok(keyholder.send(&TransportToKeyholder::Opened, &[])?)
            }
            ToDaemon::Opened(opened) => Err(open_fault(opened).into()),
            ToDaemon::Receipt(receipt) => {
                let numbers = settles.ok_or(FarEndFault::Protocol)?;
                while let Some((_, name, length_bytes)) = self
                    .unsettled
                    .front()
                    .filter(|(number, _, _)| numbers.contains(number))
                {
                    if receipt.status.is_done() {
                        self.placed.add(name);
                    }
                    self.pace
                        .moved(u64::from(*length_bytes).saturating_add(ANSWER_WORTH_BYTES));
                    self.unsettled.pop_front();
                }
                let answer = answer(receipt).ok_or(FarEndFault::Protocol)?;
                Ok(keyholder.send(
                    &TransportToKeyholder::Receipt {
                        first: *numbers.start(),
                        last: *numbers.end(),
                        answer,
                    },
                    &[],
                )?)
            }
            ToDaemon::Final(tally) => {
                if tally != self.placed || !self.unsettled.is_empty() {
                    return Err(FarEndFault::Protocol.into());
                }
                self.finished = true;
                Ok(keyholder.send(
                    &TransportToKeyholder::Final {
                        peak_rss_bytes: wyng_jail::peak_resident_bytes(),
                    },
                    &[],
                )?)
            }
            ToDaemon::Stated(stated) => {
                let Some(Due::Stat) = self.due.pop_front() else {
                    return Err(FarEndFault::Protocol.into());
                };
                self.pace.moved(ANSWER_WORTH_BYTES);
                let found = match stated.status {
                    StatStatus::Present => Found::Blob {
                        length_bytes: stated.length_bytes,
                    },
                    StatStatus::Absent => Found::Nothing,
                    StatStatus::Foreign => Found::Foreign,
                    StatStatus::Refused | StatStatus::Failed => Found::Unknown,
                };
                Ok(keyholder.send(&TransportToKeyholder::Stated(found), &[])?)
            }
            ToDaemon::Entry(entry) => self.take_entry(entry.name, entry.length_bytes, keyholder),
            ToDaemon::ListEnd(end) => {
                let Some(Due::List { entries, count }) = self.due.pop_front() else {
                    return Err(FarEndFault::Protocol.into());
                };
                if count != end.count {
                    return Err(FarEndFault::Protocol.into());
                }
                keyholder.send(&TransportToKeyholder::Entries(entries), &[])?;
                Ok(keyholder.send(
                    &TransportToKeyholder::ListEnd {
                        complete: end.complete,
                    },
                    &[],
                )?)
            }
            ToDaemon::Bytes(bytes) => {
                let Some(Due::Get {
                    length_bytes,
                    got_bytes,
                    ..
                }) = self.due.front_mut()
                else {
                    return Err(FarEndFault::Protocol.into());
                };
                // Never more than was asked for; counted before it is read.
                *got_bytes = got_bytes
                    .checked_add(bytes.length_bytes)
                    .filter(|got| got <= length_bytes)
                    .ok_or(FarEndFault::Protocol)?;
                if bytes.length_bytes == 0 {
                    return self.end_get(bytes.status, keyholder);
                }
                self.expecting = Expecting::Body {
                    left_bytes: bytes.length_bytes,
                    status: bytes.status,
                };
                Ok(())
            }
        }
    }

    fn take_entry(
        &mut self,
        name: BlobName,
        length_bytes: u64,
        keyholder: &ToKeyholder,
    ) -> Result<(), Stop> {
        let Some(Due::List { entries, count }) = self.due.front_mut() else {
            return Err(FarEndFault::Protocol.into());
        };
        entries.push((name.0, length_bytes));
        *count = count.saturating_add(1);
        if *count > LISTED_MAX {
            return Err(FarEndFault::Protocol.into());
        }
        if entries.len() >= ENTRIES_A_MESSAGE {
            let full = std::mem::take(entries);
            keyholder.send(&TransportToKeyholder::Entries(full), &[])?;
        }
        self.pace.moved(ENTRY_WORTH_BYTES);
        Ok(())
    }

    /// Writes what came into the memory file of the oldest GET; the rest of `bytes` is what follows
    /// the body.
    fn take_body<'a>(
        &mut self,
        bytes: &'a [u8],
        left_bytes: u32,
        status: BytesStatus,
        keyholder: &ToKeyholder,
    ) -> Result<&'a [u8], Stop> {
        let length = usize::try_from(left_bytes)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.pace.moved(length as u64);
        let (mut part, rest) = bytes.split_at(length);
        let Some(Due::Get { file, .. }) = self.due.front() else {
            return Err(FarEndFault::Protocol.into());
        };
        while !part.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(file, part))
                .map_err(|errno| no_room(&errno.into()))?;
            part = part.get(written..).unwrap_or_default();
        }
        self.body_grew(
            left_bytes.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX)),
            status,
            keyholder,
        )?;
        Ok(rest)
    }

    /// Moves what the pipe has of a body into the memory file of the oldest GET.
    fn move_body(
        &mut self,
        left_bytes: u32,
        status: BytesStatus,
        keyholder: &ToKeyholder,
    ) -> Result<Moved, Stop> {
        let Some(Due::Get { file, .. }) = self.due.front() else {
            return Err(FarEndFault::Protocol.into());
        };
        let length = usize::try_from(left_bytes).unwrap_or(usize::MAX);
        match rustix::pipe::splice(&self.from, None, file, None, length, SpliceFlags::NONBLOCK) {
            Ok(0) => Ok(Moved::AtEnd),
            Ok(moved) => {
                self.heard = Instant::now();
                self.pace.moved(moved as u64);
                let moved = u32::try_from(moved).unwrap_or(u32::MAX);
                self.body_grew(left_bytes.saturating_sub(moved), status, keyholder)?;
                Ok(Moved::Some)
            }
            Err(Errno::AGAIN) => Ok(Moved::NotNow),
            Err(Errno::INTR) => Ok(Moved::Some),
            Err(errno) => Err(no_room(&errno.into())),
        }
    }

    fn body_grew(
        &mut self,
        left_bytes: u32,
        status: BytesStatus,
        keyholder: &ToKeyholder,
    ) -> Result<(), Stop> {
        if left_bytes > 0 {
            self.expecting = Expecting::Body { left_bytes, status };
            return Ok(());
        }
        self.expecting = Expecting::Header;
        self.end_get(status, keyholder)
    }

    fn end_get(&mut self, status: BytesStatus, keyholder: &ToKeyholder) -> Result<(), Stop> {
        if status == BytesStatus::More {
            return Ok(());
        }
        let Some(Due::Get {
            length_bytes,
            file,
            got_bytes,
        }) = self.due.pop_front()
        else {
            return Err(FarEndFault::Protocol.into());
        };
        self.pace.moved(ANSWER_WORTH_BYTES);
        let why = match status {
            BytesStatus::Whole if got_bytes == length_bytes => {
                seal_file(&file).map_err(Fatal::Io)?;
                return Ok(
                    keyholder.send(&TransportToKeyholder::Got { length_bytes }, &[file.as_fd()])?
                );
            }
            BytesStatus::Short => NotGot::Short,
            BytesStatus::Absent | BytesStatus::NoVersion => NotGot::Missing,
            BytesStatus::Foreign => NotGot::Foreign,
            BytesStatus::Refused => NotGot::Refused,
            BytesStatus::Failed => NotGot::Failed,
            BytesStatus::Whole | BytesStatus::More => return Err(FarEndFault::Protocol.into()),
        };
        Ok(keyholder.send(&TransportToKeyholder::NotGot(why), &[])?)
    }
}

/// A memory file that takes no more ends the call, and no other one: a limit of the file's size, or
/// memory that is used up.
fn no_room(error: &std::io::Error) -> Stop {
    FarEndFault::NoRoom {
        errno: error.raw_os_error().unwrap_or(0),
    }
    .into()
}

fn answer(receipt: Receipt) -> Option<PutAnswer> {
    Some(match receipt.status {
        ReceiptStatus::Stored => PutAnswer::Stored,
        ReceiptStatus::ExistsSame => PutAnswer::ExistsSame,
        ReceiptStatus::ExistsDifferent => PutAnswer::ExistsDifferent,
        ReceiptStatus::ExistsUnknown => PutAnswer::ExistsUnknown,
        ReceiptStatus::Full => PutAnswer::Full {
            free_mib: receipt.free_mib,
        },
        ReceiptStatus::Refused => PutAnswer::Refused,
        ReceiptStatus::Failed => PutAnswer::Failed,
        ReceiptStatus::Deleted | ReceiptStatus::Absent => return None,
    })
}

fn open_fault(opened: Opened) -> FarEndFault {
    match opened.status {
        OpenStatus::Ok => FarEndFault::Protocol,
        OpenStatus::Missing => FarEndFault::Missing,
        OpenStatus::Empty => FarEndFault::Empty,
        OpenStatus::NotAFolder => FarEndFault::NotAFolder,
        OpenStatus::NotEmpty => FarEndFault::NotEmpty,
        OpenStatus::Permission => FarEndFault::Denied,
        OpenStatus::ReadOnly => FarEndFault::ReadOnly,
        OpenStatus::Full => FarEndFault::Full {
            free_mib: opened.free_mib,
        },
        OpenStatus::BadDestination => FarEndFault::Address,
        OpenStatus::Unreachable => FarEndFault::Unreachable,
        OpenStatus::Unsuitable => FarEndFault::Unsuitable,
        OpenStatus::Failed => FarEndFault::Failed,
    }
}
