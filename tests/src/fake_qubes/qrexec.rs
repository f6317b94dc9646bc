// SPDX-License-Identifier: GPL-3.0-or-later
//! `qrexec-client` and `qrexec-client-vm`: calling a service and relaying its four streams, as the
//! real programs do.
//!
//! One channel carries the service's output and its standard error in order, so that a stream that
//! is not read holds up the other. Input that the service no longer reads is discarded silently. An
//! exit status passes unchanged; 255 means a lost link, and so does 1. The time limit of `-w` holds
//! for the qube's agent alone: a paused or halting qube uses all of it.
//!
//! A trap is one of: `dies-up N`, `dies-down N` (the qube dies after N bytes in that direction),
//! `drops-up N`, `drops-down N` (the link is lost, and the client ends with 1), `freezes-up N` (the
//! qube freezes), `cut N` (the output ends after N bytes without any error), `deaf N` (the
//! service's input is closed after N bytes), `frozen` (the agent does not answer), `silent` (a
//! frozen daemon, or an unanswered question on dom0's screen: the client waits for ever), `exits N`
//! (the client itself ends with status N before anything runs).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, socketpair};

use super::World;

/// Maximum length of one frame, bytes.
const FRAME_BYTES: usize = 65536;
const TROUBLE: i32 = 125;
const REFUSED: i32 = 126;
const NOT_FOUND: i32 = 127;
const LINK_LOST: i32 = 255;
const LINK_DROPPED: i32 = 1;

/// The client of dom0: `-d QUBE [-w SECS] -- USER:QUBESRPC SERVICE+ARGUMENT SOURCE`.
pub fn client() -> ! {
    let (world, arguments) = begin();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (qube, wait_secs, call) = match words[..] {
        ["-d", qube, "-w", secs, "--", call] => (qube, secs.parse().unwrap(), call),
        ["-d", qube, "--", call] => (qube, 5, call),
        _ => trouble(
            "usage: qrexec-client -d domain-name [-w timeout] -- command",
            1,
        ),
    };
    let Some(service) = service_of(call) else {
        trouble("the call is malformed", TROUBLE)
    };
    if !world.exists(qube) || world.state(qube) == "Halted" {
        trouble(
            &format!(
                "connect_unix_socket: /var/run/qubes/qrexec.{qube}: No such file or directory"
            ),
            TROUBLE,
        );
    }
    if !world.runs(qube) {
        thread::sleep(Duration::from_secs(wait_secs));
        trouble("qrexec connection timeout", TROUBLE);
    }
    let status = call_service(&world, qube, service, "dom0", wait_secs);
    exit(status)
}

/// The client of a qube: `TARGET SERVICE+ARGUMENT`. It makes, starts and kills a disposable.
pub fn client_vm() -> ! {
    let (world, arguments) = begin();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [target, service] = words[..] else {
        trouble("usage: qrexec-client-vm target_vmname program_ident", 1)
    };
    if world.0.join("no-agent").exists() {
        trouble("connect: Connection refused", LINK_DROPPED);
    }
    // A qube that cannot be made or started gives the same message as a refusal by the policy.
    if world.0.join("refuse").exists() || world.0.join("nostart").exists() {
        trouble("Request refused", REFUSED);
    }
    let template = target.strip_prefix("@dispvm:");
    let known = template.unwrap_or(target);
    if !world.exists(known)
        || template.is_some_and(|template| {
            world.own(template, "template_for_dispvms").as_deref() != Some("True")
        })
    {
        trouble("Request refused", REFUSED);
    }
    let qube = template.map_or_else(
        || target.to_owned(),
        |template| world.make_disposable(template),
    );
    world.start(&qube);
    let status = call_service(&world, &qube, service, "admin", 120);
    if template.is_some() {
        world.halt(&qube);
    }
    exit(status)
}

/// The world and the arguments, which are recorded.
fn begin() -> (World, Vec<String>) {
    let mut arguments = std::env::args();
    let own = PathBuf::from(arguments.next().unwrap());
    let world = World(own.parent().unwrap().parent().unwrap().to_owned());
    let arguments: Vec<String> = arguments.collect();
    world.note("qrexec-calls", &arguments.join(" "));
    (world, arguments)
}

/// The service in a command line for the agent. The real agent runs anything else in a shell; here
/// that fails.
fn service_of(call: &str) -> Option<&str> {
    let (_user, call) = call.split_once(":QUBESRPC ")?;
    let mut tokens = call.split(' ');
    let (service, source) = (tokens.next()?, tokens.next()?);
    (source == "dom0" && service.contains('+') && tokens.next().is_none()).then_some(service)
}

fn trouble(what: &str, status: i32) -> ! {
    eprintln!(
        "2026-01-01 00:00:00.000 qrexec-client[{}]: {what}",
        std::process::id()
    );
    exit(status)
}

/// The bytes that a trap counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trap {
    None,
    DiesUp(usize),
    DiesDown(usize),
    DropsUp(usize),
    DropsDown(usize),
    FreezesUp(usize),
    Cut(usize),
    Deaf(usize),
}

/// An event that ends a call, or begins its end.
enum Event {
    Exited(i32),
    Died,
    Dropped,
    Cut,
}

static FROZEN: AtomicBool = AtomicBool::new(false);

fn call_service(world: &World, qube: &str, service: &str, source: &str, wait_secs: u64) -> i32 {
    let line = world.take_trap();
    let (word, number) = line.split_once(' ').unwrap_or((&line, "0"));
    let number: usize = number.parse().unwrap();
    let trap = match word {
        "" => Trap::None,
        "dies-up" => Trap::DiesUp(number),
        "dies-down" => Trap::DiesDown(number),
        "drops-up" => Trap::DropsUp(number),
        "drops-down" => Trap::DropsDown(number),
        "freezes-up" => Trap::FreezesUp(number),
        "cut" => Trap::Cut(number),
        "deaf" => Trap::Deaf(number),
        "frozen" => {
            thread::sleep(Duration::from_secs(wait_secs));
            trouble("qrexec connection timeout", TROUBLE);
        }
        "silent" => loop {
            thread::park();
        },
        "exits" => trouble("on purpose", i32::try_from(number).unwrap()),
        _ => trouble("no such trap", 1),
    };
    let Some((child, streams)) = start_service(world, qube, service, source) else {
        return NOT_FOUND;
    };
    relay(world, qube, child, streams, trap)
}

/// The client's end of a service's streams.
struct Streams {
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
}

/// Starts the service through a login shell, which reads the qube's profile first. Input and output
/// are sockets, standard error a pipe.
fn start_service(
    world: &World,
    qube: &str,
    service: &str,
    source: &str,
) -> Option<(Child, Streams)> {
    let (name, argument) = service.split_once('+').unwrap_or((service, ""));
    let folder = world.qube(qube);
    let file = folder.join("services").join(name);
    if !file.exists() {
        eprintln!("sh: {name}: not found");
        return None;
    }
    let pair = || {
        socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    };
    let ((input, its_input), (output, its_output)) = (pair(), pair());
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(r#"if [ -e "$0" ]; then . "$0"; fi; exec "$1""#)
        .arg(folder.join("profile"))
        .arg(&file);
    shell
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("QREXEC_REMOTE_DOMAIN", source)
        .env("QREXEC_SERVICE_FULL_NAME", service);
    shell
        .env("QREXEC_SERVICE_ARGUMENT", argument)
        .process_group(0);
    let mut child = shell
        .stdin(Stdio::from(its_input))
        .stdout(Stdio::from(its_output))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = OwnedFd::from(child.stderr.take().unwrap());
    Some((
        child,
        Streams {
            input,
            output,
            errors,
        },
    ))
}

fn relay(world: &World, qube: &str, mut child: Child, streams: Streams, trap: Trap) -> i32 {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    for own in [stdin, stdout] {
        rustix::fs::fcntl_setfl(
            own,
            rustix::fs::fcntl_getfl(own).unwrap() | rustix::fs::OFlags::NONBLOCK,
        )
        .unwrap();
    }
    let group = rustix::process::Pid::from_child(&child);
    let (events, ended) = channel();
    let Streams {
        input,
        output,
        errors,
    } = streams;
    thread::spawn({
        let events = events.clone();
        move || up(&input, trap, &events)
    });
    let down = thread::spawn({
        let events = events.clone();
        move || down(output, errors, trap, &events)
    });
    thread::spawn({
        let (world, qube, events) = (world.clone(), qube.to_owned(), events.clone());
        move || {
            while world.exists(&qube) && world.state(&qube) != "Halted" {
                thread::sleep(Duration::from_millis(20));
            }
            let _ = events.send(Event::Died);
        }
    });
    thread::spawn(move || {
        let status = child.wait().unwrap();
        let _ = events.send(Event::Exited(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        ));
    });
    let mut event = ended.recv().unwrap();
    if let Event::Exited(status) = event {
        if FROZEN.load(Ordering::SeqCst) {
            loop {
                thread::park();
            }
        }
        let _ = down.join();
        // Its last output may have sprung the trap.
        event = ended.try_recv().unwrap_or(Event::Exited(status));
    }
    match event {
        Event::Exited(status) => status,
        Event::Cut => 0,
        Event::Dropped => {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            LINK_DROPPED
        }
        Event::Died => {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            world.halt(qube);
            eprintln!("vchan connection closed early");
            LINK_LOST
        }
    }
}

/// Relays bytes from the caller to the service.
fn up(input: &OwnedFd, trap: Trap, events: &Sender<Event>) {
    let mut buffer = vec![0; FRAME_BYTES];
    let (mut passed, mut deaf) = (0_usize, false);
    loop {
        let length = match read_when_ready(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) | Err(_) => {
                let _ = rustix::net::shutdown(input, Shutdown::Write);
                return;
            }
            Ok(length) => length,
        };
        let limit = match trap {
            Trap::DiesUp(limit)
            | Trap::DropsUp(limit)
            | Trap::FreezesUp(limit)
            | Trap::Deaf(limit)
                if !deaf =>
            {
                limit
            }
            _ => usize::MAX,
        };
        let taken = length.min(limit - passed.min(limit));
        // Input that the service no longer takes is discarded.
        let _ = write_all(input.as_fd(), &buffer[..taken]);
        passed += taken;
        if passed >= limit {
            match trap {
                Trap::DiesUp(_) | Trap::DropsUp(_) => {
                    let _ = events.send(if matches!(trap, Trap::DropsUp(_)) {
                        Event::Dropped
                    } else {
                        Event::Died
                    });
                    return;
                }
                Trap::FreezesUp(_) => {
                    FROZEN.store(true, Ordering::SeqCst);
                    // The service's input stays open, like everything in the qube.
                    loop {
                        thread::park();
                    }
                }
                _ => {
                    let _ = rustix::net::shutdown(input, Shutdown::Write);
                    deaf = true;
                }
            }
        }
    }
}

/// Relays frames of both streams from the service to the caller, one after the other.
fn down(output: OwnedFd, errors: OwnedFd, trap: Trap, events: &Sender<Event>) {
    let mut buffer = vec![0; FRAME_BYTES];
    let (mut output, mut errors) = (Some(output), Some(errors));
    let mut passed = 0_usize;
    while output.is_some() || errors.is_some() {
        let ready = |stream: &Option<OwnedFd>| {
            stream
                .as_ref()
                .is_some_and(|stream| is_ready(stream.as_fd(), Duration::from_millis(5)))
        };
        while FROZEN.load(Ordering::SeqCst) {
            thread::park();
        }
        if ready(&errors) {
            match read_when_ready(errors.as_ref().unwrap().as_fd(), &mut buffer) {
                Ok(0) | Err(_) => errors = None,
                Ok(length) => drop(write_all(rustix::stdio::stderr(), &buffer[..length])),
            }
        }
        if ready(&output) {
            match read_when_ready(output.as_ref().unwrap().as_fd(), &mut buffer) {
                Ok(0) | Err(_) => {
                    output = None;
                    let nothing = std::fs::File::open("/dev/null").unwrap();
                    rustix::stdio::dup2_stdout(nothing).unwrap();
                }
                Ok(length) => {
                    let (limit, event) = match trap {
                        Trap::DiesDown(limit) => (limit, Event::Died),
                        Trap::DropsDown(limit) => (limit, Event::Dropped),
                        Trap::Cut(limit) => (limit, Event::Cut),
                        _ => (usize::MAX, Event::Cut),
                    };
                    let taken = length.min(limit - passed.min(limit));
                    let _ = write_all(rustix::stdio::stdout(), &buffer[..taken]);
                    passed += taken;
                    if passed >= limit {
                        let _ = events.send(event);
                        return;
                    }
                }
            }
        }
    }
}

fn is_ready(stream: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::IN)];
    poll(&mut polled, Some(&patience.try_into().unwrap())).unwrap() > 0
}

fn read_when_ready(stream: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(stream, &mut *buffer) {
            Err(Errno::AGAIN) => drop(poll(
                &mut [PollFd::from_borrowed_fd(stream, PollFlags::IN)],
                None,
            )),
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::AGAIN) => drop(poll(
                &mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)],
                None,
            )),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
