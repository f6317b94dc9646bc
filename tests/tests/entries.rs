// SPDX-License-Identifier: GPL-3.0-or-later
//! Names and descriptions of volumes, and tags of sessions: what a change keeps, what it refuses,
//! and that a kill leaves it made or not made.

use wyng_control::{Command, ExitStatus, Failure, SessionChoice, ToClient};
use wyng_engine::admin::{self, SessionChange};
use wyng_engine::state::Origins;
use wyng_tests::engine::{
    adopt, assert_whole, back_up, killed_everywhere, made, reported, with_a_small_session,
};
use wyng_tests::memory_world::{Durable, MemoryWorld};
use wyng_tests::sandbox::noise;

/// Runs a command to its end; the failure that ended it.
fn run(world: &mut MemoryWorld, command: Command) -> Result<(), Failure> {
    let exit = wyng_engine::run(world, command);
    let failed = world.client.told.iter().find_map(|event| match event {
        ToClient::Failed(failure) => Some(failure.clone()),
        _ => None,
    });
    match failed {
        Some(failure) => Err(failure),
        None => {
            assert_eq!(exit, ExitStatus::Done);
            Ok(())
        }
    }
}

fn rename(volume: &str, new: &str) -> Command {
    Command::VolumeRename {
        archive: "home".into(),
        volume: volume.into(),
        new: new.into(),
    }
}

/// Names and descriptions of the volumes, in order.
fn volumes(world: &mut MemoryWorld) -> Vec<(String, String)> {
    let mut archive = world.open_archive("home").unwrap();
    let volumes = archive.volumes(&mut world.files).unwrap();
    volumes
        .into_iter()
        .map(|(_, volume)| (volume.name, volume.description))
        .collect()
}

/// The tags of each session of the first volume, oldest first.
fn tags(world: &mut MemoryWorld) -> Vec<Vec<String>> {
    let mut archive = world.open_archive("home").unwrap();
    let volumes = archive.volumes(&mut world.files).unwrap();
    let sessions = archive.sessions(&mut world.files, &volumes[0].1).unwrap();
    sessions.into_iter().map(|session| session.tags).collect()
}

/// An archive with two sessions of one volume.
fn with_two_sessions() -> Durable {
    let (base, _, mut source) = with_a_small_session();
    let mut world = MemoryWorld::new(base, 3);
    source[5000] ^= 1;
    world.volumes.sources = vec![source];
    back_up(&mut world).unwrap();
    world.end()
}

#[test]
fn a_renamed_volume_keeps_its_sessions_its_origin_and_its_base_snapshot() {
    let (base, sessions, _) = with_a_small_session();
    let mut world = MemoryWorld::new(base, 30);
    run(&mut world, rename("volume 0", "work")).unwrap();
    assert_eq!(volumes(&mut world), [("work".into(), String::new())]);
    let archive = world.open_archive("home").unwrap();
    let origins = Origins::read(&mut world.files, &archive.folder).unwrap();
    assert!(origins.path_of("work", 0).is_some() && origins.path_of("volume 0", 0).is_none());
    let durable = world.end();
    let renamed: Vec<_> = sessions
        .into_iter()
        .map(|session| wyng_tests::engine::Reported {
            volume: "work".into(),
            ..session
        })
        .collect();
    assert_whole(&durable, &renamed);
    // Another machine sees the new name.
    let mut elsewhere = MemoryWorld::new(
        Durable {
            store: durable.store,
            ..Durable::default()
        },
        31,
    );
    adopt(&mut elsewhere).unwrap();
    assert_eq!(volumes(&mut elsewhere), [("work".into(), String::new())]);
}

#[test]
fn a_name_that_is_taken_or_is_no_name_is_refused() {
    let mut world = MemoryWorld::new(made(), 2);
    world.volumes.sources = vec![noise(20_000, 1), noise(20_000, 2)];
    back_up(&mut world).unwrap();
    let before = world.end();
    for (volume, new, code) in [
        ("volume 0", "volume 1", "volume-exists"),
        ("volume 0", "volume 0", "volume-exists"),
        ("volume 0", "a/b", "bad-name"),
        ("volume 0", "-x", "bad-name"),
        ("volume 9", "x", "unknown-volume"),
        ("volume 9", "volume 1", "unknown-volume"),
    ] {
        let mut world = MemoryWorld::new(before.clone(), 4);
        let failure = run(&mut world, rename(volume, new)).unwrap_err();
        assert_eq!(failure.code(), code, "{volume} to {new}");
        assert_eq!(world.end().store, before.store, "nothing was sent");
    }
}

#[test]
fn a_backup_under_the_former_name_is_refused_and_under_the_new_one_is_incremental() {
    let (base, _, source) = with_a_small_session();
    let mut world = MemoryWorld::new(base, 30);
    run(&mut world, rename("volume 0", "volume 1")).unwrap();
    // The second source is the renamed volume's, under its new name.
    let durable = world.end();
    let mut world = MemoryWorld::new(durable.clone(), 31);
    world.volumes.sources = vec![source.clone()];
    let request = |name: &str| wyng_engine::backup::BackupRequest {
        archive: "home".into(),
        sources: wyng_tests::memory_world::sources_named([name]),
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
        commit_after_bytes: wyng_engine::backup::COMMIT_AFTER_BYTES,
    };
    assert_eq!(
        wyng_engine::backup::back_up(&mut world, &request("volume 0")),
        Ok(ExitStatus::Usage)
    );
    let codes: Vec<_> = world
        .client
        .told
        .iter()
        .filter_map(|event| match event {
            ToClient::Failed(failure) => Some(failure.code()),
            _ => None,
        })
        .collect();
    assert_eq!(codes, ["volume-renamed"]);
    let mut world = MemoryWorld::new(durable, 32);
    world.volumes.sources = vec![source];
    let mut request = request("volume 1");
    request.sources[0].named = true; // the path of this world's sources follows from their names
    assert_eq!(
        wyng_engine::backup::back_up(&mut world, &request),
        Ok(ExitStatus::Done)
    );
    let sent = world.client.told.iter().find_map(|event| match event {
        ToClient::BackedUp(report) => Some(report.sent_bytes),
        _ => None,
    });
    assert_eq!(sent, Some(0), "everything is known under the new name");
}

#[test]
fn a_kill_at_any_call_leaves_a_volume_renamed_or_not_and_the_same_command_ends_well() {
    let (base, sessions, source) = with_a_small_session();
    let mut states = [0, 0];
    let calls = killed_everywhere(
        &base,
        &[source],
        |world| run(world, rename("volume 0", "work")),
        |_, survived| {
            let mut cut = MemoryWorld::new(survived.cut, 40);
            let names = volumes(&mut cut);
            match names[0].0.as_str() {
                "volume 0" => states[0] += 1,
                "work" => states[1] += 1,
                other => panic!("{other}"),
            }
            let mut after = MemoryWorld::new(survived.durable.clone(), 41);
            assert_eq!(volumes(&mut after), [("work".into(), String::new())]);
            let archive = after.open_archive("home").unwrap();
            let origins = Origins::read(&mut after.files, &archive.folder).unwrap();
            assert!(origins.path_of("work", 0).is_some());
            let renamed: Vec<_> = sessions
                .iter()
                .map(|session| wyng_tests::engine::Reported {
                    volume: "work".into(),
                    ..session.clone()
                })
                .collect();
            assert_whole(&survived.durable, &renamed);
        },
    );
    assert!(
        calls > 10 && states[0] > 2 && states[1] > 2,
        "{states:?} of {calls}"
    );
}

#[test]
fn a_kill_at_any_call_leaves_a_session_tagged_or_not_and_the_same_command_ends_well() {
    let (base, sessions, source) = with_a_small_session();
    let change = SessionChange::AddTags(vec!["before".into()]);
    let mut states = [0, 0];
    killed_everywhere(
        &base,
        &[source],
        |world| admin::change_session(world, "home", "volume 0", &SessionChoice::Latest, &change),
        |_, survived| {
            let mut cut = MemoryWorld::new(survived.cut, 40);
            states[tags(&mut cut)[0].len()] += 1;
            let mut after = MemoryWorld::new(survived.durable.clone(), 41);
            assert_eq!(tags(&mut after), [["before"]]);
            assert_whole(&survived.durable, &sessions);
        },
    );
    assert!(states[0] > 2 && states[1] > 2, "{states:?}");
}

#[test]
fn a_tag_names_the_newest_session_that_has_it() {
    let base = with_two_sessions();
    let mut world = MemoryWorld::new(base, 30);
    let tag = |world: &mut MemoryWorld, session: &str, change| {
        let choice = match session {
            "latest" => SessionChoice::Latest,
            tag => SessionChoice::Tag(tag.into()),
        };
        admin::change_session(world, "home", "volume 0", &choice, &change)
    };
    let add =
        |tags: &[&str]| SessionChange::AddTags(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let remove = |tags: &[&str]| {
        SessionChange::RemoveTags(tags.iter().map(|tag| (*tag).to_owned()).collect())
    };
    tag(&mut world, "latest", add(&["a", "b", "a"])).unwrap();
    assert_eq!(tags(&mut world), [vec![], vec!["a".to_owned(), "b".into()]]);
    let archive = world.open_archive("home").unwrap();
    let generation = archive.head.generation;
    tag(&mut world, "a", add(&["b"])).unwrap();
    let archive = world.open_archive("home").unwrap();
    assert_eq!(
        archive.head.generation, generation,
        "what changes nothing commits nothing"
    );
    tag(&mut world, "a", remove(&["a", "c"])).unwrap();
    assert_eq!(tags(&mut world), [vec![], vec!["b".to_owned()]]);
    assert_eq!(
        tag(&mut world, "a", add(&["x"])).unwrap_err().code(),
        "unknown-session"
    );
    // The older session gets the tag too: the newer one is still meant.
    let mut archive = world.open_archive("home").unwrap();
    let volume = archive.volumes(&mut world.files).unwrap()[0].1.clone();
    let oldest = archive.sessions(&mut world.files, &volume).unwrap()[0].time;
    let name = jiff::Timestamp::from_second(oldest).unwrap().to_string();
    let choice = SessionChoice::Prefix(name);
    admin::change_session(&mut world, "home", "volume 0", &choice, &add(&["b"])).unwrap();
    let mut archive = world.open_archive("home").unwrap();
    let volume = archive.volumes(&mut world.files).unwrap()[0].1.clone();
    let found = archive
        .choose(&mut world.files, &volume, &SessionChoice::Tag("b".into()))
        .unwrap();
    assert!(found.time > oldest);
}

#[test]
fn tags_and_descriptions_have_bounds() {
    let (base, _, _) = with_a_small_session();
    let mut world = MemoryWorld::new(base, 30);
    let mut add = |tags: Vec<String>| {
        let change = SessionChange::AddTags(tags);
        admin::change_session(
            &mut world,
            "home",
            "volume 0",
            &SessionChoice::Latest,
            &change,
        )
    };
    let sixteen: Vec<String> = (0..16).map(|number| format!("tag-{number}")).collect();
    add(sixteen.clone()).unwrap();
    assert_eq!(
        add(vec!["one-more".into()]).unwrap_err().code(),
        "bad-setting"
    );
    assert_eq!(add(vec!["a b".into()]).unwrap_err().code(), "bad-setting");
    assert_eq!(tags(&mut world), [sixteen]);
    let long = "x".repeat(1000);
    admin::describe(&mut world, "home", "volume 0", &long).unwrap();
    assert_eq!(volumes(&mut world), [("volume 0".into(), long.clone())]);
    let longer = format!("{long}x");
    assert!(admin::describe(&mut world, "home", "volume 0", &longer).is_err());
    admin::describe(&mut world, "home", "volume 0", "").unwrap();
    assert_eq!(volumes(&mut world), [("volume 0".into(), String::new())]);
    assert!(reported(&world).is_empty());
}

#[test]
fn what_a_killed_backup_left_survives_a_renaming() {
    let (base, sessions, source) = with_a_small_session();
    let start = || {
        let mut world = MemoryWorld::new(base.clone(), 10);
        world.volumes.sources = vec![source.clone(), noise(200_000, 7)];
        world
    };
    let mut with_remains = 0;
    wyng_tests::engine::cut_everywhere(start, back_up, |call, killed| {
        let (durable, _) = killed.crash(call);
        let mut world = MemoryWorld::new(durable, 20);
        let left = world.open_archive("home").unwrap().uncommitted.packs.len();
        if left == 0 {
            return;
        }
        with_remains += 1;
        run(&mut world, rename("volume 0", "work")).unwrap();
        let renamed: Vec<_> = sessions
            .iter()
            .map(|session| wyng_tests::engine::Reported {
                volume: "work".into(),
                ..session.clone()
            })
            .collect();
        assert_whole(&world.end(), &renamed);
    });
    assert!(with_remains > 0);
}

#[test]
fn the_programs_rename_describe_tag_and_tell_sizes() {
    let Some(scene) =
        wyng_tests::scene::Scene::with_a_session("the_programs_rename_describe_tag_and_tell_sizes")
    else {
        return;
    };
    let wyng = |words: &[&str]| scene.sandbox.wyng(words);
    let renamed = wyng(&["volume", "rename", "home", "root.img", "system"]);
    assert_eq!(renamed.success().json["volumes"][0]["name"], "system");
    let again = wyng(&["volume", "rename", "home", "root.img", "system"]);
    again.success();
    wyng(&["volume", "describe", "home", "system", "the root"]).success();
    let tagged = wyng(&["tag", "add", "home", "system", "latest", "first", "good"]);
    assert_eq!(
        tagged.success().json["volumes"][0]["sessions"][0]["tags"],
        serde_json::json!(["first", "good"])
    );
    wyng(&["tag", "remove", "home", "system", "^good", "good"]).success();
    let target = scene.sandbox.path("restored");
    let target = target.to_str().unwrap();
    let restore = [
        "restore",
        "home",
        "system",
        "--session",
        "^first",
        "--to",
        target,
    ];
    wyng(&restore).success();
    assert!(
        std::fs::read(target).unwrap() == std::fs::read(scene.sandbox.path("root.img")).unwrap()
    );
    let former = wyng(&["backup", "home", "root.img"]);
    assert_eq!(former.expect(2).codes(), ["volume-renamed"]);
    let source = format!("system={}", scene.sandbox.path("root.img").display());
    let backup = wyng(&["backup", "home", &source]);
    assert_eq!(backup.success().json["volumes"][0]["sent_bytes"], 0);
    let list = wyng(&["list", "home", "--sizes"]);
    let volume = &list.success().json["volumes"][0];
    assert_eq!(volume["description"], "the root");
    let newest = &volume["sessions"][1]["sizes"];
    assert!(newest["stored_bytes"].as_u64().unwrap() > 0, "{volume}");
    assert_eq!(newest["unique_bytes"], 0, "the two sessions are equal");
    let why = wyng(&["why", "home"]);
    let why = &why.success().json;
    let parts = ["shared", "metadata", "dead", "filler", "waiting", "lost"];
    let rest: u64 = parts
        .iter()
        .map(|part| why[format!("{part}_bytes")].as_u64().unwrap())
        .sum();
    let volumes = why["volumes"].as_array().unwrap();
    let unique: u64 = volumes
        .iter()
        .map(|volume| volume["sizes"]["unique_bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(why["stored_bytes"], rest + unique, "{why}");
}
