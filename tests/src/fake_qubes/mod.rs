// SPDX-License-Identifier: GPL-3.0-or-later
//! A simulated system of qubes: `qrexec-client`, `qrexec-client-vm` and qubesd, which speak like
//! the real programs, traps included, over a folder that lists the qubes. There is no hypervisor
//! and no policy language; a qube is a folder, and its service a process.
//!
//! ```text
//! WORLD/bin/                 the two clients: they find the world from where they are started
//!       qubesd.sock, qubesd.internal.sock
//!       qubes/NAME/class     AppVM, DispVM, TemplateVM, StandaloneVM, RemoteVM
//!                  state     as qubesd's List names it; Halted if there is no such file
//!                  ...       its settings and volumes: see system.rs
//!                  services/ the executables of /etc/qubes-rpc
//!                  profile   /etc/profile: runs first, with the service's streams
//!       traps                one line for each future call: see qrexec.rs
//!       qubesd-traps         METHOD TRAP: see qubesd.rs
//!       go                   while it exists, qubesd's trap `slow` holds nothing up
//!       kill                 CALL PHASE VICTIM: see qubesd.rs
//!       refuse               while it exists, the policy refuses the calls of qubes
//!       nostart              while it exists, no qube can be made or started for a caller in a qube
//!       no-agent             while it exists, the calling qube's own agent is dead
//!       calls                the requests that qubesd got
//!       qrexec-calls         the arguments of each client
//! ```

mod admin;
mod life;
mod logical;
mod properties;
pub mod qrexec;
pub mod qubesd;
mod settings;
mod system;
mod volumes;
pub mod whole;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use volumes::Volume;

use crate::programs::program;
use crate::sandbox::{Outcome, Sandbox};
use crate::service::until;

/// The folder of one system. All its programs read their state from it each time.
#[derive(Clone)]
pub struct World(pub PathBuf);

impl World {
    /// The folder of a qube, or of dom0.
    pub fn qube(&self, name: &str) -> PathBuf {
        match name {
            "dom0" => self.0.join("dom0"),
            name => self.0.join("qubes").join(name),
        }
    }

    /// Whether there is such a qube.
    pub fn exists(&self, name: &str) -> bool {
        !name.is_empty() && name != "dom0" && !name.contains('/') && self.qube(name).is_dir()
    }

    /// Its power state, in the words of qubesd's List.
    pub fn state(&self, name: &str) -> String {
        if self.class(name) == "RemoteVM" {
            return "Running".into();
        }
        std::fs::read_to_string(self.qube(name).join("state")).unwrap_or_else(|_| "Halted".into())
    }

    /// Puts it into a power state.
    pub fn set_state(&self, name: &str, state: &str) {
        // A reader sees either the old state or the new one.
        let next = self.qube(name).join("state.next");
        std::fs::write(&next, state).unwrap();
        std::fs::rename(next, self.qube(name).join("state")).unwrap();
    }

    /// Whether the qube runs and can be called.
    pub fn runs(&self, name: &str) -> bool {
        self.exists(name) && self.state(name) == "Running"
    }

    /// Its class: `AppVM`, `DispVM`, and so on.
    pub fn class(&self, name: &str) -> String {
        std::fs::read_to_string(self.qube(name).join("class")).unwrap_or_default()
    }

    /// All qubes, sorted.
    pub fn names(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.0.join("qubes")).unwrap();
        let mut names: Vec<String> = folders
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The disposables that were made from templates and still exist.
    pub fn disposables(&self) -> Vec<String> {
        self.names()
            .into_iter()
            .filter(|name| self.class(name) == "DispVM")
            .collect()
    }

    /// Makes a disposable of a template that allows it. The system chooses its name, and removes it
    /// when it halts.
    pub fn make_disposable(&self, template: &str) -> String {
        let name = (1..)
            .map(|number| format!("disp{number}"))
            .find(|name| !self.0.join("used").join(name).exists())
            .unwrap();
        std::fs::create_dir_all(self.0.join("used").join(&name)).unwrap();
        self.make_named_disposable(&name, template);
        std::fs::write(self.qube(&name).join("property.auto_cleanup"), "True").unwrap();
        name
    }

    /// Makes a disposable of a template as `Create.DispVM` does: with a chosen name, and it stays
    /// when it has halted.
    pub fn make_named_disposable(&self, name: &str, template: &str) {
        let folder = self.qube(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("class"), "DispVM").unwrap();
        self.set_own(name, "template", template);
        self.set_own(name, "label", "red");
        for inherited in ["services", "profile"] {
            symlink(self.qube(template).join(inherited), folder.join(inherited)).unwrap();
        }
    }

    /// Starts the qube, with what that does to its volumes.
    pub fn start(&self, name: &str) {
        if self.state(name) == "Halted" {
            Volume::all(self, name).iter().for_each(Volume::start);
        }
        self.set_state(name, "Running");
    }

    /// Halts the qube, with what that does to its volumes; one with automatic cleanup is removed
    /// then.
    pub fn halt(&self, name: &str) {
        if self.state(name) != "Halted" {
            Volume::all(self, name).iter().for_each(Volume::stop);
        }
        let cleans_up = std::fs::read_to_string(self.qube(name).join("property.auto_cleanup"))
            .is_ok_and(|value| value == "True");
        if cleans_up {
            self.remove(name);
        } else {
            let _ = std::fs::remove_file(self.qube(name).join("state"));
        }
    }

    /// Removes the qube, and the folders of its volumes.
    pub fn remove(&self, name: &str) {
        let folders = Volume::all(self, name).into_iter();
        for folder in folders.filter_map(|volume| volume.folder()) {
            let _ = std::fs::remove_dir_all(folder);
        }
        // In one step, because a real qube is never half removed.
        let gone = self.0.join(format!("gone.{name}"));
        if std::fs::rename(self.qube(name), &gone).is_ok() {
            let _ = std::fs::remove_dir_all(gone);
        }
    }

    /// Appends a line to a record.
    pub fn note(&self, record: &str, line: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.0.join(record))
            .unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// A record's lines.
    pub fn noted(&self, record: &str) -> Vec<String> {
        std::fs::read_to_string(self.0.join(record))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Takes the next call's trap.
    fn take_trap(&self) -> String {
        let traps = self.noted("traps");
        let (next, left) = traps
            .split_first()
            .map_or((String::new(), &[][..]), |(next, left)| {
                (next.clone(), left)
            });
        std::fs::write(
            self.0.join("traps"),
            left.iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
        .unwrap();
        next
    }
}

/// A world next to an archive's sandbox, and a configuration that uses it.
pub struct FakeQubes {
    /// Its folder.
    pub world: World,
    /// The path for `--config`.
    pub config: String,
    qubesd: Option<Child>,
}

impl FakeQubes {
    /// dom0 of a system with the running qube `sys-backup` and the template `net-dvm`, both with
    /// the helper installed. Time limits are short.
    pub fn dom0(sandbox: &Sandbox) -> Self {
        let mut qubes = Self::build(sandbox, "dom0");
        qubes.start_qubesd();
        qubes
    }

    /// An admin qube of the same system, without qubesd.
    pub fn admin_qube(sandbox: &Sandbox) -> Self {
        Self::build(sandbox, "qube")
    }

    fn build(sandbox: &Sandbox, admin: &str) -> Self {
        let world = World(sandbox.path("qubes"));
        std::fs::create_dir_all(world.0.join("bin")).unwrap();
        std::fs::create_dir_all(world.0.join("dom0")).unwrap();
        for name in ["qrexec-client", "qrexec-client-vm"] {
            symlink(
                program(&format!("fake-{name}")),
                world.0.join("bin").join(name),
            )
            .unwrap();
        }
        let folder = world.0.display();
        let config = format!(
            "[qubes]\nadmin = \"{admin}\"\nqubesd_socket = \"{folder}/qubesd.sock\"\nqrexec_client = \"{folder}/bin/qrexec-client\"\n\
             qrexec_client_vm = \"{folder}/bin/qrexec-client-vm\"\nstart_timeout = \"5s\"\n[far_ends]\nstall_timeout = \"3s\"\n"
        );
        let config = sandbox.text("wyng.toml", &config);
        let qubes = Self {
            world,
            config,
            qubesd: None,
        };
        qubes.add("sys-backup");
        qubes.world.start("sys-backup");
        qubes.add("net-dvm");
        qubes
            .world
            .set_own("net-dvm", "template_for_dispvms", "True");
        qubes
    }

    /// Starts qubesd, and waits until it listens.
    pub fn start_qubesd(&mut self) {
        self.qubesd = Some(
            Command::new(program("fake-qubesd"))
                .arg(&self.world.0)
                .spawn()
                .unwrap(),
        );
        until("qubesd listens", || {
            std::os::unix::net::UnixStream::connect(self.world.0.join("qubesd.sock")).is_ok()
        });
    }

    /// Stops qubesd; its socket stays, like that of a daemon that died.
    pub fn stop_qubesd(&mut self) {
        if let Some(mut qubesd) = self.qubesd.take() {
            let _ = qubesd.kill();
            let _ = qubesd.wait();
        }
    }

    /// A halted AppVM with the helper installed.
    pub fn add(&self, name: &str) {
        let folder = self.world.qube(name);
        std::fs::create_dir_all(folder.join("services")).unwrap();
        std::fs::write(folder.join("class"), "AppVM").unwrap();
        self.world.set_own(name, "label", "red");
        for (service, verb) in [
            ("wyng.Push", "push"),
            ("wyng.Fetch", "fetch"),
            ("wyng.Prune", "prune"),
        ] {
            self.install(name, service, &format!("exec $HELPER {verb}"));
        }
    }

    /// Replaces a service by a shell script. In it, `$HELPER` is the real helper.
    pub fn install(&self, qube: &str, service: &str, script: &str) {
        let helper = program("wyng-transport-vm");
        executable(
            &self.world.qube(qube).join("services").join(service),
            &format!("#!/bin/bash\nHELPER={}\n{script}\n", helper.display()),
        );
    }

    /// Sets `/etc/profile` of a qube.
    pub fn login_script(&self, qube: &str, script: &str) {
        executable(&self.world.qube(qube).join("profile"), script);
    }

    /// Sets the traps of the next calls, one each.
    pub fn set_traps(&self, traps: &[&str]) {
        std::fs::write(
            self.world.0.join("traps"),
            traps
                .iter()
                .map(|trap| format!("{trap}\n"))
                .collect::<String>(),
        )
        .unwrap();
    }

    /// Sets the trap of qubesd from now on: `METHOD TRAP`.
    pub fn set_qubesd_traps(&self, traps: &str) {
        std::fs::write(self.world.0.join("qubesd-traps"), traps).unwrap();
    }

    /// Lets qubesd do now what its trap `slow` holds up.
    pub fn let_go(&self) {
        std::fs::write(self.world.0.join("go"), "").unwrap();
    }

    /// Sets the process that is killed at a future call of qubesd, counted from 1: see qubesd.rs.
    pub fn kill_at(&self, call: usize, phase: &str, victim: &str) {
        std::fs::write(self.world.0.join("calls"), "").unwrap();
        std::fs::write(
            self.world.0.join("kill"),
            format!("{call} {phase} {victim}"),
        )
        .unwrap();
    }

    /// A command with the configuration of these qubes.
    pub fn wyng(&self, sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
        sandbox.wyng(&[arguments, &["--config", &self.config]].concat())
    }

    /// `archive create home` through a far end.
    pub fn create(&self, sandbox: &Sandbox, via: &str, options: &[&str]) -> Outcome {
        sandbox.create(
            "home",
            &[&["--via", via, "--config", &self.config], options].concat(),
        )
    }
}

impl Drop for FakeQubes {
    fn drop(&mut self) {
        self.stop_qubesd();
    }
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
