// SPDX-License-Identifier: GPL-3.0-or-later
//! qubesd's socket: one request for each connection, `METHOD+ARG dom0 name DEST\0PAYLOAD` up to its
//! end, and one answer. It has the part of the Admin API that concerns disposables and power
//! states. A request goes on when its caller is gone, and holds up no other request, except through
//! the lock below.
//!
//! As in the real qubesd, a start holds the qube's startup lock while the state is still Halted:
//! Kill answers "not started" then, and Remove waits for the lock and answers "not halted". Start
//! silently does nothing in every state except Halted.
//!
//! A trap after a method's name is one of: `empty` (as after an exception in qubesd), `hang`,
//! `garbage`, `cut` (an error without its end), `long`, `error CLASS`; `slow` (slow steps wait for
//! the world's file `go`: the volumes of a new qube, the start with its lock; any other call waits
//! before it is parsed).
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

use super::World;

/// A longer request is dropped without an answer.
const REQUEST_MAX_BYTES: usize = 65536;

/// Maximum length of a qube's name, bytes.
const NAME_MAX_BYTES: usize = 31;
/// Its owner is not checked here.
const UUID: &str = "00000000-0000-4000-8000-000000000000";

/// A data answer, or an error of a class.
type Answer = Result<String, &'static str>;

/// The startup lock of each qube, which keeps a start and a removal apart.
type StartupLocks = Mutex<HashMap<String, Arc<Mutex<()>>>>;

/// Serves until the process is killed.
pub fn serve(world: &OsStr) -> ! {
    let world = World(PathBuf::from(world));
    let path = world.0.join("qubesd.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    let locks: Arc<StartupLocks> = Arc::default();
    loop {
        let (stream, _) = listener.accept().unwrap();
        let (world, locks) = (world.clone(), Arc::clone(&locks));
        std::thread::spawn(move || hear(&world, stream, &locks));
    }
}

fn hear(world: &World, mut stream: UnixStream, locks: &StartupLocks) {
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
    let traps = world.noted("qubesd-traps");
    let trap = traps
        .iter()
        .find_map(|line| line.strip_prefix(&format!("{} ", request.method)));
    let bytes = match trap.map(|trap| trap.split_once(' ').unwrap_or((trap, ""))) {
        None => encode(
            request
                .answer(world, locks, Speed::Usual)
                .map_err(str::to_owned),
        ),
        Some(("slow", _)) => encode(
            request
                .answer(world, locks, Speed::Slow)
                .map_err(str::to_owned),
        ),
        Some(("empty", _)) => Vec::new(),
        Some(("hang", _)) => loop {
            std::thread::park();
        },
        Some(("garbage", _)) => b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        Some(("cut", _)) => b"2\0QubesExcep".to_vec(),
        Some(("long", _)) => [b"0\0".to_vec(), vec![b'a'; 4 << 20]].concat(),
        Some(("error", class)) => encode(Err(class.to_owned())),
        Some(_) => return,
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
pub fn encode(answer: Result<String, String>) -> Vec<u8> {
    match answer {
        Ok(text) => [b"0\0", text.as_bytes()].concat(),
        Err(class) => format!("2\0{class}\0Traceback (most recent call last)\0what %s is\0wrong\0")
            .into_bytes(),
    }
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

    fn answer(&self, world: &World, locks: &StartupLocks, speed: Speed) -> Answer {
        let wait = || {
            while speed == Speed::Slow && !world.0.join("go").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        if self.dest != "dom0" && !world.exists(&self.dest) {
            return Err("QubesVMNotFoundError");
        }
        match self.method.as_str() {
            "admin.vm.Create.DispVM" if self.dest == "dom0" => self.create(world, wait),
            "admin.vm.Start" => {
                let startup = startup_lock(locks, &self.dest);
                let _startup = startup.lock().unwrap();
                if !world.exists(&self.dest) {
                    return Err("QubesVMNotFoundError");
                }
                if world.state(&self.dest) == "Halted" {
                    wait();
                    world.start(&self.dest);
                }
                Ok(String::new())
            }
            "admin.vm.Remove" => {
                let startup = startup_lock(locks, &self.dest);
                let _startup = startup.lock().unwrap();
                wait();
                match world.state(&self.dest).as_str() {
                    _ if !world.exists(&self.dest) => Err("QubesVMNotFoundError"),
                    "Halted" => {
                        world.remove(&self.dest);
                        Ok(String::new())
                    }
                    _ => Err("QubesVMNotHaltedError"),
                }
            }
            _ => {
                wait();
                self.answer_at_once(world)
            }
        }
    }

    /// Requests that need no lock.
    fn answer_at_once(&self, world: &World) -> Answer {
        match self.method.as_str() {
            "admin.vm.List" if self.dest == "dom0" => {
                let dom0 = format!("dom0 class=AdminVM state=Running uuid={UUID}\n");
                Ok(std::iter::once(dom0)
                    .chain(world.names().iter().map(|name| line(world, name)))
                    .collect())
            }
            "admin.vm.List" => Ok(line(world, &self.dest)),
            "admin.vm.Kill" if world.state(&self.dest) == "Halted" => Err("QubesVMNotStartedError"),
            "admin.vm.Kill" => {
                world.halt(&self.dest);
                Ok(String::new())
            }
            "admin.vm.property.Set"
                if self.argument == "auto_cleanup" && world.class(&self.dest) == "DispVM" =>
            {
                if !matches!(self.payload.as_slice(), b"True" | b"False") {
                    return Err("QubesValueError");
                }
                // The qube may be gone by now.
                let set = std::fs::write(
                    world.qube(&self.dest).join("property.auto_cleanup"),
                    &self.payload,
                );
                set.map(|()| String::new())
                    .map_err(|_| "QubesVMNotFoundError")
            }
            "admin.vm.property.Set" => Err("QubesNoSuchPropertyError"),
            _ => Err("ProtocolError"),
        }
    }

    /// The name is taken at once; making the new qube's volumes takes long.
    fn create(&self, world: &World, wait: impl Fn()) -> Answer {
        let (mut name, mut label) = (None, None);
        for word in std::str::from_utf8(&self.payload)
            .map_err(|_| "ProtocolError")?
            .split(' ')
        {
            match word.split_once('=') {
                Some(("name", value)) if name.is_none() => name = Some(value),
                Some(("label", value)) if label.is_none() => label = Some(value),
                _ => return Err("ProtocolError"),
            }
        }
        let (Some(name), Some(_)) = (name, label) else {
            return Err("ProtocolError");
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !starts_well
            || name.len() > NAME_MAX_BYTES
            || !name.bytes().all(plain)
            || name.ends_with("-dm")
        {
            return Err("QubesPropertyValueError");
        }
        if !world.exists(&self.argument) {
            return Err("QubesVMNotFoundError");
        }
        if !world
            .qube(&self.argument)
            .join("template-for-dispvms")
            .exists()
        {
            return Err("QubesValueError");
        }
        if world.exists(name) {
            return Err("QubesVMAlreadyExistsError");
        }
        world.make_named_disposable(name, &self.argument);
        wait();
        Ok(String::new())
    }
}

fn startup_lock(locks: &StartupLocks, qube: &str) -> Arc<Mutex<()>> {
    Arc::clone(locks.lock().unwrap().entry(qube.to_owned()).or_default())
}

fn line(world: &World, name: &str) -> String {
    format!(
        "{name} class={} state={} uuid={UUID}\n",
        world.class(name),
        world.state(name)
    )
}
