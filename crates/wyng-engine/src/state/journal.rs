// SPDX-License-Identifier: GPL-3.0-or-later
//! The journal: what was sent since the last commit, so that the run after an interrupted one does
//! not send it again. A pack's name is journaled before the pack leaves: a name without its pack is
//! that of a blob that nothing needs.
//!
//! Each record carries a checksum. A record that a crash tore at the end is dropped; what it
//! described is sent again, or lies in the store unused. A session key's envelope is journaled
//! before the first record under it leaves the process.
//!
//! ```text
//! record:
//!   0 │ kind u32 (1 begin, 2 key, 3 pack, 4 volume, 5 name, 6 sending) │ body length u32  │
//!   8 │ the first 8 bytes of H(kind ‖ length ‖ body)                  │
//!  16 │ body                                                          │
//! ```

use wyng_archive::BlobName;
use wyng_archive::crypto::{DomainId, Id};
use wyng_archive::format::{
    Directory, KeyEntry, Malformed, PackEntry, PackState, Reader, VolumeId, Writer, is_volume_name,
};
use wyng_archive::plan::floor::Begun;
use wyng_control::Failure;

use super::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "journal";
const KIND_BEGIN: u32 = 1;
const KIND_KEY: u32 = 2;
const KIND_PACK: u32 = 3;
const KIND_VOLUME: u32 = 4;
const KIND_NAME: u32 = 5;
/// Maximum number of names of dropped packs that a new journal keeps: the oldest ones.
const DROPPED_MAX: usize = 4096;
const KIND_SENDING: u32 = 6;
const HEADER_BYTES: usize = 16;
/// Maximum bytes of a record's body. A pack's directory and nodes are a part of at most 64 MiB.
const BODY_MAX_BYTES: usize = 80 << 20;

/// A session key that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalKey {
    /// Its number in the key table.
    pub number: u32,
    /// Its envelope for the key table.
    pub entry: KeyEntry,
}

/// A volume that no commit has yet: its chunks are named in this domain, so the next run must go on
/// with this domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalVolume {
    /// Its name.
    pub name: String,
    /// Its id, drawn at random.
    pub id: VolumeId,
    /// Its domain, drawn at random.
    pub domain: DomainId,
}

/// A volume for which packs are sent and which has no session from them yet. The floor of the next
/// commit follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSending {
    /// The volume's id.
    pub volume: VolumeId,
    /// The number of the first such pack, and the time.
    pub begun: Begun,
}

/// A pack that is durable in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPack {
    /// Its number.
    pub number: u64,
    /// Its entry for the pack table.
    pub entry: PackEntry,
    /// The list of its records.
    pub directory: Directory,
    /// The plain bytes of its nodes, in the order of the directory.
    pub nodes: Vec<Vec<u8>>,
}

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journaled {
    /// The first record: the generation on which the run is based.
    Begin(u64),
    /// A session key was drawn.
    Key(JournalKey),
    /// A pack became durable.
    Pack(JournalPack),
    /// A volume was begun.
    Volume(JournalVolume),
    /// A pack is about to be sent under this name, or was sent and is in no commit.
    Name(BlobName),
    /// Packs are sent for a volume. The newest record of a volume counts.
    Sending(JournalSending),
}

/// Appends to the journal of one archive.
pub struct Journal {
    path: String,
}

impl Journal {
    /// The journal of an archive, whether it exists or not.
    pub fn of(folder: &ArchiveFolder) -> Self {
        Self {
            path: folder.file(FILE),
        }
    }

    /// Visits what a run left, record by record, so that memory does not grow with the journal. A
    /// torn record at the end is cut off.
    pub fn replay<F: Files>(
        &self,
        files: &mut F,
        visit: &mut dyn FnMut(&mut F, Journaled) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(total_bytes) = files.length(&self.path)? else {
            return Ok(());
        };
        let mut offset = 0u64;
        while let Some((kind, body, next)) = self.read_record(files, offset, total_bytes)? {
            let Ok(journaled) = decode(kind, &body) else {
                break;
            };
            if (offset == 0) != matches!(journaled, Journaled::Begin(_)) {
                break;
            }
            visit(files, journaled)?;
            offset = next;
        }
        if offset < total_bytes {
            files.truncate(&self.path, offset)
        } else {
            Ok(())
        }
    }

    /// Begins a new journal after a commit: drops everything that the cache has now, and keeps the
    /// volumes that no commit has, the volumes that have no session from what was sent, and the
    /// names of packs that were dropped.
    pub fn begin(
        &self,
        files: &mut impl Files,
        generation: u64,
        unfinished: &[JournalVolume],
        sending: &[JournalSending],
        dropped: &[BlobName],
    ) -> Result<(), Failure> {
        let mut body = Writer::with_capacity(8);
        body.u64(generation);
        let mut bytes = record(KIND_BEGIN, &body.finish())?;
        for volume in unfinished {
            bytes.extend(record(KIND_VOLUME, &encode_volume(volume)?)?);
        }
        for name in dropped.iter().take(DROPPED_MAX) {
            bytes.extend(record(KIND_NAME, &name.0)?);
        }
        for sending in sending {
            bytes.extend(record(KIND_SENDING, &encode_sending(sending))?);
        }
        files.replace(&self.path, &bytes)
    }

    /// Notes a volume durably, before its first chunk is named.
    pub fn volume(&self, files: &mut impl Files, volume: &JournalVolume) -> Result<(), Failure> {
        self.append(files, KIND_VOLUME, &encode_volume(volume)?)
    }

    /// Notes durably that a pack is about to be sent under this name.
    pub fn name(&self, files: &mut impl Files, name: BlobName) -> Result<(), Failure> {
        self.append(files, KIND_NAME, &name.0)
    }

    /// Notes durably that packs are sent for a volume.
    pub fn sending(&self, files: &mut impl Files, sending: &JournalSending) -> Result<(), Failure> {
        self.append(files, KIND_SENDING, &encode_sending(sending))
    }

    /// Notes a key durably: only then may a record under it leave.
    pub fn key(&self, files: &mut impl Files, key: &JournalKey) -> Result<(), Failure> {
        let mut body = Writer::with_capacity(80);
        body.u32(key.number).u32(0);
        key.entry.encode(&mut body);
        self.append(files, KIND_KEY, &body.finish())
    }

    /// Notes a pack that the store has.
    pub fn pack(&self, files: &mut impl Files, pack: &JournalPack) -> Result<(), Failure> {
        let directory = pack.directory.encode();
        let mut body = Writer::with_capacity(directory.len().saturating_add(1024));
        body.u64(pack.number)
            .bytes(&pack.entry.name.0)
            .bytes(&pack.entry.directory.0)
            .u32(pack.entry.length_bytes);
        body.u32(pack.entry.directory_offset_bytes)
            .u32(pack.entry.directory_length_bytes)
            .u32(length(directory.len())?);
        body.bytes(&directory).u32(length(pack.nodes.len())?);
        for node in &pack.nodes {
            body.u32(length(node.len())?).bytes(node);
        }
        self.append(files, KIND_PACK, &body.finish())
    }

    fn append(&self, files: &mut impl Files, kind: u32, body: &[u8]) -> Result<(), Failure> {
        files.append(&self.path, &record(kind, body)?)?;
        files.sync(&self.path)
    }

    fn read_record(
        &self,
        files: &mut impl Files,
        offset: u64,
        total_bytes: u64,
    ) -> Result<Option<(u32, Vec<u8>, u64)>, Failure> {
        let Some(body_offset) = offset
            .checked_add(HEADER_BYTES as u64)
            .filter(|end| *end <= total_bytes)
        else {
            return Ok(None);
        };
        let mut header = [0; HEADER_BYTES];
        files.read_at(&self.path, offset, &mut header)?;
        let mut reader = Reader::new(&header);
        let (Ok(kind), Ok(body_bytes), Ok(check)) =
            (reader.u32(), reader.u32(), reader.array::<8>())
        else {
            return Ok(None);
        };
        let Some(next) = body_offset
            .checked_add(u64::from(body_bytes))
            .filter(|end| *end <= total_bytes)
        else {
            return Ok(None);
        };
        let Some(body_bytes) = usize::try_from(body_bytes)
            .ok()
            .filter(|bytes| *bytes <= BODY_MAX_BYTES)
        else {
            return Ok(None);
        };
        let mut body = vec![0; body_bytes];
        files.read_at(&self.path, body_offset, &mut body)?;
        Ok((checksum(kind, &body) == check).then_some((kind, body, next)))
    }
}

fn decode(kind: u32, body: &[u8]) -> Result<Journaled, Malformed> {
    let mut reader = Reader::new(body);
    let journaled = match kind {
        KIND_BEGIN => Journaled::Begin(reader.u64()?),
        KIND_KEY => {
            let number = reader.u32()?;
            reader.zeros(4, "reserved")?;
            Journaled::Key(JournalKey {
                number,
                entry: KeyEntry::decode(&mut reader)?,
            })
        }
        KIND_PACK => Journaled::Pack(decode_pack(&mut reader)?),
        KIND_VOLUME => Journaled::Volume(decode_volume(&mut reader)?),
        KIND_NAME => Journaled::Name(BlobName(reader.array()?)),
        KIND_SENDING => Journaled::Sending(JournalSending {
            volume: VolumeId(reader.array()?),
            begun: Begun {
                first_pack: reader.u64()?,
                sent_secs: reader.u64()?,
            },
        }),
        _ => return Err(Malformed("record kind")),
    };
    reader.end()?;
    Ok(journaled)
}

fn encode_volume(volume: &JournalVolume) -> Result<Vec<u8>, Failure> {
    let mut body = Writer::with_capacity(volume.name.len().saturating_add(36));
    body.bytes(&volume.id.0)
        .bytes(&volume.domain.0)
        .u32(length(volume.name.len())?)
        .bytes(volume.name.as_bytes());
    Ok(body.finish())
}

fn encode_sending(sending: &JournalSending) -> Vec<u8> {
    let mut body = Writer::with_capacity(32);
    body.bytes(&sending.volume.0)
        .u64(sending.begun.first_pack)
        .u64(sending.begun.sent_secs);
    body.finish()
}

fn decode_volume(reader: &mut Reader<'_>) -> Result<JournalVolume, Malformed> {
    let (id, domain) = (VolumeId(reader.array()?), DomainId(reader.array()?));
    let name = std::str::from_utf8(sized(reader)?)
        .map_err(|_| Malformed("UTF-8"))?
        .to_owned();
    if is_volume_name(&name) {
        Ok(JournalVolume { name, id, domain })
    } else {
        Err(Malformed("volume name"))
    }
}

fn decode_pack(reader: &mut Reader<'_>) -> Result<JournalPack, Malformed> {
    let (number, name, directory_id) = (
        reader.u64()?,
        BlobName(reader.array()?),
        Id(reader.array()?),
    );
    let (length_bytes, directory_offset_bytes, directory_length_bytes) =
        (reader.u32()?, reader.u32()?, reader.u32()?);
    let directory_bytes = sized(reader)?;
    let directory = Directory::decode(directory_bytes, directory_offset_bytes)?;
    let node_count = reader.u32()?;
    let nodes = (0..node_count)
        .map(|_| sized(reader).map(<[u8]>::to_vec))
        .collect::<Result<_, _>>()?;
    let entry = PackEntry {
        name,
        directory: directory_id,
        length_bytes,
        directory_offset_bytes,
        directory_length_bytes,
        state: PackState::Live,
    };
    Ok(JournalPack {
        number,
        entry,
        directory,
        nodes,
    })
}

fn sized<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let bytes = usize::try_from(reader.u32()?).map_err(|_| Malformed("length"))?;
    reader.slice(bytes)
}

fn record(kind: u32, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut writer = Writer::with_capacity(body.len().saturating_add(HEADER_BYTES));
    writer
        .u32(kind)
        .u32(length(body.len())?)
        .bytes(&checksum(kind, body))
        .bytes(body);
    Ok(writer.finish())
}

fn checksum(kind: u32, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&kind.to_le_bytes())
        .update(&(body.len() as u64).to_le_bytes())
        .update(body);
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d, e, f, g, h]
}

fn length(length: usize) -> Result<u32, Failure> {
    u32::try_from(length).map_err(|_| Failure::internal("a journal record is too long"))
}
