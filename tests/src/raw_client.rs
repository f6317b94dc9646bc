// SPDX-License-Identifier: GPL-3.0-or-later
//! A client that speaks the daemon's protocol message by message, and so can send messages that
//! `wyng-ctl` never sends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use wyng_control::{
    CONTROL_VERSION, Command, ExitStatus, Failure, MESSAGE_MAX_BYTES, ToClient, ToDaemon, decode,
    encode,
};
use wyng_jail::{receive_packet, send_packet};

use crate::service::connect;

/// Time limit of an answer: longer than any takes on a busy machine.
const PATIENCE_SECS: i64 = 60;

/// A connection to the daemon.
pub struct RawClient(OwnedFd);

/// The events of a command until it was done.
#[derive(Debug, Default)]
pub struct Told {
    /// All events except the last one.
    pub events: Vec<ToClient>,
    /// The last event; `None` if the daemon closed the connection.
    pub exit: Option<ExitStatus>,
}

impl Told {
    /// The codes of its failures, in order.
    pub fn codes(&self) -> Vec<&'static str> {
        let failed = |event: &ToClient| {
            if let ToClient::Failed(failure) = event {
                Some(Failure::code(failure))
            } else {
                None
            }
        };
        self.events.iter().filter_map(failed).collect()
    }
}

impl RawClient {
    /// A connection without any message so far.
    #[track_caller]
    pub fn silent(socket: &Path) -> Self {
        Self(connect(&socket.to_owned()).expect("no daemon listens"))
    }

    /// A connection after the greetings.
    pub fn greeted(socket: &Path) -> Self {
        let client = Self::silent(socket);
        client.say(&ToDaemon::Hello {
            version: CONTROL_VERSION,
        });
        assert_eq!(
            client.hear(),
            Some(ToClient::Hello {
                version: CONTROL_VERSION
            })
        );
        client
    }

    /// A connection that has sent its command.
    pub fn start(socket: &Path, command: Command) -> Self {
        let client = Self::greeted(socket);
        client.say(&ToDaemon::Start(command));
        client
    }

    /// Sends a message. Returns whether the daemon still listens.
    pub fn say(&self, message: &ToDaemon) -> bool {
        self.give(message, &[])
    }

    /// Sends a message with descriptors. Returns whether the daemon still listens.
    pub fn give(&self, message: &ToDaemon, descriptors: &[BorrowedFd<'_>]) -> bool {
        self.send(&encode(message).unwrap(), descriptors)
    }

    /// Sends raw bytes. Returns whether the daemon still listens.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
        send_packet(self.0.as_fd(), bytes, descriptors).is_ok()
    }

    /// The daemon's next event; `None` if it closed the connection.
    #[track_caller]
    pub fn hear(&self) -> Option<ToClient> {
        assert!(self.has_something(PATIENCE_SECS), "the daemon says nothing");
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        match receive_packet(self.0.as_fd(), &mut buffer) {
            Ok((length, _)) if length > 0 => Some(decode(&buffer[..length]).unwrap()),
            _ => None,
        }
    }

    /// Whether an event comes within this many seconds.
    pub fn has_something(&self, secs: i64) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: secs,
            tv_nsec: 0,
        };
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout))).unwrap() > 0
    }

    /// Receives events until one of this kind comes, and returns it.
    #[track_caller]
    pub fn hear_until(&self, wanted: impl Fn(&ToClient) -> bool) -> ToClient {
        loop {
            let event = self.hear().expect("the daemon hung up");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Receives events until a question comes, and returns its number.
    #[track_caller]
    pub fn hear_question(&self) -> u32 {
        let ToClient::Want { item, .. } =
            self.hear_until(|event| matches!(event, ToClient::Want { .. }))
        else {
            unreachable!()
        };
        item
    }

    /// Receives events until the command is done or the daemon closes the connection.
    #[track_caller]
    pub fn hear_all(&self) -> Told {
        let mut told = Told::default();
        while let Some(event) = self.hear() {
            if let ToClient::Done { exit } = event {
                told.exit = Some(exit);
                break;
            }
            told.events.push(event);
        }
        told
    }
}

impl AsFd for RawClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
