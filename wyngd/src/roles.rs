// SPDX-License-Identifier: GPL-3.0-or-later
//! READ FIRST: who holds what, and every wire between two roles. The supervisor builds the
//! processes from these tables, and the roles test compares them with `/proc`.
//!
//! - **supervisor** holds its children and their pidfds; never keys, any message, any remote byte.
//! - **spawner** holds the far end's process and its standard error; never keys, sources, targets.
//! - **control** holds the clients' sockets, and a descriptor only while it forwards it; never
//!   keys, remote bytes.
//! - **volumes** holds what the caller opened, or the configuration names, until it is handed on;
//!   clones of sources, until they are committed; in dom0 a call to qubesd, and while it makes qubes
//!   their records and one volume that is open for writing. Never keys, remote bytes.
//! - **pool** holds snapshots of thin and ZFS volumes, new volumes of a restore until they have their
//!   names or qubesd has made them a qube's, and a pool's metadata while it looks for changes. It
//!   alone starts lvm, dmsetup and zfs. Never keys, remote bytes, a client's descriptor, a volume's
//!   bytes.
//! - **keyholder** holds keys; one source or target; the state directory. Never a path outside of
//!   the state directory, a network socket, a child.
//! - **reader** holds credentials while it looks; the state directory, for reading. Never
//!   passphrases, data keys, sources, targets, remote bytes, a file open for writing.
//! - **transport** holds two pipe ends and ciphertext; never keys, plaintext, sources, targets.

use std::os::fd::RawFd;

use wyng_jail::{CapabilitySet, Profile};

/// A process of the daemon, except for the supervisor that starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Starts far ends.
    Spawner,
    /// Speaks with clients.
    Control,
    /// Opens, inspects and clones sources and targets.
    Volumes,
    /// Snapshots volumes of LVM thin pools and of ZFS.
    Pool,
    /// Holds keys.
    Keyholder,
    /// Answers commands that only look, beside the command that runs.
    Reader,
    /// Speaks with the far end.
    Transport,
}

/// The user that a role runs as, where root started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsAs {
    /// Root, with the capabilities that it keeps.
    Root,
    /// The role's own user.
    OwnUser,
}

/// Whom the daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// Every client that may connect to its socket. Where root started it, roles become users of
    /// their own.
    Service,
    /// The one client that started it, for one command. No role changes its user.
    Private,
}

/// The commands that a daemon is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Every command. The daemon locks its state.
    Works,
    /// Commands that change nothing. The daemon takes no lock.
    Looks,
}

impl Use {
    /// The purpose of a daemon that was started with or without `--looks`.
    pub fn of_looks(looks: bool) -> Self {
        if looks { Self::Looks } else { Self::Works }
    }
}

/// All roles, in the order in which they are started.
pub const ROLES: [Role; 7] = [
    Role::Spawner,
    Role::Control,
    Role::Volumes,
    Role::Pool,
    Role::Keyholder,
    Role::Reader,
    Role::Transport,
];

/// Every wire. There is no other way from one role to another.
pub const WIRES: [(Role, Role); 8] = [
    (Role::Control, Role::Spawner),     // start and end the far end
    (Role::Control, Role::Volumes),     // what the caller opened; qubes
    (Role::Control, Role::Keyholder),   // commands, results, passphrase pipes
    (Role::Control, Role::Reader),      // looks, and what they show
    (Role::Volumes, Role::Keyholder),   // sources and targets
    (Role::Keyholder, Role::Transport), // blobs, as memory files
    (Role::Spawner, Role::Transport),   // the far end's pipes
    (Role::Volumes, Role::Pool),        // snapshots of thin and ZFS volumes, what is left of them
];

/// The group whose members may connect to the service.
pub const CLIENTS_GROUP: &str = "wyng";
/// Environment variable with systemd's folder of unsealed credentials. Only keyholder and reader
/// get it.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Environment variable with the time for which another program's metadata snapshot of a thin pool
/// is waited for, seconds. Only pool gets it.
pub const POOL_WAIT_VARIABLE: &str = "WYNG_POOL_WAIT_SECS";
/// The capabilities that the supervisor keeps: it kills roles of other users.
pub const SUPERVISOR_CAPABILITIES: CapabilitySet = CapabilitySet::KILL;

/// The first descriptor after the standard streams.
const FIRST_PLACE: RawFd = 3;

impl Role {
    /// Its name in `ps`, in logs and on its command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spawner => "spawner",
            Self::Control => "control",
            Self::Volumes => "volumes",
            Self::Pool => "pool",
            Self::Keyholder => "keyholder",
            Self::Reader => "reader",
            Self::Transport => "transport",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.name() == name)
    }

    /// Whether a daemon has this role. Only root may use LVM and ZFS. Without the role, their volumes
    /// are read whole, and what lies in pools is not listed.
    pub fn is_needed(self, is_root: bool) -> bool {
        self != Self::Pool || is_root
    }

    /// The roles that it has a wire to, in the order of their descriptors.
    pub fn peers(self) -> impl Iterator<Item = Role> {
        WIRES
            .into_iter()
            .filter_map(move |(a, b)| match (a == self, b == self) {
                (true, _) => Some(b),
                (_, true) => Some(a),
                _ => None,
            })
    }

    /// The descriptor number of its wire to `peer`.
    pub fn wire_to(self, peer: Role) -> Option<RawFd> {
        (FIRST_PLACE..)
            .zip(self.peers())
            .find(|(_, found)| *found == peer)
            .map(|(place, _)| place)
    }

    /// The descriptor number of what it holds besides wires: the client's socket for control, the
    /// state directory for keyholder and reader.
    pub fn extra(self) -> Option<RawFd> {
        let after_wires = RawFd::try_from(self.peers().count())
            .ok()?
            .checked_add(FIRST_PLACE)?;
        matches!(self, Self::Control | Self::Keyholder | Self::Reader).then_some(after_wires)
    }

    /// The user that it becomes when root starts the service. The other roles stay root, with few
    /// capabilities; a private daemon never changes its user.
    pub fn user(self) -> Option<&'static str> {
        match self {
            Self::Control => Some("wyng-control"),
            Self::Keyholder | Self::Reader => Some("wyng-keys"),
            Self::Transport => Some("wyng-net"),
            Self::Spawner | Self::Volumes | Self::Pool => None,
        }
    }

    /// The capabilities that it keeps of root's.
    pub fn capabilities(self, user: RunsAs) -> CapabilitySet {
        /// State and stores may lie in a folder of another user.
        const ANY_FOLDER: CapabilitySet = CapabilitySet::DAC_OVERRIDE
            .union(CapabilitySet::DAC_READ_SEARCH)
            .union(CapabilitySet::FOWNER);
        match (self, user) {
            (Self::Control | Self::Transport, _) => CapabilitySet::empty(),
            // Volumes belong to many users, and btrfs lists compressed extents only for a process
            // with `CAP_SYS_ADMIN`. The filter leaves no other use of that capability.
            (Self::Volumes, _) => CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SYS_ADMIN),
            // lvm, dmsetup and zfs inherit the capabilities: ioctls of device-mapper and of ZFS, and
            // devices that belong to a group. While volumes are suspended, lvm must neither be swapped out,
            // maybe to one of them, nor wait for the processor.
            (Self::Pool, _) => CapabilitySet::SYS_ADMIN
                .union(CapabilitySet::DAC_OVERRIDE)
                .union(CapabilitySet::IPC_LOCK)
                .union(CapabilitySet::SYS_NICE),
            // Far ends inherit the capabilities.
            (Self::Spawner, _) => ANY_FOLDER,
            // The limit on locked memory does not apply.
            (Self::Keyholder, RunsAs::OwnUser) => CapabilitySet::IPC_LOCK,
            (Self::Keyholder, RunsAs::Root) => CapabilitySet::IPC_LOCK | ANY_FOLDER,
            (Self::Reader, RunsAs::OwnUser) => CapabilitySet::IPC_LOCK,
            (Self::Reader, RunsAs::Root) => {
                CapabilitySet::IPC_LOCK | CapabilitySet::DAC_READ_SEARCH
            }
        }
    }

    /// The system calls that it may make.
    pub fn profile(self) -> Profile {
        match self {
            Self::Spawner => Profile::Spawner,
            Self::Control => Profile::Control,
            Self::Volumes => Profile::Volumes,
            Self::Pool => Profile::Pool,
            Self::Keyholder => Profile::Keyholder,
            Self::Reader => Profile::Reader,
            Self::Transport => Profile::Transport,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_each_wire_have_a_descriptor() {
        for (a, b) in WIRES {
            assert!(
                a.wire_to(b).is_some() && b.wire_to(a).is_some(),
                "{a:?} and {b:?}"
            );
        }
    }

    #[test]
    fn no_wire_joins_the_keyholder_with_the_spawner() {
        assert_eq!(Role::Keyholder.wire_to(Role::Spawner), None);
    }

    #[test]
    fn the_pool_role_has_a_wire_to_volumes_alone_and_is_there_for_root_alone() {
        assert_eq!(Role::Pool.peers().collect::<Vec<_>>(), [Role::Volumes]);
        assert!(Role::Pool.is_needed(true) && !Role::Pool.is_needed(false));
    }

    #[test]
    fn the_reader_has_a_wire_to_control_alone() {
        assert_eq!(Role::Reader.peers().collect::<Vec<_>>(), [Role::Control]);
    }
}
