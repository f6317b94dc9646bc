// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine's store over the far ends: PUTs and their receipts, reads and listings. How a far end
//! is started, waited for and given up is in `calls`.

use std::os::fd::AsFd;

use rustix::event::PollFlags;
use wyng_archive::Fault;
use wyng_control::Failure;
use wyng_jail::{MappedFile, MemfileError};
use wyng_wire::BlobName;

use super::calls::FarEnds;
use super::faults::kept;
use super::memory_file::{memory_file, read_at};
use super::push::{Sent, Settled};
use crate::ipc::{
    DeleteAnswer, Fatal, KeyholderToTransport, NotGot, Service, TransportToKeyholder, wait,
};
use crate::keyholder::real_world::control::{Control, broken};
use wyng_engine::world::{
    Deleted, Fetched, Found, OpenStore, Place, Receipt, Reserve, Store, Wait,
};

/// Maximum number of bytes of blobs that the transport has and the far end has not settled: it
/// bounds the memory.
const UNSETTLED_MAX_BYTES: u64 = 32 << 20;
/// Number of buffers that are kept for the next blobs: one is filled while another is named.
const SPARE_BUFFERS: usize = 2;

impl FarEnds {
    /// Puts a blob; waits while too many bytes are unsettled.
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
        if self.spare.len() < SPARE_BUFFERS {
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
        self.push.note_sent(sent);
        Ok(number)
    }

    /// The next receipt that nobody asked for yet.
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
        let Some(Settled {
            number,
            answer,
            returned,
        }) = self.push.receipts.pop_front()
        else {
            return Ok(None);
        };
        self.push.returned = returned;
        Ok(Some(Receipt {
            number,
            kept: kept(answer, &self.opening(Service::Push).store)?,
        }))
    }

    /// The bytes of the last receipt's blob, which the store did not take.
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

    /// Waits for one message: receipts, or an answer to a fetch that goes on beside the push, which
    /// is kept until somebody asks for it.
    fn take_receipt(&mut self) -> Result<(), Failure> {
        let received = self.transport_message()?;
        match received.message {
            TransportToKeyholder::Receipt {
                first,
                last,
                answer,
            } => self.push.settle(first, last, answer),
            TransportToKeyholder::Got { .. } | TransportToKeyholder::NotGot(_) => {
                self.heard.push_back(received);
                Ok(())
            }
            _ => Err(Failure::FarEndProtocol),
        }
    }

    /// Ends the push by FINAL, with the tally of what has a receipt: from then on all of it is
    /// durable.
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
}

impl Store for FarEnds {
    type Buffer = Vec<u8>;
    type Bytes = MappedFile;

    fn connect(
        &mut self,
        service: wyng_wire::Service,
        place: &Place,
        open: OpenStore,
    ) -> Result<(), Failure> {
        let service = match service {
            wyng_wire::Service::Push => Service::Push,
            wyng_wire::Service::Fetch => Service::Fetch,
            wyng_wire::Service::Prune => Service::Prune,
        };
        self.control.with(|control| control.prompts.work_begins());
        self.connect_far_end(service, place, open)
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

    fn delete(&mut self, name: BlobName) -> Result<(), Failure> {
        self.control.with(|control| control.prompts.work_begins());
        self.control.with(Control::unless_cancelled)?;
        let number = self.prune.next();
        let name = name.0;
        self.send_transport(&KeyholderToTransport::Delete { number, name })
    }

    fn deleted(&mut self) -> Result<Deleted, Failure> {
        let answer = loop {
            if let Some(answer) = self.prune.take_answer() {
                break answer;
            }
            match self.message_of(Service::Prune)?.message {
                TransportToKeyholder::Deleted {
                    first,
                    last,
                    answer,
                } => self.prune.settle(first, last, answer)?,
                _ => return Err(broken(&Fatal::Unexpected("transport"))),
            }
        };
        match answer {
            DeleteAnswer::Deleted => Ok(Deleted::Gone),
            DeleteAnswer::Absent => Ok(Deleted::Absent),
            DeleteAnswer::Refused => Ok(Deleted::Refused),
            DeleteAnswer::Failed => Err(Failure::StoreFailed {
                store: self.opening(Service::Prune).store,
            }),
        }
    }

    fn finish_prune(&mut self) -> Result<(), Failure> {
        self.send_transport(&KeyholderToTransport::EndPrune)?;
        match self.message_of(Service::Prune)?.message {
            TransportToKeyholder::Final { peak_rss_bytes } => self.peak_bytes = peak_rss_bytes,
            _ => return Err(broken(&Fatal::Unexpected("transport"))),
        }
        self.let_end(Service::Prune)
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

    fn take_free_mib(&mut self) -> Option<u32> {
        self.free_mib.take()
    }

    fn peak_bytes(&self) -> u64 {
        self.push
            .unsettled_peak_bytes
            .saturating_add(self.peak_bytes)
    }
}
