// SPDX-License-Identifier: GPL-3.0-or-later
//! The state that is opened, compared with what this machine and a recovery sheet know of the
//! archive. Nothing of it is written yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Credential};
use wyng_archive::format::{HeadCode, Slot};
use wyng_control::{Failure, ToClient, Warning};

use super::head::{Head, choose_head};
use super::here::Here;
use crate::archive::listed;
use crate::state::{KnownCommit, PassedOver};
use crate::store::{History, read_copies};
use crate::world::{Client, Store};

/// Which state a person wants.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// A generation below this one, although newer ones exist.
    pub before: Option<u64>,
    /// The code of a recovery sheet.
    pub expected: Option<HeadCode>,
}

/// All that is needed to open the archive, but for the cache; nothing of it is written yet.
pub(super) struct View {
    /// What opens commits and nodes.
    pub credential: Arc<Credential>,
    /// What this machine has.
    pub here: Here,
    /// The commit to open.
    pub head: Head,
    /// Hashes below the head, see [`Ledger`](crate::state::Ledger).
    pub spine: Vec<(u64, [u8; 32])>,
    /// Commits that were read on the way down.
    pub read: Vec<KnownCommit>,
    /// Generations below the head whose commit is lost, each with the copy under which the commit
    /// goes next; 0: nothing is there.
    pub lost: BTreeMap<u64, u16>,
    /// The newest generation whose commit is proven by its name and tag alone, because no commit
    /// that could be read carries its hash.
    pub gap: Option<u64>,
    /// Slots of the store that were read already.
    pub slots: Option<Vec<Slot>>,
    /// The slot that gave the credential, if a passphrase was typed.
    pub slot: Option<u8>,
}

/// Finds the state to open, and compares it with what this machine and the recovery sheet know.
pub(super) fn look(
    store: &mut impl Store,
    client: &mut impl Client,
    wanted: Wanted,
    credential: Arc<Credential>,
    here: Here,
) -> Result<View, Failure> {
    let Wanted { before, expected } = wanted;
    let known_generation = here.known_generation();
    if before.is_some_and(|before| before <= known_generation.max(1)) {
        return Err(Failure::BeforeKnown { known_generation });
    }
    if let Some(pending) = here
        .ledger
        .pending()
        .filter(|pending| before.is_some_and(|before| before <= pending.generation))
    {
        // A commit of this machine whose receipt was lost is committed all the same.
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let copies = read_copies(store, &credential, &mut coder, pending.generation)?;
        if copies
            .sound
            .iter()
            .any(|(_, found)| found.known == *pending)
        {
            return Err(Failure::BeforeKnown {
                known_generation: pending.generation,
            });
        }
    }
    let head = choose_head(store, client, &credential, &here.ledger, before)?;
    let generation = head.found.known.generation;
    let mut history = History::from(&credential, &here.ledger, &head.found)?;
    if let Some(known) = here.ledger.head()
        && history
            .hash_of(store, client, known.generation)?
            .is_some_and(|hash| hash != known.hash())
    {
        return Err(Failure::NotDescended { known_generation });
    }
    if let Some(code) = expected {
        let known_generation = code.generation();
        if generation < known_generation {
            return Err(Failure::RolledBack {
                known_generation,
                shown_generation: generation,
            });
        }
        if !history
            .hash_of(store, client, known_generation)?
            .is_some_and(|hash| code.matches(&hash))
        {
            return Err(Failure::NotDescended { known_generation });
        }
    }
    let spine = history.spine(store, client, generation)?;
    let (lost, gap) = (history.lost.clone(), history.gap);
    let read = history.into_read().collect();
    Ok(View {
        credential,
        here,
        head,
        spine,
        read,
        lost,
        gap,
        slots: None,
        slot: None,
    })
}

/// Finds the state to open below the one of `view`, whose commit is sound and which cannot be used
/// all the same.
pub(super) fn look_below(
    store: &mut impl Store,
    client: &mut impl Client,
    wanted: Wanted,
    view: View,
) -> Result<View, Failure> {
    let generation = view.head.found.known.generation;
    let (slots, slot) = (view.slots, view.slot);
    let newest = view
        .head
        .passed_over
        .map_or(generation, |passed| passed.newest);
    let mut below = look(
        store,
        client,
        Wanted {
            before: Some(generation),
            ..wanted
        },
        view.credential,
        view.here,
    )?;
    below.head.passed_over = Some(PassedOver {
        newest,
        sound: true,
        requested: wanted.before.is_some(),
    });
    if let Some(number) = slot {
        let is_live = |slot: &Slot| {
            slot.clear().number == number && listed(&below.head.found.commit, slot).is_some()
        };
        accept_slot(
            client,
            wanted,
            &below,
            slots.iter().flatten().any(is_live),
            number,
        )?;
    }
    Ok(View {
        slots,
        slot,
        ..below
    })
}

/// Accepts the slot by which a person got in. It may have been added by a newer commit than the one
/// that is opened: a person who asks for an older one gets in by it, and is warned.
pub(super) fn accept_slot(
    client: &mut impl Client,
    wanted: Wanted,
    view: &View,
    is_live: bool,
    slot: u8,
) -> Result<(), Failure> {
    let generation = view.head.found.known.generation;
    match (is_live, wanted.before, view.head.passed_over) {
        (false, Some(_), _) => client.tell(ToClient::Warned(Warning::SlotNotListed {
            slot,
            generation,
        })),
        (false, None, Some(passed)) => Err(Failure::NewestDamaged {
            generation: passed.newest,
            opened: 0,
        }),
        _ => Ok(()),
    }
}
