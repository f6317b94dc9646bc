// SPDX-License-Identifier: GPL-3.0-or-later
//! Real processes under `strace`: killed just before their n-th call of a kind, or watched. It
//! needs no code in the programs. It returns when the last process of the run has ended, so that a
//! test cannot overlook a process that stays behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use crate::disk::run;

/// The outcome of a run that may have been killed.
#[derive(Debug)]
pub struct Cut {
    /// The exit status and output of the program itself.
    pub output: Output,
    /// Whether any process reached its n-th call, and was killed.
    pub killed: bool,
}

/// Whether tests kill at each call, which takes hours for all of them.
pub fn kills_everywhere() -> bool {
    std::env::var_os("WYNG_TEST_KILLS").is_some_and(|kills| kills == "all")
}

/// The numbers of the calls before which a test kills: by default each power of two, since a kill
/// costs several runs of the programs; with `WYNG_TEST_KILLS=all`, all of them.
pub fn kill_numbers() -> impl Iterator<Item = u32> {
    let all = kills_everywhere();
    std::iter::successors(Some(1_u32), move |number| match all {
        true => number.checked_add(1),
        false => number.checked_mul(2),
    })
}

/// Runs `command`, and kills each of its processes just before it makes its n-th call of this name.
pub fn killed_at(command: &Command, call: &str, number: u32, trace: &Path) -> Cut {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o"])
        .arg(trace)
        .arg("-e")
        .arg(format!("trace={call}"));
    strace
        .arg("-e")
        .arg(format!("inject={call}:signal=SIGKILL:when={number}"));
    let output = after(strace, command).output().unwrap();
    let killed = made(call, number, trace);
    Cut { output, killed }
}

/// Whether any thread made its n-th call of this name, before which it was killed. That a process
/// was killed says nothing: the daemon kills its own children when they take too long to end.
fn made(call: &str, number: u32, trace: &Path) -> bool {
    let mut calls = BTreeMap::<&str, u32>::new();
    let trace = std::fs::read_to_string(trace).unwrap();
    for line in trace.lines() {
        // `PID CALL(…`; the id is padded, and the second half of a call begins with `<...`.
        let Some((id, rest)) = line.split_once(' ') else {
            continue;
        };
        if let Some((name, _)) = rest.trim_start().split_once('(')
            && name == call
        {
            *calls.entry(id).or_default() += 1;
        }
    }
    calls.values().any(|made| *made >= number)
}

/// The real helper, outside of the daemon's processes. The daemon starts a relay in its place,
/// because a far end may not trace (the spawner's filter is inherited).
pub struct HelperOutside {
    process: Child,
    trace: PathBuf,
    call: String,
    number: u32,
}

impl HelperOutside {
    /// Starts the helper for `push`, to be killed just before its n-th call of this name. It uses
    /// three files in `folder`.
    pub fn killed_at(call: &str, number: u32, helper: &Path, folder: &Path) -> Self {
        let (to, from, trace) = (
            folder.join("to-helper"),
            folder.join("from-helper"),
            folder.join("helper-trace"),
        );
        for pipe in [&to, &from] {
            let _ = std::fs::remove_file(pipe);
            run(Command::new("mkfifo").arg(pipe));
        }
        let _ = std::fs::remove_file(&trace);
        let inject = format!("inject={call}:signal=SIGKILL:when={number}");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            r#"exec strace -f -qq -o "$0" -e "trace=$1" -e "$2" "$3" push <"$4" >"$5" 2>/dev/null"#,
        ]);
        shell
            .arg(&trace)
            .arg(call)
            .arg(inject)
            .arg(helper)
            .arg(&to)
            .arg(&from);
        Self {
            process: shell.spawn().unwrap(),
            trace,
            call: call.to_owned(),
            number,
        }
    }

    /// The shell words that connect the daemon's pipes with the helper.
    pub fn script(folder: &Path) -> String {
        let folder = folder.display();
        format!("exec 2>/dev/null; cat <&0 >{folder}/to-helper & exec cat {folder}/from-helper")
    }

    /// Waits for its end. Returns whether it was killed.
    pub fn ended(mut self) -> bool {
        self.process.wait().unwrap();
        made(&self.call, self.number, &self.trace)
    }
}

/// Runs `command` until its last process ends, and writes the calls that `options` select into
/// `trace`.
pub fn watched(command: &Command, options: &[&str], trace: &Path) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace).args(options);
    after(strace, command).output().unwrap()
}

/// The same command, prefixed with another.
fn after(mut first: Command, command: &Command) -> Command {
    first
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            first.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        first.current_dir(folder);
    }
    first
}
