// SPDX-License-Identifier: GPL-3.0-or-later
//! The supervisor: starts the roles from [`roles`](crate::roles), waits, and ends all when one
//! ends. It parses nothing and receives no message; after the last start it can only wait, kill and
//! reap.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use wyng_control::{Failure, MESSAGE_MAX_BYTES, ToClient, encode};
use wyng_jail::{
    Enforced, Profile, Started, User, allow_only, die_with_parent, find_group, find_user,
    inherited, is_root, keep_capabilities, no_new_privileges, packet_pair, receive_packet,
    send_packet, start,
};

use crate::ipc::Fatal;
use crate::roles::{
    CLIENTS_GROUP, CREDENTIALS_VARIABLE, Daemon, POOL_WAIT_VARIABLE, ROLES, Role,
    SUPERVISOR_CAPABILITIES, Use, WIRES,
};

/// Descriptor number of the first socket from systemd.
const SYSTEMD_PLACE: RawFd = 3;
/// Maximum number of clients that wait to be accepted.
const CLIENTS_WAITING: i32 = 64;
/// Time for the spawner to end far ends, milliseconds; longer than the spawner's own limit.
const SPAWNER_GRACE_MS: u64 = 4000;
/// Time for volumes to kill disposables, milliseconds. Volumes of a private daemon continues by
/// itself after it.
const VOLUMES_GRACE_MS: u64 = 40_000;
const PRIVATE_VOLUMES_GRACE_MS: u64 = 5000;

/// How the daemon is started.
pub struct Options {
    /// Where clients come from.
    pub clients: Clients,
    /// A daemon whose one command only looks takes no lock, and makes no folder.
    pub purpose: Use,
    /// The daemon's state directory, which is made if it is missing.
    pub state_dir: PathBuf,
    /// The configuration: volumes that the daemon opens itself, and how far ends are reached. A
    /// missing file counts as an empty one.
    pub config: Option<PathBuf>,
    /// The configuration was named, so the file must exist.
    pub config_is_named: bool,
    /// The helper's program, where it is not beside this one.
    pub helper: Option<PathBuf>,
    /// The socket of the system's journal.
    pub journal: Option<PathBuf>,
}

/// Where clients come from.
pub enum Clients {
    /// One client: this number is its connected socket, and the daemon ends with it.
    One(RawFd),
    /// A service: clients connect to this path, or to the socket that systemd has opened there.
    AtSocket(PathBuf),
}

impl Clients {
    fn daemon(&self) -> Daemon {
        match self {
            Self::One(_) => Daemon::Private,
            Self::AtSocket(_) => Daemon::Service,
        }
    }
}

/// Runs until a role ends, or a signal asks the daemon to end. Control ends when its only client is
/// done or gone; as a service it never ends by itself.
pub fn run(options: &Options) -> Result<(), Fatal> {
    let client = match options.clients {
        Clients::One(number) => {
            die_with_parent(None)?;
            Some(inherited(number)?)
        }
        Clients::AtSocket(_) => passed_by_systemd()
            .then(|| inherited(SYSTEMD_PLACE))
            .transpose()?,
    };
    let state = match take_state(options) {
        Ok(state) => state,
        Err(failure) => {
            return match (&options.clients, &client) {
                (Clients::One(_), Some(client)) => tell(client, failure),
                _ => Err(Fatal::Io(io::Error::other(failure))),
            };
        }
    };
    if let (Clients::AtSocket(_), true, Some(name)) =
        (&options.clients, is_root(), Role::Keyholder.user())
        && let Some(user) = find_user(name)?
    {
        match give(&state, user) {
            // A read-only state directory can still be read, and nothing in it is changed.
            Err(Fatal::Io(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            given => given?,
        }
    }
    let client = match (client, &options.clients) {
        (None, Clients::AtSocket(path)) => listen(path)?,
        (client, _) => client.ok_or(Fatal::Gone("the client"))?,
    };
    let mut wires = Vec::new();
    for (a, b) in WIRES {
        let (end_a, end_b) = packet_pair()?;
        wires.push((a, a.wire_to(b), end_a));
        wires.push((b, b.wire_to(a), end_b));
    }
    let owner = owner_of(&state)?;
    let stop = hear_stop()?;
    let (mut client, mut state, mut state_to_read) =
        (Some(client), Some(state.try_clone()?), Some(state));
    let mut children = Vec::new();
    let needed = |role: &Role| role.is_needed(is_root());
    for role in ROLES.into_iter().filter(needed) {
        let mut descriptors: Vec<(OwnedFd, RawFd)> = Vec::new();
        for (_, place, end) in wires.extract_if(.., |(holder, ..)| *holder == role) {
            descriptors.push((end, place.ok_or(Fatal::Gone(role.name()))?));
        }
        let extra = match role {
            Role::Control => client.take(),
            Role::Keyholder => state.take(),
            Role::Reader => state_to_read.take(),
            Role::Spawner | Role::Volumes | Role::Pool | Role::Transport => None,
        };
        descriptors.extend(extra.zip(role.extra()));
        children.push((role, start(command(role, options, &owner), descriptors)?));
    }
    // A role that is not started is gone for its peer.
    drop(wires);
    let enforced = no_new_privileges();
    for taken in [
        enforced,
        keep_capabilities(SUPERVISOR_CAPABILITIES),
        allow_only(Profile::Supervisor),
    ] {
        if let Enforced::No(reason) = taken {
            tracing::warn!(%reason, "the supervisor's jail is incomplete");
        }
    }
    wait_for_any(&children, &stop)?;
    end_all(children, options.clients.daemon())
}

/// This program again, as one role. A role needs nothing of the environment except the variable of
/// the log's level.
fn command(role: Role, options: &Options, owner: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(format!("wyngd: {}", role.name()))
        .arg("--role")
        .arg(role.name())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "WYNGD_LOG"));
    if options.clients.daemon() == Daemon::Service {
        command.arg("--service");
    }
    if matches!(role, Role::Keyholder | Role::Reader) {
        command.envs(std::env::vars_os().filter(|(name, _)| name == CREDENTIALS_VARIABLE));
    }
    if role == Role::Pool {
        command.envs(std::env::vars_os().filter(|(name, _)| name == POOL_WAIT_VARIABLE));
    }
    if let (Role::Control, Some(journal)) = (role, &options.journal) {
        command.arg("--journal").arg(journal);
    }
    if role == Role::Control && options.purpose == Use::Looks {
        command.arg("--looks");
    }
    if let (Role::Spawner | Role::Control | Role::Volumes | Role::Transport, Some(config)) =
        (role, &options.config)
    {
        command.arg("--config").arg(config);
    }
    // A daemon that only looks starts no qube, and leaves disposables of the working daemon alone.
    if role == Role::Volumes && options.purpose == Use::Works {
        command.arg("--owner").arg(owner);
    }
    if role == Role::Spawner {
        // ssh finds its agent and its configuration by these.
        command.envs(std::env::vars_os().filter(|(name, _)| {
            ["PATH", "HOME", "USER", "SSH_AUTH_SOCK"]
                .iter()
                .any(|kept| name == kept)
        }));
        if let Some(helper) = &options.helper {
            command.arg("--helper").arg(helper);
        }
    }
    command
}

/// Whether systemd opened one socket for this process (`sd_listen_fds`(3)).
fn passed_by_systemd() -> bool {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    number("LISTEN_PID") == Some(std::process::id()) && number("LISTEN_FDS") == Some(1)
}

/// Makes the socket at `path`, for its owner and group. A socket that an earlier daemon left is
/// removed, which is safe because the state directory is locked by now.
fn listen(path: &Path) -> Result<OwnedFd, Fatal> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // No client may connect before the socket has its mode.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
    rustix::process::umask(umask);
    bound?;
    if let (true, Some(group)) = (is_root(), find_group(CLIENTS_GROUP)?) {
        rustix::fs::chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    rustix::net::listen(&socket, CLIENTS_WAITING)?;
    Ok(socket)
}

/// The name by which a daemon recognises its own disposables: that of the state directory, which
/// only one daemon has at a time.
fn owner_of(state: &OwnedFd) -> Result<String, Fatal> {
    let found = rustix::fs::fstat(state)?;
    Ok(format!("{:x}-{:x}", found.st_dev, found.st_ino))
}

/// Opens the state directory, and locks it unless the daemon only looks. A failure names its path.
fn take_state(options: &Options) -> Result<OwnedFd, Failure> {
    let path = &options.state_dir;
    let unusable = |error: io::Error| Failure::StateIo {
        file: path.display().to_string(),
        errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    };
    if options.purpose == Use::Looks {
        return match open_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::NoState {
                folder: path.display().to_string(),
            }),
            opened => opened.map_err(unusable),
        };
    }
    make_durably(path).map_err(unusable)?;
    let state = open_folder(path).map_err(unusable)?;
    match rustix::fs::flock(&state, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(Failure::Busy {
            folder: path.display().to_string(),
        }),
        locked => locked
            .map(|()| state)
            .map_err(|errno| unusable(errno.into())),
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Gives files of root's in the state directory to the keyholder's user: the directory is new, or
/// root's private daemon worked there. The folder itself comes last, so that an interrupted run is
/// repeated.
///
/// The user may have put files there itself: no link is followed, and a file with a second name
/// elsewhere is left alone.
fn give(folder: &OwnedFd, user: User) -> Result<(), Fatal> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                give(
                    &rustix::fs::openat(folder, name, flags, Mode::empty())?,
                    user,
                )?;
            }
            FileType::RegularFile | FileType::Symlink
                if found.st_uid == 0 && found.st_nlink == 1 =>
            {
                rustix::fs::chownat(
                    folder,
                    name,
                    Some(user.uid),
                    Some(user.gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            _ => {}
        }
    }
    if rustix::fs::fstat(folder)?.st_uid == 0 {
        rustix::fs::fchown(folder, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_durably(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// Reports to the client that the state directory cannot be used, before any role exists.
fn tell(client: &OwnedFd, failure: Failure) -> Result<(), Fatal> {
    let exit = failure.exit();
    let version = ToClient::Hello {
        version: wyng_control::CONTROL_VERSION,
    };
    for message in [version, ToClient::Failed(failure), ToClient::Done { exit }] {
        send_packet(client.as_fd(), &encode(&message)?, &[])?;
    }
    // The kernel discards sent data when a socket is closed with unread data in it, so the client
    // closes first.
    let mut unread = vec![0; MESSAGE_MAX_BYTES];
    while receive_packet(client.as_fd(), &mut unread).is_ok_and(|(length, _)| length > 0) {}
    Ok(())
}

/// Readable when the daemon is asked to end. A disposable would outlive a daemon that just died of
/// the signal.
fn hear_stop() -> io::Result<SignalFd> {
    let stop: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    stop.thread_block()?;
    Ok(SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC)?)
}

fn wait_for_any(children: &[(Role, Started)], stop: &SignalFd) -> Result<(), Fatal> {
    let mut polled: Vec<PollFd<'_>> = children
        .iter()
        .map(|(_, started)| PollFd::new(&started.ended, PollFlags::IN))
        .collect();
    polled.push(PollFd::new(stop, PollFlags::IN));
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    Ok(())
}

/// Kills the roles that still run. Spawner and volumes see that control is gone, and first end far
/// ends and disposables. Volumes of a private daemon is left alone after its time: no other process
/// would kill the disposables that are left. The pool role is never killed, and neither is lvm: it
/// ends by itself when volumes is gone, however long that takes.
fn end_all(children: Vec<(Role, Started)>, daemon: Daemon) -> Result<(), Fatal> {
    let mut failed = None;
    let mut volumes_goes_on = false;
    let grace_ms = |role| match role {
        Role::Spawner => Some(SPAWNER_GRACE_MS),
        Role::Volumes if daemon == Daemon::Private => Some(PRIVATE_VOLUMES_GRACE_MS),
        Role::Volumes => Some(VOLUMES_GRACE_MS),
        Role::Control | Role::Pool | Role::Keyholder | Role::Reader | Role::Transport => None,
    };
    let (pool, others): (Vec<_>, Vec<_>) = children
        .into_iter()
        .partition(|(role, _)| *role == Role::Pool);
    let (last, first): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|(role, _)| grace_ms(*role).is_some());
    for (role, mut started) in first.into_iter().chain(last) {
        if let Some(grace_ms) = grace_ms(role) {
            crate::ipc::wait([(started.ended.as_fd(), PollFlags::IN)], Some(grace_ms))?;
        }
        if let Some(status) = started.child.try_wait()? {
            if !status.success() {
                failed = Some(role.name());
            }
        } else if (role, daemon) != (Role::Volumes, Daemon::Private) {
            started.child.kill()?;
            started.child.wait()?;
        } else {
            volumes_goes_on = true;
        }
    }
    for (role, mut started) in pool.into_iter().filter(|_| !volumes_goes_on) {
        if !started.child.wait()?.success() {
            failed = Some(role.name());
        }
    }
    failed.map_or(Ok(()), |name| Err(Fatal::Gone(name)))
}
