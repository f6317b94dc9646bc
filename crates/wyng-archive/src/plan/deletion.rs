// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides when a pack that was given up may be deleted, and which obstacles it waits for until
//! then. It sends no DELETE itself.
//!
//! Deleting takes three steps: a commit marks packs as going; after its receipt, in the same
//! command, they are deleted; the next commit drops the entries of those that are gone. A pack is
//! marked only when its hold-off is over and the store has shown the packs that live on: a store
//! that answered STORED and kept nothing would otherwise have the old copies deleted.
//!
//! A reading counts as such a proof only if its far end was started while no command of the writer
//! was pushing: a far end knows what passed through it.

use std::collections::{BTreeMap, BTreeSet};

use super::hold_off::{HoldOffs, Left};
use super::pack_life::Pack;
use crate::format::{CommitStamp, GivenUp, Heirs, PackState, Stamp};

/// Time after a refused DELETE before the next is sent, seconds of the kept clock.
pub const REFUSED_PAUSE_SECS: u64 = 24 * 3600;

/// The present state of the archive. Each `read` time is the kept clock, in seconds, at the start
/// of the far end that last read the object whole and sound; an object without an entry was not
/// read so.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The pack table by number.
    pub packs: &'a BTreeMap<u64, Pack>,
    /// The head commit.
    pub head: CommitStamp,
    /// The chain's kept clock now, seconds.
    pub now_kept_secs: u64,
    /// The hold-offs in force.
    pub hold_offs: HoldOffs,
    /// Read times of packs.
    pub read_packs: &'a BTreeMap<u64, u64>,
    /// Read times of commits by run number and kept clock. Where commits share both, the earliest.
    pub read_commits: &'a BTreeMap<(u64, u64), u64>,
    /// Packs that the head cannot do without: those of its metadata, and those of each volume's
    /// newest kept session. Ascending.
    pub vital: &'a [u64],
    /// Kept clock of the oldest head that a reader of this daemon holds, seconds.
    pub oldest_reader_secs: Option<u64>,
    /// May the store be read, and may it delete?
    pub services: Services,
}

/// Services that the configuration and the transport VM's policy allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    /// Fetching is allowed.
    pub fetch: bool,
    /// Deleting is allowed.
    pub delete: bool,
    /// Kept clock at which the store last refused a DELETE, seconds.
    pub refused_secs: Option<u64>,
}

/// An obstacle that a pack waits for, with the runs, time or objects that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The hold-off is not over.
    HoldOff {
        /// Runs still to be counted.
        runs_left: u64,
        /// Time still to pass, seconds of the kept clock.
        secs_left: u64,
    },
    /// A reader still holds a head that needs it.
    Reader,
    /// A pack that took over records from it is lost: it may hold the only copy.
    HeirLost {
        /// The number of the lost pack.
        pack: u64,
    },
    /// Fetching is refused, so that there will be no proof.
    FetchRefused,
    /// A pack that waits names this one among those that took over its records.
    HeirOf {
        /// The number of the pack that waits.
        pack: u64,
    },
    /// Objects have to be read back first.
    Proof {
        /// Commits to read.
        commits_left: u64,
        /// Packs to read, each counted once.
        packs_left: u64,
    },
    /// Deleting is not allowed.
    DeleteRefused,
    /// The store refused a DELETE.
    StoreRefused {
        /// Time until the next try, seconds of the kept clock.
        secs_left: u64,
    },
}

/// Steps that a command of the writer takes about the packs that were given up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// To be marked as going in the next commit, ascending. Those may be deleted after its receipt.
    pub mark_going: Vec<u64>,
    /// Marked by the head, to be deleted now, ascending.
    pub delete: Vec<u64>,
    /// Obstacles of every other pack that is given up or going; never empty.
    pub waiting: BTreeMap<u64, Vec<Obstacle>>,
}

/// Plans the deletions. Takes O((p + d * h) log p) steps for p packs and d different pairs of a
/// giving-up commit and a range of at most h heirs, and O(p) memory.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut proofs = Proofs::new(situation);
    let mut named = Named::default();
    for (number, pack) in situation.packs {
        let (given_up, is_going) = match pack.state {
            PackState::GivenUp(given_up) => (given_up, false),
            PackState::Going(given_up) => (given_up, true),
            PackState::Live | PackState::Lost => continue,
        };
        let mut obstacles = Vec::new();
        if !is_going {
            obstacles.extend(situation.hold_off(given_up));
            obstacles.extend(proofs.obstacle(&given_up));
            // Its own heirs are known as long as its entry stands: what names it relies on that.
            obstacles.extend(named.by(*number).map(|pack| Obstacle::HeirOf { pack }));
        }
        obstacles.extend(situation.reader(given_up));
        obstacles.extend(situation.service());
        if !obstacles.is_empty() {
            if let Some(heirs) = given_up.heirs {
                named.ahead.entry(heirs).or_insert(*number);
            }
            plan.waiting.insert(*number, obstacles);
        } else if is_going {
            plan.delete.push(*number);
        } else {
            plan.mark_going.push(*number);
        }
    }
    plan
}

/// Which packs are named as heirs by a pack that waits. It is asked in ascending order.
#[derive(Default)]
struct Named {
    /// Ranges that begin above what was asked so far, with a pack that names each.
    ahead: BTreeMap<Heirs, u64>,
    /// The range reached that ends last, and the pack that names it.
    reached: Option<(u64, u64)>,
}

impl Named {
    /// A pack that waits and names `number`.
    fn by(&mut self, number: u64) -> Option<u64> {
        while let Some(range) = self.ahead.first_entry() {
            if range.key().first > number {
                break;
            }
            let (heirs, pack) = range.remove_entry();
            self.reached = self.reached.max(Some((heirs.last, pack)));
        }
        let (_, pack) = self.reached.filter(|(last, _)| *last >= number)?;
        Some(pack)
    }
}

impl Situation<'_> {
    fn now(&self) -> Stamp {
        Stamp {
            run: self.head.stamp.run,
            kept_secs: self.now_kept_secs,
        }
    }

    fn hold_off(&self, given_up: GivenUp) -> Option<Obstacle> {
        let left = self.left(given_up);
        (!left.is_over()).then_some(Obstacle::HoldOff {
            runs_left: left.runs,
            secs_left: left.secs,
        })
    }

    fn left(&self, given_up: GivenUp) -> Left {
        self.hold_offs.of(given_up.at).left(given_up.at, self.now())
    }

    fn reader(&self, given_up: GivenUp) -> Option<Obstacle> {
        self.oldest_reader_secs
            .filter(|head| *head <= given_up.at.kept_secs)
            .map(|_| Obstacle::Reader)
    }

    fn service(&self) -> Option<Obstacle> {
        if !self.services.delete {
            return Some(Obstacle::DeleteRefused);
        }
        // A refusal ahead of now is from a clock that was lost: it holds nothing up.
        let passed = self
            .now_kept_secs
            .checked_sub(self.services.refused_secs?)?;
        let secs_left = REFUSED_PAUSE_SECS.saturating_sub(passed);
        (secs_left > 0).then_some(Obstacle::StoreRefused { secs_left })
    }
}

/// Finds the objects that have to be read back before a pack goes; equal questions are answered
/// once.
struct Proofs<'a> {
    situation: &'a Situation<'a>,
    /// Read times of the vital packs, ascending; 0 where there is none.
    vital: Vec<u64>,
    known: BTreeMap<(Option<Heirs>, u64, u64), Option<Obstacle>>,
}

impl<'a> Proofs<'a> {
    fn new(situation: &'a Situation<'a>) -> Self {
        let read = |pack: &u64| situation.read_packs.get(pack).copied().unwrap_or(0);
        let mut vital: Vec<u64> = situation.vital.iter().map(read).collect();
        vital.sort_unstable();
        Self {
            situation,
            vital,
            known: BTreeMap::new(),
        }
    }

    fn obstacle(&mut self, given_up: &GivenUp) -> Option<Obstacle> {
        if !self.situation.services.fetch {
            return Some(Obstacle::FetchRefused);
        }
        let Stamp { run, kept_secs } = given_up.at;
        let key = (given_up.heirs, run, kept_secs);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let found = self.find(given_up);
        self.known.insert(key, found);
        found
    }

    fn find(&self, given_up: &GivenUp) -> Option<Obstacle> {
        let since = given_up.at.kept_secs;
        let heirs = match self.unread_heirs(given_up.heirs, since) {
            Ok(unread) => unread,
            Err(pack) => return Some(Obstacle::HeirLost { pack }),
        };
        let vital = self.vital.partition_point(|read| *read <= since);
        let packs_left = u64::try_from(vital)
            .unwrap_or(u64::MAX)
            .saturating_add(heirs);
        let head = self.situation.head.stamp;
        // The two may be one commit.
        let mut commits = vec![given_up.at];
        commits.extend((head != given_up.at).then_some(head));
        let unread = commits.iter().filter(|stamp| !self.is_read(stamp));
        let commits_left = u64::try_from(unread.count()).unwrap_or(u64::MAX);
        (commits_left > 0 || packs_left > 0).then_some(Obstacle::Proof {
            commits_left,
            packs_left,
        })
    }

    /// Was a commit read by a far end that was started after it was made?
    fn is_read(&self, commit: &Stamp) -> bool {
        let key = (commit.run, commit.kept_secs);
        let read = self.situation.read_commits.get(&key);
        read.is_some_and(|read| *read > commit.kept_secs)
    }

    /// How many heirs that are not vital have not been read since `since`. An heir that was given
    /// up itself stands for its own heirs; one without an entry needed no more than what was asked
    /// of it when it went. Fails with the number of a lost one.
    fn unread_heirs(&self, heirs: Option<Heirs>, since: u64) -> Result<u64, u64> {
        let situation = self.situation;
        let mut open: Vec<Heirs> = heirs.into_iter().collect();
        let (mut seen, mut unread) = (BTreeSet::new(), BTreeSet::new());
        while let Some(heirs) = open.pop() {
            if !seen.insert(heirs) || heirs.first > heirs.last {
                continue;
            }
            for (number, pack) in situation.packs.range(heirs.first..=heirs.last) {
                match pack.state {
                    PackState::Lost => return Err(*number),
                    PackState::GivenUp(given_up) | PackState::Going(given_up) => {
                        open.extend(given_up.heirs);
                    }
                    PackState::Live => {
                        let read = situation.read_packs.get(number);
                        if read.is_none_or(|read| *read <= since)
                            && situation.vital.binary_search(number).is_err()
                        {
                            unread.insert(*number);
                        }
                    }
                }
            }
        }
        Ok(u64::try_from(unread.len()).unwrap_or(u64::MAX))
    }
}

/// What the store answered to a DELETE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was deleted.
    Deleted,
    /// It was not there.
    Absent,
    /// The store refuses.
    Refused,
}

/// Which entries the next commit drops, ascending, from the answers in the order of the calls:
/// those of packs that are gone. True with them if the store refused: that was the last call, and
/// the refusal's time goes into [`Services::refused_secs`].
pub fn gone(answers: impl IntoIterator<Item = (u64, Answer)>) -> (BTreeSet<u64>, bool) {
    let mut dropped = BTreeSet::new();
    for (number, answer) in answers {
        match answer {
            Answer::Deleted | Answer::Absent => {
                dropped.insert(number);
            }
            Answer::Refused => return (dropped, true),
        }
    }
    (dropped, false)
}
