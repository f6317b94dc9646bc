// SPDX-License-Identifier: GPL-3.0-or-later
//! One end of a wire between two roles: declared messages, checked and bounded, with descriptors
//! beside them.
//!
//! A message that is malformed, unexpected or comes with the wrong descriptors ends the process:
//! roles are one program, so it can only be a defect or an attack.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use wyng_control::{CodecError, MESSAGE_MAX_BYTES, decode, encode};
use wyng_jail::{inherited, receive_packet, send_packet};
use zeroize::{Zeroize, Zeroizing};

use crate::roles::Role;

/// Why a role ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// Bytes that are no declared message.
    #[error("a message on a wire is refused: {0}")]
    Codec(#[from] CodecError),
    /// A declared message that may not come now, or comes with the wrong descriptors.
    #[error("an unexpected message from {0}")]
    Unexpected(&'static str),
    /// The other end is gone.
    #[error("{0} is gone")]
    Gone(&'static str),
    /// The system refused.
    #[error("the system refused: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Fatal {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// One end of a wire, which sends `S` and receives `R`.
pub struct Wire<S, R> {
    socket: OwnedFd,
    peer: &'static str,
    messages: PhantomData<fn(S) -> R>,
}

/// A message as bytes, to be sent later. A message itself must not wait on the heap in a process
/// that holds keys: it has the size of its largest variant, and the unused part of a smaller one
/// holds whatever the stack had in it.
pub struct Encoded<S>(Zeroizing<Vec<u8>>, PhantomData<fn(S)>);

impl<S: bincode::Encode> Encoded<S> {
    /// Encodes a message.
    pub fn new(message: &S) -> Result<Self, Fatal> {
        Ok(Self(Zeroizing::new(encode(message)?), PhantomData))
    }
}

/// A message and the descriptors beside it.
pub struct Received<R> {
    /// The message.
    pub message: R,
    descriptors: Vec<OwnedFd>,
    peer: &'static str,
}

impl<R> Received<R> {
    /// The one descriptor that this message must have.
    pub fn descriptor(self) -> Result<OwnedFd, Fatal> {
        let [descriptor] =
            <[OwnedFd; 1]>::try_from(self.descriptors).map_err(|_| Fatal::Unexpected(self.peer))?;
        Ok(descriptor)
    }

    /// The descriptors, for a message that may have several.
    pub fn descriptors(self) -> Vec<OwnedFd> {
        self.descriptors
    }

    /// The message and its descriptors, for a message whose content says how many they must be.
    pub fn into_parts(self) -> (R, Vec<OwnedFd>) {
        (self.message, self.descriptors)
    }

    /// The two descriptors that this message must have.
    pub fn two_descriptors(self) -> Result<[OwnedFd; 2], Fatal> {
        <[OwnedFd; 2]>::try_from(self.descriptors).map_err(|_| Fatal::Unexpected(self.peer))
    }
}

impl<S: bincode::Encode, R: bincode::Encode + bincode::Decode<()>> Wire<S, R> {
    /// Takes over the wire from `role` to `peer` with which this process was started.
    pub fn inherited(role: Role, peer: Role) -> Result<Self, Fatal> {
        let place = role.wire_to(peer).ok_or(Fatal::Gone(peer.name()))?;
        Ok(Self::new(inherited(place)?, peer.name()))
    }

    /// A wire over a socket that keeps packet boundaries.
    pub fn new(socket: OwnedFd, peer: &'static str) -> Self {
        Self {
            socket,
            peer,
            messages: PhantomData,
        }
    }

    /// The role at the other end, for messages.
    pub fn peer(&self) -> &'static str {
        self.peer
    }

    /// Sends a message, waiting while the other end's queue is full.
    pub fn send(&self, message: &S, descriptors: &[BorrowedFd<'_>]) -> Result<(), Fatal> {
        self.send_encoded(&Encoded::new(message)?, descriptors)
    }

    /// Sends a message that was encoded before, waiting while the other end's queue is full.
    pub fn send_encoded(
        &self,
        message: &Encoded<S>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Fatal> {
        send_packet(self.socket.as_fd(), &message.0, descriptors).map_err(|error| {
            match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    Fatal::Gone(self.peer)
                }
                _ => Fatal::Io(error),
            }
        })
    }

    /// Waits for a message. [`Fatal::Gone`] when the other end is closed.
    pub fn receive(&self) -> Result<Received<R>, Fatal> {
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        let (length, descriptors) = match receive_packet(self.socket.as_fd(), &mut buffer) {
            Ok((0, _)) => return Err(Fatal::Gone(self.peer)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Fatal::Gone(self.peer));
            }
            Err(error) => return Err(Fatal::Io(error)),
            Ok(received) => received,
        };
        let received = buffer.get_mut(..length).unwrap_or_default();
        let message = decode(received);
        // It may have held a store's credentials.
        received.zeroize();
        Ok(Received {
            message: message?,
            descriptors,
            peer: self.peer,
        })
    }
}

impl<S, R> AsFd for Wire<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits at most `timeout_millis` milliseconds until a descriptor is ready, and returns which ones
/// are. A closed end counts as ready.
pub fn wait<const N: usize>(
    descriptors: [(BorrowedFd<'_>, PollFlags); N],
    timeout_millis: Option<u64>,
) -> Result<[bool; N], Fatal> {
    let mut polled =
        descriptors.map(|(descriptor, events)| PollFd::from_borrowed_fd(descriptor, events));
    let timeout = timeout_millis.map(|millis| Timespec {
        tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from((millis % 1000).saturating_mul(1_000_000)).unwrap_or(0),
    });
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))?;
    Ok(polled.map(|descriptor| !descriptor.revents().is_empty()))
}
