// SPDX-License-Identifier: GPL-3.0-or-later
//! Two simulated years of hourly sessions: a 1 TiB volume of which each session changes 64 chunks,
//! and 20 quiet ones. The planners' work and memory stay bounded by what is kept, not by what was
//! ever made; the real tree is edited, compared and marked along.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod simulation;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;

use simulation::{Archive, DAY, HOUR, MIB, Random};
use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{CommitStamp, GivenUp, Heirs, HoldOff, PackState, Stamp};
use wyng_archive::format::{ContentTree, Node, Shape, depth_for};
use wyng_archive::plan::compaction::Source;
use wyng_archive::plan::deletion::{Services, Situation, plan};
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::pack_life::Pack;
use wyng_archive::plan::retention::{Candidate, Fate, Policy, judge};
use wyng_archive::plan::{Editor, Nodes, NodesMut, Root, diff, mark};

/// 1 TiB in chunks of 128 KiB.
const CHUNKS: u64 = 1 << 23;
/// Levels of the tree above so many chunks.
const DEPTH: u32 = 5;
const CHANGED: u64 = 64;
const QUIET: usize = 20;
const YEARS_HOURS: u64 = 2 * 365 * 24;
/// Most sessions of a volume before a daily prune: a week of young ones, a day of new ones, and
/// what the rules keep by each of two clocks.
const SESSIONS_MAX: usize = 7 * 24 + 24 + 2 * (24 + 7 + 4 + 12 + 2);

fn policy() -> Policy {
    Policy {
        hourly: 24,
        daily: 7,
        weekly: 4,
        monthly: 12,
        yearly: 2,
        minimum_age_secs: 7 * DAY,
        ..Policy::default()
    }
}

fn hold_offs() -> HoldOffs {
    HoldOffs::new(HoldOff {
        runs: 3,
        secs: 7 * DAY,
    })
}

/// A tenth of the writes go anywhere, the rest to a part of 1 GiB: as on a used system.
fn hour(random: &mut Random) -> BTreeSet<u64> {
    let mut written = BTreeSet::new();
    while u64::try_from(written.len()).unwrap() < CHANGED {
        let hot = random.below(10) > 0;
        let index = if hot {
            random.below(8192) * 3
        } else {
            random.below(CHUNKS)
        };
        written.insert(index);
    }
    written
}

/// Nodes by their keyed hash, as a cache holds them.
struct Store {
    credential: Credential,
    nodes: HashMap<Id, Vec<u8>>,
    loaded: usize,
    saved: usize,
}

impl<S: Shape<Child = Id>> Nodes<S> for Store {
    type Error = Infallible;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Infallible> {
        self.loaded += 1;
        Ok(Node::decode(&self.nodes[child], level, room).unwrap())
    }
}

impl<S: Shape<Child = Id>> NodesMut<S> for Store {
    fn save(&mut self, node: &Node<S>) -> Result<Id, Infallible> {
        self.saved += 1;
        let plain = node.encode();
        let id = self.credential.node_id(&plain);
        self.nodes.insert(id, plain);
        Ok(id)
    }
}

/// The trees of the sessions that stay.
struct Trees {
    store: Store,
    roots: BTreeMap<u64, Root<Id>>,
    written: BTreeMap<u64, BTreeSet<u64>>,
    next: u64,
    most_nodes: usize,
}

impl Trees {
    fn new() -> Self {
        assert_eq!(u32::from(depth_for(CHUNKS)), DEPTH);
        Self {
            store: Store {
                credential: common::credential(),
                nodes: HashMap::new(),
                loaded: 0,
                saved: 0,
            },
            roots: BTreeMap::new(),
            written: BTreeMap::new(),
            next: 0,
            most_nodes: 0,
        }
    }

    fn backup(&mut self, written: &BTreeSet<u64>) {
        let newest = self.roots.last_key_value();
        let old = newest.map_or(Root::empty(CHUNKS), |(_, root)| *root);
        let mut editor = Editor::<ContentTree>::new(&old, CHUNKS, &mut self.store).unwrap();
        for index in written {
            let mut id = [1; 32];
            id[..8].copy_from_slice(&self.next.to_le_bytes());
            id[8..16].copy_from_slice(&index.to_le_bytes());
            editor.set(*index, Some(Id(id)), &mut self.store).unwrap();
        }
        let root = editor.finish(&mut self.store).unwrap();
        self.roots.insert(self.next, root);
        self.written.insert(self.next, written.clone());
        self.next += 1;
    }

    /// Compares a session that is removed with the one before it: just what was written between is
    /// found, in work that follows from it.
    fn compare(&mut self, removed: u64) {
        let Some((before, from)) = self.roots.range(..removed).next_back() else {
            return;
        };
        let (before, from, to) = (*before, *from, self.roots[&removed]);
        let between = self.written.range(before + 1..=removed);
        let between: BTreeSet<u64> = between.flat_map(|(_, written)| written).copied().collect();
        let mut found = BTreeSet::new();
        self.store.loaded = 0;
        diff::<ContentTree, _, _>(&from, &to, &mut self.store, &mut |index, _, _| {
            found.insert(index);
        })
        .unwrap();
        assert_eq!(found, between);
        let most = 2 * between.len() * usize::try_from(DEPTH).unwrap();
        assert!(
            self.store.loaded <= most,
            "{} nodes loaded",
            self.store.loaded
        );
    }

    fn forget(&mut self, removed: &BTreeSet<u64>) {
        self.roots.retain(|number, _| !removed.contains(number));
    }

    /// Marks from every root, each shared node once, and forgets the nodes that none reaches.
    fn mark(&mut self) {
        self.most_nodes = self.most_nodes.max(self.store.nodes.len());
        let mut reached = HashSet::new();
        self.store.loaded = 0;
        for root in self.roots.values() {
            let mut first = |id: &Id| reached.insert(*id);
            mark::<ContentTree, _, _, _>(root, &mut self.store, &mut first, &mut |_| Ok(()))
                .unwrap();
        }
        assert_eq!(
            self.store.loaded,
            reached.len(),
            "a shared node is entered once"
        );
        self.store.nodes.retain(|id, _| reached.contains(id));
        let oldest = *self.roots.first_key_value().unwrap().0;
        self.written.retain(|number, _| *number >= oldest);
    }
}

fn quiet_session(number: u64, now: u64) -> Candidate {
    Candidate {
        number,
        wall_secs: 1_767_225_600 + i64::try_from(now).unwrap(),
        kept_secs: now,
        tags: Vec::new(),
        pinned: false,
        damaged: false,
    }
}

#[test]
fn two_years_of_hourly_sessions_are_planned_within_bounds() {
    let mut archive = Archive::new(DEPTH, hold_offs());
    let mut trees = Trees::new();
    let mut quiet: Vec<Vec<Candidate>> = vec![Vec::new(); QUIET];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // What the volume has before: 1 GiB in one place, and something everywhere.
    let mut written: BTreeSet<u64> = (0..8192).map(|index| index * 3).collect();
    written.extend((0..CHUNKS).step_by(4096));
    for number in 0..YEARS_HOURS {
        let now = number * HOUR;
        archive.backup(now, &written);
        trees.backup(&written);
        for sessions in &mut quiet {
            sessions.push(quiet_session(number, now));
        }
        written = hour(&mut random);
        if number % 24 != 23 {
            continue;
        }
        let removed = archive.prune(&policy(), now);
        for session in removed.iter().filter(|session| **session % 16 == 1) {
            trees.compare(*session);
        }
        trees.forget(&removed);
        for sessions in &mut quiet {
            assert!(
                sessions.len() <= SESSIONS_MAX,
                "{} sessions",
                sessions.len()
            );
            let verdicts = judge(sessions, &policy(), now).into_iter();
            let kept = verdicts.filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
            let kept: HashSet<u64> = kept.map(|verdict| verdict.number).collect();
            sessions.retain(|session| kept.contains(&session.number));
        }
        archive.compact();
        archive.measure();
        // A verify once a week: what waits is proven then.
        if number % (7 * 24) == 23 {
            trees.mark();
            archive.verify(now);
            archive.delete(now);
        }
    }
    let figures = archive.figures.clone();
    let percent = figures.amplification_percent();
    let what = format!(
        "{percent} % moved, {} nodes at most, {} saved, {figures:?}",
        trees.most_nodes, trees.store.saved
    );
    println!("{what}");
    assert!(figures.most_sessions <= SESSIONS_MAX, "sessions: {what}");
    assert!(figures.worst_size <= 11_000, "size: {what}");
    assert!(figures.most_packs_above_goal <= 0, "objects: {what}");
    assert!(percent <= 150, "moved: {what}");
    // An hour changes at most 64 paths of 5 nodes.
    let paths = usize::try_from(YEARS_HOURS * CHANGED * u64::from(DEPTH)).unwrap();
    assert!(trees.store.saved <= paths + 40_000, "nodes: {what}");
    assert!(
        figures.node_bytes <= figures.sent_bytes * 8 / 100,
        "metadata: {what}"
    );
    // The pack table: what is live, and what two weeks and a day gave up.
    let live = usize::try_from(figures.live_bytes * 11 / 10 / (8 * MIB)).unwrap() + 64;
    assert!(
        figures.most_entries <= live + 15 * 3 * 24,
        "entries: {what}"
    );
    let planner_bytes = figures.most_entries * (size_of::<Source>() + size_of::<Pack>())
        + figures.most_sessions * (QUIET + 1) * size_of::<Candidate>();
    assert!(planner_bytes <= 1 << 20, "{planner_bytes} bytes: {what}");
}

/// An archive of 1 TiB in which all that a year gave up still waits, as where deleting is refused:
/// 100,000 packs live, and as many given up to ranges of heirs that were given up again.
#[test]
fn deletions_are_planned_over_two_hundred_thousand_packs() {
    let mut packs = BTreeMap::new();
    let (mut number, mut stamps) = (0, Vec::new());
    for day in 0..365 {
        let at = Stamp {
            run: day,
            kept_secs: day * DAY,
        };
        stamps.push(at);
        // 274 packs a day, of which all but the newest day's were moved once more.
        for _ in 0..274 {
            let heirs = Heirs::new(number / 274 * 274 + 274, number / 274 * 274 + 547);
            let state = PackState::GivenUp(GivenUp { at, heirs });
            let length_bytes = 16 * MIB;
            packs.insert(
                number,
                Pack {
                    length_bytes,
                    state,
                },
            );
            number += 1;
        }
    }
    let live: Vec<u64> = (number..number + 100_000).collect();
    for number in &live {
        let pack = Pack {
            length_bytes: 16 * MIB,
            state: PackState::Live,
        };
        packs.insert(*number, pack);
    }
    let read = 400 * DAY;
    let mut situation = Situation {
        packs: &packs,
        head: CommitStamp {
            stamp: Stamp {
                run: 400,
                kept_secs: 399 * DAY,
            },
            counted_secs: 399 * DAY,
        },
        now_kept_secs: 401 * DAY,
        hold_offs: hold_offs(),
        read_packs: &BTreeMap::new(),
        read_commits: &BTreeMap::new(),
        vital: &live,
        oldest_reader_secs: None,
        services: Services {
            fetch: true,
            delete: true,
            refused_secs: None,
        },
    };
    let nothing_read = plan(&situation);
    assert_eq!(nothing_read.waiting.len(), 365 * 274);
    let read_packs = live.iter().map(|number| (*number, read)).collect();
    let mut read_commits: BTreeMap<(u64, u64), u64> = stamps
        .iter()
        .map(|at| ((at.run, at.kept_secs), read))
        .collect();
    read_commits.insert((400, 399 * DAY), read);
    situation.read_packs = &read_packs;
    situation.read_commits = &read_commits;
    let all_read = plan(&situation);
    assert_eq!(all_read.mark_going.len(), 365 * 274);
    assert_eq!(all_read.waiting.len(), 0);
}
