// SPDX-License-Identifier: GPL-3.0-or-later
//! The two jails of the helper: one before the first byte, one when the store is open. What the kernel does not have is
//! named in the helper's journal, and no reason to stop; what it has and refuses is.

use std::os::fd::AsFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use thiserror::Error;
use tracing::warn;
use wyng_wire::Service;

/// The newest Landlock whose rights are handled; an older kernel enforces what it knows of them.
const NEWEST: ABI = ABI::V6;

/// More than two bodies, their shards, the pipes and a batch of deletions in all 256 shards.
const FILES_MAX: u64 = 512;

#[derive(Debug, Error)]
pub(crate) enum JailError {
    #[error("the kernel refuses to give up privileges: {0}")]
    Process(#[from] Errno),
    #[error("the kernel refuses to close the rest of the file system: {0}")]
    Files(#[from] RulesetError),
}

/// No program that is started could gain privileges, no other process of this user can look in, and nothing is dumped:
/// OPEN brings credentials.
pub(crate) fn before_the_first_byte() -> Result<(), JailError> {
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, FILES_MAX)?;
    Ok(())
}

/// Leaves the calling thread, and those that it starts, the open folder and what the service needs there: a fetch cannot write, a
/// prune cannot read. No program can be started, no TCP port reached.
pub(crate) fn after_open(service: Service, folder: impl AsFd) -> Result<(), JailError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(folder, rights(service)))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => warn!("this kernel's Landlock is older than this program, and enforces a part"),
        RulesetStatus::NotEnforced => warn!("this kernel has no Landlock: the file system stays in reach"),
    }
    Ok(())
}

fn rights(service: Service) -> BitFlags<AccessFs> {
    use AccessFs::{MakeDir, MakeReg, ReadDir, ReadFile, RemoveFile, WriteFile};
    match service {
        // Reading is for comparing; removing for temporaries that have a hidden name.
        Service::Push => ReadDir | ReadFile | WriteFile | MakeReg | MakeDir | RemoveFile,
        Service::Prune => ReadDir | RemoveFile,
        Service::Fetch => ReadDir | ReadFile,
    }
}

fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind::PermissionDenied;
    use std::io::Write;
    use std::thread;

    use super::*;

    /// Runs `attempt` in a thread that is jailed on `folder`; the rest of the test stays free.
    fn jailed<T: Send>(service: Service, folder: &std::path::Path, attempt: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                after_open(service, File::open(folder).unwrap()).unwrap();
                attempt()
            });
            inside.join().unwrap()
        })
    }

    /// Whether the kernel has Landlock. If not, the test is named in the list of those skipped, or fails.
    fn require_landlock(test: &str) -> bool {
        use landlock::{CompatLevel, Compatible};
        // Best effort hides it; only a ruleset that must be enforced tells.
        let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Execute);
        if strict.is_ok_and(|set| set.create().is_ok()) {
            return true;
        }
        assert!(std::env::var("WYNG_TEST_REQUIRE").as_deref() != Ok("all"), "{test} needs Landlock");
        if let Some(list) = std::env::var_os("WYNG_TEST_SKIPPED") {
            let mut list = File::options().append(true).create(true).open(list).unwrap();
            writeln!(list, "skipped: {test} (Landlock)").unwrap();
        }
        false
    }

    #[test]
    fn a_fetch_reads_below_its_folder_and_can_neither_write_there_nor_read_elsewhere() {
        if !require_landlock("a_fetch_reads_below_its_folder_and_can_neither_write_there_nor_read_elsewhere") {
            return;
        }
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("blob"), "x").unwrap();
        fs::write(elsewhere.path().join("other"), "x").unwrap();
        jailed(Service::Fetch, folder.path(), || {
            assert_eq!(fs::read(folder.path().join("blob")).unwrap(), b"x");
            assert_eq!(fs::write(folder.path().join("blob"), "y").unwrap_err().kind(), PermissionDenied);
            assert_eq!(fs::remove_file(folder.path().join("blob")).unwrap_err().kind(), PermissionDenied);
            assert_eq!(fs::read(elsewhere.path().join("other")).unwrap_err().kind(), PermissionDenied);
            assert_eq!(std::process::Command::new("/bin/true").status().unwrap_err().kind(), PermissionDenied);
        });
    }

    #[test]
    fn a_prune_deletes_and_cannot_read() {
        if !require_landlock("a_prune_deletes_and_cannot_read") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blob"), "x").unwrap();
        jailed(Service::Prune, folder.path(), || {
            assert_eq!(fs::read(folder.path().join("blob")).unwrap_err().kind(), PermissionDenied);
            fs::remove_file(folder.path().join("blob")).unwrap();
        });
    }
}
