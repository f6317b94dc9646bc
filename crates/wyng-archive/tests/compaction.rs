// SPDX-License-Identifier: GPL-3.0-or-later
//! Compaction over a year of nights: what it leaves, and what it costs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod simulation;

use std::collections::BTreeSet;

use simulation::{Archive, DAY, Figures, Random};
use wyng_archive::format::HoldOff;
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::retention::Policy;

/// Chunks that are overwritten in a night.
#[derive(Debug, Clone, Copy)]
struct Churn {
    chunks: u64,
    /// Chunks written in a night.
    writes: u64,
    /// Share of the writes that go to the hot part, per cent.
    hot_writes: u64,
    /// Size of the hot part, per cent.
    hot_size: u64,
}

impl Churn {
    fn night(&self, random: &mut Random) -> BTreeSet<u64> {
        let hot = self.chunks * self.hot_size / 100;
        let write = |random: &mut Random| {
            let is_hot = random.below(100) < self.hot_writes;
            random.below(if is_hot { hot } else { self.chunks })
        };
        (0..self.writes).map(|_| write(random)).collect()
    }
}

/// Nightly backups, each with prune, compaction, verify and deletion behind it.
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
    let mut archive = Archive::new(1, HoldOffs::new(hold_off));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut written: BTreeSet<u64> = (0..churn.chunks).collect();
    for night in 0..nights {
        let now = night * DAY;
        archive.backup(now, &written);
        archive.prune(&policy, now);
        archive.compact();
        archive.measure();
        archive.verify(now);
        archive.delete(now);
        written = churn.night(&mut random);
    }
    archive.figures
}

/// 90 or 80 per cent of the writes go to a small part of the volume, as on a used system; or all of
/// them anywhere, which is the worst for a store of whole packs.
#[test]
fn a_year_of_nights_stays_within_its_goals_at_about_one_byte_moved_for_a_byte_sent() {
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
            println!("{what}");
            assert!(figures.worst_size <= 11_000, "size: {what}");
            assert!(figures.most_packs_above_goal <= 0, "objects: {what}");
            assert!(percent <= 115, "moved: {what}");
        }
    }
}

/// Given up, held for a week, and gone: what waits is what a week made, not more.
#[test]
fn what_waits_for_deletion_is_what_a_week_of_nights_gave_up() {
    let churn = Churn {
        chunks: 2000,
        writes: 400,
        hot_writes: 90,
        hot_size: 20,
    };
    let figures = simulate(&churn, 120);
    let week = (figures.sent_bytes + figures.moved_bytes) / 119 * 8;
    let waiting = figures.most_waiting_bytes;
    assert!(
        (1..=3 * week).contains(&waiting),
        "{waiting} bytes wait, {week} in a week"
    );
}
