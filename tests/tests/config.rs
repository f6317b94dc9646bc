// SPDX-License-Identifier: GPL-3.0-or-later
//! The configuration, with the real programs: names and profiles, mistakes, and what is overdue.

use std::path::Path;

use serde_json::json;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};
use wyng_tests::service::{Service, until};

const IMAGE_BYTES: usize = 300_000;

/// The one complete example of docs/config.md.
fn example() -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md"))
            .unwrap();
    let (_, behind) = text.split_once("```toml\n").unwrap();
    behind.split_once("```").unwrap().0.to_owned()
}

/// A sandbox with two volumes, and a configuration that names them and the archive.
fn configured(profile: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let [work, vault] =
        ["work.img", "vault.img"].map(|name| sandbox.image(name, IMAGE_BYTES, name.len() as u64));
    let config = format!(
        "[archives.home]\nstore = \"dir:{}\"\n[volumes]\nwork = {work:?}\nvault = {vault:?}\n[profiles.nightly]\narchive = \"home\"\n{profile}",
        sandbox.store().display()
    );
    let config = sandbox.text("wyng.toml", &config);
    let create = [
        "archive",
        "create",
        "home",
        "--kdf-memory",
        "64M",
        "--kdf-passes",
        "3",
        "--config",
        &config,
    ];
    sandbox.wyng(&create).success();
    (sandbox, config)
}

#[test]
fn the_example_of_the_document_is_right() {
    let sandbox = Sandbox::new();
    let config = sandbox.text("wyng.toml", &example());
    let outcome = sandbox.wyng(&["config", "check", "--config", &config]);
    // Its volumes are not on this machine.
    assert_eq!(outcome.expect(3).codes(), ["configured-volume-missing"; 2]);
    assert_eq!(
        outcome.json["archives"][1],
        json!({"name": "office", "store": "dir:/srv/wyng/laptop", "via": "ssh:backup.example.org", "verify_via": "ssh:nas.example.org"})
    );
    assert_eq!(outcome.json["volumes"].as_array().unwrap().len(), 2);
    let nightly = json!({
        "name": "nightly", "archive": "home", "archives": ["home"], "volumes": ["data"],
        "qubes": ["@all", "dev"], "exclude": ["@tag:scratch"], "live": false, "skip_unchanged": false,
        "backup_overdue_secs": 259_200, "verify_overdue_secs": 2_592_000, "verify_budget_bytes": 20_u64 << 30,
        "max_new_bytes": 50_u64 << 30, "prune_after_backup": true,
        "verify": false, "scratch": "/var/tmp", "dom0": true, "dom0_paths": ["/usr/local/bin"],
    });
    assert_eq!(outcome.json["profiles"][0], nightly);
    assert_eq!(
        outcome.json["profiles"][1]["volumes"],
        json!(["data", "dom0-root"])
    );
}

#[test]
fn a_mistake_is_told_with_its_line_and_stops_what_asks_the_configuration_and_nothing_else() {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", IMAGE_BYTES, 1);
    let session = sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success()
        .session(0);
    let config = sandbox.text("wyng.toml", "[volumes]\nwork = \"work.img\"\n");
    for command in [
        &["config", "check"][..],
        &["backup", "home", "disk.img"],
        &["status"],
    ] {
        let outcome = sandbox.wyng(&[command, &["--config", &config]].concat());
        assert_eq!(outcome.expect(2).codes(), ["config"]);
        let error = &outcome.json["errors"][0];
        assert_eq!(
            error["text"],
            format!("{config}:2: \"work.img\" is no absolute path")
        );
        assert_eq!(
            error["next"],
            "Write the absolute path of a disk image or block device, or zfs:POOL/DATASET."
        );
    }
    sandbox
        .wyng(&["verify", "home", "--config", &config])
        .success();
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    assert_eq!(
        sandbox
            .wyng(&["status", "--config", "/nonexistent"])
            .expect(2)
            .codes(),
        ["config"]
    );
}

#[test]
fn a_profile_of_several_archives_runs_for_each_and_one_that_is_away_holds_up_none() {
    let (sandbox, config) = configured("");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("archive = \"home\"", "archive = [\"usb\", \"home\"]");
    let usb = sandbox.path("usb");
    let text = format!("{text}[archives.usb]\nstore = \"dir:{}\"\n", usb.display());
    let config = sandbox.text("wyng.toml", &text);
    let create = ["archive", "create", "usb", "--kdf-memory", "64M"];
    sandbox
        .wyng(&[&create[..], &["--kdf-passes", "3", "--config", &config]].concat())
        .success();
    let wyng = |words: &[&str]| {
        sandbox.wyng(&[words, &["--profile", "nightly", "--config", &config]].concat())
    };
    let both = wyng(&["backup"]);
    let archives = |outcome: &Outcome| -> Vec<(String, u64)> {
        let runs = outcome.json["runs"].as_array().unwrap().iter();
        runs.map(|run| {
            let name = run["archive"].as_str().unwrap().to_owned();
            (name, run["exit"].as_u64().unwrap())
        })
        .collect()
    };
    assert_eq!(
        archives(both.success()),
        [("usb".into(), 0), ("home".into(), 0)]
    );
    for run in both.json["runs"].as_array().unwrap() {
        assert_eq!(run["volumes"].as_array().unwrap().len(), 2, "{run}");
    }
    // The disk is not there.
    std::fs::rename(&usb, sandbox.path("unplugged")).unwrap();
    let one = wyng(&["backup"]);
    assert_eq!(one.expect(6).codes(), ["store-missing"]);
    assert_eq!(archives(&one), [("usb".into(), 6), ("home".into(), 0)]);
    let listed = sandbox.wyng(&["list", "home", "work"]);
    let sessions = listed.success().json["volumes"][0]["sessions"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(sessions, 2, "the archive that is there got its session");
    assert_eq!(
        archives(&wyng(&["verify"])),
        [("usb".into(), 6), ("home".into(), 0)]
    );
    // One archive by its name, and one that the profile does not have.
    assert!(wyng(&["backup", "home"]).success().json["runs"].is_null());
    assert_eq!(wyng(&["backup", "away"]).expect(2).codes(), ["usage"]);
}

#[test]
fn the_copies_of_a_profile_are_brought_up_to_date_and_one_that_is_away_holds_up_none() {
    let (sandbox, config) = configured("");
    let wyng = |words: &[&str]| sandbox.wyng(&[words, &["--config", &config]].concat());
    let none = wyng(&["archive", "copy", "--profile", "nightly"]);
    assert_eq!(none.expect(2).codes(), ["usage"]);
    let text = std::fs::read_to_string(&config).unwrap();
    let urls = ["usb", "disk"].map(|name| format!("dir:{}", sandbox.path(name).display()));
    let text = text.replacen(
        "[archives.home]",
        &format!("[archives.home]\ncopies = {urls:?}"),
        1,
    );
    sandbox.text("wyng.toml", &text);
    let copied = |outcome: &Outcome| -> Vec<(String, u64)> {
        let runs = outcome.json["runs"].as_array().unwrap().iter();
        runs.map(|run| {
            let store = run["store"].as_str().unwrap_or("none").to_owned();
            (store, run["exit"].as_u64().unwrap())
        })
        .collect()
    };
    wyng(&["backup", "--profile", "nightly"]).success();
    let both = wyng(&["archive", "copy", "--profile", "nightly"]);
    let each = urls.clone().map(|url| (url, 0));
    assert_eq!(copied(both.success()), each);
    assert_eq!(copied(&wyng(&["archive", "copy", "home"])), each);
    std::fs::rename(sandbox.path("usb"), sandbox.path("unplugged")).unwrap();
    let one = wyng(&["archive", "copy", "--profile", "nightly"]);
    assert_eq!(one.expect(6).codes(), ["copy-gone"]);
    assert_eq!(copied(&one), [("none".into(), 6), each[1].clone()]);
    // One that is named, and a command line that names too much.
    let named = wyng(&["archive", "copy", "home", "--to", &urls[1]]);
    assert_eq!(named.success().json["store"], urls[1]);
    for words in [
        &["archive", "copy"][..],
        &["archive", "copy", "home", "--profile", "nightly"],
        &["archive", "copy", "--profile", "nightly", "--to", &urls[1]],
    ] {
        assert_eq!(wyng(words).expect(2).codes(), ["usage"], "{words:?}");
    }
    let twice = text.replacen(&urls[0], &urls[1], 1);
    sandbox.text("wyng.toml", &twice);
    assert_eq!(wyng(&["config", "check"]).expect(2).codes(), ["config"]);
}

#[test]
fn a_profile_backs_up_its_volumes_with_a_private_daemon_and_with_the_service() {
    let (mut sandbox, config) = configured("volumes = [\"work\"]\nlive = true\n");
    let backup = sandbox.wyng(&["backup", "--profile", "nightly", "--config", &config]);
    let session = backup.success().session(0);
    assert_eq!(backup.json["archive"], "home");
    assert_eq!(backup.json["volumes"].as_array().unwrap().len(), 1);
    sandbox.assert_restores("work", &session, &noise(IMAGE_BYTES, 8));
    let listed = sandbox.wyng(&["list", "home", "work"]);
    assert_eq!(listed.json["volumes"][0]["sessions"][0]["live"], true);

    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    let backup = sandbox.wyng(&["backup", "home", "--all", "--config", &config]);
    assert_eq!(
        [
            &backup.success().json["volumes"][0]["name"],
            &backup.json["volumes"][1]["name"]
        ],
        ["vault", "work"]
    );
    sandbox.assert_restores("vault", &backup.session(0), &noise(IMAGE_BYTES, 9));
    sandbox
        .wyng(&["backup", "home", "vault", "work", "--config", &config])
        .success();
    sandbox
        .wyng(&["verify", "--profile", "nightly", "--config", &config])
        .success();
}

#[test]
fn the_daemon_opens_by_its_own_configuration_and_only_what_that_names() {
    let (mut sandbox, config) = configured("");
    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    let other = sandbox.image("other.img", IMAGE_BYTES, 5);
    let third = sandbox.image("third.img", IMAGE_BYTES, 6);
    let forged = sandbox.text(
        "forged.toml",
        &format!("[volumes]\nwork = {other:?}\nshadow = {third:?}\n"),
    );
    let session = sandbox
        .wyng(&["backup", "home", "work", "--config", &forged])
        .success()
        .session(0);
    sandbox.assert_restores("work", &session, &noise(IMAGE_BYTES, 8));
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "shadow", "--config", &forged])
            .expect(1)
            .codes(),
        ["source-unavailable"]
    );
    // The caller opens a path, even one with the name of a volume.
    let session = sandbox
        .wyng(&["backup", "home", "file=./other.img", "--config", &config])
        .success()
        .session(0);
    sandbox.assert_restores("file", &session, &noise(IMAGE_BYTES, 5));
}

#[test]
fn what_contradicts_the_configuration_is_refused() {
    let (sandbox, config) = configured("");
    let commands: [&[&str]; 6] = [
        &["backup", "--profile", "hourly"],
        &["backup", "away", "--profile", "nightly"],
        &["backup", "--profile", "nightly", "--all"],
        &["backup", "home"],
        &["verify", "--profile", "hourly"],
        &["archive", "create", "away"],
    ];
    for command in commands {
        sandbox
            .wyng(&[command, &["--config", &config]].concat())
            .expect(2);
    }
    assert_eq!(
        sandbox
            .wyng(&[
                "backup",
                "home",
                "--all",
                "--config",
                &sandbox.text("empty.toml", "")
            ])
            .expect(2)
            .codes(),
        ["usage"]
    );
}

#[test]
fn status_tells_what_is_overdue() {
    let (sandbox, config) = configured("backup_overdue = \"1h\"\nverify_overdue = \"1h\"\n");
    let status = ["status", "--config", &config];
    sandbox
        .wyng(&["backup", "home", "work", "--config", &config])
        .success();
    let outcome = sandbox.wyng(&status);
    assert_eq!(
        outcome.expect(3).codes(),
        ["backup-overdue", "verify-overdue"]
    );
    assert_eq!(outcome.json["errors"][0]["volume"], "vault");
    sandbox
        .wyng(&["backup", "--profile", "nightly", "--config", &config])
        .success();
    sandbox
        .wyng(&["verify", "--profile", "nightly", "--config", &config])
        .success();
    let outcome = sandbox.wyng(&status);
    assert_eq!(outcome.success().json["errors"], json!([]));
    let archive = &outcome.json["archives"][0];
    assert!(
        archive["verified"].is_string() && archive["newest"]["vault"]["session"].is_string(),
        "{archive}"
    );
    let hasty = std::fs::read_to_string(&config)
        .unwrap()
        .replace("backup_overdue = \"1h\"", "backup_overdue = \"1s\"");
    let hasty = sandbox.text("hasty.toml", &hasty);
    until("a second has passed", || {
        sandbox.wyng(&["status", "--config", &hasty]).status == 3
    });
}

#[test]
fn status_warns_of_an_archive_whose_last_success_is_too_long_ago() {
    let (sandbox, config) = configured("");
    let limits = |backup: &str| {
        let text = format!(
            "{}\n[archives.home.warn]\nbackup = \"{backup}\"\nverify = \"1d\"\nkey_proof = \"1d\"\n",
            std::fs::read_to_string(&config).unwrap()
        );
        sandbox.text("limits.toml", &text)
    };
    let patient = limits("1d");
    sandbox
        .wyng(&["backup", "--profile", "nightly", "--config", &patient])
        .success();
    let outcome = sandbox.wyng(&["status", "--config", &patient]);
    let overdue = ["archive-verify-overdue", "key-proof-overdue"];
    assert_eq!(outcome.expect(3).codes(), overdue);
    let archive = &outcome.json["archives"][0];
    assert!(archive["last_backup"].is_string(), "{archive}");
    assert_eq!(archive["last_verify"], json!(null));
    let codes: Vec<_> = archive["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, overdue);
    sandbox.wyng(&["verify", "home"]).success();
    sandbox.wyng(&["key", "check", "home"]).success();
    // A commit without a session is no backup.
    sandbox
        .wyng(&["volume", "describe", "home", "work", "mail"])
        .success();
    let outcome = sandbox.wyng(&["status", "--config", &patient]);
    assert_eq!(outcome.success().json["archives"][0]["warnings"], json!([]));
    let hasty = limits("1s");
    until("the newest session is older than a second", || {
        let describe = ["volume", "describe", "home", "work", "letters"];
        sandbox.wyng(&describe).success();
        let outcome = sandbox.wyng(&["status", "--config", &hasty]);
        outcome.status == 3 && outcome.codes() == ["archive-backup-overdue"]
    });
}

#[test]
fn status_warns_of_an_overdue_prune_and_rehearsal_and_of_little_room() {
    let (sandbox, config) = configured("");
    let limits = |room: &str| {
        let text = format!(
            "{}\n[archives.home.keep]\nlast = 5\n[archives.home.warn]\nprune = \"1d\"\nrehearsal = \"1d\"\nstore_free = \"{room}\"\nstate_free = \"{room}\"\n",
            std::fs::read_to_string(&config).unwrap()
        );
        sandbox.text("limits.toml", &text)
    };
    // More than any disk has.
    let large = limits("1000000T");
    sandbox
        .wyng(&["backup", "--profile", "nightly", "--config", &large])
        .success();
    let outcome = sandbox.wyng(&["status", "--config", &large]);
    let overdue = ["prune-overdue", "rehearsal-overdue", "store-nearly-full"];
    let all = [&overdue[..], &["state-nearly-full"]].concat();
    assert_eq!(outcome.expect(3).codes(), all);
    let archive = &outcome.json["archives"][0];
    let warnings = archive["warnings"].as_array().unwrap().iter();
    let codes: Vec<&str> = warnings
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    // The state directory is no archive's.
    assert_eq!(codes, overdue);
    let unknown = ["last_prune_age_seconds", "last_rehearsal_age_seconds"];
    assert!(unknown.iter().all(|name| archive[name].is_null()));
    for free in ["store_free_bytes", "state_free_bytes"] {
        assert!(archive[free].as_u64().unwrap() > 0, "{archive}");
    }
    assert!(archive["store_free_noted"].is_string(), "{archive}");
    // A dry run, and a prune of one volume, are no prunes of the archive.
    let prune = ["prune", "home", "--config", &large];
    for more in [&["--dry-run"][..], &["work", "--keep-last", "9"]] {
        sandbox.wyng(&[&prune[..], more].concat()).success();
        assert_eq!(sandbox.wyng(&["status", "--config", &large]).codes(), all);
    }
    sandbox.wyng(&prune).success();
    sandbox.wyng(&["rehearse", "home"]).success();
    let outcome = sandbox.wyng(&["status", "--config", &large]);
    let room = ["store-nearly-full", "state-nearly-full"];
    assert_eq!(outcome.expect(3).codes(), room);
    let archive = &outcome.json["archives"][0];
    assert!(
        unknown.iter().all(|name| archive[name].is_u64()),
        "{archive}"
    );
    let outcome = sandbox.wyng(&["status", "--config", &limits("1K")]);
    assert_eq!(outcome.success().codes(), Vec::<String>::new());
}

/// The kernel's folder of power supplies on a laptop without mains power.
fn battery(sandbox: &Sandbox, capacity: &str) -> String {
    let folder = sandbox.path("power");
    std::fs::create_dir_all(folder.join("BAT0")).unwrap();
    for (attribute, text) in [
        ("type", "Battery"),
        ("status", "Discharging"),
        ("capacity", capacity),
    ] {
        std::fs::write(folder.join("BAT0").join(attribute), format!("{text}\n")).unwrap();
    }
    folder.into_os_string().into_string().unwrap()
}

#[test]
fn on_battery_an_unattended_backup_is_put_off_and_after_three_days_it_runs_where_enough_is_left() {
    let (sandbox, config) = configured("volumes = [\"work\"]\n");
    let backup = |capacity: &str, options: &[&str]| -> Outcome {
        let power = battery(&sandbox, capacity);
        let command = [
            &[
                "backup",
                "--profile",
                "nightly",
                "--config",
                &config,
                "--power-supplies",
                &power,
            ],
            options,
        ]
        .concat();
        sandbox.wyng(&command)
    };
    let note = sandbox.path("notes/deferred-since.nightly");
    for _ in 0..2 {
        assert_eq!(
            backup("95", &["--unattended"]).expect(7).codes(),
            ["deferred"]
        );
    }
    let since: i64 = std::fs::read_to_string(&note)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    std::fs::write(&note, (since - 3 * 86_400).to_string()).unwrap();
    assert_eq!(
        backup("60", &["--unattended"]).expect(7).codes(),
        ["deferred"]
    );
    backup("61", &["--unattended"]).success();
    assert!(!note.exists(), "the next time is counted anew");
    assert_eq!(
        backup("95", &["--unattended"]).expect(7).codes(),
        ["deferred"]
    );
    backup("5", &[]).success();
    // A run by hand counts nothing; with mains power the note is removed.
    assert!(note.exists());
    std::fs::remove_dir_all(sandbox.path("power")).unwrap();
    let plugged = [
        "backup",
        "--profile",
        "nightly",
        "--config",
        &config,
        "--unattended",
        "--power-supplies",
        "power",
    ];
    sandbox.wyng(&plugged).success();
    assert!(!note.exists());
}
