// SPDX-License-Identifier: GPL-3.0-or-later
//! Closed packs on their way to the store: named, sent, and noted when their receipts come. What is
//! in a pack is the packer's concern.

use std::collections::{HashSet, VecDeque};

use wyng_archive::crypto::{Id, Kind, pack_name};
use wyng_archive::format::PackEntry;
use wyng_control::{Failure, ObjectClass};

use super::pack::{usize_of, write_at};
use super::tools::{Tools, seal};
use crate::outcome::internal;
use crate::pool::Ticket;
use crate::state::{JournalPack, to_hex};
use crate::world::{Buffer, Kept, Parts, Reserve, Store, Wait};

/// Maximum number of closed packs whose names are being computed.
const NAMING_MAX: usize = 1;
/// Maximum number of names under which one pack is sent.
const NAMES_MAX: u8 = 8;

/// Closed packs in the order of their numbers.
pub(super) struct Outbox<P: Parts> {
    naming: VecDeque<Ticket<NamedPack<Buffer<P>>>>,
    sent: VecDeque<SentPack>,
    /// Ids in packs that the cache does not know yet, with the ids of the pack that is being
    /// filled.
    pub on_the_way: HashSet<Id>,
    /// Packs that are not in the pack table yet, by ascending number.
    closed: Vec<(u64, PackEntry)>,
    /// Bytes of packs handed to the far end.
    pub sent_bytes: u64,
    /// Whether packs may take the store's reserve.
    pub reserve: Reserve,
}

/// A pack without a receipt.
struct SentPack {
    /// The number of its PUT.
    number: u64,
    pack: JournalPack,
    /// The number of names under which it was sent.
    names: u8,
}

/// A pack whose name was computed.
pub(super) struct NamedPack<B> {
    /// What is noted of it.
    pub pack: JournalPack,
    /// Its bytes, and room behind them.
    pub buffer: B,
}

impl<P: Parts> Outbox<P> {
    /// Begins with the packs of an interrupted run, which are durable and journaled already.
    pub(super) fn after(closed: Vec<(u64, PackEntry)>) -> Self {
        Self {
            naming: VecDeque::new(),
            sent: VecDeque::new(),
            on_the_way: HashSet::new(),
            closed,
            sent_bytes: 0,
            reserve: Reserve::Untouched,
        }
    }

    /// How many packs wait to be entered into the pack table.
    pub(super) fn count(&self) -> usize {
        self.closed.len().saturating_add(self.naming.len())
    }

    /// Hands over the packs that wait to be entered into the pack table, by ascending number.
    pub(super) fn take_closed(&mut self) -> Vec<(u64, PackEntry)> {
        std::mem::take(&mut self.closed)
    }

    /// Takes a pack whose name is being computed, and sends the packs before it.
    pub(super) fn send(
        &mut self,
        tools: &mut Tools<'_, P>,
        pack: Ticket<NamedPack<Buffer<P>>>,
    ) -> Result<(), Failure> {
        self.naming.push_back(pack);
        while self.naming.len() > NAMING_MAX {
            self.send_named(tools)?;
        }
        self.take_receipts(tools, Wait::Never)
    }

    /// Sends every pack, and waits until each is durable, journaled, and known to the cache.
    pub(super) fn settle(&mut self, tools: &mut Tools<'_, P>) -> Result<(), Failure> {
        while !self.naming.is_empty() {
            self.send_named(tools)?;
        }
        self.take_receipts(tools, Wait::UntilThere)
    }

    /// Journals and indexes the packs that the far end reports as durable.
    fn take_receipts(&mut self, tools: &mut Tools<'_, P>, wait: Wait) -> Result<(), Failure> {
        while !self.sent.is_empty() {
            let Some(receipt) = tools.store.receipt(wait)? else {
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
                // A pack has the name of its bytes.
                Kept::New | Kept::Same | Kept::Signed => {}
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
        tools.journal.name(tools.files, pack.entry.name)?;
        let number = tools.store.put(
            pack.entry.name,
            buffer,
            usize_of(pack.entry.length_bytes),
            self.reserve,
        )?;
        self.sent.push_back(SentPack {
            number,
            pack,
            names: 1,
        });
        Ok(())
    }

    /// Sends a pack whose name cannot be used under another name: damage in the store concerns one
    /// name, or one folder of it. The directory is sealed again, which changes the pack's hash.
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
        tracing::warn!(
            pack = %pack.entry.name,
            "its name cannot be used; it is sent under another one"
        );
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
        let length = usize_of(pack.entry.length_bytes);
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
        tools.journal.name(tools.files, pack.entry.name)?;
        let number = tools
            .store
            .put(pack.entry.name, buffer, length, self.reserve)?;
        self.sent.push_back(SentPack {
            number,
            pack,
            names: names.saturating_add(1),
        });
        Ok(())
    }
}
