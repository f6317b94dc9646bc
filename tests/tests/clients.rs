// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients that err, lie, fall silent or vanish: each mistake fails that client's own command, and
//! all others are served.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use rustix::fs::{Mode, OFlags};
use wyng_control::{
    Asked, BackupSource, CONTROL_VERSION, Command, ExitStatus, FoundSource, Given, NoSource,
    SessionChoice, TargetFault, TargetForm, TargetFound, TargetLook, ToClient, ToDaemon, Wanted,
};
use wyng_tests::disk::run;
use wyng_tests::pty::Pty;
use wyng_tests::raw_client::RawClient;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Outcome, PASSPHRASE, Sandbox, noise};
use wyng_tests::service::{Service, until};

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
    BackupSource {
        volume: volume.into(),
        named: true,
        configured: false,
    }
}

fn backup(sources: Vec<BackupSource>) -> Command {
    Command::Backup {
        archive: "home".into(),
        sources,
        qubes: wyng_control::QubeChoice::default(),
        skip_unchanged: false,
        dry_run: false,
        live: false,
        heal: false,
        unattended: None,
        verify: false,
        max_new_bytes: None,
        prune_after: None,
    }
}

fn restore_of(volume: &str) -> Command {
    Command::Restore {
        archive: "home".into(),
        volumes: vec![volume.into()],
        session: SessionChoice::Latest,
        in_place: false,
        quick: false,
        dry_run: false,
        around_damage: false,
    }
}

fn restore() -> Command {
    restore_of("disk.img")
}

/// The answer that the target can be made.
fn looked(item: u32) -> ToDaemon {
    let found = TargetFound {
        holds_bytes: false,
        free_bytes: None,
        keeps_holes: true,
        remembered: None,
    };
    ToDaemon::Given {
        item,
        given: Given::Look(TargetLook {
            path: "/target".into(),
            found: Ok(found),
        }),
    }
}

fn here_target(item: u32, form: TargetForm) -> ToDaemon {
    let given = Given::Target {
        form,
        base: None,
        remembered: None,
    };
    ToDaemon::Given { item, given }
}

fn here_source(item: u32) -> ToDaemon {
    let given = Given::Source {
        found: FoundSource::default(),
        clones: false,
        base: None,
    };
    ToDaemon::Given { item, given }
}

/// The answer that a pipe travels along.
fn with_pipe(item: u32) -> ToDaemon {
    ToDaemon::Given {
        item,
        given: Given::Pipe,
    }
}

/// The answer that nothing was typed.
fn without_pipe(item: u32) -> ToDaemon {
    ToDaemon::Given {
        item,
        given: Given::NoPipe,
    }
}

fn named(item: u32) -> ToDaemon {
    ToDaemon::Given {
        item,
        given: Given::Done { errno: 0 },
    }
}

/// A descriptor opened with O_PATH: every operation on its file fails.
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
        (
            ["archive", "open", "x", "--store", ""].as_slice(),
            "bad-setting",
        ),
        (
            &["archive", "open", "x", "--store", &long[..5000]],
            "bad-setting",
        ),
        (&["archive", "create", "x", "--store", ""], "bad-setting"),
        (
            &["archive", "create", &long, "--store", "dir:/nowhere"],
            "bad-name",
        ),
        (
            &[
                "archive",
                "create",
                "x",
                "--store",
                "dir:/nowhere",
                "--via",
                &long,
            ],
            "bad-setting",
        ),
        (
            &[
                "archive",
                "create",
                "x",
                "--store",
                "dir:/nowhere",
                "--hold-off",
                "3,99999999d",
            ],
            "bad-setting",
        ),
        (
            &[
                "archive",
                "open",
                "x",
                "--store",
                "dir:/nowhere",
                "--expect",
                &long,
            ],
            "bad-setting",
        ),
        (&["archive", "show", &long], "unknown-archive"),
        (&["list", "home", &long], "bad-name"),
        (&["list", "home", "--session", &long], "bad-setting"),
        (&["verify", "home", &long], "bad-name"),
        (&["status", &long], "unknown-archive"),
        (&["qubes", "check", &long], "bad-setting"),
        (
            &["backup", "home", &format!("{}=disk.img", &long[..300])],
            "bad-name",
        ),
    ] {
        assert_eq!(
            sandbox.wyng(arguments).expect(2).codes(),
            [code],
            "{:?}",
            &arguments[..2]
        );
    }
    // The longest name that fits a packet: the forwarded command would be longer than a packet.
    let name_bytes = wyng_control::MESSAGE_MAX_BYTES - 32;
    let told = RawClient::start(
        &socket,
        Command::ArchiveShow {
            archive: "y".repeat(name_bytes),
        },
    )
    .hear_all();
    assert_eq!(
        (told.codes().as_slice(), told.exit),
        (["unknown-archive"].as_slice(), Some(ExitStatus::Usage))
    );
    let told = RawClient::start(
        &socket,
        backup((0..257).map(|place| source(&place.to_string())).collect()),
    )
    .hear_all();
    assert_eq!(told.codes(), ["bad-setting"]);
    assert_eq!(
        service.processes(),
        processes,
        "no role was replaced, and none ended"
    );
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
        let source = ToDaemon::Given {
            item,
            given: Given::Source {
                found: FoundSource::default(),
                clones,
                base: None,
            },
        };
        assert!(client.give(&source, &vec![device.as_fd(); given]));
        assert_eq!(client.hear_all().codes(), ["source-unavailable"]);
    }

    let target = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(sandbox.path("target"))
        .unwrap();
    for (form, first) in [
        (TargetForm::Replacing, target.as_fd()),
        (
            TargetForm::InPlace {
                clones: true,
                discards_bytes: 0,
            },
            device.as_fd(),
        ),
    ] {
        let (client, item) = asked_for_target(&socket);
        assert!(client.give(&here_target(item, form), &[first, device.as_fd()]));
        assert_eq!(client.hear_all().codes(), ["target-unavailable"]);
    }
    sandbox.wyng(&["list", "home"]).success();
    assert!(service.is_running());
}

/// Checks that another client's command is done at once, whatever runs or waits.
fn others_are_served(sandbox: &Sandbox) {
    sandbox.wyng(&["verify", "home"]).success();
    looks_are_served(sandbox);
}

/// A command that is answered at once and takes no turn.
fn looks_are_served(sandbox: &Sandbox) {
    for look in [
        &["list", "home"][..],
        &["status", "home"],
        &["lock"],
        &["lock", "home"],
    ] {
        sandbox.wyng(look).success();
    }
}

/// A prompt that is open and unanswered.
fn prompting(socket: &Path) -> (RawClient, u32) {
    prompting_for(socket, restore())
}

fn prompting_for(socket: &Path, restore: Command) -> (RawClient, u32) {
    let client = RawClient::start(socket, restore);
    assert!(client.say(&looked(client.hear_question())));
    let item = client.hear_question();
    (client, item)
}

/// A restore that has its passphrase and asks for its target.
fn asked_for_target(socket: &Path) -> (RawClient, u32) {
    asked_for_target_of(socket, restore())
}

fn asked_for_target_of(socket: &Path, restore: Command) -> (RawClient, u32) {
    let (client, item) = prompting_for(socket, restore);
    assert!(client.give(&with_pipe(item), &[passphrase(PASSPHRASE).as_fd()]));
    let item = client.hear_question();
    (client, item)
}

#[test]
fn an_open_prompt_holds_nobody_up_and_its_command_goes_on_with_what_is_typed() {
    let (sandbox, _service, socket) = serving();
    let (client, item) = prompting(&socket);
    // While no other command waits for a turn, the command keeps its own, and its question stays
    // open.
    looks_are_served(&sandbox);
    others_are_served(&sandbox);
    client.hear_until(|event| *event == ToClient::Anew);
    others_are_served(&sandbox);
    let pipe = passphrase(PASSPHRASE);
    assert!(client.give(&with_pipe(item), &[pipe.as_fd()]));
    drop(pipe);
    finish_anew(&sandbox, &client);
}

#[test]
fn an_open_question_about_the_target_holds_nobody_up_either() {
    let (sandbox, _service, socket) = serving();
    let client = RawClient::start(&socket, restore());
    let item = client.hear_question();
    others_are_served(&sandbox);
    client.hear_until(|event| *event == ToClient::Anew);
    others_are_served(&sandbox);
    assert!(client.say(&looked(item)));
    let next = client.hear_until(|event| matches!(event, ToClient::Want { .. }));
    let ToClient::Want {
        item,
        wanted: Wanted::TargetLook { .. },
    } = next
    else {
        panic!("{next:?}")
    };
    assert!(client.say(&looked(item)));
    let item = client.hear_question();
    assert!(client.give(&with_pipe(item), &[passphrase(PASSPHRASE).as_fd()]));
    finish(&sandbox, &client, client.hear_question());
}

/// The passphrase was given to a restore that begins again: only the target is checked again.
fn finish_anew(sandbox: &Sandbox, client: &RawClient) {
    let next = || client.hear_until(|event| matches!(event, ToClient::Want { .. }));
    let ToClient::Want {
        item,
        wanted: Wanted::TargetLook { .. },
    } = next()
    else {
        panic!("the target is looked at first")
    };
    assert!(client.say(&looked(item)));
    let ToClient::Want {
        item,
        wanted: Wanted::Target { .. },
    } = next()
    else {
        panic!("the passphrase was typed")
    };
    finish(sandbox, client, item);
}

/// Gives a restore the target that it requests, and checks the written bytes.
fn finish(sandbox: &Sandbox, client: &RawClient, item: u32) {
    let target = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(sandbox.path("target"))
        .unwrap();
    assert!(client.give(&here_target(item, TargetForm::New), &[target.as_fd()]));
    let ToClient::Place { item } =
        client.hear_until(|event| matches!(event, ToClient::Place { .. }))
    else {
        unreachable!()
    };
    assert!(client.say(&named(item)));
    assert_eq!(client.hear_all().exit, Some(ExitStatus::Done));
    assert!(std::fs::read(sandbox.path("target")).unwrap() == noise(IMAGE_BYTES, 1));
}

#[test]
fn what_was_typed_before_a_second_prompt_is_not_asked_for_again() {
    let (sandbox, _service, socket) = serving();
    let change = Command::KeyChange {
        archive: "home".into(),
        label: None,
        kdf_memory_kib: None,
        kdf_passes: None,
    };
    let client = RawClient::start(&socket, change);
    let type_in = |item: u32, text: &str| {
        let pipe = passphrase(text);
        assert!(client.give(&with_pipe(item), &[pipe.as_fd()]));
    };
    let next = || match client.hear_until(|event| matches!(event, ToClient::Want { .. })) {
        ToClient::Want {
            item,
            wanted: Wanted::Passphrase { asked },
        } => (item, asked),
        other => panic!("{other:?}"),
    };
    let (item, asked) = next();
    assert_eq!(asked, Asked::Known);
    type_in(item, PASSPHRASE);
    let (item, asked) = next();
    assert_eq!(asked, Asked::New);
    others_are_served(&sandbox);
    client.hear_until(|event| *event == ToClient::Anew);
    type_in(item, "another one");
    assert_eq!(
        client.hear_all().exit,
        Some(ExitStatus::Done),
        "the old one was typed already"
    );
    let another = sandbox.text("another", "another one\n");
    sandbox
        .wyng(&["key", "check", "home", "--passphrase-file", &another])
        .success();
    sandbox.wyng(&["key", "check", "home"]).expect(4);
}

/// The number of the question that follows a wrong passphrase.
fn asked_again(client: &RawClient) -> u32 {
    match client.hear_until(|event| matches!(event, ToClient::Want { .. })) {
        ToClient::Want {
            item,
            wanted: Wanted::Passphrase {
                asked: Asked::Again,
            },
        } => item,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_passphrase_is_asked_for_again_and_answers_no_later_question() {
    let (sandbox, _service, socket) = serving();
    for (second, code, exit) in [
        (Some(PASSPHRASE), None, ExitStatus::Done),
        (None, Some("wrong-passphrase"), ExitStatus::Locked),
    ] {
        let client = RawClient::start(
            &socket,
            Command::KeyCheck {
                archive: "home".into(),
            },
        );
        let item = client.hear_question();
        let wrong = passphrase("wrong");
        assert!(client.give(&with_pipe(item), &[wrong.as_fd()]));
        let item = asked_again(&client);
        // The command begins again, and the wrong passphrase is tried again, but only for the
        // question that it answered.
        others_are_served(&sandbox);
        client.hear_until(|event| *event == ToClient::Anew);
        match second {
            Some(right) => {
                assert!(client.give(&with_pipe(item), &[passphrase(right).as_fd()]))
            }
            None => assert!(client.say(&without_pipe(item))),
        }
        let told = client.hear_all();
        assert_eq!(
            (told.codes(), told.exit),
            (code.into_iter().collect(), Some(exit))
        );
    }
}

#[test]
fn a_prompt_ends_however_its_client_ends_it() {
    let (sandbox, mut service, socket) = serving();
    // In its turn, and after it has given its turn back.
    for gives_back in [false, true] {
        let open = || {
            let (client, item) = prompting(&socket);
            if gives_back {
                others_are_served(&sandbox);
                client.hear_until(|event| *event == ToClient::Anew);
            }
            (client, item)
        };
        let (client, _) = open();
        client.say(&ToDaemon::Cancel);
        let told = client.hear_all();
        assert_eq!(
            (told.codes().as_slice(), told.exit),
            (["interrupted"].as_slice(), Some(ExitStatus::Interrupted))
        );
        let (client, item) = open();
        client.say(&without_pipe(item));
        let told = client.hear_all();
        assert_eq!(
            (told.codes().as_slice(), told.exit),
            (["no-passphrase"].as_slice(), Some(ExitStatus::Locked))
        );
        let (client, item) = open();
        client.say(&with_pipe(item));
        assert_eq!(
            client.hear_all().exit,
            None,
            "an answer without its descriptor"
        );
        drop(open());
        others_are_served(&sandbox);
    }
    assert!(service.is_running());
}

#[test]
fn a_passphrase_that_never_comes_is_waited_for_no_longer_than_a_pipe_takes() {
    let (sandbox, mut service, socket) = serving();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (client, item) = prompting(&socket);
    assert!(client.give(&with_pipe(item), &[read.as_fd()]));
    assert_eq!(
        client.hear_all().codes(),
        ["no-passphrase"],
        "its other end is open"
    );
    drop(write);
    // A descriptor that is no pipe is not read at all.
    for descriptor in [
        only_named(&sandbox.path("passphrase")),
        File::open(sandbox.path("passphrase")).unwrap().into(),
    ] {
        let (client, item) = prompting(&socket);
        assert!(client.give(&with_pipe(item), &[descriptor.as_fd()]));
        assert_eq!(client.hear_all().codes(), ["no-passphrase"]);
    }
    let (client, item) = prompting(&socket);
    assert!(client.give(&with_pipe(item), &[read.as_fd()]));
    let item = asked_again(&client);
    client.say(&without_pipe(item));
    assert_eq!(
        client.hear_all().codes(),
        ["wrong-passphrase"],
        "an empty pipe is a wrong passphrase"
    );
    others_are_served(&sandbox);
    assert!(service.is_running());
}

/// A restore of 8 MiB into a pipe that is not read, and the pipe's other end.
fn stuck_restore(sandbox: &Sandbox, socket: &Path) -> (RawClient, OwnedFd) {
    sandbox.image("large.img", 8 << 20, 2);
    sandbox.wyng(&["backup", "home", "large.img"]).success();
    let (client, item) = asked_for_target_of(socket, restore_of("large.img"));
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    assert!(client.give(&here_target(item, TargetForm::Stream), &[write.as_fd()]));
    until("the pipe is full", || {
        rustix::io::ioctl_fionread(&read).unwrap() >= 64 << 10
    });
    (client, read)
}

#[test]
fn a_restore_into_a_pipe_that_nobody_reads_ends_when_it_is_interrupted_or_its_client_is_gone() {
    let (sandbox, mut service, socket) = serving();
    let (client, unread) = stuck_restore(&sandbox, &socket);
    client.say(&ToDaemon::Cancel);
    let told = client.hear_all();
    assert_eq!(
        (told.codes().as_slice(), told.exit),
        (["interrupted"].as_slice(), Some(ExitStatus::Interrupted))
    );
    drop(unread);
    let (client, unread) = stuck_restore(&sandbox, &socket);
    drop(client);
    others_are_served(&sandbox);
    drop(unread);
    assert!(service.is_running());
}

#[test]
fn a_client_that_neither_answers_nor_reads_is_given_up() {
    let (mut sandbox, service, _) = serving();
    service.stop();
    let config = sandbox.text("wyng.toml", "[far_ends]\nstall_timeout = \"2s\"\n");
    let mut service = Service::start_with(&mut sandbox, &["--config", &config]);
    let socket = sandbox.path("socket");
    // A program answers this question, and at once.
    let client = RawClient::start(&socket, backup(vec![source("a")]));
    client.hear_question();
    others_are_served(&sandbox);
    assert_eq!(client.hear_all().exit, None, "it was hung up on");
    let (client, _unread) = stuck_restore(&sandbox, &socket);
    assert_eq!(
        client.hear_all().codes(),
        ["output-write"],
        "nobody took a byte for two seconds"
    );
    others_are_served(&sandbox);
    assert!(service.is_running());
}

#[test]
fn a_stream_of_zeros_and_bytes_comes_through_a_pipe_and_a_socket_as_it_is() {
    let (sandbox, _service, _) = serving();
    let content = [
        noise(200_000, 3),
        vec![0; 3 << 20],
        noise(5 << 20, 4),
        vec![0; 1 << 20],
    ]
    .concat();
    std::fs::write(sandbox.path("mixed.img"), &content).unwrap();
    sandbox.wyng(&["backup", "home", "mixed.img"]).success();
    let command = sandbox.command(&["restore", "home", "mixed.img", "--to", "-"]);
    let restore = |stdout: Stdio| {
        let mut plain = Program::new(command.get_program());
        // The JSON object would be printed to the same place.
        plain
            .args(command.get_args().filter(|argument| *argument != "--json"))
            .current_dir(sandbox.path(""));
        plain
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let piped = restore(Stdio::piped()).wait_with_output().unwrap();
    assert!(
        piped.status.success() && piped.stdout == content,
        "through a pipe"
    );
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut running = restore(OwnedFd::from(theirs).into());
    let mut received = Vec::new();
    ours.read_to_end(&mut received).unwrap();
    assert!(
        running.wait().unwrap().success() && received == content,
        "through a socket"
    );
    assert!(
        restore(Stdio::null()).wait().unwrap().success(),
        "into nothing"
    );
}

#[test]
fn a_terminal_is_no_target() {
    let (sandbox, _service, socket) = serving();
    let (client, item) = asked_for_target(&socket);
    let terminal = Pty::open();
    assert!(client.give(
        &here_target(item, TargetForm::Stream),
        &[terminal.person.as_fd()]
    ));
    assert_eq!(client.hear_all().codes(), ["target-unavailable"]);
    others_are_served(&sandbox);
}

#[test]
fn one_user_cannot_take_the_places_of_all_others() {
    let test = "one_user_cannot_take_the_places_of_all_others";
    if !require(Component::Root, test) {
        return;
    }
    let (sandbox, _service, socket) = serving();
    sandbox.open_to_everybody();
    run(Program::new("chmod").arg("0666").arg(&socket));
    // The first command waits for its client, and the others wait for the first.
    let first = RawClient::start(&socket, backup(vec![source("a")]));
    first.hear_question();
    let waiting: Vec<RawClient> = (0..31)
        .map(|_| RawClient::start(&socket, backup(vec![source("a")])))
        .collect();
    waiting.iter().for_each(|client| {
        drop(client.hear_until(|event| matches!(event, ToClient::Queued { .. })))
    });
    for _ in 0..40 {
        assert_eq!(
            sandbox.wyng(&["list", "home"]).expect(1).codes(),
            ["too-many-connections"],
            "the same user"
        );
    }
    as_user(&sandbox, &["list", "home"]).success();
    drop((first, waiting));
    until("there is room again", || {
        sandbox.wyng(&["list", "home"]).status == 0
    });
}

#[test]
fn whoever_connects_and_says_no_command_is_hung_up_on() {
    let (sandbox, _service, socket) = serving();
    let stays = RawClient::start(&socket, Command::ArchiveList);
    assert_eq!(stays.hear_all().exit, Some(ExitStatus::Done));
    let silent = [RawClient::silent(&socket), RawClient::greeted(&socket)];
    for client in &silent {
        let told = client.hear_all();
        assert!(told.exit.is_none() && told.codes().is_empty(), "{told:?}");
    }
    assert_eq!(
        stays.hear(),
        None,
        "whoever has been told the end, and stays"
    );
    others_are_served(&sandbox);
}

#[test]
fn a_member_of_the_group_names_no_store_forgets_nothing_and_takes_nothing_over() {
    let test = "a_member_of_the_group_names_no_store_forgets_nothing_and_takes_nothing_over";
    if !require(Component::Root, test) {
        return;
    }
    let (mut sandbox, service, _) = serving();
    service.stop();
    let (configured, secret) = (sandbox.path("configured"), sandbox.path("secret"));
    let text = format!(
        "[archives.office]\nstore = \"dir:{}\"\n",
        configured.display()
    );
    let config = sandbox.text("wyng.toml", &text);
    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    sandbox.open_to_everybody();
    run(Program::new("chmod")
        .arg("0666")
        .arg(sandbox.path("socket")));
    let elsewhere = format!("dir:{}", secret.display());
    let cheap = ["--kdf-memory", "64M", "--kdf-passes", "3"];
    let create = |name: &'static str, store: &str| {
        let store = store.to_owned();
        ["archive", "create", name]
            .map(str::to_owned)
            .into_iter()
            .chain(["--store".into(), store])
            .chain(cheap.map(str::to_owned))
    };
    let denied: [Vec<String>; 7] = [
        create("other", &elsewhere).collect(),
        create("office", &elsewhere).collect(),
        ["archive", "open", "other", "--store", &elsewhere]
            .map(str::to_owned)
            .into(),
        ["archive", "open", "home", "--via", "ssh:nowhere.invalid"]
            .map(str::to_owned)
            .into(),
        ["qubes", "check", "ssh:nowhere.invalid"]
            .map(str::to_owned)
            .into(),
        ["archive", "forget", "home"].map(str::to_owned).into(),
        ["archive", "take-over", "home"].map(str::to_owned).into(),
    ];
    for arguments in &denied {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(
            as_user(&sandbox, &arguments).expect(1).codes(),
            ["not-allowed"],
            "{arguments:?}"
        );
    }
    assert!(!secret.exists());
    // A member may use configured volumes and known archives.
    let store = format!("dir:{}", configured.display());
    let made: Vec<String> = create("office", &store).collect();
    as_user(
        &sandbox,
        &made.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .success();
    for arguments in [
        ["backup", "office", "disk.img"].as_slice(),
        &["list", "home"],
        &["archive", "open", "home"],
        &["verify", "home"],
    ] {
        as_user(&sandbox, arguments).success();
    }
    // The daemon's own user may do what members may not.
    sandbox.wyng(&["archive", "forget", "home"]).success();
    let store = format!("dir:{}", sandbox.store().display());
    sandbox
        .wyng(&["archive", "open", "home", "--store", &store])
        .success();
}

/// Runs `wyng-ctl` as an ordinary user without groups.
fn as_user(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    let command = sandbox.command(arguments);
    let mut other = Program::new("setpriv");
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
}

/// One message of each kind, in the order of the protocol's definition.
fn every_message(item: u32) -> Vec<ToDaemon> {
    vec![
        ToDaemon::Hello {
            version: CONTROL_VERSION,
        },
        ToDaemon::Start(Command::ArchiveList),
        with_pipe(item),
        here_source(item),
        ToDaemon::Given {
            item,
            given: Given::NoSource {
                path: b"/a".to_vec(),
                why: NoSource::Errno(2),
            },
        },
        here_target(
            item,
            TargetForm::InPlace {
                clones: false,
                discards_bytes: 0,
            },
        ),
        ToDaemon::Given {
            item,
            given: Given::NoTarget {
                fault: TargetFault::NotConfirmed,
            },
        },
        looked(item),
        without_pipe(item),
        named(item),
        ToDaemon::Cancel,
        ToDaemon::Watch { stays: false },
    ]
}

#[test]
fn what_may_not_come_now_ends_its_conversation_and_nothing_else() {
    let (sandbox, mut service, socket) = serving();
    let processes = service.processes();
    let asked_for_source = || {
        let client = RawClient::start(&socket, backup(vec![source("a")]));
        let item = client.hear_question();
        (client, item)
    };
    let asked_about_target = || {
        let client = RawClient::start(&socket, restore());
        let item = client.hear_question();
        (client, item)
    };
    type Phase<'a> = (&'a str, &'a dyn Fn() -> (RawClient, u32), &'a [&'a str]);
    // Each phase, how to reach it, and the messages that may be sent in it without a descriptor.
    let phases: [Phase<'_>; 6] = [
        ("greeting", &|| (RawClient::silent(&socket), 0), &["Hello"]),
        (
            "idle",
            &|| (RawClient::greeted(&socket), 0),
            &["Start", "Watch"],
        ),
        (
            "asked for a source",
            &asked_for_source,
            &["NoSource", "Cancel"],
        ),
        (
            "asked for a passphrase",
            &|| prompting(&socket),
            &["NoPipe", "Cancel"],
        ),
        (
            "asked about a target",
            &asked_about_target,
            &["Look", "Cancel"],
        ),
        (
            "asked for a target",
            &|| asked_for_target(&socket),
            &["NoTarget", "Cancel"],
        ),
    ];
    for (phase, come_to, allowed) in phases {
        let descriptor = File::open("/dev/null").unwrap();
        for place in 0..every_message(0).len() {
            let (client, item) = come_to();
            let message = every_message(item).remove(place);
            let written = match &message {
                ToDaemon::Given { given, .. } => format!("{given:?}"),
                other => format!("{other:?}"),
            };
            let kind = written.split([' ', '(']).next().unwrap().to_owned();
            client.say(&message);
            // A client that may send the message goes on; any other client is closed before others
            // are served.
            if !allowed.contains(&kind.as_str()) {
                assert_eq!(client.hear_all().exit, None, "{phase}: {message:?}");
            }
            drop(client);
            // A descriptor that was not requested, and more descriptors than any message has.
            let (client, item) = come_to();
            client.give(&every_message(item).remove(place), &[descriptor.as_fd(); 4]);
        }
        others_are_served(&sandbox);
    }
    until("what they started is over", || {
        service.processes() == processes
    });
    assert!(service.is_running());
}

#[test]
fn a_client_that_is_gone_cancels_its_command_wherever_that_is() {
    let (sandbox, mut service, socket) = serving();
    let processes = service.processes();
    // At a question for a source, for a passphrase, for a target; within a stream that is not read;
    // in the queue.
    let at_source = RawClient::start(&socket, backup(vec![source("a")]));
    at_source.hear_question();
    let queued = RawClient::start(&socket, backup(vec![source("b")]));
    queued.hear_until(|event| matches!(event, ToClient::Queued { before: 1 }));
    drop(queued);
    drop(at_source);
    drop(prompting(&socket));
    drop(asked_for_target(&socket));
    let (streaming, _unread) = stuck_restore(&sandbox, &socket);
    drop(streaming);
    // Within a long read.
    let large = sandbox.image("huge.img", 64 << 20, 3);
    let reading = RawClient::start(&socket, backup(vec![source("huge")]));
    let item = reading.hear_question();
    let here = here_source(item);
    assert!(reading.give(&here, &[File::open(large).unwrap().as_fd()]));
    reading.hear_until(|event| matches!(event, ToClient::Progress(_)));
    drop(reading);
    others_are_served(&sandbox);
    until("no far end is left", || service.processes() == processes);
    let volumes = sandbox.wyng(&["list", "home"]).success().json["volumes"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(volumes, 2, "no session of what was cancelled");
    assert!(service.is_running());
}
