// SPDX-License-Identifier: GPL-3.0-or-later
//! Packs that are noted lost, and of which the store keeps older versions: a session that needs
//! them may be restored all the same. Which version is sound shows when it is read.

use std::collections::BTreeSet;

use wyng_control::Failure;
use wyng_wire::Service;

use crate::archive::Archive;
use crate::store::packs_of;
use crate::world::{Fetched, Parts, Store, World};

/// Number of packs that are asked for before the first answer is awaited.
const ASKED_AHEAD: usize = 32;

/// For the rest of the command, packs do not count as lost of which the store has any older
/// version. The store is asked only if a pack is noted lost.
pub(super) fn hope_for_older_versions<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let mut lost = archive.ledger.notes.lost_packs();
    if lost.is_empty() {
        return Ok(());
    }
    let packs = packs_of(&mut world.files, archive)?;
    archive.connect(&mut world.store, Service::Fetch)?;
    let names: Vec<_> = lost
        .iter()
        .filter_map(|number| Some((*number, packs.get(number)?.name)))
        .collect();
    let mut kept = BTreeSet::new();
    for names in names.chunks(ASKED_AHEAD) {
        for (_, name) in names {
            world.store.show_version(*name, 1);
            world.store.request(*name, 0, 1)?;
        }
        for (number, _) in names {
            if matches!(world.store.answer()?, Fetched::Bytes(_) | Fetched::Short) {
                kept.insert(*number);
            }
        }
    }
    world.store.finish_fetch()?;
    lost.retain(|number| !kept.contains(number));
    archive.cache.index.set_lost(lost);
    Ok(())
}
