// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that only look: they wait for no other command, change nothing, and need neither a lock
//! nor a writable folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use wyng_tests::disk::run;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, Sandbox, files_below, noise};
use wyng_tests::service::{Service, reached, until};

const IMAGE_BYTES: usize = 300_000;

/// Every command that only looks.
const LOOKS: [&[&str]; 6] = [
    &["list", "home"],
    &["status"],
    &["archive", "list"],
    &["archive", "show", "home"],
    &["key", "list", "home"],
    &["recovery-sheet", "home"],
];

/// A sandbox with one session, whose next push waits at a gate.
fn gated() -> (Sandbox, PathBuf) {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let gate = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    ));
    (sandbox, gate)
}

fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    sandbox
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn whoever_looks_is_answered_beside_a_command_that_works() {
    let (mut sandbox, gate) = gated();
    let _service = Service::start(&mut sandbox);
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let mut opened = reached(&gate);
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    sandbox.wyng(&["lock"]).success();
    assert_eq!(
        sandbox.wyng(&["lock", "nothing"]).expect(2).codes(),
        ["unknown-archive"]
    );
    // Also with a private daemon over the same state.
    let socket = sandbox.path("socket");
    sandbox.talk_to_nobody();
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    let refused = sandbox.wyng(&["verify", "home"]);
    assert_eq!(refused.expect(1).codes(), ["busy"]);
    let text = refused.json["errors"][0]["text"].as_str().unwrap();
    assert!(
        text.ends_with(&sandbox.state().display().to_string()),
        "{text}"
    );
    sandbox.talk_to(socket);
    opened.write_all(b"\n").unwrap();
    Outcome::of(backup.wait_with_output().unwrap()).success();
}

#[test]
fn whoever_looks_is_answered_beside_a_private_daemon_that_works() {
    let (sandbox, gate) = gated();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let mut opened = reached(&gate);
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    opened.write_all(b"\n").unwrap();
    Outcome::of(backup.wait_with_output().unwrap()).success();
    let listed = sandbox.wyng(&["list", "home"]);
    assert_eq!(
        listed.success().json["volumes"][0]["sessions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// Each file of the state with its bytes, and the times of change of files and folders.
fn seen(folder: &Path) -> BTreeMap<PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for file in files_below(folder) {
        let parent = file.parent().unwrap().to_owned();
        found.insert(
            parent.clone(),
            (
                parent.symlink_metadata().unwrap().modified().unwrap(),
                Vec::new(),
            ),
        );
        found.insert(
            file.clone(),
            (
                file.symlink_metadata().unwrap().modified().unwrap(),
                std::fs::read(&file).unwrap_or_default(),
            ),
        );
    }
    found
}

#[test]
fn a_look_changes_no_file_of_what_a_cut_run_left() {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", 4 << 20, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let listed = sandbox.wyng(&["list", "home"]).success().json.clone();
    sandbox.image("disk.img", 4 << 20, 2);
    sandbox.replace_helper("dd bs=65536 count=40 status=none | $HELPER $1");
    sandbox.wyng(&["backup", "home", "disk.img"]).expect(6);
    // Files that a rebuild would sweep, and a journal with a torn end.
    let archives = sandbox.state().join("archives");
    let archive = files_below(&archives)
        .into_iter()
        .find(|file| file.ends_with("journal"))
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    std::fs::write(archive.join("cache/run-77"), b"left").unwrap();
    std::fs::File::options()
        .append(true)
        .open(archive.join("journal"))
        .unwrap()
        .write_all(b"torn")
        .unwrap();
    std::fs::File::options()
        .append(true)
        .open(archive.join("cache/nodes"))
        .unwrap()
        .write_all(b"torn")
        .unwrap();
    let before = seen(&archives);
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    assert_eq!(
        sandbox.wyng(&["list", "home"]).json,
        listed,
        "the last committed state"
    );
    assert!(seen(&archives) == before, "a look has changed something");
    sandbox.restore_helper();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert!(seen(&archives) != before, "a change is seen");
    sandbox.assert_restores("disk.img", "latest", &noise(4 << 20, 2));
}

#[test]
fn a_look_finds_a_whole_state_while_others_are_committed() {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    let _service = Service::start(&mut sandbox);
    let over = AtomicBool::new(false);
    let (mut looks, mut counts) = (0, Vec::new());
    std::thread::scope(|scope| {
        let sandbox = &sandbox;
        scope.spawn(|| {
            for seed in 0..12 {
                let name = format!("disk-{seed}.img");
                sandbox.image(&name, IMAGE_BYTES, seed);
                sandbox.wyng(&["backup", "home", &name]).success();
            }
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            counts.push(
                sandbox.wyng(&["list", "home"]).success().json["volumes"]
                    .as_array()
                    .unwrap()
                    .len(),
            );
            sandbox.wyng(&["status"]).success();
            looks += 1;
        }
    });
    assert!(
        looks > 3 && counts.is_sorted(),
        "{looks} looks saw {counts:?} volumes"
    );
    assert_eq!(
        sandbox.wyng(&["list", "home"]).success().json["volumes"]
            .as_array()
            .unwrap()
            .len(),
        12
    );
}

/// A read-only bind mount of a folder over itself; unmounted when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(folder: &Path) -> Self {
        run(Command::new("mount").arg("--bind").arg(folder).arg(folder));
        run(Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(folder));
        Self(folder.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        until("nobody uses it any more", || {
            Command::new("umount")
                .arg(&self.0)
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        });
    }
}

#[test]
fn a_state_on_a_file_system_that_is_read_only_can_be_looked_at_and_restored_from() {
    let test = "a_state_on_a_file_system_that_is_read_only_can_be_looked_at_and_restored_from";
    if !require(Component::Root, test) {
        return;
    }
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    // A service gives the state to the keyholder's user, if there is one; later it cannot.
    Service::start(&mut sandbox).stop();
    sandbox.talk_to_nobody();
    let read_only = ReadOnly::mount(&sandbox.state());
    assert!(std::fs::write(sandbox.state().join("x"), "").is_err());
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    for works in [
        ["backup", "home", "disk.img"].as_slice(),
        &["verify", "home"],
        &["archive", "open", "home"],
    ] {
        let blobs = sandbox.blobs();
        assert_eq!(
            sandbox.wyng(works).expect(1).codes(),
            ["state-io"],
            "what it finds could not be kept"
        );
        assert_eq!(sandbox.blobs(), blobs, "nothing was sent");
    }
    let service = Service::start(&mut sandbox);
    for look in LOOKS {
        sandbox.wyng(look).success();
    }
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    service.stop();
    drop(read_only);
    sandbox.talk_to_nobody();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
}

#[test]
fn a_state_folder_without_the_right_to_write_can_be_looked_at_and_restored_from() {
    let test = "a_state_folder_without_the_right_to_write_can_be_looked_at_and_restored_from";
    if !require(Component::Root, test) {
        return;
    }
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.open_to_everybody();
    run(Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(sandbox.path("")));
    run(Command::new("chmod")
        .args(["-R", "a-w"])
        .arg(sandbox.state()));
    let as_user = |arguments: &[&str]| {
        let command = sandbox.command(arguments);
        let mut other = Command::new("setpriv");
        other
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(command.get_program())
            .args(command.get_args());
        Outcome::of(
            other
                .current_dir(sandbox.path(""))
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    };
    for look in LOOKS {
        as_user(look).success();
    }
    as_user(&["restore", "home", "disk.img", "--to", "restored.img"]).success();
    assert!(std::fs::read(sandbox.path("restored.img")).unwrap() == noise(IMAGE_BYTES, 1));
    assert_eq!(
        as_user(&["backup", "home", "disk.img"]).expect(1).codes(),
        ["state-io"]
    );
    // The path of a folder that cannot be made is reported.
    let unusable = sandbox.path("disk.img").join("state");
    let unusable = unusable.to_str().unwrap();
    let refused = as_user(&["backup", "home", "disk.img", "--state-dir", unusable]);
    assert_eq!(refused.expect(1).codes(), ["state-io"]);
    assert!(
        refused.json["errors"][0]["text"]
            .as_str()
            .unwrap()
            .contains(unusable),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_look_makes_no_state_folder_and_names_the_one_that_is_not_there() {
    let sandbox = Sandbox::new();
    for look in LOOKS {
        let outcome = sandbox.wyng(look);
        assert_eq!(outcome.expect(2).codes(), ["no-state"]);
        assert!(
            outcome.json["errors"][0]["text"]
                .as_str()
                .unwrap()
                .contains(sandbox.state().to_str().unwrap())
        );
    }
    assert!(!sandbox.state().exists());
}
