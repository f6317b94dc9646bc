// SPDX-License-Identifier: GPL-3.0-or-later
//! Real processes under `strace`: killed just before their n-th call of a kind, or watched. It needs no code in the programs, and it
//! returns when the last process of the run is gone, so that a process which stays behind hangs the test that would overlook it.

use std::path::Path;
use std::process::{Command, Output};

/// What a run did that may have been cut.
#[derive(Debug)]
pub struct Cut {
    /// As of the program itself.
    pub output: Output,
    /// Whether any process reached its n-th call.
    pub killed: bool,
}

/// Runs `command`, and kills each of its processes just before it makes its n-th call of this name.
pub fn killed_at(command: &Command, call: &str, number: u32, trace: &Path) -> Cut {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace).arg("-e").arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={number}"));
    let output = after(strace, command).output().unwrap();
    let killed = std::fs::read_to_string(trace).unwrap().contains("+++ killed by SIGKILL +++");
    Cut { output, killed }
}

/// The shell words that start the real helper so that it is killed just before its n-th call of this name.
pub fn helper_killed_at(call: &str, number: u32, trace: &Path) -> String {
    let trace_path = trace.display();
    format!("exec 2>/dev/null; exec strace -f -qq -o {trace_path} -e trace={call} -e inject={call}:signal=SIGKILL:when={number} $HELPER $1")
}

/// Runs `command` to the end of its last process, and writes what `options` choose into `trace`.
pub fn watched(command: &Command, options: &[&str], trace: &Path) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace).args(options);
    after(strace, command).output().unwrap()
}

/// The same command behind another.
fn after(mut first: Command, command: &Command) -> Command {
    first.arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
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
