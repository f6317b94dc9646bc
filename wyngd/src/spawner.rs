// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that starts far ends: one of a few fixed argument vectors, its pipes to the transport,
//! its standard error drained. It never sees a byte of the protocol.

mod launch;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ChildStderr, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use wyng_config::Qubes;
use wyng_control::{Failure, Via};
use wyng_jail::{DiskTurn, Started, start};

use crate::ipc::{
    ControlToSpawner, Fatal, Service, SpawnerToControl, SpawnerToTransport, TransportToSpawner,
    Wire, enter_jail, not_enforced,
};
use crate::roles::{Daemon, Role};
use launch::{Ending, HELPER, Launch, Launcher};

const HELPER_FALLBACK: &str = "/usr/libexec/wyng/wyng-transport-vm";
/// Size of a far end's pipes, bytes: the far end can work while the transport waits for the
/// keyholder.
const PIPE_BYTES: usize = 1 << 20;
/// Maximum of a far end's standard error that is logged, bytes; the rest is read and dropped.
const DIAGNOSTICS_MAX_BYTES: usize = 16 * 1024;
/// Time in which a far end must end once its pipes are closed.
const GRACE: Duration = Duration::from_secs(3);

/// A far end that runs.
struct FarEnd {
    service: Service,
    ending: Ending,
    started: Started,
    stderr: Option<ChildStderr>,
    logged_bytes: usize,
    /// When it is killed, once it is not needed any more.
    until: Option<Instant>,
    killed: bool,
}

/// Serves until control is gone, then ends every far end. `helper` is the helper's program on this
/// machine, where it is not beside this program.
pub fn run(daemon: Daemon, helper: Option<PathBuf>, qubes: Qubes) -> Result<(), Fatal> {
    let control = Wire::inherited(Role::Spawner, Role::Control)?;
    let transport = Wire::inherited(Role::Spawner, Role::Transport)?;
    let launcher = Launcher::new(helper.unwrap_or_else(find_helper), qubes);
    let missing = enter_jail(Role::Spawner, daemon, Vec::new);
    control.send(&SpawnerToControl::Ready(not_enforced(missing)), &[])?;
    let mut spawner = Spawner {
        control,
        transport,
        launcher,
        far_ends: Vec::new(),
    };
    loop {
        let (from_control, ready) = wait_for_something(&spawner.control, &spawner.far_ends)?;
        spawner.look_after(&ready)?;
        if !from_control {
            continue;
        }
        match spawner.control.receive() {
            Err(Fatal::Gone(_)) => return end_all(spawner.far_ends),
            received => spawner.take(received?.message)?,
        }
    }
}

struct Spawner {
    control: Wire<SpawnerToControl, ControlToSpawner>,
    transport: Wire<SpawnerToTransport, TransportToSpawner>,
    launcher: Launcher,
    far_ends: Vec<FarEnd>,
}

impl Spawner {
    /// Drains standard error, reaps far ends that have ended, and kills those whose time is over.
    fn look_after(&mut self, ready: &[Ready]) -> Result<(), Fatal> {
        for (far_end, ready) in self.far_ends.iter_mut().zip(ready) {
            if ready.stderr {
                far_end.drain();
            }
        }
        let ended: Vec<bool> = ready.iter().map(|ready| ready.ended).collect();
        reap(&self.control, &mut self.far_ends, &ended)?;
        let now = Instant::now();
        for far_end in self
            .far_ends
            .iter_mut()
            .filter(|far_end| far_end.until.is_some_and(|until| until <= now))
        {
            far_end.started.child.kill()?;
            (far_end.until, far_end.killed) = (None, true);
        }
        Ok(())
    }

    fn take(&mut self, message: ControlToSpawner) -> Result<(), Fatal> {
        match message {
            ControlToSpawner::EndAll => self.far_ends.iter_mut().for_each(FarEnd::end),
            ControlToSpawner::End { service } => self
                .far_ends
                .iter_mut()
                .filter(|far_end| far_end.service == service)
                .for_each(FarEnd::end),
            ControlToSpawner::Start { service, via, qube } => {
                return self.start(service, &via, qube.as_deref());
            }
        }
        Ok(())
    }

    /// Starts a far end and hands its pipes to the transport; reports to control that it runs, or
    /// why it does not.
    fn start(&mut self, service: Service, via: &Via, qube: Option<&str>) -> Result<(), Fatal> {
        let launch = self.launcher.launch(service.into(), via, qube);
        match launch.and_then(|launch| start_far_end(service, launch)) {
            Ok((far_end, pipes)) => {
                self.transport.send(
                    &SpawnerToTransport::Pipes { service },
                    &pipes.each_ref().map(AsFd::as_fd),
                )?;
                self.far_ends.push(far_end);
                self.control
                    .send(&SpawnerToControl::Started { service }, &[])
            }
            Err(failure) => self
                .control
                .send(&SpawnerToControl::NotStarted { service, failure }, &[]),
        }
    }
}

/// Which of a far end's descriptors are ready.
struct Ready {
    ended: bool,
    stderr: bool,
}

fn wait_for_something(
    control: &Wire<SpawnerToControl, ControlToSpawner>,
    far_ends: &[FarEnd],
) -> Result<(bool, Vec<Ready>), Fatal> {
    let mut polled = vec![PollFd::new(control, PollFlags::IN)];
    for far_end in far_ends {
        polled.push(PollFd::new(&far_end.started.ended, PollFlags::IN));
        polled.extend(
            far_end
                .stderr
                .as_ref()
                .map(|stderr| PollFd::new(stderr, PollFlags::IN)),
        );
    }
    let left = far_ends
        .iter()
        .filter_map(|far_end| far_end.until)
        .min()
        .map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))?;
    let mut events = polled
        .iter()
        .map(|descriptor| !descriptor.revents().is_empty());
    let from_control = events.next().unwrap_or(false);
    let ready = far_ends.iter().map(|far_end| Ready {
        ended: events.next().unwrap_or(false),
        stderr: far_end.stderr.is_some() && events.next().unwrap_or(false),
    });
    Ok((from_control, ready.collect()))
}

/// Starts a far end's program. Returns the far end, and the pipes to it and from it.
fn start_far_end(
    service: Service,
    Launch {
        mut command,
        ending,
    }: Launch,
) -> Result<(FarEnd, [OwnedFd; 2]), Failure> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let program = command.get_program().to_owned();
    let not_started = |errno: Errno| ending.not_started(&program, errno.raw_os_error());
    // A far end inherits the disk's turn. A backup waits for everybody else; a person waits for
    // what is read back.
    let usual = DiskTurn::current();
    if service == Service::Push {
        DiskTurn::IDLE.take();
    }
    let started = start(command, Vec::new());
    usual.take();
    let mut started =
        started.map_err(|error| not_started(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let (Some(to), Some(from)) = (started.child.stdin.take(), started.child.stdout.take()) else {
        return Err(not_started(Errno::PIPE));
    };
    let pipes = [OwnedFd::from(to), OwnedFd::from(from)];
    for pipe in &pipes {
        // a smaller pipe only costs time
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    let stderr = started.child.stderr.take();
    let far_end = FarEnd {
        service,
        ending,
        started,
        stderr,
        logged_bytes: 0,
        until: None,
        killed: false,
    };
    Ok((far_end, pipes))
}

/// The helper's path: beside this program, else where packages put it.
fn find_helper() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(HELPER)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(HELPER_FALLBACK))
}

fn reap(
    control: &Wire<SpawnerToControl, ControlToSpawner>,
    far_ends: &mut Vec<FarEnd>,
    ended: &[bool],
) -> Result<(), Fatal> {
    let mut place = 0usize;
    for mut far_end in far_ends.extract_if(.., |_| {
        let ended = ended.get(place).copied().unwrap_or(false);
        place = place.saturating_add(1);
        ended
    }) {
        let status = far_end.started.child.wait()?;
        let failure = if far_end.killed {
            Some(Failure::FarEndLost)
        } else {
            far_end.ending.failure(status)
        };
        let peak_rss_bytes = wyng_jail::peak_resident_bytes()
            .saturating_add(wyng_jail::peak_resident_of_children_bytes());
        control.send(
            &SpawnerToControl::Ended {
                service: far_end.service,
                failure,
                peak_rss_bytes,
            },
            &[],
        )?;
    }
    Ok(())
}

/// Ends far ends, whose pipes are closed with the transport. Those that do not end in time are
/// killed.
fn end_all(far_ends: Vec<FarEnd>) -> Result<(), Fatal> {
    let deadline = Instant::now() + GRACE;
    for mut far_end in far_ends {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let waited = crate::ipc::wait(
            [(far_end.started.ended.as_fd(), PollFlags::IN)],
            u64::try_from(left).ok(),
        )?;
        if waited == [false] {
            far_end.started.child.kill()?;
        }
        far_end.started.child.wait()?;
    }
    Ok(())
}

impl FarEnd {
    /// Starts the time in which the far end must end, its pipes being closed.
    fn end(&mut self) {
        if !self.killed {
            self.until = self.until.or_else(|| Some(Instant::now() + GRACE));
        }
    }

    /// Reads standard error, so that the far end never blocks on it. The text is untrusted: it is
    /// escaped, bounded and labelled as such.
    fn drain(&mut self) {
        let Some(stderr) = &mut self.stderr else {
            return;
        };
        let mut buffer = [0; 4096];
        match stderr.read(&mut buffer) {
            Ok(0) | Err(_) => self.stderr = None,
            Ok(length) => {
                if self.logged_bytes < DIAGNOSTICS_MAX_BYTES {
                    let text = buffer
                        .get(..length)
                        .unwrap_or_default()
                        .escape_ascii()
                        .to_string();
                    tracing::debug!(untrusted = %text, "the far end says");
                }
                self.logged_bytes = self.logged_bytes.saturating_add(length);
            }
        }
    }
}
