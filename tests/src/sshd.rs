// SPDX-License-Identifier: GPL-3.0-or-later
//! An SSH server of its own on this machine, with SFTP only, and an `ssh` that knows it and nothing
//! else.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::disk::run;
use crate::sandbox::{Outcome, Sandbox};
use crate::service::until;

/// A running server and its client's configuration.
pub struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Starts OpenSSH's server. Its SFTP server gets these options.
    pub fn start(sftp_options: &str) -> Self {
        // The place where sshd separates its privileges; its package makes it at boot.
        fs::create_dir_all("/run/sshd").unwrap();
        Self::started(|folder, port| {
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nPidFile none\n\
                 AuthorizedKeysFile {0}/user.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 Subsystem sftp internal-sftp\nForceCommand internal-sftp {sftp_options}\n",
                folder.display()
            );
            fs::write(folder.join("sshd.conf"), config).unwrap();
            let mut sshd = Command::new("/usr/sbin/sshd");
            sshd.args(["-D", "-e", "-f"]).arg(folder.join("sshd.conf"));
            sshd
        })
    }

    /// Starts rclone's SFTP server for a folder.
    pub fn rclone(served: &Path) -> Self {
        Self::started(|folder, port| {
            let mut rclone = Command::new("rclone");
            rclone
                .args(["serve", "sftp", "--addr"])
                .arg(format!("127.0.0.1:{port}"));
            rclone.arg("--key").arg(folder.join("host"));
            rclone
                .arg("--authorized-keys")
                .arg(folder.join("user.pub"))
                .arg(served)
                .env("HOME", folder);
            rclone
        })
    }

    fn started(command: impl Fn(&Path, u16) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for key in ["host", "user", "other"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.path().join(key)));
        }
        // Another process may take the port that was free a moment ago.
        for _ in 0..10 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let log = fs::File::create(folder.path().join("log")).unwrap();
            let mut server = command(folder.path(), port)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let (mut is_up, mut has_ended) = (false, false);
            until("the server listens or has ended", || {
                is_up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                has_ended = server.try_wait().unwrap().is_some();
                std::thread::sleep(Duration::from_millis(20));
                is_up || has_ended
            });
            if is_up && !has_ended {
                let sshd = Self {
                    folder,
                    port,
                    server,
                };
                sshd.write_client();
                return sshd;
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        panic!("no SSH server starts: {log}");
    }

    /// Writes an `ssh` that uses the key and the known host of this server. It notes its process in
    /// the file `pids`.
    fn write_client(&self) {
        let folder = self.folder.path();
        let host = fs::read_to_string(folder.join("host.pub")).unwrap();
        fs::write(
            folder.join("known_hosts"),
            format!("[127.0.0.1]:{} {host}", self.port),
        )
        .unwrap();
        let config = format!(
            "IdentityFile {0}/user\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {0}/known_hosts\nGlobalKnownHostsFile none\n",
            folder.display()
        );
        fs::write(folder.join("config"), config).unwrap();
        fs::create_dir(folder.join("bin")).unwrap();
        let ssh = folder.join("bin/ssh");
        let script = format!(
            "#!/bin/sh\necho $$ >>{0}/pids\nexec /usr/bin/ssh -F {0}/config \"$@\"\n",
            folder.display()
        );
        fs::write(&ssh, script).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// From now on the server is known at another port too, where something passes it on.
    pub fn know_at(&self, port: u16) {
        let folder = self.folder.path();
        let host = fs::read_to_string(folder.join("host.pub")).unwrap();
        let mut known = fs::read_to_string(folder.join("known_hosts")).unwrap();
        known.push_str(&format!("[127.0.0.1]:{port} {host}"));
        fs::write(folder.join("known_hosts"), known).unwrap();
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forgets the server's key.
    pub fn forget_host(&self) {
        fs::write(self.folder.path().join("known_hosts"), "").unwrap();
    }

    /// From now on ssh offers a key that the server does not know.
    pub fn use_other_key(&self) {
        let path = self.folder.path().join("config");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(path, config.replace("/user\n", "/other\n")).unwrap();
    }

    /// The processes of ssh that were started so far.
    pub fn clients(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.folder.path().join("pids")).unwrap_or_default();
        pids.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The address of a store in a folder of the server.
    pub fn address(&self, folder: &Path) -> String {
        format!("sftp://root@127.0.0.1:{}{}", self.port, folder.display())
    }

    /// The value of `PATH` with which this server's `ssh` is found.
    pub fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.programs().display())
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// Runs `wyng-ctl` with this server's `ssh`.
    pub fn wyng(&self, sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
        let mut command = sandbox.command(arguments);
        Outcome::of(command.env("PATH", self.path()).output().unwrap())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
