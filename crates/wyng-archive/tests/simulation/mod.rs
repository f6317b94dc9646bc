// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive of records and packs without their bytes, kept by the real planners: backups, prunes,
//! compactions, verifies and deletions over simulated days.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wyng_archive::format::padme;
use wyng_archive::format::{CommitStamp, GivenUp, Heirs, PackState};
use wyng_archive::plan::compaction::{Goals, Source, plan};
use wyng_archive::plan::deletion::{self, Services, Situation};
use wyng_archive::plan::giving_up::{Marked, to_give_up};
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::pack_life::Pack;
use wyng_archive::plan::retention::{Candidate, Fate, Policy, judge};

pub(crate) const DAY: u64 = 86_400;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const PACK_SIZE: u64 = 16 * MIB;
pub(crate) const CHUNK_SIZE: u64 = 128 << 10;
/// 2026-01-01, seconds since 1970 UTC.
const BEGIN: i64 = 1_767_225_600;

/// A sequence of numbers that is the same each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Height 0: a chunk. Height h: the node of the tree above 32^h chunks, sharing the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) height: u32,
    pub(crate) index: u64,
}

/// A version of a chunk or of a node.
struct Record {
    bytes: u64,
    pack: u64,
    /// The first session that has it.
    born: u64,
    /// The first session that has it no more.
    replaced: u64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Figures {
    pub(crate) sent_bytes: u64,
    pub(crate) node_bytes: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) most_moved_at_once_bytes: u64,
    /// Size of the live packs for what is alive in them, in 1/10,000, at worst.
    pub(crate) worst_size: u64,
    /// Live packs above one for each 8 MiB and 64 more, at worst.
    pub(crate) most_packs_above_goal: i64,
    pub(crate) most_waiting_bytes: u64,
    pub(crate) most_sessions: usize,
    pub(crate) most_entries: usize,
    pub(crate) packs_made: u64,
    pub(crate) live_bytes: u64,
}

impl Figures {
    /// Bytes that compaction wrote, per cent of the bytes that backups sent.
    pub(crate) fn amplification_percent(&self) -> u64 {
        self.moved_bytes * 100 / self.sent_bytes.max(1)
    }
}

pub(crate) struct Archive {
    records: Vec<Record>,
    current: HashMap<Place, usize>,
    depth: u32,
    pub(crate) packs: BTreeMap<u64, Pack>,
    next_pack: u64,
    pub(crate) sessions: Vec<Candidate>,
    next_session: u64,
    head: CommitStamp,
    hold_offs: HoldOffs,
    read_packs: BTreeMap<u64, u64>,
    read_commits: BTreeMap<(u64, u64), u64>,
    pub(crate) figures: Figures,
}

impl Archive {
    /// An archive for one volume whose tree has `depth` levels of nodes.
    pub(crate) fn new(depth: u32, hold_offs: HoldOffs) -> Self {
        Self {
            records: Vec::new(),
            current: HashMap::new(),
            depth,
            packs: BTreeMap::new(),
            next_pack: 0,
            sessions: Vec::new(),
            next_session: 0,
            head: CommitStamp::first(0),
            hold_offs,
            read_packs: BTreeMap::new(),
            read_commits: BTreeMap::new(),
            figures: Figures::default(),
        }
    }

    /// A session that has these chunks anew, and a commit.
    pub(crate) fn backup(&mut self, now: u64, written: &BTreeSet<u64>) {
        let number = self.next_session;
        self.next_session += 1;
        let mut places: Vec<Place> = Vec::new();
        let mut indices = written.clone();
        for height in 0..=self.depth {
            places.extend(indices.iter().map(|index| Place {
                height,
                index: *index,
            }));
            indices = indices.iter().map(|index| index / 32).collect();
        }
        let mut fresh = Vec::new();
        for place in places {
            let bytes = match place.height {
                0 => 40_000 + place.index * 7919 % 50_000,
                _ => 1200,
            };
            let record = self.records.len();
            if let Some(old) = self.current.insert(place, record) {
                self.records[old].replaced = number;
            }
            if place.height > 0 && number > 0 {
                self.figures.node_bytes += bytes;
            }
            self.records.push(Record {
                bytes,
                pack: 0,
                born: number,
                replaced: u64::MAX,
            });
            fresh.push(record);
        }
        let sent = self.store(&fresh);
        if number > 0 {
            self.figures.sent_bytes += sent;
        }
        self.sessions.push(Candidate {
            number,
            wall_secs: BEGIN + i64::try_from(now).unwrap(),
            kept_secs: now,
            tags: Vec::new(),
            pinned: false,
            damaged: false,
        });
        self.head = self.head.next(now);
    }

    /// Lays records into packs as a run does: full ones, and a last one of a Padmé size.
    fn store(&mut self, records: &[usize]) -> u64 {
        let (mut filled, mut stored) = (0, 0);
        for record in records {
            let bytes = self.records[*record].bytes;
            if filled + bytes > PACK_SIZE {
                stored += self.close(PACK_SIZE);
                filled = 0;
            }
            self.records[*record].pack = self.next_pack;
            filled += bytes;
        }
        if filled > 0 {
            stored += self.close(padme(filled.max(64 << 10)).min(PACK_SIZE));
        }
        stored
    }

    fn close(&mut self, length_bytes: u64) -> u64 {
        let pack = Pack {
            length_bytes,
            state: PackState::Live,
        };
        self.packs.insert(self.next_pack, pack);
        self.next_pack += 1;
        self.figures.packs_made += 1;
        length_bytes
    }

    /// Forgets the sessions that the policy does not keep, and the records that only they had, and
    /// gives up the packs that hold nothing else. Returns the numbers of the sessions removed.
    pub(crate) fn prune(&mut self, policy: &Policy, now: u64) -> BTreeSet<u64> {
        self.figures.most_sessions = self.figures.most_sessions.max(self.sessions.len());
        let before: BTreeSet<u64> = self.sessions.iter().map(|one| one.number).collect();
        let verdicts = judge(&self.sessions, policy, now).into_iter();
        let kept = verdicts.filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
        let kept: BTreeSet<u64> = kept.map(|verdict| verdict.number).collect();
        self.sessions
            .retain(|session| kept.contains(&session.number));
        // How many sessions before each number are kept.
        let mut kept_before = vec![0_u64];
        for number in 0..self.next_session {
            let before = kept_before.last().copied().unwrap_or(0);
            kept_before.push(before + u64::from(kept.contains(&number)));
        }
        let until = |number: u64| {
            let place = usize::try_from(number.min(self.next_session)).unwrap();
            kept_before[place]
        };
        let mut numbers = Vec::with_capacity(self.records.len());
        let mut left = 0;
        self.records.retain(|record| {
            let is_alive = until(record.born) < until(record.replaced);
            numbers.push(left);
            left += usize::from(is_alive);
            is_alive
        });
        for record in self.current.values_mut() {
            *record = numbers[*record];
        }
        self.give_up();
        before.difference(&kept).copied().collect()
    }

    /// Bytes and records that are alive in each live pack.
    #[expect(
        clippy::panic,
        reason = "what is alive was deleted: the test has failed"
    )]
    fn alive(&self) -> Vec<(u64, u64, u64)> {
        // Numbers are dense, so a list serves as the map.
        let mut alive = vec![None; usize::try_from(self.next_pack).unwrap()];
        for (number, pack) in &self.packs {
            if pack.state == PackState::Live {
                alive[usize::try_from(*number).unwrap()] = Some((0, 0));
            }
        }
        for record in &self.records {
            let found = alive[usize::try_from(record.pack).unwrap()].as_mut();
            let (bytes, count) = found.unwrap_or_else(|| panic!("pack {} is needed", record.pack));
            *bytes += record.bytes;
            *count += 1;
        }
        let found = (0..).zip(alive);
        found
            .filter_map(|(number, found)| found.map(|(bytes, count)| (number, bytes, count)))
            .collect()
    }

    fn give_up(&mut self) {
        let marked = |(number, _, records): (u64, u64, u64)| Marked {
            number,
            is_needed: records > 0,
            holds_table_node: false,
        };
        let marked: Vec<Marked> = self.alive().into_iter().map(marked).collect();
        for number in to_give_up(&marked, None) {
            self.set_given_up(number, None);
        }
    }

    fn set_given_up(&mut self, number: u64, heirs: Option<Heirs>) {
        let at = self.head.stamp;
        self.packs.get_mut(&number).unwrap().state = PackState::GivenUp(GivenUp { at, heirs });
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(number, alive_bytes, _)| Source {
            number,
            length_bytes: self.packs[&number].length_bytes,
            alive_bytes,
            movable: true,
        };
        self.alive().into_iter().map(source).collect()
    }

    pub(crate) fn compact(&mut self) {
        let mut moved = 0;
        for step in plan(&self.sources(), Goals::new(PACK_SIZE, CHUNK_SIZE), u64::MAX) {
            let is_source = |record: &usize| {
                let pack = &self.records[*record].pack;
                step.sources.binary_search(pack).is_ok()
            };
            let mut records: Vec<usize> = (0..self.records.len()).filter(is_source).collect();
            records.sort_by_key(|record| self.records[*record].pack);
            let first = self.next_pack;
            moved += self.store(&records);
            let heirs = self.next_pack.checked_sub(1);
            let heirs = heirs.and_then(|last| Heirs::new(first, last));
            for number in step.sources {
                self.set_given_up(number, heirs);
            }
        }
        let figures = &mut self.figures;
        figures.moved_bytes += moved;
        figures.most_moved_at_once_bytes = figures.most_moved_at_once_bytes.max(moved);
    }

    /// Reads everything back, by a far end that is started a second after the last push.
    pub(crate) fn verify(&mut self, now: u64) {
        let mut stamps = vec![self.head.stamp];
        self.read_packs.clear();
        for (number, pack) in &self.packs {
            self.read_packs.insert(*number, now + 1);
            if let PackState::GivenUp(given_up) = pack.state {
                stamps.push(given_up.at);
            }
        }
        let read = stamps
            .iter()
            .map(|stamp| ((stamp.run, stamp.kept_secs), now + 1));
        self.read_commits = read.collect();
    }

    /// Marks and deletes what may go. What is alive is asked of `alive` afterwards, which fails if
    /// it is not there.
    pub(crate) fn delete(&mut self, now: u64) {
        let newest = self
            .records
            .iter()
            .filter(|record| record.replaced == u64::MAX);
        let vital: BTreeSet<u64> = newest.map(|record| record.pack).collect();
        let vital: Vec<u64> = vital.into_iter().collect();
        let plan = deletion::plan(&Situation {
            packs: &self.packs,
            head: self.head,
            now_kept_secs: now + 2,
            hold_offs: self.hold_offs,
            read_packs: &self.read_packs,
            read_commits: &self.read_commits,
            vital: &vital,
            oldest_reader_secs: None,
            services: Services {
                fetch: true,
                delete: true,
                refused_secs: None,
            },
        });
        self.figures.most_entries = self.figures.most_entries.max(self.packs.len());
        for number in plan.mark_going {
            self.packs.remove(&number);
        }
    }

    pub(crate) fn measure(&mut self) {
        let sources = self.sources();
        let length: u64 = sources.iter().map(|pack| pack.length_bytes).sum();
        let alive: u64 = sources.iter().map(|pack| pack.alive_bytes).sum();
        let size = (length * 10_000).div_ceil(alive);
        let allowed = i64::try_from(length / (8 * MIB)).unwrap() + 64;
        let packs = i64::try_from(sources.len()).unwrap();
        let waiting = self
            .packs
            .values()
            .filter(|pack| pack.state != PackState::Live);
        let waiting: u64 = waiting.map(|pack| pack.length_bytes).sum();
        let figures = &mut self.figures;
        figures.worst_size = figures.worst_size.max(size);
        figures.most_packs_above_goal = figures.most_packs_above_goal.max(packs - allowed);
        figures.most_waiting_bytes = figures.most_waiting_bytes.max(waiting);
        figures.live_bytes = alive;
    }
}
