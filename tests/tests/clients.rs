// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients that err, lie, fall silent or vanish: each mistake is the failure of that client's own command, and everybody else is served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command as Program;

use rustix::fs::{Mode, OFlags};
use wyng_control::{BackupSource, Command, ExitStatus, FoundSource, SessionChoice, ToDaemon};
use wyng_tests::disk::run;
use wyng_tests::raw_client::RawClient;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::Sandbox;
use wyng_tests::service::Service;

const IMAGE_BYTES: usize = 300_000;

/// A service with an archive of one session.
fn serving() -> (Sandbox, Service, PathBuf) {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    sandbox.wyng(&["backup", "home", "disk.img"]).success();
    let service = Service::start(&mut sandbox);
    let socket = sandbox.path("socket");
    (sandbox, service, socket)
}

fn source(volume: &str) -> BackupSource {
    BackupSource { volume: volume.into(), named: true, configured: false }
}

fn backup(sources: Vec<BackupSource>) -> Command {
    Command::Backup { archive: "home".into(), sources, skip_unchanged: false, dry_run: false, live: false, heal: false }
}

fn restore() -> Command {
    Command::Restore { archive: "home".into(), volumes: vec!["disk.img".into()], session: SessionChoice::Latest, in_place: false }
}

/// A descriptor that only names something: whatever is asked of what it names fails.
fn only_named(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// The read end of a pipe with the passphrase in it, as `wyng-ctl` passes it.
fn passphrase(text: &str) -> OwnedFd {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::io::write(&write, text.as_bytes()).unwrap();
    read
}

#[test]
fn what_is_out_of_bounds_is_refused_at_the_door() {
    let (sandbox, mut service, socket) = serving();
    let processes = service.processes();
    let long = "x".repeat(65_000);
    for (arguments, code) in [
        (["archive", "open", "x", "--store", ""].as_slice(), "bad-setting"),
        (&["archive", "open", "x", "--store", &long[..5000]], "bad-setting"),
        (&["archive", "create", "x", "--store", ""], "bad-setting"),
        (&["archive", "create", &long, "--store", "dir:/nowhere"], "bad-name"),
        (&["archive", "create", "x", "--store", "dir:/nowhere", "--via", &long], "bad-setting"),
        (&["archive", "create", "x", "--store", "dir:/nowhere", "--hold-off", "3,99999999d"], "bad-setting"),
        (&["archive", "open", "x", "--store", "dir:/nowhere", "--expect", &long], "bad-setting"),
        (&["archive", "show", &long], "unknown-archive"),
        (&["list", "home", &long], "bad-name"),
        (&["list", "home", "--session", &long], "bad-setting"),
        (&["verify", "home", &long], "bad-name"),
        (&["status", &long], "unknown-archive"),
        (&["qubes", "check", &long], "bad-setting"),
        (&["backup", "home", &format!("{}=disk.img", &long[..300])], "bad-name"),
    ] {
        assert_eq!(sandbox.wyng(arguments).expect(2).codes(), [code], "{:?}", &arguments[..2]);
    }
    // The longest name that a packet has room for: forwarded, the command would be longer than a packet.
    let name_bytes = wyng_control::MESSAGE_MAX_BYTES - 32;
    let told = RawClient::start(&socket, Command::ArchiveShow { archive: "y".repeat(name_bytes) }).hear_all();
    assert_eq!((told.codes().as_slice(), told.exit), (["unknown-archive"].as_slice(), Some(ExitStatus::Usage)));
    let told = RawClient::start(&socket, backup((0..257).map(|place| source(&place.to_string())).collect())).hear_all();
    assert_eq!(told.codes(), ["bad-setting"]);
    assert_eq!(service.processes(), processes, "no role was replaced, and none ended");
    sandbox.wyng(&["list", "home"]).success();
    assert!(service.is_running());
}

#[test]
fn a_descriptor_that_the_system_refuses_fails_the_command_and_not_the_daemon() {
    let test = "a_descriptor_that_the_system_refuses_fails_the_command_and_not_the_daemon";
    if !require(Component::Root, test) {
        return;
    }
    let (sandbox, mut service, socket) = serving();
    let device = sandbox.path("device");
    run(Program::new("mknod").arg(&device).args(["b", "7", "77"]));
    let device = only_named(&device);

    for (clones, given) in [(false, 1), (true, 3)] {
        let client = RawClient::start(&socket, backup(vec![source("a")]));
        let item = client.hear_question();
        let found = FoundSource::default();
        assert!(client.give(&ToDaemon::HereSource { item, found, clones, base: None }, &vec![device.as_fd(); given]));
        assert_eq!(client.hear_all().codes(), ["source-unavailable"]);
    }

    let target = File::options().read(true).write(true).create_new(true).open(sandbox.path("target")).unwrap();
    for message in [
        |item| ToDaemon::HereToReplace { item, base: None },
        |item| ToDaemon::HereInPlace { item, clones: true, base: None, remembered: None },
    ] {
        let client = RawClient::start(&socket, restore());
        let mut item = client.hear_question();
        let pipe = passphrase(wyng_tests::sandbox::PASSPHRASE);
        assert!(client.give(&ToDaemon::Here { item }, &[pipe.as_fd()]));
        drop(pipe);
        item = client.hear_question();
        let first = if matches!(message(item), ToDaemon::HereInPlace { .. }) { device.as_fd() } else { target.as_fd() };
        assert!(client.give(&message(item), &[first, device.as_fd()]));
        assert_eq!(client.hear_all().codes(), ["target-unavailable"]);
    }
    sandbox.wyng(&["list", "home"]).success();
    assert!(service.is_running());
}
