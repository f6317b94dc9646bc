// SPDX-License-Identifier: GPL-3.0-or-later
//! Merges several runs into one. The index chooses which runs are merged, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wyng_control::Failure;

use super::location::Location;
use super::run::{Run, RunWriter};
use crate::world::Files;

/// Merges several runs into one, in the file `path`, without the places in packs that are dropped.
pub(super) fn merge(
    files: &mut impl Files,
    runs: &[Run],
    path: String,
    is_dropped: &dyn Fn(u64) -> bool,
) -> Result<Run, Failure> {
    let count = runs
        .iter()
        .fold(0u64, |sum, run| sum.saturating_add(run.entries));
    let mut writer = RunWriter::create(files, path, usize::try_from(count).unwrap_or(usize::MAX))?;
    let mut cursors = Vec::with_capacity(runs.len());
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let mut cursor = run.cursor();
        if let Some((id, location)) = cursor.next(files)? {
            heap.push(Reverse((id, location.pack, number, Opaque(location))));
        }
        cursors.push(cursor);
    }
    let mut last = None;
    while let Some(Reverse((id, _, number, Opaque(location)))) = heap.pop() {
        // A pack that was indexed twice, by an interrupted backup and by the next one, is in two
        // runs.
        if last != Some((id, location.pack)) && !is_dropped(location.pack) {
            writer.push(files, id, location)?;
            last = Some((id, location.pack));
        }
        if let Some(cursor) = cursors.get_mut(number)
            && let Some((id, location)) = cursor.next(files)?
        {
            heap.push(Reverse((id, location.pack, number, Opaque(location))));
        }
    }
    writer.finish(files)
}

/// A location in the heap that takes no part in the heap's order.
struct Opaque(Location);

impl PartialEq for Opaque {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Opaque {}
impl PartialOrd for Opaque {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Opaque {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
