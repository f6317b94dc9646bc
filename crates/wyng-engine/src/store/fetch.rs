// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads chunks back: places are sorted and joined into few long reads, several reads are under way
//! at once, and workers open the records. What becomes of the chunks is the caller's concern.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Credential, Domain, Id, RecordKey, SessionKey};
use wyng_archive::format::PackEntry;
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::Failure;

use super::pack::usize_of;
use super::whole::show_sound_version;
use crate::archive::{Archive, Packs};
use crate::bits::Bits;
use crate::cache::{Location, Stored};
use crate::outcome::damaged;
use crate::pool::{Pool, Ticket};
use crate::world::{Files, Store};

/// Maximum bytes of a read that joins records.
const READ_MAX_BYTES: u32 = 2 << 20;
/// Maximum bytes between two records of one read; they are read and dropped.
const GAP_MAX_BYTES: u32 = 32 << 10;
/// Maximum number of reads that are requested before the first is answered: enough short ones to
/// fill a fast link whose round trip is long.
const READS_AHEAD: usize = 32;
/// Maximum bytes of reads that are requested before the first is answered. A read that is alone may
/// have more.
const AHEAD_MAX_BYTES: u64 = 16 << 20;
/// Number of chunks that no pack has as the store serves it, before older versions are looked at
/// though more reads are planned.
const DOUBTFUL_MAX: usize = 256;

/// A chunk that is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its number in the volume.
    pub index: u64,
    /// Its content id.
    pub id: Id,
    /// The bytes that it must have once it is opened.
    pub plain_bytes: u32,
}

/// A chunk that was opened: its bytes have its id.
pub(crate) struct Opened {
    /// Its number in the volume.
    pub index: u64,
    /// Its bytes.
    pub chunk: Vec<u8>,
}

/// Opens chunks of one domain in the order in which they lie in the store.
pub(crate) struct ChunkReader {
    packs: Arc<Packs>,
    keys: Arc<HashMap<u32, SessionKey>>,
    credential: Arc<Credential>,
    domain: Arc<Domain>,
    planned: VecDeque<Read>,
    asked: VecDeque<Read>,
    opening: VecDeque<Ticket<OpenedRead>>,
    /// Chunks that no pack has as the store serves it, each with what is wrong with the last place.
    doubtful: Vec<(Record, Damage)>,
    /// The packs of which older versions were looked at; with what is wrong with what the store
    /// serves, if an older version is read in its place.
    older: BTreeMap<BlobName, Option<Fault>>,
    /// Set while a restore works around damage.
    around: Option<Around>,
    /// Buffers of chunks that were written, for reuse. Fresh memory would cost half as much as
    /// decryption.
    spare: Vec<Vec<u8>>,
    /// Bytes that came from the store.
    pub fetched_bytes: u64,
}

/// The chunks that no pack has any more.
struct Around {
    lost: Bits,
    /// Zeros in place of the chunks that were found to be lost and not given out yet.
    zeros: Vec<Opened>,
}

/// What came of each record of one read.
type OpenedRead = Vec<Result<Opened, Box<NotOpened>>>;

/// A record that is not what was stored.
struct NotOpened {
    record: Record,
    damage: Damage,
}

/// One read of a pack, and the records in it.
struct Read {
    pack: PackEntry,
    range: Range<u32>,
    records: Vec<Record>,
}

struct Record {
    wanted: Wanted,
    offset_bytes: u32,
    length_bytes: u32,
    key: u32,
    /// The other places of the chunk, the worst first.
    copies: Vec<Location>,
    /// The places that were read, this one last.
    tried: Vec<Location>,
}

impl ChunkReader {
    /// A reader of which nothing has been requested.
    pub(crate) fn new(
        credential: &Arc<Credential>,
        packs: &Arc<Packs>,
        keys: &Arc<HashMap<u32, SessionKey>>,
        domain: &Arc<Domain>,
    ) -> Self {
        Self {
            packs: Arc::clone(packs),
            keys: Arc::clone(keys),
            credential: Arc::clone(credential),
            domain: Arc::clone(domain),
            planned: VecDeque::new(),
            asked: VecDeque::new(),
            opening: VecDeque::new(),
            doubtful: Vec::new(),
            older: BTreeMap::new(),
            around: None,
            spare: Vec::new(),
            fetched_bytes: 0,
        }
    }

    /// From now on a chunk that no pack has is no failure: zeros are given out in its place, and
    /// its number is added to `lost`.
    pub(crate) fn go_around_damage(&mut self, lost: Bits) {
        self.around = Some(Around {
            lost,
            zeros: Vec::new(),
        });
    }

    /// The lost chunks, if the reader works around damage.
    pub(crate) fn lost(&self) -> Option<&Bits> {
        self.around.as_ref().map(|around| &around.lost)
    }

    /// Hands over the lost chunks; from now on a lost chunk is a failure again.
    pub(crate) fn take_lost(&mut self) -> Option<Bits> {
        self.around.take().map(|around| around.lost)
    }

    /// Whether more chunks should be requested, so that neither store nor workers wait.
    pub(crate) fn wants_more(&self) -> bool {
        let has_zeros = self
            .around
            .as_ref()
            .is_some_and(|around| !around.zeros.is_empty());
        self.planned.len() < READS_AHEAD && bytes_of(&self.planned) < AHEAD_MAX_BYTES && !has_zeros
    }

    /// Requests these chunks: sorted by place and joined into reads.
    pub(crate) fn want(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        wanted: &[Wanted],
    ) -> Result<(), Failure> {
        let mut records = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let (location, mut copies) = archive.cache.index.find_copies(files, &wanted.id)?;
            copies.extend(location);
            match self.next_copy(*wanted, copies, Vec::new()) {
                Ok((location, pack, record)) => records.push((location.pack, pack, record)),
                Err((damage, _)) => self.give_up(wanted, &damage)?,
            }
        }
        records.sort_by_key(|(number, _, record)| (*number, record.offset_bytes));
        for (_, pack, record) in records {
            let end = record.offset_bytes.saturating_add(record.length_bytes);
            match self
                .planned
                .back_mut()
                .filter(|read| read.can_take(&pack, record.offset_bytes, end))
            {
                Some(read) => {
                    read.range.end = read.range.end.max(end);
                    read.records.push(record);
                }
                None => self.planned.push_back(Read::of(pack, record)),
            }
        }
        Ok(())
    }

    /// The next opened chunks, in no particular order; `None` when all that was requested is given
    /// out.
    pub(crate) fn next(
        &mut self,
        store: &mut impl Store,
        pool: &mut Pool,
    ) -> Result<Option<Vec<Opened>>, Failure> {
        loop {
            if self.must_look_at_older_versions() {
                self.look_at_older_versions(store)?;
            }
            while self.may_ask()
                && let Some(read) = self.planned.pop_front()
            {
                store.request(
                    read.pack.name,
                    read.range.start,
                    read.range.end.saturating_sub(read.range.start),
                )?;
                self.asked.push_back(read);
            }
            let enough = self.opening.len() >= pool.width().saturating_mul(2);
            if !enough && let Some(read) = self.asked.pop_front() {
                let bytes = match store.answer()?.or_fault() {
                    Ok(bytes) => bytes,
                    Err(fault) => {
                        self.read_failed(read, fault);
                        continue;
                    }
                };
                self.fetched_bytes = self
                    .fetched_bytes
                    .saturating_add(bytes.as_ref().len() as u64);
                let ticket = self.open_read(pool, read, bytes)?;
                self.opening.push_back(ticket);
                continue;
            }
            let zeros = self
                .around
                .as_mut()
                .map(|around| std::mem::take(&mut around.zeros))
                .unwrap_or_default();
            let Some(ticket) = self.opening.pop_front() else {
                return Ok((!zeros.is_empty()).then_some(zeros));
            };
            let mut opened = zeros;
            for chunk in ticket.wait()? {
                match chunk {
                    Ok(chunk) => opened.push(chunk),
                    Err(not_opened) => self.record_failed(not_opened.record, &not_opened.damage),
                }
            }
            return Ok(Some(opened));
        }
    }

    /// Whether the next read may be requested now.
    fn may_ask(&self) -> bool {
        let Some(next) = self.planned.front().filter(|_| !self.doubts_much()) else {
            return false;
        };
        let with_it = bytes_of(&self.asked).saturating_add(next.length_bytes());
        self.asked.is_empty() || self.asked.len() < READS_AHEAD && with_it <= AHEAD_MAX_BYTES
    }

    /// Whether no more is to be requested before older versions were looked at.
    fn doubts_much(&self) -> bool {
        self.doubtful.len() >= DOUBTFUL_MAX
    }

    /// Only while no answer is awaited: it would be taken for that of an older version.
    fn must_look_at_older_versions(&self) -> bool {
        let is_time = self.planned.is_empty() || self.doubts_much();
        self.asked.is_empty() && is_time && !self.doubtful.is_empty()
    }

    /// Plans to read the doubtful chunks from packs of which the store has a sound older version.
    fn look_at_older_versions(&mut self, store: &mut impl Store) -> Result<(), Failure> {
        for (record, damage) in std::mem::take(&mut self.doubtful) {
            match self.older_place(store, &record, damage.fault)? {
                Some(read) => self.planned.push_back(read),
                None => self.give_up(&record.wanted, &damage)?,
            }
        }
        Ok(())
    }

    /// The read of a chunk from one of the places that were tried, in an older version of the pack.
    fn older_place(
        &mut self,
        store: &mut impl Store,
        record: &Record,
        fault: Fault,
    ) -> Result<Option<Read>, Failure> {
        for location in &record.tried {
            let (Stored::Chunk { key }, Some(pack)) =
                (location.stored, self.packs.get(&location.pack))
            else {
                continue;
            };
            if !self.older.contains_key(&pack.name) {
                let fetched_bytes = &mut self.fetched_bytes;
                let count = &mut |bytes| *fetched_bytes = fetched_bytes.saturating_add(bytes);
                let is_shown = show_sound_version(store, pack, count)?;
                self.older.insert(pack.name, is_shown.then_some(fault));
            }
            if self.older.get(&pack.name).is_some_and(Option::is_some) {
                // Without a further place: the pack is what it was, so nothing else can help.
                return Ok(Some(Read::of(
                    *pack,
                    Record {
                        wanted: record.wanted,
                        offset_bytes: location.offset_bytes,
                        length_bytes: location.length_bytes,
                        key,
                        copies: Vec::new(),
                        tried: Vec::new(),
                    },
                )));
            }
        }
        Ok(None)
    }

    /// The packs that were read in an older version, each with what is wrong with what the store
    /// serves.
    pub(crate) fn read_in_older_versions(&self) -> impl Iterator<Item = (BlobName, Fault)> {
        let older = self.older.iter();
        older.filter_map(|(name, fault)| fault.map(|fault| (*name, fault)))
    }

    /// The best remaining place of a chunk, its pack, and the record to be read there; if no place
    /// remains, what is wrong with the last one.
    fn next_copy(
        &self,
        wanted: Wanted,
        mut copies: Vec<Location>,
        mut tried: Vec<Location>,
    ) -> Result<(Location, PackEntry, Record), (Damage, Vec<Location>)> {
        let mut damage = Damage::new(Class::Record, wanted.id.0, Fault::Missing);
        while let Some(location) = copies.pop() {
            let Location {
                pack,
                offset_bytes,
                length_bytes,
                stored,
            } = location;
            let (Stored::Chunk { key }, Some(pack)) = (stored, self.packs.get(&pack)) else {
                continue;
            };
            if pack.contains(offset_bytes, length_bytes) {
                tried.push(location);
                return Ok((
                    location,
                    *pack,
                    Record {
                        wanted,
                        offset_bytes,
                        length_bytes,
                        key,
                        copies,
                        tried,
                    },
                ));
            }
            damage = Damage::new(Class::Record, wanted.id.0, Fault::Place);
        }
        Err((damage, tried))
    }

    /// Reads the records of a failed read one by one: the read may have failed for one of them
    /// only, or for bytes between them.
    fn read_failed(&mut self, read: Read, fault: Fault) {
        let Read { pack, records, .. } = read;
        let damage = Damage::new(Class::Pack, pack.name.0, fault);
        if records.len() == 1 || fault == Fault::Missing {
            records
                .into_iter()
                .for_each(|record| self.record_failed(record, &damage));
            return;
        }
        self.planned
            .extend(records.into_iter().map(|record| Read::of(pack, record)));
    }

    /// Reads the chunk from its next place, if there is one, and else doubts it.
    fn record_failed(&mut self, mut record: Record, damage: &Damage) {
        let copies = std::mem::take(&mut record.copies);
        match self.next_copy(record.wanted, copies, std::mem::take(&mut record.tried)) {
            Ok((_, pack, record)) => self.planned.push_back(Read::of(pack, record)),
            Err((_, tried)) => {
                record.tried = tried;
                self.doubtful.push((record, damage.clone()));
            }
        }
    }

    /// Fails with the damage, or gives out zeros in place of the chunk.
    fn give_up(&mut self, wanted: &Wanted, damage: &Damage) -> Result<(), Failure> {
        let around = self.around.as_mut().ok_or_else(|| damaged(damage))?;
        around
            .lost
            .insert(wanted.index..wanted.index.saturating_add(1));
        let mut chunk = self.spare.pop().unwrap_or_default();
        chunk.clear();
        chunk.resize(usize_of(wanted.plain_bytes), 0);
        around.zeros.push(Opened {
            index: wanted.index,
            chunk,
        });
        Ok(())
    }

    /// Takes the answers that are still under way, so that they do not answer later requests.
    pub(crate) fn abandon(self, store: &mut impl Store) -> Result<(), Failure> {
        self.asked.iter().try_for_each(|_| store.answer().map(drop))
    }

    /// Takes back the buffers of chunks that are no longer needed.
    pub(crate) fn give_back(&mut self, buffers: Vec<Vec<u8>>) {
        self.spare.extend(buffers);
    }

    fn open_read<T>(
        &mut self,
        pool: &mut Pool,
        read: Read,
        bytes: T,
    ) -> Result<Ticket<OpenedRead>, Failure>
    where
        T: AsRef<[u8]> + Send + Sync + 'static,
    {
        let (credential, keys, domain) = (
            Arc::clone(&self.credential),
            Arc::clone(&self.keys),
            Arc::clone(&self.domain),
        );
        let mut buffers = self
            .spare
            .split_off(self.spare.len().saturating_sub(read.records.len()));
        let range_begin = read.range.start;
        pool.run(move |coder| {
            let mut open = |record: &Record| -> Result<Opened, Damage> {
                let id = record.wanted.id;
                let refuse = |fault| Damage::new(Class::Record, id.0, fault);
                let begin = usize_of(record.offset_bytes.saturating_sub(range_begin));
                let sealed = bytes
                    .as_ref()
                    .get(begin..begin.saturating_add(usize_of(record.length_bytes)))
                    .ok_or(refuse(Fault::Place))?;
                let key = keys
                    .get(&record.key)
                    .ok_or(refuse(Fault::Shape("its key is not in the key table")))?;
                let mut chunk = buffers.pop().unwrap_or_default();
                credential.open_chunk(
                    RecordKey { key, id: &id },
                    &domain,
                    coder,
                    sealed,
                    &mut chunk,
                )?;
                if chunk.len() != usize_of(record.wanted.plain_bytes) {
                    return Err(refuse(Fault::Length));
                }
                Ok(Opened {
                    index: record.wanted.index,
                    chunk,
                })
            };
            read.records
                .into_iter()
                .map(|record| {
                    open(&record).map_err(|damage| Box::new(NotOpened { record, damage }))
                })
                .collect()
        })
    }
}

/// Bytes of these reads together.
fn bytes_of(reads: &VecDeque<Read>) -> u64 {
    reads
        .iter()
        .fold(0, |sum: u64, read| sum.saturating_add(read.length_bytes()))
}

impl Read {
    /// A read of one record.
    fn of(pack: PackEntry, record: Record) -> Self {
        let range = record.offset_bytes..record.offset_bytes.saturating_add(record.length_bytes);
        Self {
            pack,
            range,
            records: vec![record],
        }
    }

    fn length_bytes(&self) -> u64 {
        u64::from(self.range.end.saturating_sub(self.range.start))
    }

    fn can_take(&self, pack: &PackEntry, begin: u32, end: u32) -> bool {
        self.pack.name == pack.name
            && begin >= self.range.start
            && begin <= self.range.end.saturating_add(GAP_MAX_BYTES)
            && end.max(self.range.end).saturating_sub(self.range.start) <= READ_MAX_BYTES
    }
}
