// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine with a simulated pool of ZFS: commands see a program `zfs`, and links to devices below
//! `/dev/zvol`, in a mount namespace of their own. Root and loop devices only.

pub mod program;
mod table;

use std::fs::File;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use table::{NONE, Table};

/// Prepares the namespace, and becomes the command that follows: FOLDER COMMAND….
const ENTER: &str = r#"
set -e
folder=$1; shift
mount --bind "$folder/bin" /usr/local/sbin
mount --bind "$folder/lib" /var/lib
mount --bind /dev "$folder/dev"
mount -t tmpfs -o mode=755 tmpfs /dev
for node in null zero full random urandom tty loop-control; do cp -a "$folder/dev/$node" /dev/; done
number=0
while [ $number -lt 128 ]; do mknod -m 660 /dev/loop$number b 7 $number; number=$((number + 1)); done
mkdir /dev/zvol /dev/shm
ln -s /proc/self/fd /dev/fd
mount --bind "$folder/zvol" /dev/zvol
[ ! -e /run/udev ] || mount -t tmpfs tmpfs /run/udev
exec "$@"
"#;

/// See the first line of this file. Its devices are removed at the end.
pub struct FakeZfs {
    folder: tempfile::TempDir,
}

impl FakeZfs {
    /// A machine without volumes. `program` is the simulated `zfs`.
    pub fn new(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin/state", "lib", "dev", "zvol"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        symlink(program, folder.path().join("bin/zfs")).unwrap();
        Self { folder }
    }

    /// Whether this machine can have one.
    pub fn works() -> bool {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "lib", "dev", "zvol"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let content = folder.path().join("content");
        File::create(&content).unwrap().set_len(1 << 20).unwrap();
        let mut tried = Command::new("sh");
        tried.args([
            "-c",
            "d=$(losetup --find --show \"$0\") && losetup -d \"$d\"",
        ]);
        tried.arg(content);
        let inside = enter(folder.path(), &tried).output();
        inside.is_ok_and(|output| output.status.success())
    }

    /// The same command on this machine.
    pub fn inside(&self, command: &Command) -> Command {
        enter(self.folder.path(), command)
    }

    /// Runs `zfs`, which must succeed, and returns what it printed.
    pub fn zfs(&self, words: &[&str]) -> String {
        let output = self.try_zfs(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "zfs {words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `zfs`.
    pub fn try_zfs(&self, words: &[&str]) -> Output {
        let mut zfs = Command::new("/usr/local/sbin/zfs");
        zfs.args(words);
        self.inside(&zfs).output().unwrap()
    }

    /// Writes to a volume, through its device.
    pub fn write(&self, volume: &str, offset: u64, bytes: &[u8]) {
        let device = File::options().write(true).open(self.device(volume));
        let device = device.unwrap();
        device.write_all_at(bytes, offset).unwrap();
        device.sync_all().unwrap();
    }

    /// What is in a volume now.
    pub fn read(&self, volume: &str) -> Vec<u8> {
        std::fs::read(self.device(volume)).unwrap()
    }

    /// The path of a volume's device outside of the namespace.
    pub fn device(&self, volume: &str) -> String {
        let table = self.table();
        table.get(volume).unwrap().device.clone()
    }

    /// The names of all volumes and snapshots, in order.
    pub fn names(&self) -> Vec<String> {
        let table = self.table();
        let mut names: Vec<String> = table.entries().map(|entry| entry.name.clone()).collect();
        names.sort();
        names
    }

    /// Those that the daemon made.
    pub fn ours(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.contains("wyng-")).collect()
    }

    /// The calls until now, one a line.
    pub fn calls(&self) -> String {
        std::fs::read_to_string(self.state("calls")).unwrap_or_default()
    }

    /// A file of the simulated pool: `room`, `before`.
    pub fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin/state").join(name)
    }

    /// Changes the snapshot's number in every pool, or the transaction that made it.
    pub fn forge(&self, snapshot: &str, guid: Option<u64>, createtxg: Option<u64>) {
        let mut table = self.table();
        table.change(snapshot, |entry| {
            entry.guid = guid.unwrap_or(entry.guid);
            entry.createtxg = createtxg.unwrap_or(entry.createtxg);
        });
        table.close();
    }

    fn table(&self) -> Table {
        Table::open(&self.state(""))
    }
}

impl Drop for FakeZfs {
    fn drop(&mut self) {
        for entry in self.table().entries().filter(|entry| entry.device != NONE) {
            program::detach(&entry.device);
        }
    }
}

fn enter(folder: &Path, command: &Command) -> Command {
    let mut entered = Command::new("unshare");
    entered
        .args(["--mount", "sh", "-c", ENTER, "sh"])
        .arg(folder)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => entered.env(name, value),
            None => entered.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        entered.current_dir(folder);
    }
    entered
}
