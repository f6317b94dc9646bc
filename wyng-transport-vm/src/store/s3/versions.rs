// SPDX-License-Identifier: GPL-3.0-or-later
//! Older versions of objects, in buckets that keep them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use wyng_wire::GET_VERSION_MAX;

use super::bucket::{Ask, Bucket};
use super::listing::{has_versions, older_versions};
use crate::store::StoreError;

const LISTING: &str = "list the versions of blobs";
/// Maximum number of keys whose versions are kept.
const KEYS_MAX: usize = 64;

/// Ids of older versions, the newest first. A blob is read range by range, and its versions are
/// listed once.
#[derive(Default)]
pub(super) struct Versions(Mutex<HashMap<String, Vec<String>>>);

impl Versions {
    fn of(&self, key: &str) -> Option<Vec<String>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn keep(&self, key: &str, ids: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        known.insert(key.to_owned(), ids.to_vec());
    }
}

impl Bucket {
    /// The id of the `number`-th version before the one that is served.
    pub(super) async fn older_version(
        &self,
        key: &str,
        number: u8,
    ) -> Result<Option<String>, StoreError> {
        let ids = match self.versions.of(key) {
            Some(ids) => ids,
            None => {
                let ids = self.list_versions(key).await?;
                self.versions.keep(key, &ids);
                ids
            }
        };
        let index = usize::from(number).saturating_sub(1);
        Ok(ids.into_iter().nth(index))
    }

    /// Whether there is any version of any object behind the prefix.
    pub(super) async fn has_older(&self) -> Result<bool, StoreError> {
        let query = [
            // What was deleted comes with its marker, and may come behind other markers.
            ("max-keys", "100"),
            ("prefix", &*self.address.prefix),
            ("versions", ""),
        ];
        let ask = Ask {
            query: &query,
            ..Ask::new(LISTING, "GET", "")
        };
        Ok(has_versions(&self.document(&ask).await?))
    }

    async fn list_versions(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let ask = Ask {
            query: &[("max-keys", "100"), ("prefix", key), ("versions", "")],
            ..Ask::new(LISTING, "GET", "")
        };
        let text = match self.document(&ask).await {
            Ok(text) => text,
            // The service knows no versions, or does not show them.
            Err(StoreError::Refused { .. }) => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let mut ids = older_versions(&text, key).unwrap_or_default();
        ids.truncate(GET_VERSION_MAX.into());
        Ok(ids)
    }
}
