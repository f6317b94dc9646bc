// SPDX-License-Identifier: GPL-3.0-or-later
//! Thin pools in which the daemon has base snapshots, as rows and lines. The names are a contract,
//! `docs/schema/output.json`.

use serde::Serialize;
use wyng_control::{POOL_FILLING_PERCENT, POOL_FULL_PERCENT, ThinPool, ThinUnlisted, Warning};

use crate::thin::Thin;

/// The pools of a result.
#[derive(Debug, Default, Serialize)]
pub(super) struct Pools {
    pools: Vec<PoolRow>,
    /// Why nothing is known of thin pools; `None` if all is known.
    thin_unlisted: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct PoolRow {
    pool: String,
    /// `None` while the pool is not active.
    data_percent: Option<u8>,
    /// The same.
    metadata_percent: Option<u8>,
    metadata_left: bool,
    bases_dropped: u32,
}

impl Pools {
    /// Takes what the daemon reported.
    pub(super) fn take(&mut self, thin: &Thin) {
        self.pools.extend(thin.pools.iter().map(|pool| PoolRow {
            pool: pool.pool.to_string(),
            data_percent: pool.used_percent.map(|(data, _)| data),
            metadata_percent: pool.used_percent.map(|(_, metadata)| metadata),
            metadata_left: pool.metadata_left,
            bases_dropped: pool.bases_dropped,
        }));
        self.thin_unlisted = thin.unlisted.map(|why| match why {
            ThinUnlisted::NotRoot => "not-root",
            ThinUnlisted::Failed => "failed",
        });
    }
}

/// The use of each pool.
pub(super) fn lines(thin: &Thin) -> Vec<String> {
    let line = |pool: &ThinPool| {
        let (data, metadata) = pool.used_percent?;
        let name = &pool.pool;
        Some(format!(
            "pool {name}: {data} % of its data and {metadata} % of its metadata are used"
        ))
    };
    thin.pools.iter().filter_map(line).collect()
}

/// Why thin pools are missing from a list.
pub(super) fn hint(why: ThinUnlisted) -> &'static str {
    match why {
        ThinUnlisted::NotRoot => {
            "base snapshots in pools are not listed: only root's daemon may ask LVM and ZFS"
        }
        ThinUnlisted::Failed => {
            "base snapshots in pools are not listed: LVM or ZFS failed, and the daemon's log says why"
        }
    }
}

/// What a person must know of the pools.
pub(super) fn warnings(thin: &Thin) -> Vec<Warning> {
    let of_pool = |pool: &ThinPool| {
        let name = || pool.pool.to_string();
        let percent = pool.fullest_percent();
        let filling = match percent {
            percent if percent > POOL_FULL_PERCENT => Some(Warning::PoolFull {
                pool: name(),
                percent,
            }),
            percent if percent > POOL_FILLING_PERCENT => Some(Warning::PoolFilling {
                pool: name(),
                percent,
            }),
            _ => None,
        };
        let left = pool
            .metadata_left
            .then(|| Warning::PoolMetadataLeft { pool: name() });
        let dropped = (pool.bases_dropped > 0).then(|| Warning::PoolBasesDropped {
            pool: name(),
            count: pool.bases_dropped,
        });
        [filling, dropped, left].into_iter().flatten()
    };
    thin.pools.iter().flat_map(of_pool).collect()
}
