// SPDX-License-Identifier: GPL-3.0-or-later
//! `version-liar HELPER SERVICE LIE`: the real helper, except for what it says about older versions
//! of blobs, in a call whose requests are signed:
//!
//! - `id TEXT`: the only version of each blob has this id, whose characters may be any;
//! - `long`: the id is one byte longer than a frame has room for;
//! - `sixteen`: there are sixteen versions;
//! - `bytes`: the ids are true, and what is read afterwards is changed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use wyng_wire::{HEADER_BYTES, HELLO_BYTES, ToDaemon};

/// Kind of VERSION, whose layout the lies break.
const VERSION: u8 = 0x88;
/// Kind of VERSIONS_END.
const VERSIONS_END: u8 = 0x89;
/// Length of an id, bytes.
const ID_BYTES: usize = 64;

/// A frame of any content.
fn frame(kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len()).unwrap().to_le_bytes();
    [&[kind, 0, 0, 0], &length[..], rest].concat()
}

fn version(request: u64, id: &[u8], room: usize) -> Vec<u8> {
    let mut padded = id.to_vec();
    padded.resize(room, 0);
    frame(VERSION, &[&request.to_le_bytes()[..], &padded].concat())
}

/// What is said in place of the honest answer.
fn lie(words: &[String], request: u64) -> Vec<u8> {
    let (versions, count) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["id", text] => (version(request, text.as_bytes(), ID_BYTES), 1),
        ["long"] => (version(request, &[b'v'; ID_BYTES + 1], ID_BYTES + 1), 1),
        ["sixteen"] => (version(request, b"v", ID_BYTES).repeat(16), 15),
        _ => panic!("no lie: {words:?}"),
    };
    let states = [count, 0, 0, 0, 0, 0, 0, 0];
    let end = frame(VERSIONS_END, &[request.to_le_bytes(), states].concat());
    [versions, end].concat()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (helper, service) = (arguments.next().unwrap(), arguments.next().unwrap());
    let words: Vec<String> = arguments.collect();
    let changes_bytes = words == ["bytes"];
    let mut child = Command::new(helper)
        .arg(service)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut from, mut to) = (child.stdout.take().unwrap(), std::io::stdout());
    let mut hello = [0; HELLO_BYTES];
    from.read_exact(&mut hello).unwrap();
    to.write_all(&hello).and_then(|()| to.flush()).unwrap();
    let mut was_asked = false;
    loop {
        let mut header = [0; HEADER_BYTES];
        if from.read_exact(&mut header).is_err() {
            break;
        }
        let mut said = header.to_vec();
        said.resize(HEADER_BYTES + ToDaemon::rest_bytes(&header).unwrap(), 0);
        from.read_exact(&mut said[HEADER_BYTES..]).unwrap();
        let honest = ToDaemon::decode(&said).unwrap();
        match honest {
            ToDaemon::Version(_) if !changes_bytes => said.clear(),
            ToDaemon::VersionsEnd(end) if !changes_bytes => said = lie(&words, end.request),
            ToDaemon::VersionsEnd(_) => was_asked = true,
            _ => {}
        }
        let begin = said.len();
        said.resize(begin + usize::try_from(honest.body_bytes()).unwrap(), 0);
        from.read_exact(&mut said[begin..]).unwrap();
        if was_asked {
            said[begin..].iter_mut().for_each(|byte| *byte ^= 1);
        }
        if to.write_all(&said).and_then(|()| to.flush()).is_err() {
            break; // the daemon has closed the pipe
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
