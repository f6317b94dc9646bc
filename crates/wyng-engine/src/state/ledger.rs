// SPDX-License-Identifier: GPL-3.0-or-later
//! The ledger: the newest commit that this machine knows, and the commit that it may be about to
//! push.
//!
//! The ledger is fsynced before a commit is pushed and after its receipt, so that no state of the
//! store can pass for a newer one than it is. Its bytes are described in `codec`.

mod codec;

use wyng_archive::format::{Malformed, skip_of};
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::chain_clock::ChainClock;
use wyng_control::Failure;

use super::acknowledged::Acknowledged;
use super::archives::{ArchiveFolder, CacheFolder};
use super::notes::Notes;
use crate::world::Files;

const FILE: &str = "ledger";
/// Number of the newest commits that are kept, to be pushed again if the store loses them. All
/// commits on the spine are kept besides.
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

/// Generations that exist in the store and are newer than the one that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver {
    /// The newest of these generations.
    pub newest: u64,
    /// One of these generations is sound: whatever is written after the head would be a second
    /// history.
    pub sound: bool,
    /// A person asked for the older generation. Otherwise its newest session does not count as the
    /// latest, and nothing is written.
    pub requested: bool,
}

/// What this machine knows of an archive's head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The last [`KEPT_COMMITS`] commits and the commits on the spine, ascending; the last one is
    /// the head.
    known: Vec<KnownCommit>,
    /// The commit that was written here before it is pushed.
    pending: Option<KnownCommit>,
    /// The spine, descending: the head's hash, then the hashes of earlier commits that a later
    /// commit may have to carry. The [`skip_of`] of each generation is the next generation.
    spine: Vec<(u64, [u8; 32])>,
    /// A fork was found: nothing is pushed until `archive open`.
    pub stopped: bool,
    /// The kept clock of the chain of commits, as this machine continues it.
    pub chain: ChainClock,
    /// When every session key was last derived and compared; `None`: never.
    pub keys_proven: Option<Moment>,
    /// When a rehearsal last restored a session and found it right; `None`: never.
    pub rehearsed: Option<Moment>,
    /// When a prune by rules last judged every volume that has rules; `None`: never.
    pub pruned: Option<Moment>,
    /// The slot whose passphrase opened the archive last on this machine, and when, seconds since
    /// 1970 UTC.
    pub opened: Option<(u8, i64)>,
    /// The copy under which the head was found or accepted last.
    pub head_copy: u8,
    /// Newer generations that `archive open` passed over, until this machine has written as far.
    pub passed_over: Option<PassedOver>,
    /// The cache folder that fits the head: one write of the ledger changes both.
    pub cache: CacheFolder,
    /// The damage in the store.
    pub notes: Notes,
    /// The damage that a person has acknowledged.
    pub acknowledged: Acknowledged,
}

impl Ledger {
    /// Reads the ledger. If it is missing or damaged, that is [`Failure::StateDamaged`]; it is
    /// never repaired by guessing.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::StateDamaged {
            file: folder.file(FILE),
            what: what.into(),
        };
        let bytes = files
            .read(&folder.file(FILE))?
            .ok_or_else(|| damaged("it is missing"))?;
        let (covered, hash) = bytes
            .split_last_chunk::<32>()
            .ok_or_else(|| damaged("it is too short"))?;
        if blake3::hash(covered).as_bytes() != hash {
            return Err(damaged("its checksum is wrong"));
        }
        Self::decode(covered).map_err(|Malformed(rule)| damaged(rule))
    }

    /// Writes the ledger durably. Until this returns, nothing that depends on it may happen.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let mut bytes = self.encode();
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        files.replace(&folder.file(FILE), &bytes)
    }

    /// The head: the newest commit that is durable in the store.
    pub fn head(&self) -> Option<&KnownCommit> {
        self.known.last()
    }

    /// A known commit by its generation.
    pub fn known(&self, generation: u64) -> Option<&KnownCommit> {
        self.known
            .iter()
            .find(|commit| commit.generation == generation)
    }

    /// All commits whose bytes are kept, ascending; the last one is the head.
    pub fn known_commits(&self) -> impl Iterator<Item = &KnownCommit> {
        self.known.iter()
    }

    /// The commit that may or may not have reached the store.
    pub fn pending(&self) -> Option<&KnownCommit> {
        self.pending.as_ref()
    }

    /// Notes the commit that is about to be pushed.
    pub fn set_pending(&mut self, commit: KnownCommit) {
        self.pending = Some(commit);
    }

    /// Forgets the commit that is pending.
    pub fn drop_pending(&mut self) {
        self.pending = None;
    }

    /// The pending commit is durable in the store under this copy: it becomes the head.
    pub fn commit_pending(&mut self, copy: u8) {
        if let Some(commit) = self.pending.take() {
            self.spine
                .retain(|(generation, _)| *generation <= skip_of(commit.generation));
            self.spine.insert(0, (commit.generation, commit.hash()));
            self.notes.commits.remove(&commit.generation);
            self.passed_over = self
                .passed_over
                .filter(|passed| passed.newest > commit.generation);
            self.head_copy = copy;
            self.known.push(commit);
            self.drop_surplus();
        }
    }

    /// Keeps the earlier commits from which the store can be healed: the newest, and the commits
    /// whose hashes newer commits have to carry.
    fn drop_surplus(&mut self) {
        let surplus = self.known.len().saturating_sub(KEPT_COMMITS);
        let mut place = 0usize;
        let spine = &self.spine;
        self.known.retain(|known| {
            place = place.saturating_add(1);
            place > surplus
                || spine
                    .iter()
                    .any(|(generation, _)| *generation == known.generation)
        });
    }

    /// The hash of an earlier commit that the next one must carry; `None` if it is not on the
    /// spine, zeros for generation 0.
    pub fn spine_hash(&self, generation: u64) -> Option<[u8; 32]> {
        if generation == 0 {
            return Some([0; 32]);
        }
        self.spine
            .iter()
            .find(|(known, _)| *known == generation)
            .map(|(_, hash)| *hash)
    }

    /// Takes over what `archive open` found in the store: the head, which descends from what was
    /// known; the spine below it, descending; and the bytes of the earlier commits that were read,
    /// in any order.
    pub fn adopt(
        &mut self,
        head: KnownCommit,
        below: Vec<(u64, [u8; 32])>,
        read: impl IntoIterator<Item = KnownCommit>,
    ) {
        self.spine = vec![(head.generation, head.hash())];
        self.spine.extend(below);
        self.known.extend(read);
        self.known
            .retain(|known| known.generation < head.generation);
        self.known.sort_by_key(|known| known.generation);
        self.known.dedup_by_key(|known| known.generation);
        self.known.push(head);
        self.drop_surplus();
        self.pending = None;
        self.stopped = false;
    }
}

#[cfg(test)]
mod tests {
    use wyng_archive::format::COMMIT_BYTES;

    use super::*;
    use crate::state::PackNote;

    fn commit(generation: u64) -> KnownCommit {
        KnownCommit {
            generation,
            bytes: vec![u8::try_from(generation).unwrap(); COMMIT_BYTES],
        }
    }

    #[test]
    fn a_ledger_comes_back_as_it_was() {
        let mut ledger = Ledger {
            chain: ChainClock {
                chain_secs: 9,
                instance: [1; 16],
                local_secs: 5,
            },
            keys_proven: Some(Moment {
                wall_secs: 7,
                kept_secs: 8,
            }),
            rehearsed: Some(Moment {
                wall_secs: 9,
                kept_secs: 10,
            }),
            pruned: Some(Moment {
                wall_secs: 11,
                kept_secs: 12,
            }),
            opened: Some((3, 8)),
            head_copy: 2,
            cache: CacheFolder::Second,
            ..Ledger::default()
        };
        ledger.adopt(commit(2), Vec::new(), None);
        ledger.adopt(commit(3), vec![(2, [2; 32])], None);
        ledger.set_pending(commit(4));
        ledger.stopped = true;
        ledger.passed_over = Some(PassedOver {
            newest: 9,
            sound: true,
            requested: true,
        });
        ledger.notes.commits.extend([(1, 0), (4, 256)]);
        ledger.notes.slots.insert(0);
        ledger.acknowledged.add_commit(1);
        ledger
            .notes
            .packs
            .extend([(5, PackNote::Lost), (7, PackNote::Sound)]);
        assert_eq!(
            ledger.known(2),
            Some(&commit(2)),
            "what the head descends from stays known"
        );
        assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger));
    }

    #[test]
    fn the_last_sixteen_commits_and_those_on_the_spine_are_kept() {
        let mut ledger = Ledger::default();
        for generation in 1..=91 {
            ledger.set_pending(commit(generation));
            ledger.commit_pending(0);
        }
        assert_eq!(ledger.head(), Some(&commit(91)));
        // 91 = 64 + 16 + 8 + 2 + 1
        let kept: Vec<u64> = (1..=91)
            .filter(|generation| ledger.known(*generation).is_some())
            .collect();
        assert_eq!(
            kept,
            [[64].as_slice(), &(76..=91).collect::<Vec<u64>>()].concat()
        );
        let mut other = Ledger::default();
        other.adopt(
            commit(91),
            vec![(90, [0; 32]), (88, [0; 32]), (80, [0; 32]), (64, [0; 32])],
            [commit(64), commit(88)],
        );
        assert_eq!(
            [64, 80, 88, 91].map(|generation| other.known(generation).is_some()),
            [true, false, true, true]
        );
    }

    #[test]
    fn newer_generations_stay_remembered_until_this_machine_has_written_as_far() {
        let mut ledger = Ledger::default();
        ledger.adopt(commit(2), Vec::new(), None);
        ledger.passed_over = Some(PassedOver {
            newest: 4,
            sound: false,
            requested: true,
        });
        ledger.notes.commits.extend([(3, 1), (4, 1)]);
        for (generation, remembered) in [(3, true), (4, false)] {
            assert_eq!(ledger.notes.copy_for(generation), Some(1));
            ledger.set_pending(commit(generation));
            ledger.commit_pending(1);
            assert_eq!(
                (ledger.passed_over.is_some(), ledger.head_copy),
                (remembered, 1)
            );
        }
        assert!(ledger.notes.commits.is_empty());
    }

    #[test]
    fn the_spine_always_has_what_the_next_commit_must_carry() {
        let mut ledger = Ledger::default();
        for generation in 1..=200 {
            assert_eq!(
                ledger.spine_hash(generation - 1),
                Some(if generation == 1 {
                    [0; 32]
                } else {
                    commit(generation - 1).hash()
                })
            );
            let skip = skip_of(generation);
            assert_eq!(
                ledger.spine_hash(skip),
                Some(if skip == 0 {
                    [0; 32]
                } else {
                    commit(skip).hash()
                }),
                "at {generation}"
            );
            ledger.set_pending(commit(generation));
            ledger.commit_pending(0);
        }
    }
}
