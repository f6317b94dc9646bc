// SPDX-License-Identifier: GPL-3.0-or-later
//! Landlock: the paths that this process and its children may still use.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Enforced;

/// The newest ABI whose rights are handled. An older kernel enforces the rights that it knows.
const NEWEST: ABI = ABI::V6;

/// The access that stays allowed below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAccess {
    /// Reading files and folders.
    Read,
    /// Reading, and writing to files that are there.
    Overwrite,
    /// Reading, making, writing, renaming and removing files and folders.
    ReadWrite,
    /// Making, comparing and linking files in folders, and removing unfinished ones: the work of a
    /// push.
    Add,
    /// Listing folders and removing files, the work of a prune. No file can be read.
    Remove,
}

/// Restricts the calling thread, and the threads and processes that it starts, to the given
/// folders, without any TCP port or abstract socket.
pub fn restrict_paths(folders: &[(BorrowedFd<'_>, PathAccess)]) -> Enforced {
    outcome(restrict(folders, &[]))
}

/// Restricts the calling thread, and the threads and processes that it starts, to connections to
/// these TCP ports, without any path or abstract socket. Landlock knows neither addresses nor UDP.
pub fn restrict_to_ports(ports: &[u16]) -> Enforced {
    outcome(restrict(&[], ports))
}

fn outcome(restricted: Result<RulesetStatus, RulesetError>) -> Enforced {
    match restricted {
        Ok(RulesetStatus::FullyEnforced) => Enforced::Yes,
        Ok(RulesetStatus::PartiallyEnforced) => Enforced::No(
            "this kernel's Landlock is older, and enforces only a part of the rules".into(),
        ),
        Ok(RulesetStatus::NotEnforced) => Enforced::No("this kernel has no Landlock".into()),
        Err(error) => Enforced::No(error.to_string()),
    }
}

/// Whether the kernel has Landlock. Nothing is restricted by this call.
pub fn landlock_is_there() -> bool {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1));
    asked.and_then(Ruleset::create).is_ok()
}

fn restrict(
    folders: &[(BorrowedFd<'_>, PathAccess)],
    ports: &[u16],
) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset: RulesetCreated = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (folder, access) in folders {
        let rights = match access {
            PathAccess::Read => AccessFs::ReadDir | AccessFs::ReadFile,
            PathAccess::Overwrite => {
                AccessFs::ReadDir | AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate
            }
            PathAccess::ReadWrite => AccessFs::from_all(NEWEST) & !AccessFs::Execute,
            PathAccess::Add => {
                AccessFs::ReadDir
                    | AccessFs::ReadFile
                    | AccessFs::WriteFile
                    | AccessFs::MakeReg
                    | AccessFs::MakeDir
                    | AccessFs::RemoveFile
            }
            PathAccess::Remove => AccessFs::ReadDir | AccessFs::RemoveFile,
        };
        ruleset = ruleset.add_rule(PathBeneath::new(*folder, rights))?;
    }
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
