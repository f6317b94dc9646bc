// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading a whole pack and comparing its hash with its name. Its bytes are not kept.

use wyng_archive::Fault;
use wyng_archive::format::PackEntry;
use wyng_control::Failure;

use crate::older::newest_sound;
use crate::world::Store;

/// Length of the pieces in which a pack is read, so that memory does not grow with packs.
const PIECE_BYTES: u32 = 1 << 20;
/// Number of pieces that are requested ahead.
const PIECES_AHEAD: usize = 4;

/// Reads a pack in pieces and compares its hash with its name; returns its fault, if it has one.
/// `count` gets the length of each piece that came, bytes.
pub(crate) fn hash_pack(
    store: &mut impl Store,
    pack: &PackEntry,
    count: &mut dyn FnMut(u64),
) -> Result<Option<Fault>, Failure> {
    let mut hasher = blake3::Hasher::new();
    let (mut asked_bytes, mut asked, mut fault) = (0u32, 0usize, None);
    loop {
        while asked < PIECES_AHEAD
            && asked_bytes < pack.length_bytes
            && fault != Some(Fault::Missing)
        {
            let length = PIECE_BYTES.min(pack.length_bytes.saturating_sub(asked_bytes));
            store.request(pack.name, asked_bytes, length)?;
            asked_bytes = asked_bytes.saturating_add(length);
            asked = asked.saturating_add(1);
        }
        if asked == 0 {
            break;
        }
        asked = asked.saturating_sub(1);
        match store.answer()?.or_fault() {
            Ok(bytes) => {
                count(bytes.as_ref().len() as u64);
                hasher.update(bytes.as_ref());
            }
            // A pack that vanishes while it is read is missing.
            Err(Fault::Missing) => fault = Some(Fault::Missing),
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    let same = hasher.finalize() == blake3::Hash::from_bytes(pack.name.0);
    Ok(fault.or((!same).then_some(Fault::Hash)))
}

/// The newest older version of a pack whose bytes hash to the pack's name; `None` if the store has
/// none. Nothing may be requested and not answered.
pub(crate) fn sound_version(
    store: &mut impl Store,
    pack: &PackEntry,
    count: &mut dyn FnMut(u64),
) -> Result<Option<u8>, Failure> {
    newest_sound(store, pack.name, &mut |store| hash_pack(store, pack, count))
}

/// Has the store show the newest sound version of a pack instead of what it serves, until the fetch
/// ends; false if there is none. Nothing may be requested and not answered.
pub(crate) fn show_sound_version(
    store: &mut impl Store,
    pack: &PackEntry,
    count: &mut dyn FnMut(u64),
) -> Result<bool, Failure> {
    let version = sound_version(store, pack, count)?;
    if let Some(version) = version {
        store.show_version(pack.name, version);
    }
    Ok(version.is_some())
}
