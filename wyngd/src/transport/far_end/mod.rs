// SPDX-License-Identifier: GPL-3.0-or-later
//! One call of the far end over its two pipes. This file moves bytes and reads the clock; what the
//! bytes mean is for three machines that do neither:
//!
//! - `outgoing`: requests to frames and bodies.
//! - `incoming`: bytes from the VM to answers; the first that breaks the rules ends the call.
//! - `watchdog`: deadlines and progress, measured by `pace`.
//!
//! `throttle` bounds how much of a body moves in either direction.

mod incoming;
mod outgoing;
mod pace;
mod stop;
mod throttle;
mod watchdog;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use wyng_wire::Open;

use super::hours::RatesNow;
use crate::ipc::{FarEndFault, Fatal, KeyholderToTransport, Service, TransportToKeyholder, Wire};
use incoming::{Incoming, Wanted};
use outgoing::{Begun, Outgoing};
use stop::no_room;
use throttle::Throttle;
use watchdog::{Outstanding, Watchdog};

pub(super) use outgoing::Request;
pub(super) use stop::Stop;
pub(super) use watchdog::Limits;

/// The transport's end of the keyholder's wire.
pub(super) type ToKeyholder = Wire<TransportToKeyholder, KeyholderToTransport>;

// Whatever address passes the daemon's door fits an OPEN.
const _: () = assert!(wyng_control::STORE_MAX_BYTES <= wyng_wire::DESTINATION_MAX);

/// Maximum number of bytes that one read takes from the pipe.
const READ_BYTES: usize = 256 * 1024;
/// Maximum number of reads from the pipe in one piece of work; the next poll returns at once if
/// more is there.
const READS_MAX: usize = 64;

/// Which of a far end's pipes can be used now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) reads: bool,
    pub(super) writes: bool,
}

/// One call of the far end.
pub(super) struct FarEnd {
    service: Service,
    /// The pipe to the helper, until it is closed or breaks.
    to: Option<OwnedFd>,
    from: OwnedFd,
    outgoing: Outgoing,
    incoming: Incoming,
    watchdog: Watchdog,
    /// Bodies to the helper.
    up: Throttle,
    /// Bodies from the helper.
    down: Throttle,
    /// Reused for each read.
    buffer: Vec<u8>,
    /// The keyholder closed the fetch.
    is_closed: bool,
}

impl FarEnd {
    /// Takes the pipes, to and from the helper, and queues HELLO and OPEN. Stops with
    /// [`FarEndFault::Address`] where no OPEN can carry the store's address.
    pub(super) fn open(
        service: Service,
        [to, from]: [OwnedFd; 2],
        open: Open<'_>,
        limits: Limits,
    ) -> Result<Self, Stop> {
        for pipe in [&to, &from] {
            rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(Fatal::from)?;
        }
        let now = Instant::now();
        Ok(Self {
            service,
            to: Some(to),
            from,
            outgoing: Outgoing::open(service.into(), open).map_err(|_| FarEndFault::Address)?,
            incoming: Incoming::new(service.into()),
            watchdog: Watchdog::new(limits, now),
            up: Throttle::new(None, now),
            down: Throttle::new(None, now),
            buffer: vec![0; READ_BYTES],
            is_closed: false,
        })
    }

    /// The pipe to the helper; once it is closed, the other one stands for it.
    pub(super) fn to(&self) -> BorrowedFd<'_> {
        self.to.as_ref().map_or(self.from.as_fd(), AsFd::as_fd)
    }

    /// The pipe from the helper.
    pub(super) fn from(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    /// Which of the helper's services this is.
    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// Queues what the keyholder wants sent.
    pub(super) fn queue(&mut self, request: Request) {
        self.outgoing.queue(request);
    }

    /// Whether FINAL came, or the keyholder closed the fetch.
    pub(super) fn is_finished(&self) -> bool {
        self.is_closed || self.incoming.is_finished()
    }

    /// Heeds the limits of the rate that apply now.
    pub(super) fn heed(&mut self, rates: RatesNow) {
        let now = Instant::now();
        self.up.set(rates.up_bytes, now);
        self.down.set(rates.down_bytes, now);
    }

    /// Whether something can be written once the pipe has room.
    pub(super) fn wants_to_write(&self) -> bool {
        let may_write = if self.outgoing.is_unwritten() {
            !self.outgoing.frames().is_empty() || self.up.wait(Instant::now()).is_none()
        } else {
            self.outgoing.next_may_go(self.incoming.window())
        };
        self.to.is_some() && may_write
    }

    /// Whether something can be read once it is there.
    pub(super) fn wants_to_read(&self) -> bool {
        !self.incoming.is_in_body() || self.down.wait(Instant::now()).is_none()
    }

    /// Time until the next keep-alive or deadline, milliseconds.
    pub(super) fn timeout_millis(&self) -> u64 {
        let now = Instant::now();
        let next = self.watchdog.next_millis(now, self.outstanding());
        let up = self.up.wait(now).filter(|_| self.outgoing.has_body());
        let down = self.down.wait(now).filter(|_| self.incoming.is_in_body());
        let waits = up.into_iter().chain(down);
        waits.fold(next, |next, wait| {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            next.min(millis.saturating_add(1))
        })
    }

    fn outstanding(&self) -> Outstanding {
        if self.incoming.owes_an_answer() || self.outgoing.has_body() {
            Outstanding::Answer
        } else {
            Outstanding::Nothing
        }
    }

    /// Does what can be done now. After a [`Stop::Fault`] the far end is of no more use. `waited`
    /// is how long this process has waited for something to do.
    pub(super) fn work(
        &mut self,
        ready: Ready,
        waited: Duration,
        keyholder: &ToKeyholder,
    ) -> Result<(), Stop> {
        self.watchdog.waited(waited, self.outstanding());
        // Reading first: what the helper says before it ends tells more than a broken pipe.
        if ready.reads {
            self.read(keyholder)?;
        }
        if !self.is_finished() && (ready.writes || self.wants_to_write()) {
            self.write()?;
        }
        if self.is_finished() {
            return Ok(());
        }
        let now = Instant::now();
        self.watchdog.check(now, self.outstanding())?;
        if self.watchdog.needs_keep_alive(now) && !self.outgoing.is_unwritten() && self.to.is_some()
        {
            self.outgoing.keep_alive()?;
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Stop> {
        loop {
            let Some(to) = &self.to else { return Ok(()) };
            let written = if !self.outgoing.frames().is_empty() {
                rustix::io::write(to, self.outgoing.frames())
                    .inspect(|written| self.outgoing.wrote_frames(*written))
            } else if let Some(body) = self.outgoing.body() {
                let now = Instant::now();
                let flags = SpliceFlags::NONBLOCK;
                let left = body.left_bytes.min(self.up.room(now));
                if left == 0 {
                    return Ok(());
                }
                let offset = Some(&mut body.offset);
                match rustix::pipe::splice(&body.file, offset, to, None, left, flags) {
                    // The file is shorter than the keyholder said.
                    Ok(0) => return Err(Fatal::Unexpected("keyholder").into()),
                    Ok(sent) => {
                        self.outgoing.sent_of_body(sent);
                        self.up.moved(sent, now);
                        self.watchdog.moved(sent as u64);
                        Ok(sent)
                    }
                    refused => refused,
                }
            } else {
                match self.outgoing.begin_next(self.incoming.window())? {
                    Begun::Nothing => return Ok(()),
                    Begun::Unanswered => {}
                    Begun::Answered(expected) => self.incoming.expect(expected)?,
                    Begun::Close => (self.to, self.is_closed) = (None, true),
                }
                continue;
            };
            match written {
                Ok(_) => self.watchdog.wrote(Instant::now()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                // The helper may have said why it ended before the pipe broke; that is read first.
                Err(_) => self.to = None,
            }
        }
    }

    /// Reads what the pipe has, up to [`READS_MAX`] times, and passes the answers on, including
    /// those before a fault. A helper that floods the pipe keeps neither the watchdog nor others
    /// waiting.
    fn read(&mut self, keyholder: &ToKeyholder) -> Result<(), Stop> {
        for _ in 0..READS_MAX {
            if self.is_finished() {
                break;
            }
            let taken = self.read_once();
            while let Some(answer) = self.incoming.next_answer() {
                let files: Vec<BorrowedFd<'_>> = answer.file.iter().map(AsFd::as_fd).collect();
                keyholder.send(&answer.message, &files)?;
            }
            if taken? == Taken::Nothing {
                break;
            }
        }
        Ok(())
    }

    /// Reads once from the pipe. An end of the pipe is a fault: it comes here before FINAL.
    fn read_once(&mut self) -> Result<Taken, Stop> {
        match self.incoming.wanted(self.buffer.len()) {
            Wanted::Body { file, left_bytes } => {
                let now = Instant::now();
                let left_bytes = left_bytes.min(self.down.room(now));
                if left_bytes == 0 {
                    return Ok(Taken::Nothing);
                }
                let flags = SpliceFlags::NONBLOCK;
                match rustix::pipe::splice(&self.from, None, file, None, left_bytes, flags) {
                    Ok(0) => return Err(FarEndFault::Lost.into()),
                    Ok(moved) => {
                        self.watchdog.heard(now);
                        self.down.moved(moved, now);
                        self.incoming.moved_of_body(moved, &mut self.watchdog)?;
                    }
                    Err(Errno::AGAIN) => return Ok(Taken::Nothing),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(no_room(&errno.into())),
                }
            }
            Wanted::Bytes(wanted) => {
                let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
                match rustix::io::read(&self.from, &mut *buffer) {
                    Ok(0) => return Err(FarEndFault::Lost.into()),
                    Ok(length) => {
                        self.watchdog.heard(Instant::now());
                        let bytes = buffer.get(..length).unwrap_or_default();
                        self.incoming.take(bytes, &mut self.watchdog)?;
                    }
                    Err(Errno::AGAIN) => return Ok(Taken::Nothing),
                    Err(Errno::INTR) => {}
                    Err(_) => return Err(FarEndFault::Lost.into()),
                }
            }
        }
        Ok(Taken::Something)
    }
}

/// Whether a read found anything.
#[derive(PartialEq, Eq)]
enum Taken {
    Something,
    Nothing,
}
