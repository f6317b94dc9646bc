// SPDX-License-Identifier: GPL-3.0-or-later
//! Base snapshots have an owner and an end: they have one place however their file system is
//! mounted, are shown in `status`, are removed with their archive, and are cleaned up when unused.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wyng_tests::disk::run;
use wyng_tests::pool::{Pool, write_durably};
use wyng_tests::sandbox::{Outcome, noise};
use wyng_tests::service::Service;

const MIB: usize = 1 << 20;

/// A folder of a pool that is mounted a second time elsewhere.
struct BindMount(tempfile::TempDir);

impl BindMount {
    fn of(folder: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .arg("--bind")
            .arg(folder)
            .arg(place.path()));
        Self(place)
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.path()));
    }
}

fn method(outcome: &Outcome) -> String {
    outcome.success().json["volumes"][0]["method"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The files in a folder of base snapshots; empty if there is no such folder.
fn kept(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder.join(".wyng"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// The snapshots in `list` or `status`: volume, folder, and the reason why it is unused.
fn shown(outcome: &Outcome) -> Vec<(Value, Value, Value)> {
    let lines = outcome.json["snapshots"].as_array().unwrap().iter();
    lines
        .map(|line| {
            (
                line["volume"].clone(),
                line["folder"].clone(),
                line["left_over"].clone(),
            )
        })
        .collect()
}

/// A pool with a volume in one of its folders; the folder is also mounted elsewhere, and a
/// configuration names the volume there.
fn with_two_views(pool: &Pool) -> (PathBuf, BindMount, String) {
    std::fs::create_dir(pool.disk.join("pool")).unwrap();
    let path = pool.volume("pool/vm.img", 4 * MIB);
    let view = BindMount::of(&pool.disk.join("pool"));
    let config = pool.sandbox.text(
        "wyng.toml",
        &format!("[volumes]\nvm = {:?}\n", view.0.path().join("vm.img")),
    );
    (path, view, config)
}

#[test]
fn a_pool_has_one_place_for_base_snapshots_however_it_is_mounted() {
    for mut pool in Pool::each("a_pool_has_one_place_for_base_snapshots_however_it_is_mounted") {
        let (path, _view, config) = with_two_views(&pool);
        // A timer's run in the service's view comes first, then a run by hand.
        let service = Service::start_with(&mut pool.sandbox, &["--config", &config]);
        method(
            &pool
                .sandbox
                .wyng(&["backup", "home", "vm", "--config", &config]),
        );
        for turn in 0..2 {
            write_durably(&path, 5000 + turn, &noise(900, turn));
            assert_eq!(
                method(&pool.back_up(&path)),
                pool.kind.method,
                "the run by hand finds the timer's"
            );
            write_durably(&path, 900_000 + turn, &noise(900, turn));
            assert_eq!(
                method(
                    &pool
                        .sandbox
                        .wyng(&["backup", "home", "vm", "--config", &config])
                ),
                pool.kind.method,
                "and the timer its"
            );
            assert_eq!(
                (
                    kept(&pool.disk.join("pool")).len(),
                    kept(&pool.disk.path()).len()
                ),
                (1, 0),
                "{:?}",
                pool.kind
            );
        }
        service.stop();
        pool.sandbox.talk_to_nobody();
        pool.sandbox
            .assert_restores("vm", "latest", &std::fs::read(&path).unwrap());
    }
}

#[test]
fn a_base_snapshot_at_a_place_that_is_not_used_any_more_is_reported_and_goes_with_the_next_run() {
    for pool in Pool::each(
        "a_base_snapshot_at_a_place_that_is_not_used_any_more_is_reported_and_goes_with_the_next_run",
    ) {
        let (path, view, config) = with_two_views(&pool);
        // A run by hand makes the folder at the top, which is outside of the other view.
        pool.back_up(&path);
        assert_eq!(kept(&pool.disk.path()).len(), 1);
        assert_eq!(
            method(
                &pool
                    .sandbox
                    .wyng(&["backup", "home", "vm", "--config", &config])
            ),
            "full-scan"
        );
        let listed = pool.sandbox.wyng(&["snapshots", "list"]);
        let top = pool.disk.join(".wyng").display().to_string();
        let left_over: Vec<_> = shown(listed.success())
            .into_iter()
            .filter(|(.., why)| !why.is_null())
            .collect();
        assert_eq!(
            left_over,
            [(
                "vm".into(),
                top.into(),
                "the volume's base snapshot lies elsewhere now".into()
            )],
            "{}",
            listed.json
        );
        write_durably(&path, 5000, &noise(900, 1));
        assert_eq!(
            method(&pool.back_up(&path)),
            pool.kind.method,
            "the newer one is used"
        );
        assert_eq!(
            (kept(view.0.path()).len(), kept(&pool.disk.path()).len()),
            (1, 0),
            "{:?}",
            pool.kind
        );
        pool.sandbox
            .assert_restores("vm", "latest", &std::fs::read(&path).unwrap());
    }
}

#[test]
fn base_snapshots_are_listed_by_status_and_removed_with_their_archive() {
    for pool in Pool::each("base_snapshots_are_listed_by_status_and_removed_with_their_archive") {
        let path = pool.volume("vm.img", 2 * MIB);
        let store = format!("dir:{}", pool.sandbox.path("second").display());
        pool.sandbox
            .wyng(&[
                "archive",
                "create",
                "second",
                "--store",
                &store,
                "--kdf-memory",
                "64M",
                "--kdf-passes",
                "3",
            ])
            .success();
        pool.back_up(&path);
        pool.back_up_to("second", &path);
        let folder: Value = pool.disk.join(".wyng").display().to_string().into();
        let line = ("vm".into(), folder, Value::Null);
        let one = std::slice::from_ref(&line);
        let ours = |outcome: &Outcome| {
            shown(outcome)
                .into_iter()
                .filter(|found| found.1 == line.1)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ours(pool.sandbox.wyng(&["status"]).success()),
            [line.clone(), line.clone()]
        );
        assert_eq!(shown(pool.sandbox.wyng(&["status", "home"]).success()), one);
        assert_eq!(
            shown(pool.sandbox.wyng(&["snapshots", "list", "home"]).success()),
            one
        );
        let forgotten = pool.sandbox.wyng(&["archive", "forget", "home"]);
        assert_eq!(forgotten.success().json["snapshots"][0]["removed"], true);
        assert_eq!(pool.bases().len(), 1);
        assert_eq!(
            ours(pool.sandbox.wyng(&["snapshots", "list"]).success()),
            one
        );
        assert_eq!(
            shown(pool.sandbox.wyng(&["status", "second"]).success()),
            one
        );
        assert_eq!(
            pool.sandbox
                .wyng(&["snapshots", "list", "home"])
                .expect(2)
                .codes(),
            ["unknown-archive"]
        );
    }
}

#[test]
fn what_nothing_uses_is_left_over_and_cleaned_and_what_is_used_stays() {
    for pool in Pool::each("what_nothing_uses_is_left_over_and_cleaned_and_what_is_used_stays") {
        let used = pool.volume("used.img", 2 * MIB);
        let gone = pool.volume("gone.img", 2 * MIB);
        for path in [&used, &gone] {
            pool.sandbox
                .wyng(&["backup", "home", &path.display().to_string()])
                .success();
        }
        std::fs::remove_file(&gone).unwrap();
        // A snapshot of an archive that this machine does not know, and next to it a foreign file.
        let base = pool.bases().remove(0);
        let name = base.file_name().unwrap().to_str().unwrap().to_owned();
        let foreign = base.with_file_name(format!("{}{}", "0".repeat(32), &name[32..]));
        std::fs::copy(&base, &foreign).unwrap();
        std::fs::write(base.with_file_name("notes"), b"").unwrap();
        let folder: Value = pool.disk.join(".wyng").display().to_string().into();
        let ours = |outcome: &Outcome| {
            let mut lines: Vec<(Value, Value)> = shown(outcome)
                .into_iter()
                .filter(|line| line.1 == folder)
                .map(|(volume, _, why)| (volume, why))
                .collect();
            lines.sort_by_key(|(volume, _)| volume.to_string());
            lines
        };
        let unknown = (Value::Null, Value::from("its archive is not known here"));
        let left_over = ("gone.img".into(), "its source is gone".into());
        let in_use = ("used.img".into(), Value::Null);
        assert_eq!(
            ours(pool.sandbox.wyng(&["snapshots", "list"]).success()),
            [left_over.clone(), in_use.clone(), unknown.clone()]
        );
        assert!(
            ours(pool.sandbox.wyng(&["snapshots", "list", "--all"]).success()).len() == 3,
            "with those of others elsewhere"
        );
        assert_eq!(
            ours(pool.sandbox.wyng(&["snapshots", "clean"]).success()),
            [left_over, unknown]
        );
        assert_eq!(
            ours(pool.sandbox.wyng(&["snapshots", "list"]).success()),
            [in_use]
        );
        assert!(
            base.with_file_name("notes").exists(),
            "only base snapshots are removed"
        );
        // Root removes nothing of an archive that it does not know from another user's folder.
        let of_nobody = foreign.parent().unwrap();
        std::fs::copy(&base, &foreign).unwrap();
        std::os::unix::fs::chown(of_nobody, Some(65534), None).unwrap();
        pool.sandbox.wyng(&["snapshots", "clean"]).success();
        assert!(foreign.exists(), "of another user");
        std::os::unix::fs::chown(of_nobody, Some(0), None).unwrap();
        pool.sandbox.wyng(&["snapshots", "clean"]).success();
        assert!(!foreign.exists());
        write_durably(&used, 5000, &noise(900, 1));
        let backup = || {
            method(
                &pool
                    .sandbox
                    .wyng(&["backup", "home", &used.display().to_string()]),
            )
        };
        assert_eq!(backup(), pool.kind.method);
        // All snapshots of an archive, used or not: it costs one complete read and nothing else.
        assert_eq!(
            pool.sandbox
                .wyng(&["snapshots", "clean", "home"])
                .success()
                .json["snapshots"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(backup(), "full-scan");
        pool.sandbox
            .assert_restores("used.img", "latest", &std::fs::read(&used).unwrap());
    }
}

#[test]
fn a_run_of_more_volumes_than_there_are_descriptors_for_keeps_some_base_snapshots_and_every_session()
 {
    for pool in Pool::each(
        "a_run_of_more_volumes_than_there_are_descriptors_for_keeps_some_base_snapshots_and_every_session",
    ) {
        let names: Vec<String> = (0..90)
            .map(|number| {
                pool.volume(&format!("{number}.img"), 65_536)
                    .display()
                    .to_string()
            })
            .collect();
        let mut arguments = vec!["backup", "home"];
        arguments.extend(names.iter().map(String::as_str));
        let wyng = pool.sandbox.command(&arguments);
        let mut limited = Command::new("prlimit");
        limited
            .arg("--nofile=300:4096")
            .arg(wyng.get_program())
            .args(wyng.get_args())
            .current_dir(pool.sandbox.path(""));
        let outcome = Outcome::of(limited.output().unwrap());
        assert_eq!(
            outcome.success().json["volumes"].as_array().unwrap().len(),
            90
        );
        assert_eq!(
            pool.bases().len(),
            50,
            "as many as there are descriptors for"
        );
        pool.sandbox.wyng(&arguments).success();
        assert_eq!(pool.bases().len(), 90);
        pool.sandbox.assert_restores(
            "89.img",
            "latest",
            &std::fs::read(pool.disk.join("89.img")).unwrap(),
        );
    }
}
