// SPDX-License-Identifier: GPL-3.0-or-later
//! Reaching a daemon: the running one by its socket, or a private one that lives for one command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, io};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use wyng_control::{
    CodecError, ExitStatus, Failure, MESSAGE_MAX_BYTES, Safe, ToClient, ToDaemon, decode, encode,
};
use wyng_jail::{Started, packet_pair, receive_packet, send_packet, start};

use crate::cli::{Cli, Options};
use crate::message::{Message, NOTHING_DONE};
use crate::settings;

const DAEMON: &str = "wyngd";
const DAEMON_FALLBACK: &str = "/usr/libexec/wyng/wyngd";
/// So long somebody who interrupted waits for a private daemon to end.
const PATIENCE_AFTER_INTERRUPT: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};
/// Where a private daemon finds its client.
const CLIENT_PLACE: RawFd = 3;

/// A conversation with a daemon.
pub(crate) struct Client {
    socket: OwnedFd,
    private: Option<Started>,
    until: Option<Instant>,
}

/// Which daemon is wanted, and how much.
pub(crate) struct Reach<'a> {
    /// The running one, or a private one.
    pub(crate) options: &'a Options,
    /// A private one may begin with a state folder that is not there yet.
    pub(crate) may_make_state: bool,
    /// A private one takes no lock: its command only looks.
    pub(crate) only_looks: bool,
    /// Nobody waits any longer, nor reads what a private one logs.
    pub(crate) until: Option<Instant>,
}

impl<'a> Reach<'a> {
    /// As a command needs it; `only_looks` where what is asked changes nothing.
    pub(crate) fn of(cli: &'a Cli, only_looks: bool) -> Self {
        Self {
            options: &cli.options,
            may_make_state: cli.may_make_state(),
            only_looks,
            until: None,
        }
    }
}

/// Why there is no conversation (any more).
#[derive(Debug)]
pub(crate) enum ClientError {
    /// No daemon listens there.
    NoDaemon(PathBuf),
    /// One may, and the caller is not let in.
    Denied(PathBuf),
    /// The command needs local state, and there is none.
    NoState(PathBuf),
    /// The private daemon cannot be started.
    NotStarted(PathBuf, io::Error),
    /// It ended, or speaks something else.
    Lost,
    /// The person interrupted, and nothing more is waited for.
    Interrupted,
}

impl ClientError {
    /// What a person is told.
    pub(crate) fn message(&self) -> Message {
        use ExitStatus::{Failed, Unreachable};
        match self {
            Self::Interrupted => Message::of_failure(&Failure::Interrupted),
            Self::NoDaemon(path) => Message::new(
                "no-daemon",
                Unreachable,
                format!("no daemon listens at {}", path.display()),
                NOTHING_DONE,
                "Start it (systemctl start wyngd.socket), or add --standalone.",
            ),
            Self::Denied(path) => Message::new(
                "daemon-denied",
                Failed,
                format!("you may not use the daemon at {}", path.display()),
                NOTHING_DONE,
                "Join the group that may (sudo usermod -a -G wyng USER) and log in again, use sudo, or add --standalone.",
            ),
            Self::NoState(path) => Message::of_failure(&Failure::NoState {
                folder: path.display().to_string(),
            }),
            Self::NotStarted(path, error) => Message::new(
                "daemon-not-started",
                Failed,
                format!("the daemon {} cannot be started: {error}", path.display()),
                NOTHING_DONE,
                "Put wyngd and wyng-transport-vm beside wyng-ctl or into /usr/libexec/wyng.",
            ),
            Self::Lost => Message {
                safe: Safe::OfCommand,
                ..Message::new(
                    "daemon-lost",
                    Failed,
                    "the daemon ended before the command was done".to_owned(),
                    NOTHING_DONE,
                    "Run the same command again; with -v the daemon says more.",
                )
            },
        }
    }
}

impl From<CodecError> for ClientError {
    fn from(_: CodecError) -> Self {
        Self::Lost
    }
}

impl Client {
    /// Connects as the options say. A private daemon reads the same configuration, where it is
    /// right.
    pub(crate) fn connect(reach: &Reach<'_>) -> Result<Self, ClientError> {
        let (socket, private) = if reach.options.standalone {
            Self::start_private(reach)?
        } else {
            (Self::join(&reach.options.socket)?, None)
        };
        Ok(Self {
            socket,
            private,
            until: reach.until,
        })
    }

    fn join(path: &Path) -> Result<OwnedFd, ClientError> {
        let none = |errno| match errno {
            Errno::ACCESS | Errno::PERM => ClientError::Denied(path.to_owned()),
            _ => ClientError::NoDaemon(path.to_owned()),
        };
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(none)?;
        let address = SocketAddrUnix::new(path).map_err(none)?;
        rustix::net::connect(&socket, &address).map_err(none)?;
        Ok(socket)
    }

    /// A folder that is not there holds no archive: only a command that brings one may make it.
    fn start_private(reach: &Reach<'_>) -> Result<(OwnedFd, Option<Started>), ClientError> {
        let options = reach.options;
        let program = find_daemon();
        let state_dir = state_dir(options);
        if !reach.may_make_state && matches!(state_dir.try_exists(), Ok(false)) {
            return Err(ClientError::NoState(state_dir));
        }
        let (socket, theirs) =
            packet_pair().map_err(|error| ClientError::NotStarted(program.clone(), error))?;
        let mut command = Command::new(&program);
        command
            .arg("--standalone")
            .arg("--client-fd")
            .arg(CLIENT_PLACE.to_string())
            .arg("--state-dir")
            .arg(state_dir);
        if reach.only_looks {
            command.arg("--looks");
        }
        if let Some(config) = settings::usable(options) {
            command.arg("--config").arg(config);
        }
        // An interrupt from the terminal is for this program, which tells the daemon; its roles
        // would just die of it.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if reach.until.is_some() {
            command.stderr(Stdio::null());
        }
        if options.verbose {
            command.env("WYNGD_LOG", "info");
        }
        let private = start(command, vec![(theirs, CLIENT_PLACE)])
            .map_err(|error| ClientError::NotStarted(program, error))?;
        Ok((socket, Some(private)))
    }

    /// Says something, with the descriptors that belong to it.
    pub(crate) fn send(
        &self,
        message: &ToDaemon,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        send_packet(self.socket.as_fd(), &encode(message)?, descriptors)
            .map_err(|_| ClientError::Lost)
    }

    /// Waits for the next message.
    pub(crate) fn receive(&self) -> Result<ToClient, ClientError> {
        if let Some(until) = self.until {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))
                .map_err(|_| ClientError::Lost)?;
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            match rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&left))) {
                Ok(ready) if ready > 0 => {}
                _ => return Err(ClientError::Lost),
            }
        }
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        let received =
            receive_packet(self.socket.as_fd(), &mut buffer).or_else(|error| match error.kind() {
                // It closed the connection before it read all: what it said before that is still
                // there.
                io::ErrorKind::ConnectionReset => receive_packet(self.socket.as_fd(), &mut buffer),
                _ => Err(error),
            });
        match received {
            Ok((length, descriptors)) if length > 0 && descriptors.is_empty() => {
                Ok(decode(buffer.get(..length).unwrap_or_default())?)
            }
            _ => Err(ClientError::Lost),
        }
    }

    /// Whether the daemon has hung up. What it said before can still be received.
    pub(crate) fn is_gone(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::empty())];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)))
            .is_ok_and(|ready| ready > 0)
    }

    /// To wait for, beside other things.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Ends the conversation. A private daemon sees its client gone, ends its roles, and is waited
    /// for; by somebody who interrupted, not for long: what is still to be done then, it does
    /// without its client.
    pub(crate) fn end(self, interrupted: bool) {
        drop(self.socket);
        if let Some(mut private) = self.private {
            let patience = interrupted.then_some(PATIENCE_AFTER_INTERRUPT);
            let mut polled = [PollFd::new(&private.ended, PollFlags::IN)];
            // Its status says nothing that was not told.
            if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, patience.as_ref()))
                .is_ok_and(|ended| ended > 0)
            {
                let _ = private.child.wait();
            }
        }
    }
}

/// Beside this program, else where packages put it.
fn find_daemon() -> PathBuf {
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(DAEMON)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(DAEMON_FALLBACK))
}

/// Where a private daemon keeps its state.
pub(crate) fn state_dir(options: &Options) -> PathBuf {
    options
        .state_dir
        .clone()
        .or_else(default_state_dir)
        .unwrap_or_else(|| PathBuf::from(".wyng"))
}

/// The caller's own folder of state.
pub(crate) fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(base.join("wyng"))
}
