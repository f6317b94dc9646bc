// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of the state directory, by their names below it.

use wyng_control::Failure;

/// Reads and writes files of the state directory.
pub trait Files {
    /// Whether the state directory can only be read: an archive is then opened as it was last
    /// committed, and no file is changed.
    fn only_looks(&self) -> bool {
        false
    }
    /// Free space of the file system of the state directory, bytes; `None`: not known.
    fn free_bytes(&mut self) -> Option<u64>;
    /// Closes what was opened for a look, so that the next one finds the files that are there then.
    fn look_anew(&mut self) {}
    /// Reads a whole file of at most 256 MiB; `None` if there is no such file.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// Replaces a file durably and atomically: after a crash it is the old or the new one. Makes
    /// its folder if needed.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Appends; durable only after [`sync`](Self::sync).
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Makes a file's bytes and its name durable. After an error here the file must be read anew,
    /// as after a crash.
    fn sync(&mut self, name: &str) -> Result<(), Failure>;
    /// Cuts a file to a length, durably.
    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure>;
    /// The length of a file, bytes; `None` if there is no such file.
    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure>;
    /// Fills `bytes` from `offset`; a file that ends before is an error.
    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure>;
    /// Removes a file, or a folder with all that is in it, durably. It may be absent.
    fn remove(&mut self, name: &str) -> Result<(), Failure>;
    /// The names in a folder; empty if there is no such folder.
    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure>;
    /// Makes `name` a link to `target`, durably. Makes its folder if needed.
    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure>;
    /// The target of a link; `None` if there is no such link.
    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure>;
}
