// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengthening object locks: at the end of a command that pushed, the locks of everything that the
//! archive needs are made longer once half of their period is over. Which ones follows from what
//! this machine noted when it set them, and from its clocks; nothing is read from the store. What
//! the store did not make longer before is asked for last, so that it keeps nothing else from its
//! turn.

use std::collections::{BTreeMap, VecDeque};

use wyng_archive::crypto::slot_name;
use wyng_archive::format::PackState;
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::probed;
use wyng_config::without_credentials;
use wyng_control::{ExitStatus, Failure, LockSummary, ToClient, Warning};
use wyng_wire::{BlobName, Service};

use crate::archive::Archive;
use crate::kept::moment_now;
use crate::locking::set_lock;
use crate::state::{Lockable, Locks, PushLock, SetLock};
use crate::world::{
    Client, Clock, Files, Lasting, LockTerms, Parts, Renewed, Store, World, lock_terms,
};

/// Maximum number of requests without an answer.
const AHEAD_MAX: usize = 32;
/// Number of answers after which the note is written.
const NOTED_AFTER: usize = 256;
/// Number of refusals, without any success, after which no further one is asked for; and as many
/// more as there were before, so that a few runs get past any number of objects that refuse.
const REFUSED_MAX: u64 = 64;
/// Number of answers that the store has no locks, without any success, after which no further one
/// is asked for, and which are taken for the store's answer and not that of single objects.
const UNSUPPORTED_MAX: u64 = 8;
/// Number of failures in a row after which the store counts as failed.
const FAILED_MAX: u64 = 8;
const SECS_A_DAY: u64 = 86_400;

/// Locks of blobs that the archive needs.
type Needed = BTreeMap<Lockable, BlobName>;

/// What became of the locks that were due.
#[derive(Debug, Default)]
struct Outcome {
    renewed: u64,
    missing: u64,
    refused: u64,
    failed: u64,
    /// Failures since the last other answer.
    failed_in_a_row: u64,
    unsupported: u64,
    left: u64,
}

impl Outcome {
    /// Counts the answer for one blob.
    fn count(&mut self, answer: Renewed) {
        let counter = match answer {
            Renewed::Locked => &mut self.renewed,
            Renewed::Missing => &mut self.missing,
            Renewed::Refused => &mut self.refused,
            Renewed::Unsupported => &mut self.unsupported,
            Renewed::Failed => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        self.failed_in_a_row = match answer {
            Renewed::Failed => self.failed_in_a_row.saturating_add(1),
            _ => 0,
        };
    }

    /// Number of blobs that were asked for and whose locks are not longer.
    fn late(&self) -> u64 {
        [self.missing, self.refused, self.failed, self.unsupported]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Whether every lock that was due is longer.
    fn is_whole(&self) -> bool {
        self.left == 0 && self.late() == 0
    }

    /// Whether no further request can be expected to succeed, after so many refusals.
    fn is_hopeless(&self, refused_max: u64) -> bool {
        self.renewed == 0 && (self.refused >= refused_max || self.unsupported >= UNSUPPORTED_MAX)
    }

    /// What the person is told of it. `needed` is the number of blobs that the archive needs: a
    /// few of many that answer that there are no locks say nothing of the store.
    fn warning(&self, why: Option<String>, needed: u64) -> Warning {
        if self.renewed == 0 && self.unsupported >= (needed / 2).clamp(1, UNSUPPORTED_MAX) {
            return Warning::LocksNotSupported;
        }
        Warning::LocksNotRenewed {
            renewed: self.renewed,
            missing: self.missing,
            refused: self.refused.saturating_add(self.unsupported),
            failed: self.failed,
            left: self.left,
            why,
        }
    }
}

/// A lock to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    blob: Lockable,
    name: BlobName,
    lock: SetLock,
}

/// Notes that what a commit brought is locked: itself, and the packs of these numbers that this
/// call has stored.
pub(crate) fn note_commit(
    files: &mut impl Files,
    archive: &Archive,
    generation: u64,
    packs: std::ops::Range<u64>,
) -> Result<(), Failure> {
    let Some(lock) = archive.lock.set() else {
        return Ok(());
    };
    let address = &archive.toml.store;
    let mut locks = Locks::read(files, &archive.folder, address)?;
    let first = packs.start.max(archive.lock.first_pack);
    locks.note((first..packs.end).map(Lockable::Pack), lock);
    locks.note([Lockable::Commit(generation)], lock);
    locks.write(files, &archive.folder, address)
}

/// Lengthens the locks that are due, the oldest first, within a budget; the rest is for the next
/// run. It ends a command whose own work is done: except for an interrupt, a failure is a warning.
pub(crate) fn renew<P: Parts>(world: &mut World<P>, archive: &mut Archive) -> Result<(), Failure> {
    if lock_terms(&archive.toml.store).is_none() {
        return Ok(());
    }
    // Where the clock is not believed, that was reported when the push began.
    let Some(lock) = archive.lock.set() else {
        return Ok(());
    };
    let address = archive.toml.store.clone();
    let mut locks = Locks::read(&mut world.files, &archive.folder, &address)?;
    let needed = needed(&mut world.files, archive)?;
    let now = moment_now(&mut world.files, &mut world.clock, archive)?;
    let run = archive.head.stamp.stamp.run;
    let due = due(&locks, &needed, Now { moment: now, run }, lock);
    if due.is_empty() {
        return Ok(());
    }
    let (mut outcome, total) = (Outcome::default(), due.len() as u64);
    let renewed = lengthen(world, archive, &mut locks, due, &mut outcome);
    outcome.left = total
        .saturating_sub(outcome.renewed)
        .saturating_sub(outcome.late());
    locks.retain(|blob| needed.contains_key(blob));
    locks.write(&mut world.files, &archive.folder, &address)?;
    let why = match renewed {
        Err(failure) if failure.exit() == ExitStatus::Interrupted => return Err(failure),
        Err(failure) => Some(failure.to_string()),
        Ok(()) => None,
    };
    if why.is_none() && outcome.is_whole() {
        return Ok(());
    }
    let warning = outcome.warning(why, needed.len() as u64);
    world.client.tell(ToClient::Warned(warning))
}

/// The same after a command that failed, for which the archive is read anew. `lock` is what the
/// command was to lock, if it began to push. Nothing is asked for after an interrupt, nor if the
/// store or its far end could not be reached.
pub(crate) fn renew_after_failure<P: Parts>(
    world: &mut World<P>,
    name: &str,
    failure: &Failure,
    lock: Option<PushLock>,
) -> Result<(), Failure> {
    let is_over = matches!(
        failure.exit(),
        ExitStatus::Interrupted | ExitStatus::Unreachable
    );
    if is_over || world.client.has_given_back() {
        return Ok(());
    }
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    if lock_terms(&archive.toml.store).is_none() {
        return Ok(());
    }
    archive.may_write()?;
    match lock {
        Some(lock) => archive.lock = lock,
        None => set_lock(world, &mut archive)?,
    }
    renew(world, &mut archive)
}

/// Asks for the locks in a push of its own, which stores nothing.
fn lengthen<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    locks: &mut Locks,
    due: Vec<Due>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    archive.connect(&mut world.store, Service::Push)?;
    let budget = world.store.renewal_budget();
    let refused_max = REFUSED_MAX.saturating_add(locks.late.len() as u64);
    let began = world.clock.boottime_nanos();
    let mut asked = VecDeque::new();
    let mut due = due.into_iter();
    let (mut requests, mut answers, mut is_over) = (0usize, 0usize, false);
    loop {
        while !is_over && requests < budget.requests_max && asked.len() < AHEAD_MAX {
            let Some(next) = due.next() else {
                break;
            };
            world.store.renew(Lasting {
                name: next.name,
                until_day: next.lock.until_day,
            })?;
            asked.push_back(next);
            requests = requests.saturating_add(1);
        }
        let Some(Due { blob, lock, .. }) = asked.pop_front() else {
            break;
        };
        let answer = world.store.renewed()?;
        outcome.count(answer);
        match answer {
            Renewed::Locked => locks.note([blob], lock),
            _ => locks.note_late([blob]),
        }
        if outcome.failed_in_a_row >= FAILED_MAX {
            // The answers that are still due would only tell the same, each after many tries.
            let store = without_credentials(&archive.toml.store);
            return Err(Failure::StoreFailed { store });
        }
        answers = answers.saturating_add(1);
        if answers.is_multiple_of(NOTED_AFTER) {
            locks.write(&mut world.files, &archive.folder, &archive.toml.store)?;
        }
        let passed = world.clock.boottime_nanos().saturating_sub(began);
        is_over |= passed > budget.nanos_max || outcome.is_hopeless(refused_max);
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    world.store.finish_push()
}

/// What must not be deleted for the archive to open and restore: the live packs, those of the
/// metadata among them, the slots of the head, and the commits by which it is found.
fn needed(files: &mut impl Files, archive: &mut Archive) -> Result<Needed, Failure> {
    let mut needed = Needed::new();
    for (number, pack) in archive.packs(files)? {
        if pack.state == PackState::Live {
            needed.insert(Lockable::Pack(number), pack.name);
        }
    }
    // What is damaged now is pushed again, and locked then. That somebody accepted its damage once
    // says nothing of what it is today.
    let notes = &archive.ledger.notes;
    for slot in &archive.head.slots {
        if notes.slots.contains(&slot.number) {
            continue;
        }
        needed.insert(Lockable::Slot(slot.number.into()), slot_name(slot.number));
    }
    let head = archive.head.generation;
    let kept = archive.ledger.known_commits().map(|known| known.generation);
    for generation in kept.chain(probed(head)) {
        if notes.commits.contains_key(&generation) {
            continue;
        }
        let copy = match generation == head {
            true => archive.ledger.head_copy,
            false => 0,
        };
        let name = archive.credential.commit_copy_name(generation, copy);
        needed.insert(Lockable::Commit(generation), name);
    }
    Ok(needed)
}

/// The present, by everything that counts time.
#[derive(Debug, Clone, Copy)]
struct Now {
    moment: Moment,
    run: u64,
}

/// The locks that are to be asked for, as `lock` would set them now: those that end first in front,
/// and behind them those that the store did not make longer before. A lock that this machine has
/// not set counts as one that has ended.
fn due(locks: &Locks, needed: &Needed, now: Now, lock: SetLock) -> Vec<Due> {
    let mut due: Vec<(bool, u32, Due)> = Vec::new();
    for (blob, name) in needed {
        let set = locks.set.get(blob);
        let asked = match set {
            None => Some(lock),
            Some(set) => in_place_of(*set, now, lock),
        };
        if let Some(lock) = asked {
            let (blob, name) = (*blob, *name);
            let ends = set.map_or(0, |set| set.until_day);
            due.push((locks.late.contains(&blob), ends, Due { blob, name, lock }));
        }
    }
    due.sort_unstable_by_key(|(is_late, ends, due)| (*is_late, *ends, due.blob));
    due.into_iter().map(|(.., due)| due).collect()
}

/// What is asked for in the place of a lock that is set; `None`: it is good for now. It is good
/// until half of it is over, unless the address has a stricter mode or a longer period since. No
/// lock is made shorter.
fn in_place_of(set: SetLock, now: Now, lock: SetLock) -> Option<SetLock> {
    let is_stricter = lock.terms.mode > set.terms.mode;
    let is_longer = lock.until_day > set.until_day;
    let has_time = lock.terms.days <= set.terms.days && !is_half_over(set, now, lock.terms.days);
    (is_stricter || is_longer && !has_time).then(|| SetLock {
        until_day: lock.until_day.max(set.until_day),
        at: lock.at,
        terms: LockTerms {
            days: lock.terms.days.max(set.terms.days),
            mode: lock.terms.mode,
        },
    })
}

/// Whether half of the period is over by either clock, or by the count of runs: one run a day is
/// what a timer makes.
fn is_half_over(set: SetLock, now: Now, days: u16) -> bool {
    let half_secs = u64::from(days).saturating_mul(SECS_A_DAY) / 2;
    let by_runs = now.run.saturating_sub(set.at.run) >= u64::from(days / 2).max(1);
    left_secs(set, now.moment) <= i64::try_from(half_secs).unwrap_or(i64::MAX) || by_runs
}

/// The time until a lock ends, seconds, by the clock that says less.
fn left_secs(set: SetLock, now: Moment) -> i64 {
    let period_secs = u64::from(set.terms.days).saturating_mul(SECS_A_DAY);
    let passed = now.kept_secs.saturating_sub(set.at.kept_secs);
    let by_kept = i64::try_from(period_secs)
        .unwrap_or(i64::MAX)
        .saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX));
    end_secs(set).saturating_sub(now.wall_secs).min(by_kept)
}

/// When a lock ends, seconds since 1970 UTC.
fn end_secs(set: SetLock) -> i64 {
    i64::from(set.until_day).saturating_mul(86_400)
}

/// What this machine knows of the locks of everything that the archive needs; `None` where the
/// store's address has none. `now` is the present of the archive.
pub(crate) fn lock_summary(
    files: &mut impl Files,
    archive: &mut Archive,
    now: Moment,
) -> Result<Option<LockSummary>, Failure> {
    let Some(LockTerms { days, .. }) = lock_terms(&archive.toml.store) else {
        return Ok(None);
    };
    let locks = Locks::read(files, &archive.folder, &archive.toml.store)?;
    let needed = needed(files, archive)?;
    let known: Vec<SetLock> = needed
        .keys()
        .filter_map(|blob| locks.set.get(blob).copied())
        .collect();
    let left = known.iter().map(|set| left_secs(*set, now)).min();
    let quarter_secs = i64::from(days).saturating_mul(86_400) / 4;
    Ok(Some(LockSummary {
        period_days: days,
        end_time: known.iter().map(|set| end_secs(*set)).min(),
        unknown_count: needed.len().saturating_sub(known.len()) as u64,
        ends_soon: left.is_some_and(|left| left < quarter_secs),
    }))
}

#[cfg(test)]
mod tests {
    use wyng_archive::format::Stamp;

    use super::*;
    use crate::world::LockMode;

    const DAY: i64 = 86_400;

    fn set(until_day: u32, kept_secs: u64, run: u64) -> SetLock {
        SetLock {
            until_day,
            at: Stamp { run, kept_secs },
            terms: LockTerms {
                days: 30,
                mode: LockMode::Compliance,
            },
        }
    }

    fn now(day: i64, kept_days: u64, run: u64) -> Now {
        let moment = Moment {
            wall_secs: day * DAY,
            kept_secs: kept_days * 86_400,
        };
        Now { moment, run }
    }

    #[test]
    fn half_of_a_period_is_over_by_either_clock_or_by_the_runs() {
        let lock = set(130, 0, 100);
        for (now, is_over) in [
            (now(100, 0, 100), false),
            (now(114, 14, 114), false),
            (now(115, 0, 100), true),
            (now(100, 15, 100), true),
            (now(100, 0, 115), true),
            // A wall clock that was set back hides nothing from the kept clock.
            (now(20, 15, 101), true),
            (now(20, 14, 101), false),
        ] {
            assert_eq!(is_half_over(lock, now, 30), is_over, "{now:?}");
        }
    }

    #[test]
    fn what_ends_first_is_asked_for_first_and_nothing_that_would_not_get_longer() {
        let name = BlobName([1; 32]);
        let blobs = [
            Lockable::Pack(1),
            Lockable::Pack(2),
            Lockable::Pack(3),
            Lockable::Pack(4),
            Lockable::Commit(9),
        ];
        let needed: Needed = blobs.map(|blob| (blob, name)).into();
        let mut locks = Locks::default();
        locks.note([Lockable::Pack(1)], set(110, 0, 0));
        locks.note([Lockable::Pack(2)], set(105, 0, 0));
        locks.note([Lockable::Pack(3)], set(140, 0, 0));
        let order = |day| {
            let due = due(&locks, &needed, now(100, 1, 1), set(day, 0, 0));
            due.into_iter().map(|due| due.blob).collect::<Vec<_>>()
        };
        let unknown = [Lockable::Commit(9), Lockable::Pack(4)];
        let known = [Lockable::Pack(2), Lockable::Pack(1)];
        assert_eq!(order(130), [unknown, known].concat());
        assert_eq!(order(110), [&unknown[..], &known[..1]].concat());
    }

    #[test]
    fn what_was_not_made_longer_before_comes_last() {
        let name = BlobName([1; 32]);
        let needed: Needed = (1..=4).map(|pack| (Lockable::Pack(pack), name)).collect();
        let mut locks = Locks::default();
        locks.note([Lockable::Pack(1)], set(104, 0, 0));
        locks.note([Lockable::Pack(2)], set(105, 0, 0));
        locks.note_late([Lockable::Pack(1), Lockable::Pack(3)]);
        let due = due(&locks, &needed, now(100, 1, 1), set(130, 0, 0));
        let order: Vec<Lockable> = due.into_iter().map(|due| due.blob).collect();
        assert_eq!(order, [4, 2, 3, 1].map(Lockable::Pack));
    }

    #[test]
    fn a_stricter_mode_or_a_longer_period_is_asked_for_at_once_and_nothing_gets_shorter() {
        let asked = |(set_days, set_mode), (days, mode), until_day| {
            let mut before = set(100 + u32::from(set_days), 0, 1);
            before.terms = LockTerms {
                days: set_days,
                mode: set_mode,
            };
            let mut lock = set(until_day, 0, 1);
            lock.terms = LockTerms { days, mode };
            in_place_of(before, now(100, 0, 1), lock).map(|asked| (asked.until_day, asked.terms))
        };
        use LockMode::{Compliance, Governance};
        let terms = |days, mode| LockTerms { days, mode };
        // Nothing has changed, or the period got shorter.
        for days in [30, 10] {
            let same = asked((30, Compliance), (days, Compliance), 100 + u32::from(days));
            assert_eq!(same, None);
        }
        // A longer period, although less than half of the old one is over.
        let longer = asked((30, Compliance), (40, Compliance), 140);
        assert_eq!(longer, Some((140, terms(40, Compliance))));
        // A stricter mode; its period may be shorter than what is left.
        let stricter = asked((30, Governance), (30, Compliance), 130);
        assert_eq!(stricter, Some((130, terms(30, Compliance))));
        let stricter = asked((30, Governance), (10, Compliance), 110);
        assert_eq!(stricter, Some((130, terms(30, Compliance))));
        // A weaker one does not count.
        assert_eq!(asked((30, Compliance), (30, Governance), 130), None);
    }

    #[test]
    fn a_period_that_was_made_longer_hides_nothing_from_the_kept_clock() {
        // Set for 30 days, of which 20 have passed by the kept clock while the wall clock stood
        // still; the address has 60 days since.
        let lock = set(130, 0, 1);
        assert_eq!(left_secs(lock, now(100, 20, 1).moment), 10 * DAY);
    }
}
