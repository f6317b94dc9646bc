// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading packs, in the order in which they are due. Bytes are compared here, or opened by
//! workers, and not kept.

use std::collections::VecDeque;
use std::sync::Arc;

use wyng_archive::format::PackEntry;
use wyng_archive::{Class, Damage};
use wyng_control::{Failure, Phase, Progress};

use super::findings::Findings;
use super::opener::{OpenedPack, Opener};
use super::scope::Scope;
use crate::pool::{Pool, Ticket};
use crate::store::hash_pack;
use crate::world::{Client, Parts, Store, World};

/// Maximum number of bytes of the packs that are read ahead or being opened, except for one longer
/// pack alone.
const OPENING_MAX_BYTES: u64 = 48 << 20;

/// Reads the packs of the scope and compares their hashes with their names.
pub(super) fn hash_packs<P: Parts>(
    world: &mut World<P>,
    scope: &Scope,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let order = in_order(scope, findings);
    let total_bytes = bytes_of(&order);
    for (number, pack) in order {
        let count = &mut |bytes| findings.count_read(bytes);
        let fault = hash_pack(&mut world.store, &pack, count)?;
        let damage = fault.map(|fault| Damage::new(Class::Pack, pack.name.0, fault));
        findings.judge(
            &mut world.files,
            number,
            &pack,
            damage.into_iter().collect(),
        )?;
        pack_done(&mut world.client, findings, total_bytes)?;
    }
    Ok(())
}

/// Reads the packs of the scope whole, some ahead; workers compare their hashes and open their
/// directories and every record. `zstd_level` is the archive's.
pub(super) fn open_packs<P: Parts>(
    world: &mut World<P>,
    scope: &Scope,
    opener: Opener,
    zstd_level: i8,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let order = in_order(scope, findings);
    let total_bytes = bytes_of(&order);
    let mut pool = Pool::for_machine(zstd_level)?;
    let opener = Arc::new(opener);
    let mut ahead = Ahead::new(order);
    let mut opening: VecDeque<(u64, PackEntry, Ticket<OpenedPack>)> = VecDeque::new();
    loop {
        ahead.request(&mut world.store)?;
        let next = if opening.len() < pool.width() {
            ahead.asked.pop_front()
        } else {
            None
        };
        if let Some((number, pack)) = next {
            match world.store.answer()?.or_fault() {
                Ok(bytes) => {
                    findings.count_read(pack.length_bytes.into());
                    let opener = Arc::clone(&opener);
                    let open = move |coder: &mut _| opener.pack(coder, &pack, bytes.as_ref());
                    opening.push_back((number, pack, pool.run(open)?));
                }
                Err(fault) => {
                    let damage = Damage::new(Class::Pack, pack.name.0, fault);
                    findings.judge(&mut world.files, number, &pack, vec![damage])?;
                    ahead.let_go(&pack);
                    pack_done(&mut world.client, findings, total_bytes)?;
                }
            }
        } else if let Some((number, pack, ticket)) = opening.pop_front() {
            let opened = ticket.wait()?;
            ahead.let_go(&pack);
            findings.objects_checked = findings.objects_checked.saturating_add(opened.records);
            findings
                .unnamed
                .extend(opened.unnamed.into_iter().map(|id| (id, number)));
            findings.judge(&mut world.files, number, &pack, opened.damages)?;
            pack_done(&mut world.client, findings, total_bytes)?;
        } else {
            return Ok(());
        }
    }
}

/// Maximum number of packs that are requested ahead, bounded by memory.
struct Ahead {
    left: VecDeque<(u64, PackEntry)>,
    /// Packs whose answers are due, in the order of the questions.
    asked: VecDeque<(u64, PackEntry)>,
    /// Bytes of packs that were asked for and not let go.
    held_bytes: u64,
}

impl Ahead {
    fn new(order: Vec<(u64, PackEntry)>) -> Self {
        Self {
            left: order.into(),
            asked: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Asks for the next packs that fit.
    fn request(&mut self, store: &mut impl Store) -> Result<(), Failure> {
        while let Some((number, pack)) = self.left.front().copied()
            && self.fits(&pack)
        {
            self.left.pop_front();
            store.request(pack.name, 0, pack.length_bytes)?;
            let length = u64::from(pack.length_bytes);
            self.held_bytes = self.held_bytes.saturating_add(length);
            self.asked.push_back((number, pack));
        }
        Ok(())
    }

    fn fits(&self, pack: &PackEntry) -> bool {
        let length = u64::from(pack.length_bytes);
        self.held_bytes == 0 || self.held_bytes.saturating_add(length) <= OPENING_MAX_BYTES
    }

    /// The memory of a pack is free again.
    fn let_go(&mut self, pack: &PackEntry) {
        self.held_bytes = self.held_bytes.saturating_sub(pack.length_bytes.into());
    }
}

/// Counts a pack that was judged, reports the progress, and checks for an interrupt.
fn pack_done(
    client: &mut impl Client,
    findings: &mut Findings,
    total_bytes: u64,
) -> Result<(), Failure> {
    findings.count_object();
    client.progress(Progress {
        phase: Phase::Verifying,
        volume: None,
        done_bytes: findings.read_bytes,
        total_bytes,
        sent_bytes: 0,
    });
    if client.cancelled() {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

/// The packs that are to be read, in the order in which they are.
fn in_order(scope: &Scope, findings: &Findings) -> Vec<(u64, PackEntry)> {
    let order = findings
        .proving
        .order(&scope.packs, &scope.needed, scope.budget_bytes);
    order
        .into_iter()
        .filter_map(|number| Some((number, *scope.packs.get(&number)?)))
        .collect()
}

fn bytes_of(packs: &[(u64, PackEntry)]) -> u64 {
    packs.iter().fold(0, |sum: u64, (_, pack)| {
        sum.saturating_add(pack.length_bytes.into())
    })
}
