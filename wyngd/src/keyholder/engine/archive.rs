// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive as this machine knows it: credential, ledger, cache and what a cut run left, fitted together.

use std::sync::Arc;

use wyng_archive::Class;
use wyng_archive::crypto::{Coder, Credential, DataKey, Id, Kind, Password, Root, SlotError, open_slot};
use wyng_archive::format::{Commit, KeyEntry, Malformed, PackEntry, Slot, SlotClear};
use wyng_control::{Failure, ObjectClass, Phase, Progress};

use crate::keyholder::cache::Cache;
use crate::keyholder::state::{ArchiveFolder, ArchiveToml, Journal, JournalVolume, Journaled, KnownCommit, Ledger, to_hex};
use crate::keyholder::world::World;

/// An opened archive.
pub struct Archive {
    /// Its local name.
    pub name: String,
    /// Its folder in the state.
    pub folder: ArchiveFolder,
    /// Where it is.
    pub toml: ArchiveToml,
    /// What backs up, lists and checks.
    pub credential: Arc<Credential>,
    /// What is known to be the newest.
    pub ledger: Ledger,
    /// The newest committed state.
    pub head: Commit,
    /// Index and nodes, complete up to the head.
    pub cache: Cache,
    /// What is appended while a run sends.
    pub journal: Journal,
    /// Durable in the store, not yet in a commit.
    pub uncommitted: Uncommitted,
    /// Volumes that were begun, and are in no commit.
    pub unfinished: Vec<JournalVolume>,
}

/// What a cut run left.
#[derive(Debug, Default)]
pub struct Uncommitted {
    /// Envelopes, their numbers counting on from the head's key table.
    pub keys: Vec<KeyEntry>,
    /// Packs, their numbers counting on from the head's.
    pub packs: Vec<(u64, PackEntry)>,
}

impl Archive {
    /// Opens what is known of `name`. [`Failure::CacheLost`] when the cache does not fit the ledger and cannot be rolled forward.
    pub fn open<W: World>(world: &mut W, name: &str) -> Result<Self, Failure> {
        let folder = ArchiveFolder::find(world, name)?;
        let toml = folder.read_toml(world)?;
        let credential = Arc::new(folder.read_credential(world)?);
        let ledger = Ledger::read(world, &folder)?;
        let head = open_head(&credential, &ledger)?;
        let mut cache = Cache::open(world, &folder)?.ok_or(Failure::CacheLost)?;
        cache.index.set_lost(ledger.notes.lost_packs());
        let journal = Journal::of(&folder);
        let uncommitted = Uncommitted::default();
        let mut archive =
            Self { name: name.to_owned(), folder, toml, credential, ledger, head, cache, journal, uncommitted, unfinished: Vec::new() };
        archive.roll_forward(world)?;
        Ok(archive)
    }

    /// Brings the cache up to the head, and takes up what a cut run left after it.
    pub fn roll_forward<W: World>(&mut self, world: &mut W) -> Result<(), Failure> {
        self.uncommitted = Uncommitted::default();
        let (mut base, mut keys, mut left, mut unfinished) = (None, Vec::new(), Vec::new(), Vec::new());
        let (cache, head) = (&mut self.cache, &self.head);
        let base_of_cache = cache.generation();
        self.journal.replay(world, &mut |world, journaled| {
            match journaled {
                Journaled::Begin(generation) => base = Some(generation),
                _ if base != Some(base_of_cache) => {}
                Journaled::Key(key) if u64::from(key.number) >= head.keys.size => keys.push(key.entry),
                Journaled::Key(_) => {}
                Journaled::Volume(volume) => unfinished.push(volume),
                Journaled::Pack(pack) => {
                    cache.add_pack(world, &pack)?;
                    if pack.number >= head.next_pack() {
                        left.push((pack.number, pack.entry));
                    }
                }
            }
            Ok(())
        })?;
        let generation = self.head.generation;
        if base_of_cache > generation || (base_of_cache < generation && base != Some(base_of_cache)) {
            return Err(Failure::CacheLost);
        }
        self.unfinished = unfinished;
        if base_of_cache < generation {
            self.cache.save(world, generation)?;
            return self.journal.begin(world, generation, &self.unfinished);
        }
        if base != Some(generation) {
            return self.journal.begin(world, generation, &self.unfinished);
        }
        self.uncommitted = Uncommitted { keys, packs: left };
        Ok(())
    }

    /// The pending commit is in the store: it becomes the head, durably, and the cache follows.
    pub fn commit_pending<W: World>(&mut self, world: &mut W) -> Result<(), Failure> {
        self.ledger.commit_pending();
        self.ledger.write(world, &self.folder)?;
        self.head = open_head(&self.credential, &self.ledger)?;
        Ok(())
    }

    /// May this machine push? Not after a fork was found, and not while another machine is the archive's writer.
    pub fn may_write(&self) -> Result<(), Failure> {
        if self.ledger.stopped {
            return Err(Failure::Stopped);
        }
        if self.toml.writer_id() == Some(self.head.writer) { Ok(()) } else { Err(Failure::NotWriter { archive: self.name.clone() }) }
    }

    /// A fork was found: from now on no command pushes, and that is durable before it is told.
    pub fn stop<W: World>(&mut self, world: &mut W, generation: u64) -> Failure {
        self.ledger.stopped = true;
        match self.ledger.write(world, &self.folder) {
            Ok(()) => Failure::Forked { generation },
            Err(failure) => failure,
        }
    }

    /// The slots that the head lists, from this machine's copies.
    pub fn live_slots<W: World>(&self, world: &mut W) -> Result<Vec<Slot>, Failure> {
        let mut slots = self.folder.read_slots(world)?;
        slots.retain(|slot| is_listed(&self.head, slot));
        slots.sort_unstable_by_key(|slot| slot.clear().number);
        slots.dedup_by_key(|slot| slot.clear().number);
        Ok(slots)
    }

    /// Asks for the passphrase and opens one of the slots with it: ROOT, and the slot that gave it.
    pub fn unlock_root<W: World>(&self, world: &mut W, slots: &[Slot]) -> Result<(Root, SlotClear), Failure> {
        let password = Password::new(world.passphrase(false)?).ok_or(Failure::WrongPassphrase)?;
        world.progress(Progress { phase: Phase::Unlocking, volume: None, done_bytes: 0, total_bytes: 0, sent_bytes: 0 });
        open_any(slots, &password)
    }

    /// The data key that `unlock` keeps, or by the passphrase.
    pub fn data_key<W: World>(&self, world: &mut W) -> Result<Arc<DataKey>, Failure> {
        match world.kept_key(self.folder.id()).filter(|key| key.belongs_to(&self.credential)) {
            Some(key) => Ok(key),
            None => self.unlock(world).map(Arc::new),
        }
    }

    /// Asks for the passphrase and unlocks: ROOT, then the data key, whose public half must be the credential's.
    pub fn unlock<W: World>(&self, world: &mut W) -> Result<DataKey, Failure> {
        let slots = self.live_slots(world)?;
        let (root, _) = self.unlock_root(world, &slots)?;
        let key = root.data_key().ok_or_else(|| internal("the data key"))?;
        if key.belongs_to(&self.credential) {
            Ok(key)
        } else {
            Err(Failure::StateDamaged { file: "credential".into(), what: "its public key is not the archive's".into() })
        }
    }
}

/// Does the commit list just this slot?
pub fn is_listed(commit: &Commit, slot: &Slot) -> bool {
    commit.lists(slot.clear().number, blake3::hash(&slot.encode()).as_bytes()).is_some()
}

/// Tries each slot: ROOT, and which one gave it. A damaged slot is named only when no sound one opens.
pub fn open_any(slots: &[Slot], password: &Password) -> Result<(Root, SlotClear), Failure> {
    let mut failure = Failure::WrongPassphrase;
    for slot in slots {
        match open_slot(slot, password) {
            Ok(root) => return Ok((root, *slot.clear())),
            Err(SlotError::Refused | SlotError::RecoveryKey(_)) => {}
            Err(SlotError::Memory) => return Err(Failure::OutOfMemory),
            Err(SlotError::Damaged(fault)) => {
                failure = Failure::Damaged {
                    class: ObjectClass::Slot,
                    object: slot.clear().number.to_string(),
                    what: fault.to_string(),
                    volume: None,
                }
            }
        }
    }
    Err(failure)
}

/// Opens the ledger's head.
fn open_head(credential: &Credential, ledger: &Ledger) -> Result<Commit, Failure> {
    let damaged = |what: String| Failure::StateDamaged { file: "ledger".into(), what };
    let known = ledger.head().ok_or_else(|| damaged("it has no commit".into()))?;
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    open_commit(credential, &mut coder, known).map_err(|failure| damaged(failure.text()))
}

/// Opens a commit: tag under its own name, then its layout and generation.
pub fn open_commit(credential: &Credential, coder: &mut Coder, known: &KnownCommit) -> Result<Commit, Failure> {
    let name = credential.commit_name(known.generation);
    let mut plain = Vec::new();
    credential.open_meta(Kind::Commit, coder, &Id(name.0), &known.bytes, &mut plain).map_err(|damage| damaged(&damage))?;
    Commit::decode(&plain, known.generation).map_err(|Malformed(rule)| Failure::Damaged {
        class: ObjectClass::Commit,
        object: to_hex(&name.0),
        what: rule.into(),
        volume: None,
    })
}

/// How a damaged object is told.
pub fn damaged(damage: &wyng_archive::Damage) -> Failure {
    let (class, object) = (class_of(damage.class), to_hex(&damage.object));
    match damage.fault {
        wyng_archive::Fault::Missing => Failure::Missing { class, object, volume: None },
        fault => Failure::Damaged { class, object, what: fault.to_string(), volume: None },
    }
}

/// The same class in the catalogue of failures.
pub fn class_of(class: Class) -> ObjectClass {
    match class {
        Class::Slot => ObjectClass::Slot,
        Class::Commit => ObjectClass::Commit,
        Class::Pack => ObjectClass::Pack,
        Class::Directory => ObjectClass::Directory,
        Class::Node => ObjectClass::Node,
        Class::Record => ObjectClass::Record,
        Class::Key => ObjectClass::Key,
    }
}

/// A broken inner rule.
pub fn internal(what: &str) -> Failure {
    Failure::Internal { what: what.to_owned() }
}
