// SPDX-License-Identifier: GPL-3.0-or-later
//! The policy of qrexec, as text: the files that hold for the whole system and those of this boot.
//! What cannot be read is named, because it may speak of anything.

use std::ffi::{CStr, CString};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use wyng_qube::plan::{PolicyFile, UnreadPolicy};

/// A folder that is open since the start of the role, and the folder of policy in it. The one of
/// this boot may appear later.
const FOLDERS: [(&str, &str); 2] = [("/etc/qubes/policy.d", "."), ("/run/qubes", "policy.d")];
/// The folder in each whose files others include. They have no ending.
const INCLUDED: &str = "include";
const ENDING: &str = ".policy";
/// Bounds of the policy that is read.
const FILES_MAX: usize = 256;
const FILE_MAX_BYTES: usize = 256 << 10;

/// The folders of the policy.
pub(super) struct PolicyFolders(Vec<PolicyFolder>);

struct PolicyFolder {
    /// The path of the folder of policy.
    path: String,
    above: Result<OwnedFd, Errno>,
    name: &'static str,
    /// What stands before the names of its files.
    prefix: String,
}

impl PolicyFolders {
    /// Call it before the jail: it opens the folders. A system without one has none of its files.
    pub(super) fn open() -> Self {
        let folders = FOLDERS.iter().map(|(above, name)| (*above, *name));
        Self::of(folders)
    }

    fn of<'a>(folders: impl Iterator<Item = (&'a str, &'static str)>) -> Self {
        let open = |(above, name): (&str, &'static str)| PolicyFolder {
            above: rustix::fs::open(above, folder_flags(), Mode::empty()),
            path: match name {
                "." => above.to_owned(),
                name => format!("{above}/{name}"),
            },
            prefix: match name {
                "." => String::new(),
                name => format!("{above}/{name}/"),
            },
            name,
        };
        Self(folders.map(open).collect())
    }

    /// What this role must be able to read.
    pub(super) fn reach(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let opened = self
            .0
            .iter()
            .filter_map(|folder| folder.above.as_ref().ok());
        opened.map(AsFd::as_fd)
    }

    /// The files by their names, and what cannot be read.
    pub(super) fn read(&self) -> (Vec<PolicyFile>, Vec<UnreadPolicy>) {
        let mut found = Found::default();
        for folder in &self.0 {
            folder.read(&mut found);
        }
        found.files.sort_by(|one, other| one.name.cmp(&other.name));
        found.unread.sort_by(|one, other| one.path.cmp(&other.path));
        (found.files, found.unread)
    }
}

#[derive(Default)]
struct Found {
    files: Vec<PolicyFile>,
    unread: Vec<UnreadPolicy>,
}

impl Found {
    fn miss(&mut self, path: String, why: impl Display) {
        let why = why.to_string();
        self.unread.push(UnreadPolicy { path, why });
    }
}

impl PolicyFolder {
    fn read(&self, found: &mut Found) {
        let opened = self.above.as_ref().map_err(|errno| *errno);
        let opened = opened
            .and_then(|above| rustix::fs::openat(above, self.name, folder_flags(), Mode::empty()));
        let folder = match opened {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return,
            Err(errno) => return found.miss(self.path.clone(), errno),
        };
        read_files(&folder, (&self.path, &self.prefix), ENDING, found);
        let path = format!("{}/{INCLUDED}", self.path);
        match rustix::fs::openat(&folder, INCLUDED, folder_flags(), Mode::empty()) {
            Ok(folder) => {
                let prefix = format!("{}{INCLUDED}/", self.prefix);
                read_files(&folder, (&path, &prefix), "", found);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => found.miss(path, errno),
        }
    }
}

/// Reads the files of one folder whose names end so.
fn read_files(folder: &OwnedFd, (path, prefix): (&str, &str), ending: &str, found: &mut Found) {
    let mut names: Vec<CString> = Vec::new();
    let entries = match Dir::read_from(folder) {
        Ok(entries) => entries,
        Err(errno) => return found.miss(path.to_owned(), errno),
    };
    for entry in entries {
        match entry {
            Ok(entry) if is_policy(entry.file_name(), ending) => {
                names.push(entry.file_name().to_owned());
            }
            Ok(_) => {}
            Err(errno) => return found.miss(path.to_owned(), errno),
        }
        if names.len() > FILES_MAX {
            return found.miss(
                path.to_owned(),
                format!("it has more than {FILES_MAX} files"),
            );
        }
    }
    for name in names {
        let shown = name.to_string_lossy();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let bytes = rustix::fs::openat(folder, &name, flags, Mode::empty())
            .and_then(|file| super::whole_file::read_all(&file, FILE_MAX_BYTES));
        match bytes {
            Ok(bytes) => found.files.push(PolicyFile {
                name: format!("{prefix}{shown}"),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }),
            // It went away since it was listed.
            Err(Errno::NOENT) => {}
            Err(errno) => found.miss(format!("{path}/{shown}"), errno),
        }
    }
}

fn is_policy(name: &CStr, ending: &str) -> bool {
    let name = name.to_bytes();
    name.ends_with(ending.as_bytes()) && name != b"." && name != b".."
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_policy_of_the_system_and_of_this_boot_is_read_and_what_is_not_is_named() {
        let top = tempfile::tempdir().unwrap();
        let (etc, run) = (top.path().join("etc"), top.path().join("run"));
        write(&etc.join("30-user.policy"), "a * work dom0 allow\n");
        write(&etc.join("include/admin-local-rwx"), "b dom0 allow\n");
        write(&etc.join("README"), "no policy\n");
        fs::create_dir_all(&run).unwrap();
        let above = |path: &Path| path.to_str().unwrap().to_owned();
        let (etc_path, run_path) = (above(&etc), above(&run));
        let folders = [
            (etc_path.as_str(), "."),
            (run_path.as_str(), "policy.d"),
            ("/nowhere/at/all", "policy.d"),
        ];
        let policy = PolicyFolders::of(folders.into_iter());
        let names = |policy: &PolicyFolders| {
            let (files, unread) = policy.read();
            let files = files.into_iter().map(|file| file.name);
            let unread = unread.into_iter().map(|unread| unread.path);
            (files.collect::<Vec<_>>(), unread.collect::<Vec<_>>())
        };
        let own = ["30-user.policy", "include/admin-local-rwx"];
        assert_eq!(names(&policy), (own.map(str::to_owned).into(), vec![]));
        // The folder of this boot appears later.
        let late = run.join("policy.d/10-boot.policy");
        write(&late, "c * vault dom0 allow\n");
        let (files, unread) = policy.read();
        let late = above(&late);
        let found = files.iter().find(|file| file.name == late).unwrap();
        assert_eq!(found.text, "c * vault dom0 allow\n");
        assert!(unread.is_empty(), "{unread:?}");
        // What is too long, no file, a link, or among too many is not read.
        write(&etc.join("40-long.policy"), &"#\n".repeat(FILE_MAX_BYTES));
        fs::create_dir(etc.join("50-folder.policy")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", etc.join("60-link.policy")).unwrap();
        for number in 0..=FILES_MAX {
            write(&run.join(format!("policy.d/{number}.policy")), "");
        }
        let (files, unread) = names(&policy);
        assert_eq!(files, own);
        let path = |name: &str| format!("{etc_path}/{name}");
        let not = [
            path("40-long.policy"),
            path("50-folder.policy"),
            path("60-link.policy"),
            format!("{run_path}/policy.d"),
        ];
        assert_eq!(unread, not);
    }
}
