// SPDX-License-Identifier: GPL-3.0-or-later
//! `history`: the record of days over the engine in a world in memory, and the command by the real
//! programs.

use std::process::Command;

use wyng_control::{DayLine, ExitStatus, SessionChoice, ToClient};
use wyng_engine::{look, prune};
use wyng_tests::engine::{back_up, create_request, cut_everywhere, made};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::{Outcome, Sandbox, noise};

const DAY: u64 = 86_400;

/// A world that goes on from here at this time after the first second of all worlds.
fn at(durable: &Durable, secs: u64) -> MemoryWorld {
    MemoryWorld::observed(durable.clone(), secs)
}

/// The days that `history` reports.
fn days(world: &mut MemoryWorld) -> Vec<DayLine> {
    world.client.told.clear();
    assert_eq!(look::history(world, "home"), Ok(ExitStatus::Done));
    let told = world.client.told.iter();
    told.filter_map(|event| match event {
        ToClient::Day(day) => Some(*day),
        _ => None,
    })
    .collect()
}

/// Bytes added by the sessions that exist, each session by its time, oldest first.
fn sessions(world: &mut MemoryWorld) -> Vec<(i64, u64)> {
    let mut archive = world.open_archive("home").unwrap();
    let mut found = Vec::new();
    for (_, volume) in archive.volumes(&mut world.files).unwrap() {
        let sessions = archive.sessions(&mut world.files, &volume).unwrap();
        found.extend(sessions.iter().map(|line| (line.time, line.added_bytes)));
    }
    found.sort_unstable();
    found
}

/// An archive with one session on each of so many days, each day noted.
fn kept_for(count: u64) -> Durable {
    let mut world = MemoryWorld::observed(Durable::default(), 1);
    wyng_engine::admin::create(&mut world, &create_request()).unwrap();
    let mut durable = world.end();
    for day in 1..=count {
        let mut world = at(&durable, day * DAY);
        world.volumes.sources = vec![noise(20_000 + usize::try_from(day).unwrap() * 9000, day)];
        back_up(&mut world).unwrap();
        look::note_day(&mut world, "home").unwrap();
        durable = world.end();
    }
    durable
}

/// The name of the record's file.
fn record(durable: &Durable) -> String {
    let names: Vec<&String> = durable
        .files
        .keys()
        .filter(|name| name.ends_with("/days"))
        .collect();
    let [name] = names[..] else {
        panic!("{names:?}")
    };
    name.clone()
}

#[test]
fn what_a_removed_session_added_stays_counted_and_a_lost_record_begins_anew() {
    let durable = kept_for(3);
    let mut world = at(&durable, 3 * DAY + 60);
    let before = sessions(&mut world);
    let added: Vec<u64> = before.iter().map(|(_, added)| *added).collect();
    let found = days(&mut world);
    assert!(added.iter().all(|added| *added > 9000), "{added:?}");
    let shown = |days: &[DayLine]| -> Vec<u64> { days.iter().map(|day| day.added_bytes).collect() };
    let kept = |days: &[DayLine]| -> Vec<Option<u64>> {
        days.iter()
            .map(|day| day.state.map(|state| state.sessions))
            .collect()
    };
    assert_eq!(shown(&found), added);
    assert_eq!(kept(&found), [Some(1), Some(2), Some(3)]);
    assert!(found[2].state.unwrap().stored_bytes > added.iter().sum());
    let newest = [SessionChoice::Latest];
    prune::remove_sessions(&mut world, "home", "volume 0", &newest, false).unwrap();
    look::note_day(&mut world, "home").unwrap();
    let durable = world.end();
    let mut world = at(&durable, 4 * DAY);
    let found = days(&mut world);
    assert_eq!(shown(&found), added, "the removed one stays counted");
    assert_eq!(kept(&found), [Some(1), Some(2), Some(2)]);
    // Lost, cut anywhere or of another version: only the sessions that exist are left.
    let name = record(&durable);
    let whole = durable.files[&name].clone();
    for damaged in [
        None,
        Some(Vec::new()),
        Some(whole[..20].to_vec()),
        Some(vec![9; 58]),
    ] {
        let mut without = durable.clone();
        match damaged {
            None => without.files.remove(&name),
            Some(bytes) => without.files.insert(name.clone(), bytes),
        };
        let mut world = at(&without, 4 * DAY);
        let found = days(&mut world);
        assert_eq!(shown(&found), added[..2]);
        assert_eq!(kept(&found), [None, None]);
        look::note_day(&mut world, "home").unwrap();
        assert_eq!(kept(&days(&mut world)), [None, None, Some(2)]);
    }
}

#[test]
fn nothing_is_counted_twice_and_a_day_ahead_of_now_is_not_shown() {
    let durable = kept_for(2);
    let mut world = at(&durable, 2 * DAY + 60);
    let before = days(&mut world);
    for _ in 0..3 {
        look::note_day(&mut world, "home").unwrap();
    }
    assert_eq!(days(&mut world), before);
    // The wall clock of that day was far ahead, and was put back.
    let mut world = at(&world.end(), 900 * DAY);
    look::note_day(&mut world, "home").unwrap();
    assert_eq!(days(&mut world).len(), 3);
    let mut world = at(&world.end(), 2 * DAY + 120);
    assert_eq!(days(&mut world), before);
}

#[test]
fn a_kill_while_the_day_is_noted_leaves_the_day_before_it_or_after_it() {
    let durable = kept_for(2);
    let mut world = at(&durable, 3 * DAY);
    world.volumes.sources = vec![noise(70_000, 9)];
    back_up(&mut world).unwrap();
    let durable = world.end();
    let before = days(&mut at(&durable, 3 * DAY + 60));
    let mut world = at(&durable, 3 * DAY + 60);
    look::note_day(&mut world, "home").unwrap();
    let after = days(&mut world);
    assert_ne!(before, after);
    let start = || at(&durable, 3 * DAY + 60);
    let calls = cut_everywhere(
        start,
        |world| look::note_day(world, "home"),
        |n, killed| {
            for chance in [0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
                let (cut, _) = killed.crash(chance);
                let found = days(&mut at(&cut, 3 * DAY + 60));
                assert!(found == before || found == after, "call {n}: {found:?}");
            }
        },
    );
    assert!(calls > 0);
    assert!(days(&mut at(&made(), 1)).is_empty(), "without a session");
}

#[test]
fn history_shows_what_a_backup_added_and_draws_it() {
    let sandbox = Sandbox::with_archive(&[]);
    let none = sandbox.wyng(&["history", "home"]);
    assert_eq!(none.success().json["days"], serde_json::json!([]));
    sandbox.image("disk.img", 300_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let list = sandbox.wyng(&["list", "home"]);
    let added = &list.success().json["volumes"][0]["sessions"][0]["added_bytes"];
    let history = sandbox.wyng(&["history", "home", "--svg", "history.svg"]);
    let day = &history.success().json["days"][0];
    assert_eq!((&day["added_bytes"], &day["sessions"]), (added, &1.into()));
    assert_eq!(day["damaged_sessions"], 0);
    let picture = sandbox.path("history.svg");
    let text = std::fs::read_to_string(&picture).unwrap();
    assert!(text.starts_with("<svg ") && text.contains("<rect"));
    // Its own picture is replaced without a question, and nothing else is.
    let command = sandbox.command(&["history", "home", "--svg", "history.svg"]);
    let without_yes = || {
        let words = command.get_args().filter(|word| *word != "--yes");
        let output = Command::new("setsid")
            .arg("--wait")
            .arg(command.get_program())
            .args(words)
            .current_dir(sandbox.path(""))
            .output();
        Outcome::of(output.unwrap())
    };
    without_yes().success();
    std::fs::write(&picture, "precious").unwrap();
    assert_eq!(without_yes().expect(2).codes(), ["confirmation-needed"]);
    assert_eq!(std::fs::read_to_string(&picture).unwrap(), "precious");
    sandbox
        .wyng(&["history", "home", "--svg", "history.svg"])
        .success();
    assert!(
        std::fs::read_to_string(&picture)
            .unwrap()
            .starts_with("<svg ")
    );
    // People learn which file was written. Without a terminal, they get one line a day.
    let words = command.get_args().filter(|word| *word != "--json");
    let shown = Command::new(command.get_program())
        .args(words)
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert_eq!(lines[0], "picture written: history.svg");
    assert!(lines[1].contains("1 session,"), "{shown}");
}

#[test]
fn a_record_that_cannot_be_written_fails_no_backup_and_damage_is_noted() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", 300_000, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let record = wyng_tests::sandbox::files_below(&sandbox.state())
        .into_iter()
        .find(|file| file.ends_with("days"))
        .unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    sandbox.image("disk.img", 300_000, 2);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let shown = sandbox.wyng(&["history", "home"]);
    assert_eq!(
        shown.success().json["days"][0]["sessions"],
        serde_json::Value::Null
    );
    std::fs::remove_dir(&record).unwrap();
    let largest = sandbox
        .blobs()
        .into_iter()
        .max_by_key(|blob| blob.metadata().unwrap().len())
        .unwrap();
    std::fs::remove_file(largest).unwrap();
    sandbox.wyng(&["verify", "home"]).expect(5);
    let shown = sandbox.wyng(&["history", "home"]);
    let damaged = &shown.success().json["days"][0]["damaged_sessions"];
    assert!(damaged.as_u64().unwrap() > 0, "{}", shown.json);
}
