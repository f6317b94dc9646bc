// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides which sessions of a volume a prune keeps, and why. It removes nothing itself.
//!
//! The rules are applied twice, over the times of the wall clock and over the times of the kept
//! clock; a session that either clock keeps is kept. So a wall clock that was pushed can only keep
//! more. Sessions are ordered by their numbers, never by a time. A session known to be damaged
//! fills no place that a rule has: it must not push out a sound one.

use std::collections::BTreeSet;

use super::calendar::Period;

/// A session as a prune sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number in the volume's session table.
    pub number: u64,
    /// Start of its run by the wall clock, seconds since 1970 UTC.
    pub wall_secs: i64,
    /// Start of its run by the chain's kept clock, seconds.
    pub kept_secs: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// A person pinned it.
    pub pinned: bool,
    /// Something that it needs is known to be missing or damaged.
    pub damaged: bool,
}

/// Rules of a prune, each with the number of sessions that it keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest N, of which at most one in each hour of the kept clock.
    pub last: u32,
    /// The newest of each of the newest N hours that have a session.
    pub hourly: u32,
    /// The newest of each of the newest N days that have a session.
    pub daily: u32,
    /// The newest of each of the newest N weeks, from Monday, that have a session.
    pub weekly: u32,
    /// The newest of each of the newest N calendar months that have a session.
    pub monthly: u32,
    /// The newest of each of the newest N calendar years that have a session.
    pub yearly: u32,
    /// Every session at most this much older than the volume's newest sound one, seconds; 0 keeps
    /// none.
    pub within_secs: u64,
    /// Every session with one of these tags.
    pub tags: Vec<String>,
    /// Every session younger than this by the kept clock, seconds: [`minimum_age_secs`].
    pub minimum_age_secs: u64,
}

impl Policy {
    /// Whether there is no rule. A prune would then leave only the sessions that are always kept,
    /// so the caller refuses it.
    pub fn is_empty(&self) -> bool {
        let counts = [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        counts == [0; 6] && self.within_secs == 0 && self.tags.is_empty()
    }
}

/// The minimum age in force, seconds: the larger of the commit's and the configuration's, so that
/// neither a stolen credential nor a changed file alone shortens it.
pub fn minimum_age_secs(commit_secs: u64, configured_secs: u64) -> u64 {
    commit_secs.max(configured_secs)
}

/// Why a session is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is the volume's newest session.
    Newest,
    /// It is the volume's newest sound session.
    NewestSound,
    /// A person pinned it.
    Pinned,
    /// It is younger than the minimum age.
    Young,
    /// It has this tag, which the policy keeps.
    Tag(String),
    /// It is within the time that the policy keeps.
    Within,
    /// It is among the newest.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
}

/// Why a session is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is known to be damaged, so that no rule counts it.
    Damaged,
    /// No rule keeps it.
    NoRule {
        /// Number of the next newer session that is kept.
        next_kept: u64,
    },
}

/// Fate of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is kept for at least one reason.
    Kept(BTreeSet<Reason>),
    /// It is removed.
    Removed(Removal),
}

/// The fate of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The session's number.
    pub number: u64,
    /// See [`Fate`].
    pub fate: Fate,
}

/// Judges all sessions of a volume, ascending by number. `now_kept_secs` is the chain's kept clock.
/// Takes O(n log n) steps and O(n) memory for n sessions.
///
/// Removing the removed ones in any order, one by one or at once, changes no verdict of the others.
pub fn judge(sessions: &[Candidate], policy: &Policy, now_kept_secs: u64) -> Vec<Verdict> {
    let mut sessions: Vec<&Candidate> = sessions.iter().collect();
    sessions.sort_by_key(|session| session.number);
    let mut reasons = vec![BTreeSet::new(); sessions.len()];
    keep_always(&sessions, policy, now_kept_secs, &mut reasons);
    // Backups fired in a row must not push out what came before.
    let hour = |session: &Candidate| Period::Hour.of(Clock::Kept.of(session));
    newest_of_each(&sessions, policy.last, &Reason::Last, &mut reasons, hour);
    for clock in [Clock::Wall, Clock::Kept] {
        within(&sessions, policy.within_secs, clock, &mut reasons);
        let rules = [
            (policy.hourly, Reason::Hourly, Period::Hour),
            (policy.daily, Reason::Daily, Period::Day),
            (policy.weekly, Reason::Weekly, Period::Week),
            (policy.monthly, Reason::Monthly, Period::Month),
            (policy.yearly, Reason::Yearly, Period::Year),
        ];
        for (count, reason, period) in rules {
            let period = |session: &Candidate| period.of(clock.of(session));
            newest_of_each(&sessions, count, &reason, &mut reasons, period);
        }
    }
    verdicts(&sessions, reasons)
}

#[derive(Clone, Copy)]
enum Clock {
    Wall,
    Kept,
}

impl Clock {
    fn of(self, session: &Candidate) -> i64 {
        match self {
            Self::Wall => session.wall_secs,
            Self::Kept => i64::try_from(session.kept_secs).unwrap_or(i64::MAX),
        }
    }
}

/// Keeps sessions for their own sake. A tag, like a pin, is a person's decision about a single
/// session and takes no place of another session, so it keeps a damaged session too.
fn keep_always(
    sessions: &[&Candidate],
    policy: &Policy,
    now_kept_secs: u64,
    reasons: &mut [BTreeSet<Reason>],
) {
    keep(reasons, sessions.len().checked_sub(1), Reason::Newest);
    let newest_sound = sessions.iter().rposition(|session| !session.damaged);
    keep(reasons, newest_sound, Reason::NewestSound);
    for (session, reasons) in sessions.iter().zip(reasons) {
        if session.pinned {
            reasons.insert(Reason::Pinned);
        }
        // A time ahead of now is younger than any.
        if now_kept_secs.saturating_sub(session.kept_secs) < policy.minimum_age_secs {
            reasons.insert(Reason::Young);
        }
        let tags = policy.tags.iter().filter(|tag| session.tags.contains(tag));
        reasons.extend(tags.cloned().map(Reason::Tag));
    }
}

/// Counted back from the volume's newest sound session, never from now: a volume that is no longer
/// backed up keeps its history.
fn within(sessions: &[&Candidate], secs: u64, clock: Clock, reasons: &mut [BTreeSet<Reason>]) {
    let newest = sessions.iter().rfind(|session| !session.damaged);
    let Some(newest) = newest.filter(|_| secs > 0) else {
        return;
    };
    let oldest = clock.of(newest).saturating_sub_unsigned(secs);
    for (session, reasons) in sessions.iter().zip(reasons) {
        if !session.damaged && clock.of(session) >= oldest {
            reasons.insert(Reason::Within);
        }
    }
}

/// Keeps the newest sound session of each of the newest `count` periods that have one.
fn newest_of_each(
    sessions: &[&Candidate],
    count: u32,
    reason: &Reason,
    reasons: &mut [BTreeSet<Reason>],
    period: impl Fn(&Candidate) -> i64,
) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut seen = BTreeSet::new();
    let sound = sessions.iter().enumerate().rev();
    for (place, session) in sound.filter(|(_, session)| !session.damaged) {
        if seen.len() >= count {
            break;
        }
        if seen.insert(period(session)) {
            keep(reasons, Some(place), reason.clone());
        }
    }
}

fn keep(reasons: &mut [BTreeSet<Reason>], place: Option<usize>, reason: Reason) {
    if let Some(reasons) = place.and_then(|place| reasons.get_mut(place)) {
        reasons.insert(reason);
    }
}

fn verdicts(sessions: &[&Candidate], reasons: Vec<BTreeSet<Reason>>) -> Vec<Verdict> {
    let mut next_kept = None;
    let mut verdicts: Vec<Verdict> = sessions
        .iter()
        .zip(reasons)
        .rev()
        .map(|(session, reasons)| {
            let fate = match next_kept {
                Some(_) if reasons.is_empty() && session.damaged => Fate::Removed(Removal::Damaged),
                Some(next_kept) if reasons.is_empty() => {
                    Fate::Removed(Removal::NoRule { next_kept })
                }
                // The newest session always has a reason.
                _ => {
                    next_kept = Some(session.number);
                    Fate::Kept(reasons)
                }
            };
            Verdict {
                number: session.number,
                fate,
            }
        })
        .collect();
    verdicts.reverse();
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const LATER: u64 = 10_000 * DAY;

    /// Daily sessions from 2026-01-01, numbered from 0, whose clocks agree but for an offset.
    fn daily(count: u64) -> Vec<Candidate> {
        (0..count)
            .map(|number| Candidate {
                number,
                wall_secs: 1_767_225_600 + i64::try_from(number * DAY).unwrap(),
                kept_secs: number * DAY,
                tags: Vec::new(),
                pinned: false,
                damaged: false,
            })
            .collect()
    }

    fn kept(verdicts: &[Verdict]) -> Vec<u64> {
        let kept = verdicts
            .iter()
            .filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
        kept.map(|verdict| verdict.number).collect()
    }

    #[test]
    fn the_newest_session_stays_without_any_rule() {
        assert!(Policy::default().is_empty());
        assert_eq!(kept(&judge(&daily(5), &Policy::default(), LATER)), [4]);
        assert_eq!(judge(&[], &Policy::default(), LATER), []);
    }

    #[test]
    fn the_newest_sound_session_stays_beside_a_damaged_newest() {
        let mut sessions = daily(5);
        sessions[4].damaged = true;
        sessions[3].damaged = true;
        assert_eq!(kept(&judge(&sessions, &Policy::default(), LATER)), [2, 4]);
    }

    #[test]
    fn a_damaged_session_takes_no_place_of_a_sound_one() {
        let mut sessions = daily(8);
        sessions[6].damaged = true;
        let policies = [
            Policy {
                daily: 3,
                ..Policy::default()
            },
            Policy {
                last: 3,
                ..Policy::default()
            },
        ];
        for policy in policies {
            let verdicts = judge(&sessions, &policy, LATER);
            assert_eq!(kept(&verdicts), [4, 5, 7]);
            assert_eq!(verdicts[6].fate, Fate::Removed(Removal::Damaged));
        }
    }

    #[test]
    fn a_damaged_newest_session_does_not_shorten_the_time_kept() {
        let mut sessions = daily(10);
        sessions[9].damaged = true;
        sessions[9].wall_secs += 400 * 86_400;
        sessions[9].kept_secs += 400 * DAY;
        let policy = Policy {
            within_secs: 2 * DAY,
            ..Policy::default()
        };
        assert_eq!(kept(&judge(&sessions, &policy, LATER)), [6, 7, 8, 9]);
    }

    #[test]
    fn nothing_younger_than_the_minimum_age_is_removed() {
        let policy = Policy {
            minimum_age_secs: minimum_age_secs(3 * DAY, DAY),
            ..Policy::default()
        };
        assert_eq!(kept(&judge(&daily(10), &policy, 9 * DAY)), [7, 8, 9]);
        assert_eq!(minimum_age_secs(DAY, 3 * DAY), 3 * DAY);
        let ahead = judge(&daily(6), &policy, 0);
        assert_eq!(kept(&ahead), [0, 1, 2, 3, 4, 5], "times ahead of now");
    }

    #[test]
    fn pins_and_tags_stay_damaged_or_not() {
        let mut sessions = daily(6);
        sessions[0].pinned = true;
        sessions[0].damaged = true;
        sessions[1].tags = vec!["release".into()];
        sessions[2].tags = vec!["other".into()];
        sessions[3] = Candidate {
            damaged: true,
            tags: vec!["release".into()],
            ..sessions[3].clone()
        };
        let policy = Policy {
            tags: vec!["release".into()],
            ..Policy::default()
        };
        assert_eq!(kept(&judge(&sessions, &policy, LATER)), [0, 1, 3, 5]);
    }

    #[test]
    fn a_removed_session_names_the_next_newer_one_that_stays() {
        let policy = Policy {
            weekly: 2,
            ..Policy::default()
        };
        // 2026-01-01 is a Thursday: its week ends with number 3, a Sunday.
        let verdicts = judge(&daily(8), &policy, LATER);
        let removal = Removal::NoRule { next_kept: 3 };
        assert_eq!(verdicts[0].fate, Fate::Removed(removal));
        let reasons = BTreeSet::from([Reason::Weekly]);
        assert_eq!(verdicts[3].fate, Fate::Kept(reasons));
    }

    #[test]
    fn a_wall_clock_pushed_ahead_removes_nothing_that_the_kept_clock_keeps() {
        let mut sessions = daily(10);
        // The newest three in a year each of their own: they fill buckets of the wall clock.
        for (years, session) in (1..).zip(&mut sessions[7..]) {
            session.wall_secs += years * 366 * 86_400;
        }
        let policy = Policy {
            daily: 7,
            ..Policy::default()
        };
        let kept = kept(&judge(&sessions, &policy, LATER));
        assert!((3..10).all(|number| kept.contains(&number)), "{kept:?}");
    }

    #[test]
    fn backups_in_a_row_push_out_nothing() {
        let mut sessions = daily(4);
        for number in 4..100 {
            let mut session = sessions[3].clone();
            session.number = number;
            session.wall_secs += i64::try_from(number * 40 * DAY).unwrap();
            session.kept_secs += number;
            sessions.push(session);
        }
        let policy = Policy {
            last: 4,
            ..Policy::default()
        };
        let kept = kept(&judge(&sessions, &policy, LATER));
        assert_eq!(kept, [0, 1, 2, 99]);
    }

    #[test]
    fn a_volume_that_is_no_longer_backed_up_keeps_its_history_even_from_the_future() {
        let mut sessions = daily(10);
        for session in &mut sessions {
            session.wall_secs += 2_300_000_000; // about 2098
        }
        let policy = Policy {
            within_secs: 3 * DAY,
            daily: 2,
            ..Policy::default()
        };
        for now in [9 * DAY, LATER, u64::MAX] {
            assert_eq!(kept(&judge(&sessions, &policy, now)), [6, 7, 8, 9]);
        }
    }

    #[test]
    fn one_session_from_the_future_does_not_end_the_time_kept_by_the_kept_clock() {
        let mut sessions = daily(10);
        sessions[9].wall_secs += 2_300_000_000;
        let policy = Policy {
            within_secs: 3 * DAY,
            ..Policy::default()
        };
        assert_eq!(kept(&judge(&sessions, &policy, LATER)), [6, 7, 8, 9]);
    }
}
