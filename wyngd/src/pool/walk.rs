// SPDX-License-Identifier: GPL-3.0-or-later
//! Which ranges of a snapshot changed since its base, and which read as zeros, from the pool's
//! metadata. All ranges are kept back until the metadata is known to have stood still.

use wyng_thin::{Block, Difference, Error, Metadata};

use super::journal::Journal;
use super::label::Identity;
use super::names::DmUuid;
use super::reservation::{Patience, Reservation};
use super::spool::Spool;
use super::trouble::Trouble;

/// The largest chunk of an archive, bytes. Where sizes differ, what lies behind the last whole one
/// of the shorter volume counts as changed.
const CHUNK_BYTES: u64 = 1 << 20;

/// The volume that is looked at, and the one that it is compared with.
pub(super) struct Wanted<'a> {
    /// UUID of the pool's device.
    pub(super) pool: DmUuid,
    /// UUID of the pool's volume.
    pub(super) pool_uuid: &'a str,
    /// The pool's number of the snapshot.
    pub(super) device: u64,
    /// The snapshot's size, bytes.
    pub(super) size_bytes: u64,
    /// The volume that it is compared with.
    pub(super) base: Option<&'a Identity>,
}

/// What a walk found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The pool's transaction id when the snapshot was made.
    pub(super) transaction: u64,
    /// Ranges that may have changed since the base, bytes; `None` without a base.
    pub(super) changes: Option<Vec<(u64, u64)>>,
    /// Ranges that read as zeros, bytes: with a base those of the changes, else all.
    pub(super) holes: Vec<(u64, u64)>,
}

/// Walks the pool's metadata. Returns nothing unless the metadata stood still until the end.
pub(super) fn walk(
    wanted: &Wanted<'_>,
    journal: &Journal,
    patience: Patience,
) -> Result<Found, Trouble> {
    let pool = wanted.pool.clone();
    let mut reservation = Reservation::take(journal, pool, wanted.pool_uuid, patience)?;
    let root = reservation.root();
    let blocks = reservation.blocks();
    let found = look(|number, block| blocks.read(number, block), root, wanted);
    reservation.end()?;
    found
}

fn look(
    read: impl FnMut(u64, &mut Block) -> Result<(), Trouble>,
    root: u64,
    wanted: &Wanted<'_>,
) -> Result<Found, Trouble> {
    let mut metadata = Metadata::open(read, root).map_err(trouble)?;
    let block_bytes = metadata.superblock().data_block_bytes;
    let details = metadata.details(wanted.device).map_err(trouble)?;
    let size = wanted.size_bytes;
    let bytes = |blocks: u64| blocks.saturating_mul(block_bytes).min(size);
    let (mut changes, mut holes) = (Spool::growing(), Spool::shrinking());
    if let Some(base) = wanted.base {
        let old = metadata.details(base.device).map_err(trouble)?;
        if old.transaction_id != base.transaction {
            return Err(Trouble::Metadata("the base is another volume now".into()));
        }
        let common = if base.size_bytes == size {
            size
        } else {
            base.size_bytes.min(size) / CHUNK_BYTES * CHUNK_BYTES
        };
        metadata
            .differences(
                base.device,
                wanted.device,
                common.div_ceil(block_bytes),
                &mut |range, difference| {
                    let (begin, end) = (bytes(range.start), bytes(range.end));
                    changes.push(begin, end);
                    if difference == Difference::Unmapped {
                        holes.push(begin, end.min(common));
                    }
                    Ok(())
                },
            )
            .map_err(trouble)?;
        changes.push(common.max(changes.end()), size);
    } else {
        let mut mapped_to = 0;
        metadata
            .mapped(wanted.device, size.div_ceil(block_bytes), &mut |range| {
                holes.push(mapped_to, bytes(range.start));
                mapped_to = bytes(range.end);
                Ok(())
            })
            .map_err(trouble)?;
        holes.push(mapped_to, size);
    }
    tracing::info!(
        blocks = metadata.blocks_read(),
        "read of the pool's metadata"
    );
    Ok(Found {
        transaction: details.transaction_id,
        changes: wanted.base.map(|_| changes.into_ranges()),
        holes: holes.into_ranges(),
    })
}

fn trouble(error: Error<Trouble>) -> Trouble {
    match error {
        Error::Caller(trouble) => trouble,
        error => Trouble::Metadata(error.to_string()),
    }
}
