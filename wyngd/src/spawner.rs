// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that starts far ends: one of a few fixed argument vectors, its pipes to the transport, its standard error drained. It never
//! sees a byte of the protocol.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use wyng_jail::{Started, start};

use crate::ipc::{
    ControlToSpawner, Fatal, Received, Service, SpawnerToControl, SpawnerToTransport, TransportToSpawner, Wire, enter_jail, not_enforced,
};
use crate::roles::Role;

const HELPER: &str = "wyng-transport-vm";
const HELPER_FALLBACK: &str = "/usr/libexec/wyng/wyng-transport-vm";
/// Pipes of this size let the far end work while the transport waits for the keyholder.
const PIPE_BYTES: usize = 1 << 20;
/// So much of a far end's standard error is logged; the rest is drained all the same.
const DIAGNOSTICS_MAX_BYTES: usize = 16 * 1024;
/// A far end whose pipes are closed has so long to end.
const GRACE: Duration = Duration::from_secs(3);

/// A far end that runs.
struct FarEnd {
    service: Service,
    started: Started,
    stderr: Option<ChildStderr>,
    logged_bytes: usize,
    /// When it is killed, once its command is over.
    until: Option<Instant>,
}

/// Serves until control is gone; then every far end is ended.
pub fn run(service: bool, helper: Option<PathBuf>) -> Result<(), Fatal> {
    let control: Wire<SpawnerToControl, ControlToSpawner> = Wire::inherited(Role::Spawner, Role::Control)?;
    let transport: Wire<SpawnerToTransport, TransportToSpawner> = Wire::inherited(Role::Spawner, Role::Transport)?;
    let helper = helper.unwrap_or_else(find_helper);
    let missing = enter_jail(Role::Spawner, service, Vec::new);
    control.send(&SpawnerToControl::Ready(not_enforced(missing)), &[])?;
    let mut far_ends: Vec<FarEnd> = Vec::new();
    loop {
        let (from_control, ready) = wait_for_something(&control, &far_ends)?;
        for (far_end, ready) in far_ends.iter_mut().zip(&ready) {
            if ready.stderr {
                far_end.drain();
            }
        }
        let ended: Vec<bool> = ready.iter().map(|ready| ready.ended).collect();
        reap(&control, &mut far_ends, &ended)?;
        for far_end in far_ends.iter_mut().filter(|far_end| far_end.until.is_some_and(|until| until <= Instant::now())) {
            far_end.started.child.kill()?;
            far_end.until = None;
        }
        if !from_control {
            continue;
        }
        match control.receive() {
            Err(Fatal::Gone(_)) => return end_all(far_ends),
            Ok(Received { message: ControlToSpawner::EndAll, .. }) => {
                let until = Instant::now() + GRACE;
                far_ends.iter_mut().for_each(|far_end| far_end.until = Some(until));
            }
            received => {
                let ControlToSpawner::Start { service, via } = received?.message else { continue };
                far_ends.extend(start_far_end(&control, &transport, &helper, service, &via)?);
            }
        }
    }
}

/// Which of a far end's descriptors have something.
struct Ready {
    ended: bool,
    stderr: bool,
}

fn wait_for_something(control: &Wire<SpawnerToControl, ControlToSpawner>, far_ends: &[FarEnd]) -> Result<(bool, Vec<Ready>), Fatal> {
    let mut polled = vec![PollFd::new(control, PollFlags::IN)];
    for far_end in far_ends {
        polled.push(PollFd::new(&far_end.started.ended, PollFlags::IN));
        polled.extend(far_end.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
    }
    let left = far_ends.iter().filter_map(|far_end| far_end.until).min().map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))?;
    let mut events = polled.iter().map(|descriptor| !descriptor.revents().is_empty());
    let from_control = events.next().unwrap_or(false);
    let ready = far_ends
        .iter()
        .map(|far_end| Ready { ended: events.next().unwrap_or(false), stderr: far_end.stderr.is_some() && events.next().unwrap_or(false) });
    Ok((from_control, ready.collect()))
}

fn start_far_end(
    control: &Wire<SpawnerToControl, ControlToSpawner>,
    transport: &Wire<SpawnerToTransport, TransportToSpawner>,
    helper: &std::path::Path,
    service: Service,
    via: &str,
) -> Result<Option<FarEnd>, Fatal> {
    let not_started = |errno: i32| control.send(&SpawnerToControl::NotStarted { service, errno }, &[]).map(|()| None);
    let Some(mut command) = command(helper, service, via) else { return not_started(Errno::INVAL.raw_os_error()) };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut started = match start(command, Vec::new()) {
        Ok(started) => started,
        Err(error) => return not_started(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())),
    };
    let (Some(to), Some(from)) = (started.child.stdin.take(), started.child.stdout.take()) else {
        return not_started(Errno::PIPE.raw_os_error());
    };
    let (to, from) = (OwnedFd::from(to), OwnedFd::from(from));
    for pipe in [&to, &from] {
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES); // a smaller pipe only costs time
    }
    let stderr = started.child.stderr.take();
    transport.send(&SpawnerToTransport::Pipes { service }, &[to.as_fd(), from.as_fd()])?;
    control.send(&SpawnerToControl::Started { service }, &[])?;
    Ok(Some(FarEnd { service, started, stderr, logged_bytes: 0, until: None }))
}

/// The argument vector of a far end; nothing of it goes through a shell here.
fn command(helper: &std::path::Path, service: Service, via: &str) -> Option<Command> {
    let verb = wyng_wire::Service::from(service).verb();
    if via == "local" {
        let mut command = Command::new(helper);
        command.arg(verb).env_clear();
        return Some(command);
    }
    let host = via.strip_prefix("ssh:").filter(|host| is_host(host))?;
    let mut command = Command::new("ssh");
    let arguments: [OsString; 6] = ["-T".into(), "-oBatchMode=yes".into(), "--".into(), host.into(), HELPER.into(), verb.into()];
    command.args(arguments);
    Some(command)
}

/// `[user@]host`, which can be neither an option nor a command.
fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b':');
    (1..=255).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(plain)
}

/// Beside this program, else where packages put it.
fn find_helper() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(HELPER)));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(HELPER_FALLBACK))
}

fn reap(control: &Wire<SpawnerToControl, ControlToSpawner>, far_ends: &mut Vec<FarEnd>, ended: &[bool]) -> Result<(), Fatal> {
    let mut place = 0usize;
    for mut far_end in far_ends.extract_if(.., |_| {
        let ended = ended.get(place).copied().unwrap_or(false);
        place = place.saturating_add(1);
        ended
    }) {
        let success = far_end.started.child.wait()?.success();
        let peak_rss_bytes = wyng_jail::peak_resident_bytes().saturating_add(wyng_jail::peak_resident_of_children_bytes());
        control.send(&SpawnerToControl::Ended { service: far_end.service, success, peak_rss_bytes }, &[])?;
    }
    Ok(())
}

/// Their pipes are closed with the transport; those that do not end by themselves are killed.
fn end_all(far_ends: Vec<FarEnd>) -> Result<(), Fatal> {
    let deadline = Instant::now() + GRACE;
    for mut far_end in far_ends {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let waited = crate::ipc::wait([(far_end.started.ended.as_fd(), PollFlags::IN)], u64::try_from(left).ok())?;
        if waited == [false] {
            far_end.started.child.kill()?;
        }
        far_end.started.child.wait()?;
    }
    Ok(())
}

impl FarEnd {
    /// Takes what standard error has, so that the far end never blocks on it. It is text from elsewhere: escaped, capped, labelled.
    fn drain(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut buffer = [0; 4096];
        match stderr.read(&mut buffer) {
            Ok(0) | Err(_) => self.stderr = None,
            Ok(length) => {
                if self.logged_bytes < DIAGNOSTICS_MAX_BYTES {
                    let text = buffer.get(..length).unwrap_or_default().escape_ascii().to_string();
                    tracing::debug!(untrusted = %text, "the far end says");
                }
                self.logged_bytes = self.logged_bytes.saturating_add(length);
            }
        }
    }
}
