// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of the local state, by their names below its folder.

use wyng_control::Failure;

/// See the module's first line.
pub trait Files {
    /// Whether the local state can only be read here: an archive is then opened as it was last
    /// committed, and no file is changed.
    fn only_looks(&self) -> bool {
        false
    }
    /// Closes what was opened for a look, so that the next one finds the files that are there then.
    fn look_anew(&mut self) {}
    /// A whole file of the state; `None` if there is none. At most 256 MiB.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// Replaces a file, durably and at once: after a crash it is the old or the new one. Makes its
    /// folder.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Appends; durable only after [`sync`](Self::sync).
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Makes a file's bytes and its name durable. An error here is as bad as a crash: the file must
    /// be read anew.
    fn sync(&mut self, name: &str) -> Result<(), Failure>;
    /// Cuts a file.
    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure>;
    /// The length of a file; `None` if there is none.
    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure>;
    /// Fills `bytes` from `offset`; a short file is an error.
    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure>;
    /// Removes a file or a folder with all that is in it; that it is absent is no error.
    fn remove(&mut self, name: &str) -> Result<(), Failure>;
    /// The names in a folder of the state; none if there is no such folder.
    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure>;
    /// Makes `name` a link to `target`, durably. Makes its folder.
    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure>;
    /// What a link points to; `None` if there is none.
    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure>;
}
