// SPDX-License-Identifier: GPL-3.0-or-later
//! The newest generation in the store, found by asking which names exist. No commit is read.

use std::collections::BTreeSet;

use wyng_archive::crypto::Credential;
use wyng_archive::plan::{COPIES_ABSENT, GENERATION_MAX, head_probes, next_probe};
use wyng_control::{Failure, ObjectClass};
use wyng_wire::BlobName;

use crate::state::to_hex;
use crate::world::{Client, Found, Store};

/// Number of generations that are probed at a time.
const PROBES_AT_ONCE: usize = 16;
/// Maximum number of generations by which the search goes on past what bisecting found.
const BEYOND_MAX: u64 = 4096;

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
    let mut exists = |generation| {
        let last = last_that_exists(store, client, credential, &[generation], &mut unknown)?;
        Ok::<bool, Failure>(last.is_some())
    };
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
    let found = newest;
    'probing: loop {
        let probes: Vec<u64> = head_probes(newest).collect();
        for probes in probes.chunks(PROBES_AT_ONCE) {
            if let Some(generation) =
                last_that_exists(store, client, credential, probes, &mut unknown)?
            {
                newest = generation;
                if newest.saturating_sub(found) > BEYOND_MAX {
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

/// The last of these generations, which ascend, of which a copy exists. A name that is taken by
/// something else counts too, since a copy may have been there.
fn last_that_exists(
    store: &mut impl Store,
    client: &mut impl Client,
    credential: &Credential,
    generations: &[u64],
    unknown: &mut BTreeSet<u64>,
) -> Result<Option<u64>, Failure> {
    if client.cancelled() {
        return Err(Failure::Interrupted);
    }
    let copies = |generation: &u64| {
        let generation = *generation;
        (0..COPIES_ABSENT).map(move |copy| (generation, copy))
    };
    let copies: Vec<(u64, u8)> = generations.iter().flat_map(copies).collect();
    let names: Vec<BlobName> = copies
        .iter()
        .map(|(generation, copy)| credential.commit_copy_name(*generation, *copy))
        .collect();
    let mut last = None;
    for ((generation, _), found) in copies.iter().zip(store.stat_each(&names)?) {
        match found {
            Found::Blob { .. } | Found::Foreign => last = Some(*generation),
            Found::Unknown => drop(unknown.insert(*generation)),
            Found::Nothing => {}
        }
    }
    Ok(last)
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
