// SPDX-License-Identifier: GPL-3.0-or-later
//! Which of dom0's files are taken, and which never are. Paths are relative to the root folder.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wyng_config::{Config, Credentials};
use wyng_control::Via;

/// What is taken wherever it exists, besides homes and configured paths.
const ALWAYS: [&str; 5] = [
    "etc/qubes",
    "etc/qubes-rpc",
    "etc/wyng/wyng.toml",
    "srv/pillar",
    "srv/salt",
];
/// The group of the people who work in dom0.
const OWNERS: &str = "qubes";
/// The first user of dom0, where the group has no member.
const FIRST_UID: u32 = 1000;
/// What is never taken, with all below: what belongs to the machine and not to its owner, the state
/// of Wyng, which an older copy must not replace, and its secrets.
const NEVER: [&str; 9] = [
    "dev",
    "etc/wyng/credentials",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache",
    "var/lib/qubes",
    "var/tmp",
];
/// The beginning of the folders of Wyng's state.
const STATE: &str = "var/lib/wyng";
/// The names of caches: any folder or file of such a name, with all below.
const CACHES: [&str; 4] = [".cache", ".gvfs", ".thumbnails", "lost+found"];
/// The ends of paths that are never taken: what was thrown away, and the state of private daemons.
const ENDS: [&str; 2] = ["/.local/share/Trash", "/.local/state/wyng"];
/// Maximum length that is read of a list of users or groups, bytes.
const LIST_MAX_BYTES: u64 = 1 << 20;

/// A file or folder that is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Root {
    pub(super) path: Vec<u8>,
    /// A person named it, so that its absence is reported.
    pub(super) named: bool,
}

/// The roots, sorted; none lies in another one. `top` is the root folder.
pub(super) fn roots(top: &Path, configured: &[PathBuf]) -> Vec<Root> {
    let fixed = ALWAYS.iter().map(|path| path.as_bytes().to_vec());
    let homes = homes(top).into_iter().map(|home| relative(&home));
    let found = fixed.chain(homes).map(|path| Root { path, named: false });
    let named = configured.iter().map(|path| Root {
        path: relative(path),
        named: true,
    });
    let all: BTreeSet<Root> = found
        .chain(named)
        .filter(|root| !root.path.is_empty())
        .collect();
    let mut kept: Vec<Root> = Vec::new();
    for root in all {
        if !kept.iter().any(|other| is_in(&root.path, &other.path)) {
            kept.push(root);
        }
    }
    kept
}

/// Whether a path is a folder or in it.
pub(super) fn is_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn relative(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let parts = bytes
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b'/')
}

/// The home folders of dom0's people: the members of group `qubes`, or else its first user. They are
/// the same for a timer and for whoever runs the command.
fn homes(top: &Path) -> Vec<PathBuf> {
    let (users, groups) = (list(top, "etc/passwd"), list(top, "etc/group"));
    let members: BTreeSet<&str> = groups
        .lines()
        .filter_map(|line| {
            line.strip_prefix(OWNERS)?
                .strip_prefix(':')?
                .split(':')
                .nth(2)
        })
        .flat_map(|members| members.split(','))
        .filter(|member| !member.is_empty())
        .collect();
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        Some((name, uid, PathBuf::from(fields.nth(2)?)))
    };
    let people: Vec<(String, u32, PathBuf)> = users
        .lines()
        .filter_map(of)
        .filter(|(_, uid, home)| *uid >= FIRST_UID && home.is_absolute())
        .collect();
    let owners: Vec<PathBuf> = people
        .iter()
        .filter(|(name, ..)| members.contains(name.as_str()))
        .map(|(_, _, home)| home.clone())
        .collect();
    if !owners.is_empty() {
        return owners;
    }
    let first = people.into_iter().filter(|(_, uid, _)| *uid == FIRST_UID);
    first.map(|(_, _, home)| home).collect()
}

fn list(top: &Path, path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(top.join(path)) {
        let _ = file.take(LIST_MAX_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The files of a store's credentials. Those of a VM are no path of this machine.
fn files(credentials: &Credentials) -> Vec<String> {
    let places = match credentials {
        Credentials::All(all) => vec![all],
        Credentials::PerService { push, fetch, prune } => {
            [push, fetch, prune].into_iter().flatten().collect()
        }
    };
    let here = places.into_iter().filter(|place| !place.starts_with("vm:"));
    here.cloned().collect()
}

/// What is never taken.
pub(super) struct Never {
    paths: Vec<Vec<u8>>,
    /// The same by device and inode, under whatever name: secrets, and folders of state or a store.
    inodes: HashSet<(u64, u64)>,
}

impl Never {
    /// The fixed paths, the secrets and folders of stores that the configuration names, and `others`
    /// that the command line names. `top` is the root folder.
    pub(super) fn of(top: &Path, config: &Config, others: &[PathBuf]) -> Self {
        let archives = || config.archives.values();
        let secrets = archives()
            .filter_map(|archive| archive.credentials.as_ref())
            .flat_map(files)
            .map(PathBuf::from);
        let stores = archives()
            .filter(|archive| archive.via == Via::Local)
            .flat_map(|archive| std::iter::once(&archive.store).chain(&archive.copies))
            .filter_map(|store| store.strip_prefix("dir:"))
            .map(PathBuf::from);
        let named: Vec<PathBuf> = secrets
            .chain(stores)
            .chain(others.iter().cloned())
            .collect();
        let inodes = named
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|found| (found.dev(), found.ino()))
            .collect();
        let fixed = NEVER.iter().map(|path| path.as_bytes().to_vec());
        let below = named
            .iter()
            .filter_map(|path| std::path::absolute(path).ok())
            .filter_map(|path| path.strip_prefix(top).map(relative).ok());
        Self {
            paths: fixed.chain(below).filter(|path| !path.is_empty()).collect(),
            inodes,
        }
    }

    /// Whether a file or folder of this path is never taken.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        path.starts_with(STATE.as_bytes())
            || self.paths.iter().any(|never| is_in(path, never))
            || CACHES.iter().any(|cache| cache.as_bytes() == name)
            || ENDS.iter().any(|end| path.ends_with(end.as_bytes()))
    }

    /// Whether this very file or folder is never taken.
    pub(super) fn has_inode(&self, device: u64, inode: u64) -> bool {
        self.inodes.contains(&(device, inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> Never {
        Never::of(
            Path::new("/"),
            &Config::default(),
            &[PathBuf::from("/home/user/key")],
        )
    }

    #[test]
    fn state_secrets_and_caches_are_never_taken() {
        for path in [
            "var/lib/wyng",
            "var/lib/wyng/archives/x",
            "var/lib/wyng-pool",
            "var/lib/wyng-qubes/x.restore",
            "etc/wyng/credentials/x",
            "home/user/.cache",
            "home/user/.local/state/wyng",
            "home/user/key",
            "proc/self",
        ] {
            assert!(never().has(path.as_bytes()), "{path}");
        }
        for path in [
            "etc/wyng/wyng.toml",
            "home/user/keys",
            "var/lib/x",
            "etc/proc",
            "home/dev",
        ] {
            assert!(!never().has(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn the_homes_are_those_of_the_group_or_else_of_the_first_user() {
        let top = tempfile::tempdir().unwrap();
        let etc = top.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let users = "root:x:0:0::/root:/bin/sh\na:x:1000:1000::/homes/a:/bin/sh\n\
                     b:x:1001:1001::/homes/b:/bin/sh\nbad\n";
        std::fs::write(etc.join("passwd"), users).unwrap();
        assert_eq!(homes(top.path()), [Path::new("/homes/a")]);
        std::fs::write(etc.join("group"), "qubesx:x:9:a\nqubes:x:98:root,b\n").unwrap();
        assert_eq!(homes(top.path()), [Path::new("/homes/b")]);
    }

    #[test]
    fn no_root_lies_in_another_one() {
        let top = tempfile::tempdir().unwrap();
        let configured = ["/etc", "/srv/salt/x", "/opt/"].map(PathBuf::from);
        let roots = roots(top.path(), &configured);
        let paths: Vec<&[u8]> = roots.iter().map(|root| &*root.path).collect();
        assert_eq!(paths, [&b"etc"[..], b"opt", b"srv/pillar", b"srv/salt"]);
    }
}
