// SPDX-License-Identifier: GPL-3.0-or-later
//! seccomp: the system calls that a role may make. Any other call kills the process at once.
//!
//! The lists have the calls that the runtime (threads, allocation, unwinding, exit; glibc and musl)
//! and a role's own work need, grouped by purpose. `tests/` runs every role through its work, exit
//! and panic under them.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, BpfProgramRef, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use crate::Enforced;
use crate::discard::BLKDISCARD;
use crate::extents::{BTRFS_IOC_TREE_SEARCH_V2, FICLONE, FS_IOC_FIEMAP};

/// A process to which a list belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The supervisor: waits for its children, kills and reaps them.
    Supervisor,
    /// The spawner: starts far ends, which inherit its filter. So this filter lists the calls that
    /// are forbidden instead of those that are allowed.
    Spawner,
    /// Control: passes messages and descriptors.
    Control,
    /// Volumes: examines descriptors that others opened, clones them into files that others made,
    /// and lists extents.
    Volumes,
    /// The same, and opens configured volumes and keeps base snapshots.
    VolumesByName,
    /// The same, and calls qubesd over its local socket.
    VolumesInDom0,
    /// The pool role: starts lvm and dmsetup, which inherit its filter. So this filter, too, lists
    /// the calls that are forbidden.
    Pool,
    /// The keyholder: uses the state directory, one volume and memory files.
    Keyholder,
    /// A keyholder that only reads the state directory. It has no call that changes a file, and
    /// cannot open a file for writing.
    Reader,
    /// Transport: reads and writes two pipes and memory files.
    Transport,
    /// The helper, with its folder open: adds files.
    HelperPush,
    /// The helper, with its folder open: removes files.
    HelperPrune,
    /// The helper, with its folder open: reads files.
    HelperFetch,
    /// The helper of a store behind the network: sends blobs. It can open no file.
    NetworkPush,
    /// The helper of a store behind the network: asks for deletions. It can open no file, and make
    /// no pipe.
    NetworkPrune,
    /// The helper of a store behind the network: receives blobs. It can open no file.
    NetworkFetch,
    /// The helper, with ssh started: reads and writes pipes.
    HelperPipes,
}

/// Installs a profile for all threads of the process. [`crate::no_new_privileges`] must be called
/// first.
pub fn allow_only(profile: Profile) -> Enforced {
    Enforced::of(install(profile))
}

fn install(profile: Profile) -> Result<(), Box<dyn std::error::Error>> {
    if profile == Profile::HelperPipes {
        // glibc looks into a file of /proc when a thread gives memory back, and can do without it.
        apply(
            rules(&[libc::SYS_openat], &[])?,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EACCES as u32),
        )?;
    }
    let allowed: &[&[c_long]] = match profile {
        Profile::Spawner | Profile::Pool => return install_for_programs(),
        Profile::Supervisor => &[CHILDREN],
        Profile::Control => &[PACKETS, CLIENTS],
        Profile::Volumes => &[PACKETS, LOOKING],
        Profile::VolumesByName => &[PACKETS, LOOKING, OPENING, RECOGNISING, SNAPSHOTS],
        Profile::VolumesInDom0 => &[PACKETS, LOOKING, OPENING, RECOGNISING, SNAPSHOTS, CALLING],
        Profile::Keyholder => &[PACKETS, STATE_FILES],
        Profile::Reader => &[PACKETS, READING],
        Profile::Transport => &[PACKETS, PIPES],
        Profile::HelperPush => &[STORE, STORE_ADDS],
        Profile::HelperPrune => &[STORE, STORE_REMOVES],
        Profile::HelperFetch => &[STORE, STORE_READS],
        Profile::NetworkPush | Profile::NetworkFetch => &[NETWORK, NETWORK_PIPES],
        Profile::NetworkPrune => &[NETWORK],
        Profile::HelperPipes => &[STORE_PIPES],
    };
    let ioctls: &[u32] = match profile {
        Profile::Volumes | Profile::VolumesByName | Profile::VolumesInDom0 => {
            &[FICLONE, FS_IOC_FIEMAP, BTRFS_IOC_TREE_SEARCH_V2]
        }
        Profile::Keyholder => &[BLKDISCARD],
        _ => &[],
    };
    let mut rules = rules(&[&[RUNTIME], allowed].concat().concat(), ioctls)?;
    let families = match profile {
        Profile::NetworkPush | Profile::NetworkPrune | Profile::NetworkFetch => {
            [libc::AF_INET, libc::AF_INET6].as_slice()
        }
        _ => &[libc::AF_UNIX],
    };
    if let Some(socket) = rules.get_mut(&libc::SYS_socket) {
        for family in families {
            socket.push(SeccompRule::new(vec![socket_of(*family)?])?);
        }
    }
    if profile == Profile::Reader {
        rules
            .entry(libc::SYS_openat)
            .or_default()
            .push(SeccompRule::new(vec![opened_for_reading()?])?);
    }
    if families.contains(&libc::AF_INET) {
        // The C library's allocator looks at a setting of the kernel when it gives memory back, and
        // can do without. Of two filters the stricter one counts.
        apply(
            self::rules(&[libc::SYS_openat], &[])?,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EACCES as u32),
        )?;
    }
    apply(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// Installs three filters; the strictest result counts.
fn install_for_programs() -> Result<(), Box<dyn std::error::Error>> {
    let errno = |errno: i32| SeccompAction::Errno(errno as u32);
    // Without clone3, libc starts threads and processes by `clone`, whose flags a filter can see.
    apply(
        rules(UNKNOWN_TO_FAR_ENDS, &[])?,
        SeccompAction::Allow,
        errno(libc::ENOSYS),
    )?;
    let mut namespaces = Rules::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag as u32);
        let asked = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(flag),
            flag,
        )?;
        namespaces
            .entry(libc::SYS_clone)
            .or_default()
            .push(SeccompRule::new(vec![asked])?);
    }
    apply(namespaces, SeccompAction::Allow, errno(libc::EPERM))?;
    kill_other_numbers()?;
    apply(
        rules(DANGEROUS, &[])?,
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Rules for `calls` with any arguments, and for ioctl with these requests.
fn rules(calls: &[c_long], ioctls: &[u32]) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    for request in ioctls {
        let request = SeccompCondition::new(
            1,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(*request),
        )?;
        rules
            .entry(libc::SYS_ioctl)
            .or_default()
            .push(SeccompRule::new(vec![request])?);
    }
    Ok(rules)
}

fn apply(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<(), Box<dyn std::error::Error>> {
    let arch = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()?;
    apply_program(&program)
}

fn apply_program(program: BpfProgramRef<'_>) -> Result<(), Box<dyn std::error::Error>> {
    Ok(seccompiler::apply_filter_all_threads(program)?)
}

/// On x86-64 every call has a second number, that of the x32 ABI, under the same architecture. A
/// list of forbidden calls must forbid those too; a list of allowed calls has none of them.
fn kill_other_numbers() -> Result<(), Box<dyn std::error::Error>> {
    const X32_FIRST: u32 = 0x4000_0000;
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS, of `seccomp_data.nr` at offset 0
    const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    if !cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    apply_program(&[
        sock_filter {
            code: LOAD_NUMBER,
            jt: 0,
            jf: 0,
            k: 0,
        },
        sock_filter {
            code: JUMP_IF_AT_LEAST,
            jt: 0,
            jf: 1,
            k: X32_FIRST,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_KILL_PROCESS,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        },
    ])
}

/// The condition that `socket` makes a socket of this family.
fn socket_of(family: libc::c_int) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        u64::from(family as u32),
    )
}

/// The condition that `openat` has no flag that writes, creates or truncates a file.
fn opened_for_reading() -> Result<SeccompCondition, seccompiler::BackendError> {
    let changes = libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_TRUNC
        | libc::O_APPEND
        | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(u64::from(changes as u32)),
        0,
    )
}

/// Calls that neither the spawner nor any far end (ssh, qrexec-client, the helper) needs, nor the
/// pool role and its programs (lvm, dmsetup).
const DANGEROUS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_acct,
];

/// Calls that a far end may try and can do without; they fail as under a kernel that lacks them.
/// ssh uses keyrings where Kerberos keeps its tickets there, an event loop may use io_uring.
const UNKNOWN_TO_FAR_ENDS: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_clone3,
];

/// Flags of `clone` that make a namespace. A user namespace needs no privilege, and gives every
/// privilege inside.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The calls of every Rust program: memory, threads, clocks, standard error, exit.
const RUNTIME: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_prctl,
    libc::SYS_membarrier,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Messages between roles, with descriptors.
const PACKETS: &[c_long] = &[libc::SYS_sendmsg, libc::SYS_recvmsg];

/// Accepting clients, and identifying them.
const CLIENTS: &[c_long] = &[libc::SYS_accept4, libc::SYS_getsockopt];

/// Ending and reaping roles.
const CHILDREN: &[c_long] = &[
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_read,
];

/// Finding out the kind and size of a file.
const LOOKING: &[c_long] = &[
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
];

/// Opening configured sources, to which Landlock restricts them.
const OPENING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Recognising a device and finding its mounts: files of `/sys`, lists that were opened before,
/// targets of links.
const RECOGNISING: &[c_long] = &[libc::SYS_read, libc::SYS_readlinkat];

/// Base snapshots, in the folders to which Landlock restricts them: they are made without a name,
/// named when their session is committed, and removed by the next one.
const SNAPSHOTS: &[c_long] = &[
    libc::SYS_fsync,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_getdents64,
];

/// Calling a local socket, whose kind is checked (the network namespace is empty), redirecting
/// standard error, memory files for what was answered, and the journal of new qubes.
const CALLING: &[c_long] = &[
    libc::SYS_memfd_create,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_read,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
];

/// Files below the state directory, to which Landlock restricts them, sources and targets, memory
/// files.
const STATE_FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_getdents64,
    libc::SYS_fadvise64,
    libc::SYS_preadv2,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_memfd_create,
    libc::SYS_faccessat,
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_fstatfs,
];

/// Files below the state directory, read only.
const READING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fstatfs,
];

/// The pipe to the far end, and memory files.
const PIPES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_splice,
    libc::SYS_sendfile,
    libc::SYS_fstat,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
];

/// The helper's pipes, and its folder through the open descriptor.
const STORE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pipe2,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
];

/// The pipes to the daemon and to ssh. Every `openat` fails, by a filter of its own.
const STORE_PIPES: &[c_long] = &[libc::SYS_read, libc::SYS_pipe2, libc::SYS_openat];

/// Temporary files, their names, and the file under a name that is taken.
const STORE_ADDS: &[c_long] = &[
    libc::SYS_splice,
    libc::SYS_fadvise64,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_fstatfs,
];

const STORE_REMOVES: &[c_long] = &[libc::SYS_unlinkat, libc::SYS_fsync];

const STORE_READS: &[c_long] = &[
    libc::SYS_pread64,
    libc::SYS_splice,
    libc::SYS_sendfile,
    libc::SYS_lseek,
    libc::SYS_syncfs,
    libc::SYS_fadvise64,
];

/// Sockets of the internet, whose kind is checked, and the event loop that waits for them. Nothing
/// listens: `bind` chooses the port from which a name is looked up.
const NETWORK: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_read,
    libc::SYS_readv,
    // It fails; see `install`.
    libc::SYS_openat,
];

/// A pipe between the threads of a push, and the one that pieces of a blob would be moved through.
const NETWORK_PIPES: &[c_long] = &[libc::SYS_pipe2];
