// SPDX-License-Identifier: GPL-3.0-or-later
//! A store in memory. A blob without a receipt may have arrived or not.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use wyng_control::{Abilities, CreateOnly, Failure, Via};
use wyng_engine::world::{
    Deleted, Doomed, Fetched, Found, Kept, Lasting, OpenStore, Place, Receipt, RenewalBudget,
    Renewed, Reserve, Store, Wait,
};
use wyng_wire::{BlobName, RESERVE_BYTES, Service};

use super::plug::Plug;

/// What the address of a further store begins with. All other addresses lead to the first store.
pub const FURTHER: &str = "copy:";

/// Blobs of one store, by name.
pub type Blobs = BTreeMap<[u8; 32], Vec<u8>>;

/// A PUT without a receipt.
struct Sent {
    /// The address of the store.
    at: String,
    number: u64,
    name: BlobName,
    bytes: Vec<u8>,
    reserve: Reserve,
}

/// A store of blobs, with receipts that may be lost on the way.
pub struct MemoryStore {
    plug: Plug,
    blobs: Blobs,
    /// Further stores, by address.
    copies: BTreeMap<String, Blobs>,
    /// The address that each service has open.
    open: HashMap<Service, String>,
    /// Sent, and not durable for certain.
    in_flight: VecDeque<Sent>,
    put_number: u64,
    asked: VecDeque<(BlobName, u8, usize, usize)>,
    /// Older versions of blobs, the newest first.
    pub older: BTreeMap<[u8; 32], Vec<Vec<u8>>>,
    /// The blobs of which an older version is read.
    shown_versions: BTreeMap<[u8; 32], u8>,
    /// The plug is pulled when so many blobs were put.
    pub kill_when_put: Option<usize>,
    /// What the store did not take of the last receipt.
    returned: Option<Vec<u8>>,
    /// Bytes of blobs that were put.
    pub sent_bytes: u64,
    /// The length of each blob that was put, in order: what the store sees of a run.
    pub puts: Vec<usize>,
    /// May push compare what lies under a name that is taken?
    pub push_may_read: bool,
    /// Which services were started, in order.
    pub services: Vec<Service>,
    /// Through which far end each of them was started.
    pub vias: Vec<Via>,
    /// The far end is lost at this call.
    pub lose_far_end_at: Option<u64>,
    /// Names to be deleted without an answer yet. A deletion without an answer may be done or not.
    dooms: VecDeque<BlobName>,
    /// Names that were to be deleted, in order.
    pub deletes: Vec<BlobName>,
    /// The store refuses every DELETE.
    pub refuses_deletes: bool,
    /// Services that are refused, as by a policy.
    pub refused_services: Vec<Service>,
    /// PUTs from this number on are answered as stored, and dropped.
    pub drops_puts_from: Option<u64>,
    /// The far end says of every name that a blob lies under it.
    pub shows_everything: bool,
    /// Names under which the far end shows nothing, and says that it stored what is put there.
    pub hidden: BTreeSet<[u8; 32]>,
    /// Space for blobs and for the reserve, bytes, if it is limited.
    pub capacity_bytes: Option<u64>,
    /// Names of the blobs that were requested, in order.
    pub read: Vec<[u8; 32]>,
    /// Until which day each blob of the first store is locked.
    pub locks: BTreeMap<[u8; 32], u32>,
    /// Locks that were to be lengthened, in order.
    pub renewals: Vec<Lasting>,
    /// Locks to be lengthened without an answer yet.
    renewing: VecDeque<Lasting>,
    /// What the store answers to each that is to be lengthened, if not what is so.
    pub answers_renewals: Option<Renewed>,
    /// What the store answers for these names alone.
    pub answers_renewals_of: BTreeMap<[u8; 32], Renewed>,
    /// How much one command may spend on lengthening locks.
    pub renewal_budget: RenewalBudget,
    /// What the present push stores is locked until this day.
    locks_until_day: u32,
    /// What keeps two blobs from one name, as a push finds out whose first blob tries it.
    pub create_only: CreateOnly,
    /// The next blob is a trial.
    is_trying: bool,
    /// What trials showed, until it is taken.
    shown: Abilities,
}

impl MemoryStore {
    /// A store with these blobs, and further stores.
    pub fn new(plug: Plug, blobs: Blobs, copies: BTreeMap<String, Blobs>) -> Self {
        Self {
            plug,
            blobs,
            copies,
            open: HashMap::new(),
            in_flight: VecDeque::new(),
            put_number: 0,
            asked: VecDeque::new(),
            older: BTreeMap::new(),
            shown_versions: BTreeMap::new(),
            kill_when_put: None,
            returned: None,
            sent_bytes: 0,
            puts: Vec::new(),
            push_may_read: true,
            services: Vec::new(),
            vias: Vec::new(),
            lose_far_end_at: None,
            dooms: VecDeque::new(),
            deletes: Vec::new(),
            refuses_deletes: false,
            refused_services: Vec::new(),
            drops_puts_from: None,
            shows_everything: false,
            hidden: BTreeSet::new(),
            capacity_bytes: None,
            read: Vec::new(),
            locks: BTreeMap::new(),
            renewals: Vec::new(),
            renewing: VecDeque::new(),
            answers_renewals: None,
            answers_renewals_of: BTreeMap::new(),
            renewal_budget: RenewalBudget::default(),
            locks_until_day: 0,
            create_only: CreateOnly::Atomic,
            is_trying: false,
            shown: Abilities::default(),
        }
    }

    /// What a kill leaves of it, and how many blobs lie there that no journal has; `chance` decides
    /// which of those without a receipt arrived.
    pub fn crash(&self, chance: u64) -> (Blobs, BTreeMap<String, Blobs>, usize) {
        let (mut blobs, mut arrived) = (self.blobs.clone(), self.plug.unjournaled());
        let mut copies = self.copies.clone();
        for (place, sent) in self.in_flight.iter().enumerate() {
            if (chance >> (place % 64)) & 1 == 1 && self.keeps(sent) {
                let bytes = || sent.bytes.clone();
                let blobs = copies.get_mut(&sent.at).unwrap_or(&mut blobs);
                blobs.entry(sent.name.0).or_insert_with(bytes);
                arrived += 1;
            }
        }
        for (place, name) in self.dooms.iter().enumerate() {
            if (chance >> (place % 64)) & 1 == 0 && !self.refuses_deletes {
                blobs.remove(&name.0);
            }
        }
        (blobs, copies, arrived)
    }

    /// The blobs of the store that a service has open.
    fn of(&self, service: Service) -> &Blobs {
        let at = self.open.get(&service);
        at.and_then(|at| self.copies.get(at)).unwrap_or(&self.blobs)
    }

    /// The same, to change them.
    fn of_mut(&mut self, at: &str) -> &mut Blobs {
        self.copies.get_mut(at).unwrap_or(&mut self.blobs)
    }

    /// Whether every blob that was sent has its receipt.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn reach_far_end(&self) -> Result<(), Failure> {
        if self
            .lose_far_end_at
            .is_some_and(|call| self.plug.calls() >= call)
        {
            Err(Failure::FarEndLost)
        } else {
            Ok(())
        }
    }

    /// Whether what is sent is stored, where its name is free.
    fn keeps(&self, sent: &Sent) -> bool {
        let drops = self.drops_puts_from.is_some_and(|from| sent.number >= from);
        !drops && !self.hidden.contains(&sent.name.0)
    }

    /// What a GET or a STAT finds.
    fn shown(&self, name: &BlobName) -> Option<&Vec<u8>> {
        let is_hidden = self.hidden.contains(&name.0);
        let blobs = self.of(Service::Fetch);
        blobs.get(&name.0).filter(|_| !is_hidden)
    }

    /// Bytes of all blobs.
    pub fn stored_bytes(&self) -> u64 {
        self.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Refuses what would leave less free space than the reserve, as the helper does.
    fn check_space(&self, sent: &Sent) -> Result<(), Failure> {
        let Some(capacity_bytes) = self.capacity_bytes else {
            return Ok(());
        };
        let free_bytes = capacity_bytes.saturating_sub(self.stored_bytes());
        let reserve_bytes = match sent.reserve {
            Reserve::Untouched => RESERVE_BYTES,
            Reserve::Usable => 0,
        };
        if free_bytes >= reserve_bytes + sent.bytes.len() as u64 {
            return Ok(());
        }
        Err(Failure::StoreFull {
            store: "memory".into(),
            free_mib: u32::try_from(free_bytes >> 20).ok(),
            reserve_mib: u32::try_from(RESERVE_BYTES >> 20).unwrap(),
        })
    }

    fn settle_oldest(&mut self) -> Result<Option<Receipt>, Failure> {
        let Some(sent) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let is_hidden = self.hidden.contains(&sent.name.0);
        let blobs = self.copies.get(&sent.at).unwrap_or(&self.blobs);
        let kept = match blobs.get(&sent.name.0).filter(|_| !is_hidden) {
            None => Kept::New,
            Some(_) if !self.push_may_read => Kept::Unknown,
            Some(there) if *there == sent.bytes => Kept::Same,
            Some(_) => Kept::Different,
        };
        if kept == Kept::New {
            self.check_space(&sent)?;
        }
        self.returned = matches!(kept, Kept::Different | Kept::Unknown).then(|| sent.bytes.clone());
        if self.keeps(&sent) {
            if kept == Kept::New && self.locks_until_day > 0 {
                self.locks
                    .entry(sent.name.0)
                    .or_insert(self.locks_until_day);
            }
            let blobs = self.of_mut(&sent.at);
            blobs.entry(sent.name.0).or_insert(sent.bytes);
        }
        self.plug.note_receipt();
        let number = sent.number;
        Ok(Some(Receipt { number, kept }))
    }
}

impl Store for MemoryStore {
    type Buffer = Vec<u8>;
    type Bytes = Vec<u8>;

    fn connect(&mut self, service: Service, place: &Place, open: OpenStore) -> Result<(), Failure> {
        self.plug.step();
        if service == Service::Fetch {
            self.shown_versions.clear();
        }
        let is_first = !place.url.starts_with(FURTHER);
        if !is_first && open == OpenStore::New {
            self.copies.entry(place.url.clone()).or_default();
        }
        if !is_first && !self.copies.contains_key(&place.url) {
            return Err(Failure::StoreMissing {
                store: place.url.clone(),
            });
        }
        if service == Service::Push {
            self.locks_until_day = place.lock_until_day;
            self.is_trying = open == OpenStore::Tried;
            // What has no receipt of the push before never gets one.
            self.in_flight.clear();
            self.renewing.clear();
        }
        self.open.insert(service, place.url.clone());
        self.services.push(service);
        self.vias.push(place.via.clone());
        if self.refused_services.contains(&service) {
            return Err(Failure::FarEndRefused {
                via: "qrexec:memory".into(),
            });
        }
        match (open, self.of(service).is_empty()) {
            (OpenStore::New, false) => Err(Failure::StoreNotEmpty {
                store: "memory".into(),
            }),
            (OpenStore::Existing | OpenStore::Tried, true) => Err(Failure::StoreEmpty {
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
        reserve: Reserve,
    ) -> Result<u64, Failure> {
        self.plug.change();
        bytes.truncate(length_bytes);
        self.put_number += 1;
        self.sent_bytes += length_bytes as u64;
        if self.kill_when_put == Some(self.puts.len()) {
            self.plug.pull();
        }
        self.puts.push(length_bytes);
        let at = self.open.get(&Service::Push).cloned().unwrap_or_default();
        // A name that is taken shows nothing.
        if std::mem::take(&mut self.is_trying) && !self.of(Service::Push).contains_key(&name.0) {
            self.shown.create_only = Some(self.create_only);
        }
        let number = self.put_number;
        self.in_flight.push_back(Sent {
            at,
            number,
            name,
            bytes,
            reserve,
        });
        Ok(number)
    }

    fn receipt(&mut self, wait: Wait) -> Result<Option<Receipt>, Failure> {
        self.plug.change();
        // Without waiting, receipts are late.
        if wait == Wait::UntilThere || self.in_flight.len() > 2 {
            self.settle_oldest()
        } else {
            Ok(None)
        }
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.returned.take().unwrap())
    }

    fn renew(&mut self, lasting: Lasting) -> Result<(), Failure> {
        self.plug.change();
        self.renewals.push(lasting);
        self.renewing.push_back(lasting);
        Ok(())
    }

    fn renewed(&mut self) -> Result<Renewed, Failure> {
        self.plug.change();
        self.reach_far_end()?;
        let Lasting { name, until_day } = self.renewing.pop_front().unwrap();
        let of_name = self.answers_renewals_of.get(&name.0).copied();
        if let Some(answer) = of_name.or(self.answers_renewals) {
            return Ok(answer);
        }
        if !self.blobs.contains_key(&name.0) {
            return Ok(Renewed::Missing);
        }
        let lock = self.locks.entry(name.0).or_default();
        *lock = until_day.max(*lock);
        Ok(Renewed::Locked)
    }

    fn renewal_budget(&self) -> RenewalBudget {
        self.renewal_budget
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        self.plug.change();
        while self.settle_oldest()?.is_some() {}
        Ok(())
    }

    fn delete(&mut self, doomed: Doomed) -> Result<(), Failure> {
        let name = doomed.name();
        self.plug.change();
        self.deletes.push(name);
        self.dooms.push_back(name);
        Ok(())
    }

    fn deleted(&mut self) -> Result<Deleted, Failure> {
        self.plug.change();
        self.reach_far_end()?;
        let name = self.dooms.pop_front().unwrap();
        let at = self.open.get(&Service::Prune).cloned().unwrap_or_default();
        Ok(if self.refuses_deletes {
            Deleted::Refused
        } else if self.of_mut(&at).remove(&name.0).is_some() {
            Deleted::Gone
        } else {
            Deleted::Absent
        })
    }

    fn finish_prune(&mut self) -> Result<(), Failure> {
        self.plug.step();
        Ok(())
    }

    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure> {
        self.plug.step();
        self.read.push(name.0);
        let version = self.shown_versions.get(&name.0).copied();
        self.asked.push_back((
            name,
            version.unwrap_or_default(),
            usize::try_from(offset_bytes).unwrap(),
            usize::try_from(length_bytes).unwrap(),
        ));
        Ok(())
    }

    fn show_version(&mut self, name: BlobName, version: u8) {
        self.shown_versions.insert(name.0, version);
    }

    fn answer(&mut self) -> Result<Fetched<Vec<u8>>, Failure> {
        self.plug.step();
        self.reach_far_end()?;
        let (name, version, offset, length) = self.asked.pop_front().unwrap();
        let shown = match usize::from(version).checked_sub(1) {
            None => self.shown(&name),
            Some(older) => self.older.get(&name.0).and_then(|all| all.get(older)),
        };
        Ok(match shown {
            None => Fetched::Missing,
            Some(bytes) => bytes
                .get(offset..offset + length)
                .map_or(Fetched::Short, |part| Fetched::Bytes(part.to_vec())),
        })
    }

    fn stat(&mut self, name: BlobName) -> Result<Found, Failure> {
        self.plug.step();
        self.reach_far_end()?;
        let shown = if self.shows_everything {
            Found::Blob { length_bytes: 4096 }
        } else {
            Found::Nothing
        };
        Ok(self.shown(&name).map_or(shown, |bytes| Found::Blob {
            length_bytes: bytes.len() as u64,
        }))
    }

    fn list(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        self.plug.step();
        let shown = self
            .of(Service::Fetch)
            .iter()
            .filter(|(name, _)| !self.hidden.contains(*name));
        shown.for_each(|(name, bytes)| visit(BlobName(*name), bytes.len() as u64));
        Ok(true)
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        self.plug.step();
        Ok(())
    }

    fn take_abilities(&mut self) -> Abilities {
        std::mem::take(&mut self.shown)
    }
}
