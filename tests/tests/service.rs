// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon as a service: several clients, one command at a time, and no client can hold it up or
//! end it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use wyng_tests::disk::run;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};
use wyng_tests::service::{Service, connect, reached, run_kill, until};
use wyngd::roles::ROLES;

const IMAGE_BYTES: usize = 300_000;

/// A service with an archive, whose pushes wait at a gate.
fn gated() -> (Sandbox, Service, PathBuf) {
    let mut sandbox = Sandbox::with_archive(&["--chunk-size", "64K", "--pack-size", "256K"]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let gate = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!(
        "[ $1 = fetch ] || read -r _ <{}; exec $HELPER $1",
        gate.display()
    ));
    let service = Service::start(&mut sandbox);
    (sandbox, service, gate)
}

fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    sandbox
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> Outcome {
    Outcome::of(child.wait_with_output().unwrap())
}

#[test]
fn every_command_works_with_the_service_and_leaves_it_as_it_was() {
    let mut sandbox = Sandbox::new();
    let mut service = Service::start(&mut sandbox);
    let processes = service.processes();
    let is_root = Component::Root.is_there();
    let roles = ROLES.iter().filter(|role| role.is_needed(is_root));
    assert_eq!(processes.len(), 1 + roles.count());
    sandbox.create("home", &[]).success();
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    let second = sandbox.text("second", "another one\n");
    let commands: [&[&str]; 9] = [
        &["list", "home"],
        &["verify", "home", "--deep"],
        &["status"],
        &["archive", "list"],
        &["archive", "show", "home"],
        &["key", "add", "home", "--new-passphrase-file", &second],
        &["key", "list", "home"],
        &["key", "check", "home", "--passphrase-file", &second],
        &["recovery-sheet", "home"],
    ];
    for command in commands {
        sandbox.wyng(command).success();
    }
    assert_eq!(
        sandbox.wyng(&["list", "nothing"]).expect(2).codes(),
        ["unknown-archive"]
    );
    sandbox.wyng(&["archive", "forget", "home"]).success();
    until("no far end is left", || service.processes() == processes);
    assert!(service.is_running());
}

#[test]
fn commands_wait_for_their_turn_and_one_that_waits_can_be_interrupted() {
    let (sandbox, _service, gate) = gated();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let mut opened = reached(&gate);
    let queued = |before: u32| {
        let mut child = spawn(&sandbox, &["verify", "home", "--progress", "json"]);
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(
            line,
            format!("{{\"before\":{before},\"phase\":\"queued\"}}\n")
        );
        child
    };
    let first = queued(1);
    let second = queued(2);
    run_kill("-INT", second.id());
    assert_eq!(ended(second).status, 130);
    opened.write_all(b"\n").unwrap();
    let session = ended(backup).success().session(0);
    let verified = ended(first).success().json["objects_checked"]
        .as_u64()
        .unwrap();
    assert_eq!(
        verified,
        sandbox.blobs().len() as u64,
        "it ran after the backup"
    );
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
}

#[test]
fn whoever_watches_hears_of_every_command_until_none_is_left() {
    let (sandbox, _service, gate) = gated();
    sandbox.wyng(&["watch"]).success();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let mut opened = reached(&gate);
    let mut watch = spawn(&sandbox, &["watch", "--progress", "json"]);
    let mut lines = BufReader::new(watch.stderr.take().unwrap()).lines();
    let running =
        "{\"archive\":\"home\",\"command\":\"backup\",\"phase\":\"running\",\"queued\":0}";
    assert_eq!(lines.next().unwrap().unwrap(), running);
    let mut interrupted = spawn(&sandbox, &["watch", "--progress", "json"]);
    BufReader::new(interrupted.stderr.take().unwrap())
        .read_line(&mut String::new())
        .unwrap();
    run_kill("-INT", interrupted.id());
    assert_eq!(ended(interrupted).status, 130);
    opened.write_all(b"\n").unwrap();
    ended(backup).success();
    assert!(
        lines.any(|line| line.unwrap().contains("\"phase\":\"committing\"")),
        "the progress of another one's command"
    );
    let result = "\"exit\":0,\"failures\":0,\"phase\":\"ended\"";
    assert!(
        lines.any(|line| line.unwrap().contains(result)),
        "and how it ended"
    );
    ended(watch).success();
}

#[test]
fn a_client_that_is_gone_leaves_its_place_to_the_next() {
    let (sandbox, mut service, gate) = gated();
    let processes = service.processes();
    let mut backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let _opened = reached(&gate);
    backup.kill().unwrap();
    backup.wait().unwrap();
    sandbox.wyng(&["list", "home"]).success();
    until("the far end that nobody waits for is gone", || {
        service.processes() == processes
    });
    assert!(service.is_running());
    let again = spawn(&sandbox, &["backup", "home", "disk.img"]);
    reached(&gate).write_all(b"\n").unwrap();
    let session = ended(again).success().session(0);
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
}

#[test]
fn an_interrupted_backup_ends_though_its_far_end_is_silent() {
    let (sandbox, _service, gate) = gated();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let _opened = reached(&gate);
    run_kill("-INT", backup.id());
    assert_eq!(ended(backup).status, 130);
}

#[test]
fn a_client_that_breaks_the_rules_loses_its_own_conversation_only() {
    let (sandbox, mut service, _gate) = gated();
    for packet in [&[0xff; 64][..], &[], &[0; 1], b"\x02\x00\x00\x00"] {
        let connection = connect(&sandbox.path("socket")).unwrap();
        let _ = rustix::net::send(&connection, packet, rustix::net::SendFlags::NOSIGNAL);
        let mut buffer = [0; 64];
        until("it is hung up on", || {
            matches!(
                rustix::net::recv(&connection, &mut buffer, rustix::net::RecvFlags::empty()),
                Ok((_, 0)) | Err(_)
            )
        });
    }
    sandbox.wyng(&["list", "home"]).success();
    assert!(service.is_running());
}

#[test]
fn a_service_that_is_stopped_within_a_backup_leaves_nothing_and_goes_on_after_its_restart() {
    let (mut sandbox, service, gate) = gated();
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    let _opened = reached(&gate);
    service.stop();
    assert_eq!(ended(backup).status, 1);
    sandbox.restore_helper();
    let _service = Service::start(&mut sandbox);
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
}

#[test]
fn a_state_directory_has_one_daemon() {
    let (sandbox, _service, _gate) = gated();
    let second = Command::new(sandbox.program("wyngd"))
        .arg("--socket")
        .arg(sandbox.path("other"))
        .arg("--state-dir")
        .arg(sandbox.state())
        .output();
    assert!(!second.unwrap().status.success());
    sandbox.wyng(&["list", "home"]).success();
}

#[test]
fn the_journal_has_what_became_of_a_command_and_nothing_of_its_content() {
    let mut sandbox = Sandbox::new();
    let journal = UnixDatagram::bind(sandbox.path("journal")).unwrap();
    journal
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let path = sandbox.path("journal");
    let _service = Service::start_with(&mut sandbox, &["--journal", path.to_str().unwrap()]);
    sandbox.create("home", &[]).success();
    // A name that would be a separate field of the journal, if names were not escaped.
    let image = sandbox.image("disk.img", 300_000, 1);
    sandbox
        .wyng(&[
            "backup",
            "home",
            &format!("PRIORITY={}", image.display()),
            "absent",
        ])
        .expect(3);
    let mut entries = Vec::new();
    while entries
        .iter()
        .filter(|entry: &&BTreeMap<String, String>| entry.contains_key("WYNG_EXIT"))
        .count()
        < 2
    {
        let mut datagram = vec![0; 65536];
        let length = journal.recv(&mut datagram).unwrap();
        entries.push(fields(&datagram[..length]));
    }
    let told: Vec<&str> = entries
        .iter()
        .map(|entry| entry["MESSAGE"].as_str())
        .collect();
    let of_backup = [
        "begins",
        "source-unavailable",
        "a volume is backed up",
        "ends with status 3",
    ];
    let of_create = [
        "archive create home: begins",
        "archive create home: ends with status 0",
    ];
    assert_eq!(
        told,
        [
            of_create.map(String::from).to_vec(),
            of_backup
                .map(|what| format!("backup home: {what}"))
                .to_vec()
        ]
        .concat()
    );
    let volume = &entries[4];
    assert_eq!(
        (
            volume["WYNG_VOLUME"].as_str(),
            volume["PRIORITY"].as_str(),
            volume["WYNG_ARCHIVE"].as_str()
        ),
        ("PRIORITY", "6", "home")
    );
    assert!(
        volume["WYNG_SENT_BYTES"].parse::<u64>().unwrap() > 300_000
            && entries[2].contains_key("WYNG_CLIENT_UID"),
        "{volume:?}"
    );
    let said = format!("{entries:?}");
    assert!(
        !said.contains(PASSPHRASE) && !said.contains(image.to_str().unwrap()),
        "{said}"
    );
}

/// A datagram of the journal's protocol.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while !entry.is_empty() {
        let name = entry.iter().position(|byte| *byte == b'\n').unwrap();
        let length = u64::from_le_bytes(entry[name + 1..name + 9].try_into().unwrap());
        let end = name + 9 + usize::try_from(length).unwrap();
        assert_eq!(entry[end], b'\n');
        found.insert(
            String::from_utf8(entry[..name].to_vec()).unwrap(),
            String::from_utf8(entry[name + 9..end].to_vec()).unwrap(),
        );
        entry = &entry[end + 1..];
    }
    found
}

#[test]
fn a_credential_that_the_service_manager_unsealed_needs_no_copy_on_the_disk() {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let id = sandbox.wyng(&["archive", "show", "home"]).success().json["archives"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let unsealed = sandbox.path("credentials");
    std::fs::create_dir(&unsealed).unwrap();
    let archive = sandbox.state().join("archives").join(&id);
    std::fs::rename(
        archive.join("credential"),
        unsealed.join(format!("wyng_{id}")),
    )
    .unwrap();
    std::fs::remove_file(archive.join("credential.copy")).unwrap();
    assert_eq!(
        sandbox
            .wyng(&["backup", "home", "disk.img"])
            .expect(1)
            .codes(),
        ["state-damaged"]
    );
    let mut command = Service::command(&sandbox, &[]);
    let _service = Service::started(
        &mut sandbox,
        command.env("CREDENTIALS_DIRECTORY", &unsealed),
    );
    let session = sandbox
        .wyng(&["backup", "home", "disk.img"])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
    // Opening writes none either, for a known archive or a forgotten one.
    sandbox.wyng(&["archive", "open", "home"]).success();
    let store = format!("dir:{}", sandbox.store().display());
    sandbox.wyng(&["archive", "forget", "home"]).success();
    sandbox
        .wyng(&["archive", "open", "home", "--store", &store])
        .success();
    for copy in ["credential", "credential.copy"] {
        assert!(!archive.join(copy).exists(), "{copy}");
    }
    sandbox.assert_restores("disk.img", &session, &noise(IMAGE_BYTES, 1));
}

#[test]
fn only_the_keyholder_hears_where_unsealed_credentials_are() {
    // Roles make themselves undumpable, so that their own user cannot read their environment.
    if !require(
        Component::Root,
        "only_the_keyholder_hears_where_unsealed_credentials_are",
    ) {
        return;
    }
    let mut sandbox = Sandbox::new();
    let mut command = Service::command(&sandbox, &[]);
    let service = Service::started(
        &mut sandbox,
        command.env("CREDENTIALS_DIRECTORY", "/nowhere"),
    );
    let environment = |role| {
        String::from_utf8(std::fs::read(format!("/proc/{}/environ", service.role(role))).unwrap())
            .unwrap()
    };
    assert!(environment("keyholder").contains("CREDENTIALS_DIRECTORY="));
    assert!(
        !environment("spawner").contains("CREDENTIALS_DIRECTORY="),
        "a far end would inherit it"
    );
}

#[test]
fn a_second_interrupt_ends_the_command_with_130() {
    // This helper reads neither the first frame nor its request.
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let pid = sandbox.path("pid");
    sandbox.replace_helper(&format!("echo $$ > {}; sleep 1000", pid.display()));
    let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
    until("the helper runs", || {
        std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
    });
    run_kill("-INT", backup.id());
    run_kill("-INT", backup.id());
    assert_eq!(ended(backup).expect(130).codes(), ["interrupted"]);
}

#[test]
fn a_stop_that_reaches_every_process_at_once_ends_the_command_with_130() {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    for (turn, daemon_first) in [false, true, false, true].into_iter().enumerate() {
        // A gate for each turn: the helper of the previous turn may still be reading from its gate.
        let gate = sandbox.path(&format!("gate{turn}"));
        run(Command::new("mkfifo").arg(&gate));
        sandbox.replace_helper(&format!("read -r _ <{}; exec $HELPER $1", gate.display()));
        let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
        let _opened = reached(&gate);
        // Like systemd at the stop of a unit: every process, one after the other. The far end,
        // which comes last, is not a process of the daemon.
        let mut processes = vec![backup.id()];
        let mut place = 0;
        while let Some(process) = processes.get(place) {
            let children =
                std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
                    .unwrap_or_default();
            processes.extend(
                children
                    .split_whitespace()
                    .map(|child| child.parse::<u32>().unwrap()),
            );
            place += 1;
        }
        assert!(processes.len() >= 9, "{processes:?}");
        processes.truncate(8);
        if daemon_first {
            processes.rotate_left(1);
        }
        for process in &processes {
            let _ = Command::new("kill")
                .arg("-TERM")
                .arg(process.to_string())
                .stderr(Stdio::null())
                .status();
        }
        let outcome = ended(backup);
        assert_eq!(outcome.expect(130).codes(), ["interrupted"]);
        assert!(!outcome.stderr.contains("ERROR"), "{}", outcome.stderr);
    }
}

#[test]
fn a_service_that_is_stopped_says_nothing_of_an_error() {
    let mut sandbox = Sandbox::with_archive(&[]);
    sandbox.image("disk.img", IMAGE_BYTES, 1);
    let gate = sandbox.path("gate");
    run(Command::new("mkfifo").arg(&gate));
    sandbox.replace_helper(&format!("read -r _ <{}; exec $HELPER $1", gate.display()));
    for busy in [false, true] {
        let log = sandbox.path("log");
        let mut command = Service::command(&sandbox, &[]);
        let service = Service::started(
            &mut sandbox,
            command.stderr(std::fs::File::create(&log).unwrap()),
        );
        let backup = busy.then(|| {
            let backup = spawn(&sandbox, &["backup", "home", "disk.img"]);
            (reached(&gate), backup)
        });
        service.stop();
        if let Some((_, backup)) = backup {
            ended(backup).expect(1);
        }
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
    }
}
