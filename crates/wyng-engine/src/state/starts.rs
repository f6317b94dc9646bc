// SPDX-License-Identifier: GPL-3.0-or-later
//! The start of each profile's last run that a timer started and that did its work. The file is a
//! hint: without it the next run begins at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wyng_archive::plan::age::Moment;
use wyng_archive::plan::unattended::Start;
use wyng_control::Failure;

use super::archives::{ArchiveFolder, from_hex, to_hex};
use crate::world::Files;

const FILE: &str = "starts.toml";
/// Maximum number of profiles, more than an archive has in practice.
const PROFILES_MAX: usize = 64;

/// Starts by profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Starts(BTreeMap<String, Line>);

/// A start as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// The instance of the kept clock, hexadecimal.
    instance: String,
    wall_secs: i64,
    kept_secs: u64,
}

impl Starts {
    /// Reads the starts; a damaged file counts as empty.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let bytes = files.read(&folder.file(FILE))?.unwrap_or_default();
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(toml::from_str(text).unwrap_or_default())
    }

    /// The last start of a profile.
    pub fn of(&self, profile: &str) -> Option<Start> {
        let line = self.0.get(profile)?;
        Some(Start {
            instance: from_hex(&line.instance)?,
            at: Moment {
                wall_secs: line.wall_secs,
                kept_secs: line.kept_secs,
            },
        })
    }

    /// Notes a start. Beyond 64 profiles the one that started longest ago is forgotten.
    pub fn set(&mut self, profile: &str, start: Start) {
        let line = Line {
            instance: to_hex(&start.instance),
            wall_secs: start.at.wall_secs,
            kept_secs: start.at.kept_secs,
        };
        self.0.insert(profile.to_owned(), line);
        while self.0.len() > PROFILES_MAX {
            let others = self.0.iter().filter(|(name, _)| *name != profile);
            let oldest = others.min_by_key(|(_, line)| line.kept_secs);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.0.remove(&oldest);
        }
    }

    /// Replaces the file durably.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let text = toml::to_string(self).map_err(|_| Failure::internal("starts.toml"))?;
        files.replace(&folder.file(FILE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(kept_secs: u64) -> Start {
        Start {
            instance: [7; 16],
            at: Moment {
                wall_secs: -5,
                kept_secs,
            },
        }
    }

    #[test]
    fn starts_come_back_and_the_oldest_makes_room() {
        let mut starts = Starts::default();
        for number in 0..100 {
            starts.set(&format!("p{number}"), start(number));
        }
        let text = toml::to_string(&starts).unwrap();
        let back: Starts = toml::from_str(&text).unwrap();
        assert_eq!(back.of("p99"), Some(start(99)));
        assert_eq!((back.0.len(), back.of("p35")), (PROFILES_MAX, None));
        assert_eq!(back.of("p36"), Some(start(36)));
    }
}
