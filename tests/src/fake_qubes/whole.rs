// SPDX-License-Identifier: GPL-3.0-or-later
//! A whole system for tests: a pool of files with qubes of several classes in it, made through the
//! Admin API itself.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::FakeQubes;
use super::life::vid;
use super::volumes::{InPython, KERNELS, Volume};

/// The pool that tests use.
pub const POOL: &str = "vm-pool";

impl FakeQubes {
    /// Gives the system a pool of files in this folder, the default one for everything, a template
    /// `debian-13`, and a net qube `sys-net`.
    pub fn add_system(&self, folder: &Path) {
        let line = |key: &str, value: &str| format!("{key}={value}");
        std::fs::create_dir_all(folder).unwrap();
        let lines = [
            line("driver", "file-reflink"),
            line("dir_path", folder.to_str().unwrap()),
        ];
        self.world.add_pool(POOL, &lines);
        self.world.set_own("dom0", "default_pool", POOL);
        let kernels = self.world.0.join("kernels");
        std::fs::create_dir_all(kernels.join("6.12.18-1.fc41")).unwrap();
        let lines = [
            line("driver", KERNELS),
            line("dir_path", kernels.to_str().unwrap()),
        ];
        self.world.add_pool(KERNELS, &lines);
        self.make("TemplateVM", "debian-13", "");
        self.world.set_own("dom0", "default_template", "debian-13");
        self.make("AppVM", "sys-net", "debian-13");
        self.call(
            "admin.vm.property.Set",
            "provides_network",
            "sys-net",
            "True",
        );
        self.world.set_own("dom0", "default_netvm", "sys-net");
    }

    /// Makes a qube by `Create.CLASS`.
    pub fn make(&self, class: &str, name: &str, template: &str) {
        let payload = format!("name={name} label=red");
        self.call(
            &format!("admin.vm.Create.{class}"),
            template,
            "dom0",
            &payload,
        );
    }

    /// Asks at a socket of qubesd, and returns all bytes of the answer.
    pub fn ask_at(&self, socket: &str, request: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.world.0.join(socket)).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    /// Asks qubesd, and returns all bytes of the answer.
    pub fn ask(&self, method: &str, argument: &str, dest: &str, payload: &str) -> Vec<u8> {
        let request = format!("{method}+{argument} dom0 name {dest}\0{payload}");
        self.ask_at("qubesd.sock", request.as_bytes())
    }

    /// Asks qubesd for what must succeed, and returns the text.
    #[track_caller]
    pub fn call(&self, method: &str, argument: &str, dest: &str, payload: &str) -> String {
        let answer = self.ask(method, argument, dest, payload);
        let text = answer.strip_prefix(b"0\0").unwrap_or_else(|| {
            panic!("{method}+{argument} {dest}: {}", answer.escape_ascii());
        });
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// The class of the error with which qubesd answers; empty for an answer of nothing.
    #[track_caller]
    pub fn fails(&self, method: &str, argument: &str, dest: &str, payload: &str) -> String {
        let answer = self.ask(method, argument, dest, payload);
        if answer.is_empty() {
            return String::new();
        }
        let error = answer.strip_prefix(b"2\0").unwrap_or_else(|| {
            panic!("{method}+{argument} {dest}: {}", answer.escape_ascii());
        });
        let class = error.split(|byte| *byte == 0).next().unwrap();
        String::from_utf8(class.to_vec()).unwrap()
    }

    /// Imports bytes into a volume as the real script does, and returns the last answer.
    pub fn import(&self, qube: &str, volume: &str, bytes: &[u8]) -> Vec<u8> {
        let call = |verb: &str, payload: &str| {
            let request =
                format!("internal.vm.volume.Import{verb}+{volume} dom0 name {qube}\0{payload}");
            self.ask_at("qubesd.internal.sock", request.as_bytes())
        };
        let begun = call("Begin", &bytes.len().to_string());
        let Some(text) = begun.strip_prefix(b"0\0") else {
            return begun;
        };
        let (_, path) = std::str::from_utf8(text).unwrap().split_once(' ').unwrap();
        std::fs::write(path, bytes).unwrap();
        call("End", "ok")
    }

    /// Gives a qube a volume of its own making, which is saved, with these bytes.
    pub fn add_volume(&self, qube: &str, volume: &str, bytes: &[u8]) {
        let class = self.world.class(qube);
        let lines = [
            ("vid", vid(&self.world, POOL, &class, qube, volume)),
            ("pool", POOL.to_owned()),
            ("size", bytes.len().to_string()),
            ("rw", true.to_string_in_python()),
            ("save_on_stop", true.to_string_in_python()),
            ("snap_on_start", false.to_string_in_python()),
        ];
        Volume::make(&self.world, qube, volume, &lines);
        self.fill(qube, volume, bytes);
    }

    /// Writes the committed volume of a qube, as if it had been so at its last stop.
    pub fn fill(&self, qube: &str, volume: &str, bytes: &[u8]) {
        std::fs::write(self.image(qube, volume), bytes).unwrap();
    }

    /// The path of a committed volume.
    pub fn image(&self, qube: &str, volume: &str) -> PathBuf {
        let volume = Volume::of(&self.world, qube, volume).unwrap();
        volume.clean().unwrap()
    }

    /// The path of what a running qube writes to.
    pub fn dirty_image(&self, qube: &str, volume: &str) -> PathBuf {
        let volume = Volume::of(&self.world, qube, volume).unwrap();
        volume.dirty().unwrap()
    }

    /// Gives a qube another name. The real system copies and removes it, and only a later release
    /// keeps the uuid; the test decides.
    pub fn rename(&self, qube: &str, new: &str) {
        let class = self.world.class(qube);
        let old = self.world.qube(qube);
        for name in self.world.listed(qube, "volumes") {
            let volume = Volume::of(&self.world, qube, &name).unwrap();
            volume.move_to(&vid(&self.world, POOL, &class, new, &name));
        }
        std::fs::rename(old, self.world.qube(new)).unwrap();
    }
}
