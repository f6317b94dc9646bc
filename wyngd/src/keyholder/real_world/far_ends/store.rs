// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine's store over the far ends: PUTs and their receipts, reads and listings. How a far end
//! is started, waited for and given up is in `calls`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use wyng_archive::Fault;
use wyng_control::{Abilities, Failure};
use wyng_jail::{MappedFile, MemfileError};
use wyng_wire::BlobName;

use super::calls::FarEnds;
use super::faults::kept;
use super::fetch::Range;
use super::memory_file::{memory_file, read_at};
use super::push::{Sent, Settled};
use super::signer::SIGNED_AGAIN_MAX;
use crate::ipc::{
    DeleteAnswer, Fatal, KeyholderToTransport, Listed, NotGot, Received, RenewAnswer, Service,
    SignedPage, TransportToKeyholder, wait,
};
use crate::keyholder::real_world::control::{Control, broken};
use wyng_engine::world::{
    Deleted, Doomed, Fetched, Found, Lasting, OpenStore, Place, Receipt, Renewed, Reserve, Store,
    Wait,
};

/// Maximum number of bytes of blobs that the transport has and the far end has not settled: it
/// bounds the memory.
const UNSETTLED_MAX_BYTES: u64 = 32 << 20;
/// Maximum number of blobs that the far end has not settled. What waits in the wires is bounded, so
/// that neither end waits for the other to read.
const UNSETTLED_MAX: usize = 64;
/// Maximum number of names that are looked up at a time.
const STATS_AHEAD: usize = 64;
/// Number of buffers that are kept for the next blobs: one is filled while another is named.
const SPARE_BUFFERS: usize = 2;
/// Maximum number of blobs in a listing of pages; the transport bounds any other.
const LISTED_MAX: u64 = 1 << 24;

impl FarEnds {
    /// Puts a blob; waits while too many blobs or bytes are unsettled.
    fn put_blob(
        &mut self,
        name: BlobName,
        bytes: Vec<u8>,
        length: usize,
        reserve: Reserve,
    ) -> Result<u64, Failure> {
        while !self.push.unsettled.is_empty()
            && (self.push.unsettled.len() >= UNSETTLED_MAX
                || self.push.unsettled_bytes().saturating_add(length as u64) > UNSETTLED_MAX_BYTES)
        {
            self.take_receipt()?;
        }
        let is_signed = self.signer(Service::Push).is_some();
        let body = bytes.get(..length).unwrap_or_default();
        let sha256 = is_signed.then(|| wyng_s3::sha256(body));
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
            on_the_pipe: self.push.next_on_the_pipe(),
            name: name.0,
            length_bytes,
            reserve,
            file,
            sha256,
            again: 0,
            answer: None,
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
        let are_signed = self.signer(Service::Push).is_some();
        Ok(Some(Receipt {
            number,
            kept: kept(answer, are_signed, &self.opening(Service::Push).store)?,
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
            } => self.settle_put(first, last, answer),
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

impl FarEnds {
    fn send_delete(&self, number: u64, doomed: Doomed) -> Result<(), Failure> {
        let signer = self.signer(Service::Prune);
        self.send_transport(&KeyholderToTransport::Delete {
            number,
            name: doomed.name().0,
            signature: signer.map(|signer| signer.delete(doomed)).transpose()?,
        })
    }

    /// Signs and sends DELETEs again whose signatures were too old.
    fn delete_again(&mut self, first: u64, last: u64) -> Result<(), Failure> {
        for number in first..=last {
            match self
                .prune
                .ask_again(number, SIGNED_AGAIN_MAX, DeleteAnswer::Expired)?
            {
                Some((doomed, number)) if self.signer(Service::Prune).is_some() => {
                    self.send_delete(number, doomed)?;
                }
                _ => return Err(self.wrong_clock(Service::Prune)),
            }
        }
        Ok(())
    }

    fn send_renew(&self, number: u64, lasting: Lasting) -> Result<(), Failure> {
        let Lasting { name, until_day } = lasting;
        let signature = match self.signer(Service::Push) {
            None => None,
            Some(signer) => Some(
                signer
                    .renew(&name.0, until_day)
                    .ok_or_else(|| Failure::internal("a store without locks is to lock"))?,
            ),
        };
        self.send_transport(&KeyholderToTransport::Renew {
            number,
            name: name.0,
            until_day,
            signature,
        })
    }

    /// Signs and sends a RENEW again whose signature was too old.
    fn renew_again(&mut self, number: u64) -> Result<(), Failure> {
        let again = self
            .renewals
            .ask_again(number, SIGNED_AGAIN_MAX, RenewAnswer::Expired)?;
        match again {
            Some((lasting, number)) if self.signer(Service::Push).is_some() => {
                self.send_renew(number, lasting)
            }
            _ => Err(self.wrong_clock(Service::Push)),
        }
    }

    /// Lists the versions of a blob unless that was done in this call. Answers to what was
    /// requested before come first, and are kept.
    fn list_versions(&mut self, name: [u8; 32]) -> Result<(), Failure> {
        if !self.older.must_list(&name) {
            return Ok(());
        }
        for _ in 0..=SIGNED_AGAIN_MAX {
            let signer = self.signer(Service::Fetch);
            let signer = signer.ok_or(Failure::FarEndProtocol)?;
            let signature = signer.versions(&name)?;
            self.send_transport(&KeyholderToTransport::Versions { name, signature })?;
            loop {
                let received = self.fetch_message()?;
                match received.message {
                    TransportToKeyholder::Versions(ids) => return self.older.note(name, &ids),
                    TransportToKeyholder::VersionsExpired => break,
                    _ => self.settle_get(received)?,
                }
            }
        }
        Err(self.wrong_clock(Service::Fetch))
    }

    fn send_get(&self, range: Range) -> Result<(), Failure> {
        let id = self.older.id_of(&range.name, range.version);
        let signer = self.signer(Service::Fetch);
        let signature = signer.map(|signer| signer.get(&range, id)).transpose()?;
        let Range {
            name,
            offset_bytes,
            length_bytes,
            version,
        } = range;
        self.send_transport(&KeyholderToTransport::Get {
            name,
            offset_bytes,
            length_bytes,
            version,
            version_id: id.map(|id| id.as_str().to_owned()),
            signature,
        })
    }

    /// Notes the answer to the oldest GET on the pipe; one that expired is signed and sent again.
    fn settle_get(&mut self, received: Received<TransportToKeyholder>) -> Result<(), Failure> {
        let answer = match received.message {
            TransportToKeyholder::Got { length_bytes } => {
                let length = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                let file = received.descriptor().map_err(|fatal| broken(&fatal))?;
                Fetched::Bytes(mapped(&file, length)?)
            }
            TransportToKeyholder::NotGot(NotGot::Expired) => {
                return match self.fetch.ask_again(SIGNED_AGAIN_MAX)? {
                    Some(range) if self.signer(Service::Fetch).is_some() => self.send_get(range),
                    _ => Err(self.wrong_clock(Service::Fetch)),
                };
            }
            TransportToKeyholder::NotGot(NotGot::Missing) => Fetched::Missing,
            TransportToKeyholder::NotGot(NotGot::Short) => Fetched::Short,
            TransportToKeyholder::NotGot(NotGot::Foreign) => Fetched::Unreadable(Fault::Foreign),
            TransportToKeyholder::NotGot(NotGot::Refused) => Fetched::Unreadable(Fault::Refused),
            TransportToKeyholder::NotGot(NotGot::Failed) => Fetched::Unreadable(Fault::Unreadable),
            _ => return Err(broken(&Fatal::Unexpected("transport"))),
        };
        self.fetch.settle(answer)
    }

    /// Lists all blobs, or a page of them, and returns what the end says.
    fn listed(
        &mut self,
        page: Option<SignedPage>,
        visit: &mut dyn FnMut([u8; 32], u64),
    ) -> Result<Listed, Failure> {
        self.send_transport(&KeyholderToTransport::List { page })?;
        loop {
            match self.fetch_message()?.message {
                TransportToKeyholder::Entries(entries) => entries
                    .into_iter()
                    .for_each(|(name, length)| visit(name, length)),
                TransportToKeyholder::ListEnd(end) => return Ok(end),
                _ => return Err(broken(&Fatal::Unexpected("transport"))),
            }
        }
    }

    /// Lists page by page, each signed behind the last name of the page before. Names that do not
    /// ascend end the listing, which is incomplete then.
    fn list_pages(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        let (mut last, mut count, mut again) = (None, 0u64, 0u8);
        loop {
            let signer = self.signer(Service::Fetch);
            let page = signer.ok_or(Failure::FarEndProtocol)?.page(last)?;
            let (after, mut ascend) = (last, true);
            let end = self.listed(Some(page), &mut |name, length| {
                ascend &= last.is_none_or(|last| name > last);
                if ascend {
                    (last, count) = (Some(name), count.saturating_add(1));
                    visit(BlobName(name), length);
                }
            })?;
            if count > LISTED_MAX {
                return Err(Failure::FarEndProtocol);
            }
            match end {
                Listed::All => return Ok(ascend),
                Listed::Part => return Ok(false),
                // A page without a name cannot be followed.
                Listed::More if !ascend || last == after => return Ok(false),
                Listed::More => again = 0,
                Listed::Expired if again < SIGNED_AGAIN_MAX => again = again.saturating_add(1),
                Listed::Expired => return Err(self.wrong_clock(Service::Fetch)),
            }
        }
    }
}

/// The memory of a sealed file of this length.
fn mapped(file: &OwnedFd, length: usize) -> Result<MappedFile, Failure> {
    MappedFile::map(file, length).map_err(|error| match error {
        MemfileError::Io(error) => Failure::MemoryFile {
            errno: error.raw_os_error().unwrap_or(0),
        },
        MemfileError::NotSealed | MemfileError::Length => broken(&Fatal::Unexpected("transport")),
    })
}

impl FarEnds {
    /// What lies under at most [`STATS_AHEAD`] names. Names whose signature has expired are looked
    /// up again.
    fn stat_some(&mut self, names: &[BlobName]) -> Result<Vec<Found>, Failure> {
        let mut found = vec![Found::Unknown; names.len()];
        let mut open: Vec<usize> = (0..names.len()).collect();
        for _ in 0..=SIGNED_AGAIN_MAX {
            self.control.with(Control::unless_cancelled)?;
            for name in open.iter().filter_map(|place| names.get(*place)) {
                let signer = self.signer(Service::Fetch);
                let signature = signer.map(|signer| signer.stat(&name.0)).transpose()?;
                let name = name.0;
                self.send_transport(&KeyholderToTransport::Stat { name, signature })?;
            }
            let mut expired = Vec::new();
            for place in open {
                match self.fetch_message()?.message {
                    TransportToKeyholder::Stated(stated) => {
                        if let Some(found) = found.get_mut(place) {
                            *found = stated;
                        }
                    }
                    TransportToKeyholder::StatExpired => expired.push(place),
                    _ => return Err(broken(&Fatal::Unexpected("transport"))),
                }
            }
            if expired.is_empty() {
                return Ok(found);
            }
            if self.signer(Service::Fetch).is_none() {
                return Err(Failure::FarEndProtocol);
            }
            open = expired;
        }
        Err(self.wrong_clock(Service::Fetch))
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

    fn renew(&mut self, lasting: Lasting) -> Result<(), Failure> {
        if self.push.number > 0 {
            return Err(Failure::internal(
                "a lock is lengthened in a call that stores",
            ));
        }
        self.control.with(|control| control.prompts.work_begins());
        self.control.with(Control::unless_cancelled)?;
        let number = self.renewals.next(lasting);
        self.send_renew(number, lasting)
    }

    fn renewed(&mut self) -> Result<Renewed, Failure> {
        let answer = loop {
            if let Some(answer) = self.renewals.take_answer() {
                break answer;
            }
            match self.transport_message()?.message {
                TransportToKeyholder::Renewed {
                    number,
                    answer: RenewAnswer::Expired,
                } => self.renew_again(number)?,
                TransportToKeyholder::Renewed { number, answer } => {
                    self.renewals.settle(number, number, answer)?;
                }
                _ => return Err(broken(&Fatal::Unexpected("transport"))),
            }
        };
        match answer {
            RenewAnswer::Renewed => Ok(Renewed::Locked),
            RenewAnswer::Missing => Ok(Renewed::Missing),
            RenewAnswer::Unsupported => Ok(Renewed::Unsupported),
            RenewAnswer::Refused => Ok(Renewed::Refused),
            RenewAnswer::NotRenewed => Ok(Renewed::Failed),
            RenewAnswer::Expired => Err(self.wrong_clock(Service::Push)),
            RenewAnswer::Failed => Err(Failure::StoreFailed {
                store: self.opening(Service::Push).store,
            }),
        }
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        self.end_push()
    }

    fn delete(&mut self, doomed: Doomed) -> Result<(), Failure> {
        self.control.with(|control| control.prompts.work_begins());
        self.control.with(Control::unless_cancelled)?;
        let number = self.prune.next(doomed);
        self.send_delete(number, doomed)
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
                    answer: DeleteAnswer::Expired,
                } => self.delete_again(first, last)?,
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
            DeleteAnswer::Expired => Err(self.wrong_clock(Service::Prune)),
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
        let range = Range {
            name: name.0,
            offset_bytes: u64::from(offset_bytes),
            length_bytes,
            version: self.fetch.version_of(&name.0),
        };
        // Only the store knows the id of an older version, without which no request can be signed.
        if range.version > 0 && self.signer(Service::Fetch).is_some() {
            self.list_versions(range.name)?;
            let id = self.older.id_of(&range.name, range.version);
            if id.is_none() || length_bytes == 0 {
                self.fetch.note_missing(range);
                return Ok(());
            }
        }
        self.fetch.note(range);
        self.send_get(range)
    }

    fn show_version(&mut self, name: BlobName, version: u8) {
        self.fetch.show_version(name.0, version);
    }

    fn answer(&mut self) -> Result<Fetched<MappedFile>, Failure> {
        loop {
            if let Some(answer) = self.fetch.take()? {
                return Ok(answer);
            }
            let received = self.fetch_message()?;
            self.settle_get(received)?;
        }
    }

    fn stat(&mut self, name: BlobName) -> Result<Found, Failure> {
        let found = self.stat_each(&[name])?;
        found
            .first()
            .copied()
            .ok_or_else(|| Failure::internal("a name was not looked up"))
    }

    fn stat_each(&mut self, names: &[BlobName]) -> Result<Vec<Found>, Failure> {
        self.control.with(|control| control.prompts.work_begins());
        let mut all = Vec::with_capacity(names.len());
        // What waits in the wires is bounded, so that neither end waits for the other to read.
        for names in names.chunks(STATS_AHEAD) {
            all.extend(self.stat_some(names)?);
        }
        Ok(all)
    }

    fn list(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        if self.signer(Service::Fetch).is_some() {
            return self.list_pages(visit);
        }
        let all = &mut |name: [u8; 32], length| visit(BlobName(name), length);
        match self.listed(None, all)? {
            Listed::All => Ok(true),
            Listed::Part => Ok(false),
            Listed::More | Listed::Expired => Err(Failure::FarEndProtocol),
        }
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        self.send_transport(&KeyholderToTransport::EndFetch)?;
        self.let_end(Service::Fetch)
    }

    fn take_free_mib(&mut self) -> Option<u32> {
        self.free_mib.take()
    }

    fn take_abilities(&mut self) -> Abilities {
        std::mem::take(&mut self.abilities)
    }

    fn peak_bytes(&self) -> u64 {
        self.push
            .unsettled_peak_bytes
            .saturating_add(self.peak_bytes)
    }
}
