// SPDX-License-Identifier: GPL-3.0-or-later
//! Records into packs. The packer knows no volume and no tree, and sends nothing itself: closed
//! packs go into the outbox.
//!
//! A pack holds chunks, then nodes, then the directory. Nodes wait in memory until their pack is
//! closed. A pack is named by the hash of its bytes, which a worker computes while the next pack is
//! filled.

use wyng_archive::BlobName;
use wyng_archive::crypto::{Id, Kind, RECORD_OVERHEAD_BYTES, SessionKey, pack_name};
use wyng_archive::format::{PackEntry, PackLayout, PackState, Place, RecordKind};
use wyng_control::Failure;

use super::outbox::{NamedPack, Outbox};
use super::pack::{CommitPoint, OpenPack, usize_of, write_at};
use super::tools::{Tools, seal};
use crate::archive::Archive;
use crate::outcome::internal;
use crate::state::JournalPack;
use crate::world::{Buffer, Parts, Random, Reserve, Store};

/// Fills packs, and hands full packs to the outbox.
pub(crate) struct Packer<P: Parts> {
    pack_size_bytes: u32,
    next_number: u64,
    open: Option<OpenPack<Buffer<P>>>,
    /// Nodes that go into the open pack when it is closed.
    nodes: Vec<(Id, Vec<u8>)>,
    /// Maximum bytes of their records.
    nodes_bytes: u32,
    outbox: Outbox<P>,
}

impl<P: Parts> Packer<P> {
    /// Begins after the archive's head and after the packs of an interrupted run, `closed`, which
    /// are durable and journaled already.
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
            outbox: Outbox::after(closed),
        }
    }

    /// From now on packs may take the room that the store keeps free for commits, so that a full
    /// store can be emptied.
    pub(crate) fn use_reserve(mut self) -> Self {
        self.outbox.reserve = Reserve::Usable;
        self
    }

    /// The number of the pack that the next record goes into.
    pub(crate) fn filling(&self) -> u64 {
        self.open
            .as_ref()
            .map_or(self.next_number, |pack| pack.number)
    }

    /// Bytes of packs handed to the far end.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.outbox.sent_bytes
    }

    /// Whether a record with this id is on its way, so that the index does not know it yet.
    pub(crate) fn is_on_the_way(&self, id: &Id) -> bool {
        self.outbox.on_the_way.contains(id)
    }

    /// How many packs wait to be entered into the pack table.
    pub(crate) fn closed_count(&self) -> usize {
        self.outbox.count()
    }

    /// Puts a chunk's record into the open pack.
    pub(crate) fn add_chunk(
        &mut self,
        tools: &mut Tools<'_, P>,
        id: Id,
        key: &SessionKey,
        record: &[u8],
    ) -> Result<(), Failure> {
        self.add_sealed(tools, id, key.number(), record)
    }

    /// The same for a record that was sealed before, under the session key with this number.
    pub(crate) fn add_sealed(
        &mut self,
        tools: &mut Tools<'_, P>,
        id: Id,
        key: u32,
        record: &[u8],
    ) -> Result<(), Failure> {
        let length = u32::try_from(record.len()).map_err(|_| internal("a record is too long"))?;
        if self.room_bytes(1) < length {
            self.close(tools, CommitPoint::MidRun)?;
        }
        self.outbox.on_the_way.insert(id);
        self.open_pack(tools)?
            .append(id, RecordKind::Chunk { key }, record)?;
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
        if self.outbox.on_the_way.contains(&id)
            || tools.cache.index.find_lasting(tools.files, &id)?.is_some()
        {
            return Ok(id);
        }
        self.add_moved_node(tools, id, plain)?;
        Ok(id)
    }

    /// The same for a node that another pack still has, which is about to be given up.
    pub(crate) fn add_moved_node(
        &mut self,
        tools: &mut Tools<'_, P>,
        id: Id,
        plain: Vec<u8>,
    ) -> Result<(), Failure> {
        let length = u32::try_from(plain.len().saturating_add(RECORD_OVERHEAD_BYTES))
            .map_err(|_| internal("a node is too long"))?;
        if self.room_bytes(1) < length {
            self.close(tools, CommitPoint::MidRun)?;
        }
        self.open_pack(tools)?;
        self.outbox.on_the_way.insert(id);
        self.nodes_bytes = self.nodes_bytes.saturating_add(length);
        self.nodes.push((id, plain));
        Ok(())
    }

    /// Makes sure that the open pack has room for `count` nodes of the pack table of at most
    /// `bytes` in all, behind everything that waits. Gives the number of that pack.
    pub(crate) fn reserve_tail(
        &mut self,
        tools: &mut Tools<'_, P>,
        count: usize,
        bytes: u32,
    ) -> Result<u64, Failure> {
        if self.room_bytes(count) < bytes {
            self.close(tools, CommitPoint::MidRun)?;
        }
        self.open_pack(tools)?;
        self.write_nodes(tools)?;
        Ok(self.open_pack(tools)?.number)
    }

    /// Writes a node of the pack table into the open pack at once, and gives its place.
    pub(crate) fn add_tail_node(
        &mut self,
        tools: &mut Tools<'_, P>,
        plain: Vec<u8>,
    ) -> Result<Place, Failure> {
        let id = tools.credential.node_id(&plain);
        let record = seal(tools, Kind::Node, &id, &plain)?;
        self.outbox.on_the_way.insert(id);
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

    /// Closes the open pack, if there is one, and begins to compute its name. The last pack of a
    /// run is cut to its Padmé size.
    pub(crate) fn close(
        &mut self,
        tools: &mut Tools<'_, P>,
        point: CommitPoint,
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
            .length_bytes(directory_length_bytes, point == CommitPoint::EndOfRun);
        let filler_offset = write_at(pack.buffer.as_mut(), directory_offset_bytes, &record)?;
        let filler = pack
            .buffer
            .as_mut()
            .get_mut(filler_offset..usize_of(length_bytes))
            .ok_or_else(|| internal("a pack is too short"))?;
        tools.random.fill(filler)?;
        let directory = pack.layout.directory().clone();
        let (number, nodes, buffer) = (pack.number, pack.nodes, pack.buffer);
        let ticket = tools.pool.run(move |_| {
            let name = buffer
                .as_ref()
                .get(..usize_of(length_bytes))
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
        self.outbox.send(tools, ticket)
    }

    /// Waits until every pack that was sent is durable, journaled, and known to the cache.
    pub(crate) fn settle(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        self.outbox.settle(tools)
    }

    /// Hands over the packs that wait to be entered into the pack table, by ascending number: all
    /// that are closed, at the end with the tail. Each must be settled first: until then its name
    /// may change.
    pub(crate) fn take_closed(&mut self) -> Vec<(u64, PackEntry)> {
        self.outbox.take_closed()
    }

    /// Bytes left for `count` further records behind the nodes that wait.
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
            let buffer = tools.store.buffer(usize_of(self.pack_size_bytes))?;
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
