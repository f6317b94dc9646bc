// SPDX-License-Identifier: GPL-3.0-or-later
//! What the helper is sent: the keyholder's requests in their order, as frames and bodies. It keeps
//! the numbers and the tally; the pipe belongs to the caller.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use wyng_wire::{
    BlobName, Delete, EncodeError, Get, Hello, List, Open, Page, Put, Renew, Service, Stat,
    TO_HELPER_MAX, Tally, ToHelper, VersionId, Versions,
};

use zeroize::Zeroize;

use super::incoming::{Expected, Window};
use super::stop::Stop;
use crate::ipc::{Signature, SignedPage};

/// A request of the keyholder.
pub(in crate::transport) enum Request {
    /// A blob, in a sealed memory file.
    Put {
        number: u64,
        name: [u8; 32],
        length_bytes: u32,
        may_use_reserve: bool,
        signature: Option<Signature>,
        file: OwnedFd,
    },
    /// A blob whose lock is to be lengthened.
    Renew {
        number: u64,
        name: [u8; 32],
        until_day: u32,
        signature: Option<Signature>,
    },
    /// Everything that was put is to be settled.
    Sync,
    /// A blob to delete.
    Delete {
        number: u64,
        name: [u8; 32],
        signature: Option<Signature>,
    },
    /// The push or the prune is over.
    End,
    /// A range of a blob.
    Get {
        name: [u8; 32],
        offset_bytes: u64,
        length_bytes: u32,
        version: u8,
        version_id: Option<String>,
        signature: Option<Signature>,
    },
    /// The ids of a blob's older versions.
    Versions {
        name: [u8; 32],
        signature: Signature,
    },
    /// Whether a blob exists.
    Stat {
        name: [u8; 32],
        signature: Option<Signature>,
    },
    /// The blobs of the store, or a page of them.
    List { page: Option<SignedPage> },
    /// The fetch is over: its pipe is closed.
    Close,
}

/// A body that is being sent.
pub(super) struct Body {
    /// Sealed, so its pages can go into the pipe as they are.
    pub(super) file: OwnedFd,
    /// Where the rest begins in the file, bytes.
    pub(super) offset: u64,
    /// Length of the rest, bytes; never 0.
    pub(super) left_bytes: usize,
}

/// What became of the next request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// There is none, or it has to wait.
    Nothing,
    /// Its frame is queued, and no answer of its own is due.
    Unanswered,
    /// Its frame is queued, and the helper owes this.
    Answered(Expected),
    /// The pipe to the helper is to be closed.
    Close,
}

/// The daemon's side of one call.
pub(super) struct Outgoing {
    queue: VecDeque<Request>,
    /// Frames that are encoded and not yet written.
    frames: Vec<u8>,
    /// Follows the frames.
    body: Option<Body>,
    /// Number of the last PUT, RENEW, DELETE or request.
    number: u64,
    /// The PUTs and RENEWs, or the DELETEs, so far.
    sent: Tally,
}

impl Outgoing {
    /// HELLO and OPEN. Fails where no OPEN can carry this store's address.
    pub(super) fn open(service: Service, open: Open<'_>) -> Result<Self, EncodeError> {
        let mut outgoing = Self {
            queue: VecDeque::new(),
            frames: Hello { service }.encode().to_vec(),
            body: None,
            number: 0,
            sent: Tally::default(),
        };
        outgoing.encode(&ToHelper::Open(open))?;
        Ok(outgoing)
    }

    /// Queues what the keyholder wants sent.
    pub(super) fn queue(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    /// Frames that are to be written first.
    pub(super) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// Drops frame bytes that the pipe took.
    pub(super) fn wrote_frames(&mut self, bytes: usize) {
        let bytes = bytes.min(self.frames.len());
        // OPEN may hold a store's credentials.
        if let Some(written) = self.frames.get_mut(..bytes) {
            written.zeroize();
        }
        self.frames.drain(..bytes);
    }

    /// The body that is to be sent once no frames are left.
    pub(super) fn body(&mut self) -> Option<&mut Body> {
        self.body.as_mut()
    }

    /// Drops body bytes that the pipe took.
    pub(super) fn sent_of_body(&mut self, bytes: usize) {
        if let Some(body) = &mut self.body {
            body.left_bytes = body.left_bytes.saturating_sub(bytes);
        }
        self.body.take_if(|body| body.left_bytes == 0);
    }

    /// Whether a body is on its way.
    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether a frame or a body is not written yet.
    pub(super) fn is_unwritten(&self) -> bool {
        !self.frames.is_empty() || self.body.is_some()
    }

    /// Whether the next request may go. A body waits for the window, unless it would be alone in
    /// it.
    pub(super) fn next_may_go(&self, window: Window) -> bool {
        match self.queue.front() {
            None => false,
            Some(Request::Put { length_bytes, .. }) => window.has_room_for(*length_bytes),
            Some(_) => window.is_open(),
        }
    }

    /// Encodes the next request, if it may go. Call it when nothing is unwritten.
    pub(super) fn begin_next(&mut self, window: Window) -> Result<Begun, Stop> {
        if !self.next_may_go(window) {
            return Ok(Begun::Nothing);
        }
        let Some(next) = self.queue.pop_front() else {
            return Ok(Begun::Nothing);
        };
        self.begin(next)
    }

    fn begin(&mut self, request: Request) -> Result<Begun, Stop> {
        Ok(match request {
            Request::Put {
                number,
                name,
                length_bytes,
                may_use_reserve,
                signature,
                file,
            } => {
                let name = BlobName(name);
                self.encode(&ToHelper::Put(Put {
                    number,
                    name,
                    length_bytes,
                    may_use_reserve,
                    signed: signature.as_ref().map(Signature::on_the_pipe),
                }))?;
                self.number = number;
                self.sent.add(&name);
                let left_bytes = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                self.body = (left_bytes > 0).then_some(Body {
                    file,
                    offset: 0,
                    left_bytes,
                });
                Begun::Answered(Expected::Receipt {
                    number,
                    name,
                    length_bytes,
                })
            }
            Request::Renew {
                number,
                name,
                until_day,
                signature,
            } => {
                let name = BlobName(name);
                let signed = signature.as_ref().map(Signature::on_the_pipe);
                Begun::Answered(self.begin_renewal(Renew {
                    number,
                    name,
                    until_day,
                    signed,
                })?)
            }
            Request::Sync => {
                self.encode(&ToHelper::Sync)?;
                Begun::Unanswered
            }
            Request::Delete {
                number,
                name,
                signature,
            } => {
                let name = BlobName(name);
                let signed = signature.as_ref().map(Signature::on_the_pipe);
                Begun::Answered(self.begin_deletion(Delete {
                    number,
                    name,
                    signed,
                })?)
            }
            Request::End => {
                self.encode(&ToHelper::End(self.sent))?;
                Begun::Answered(Expected::Final)
            }
            Request::Get {
                name,
                offset_bytes,
                length_bytes,
                version,
                version_id,
                signature,
            } => Begun::Answered(self.begin_get(Get {
                request: self.following(),
                name: BlobName(name),
                offset_bytes,
                length_bytes,
                version,
                version_id: checked(version_id.as_deref())?,
                signed: signature.as_ref().map(Signature::on_the_pipe),
            })?),
            Request::Versions { name, signature } => {
                Begun::Answered(self.begin_versions(name, &signature)?)
            }
            Request::Stat { name, signature } => {
                Begun::Answered(self.begin_stat(name, signature.as_ref())?)
            }
            Request::List { page } => Begun::Answered(self.begin_list(page.as_ref())?),
            Request::Close => Begun::Close,
        })
    }

    fn begin_deletion(&mut self, delete: Delete<'_>) -> Result<Expected, EncodeError> {
        let Delete { number, name, .. } = delete;
        self.encode(&ToHelper::Delete(delete))?;
        self.number = number;
        self.sent.add(&name);
        Ok(Expected::Receipt {
            number,
            name,
            length_bytes: 0,
        })
    }

    fn begin_renewal(&mut self, renew: Renew<'_>) -> Result<Expected, EncodeError> {
        let Renew { number, name, .. } = renew;
        self.encode(&ToHelper::Renew(renew))?;
        self.number = number;
        self.sent.add(&name);
        Ok(Expected::Renewed { number, name })
    }

    fn begin_get(&mut self, get: Get<'_>) -> Result<Expected, EncodeError> {
        let (request, length_bytes) = (get.request, get.length_bytes);
        self.encode(&ToHelper::Get(get))?;
        self.number = request;
        Ok(Expected::Bytes {
            request,
            length_bytes,
        })
    }

    fn begin_versions(
        &mut self,
        name: [u8; 32],
        signature: &Signature,
    ) -> Result<Expected, EncodeError> {
        let request = self.next_number();
        self.encode(&ToHelper::Versions(Versions {
            request,
            name: BlobName(name),
            signed: signature.on_the_pipe(),
        }))?;
        Ok(Expected::Versions { request })
    }

    fn begin_stat(
        &mut self,
        name: [u8; 32],
        signature: Option<&Signature>,
    ) -> Result<Expected, EncodeError> {
        let request = self.next_number();
        self.encode(&ToHelper::Stat(Stat {
            request,
            name: BlobName(name),
            signed: signature.map(Signature::on_the_pipe),
        }))?;
        Ok(Expected::Stated { request })
    }

    fn begin_list(&mut self, page: Option<&SignedPage>) -> Result<Expected, EncodeError> {
        let request = self.next_number();
        let page = page.map(|page| Page {
            after: page.after.map(BlobName),
            signed: page.signature.on_the_pipe(),
        });
        self.encode(&ToHelper::List(List { request, page }))?;
        Ok(Expected::Entries { request })
    }

    /// Queues a keep-alive. Call it when nothing is unwritten.
    pub(super) fn keep_alive(&mut self) -> Result<(), EncodeError> {
        self.encode(&ToHelper::KeepAlive)
    }

    fn following(&self) -> u64 {
        self.number.saturating_add(1)
    }

    fn next_number(&mut self) -> u64 {
        self.number = self.following();
        self.number
    }

    /// Appends a frame to what is to be written. Fails where a field is out of its bounds.
    fn encode(&mut self, frame: &ToHelper<'_>) -> Result<(), EncodeError> {
        let mut buffer = [0; TO_HELPER_MAX];
        let encoded = frame.encode(&mut buffer)?;
        self.frames.extend_from_slice(encoded);
        Ok(())
    }
}

/// The id of a version as a frame carries it.
fn checked(id: Option<&str>) -> Result<Option<VersionId>, EncodeError> {
    id.map(|id| VersionId::new(id).ok_or(EncodeError::OutOfBounds))
        .transpose()
}

#[cfg(test)]
mod tests {
    use wyng_wire::HELLO_BYTES;

    use super::super::incoming::Incoming;
    use super::super::incoming::tests::open_window;
    use super::*;

    const OPEN: Open<'static> = Open {
        create: false,
        tries: false,
        looks_at_versions: false,
        signed: None,
        lock_until_day: 0,
        destination: b"dir:/srv/wyng",
    };

    fn outgoing() -> Outgoing {
        let mut outgoing = Outgoing::open(Service::Push, OPEN).unwrap();
        outgoing.wrote_frames(usize::MAX);
        outgoing
    }

    fn put(number: u64, length_bytes: u32) -> Request {
        Request::Put {
            number,
            name: [1; 32],
            length_bytes,
            may_use_reserve: false,
            signature: None,
            file: wyng_jail::new_file().unwrap(),
        }
    }

    #[test]
    fn hello_and_open_come_first_and_an_address_that_no_open_can_carry_is_refused() {
        let outgoing = Outgoing::open(Service::Push, OPEN).unwrap();
        let (hello, open) = outgoing.frames().split_at(HELLO_BYTES);
        let service = Service::Push;
        assert_eq!(hello, Hello { service }.encode());
        assert_eq!(ToHelper::decode(open), Ok(ToHelper::Open(OPEN)));
        for destination in [&b""[..], &[b'x'; 5000]] {
            let open = Open {
                create: false,
                tries: false,
                looks_at_versions: false,
                signed: None,
                lock_until_day: 0,
                destination,
            };
            assert!(Outgoing::open(Service::Push, open).is_err());
        }
    }

    #[test]
    fn nothing_goes_before_the_store_is_open() {
        let mut outgoing = outgoing();
        outgoing.queue(Request::Sync);
        let closed = Incoming::new(Service::Push).window();
        assert!(!outgoing.next_may_go(closed));
        assert!(matches!(outgoing.begin_next(closed), Ok(Begun::Nothing)));
        let begun = outgoing.begin_next(open_window());
        assert!(matches!(begun, Ok(Begun::Unanswered)), "{begun:?}");
    }

    #[test]
    fn a_body_follows_its_frame_and_is_over_when_the_pipe_took_all_of_it() {
        let mut outgoing = outgoing();
        outgoing.queue(put(1, 10));
        outgoing.queue(put(2, 0));
        let begun = outgoing.begin_next(open_window()).unwrap();
        let expected = Expected::Receipt {
            number: 1,
            name: BlobName([1; 32]),
            length_bytes: 10,
        };
        assert_eq!(begun, Begun::Answered(expected));
        outgoing.wrote_frames(usize::MAX);
        outgoing.sent_of_body(4);
        assert_eq!(outgoing.body().map(|body| body.left_bytes), Some(6));
        outgoing.sent_of_body(6);
        assert!(!outgoing.is_unwritten());
        assert!(outgoing.begin_next(open_window()).is_ok());
        assert!(!outgoing.has_body(), "a PUT of no bytes has no body");
    }

    #[test]
    fn end_states_what_was_put() {
        let mut outgoing = outgoing();
        outgoing.queue(put(1, 0));
        outgoing.queue(Request::End);
        assert!(outgoing.begin_next(open_window()).is_ok());
        outgoing.wrote_frames(usize::MAX);
        let begun = outgoing.begin_next(open_window()).unwrap();
        assert_eq!(begun, Begun::Answered(Expected::Final));
        let mut sent = Tally::default();
        sent.add(&BlobName([1; 32]));
        assert_eq!(ToHelper::decode(outgoing.frames()), Ok(ToHelper::End(sent)));
    }

    #[test]
    fn requests_are_numbered_from_one_and_a_keep_alive_has_no_number() {
        let mut outgoing = Outgoing::open(Service::Fetch, OPEN).unwrap();
        outgoing.queue(Request::List { page: None });
        outgoing.queue(Request::Stat {
            name: [1; 32],
            signature: None,
        });
        let next = |outgoing: &mut Outgoing| outgoing.begin_next(open_window()).unwrap();
        let first = Expected::Entries { request: 1 };
        assert_eq!(next(&mut outgoing), Begun::Answered(first));
        assert!(outgoing.keep_alive().is_ok());
        let second = Expected::Stated { request: 2 };
        assert_eq!(next(&mut outgoing), Begun::Answered(second));
        outgoing.queue(Request::Close);
        assert_eq!(next(&mut outgoing), Begun::Close);
    }
}
