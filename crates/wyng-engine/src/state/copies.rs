// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine knows of the copies of an archive: a file for each address that was copied to.
//! Of a copy itself nothing is known but what was read back from it.

use std::collections::HashSet;

use wyng_control::{Failure, Via};
use wyng_wire::BlobName;

use super::archives::{ArchiveFolder, read_credentials, to_hex, write_credentials};
use crate::world::{Files, StoreCredentials};

const FOLDER: &str = "copies";
const CREDENTIALS: &str = ".credentials";
/// Of a file's name; the file itself holds the whole address.
const NAME_BYTES: usize = 16;
/// Length of the numbers before the two strings: flags, generation, wall time, two lengths.
const HEAD_BYTES: usize = 1 + 8 + 8 + 2 + 2;

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyNote {
    /// The copy's address.
    pub store: String,
    /// Its far end.
    pub via: Via,
    /// Something was stored there: an empty place is not the copy, but one that is not mounted.
    pub received: bool,
    /// The newest generation that was copied whole and read back; 0: none.
    pub generation: u64,
    /// When that was, seconds since 1970 UTC.
    pub wall_secs: i64,
    /// Names of the blobs that were read back whole and right.
    pub read: HashSet<BlobName>,
}

impl CopyNote {
    /// A copy that is about to be begun.
    pub fn new(store: &str, via: Via) -> Self {
        Self {
            store: store.to_owned(),
            via,
            received: false,
            generation: 0,
            wall_secs: 0,
            read: HashSet::new(),
        }
    }

    /// What is known of the copy at `url`. A damaged file is no file: all is then read back again.
    pub fn read(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        url: &str,
    ) -> Result<Option<Self>, Failure> {
        let bytes = files.read(&path(folder, url))?;
        Ok(bytes
            .as_deref()
            .and_then(decode)
            .filter(|note| canonical(&note.store) == canonical(url)))
    }

    /// All copies that are known, by address.
    pub fn all(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Vec<Self>, Failure> {
        let mut notes = Vec::new();
        for name in files.list(&folder.file(FOLDER))? {
            if !name.ends_with(CREDENTIALS) {
                let bytes = files.read(&folder.file(&format!("{FOLDER}/{name}")))?;
                notes.extend(bytes.as_deref().and_then(decode));
            }
        }
        notes.sort_by(|one, other| one.store.cmp(&other.store));
        Ok(notes)
    }

    /// Writes it durably.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        files.replace(&path(folder, &self.store), &self.encode())
    }

    /// Forgets the copy and its credentials: it is none any more.
    pub fn forget(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        url: &str,
    ) -> Result<(), Failure> {
        for file in [path(folder, url), credentials_path(folder, url)] {
            if files.length(&file)?.is_some() {
                files.remove(&file)?;
            }
        }
        Ok(())
    }

    /// What the copy's store asks for.
    pub fn read_credentials(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        url: &str,
    ) -> Result<StoreCredentials, Failure> {
        read_credentials(files, credentials_path(folder, url), url)
    }

    /// Writes what the copy's store asks for.
    pub fn write_credentials(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        url: &str,
        credentials: &StoreCredentials,
    ) -> Result<(), Failure> {
        write_credentials(files, &credentials_path(folder, url), url, credentials)
    }

    fn encode(&self) -> Vec<u8> {
        let (store, via) = (self.store.as_bytes(), self.via.to_string());
        let mut bytes = vec![u8::from(self.received)];
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.wall_secs.to_le_bytes());
        for text in [store, via.as_bytes()] {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        for text in [store, via.as_bytes()] {
            bytes.extend_from_slice(text);
        }
        let mut names: Vec<&BlobName> = self.read.iter().collect();
        names.sort_unstable();
        names
            .iter()
            .for_each(|name| bytes.extend_from_slice(&name.0));
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        bytes
    }
}

/// The note in a file; `None` if it is damaged.
fn decode(bytes: &[u8]) -> Option<CopyNote> {
    let (covered, hash) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(covered).as_bytes() != hash {
        return None;
    }
    let (head, rest) = covered.split_at_checked(HEAD_BYTES)?;
    let (received, head) = head.split_first()?;
    let (generation, head) = head.split_first_chunk::<8>()?;
    let (wall_secs, head) = head.split_first_chunk::<8>()?;
    let (store_length, head) = head.split_first_chunk::<2>()?;
    let (via_length, _) = head.split_first_chunk::<2>()?;
    let (store, rest) = rest.split_at_checked(u16::from_le_bytes(*store_length).into())?;
    let (via, names) = rest.split_at_checked(u16::from_le_bytes(*via_length).into())?;
    let (names, left) = names.as_chunks::<32>();
    left.is_empty().then_some(())?;
    Some(CopyNote {
        store: std::str::from_utf8(store).ok()?.to_owned(),
        via: std::str::from_utf8(via).ok()?.parse().ok()?,
        received: *received != 0,
        generation: u64::from_le_bytes(*generation),
        wall_secs: i64::from_le_bytes(*wall_secs),
        read: names.iter().map(|name| BlobName(*name)).collect(),
    })
}

/// An address without the slashes at its end, which name the same folder.
fn canonical(url: &str) -> &str {
    match url.starts_with("dir:") {
        true => url.trim_end_matches('/'),
        false => url,
    }
}

fn path(folder: &ArchiveFolder, url: &str) -> String {
    let hash = blake3::hash(canonical(url).as_bytes());
    let name = hash.as_bytes().get(..NAME_BYTES).unwrap_or_default();
    folder.file(&format!("{FOLDER}/{}", to_hex(name)))
}

fn credentials_path(folder: &ArchiveFolder, url: &str) -> String {
    format!("{}{CREDENTIALS}", path(folder, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_names_the_same_folder() {
        let folder = ArchiveFolder::of(wyng_archive::crypto::ArchiveId([1; 16]));
        let of = |url| path(&folder, url);
        assert_eq!(of("dir:/mnt/usb/"), of("dir:/mnt/usb"));
        assert_ne!(of("dir:/mnt/usb/a"), of("dir:/mnt/usb"));
        assert_ne!(of("s3://a/b/"), of("s3://a/b"));
    }

    #[test]
    fn a_note_comes_back_as_it_was_and_a_damaged_one_not_at_all() {
        let note = CopyNote {
            received: true,
            generation: 7,
            wall_secs: -3,
            read: HashSet::from([BlobName([1; 32]), BlobName([2; 32])]),
            ..CopyNote::new("dir:/mnt/usb/wyng", Via::Ssh("nas".into()))
        };
        let bytes = note.encode();
        assert_eq!(decode(&bytes), Some(note));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(decode(&damaged), None, "{place}");
            assert_eq!(decode(&bytes[..place]), None, "{place}");
        }
    }
}
