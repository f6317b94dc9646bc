// SPDX-License-Identifier: GPL-3.0-or-later
//! The commit: 4 KiB from which everything in the archive can be reached. Layout: `docs/format.md`,
//! section 9.

use super::bytes::{Malformed, Reader, Writer};
use super::entries::{PackEntry, Place};
use super::retention::{CommitStamp, EarlierHoldOff, Floor};
use super::slot::SlotKind;
use super::{is_chunk_size, is_pack_size};
use crate::ids::{DomainId, Epoch, Id};

/// Length of a sealed commit, bytes.
pub const COMMIT_BYTES: usize = 4096;
/// Length of a commit before it is sealed, bytes: [`COMMIT_BYTES`] without nonce, frame header and
/// tag.
pub const COMMIT_PLAIN_BYTES: usize = 4052;
/// Maximum number of live slots.
pub const SLOTS_MAX: usize = 8;

const FLAG_SHARED_DOMAIN: u8 = 1;
const FLAG_TAIL: u8 = 2;
const FLAG_EARLIER_HOLD_OFF: u8 = 4;
const FLAG_FLOOR: u8 = 8;
const FLAGS: u8 = FLAG_SHARED_DOMAIN | FLAG_TAIL | FLAG_EARLIER_HOLD_OFF | FLAG_FLOOR;
const TAIL_BYTES: usize = 8 + PackEntry::BYTES;
/// Offset of the live slots, bytes. Reserved zeros lie before it.
const SLOTS_OFFSET: usize = 512;
/// Length of the reserved zeros before the live slots, bytes.
const RESERVED_BYTES: usize = 32;
/// Maximum length of a slot's label, bytes of UTF-8.
pub const LABEL_MAX_BYTES: usize = 32;

/// The settings that were chosen when the archive was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Chunk size of new volumes, bytes.
    pub chunk_size_bytes: u32,
    /// Size of every pack except the last pack of a run, bytes.
    pub pack_size_bytes: u32,
    /// Hold-off of packs that were given up, committed runs.
    pub hold_off_runs: u32,
    /// Hold-off of packs that were given up, seconds.
    pub hold_off_secs: u64,
    /// Minimum age of a session that a prune removes, seconds of the kept clock.
    pub minimum_age_secs: u64,
    /// zstd's level, -7 to 19.
    pub zstd_level: i8,
    /// The common domain of all volumes, if the owner chose one.
    pub shared_domain: Option<DomainId>,
}

/// The pack that holds the newest nodes of the pack table. It cannot name itself, so the commit
/// names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Its number: always the size of the pack table.
    pub number: u64,
    /// The entry that the next commit with new nodes puts into the pack table.
    pub entry: PackEntry,
}

/// The root of a tree whose nodes are found by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRoot {
    /// Number of indices.
    pub size: u64,
    /// `None` while the tree has no entries.
    pub root: Option<Id>,
}

impl TreeRoot {
    /// A tree without entries.
    pub const EMPTY: Self = Self {
        size: 0,
        root: None,
    };
}

/// The root of the pack table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacksRoot {
    /// Number of indices.
    pub size: u64,
    /// `None` while the tree has no entries.
    pub root: Option<Place>,
}

/// The root of the key table.
pub type KeysRoot = TreeRoot;

/// A person's name for a slot: 0 to [`LABEL_MAX_BYTES`] bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotLabel(String);

impl SlotLabel {
    /// A label of this text; `None` if the text is too long or has a control character.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= LABEL_MAX_BYTES && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A live slot, as the commit lists it. Its date and label are here and not in the slot, which is
/// not encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRef {
    /// The slot's number.
    pub number: u8,
    /// Time of creation, seconds since 1970 UTC.
    pub time: i64,
    /// The kind of secret that opens it.
    pub kind: SlotKind,
    /// `H` of the slot's bytes.
    pub hash: [u8; 32],
    /// The person's name for the slot.
    pub label: SlotLabel,
}

/// One state of the whole archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's number, 1 for the first commit.
    pub generation: u64,
    /// Time of creation, seconds since 1970 UTC.
    pub time: i64,
    /// The machine that wrote the commit: 16 random bytes of its local state.
    pub writer: [u8; 16],
    /// `H` of the previous commit; zero in the first commit.
    pub previous: [u8; 32],
    /// `H` of commit [`skip_of`]`(generation)`; zero if that is 0.
    pub skip: [u8; 32],
    /// The commit's run number and kept clock.
    pub stamp: CommitStamp,
    /// The epoch of META.
    pub epoch: Epoch,
    /// The archive's settings.
    pub settings: ArchiveSettings,
    /// A longer hold-off that was lowered and still holds for what was given up before.
    pub earlier_hold_off: Option<EarlierHoldOff>,
    /// The floor under the packs of volumes that were begun and have no session yet.
    pub floor: Option<Floor>,
    /// The number of the next slot; each number is used once.
    pub next_slot: u16,
    /// The pack table.
    pub packs: PacksRoot,
    /// The key table.
    pub keys: KeysRoot,
    /// The volume table.
    pub volumes: TreeRoot,
    /// The newest pack; `None` before the first pack.
    pub tail: Option<Tail>,
    /// The live slots in ascending order of their numbers.
    pub slots: Vec<SlotRef>,
}

/// The generation whose hash a commit carries besides that of the previous commit: its own
/// generation with the lowest set bit cleared.
pub fn skip_of(generation: u64) -> u64 {
    generation & generation.saturating_sub(1)
}

impl Commit {
    /// The commit's entry for a slot of this number and hash. `None`: the slot is not live, even if
    /// it can be opened.
    pub fn lists(&self, number: u8, hash: &[u8; 32]) -> Option<&SlotRef> {
        self.slots
            .iter()
            .find(|slot| slot.number == number && slot.hash == *hash)
    }

    /// The number of the next pack.
    pub fn next_pack(&self) -> u64 {
        self.packs
            .size
            .saturating_add(u64::from(self.tail.is_some()))
    }

    /// The commit's [`COMMIT_PLAIN_BYTES`] plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(COMMIT_PLAIN_BYTES);
        let settings = &self.settings;
        let flags = [
            (settings.shared_domain.is_some(), FLAG_SHARED_DOMAIN),
            (self.tail.is_some(), FLAG_TAIL),
            (self.earlier_hold_off.is_some(), FLAG_EARLIER_HOLD_OFF),
            (self.floor.is_some(), FLAG_FLOOR),
        ];
        let flags = flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .fold(0, |flags, (_, flag)| flags | flag);
        let [level] = settings.zstd_level.to_le_bytes();
        writer
            .u64(self.generation)
            .i64(self.time)
            .bytes(&self.writer)
            .bytes(&self.previous)
            .bytes(&self.skip);
        self.stamp.encode(&mut writer);
        writer
            .u32(self.epoch.0)
            .u32(settings.chunk_size_bytes)
            .u32(settings.pack_size_bytes)
            .u32(settings.hold_off_runs);
        writer
            .u64(settings.hold_off_secs)
            .u64(settings.minimum_age_secs)
            .u8(level)
            .u8(flags)
            .u16(self.next_slot);
        writer.u32(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        writer.bytes(&settings.shared_domain.map_or([0; 16], |domain| domain.0));
        EarlierHoldOff::encode(self.earlier_hold_off.as_ref(), &mut writer);
        Floor::encode(self.floor.as_ref(), &mut writer);
        writer.u64(self.packs.size);
        self.packs.root.unwrap_or(NO_PLACE).encode(&mut writer);
        for tree in [&self.keys, &self.volumes] {
            writer
                .u64(tree.size)
                .bytes(&tree.root.unwrap_or(Id::ZERO).0);
        }
        match &self.tail {
            Some(tail) => {
                writer.u64(tail.number);
                tail.entry.encode(&mut writer);
            }
            None => {
                writer.bytes(&[0; TAIL_BYTES]);
            }
        }
        writer.zeros_to(SLOTS_OFFSET);
        for slot in &self.slots {
            encode_slot(slot, &mut writer);
        }
        writer.zeros_to(COMMIT_PLAIN_BYTES);
        writer.finish()
    }

    /// Decodes a commit, whose generation must be `generation`.
    pub fn decode(plain: &[u8], generation: u64) -> Result<Self, Malformed> {
        if plain.len() != COMMIT_PLAIN_BYTES {
            return Err(Malformed("commit length"));
        }
        let mut reader = Reader::new(plain);
        if generation == 0 || reader.u64()? != generation {
            return Err(Malformed("a commit of another generation"));
        }
        let (time, writer) = (reader.i64()?, reader.array()?);
        let (previous, skip) = (reader.array()?, reader.array()?);
        let stamp = CommitStamp::decode(&mut reader)?;
        let epoch = Epoch(reader.u32()?);
        let (chunk_size_bytes, pack_size_bytes, hold_off_runs, hold_off_secs) =
            (reader.u32()?, reader.u32()?, reader.u32()?, reader.u64()?);
        if !is_chunk_size(chunk_size_bytes) || !is_pack_size(pack_size_bytes, chunk_size_bytes) {
            return Err(Malformed("chunk or pack size"));
        }
        let minimum_age_secs = reader.u64()?;
        let zstd_level = i8::from_le_bytes(reader.array()?);
        let (flags, next_slot, slot_count) = (reader.u8()?, reader.u16()?, reader.u32()?);
        if flags > FLAGS {
            return Err(Malformed("commit flags"));
        }
        let shared_domain = optional(
            flags & FLAG_SHARED_DOMAIN != 0,
            reader.array()?,
            "shared domain",
        )?
        .map(DomainId);
        let earlier = flags & FLAG_EARLIER_HOLD_OFF != 0;
        let earlier_hold_off = EarlierHoldOff::decode(&mut reader, earlier, stamp.stamp)?;
        let floor = Floor::decode(&mut reader, flags & FLAG_FLOOR != 0)?;
        let packs = decode_packs_root(&mut reader)?;
        let (keys, volumes) = (decode_root(&mut reader)?, decode_root(&mut reader)?);
        let tail = decode_tail(&mut reader, flags & FLAG_TAIL != 0, packs.size)?;
        reader.zeros(RESERVED_BYTES, "reserved")?;
        let slots = decode_slots(&mut reader, slot_count, next_slot)?;
        reader.zeros(reader.remaining(), "reserved")?;
        let settings = ArchiveSettings {
            chunk_size_bytes,
            pack_size_bytes,
            hold_off_runs,
            hold_off_secs,
            minimum_age_secs,
            zstd_level,
            shared_domain,
        };
        let commit = Self {
            generation,
            time,
            writer,
            previous,
            skip,
            stamp,
            epoch,
            settings,
            earlier_hold_off,
            floor,
            next_slot,
            packs,
            keys,
            volumes,
            tail,
            slots,
        };
        commit.check_links()?;
        Ok(commit)
    }

    fn check_links(&self) -> Result<(), Malformed> {
        let first = self.generation == 1;
        if first != (self.previous == [0; 32])
            || (skip_of(self.generation) == 0) != (self.skip == [0; 32])
        {
            return Err(Malformed("hash of an earlier commit"));
        }
        Ok(())
    }
}

/// Zeros after a label that is shorter than the maximum.
const NO_LABEL: &[u8; LABEL_MAX_BYTES] = &[0; LABEL_MAX_BYTES];

/// The place of the root in an empty pack table.
const NO_PLACE: Place = Place {
    pack: 0,
    offset_bytes: 0,
    length_bytes: 0,
    id: Id::ZERO,
};

/// A field that is not zero with its flag, and zero without it.
fn optional<const N: usize>(
    flag: bool,
    bytes: [u8; N],
    what: &'static str,
) -> Result<Option<[u8; N]>, Malformed> {
    match (flag, bytes == [0; N]) {
        (true, false) => Ok(Some(bytes)),
        (false, true) => Ok(None),
        _ => Err(Malformed(what)),
    }
}

fn decode_packs_root(reader: &mut Reader<'_>) -> Result<PacksRoot, Malformed> {
    let size = reader.u64()?;
    let place = Place::decode(reader)?;
    let root = (place != NO_PLACE).then_some(place);
    if size == 0 && root.is_some() {
        return Err(Malformed("a root of an empty tree"));
    }
    if root.is_some_and(|place| place.id == Id::ZERO) {
        return Err(Malformed("a root without id"));
    }
    Ok(PacksRoot { size, root })
}

fn decode_root(reader: &mut Reader<'_>) -> Result<TreeRoot, Malformed> {
    let (size, id) = (reader.u64()?, Id(reader.array()?));
    let root = (id != Id::ZERO).then_some(id);
    if size == 0 && root.is_some() {
        return Err(Malformed("a root of an empty tree"));
    }
    Ok(TreeRoot { size, root })
}

fn decode_tail(
    reader: &mut Reader<'_>,
    present: bool,
    packs_size: u64,
) -> Result<Option<Tail>, Malformed> {
    if !present {
        reader.zeros(TAIL_BYTES, "tail")?;
        return Ok(None);
    }
    let number = reader.u64()?;
    if number != packs_size {
        return Err(Malformed("the tail's number"));
    }
    Ok(Some(Tail {
        number,
        entry: PackEntry::decode(reader)?,
    }))
}

fn encode_slot(slot: &SlotRef, writer: &mut Writer) {
    let label = slot.label.as_str().as_bytes();
    writer
        .u8(slot.number)
        .u8(u8::try_from(label.len()).unwrap_or(u8::MAX))
        .u8(slot.kind.number())
        .bytes(&[0; 5])
        .i64(slot.time)
        .bytes(&slot.hash);
    writer
        .bytes(label)
        .bytes(NO_LABEL.get(label.len()..).unwrap_or_default());
}

fn decode_slots(
    reader: &mut Reader<'_>,
    count: u32,
    next_slot: u16,
) -> Result<Vec<SlotRef>, Malformed> {
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= SLOTS_MAX)
        .ok_or(Malformed("slot count"))?;
    let mut slots: Vec<SlotRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, label_bytes) = (reader.u8()?, usize::from(reader.u8()?));
        let kind = SlotKind::from_number(reader.u8()?)?;
        reader.zeros(5, "reserved")?;
        let ascending = slots.last().is_none_or(|last| last.number < number);
        if !ascending || u16::from(number) >= next_slot {
            return Err(Malformed("slot number"));
        }
        let (time, hash) = (reader.i64()?, reader.array()?);
        let (label, filler) = reader
            .slice(LABEL_MAX_BYTES)?
            .split_at_checked(label_bytes)
            .ok_or(Malformed("length of a label"))?;
        let label = std::str::from_utf8(label)
            .ok()
            .and_then(SlotLabel::new)
            .ok_or(Malformed("label of a slot"))?;
        if filler.iter().any(|byte| *byte != 0) {
            return Err(Malformed("label of a slot"));
        }
        slots.push(SlotRef {
            number,
            time,
            kind,
            hash,
            label,
        });
    }
    Ok(slots)
}
