// SPDX-License-Identifier: GPL-3.0-or-later
//! The requests to the server, and what its errors mean for the store.

use std::sync::Arc;

use rustix::io::Errno;
use tracing::warn;

use super::connection::{Connection, Fault, Handle, Lost, Ticket};
use super::packet::{self, Attributes, Code, Request, Space, decode_space, decode_version};
use crate::store::StoreError;

/// The extensions of OpenSSH that the store uses where they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// A second name for a file, which fails if the name is taken.
    pub(super) hardlink: bool,
    /// Making a file durable.
    pub(super) fsync: bool,
    /// Free space.
    pub(super) statvfs: bool,
}

/// A connected server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) connection: Arc<Connection>,
    pub(super) extensions: Extensions,
}

impl Server {
    /// Exchanges the first packets.
    pub(super) fn greet(connection: &Arc<Connection>) -> Result<Self, Lost> {
        let version = connection.greeting()?;
        let names = decode_version(&version).map_err(|_| Lost::Nonsense)?;
        let has = |name: &[u8]| names.iter().any(|known| known == name);
        let extensions = Extensions {
            hardlink: has(b"hardlink@openssh.com"),
            fsync: has(b"fsync@openssh.com"),
            statvfs: has(b"statvfs@openssh.com"),
        };
        Ok(Self {
            connection: Arc::clone(connection),
            extensions,
        })
    }

    /// Sends OPEN; a new file gets this mode.
    pub(super) fn open(&self, path: &[u8], flags: u32, mode: u32) -> Result<Ticket, Fault> {
        let request = Request::new(packet::OPEN).string(path).number(flags);
        self.connection.send(if flags & packet::CREATE == 0 {
            request.number(0)
        } else {
            request.mode(mode)
        })
    }

    /// Sends OPEN of an existing file or folder.
    pub(super) fn open_for_reading(&self, path: &[u8]) -> Result<Ticket, Fault> {
        self.open(path, packet::FOR_READING, 0)
    }

    /// Sends a request whose only field is a path.
    pub(super) fn ask(&self, kind: u8, path: &[u8]) -> Result<Ticket, Fault> {
        self.connection.send(Request::new(kind).string(path))
    }

    /// Sends READDIR.
    pub(super) fn read_folder(&self, folder: &Handle) -> Result<Ticket, Fault> {
        self.connection
            .send(Request::new(packet::READDIR).string(folder.bytes()))
    }

    /// Sends READ of one block.
    pub(super) fn read(
        &self,
        file: &Handle,
        offset_bytes: u64,
        length_bytes: u32,
    ) -> Result<Ticket, Fault> {
        let request = Request::new(packet::READ)
            .string(file.bytes())
            .long_number(offset_bytes);
        self.connection.send(request.number(length_bytes))
    }

    /// Sends WRITE of one block.
    pub(super) fn write(
        &self,
        file: &Handle,
        offset_bytes: u64,
        block: &[u8],
    ) -> Result<Ticket, Fault> {
        let request = Request::new(packet::WRITE)
            .string(file.bytes())
            .long_number(offset_bytes);
        self.connection.send(request.string(block))
    }

    /// Sends MKDIR.
    pub(super) fn make_folder(&self, path: &[u8]) -> Result<Ticket, Fault> {
        self.connection
            .send(Request::new(packet::MKDIR).string(path).mode(0o700))
    }

    /// Sends RENAME, which must fail if the new name is taken.
    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> Result<Ticket, Fault> {
        self.connection
            .send(Request::new(packet::RENAME).string(from).string(to))
    }

    /// Sends `hardlink@openssh.com`.
    pub(super) fn hardlink(&self, from: &[u8], to: &[u8]) -> Result<Ticket, Fault> {
        let request = Request::new(packet::EXTENDED).string(b"hardlink@openssh.com");
        self.connection.send(request.string(from).string(to))
    }

    /// Sends `fsync@openssh.com`.
    pub(super) fn fsync(&self, file: &Handle) -> Result<Ticket, Fault> {
        let request = Request::new(packet::EXTENDED).string(b"fsync@openssh.com");
        self.connection.send(request.string(file.bytes()))
    }

    /// Sends `statvfs@openssh.com`.
    pub(super) fn ask_for_space(&self, path: &[u8]) -> Result<Ticket, Fault> {
        let request = Request::new(packet::EXTENDED).string(b"statvfs@openssh.com");
        self.connection.send(request.string(path))
    }

    /// The free space at a path; `None` if the server does not report it.
    pub(super) fn space(&self, path: &[u8]) -> Result<Option<Space>, Fault> {
        if !self.extensions.statvfs {
            return Ok(None);
        }
        self.space_of(self.ask_for_space(path)?)
    }

    /// The same for a request that was sent.
    pub(super) fn space_of(&self, ticket: Ticket) -> Result<Option<Space>, Fault> {
        match ticket.extended() {
            Ok(reply) => match decode_space(&reply) {
                Ok(space) => Ok(Some(space)),
                Err(_) => Err(self.connection.give_up(Lost::Nonsense)),
            },
            // Some servers name the extension and do not have it.
            Err(Fault::Status(_)) => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// The attributes of what is at a path, without following a link; `None` if nothing is.
    pub(super) fn look(&self, path: &[u8]) -> Result<Option<Attributes>, Fault> {
        self.ask(packet::LSTAT, path)?.attributes().if_there()
    }
}

/// An outcome in which the absence of a file is none of the errors.
pub(super) trait IfThere<T> {
    /// `Ok(None)` if there is no such file.
    fn if_there(self) -> Result<Option<T>, Fault>;
}

impl<T> IfThere<T> for Result<T, Fault> {
    fn if_there(self) -> Result<Option<T>, Fault> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.is(Code::NoSuchFile) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

impl Fault {
    /// Whether the server answered with this code.
    pub(super) fn is(&self, code: Code) -> bool {
        matches!(self, Self::Status(status) if status.code == code)
    }

    /// Whether the answer may mean that a name is taken. OpenSSH has no code for that.
    pub(super) fn may_be_taken(&self) -> bool {
        self.is(Code::Failure) || self.is(Code::Exists)
    }

    /// Whether the server says, by its code or in words, that the disk is full.
    pub(super) fn says_full(&self) -> bool {
        let Self::Status(status) = self else {
            return false;
        };
        let words = status.message.to_ascii_lowercase();
        status.code == Code::Full || words.contains("no space") || words.contains("quota")
    }

    /// The error of a step that looks up a name, takes it, or reads its file.
    pub(super) fn at_name(self, step: &'static str) -> StoreError {
        self.explain(step, StoreError::at_name)
    }

    /// The error of a step that writes a blob's bytes.
    pub(super) fn in_writing(self, step: &'static str) -> StoreError {
        if self.says_full() {
            return StoreError::Full { free_mib: None };
        }
        self.explain(step, StoreError::in_writing)
    }

    /// The error of a step after which the state of the blob is not known.
    pub(super) fn failed(self, step: &'static str) -> StoreError {
        self.explain(step, |step, errno| StoreError::Failed { step, errno })
    }

    fn explain(
        self,
        step: &'static str,
        of: impl FnOnce(&'static str, Errno) -> StoreError,
    ) -> StoreError {
        match self {
            Self::Lost(lost) => StoreError::Lost { step, lost },
            Self::Status(status) => {
                if !status.message.is_empty() {
                    warn!(step, "the server answered \"{}\"", status.message);
                }
                of(step, errno_of(status.code))
            }
        }
    }
}

/// The number of the system's error that is closest to a status.
pub(super) fn errno_of(code: Code) -> Errno {
    match code {
        Code::NoSuchFile => Errno::NOENT,
        Code::PermissionDenied => Errno::ACCESS,
        Code::Unsupported => Errno::OPNOTSUPP,
        Code::BadMessage => Errno::INVAL,
        Code::Exists => Errno::EXIST,
        Code::Full => Errno::NOSPC,
        Code::Ok | Code::EndOfFile | Code::Failure => Errno::IO,
    }
}
