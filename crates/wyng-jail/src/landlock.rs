// SPDX-License-Identifier: GPL-3.0-or-later
//! Landlock: which paths this process, and what it starts, may still see.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Enforced;

/// The newest whose rights are handled; an older kernel enforces what it knows of them.
const NEWEST: ABI = ABI::V6;

/// What stays allowed below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAccess {
    /// Reading files and folders.
    Read,
    /// That, and making, writing, renaming and removing files and folders.
    ReadWrite,
    /// Making, comparing and linking files in folders, and removing what was not finished: what a
    /// push does.
    Add,
    /// Listing folders and removing files: what a prune does. Nothing can be read.
    Remove,
}

/// Leaves the calling thread, and those that it starts, only what lies below the given folders; no
/// TCP port, no abstract socket.
pub fn restrict_paths(folders: &[(BorrowedFd<'_>, PathAccess)]) -> Enforced {
    match restrict(folders) {
        Ok(RulesetStatus::FullyEnforced) => Enforced::Yes,
        Ok(RulesetStatus::PartiallyEnforced) => {
            Enforced::No("this kernel's Landlock is older, and enforces a part".into())
        }
        Ok(RulesetStatus::NotEnforced) => Enforced::No("this kernel has no Landlock".into()),
        Err(error) => Enforced::No(error.to_string()),
    }
}

/// Whether the kernel has Landlock at all. Nothing is restricted.
pub fn landlock_is_there() -> bool {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1));
    asked.and_then(Ruleset::create).is_ok()
}

fn restrict(folders: &[(BorrowedFd<'_>, PathAccess)]) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset: RulesetCreated = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (folder, access) in folders {
        let rights = match access {
            PathAccess::Read => AccessFs::ReadDir | AccessFs::ReadFile,
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
    Ok(ruleset.restrict_self()?.ruleset)
}
