// SPDX-License-Identifier: GPL-3.0-or-later
//! The session keys of the head's key table, derived with the data key.

use std::collections::HashMap;
use std::sync::Arc;

use wyng_archive::crypto::{DataKey, SessionKey};
use wyng_archive::format::KeysTree;
use wyng_control::Failure;

use crate::archive::{Archive, CachedNodes, NodesAtHand, collect, keys_root};
use crate::kept::moment_now;
use crate::outcome::{damaged, internal};
use crate::world::{Client, Clock, Files};

/// Session keys by number.
pub(crate) struct Keys {
    /// The sound keys.
    pub keys: HashMap<u32, SessionKey>,
    /// What is wrong with another key, or with the table.
    pub fault: Option<Failure>,
}

/// Derives every session key of the head's key table and compares its check, before the first
/// record is opened. Damaged keys are left out, and so are keys whose part of the table is lost:
/// what was sealed with them is damaged, and nothing else is.
pub(crate) fn keys_of(
    files: &mut impl Files,
    clock: &mut impl Clock,
    client: &mut impl Client,
    archive: &mut Archive,
    data_key: &DataKey,
) -> Result<Keys, Failure> {
    let root = keys_root(&archive.head);
    let credential = Arc::clone(&archive.credential);
    let (mut keys, mut fault) = (HashMap::new(), None);
    let mut nodes = CachedNodes {
        files: &mut *files,
        cache: &mut archive.cache,
        credential: &credential,
    };
    let entries = match collect::<KeysTree, _>(&root, &mut nodes) {
        Err(failure @ Failure::Missing { .. }) => {
            fault = Some(failure);
            collect::<KeysTree, _>(&root, &mut NodesAtHand(nodes))
        }
        entries => entries,
    };
    for (number, entry) in entries? {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let number = u32::try_from(number)
            .map_err(|_| internal("the key table has a number of more than 32 bits"))?;
        match SessionKey::open(&credential, data_key, number, &entry) {
            Ok(key) => drop(keys.insert(number, key)),
            Err(damage) => fault = Some(damaged(&damage)),
        }
    }
    if fault.is_none() {
        archive.ledger.keys_proven = Some(moment_now(files, clock, archive)?);
        if !files.only_looks() {
            archive.ledger.write(files, &archive.folder)?;
        }
    }
    Ok(Keys { keys, fault })
}
