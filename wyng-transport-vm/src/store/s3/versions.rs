// SPDX-License-Identifier: GPL-3.0-or-later
//! The older versions of objects that were listed in a call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Maximum number of keys whose versions are kept.
const KEYS_MAX: usize = 64;

/// Ids of older versions, the newest first. A blob is read range by range, and its versions are
/// listed once.
#[derive(Default)]
pub(super) struct Versions(Mutex<HashMap<String, Vec<String>>>);

impl Versions {
    /// The ids for a key, if they were listed.
    pub(super) fn of(&self, key: &str) -> Option<Vec<String>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    /// Keeps the ids for a key.
    pub(super) fn keep(&self, key: &str, ids: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        known.insert(key.to_owned(), ids.to_vec());
    }
}
