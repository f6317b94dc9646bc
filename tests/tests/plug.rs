// SPDX-License-Identifier: GPL-3.0-or-later
//! The real processes are killed: each just before its n-th send, write, sync or change of a name,
//! for n = 1, 2, 4, 8 and so on; `killed.rs` kills at every call, in one process. Then the same
//! command runs again without a repair: it succeeds, everything that was ever reported restores
//! exactly, and nothing is left over. Prune, compact and undelete are killed at calls that are
//! drawn.

use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::disk::run;
use wyng_tests::programs::program;
use wyng_tests::sandbox::{Outcome, create_home, noise, write_at};
use wyng_tests::scene::Scene;
use wyng_tests::traced::{HelperOutside, kill_numbers, killed_at, watched};

/// Calls by which a role changes what others see. A call that no role makes costs one run, and
/// detects a role that starts to make it.
const CALLS: [&str; 14] = [
    "sendmsg",
    "sendto",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "ftruncate",
];
/// The calls of the helper.
const HELPER_CALLS: [&str; 5] = ["write", "fsync", "fdatasync", "linkat", "mkdirat"];

/// Watches for the end of the last process only.
const NOTHING: [&str; 3] = ["--seccomp-bpf", "-e", "trace=exit_group"];

/// A copy of state and store before a run, which can be put back.
struct Base(Vec<(PathBuf, PathBuf)>);

impl Base {
    fn of(scene: &Scene) -> Self {
        let base = scene.sandbox.path("base");
        std::fs::create_dir(&base).unwrap();
        let kept = scene.folders().into_iter().filter(|folder| folder.exists());
        Self(
            kept.map(|folder| (folder.clone(), base.join(folder.file_name().unwrap())))
                .collect(),
        )
        .saved()
    }

    fn saved(self) -> Self {
        self.0.iter().for_each(|(folder, kept)| copy(folder, kept));
        self
    }

    fn put_back(&self, scene: &Scene) {
        for folder in scene.folders() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        self.0.iter().for_each(|(folder, kept)| copy(kept, folder));
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Kills `command` before each of its calls, and passes its output, and the output of the same
/// command afterwards, to `check`. Returns the number of kills.
fn killed_everywhere(
    scene: &mut Scene,
    arguments: &[&str],
    mut check: impl FnMut(&mut Scene, &Outcome, &Outcome),
) -> u32 {
    let base = Base::of(scene);
    let trace = scene.sandbox.path("trace");
    let mut kills = 0;
    for call in CALLS {
        for number in kill_numbers() {
            base.put_back(scene);
            let sessions = scene.sessions.len();
            let cut = killed_at(&scene.sandbox.command(arguments), call, number, &trace);
            let cut_said = Outcome::of(cut.output);
            if !cut.killed {
                cut_said.success();
                break;
            }
            kills += 1;
            let again = Outcome::of(watched(&scene.sandbox.command(arguments), &NOTHING, &trace));
            // Killed when everything was done but not reported; a second command finds it done.
            let done = match arguments {
                ["archive", "create", ..] => again.codes() == ["archive-name-taken"],
                ["key", "add", ..] => again.codes() == ["passphrase-taken"],
                _ => false,
            };
            assert!(
                again.status == 0 || done,
                "after a kill at {call} {number}: {}\n{}",
                again.json,
                again.stderr
            );
            check(scene, &cut_said, &again);
            scene.sessions.truncate(sessions);
        }
    }
    kills
}

#[test]
fn a_backup_survives_kills_of_each_role() {
    let Some(mut scene) = Scene::with_a_session("a_backup_survives_kills_of_each_role") else {
        return;
    };
    write_at(&scene.sandbox.path("root.img"), 100_000, &noise(300_000, 3));
    write_at(&scene.sandbox.path("home.img"), 69_000, &noise(9000, 4));
    let kills = killed_everywhere(
        &mut scene,
        &["backup", "home", "root.img", "home.img"],
        |scene, cut, again| {
            scene.note(cut);
            scene.note(again);
            scene.assert_whole();
        },
    );
    assert!(kills > 25, "{kills} kills");
}

#[test]
fn a_backup_survives_kills_of_the_helper() {
    let Some(mut scene) = Scene::with_a_session("a_backup_survives_kills_of_the_helper") else {
        return;
    };
    write_at(&scene.sandbox.path("root.img"), 100_000, &noise(300_000, 3));
    let base = Base::of(&scene);
    let trace = scene.sandbox.path("trace");
    let pipes = scene.sandbox.path("pipes");
    std::fs::create_dir(&pipes).unwrap();
    let backup = ["backup", "home", "root.img"];
    let mut kills = 0;
    for call in HELPER_CALLS {
        for number in kill_numbers() {
            base.put_back(&scene);
            let helper =
                HelperOutside::killed_at(call, number, &program("wyng-transport-vm"), &pipes);
            scene.sandbox.replace_helper(&HelperOutside::script(&pipes));
            let cut = scene.sandbox.wyng(&backup);
            scene.sandbox.restore_helper();
            if !helper.ended() {
                cut.success();
                break;
            }
            kills += 1;
            // Killed after its last receipt, the helper is not needed any more.
            assert!(
                cut.status == 0 || cut.expect(6).codes() == ["far-end-lost"],
                "{call} {number}: {}",
                cut.json
            );
            let sessions = scene.sessions.len();
            scene.note(&cut);
            let again = Outcome::of(watched(&scene.sandbox.command(&backup), &NOTHING, &trace));
            assert_eq!(
                again.status, 0,
                "after the helper was killed at {call} {number}: {}\n{}",
                again.json, again.stderr
            );
            scene.note(&again);
            scene.assert_whole();
            scene.sessions.truncate(sessions);
        }
    }
    assert!(kills > 10, "{kills} kills");
}

#[test]
fn a_restore_survives_kills_of_each_role() {
    let Some(mut scene) = Scene::with_a_session("a_restore_survives_kills_of_each_role") else {
        return;
    };
    let target = scene.sandbox.path("restored");
    let content = noise(600_000, 1);
    let arguments = [
        "restore",
        "home",
        "root.img",
        "--to",
        target.to_str().unwrap(),
        "--overwrite",
    ];
    let kills = killed_everywhere(&mut scene, &arguments, |scene, _, _| {
        assert!(std::fs::read(&target).unwrap() == content);
        std::fs::remove_file(&target).unwrap();
        scene.assert_nothing_left();
    });
    assert!(kills > 10, "{kills} kills");
}

#[test]
fn making_an_archive_survives_kills_of_each_role() {
    let Some(mut scene) = Scene::ready("making_an_archive_survives_kills_of_each_role") else {
        return;
    };
    scene.sandbox.image("root.img", 70_000, 1);
    let store = format!("dir:{}", scene.sandbox.store().display());
    let arguments = create_home(&store);
    let kills = killed_everywhere(&mut scene, &arguments, |scene, _, _| {
        let outcome = scene.sandbox.wyng(&["backup", "home", "root.img"]);
        scene.note(outcome.success());
        scene.assert_whole();
    });
    assert!(kills > 12, "{kills} kills");
}

#[test]
fn adopting_survives_kills_of_each_role() {
    let Some(mut scene) = Scene::with_a_session("adopting_survives_kills_of_each_role") else {
        return;
    };
    std::fs::remove_dir_all(scene.sandbox.state()).unwrap();
    let store = format!("dir:{}", scene.sandbox.store().display());
    let kills = killed_everywhere(
        &mut scene,
        &["archive", "open", "home", "--store", &store],
        |scene, _, _| scene.assert_whole(),
    );
    assert!(kills > 12, "{kills} kills");
}

#[test]
fn opening_a_known_archive_survives_kills_of_each_role() {
    let Some(mut scene) =
        Scene::with_a_session("opening_a_known_archive_survives_kills_of_each_role")
    else {
        return;
    };
    let kills = killed_everywhere(&mut scene, &["archive", "open", "home"], |scene, _, _| {
        scene.assert_whole()
    });
    assert!(kills > 12, "{kills} kills");
}

#[test]
fn a_key_change_survives_kills_of_each_role() {
    let Some(mut scene) = Scene::with_a_session("a_key_change_survives_kills_of_each_role") else {
        return;
    };
    let second = scene.sandbox.text("second", "another one\n");
    let kills = killed_everywhere(
        &mut scene,
        &["key", "add", "home", "--new-passphrase-file", &second],
        |scene, _, _| {
            for passphrase in ["passphrase", "second"] {
                scene
                    .sandbox
                    .wyng(&["key", "check", "home", "--passphrase-file", passphrase])
                    .success();
            }
            scene.assert_whole();
        },
    );
    assert!(kills > 12, "{kills} kills");
}

/// Number of kills that are drawn for each command.
const DRAWN: u32 = 12;

/// Kills `command` before calls that are drawn, and passes its output, and the output of the same
/// command afterwards, to `check`.
fn killed_anywhere(
    scene: &mut Scene,
    arguments: &[&str],
    mut check: impl FnMut(&mut Scene, &Outcome, &Outcome),
) {
    let base = Base::of(scene);
    let trace = scene.sandbox.path("trace");
    let (mut kills, mut drawn) = (0, 0_u32);
    while kills < DRAWN {
        drawn += 1;
        assert!(drawn < 20 * DRAWN, "{kills} kills of {drawn} drawn");
        let chance = drawn.wrapping_mul(0x9e37_79b9);
        let call = CALLS[usize::try_from(chance >> 16).unwrap() % CALLS.len()];
        // Most processes make few calls of one kind.
        let number = 1 + (chance >> 8) % [3, 12, 40][usize::try_from(drawn % 3).unwrap()];
        base.put_back(scene);
        let cut = killed_at(&scene.sandbox.command(arguments), call, number, &trace);
        if !cut.killed {
            continue;
        }
        kills += 1;
        let again = Outcome::of(watched(&scene.sandbox.command(arguments), &NOTHING, &trace));
        eprintln!("killed at {call} {number}: {}", again.status);
        check(scene, &Outcome::of(cut.output), &again);
    }
}

/// Every session of the scene restores, and a deep verify is clean.
fn assert_deep(scene: &Scene) {
    scene.assert_whole();
    scene.sandbox.wyng(&["verify", "home", "--deep"]).success();
}

#[test]
fn a_prune_that_deletes_survives_kills() {
    let test = "a_prune_that_deletes_survives_kills";
    let Some(mut scene) = Scene::with_sessions(test, "0,0s", 4) else {
        return;
    };
    let before = scene.sandbox.blobs();
    scene.sessions.drain(..3);
    let prune = ["prune", "home", "--keep-last", "1"];
    killed_anywhere(&mut scene, &prune, |scene, _, again| {
        again.success();
        assert!(!scene.sandbox.blobs().is_superset(&before), "deleted");
        assert_deep(scene);
    });
}

#[test]
fn a_compaction_that_deletes_survives_kills() {
    let test = "a_compaction_that_deletes_survives_kills";
    let Some(mut scene) = Scene::with_sessions(test, "0,0s", 4) else {
        return;
    };
    let before = scene.sandbox.blobs();
    killed_anywhere(&mut scene, &["compact", "home"], |scene, _, again| {
        again.success();
        assert!(!scene.sandbox.blobs().is_superset(&before), "deleted");
        assert_deep(scene);
    });
}

#[test]
fn an_undelete_survives_kills() {
    let Some(mut scene) = Scene::with_sessions("an_undelete_survives_kills", "3,7d", 3) else {
        return;
    };
    let removed = scene.sessions[1].1.clone();
    scene
        .sandbox
        .wyng(&["session", "remove", "home", "root.img", &removed])
        .success();
    let undelete = ["undelete", "home", "root.img", &removed];
    killed_anywhere(&mut scene, &undelete, |scene, _, again| {
        assert!(
            again.status == 0 || again.codes() == ["not-removed"],
            "{}",
            again.json
        );
        assert_deep(scene);
    });
}
