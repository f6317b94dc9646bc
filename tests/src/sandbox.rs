// SPDX-License-Identifier: GPL-3.0-or-later
//! A folder with an archive's store and the local state, and the programs that run over them.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use wyng_archive::BlobName;
use wyng_archive::crypto::{Credential, Password, open_slot, slot_name};
use wyng_archive::format::Slot;

use crate::disk::run;
use crate::programs::program;

/// The passphrase of every test archive. Tests search for it where it must not be.
pub const PASSPHRASE: &str = "canary-passphrase-7f3a";

/// Programs, store and state in one temporary folder.
pub struct Sandbox {
    folder: tempfile::TempDir,
    store: PathBuf,
    state: PathBuf,
    /// The folder of the programs, if not where they were built.
    programs: Option<PathBuf>,
    /// The socket of a running daemon, if commands should not start their own.
    socket: Option<PathBuf>,
    /// Whether commands run as an ordinary user.
    nobody: bool,
    /// What opened the archive last, and the slot that it lay in: to open one takes a while.
    opened: Mutex<Option<(Vec<u8>, Credential)>>,
}

/// The number of an ordinary user.
const NOBODY: u32 = 65534;

/// The outcome of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; -1 after a signal.
    pub status: i32,
    /// Standard output as JSON; null if it is no JSON.
    pub json: Value,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

fn credential_in(slot: &[u8]) -> Credential {
    let slot = Slot::decode(slot).unwrap();
    let password = Password::new(PASSPHRASE.as_bytes().to_vec().into()).unwrap();
    let root = open_slot(&slot, &password).unwrap();
    root.credential(slot.clear().archive).unwrap()
}

/// The arguments that create the archive `home` in `store`, with the cheapest slot.
pub fn create_home(store: &str) -> [&str; 9] {
    [
        "archive",
        "create",
        "home",
        "--store",
        store,
        "--kdf-memory",
        "64M",
        "--kdf-passes",
        "3",
    ]
}

impl Sandbox {
    /// An empty sandbox with a passphrase file.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        let (store, state) = (folder.path().join("store"), folder.path().join("state"));
        Self {
            folder,
            store,
            state,
            programs: None,
            socket: None,
            nobody: false,
            opened: Mutex::new(None),
        }
    }

    /// An empty sandbox with its local state elsewhere.
    pub fn with_state_at(state: PathBuf) -> Self {
        Self {
            state,
            ..Self::new()
        }
    }

    /// An empty sandbox with its store elsewhere.
    pub fn with_store_at(store: PathBuf) -> Self {
        Self {
            store,
            ..Self::new()
        }
    }

    /// A sandbox with the archive `home`, made with the cheapest key derivation and `options`.
    pub fn with_archive(options: &[&str]) -> Self {
        let sandbox = Self::new();
        sandbox.create("home", options).success();
        sandbox
    }

    /// Replaces `wyngd`'s helper by this shell script. In it, `$HELPER` is the real helper without
    /// its service.
    pub fn replace_helper(&mut self, script: &str) {
        let programs = self.path("programs");
        let _ = std::fs::remove_dir_all(&programs);
        std::fs::create_dir(&programs).unwrap();
        for name in ["wyng-ctl", "wyngd"] {
            std::fs::copy(program(name), programs.join(name)).unwrap();
        }
        let helper = programs.join("wyng-transport-vm");
        let real = program("wyng-transport-vm");
        std::fs::write(
            &helper,
            format!(
                "#!/bin/bash\nPATH=/usr/bin:/bin\nHELPER={}\n{script}\n",
                real.display()
            ),
        )
        .unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.programs = Some(programs);
    }

    /// Restores the real helper.
    pub fn restore_helper(&mut self) {
        self.programs = None;
    }

    /// `archive create`.
    pub fn create(&self, name: &str, options: &[&str]) -> Outcome {
        let store = format!("dir:{}", self.store().display());
        let mut arguments = vec![
            "archive",
            "create",
            name,
            "--store",
            &store,
            "--kdf-memory",
            "64M",
            "--kdf-passes",
            "3",
        ];
        arguments.extend(options);
        self.wyng(&arguments)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store's folder.
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// The folder of all local state.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// `wyng-ctl` with this sandbox's passphrase and JSON, not yet run. It starts its own daemon
    /// over this sandbox's state, or uses the running daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program("wyng-ctl"));
        match &self.socket {
            None => command
                .arg("--standalone")
                .arg("--state-dir")
                .arg(self.state()),
            Some(socket) => command.arg("--socket").arg(socket),
        };
        // Assumes yes, as a script does.
        command.arg("--json").arg("--yes");
        if !arguments.contains(&"--passphrase-file") {
            command
                .arg("--passphrase-file")
                .arg(self.path("passphrase"));
        }
        // As in a timer's unit, so that no note is left in a home folder.
        command.env("STATE_DIRECTORY", self.path("notes"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if self.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs
            .as_ref()
            .map_or_else(|| program(name), |folder| folder.join(name))
    }

    /// From now on commands use the daemon at this socket.
    pub fn talk_to(&mut self, socket: PathBuf) {
        self.socket = Some(socket);
    }

    /// From now on commands start their own daemon again.
    pub fn talk_to_nobody(&mut self) {
        self.socket = None;
    }

    /// From now on commands run as an ordinary user, who gets all files of the sandbox. Where the
    /// tests run as one, they do already.
    pub fn become_nobody(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let all = [self.folder.path().to_owned(), self.store(), self.state()];
        run(Command::new("chown")
            .args(["-R", &format!("{NOBODY}:{NOBODY}")])
            .args(all));
        self.nobody = true;
    }

    /// Lets every user make and read files in the sandbox.
    pub fn open_to_everybody(&self) {
        std::fs::set_permissions(self.folder.path(), std::fs::Permissions::from_mode(0o777))
            .unwrap();
    }

    /// Runs [`command`](Self::command) until it ends.
    pub fn wyng(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap())
    }

    /// Writes a file of pseudo-random bytes from `seed`, and returns its path.
    pub fn image(&self, name: &str, length: usize, seed: u64) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, noise(length, seed)).unwrap();
        path
    }

    /// Writes a file and returns its path as text.
    pub fn text(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Forgets the local state and opens the archive again with the passphrase in `file`.
    pub fn adopt(&self, file: &str) -> Outcome {
        let _ = std::fs::remove_dir_all(self.state());
        let store = format!("dir:{}", self.store().display());
        self.wyng(&[
            "archive",
            "open",
            "home",
            "--store",
            &store,
            "--passphrase-file",
            file,
        ])
    }

    /// Every blob in the store.
    pub fn blobs(&self) -> BTreeSet<PathBuf> {
        files_below(&self.store())
    }

    /// The path of a generation's commit, which may not exist yet.
    pub fn commit(&self, generation: u64) -> PathBuf {
        let slot = std::fs::read(self.blob(slot_name(0))).unwrap();
        let mut opened = self.opened.lock().unwrap();
        let credential = match opened.take() {
            Some((of, credential)) if of == slot => credential,
            _ => credential_in(&slot),
        };
        let name = credential.commit_name(generation);
        *opened = Some((slot, credential));
        self.blob(name)
    }

    fn blob(&self, name: BlobName) -> PathBuf {
        let hex = name.to_string();
        self.store().join(&hex[..2]).join(hex)
    }

    /// Restores a volume's newest session and compares it with `expected`.
    pub fn assert_restores(&self, volume: &str, session: &str, expected: &[u8]) {
        let target = self.path("restored");
        let _ = std::fs::remove_file(&target);
        let outcome = self.wyng(&[
            "restore",
            "home",
            volume,
            "--session",
            session,
            "--to",
            target.to_str().unwrap(),
        ]);
        outcome.success();
        let restored = std::fs::read(&target).unwrap();
        assert_eq!(restored.len(), expected.len(), "size of {volume} {session}");
        let differs = restored
            .iter()
            .zip(expected)
            .position(|(found, wanted)| found != wanted);
        assert_eq!(differs, None, "first differing byte of {volume} {session}");
    }
}

impl Outcome {
    /// The outcome of a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the status is 0.
    #[track_caller]
    pub fn success(&self) -> &Self {
        self.expect(0)
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: i32) -> &Self {
        assert_eq!(
            self.status,
            status,
            "{}\n{}",
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    /// The codes of the errors, in order.
    pub fn codes(&self) -> Vec<String> {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| Some(error["code"].as_str()?.to_owned()))
            .collect()
    }

    /// The session that a backup made of its volume number `n`, counted from 0.
    pub fn session(&self, place: usize) -> String {
        self.json["volumes"][place]["session"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// Pseudo-random bytes that do not compress: an xorshift of 64 bits.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Overwrites a part of a file.
pub fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset)
        .unwrap();
}

/// Changes one bit of the byte in the middle of a file.
pub fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// All regular files below a folder.
pub fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}
