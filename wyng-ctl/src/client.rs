// SPDX-License-Identifier: GPL-3.0-or-later
//! The connection to a daemon: to the running one by its socket, or to a private one that lives for
//! one command.

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
/// Maximum time for which an interrupted command waits for its private daemon to end.
const PATIENCE_AFTER_INTERRUPT: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};
/// The descriptor by which a private daemon is connected to its client.
const CLIENT_PLACE: RawFd = 3;

/// A conversation with a daemon.
pub(crate) struct Client {
    socket: OwnedFd,
    private: Option<Started>,
    until: Option<Instant>,
}

/// Which daemon to connect to, and on which conditions.
pub(crate) struct Reach<'a> {
    /// The options that choose the running daemon or a private one.
    pub(crate) options: &'a Options,
    /// A private daemon may create the state folder.
    pub(crate) may_make_state: bool,
    /// A private daemon takes no lock, because its command only reads the local state.
    pub(crate) only_looks: bool,
    /// The connection fails at this time, and the log of a private daemon is discarded.
    pub(crate) until: Option<Instant>,
}

impl<'a> Reach<'a> {
    /// As the request of a command requires it.
    pub(crate) fn of(cli: &'a Cli, request: &ToDaemon) -> Self {
        Self {
            options: &cli.options,
            may_make_state: cli.may_make_state(),
            only_looks: matches!(request, ToDaemon::Start(command) if command.only_looks()),
            until: None,
        }
    }
}

/// Why there is no connection, or no longer one.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// No daemon listens there.
    NoDaemon(PathBuf),
    /// The socket denies the caller access.
    Denied(PathBuf),
    /// The command requires local state, and the state folder does not exist.
    NoState(PathBuf),
    /// The private daemon cannot be started.
    NotStarted(PathBuf, io::Error),
    /// The daemon ended, or sent something that is not a message.
    Lost,
    /// The user interrupted, and the daemon's answer is not waited for.
    Interrupted,
}

impl ClientError {
    /// The message that the user sees.
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
                format!(
                    "you are not allowed to use the daemon at {}",
                    path.display()
                ),
                NOTHING_DONE,
                "Join its group (sudo usermod -a -G wyng USER) and log in again, use sudo, or add --standalone.",
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
                    "Run the same command again; with -v the daemon logs more.",
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
    /// Connects as the options say. A private daemon reads the same configuration if it has no
    /// mistake.
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

    /// Only a command that adds an archive may create the state folder.
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
        // An interrupt from the terminal goes to this program, which forwards it to the daemon; it
        // would kill the daemon's roles.
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

    /// Sends a message with its descriptors.
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
                // It closed the connection before it read everything; its last messages can still
                // be received.
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

    /// Whether the daemon has closed the connection. Its last messages can still be received.
    pub(crate) fn is_gone(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::empty())];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)))
            .is_ok_and(|ready| ready > 0)
    }

    /// Whether a message, or the end of the connection, can be received at once.
    pub(crate) fn is_ready(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)))
            .is_ok_and(|ready| ready > 0)
    }

    /// The socket, to be polled beside other descriptors.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Closes the connection and waits for a private daemon to end.
    pub(crate) fn end(self) {
        self.end_within(None);
    }

    /// The same after an interrupt: waits for at most [`PATIENCE_AFTER_INTERRUPT`], after which the
    /// daemon finishes alone.
    pub(crate) fn end_soon(self) {
        self.end_within(Some(PATIENCE_AFTER_INTERRUPT));
    }

    fn end_within(self, patience: Option<Timespec>) {
        drop(self.socket);
        if let Some(mut private) = self.private {
            let mut polled = [PollFd::new(&private.ended, PollFlags::IN)];
            // Its exit status adds nothing to its last message.
            if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, patience.as_ref()))
                .is_ok_and(|ended| ended > 0)
            {
                let _ = private.child.wait();
            }
        }
    }
}

/// The daemon's program: beside this one, otherwise where packages install it.
fn find_daemon() -> PathBuf {
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(DAEMON)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(DAEMON_FALLBACK))
}

/// The state folder of a private daemon.
pub(crate) fn state_dir(options: &Options) -> PathBuf {
    options
        .state_dir
        .clone()
        .or_else(default_state_dir)
        .unwrap_or_else(|| PathBuf::from(".wyng"))
}

/// The default state folder of the caller.
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
