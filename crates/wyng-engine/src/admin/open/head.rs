// SPDX-License-Identifier: GPL-3.0-or-later
//! The commit that is opened: the newest sound one, or the newest sound one below a generation. It
//! reads commits and slots alone, and trusts neither until they authenticate.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::crypto::{Coder, Credential};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Problem, ToClient};

use crate::archive::{open_commit, read_slots};
use crate::outcome::{class_of, damaged};
use crate::state::{Ledger, PassedOver, to_hex};
use crate::store::{SoundCommit, find_newest, read_copies};
use crate::world::{Client, Store};

/// Maximum number of damaged generations in a row that are passed over, and of generations above an
/// older one that are looked at for a sound one.
const GENERATIONS_READ_MAX: usize = 64;

/// The state that is to be opened.
pub(super) struct Head {
    /// The commit.
    pub found: SoundCommit,
    /// The copy under which it is sound.
    pub copy: u8,
    /// The newest generation, if this one is older.
    pub passed_over: Option<PassedOver>,
    /// Newer generations of which the store cannot say whether they exist.
    pub unknown: BTreeSet<u64>,
    /// Generations from this one on of which no copy is sound.
    pub taken: Taken,
}

/// Generations whose names are taken by what does not authenticate, each with the copy under which
/// its next commit goes, and what is wrong with the first.
pub(super) type Taken = BTreeMap<u64, (u16, Fault)>;

/// The newest generation (below `below`, if given) of which a copy authenticates or of which this
/// machine has the bytes.
pub(super) fn choose_head(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    ledger: &Ledger,
    below: Option<u64>,
) -> Result<Head, Failure> {
    let known = ledger.head().map_or(0, |head| head.generation);
    let (newest, unknown) = find_newest(store, client, credential, known)?;
    if newest == 0 {
        return Err(whose(store, client, credential, known)?);
    }
    if newest < known && below.is_none_or(|below| below <= known) {
        return Err(Failure::RolledBack {
            known_generation: known,
            shown_generation: newest,
        });
    }
    // A person who asks for what is older than a generation above the known one has this machine's
    // own head, even if the store lost it.
    let newest = newest.max(known);
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let is_pending = |generation: u64| {
        ledger
            .pending()
            .is_some_and(|pending| pending.generation == generation)
    };
    let top = below.map_or(newest, |below| newest.min(below.saturating_sub(1)));
    let requested = below.is_some();
    let (mut passed_over, mut taken) = newer_than(store, credential, &mut coder, top, newest)?;
    for generation in (known.max(1)..=top).rev().take(GENERATIONS_READ_MAX) {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let copies = read_copies(store, credential, &mut coder, generation)?;
        let (exists, free, fault) = (copies.exists, copies.free, copies.fault);
        match copies.only() {
            Ok(Some((copy, found))) => {
                return Ok(Head {
                    found,
                    copy,
                    passed_over,
                    unknown,
                    taken,
                });
            }
            Ok(None) => {}
            // A person who asks for an older generation knows of the fork.
            Err(Failure::TwoCommits { .. }) if below.is_some() && generation > known => {
                passed_over
                    .get_or_insert(PassedOver {
                        newest: generation,
                        sound: true,
                        requested,
                    })
                    .sound = true;
                continue;
            }
            Err(failure) => return Err(failure),
        }
        if exists {
            taken.insert(generation, (free, fault));
        }
        // This machine's own bytes are as good as a copy: no newer generation is in the store.
        if let Some(own) = ledger
            .head()
            .filter(|own| own.generation == generation)
            .cloned()
        {
            let commit = open_commit(credential, &mut coder, &own)?;
            return Ok(Head {
                found: SoundCommit { known: own, commit },
                copy: 0,
                passed_over,
                unknown,
                taken,
            });
        }
        // The commit that this machine may have sent last, and that did not arrive whole, is no
        // state that anybody has seen.
        if exists && !is_pending(generation) {
            passed_over.get_or_insert(PassedOver {
                newest: generation,
                sound: false,
                requested,
            });
        }
    }
    for (generation, (_, fault)) in &taken {
        report_damaged(client, credential, *generation, *fault)?;
    }
    Err(Failure::NewestDamaged {
        generation: newest,
        opened: 0,
    })
}

/// Looks at the generations above `top`, up to `newest`: whether there are any, whether one of them
/// is sound, and which are not.
fn newer_than(
    store: &mut impl Store,
    credential: &Credential,
    coder: &mut Coder,
    top: u64,
    newest: u64,
) -> Result<(Option<PassedOver>, Taken), Failure> {
    let mut taken = Taken::new();
    let mut passed_over = (newest > top).then_some(PassedOver {
        newest,
        sound: false,
        requested: true,
    });
    for generation in (top.saturating_add(1)..=newest)
        .rev()
        .take(GENERATIONS_READ_MAX)
    {
        let Some(passed) = passed_over.as_mut().filter(|passed| !passed.sound) else {
            break;
        };
        let copies = read_copies(store, credential, coder, generation)?;
        passed.sound = !copies.sound.is_empty();
        if copies.exists && !passed.sound {
            taken.insert(generation, (copies.free, copies.fault));
        }
    }
    Ok((passed_over, taken))
}

/// Why there is no commit of this archive in the store.
fn whose(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    known_generation: u64,
) -> Result<Failure, Failure> {
    let slots = read_slots(store, client)?;
    if slots.is_empty() {
        return Ok(Failure::NotAnArchive);
    }
    if !slots.sound.is_empty()
        && slots
            .sound
            .iter()
            .all(|slot| slot.clear().archive != credential.archive())
    {
        return Ok(Failure::OtherArchive);
    }
    Ok(match known_generation {
        0 => damaged(&Damage::new(
            Class::Commit,
            credential.commit_name(1).0,
            Fault::Missing,
        )),
        known_generation => Failure::RolledBack {
            known_generation,
            shown_generation: 0,
        },
    })
}

/// Reports a commit that is missing or damaged.
pub(super) fn report_damaged(
    client: &mut impl Client,
    credential: &Credential,
    generation: u64,
    fault: Fault,
) -> Result<(), Failure> {
    client.tell(ToClient::Problem(Problem {
        object: to_hex(&credential.commit_name(generation).0),
        class: class_of(Class::Commit),
        problem: fault.to_string(),
        volumes: Vec::new(),
        acknowledged: false,
    }))
}
