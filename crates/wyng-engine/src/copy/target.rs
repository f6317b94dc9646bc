// SPDX-License-Identifier: GPL-3.0-or-later
//! What the target shows before anything is sent to it: whether it is empty, a copy of this very
//! archive, or something else. All of it is only a claim.

use std::collections::HashMap;

use wyng_archive::crypto::{Coder, slot_name};
use wyng_archive::plan::{COPIES_ABSENT, head_probes};
use wyng_config::without_credentials;
use wyng_control::Failure;
use wyng_wire::{BlobName, Service};

use super::needed::Needed;
use crate::archive::{Archive, StoredSlot, read_slot};
use crate::state::CopyNote;
use crate::store::{SoundCommit, read_copies};
use crate::world::{OpenStore, Place, Store};

/// Maximum number of damaged commits that are passed over in the search for one that tells the
/// history of the target.
const COMMITS_TRIED_MAX: usize = 8;

/// What a target shows.
pub(super) enum Target {
    /// Nothing is there.
    New,
    /// A copy, or the beginning of one.
    Shown(Box<Shown>),
}

/// A copy as it is shown.
#[derive(Default)]
pub(super) struct Shown {
    /// Lengths of the blobs that are the archive's by their names, or that this machine copied,
    /// bytes.
    pub listed: HashMap<BlobName, u64>,
    /// The newest commit that authenticates, unless this machine has read it back before.
    pub newest: Option<SoundCommit>,
}

impl Target {
    /// Whether a blob is listed.
    pub(super) fn has(&self, name: &BlobName) -> bool {
        matches!(self, Self::Shown(shown) if shown.listed.contains_key(name))
    }

    /// The names of all blobs that are listed.
    pub(super) fn names(&self) -> impl Iterator<Item = BlobName> {
        let shown = match self {
            Self::New => None,
            Self::Shown(shown) => Some(shown),
        };
        shown
            .into_iter()
            .flat_map(|shown| shown.listed.keys().copied())
    }

    /// Whether a blob of this length is listed.
    pub(super) fn has_whole(&self, name: &BlobName, length_bytes: u64) -> bool {
        matches!(self, Self::Shown(shown) if shown.listed.get(name) == Some(&length_bytes))
    }
}

/// Lists the target. Refuses what is no copy of the archive, and one that is newer than what this
/// machine knows.
pub(super) fn look(
    store: &mut impl Store,
    archive: &Archive,
    place: &Place,
    note: Option<&CopyNote>,
    needed: &Needed,
) -> Result<Target, Failure> {
    let address = || without_credentials(&place.url);
    match store.connect(Service::Fetch, place, OpenStore::Existing) {
        Err(Failure::StoreMissing { .. } | Failure::StoreEmpty { .. }) => {
            // A place that was a copy is none that may be filled: its disk is not mounted.
            return match note.is_some_and(|note| note.received) {
                false => Ok(Target::New),
                true => Err(Failure::CopyGone { store: address() }),
            };
        }
        connected => connected?,
    }
    let (mut shown, mut unknown) = (Shown::default(), 0u64);
    let is_complete = store.list(&mut |name, length_bytes| {
        if needed.known.contains(&name) || note.is_some_and(|note| note.knows(&name)) {
            shown.listed.insert(name, length_bytes);
        } else {
            unknown = unknown.saturating_add(1);
        }
    })?;
    if !is_complete {
        return Err(Failure::StoreFailed { store: address() });
    }
    let is_listed = |generation: &u64| {
        let name = |copy| archive.credential.commit_copy_name(*generation, copy);
        (0..COPIES_ABSENT).any(|copy| shown.listed.contains_key(&name(copy)))
    };
    if let Some(generation) = head_probes(needed.generation).filter(is_listed).last() {
        return Err(Failure::CopyAhead {
            store: address(),
            generation,
            known_generation: needed.generation,
        });
    }
    let commits: Vec<u64> = (1..=needed.generation).rev().filter(is_listed).collect();
    if commits.is_empty() {
        let is_empty = unknown == 0 || note.is_some();
        check_owner(store, archive, &shown, is_empty, &address())?;
    }
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    for generation in commits.into_iter().take(COMMITS_TRIED_MAX) {
        let name = archive.credential.commit_name(generation);
        if note.is_some_and(|note| note.read.contains(&name)) {
            break;
        }
        let copies = read_copies(store, &archive.credential, &mut coder, generation)?;
        if let Some((_, found)) = copies.only()? {
            shown.newest = Some(found);
            break;
        }
    }
    store.finish_fetch()?;
    Ok(Target::Shown(Box::new(shown)))
}

/// Refuses a place without a commit of this archive, unless a copy was begun there: it then has
/// slots of this archive, or `is_beginning`.
fn check_owner(
    store: &mut impl Store,
    archive: &Archive,
    shown: &Shown,
    is_beginning: bool,
    address: &str,
) -> Result<(), Failure> {
    let mut is_own = false;
    for number in (0..=u8::MAX).filter(|number| shown.listed.contains_key(&slot_name(*number))) {
        if let StoredSlot::Sound(slot) = read_slot(store, number)? {
            if slot.clear().archive != archive.folder.id() {
                return Err(Failure::CopyOfOther {
                    store: address.to_owned(),
                });
            }
            is_own = true;
        }
    }
    if is_own || is_beginning {
        Ok(())
    } else {
        Err(Failure::CopyOfOther {
            store: address.to_owned(),
        })
    }
}
