// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive as this machine knows it: credential, ledger, cache and what a cut run left, fitted
//! together.

use std::sync::Arc;

use wyng_archive::crypto::{Coder, Credential, DataKey, Id, Kind, Password, Root};
use wyng_archive::format::{
    Commit, Floor, KeyEntry, Malformed, PackEntry, Slot, SlotClear, SlotRef, VolumeId,
};
use wyng_archive::plan::floor::Begun;
use wyng_control::{Failure, ObjectClass, Via};
use wyng_wire::{BlobName, Service};

use super::nodes::{CachedNodes, LostKeys, keys_at_hand};
use super::packs::{Packs, entered_packs, packs_at_hand, read_packs_of};
use super::slots::{SlotTrial, slot_hash, with_passphrase};
use crate::cache::{Cache, PacksAtHand};
use crate::outcome::{damaged, internal};
use crate::state::{
    ArchiveFolder, ArchiveToml, Journal, JournalSending, JournalVolume, Journaled, KnownCommit,
    Ledger, PushLock, to_hex,
};
use crate::world::{
    Clock, Files, OpenStore, Parts, Place, Secrets, Store, StoreCredentials, World,
};

/// Maximum number of looks that are begun anew because the files changed meanwhile.
const LOOKS_MAX: u32 = 8;

/// An opened archive.
pub struct Archive {
    /// Its local name.
    pub name: String,
    /// Its folder in the state.
    pub folder: ArchiveFolder,
    /// Its store, far end and writer.
    pub toml: ArchiveToml,
    /// What the store asks for.
    pub credentials: StoreCredentials,
    /// What backs up, lists and checks.
    pub credential: Arc<Credential>,
    /// What is known of its commits.
    pub ledger: Ledger,
    /// The newest committed state, as far as this machine knows.
    pub head: Commit,
    /// Index and nodes, complete up to the head.
    pub cache: Cache,
    /// The journal, which grows while a run sends.
    pub journal: Journal,
    /// What is durable in the store and not yet in a commit.
    pub uncommitted: Uncommitted,
    /// Volumes that a run has begun and that are in no commit.
    pub unfinished: Vec<JournalVolume>,
    /// Volumes for which packs were sent and which have no session from these packs yet.
    pub sending: Vec<JournalSending>,
    /// The head's floor, where the journal does not say what it stands for, as after a take-over.
    pub inherited_floor: Option<Floor>,
    /// Names under which this machine sent packs that were dropped: no commit has them.
    pub dropped: Vec<BlobName>,
    /// The missing part of the key table.
    pub lost_keys: LostKeys,
    /// How what the next push stores is locked.
    pub(crate) lock: PushLock,
}

/// What a passphrase opened.
pub struct Unlocked {
    /// The secret from which all keys follow.
    pub root: Root,
    /// The slot that it came from.
    pub slot: SlotClear,
    /// The passphrase that was typed.
    pub password: Password,
}

/// What a cut run left.
#[derive(Debug, Default)]
pub struct Uncommitted {
    /// Key envelopes with their numbers, ascending, from the size of the head's key table on.
    pub keys: Vec<(u64, KeyEntry)>,
    /// Packs with their numbers, ascending, from the head's next number on.
    pub packs: Vec<(u64, PackEntry)>,
}

impl Archive {
    /// Opens the archive that is called `name` here. [`Failure::CacheLost`] if the cache does not
    /// fit the ledger and cannot be rolled forward. Where the state directory can only be read, the
    /// archive is opened at the last commit that the cache has.
    pub fn open(
        files: &mut impl Files,
        secrets: &mut impl Secrets,
        name: &str,
    ) -> Result<Self, Failure> {
        if files.only_looks() {
            return Self::look(files, secrets, name);
        }
        let folder = ArchiveFolder::find(files, name)?;
        let toml = folder.read_toml(files)?;
        let credentials = folder.read_store_credentials(files, &toml.store)?;
        let credential =
            Arc::new(folder.read_credential(files, secrets.sealed_credential(folder.id()))?);
        let ledger = Ledger::read(files, &folder)?;
        let head = open_head(&credential, &ledger)?;
        let mut cache =
            Cache::open(files, &folder.cache(ledger.cache))?.ok_or(Failure::CacheLost)?;
        cache.index.set_noted(&ledger.notes);
        let journal = Journal::of(&folder);
        let uncommitted = Uncommitted::default();
        let (unfinished, lost_keys) = (Vec::new(), LostKeys::default());
        let mut archive = Self {
            name: name.to_owned(),
            folder,
            toml,
            credentials,
            credential,
            ledger,
            head,
            cache,
            journal,
            uncommitted,
            unfinished,
            sending: Vec::new(),
            inherited_floor: None,
            dropped: Vec::new(),
            lost_keys,
            lock: PushLock::default(),
        };
        archive.roll_forward(files)?;
        archive.follow_head(files)?;
        Ok(archive)
    }

    /// Opens the newest state on which ledger and cache agree, and changes no file. Another process
    /// may write to them meanwhile: when two states were read, they are read again.
    fn look(
        files: &mut impl Files,
        secrets: &mut impl Secrets,
        name: &str,
    ) -> Result<Self, Failure> {
        let mut last = Failure::CacheLost;
        for _ in 0..LOOKS_MAX {
            files.look_anew();
            let folder = ArchiveFolder::find(files, name)?;
            let toml = folder.read_toml(files)?;
            let credentials = folder.read_store_credentials(files, &toml.store)?;
            let credential =
                Arc::new(folder.read_credential(files, secrets.sealed_credential(folder.id()))?);
            let ledger = Ledger::read(files, &folder)?;
            let mut cache = match Cache::look(files, &folder.cache(ledger.cache)) {
                Ok(Some(cache)) => cache,
                Ok(None) => continue,
                // A file may have been removed between its manifest and its opening.
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            // A run that is cut after its commit leaves a cache that is one commit behind; a run
            // that goes on may overtake the ledger.
            let Some(known) = ledger.known(cache.generation()) else {
                continue;
            };
            let head = open_known(&credential, known)?;
            cache.index.set_noted(&ledger.notes);
            let journal = Journal::of(&folder);
            let uncommitted = Uncommitted::default();
            let mut archive = Self {
                name: name.to_owned(),
                folder,
                toml,
                credentials,
                credential,
                ledger,
                head,
                cache,
                journal,
                uncommitted,
                unfinished: Vec::new(),
                sending: Vec::new(),
                inherited_floor: None,
                dropped: Vec::new(),
                lost_keys: LostKeys::default(),
                lock: PushLock::default(),
            };
            match archive.follow_head(files) {
                Ok(()) => return Ok(archive),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// All packs of the head, by number.
    pub fn packs(&mut self, files: &mut impl Files) -> Result<Packs, Failure> {
        let head = self.head.clone();
        let nodes = CachedNodes {
            files,
            cache: &mut self.cache,
            credential: &self.credential,
        };
        read_packs_of(nodes, &head, &mut |_, _| {})
    }

    /// Starts the archive's far end for one service and has it open the archive's store.
    pub fn connect(&self, store: &mut impl Store, service: Service) -> Result<(), Failure> {
        self.connect_via(store, service, &self.toml.via, OpenStore::Existing)
    }

    /// Starts the archive's far end for a push whose first blob also tries what the store refuses.
    pub fn connect_to_try(&self, store: &mut impl Store) -> Result<(), Failure> {
        self.connect_via(store, Service::Push, &self.toml.via, OpenStore::Tried)
    }

    /// Starts the far end through which what was pushed is checked, and has it open the archive's
    /// store for reading.
    pub fn connect_to_verify(&self, store: &mut impl Store) -> Result<(), Failure> {
        let via = self.toml.verify_via();
        self.connect_via(store, Service::Fetch, via, OpenStore::Existing)
    }

    fn connect_via(
        &self,
        store: &mut impl Store,
        service: Service,
        via: &Via,
        open: OpenStore,
    ) -> Result<(), Failure> {
        let place = Place {
            credentials: self.credentials.clone(),
            lock_until_day: self.lock.until_day,
            ..Place::open(&self.toml.store, via)
        };
        store.connect(service, &place, open)
    }

    /// Brings the cache up to the head, and takes up what a cut run left after it.
    pub fn roll_forward(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.uncommitted = Uncommitted::default();
        let (mut base, mut keys, mut left, mut unfinished) =
            (None, Vec::new(), Vec::new(), Vec::new());
        let mut sending: Vec<JournalSending> = Vec::new();
        let mut dropped: Vec<BlobName> = Vec::new();
        let (cache, head) = (&mut self.cache, &self.head);
        let base_of_cache = cache.generation();
        let is_behind = base_of_cache < head.generation;
        self.journal.replay(files, &mut |files, journaled| {
            match journaled {
                Journaled::Begin(generation) => base = Some(generation),
                Journaled::Name(name) => dropped.push(name),
                _ if base != Some(base_of_cache) => {}
                Journaled::Key(key) if u64::from(key.number) >= head.keys.size => {
                    keys.push((key.number.into(), key.entry))
                }
                Journaled::Key(_) => {}
                Journaled::Volume(volume) => unfinished.push(volume),
                Journaled::Sending(volume) => {
                    sending.retain(|known| known.volume != volume.volume);
                    sending.push(volume);
                }
                Journaled::Pack(pack) if pack.number < head.next_pack() => {
                    dropped.retain(|name| *name != pack.entry.name);
                    cache.add_pack(files, &pack)?
                }
                // A cache that is behind is filled up to the head and saved; then nothing may be in
                // it that no commit has.
                Journaled::Pack(_) if is_behind => {}
                Journaled::Pack(pack) => {
                    dropped.retain(|name| *name != pack.entry.name);
                    cache.add_pack(files, &pack)?;
                    left.push((pack.number, pack.entry));
                }
            }
            Ok(())
        })?;
        let generation = self.head.generation;
        if base_of_cache > generation || (base_of_cache < generation && base != Some(base_of_cache))
        {
            return Err(Failure::CacheLost);
        }
        self.unfinished = unfinished;
        self.sending = sending;
        self.dropped = dropped;
        if is_behind {
            // The commit that the cache lacks gave some of these volumes their sessions.
            let floor = self.head.floor;
            self.sending
                .retain(|volume| floor.is_some_and(|floor| floor.covers(volume.begun.first_pack)));
        }
        self.inherited_floor = self.head.floor.filter(|floor| {
            let is_known = |volume: &JournalSending| volume.begun.first_pack <= floor.pack;
            !self.sending.iter().any(is_known)
        });
        if is_behind {
            self.cache.save(files, generation, self.head.next_pack())?;
            return self.begin_journal(files, generation);
        }
        if base != Some(generation) {
            return self.begin_journal(files, generation);
        }
        self.uncommitted = Uncommitted { keys, packs: left };
        Ok(())
    }

    /// Forgets the pending commit, and what was sent since the head: they are in another store than
    /// the one that is used from now on. The archive has to be opened again.
    pub fn forget_uncommitted(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        (self.unfinished, self.sending, self.dropped) = Default::default();
        self.begin_journal(files, self.head.generation)?;
        self.ledger.drop_pending();
        self.ledger.write(files, &self.folder)
    }

    /// Begins a new journal after a commit: see [`Journal::begin`].
    pub fn begin_journal(&self, files: &mut impl Files, generation: u64) -> Result<(), Failure> {
        self.journal.begin(
            files,
            generation,
            &self.unfinished,
            &self.sending,
            &self.dropped,
        )
    }

    /// The floor that holds at `now_kept_secs` by the chain's kept clock.
    pub fn floor(&self, now_kept_secs: u64) -> Option<Floor> {
        let begun: Vec<Begun> = self.sending.iter().map(|volume| volume.begun).collect();
        let minimum_age_secs = self.head.settings.minimum_age_secs;
        Floor::of(
            &begun,
            self.inherited_floor,
            now_kept_secs,
            minimum_age_secs,
        )
    }

    /// Notes durably that packs are sent for a volume, from `first_pack` on if no pack was sent for
    /// it before.
    pub fn note_sending(
        &mut self,
        files: &mut impl Files,
        volume: VolumeId,
        first_pack: u64,
    ) -> Result<(), Failure> {
        let sent_secs = self.head.stamp.stamp.kept_secs;
        let place = self.sending.iter().position(|known| known.volume == volume);
        let first_pack = place
            .and_then(|place| self.sending.get(place))
            .map_or(first_pack, |known| known.begun.first_pack);
        let begun = Begun {
            first_pack,
            sent_secs,
        };
        let sending = JournalSending { volume, begun };
        if self.sending.contains(&sending) {
            return Ok(());
        }
        self.journal.sending(files, &sending)?;
        self.sending.retain(|known| known.volume != volume);
        self.sending.push(sending);
        Ok(())
    }

    /// Notes that, from the next commit on, sessions reach all records that were sent for a volume.
    pub fn note_whole(&mut self, volume: VolumeId) {
        self.sending.retain(|known| known.volume != volume);
    }

    /// Derives from the head what is known: the packs that are in use, and the session keys that
    /// the key table has. The cache must be rolled forward to the head.
    pub fn follow_head(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.look_for_packs(files)?;
        self.look_for_keys(files)
    }

    /// Finds the packs that the pack table has in use; ids in other packs are not known. Packs that
    /// are newer than the table are known anyway, so this is necessary only where the state of a
    /// pack changed.
    pub fn look_for_packs(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        // Nodes of the pack table are found whatever the state of their packs.
        self.cache.index.set_packs(PacksAtHand::default());
        let nodes = CachedNodes {
            files,
            cache: &mut self.cache,
            credential: &self.credential,
        };
        let packs = read_packs_of(nodes, &self.head, &mut |_, _| {})?;
        let index = &mut self.cache.index;
        index.set_packs(packs_at_hand(&packs, &self.head));
        index.set_entered(entered_packs(&packs, &self.head));
        Ok(())
    }

    /// Finds which session keys the key table has: chunks under any other key count as lost.
    fn look_for_keys(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        let (keys, lost) = keys_at_hand(files, &mut self.cache, &self.credential, &self.head)?;
        self.cache.index.set_keys(keys);
        self.lost_keys = lost;
        Ok(())
    }

    /// The number of the next session key, behind all numbers that a lost part of the key table may
    /// hold: that part is not written anew, and is whole again if its pack comes back. With
    /// `replaces_lost` the lost part is given up, and the number is the size of the key table.
    pub fn next_key(&self, replaces_lost: bool) -> u64 {
        let size = self.head.keys.size;
        if replaces_lost {
            size
        } else {
            size.max(self.lost_keys.end)
        }
    }

    /// Opens the cache as it was saved, without what the journal says of packs that no commit has.
    /// [`save_cache`](Self::save_cache) must follow.
    pub fn reopen_cache(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.cache =
            Cache::open(files, &self.folder.cache(self.ledger.cache))?.ok_or(Failure::CacheLost)?;
        self.cache.index.set_noted(&self.ledger.notes);
        Ok(())
    }

    /// Saves what was added to a reopened cache, and takes up again what a cut run left.
    pub fn save_cache(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.cache
            .save(files, self.head.generation, self.head.next_pack())?;
        self.roll_forward(files)?;
        self.follow_head(files)
    }

    /// Makes the pending commit, which is in the store under this copy, the head, durably. The
    /// cache follows later.
    pub fn commit_pending(&mut self, files: &mut impl Files, copy: u8) -> Result<(), Failure> {
        self.ledger.commit_pending(copy);
        self.ledger.write(files, &self.folder)?;
        self.head = open_head(&self.credential, &self.ledger)?;
        Ok(())
    }

    /// Refuses a command that removes, moves or acknowledges anything while so much was found
    /// damaged at once that a person has to decide about it: sound copies and sessions could go in
    /// favour of damaged ones.
    pub fn refuse_much_damage(&self) -> Result<(), Failure> {
        match self.ledger.notes.held_packs().len() as u64 {
            0 => Ok(()),
            packs => Err(Failure::MuchDamaged { packs }),
        }
    }

    /// Whether this machine may push: not after a fork was found, not while another machine is the
    /// archive's writer, and not behind newer generations that were passed over, until a person has
    /// it take over.
    pub fn may_write(&self) -> Result<(), Failure> {
        if self.ledger.stopped {
            return Err(Failure::Stopped);
        }
        if self.toml.copy {
            return Err(Failure::IsCopy {
                archive: self.name.clone(),
            });
        }
        if let Some(behind) = self.is_behind() {
            return Err(behind);
        }
        if self.toml.writer_id() == Some(self.head.writer) {
            Ok(())
        } else {
            Err(Failure::NotWriter {
                archive: self.name.clone(),
            })
        }
    }

    /// The failure that names newer generations, if this machine knows that there were any.
    pub fn is_behind(&self) -> Option<Failure> {
        let (passed, generation) = (self.ledger.passed_over?, self.head.generation);
        Some(match passed.requested {
            true => Failure::NewerPassedOver {
                generation,
                newest: passed.newest,
            },
            false => Failure::NewestDamaged {
                generation: passed.newest,
                opened: generation,
            },
        })
    }

    /// Stops all pushes because a fork was found, durably, before the failure is reported.
    pub fn stop(&mut self, files: &mut impl Files, generation: u64) -> Failure {
        self.ledger.stopped = true;
        match self.ledger.write(files, &self.folder) {
            Ok(()) => Failure::Forked { generation },
            Err(failure) => failure,
        }
    }

    /// The slots that the head lists, from this machine's copies.
    pub fn live_slots(&self, files: &mut impl Files) -> Result<Vec<Slot>, Failure> {
        let mut slots = self.folder.read_slots(files)?;
        slots.retain(|slot| listed(&self.head, slot).is_some());
        slots.sort_unstable_by_key(|slot| slot.clear().number);
        slots.dedup_by_key(|slot| slot.clear().number);
        Ok(slots)
    }

    /// Asks for a passphrase that opens one of the slots, and notes which and when.
    pub fn unlock_root<P: Parts>(
        &mut self,
        world: &mut World<P>,
        slots: &[Slot],
    ) -> Result<Unlocked, Failure> {
        let unlocked = with_passphrase(&mut world.secrets, |password| {
            let mut trial = SlotTrial::new(slots.iter().cloned());
            match trial.next(&mut world.client, &password)? {
                Some((root, slot)) => Ok(Unlocked {
                    root,
                    slot: *slot.clear(),
                    password,
                }),
                None => Err(trial.refused()),
            }
        })?;
        self.ledger.opened = Some((unlocked.slot.number, world.clock.wall_secs()));
        Ok(unlocked)
    }

    /// The data key that `unlock` keeps, or by asking for the passphrase.
    pub fn data_key<P: Parts>(&mut self, world: &mut World<P>) -> Result<Arc<DataKey>, Failure> {
        match world
            .secrets
            .kept_key(self.folder.id())
            .filter(|key| key.belongs_to(&self.credential))
        {
            Some(key) => Ok(key),
            None => self.unlock(world).map(Arc::new),
        }
    }

    /// Asks for the passphrase, which gives ROOT and by it the data key. Its public half must be
    /// the credential's.
    pub fn unlock<P: Parts>(&mut self, world: &mut World<P>) -> Result<DataKey, Failure> {
        let slots = self.live_slots(&mut world.files)?;
        let Unlocked { root, .. } = self.unlock_root(world, &slots)?;
        let key = root
            .data_key()
            .ok_or_else(|| internal("the data key cannot be derived from the root key"))?;
        if key.belongs_to(&self.credential) {
            Ok(key)
        } else {
            Err(Failure::StateDamaged {
                file: self.folder.file("credential"),
                what: "its public key is not the archive's".into(),
            })
        }
    }
}

/// The entry by which the commit lists exactly this slot, if the slot is live.
pub(crate) fn listed<'a>(commit: &'a Commit, slot: &Slot) -> Option<&'a SlotRef> {
    commit.lists(slot.clear().number, &slot_hash(slot))
}

/// Opens the ledger's head.
fn open_head(credential: &Credential, ledger: &Ledger) -> Result<Commit, Failure> {
    let none = || Failure::StateDamaged {
        file: ArchiveFolder::of(credential.archive()).file("ledger"),
        what: "it has no commit".into(),
    };
    open_known(credential, ledger.head().ok_or_else(none)?)
}

/// Opens a commit of the ledger.
fn open_known(credential: &Credential, known: &KnownCommit) -> Result<Commit, Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    open_commit(credential, &mut coder, known).map_err(|failure| Failure::StateDamaged {
        file: ArchiveFolder::of(credential.archive()).file("ledger"),
        what: failure.to_string(),
    })
}

/// Opens a commit: tag under its own name, then its layout and generation.
pub(crate) fn open_commit(
    credential: &Credential,
    coder: &mut Coder,
    known: &KnownCommit,
) -> Result<Commit, Failure> {
    let name = credential.commit_name(known.generation);
    let mut plain = Vec::new();
    credential
        .open_meta(Kind::Commit, coder, &Id(name.0), &known.bytes, &mut plain)
        .map_err(|damage| damaged(&damage))?;
    Commit::decode(&plain, known.generation).map_err(|Malformed(rule)| Failure::Damaged {
        class: ObjectClass::Commit,
        object: to_hex(&name.0),
        what: rule.into(),
        volume: None,
    })
}
