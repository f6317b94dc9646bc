// SPDX-License-Identifier: GPL-3.0-or-later
//! A loss of power at every sync of the real programs: unsynced changes are lost, as in the model
//! of `power_loss`. Then the same command runs once: it succeeds, and everything that was ever
//! reported restores exactly.

use std::collections::HashSet;

use wyng_tests::power_loss::{Call, FileSystem, Loss, recorded};
use wyng_tests::sandbox::{Outcome, create_home, noise, write_at};
use wyng_tests::scene::Scene;

/// Number of random losses at each sync.
const SEEDS: u64 = 4;

/// The moment of the power loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before a sync of the command.
    During,
    /// After its end.
    After,
}

/// Runs the command, and calls `check` with every state that the disk may have. Returns the number
/// of states.
fn powered_off_everywhere(
    scene: &mut Scene,
    arguments: &[&str],
    check: impl FnMut(&mut Scene, &Outcome, When),
) -> usize {
    powered_off(scene, arguments, SEEDS, check)
}

/// The same with so many random losses at each sync, besides those of everything, of all contents
/// and of all names.
fn powered_off(
    scene: &mut Scene,
    arguments: &[&str],
    seeds: u64,
    mut check: impl FnMut(&mut Scene, &Outcome, When),
) -> usize {
    let folder = scene.sandbox.path("");
    let mut system = FileSystem::of(&folder, &["state", "store"]);
    let (output, calls) = recorded(&scene.sandbox.command(arguments), &folder);
    let reported = Outcome::of(output);
    reported.success();
    let mut seen = HashSet::new();
    let mut power_off = |system: &FileSystem, place: usize, when: When| {
        let seed = seeds * place as u64;
        for loss in [Loss::Everything, Loss::Contents, Loss::Names]
            .into_iter()
            .chain((seed..seed + seeds).map(Loss::Some))
        {
            if system.show(loss, &mut seen) {
                eprintln!("{loss:?} before call {place} of {}", calls.len());
                check(scene, &reported, when);
            }
        }
    };
    for (place, call) in calls.iter().enumerate() {
        if call.is_sync() {
            power_off(&system, place, When::During);
        }
        system.apply(call);
    }
    power_off(&system, calls.len(), When::After);
    seen.len()
}

/// Checks that the same command succeeds.
fn again(scene: &Scene, arguments: &[&str]) -> Outcome {
    let again = scene.sandbox.wyng(arguments);
    assert_eq!(again.status, 0, "{}\n{}", again.json, again.stderr);
    again
}

#[test]
fn a_backup_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) = Scene::with_a_session("a_backup_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    write_at(&scene.sandbox.path("root.img"), 100_000, &noise(300_000, 3));
    scene.sandbox.image("third.img", 70_000, 4);
    let backup = ["backup", "home", "root.img", "third.img"];
    let states = powered_off_everywhere(&mut scene, &backup, |scene, reported, when| {
        let sessions = scene.sessions.len();
        if when == When::After {
            scene.note(reported);
            scene.assert_whole();
        }
        let again = again(scene, &backup);
        scene.note(&again);
        scene.assert_whole();
        scene.sessions.truncate(sessions);
    });
    assert!(states > 30, "{states} states");
}

/// Runs the command again after a kill after each change of a name, and then loses what neither of
/// the two runs has synced. Returns the number of kills.
fn killed_then_powered_off(
    scene: &Scene,
    arguments: &[&str],
    mut check: impl FnMut(&Outcome),
) -> u32 {
    let folder = scene.sandbox.path("");
    let mut system = FileSystem::of(&folder, &["state", "store"]);
    let (_, calls) = recorded(&scene.sandbox.command(arguments), &folder);
    let mut kills = 0;
    for (place, call) in calls.iter().enumerate() {
        system.apply(call);
        if call.makes_a_name() {
            kills += 1;
            let mut system = system.clone();
            system.show(Loss::Nothing, &mut HashSet::new());
            let (output, calls) = recorded(&scene.sandbox.command(arguments), &folder);
            calls.iter().for_each(|call| system.apply(call));
            system.show(Loss::Everything, &mut HashSet::new());
            eprintln!("killed after call {place}: {call:.100?}");
            check(&Outcome::of(output));
        }
    }
    kills
}

#[test]
fn a_first_backup_after_a_killed_one_survives_a_loss_of_power() {
    let Some(scene) = Scene::ready("a_first_backup_after_a_killed_one_survives_a_loss_of_power")
    else {
        return;
    };
    scene.create().success();
    scene.sandbox.image("root.img", 300_000, 1);
    let kills = killed_then_powered_off(&scene, &["backup", "home", "root.img"], |again| {
        scene
            .sandbox
            .assert_restores("root.img", &again.success().session(0), &noise(300_000, 1));
    });
    assert!(kills > 10, "{kills} kills");
}

#[test]
fn making_an_archive_after_a_killed_making_survives_a_loss_of_power() {
    let Some(scene) =
        Scene::ready("making_an_archive_after_a_killed_making_survives_a_loss_of_power")
    else {
        return;
    };
    scene.sandbox.image("root.img", 70_000, 1);
    let store = format!("dir:{}", scene.sandbox.store().display());
    let create = create_home(&store);
    let kills = killed_then_powered_off(&scene, &create, |again| {
        assert!(
            again.status == 0 || again.codes() == ["archive-name-taken"],
            "{}",
            again.json
        );
        scene
            .sandbox
            .wyng(&["backup", "home", "root.img"])
            .success();
    });
    assert!(kills > 10, "{kills} kills");
}

#[test]
fn a_restore_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) = Scene::with_a_session("a_restore_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    let target = scene.sandbox.path("restored");
    let restore = [
        "restore",
        "home",
        "root.img",
        "--to",
        target.to_str().unwrap(),
        "--overwrite",
    ];
    let states = powered_off_everywhere(&mut scene, &restore, |scene, _, when| {
        if when == When::During {
            again(scene, &restore);
        }
        assert!(std::fs::read(&target).unwrap() == noise(600_000, 1));
        scene.assert_nothing_left();
    });
    assert!(states > 3, "{states} states");
}

#[test]
fn making_an_archive_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) = Scene::ready("making_an_archive_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    scene.sandbox.image("root.img", 70_000, 1);
    let store = format!("dir:{}", scene.sandbox.store().display());
    let create = create_home(&store);
    let states = powered_off_everywhere(&mut scene, &create, |scene, _, when| {
        if when == When::During {
            let again = scene.sandbox.wyng(&create);
            // Everything was done but not reported.
            assert!(
                again.status == 0 || again.codes() == ["archive-name-taken"],
                "{}",
                again.json
            );
        }
        let outcome = again(scene, &["backup", "home", "root.img"]);
        scene.note(&outcome);
        scene.assert_whole();
        scene.sessions.clear();
    });
    assert!(states > 30, "{states} states");
}

#[test]
fn adopting_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) = Scene::with_a_session("adopting_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    std::fs::remove_dir_all(scene.sandbox.state()).unwrap();
    let store = format!("dir:{}", scene.sandbox.store().display());
    let open = ["archive", "open", "home", "--store", &store];
    let states = powered_off_everywhere(&mut scene, &open, |scene, _, when| {
        if when == When::During {
            again(scene, &open);
        }
        scene.assert_whole();
    });
    assert!(states > 20, "{states} states");
}

#[test]
fn opening_a_known_archive_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) =
        Scene::with_a_session("opening_a_known_archive_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    let open = ["archive", "open", "home"];
    let states = powered_off_everywhere(&mut scene, &open, |scene, _, when| {
        // Whichever state counts, it is complete.
        scene.sandbox.wyng(&["list", "home"]).success();
        if when == When::During {
            again(scene, &open);
        }
        scene.assert_whole();
    });
    assert!(states > 20, "{states} states");
}

#[test]
fn a_key_change_survives_a_loss_of_power_at_every_sync() {
    let Some(mut scene) =
        Scene::with_a_session("a_key_change_survives_a_loss_of_power_at_every_sync")
    else {
        return;
    };
    let second = scene.sandbox.text("second", "another one\n");
    let add = ["key", "add", "home", "--new-passphrase-file", &second];
    let states = powered_off_everywhere(&mut scene, &add, |scene, _, when| {
        if when == When::During {
            let again = scene.sandbox.wyng(&add);
            // Everything was done but not reported.
            assert!(
                again.status == 0 || again.codes() == ["passphrase-taken"],
                "{}",
                again.json
            );
        }
        for passphrase in ["passphrase", "second"] {
            scene
                .sandbox
                .wyng(&["key", "check", "home", "--passphrase-file", passphrase])
                .success();
        }
        scene.assert_whole();
    });
    assert!(states > 20, "{states} states");
}

/// Checks that the newest and the oldest session of the scene restore, and all of them by a deep
/// verify.
fn assert_deep(scene: &Scene) {
    for (volume, session, content) in scene.sessions.first().iter().chain(&scene.sessions.last()) {
        scene.sandbox.assert_restores(volume, session, content);
    }
    scene.sandbox.wyng(&["verify", "home", "--deep"]).success();
    scene.assert_nothing_left();
}

#[test]
fn a_prune_that_deletes_survives_a_loss_of_power_at_every_sync() {
    let test = "a_prune_that_deletes_survives_a_loss_of_power_at_every_sync";
    let Some(mut scene) = Scene::with_sessions(test, "0,0s", 3) else {
        return;
    };
    let before = scene.sandbox.blobs();
    scene.sessions.drain(..2);
    let prune = ["prune", "home", "--keep-last", "1"];
    let states = powered_off(&mut scene, &prune, 0, |scene, _, when| {
        if when == When::During {
            again(scene, &prune);
        }
        assert!(!scene.sandbox.blobs().is_superset(&before), "deleted");
        assert_deep(scene);
    });
    assert!(states > 20, "{states} states");
}

#[test]
fn a_compaction_that_deletes_survives_a_loss_of_power_at_every_sync() {
    let test = "a_compaction_that_deletes_survives_a_loss_of_power_at_every_sync";
    let Some(mut scene) = Scene::with_sessions(test, "0,0s", 3) else {
        return;
    };
    let before = scene.sandbox.blobs();
    let states = powered_off(&mut scene, &["compact", "home"], 0, |scene, _, when| {
        if when == When::During {
            again(scene, &["compact", "home"]);
        }
        assert!(!scene.sandbox.blobs().is_superset(&before), "deleted");
        assert_deep(scene);
    });
    assert!(states > 20, "{states} states");
}

#[test]
fn an_undelete_survives_a_loss_of_power_at_every_sync() {
    let test = "an_undelete_survives_a_loss_of_power_at_every_sync";
    let Some(mut scene) = Scene::with_sessions(test, "3,7d", 2) else {
        return;
    };
    let removed = scene.sessions[0].1.clone();
    scene
        .sandbox
        .wyng(&["session", "remove", "home", "root.img", &removed])
        .success();
    let undelete = ["undelete", "home", "root.img", &removed];
    let states = powered_off_everywhere(&mut scene, &undelete, |scene, _, when| {
        if when == When::During {
            let again = scene.sandbox.wyng(&undelete);
            // Everything was done but not reported.
            assert!(
                again.status == 0 || again.codes() == ["not-removed"],
                "{}",
                again.json
            );
        }
        assert_deep(scene);
    });
    assert!(states > 10, "{states} states");
}

/// Checks that the model can fail: without the syncs of one kind, reported sessions are lost.
#[test]
fn without_its_syncs_a_backup_is_lost() {
    let Some(scene) = Scene::with_a_session("without_its_syncs_a_backup_is_lost") else {
        return;
    };
    write_at(&scene.sandbox.path("root.img"), 100_000, &noise(300_000, 3));
    let folder = scene.sandbox.path("");
    let base = FileSystem::of(&folder, &["state", "store"]);
    let (output, calls) = recorded(
        &scene.sandbox.command(&["backup", "home", "root.img"]),
        &folder,
    );
    let session = Outcome::of(output).session(0);
    for (loss, spared) in [
        (Loss::Contents, Spared::Files),
        (Loss::Everything, Spared::Folders),
        (Loss::Everything, Spared::Nothing),
    ] {
        let mut system = base.clone();
        for call in &calls {
            let folder = matches!(call, Call::Sync(path) if path.is_dir());
            if !call.is_sync() || spared == Spared::Nothing || folder != (spared == Spared::Folders)
            {
                system.apply(call);
            }
        }
        system.show(loss, &mut HashSet::new());
        let target = scene.sandbox.path("target");
        let restore = [
            "restore",
            "home",
            "root.img",
            "--session",
            &session,
            "--to",
            target.to_str().unwrap(),
        ];
        assert_eq!(
            scene.sandbox.wyng(&restore).status == 0,
            spared == Spared::Nothing,
            "{spared:?}"
        );
    }
}

/// The kind of syncs that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spared {
    Files,
    Folders,
    Nothing,
}
