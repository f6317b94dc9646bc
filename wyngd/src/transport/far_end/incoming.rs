// SPDX-License-Identifier: GPL-3.0-or-later
//! What the helper says: every byte from the VM is decoded here, by `wyng-wire`, and held to its
//! rules and to what was asked. The first byte that breaks them ends the call. Neither the pipe nor
//! the keyholder's wire is touched: bytes come in, answers wait to be passed on.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use wyng_control::{Abilities, CreateOnly, Durability, Found};
use wyng_jail::{new_file, seal_file};
use wyng_wire::{
    BlobBytes, BlobName, BytesStatus, Entry, GET_VERSION_MAX, HEADER_BYTES, HELLO_BYTES, Hello,
    HelloError, ListEnd, ListStatus, MAGIC, OpenStatus, Opened, Receipt, ReceiptStatus, Service,
    StatStatus, Stated, Tally, ToDaemon, ToDaemonRules, Version, VersionsEnd, VersionsStatus,
    WINDOW_BYTES,
};

use super::pace::{ANSWER_WORTH_BYTES, ENTRY_WORTH_BYTES};
use super::stop::{Stop, no_room};
use super::watchdog::Watchdog;
use crate::ipc::{
    DeleteAnswer, FarEndFault, Fatal, Listed, NotGot, PutAnswer, RenewAnswer, TransportToKeyholder,
};

/// Maximum number of blobs in a listing: at 16 MiB each they would hold 256 TiB. A longer listing
/// never ends.
const LISTED_MAX: u64 = 1 << 24;
/// Maximum number of a listing's entries in one message.
const ENTRIES_A_MESSAGE: usize = 1000;

/// An answer that the helper owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The receipt of a PUT or a DELETE; the latter's length is 0.
    Receipt {
        number: u64,
        name: BlobName,
        length_bytes: u32,
    },
    /// The receipt of a RENEW.
    Renewed { number: u64, name: BlobName },
    /// FINAL, after END.
    Final,
    /// The bytes of a GET.
    Bytes { request: u64, length_bytes: u32 },
    /// The answer to a STAT.
    Stated { request: u64 },
    /// The entries of a LIST.
    Entries { request: u64 },
    /// The ids of a VERSIONS.
    Versions { request: u64 },
}

/// How much the helper may be sent now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    is_open: bool,
    is_empty: bool,
    unsettled_bytes: u64,
}

impl Window {
    /// Whether the store is open, so that requests may be sent.
    pub(super) fn is_open(self) -> bool {
        self.is_open
    }

    /// Whether a body of this length may be sent: it fits, or it is alone.
    pub(super) fn has_room_for(self, length_bytes: u32) -> bool {
        let with_it = self.unsettled_bytes.saturating_add(u64::from(length_bytes));
        self.is_open && (self.is_empty || with_it <= WINDOW_BYTES)
    }
}

/// What is to be read from the pipe next.
pub(super) enum Wanted<'a> {
    /// At most this many bytes, for [`Incoming::take`].
    Bytes(usize),
    /// At most `left_bytes` bytes, moved into this memory file without a copy, for
    /// [`Incoming::moved_of_body`].
    Body {
        file: &'a OwnedFd,
        left_bytes: usize,
    },
}

/// For the keyholder: a message, and the memory file that travels with it.
pub(super) struct Answer {
    pub(super) message: TransportToKeyholder,
    pub(super) file: Option<OwnedFd>,
}

/// A PUT, a RENEW or a DELETE without a receipt.
struct Unsettled {
    number: u64,
    name: BlobName,
    length_bytes: u32,
    is_renewal: bool,
}

/// A request without its last answer; answers come in the order of the requests.
enum Due {
    Bytes {
        length_bytes: u32,
        file: OwnedFd,
        got_bytes: u32,
    },
    Stated,
    /// The ids so far.
    Versions(Vec<String>),
    Entries {
        entries: Vec<([u8; 32], u64)>,
        count: u64,
    },
}

/// What the next bytes from the pipe are.
enum Expecting {
    Hello,
    Header,
    /// A frame of this length, its header included, bytes.
    Frame(usize),
    Body {
        left_bytes: u32,
        status: BytesStatus,
    },
}

/// The helper's side of one call.
pub(super) struct Incoming {
    service: Service,
    rules: ToDaemonRules,
    expecting: Expecting,
    /// The beginning of the HELLO, header or frame that is expected.
    partial: Vec<u8>,
    /// Number of the last PUT or request that was sent.
    sent_through: u64,
    unsettled: VecDeque<Unsettled>,
    /// PUTs that the store has now by its receipts, and RENEWs that are done; or DELETEs that it has
    /// no more. A name that it holds with other bytes is not among them.
    placed: Tally,
    due: VecDeque<Due>,
    is_open: bool,
    /// END is sent, and FINAL is due.
    ends: bool,
    is_finished: bool,
    answers: VecDeque<Answer>,
}

impl Incoming {
    /// A call of this service, before the helper's HELLO.
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            rules: ToDaemonRules::new(service),
            expecting: Expecting::Hello,
            partial: Vec::new(),
            sent_through: 0,
            unsettled: VecDeque::new(),
            placed: Tally::default(),
            due: VecDeque::new(),
            is_open: false,
            ends: false,
            is_finished: false,
            answers: VecDeque::new(),
        }
    }

    /// Notes what the helper owes for a frame that was queued for it.
    pub(super) fn expect(&mut self, expected: Expected) -> Result<(), Stop> {
        match expected {
            Expected::Receipt {
                number,
                name,
                length_bytes,
            } => {
                self.sent_through = number;
                self.unsettled.push_back(Unsettled {
                    number,
                    name,
                    length_bytes,
                    is_renewal: false,
                });
            }
            Expected::Renewed { number, name } => {
                self.sent_through = number;
                self.unsettled.push_back(Unsettled {
                    number,
                    name,
                    length_bytes: 0,
                    is_renewal: true,
                });
            }
            Expected::Final => self.ends = true,
            Expected::Bytes {
                request,
                length_bytes,
            } => {
                self.sent_through = request;
                self.due.push_back(Due::Bytes {
                    length_bytes,
                    file: new_file().map_err(|error| no_room(&error))?,
                    got_bytes: 0,
                });
            }
            Expected::Stated { request } => {
                self.sent_through = request;
                self.due.push_back(Due::Stated);
            }
            Expected::Versions { request } => {
                self.sent_through = request;
                self.due.push_back(Due::Versions(Vec::new()));
            }
            Expected::Entries { request } => {
                self.sent_through = request;
                self.due.push_back(Due::Entries {
                    entries: Vec::new(),
                    count: 0,
                });
            }
        }
        Ok(())
    }

    /// How much the helper may be sent now.
    pub(super) fn window(&self) -> Window {
        Window {
            is_open: self.is_open,
            is_empty: self.unsettled.is_empty(),
            unsettled_bytes: self.unsettled.iter().fold(0, |sum: u64, put| {
                sum.saturating_add(u64::from(put.length_bytes))
            }),
        }
    }

    /// Whether the helper owes an opened store, a receipt, bytes or the end.
    pub(super) fn owes_an_answer(&self) -> bool {
        let opens = !self.is_open && !matches!(self.expecting, Expecting::Hello);
        opens || self.ends || !self.unsettled.is_empty() || !self.due.is_empty()
    }

    /// Whether FINAL came.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether the next bytes are a body that goes into its memory file.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.expecting, Expecting::Body { .. })
    }

    /// What is to be read next into a buffer of this length. A body goes from the pipe into its
    /// file without passing through this process, so only what is before it is read.
    pub(super) fn wanted(&self, buffer_bytes: usize) -> Wanted<'_> {
        match (&self.expecting, self.due.front()) {
            (Expecting::Body { left_bytes, .. }, Some(Due::Bytes { file, .. })) => Wanted::Body {
                file,
                left_bytes: usize::try_from(*left_bytes).unwrap_or(usize::MAX),
            },
            (Expecting::Header | Expecting::Frame(_), Some(Due::Bytes { .. })) => {
                Wanted::Bytes(self.missing_bytes().min(buffer_bytes))
            }
            _ => Wanted::Bytes(buffer_bytes),
        }
    }

    /// The next answer for the keyholder, in the order of their coming. Answers that came before a
    /// fault count.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    fn answer(&mut self, message: TransportToKeyholder) {
        self.answers.push_back(Answer {
            message,
            file: None,
        });
    }

    /// Takes bytes from the pipe, wherever they were cut.
    pub(super) fn take(&mut self, mut bytes: &[u8], watchdog: &mut Watchdog) -> Result<(), Stop> {
        while !bytes.is_empty() && !self.is_finished {
            if matches!(self.expecting, Expecting::Body { .. }) {
                bytes = self.take_body(bytes, watchdog)?;
                continue;
            }
            let (part, rest) = bytes.split_at(self.missing_bytes().min(bytes.len()));
            self.partial.extend_from_slice(part);
            bytes = rest;
            if matches!(self.expecting, Expecting::Hello)
                && self
                    .partial
                    .iter()
                    .zip(MAGIC)
                    .any(|(is, to_be)| *is != to_be)
            {
                return Err(FarEndFault::Banner.into());
            }
            if self.missing_bytes() == 0 {
                self.take_whole(watchdog)?;
            }
        }
        Ok(())
    }

    /// What is missing of the HELLO, header or frame that is expected, bytes.
    fn missing_bytes(&self) -> usize {
        let whole = match self.expecting {
            Expecting::Hello => HELLO_BYTES,
            Expecting::Header => HEADER_BYTES,
            Expecting::Frame(whole) => whole,
            Expecting::Body { .. } => 0,
        };
        whole.saturating_sub(self.partial.len())
    }

    fn take_whole(&mut self, watchdog: &mut Watchdog) -> Result<(), Stop> {
        match self.expecting {
            Expecting::Hello => self.take_hello(watchdog)?,
            Expecting::Header => {
                let header = self
                    .partial
                    .first_chunk::<HEADER_BYTES>()
                    .ok_or(FarEndFault::Protocol)?;
                let rest = ToDaemon::rest_bytes(header).map_err(|_| FarEndFault::Protocol)?;
                if rest == 0 {
                    return self.take_frame(watchdog);
                }
                self.expecting = Expecting::Frame(HEADER_BYTES.saturating_add(rest));
            }
            Expecting::Frame(_) => return self.take_frame(watchdog),
            Expecting::Body { .. } => {}
        }
        Ok(())
    }

    fn take_hello(&mut self, watchdog: &mut Watchdog) -> Result<(), FarEndFault> {
        let hello = self
            .partial
            .first_chunk::<HELLO_BYTES>()
            .ok_or(FarEndFault::Protocol)?;
        match Hello::decode(hello) {
            Ok(Hello { service }) if service == self.service => {}
            Err(HelloError::NotWyng) => return Err(FarEndFault::Banner),
            _ => return Err(FarEndFault::Protocol),
        }
        self.partial.clear();
        self.expecting = Expecting::Header;
        watchdog.greeted();
        Ok(())
    }

    fn take_frame(&mut self, watchdog: &mut Watchdog) -> Result<(), Stop> {
        let frame = ToDaemon::decode(&self.partial).map_err(|_| FarEndFault::Protocol)?;
        self.partial.clear();
        self.expecting = Expecting::Header;
        let settles = self
            .rules
            .accept(&frame, self.sent_through)
            .map_err(|_| FarEndFault::Protocol)?;
        match frame {
            ToDaemon::KeepAlive => Ok(()),
            ToDaemon::Opened(opened) => Ok(self.take_opened(opened, watchdog)?),
            ToDaemon::Receipt(receipt) => {
                let numbers = settles.ok_or(FarEndFault::Protocol)?;
                Ok(self.take_receipt(receipt, numbers, watchdog)?)
            }
            ToDaemon::Final(tally) => Ok(self.take_final(tally)?),
            ToDaemon::Stated(stated) => Ok(self.take_stated(stated, watchdog)?),
            ToDaemon::Entry(entry) => Ok(self.take_entry(entry, watchdog)?),
            ToDaemon::ListEnd(end) => Ok(self.take_list_end(end)?),
            ToDaemon::Version(version) => Ok(self.take_version(version)?),
            ToDaemon::VersionsEnd(end) => Ok(self.take_versions_end(end, watchdog)?),
            ToDaemon::Bytes(bytes) => self.take_bytes(bytes, watchdog),
        }
    }

    fn take_opened(&mut self, opened: Opened, watchdog: &mut Watchdog) -> Result<(), FarEndFault> {
        if opened.status != OpenStatus::Ok {
            return Err(open_fault(opened));
        }
        self.is_open = true;
        watchdog.opened();
        self.answer(TransportToKeyholder::Opened {
            free_mib: opened.free_mib,
            abilities: abilities(opened),
        });
        Ok(())
    }

    fn take_receipt(
        &mut self,
        receipt: Receipt,
        numbers: RangeInclusive<u64>,
        watchdog: &mut Watchdog,
    ) -> Result<(), FarEndFault> {
        let mut is_renewal = false;
        while let Some(put) = self.pop_unsettled(numbers.clone()) {
            // No receipt settles both, and none of a PUT settles a RENEW.
            is_renewal |= put.is_renewal;
            if put.is_renewal && numbers.start() != numbers.end() {
                return Err(FarEndFault::Protocol);
            }
            if receipt.status.is_done() {
                self.placed.add(&put.name);
            }
            watchdog.moved(u64::from(put.length_bytes).saturating_add(ANSWER_WORTH_BYTES));
        }
        let (first, last) = (*numbers.start(), *numbers.end());
        self.answer(if self.service == Service::Prune {
            let answer = delete_answer(receipt).ok_or(FarEndFault::Protocol)?;
            TransportToKeyholder::Deleted {
                first,
                last,
                answer,
            }
        } else if is_renewal {
            let answer = renew_answer(receipt).ok_or(FarEndFault::Protocol)?;
            TransportToKeyholder::Renewed {
                number: last,
                answer,
            }
        } else {
            let answer = put_answer(receipt).ok_or(FarEndFault::Protocol)?;
            TransportToKeyholder::Receipt {
                first,
                last,
                answer,
            }
        });
        Ok(())
    }

    /// The oldest PUT or DELETE without a receipt, if its number is among these.
    fn pop_unsettled(&mut self, numbers: RangeInclusive<u64>) -> Option<Unsettled> {
        let oldest = self.unsettled.front()?;
        if numbers.contains(&oldest.number) {
            self.unsettled.pop_front()
        } else {
            None
        }
    }

    fn take_final(&mut self, tally: Tally) -> Result<(), FarEndFault> {
        if tally != self.placed || !self.unsettled.is_empty() {
            return Err(FarEndFault::Protocol);
        }
        self.is_finished = true;
        self.answer(TransportToKeyholder::Final {
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        });
        Ok(())
    }

    fn take_stated(&mut self, stated: Stated, watchdog: &mut Watchdog) -> Result<(), FarEndFault> {
        let Some(Due::Stated) = self.due.pop_front() else {
            return Err(FarEndFault::Protocol);
        };
        watchdog.moved(ANSWER_WORTH_BYTES);
        if stated.status == StatStatus::Expired {
            self.answer(TransportToKeyholder::StatExpired);
            return Ok(());
        }
        self.answer(TransportToKeyholder::Stated(match stated.status {
            StatStatus::Present => Found::Blob {
                length_bytes: stated.length_bytes,
            },
            StatStatus::Absent => Found::Nothing,
            StatStatus::Foreign => Found::Foreign,
            StatStatus::Refused | StatStatus::Failed | StatStatus::Expired => Found::Unknown,
        }));
        Ok(())
    }

    fn take_entry(&mut self, entry: Entry, watchdog: &mut Watchdog) -> Result<(), FarEndFault> {
        let Some(Due::Entries { entries, count }) = self.due.front_mut() else {
            return Err(FarEndFault::Protocol);
        };
        entries.push((entry.name.0, entry.length_bytes));
        *count = count.saturating_add(1);
        if *count > LISTED_MAX {
            return Err(FarEndFault::Protocol);
        }
        if entries.len() >= ENTRIES_A_MESSAGE {
            let full = std::mem::take(entries);
            self.answer(TransportToKeyholder::Entries(full));
        }
        watchdog.moved(ENTRY_WORTH_BYTES);
        Ok(())
    }

    fn take_list_end(&mut self, end: ListEnd) -> Result<(), FarEndFault> {
        match self.due.pop_front() {
            Some(Due::Entries { entries, count }) if count == end.count => {
                self.answer(TransportToKeyholder::Entries(entries));
                self.answer(TransportToKeyholder::ListEnd(match end.status {
                    ListStatus::Complete => Listed::All,
                    ListStatus::Incomplete => Listed::Part,
                    ListStatus::More => Listed::More,
                    ListStatus::Expired => Listed::Expired,
                }));
                Ok(())
            }
            _ => Err(FarEndFault::Protocol),
        }
    }

    fn take_version(&mut self, version: Version) -> Result<(), FarEndFault> {
        let Some(Due::Versions(ids)) = self.due.front_mut() else {
            return Err(FarEndFault::Protocol);
        };
        if ids.len() >= GET_VERSION_MAX.into() {
            return Err(FarEndFault::Protocol);
        }
        ids.push(version.id.as_str().to_owned());
        Ok(())
    }

    fn take_versions_end(
        &mut self,
        end: VersionsEnd,
        watchdog: &mut Watchdog,
    ) -> Result<(), FarEndFault> {
        let Some(Due::Versions(ids)) = self.due.pop_front() else {
            return Err(FarEndFault::Protocol);
        };
        if ids.len() != usize::from(end.count) {
            return Err(FarEndFault::Protocol);
        }
        watchdog.moved(ANSWER_WORTH_BYTES);
        self.answer(match end.status {
            VersionsStatus::Shown | VersionsStatus::NotShown => TransportToKeyholder::Versions(ids),
            VersionsStatus::Expired => TransportToKeyholder::VersionsExpired,
        });
        Ok(())
    }

    fn take_bytes(&mut self, bytes: BlobBytes, watchdog: &mut Watchdog) -> Result<(), Stop> {
        let Some(Due::Bytes {
            length_bytes,
            got_bytes,
            ..
        }) = self.due.front_mut()
        else {
            return Err(FarEndFault::Protocol.into());
        };
        // Never more than was asked for; counted before it is read.
        *got_bytes = got_bytes
            .checked_add(bytes.length_bytes)
            .filter(|got| got <= length_bytes)
            .ok_or(FarEndFault::Protocol)?;
        if bytes.length_bytes == 0 {
            return self.end_bytes(bytes.status, watchdog);
        }
        self.expecting = Expecting::Body {
            left_bytes: bytes.length_bytes,
            status: bytes.status,
        };
        Ok(())
    }

    /// Writes body bytes that were read into the memory file of the oldest GET; returns the bytes
    /// after the body.
    fn take_body<'a>(
        &mut self,
        bytes: &'a [u8],
        watchdog: &mut Watchdog,
    ) -> Result<&'a [u8], Stop> {
        let Wanted::Body { file, left_bytes } = self.wanted(0) else {
            return Err(FarEndFault::Protocol.into());
        };
        let length = left_bytes.min(bytes.len());
        let (body, rest) = bytes.split_at(length);
        let mut unwritten = body;
        while !unwritten.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(file, unwritten))
                .map_err(|errno| no_room(&errno.into()))?;
            unwritten = unwritten.get(written..).unwrap_or_default();
        }
        self.moved_of_body(length, watchdog)?;
        Ok(rest)
    }

    /// Notes body bytes that are in the memory file of the oldest GET.
    pub(super) fn moved_of_body(
        &mut self,
        moved_bytes: usize,
        watchdog: &mut Watchdog,
    ) -> Result<(), Stop> {
        let Expecting::Body { left_bytes, status } = self.expecting else {
            return Err(FarEndFault::Protocol.into());
        };
        watchdog.moved(moved_bytes as u64);
        let left_bytes = left_bytes.saturating_sub(u32::try_from(moved_bytes).unwrap_or(u32::MAX));
        if left_bytes > 0 {
            self.expecting = Expecting::Body { left_bytes, status };
            return Ok(());
        }
        self.expecting = Expecting::Header;
        self.end_bytes(status, watchdog)
    }

    /// Answers the oldest GET, unless more of its bytes follow.
    fn end_bytes(&mut self, status: BytesStatus, watchdog: &mut Watchdog) -> Result<(), Stop> {
        if status == BytesStatus::More {
            return Ok(());
        }
        let Some(Due::Bytes {
            length_bytes,
            file,
            got_bytes,
        }) = self.due.pop_front()
        else {
            return Err(FarEndFault::Protocol.into());
        };
        watchdog.moved(ANSWER_WORTH_BYTES);
        let why = match status {
            BytesStatus::Whole if got_bytes == length_bytes => {
                seal_file(&file).map_err(Fatal::Io)?;
                self.answers.push_back(Answer {
                    message: TransportToKeyholder::Got { length_bytes },
                    file: Some(file),
                });
                return Ok(());
            }
            BytesStatus::Short => NotGot::Short,
            BytesStatus::Absent | BytesStatus::NoVersion => NotGot::Missing,
            BytesStatus::Foreign => NotGot::Foreign,
            BytesStatus::Refused => NotGot::Refused,
            BytesStatus::Expired => NotGot::Expired,
            BytesStatus::Failed => NotGot::Failed,
            BytesStatus::Whole | BytesStatus::More => return Err(FarEndFault::Protocol.into()),
        };
        self.answer(TransportToKeyholder::NotGot(why));
        Ok(())
    }
}

fn put_answer(receipt: Receipt) -> Option<PutAnswer> {
    Some(match receipt.status {
        ReceiptStatus::Stored => PutAnswer::Stored,
        ReceiptStatus::StoredOnce => PutAnswer::StoredOnce,
        ReceiptStatus::StoredTwice => PutAnswer::StoredTwice,
        ReceiptStatus::ExistsSame => PutAnswer::ExistsSame,
        ReceiptStatus::ExistsDifferent => PutAnswer::ExistsDifferent,
        ReceiptStatus::ExistsUnknown => PutAnswer::ExistsUnknown,
        ReceiptStatus::Full => PutAnswer::Full {
            free_mib: receipt.free_mib,
        },
        ReceiptStatus::Refused => PutAnswer::Refused,
        ReceiptStatus::Expired => PutAnswer::Expired,
        ReceiptStatus::Lax => PutAnswer::Lax,
        ReceiptStatus::Failed => PutAnswer::Failed,
        ReceiptStatus::Deleted
        | ReceiptStatus::Absent
        | ReceiptStatus::Renewed
        | ReceiptStatus::NotThere
        | ReceiptStatus::Unsupported
        | ReceiptStatus::NotRenewed => return None,
    })
}

/// The answer to a DELETE; `None` for a status of another service, which the rules refuse before.
fn delete_answer(receipt: Receipt) -> Option<DeleteAnswer> {
    Some(match receipt.status {
        ReceiptStatus::Deleted => DeleteAnswer::Deleted,
        ReceiptStatus::Absent => DeleteAnswer::Absent,
        ReceiptStatus::Refused => DeleteAnswer::Refused,
        ReceiptStatus::Expired => DeleteAnswer::Expired,
        ReceiptStatus::Failed => DeleteAnswer::Failed,
        _ => return None,
    })
}

/// The answer to a RENEW; `None` for a status that it cannot have.
fn renew_answer(receipt: Receipt) -> Option<RenewAnswer> {
    Some(match receipt.status {
        ReceiptStatus::Renewed => RenewAnswer::Renewed,
        ReceiptStatus::NotThere => RenewAnswer::Missing,
        ReceiptStatus::Unsupported => RenewAnswer::Unsupported,
        ReceiptStatus::NotRenewed => RenewAnswer::NotRenewed,
        ReceiptStatus::Refused => RenewAnswer::Refused,
        ReceiptStatus::Expired => RenewAnswer::Expired,
        ReceiptStatus::Failed => RenewAnswer::Failed,
        _ => return None,
    })
}

/// What an open store is stated to do.
fn abilities(opened: Opened) -> Abilities {
    Abilities {
        create_only: match opened.create_only {
            wyng_wire::CreateOnly::Unknown => None,
            wyng_wire::CreateOnly::Atomic => Some(CreateOnly::Atomic),
            wyng_wire::CreateOnly::Checked => Some(CreateOnly::Checked),
        },
        durability: match opened.durability {
            wyng_wire::Durability::Unknown => None,
            wyng_wire::Durability::Durable => Some(Durability::Durable),
            wyng_wire::Durability::Accepted => Some(Durability::Accepted),
        },
    }
}

fn open_fault(opened: Opened) -> FarEndFault {
    match opened.status {
        OpenStatus::Ok => FarEndFault::Protocol,
        OpenStatus::Missing => FarEndFault::Missing,
        OpenStatus::Empty => FarEndFault::Empty,
        OpenStatus::NotAFolder => FarEndFault::NotAFolder,
        OpenStatus::NotEmpty => FarEndFault::NotEmpty,
        OpenStatus::Permission => FarEndFault::Denied,
        OpenStatus::Expired => FarEndFault::Expired,
        OpenStatus::ReadOnly => FarEndFault::ReadOnly,
        OpenStatus::Full => FarEndFault::Full {
            free_mib: opened.free_mib,
        },
        OpenStatus::BadDestination => FarEndFault::Address,
        OpenStatus::Unreachable => FarEndFault::Unreachable,
        OpenStatus::Unsuitable => FarEndFault::Unsuitable,
        OpenStatus::Failed => FarEndFault::Failed,
    }
}

#[cfg(test)]
pub(super) mod tests;
