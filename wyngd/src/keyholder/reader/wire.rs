// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader's wire to control, and the client behind it: commands come over it, and results go
//! back.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::event::PollFlags;
use wyng_control::{Command, Failure, Progress, ToClient};

use crate::ipc::{ControlToReader, Fatal, ReaderToControl, Wire, wait};
use wyng_engine::world::Client;

/// The wire to control.
pub(super) type ControlWire = Wire<ReaderToControl, ControlToReader>;

/// The wire to control.
pub(super) struct Control {
    /// The wire itself.
    pub wire: ControlWire,
    /// The person has interrupted.
    cancelled: bool,
    /// Whose process asked for the look.
    client_uid: u32,
}

/// What files and client share.
#[derive(Clone)]
pub(super) struct SharedControl(Rc<RefCell<Control>>);

impl SharedControl {
    /// Over this wire.
    pub(super) fn new(wire: ControlWire) -> Self {
        Self(Rc::new(RefCell::new(Control {
            wire,
            cancelled: false,
            client_uid: u32::MAX,
        })))
    }

    /// Uses the wire for one call.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Control) -> T) -> T {
        call(&mut self.0.borrow_mut())
    }
}

impl Control {
    /// Waits for the next look.
    pub(super) fn next_command(&mut self) -> Result<Command, Fatal> {
        loop {
            match self.wire.receive()?.message {
                ControlToReader::Start { command, uid } => {
                    self.cancelled = false;
                    self.client_uid = uid;
                    return Ok(command);
                }
                // It came when the look had ended.
                ControlToReader::Cancel => {}
            }
        }
    }

    /// Hears what control says, until what is waited for.
    fn hear_control(&mut self, until: Until) -> Result<(), Failure> {
        let broke = |fatal: Fatal| {
            tracing::debug!(reason = %fatal, "the reader stops its look");
            Failure::internal("a wire between two roles broke")
        };
        loop {
            let (writable, timeout) = match until {
                Until::AllHeard => (PollFlags::empty(), Some(0)),
                Until::Writable => (PollFlags::OUT, None),
            };
            let polled = [
                (self.wire.as_fd(), PollFlags::IN),
                (self.wire.as_fd(), writable),
            ];
            let [says, takes] = wait(polled, timeout).map_err(broke)?;
            if !says {
                return Ok(());
            }
            match self.wire.receive().map_err(broke)?.message {
                ControlToReader::Cancel => self.cancelled = true,
                ControlToReader::Start { .. } => {
                    return Err(broke(Fatal::Unexpected(self.wire.peer())));
                }
            }
            if takes {
                return Ok(());
            }
        }
    }

    /// Hears control, and fails once the person has interrupted.
    pub(super) fn unless_cancelled(&mut self) -> Result<(), Failure> {
        self.hear_control(Until::AllHeard)?;
        if self.cancelled {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Sends a result to the client, unless it interrupted; the failure that ends the look is sent
    /// all the same.
    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.hear_control(Until::Writable)?;
        if self.cancelled && !matches!(event, ToClient::Failed(_)) {
            return Err(Failure::Interrupted);
        }
        let broke = |_| Failure::internal("a wire between two roles broke");
        self.wire
            .send(&ReaderToControl::Tell(event), &[])
            .map_err(broke)
    }
}

/// How long control is heard.
#[derive(Clone, Copy)]
enum Until {
    /// Until nothing that it said is left.
    AllHeard,
    /// Until a message can be sent without waiting.
    Writable,
}

/// The client of the look.
pub(super) struct Looker(pub SharedControl);

impl Client for Looker {
    fn uid(&self) -> u32 {
        self.0.with(|control| control.client_uid)
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.0.with(|control| control.tell(event))
    }

    fn progress(&mut self, _: Progress) {}

    fn cancelled(&mut self) -> bool {
        self.0.with(|control| control.unless_cancelled().is_err())
    }
}
