// SPDX-License-Identifier: GPL-3.0-or-later
//! The state that must be intact after every kill: the sessions that were reported, the archive,
//! and the folders around them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::require::{Component, require};
use crate::sandbox::{Outcome, Sandbox, files_below, noise, write_at};

/// An archive of two volumes, and a session of each.
pub struct Scene {
    /// The sandbox of both.
    pub sandbox: Sandbox,
    /// Every reported session: the volume, the session, and the content that it must restore.
    pub sessions: Vec<(String, String, Vec<u8>)>,
}

impl Scene {
    /// A scene without an archive; `None` if a test that needs `strace` cannot run here.
    pub fn ready(test: &str) -> Option<Self> {
        // Only root can trace processes that have made themselves undumpable.
        let possible = require(Component::Strace, test) && require(Component::Root, test);
        possible.then(|| Self {
            sandbox: Sandbox::new(),
            sessions: Vec::new(),
        })
    }

    /// A scene with an archive and a session of each volume.
    pub fn with_a_session(test: &str) -> Option<Self> {
        let mut scene = Self::ready(test)?;
        scene.create().success();
        scene.sandbox.image("root.img", 600_000, 1);
        scene.sandbox.image("home.img", 70_000, 2);
        let outcome = scene
            .sandbox
            .wyng(&["backup", "home", "root.img", "home.img"]);
        scene.note(outcome.success());
        Some(scene)
    }

    /// A scene with an archive of this hold-off whose sessions may be removed at once, and as many
    /// sessions of one volume, of which most is new each time.
    pub fn with_sessions(test: &str, hold_off: &str, count: u64) -> Option<Self> {
        let mut scene = Self::ready(test)?;
        let options = [
            "--chunk-size",
            "64K",
            "--pack-size",
            "256K",
            "--minimum-age",
            "0s",
            "--hold-off",
            hold_off,
        ];
        scene.sandbox.create("home", &options).success();
        let image = scene.sandbox.image("root.img", 300_000, 1);
        for session in 0..count {
            write_at(&image, 0, &noise(200_000, 10 + session));
            let outcome = scene.sandbox.wyng(&["backup", "home", "root.img"]);
            scene.note(outcome.success());
        }
        Some(scene)
    }

    /// Makes the archive, with small packs.
    pub fn create(&self) -> Outcome {
        self.sandbox
            .create("home", &["--chunk-size", "64K", "--pack-size", "256K"])
    }

    /// Notes the sessions that this backup reported, and the content that they must restore.
    pub fn note(&mut self, outcome: &Outcome) {
        for done in outcome.json["volumes"].as_array().into_iter().flatten() {
            let volume = done["name"].as_str().expect("a volume has a name");
            if let Some(session) = done["session"].as_str() {
                let content = std::fs::read(self.sandbox.path(volume)).unwrap();
                self.sessions
                    .push((volume.to_owned(), session.to_owned(), content));
            }
        }
    }

    /// The folders that are lost or kept together.
    pub fn folders(&self) -> [PathBuf; 2] {
        [self.sandbox.state(), self.sandbox.store()]
    }

    /// Checks that the session that was reported last restores, and by a verify that the archive is
    /// intact: this runs after each of hundreds of kills.
    pub fn assert_whole(&self) {
        if let Some((volume, session, content)) = self.sessions.last() {
            self.sandbox.assert_restores(volume, session, content);
        }
        let verified = self.sandbox.wyng(&["verify", "home"]);
        assert_eq!(verified.success().json["problems"], serde_json::json!([]));
        self.assert_nothing_left();
    }

    /// Checks that there is no half-written state, no hidden file in the store, and no file that
    /// the test did not make.
    pub fn assert_nothing_left(&self) {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let state: BTreeSet<String> = files_below(&self.sandbox.state())
            .iter()
            .map(name)
            .filter(|name| name.ends_with(".new"))
            .collect();
        let store: BTreeSet<String> = files_below(&self.sandbox.store())
            .iter()
            .map(name)
            .filter(|name| name.len() != 64)
            .collect();
        assert_eq!((state, store), (BTreeSet::new(), BTreeSet::new()));
        let expected = [
            "base",
            "home.img",
            "passphrase",
            "pipes",
            "programs",
            "recorded",
            "restored",
            "root.img",
            "second",
            "state",
            "store",
            "third.img",
            "trace",
        ];
        let beside: Vec<String> = std::fs::read_dir(self.sandbox.path(""))
            .unwrap()
            .map(|entry| name(&entry.unwrap().path()))
            .collect();
        assert!(
            beside.iter().all(|name| expected.contains(&name.as_str())),
            "{beside:?}"
        );
    }
}
