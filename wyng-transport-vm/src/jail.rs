// SPDX-License-Identifier: GPL-3.0-or-later
//! The two jails of the helper: one before the first byte, one when the store is open. A protection
//! that the kernel lacks or refuses is logged in the helper's journal and does not end the call,
//! because the admin domain does not rely on it.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use tracing::warn;
use wyng_jail::{
    CapabilitySet, Enforced, PathAccess, Profile, allow_only, become_user, find_user, is_root,
    keep_capabilities, no_core, no_new_privileges, not_dumpable, outlive_file_size_limit,
    restrict_paths, restrict_to_ports,
};
use wyng_wire::Service;

use crate::net::DNS_PORT;

/// Maximum number of descriptors: enough for the bodies and requests of a network store, or for two
/// bodies of a folder, their shards, the pipes, and a batch of deletions in all 256 shards.
const FILES_MAX: u64 = 512;

/// Prevents new privileges, access by other processes of this user, and core dumps, because OPEN
/// may hold credentials.
pub(crate) fn before_the_first_byte() -> Result<(), Errno> {
    outlive_file_size_limit();
    log("no new privileges", no_new_privileges());
    log("not dumpable", not_dumpable());
    log("no core files", no_core());
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(FILES_MAX),
            maximum: Some(FILES_MAX),
        },
    )
}

/// Restricts the calling thread, and the threads that it starts, to the open folder and to the
/// access that the service needs there: a fetch cannot write, a prune cannot read. No program can
/// be started, and no socket made.
pub(crate) fn after_open(service: Service, folder: impl AsFd) {
    log(
        "only the store's folder",
        restrict_paths(&[(folder.as_fd(), access(service))]),
    );
    log("system call filter", allow_only(profile(service)));
}

/// Gives up every privilege, and restricts the calling thread, and the threads that it starts, to
/// connections to the port of the store and to name servers. No program can be started, and no file
/// opened. Nothing has been connected before.
pub(crate) fn before_the_network(service: Service, port: u16) {
    if is_root() {
        let user = ["wyng-net", "nobody"]
            .into_iter()
            .find_map(|name| find_user(name).ok().flatten());
        let became = user.map_or_else(
            || Enforced::No("there is neither a user wyng-net nor a user nobody".into()),
            |user| become_user(user, CapabilitySet::empty()),
        );
        // The spawner's root may not change its user; it is left without any capability.
        log("an unprivileged user", became);
    }
    log("no capabilities", keep_capabilities(CapabilitySet::empty()));
    // The kernel allows access by other processes again when the user changes.
    log("not dumpable", not_dumpable());
    log(
        "only the store's port",
        restrict_to_ports(&[port, DNS_PORT]),
    );
    let profile = match service {
        Service::Push => Profile::NetworkPush,
        Service::Prune => Profile::NetworkPrune,
        Service::Fetch => Profile::NetworkFetch,
    };
    log("system call filter", allow_only(profile));
}

/// Restricts the helper to its pipes: ssh, which was started before, does all the rest. No file can
/// be opened, no program started, and no socket made.
pub(crate) fn after_connecting() {
    log("no file", restrict_paths(&[]));
    log("system call filter", allow_only(Profile::HelperPipes));
}

fn access(service: Service) -> PathAccess {
    match service {
        Service::Push => PathAccess::Add,
        Service::Prune => PathAccess::Remove,
        Service::Fetch => PathAccess::Read,
    }
}

fn profile(service: Service) -> Profile {
    match service {
        Service::Push => Profile::HelperPush,
        Service::Prune => Profile::HelperPrune,
        Service::Fetch => Profile::HelperFetch,
    }
}

fn log(protection: &str, enforced: Enforced) {
    if let Enforced::No(reason) = enforced {
        warn!(protection, %reason, "not enforced");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind::PermissionDenied;
    use std::io::Write;
    use std::thread;

    use super::*;

    /// Runs `attempt` in a thread that is restricted to `folder`; the test's own thread stays free.
    /// `None` where the kernel has no Landlock: then the test is added to the list of skipped
    /// tests, or fails.
    fn jailed<T: Send>(
        test: &str,
        service: Service,
        folder: &std::path::Path,
        attempt: impl FnOnce() -> T + Send,
    ) -> Option<T> {
        let ran = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(folder).unwrap();
                let enforced = restrict_paths(&[(file.as_fd(), access(service))]);
                // An older Landlock also enforces the rules of these tests.
                (!matches!(&enforced, Enforced::No(reason) if reason.contains("no Landlock")))
                    .then(attempt)
            });
            inside.join().unwrap()
        });
        if ran.is_none() {
            assert!(
                std::env::var("WYNG_TEST_REQUIRE").as_deref() != Ok("all"),
                "{test} needs Landlock"
            );
            if let Some(list) = std::env::var_os("WYNG_TEST_SKIPPED") {
                let mut list = File::options()
                    .append(true)
                    .create(true)
                    .open(list)
                    .unwrap();
                writeln!(list, "{test} (Landlock)").unwrap();
            }
        }
        ran
    }

    #[test]
    fn a_fetch_reads_below_its_folder_and_can_neither_write_there_nor_read_elsewhere() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(folder.path().join("blob"), "x").unwrap();
        fs::write(elsewhere.path().join("other"), "x").unwrap();
        let test = "a_fetch_reads_below_its_folder_and_can_neither_write_there_nor_read_elsewhere";
        jailed(test, Service::Fetch, folder.path(), || {
            assert_eq!(fs::read(folder.path().join("blob")).unwrap(), b"x");
            assert_eq!(
                fs::write(folder.path().join("blob"), "y")
                    .unwrap_err()
                    .kind(),
                PermissionDenied
            );
            assert_eq!(
                fs::remove_file(folder.path().join("blob"))
                    .unwrap_err()
                    .kind(),
                PermissionDenied
            );
            assert_eq!(
                fs::read(elsewhere.path().join("other")).unwrap_err().kind(),
                PermissionDenied
            );
            assert_eq!(
                std::process::Command::new("/bin/true")
                    .status()
                    .unwrap_err()
                    .kind(),
                PermissionDenied
            );
        });
    }

    #[test]
    fn a_prune_deletes_and_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blob"), "x").unwrap();
        jailed(
            "a_prune_deletes_and_cannot_read",
            Service::Prune,
            folder.path(),
            || {
                assert_eq!(
                    fs::read(folder.path().join("blob")).unwrap_err().kind(),
                    PermissionDenied
                );
                fs::remove_file(folder.path().join("blob")).unwrap();
            },
        );
    }
}
