// SPDX-License-Identifier: GPL-3.0-or-later
//! Compaction over a year of nights: retention, giving up, hold-off and compaction together, over
//! volumes whose chunks are overwritten again and again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::padme;
use wyng_archive::plan::compaction::{Goals, Source, plan};
use wyng_archive::plan::giving_up::{Marked, to_give_up};
use wyng_archive::plan::hold_off::HoldOff;
use wyng_archive::plan::retention::{Candidate, Fate, Policy, judge};
use wyng_archive::plan::stamp::{CommitStamp, Stamp};

const DAY: u64 = 86_400;
const MIB: u64 = 1 << 20;
const PACK_SIZE: u64 = 16 * MIB;

/// What is overwritten in a night.
#[derive(Debug, Clone, Copy)]
struct Churn {
    chunks: usize,
    /// Chunks written in a night.
    writes: usize,
    /// Share of the writes that go to the hot part, per cent.
    hot_writes: u64,
    /// Size of the hot part, per cent.
    hot_size: usize,
}

/// A version of a chunk, or of the node above 32 chunks.
struct Record {
    bytes: u64,
    pack: u64,
    /// The first session that has it.
    born: u64,
    /// The first session that has it no more.
    replaced: u64,
}

struct Pack {
    length_bytes: u64,
    given_up: Option<Stamp>,
}

/// A generator that needs no seed from outside: the simulation is the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

#[derive(Debug, Default)]
struct Figures {
    sent_bytes: u64,
    moved_bytes: u64,
    most_moved_in_a_night_bytes: u64,
    /// Size of the live packs for what is alive in them, in 1/10,000, at worst.
    worst_size: u64,
    most_packs_above_goal: i64,
    most_waiting_bytes: u64,
    sessions: usize,
    live_bytes: u64,
    packs: usize,
}

struct Archive {
    records: Vec<Record>,
    /// The record of each chunk, then of each node.
    current: Vec<Option<usize>>,
    packs: BTreeMap<u64, Pack>,
    next_pack: u64,
    sessions: Vec<Candidate>,
    head: CommitStamp,
    figures: Figures,
}

impl Archive {
    /// Lays records into packs as a run does: full ones, and a last one of a Padmé size.
    fn store(&mut self, records: &[usize]) -> u64 {
        let mut filled = 0;
        let mut stored = 0;
        let mut close = |archive: &mut Self, filled: u64, is_last: bool| {
            let length_bytes = if is_last {
                padme(filled.max(64 << 10)).min(PACK_SIZE)
            } else {
                PACK_SIZE
            };
            let pack = Pack {
                length_bytes,
                given_up: None,
            };
            archive.packs.insert(archive.next_pack, pack);
            archive.next_pack += 1;
            stored += length_bytes;
        };
        for record in records {
            let bytes = self.records[*record].bytes;
            if filled + bytes > PACK_SIZE {
                close(self, filled, false);
                filled = 0;
            }
            self.records[*record].pack = self.next_pack;
            filled += bytes;
        }
        if filled > 0 {
            close(self, filled, true);
        }
        stored
    }

    fn backup(&mut self, night: u64, churn: &Churn, written: &BTreeSet<usize>) {
        let nodes: BTreeSet<usize> = written
            .iter()
            .map(|chunk| churn.chunks + chunk / 32)
            .collect();
        let mut fresh = Vec::new();
        for (index, bytes) in written
            .iter()
            .map(|chunk| {
                (
                    *chunk,
                    40_000 + (u64::try_from(*chunk).unwrap() * 7919) % 50_000,
                )
            })
            .chain(nodes.iter().map(|node| (*node, 1200)))
        {
            let record = self.records.len();
            if let Some(old) = self.current[index].replace(record) {
                self.records[old].replaced = night;
            }
            self.records.push(Record {
                bytes,
                pack: 0,
                born: night,
                replaced: u64::MAX,
            });
            fresh.push(record);
        }
        let sent = self.store(&fresh);
        if night > 0 {
            self.figures.sent_bytes += sent;
        }
        self.sessions.push(Candidate {
            number: night,
            wall_secs: 1_767_225_600 + i64::try_from(night * DAY).unwrap(),
            kept_secs: night * DAY,
            tags: Vec::new(),
            pinned: false,
            damaged: false,
        });
    }

    /// Forgets the sessions that the policy does not keep, and the records that only they had.
    fn prune(&mut self, policy: &Policy, now: u64) {
        let verdicts = judge(&self.sessions, policy, now).into_iter();
        let kept = verdicts.filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
        let kept: BTreeSet<u64> = kept.map(|verdict| verdict.number).collect();
        self.sessions
            .retain(|session| kept.contains(&session.number));
        let mut numbers = Vec::with_capacity(self.records.len());
        let mut left = 0;
        self.records.retain(|record| {
            let mut sessions = kept.range(record.born..record.replaced);
            let is_alive = sessions.next().is_some();
            numbers.push(left);
            left += usize::from(is_alive);
            is_alive
        });
        for record in self.current.iter_mut().flatten() {
            *record = numbers[*record];
        }
    }

    /// What is alive in each live pack: bytes and records.
    fn alive(&self) -> BTreeMap<u64, (u64, u64)> {
        let live = self
            .packs
            .iter()
            .filter(|(_, pack)| pack.given_up.is_none());
        let mut alive: BTreeMap<u64, (u64, u64)> =
            live.map(|(number, _)| (*number, (0, 0))).collect();
        for record in &self.records {
            let found = alive.get_mut(&record.pack);
            let (bytes, count) = found.unwrap_or_else(|| panic!("pack {} is needed", record.pack));
            *bytes += record.bytes;
            *count += 1;
        }
        alive
    }

    fn give_up(&mut self) {
        let marked: Vec<Marked> = self
            .alive()
            .into_iter()
            .map(|(number, (_, alive_records))| Marked {
                number,
                alive_records,
                holds_table_node: false,
            })
            .collect();
        let at = self.head.stamp;
        for number in to_give_up(&marked, None) {
            self.packs.get_mut(&number).unwrap().given_up = Some(at);
        }
    }

    fn sources(&self) -> Vec<Source> {
        let source = |(number, (alive_bytes, _))| Source {
            number,
            length_bytes: self.packs[&number].length_bytes,
            alive_bytes,
            movable: true,
        };
        self.alive().into_iter().map(source).collect()
    }

    fn compact(&mut self) {
        let mut moved = 0;
        for step in plan(&self.sources(), Goals::new(PACK_SIZE, 128 << 10), u64::MAX) {
            let sources: BTreeSet<u64> = step.sources.iter().copied().collect();
            let mut records: Vec<usize> = (0..self.records.len())
                .filter(|record| sources.contains(&self.records[*record].pack))
                .collect();
            records.sort_by_key(|record| self.records[*record].pack);
            moved += self.store(&records);
            let at = self.head.stamp;
            for number in step.sources {
                self.packs.get_mut(&number).unwrap().given_up = Some(at);
            }
        }
        self.figures.moved_bytes += moved;
        self.figures.most_moved_in_a_night_bytes =
            self.figures.most_moved_in_a_night_bytes.max(moved);
    }

    fn delete(&mut self, hold_off: HoldOff) {
        let now = self.head.stamp;
        self.packs.retain(|_, pack| {
            pack.given_up
                .is_none_or(|given_up| !hold_off.left(given_up, now).is_over())
        });
    }

    fn measure(&mut self) {
        let sources = self.sources();
        let length: u64 = sources.iter().map(|pack| pack.length_bytes).sum();
        let alive: u64 = sources.iter().map(|pack| pack.alive_bytes).sum();
        let size = (length * 10_000).div_ceil(alive);
        let allowed = i64::try_from(length / (8 * MIB)).unwrap() + 64;
        let packs = i64::try_from(sources.len()).unwrap();
        let waiting: u64 = self
            .packs
            .values()
            .filter(|pack| pack.given_up.is_some())
            .map(|pack| pack.length_bytes)
            .sum();
        let figures = &mut self.figures;
        figures.worst_size = figures.worst_size.max(size);
        figures.most_packs_above_goal = figures.most_packs_above_goal.max(packs - allowed);
        figures.most_waiting_bytes = figures.most_waiting_bytes.max(waiting);
        figures.sessions = self.sessions.len();
        figures.live_bytes = alive;
        figures.packs = sources.len();
    }
}

impl Figures {
    /// What compaction wrote for what backups sent, in a hundredth.
    fn amplification_percent(&self) -> u64 {
        self.moved_bytes * 100 / self.sent_bytes
    }
}

/// Nightly backups with prune, compaction and deletion behind each.
fn simulate(churn: &Churn, nights: u64) -> Figures {
    let policy = Policy {
        daily: 7,
        weekly: 4,
        monthly: 6,
        minimum_age_secs: 7 * DAY,
        ..Policy::default()
    };
    let hold_off = HoldOff {
        runs: 3,
        secs: 7 * DAY,
    };
    let nodes = churn.chunks.div_ceil(32);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut archive = Archive {
        records: Vec::new(),
        current: vec![None; churn.chunks + nodes],
        packs: BTreeMap::new(),
        next_pack: 0,
        sessions: Vec::new(),
        head: CommitStamp::first(0),
        figures: Figures::default(),
    };
    for night in 0..nights {
        let hot = (churn.chunks * churn.hot_size / 100).max(1);
        let written: BTreeSet<usize> = if night == 0 {
            (0..churn.chunks).collect()
        } else {
            (0..churn.writes)
                .map(|_| {
                    let is_hot = u64::try_from(random.below(100)).unwrap() < churn.hot_writes;
                    random.below(if is_hot { hot } else { churn.chunks })
                })
                .collect()
        };
        archive.backup(night, churn, &written);
        let now = night * DAY;
        archive.head = archive.head.next(now);
        archive.prune(&policy, now);
        archive.give_up();
        archive.compact();
        archive.delete(hold_off);
        archive.measure();
    }
    archive.figures
}

/// 90 or 80 per cent of the writes go to a small part of the volume, as on a used system; or all of
/// them anywhere, which is the worst for a store of whole packs.
#[test]
fn a_year_of_nights_stays_within_its_goals_at_one_byte_moved_for_a_byte_sent() {
    for (hot_writes, hot_size, writes) in [
        (90, 5, 20),
        (90, 5, 400),
        (80, 10, 100),
        (80, 10, 400),
        (80, 20, 400),
        (80, 10, 1000),
        (0, 100, 400),
    ] {
        let churn = Churn {
            chunks: 20_000,
            writes,
            hot_writes,
            hot_size,
        };
        for nights in [60, 365] {
            let figures = simulate(&churn, nights);
            let percent = figures.amplification_percent();
            let what = format!("{churn:?}, {nights} nights: {percent} % moved, {figures:?}");
            assert!(figures.worst_size <= 11_000, "size: {what}");
            assert!(figures.most_packs_above_goal <= 0, "objects: {what}");
            assert!(percent <= 115, "moved: {what}");
        }
    }
}
