// SPDX-License-Identifier: GPL-3.0-or-later
//! Moving the records that are alive out of a pack, as ciphertext: the pack is read whole and
//! compared with its name, chunks are copied as they are, and nodes are opened by META. No data key
//! is used.

use wyng_archive::crypto::{Coder, Kind, pack_name};
use wyng_archive::format::{Directory, DirectoryEntry, Malformed, PackEntry, RecordKind};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use super::alive::AliveIn;
use crate::archive::Archive;
use crate::older::report_older;
use crate::outcome::damaged;
use crate::pool::Pool;
use crate::store::{Packer, Tools, show_sound_version, usize_of};
use crate::world::{Parts, Store, World};

/// Puts every record of a pack that is alive into packs that are being filled; the number of bytes
/// that were moved. [`Failure::Missing`] or [`Failure::Damaged`] if the pack cannot be read whole:
/// nothing of it was moved then.
pub(super) fn move_records<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    packer: &mut Packer<P>,
    source: &PackEntry,
    alive: &AliveIn,
) -> Result<u64, Failure> {
    let refuse = |fault| damaged(&Damage::new(Class::Pack, source.name.0, fault));
    let bytes = match read_whole(&mut world.store, source)? {
        Ok(bytes) => bytes,
        // What is moved out of an older version is healed by that.
        Err(fault) if show_sound_version(&mut world.store, source, &mut |_| {})? => {
            report_older(&mut world.client, Class::Pack, source.name, fault)?;
            read_whole(&mut world.store, source)?.map_err(refuse)?
        }
        Err(fault) => return Err(refuse(fault)),
    };
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let records = Records {
        source,
        bytes: bytes.as_ref(),
    };
    let wanted = records.wanted(archive, &mut coder, alive)?;
    let mut nodes = Vec::new();
    for entry in wanted.iter().filter(|entry| entry.kind == RecordKind::Node) {
        nodes.push((entry.id, records.open(archive, &mut coder, entry)?));
    }
    let mut tools = Tools::of(world, archive, pool);
    let mut moved_bytes = 0u64;
    for entry in &wanted {
        moved_bytes = moved_bytes.saturating_add(entry.length_bytes.into());
        if let RecordKind::Chunk { key } = entry.kind
            && !packer.is_on_the_way(&entry.id)
        {
            packer.add_sealed(&mut tools, entry.id, key, records.bytes_of(entry)?)?;
        }
    }
    for (id, plain) in nodes {
        if !packer.is_on_the_way(&id) {
            packer.add_moved_node(&mut tools, id, plain)?;
        }
    }
    Ok(moved_bytes)
}

/// The bytes of a pack, or what is wrong with them.
fn read_whole<S: Store>(
    store: &mut S,
    pack: &PackEntry,
) -> Result<Result<S::Bytes, Fault>, Failure> {
    store.request(pack.name, 0, pack.length_bytes)?;
    Ok(store.answer()?.or_fault().and_then(|bytes| {
        let is_it = pack_name(bytes.as_ref()) == pack.name;
        is_it.then_some(bytes).ok_or(Fault::Hash)
    }))
}

/// A pack that was read whole.
struct Records<'a> {
    source: &'a PackEntry,
    bytes: &'a [u8],
}

impl Records<'_> {
    /// The entries of its directory that are alive.
    fn wanted(
        &self,
        archive: &Archive,
        coder: &mut Coder,
        alive: &AliveIn,
    ) -> Result<Vec<DirectoryEntry>, Failure> {
        let pack = self.source;
        let refuse = |fault| damaged(&Damage::new(Class::Directory, pack.directory.0, fault));
        let (offset, length) = (pack.directory_offset_bytes, pack.directory_length_bytes);
        let record = self
            .range(offset, length)
            .ok_or_else(|| refuse(Fault::Place))?;
        let mut plain = Vec::new();
        archive
            .credential
            .open_meta(Kind::Directory, coder, &pack.directory, record, &mut plain)
            .map_err(|damage| damaged(&damage))?;
        let mut directory = Directory::decode(&plain, offset)
            .map_err(|Malformed(rule)| refuse(Fault::Shape(rule)))?;
        directory
            .entries
            .retain(|entry| alive.offsets.contains(&entry.offset_bytes));
        if directory.entries.len() != alive.offsets.len() {
            return Err(refuse(Fault::Shape("it lacks a record that the index has")));
        }
        Ok(directory.entries)
    }

    fn range(&self, offset_bytes: u32, length_bytes: u32) -> Option<&[u8]> {
        let begin = usize_of(offset_bytes);
        let end = begin.checked_add(usize_of(length_bytes))?;
        self.bytes.get(begin..end)
    }

    fn bytes_of(&self, entry: &DirectoryEntry) -> Result<&[u8], Failure> {
        let place = Damage::new(Class::Record, entry.id.0, Fault::Place);
        self.range(entry.offset_bytes, entry.length_bytes)
            .ok_or_else(|| damaged(&place))
    }

    /// The plain bytes of a node, whose id is checked.
    fn open(
        &self,
        archive: &Archive,
        coder: &mut Coder,
        entry: &DirectoryEntry,
    ) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::new();
        archive
            .credential
            .open_meta(
                Kind::Node,
                coder,
                &entry.id,
                self.bytes_of(entry)?,
                &mut plain,
            )
            .map_err(|damage| damaged(&damage))?;
        if archive.credential.node_id(&plain) == entry.id {
            Ok(plain)
        } else {
            let wrong = Damage::new(Class::Node, entry.id.0, Fault::Id);
            Err(damaged(&wrong))
        }
    }
}
