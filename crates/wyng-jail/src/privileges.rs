// SPDX-License-Identifier: GPL-3.0-or-later
//! What a process gives up for good.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::Enforced;

/// No program that this process starts can gain privileges; needed before a filter may be set by an
/// ordinary user.
pub fn no_new_privileges() -> Enforced {
    Enforced::of(rustix::thread::set_no_new_privs(true))
}

/// No core dump, no ptrace and no reading of its memory by other processes of the same user.
pub fn not_dumpable() -> Enforced {
    Enforced::of(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    ))
}

/// Core files have no room.
pub fn no_core() -> Enforced {
    Enforced::of(rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    ))
}

/// A write past the limit of a file's size (`ulimit -f`) is an error from now on, here and in what
/// this process starts, and no signal that ends it: the one command fails whose file it was.
pub fn outlive_file_size_limit() {
    // SAFETY: no handler is installed, so no code of ours can run in a signal's context.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// As many descriptors as are of use, where the hard limit allows them: the usual soft limit is for
/// programs that still call `select`(2).
const DESCRIPTORS: u64 = 4096;

/// Raises the soft limit of descriptors. Where that is refused, the work goes on with fewer.
pub fn allow_descriptors() {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < wanted) {
        let _ = rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum,
            },
        );
    }
}

/// So much less of a busy processor is taken (`nice`): about a tenth of what others get, and all of
/// it when nobody else wants it.
const NICENESS: i32 = 10;

/// Lets everybody else go first on the processor. Whoever was started to yield more keeps to that.
/// Without the privilege there is no way back, and what this process starts yields too.
///
/// Must be called while the process has one thread: the kernel keeps it for each.
pub fn yield_processor() -> Enforced {
    match rustix::process::getpriority_process(None) {
        Ok(niceness) if niceness >= NICENESS => Enforced::Yes,
        _ => Enforced::of(rustix::process::setpriority_process(None, NICENESS)),
    }
}

/// How a thread stands in line for the disk (`ioprio_set`(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskTurn(libc::c_int);

impl DiskTurn {
    /// Only when nobody else wants it: class 3.
    pub const IDLE: Self = Self(3 << 13);
    /// This process or thread.
    const SELF: [libc::c_int; 2] = [1, 0];

    /// The calling thread's. Where nobody chose one, the kernel makes it of the niceness.
    pub fn current() -> Self {
        let [which, who] = Self::SELF;
        // SAFETY: it takes two numbers and touches no memory.
        let found = unsafe { libc::syscall(libc::SYS_ioprio_get, which, who) };
        Self(
            libc::c_int::try_from(found)
                .ok()
                .filter(|found| *found >= 0)
                .unwrap_or(0),
        )
    }

    /// From now on it is the calling thread's, and that of what it starts. Needs no privilege.
    pub fn take(self) -> Enforced {
        let [which, who] = Self::SELF;
        // SAFETY: it takes three numbers and touches no memory.
        let result = unsafe { libc::syscall(libc::SYS_ioprio_set, which, who, self.0) };
        Enforced::of(if result == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        })
    }
}

/// The kernel kills this process when its parent ends. Fails when the parent has ended already:
/// then the caller must end.
pub fn die_with_parent(parent: Option<u32>) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid()
        .and_then(|pid| u32::try_from(Pid::as_raw_nonzero(pid).get()).ok());
    if parent.is_none() || now == parent {
        Ok(())
    } else {
        Err(std::io::Error::other("the parent has ended"))
    }
}

/// This process goes on when its parent ends, though it was started to end with it.
pub fn outlive_parent() -> std::io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(None)?)
}

/// Keeps every page out of swap. Without the privilege only what fits the limit can be locked, and
/// that is told.
///
/// To be called before [`empty_network_namespace`]: in a user namespace of its own a process has
/// every capability, and none that counts.
pub fn lock_memory() -> Enforced {
    let limit = rustix::process::getrlimit(Resource::Memlock).current;
    let may_exceed = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // Locking all future pages under a small limit would make later allocations fail instead of
    // protecting them.
    match limit {
        Some(bytes) if bytes < LOCK_WANTED_BYTES && !may_exceed => {
            Enforced::No(format!("only {bytes} bytes may be locked"))
        }
        _ => Enforced::of(rustix::mm::mlockall(
            MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT,
        )),
    }
}

/// What a keyholder may need while Argon2 runs with the largest memory that the format accepts.
const LOCK_WANTED_BYTES: u64 = 1536 << 20;

/// A network namespace without any interface. An ordinary user may need a user namespace of its own
/// for that, which the system may refuse.
///
/// Must be called while the process has one thread.
pub fn empty_network_namespace() -> Enforced {
    match leave(UnshareFlags::NEWNET) {
        Ok(()) => Enforced::Yes,
        Err(_) => Enforced::of(in_own_user_namespace()),
    }
}

/// The same user and group as outside: only files that were open or belong to this user are
/// reached, as before.
fn in_own_user_namespace() -> std::io::Result<()> {
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    leave(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn leave(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: only FILES and VM unsharing could part this thread from descriptors or memory that
    // others rely on; neither is asked.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}
