// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens a whole pack: its directory, and every record under its own id. It computes on the bytes
//! that it is given, on a worker, and reads nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wyng_archive::crypto::{
    Candidates, Coder, Credential, Domain, DomainId, Id, Kind, RecordKey, SessionKey,
};
use wyng_archive::format::{Directory, Malformed, PackEntry, RecordKind};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use crate::archive::Archive;
use crate::cache::KeysAtHand;
use crate::store::usize_of;
use crate::world::Files;

/// Opens directories and records with all keys of the archive.
pub(super) struct Opener {
    credential: Arc<Credential>,
    keys: HashMap<u32, SessionKey>,
    /// Which keys the key table has.
    table: KeysAtHand,
    /// Every domain that the archive knows of: a pack may hold chunks of any volume, whichever
    /// volumes were asked for.
    domains: Vec<Domain>,
    /// Index of the domain that fitted last. It is tried first: a pack's chunks are mostly of one
    /// volume.
    fitted: AtomicUsize,
}

/// What was found in one pack.
pub(super) struct OpenedPack {
    /// What is wrong; empty for a pack that is right.
    pub damages: Vec<Damage>,
    /// Chunks whose tag is right, and whose id is that of no known domain.
    pub unnamed: Vec<Id>,
    /// Number of records that were opened or tried.
    pub records: u64,
}

impl Opener {
    /// Collects the domains of all volumes and sessions, and of volumes that a cut run began.
    pub(super) fn new(
        files: &mut impl Files,
        archive: &mut Archive,
        keys: HashMap<u32, SessionKey>,
    ) -> Result<Self, Failure> {
        // A volume that a cut run began has no session, and perhaps a pack.
        let mut ids: BTreeSet<DomainId> = archive
            .unfinished
            .iter()
            .map(|begun| begun.domain)
            .collect();
        for (_, volume) in archive.volumes(files)? {
            ids.insert(volume.domain);
            ids.extend(
                archive
                    .sessions_at_hand(files, &volume)?
                    .iter()
                    .map(|session| session.domain),
            );
        }
        let domains = ids
            .into_iter()
            .map(|id| archive.credential.domain(id))
            .collect();
        let table = archive.cache.index.keys().clone();
        Ok(Self {
            credential: Arc::clone(&archive.credential),
            keys,
            table,
            domains,
            fitted: AtomicUsize::new(0),
        })
    }

    /// Compares a whole pack with its name, and opens its directory and every record.
    pub(super) fn pack(&self, coder: &mut Coder, pack: &PackEntry, bytes: &[u8]) -> OpenedPack {
        let mut opened = OpenedPack {
            damages: Vec::new(),
            unnamed: Vec::new(),
            records: 0,
        };
        if blake3::hash(bytes) != blake3::Hash::from_bytes(pack.name.0) {
            opened
                .damages
                .push(Damage::new(Class::Pack, pack.name.0, Fault::Hash));
        }
        let mut plain = Vec::new();
        let entries = match self.directory(coder, pack, bytes, &mut plain) {
            Ok(directory) => directory.entries,
            Err(damage) => {
                opened.damages.push(damage);
                return opened;
            }
        };
        for entry in entries {
            let begin = usize_of(entry.offset_bytes);
            let record = bytes
                .get(begin..begin.saturating_add(usize_of(entry.length_bytes)))
                .unwrap_or_default();
            match self.record(coder, entry.kind, &entry.id, record, &mut plain) {
                Ok(true) => {}
                Ok(false) => opened.unnamed.push(entry.id),
                Err(damage) => opened.damages.push(damage),
            }
            opened.records = opened.records.saturating_add(1);
        }
        opened
    }

    fn directory(
        &self,
        coder: &mut Coder,
        pack: &PackEntry,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Directory, Damage> {
        let refuse = |fault| Damage::new(Class::Directory, pack.directory.0, fault);
        let begin = usize_of(pack.directory_offset_bytes);
        let record = bytes
            .get(begin..begin.saturating_add(usize_of(pack.directory_length_bytes)))
            .ok_or(refuse(Fault::Place))?;
        self.credential
            .open_meta(Kind::Directory, coder, &pack.directory, record, plain)?;
        Directory::decode(plain, pack.directory_offset_bytes)
            .map_err(|Malformed(rule)| refuse(Fault::Shape(rule)))
    }

    /// Opens a record; returns whether its id is that of its content. A chunk of a domain that is
    /// not known here is proven by its tag alone.
    fn record(
        &self,
        coder: &mut Coder,
        kind: RecordKind,
        id: &Id,
        record: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<bool, Damage> {
        let RecordKind::Chunk { key } = kind else {
            return self
                .credential
                .open_meta(Kind::Node, coder, id, record, plain)
                .map(|()| true);
        };
        let refuse = |fault| Damage::new(Class::Record, id.0, fault);
        if self.table.is_lost(key) {
            // The pack's hash is all that can be compared. Whether a session needs the record is
            // found when the sessions are walked.
            return Ok(true);
        }
        let key = self
            .keys
            .get(&key)
            .ok_or(refuse(Fault::Shape("its key is not in the key table")))?;
        let likely = self.fitted.load(Ordering::Relaxed);
        let fitting = self.credential.open_chunk_of_any(
            RecordKey { key, id },
            Candidates {
                all: &self.domains,
                first: likely,
            },
            coder,
            record,
            plain,
        )?;
        if let Some(place) = fitting {
            self.fitted.store(place, Ordering::Relaxed);
        }
        Ok(fitting.is_some())
    }
}
