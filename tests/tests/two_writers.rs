// SPDX-License-Identifier: GPL-3.0-or-later
//! Archives that the programs did not write are adopted, verified, restored and continued by them.

use std::process::Command;

use wyng_tests::programs::program;
use wyng_tests::sandbox::{Outcome, Sandbox, noise};

#[test]
fn the_programs_adopt_and_continue_archives_of_another_writer() {
    for seed in 1..=8_u64 {
        let sandbox = Sandbox::new();
        let mut sessions = Vec::new();
        for call in 0..2 {
            let content = noise(
                100_000 + 70_001 * usize::try_from(seed * 3 + call).unwrap(),
                seed + call,
            );
            std::fs::write(sandbox.path("image"), &content).unwrap();
            let mut command = Command::new(program("make-archive"));
            command
                .arg(sandbox.store())
                .arg("--passphrase-file")
                .arg(sandbox.path("passphrase"));
            command
                .arg("--seed")
                .arg(seed.to_string())
                .arg(format!("disk={}", sandbox.path("image").display()));
            let made = Outcome::of(command.output().unwrap());
            let line = String::from_utf8(made.success().stdout.clone()).unwrap();
            sessions.push((line.trim().rsplit(' ').next().unwrap().to_owned(), content));
        }
        sandbox
            .adopt(sandbox.path("passphrase").to_str().unwrap())
            .success();
        sandbox.wyng(&["verify", "home", "--deep"]).success();
        sandbox.wyng(&["archive", "take-over", "home"]).success();
        let continued = sandbox.wyng(&["backup", "home", "disk=image"]);
        let sent = continued.success().json["sent_bytes"].as_u64().unwrap();
        assert!(sent <= 200_000, "{sent} bytes sent of what the archive has");
        sessions.push((continued.session(0), sessions[1].1.clone()));
        for (session, content) in &sessions {
            sandbox.assert_restores("disk", session, content);
        }
    }
}
