// SPDX-License-Identifier: GPL-3.0-or-later
//! Records into packs, packs to the store, receipts into journal and cache. It knows no volume and
//! no tree.
//!
//! In a pack stand chunks, then nodes, then the directory. Nodes wait in memory until their pack is
//! closed; a pack is named by the hash of its bytes, which a worker computes while the next one is
//! filled.

use std::collections::{HashSet, VecDeque};

use wyng_archive::BlobName;
use wyng_archive::crypto::{
    Credential, Id, Kind, NonceSeed, RECORD_OVERHEAD_BYTES, SessionKey, pack_name,
};
use wyng_archive::format::{PackEntry, PackLayout, PackState, Place, RecordKind};
use wyng_control::{Failure, ObjectClass};

use crate::archive::Archive;
use crate::cache::Cache;
use crate::outcome::internal;
use crate::pool::{Pool, Ticket};
use crate::state::{Journal, JournalPack, to_hex};
use crate::world::{Buffer, Kept, Parts, Random, Reserve, Store, Wait};

/// Closed packs whose name is being computed, before the oldest is waited for.
const NAMING_MAX: usize = 1;
/// A pack whose name cannot be used is sent so often in all, each time under another name.
const NAMES_MAX: u8 = 8;

/// What packing works with.
pub(crate) struct Tools<'a, P: Parts> {
    /// Draws nonces and filler.
    pub random: &'a mut P::Random,
    /// Where cache and journal are.
    pub files: &'a mut P::Files,
    /// Takes the packs.
    pub store: &'a mut P::Store,
    /// Seals metadata.
    pub credential: &'a Credential,
    /// Takes in what became durable.
    pub cache: &'a mut Cache,
    /// Notes what became durable.
    pub journal: &'a Journal,
    /// Computes names.
    pub pool: &'a mut Pool,
}

/// See the module's first line.
pub(crate) struct Packer<P: Parts> {
    pack_size_bytes: u32,
    next_number: u64,
    open: Option<OpenPack<Buffer<P>>>,
    /// Nodes that go into the open pack when it is closed.
    nodes: Vec<(Id, Vec<u8>)>,
    /// The most bytes that their records can have.
    nodes_bytes: u32,
    naming: VecDeque<Ticket<NamedPack<Buffer<P>>>>,
    sent: VecDeque<SentPack>,
    /// Ids in packs that the cache does not know yet.
    on_the_way: HashSet<Id>,
    /// Packs that are not in tree (a) yet, ascending.
    closed: Vec<(u64, PackEntry)>,
    sent_bytes: u64,
}

struct OpenPack<B> {
    number: u64,
    buffer: B,
    layout: PackLayout,
    /// Plain bytes of the nodes in it, in order.
    nodes: Vec<Vec<u8>>,
}

/// A pack without a receipt.
struct SentPack {
    /// Of its PUT.
    number: u64,
    pack: JournalPack,
    /// Under how many names it was sent.
    names: u8,
}

struct NamedPack<B> {
    pack: JournalPack,
    buffer: B,
}

impl<P: Parts> Packer<P> {
    /// Begins behind the archive's head and the packs of a cut run, `closed`, which are durable and
    /// journaled already.
    pub(crate) fn after(archive: &Archive, closed: Vec<(u64, PackEntry)>) -> Self {
        let next_number = closed
            .last()
            .map_or(archive.head.next_pack(), |(number, _)| {
                number.saturating_add(1)
            });
        Self {
            pack_size_bytes: archive.head.settings.pack_size_bytes,
            next_number,
            open: None,
            nodes: Vec::new(),
            nodes_bytes: 0,
            naming: VecDeque::new(),
            sent: VecDeque::new(),
            on_the_way: HashSet::new(),
            closed,
            sent_bytes: 0,
        }
    }

    /// Bytes of packs handed to the far end.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Is a record with this id on its way, so that the index does not know it yet?
    pub(crate) fn is_on_the_way(&self, id: &Id) -> bool {
        self.on_the_way.contains(id)
    }

    /// How many packs wait for tree (a).
    pub(crate) fn closed_count(&self) -> usize {
        self.closed.len().saturating_add(self.naming.len())
    }

    /// Puts a chunk's record into the open pack.
    pub(crate) fn add_chunk(
        &mut self,
        tools: &mut Tools<'_, P>,
        id: Id,
        key: &SessionKey,
        record: &[u8],
    ) -> Result<(), Failure> {
        let length = u32::try_from(record.len()).map_err(|_| internal("a record is too long"))?;
        if self.room_bytes(1) < length {
            self.close(tools, false)?;
        }
        self.on_the_way.insert(id);
        self.open_pack(tools)?
            .append(id, RecordKind::Chunk { key: key.number() }, record)?;
        Ok(())
    }

    /// Takes a node in; its record is written when the pack is closed. A node that is known already
    /// is not stored again.
    pub(crate) fn add_node(
        &mut self,
        tools: &mut Tools<'_, P>,
        plain: Vec<u8>,
    ) -> Result<Id, Failure> {
        let id = tools.credential.node_id(&plain);
        if self.on_the_way.contains(&id)
            || tools.cache.index.find_sound(tools.files, &id)?.is_some()
        {
            return Ok(id);
        }
        let length = u32::try_from(plain.len().saturating_add(RECORD_OVERHEAD_BYTES))
            .map_err(|_| internal("a node is too long"))?;
        if self.room_bytes(1) < length {
            self.close(tools, false)?;
        }
        self.open_pack(tools)?;
        self.on_the_way.insert(id);
        self.nodes_bytes = self.nodes_bytes.saturating_add(length);
        self.nodes.push((id, plain));
        Ok(id)
    }

    /// Makes sure that the open pack holds `count` nodes of tree (a) of at most `bytes`, behind all
    /// that waits; the number of that pack.
    pub(crate) fn reserve_tail(
        &mut self,
        tools: &mut Tools<'_, P>,
        count: usize,
        bytes: u32,
    ) -> Result<u64, Failure> {
        if self.room_bytes(count) < bytes {
            self.close(tools, false)?;
        }
        self.open_pack(tools)?;
        self.write_nodes(tools)?;
        Ok(self.open_pack(tools)?.number)
    }

    /// Writes a node of tree (a) into the open pack at once, and says where.
    pub(crate) fn add_tail_node(
        &mut self,
        tools: &mut Tools<'_, P>,
        plain: Vec<u8>,
    ) -> Result<Place, Failure> {
        let id = tools.credential.node_id(&plain);
        let record = seal(tools, Kind::Node, &id, &plain)?;
        self.on_the_way.insert(id);
        let pack = self.open_pack(tools)?;
        let offset_bytes = pack.append(id, RecordKind::Node, &record)?;
        pack.nodes.push(plain);
        Ok(Place {
            pack: pack.number,
            offset_bytes,
            length_bytes: u32::try_from(record.len())
                .map_err(|_| internal("a record is too long"))?,
            id,
        })
    }

    /// Closes the open pack, if there is one, and begins to compute its name. The last one of a run
    /// is cut to its Padmé size.
    pub(crate) fn close(
        &mut self,
        tools: &mut Tools<'_, P>,
        last_of_run: bool,
    ) -> Result<(), Failure> {
        if self.open.is_none() {
            return Ok(());
        }
        self.write_nodes(tools)?;
        let Some(mut pack) = self.open.take() else {
            return Ok(());
        };
        let plain = pack.layout.directory().encode();
        let directory_id = tools.credential.node_id(&plain);
        let record = seal(tools, Kind::Directory, &directory_id, &plain)?;
        let directory_offset_bytes = pack.layout.end_bytes();
        let directory_length_bytes =
            u32::try_from(record.len()).map_err(|_| internal("a directory is too long"))?;
        let length_bytes = pack
            .layout
            .length_bytes(directory_length_bytes, last_of_run);
        let filler_offset = write_at(pack.buffer.as_mut(), directory_offset_bytes, &record)?;
        let filler = pack
            .buffer
            .as_mut()
            .get_mut(filler_offset..size(length_bytes))
            .ok_or_else(|| internal("a pack is too short"))?;
        tools.random.fill(filler)?;
        let directory = pack.layout.directory().clone();
        let (number, nodes, buffer) = (pack.number, pack.nodes, pack.buffer);
        let ticket = tools.pool.run(move |_| {
            let name = buffer
                .as_ref()
                .get(..size(length_bytes))
                .map_or(BlobName([0; 32]), pack_name);
            let entry = PackEntry {
                name,
                directory: directory_id,
                length_bytes,
                directory_offset_bytes,
                directory_length_bytes,
                state: PackState::Live,
            };
            NamedPack {
                pack: JournalPack {
                    number,
                    entry,
                    directory,
                    nodes,
                },
                buffer,
            }
        })?;
        self.naming.push_back(ticket);
        while self.naming.len() > NAMING_MAX {
            self.send_named(tools)?;
        }
        self.take_receipts(tools, false)
    }

    /// Sends every closed pack; after this each has its name.
    fn send_all(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        while !self.naming.is_empty() {
            self.send_named(tools)?;
        }
        Ok(())
    }

    /// Waits until every pack that was sent is durable, journaled, and known to the cache.
    pub(crate) fn settle(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        self.send_all(tools)?;
        self.take_receipts(tools, true)
    }

    /// The packs that wait for tree (a), ascending: all that are closed, in the end with the tail.
    /// Each must be settled: until then its name may change.
    pub(crate) fn take_closed(&mut self) -> Vec<(u64, PackEntry)> {
        std::mem::take(&mut self.closed)
    }

    /// Journals and indexes what the far end says is durable.
    pub(crate) fn take_receipts(
        &mut self,
        tools: &mut Tools<'_, P>,
        all: bool,
    ) -> Result<(), Failure> {
        while !self.sent.is_empty() {
            let Some(receipt) =
                tools
                    .store
                    .receipt(if all { Wait::UntilThere } else { Wait::Never })?
            else {
                return Ok(());
            };
            let Some(SentPack {
                number,
                pack,
                names,
            }) = self.sent.pop_front()
            else {
                return Ok(());
            };
            if receipt.number != number {
                return Err(Failure::FarEndProtocol);
            }
            match receipt.kept {
                Kept::New | Kept::Same => {}
                Kept::Different | Kept::Unknown => {
                    self.send_under_another_name(tools, pack, names)?;
                    continue;
                }
            }
            tools.journal.pack(tools.files, &pack)?;
            tools.cache.add_pack(tools.files, &pack)?;
            for entry in &pack.directory.entries {
                self.on_the_way.remove(&entry.id);
            }
        }
        Ok(())
    }

    fn send_named(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        let Some(ticket) = self.naming.pop_front() else {
            return Ok(());
        };
        let NamedPack { pack, buffer } = ticket.wait()?;
        self.closed.push((pack.number, pack.entry));
        self.sent_bytes = self
            .sent_bytes
            .saturating_add(u64::from(pack.entry.length_bytes));
        let number = tools.store.put(
            pack.entry.name,
            buffer,
            size(pack.entry.length_bytes),
            Reserve::Untouched,
        )?;
        self.sent.push_back(SentPack {
            number,
            pack,
            names: 1,
        });
        Ok(())
    }

    /// What is wrong in the store is under one name, or in one folder of it: a pack seals its
    /// directory anew, and has another name then.
    fn send_under_another_name(
        &mut self,
        tools: &mut Tools<'_, P>,
        mut pack: JournalPack,
        names: u8,
    ) -> Result<(), Failure> {
        if names >= NAMES_MAX {
            let (class, object) = (ObjectClass::Pack, to_hex(&pack.entry.name.0));
            return Err(Failure::Damaged {
                class,
                object,
                what: "other bytes lie under its name".into(),
                volume: None,
            });
        }
        tracing::warn!(pack = %pack.entry.name, "its name cannot be used; it is sent under another one");
        let mut buffer = tools.store.take_back()?;
        let record = seal(
            tools,
            Kind::Directory,
            &pack.entry.directory,
            &pack.directory.encode(),
        )?;
        if u32::try_from(record.len()) != Ok(pack.entry.directory_length_bytes) {
            return Err(internal("a directory has two lengths"));
        }
        write_at(buffer.as_mut(), pack.entry.directory_offset_bytes, &record)?;
        let length = size(pack.entry.length_bytes);
        pack.entry.name = pack_name(
            buffer
                .as_ref()
                .get(..length)
                .ok_or_else(|| internal("a pack is too short"))?,
        );
        if let Some((_, entry)) = self
            .closed
            .iter_mut()
            .find(|(number, _)| *number == pack.number)
        {
            *entry = pack.entry;
        }
        self.sent_bytes = self
            .sent_bytes
            .saturating_add(u64::from(pack.entry.length_bytes));
        let number = tools
            .store
            .put(pack.entry.name, buffer, length, Reserve::Untouched)?;
        self.sent.push_back(SentPack {
            number,
            pack,
            names: names.saturating_add(1),
        });
        Ok(())
    }

    /// Bytes for `count` further records behind the nodes that wait.
    fn room_bytes(&self, count: usize) -> u32 {
        match &self.open {
            None => u32::MAX,
            Some(pack) => pack
                .layout
                .room_bytes(self.nodes.len().saturating_add(count))
                .saturating_sub(self.nodes_bytes),
        }
    }

    fn open_pack(&mut self, tools: &mut Tools<'_, P>) -> Result<&mut OpenPack<Buffer<P>>, Failure> {
        if self.open.is_none() {
            let buffer = tools.store.buffer(size(self.pack_size_bytes))?;
            let (number, layout) = (self.next_number, PackLayout::new(self.pack_size_bytes));
            self.next_number = number.saturating_add(1);
            self.open = Some(OpenPack {
                number,
                buffer,
                layout,
                nodes: Vec::new(),
            });
        }
        self.open
            .as_mut()
            .ok_or_else(|| internal("no pack is open"))
    }

    fn write_nodes(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        self.nodes_bytes = 0;
        for (id, plain) in std::mem::take(&mut self.nodes) {
            let record = seal(tools, Kind::Node, &id, &plain)?;
            let pack = self.open_pack(tools)?;
            pack.append(id, RecordKind::Node, &record)?;
            pack.nodes.push(plain);
        }
        Ok(())
    }
}

impl<B: AsMut<[u8]>> OpenPack<B> {
    fn append(&mut self, id: Id, kind: RecordKind, record: &[u8]) -> Result<u32, Failure> {
        let length = u32::try_from(record.len()).map_err(|_| internal("a record is too long"))?;
        let offset_bytes = self
            .layout
            .push(id, kind, length)
            .ok_or_else(|| internal("a record does not fit its pack"))?;
        write_at(self.buffer.as_mut(), offset_bytes, record)?;
        Ok(offset_bytes)
    }
}

fn seal<P: Parts>(
    tools: &mut Tools<'_, P>,
    kind: Kind,
    id: &Id,
    plain: &[u8],
) -> Result<Vec<u8>, Failure> {
    let seed = NonceSeed(tools.random.draw()?);
    tools
        .credential
        .seal_meta(kind, tools.pool.coder(), id, plain, seed)
        .map_err(|error| internal(&error.to_string()))
}

/// Writes into a pack and says where what follows begins.
fn write_at(buffer: &mut [u8], offset_bytes: u32, bytes: &[u8]) -> Result<usize, Failure> {
    let end = size(offset_bytes).saturating_add(bytes.len());
    buffer
        .get_mut(size(offset_bytes)..end)
        .ok_or_else(|| internal("a pack is too short"))?
        .copy_from_slice(bytes);
    Ok(end)
}

/// Lengths in a pack are at most 64 MiB.
fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
