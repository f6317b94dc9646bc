// SPDX-License-Identifier: GPL-3.0-or-later
//! The archives that this machine knows: a folder for each archive, a link for each name.

use serde::{Deserialize, Serialize};
use wyng_archive::crypto::{ArchiveId, Credential};
use wyng_archive::format::{SLOT_BYTES, Slot};
use wyng_control::{Abilities, CreateOnly, Durability, Failure, Via, is_archive_name};
use zeroize::Zeroizing;

use crate::world::{Files, StoreCredentials};

const ARCHIVES: &str = "archives";

/// The folder of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFolder {
    id: ArchiveId,
    path: String,
}

/// One of the two folders for a cache. `archive open` builds in the folder that is not in use; the
/// ledger says which folder counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheFolder {
    /// `cache`.
    #[default]
    First,
    /// `cache.second`.
    Second,
}

impl CacheFolder {
    /// The other folder.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// `archive.toml`: where the archive is, and the writer that this machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveToml {
    /// The store's address, without credentials.
    pub store: String,
    /// How the far end is started.
    #[serde(with = "via_words")]
    pub via: Via,
    /// How the far end is started through which what was pushed is checked, if it is another one.
    #[serde(
        with = "via_words::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub verify_via: Option<Via>,
    /// 16 random bytes that name this machine in commits, hexadecimal.
    pub writer: String,
    /// The store is a copy that this machine has made: it is only read until it is promoted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
    /// The copy is being promoted: what is pending or journaled lies in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoting: bool,
    /// The archive was opened without the code of a recovery sheet: nothing shows that what it had
    /// then was written by its owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// What keeps two blobs of the store from one name: the word of a [`CreateOnly`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_only: Option<String>,
    /// What a receipt of the store means: the word of a [`Durability`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// The last moment at which the wall clock was believed for the end of an object lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_base: Option<LockBase>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockBase {
    /// The wall clock, as far as it was believed, seconds since the beginning of 1970.
    pub wall_secs: i64,
    /// The kept clock of the archive's chain, seconds; 0 where a person believes the wall clock.
    pub kept_secs: u64,
}

/// A [`Via`] as the words that `archive.toml` has for it.
mod via_words {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use wyng_control::Via;

    pub(super) fn serialize<S: Serializer>(via: &Via, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(via)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Via, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use super::*;
        use serde::Serialize;

        pub(in super::super) fn serialize<S: Serializer>(
            via: &Option<Via>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            via.as_ref().map(Via::to_string).serialize(to)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Via>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

impl ArchiveToml {
    /// The writer's bytes.
    pub fn writer_id(&self) -> Option<[u8; 16]> {
        from_hex(&self.writer)
    }

    /// The far end `verify_via`, unless it is the one that pushes.
    pub fn other_far_end(via: &Via, verify_via: Option<&Via>) -> Option<Via> {
        verify_via.filter(|checks| *checks != via).cloned()
    }

    /// What is known of the store.
    pub fn abilities(&self) -> Abilities {
        Abilities {
            create_only: self.create_only.as_deref().and_then(CreateOnly::of_key),
            durability: self.durability.as_deref().and_then(Durability::of_key),
        }
    }

    /// Notes what is known of the store.
    pub fn note_abilities(&mut self, abilities: Abilities) {
        self.create_only = abilities.create_only.map(|value| value.key().to_owned());
        self.durability = abilities.durability.map(|value| value.key().to_owned());
    }

    /// The far end through which what was pushed is checked.
    pub fn verify_via(&self) -> &Via {
        self.verify_via.as_ref().unwrap_or(&self.via)
    }
}

impl ArchiveFolder {
    /// The folder for an id, whether it exists or not.
    pub fn of(id: ArchiveId) -> Self {
        Self {
            id,
            path: format!("{ARCHIVES}/{}", to_hex(&id.0)),
        }
    }

    /// The folder that `name` links to; [`Failure::UnknownArchive`] if there is none.
    pub fn find(files: &mut impl Files, name: &str) -> Result<Self, Failure> {
        let unknown = || Failure::UnknownArchive {
            archive: name.to_owned(),
        };
        if !is_archive_name(name) {
            return Err(unknown());
        }
        let target = files.read_link(&link_path(name))?.ok_or_else(unknown)?;
        let id = from_hex(&target).map(ArchiveId).ok_or_else(unknown)?;
        Ok(Self::of(id))
    }

    /// The folder of an archive that is being created under `name`, or whose creation was
    /// interrupted.
    pub fn find_unfinished(files: &mut impl Files, name: &str) -> Result<Option<Self>, Failure> {
        Ok(files
            .read_link(&unfinished_path(name))?
            .as_deref()
            .and_then(from_hex)
            .map(ArchiveId)
            .map(Self::of))
    }

    /// Notes that this folder's archive is being made under `name`, before anything else is
    /// written.
    pub fn mark_unfinished(&self, files: &mut impl Files, name: &str) -> Result<(), Failure> {
        files.link(&unfinished_path(name), &to_hex(&self.id.0))
    }

    /// The archive is created: from now on the name counts.
    pub fn mark_finished(&self, files: &mut impl Files, name: &str) -> Result<(), Failure> {
        self.link(files, name)?;
        files.remove(&unfinished_path(name))
    }

    /// All names, sorted.
    pub fn names(files: &mut impl Files) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for name in files.list(ARCHIVES)? {
            if is_archive_name(&name) && files.read_link(&link_path(&name))?.is_some() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// All names that link to this folder, sorted.
    pub fn names_of(&self, files: &mut impl Files) -> Result<Vec<String>, Failure> {
        let mut own = Vec::new();
        for name in Self::names(files)? {
            if Self::find(files, &name).is_ok_and(|folder| folder == *self) {
                own.push(name);
            }
        }
        Ok(own)
    }

    /// Links a name to this folder: the last step of making or adopting an archive.
    pub fn link(&self, files: &mut impl Files, name: &str) -> Result<(), Failure> {
        files.link(&link_path(name), &to_hex(&self.id.0))
    }

    /// Removes the folder, then the name: after a crash the name is still there, and the same
    /// command completes the removal. A folder that has a second name stays.
    pub fn forget(&self, files: &mut impl Files, name: &str) -> Result<(), Failure> {
        if self.names_of(files)?.iter().all(|known| known == name) {
            files.remove(&self.path)?;
        }
        files.remove(&link_path(name))?;
        files.remove(&unfinished_path(name))
    }

    /// The archive's id.
    pub fn id(&self) -> ArchiveId {
        self.id
    }

    /// The path of a file of this archive.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The path of a cache's folder.
    pub fn cache(&self, which: CacheFolder) -> String {
        self.file(match which {
            CacheFolder::First => "cache",
            CacheFolder::Second => "cache.second",
        })
    }

    /// Reads `archive.toml`.
    pub fn read_toml(&self, files: &mut impl Files) -> Result<ArchiveToml, Failure> {
        let damaged = |what: &str| Failure::StateDamaged {
            file: self.file("archive.toml"),
            what: what.into(),
        };
        let bytes = files
            .read(&self.file("archive.toml"))?
            .ok_or_else(|| damaged("it is missing"))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not UTF-8"))?;
        let toml: ArchiveToml =
            toml::from_str(text).map_err(|_| damaged("it is not what was written"))?;
        toml.writer_id()
            .ok_or_else(|| damaged("it has no valid writer id"))?;
        Ok(toml)
    }

    /// Writes `archive.toml`.
    pub fn write_toml(&self, files: &mut impl Files, toml: &ArchiveToml) -> Result<(), Failure> {
        let text = toml::to_string(toml).map_err(|_| Failure::internal("archive.toml"))?;
        files.replace(&self.file("archive.toml"), text.as_bytes())
    }

    /// What the store at `url` asks for. Credentials of another address are none: a new address
    /// must never get the secrets of the one before.
    pub fn read_store_credentials(
        &self,
        files: &mut impl Files,
        url: &str,
    ) -> Result<StoreCredentials, Failure> {
        read_credentials(files, self.file(STORE_CREDENTIALS), url)
    }

    /// Whether this machine signs the requests to the store that it knows, whatever its address.
    pub fn signs_requests(&self, files: &mut impl Files) -> Result<bool, Failure> {
        let Some(bytes) = files
            .read(&self.file(STORE_CREDENTIALS))?
            .map(Zeroizing::new)
        else {
            return Ok(false);
        };
        let url = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let Ok(url) = std::str::from_utf8(url) else {
            return Ok(false);
        };
        Ok(self.read_store_credentials(files, url)?.are_signing())
    }

    /// Writes what the store at `url` asks for, or removes it where that is nothing.
    pub fn write_store_credentials(
        &self,
        files: &mut impl Files,
        url: &str,
        credentials: &StoreCredentials,
    ) -> Result<(), Failure> {
        write_credentials(files, &self.file(STORE_CREDENTIALS), url, credentials)
    }

    /// Reads the credential, or its second copy when the first is damaged, or what the service
    /// manager unsealed when neither copy is here.
    pub fn read_credential(
        &self,
        files: &mut impl Files,
        unsealed: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Credential, Failure> {
        let mut what = "it is missing".to_owned();
        let mut copies = Vec::new();
        for name in CREDENTIAL_COPIES {
            copies.extend(files.read(&self.file(name))?.map(Zeroizing::new));
        }
        copies.extend(unsealed);
        for bytes in copies {
            match Credential::decode(&bytes) {
                Ok(credential) if credential.archive() == self.id => return Ok(credential),
                Ok(_) => what = "it is of another archive".into(),
                Err(error) => what = error.to_string(),
            }
        }
        Err(Failure::StateDamaged {
            file: self.file("credential"),
            what,
        })
    }

    /// Writes both copies of the credential.
    pub fn write_credential(
        &self,
        files: &mut impl Files,
        credential: &Credential,
    ) -> Result<(), Failure> {
        let bytes = credential.encode();
        CREDENTIAL_COPIES
            .iter()
            .try_for_each(|name| files.replace(&self.file(name), &bytes))
    }

    /// Writes the credential, unless the service manager unseals this very credential and no copy
    /// lies on the disk: then no copy is meant to lie there.
    pub fn write_unsealed_credential(
        &self,
        files: &mut impl Files,
        credential: &Credential,
        unsealed: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let mut on_disk = false;
        for name in CREDENTIAL_COPIES {
            on_disk |= files.length(&self.file(name))?.is_some();
        }
        let hash = blake3::hash(&credential.encode());
        if !on_disk && unsealed.is_some_and(|unsealed| blake3::hash(&unsealed) == hash) {
            return Ok(());
        }
        self.write_credential(files, credential)
    }

    /// Reads the slots that this machine keeps, so that unlocking never asks the store.
    pub fn read_slots(&self, files: &mut impl Files) -> Result<Vec<Slot>, Failure> {
        let damaged = |what: String| Failure::StateDamaged {
            file: self.file("slots"),
            what,
        };
        let bytes = files
            .read(&self.file("slots"))?
            .ok_or_else(|| damaged("it is missing".into()))?;
        bytes
            .chunks(SLOT_BYTES)
            .map(|bytes| Slot::decode(bytes).map_err(|fault| damaged(fault.to_string())))
            .collect()
    }

    /// Writes the slots.
    pub fn write_slots(&self, files: &mut impl Files, slots: &[Slot]) -> Result<(), Failure> {
        let bytes: Vec<u8> = slots.iter().flat_map(Slot::encode).collect();
        files.replace(&self.file("slots"), &bytes)
    }
}

/// Two copies: without the credential nothing can be backed up, and it is one sector long.
const CREDENTIAL_COPIES: [&str; 2] = ["credential", "credential.copy"];

/// The address of the store, and behind it what the store asks for.
const STORE_CREDENTIALS: &str = "store-credentials";

/// What a file has for the store at `url`: nothing where it is of another address.
pub(super) fn read_credentials(
    files: &mut impl Files,
    file: String,
    url: &str,
) -> Result<StoreCredentials, Failure> {
    // A folder asks for nothing.
    if url.starts_with("dir:") {
        return Ok(StoreCredentials::default());
    }
    let Some(bytes) = files.read(&file)?.map(Zeroizing::new) else {
        return Ok(StoreCredentials::default());
    };
    let text = bytes
        .strip_prefix(url.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"));
    let Some(text) = text else {
        return Ok(StoreCredentials::default());
    };
    StoreCredentials::parse(Zeroizing::new(text.to_vec()), url).map_err(|_| Failure::StateDamaged {
        file,
        what: "it is not what was written".into(),
    })
}

/// Writes what the store at `url` asks for, or removes the file where that is nothing.
pub(super) fn write_credentials(
    files: &mut impl Files,
    file: &str,
    url: &str,
    credentials: &StoreCredentials,
) -> Result<(), Failure> {
    if credentials.is_empty() {
        return match files.length(file)? {
            Some(_) => files.remove(file),
            None => Ok(()),
        };
    }
    let text = credentials.text();
    let length = url.len().saturating_add(text.len()).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(url.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(text.as_bytes());
    files.replace(file, &bytes)
}

/// No archive's name begins with a dot.
fn unfinished_path(name: &str) -> String {
    format!("{ARCHIVES}/.making-{name}")
}

fn link_path(name: &str) -> String {
    format!("{ARCHIVES}/{name}")
}

/// Lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        },
    )
}

/// Decodes `2 N` lower-case hexadecimal digits; `None` for anything else.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.saturating_mul(2)
        || !text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
