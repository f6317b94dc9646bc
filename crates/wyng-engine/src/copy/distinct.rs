// SPDX-License-Identifier: GPL-3.0-or-later
//! Proof that the target is not the archive's own store under another address. Whatever one of them
//! has and the other has not is a proof; where they show the same, a further copy of the newest
//! commit is put into the target, and must not appear in the source. Such a copy is part of every
//! archive, so nothing has to be removed afterwards.

use wyng_archive::plan::COPIES_ABSENT;
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Found};
use wyng_wire::BlobName;

use super::target::Target;
use crate::archive::Archive;
use crate::outcome::damaged;
use crate::store::put_blob;
use crate::world::Store;

/// Number of blobs that the target lacks and that are looked for in the source.
const LOOKED_FOR_MAX: usize = 8;

/// Whether two addresses lead to two stores.
pub(super) enum Distinct {
    /// They do.
    Proven,
    /// They show the same: the copy of the newest commit that is to be put into the target.
    Probe(u8),
}

/// Compares what the two stores show. The source is open for reading. A probe is only for a target
/// that has the newest commit: that commit must never be there before what it needs.
pub(super) fn compare(
    store: &mut impl Store,
    archive: &Archive,
    target: &Target,
    lacking: impl Iterator<Item = BlobName>,
) -> Result<Distinct, Failure> {
    if matches!(target, Target::New) {
        return Ok(Distinct::Proven);
    }
    for name in lacking.take(LOOKED_FOR_MAX) {
        if matches!(store.stat(name)?, Found::Blob { .. }) {
            return Ok(Distinct::Proven);
        }
    }
    let mut probe = None;
    let generation = archive.head.generation;
    for copy in 0..COPIES_ABSENT {
        let name = archive.credential.commit_copy_name(generation, copy);
        match (store.stat(name)?, target.has(&name)) {
            (Found::Nothing, true) | (Found::Blob { .. }, false) => return Ok(Distinct::Proven),
            (Found::Nothing, false) => probe = probe.or(Some(copy)),
            _ => {}
        }
    }
    let name = archive.credential.commit_name(generation);
    if !target.has(&name) {
        // Neither of them has it, so it cannot be copied either.
        let missing = Damage::new(Class::Commit, name.0, Fault::Missing);
        return Err(damaged(&missing));
    }
    Ok(Distinct::Probe(probe.unwrap_or(COPIES_ABSENT)))
}

/// Puts the probe into the target, which is open for a push, and looks for it in the source, which
/// is open for reading.
pub(super) fn probe(
    store: &mut impl Store,
    archive: &Archive,
    copy: u8,
    address: &str,
) -> Result<(), Failure> {
    let head = archive.ledger.head().cloned().ok_or(Failure::CacheLost)?;
    let name = archive.credential.commit_copy_name(head.generation, copy);
    put_blob(store, name, &head.bytes)?;
    match store.stat(name)? {
        Found::Nothing => Ok(()),
        _ => Err(Failure::CopyIsSource {
            store: address.to_owned(),
        }),
    }
}
