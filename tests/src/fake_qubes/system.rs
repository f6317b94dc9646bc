// SPDX-License-Identifier: GPL-3.0-or-later
//! What a system knows of its qubes: files of the world's folder, read anew for each call.
//!
//! ```text
//! WORLD/release              4.2, 4.3 or 4.4
//!       dom0/                the same as a qube's folder; its properties are the global ones
//!       labels/NAME          0xRRGGBB
//!       pools/NAME           lines KEY=VALUE, among them driver=
//!       qubes/NAME/uuid
//!                  property.P   its own value of a property; what is not here is the default
//!                  features/F   the value
//!                  tags/T
//!                  firewall     the rules, as they were set
//!                  notes
//!                  assigned.CLASS   one assignment a line
//!                  available.CLASS  one PORT:IDENTITY a line, of a qube that offers devices
//!                  volumes/NAME     see volumes.rs
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use super::World;

/// A release of Qubes OS, as far as its answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Release {
    /// List has no uuid, and nothing honours `prohibit-start`.
    R42,
    /// Denied requests get an empty answer.
    R43,
    /// Denied requests get an error.
    R44,
}

impl World {
    /// The release; R4.3 unless the world says otherwise.
    pub(super) fn release(&self) -> Release {
        match std::fs::read_to_string(self.0.join("release")).as_deref() {
            Ok("4.2") => Release::R42,
            Ok("4.4") => Release::R44,
            _ => Release::R43,
        }
    }

    /// The qube of this DEST: a name, or `uuid:UUID` where the release has it.
    pub fn resolve(&self, dest: &str) -> Option<String> {
        let Some(uuid) = dest.strip_prefix("uuid:") else {
            return (dest == "dom0" || self.exists(dest)).then(|| dest.to_owned());
        };
        let mut names = self.names().into_iter();
        names.find(|name| self.release() >= Release::R43 && self.uuid(name) == uuid)
    }

    /// A qube's uuid, which it keeps for life.
    pub fn uuid(&self, qube: &str) -> String {
        let path = self.qube(qube).join("uuid");
        std::fs::read_to_string(&path).unwrap_or_else(|_| {
            let uuid = random_uuid();
            // The qube may be gone by now.
            let _ = std::fs::write(path, &uuid);
            uuid
        })
    }

    /// A qube's own value of a property.
    pub fn own(&self, qube: &str, property: &str) -> Option<String> {
        std::fs::read_to_string(self.qube(qube).join(format!("property.{property}"))).ok()
    }

    /// Gives a qube its own value of a property; false if the qube is gone.
    pub fn set_own(&self, qube: &str, property: &str, value: &str) -> bool {
        let path = self.qube(qube).join(format!("property.{property}"));
        std::fs::write(path, value).is_ok()
    }

    /// All own values of a qube.
    pub fn all_own(&self, qube: &str) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.qube(qube)).into_iter().flatten();
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                let property = name.strip_prefix("property.")?.to_owned();
                Some((property, std::fs::read_to_string(entry.path()).ok()?))
            })
            .collect()
    }

    /// The names in a part of a qube, sorted: `features`, `tags`, `volumes`.
    pub fn listed(&self, qube: &str, part: &str) -> Vec<String> {
        sorted_names(self.qube(qube).join(part))
    }

    /// One of them: its text.
    pub fn part(&self, qube: &str, part: &str, name: &str) -> Option<String> {
        std::fs::read_to_string(self.qube(qube).join(part).join(name)).ok()
    }

    /// Writes one of them.
    pub fn set_part(&self, qube: &str, part: &str, name: &str, text: &str) {
        let folder = self.qube(qube).join(part);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }

    /// Removes one of them, and returns whether it was there.
    pub fn remove_part(&self, qube: &str, part: &str, name: &str) -> bool {
        std::fs::remove_file(self.qube(qube).join(part).join(name)).is_ok()
    }

    /// The lines of a qube's file.
    pub fn lines(&self, qube: &str, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.qube(qube).join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The names of all pools.
    pub fn pools(&self) -> Vec<String> {
        sorted_names(self.0.join("pools"))
    }

    /// The settings of a pool; none where there is no such pool.
    pub fn pool(&self, name: &str) -> BTreeMap<String, String> {
        pairs(&std::fs::read_to_string(self.0.join("pools").join(name)).unwrap_or_default())
    }

    /// Makes a pool with these lines.
    pub fn add_pool(&self, name: &str, lines: &[String]) {
        std::fs::create_dir_all(self.0.join("pools")).unwrap();
        std::fs::write(self.0.join("pools").join(name), lines.join("\n")).unwrap();
    }

    /// All labels with their colours.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let colours = [
            ("red", "0xcc0000"),
            ("orange", "0xf57900"),
            ("yellow", "0xedd400"),
            ("green", "0x73d216"),
            ("gray", "0x555753"),
            ("blue", "0x3465a4"),
            ("purple", "0x75507b"),
            ("black", "0x000000"),
        ];
        let made = sorted_names(self.0.join("labels")).into_iter().map(|name| {
            let colour = std::fs::read_to_string(self.0.join("labels").join(&name));
            (name, colour.unwrap_or_default())
        });
        colours
            .map(|(name, colour)| (name.to_owned(), colour.to_owned()))
            .into_iter()
            .chain(made)
            .collect()
    }
}

/// Lines `KEY=VALUE`.
pub(super) fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn sorted_names(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A random uuid of version 4.
fn random_uuid() -> String {
    let mut bytes = [0; 16];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
