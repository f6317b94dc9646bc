// SPDX-License-Identifier: GPL-3.0-or-later
//! qubesd's sockets: one request for each connection, `METHOD+ARG dom0 name DEST\0PAYLOAD` up to its
//! end, and one answer; admin.rs has the calls. At `qubesd.internal.sock` imports begin and end. A
//! request goes on when its caller is gone, and holds up no other request, except through the lock
//! below.
//!
//! As in the real qubesd, a start holds the qube's startup lock while the state is still Halted:
//! Kill answers "not started" then, and Remove waits for the lock and answers "not halted". Start
//! silently does nothing in every state except Halted.
//!
//! A trap after a method's name, or after `METHOD@DEST`, is one of: `empty` (as after an exception
//! in qubesd), `hang`, `garbage`, `cut` (an error without its end), `long`, `error CLASS`; `slow`
//! (slow steps wait for the world's file `go`: the volumes of a new qube, the start with its lock;
//! any other call waits before it is parsed); `halts` and `starts` (the qube halts or starts between
//! the answer and its arrival), `replaced` (another qube has its name by then).
//!
//! The world's file `kill` has the line `CALL PHASE VICTIM`: in that call, counted from 1, `before`
//! or `after` its effect, SIGKILL hits the caller (`caller`), its parent (`parent`) or its
//! grandparent (`grandparent`). The victim is noted in the record `killed`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::system::Release;
use super::{World, admin, life};

/// A longer request is dropped without an answer.
const REQUEST_MAX_BYTES: usize = 65536;

/// A data answer, or none.
pub type Answer = Result<String, Fault>;

/// Why there is no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error of this class.
    Error(&'static str),
    /// The request is denied or malformed: since R4.4 an error, before that an empty answer.
    Protocol,
    /// An exception that qubesd does not handle: an empty answer.
    Nothing,
}

/// The startup lock of each qube, which keeps a start and a removal apart.
type StartupLocks = Mutex<HashMap<String, Arc<Mutex<()>>>>;

/// Serves both sockets until the process is killed.
pub fn serve(world: &OsStr) -> ! {
    let world = World(PathBuf::from(world));
    let locks: Arc<StartupLocks> = Arc::default();
    let inside = (world.clone(), Arc::clone(&locks));
    let listener = listen(&world, "qubesd.internal.sock");
    std::thread::spawn(move || accept(&inside.0, &listener, &inside.1, Socket::Internal));
    accept(
        &world,
        &listen(&world, "qubesd.sock"),
        &locks,
        Socket::Admin,
    )
}

/// Which of its two sockets was called.
#[derive(Clone, Copy, PartialEq)]
enum Socket {
    Admin,
    Internal,
}

fn listen(world: &World, name: &str) -> UnixListener {
    let path = world.0.join(name);
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(path).unwrap()
}

fn accept(world: &World, listener: &UnixListener, locks: &Arc<StartupLocks>, socket: Socket) -> ! {
    loop {
        let (stream, _) = listener.accept().unwrap();
        let (world, locks) = (world.clone(), Arc::clone(locks));
        std::thread::spawn(move || hear(&world, stream, &locks, socket));
    }
}

fn hear(world: &World, mut stream: UnixStream, locks: &StartupLocks, socket: Socket) {
    static COUNTED: Mutex<()> = Mutex::new(());
    let mut request = Vec::new();
    if stream.read_to_end(&mut request).is_err() || request.len() > REQUEST_MAX_BYTES {
        return;
    }
    let Some(request) = Request::parse(&request) else {
        return;
    };
    let kills = {
        let _counted = COUNTED.lock().unwrap();
        world.note(
            "calls",
            &format!("{}+{} {}", request.method, request.argument, request.dest),
        );
        Kills::now(world, &stream)
    };
    kills.strike("before");
    let trap = request.trap(world).unwrap_or_default();
    let (trap, class) = trap.split_once(' ').unwrap_or((&trap, ""));
    let answered = |speed| {
        let answer = match socket {
            Socket::Admin => request.answer(world, locks, speed),
            Socket::Internal => {
                while speed == Speed::Slow && !world.0.join("go").exists() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                request.answer_inside(world)
            }
        };
        encode(answer, world.release())
    };
    let bytes = match trap {
        "" => answered(Speed::Usual),
        "slow" => answered(Speed::Slow),
        "empty" => Vec::new(),
        "hang" => loop {
            std::thread::park();
        },
        "garbage" => b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        "cut" => b"2\0QubesExcep".to_vec(),
        "long" => [b"0\0".to_vec(), vec![b'a'; 4 << 20]].concat(),
        "error" => error(class),
        "halts" | "starts" | "replaced" => {
            let bytes = answered(Speed::Usual);
            match (trap, world.state(&request.dest).as_str()) {
                ("halts", state) if state != "Halted" => world.halt(&request.dest),
                ("starts", "Halted") => world.start(&request.dest),
                ("replaced", _) => {
                    let _ = std::fs::remove_file(world.qube(&request.dest).join("uuid"));
                }
                _ => {}
            }
            bytes
        }
        _ => return,
    };
    kills.strike("after");
    let _ = stream.write_all(&bytes);
}

/// The victim within this call, and the phase.
struct Kills<'a> {
    world: &'a World,
    order: Option<(String, u32)>,
}

impl<'a> Kills<'a> {
    /// The victim, if this call, which was just noted, is the chosen one.
    fn now(world: &'a World, stream: &UnixStream) -> Self {
        Self {
            world,
            order: Self::ordered(world, stream),
        }
    }

    fn ordered(world: &World, stream: &UnixStream) -> Option<(String, u32)> {
        let order = std::fs::read_to_string(world.0.join("kill")).ok()?;
        let words: Vec<&str> = order.split(' ').collect();
        let [call, phase, victim] = words[..] else {
            return None;
        };
        if call.parse() != Ok(world.noted("calls").len()) {
            return None;
        }
        let caller = rustix::net::sockopt::socket_peercred(stream)
            .unwrap()
            .pid
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        let victim = match victim {
            "caller" => caller,
            "parent" => parent_of(caller)?,
            _ => parent_of(parent_of(caller)?)?,
        };
        // A process whose parent is gone has a new parent, which must not be hit.
        let program = std::fs::read_link(format!("/proc/{victim}/exe")).ok()?;
        program
            .file_name()
            .is_some_and(|name| name == "wyngd" || name == "wyng-ctl")
            .then(|| (phase.to_owned(), victim))
    }

    fn strike(&self, now: &str) {
        if let Some((phase, victim)) = &self.order
            && phase == now
            && let Some(victim) = i32::try_from(*victim).ok().and_then(Pid::from_raw)
            && kill_process(victim, Signal::KILL).is_ok()
        {
            self.world
                .note("killed", &format!("{} {now}", victim.as_raw_nonzero()));
        }
    }
}

fn parent_of(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

/// The bytes of an answer.
fn encode(answer: Answer, release: Release) -> Vec<u8> {
    match answer {
        Ok(text) => [b"0\0", text.as_bytes()].concat(),
        Err(Fault::Error(class)) => error(class),
        Err(Fault::Protocol) if release >= Release::R44 => error("ProtocolError"),
        Err(Fault::Protocol | Fault::Nothing) => Vec::new(),
    }
}

fn error(class: &str) -> Vec<u8> {
    format!("2\0{class}\0Traceback (most recent call last)\0what %s is\0wrong\0").into_bytes()
}

/// Whether a request waits for the world's file `go`.
#[derive(Clone, Copy, PartialEq)]
enum Speed {
    Usual,
    Slow,
}

/// A parsed request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `admin.vm.Start`.
    pub method: String,
    /// The argument after the `+`.
    pub argument: String,
    /// The qube to which the request applies.
    pub dest: String,
    /// The payload after the NUL.
    pub payload: Vec<u8>,
}

impl Request {
    /// Parses as strictly as qubesd.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let words: Vec<&str> = std::str::from_utf8(&bytes[..end])
            .ok()?
            .split(' ')
            .collect();
        let [call, "dom0", "name", dest] = words[..] else {
            return None;
        };
        let (method, argument) = call.split_once('+')?;
        Some(Self {
            method: method.into(),
            argument: argument.into(),
            dest: dest.into(),
            payload: bytes[end + 1..].to_vec(),
        })
    }

    /// The trap that is set for it; one for its destination goes first.
    fn trap(&self, world: &World) -> Option<String> {
        let traps = world.noted("qubesd-traps");
        let of = |call: &str| {
            let mut lines = traps.iter();
            lines.find_map(|line| Some(line.strip_prefix(call)?.strip_prefix(' ')?.to_owned()))
        };
        of(&format!("{}@{}", self.method, self.dest)).or_else(|| of(&self.method))
    }

    fn answer_inside(&self, world: &World) -> Answer {
        let qube = world.resolve(&self.dest);
        admin::answer_inside(
            world,
            &qube.ok_or(Fault::Error("QubesVMNotFoundError"))?,
            self,
        )
    }

    fn answer(&self, world: &World, locks: &StartupLocks, speed: Speed) -> Answer {
        const NOT_FOUND: Fault = Fault::Error("QubesVMNotFoundError");
        let wait = || {
            while speed == Speed::Slow && !world.0.join("go").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let qube = world.resolve(&self.dest).ok_or(NOT_FOUND)?;
        if let Some(class) = self
            .method
            .strip_prefix("admin.vm.Create")
            .filter(|_| qube == "dom0")
        {
            let (class, in_pool) = match class.strip_prefix("InPool.") {
                Some(class) => (class, true),
                None => (class.strip_prefix('.').ok_or(Fault::Protocol)?, false),
            };
            return life::create(world, (class, in_pool), &self.argument, &self.payload, wait);
        }
        match self.method.as_str() {
            "admin.vm.Start" => {
                let startup = startup_lock(locks, &qube);
                let _startup = startup.lock().unwrap();
                if !world.exists(&qube) {
                    return Err(NOT_FOUND);
                }
                if world.state(&qube) == "Halted" {
                    life::check_start(world, &qube)?;
                    wait();
                    world.start(&qube);
                }
                Ok(String::new())
            }
            "admin.vm.Remove" => {
                let startup = startup_lock(locks, &qube);
                let _startup = startup.lock().unwrap();
                wait();
                life::remove(world, &qube)
            }
            _ => {
                wait();
                admin::answer(world, &qube, self)
            }
        }
    }
}

fn startup_lock(locks: &StartupLocks, qube: &str) -> Arc<Mutex<()>> {
    Arc::clone(locks.lock().unwrap().entry(qube.to_owned()).or_default())
}
