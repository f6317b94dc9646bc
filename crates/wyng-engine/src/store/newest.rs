// SPDX-License-Identifier: GPL-3.0-or-later
//! The newest generation in the store, found by asking which names exist. No commit is read.

use std::collections::BTreeSet;

use wyng_archive::crypto::Credential;
use wyng_archive::plan::{COPIES_ABSENT, GENERATION_MAX, head_probes, next_probe};
use wyng_control::{Failure, ObjectClass};

use crate::state::to_hex;
use crate::world::{Client, Found, Store};

/// Maximum number of gaps past which the search for the newest generation goes on.
const HOLES_MAX: u32 = 4096;

/// The newest generation of which a copy exists, 0 if there is none; and the generations above it
/// of which the store cannot say whether they exist. The search doubles and bisects from a known
/// generation, then probes 64 more, and goes on from any that exists.
pub(crate) fn find_newest(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    known: u64,
) -> Result<(u64, BTreeSet<u64>), Failure> {
    let mut unknown = BTreeSet::new();
    let mut exists = |generation| exists(store, client, credential, generation, &mut unknown);
    let mut newest = if known > 0 && exists(known)? {
        known
    } else {
        0
    };
    let mut absent = None;
    while let Some(probe) = next_probe(newest, absent) {
        if exists(probe)? {
            newest = probe
        } else {
            absent = Some(probe)
        }
    }
    if newest >= GENERATION_MAX {
        return Err(implausible(credential, newest));
    }
    let mut holes = 0u32;
    'probing: loop {
        for generation in head_probes(newest) {
            if exists(generation)? {
                (newest, holes) = (generation, holes.saturating_add(1));
                if holes > HOLES_MAX {
                    return Err(implausible(credential, newest));
                }
                continue 'probing;
            }
        }
        break;
    }
    unknown.retain(|generation| *generation > newest);
    Ok((newest, unknown))
}

/// Whether a copy of the generation exists. A name that is taken by something else counts too,
/// since a copy may have been there.
fn exists(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    generation: u64,
    unknown: &mut BTreeSet<u64>,
) -> Result<bool, Failure> {
    if client.cancelled() {
        return Err(Failure::Interrupted);
    }
    for copy in 0..COPIES_ABSENT {
        match store.stat(credential.commit_copy_name(generation, copy))? {
            Found::Blob { .. } | Found::Foreign => return Ok(true),
            Found::Unknown => drop(unknown.insert(generation)),
            Found::Nothing => {}
        }
    }
    Ok(false)
}

fn implausible(credential: &Credential, generation: u64) -> Failure {
    let object = to_hex(&credential.commit_name(generation).0);
    Failure::Damaged {
        class: ObjectClass::Commit,
        object,
        what: "the store shows more commits than there can be".into(),
        volume: None,
    }
}
