// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of the state directory, which a look reads and never changes.

use wyng_control::Failure;

use super::wire::{Control, SharedControl};
use crate::keyholder::real_world::StateFiles;
use wyng_engine::world::Files;

/// The files of the state directory. At each read an interrupt is heard.
pub(super) struct LookedAtFiles {
    /// The files.
    pub files: StateFiles,
    /// The wire on which an interrupt comes.
    pub control: SharedControl,
}

impl Files for LookedAtFiles {
    fn only_looks(&self) -> bool {
        true
    }

    fn free_bytes(&mut self) -> Option<u64> {
        self.files.free_bytes()
    }

    fn look_anew(&mut self) {
        self.files.close();
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.files.read(name)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.replace(name, bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.files.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), Failure> {
        self.files.sync(name)
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.files.truncate(name, length_bytes)
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.files.length(name)
    }

    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.control.with(Control::unless_cancelled)?;
        self.files.read_at(name, offset, bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.files.remove(name)
    }

    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        self.files.list(name)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.files.link(name, target)
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.files.read_link(name)
    }
}
