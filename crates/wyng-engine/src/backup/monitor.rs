// SPDX-License-Identifier: GPL-3.0-or-later
//! The monitor command: collects the changes since each volume's newest session into a small list,
//! and replaces the base snapshot with a new one, since an old snapshot holds more and more space
//! of the pool. No byte of a volume is read, and nothing is sent.

use wyng_control::{
    BackupSource, BaseLabel, BaseOf, ExitStatus, Failure, Method, MonitorReport, ToClient,
};

use super::base::{KnownBase, find_base};
use super::sample::Samples;
use super::source::{ChunkRanges, refuse_empty};
use crate::archive::Archive;
use crate::bits::Bits;
use crate::outcome::{exit_of, is_of_one_source};
use crate::state::{DELTA_RANGES_MAX, Origins, Said, SavedDelta};
use crate::world::{Client, Parts, Volumes, World};

/// The volumes to be monitored.
pub struct MonitorRequest {
    /// The archive's name.
    pub archive: String,
    /// The volumes; their places in the list are the sources' numbers.
    pub sources: Vec<BackupSource>,
}

/// Monitors each volume. The failure of a volume is reported, and the others go on.
pub fn monitor<P: Parts>(
    world: &mut World<P>,
    request: &MonitorRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let mut origins = archive.origins(&mut world.files)?;
    let mut failed = Vec::new();
    for (item, source) in (0..).zip(&request.sources) {
        match collect(world, &mut archive, &mut origins, item, source) {
            Ok(report) => world.client.tell(ToClient::Monitored(report))?,
            Err(failure)
                if matches!(failure, Failure::NeverBackedUp { .. })
                    || is_of_one_source(&failure) =>
            {
                failed.push(failure.exit());
                world.client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
        world.volumes.close_source(item);
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(exit_of(&failed, request.sources.len()))
}

fn collect<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    origins: &mut Origins,
    item: u32,
    source: &BackupSource,
) -> Result<MonitorReport, Failure> {
    let name = source.volume.as_str();
    let unknown = || Failure::NeverBackedUp {
        volume: name.to_owned(),
    };
    let (_, volume) = archive
        .volumes(&mut world.files)?
        .into_iter()
        .find(|(_, volume)| volume.name == name)
        .ok_or_else(unknown)?;
    let of = BaseOf {
        archive: archive.folder.id().0,
        volume: volume.id.0,
    };
    let shape = world.volumes.open_source(item, name, &of, None)?;
    refuse_empty(&shape, name, volume.size_bytes)?;
    origins.check(name, &shape.found.origin, Said::of(source))?;
    let report = |method, whole, changed_bytes| MonitorReport {
        name: name.to_owned(),
        method,
        whole,
        changed_bytes,
    };
    let known = find_base(
        &mut world.files,
        archive,
        &volume,
        shape.base,
        (volume.domain, volume.chunk_size_bytes),
    )?;
    let Some(known) = known else {
        let whole = world.volumes.whole_cause(item);
        return Ok(report(Method::FullScan, whole, shape.size_bytes));
    };
    let Some((method, saved)) = collect_since(&mut world.volumes, item, &known, shape.size_bytes)?
    else {
        let whole = world.volumes.whole_cause(item);
        return Ok(report(Method::FullScan, whole, shape.size_bytes));
    };
    let changed_bytes = saved.ranges.iter().fold(0u64, |sum, (begin, end)| {
        sum.saturating_add(end.saturating_sub(*begin))
    });
    let KnownBase { session, .. } = known;
    let root = saved.label_root(&session.root.0);
    let label = BaseLabel {
        of,
        generation: session.generation,
        session: session.time,
        root,
    };
    saved.write(&mut world.files, &archive.folder, &label)?;
    // The record of a base snapshot is written before the snapshot is made, so that no snapshot is
    // ever forgotten.
    origins.set(name, volume.id, &shape.found, world.client.uid());
    origins.write(&mut world.files, &archive.folder)?;
    // LVM does not deactivate a snapshot that is open.
    world.volumes.end_reading(item);
    if world.volumes.rotate(item, &label)? {
        SavedDelta::remove_others(&mut world.files, &archive.folder, &label)?;
    }
    Ok(report(method, None, changed_bytes))
}

/// The changes since the session, in whole chunks, and how they were found; `None` if they cannot
/// be determined.
fn collect_since(
    volumes: &mut impl Volumes,
    item: u32,
    known: &KnownBase,
    size_bytes: u64,
) -> Result<Option<(Method, SavedDelta)>, Failure> {
    let chunk_size = u64::from(known.session.chunk_size_bytes);
    let count = size_bytes.div_ceil(chunk_size);
    let mut bits = Bits::none(count);
    let mut changed = ChunkRanges::changed(
        &known.saved,
        size_bytes,
        chunk_size,
        count,
        Samples::default(),
    );
    while let Some(range) = changed.next(volumes, item)? {
        bits.insert(range);
    }
    let Some(method) = changed.method() else {
        return Ok(None);
    };
    let mut grain = 1u64;
    loop {
        let ranges = ranges(&bits, count, grain, chunk_size, size_bytes);
        if ranges.len() <= DELTA_RANGES_MAX {
            return Ok(Some((
                method,
                SavedDelta {
                    base_bytes: size_bytes,
                    ranges,
                },
            )));
        }
        grain = grain.saturating_mul(2);
    }
}

/// The set as ranges of bytes whose borders are multiples of `grain` chunks. The list stops at one
/// range more than [`DELTA_RANGES_MAX`], which shows that a coarser grain is needed.
fn ranges(
    bits: &Bits,
    count: u64,
    grain: u64,
    chunk_size: u64,
    size_bytes: u64,
) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut next = 0;
    while let Some(found) = bits.next(next).filter(|_| ranges.len() <= DELTA_RANGES_MAX) {
        let begin = found / grain * grain;
        next = begin.saturating_add(grain).min(count);
        let bytes = (
            begin.saturating_mul(chunk_size),
            next.saturating_mul(chunk_size).min(size_bytes),
        );
        match ranges.last_mut() {
            Some(last) if last.1 == bytes.0 => last.1 = bytes.1,
            _ => ranges.push(bytes),
        }
    }
    ranges
}
