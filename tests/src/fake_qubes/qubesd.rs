// SPDX-License-Identifier: GPL-3.0-or-later
//! qubesd's socket: one request a connection, `METHOD+ARG dom0 name DEST\0PAYLOAD` up to its end, one answer. Of the Admin API only what
//! concerns disposables.
//!
//! A trap behind a method's name is one of: `empty` (as after an exception in qubesd), `hang`, `garbage`, `cut` (an error without its end),
//! `long`, `error CLASS`.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::World;

/// A longer request is dropped without an answer.
const REQUEST_MAX_BYTES: usize = 65536;

/// A data answer, or an error of a class.
type Answer = Result<String, &'static str>;

/// Serves until the process is killed.
pub fn serve(world: &OsStr) -> ! {
    let world = World(PathBuf::from(world));
    let path = world.0.join("qubesd.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    let one_at_a_time = Arc::new(Mutex::new(()));
    loop {
        let (stream, _) = listener.accept().unwrap();
        let (world, lock) = (world.clone(), Arc::clone(&one_at_a_time));
        std::thread::spawn(move || hear(&world, stream, &lock));
    }
}

fn hear(world: &World, mut stream: UnixStream, lock: &Mutex<()>) {
    let mut request = Vec::new();
    if stream.read_to_end(&mut request).is_err() || request.len() > REQUEST_MAX_BYTES {
        return;
    }
    let Some(request) = Request::parse(&request) else { return };
    world.note("calls", &format!("{}+{} {}", request.method, request.argument, request.dest));
    let traps = world.noted("qubesd-traps");
    let trap = traps.iter().find_map(|line| line.strip_prefix(&format!("{} ", request.method)));
    let bytes = match trap.map(|trap| trap.split_once(' ').unwrap_or((trap, ""))) {
        None => {
            let _one = lock.lock().unwrap();
            encode(request.answer(world).map_err(str::to_owned))
        }
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
    let _ = stream.write_all(&bytes);
}

/// The bytes of an answer.
pub fn encode(answer: Result<String, String>) -> Vec<u8> {
    match answer {
        Ok(text) => [b"0\0", text.as_bytes()].concat(),
        Err(class) => format!("2\0{class}\0Traceback (most recent call last)\0what %s is\0wrong\0").into_bytes(),
    }
}

/// A request that is understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `admin.vm.Start`.
    pub method: String,
    /// Behind the `+`.
    pub argument: String,
    /// The qube that it is about.
    pub dest: String,
    /// Behind the NUL.
    pub payload: Vec<u8>,
}

impl Request {
    /// Strict where qubesd is.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let words: Vec<&str> = std::str::from_utf8(&bytes[..end]).ok()?.split(' ').collect();
        let [call, "dom0", "name", dest] = words[..] else { return None };
        let (method, argument) = call.split_once('+')?;
        Some(Self { method: method.into(), argument: argument.into(), dest: dest.into(), payload: bytes[end + 1..].to_vec() })
    }

    fn answer(&self, world: &World) -> Answer {
        if self.dest != "dom0" && !world.exists(&self.dest) {
            return Err("QubesVMNotFoundError");
        }
        let feature = world.qube(&self.dest).join(format!("feature.{}", self.argument));
        match self.method.as_str() {
            "admin.vm.List" => Ok(world.names().iter().map(|name| line(world, name)).collect()),
            "admin.vm.CreateDisposable" => match world.qube(&self.dest).join("template-for-dispvms").exists() {
                true => Ok(world.make_disposable(&self.dest)),
                false => Err("QubesException"),
            },
            "admin.vm.Start" if world.runs(&self.dest) => Err("QubesVMNotHaltedError"),
            "admin.vm.Start" => {
                world.start(&self.dest);
                Ok(String::new())
            }
            "admin.vm.Kill" if !world.runs(&self.dest) => Err("QubesVMNotStartedError"),
            "admin.vm.Kill" => {
                world.halt(&self.dest);
                Ok(String::new())
            }
            "admin.vm.Remove" if world.runs(&self.dest) => Err("QubesVMNotHaltedError"),
            "admin.vm.Remove" => {
                std::fs::remove_dir_all(world.qube(&self.dest)).unwrap();
                Ok(String::new())
            }
            "admin.vm.feature.Set" => {
                std::fs::write(feature, &self.payload).unwrap();
                Ok(String::new())
            }
            "admin.vm.feature.Get" => std::fs::read_to_string(feature).map_err(|_| "QubesFeatureNotFoundError"),
            _ => Err("ProtocolError"),
        }
    }
}

fn line(world: &World, name: &str) -> String {
    let state = if world.runs(name) { "Running" } else { "Halted" };
    format!("{name} class={} state={state} uuid=00000000-0000-4000-8000-000000000000\n", world.class(name))
}
