// SPDX-License-Identifier: GPL-3.0-or-later
//! What a plan writes to each pool, and whether the pools have room for it. Holes are not written.

use std::collections::BTreeMap;

use super::fate::PlanError;
use super::machine::Machine;
use super::step::Step;
use super::wish::Archived;

/// Bytes that the steps write to each pool. `archived` has what is written, by the names that the
/// qubes get.
pub(super) fn needs(steps: &[Step], archived: &BTreeMap<&str, &Archived>) -> BTreeMap<String, u64> {
    let mut pools_of: BTreeMap<&str, &BTreeMap<String, String>> = BTreeMap::new();
    let mut needs: BTreeMap<String, u64> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Create { qube, pools, .. } => drop(pools_of.insert(qube, pools)),
            Step::Import { qube, volume, .. } => {
                let pool = pools_of
                    .get(qube.as_str())
                    .and_then(|pools| pools.get(volume));
                let bytes = archived
                    .get(qube.as_str())
                    .and_then(|archived| archived.data_bytes.get(volume));
                if let (Some(pool), Some(bytes)) = (pool, bytes) {
                    let needed = needs.entry(pool.clone()).or_default();
                    *needed = needed.saturating_add(*bytes);
                }
            }
            _ => {}
        }
    }
    needs
}

/// Fails with [`PlanError::NoRoom`] if a pool has less free than is written to it. One whose room
/// is not known is believed to have enough.
pub fn check_room(needs: &BTreeMap<String, u64>, machine: &Machine) -> Result<(), PlanError> {
    for (pool, needed_bytes) in needs {
        match machine.free_bytes.get(pool) {
            Some(free_bytes) if free_bytes < needed_bytes => {
                return Err(PlanError::NoRoom {
                    pool: pool.clone(),
                    free_bytes: *free_bytes,
                    needed_bytes: *needed_bytes,
                });
            }
            _ => {}
        }
    }
    Ok(())
}
