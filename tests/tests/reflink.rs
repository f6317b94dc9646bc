// SPDX-License-Identifier: GPL-3.0-or-later
//! Base snapshots and changed ranges on real btrfs and XFS: only changed ranges are read, and each
//! session restores exactly, whatever the file system did meanwhile.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use wyng_tests::disk::run;
use wyng_tests::pool::{KINDS, Pool, clone_range, half_noise, number, punch, write_durably};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, noise};
use wyng_tests::service::Service;

const MIB: usize = 1 << 20;
const CHUNK: u64 = 64 << 10;

fn method(outcome: &Outcome) -> String {
    outcome.json["volumes"][0]["method"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn assert_newest(pool: &Pool, path: &Path) {
    pool.sandbox
        .assert_restores("vm", "latest", &std::fs::read(path).unwrap());
}

#[test]
fn a_small_change_is_found_by_extents_and_only_its_chunks_are_read() {
    for pool in Pool::each("a_small_change_is_found_by_extents_and_only_its_chunks_are_read") {
        let path = pool.volume("vm.img", 24 * MIB);
        assert_eq!(method(&pool.back_up(&path)), "full-scan");
        let unchanged = pool.back_up(&path);
        assert_eq!(
            (method(&unchanged), number(&unchanged, "read_bytes")),
            (pool.kind.method.into(), 0),
            "{:?}",
            pool.kind
        );
        // 4 KiB in the middle of chunks; with compression an extent of 128 KiB may be rewritten.
        for place in 0..10 {
            write_durably(&path, place * 37 * CHUNK + 20_480, &noise(4096, place));
        }
        let changed = pool.back_up(&path);
        assert_eq!(method(&changed), pool.kind.method);
        let (read, changed_bytes) = (
            number(&changed, "read_bytes"),
            number(&changed, "changed_bytes"),
        );
        assert_eq!(
            (read, changed_bytes),
            (10 * CHUNK, 10 * CHUNK),
            "{:?}",
            pool.kind
        );
        assert!(
            number(&changed, "sampled_bytes") <= 8 << 20 && number(&changed, "sampled_bytes") > 0
        );
        assert_newest(&pool, &path);
        assert_eq!(pool.bases().len(), 1);
    }
}

#[test]
fn a_volume_that_grows_shrinks_and_is_discarded_inside_comes_back() {
    for pool in Pool::each("a_volume_that_grows_shrinks_and_is_discarded_inside_comes_back") {
        let path = pool.volume("vm.img", 8 * MIB);
        pool.back_up(&path);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for length in [
            8 * MIB - 5000,
            3 * MIB + 77,
            3 * MIB + 78,
            40 * MIB + 3,
            40 * MIB,
            70_000,
            12 * MIB,
        ] {
            file.set_len(length as u64).unwrap();
            write_durably(&path, length as u64 / 2, &noise(5000, length as u64));
            let outcome = pool.back_up(&path);
            assert_eq!(method(&outcome), pool.kind.method);
            assert_newest(&pool, &path);
        }
        punch(&path, 6 * MIB as u64 - 4096, 100_000);
        punch(&path, 0, 4096);
        // Preallocated, also past the end.
        run(Command::new("fallocate")
            .args(["--keep-size", "--offset", "10M", "--length", "20M"])
            .arg(&path));
        run(Command::new("fallocate")
            .args(["--offset", "5M", "--length", "9M"])
            .arg(&path));
        let outcome = pool.back_up(&path);
        assert_eq!(method(&outcome), pool.kind.method);
        assert!(
            number(&outcome, "read_bytes") < 2 * MIB as u64,
            "{}",
            outcome.json
        );
        assert_newest(&pool, &path);
    }
}

#[test]
fn a_volume_that_is_renamed_replaced_or_made_anew_comes_back() {
    for pool in Pool::each("a_volume_that_is_renamed_replaced_or_made_anew_comes_back") {
        let path = pool.volume("vm.img", 4 * MIB);
        pool.back_up(&path);
        // As a pool does at each stop of a qube: a clone takes the name, and the extents stay.
        let other = pool.disk.join("dirty.img");
        run(Command::new("cp")
            .args(["--reflink=always"])
            .arg(&path)
            .arg(&other));
        write_durably(&other, 70_000, b"after the start");
        std::fs::rename(&other, &path).unwrap();
        let replaced = pool.back_up(&path);
        assert_eq!(
            (method(&replaced), number(&replaced, "read_bytes")),
            (pool.kind.method.into(), CHUNK),
            "{:?}",
            pool.kind
        );
        assert_newest(&pool, &path);
        // The same name, and nothing else in common.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, half_noise(3 * MIB, 9)).unwrap();
        pool.back_up(&path);
        assert_newest(&pool, &path);
        assert_eq!(pool.bases().len(), 1);
    }
}

#[test]
fn a_base_that_is_lost_foreign_or_touched_costs_a_scan_and_nothing_else() {
    for pool in Pool::each("a_base_that_is_lost_foreign_or_touched_costs_a_scan_and_nothing_else") {
        let path = pool.volume("vm.img", 2 * MIB);
        let spoil: [&dyn Fn(&Path); 4] = [
            &|base| std::fs::remove_file(base).unwrap(),
            // Today's volume is cloned over yesterday's base snapshot, so that nothing seems to
            // have changed.
            &|base| clone_range(&path, 0, base, 0, 2 * MIB as u64),
            &|base| {
                std::fs::remove_file(base).unwrap();
                run(Command::new("cp")
                    .args(["--reflink=always"])
                    .arg(&path)
                    .arg(base));
            },
            &|base| {
                std::fs::File::options()
                    .write(true)
                    .open(base)
                    .unwrap()
                    .set_len(5)
                    .unwrap()
            },
        ];
        for (turn, spoil) in (1..).zip(spoil) {
            pool.back_up(&path);
            write_durably(&path, turn * 100_000, &noise(1000, turn));
            let [base] = pool.bases().try_into().unwrap();
            spoil(&base);
            let outcome = pool.back_up(&path);
            assert_eq!(
                method(&outcome),
                "full-scan",
                "turn {turn} on {:?}",
                pool.kind
            );
            assert_newest(&pool, &path);
            assert_eq!(pool.bases().len(), 1, "what was spoiled is gone");
        }
    }
}

#[test]
fn each_archive_has_a_base_of_its_own() {
    for pool in Pool::each("each_archive_has_a_base_of_its_own") {
        let path = pool.volume("vm.img", 4 * MIB);
        let store = format!("dir:{}", pool.sandbox.path("second").display());
        let create = [
            "archive",
            "create",
            "second",
            "--store",
            &store,
            "--kdf-memory",
            "64M",
            "--kdf-passes",
            "3",
        ];
        pool.sandbox.wyng(&create).success();
        for turn in 0..3 {
            for archive in ["home", "second"] {
                write_durably(&path, turn * 700_000, &noise(900, turn));
                let outcome = pool.back_up_to(archive, &path);
                assert_eq!(
                    method(&outcome) == "full-scan",
                    turn == 0,
                    "{archive}, turn {turn}"
                );
            }
        }
        assert_eq!(pool.bases().len(), 2);
        assert_newest(&pool, &path);
    }
}

#[test]
fn what_a_file_system_moves_is_read_again_and_not_sent_again() {
    for pool in Pool::each("what_a_file_system_moves_is_read_again_and_not_sent_again") {
        let path = pool.volume("vm.img", 16 * MIB);
        pool.back_up(&path);
        let moves: [&dyn Fn(); 3] = match pool.kind.name {
            "btrfs" => [
                &|| {
                    run(Command::new("btrfs")
                        .args(["filesystem", "defragment", "-f", "-t", "32M"])
                        .arg(&path))
                },
                &|| {
                    run(Command::new("btrfs")
                        .args(["balance", "start", "--full-balance"])
                        .arg(pool.disk.path()))
                },
                &|| {
                    // Two equal parts are made to share their extents.
                    let length = CHUNK.to_string();
                    let verb = format!("dedupe {} 0 {} {length}", path.display(), 8 * MIB);
                    run(Command::new("xfs_io").args(["-c", &verb]).arg(&path));
                },
            ],
            _ => [
                &|| run(Command::new("xfs_fsr").arg("-v").arg(&path)),
                &|| {},
                &|| {},
            ],
        };
        let equal = std::fs::read(&path).unwrap()[..usize::try_from(CHUNK).unwrap()].to_vec();
        write_durably(&path, 8 * MIB as u64, &equal);
        pool.back_up(&path);
        for step in moves {
            step();
            let outcome = pool.back_up(&path);
            assert_eq!(
                (method(&outcome), number(&outcome, "sent_bytes")),
                (pool.kind.method.into(), 0),
                "{:?}",
                pool.kind
            );
            assert_newest(&pool, &path);
        }
    }
}

#[test]
fn a_file_that_cannot_be_cloned_is_read_whole() {
    let test = "a_file_that_cannot_be_cloned_is_read_whole";
    if !require(Component::Btrfs, test) {
        return;
    }
    let pool = Pool::of(KINDS[0]);
    let path = pool.disk.join("vm.img");
    std::fs::File::create(&path).unwrap();
    run(Command::new("chattr").arg("+C").arg(&path));
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(&noise(MIB, 1))
        .unwrap();
    for turn in 0..2 {
        write_durably(&path, turn * 100_000, b"x");
        assert_eq!(method(&pool.back_up(&path)), "full-scan");
        assert_newest(&pool, &path);
    }
    assert_eq!(pool.bases(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_volume_in_a_subvolume_has_its_base_at_the_top() {
    if !require(
        Component::Btrfs,
        "a_volume_in_a_subvolume_has_its_base_at_the_top",
    ) {
        return;
    }
    let pool = Pool::of(KINDS[0]);
    let below = pool.disk.join("subvolume");
    run(Command::new("btrfs")
        .args(["subvolume", "create"])
        .arg(&below));
    let path = pool.volume("subvolume/vm.img", 2 * MIB);
    pool.back_up(&path);
    write_durably(&path, 5000, b"x");
    assert_eq!(method(&pool.back_up(&path)), "btrfs-search");
    assert_eq!(pool.bases().len(), 1);
    assert!(!below.join(".wyng").exists());
}

#[test]
fn a_configured_volume_is_cloned_by_the_daemon() {
    for mut pool in Pool::each("a_configured_volume_is_cloned_by_the_daemon") {
        let path = pool.volume("vm.img", 4 * MIB);
        let config = pool
            .sandbox
            .text("wyng.toml", &format!("[volumes]\nvm = {path:?}\n"));
        let service = Service::start_with(&mut pool.sandbox, &["--config", &config]);
        for turn in 0..3 {
            write_durably(&path, turn * 1_000_000, &noise(900, turn));
            let outcome = pool
                .sandbox
                .wyng(&["backup", "home", "vm", "--config", &config]);
            let expected = if turn == 0 {
                "full-scan"
            } else {
                pool.kind.method
            };
            assert_eq!(method(outcome.success()), expected, "{:?}", pool.kind);
            assert_newest(&pool, &path);
            assert_eq!(pool.bases().len(), 1);
        }
        service.stop();
    }
}

#[test]
fn a_dry_run_and_an_unchanged_volume_leave_the_base_as_it_is() {
    for pool in Pool::each("a_dry_run_and_an_unchanged_volume_leave_the_base_as_it_is") {
        let path = pool.volume("vm.img", 4 * MIB);
        pool.back_up(&path);
        let bases = pool.bases();
        let source = format!("vm={}", path.display());
        let skipped = pool
            .sandbox
            .wyng(&["backup", "home", &source, "--skip-unchanged"]);
        assert_eq!(
            skipped.success().json["volumes"][0]["session"],
            serde_json::Value::Null
        );
        write_durably(&path, 5000, b"x");
        let dry = pool.sandbox.wyng(&["backup", "home", &source, "--dry-run"]);
        assert_eq!(
            (method(dry.success()), number(&dry, "changed_bytes")),
            (pool.kind.method.into(), CHUNK)
        );
        assert_eq!(pool.bases(), bases);
    }
}

fn monitor(pool: &Pool, path: &Path) -> Outcome {
    let outcome = pool
        .sandbox
        .wyng(&["monitor", "home", &format!("vm={}", path.display())]);
    outcome.success();
    outcome
}

/// Free space of the file system, bytes.
fn free_bytes(pool: &Pool) -> u64 {
    let top = std::fs::File::open(pool.disk.path()).unwrap();
    rustix::fs::syncfs(&top).unwrap();
    let found = rustix::fs::fstatvfs(&top).unwrap();
    found.f_bavail * found.f_frsize
}

#[test]
fn a_monitor_frees_what_the_old_base_held_and_the_next_backup_reads_all_that_changed() {
    for pool in Pool::each(
        "a_monitor_frees_what_the_old_base_held_and_the_next_backup_reads_all_that_changed",
    ) {
        let path = pool.volume("vm.img", 48 * MIB);
        assert_eq!(method(&monitor_unknown(&pool, &path)), "full-scan");
        pool.back_up(&path);
        // All of it, because btrfs keeps an extent while any part of it is used.
        write_durably(&path, 0, &noise(48 * MIB, 7));
        let held = free_bytes(&pool);
        let outcome = monitor(&pool, &path);
        assert_eq!(
            (method(&outcome), number(&outcome, "changed_bytes")),
            (pool.kind.method.into(), 48 * MIB as u64),
            "{:?}",
            pool.kind
        );
        // btrfs frees space in the background; each sync lets it proceed.
        wyng_tests::service::until("the old base is freed", || {
            free_bytes(&pool) > held + 15 * MIB as u64
        });
        write_durably(&path, 48 * MIB as u64, &noise(1000, 8));
        assert_eq!(
            number(&monitor(&pool, &path), "changed_bytes"),
            48 * MIB as u64 + 1000
        );
        let outcome = pool.back_up(&path);
        assert_eq!(
            (method(&outcome), number(&outcome, "read_bytes")),
            (pool.kind.method.into(), 48 * MIB as u64 + 1000)
        );
        assert_newest(&pool, &path);
        assert_eq!(number(&pool.back_up(&path), "read_bytes"), 0);
    }
}

/// For a volume with a session and without a known base snapshot.
fn monitor_unknown(pool: &Pool, path: &Path) -> Outcome {
    pool.back_up(path);
    pool.bases()
        .iter()
        .for_each(|base| std::fs::remove_file(base).unwrap());
    monitor(pool, path)
}

/// Pseudo-random numbers from a seed, so that a test can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Makes one random change to a volume.
fn change(pool: &Pool, path: &Path, chance: &mut Chance) -> String {
    let size = std::fs::metadata(path).unwrap().len();
    let (offset, length) = (chance.below(size), 1 + chance.below(300_000));
    let block = |number: u64| number / 4096 * 4096;
    let what = chance.below(8);
    match what {
        0..=2 => write_durably(
            path,
            offset,
            &half_noise(usize::try_from(length).unwrap(), offset),
        ),
        3 => punch(path, offset, length),
        4 => std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(1 + offset.max(size / 2) + chance.below(2) * length)
            .unwrap(),
        5 => clone_range(
            path,
            block(offset / 2),
            path,
            block(size + 8192),
            block(size / 3).max(4096),
        ),
        6 => {
            let other = pool.disk.join("other.img");
            run(Command::new("cp")
                .arg("--reflink=always")
                .arg(path)
                .arg(&other));
            write_durably(&other, offset, b"another file");
            std::fs::rename(&other, path).unwrap();
        }
        _ => run(Command::new("fallocate")
            .args([
                "--offset",
                &offset.to_string(),
                "--length",
                &length.to_string(),
            ])
            .arg(path)),
    }
    format!("{what} at {offset} for {length} of {size}")
}

#[test]
fn whatever_is_done_to_a_volume_each_of_its_sessions_comes_back() {
    for (seed, pool) in (1..).zip(Pool::each(
        "whatever_is_done_to_a_volume_each_of_its_sessions_comes_back",
    )) {
        let mut chance = Chance(seed * 0x9e37_79b9);
        let path = pool.volume("vm.img", 3 * MIB);
        let (mut sessions, mut done) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            for _ in 0..1 + chance.below(4) {
                done.push(change(&pool, &path, &mut chance));
                if !sessions.is_empty() && chance.below(3) == 0 {
                    monitor(&pool, &path);
                    done.push("monitor".into());
                }
            }
            let outcome = pool.back_up(&path);
            if !sessions.is_empty() {
                assert_eq!(method(&outcome), pool.kind.method, "{done:?}");
            }
            let (read, changed) = (
                number(&outcome, "read_bytes"),
                number(&outcome, "changed_bytes"),
            );
            done.push(format!("read {read}, changed {changed}"));
            sessions.push((outcome.session(0), std::fs::read(&path).unwrap()));
        }
        for (session, content) in sessions {
            eprintln!("{:?} {session}: {done:?}", pool.kind);
            pool.sandbox.assert_restores("vm", &session, &content);
        }
    }
}
