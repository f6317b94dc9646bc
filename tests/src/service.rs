// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon as a service over a sandbox's state, in the foreground.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

/// Time limit of a wait: longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon; killed when dropped.
pub struct Service {
    process: Child,
}

impl Service {
    /// Starts a daemon with the sandbox's programs, and makes the sandbox's commands use it.
    pub fn start(sandbox: &mut Sandbox) -> Self {
        Self::start_with(sandbox, &[])
    }

    /// The same as [`start`](Self::start), with more arguments for the daemon.
    pub fn start_with(sandbox: &mut Sandbox, arguments: &[&str]) -> Self {
        let mut command = Self::command(sandbox, arguments);
        Self::started(sandbox, &mut command)
    }

    /// The daemon over the sandbox's state, not yet run.
    pub fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
        let mut command = Command::new(sandbox.program("wyngd"));
        command
            .arg("--socket")
            .arg(sandbox.path("socket"))
            .arg("--state-dir")
            .arg(sandbox.state())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs [`command`](Self::command), and makes the sandbox's commands use it.
    pub fn started(sandbox: &mut Sandbox, command: &mut Command) -> Self {
        let socket = sandbox.path("socket");
        let service = Self {
            process: command.spawn().unwrap(),
        };
        let mut connection = None;
        until("the daemon listens", || {
            connection = connect(&socket);
            connection.is_some()
        });
        // The daemon greets when every role is in its jail.
        rustix::net::recv(
            connection.unwrap(),
            &mut [0; 64],
            rustix::net::RecvFlags::empty(),
        )
        .unwrap();
        sandbox.talk_to(socket);
        service
    }

    /// All processes of the daemon.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.process.id()];
        let mut place = 0;
        while let Some(process) = found.get(place) {
            let children =
                std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
                    .unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .map(|child| child.parse::<u32>().unwrap()),
            );
            place += 1;
        }
        found
    }

    /// The process of a role.
    pub fn role(&self, name: &str) -> u32 {
        let title = format!("wyngd: {name}\0");
        let is_it = |process: &u32| {
            std::fs::read(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| line.starts_with(title.as_bytes()))
        };
        self.processes().into_iter().find(is_it).unwrap()
    }

    /// Asks the daemon to end, and waits until all of its processes have ended.
    pub fn stop(mut self) {
        let processes = self.processes();
        run_kill("-TERM", self.process.id());
        self.process.wait().unwrap();
        until("every process has ended", || {
            !processes.iter().any(|&process| is_alive(process))
        });
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to the daemon, if it listens.
pub fn connect(socket: &PathBuf) -> Option<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let connection = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::connect(&connection, &SocketAddrUnix::new(socket).unwrap())
        .ok()
        .map(|()| connection)
}

/// Opens a gate (a FIFO) from outside, once a helper waits at it.
pub fn reached(gate: &Path) -> File {
    let mut opened = None;
    until("a helper waits at the gate", || {
        opened = File::options()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(gate)
            .ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// Sends a signal to a process.
pub fn run_kill(signal: &str, process: u32) {
    crate::disk::run(Command::new("kill").arg(signal).arg(process.to_string()));
}

/// Waits until a condition holds, and fails if it never does.
#[track_caller]
pub fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "in vain: until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A zombie process holds nothing any more, not even a lock.
fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| {
        status
            .lines()
            .any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
    })
}
