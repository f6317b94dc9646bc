// SPDX-License-Identifier: GPL-3.0-or-later
//! A limit on the size of files, as shells and service managers set it: only the command that
//! reaches it fails.

use std::process::Command;

use wyng_tests::sandbox::{Outcome, Sandbox, noise, write_at};
use wyng_tests::service::Service;

const MIB: usize = 1 << 20;

/// The same command under a limit.
fn limited(command: &Command, kib: u32) -> Command {
    let mut limited = Command::new("bash");
    limited
        .args(["-c", &format!("ulimit -f {kib} && exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap());
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

/// An archive with a session of a volume, which has changed since.
fn changed() -> Sandbox {
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 4 * MIB, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    write_at(&image, 0, &noise(2 * MIB, 2));
    sandbox
}

#[test]
fn a_command_that_meets_the_limit_fails_and_the_daemon_serves_the_next_one() {
    let mut sandbox = changed();
    let mut command = limited(&Service::command(&sandbox, &[]), 512);
    let mut service = Service::started(&mut sandbox, &mut command);
    // A pack on its way to the store, a pack on its way back, and a target.
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(1)
            .codes(),
        ["memory-file"]
    );
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).expect(1).codes(),
        ["memory-file"]
    );
    let restored = sandbox.wyng(&["restore", "home", "disk.img", "--to", "out"]);
    assert!(
        ["memory-file", "target-write"].contains(&restored.expect(1).codes()[0].as_str()),
        "{}",
        restored.json
    );
    assert!(!sandbox.path("out").exists());
    sandbox.wyng(&["list", "home"]).success();
    assert!(service.is_running());
    service.stop();
    sandbox.talk_to_nobody();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    sandbox.wyng(&["verify", "home"]).success();
}

#[test]
fn a_private_daemon_says_what_the_limit_kept_it_from() {
    let sandbox = changed();
    let run = |arguments: &[&str], kib| {
        Outcome::of(limited(&sandbox.command(arguments), kib).output().unwrap())
    };
    assert_eq!(
        run(&["verify", "home"], 512).expect(1).codes(),
        ["memory-file"]
    );
    assert_eq!(
        run(&["key", "check", "home"], 2).expect(1).codes(),
        ["state-io"]
    );
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
}

#[test]
fn a_helper_that_meets_the_limit_refuses_that_blob() {
    let mut sandbox = changed();
    sandbox.replace_helper("ulimit -f 512; exec $HELPER $1");
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(6)
            .codes(),
        ["store-denied"]
    );
    sandbox.restore_helper();
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    assert_eq!(
        sandbox.wyng(&["verify", "home"]).success().json["foreign_objects"],
        0,
        "nothing of it is left"
    );
}
