// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine knows of the copies of an archive: a file for each address that was copied to.
//! Of a copy itself nothing is known but what was read back from it.

use std::collections::{BTreeMap, HashSet};

use wyng_archive::format::Stamp;
use wyng_control::{Failure, Via};
use wyng_wire::BlobName;

use super::archives::{ArchiveFolder, read_credentials, to_hex, write_credentials};
use crate::world::{Files, StoreCredentials};

const FOLDER: &str = "copies";
const CREDENTIALS: &str = ".credentials";
/// Of a file's name; the file itself holds the whole address.
const NAME_BYTES: usize = 16;
/// The layout of the file.
const LAYOUT: u8 = 2;
/// Length of the numbers before the two strings: layout, flags, generation, wall time, when deletes
/// were refused, number of blobs that leave, two lengths.
const HEAD_BYTES: usize = 1 + 1 + 8 + 8 + 8 + 4 + 2 + 2;
/// Length of a blob that leaves: its name, and since when it waits.
const LEAVING_BYTES: usize = 32 + 8 + 8;

/// In the place of a time: there was none.
const NEVER: u64 = u64::MAX;

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
    /// Names of the blobs of the copy that the archive gave up, and since when each waits for its
    /// deletion.
    pub leaving: BTreeMap<BlobName, Stamp>,
    /// When the copy's far end or store last refused to delete, seconds of the kept clock.
    pub refused_secs: Option<u64>,
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
            leaving: BTreeMap::new(),
            refused_secs: None,
        }
    }

    /// Whether this machine copied a blob of this name.
    pub fn knows(&self, name: &BlobName) -> bool {
        self.read.contains(name) || self.leaving.contains_key(name)
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
        let mut bytes = vec![LAYOUT, u8::from(self.received)];
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.wall_secs.to_le_bytes());
        let refused_secs = self.refused_secs.unwrap_or(NEVER);
        bytes.extend_from_slice(&refused_secs.to_le_bytes());
        let leaving = u32::try_from(self.leaving.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&leaving.to_le_bytes());
        for text in [store, via.as_bytes()] {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        for text in [store, via.as_bytes()] {
            bytes.extend_from_slice(text);
        }
        for (name, since) in &self.leaving {
            bytes.extend_from_slice(&name.0);
            bytes.extend_from_slice(&since.run.to_le_bytes());
            bytes.extend_from_slice(&since.kept_secs.to_le_bytes());
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
    let (layout, head) = head.split_first()?;
    (*layout == LAYOUT).then_some(())?;
    let (received, head) = head.split_first()?;
    let (generation, head) = head.split_first_chunk::<8>()?;
    let (wall_secs, head) = head.split_first_chunk::<8>()?;
    let (refused_secs, head) = head.split_first_chunk::<8>()?;
    let (leaving, head) = head.split_first_chunk::<4>()?;
    let (store_length, head) = head.split_first_chunk::<2>()?;
    let (via_length, _) = head.split_first_chunk::<2>()?;
    let (store, rest) = rest.split_at_checked(u16::from_le_bytes(*store_length).into())?;
    let (via, rest) = rest.split_at_checked(u16::from_le_bytes(*via_length).into())?;
    let leaving = usize::try_from(u32::from_le_bytes(*leaving)).ok()?;
    let (leaving, names) = rest.split_at_checked(leaving.checked_mul(LEAVING_BYTES)?)?;
    let (leaving, _) = leaving.as_chunks::<LEAVING_BYTES>();
    let (names, left) = names.as_chunks::<32>();
    left.is_empty().then_some(())?;
    Some(CopyNote {
        store: std::str::from_utf8(store).ok()?.to_owned(),
        via: std::str::from_utf8(via).ok()?.parse().ok()?,
        received: *received != 0,
        generation: u64::from_le_bytes(*generation),
        wall_secs: i64::from_le_bytes(*wall_secs),
        read: names.iter().map(|name| BlobName(*name)).collect(),
        leaving: leaving.iter().map(decode_leaving).collect::<Option<_>>()?,
        refused_secs: Some(u64::from_le_bytes(*refused_secs)).filter(|secs| *secs != NEVER),
    })
}

/// A blob that leaves, and since when it waits.
fn decode_leaving(bytes: &[u8; LEAVING_BYTES]) -> Option<(BlobName, Stamp)> {
    let (name, rest) = bytes.split_first_chunk::<32>()?;
    let (run, kept_secs) = rest.split_first_chunk::<8>()?;
    let since = Stamp {
        run: u64::from_le_bytes(*run),
        kept_secs: u64::from_le_bytes(*kept_secs.first_chunk::<8>()?),
    };
    Some((BlobName(*name), since))
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
            leaving: BTreeMap::from([(
                BlobName([3; 32]),
                Stamp {
                    run: 4,
                    kept_secs: 5,
                },
            )]),
            refused_secs: Some(6),
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
