// SPDX-License-Identifier: GPL-3.0-or-later
//! A world in memory that ends at a counted call, and forgets what was not durable: the engine's
//! own code runs over it.
//!
//! A file that was appended keeps what was synced and a random part of the rest; a blob without a
//! receipt may have arrived or not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{
    Asked, BackupSource, BaseLabel, BaseOf, Failure, FoundSource, Method, Phase, Progress,
    TargetFault, TargetFound, TargetKind, TargetLook, ToClient,
};
use wyng_wire::{BlobName, Service};
use wyngd::keyholder::world::{
    Beside, ChangePage, Errno, Fetched, Found, Kept, Receipt, SourceShape, TargetShape, TargetWish,
    There, World,
};
use zeroize::Zeroizing;

/// What a kill leaves: files and links of the state, blobs of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// Whole files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Links.
    pub links: BTreeMap<String, String>,
    /// Blobs by name.
    pub store: BTreeMap<[u8; 32], Vec<u8>>,
    /// Base snapshots by archive and volume.
    pub bases: Bases,
}

/// What each base snapshot is of, and its bytes.
pub type Bases = BTreeMap<BaseOf, (BaseLabel, Vec<u8>)>;

/// Changes are told in blocks of so many bytes, a few ranges at once.
const BLOCK_BYTES: usize = 512;
const PAGE_RANGES: usize = 3;

/// What a world panics with when its last call is reached.
#[derive(Debug)]
pub struct Killed;

struct File {
    bytes: Vec<u8>,
    /// How many of them survive a kill for certain.
    synced: usize,
}

/// See the module's first line.
pub struct MemoryWorld {
    files: BTreeMap<String, File>,
    links: BTreeMap<String, String>,
    store: BTreeMap<[u8; 32], Vec<u8>>,
    /// Sent, and not durable for certain.
    in_flight: VecDeque<(u64, BlobName, Vec<u8>)>,
    put_number: u64,
    /// Receipts that were given since a file was last synced.
    unjournaled: usize,
    asked: VecDeque<(BlobName, usize, usize)>,
    random: blake3::OutputReader,
    clock: u64,
    calls: u64,
    /// The calls that changed anything that a kill could leave behind, or that the client hears.
    changing_calls: Vec<u64>,
    kill_at: Option<u64>,
    /// The plug is pulled when so many blobs were put.
    pub kill_when_put: Option<usize>,
    /// What the caller has for each source's number.
    pub sources: Vec<Vec<u8>>,
    /// Sources lie on a file system that clones files.
    pub clones: bool,
    /// What is told of changes leaves these bytes out.
    pub untold: std::ops::Range<u64>,
    bases: Bases,
    /// What is left to be told of each source's changes.
    changes: BTreeMap<u32, VecDeque<(u64, u64)>>,
    /// The archive is unlocked: unlocking it is most of a small restore's work.
    pub kept_key: Option<Arc<DataKey>>,
    /// What stands where a target goes.
    pub there: Option<Vec<u8>>,
    /// It is a block device.
    pub is_device: bool,
    /// What is read of what is there from this offset to the other is an error, until it is
    /// overwritten.
    pub unreadable: Option<(u64, u64)>,
    /// A byte of a target that its medium always gives back wrong.
    pub rotten_byte: Option<u64>,
    /// After so many writes to targets there is no room.
    pub room_for_writes: Option<u64>,
    /// A target cannot be cloned back.
    pub undo_fails: bool,
    /// What the caller finds wrong at a target.
    pub fault: Option<TargetFault>,
    /// What is read past the page cache of targets.
    pub target_bytes_read: u64,
    /// What each target's clone holds, which it can become again.
    kept: BTreeMap<u32, Vec<u8>>,
    base_of: BTreeMap<u32, BaseOf>,
    /// Targets as they are now.
    pub targets: BTreeMap<u32, Vec<u8>>,
    /// Targets that got their names.
    pub placed: BTreeMap<u32, Vec<u8>>,
    /// What the store did not take of the last receipt.
    returned: Option<Vec<u8>>,
    /// What the client heard.
    pub told: Vec<ToClient>,
    /// Bytes of blobs that were put.
    pub sent_bytes: u64,
    /// The length of each blob that was put, in order: what the store sees of a run.
    pub puts: Vec<usize>,
    /// May push compare what lies under a name that is taken?
    pub push_may_read: bool,
    /// What is typed when a passphrase is asked for.
    pub passphrase: Vec<u8>,
    /// What is typed when a new one is asked for, if it is another.
    pub new_passphrase: Option<Vec<u8>>,
    /// What was shown to the person.
    pub secret: Option<Vec<u8>>,
    /// How often a passphrase was asked for.
    pub asked_passphrases: u32,
    /// Which services were started, in order.
    pub services: Vec<Service>,
    /// Every progress that was told.
    pub progress: Vec<Progress>,
    /// The person interrupts once so many slots were tried.
    pub cancel_after_slots: Option<u64>,
    /// What the service manager unsealed.
    pub sealed: Option<Vec<u8>>,
    /// The far end is lost at this call.
    pub lose_far_end_at: Option<u64>,
    /// The far end says of every name that a blob lies under it.
    pub shows_everything: bool,
}

impl MemoryWorld {
    /// A world that begins with `durable`, and whose randomness follows from `seed`.
    pub fn new(durable: Durable, seed: u64) -> Self {
        Self {
            files: durable
                .files
                .into_iter()
                .map(|(name, bytes)| {
                    (
                        name,
                        File {
                            synced: bytes.len(),
                            bytes,
                        },
                    )
                })
                .collect(),
            links: durable.links,
            store: durable.store,
            bases: durable.bases,
            clones: false,
            untold: 0..0,
            changes: BTreeMap::new(),
            in_flight: VecDeque::new(),
            put_number: 0,
            unjournaled: 0,
            asked: VecDeque::new(),
            random: blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .finalize_xof(),
            clock: 1_900_000_000_000_000_000 + seed * 1_000_000_000,
            calls: 0,
            changing_calls: Vec::new(),
            kill_at: None,
            kill_when_put: None,
            sources: Vec::new(),
            kept_key: None,
            there: None,
            is_device: false,
            unreadable: None,
            rotten_byte: None,
            room_for_writes: None,
            undo_fails: false,
            fault: None,
            target_bytes_read: 0,
            kept: BTreeMap::new(),
            base_of: BTreeMap::new(),
            targets: BTreeMap::new(),
            placed: BTreeMap::new(),
            returned: None,
            told: Vec::new(),
            sent_bytes: 0,
            puts: Vec::new(),
            push_may_read: true,
            passphrase: b"passphrase".to_vec(),
            new_passphrase: None,
            secret: None,
            asked_passphrases: 0,
            services: Vec::new(),
            progress: Vec::new(),
            cancel_after_slots: None,
            sealed: None,
            lose_far_end_at: None,
            shows_everything: false,
        }
    }

    /// From now on the `n`-th call is the last.
    pub fn kill_at(&mut self, n: u64) {
        self.kill_at = Some(self.calls + n);
    }

    /// The numbers of the calls that changed something: a kill at any other call leaves what a kill
    /// at the next of these leaves.
    pub fn changing_calls(&self) -> &[u64] {
        &self.changing_calls
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// What is left when the plug is pulled now. `chance` decides what survives of the rest; and
    /// how many blobs lie there that no journal has.
    pub fn crash(&self, chance: u64) -> (Durable, usize) {
        let (mut store, mut arrived) = (self.store.clone(), self.unjournaled);
        for (place, (_, name, bytes)) in self.in_flight.iter().enumerate() {
            if (chance >> (place % 64)) & 1 == 1 {
                store.entry(name.0).or_insert_with(|| bytes.clone());
                arrived += 1;
            }
        }
        let survive = |file: &File| {
            let torn = file.bytes.len() - file.synced;
            let kept = file.synced
                + if torn == 0 {
                    0
                } else {
                    usize::try_from(chance).unwrap_or(0) % (torn + 1)
                };
            file.bytes[..kept].to_vec()
        };
        let files = self
            .files
            .iter()
            .map(|(name, file)| (name.clone(), survive(file)))
            .collect();
        (
            Durable {
                files,
                links: self.links.clone(),
                store,
                bases: self.bases.clone(),
            },
            arrived,
        )
    }

    /// The state after a clean end.
    pub fn end(&self) -> Durable {
        assert!(
            self.in_flight.is_empty(),
            "a clean end leaves nothing in flight"
        );
        self.crash(0).0
    }

    /// How many slots a passphrase was tried on.
    pub fn slots_tried(&self) -> u64 {
        self.progress
            .iter()
            .filter(|progress| progress.phase == Phase::Unlocking)
            .count() as u64
    }

    fn reach_far_end(&self) -> Result<(), Failure> {
        if self.lose_far_end_at.is_some_and(|call| self.calls >= call) {
            Err(Failure::FarEndLost)
        } else {
            Ok(())
        }
    }

    fn step(&mut self) {
        self.calls += 1;
        if self.kill_at == Some(self.calls) {
            std::panic::panic_any(Killed);
        }
    }

    /// A step that changes something.
    fn change(&mut self) {
        self.step();
        self.changing_calls.push(self.calls);
    }

    /// What the base snapshot is of; and notes what changed since, to be told page by page.
    fn compare_with_base(&mut self, item: u32, of: &BaseOf) -> Option<(BaseLabel, u64)> {
        let (label, base) = self.bases.get(of).filter(|_| self.clones)?;
        let mut changes = differences(base, &self.sources[item as usize]);
        changes.retain(|(begin, _)| !self.untold.contains(begin));
        self.changes.insert(item, changes);
        Some((*label, base.len() as u64))
    }

    /// Reads what is there; what is in the unreadable range is an error.
    fn read_there(&self, there: &[u8], offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let is_bad = self
            .unreadable
            .is_some_and(|(begin, end)| begin < offset + bytes.len() as u64 && offset < end);
        if is_bad {
            Err(Errno(5))
        } else {
            Ok(copy(there, offset, bytes))
        }
    }

    fn settle_oldest(&mut self) -> Option<Receipt> {
        let (number, name, bytes) = self.in_flight.pop_front()?;
        let kept = match self.store.get(&name.0) {
            None => Kept::New,
            Some(_) if !self.push_may_read => Kept::Unknown,
            Some(there) if *there == bytes => Kept::Same,
            Some(_) => Kept::Different,
        };
        self.returned = matches!(kept, Kept::Different | Kept::Unknown).then(|| bytes.clone());
        self.store.entry(name.0).or_insert(bytes);
        self.unjournaled += 1;
        Some(Receipt { number, kept })
    }
}

impl World for MemoryWorld {
    type Buffer = Vec<u8>;
    type Bytes = Vec<u8>;

    // Nothing is kept from one command to the next, but what a test puts there.
    fn keep_key(&mut self, _: ArchiveId, _: Arc<DataKey>, _: u64) {}

    fn sealed_credential(&mut self, _: ArchiveId) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        self.sealed.clone().map(Zeroizing::new)
    }

    fn kept_key(&mut self, _: ArchiveId) -> Option<Arc<DataKey>> {
        self.kept_key.clone()
    }

    fn wipe_keys(&mut self, _: Option<ArchiveId>) {}

    fn wall_nanos(&mut self) -> u64 {
        self.clock += 1_000_000;
        self.clock
    }

    fn monotonic_nanos(&mut self) -> u64 {
        self.clock += 1_000_000;
        self.clock
    }

    fn cpu_micros(&mut self) -> u64 {
        0
    }

    fn client_uid(&self) -> u32 {
        0
    }

    fn process_id(&self) -> u32 {
        1
    }

    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.random.fill(bytes);
        Ok(())
    }

    fn read_file(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.step();
        Ok(self.files.get(name).map(|file| file.bytes.clone()))
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.change();
        self.files.insert(
            name.to_owned(),
            File {
                bytes: bytes.to_vec(),
                synced: bytes.len(),
            },
        );
        Ok(())
    }

    fn append_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.change();
        self.files
            .entry(name.to_owned())
            .or_insert(File {
                bytes: Vec::new(),
                synced: 0,
            })
            .bytes
            .extend_from_slice(bytes);
        Ok(())
    }

    fn sync_file(&mut self, name: &str) -> Result<(), Failure> {
        self.change();
        let file = self.files.entry(name.to_owned()).or_insert(File {
            bytes: Vec::new(),
            synced: 0,
        });
        file.synced = file.bytes.len();
        self.unjournaled = 0;
        Ok(())
    }

    fn truncate_file(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.change();
        let file = self.files.get_mut(name).unwrap();
        file.bytes.truncate(usize::try_from(length_bytes).unwrap());
        file.synced = file.bytes.len();
        Ok(())
    }

    fn file_bytes(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.step();
        Ok(self.files.get(name).map(|file| file.bytes.len() as u64))
    }

    fn read_file_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.step();
        let short = || Failure::StateIo {
            file: name.to_owned(),
            errno: 5,
        };
        let begin = usize::try_from(offset).unwrap();
        let file = self.files.get(name).ok_or_else(short)?;
        bytes.copy_from_slice(
            file.bytes
                .get(begin..begin + bytes.len())
                .ok_or_else(short)?,
        );
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.change();
        let below = format!("{name}/");
        self.files
            .retain(|path, _| path != name && !path.starts_with(&below));
        self.links
            .retain(|path, _| path != name && !path.starts_with(&below));
        Ok(())
    }

    fn list_folder(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        self.step();
        let below = format!("{name}/");
        let paths = self.files.keys().chain(self.links.keys());
        let mut names: Vec<String> = paths
            .filter_map(|path| path.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap().to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn make_link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.change();
        self.links.insert(name.to_owned(), target.to_owned());
        Ok(())
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.step();
        Ok(self.links.get(name).cloned())
    }

    fn connect(&mut self, service: Service, _: &str, _: &str, create: bool) -> Result<(), Failure> {
        self.step();
        self.services.push(service);
        match (create, self.store.is_empty()) {
            (true, false) => Err(Failure::StoreNotEmpty {
                store: "memory".into(),
            }),
            (false, true) => Err(Failure::StoreEmpty {
                store: "memory".into(),
            }),
            _ => Ok(()),
        }
    }

    fn buffer(&mut self, length_bytes: usize) -> Result<Vec<u8>, Failure> {
        Ok(vec![0; length_bytes])
    }

    fn put(
        &mut self,
        name: BlobName,
        mut bytes: Vec<u8>,
        length_bytes: usize,
        _: bool,
    ) -> Result<u64, Failure> {
        self.change();
        bytes.truncate(length_bytes);
        self.put_number += 1;
        self.sent_bytes += length_bytes as u64;
        if self.kill_when_put == Some(self.puts.len()) {
            std::panic::panic_any(Killed);
        }
        self.puts.push(length_bytes);
        self.in_flight.push_back((self.put_number, name, bytes));
        Ok(self.put_number)
    }

    fn receipt(&mut self, wait: bool) -> Result<Option<Receipt>, Failure> {
        self.change();
        // Without waiting, receipts are late.
        if wait || self.in_flight.len() > 2 {
            Ok(self.settle_oldest())
        } else {
            Ok(None)
        }
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.returned.take().unwrap())
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        self.change();
        while self.settle_oldest().is_some() {}
        Ok(())
    }

    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure> {
        self.step();
        self.asked.push_back((
            name,
            usize::try_from(offset_bytes).unwrap(),
            usize::try_from(length_bytes).unwrap(),
        ));
        Ok(())
    }

    fn answer(&mut self) -> Result<Fetched<Vec<u8>>, Failure> {
        self.step();
        self.reach_far_end()?;
        let (name, offset, length) = self.asked.pop_front().unwrap();
        Ok(match self.store.get(&name.0) {
            None => Fetched::Missing,
            Some(bytes) => bytes
                .get(offset..offset + length)
                .map_or(Fetched::Short, |part| Fetched::Bytes(part.to_vec())),
        })
    }

    fn stat(&mut self, name: BlobName) -> Result<Found, Failure> {
        self.step();
        self.reach_far_end()?;
        let shown = if self.shows_everything {
            Found::Blob { length_bytes: 4096 }
        } else {
            Found::Nothing
        };
        Ok(self.store.get(&name.0).map_or(shown, |bytes| Found::Blob {
            length_bytes: bytes.len() as u64,
        }))
    }

    fn list_store(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        self.step();
        self.store
            .iter()
            .for_each(|(name, bytes)| visit(BlobName(*name), bytes.len() as u64));
        Ok(true)
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        self.step();
        Ok(())
    }

    fn open_source(
        &mut self,
        item: u32,
        volume: &str,
        of: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        self.step();
        let base = self.compare_with_base(item, of);
        self.base_of.insert(item, *of);
        let mut found = FoundSource::default();
        found.origin.path = format!("/{volume}").into_bytes();
        found.origin.leads_to.clone_from(&found.origin.path);
        Ok(SourceShape {
            size_bytes: self.sources[item as usize].len() as u64,
            snapshot: self.clones,
            base,
            found,
        })
    }

    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure> {
        self.step();
        let Some(left) = self.changes.get_mut(&item) else {
            return Ok(None);
        };
        let page = left.drain(..left.len().min(PAGE_RANGES)).collect();
        Ok(Some(ChangePage {
            method: Method::Fiemap,
            ranges: page,
        }))
    }

    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.step();
        let size = self.sources[item as usize].len() as u64;
        Ok((offset < size).then_some((offset, size)))
    }

    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.step();
        // The clone of a target is sound: only what the target itself reads may not be.
        match self.kept.get(&item) {
            Some(kept) => Ok(copy(kept, offset, bytes)),
            None => self.read_there(&self.sources[item as usize], offset, bytes),
        }
    }

    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno> {
        self.step();
        Ok(self.sources[item as usize].len() as u64)
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure> {
        self.change();
        assert!(self.clones, "only a snapshot becomes a base");
        let source = self.sources[item as usize].clone();
        self.bases.insert(label.of, (*label, source));
        Ok(true)
    }

    fn close_source(&mut self, _: u32) {}

    fn drop_base(&mut self, item: u32) -> Result<(), Failure> {
        self.change();
        self.bases.remove(&self.base_of[&item]);
        Ok(())
    }

    fn look_at_target(&mut self, _: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        self.step();
        let found = TargetFound {
            holds_bytes: self.there.is_some(),
            free_bytes: None,
            keeps_holes: true,
            remembered: None,
        };
        Ok(TargetLook {
            path: format!("/{}", wish.volume),
            found: self.fault.clone().map_or(Ok(found), Err),
        })
    }

    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        _: &str,
    ) -> Result<TargetShape, Failure> {
        self.change();
        let Some(old) = self.there.clone() else {
            self.targets.insert(item, Vec::new());
            return Ok(TargetShape {
                kind: TargetKind::File,
                there: None,
                remembered: None,
            });
        };
        self.sources = vec![old.clone()];
        let base = self.compare_with_base(item, &wish.base_of);
        self.base_of.insert(item, wish.base_of);
        let in_target = wish.in_place || self.clones;
        let beside = match (wish.in_place, self.clones) {
            (true, true) => Some(Beside::Kept),
            (false, false) => Some(Beside::Old),
            _ => None,
        };
        if beside == Some(Beside::Kept) {
            self.kept.insert(item, old.clone());
        }
        let there = There {
            size_bytes: old.len() as u64,
            in_target,
            in_place: wish.in_place,
            beside,
            base,
        };
        self.targets
            .insert(item, if in_target { old } else { Vec::new() });
        let kind = if self.is_device {
            TargetKind::Device
        } else {
            TargetKind::File
        };
        Ok(TargetShape {
            kind,
            there: Some(there),
            remembered: None,
        })
    }

    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.step();
        let size = self.targets[&item].len() as u64;
        Ok((offset < size).then_some((offset, size)))
    }

    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.step();
        let read = self.read_there(&self.targets[&item], offset, bytes)?;
        self.target_bytes_read += read as u64;
        if let Some(place) = self
            .rotten_byte
            .and_then(|rotten| usize::try_from(rotten.checked_sub(offset)?).ok())
            .filter(|place| *place < read)
        {
            bytes[place] ^= 1;
        }
        Ok(read)
    }

    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.step();
        if let Some(room) = &mut self.room_for_writes {
            *room = room.checked_sub(1).ok_or(Errno(28))?;
        }
        let (target, begin) = (
            self.targets.get_mut(&item).unwrap(),
            usize::try_from(offset).unwrap(),
        );
        if !self.is_device {
            target.resize(target.len().max(begin + bytes.len()), 0);
        }
        target[begin..begin + bytes.len()].copy_from_slice(bytes);
        self.unreadable = self
            .unreadable
            .filter(|(from, to)| *from < offset || *to > offset + bytes.len() as u64);
        Ok(())
    }

    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno> {
        self.change();
        let target = self.targets.get_mut(&item).unwrap();
        let [begin, end] = [offset, offset + length]
            .map(|place| usize::try_from(place).unwrap().min(target.len()));
        target[begin..end].fill(0);
        Ok(())
    }

    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno> {
        self.change();
        if !self.is_device {
            self.targets
                .get_mut(&item)
                .unwrap()
                .resize(usize::try_from(size_bytes).unwrap(), 0);
        }
        Ok(())
    }

    fn place_target(&mut self, item: u32, _: &str, _: &str) -> Result<(), Failure> {
        self.change();
        let target = self.targets[&item].clone();
        self.there = self.there.is_some().then(|| target.clone());
        self.placed.insert(item, target);
        Ok(())
    }

    fn undo_target(&mut self, item: u32, _: u64) -> Result<bool, Failure> {
        self.change();
        if !self.undo_fails {
            self.targets.insert(item, self.kept[&item].clone());
        }
        Ok(!self.undo_fails)
    }

    // What it is now is still looked at.
    fn close_target(&mut self, _: u32) {}

    fn passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.step();
        // Nobody is there who could try again.
        if asked == Asked::Again {
            return Err(Failure::NoPassphrase);
        }
        self.asked_passphrases += 1;
        let typed = self
            .new_passphrase
            .as_ref()
            .filter(|_| asked == Asked::New)
            .unwrap_or(&self.passphrase);
        Ok(Zeroizing::new(typed.clone()))
    }

    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.change();
        self.secret = Some(text.to_vec());
        Ok(())
    }

    fn tell(&mut self, event: ToClient) -> Result<(), Failure> {
        self.change();
        self.told.push(event);
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn cancelled(&mut self) -> bool {
        self.cancel_after_slots
            .is_some_and(|slots| self.slots_tried() >= slots)
    }
}

/// Sources of these volumes, as by their paths alone.
pub fn sources_named<'a>(volumes: impl IntoIterator<Item = &'a str>) -> Vec<BackupSource> {
    let source = |volume: &str| BackupSource {
        volume: volume.to_owned(),
        named: false,
        configured: false,
    };
    volumes.into_iter().map(source).collect()
}

/// How many bytes were copied.
fn copy(from: &[u8], offset: u64, bytes: &mut [u8]) -> usize {
    let from = from
        .get(usize::try_from(offset).unwrap()..)
        .unwrap_or_default();
    let length = from.len().min(bytes.len());
    bytes[..length].copy_from_slice(&from[..length]);
    length
}

/// The ranges in which `new` differs from `old`, in whole blocks, ascending and apart.
fn differences(old: &[u8], new: &[u8]) -> VecDeque<(u64, u64)> {
    let mut ranges: VecDeque<(u64, u64)> = VecDeque::new();
    for begin in (0..new.len()).step_by(BLOCK_BYTES) {
        let end = new.len().min(begin + BLOCK_BYTES);
        if old.get(begin..end) == Some(&new[begin..end]) {
            continue;
        }
        match ranges.back_mut() {
            Some(last) if last.1 == begin as u64 => last.1 = end as u64,
            _ => ranges.push_back((begin as u64, end as u64)),
        }
    }
    ranges
}
