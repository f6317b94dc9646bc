// SPDX-License-Identifier: GPL-3.0-or-later
//! The entries in the leaves of the catalog's trees: packs, keys, sessions, volumes. Layouts:
//! `docs/format.md`, section 8.

use wyng_wire::BlobName;

use super::bytes::{Malformed, Reader, Writer};
use super::retention::{GivenUp, PackState};
use super::{chunk_count, depth_for, is_chunk_size};
use crate::ids::{DomainId, Epoch, Id};

/// Maximum length of a volume's name, bytes.
pub const NAME_MAX_BYTES: usize = 200;
/// Maximum length of a volume's description, bytes.
pub const DESCRIPTION_MAX_BYTES: usize = 1000;
/// Maximum number of a session's tags.
pub const TAGS_MAX: usize = 16;
/// Maximum length of a tag, bytes.
pub const TAG_MAX_BYTES: usize = 64;
/// Maximum number of a session's settings records.
pub const SETTINGS_MAX: usize = 16;

/// The 16 random bytes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(pub [u8; 16]);

/// An entry of the pack table, and the tail in a commit; 112 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// The hash of its bytes.
    pub name: BlobName,
    /// The id of its directory.
    pub directory: Id,
    /// Length of the pack, bytes.
    pub length_bytes: u32,
    /// Offset of its directory, bytes.
    pub directory_offset_bytes: u32,
    /// Length of its directory's record, bytes.
    pub directory_length_bytes: u32,
    /// The pack's state.
    pub state: PackState,
}

impl PackEntry {
    pub(super) const BYTES: usize = 112;

    /// Whether a range lies inside the pack. Checked before anything is read.
    pub fn contains(&self, offset_bytes: u32, length_bytes: u32) -> bool {
        offset_bytes
            .checked_add(length_bytes)
            .is_some_and(|end| end <= self.length_bytes)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let given_up = self.state.given_up();
        let has_heirs = given_up.is_some_and(|given_up| given_up.heirs.is_some());
        writer
            .bytes(&self.name.0)
            .bytes(&self.directory.0)
            .u32(self.length_bytes)
            .u32(self.directory_offset_bytes);
        writer
            .u32(self.directory_length_bytes)
            .u8(self.state.number())
            .u8(u8::from(has_heirs))
            .bytes(&[0; 2]);
        match given_up {
            Some(given_up) => given_up.encode(writer),
            None => {
                writer.bytes(&[0; GivenUp::BYTES]);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (name, directory) = (BlobName(reader.array()?), Id(reader.array()?));
        let (length_bytes, directory_offset_bytes, directory_length_bytes) =
            (reader.u32()?, reader.u32()?, reader.u32()?);
        let state = decode_state(reader)?;
        let entry = Self {
            name,
            directory,
            length_bytes,
            directory_offset_bytes,
            directory_length_bytes,
            state,
        };
        if entry.contains(directory_offset_bytes, directory_length_bytes) {
            Ok(entry)
        } else {
            Err(Malformed("directory outside of its pack"))
        }
    }
}

fn decode_state(reader: &mut Reader<'_>) -> Result<PackState, Malformed> {
    let (state, has_heirs) = (reader.u8()?, reader.u8()?);
    reader.zeros(2, "reserved")?;
    let state = match (state, has_heirs) {
        (1, 0 | 1) => PackState::GivenUp(GivenUp::decode(reader, has_heirs == 1)?),
        (3, 0 | 1) => PackState::Going(GivenUp::decode(reader, has_heirs == 1)?),
        (0, 0) => PackState::Live,
        (2, 0) => PackState::Lost,
        _ => return Err(Malformed("pack state")),
    };
    if state.given_up().is_none() {
        reader.zeros(GivenUp::BYTES, "a pack that is not given up")?;
    }
    Ok(state)
}

/// The place of a node of the pack table; 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the pack that holds the node.
    pub pack: u64,
    /// Offset of its record, bytes.
    pub offset_bytes: u32,
    /// Length of its record, bytes.
    pub length_bytes: u32,
    /// The node's id.
    pub id: Id,
}

impl Place {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .u64(self.pack)
            .u32(self.offset_bytes)
            .u32(self.length_bytes)
            .bytes(&self.id.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            pack: reader.u64()?,
            offset_bytes: reader.u32()?,
            length_bytes: reader.u32()?,
            id: Id(reader.array()?),
        })
    }
}

/// An entry of the key table: a session key's envelope; 72 bytes. Its index is the key's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// The epoch in which the key was made.
    pub epoch: Epoch,
    /// HPKE's encapsulated key.
    pub enc: [u8; 32],
    /// The check that the session key must derive to.
    pub check: [u8; 32],
}

impl KeyEntry {
    /// Appends its 72 bytes.
    pub fn encode(&self, writer: &mut Writer) {
        writer
            .u32(self.epoch.0)
            .u32(0)
            .bytes(&self.enc)
            .bytes(&self.check);
    }

    /// Decodes the next 72 bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let epoch = Epoch(reader.u32()?);
        reader.zeros(4, "reserved")?;
        Ok(Self {
            epoch,
            enc: reader.array()?,
            check: reader.array()?,
        })
    }
}

/// An entry of a session table: everything that is needed to restore the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// Start of its run, seconds since 1970 UTC: the session's name, unique in its volume. It need
    /// not ascend with the session's number.
    pub time: i64,
    /// Start of its run by the chain's kept clock, seconds.
    pub kept_secs: u64,
    /// The generation of the commit that added it.
    pub generation: u64,
    /// Size of the volume, bytes.
    pub size_bytes: u64,
    /// Total length of the records that it added to the archive, bytes.
    pub added_bytes: u64,
    /// Size of its chunks, bytes.
    pub chunk_size_bytes: u32,
    /// Whether the volume was in use: the content is as after a power cut.
    pub live: bool,
    /// Whether a person pinned it: no prune removes it.
    pub pinned: bool,
    /// The domain of its content ids.
    pub domain: DomainId,
    /// The root of its content tree; [`Id::ZERO`] if the volume has holes only.
    pub root: Id,
    /// Content ids of the settings that were backed up with it.
    pub settings: Vec<Id>,
    /// Tags that people gave the session.
    pub tags: Vec<String>,
}

impl SessionEntry {
    /// Number of chunks.
    pub fn chunk_count(&self) -> u64 {
        chunk_count(self.size_bytes, self.chunk_size_bytes)
    }

    /// Length of chunk `index`, bytes; 0 past the end.
    pub fn chunk_bytes(&self, index: u64) -> u32 {
        let begin = index.saturating_mul(u64::from(self.chunk_size_bytes));
        let rest = self.size_bytes.saturating_sub(begin);
        u32::try_from(rest)
            .unwrap_or(u32::MAX)
            .min(self.chunk_size_bytes)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let flags = u8::from(self.live) | (u8::from(self.pinned) << 1);
        writer
            .i64(self.time)
            .u64(self.kept_secs)
            .u64(self.generation)
            .u64(self.size_bytes)
            .u64(self.added_bytes)
            .u32(self.chunk_size_bytes);
        writer
            .u8(depth_for(self.chunk_count()))
            .u8(flags)
            .u8(small(self.tags.len()))
            .u8(small(self.settings.len()));
        writer.bytes(&self.domain.0).bytes(&self.root.0);
        for id in &self.settings {
            writer.bytes(&id.0);
        }
        for tag in &self.tags {
            writer.u8(small(tag.len())).bytes(tag.as_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (time, kept_secs) = (reader.i64()?, reader.u64()?);
        let (generation, size_bytes, added_bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let chunk_size_bytes = reader.u32()?;
        if !is_chunk_size(chunk_size_bytes) {
            return Err(Malformed("chunk size"));
        }
        let (depth, flags, tag_count, settings_count) =
            (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        if flags > 3 {
            return Err(Malformed("session flags"));
        }
        if usize::from(tag_count) > TAGS_MAX || usize::from(settings_count) > SETTINGS_MAX {
            return Err(Malformed("too many tags or settings"));
        }
        let (domain, root) = (DomainId(reader.array()?), Id(reader.array()?));
        let settings = (0..settings_count)
            .map(|_| Ok(Id(reader.array()?)))
            .collect::<Result<_, Malformed>>()?;
        let tags = (0..tag_count)
            .map(|_| decode_tag(reader))
            .collect::<Result<_, _>>()?;
        let (live, pinned) = (flags & 1 != 0, flags & 2 != 0);
        let session = Self {
            time,
            kept_secs,
            generation,
            size_bytes,
            added_bytes,
            chunk_size_bytes,
            live,
            pinned,
            domain,
            root,
            settings,
            tags,
        };
        if depth != depth_for(session.chunk_count()) {
            return Err(Malformed("depth"));
        }
        Ok(session)
    }
}

fn decode_tag(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let length = usize::from(reader.u8()?);
    if !(1..=TAG_MAX_BYTES).contains(&length) {
        return Err(Malformed("tag length"));
    }
    text(reader.slice(length)?)
}

/// An entry of the volume table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeEntry {
    /// The volume's id, which stays when the volume is renamed.
    pub id: VolumeId,
    /// The domain that the next session uses.
    pub domain: DomainId,
    /// Size of the newest session, bytes.
    pub size_bytes: u64,
    /// Chunk size that the next session uses, bytes.
    pub chunk_size_bytes: u32,
    /// Number of indices in the session table.
    pub sessions_size: u64,
    /// The root of the session table; [`Id::ZERO`] when it is empty.
    pub sessions_root: Id,
    /// The volume's name, unique in the archive; see [`is_volume_name`].
    pub name: String,
    /// A description for people.
    pub description: String,
}

impl VolumeEntry {
    pub(super) fn encode(&self, writer: &mut Writer) {
        let description_bytes = u16::try_from(self.description.len()).unwrap_or(u16::MAX);
        writer
            .bytes(&self.id.0)
            .bytes(&self.domain.0)
            .u64(self.size_bytes)
            .u32(self.chunk_size_bytes);
        writer
            .u8(small(self.name.len()))
            .u8(0)
            .u16(description_bytes)
            .u64(self.sessions_size)
            .bytes(&self.sessions_root.0);
        writer
            .bytes(self.name.as_bytes())
            .bytes(self.description.as_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (id, domain, size_bytes) = (
            VolumeId(reader.array()?),
            DomainId(reader.array()?),
            reader.u64()?,
        );
        let chunk_size_bytes = reader.u32()?;
        if !is_chunk_size(chunk_size_bytes) {
            return Err(Malformed("chunk size"));
        }
        let name_bytes = usize::from(reader.u8()?);
        reader.zeros(1, "reserved")?;
        let description_bytes = usize::from(reader.u16()?);
        if description_bytes > DESCRIPTION_MAX_BYTES {
            return Err(Malformed("description length"));
        }
        let (sessions_size, sessions_root) = (reader.u64()?, Id(reader.array()?));
        let (name, description) = (
            text(reader.slice(name_bytes)?)?,
            text(reader.slice(description_bytes)?)?,
        );
        if !is_volume_name(&name) {
            return Err(Malformed("volume name"));
        }
        Ok(Self {
            id,
            domain,
            size_bytes,
            chunk_size_bytes,
            sessions_size,
            sessions_root,
            name,
            description,
        })
    }
}

/// Whether a volume may have this name. A restore makes it the name of a file, so it can be neither
/// a hidden file, nor a path, nor an option.
pub fn is_volume_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.chars().all(|char| char != '/' && !char.is_control())
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Malformed("UTF-8"))
}

/// A length that is checked to be below 256 when it enters the catalog. A greater length would fail
/// the decoding that every node passes before it is sealed.
fn small(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}
