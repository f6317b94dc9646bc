// SPDX-License-Identifier: GPL-3.0-or-later
//! Retention over random sessions and random rules, held against a plain restatement of the rules
//! over one clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use wyng_archive::plan::retention::{Candidate, Fate, Policy, Reason, Removal, Verdict, judge};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// A kept clock after every session.
const LATER: u64 = 1 << 40;

fn kept(verdicts: &[Verdict]) -> BTreeSet<u64> {
    let kept = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.fate, Fate::Kept(_)));
    kept.map(|verdict| verdict.number).collect()
}

/// Sessions that the rules with a clock keep by the clock `time` alone, with the reasons.
fn by_one_clock(
    sessions: &[Candidate],
    policy: &Policy,
    time: impl Fn(&Candidate) -> i64,
) -> BTreeSet<(u64, Reason)> {
    let mut sound: Vec<&Candidate> = sessions.iter().filter(|one| !one.damaged).collect();
    sound.sort_by_key(|session| std::cmp::Reverse(session.number));
    let mut kept = BTreeSet::new();
    let rules = [
        (policy.hourly, HOUR, 0, Reason::Hourly),
        (policy.daily, DAY, 0, Reason::Daily),
        (policy.weekly, 7 * DAY, 3 * DAY, Reason::Weekly),
    ];
    for (count, length, shift, reason) in rules {
        let mut periods = Vec::new();
        for session in &sound {
            let period = (time(session) + shift).div_euclid(length);
            if !periods.contains(&period) && periods.len() < usize::try_from(count).unwrap() {
                periods.push(period);
                kept.insert((session.number, reason.clone()));
            }
        }
    }
    let within = i64::try_from(policy.within_secs).unwrap();
    for session in &sound {
        if within > 0 && time(session) >= time(sound[0]) - within {
            kept.insert((session.number, Reason::Within));
        }
    }
    kept
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..20_000_000_i64, 0..20_000_000_u64, 0..12_u8, 1..4_u64);
    prop::collection::vec(one, 0..60).prop_map(|found| {
        let mut number = 0;
        found
            .into_iter()
            .map(|(wall_secs, kept_secs, mark, step)| {
                number += step;
                Candidate {
                    number,
                    wall_secs,
                    kept_secs,
                    tags: if mark == 2 {
                        vec!["t".into()]
                    } else {
                        Vec::new()
                    },
                    pinned: mark == 1,
                    damaged: mark == 0,
                }
            })
            .collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let count = || 0..6_u32;
    let counts = (count(), count(), count(), count(), count(), count());
    let rest = (0..3_000_000_u64, any::<bool>(), 0..2_000_000_u64);
    (counts, rest).prop_map(
        |((last, hourly, daily, weekly, monthly, yearly), (within, tag, minimum_age_secs))| {
            Policy {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within_secs: within.saturating_sub(1_500_000),
                tags: if tag { vec!["t".into()] } else { Vec::new() },
                minimum_age_secs,
            }
        },
    )
}

fn more_generous(policy: &Policy, which: usize, by: u32) -> Policy {
    let mut more = policy.clone();
    match which {
        0 => more.last += by,
        1 => more.hourly += by,
        2 => more.daily += by,
        3 => more.weekly += by,
        4 => more.monthly += by,
        5 => more.yearly += by,
        6 => more.within_secs += u64::from(by) * 100_000,
        7 => more.tags.push("t".into()),
        _ => more.minimum_age_secs += u64::from(by) * 100_000,
    }
    more
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_either_clock_keeps_is_kept_for_just_these_reasons(
        sessions in candidates(),
        policy in policy(),
    ) {
        let mut expected = by_one_clock(&sessions, &policy, |session| session.wall_secs);
        expected.extend(by_one_clock(&sessions, &policy, |session| {
            session.kept_secs.try_into().unwrap()
        }));
        let clocked = [Reason::Hourly, Reason::Daily, Reason::Weekly, Reason::Within];
        let mut found = BTreeSet::new();
        for verdict in judge(&sessions, &policy, LATER) {
            if let Fate::Kept(reasons) = verdict.fate {
                prop_assert!(!reasons.is_empty());
                found.extend(
                    reasons
                        .into_iter()
                        .filter(|one| clocked.contains(one))
                        .map(|one| (verdict.number, one)),
                );
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_more_generous_rule_keeps_no_session_less(
        sessions in candidates(),
        policy in policy(),
        which in 0..9_usize,
        by in 0..6_u32,
        now in 0..20_000_000_u64,
    ) {
        let few = kept(&judge(&sessions, &policy, now));
        let many = kept(&judge(&sessions, &more_generous(&policy, which, by), now));
        prop_assert!(few.is_subset(&many));
    }

    #[test]
    fn removing_one_by_one_in_any_order_gives_the_same_as_at_once(
        sessions in candidates(),
        policy in policy(),
        now in 0..20_000_000_u64,
        order in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let at_once = judge(&sessions, &policy, now);
        let mut left = sessions;
        for next in order {
            let verdicts = judge(&left, &policy, now);
            let removed: Vec<u64> = verdicts
                .iter()
                .filter(|one| matches!(one.fate, Fate::Removed(_)))
                .map(|one| one.number)
                .collect();
            if removed.is_empty() {
                break;
            }
            left.retain(|session| session.number != removed[next.index(removed.len())]);
        }
        let stayed: Vec<Verdict> = at_once
            .into_iter()
            .filter(|one| matches!(one.fate, Fate::Kept(_)))
            .collect();
        prop_assert_eq!(judge(&left, &policy, now), stayed);
    }

    #[test]
    fn the_wall_clock_of_any_session_removes_nothing_that_the_kept_clock_keeps(
        sessions in candidates(),
        policy in policy(),
        pushed in prop::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 1..20),
    ) {
        prop_assume!(!sessions.is_empty());
        let by_kept: BTreeSet<u64> =
            by_one_clock(&sessions, &policy, |session| session.kept_secs.try_into().unwrap())
                .into_iter()
                .map(|(number, _)| number)
                .collect();
        let mut sessions = sessions;
        for (which, wall_secs) in pushed {
            let place = which.index(sessions.len());
            sessions[place].wall_secs = wall_secs;
        }
        let kept = kept(&judge(&sessions, &policy, LATER));
        prop_assert!(by_kept.is_subset(&kept));
    }

    #[test]
    fn the_order_in_which_sessions_are_handed_over_does_not_matter(
        (sessions, shuffled) in candidates()
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        policy in policy(),
    ) {
        prop_assert_eq!(judge(&sessions, &policy, LATER), judge(&shuffled, &policy, LATER));
    }

    #[test]
    fn each_session_is_judged_once_and_a_removed_one_names_a_newer_one_that_stays(
        sessions in candidates(),
        policy in policy(),
    ) {
        let verdicts = judge(&sessions, &policy, LATER);
        let numbers: Vec<u64> = verdicts.iter().map(|verdict| verdict.number).collect();
        prop_assert_eq!(numbers, sessions.iter().map(|session| session.number).collect::<Vec<_>>());
        let kept = kept(&verdicts);
        for (verdict, session) in verdicts.iter().zip(&sessions) {
            match verdict.fate {
                Fate::Kept(_) => {}
                Fate::Removed(Removal::Damaged) => prop_assert!(session.damaged && !session.pinned),
                Fate::Removed(Removal::NoRule { next_kept }) => {
                    prop_assert!(!session.damaged && !session.pinned);
                    prop_assert_eq!(kept.range(verdict.number..).next(), Some(&next_kept));
                }
            }
        }
    }
}

/// A year of daily sessions, pruned every day: what is left is what one prune at the end would have
/// left, and it is as much as was asked for.
#[test]
fn a_year_pruned_daily_keeps_seven_days_four_weeks_and_six_months() {
    let policy = Policy {
        daily: 7,
        weekly: 4,
        monthly: 6,
        ..Policy::default()
    };
    let mut left: Vec<Candidate> = Vec::new();
    for day in 0..365_u64 {
        left.push(Candidate {
            number: day,
            wall_secs: 1_767_225_600 + i64::try_from(day).unwrap() * DAY,
            // The kept clock began in the middle of a day, of a week and of a month.
            kept_secs: 1_000_000 + day * 86_400,
            tags: Vec::new(),
            pinned: false,
            damaged: false,
        });
        let kept = kept(&judge(&left, &policy, LATER));
        left.retain(|session| kept.contains(&session.number));
        assert!(left.len() <= 2 * (7 + 4 + 6), "{} sessions", left.len());
    }
    let verdicts = judge(&left, &policy, LATER);
    for (reason, at_least) in [
        (Reason::Daily, 7),
        (Reason::Weekly, 4),
        (Reason::Monthly, 6),
    ] {
        let count = verdicts
            .iter()
            .filter(|one| matches!(&one.fate, Fate::Kept(reasons) if reasons.contains(&reason)))
            .count();
        assert!(
            (at_least..=2 * at_least).contains(&count),
            "{reason:?}: {count}"
        );
    }
}
