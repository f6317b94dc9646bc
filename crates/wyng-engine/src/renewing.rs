// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengthening object locks: at the end of a command that pushed, the locks of everything that the
//! archive needs are made longer once half of their period is over. Which ones follows from what
//! this machine noted when it set them, and from its clocks; nothing is read from the store.

use std::collections::{BTreeMap, VecDeque};

use wyng_archive::crypto::slot_name;
use wyng_archive::format::PackState;
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::probed;
use wyng_control::{ExitStatus, Failure, LockSummary, ToClient, Warning};
use wyng_wire::{BlobName, Service};

use crate::archive::Archive;
use crate::kept::moment_now;
use crate::state::{Lockable, Locks, SetLock};
use crate::world::{Client, Clock, Files, Lasting, Parts, Renewed, Store, World, lock_days};

/// Maximum number of locks that one command lengthens.
const RENEWED_MAX: usize = 10_000;
/// Time after which a command asks for no further one, nanoseconds.
const TIME_MAX_NANOS: u64 = 10 * 60 * 1_000_000_000;
/// Maximum number of requests without an answer.
const AHEAD_MAX: usize = 32;
/// Number of answers after which the note is written.
const NOTED_AFTER: usize = 256;
/// Number of refusals, without any success, after which no further one is asked for.
const REFUSED_MAX: u64 = 64;
const SECS_A_DAY: u64 = 86_400;

/// Locks of blobs that the archive needs.
type Needed = BTreeMap<Lockable, BlobName>;

/// What became of the locks that were due.
#[derive(Debug, Default)]
struct Outcome {
    renewed: u64,
    missing: u64,
    refused: u64,
    left: u64,
    is_unsupported: bool,
}

impl Outcome {
    /// Whether every lock that was due is longer.
    fn is_whole(&self) -> bool {
        self.left == 0 && self.missing == 0 && self.refused == 0
    }

    /// Whether no further request can be expected to succeed.
    fn is_hopeless(&self) -> bool {
        let is_refused = self.renewed == 0 && self.refused >= REFUSED_MAX;
        is_refused || self.is_unsupported
    }
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
    let Some(days) = lock_days(&archive.toml.store) else {
        return Ok(());
    };
    // Where the clock is not believed, that was reported when the push began.
    let Some(lock) = archive.lock.set() else {
        return Ok(());
    };
    let address = archive.toml.store.clone();
    let mut locks = Locks::read(&mut world.files, &archive.folder, &address)?;
    let needed = needed(&mut world.files, archive)?;
    let now = moment_now(&mut world.files, &mut world.clock, archive)?;
    let run = archive.head.stamp.stamp.run;
    let due = due(&locks, &needed, Now { moment: now, run }, (days, lock));
    if due.is_empty() {
        return Ok(());
    }
    let (mut outcome, total) = (Outcome::default(), due.len() as u64);
    let renewed = lengthen(world, archive, &mut locks, (due, lock), &mut outcome);
    outcome.left = total
        .saturating_sub(outcome.renewed)
        .saturating_sub(outcome.missing)
        .saturating_sub(outcome.refused);
    locks.set.retain(|blob, _| needed.contains_key(blob));
    locks.write(&mut world.files, &archive.folder, &address)?;
    let why = match renewed {
        Err(failure) if failure.exit() == ExitStatus::Interrupted => return Err(failure),
        Err(failure) => Some(failure.to_string()),
        Ok(()) => None,
    };
    if why.is_none() && outcome.is_whole() {
        return Ok(());
    }
    world
        .client
        .tell(ToClient::Warned(if outcome.is_unsupported {
            Warning::LocksNotSupported
        } else {
            Warning::LocksNotRenewed {
                renewed: outcome.renewed,
                missing: outcome.missing,
                refused: outcome.refused,
                left: outcome.left,
                why,
            }
        }))
}

/// Asks for the locks in a push of its own, which stores nothing.
fn lengthen<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    locks: &mut Locks,
    (due, lock): (Vec<(Lockable, BlobName)>, SetLock),
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    archive.connect(&mut world.store, Service::Push)?;
    let began = world.clock.boottime_nanos();
    let mut asked = VecDeque::new();
    let mut due = due.into_iter();
    let (mut requests, mut answers, mut is_over) = (0usize, 0usize, false);
    loop {
        while !is_over && requests < RENEWED_MAX && asked.len() < AHEAD_MAX {
            let Some((blob, name)) = due.next() else {
                break;
            };
            let until_day = lock.until_day;
            world.store.renew(Lasting { name, until_day })?;
            asked.push_back(blob);
            requests = requests.saturating_add(1);
        }
        let Some(blob) = asked.pop_front() else {
            break;
        };
        match world.store.renewed()? {
            Renewed::Locked => {
                outcome.renewed = outcome.renewed.saturating_add(1);
                locks.note([blob], lock);
            }
            Renewed::Missing => outcome.missing = outcome.missing.saturating_add(1),
            Renewed::Refused => outcome.refused = outcome.refused.saturating_add(1),
            Renewed::Unsupported => outcome.is_unsupported = true,
        }
        answers = answers.saturating_add(1);
        if answers.is_multiple_of(NOTED_AFTER) {
            locks.write(&mut world.files, &archive.folder, &archive.toml.store)?;
        }
        let passed = world.clock.boottime_nanos().saturating_sub(began);
        is_over |= passed > TIME_MAX_NANOS || outcome.is_hopeless();
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
    let acknowledged = &archive.ledger.acknowledged;
    for slot in &archive.head.slots {
        if acknowledged.has_slot(slot.number) {
            continue;
        }
        needed.insert(Lockable::Slot(slot.number.into()), slot_name(slot.number));
    }
    let head = archive.head.generation;
    let kept = archive.ledger.known_commits().map(|known| known.generation);
    for generation in kept.chain(probed(head)) {
        // What is damaged is pushed again, and locked then.
        if archive.ledger.notes.commits.contains_key(&generation)
            || acknowledged.has_commit(generation)
        {
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

/// The locks of which half is over and that `lock` lengthens, those that end first in front. A lock
/// that this machine has not set counts as one that has ended.
fn due(
    locks: &Locks,
    needed: &Needed,
    now: Now,
    (days, lock): (u16, SetLock),
) -> Vec<(Lockable, BlobName)> {
    let mut due: Vec<(u32, Lockable, BlobName)> = Vec::new();
    for (blob, name) in needed {
        match locks.set.get(blob) {
            None => due.push((0, *blob, *name)),
            Some(set) if lock.until_day > set.until_day && is_half_over(*set, now, days) => {
                due.push((set.until_day, *blob, *name));
            }
            Some(_) => {}
        }
    }
    due.sort_unstable();
    due.into_iter()
        .map(|(_, blob, name)| (blob, name))
        .collect()
}

/// Whether half of the period is over by either clock, or by the count of runs: one run a day is
/// what a timer makes.
fn is_half_over(set: SetLock, now: Now, days: u16) -> bool {
    let half_secs = u64::from(days).saturating_mul(SECS_A_DAY) / 2;
    let by_runs = now.run.saturating_sub(set.at.run) >= u64::from(days / 2).max(1);
    left_secs(set, now.moment, days) <= i64::try_from(half_secs).unwrap_or(i64::MAX) || by_runs
}

/// The time until a lock ends, seconds, by the clock that says less.
fn left_secs(set: SetLock, now: Moment, days: u16) -> i64 {
    let period_secs = u64::from(days).saturating_mul(SECS_A_DAY);
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
    let Some(days) = lock_days(&archive.toml.store) else {
        return Ok(None);
    };
    let locks = Locks::read(files, &archive.folder, &archive.toml.store)?;
    let needed = needed(files, archive)?;
    let known: Vec<SetLock> = needed
        .keys()
        .filter_map(|blob| locks.set.get(blob).copied())
        .collect();
    let left = known.iter().map(|set| left_secs(*set, now, days)).min();
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

    const DAY: i64 = 86_400;

    fn set(until_day: u32, kept_secs: u64, run: u64) -> SetLock {
        let at = Stamp { run, kept_secs };
        SetLock { until_day, at }
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
            let due = due(&locks, &needed, now(100, 1, 1), (30, set(day, 0, 0)));
            due.into_iter().map(|(blob, _)| blob).collect::<Vec<_>>()
        };
        let unknown = [Lockable::Commit(9), Lockable::Pack(4)];
        let known = [Lockable::Pack(2), Lockable::Pack(1)];
        assert_eq!(order(130), [unknown, known].concat());
        assert_eq!(order(110), [&unknown[..], &known[..1]].concat());
    }
}
