// SPDX-License-Identifier: GPL-3.0-or-later
//! Privileges that a process gives up for good.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::Enforced;

/// Keeps the programs that this process starts from gaining privileges. An ordinary user needs it
/// before a filter can be installed.
pub fn no_new_privileges() -> Enforced {
    Enforced::of(rustix::thread::set_no_new_privs(true))
}

/// Prevents core dumps, ptrace, and reading of this process's memory by other processes of the same
/// user.
pub fn not_dumpable() -> Enforced {
    Enforced::of(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    ))
}

/// Sets the maximum size of a core file to 0.
pub fn no_core() -> Enforced {
    Enforced::of(rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    ))
}

/// Makes a write past the maximum size of a file (`ulimit -f`) an error instead of a fatal signal,
/// here and in the programs that this process starts. Only the command that wrote the file fails.
pub fn outlive_file_size_limit() {
    // SAFETY: no handler is installed, so no code of this program runs in a signal's context.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Soft limit of descriptors, if the hard limit allows it. The usual soft limit is for programs
/// that still call `select`(2).
const DESCRIPTORS: u64 = 4096;

/// Raises the soft limit of descriptors. If that fails, the process goes on with the old limit.
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

/// Niceness: about a tenth of the share of other processes on a busy processor, and all of an idle
/// one.
const NICENESS: i32 = 10;

/// Yields the processor to other processes. A process that was started with a higher niceness keeps
/// it. The programs that this process starts yield too. It cannot be undone without a privilege.
///
/// Must be called while the process has one thread, because the kernel keeps the niceness for each
/// thread.
pub fn yield_processor() -> Enforced {
    match rustix::process::getpriority_process(None) {
        Ok(niceness) if niceness >= NICENESS => Enforced::Yes,
        _ => Enforced::of(rustix::process::setpriority_process(None, NICENESS)),
    }
}

/// A thread's I/O priority (`ioprio_set`(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskTurn(libc::c_int);

impl DiskTurn {
    /// Class 3: the disk is used only while no other process needs it.
    pub const IDLE: Self = Self(3 << 13);
    /// `which` and `who` of the calling thread.
    const SELF: [libc::c_int; 2] = [1, 0];

    /// The priority of the calling thread; 0 if none was set, and the kernel derives one from the
    /// niceness.
    pub fn current() -> Self {
        let [which, who] = Self::SELF;
        // SAFETY: the call takes two numbers and touches no memory.
        let found = unsafe { libc::syscall(libc::SYS_ioprio_get, which, who) };
        Self(
            libc::c_int::try_from(found)
                .ok()
                .filter(|found| *found >= 0)
                .unwrap_or(0),
        )
    }

    /// Sets the priority of the calling thread, and of the threads and processes that it starts.
    /// Requires no privilege.
    pub fn take(self) -> Enforced {
        let [which, who] = Self::SELF;
        // SAFETY: the call takes three numbers and touches no memory.
        let result = unsafe { libc::syscall(libc::SYS_ioprio_set, which, who, self.0) };
        Enforced::of(if result == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        })
    }
}

/// Has the kernel kill this process when its parent ends. Fails when the parent has ended already;
/// the caller must end then.
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

/// Keeps the kernel from killing this process, and the programs that it starts, when memory runs
/// out. Needs `CAP_SYS_RESOURCE`.
pub fn outlive_memory_shortage() -> Enforced {
    Enforced::of(std::fs::write("/proc/self/oom_score_adj", "-1000"))
}

/// Lets this process go on when its parent ends; the reverse of [`die_with_parent`].
pub fn outlive_parent() -> std::io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(None)?)
}

/// Keeps every page out of swap. Without a privilege or a sufficient limit nothing is locked, which
/// is reported.
///
/// To be called before [`empty_network_namespace`]: in its own user namespace a process has every
/// capability, and none of them counts here.
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

/// Memory that a keyholder may need while Argon2 runs with the maximum memory of the format, bytes.
const LOCK_WANTED_BYTES: u64 = 1536 << 20;

/// Enters a network namespace without any interface. An ordinary user needs a new user namespace
/// for that, which the system may refuse.
///
/// Must be called while the process has one thread.
pub fn empty_network_namespace() -> Enforced {
    match leave(UnshareFlags::NEWNET) {
        Ok(()) => Enforced::Yes,
        Err(_) => Enforced::of(in_own_user_namespace()),
    }
}

/// Enters a user namespace with the same user and group as outside, so that the same files can be
/// accessed as before.
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
    // SAFETY: unsharing FILES or VM could separate this thread from descriptors or memory that
    // others rely on; neither is requested.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}
