// SPDX-License-Identifier: GPL-3.0-or-later
//! The ledger: what this machine knows to be the newest, and the one commit it may be about to push.
//!
//! It is fsynced before a commit is pushed and after its receipt, so that no state of the store can be taken for newer than it is.
//!
//! ```text
//!   0 │ "wyngledg"                                                    │
//!   8 │ format = 0 u32                │ flags u32 (1: stopped)         │
//!  16 │ keys proven at: seconds since 1970 UTC, i64; 0: never          │
//!  24 │ count of known commits u32    │ 1 if one is pending u32        │
//!  32 │ count of the spine u32        │ count of the notes u32         │
//!  40 │ the spine, descending: generation u64 ‖ hash (32)              │
//!     │ the notes of damage: kind u32 ‖ further packs u32 ‖ number u64 │
//!     │ what was acknowledged of the damage (acknowledged.rs)           │
//!     │ the known commits, ascending: generation u64 ‖ 4096 bytes      │
//!     │ the pending one, the same                                      │
//!     │ H of all before                                                │
//! ```

use wyng_archive::format::{COMMIT_BYTES, Malformed, Reader, Writer, skip_of};
use wyng_control::Failure;

use super::{Acknowledged, ArchiveFolder, Notes};
use crate::keyholder::world::World;

const MAGIC: &[u8; 8] = b"wyngledg";
const FILE: &str = "ledger";
const FLAG_STOPPED: u32 = 1;
/// A commit that the store lost is pushed again from here.
const KEPT_COMMITS: usize = 16;

/// A commit's bytes as they were pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCommit {
    /// Its generation.
    pub generation: u64,
    /// Its sealed bytes.
    pub bytes: Vec<u8>,
}

impl KnownCommit {
    /// `H` of its bytes: what the next commit carries.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }
}

/// See the module's first line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The last committed ones, ascending; the last is the head.
    known: Vec<KnownCommit>,
    /// Written before it is pushed.
    pending: Option<KnownCommit>,
    /// The head's hash, and by [`skip_of`] those before it that a later commit may have to carry: each one's skip is the next.
    spine: Vec<(u64, [u8; 32])>,
    /// A fork was found: nothing is pushed until `archive open`.
    pub stopped: bool,
    /// When every session key was last derived and compared.
    pub keys_proven_time: i64,
    /// What is damaged in the store.
    pub notes: Notes,
    /// What of it a person has seen.
    pub acknowledged: Acknowledged,
}

impl Ledger {
    /// Reads the ledger. That it is missing or damaged is told, never repaired by guessing.
    pub fn read<W: World>(world: &mut W, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::StateDamaged { file: FILE.into(), what: what.into() };
        let bytes = world.read_file(&folder.file(FILE))?.ok_or_else(|| damaged("it is missing"))?;
        let (covered, hash) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("it is too short"))?;
        if blake3::hash(covered).as_bytes() != hash {
            return Err(damaged("its checksum is wrong"));
        }
        Self::decode(covered).map_err(|Malformed(rule)| damaged(rule))
    }

    /// Writes the ledger durably. Until this returns, nothing that depends on it may happen.
    pub fn write<W: World>(&self, world: &mut W, folder: &ArchiveFolder) -> Result<(), Failure> {
        let mut bytes = self.encode();
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        world.replace_file(&folder.file(FILE), &bytes)
    }

    /// The newest committed one.
    pub fn head(&self) -> Option<&KnownCommit> {
        self.known.last()
    }

    /// A known commit by its generation.
    pub fn known(&self, generation: u64) -> Option<&KnownCommit> {
        self.known.iter().find(|commit| commit.generation == generation)
    }

    /// The commit that may or may not have reached the store.
    pub fn pending(&self) -> Option<&KnownCommit> {
        self.pending.as_ref()
    }

    /// Notes what is about to be pushed.
    pub fn set_pending(&mut self, commit: KnownCommit) {
        self.pending = Some(commit);
    }

    /// The pending commit is durable in the store: it becomes the head.
    pub fn commit_pending(&mut self) {
        if let Some(commit) = self.pending.take() {
            self.spine.retain(|(generation, _)| *generation <= skip_of(commit.generation));
            self.spine.insert(0, (commit.generation, commit.hash()));
            self.known.push(commit);
            let surplus = self.known.len().saturating_sub(KEPT_COMMITS);
            self.known.drain(..surplus);
        }
    }

    /// The hash of an earlier commit that the next one must carry; `None` if it is not on the spine, zeros for generation 0.
    pub fn spine_hash(&self, generation: u64) -> Option<[u8; 32]> {
        if generation == 0 {
            return Some([0; 32]);
        }
        self.spine.iter().find(|(known, _)| *known == generation).map(|(_, hash)| *hash)
    }

    /// What was found in the store by `archive open`: the head, which descends from what was known, and the spine below it.
    pub fn adopt(&mut self, head: KnownCommit, below: Vec<(u64, [u8; 32])>) {
        self.spine = vec![(head.generation, head.hash())];
        self.spine.extend(below);
        self.known.retain(|known| known.generation < head.generation);
        self.known.push(head);
        let surplus = self.known.len().saturating_sub(KEPT_COMMITS);
        self.known.drain(..surplus);
        self.pending = None;
        self.stopped = false;
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(80 * 1024);
        writer.bytes(MAGIC).u32(0).u32(if self.stopped { FLAG_STOPPED } else { 0 }).i64(self.keys_proven_time);
        writer.u32(u32::try_from(self.known.len()).unwrap_or(u32::MAX)).u32(u32::from(self.pending.is_some()));
        writer.u32(u32::try_from(self.spine.len()).unwrap_or(u32::MAX)).u32(self.notes.count());
        for (generation, hash) in &self.spine {
            writer.u64(*generation).bytes(hash);
        }
        self.notes.encode(&mut writer);
        self.acknowledged.encode(&mut writer);
        for commit in self.known.iter().chain(&self.pending) {
            writer.u64(commit.generation).bytes(&commit.bytes);
        }
        writer.finish()
    }

    fn decode(covered: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(covered);
        reader.magic(MAGIC)?;
        reader.zeros(4, "format")?;
        let stopped = match reader.u32()? {
            0 => false,
            FLAG_STOPPED => true,
            _ => return Err(Malformed("flags")),
        };
        let keys_proven_time = reader.i64()?;
        let (count, pending) = (reader.u32()?, reader.u32()?);
        if usize::try_from(count).map_or(true, |count| count > KEPT_COMMITS) || pending > 1 {
            return Err(Malformed("count"));
        }
        let (spine_count, note_count) = (reader.u32()?, reader.u32()?);
        if spine_count > u64::BITS {
            return Err(Malformed("spine"));
        }
        let spine = (0..spine_count).map(|_| Ok((reader.u64()?, reader.array()?))).collect::<Result<_, Malformed>>()?;
        let notes = Notes::decode(&mut reader, note_count)?;
        let acknowledged = Acknowledged::decode(&mut reader)?;
        let mut commit = || {
            let generation = reader.u64()?;
            Ok(KnownCommit { generation, bytes: reader.slice(COMMIT_BYTES)?.to_vec() })
        };
        let known: Vec<KnownCommit> = (0..count).map(|_| commit()).collect::<Result<_, Malformed>>()?;
        let pending = (pending == 1).then(commit).transpose()?;
        reader.end()?;
        Ok(Self { known, pending, spine, stopped, keys_proven_time, notes, acknowledged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyholder::state::PackNote;

    fn commit(generation: u64) -> KnownCommit {
        KnownCommit { generation, bytes: vec![u8::try_from(generation).unwrap(); COMMIT_BYTES] }
    }

    #[test]
    fn a_ledger_comes_back_as_it_was() {
        let mut ledger = Ledger { stopped: true, keys_proven_time: 7, ..Ledger::default() };
        ledger.adopt(commit(2), Vec::new());
        ledger.adopt(commit(3), vec![(2, [2; 32])]);
        ledger.set_pending(commit(4));
        ledger.notes.commits.insert(1);
        ledger.notes.slots.insert(0);
        ledger.acknowledged.add_commit(1);
        ledger.notes.packs.extend([(5, PackNote::Lost), (7, PackNote::Sound)]);
        assert_eq!(ledger.known(2), Some(&commit(2)), "what the head descends from stays known");
        assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger));
    }

    #[test]
    fn the_last_sixteen_commits_are_kept() {
        let mut ledger = Ledger::default();
        for generation in 1..=20 {
            ledger.set_pending(commit(generation));
            ledger.commit_pending();
        }
        assert_eq!(ledger.head(), Some(&commit(20)));
        assert_eq!(ledger.known(5), Some(&commit(5)));
        assert_eq!(ledger.known(4), None);
    }

    #[test]
    fn the_spine_always_has_what_the_next_commit_must_carry() {
        let mut ledger = Ledger::default();
        for generation in 1..=200 {
            assert_eq!(ledger.spine_hash(generation - 1), Some(if generation == 1 { [0; 32] } else { commit(generation - 1).hash() }));
            let skip = skip_of(generation);
            assert_eq!(ledger.spine_hash(skip), Some(if skip == 0 { [0; 32] } else { commit(skip).hash() }), "at {generation}");
            ledger.set_pending(commit(generation));
            ledger.commit_pending();
        }
    }
}
