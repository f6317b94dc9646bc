// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes in use, on real btrfs and XFS: a clone of a running image is at worst in the state after
//! a power cut.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wyng_tests::disk::run;
use wyng_tests::pool::{Pool, half_noise, number, write_durably};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, noise};

const MIB: usize = 1 << 20;

/// An ext4 in an image, mounted until it is dropped.
struct Guest(tempfile::TempDir);

impl Guest {
    fn mount(image: &Path) -> Self {
        let guest = Self(tempfile::tempdir().unwrap());
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(guest.0.path()));
        guest
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.path()));
    }
}

/// Appends records of 8 bytes, each counted after its sync, and writes other files meanwhile.
fn work(guest: &Path, acknowledged: &AtomicU64, over: &AtomicBool) {
    let mut records = File::create(guest.join("records")).unwrap();
    for record in 1.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        std::fs::write(
            guest.join(format!("other {}", record % 7)),
            noise(200_000, record),
        )
        .unwrap();
        records.write_all(&record.to_le_bytes()).unwrap();
        records.sync_all().unwrap();
        acknowledged.store(record, Ordering::SeqCst);
    }
}

#[test]
fn a_clone_of_a_running_image_replays_its_journal_and_has_all_that_was_acknowledged() {
    let test = "a_clone_of_a_running_image_replays_its_journal_and_has_all_that_was_acknowledged";
    if !require(Component::Ext4, test) {
        return;
    }
    for pool in Pool::each(test) {
        let image = pool.disk.join("vm.img");
        File::create(&image)
            .unwrap()
            .set_len(96 * MIB as u64)
            .unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let guest = Guest::mount(&image);
        let (acknowledged, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut sessions = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| work(guest.0.path(), &acknowledged, &over));
            for _ in 0..4 {
                let before = acknowledged.load(Ordering::SeqCst);
                let outcome = pool.sandbox.wyng(&[
                    "backup",
                    "home",
                    &format!("vm={}", image.display()),
                    "--live",
                ]);
                sessions.push((outcome.success().session(0), before));
                while acknowledged.load(Ordering::SeqCst) < before + 3 {
                    std::thread::yield_now();
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        drop(guest);
        let listed = pool.sandbox.wyng(&["list", "home", "vm"]);
        assert!(
            listed.json["volumes"][0]["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .all(|session| session["live"] == true)
        );
        for (session, acknowledged) in sessions {
            let restored = pool.sandbox.path("restored.img");
            let _ = std::fs::remove_file(&restored);
            pool.sandbox
                .wyng(&[
                    "restore",
                    "home",
                    "vm",
                    "--session",
                    &session,
                    "--to",
                    restored.to_str().unwrap(),
                ])
                .success();
            let guest = Guest::mount(&restored);
            let mut records = Vec::new();
            File::open(guest.0.path().join("records"))
                .unwrap()
                .read_to_end(&mut records)
                .unwrap();
            let found: Vec<u64> = records
                .as_chunks()
                .0
                .iter()
                .map(|record| u64::from_le_bytes(*record))
                .collect();
            assert!(
                found.len() as u64 >= acknowledged
                    && (1..).zip(&found).all(|(number, found)| number == *found),
                "{:?}",
                pool.kind
            );
            drop(guest);
            run(Command::new("e2fsck").args(["-f", "-n"]).arg(&restored));
        }
    }
}

/// Runs `wyng-ctl` as an ordinary user, who owns the sandbox.
fn as_user(pool: &Pool, arguments: &[&str]) -> Outcome {
    let command = pool.sandbox.command(arguments);
    let mut other = Command::new("setpriv");
    other
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args());
    other
        .current_dir(pool.sandbox.path(""))
        .stdin(std::process::Stdio::null());
    Outcome::of(other.output().unwrap())
}

#[test]
fn an_ordinary_user_has_base_snapshots_where_he_may_write_at_the_top() {
    for pool in Pool::each("an_ordinary_user_has_base_snapshots_where_he_may_write_at_the_top") {
        let path = pool.volume("vm.img", 4 * MIB);
        let source = format!("vm={}", path.display());
        let give = |owner: &str| {
            run(Command::new("chown")
                .args(["-R", owner])
                .arg(pool.sandbox.path(""))
                .arg(pool.disk.path()));
        };
        let back_up = || as_user(&pool, &["backup", "home", &source]);
        give("65534:65534");
        run(Command::new("chown").arg("root:root").arg(pool.disk.path()));
        assert_eq!(
            back_up().success().json["volumes"][0]["method"],
            "full-scan"
        );
        assert!(
            pool.bases().is_empty(),
            "nothing is made where he may not write"
        );
        give("65534:65534");
        back_up().success();
        write_durably(&path, 70_000, &half_noise(4096, 5));
        let outcome = back_up();
        assert_eq!(
            (
                outcome.success().json["volumes"][0]["method"].as_str(),
                pool.bases().len()
            ),
            (Some("fiemap"), 1),
            "{:?}",
            pool.kind
        );
        let compressed = pool.kind.options.contains("compress");
        // FIEMAP does not show which part of a compressed extent is used: it is read, and found to
        // be known.
        assert_eq!(number(&outcome, "changed_bytes"), 64 << 10);
        assert!(
            compressed || number(&outcome, "read_bytes") == 64 << 10,
            "{}",
            outcome.json
        );
        // The folder of another user is neither used nor changed.
        give("65534:65534");
        run(Command::new("chown")
            .args(["-R", "root:root"])
            .arg(pool.disk.join(".wyng")));
        assert_eq!(
            back_up().success().json["volumes"][0]["method"],
            "full-scan"
        );
        assert_eq!(pool.bases().len(), 1);
    }
}
