// SPDX-License-Identifier: GPL-3.0-or-later
//! READ FIRST: who holds what, and every wire between two roles. The supervisor builds the
//! processes from these tables, and the roles test compares them with `/proc`.
//!
//! | role | holds | never holds |
//! |---|---|---|
//! | supervisor | children, their pidfds | keys, any message, any remote byte |
//! | spawner | the far end's process and its stderr | keys, sources, targets |
//! | control | the client's socket | keys, remote bytes; a descriptor only while it forwards it |
//! | volumes | what the caller opened, or the configuration names, until it is handed on; clones of sources, until they are committed; in dom0 a call to qubesd | keys, remote bytes |
//! | keyholder | keys; one source or target; the state directory | a path outside of the state, a network socket, a child |
//! | reader | credentials while it looks; the state directory, for reading | passphrases, data keys, sources, targets, remote bytes, a file open for writing |
//! | transport | two pipe ends, ciphertext | keys, plaintext, sources, targets |

use std::os::fd::RawFd;

use wyng_jail::{CapabilitySet, Profile};

/// A process of the daemon, but for the supervisor that starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Starts far ends.
    Spawner,
    /// Speaks with the client.
    Control,
    /// Looks at sources and targets.
    Volumes,
    /// Holds keys.
    Keyholder,
    /// Answers whoever only looks, beside the command that runs.
    Reader,
    /// Speaks with the far end.
    Transport,
}

/// Whom the daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// Whoever may connect to its socket. Where root started it, roles become users of their own.
    Service,
    /// The one client that started it, for one command. No role changes its user.
    Private,
}

/// What a daemon is used for.
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
pub const ROLES: [Role; 6] = [
    Role::Spawner,
    Role::Control,
    Role::Volumes,
    Role::Keyholder,
    Role::Reader,
    Role::Transport,
];

/// Every wire. There is no other way from one role to another.
pub const WIRES: [(Role, Role); 7] = [
    (Role::Control, Role::Spawner),     // start and end the far end
    (Role::Control, Role::Volumes),     // what the caller opened; qubes
    (Role::Control, Role::Keyholder),   // commands, results, passphrase pipes
    (Role::Control, Role::Reader),      // looks, and what they show
    (Role::Volumes, Role::Keyholder),   // sources and targets
    (Role::Keyholder, Role::Transport), // blobs, as memory files
    (Role::Spawner, Role::Transport),   // the far end's pipes
];

/// The group of those who may connect to the service.
pub const CLIENTS_GROUP: &str = "wyng";
/// Where systemd says that it has put unsealed credentials; of all roles keyholder and reader hear
/// of it.
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// What the supervisor keeps of root's capabilities: roles of other users are killed in the end.
pub const SUPERVISOR_CAPABILITIES: CapabilitySet = CapabilitySet::KILL;

/// The first descriptor after the standard streams.
const FIRST_PLACE: RawFd = 3;

impl Role {
    /// How it is called in `ps`, in logs and on its command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spawner => "spawner",
            Self::Control => "control",
            Self::Volumes => "volumes",
            Self::Keyholder => "keyholder",
            Self::Reader => "reader",
            Self::Transport => "transport",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROLES.into_iter().find(|role| role.name() == name)
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

    /// The descriptor number of what it holds besides wires: control the client's socket, keyholder
    /// and reader the state directory.
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
            Self::Spawner | Self::Volumes => None,
        }
    }

    /// What it keeps of root's capabilities: as root, or as its own user.
    pub fn capabilities(self, own_user: bool) -> CapabilitySet {
        /// State and stores may lie in a folder of another user's.
        const ANY_FOLDER: CapabilitySet = CapabilitySet::DAC_OVERRIDE
            .union(CapabilitySet::DAC_READ_SEARCH)
            .union(CapabilitySet::FOWNER);
        match (self, own_user) {
            (Self::Control | Self::Transport, _) => CapabilitySet::empty(),
            // Volumes belong to many users; and btrfs tells of compressed extents only whoever
            // administrates the system. The filter leaves nothing else to do with that.
            (Self::Volumes, _) => CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::SYS_ADMIN),
            // Far ends inherit it.
            (Self::Spawner, _) => ANY_FOLDER,
            // Memory is locked whatever its limit is.
            (Self::Keyholder, true) => CapabilitySet::IPC_LOCK,
            (Self::Keyholder, false) => CapabilitySet::IPC_LOCK | ANY_FOLDER,
            (Self::Reader, true) => CapabilitySet::IPC_LOCK,
            (Self::Reader, false) => CapabilitySet::IPC_LOCK | CapabilitySet::DAC_READ_SEARCH,
        }
    }

    /// Which system calls it may make.
    pub fn profile(self) -> Profile {
        match self {
            Self::Spawner => Profile::Spawner,
            Self::Control => Profile::Control,
            Self::Volumes => Profile::Volumes,
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
    fn the_reader_has_a_wire_to_control_alone() {
        assert_eq!(Role::Reader.peers().collect::<Vec<_>>(), [Role::Control]);
    }
}
