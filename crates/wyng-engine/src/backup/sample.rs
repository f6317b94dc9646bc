// SPDX-License-Identifier: GPL-3.0-or-later
//! Samples: in each run a few chunks that are reported as unchanged are read and compared with the
//! base. If one differs, the reported changes are not trusted: a wrong delta would make a wrong
//! backup, and nothing else would detect it.

use std::collections::BTreeSet;
use std::ops::Range;

use wyng_archive::crypto::Id;
use wyng_archive::format::ContentTree;
use wyng_archive::plan::{Root, Walk, get};
use wyng_control::Failure;

use super::job::Job;
use super::plan::VolumeRun;
use super::stop::ReadStop;
use crate::archive::Archive;
use crate::bits::Bits;
use crate::naming::name_chunk;
use crate::world::{Files, Parts, Random, Volumes};

/// Maximum bytes of samples that are read of each volume in a run.
const SAMPLE_BYTES: u64 = 8 << 20;
/// Maximum number of samples drawn at random.
const DRAWN_MAX: usize = 32;
/// Maximum number of samples right behind a changed range, where a wrong border would show.
const BESIDE_MAX: usize = 16;

/// The numbers of the chunks to be checked.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    chunks: BTreeSet<u64>,
    beside_left: usize,
}

impl Samples {
    /// Draws chunks of the base: each is the first chunk at or after a random place, since most of
    /// a volume may be holes.
    pub(crate) fn draw(
        files: &mut impl Files,
        random: &mut impl Random,
        archive: &mut Archive,
        base: &Root<Id>,
        count: u64,
        chunk_size: usize,
    ) -> Result<Self, Failure> {
        let most = usize::try_from(SAMPLE_BYTES).unwrap_or(usize::MAX) / chunk_size.max(1);
        let mut samples = Self {
            chunks: BTreeSet::new(),
            beside_left: BESIDE_MAX.min(most / 3),
        };
        for _ in 0..DRAWN_MAX.min(most.saturating_sub(samples.beside_left)) {
            let place = u64::from_le_bytes(random.draw()?)
                .checked_rem(count)
                .unwrap_or(0);
            let found = Walk::<ContentTree>::from(base, place).next(&mut archive.nodes(files))?;
            samples
                .chunks
                .insert(found.map_or(place, |(index, _)| index));
        }
        samples.chunks.retain(|index| *index < count);
        Ok(samples)
    }

    /// Drops the samples in a range that is read anyway, and adds the chunk behind the range.
    pub(crate) fn pass_over(&mut self, range: &Range<u64>, count: u64) {
        self.chunks.retain(|index| !range.contains(index));
        if self.beside_left > 0 && range.end < count {
            self.beside_left = self.beside_left.saturating_sub(1);
            self.chunks.insert(range.end);
        }
    }

    /// Drops the samples in a set of chunks that are known otherwise.
    pub(crate) fn pass_over_all(&mut self, known: &Bits) {
        self.chunks.retain(|index| !known.contains(*index));
    }

    /// The remaining samples, ascending.
    pub(crate) fn into_chunks(self) -> BTreeSet<u64> {
        self.chunks
    }

    /// Reads the remaining samples, and compares each with the base.
    pub(super) fn check<P: Parts>(
        self,
        job: &mut Job<'_, P>,
        volume: &VolumeRun,
        base: &Root<Id>,
    ) -> Result<Checked, ReadStop> {
        let chunk_size = volume.plan.chunk_size as u64;
        let (world, archive) = (&mut *job.world, &mut job.archive);
        let mut read_bytes = 0u64;
        for index in self.chunks {
            let offset = index.saturating_mul(chunk_size);
            let length = volume
                .plan
                .size_bytes
                .saturating_sub(offset)
                .min(chunk_size);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            let read = world
                .volumes
                .read_source(volume.item, offset, &mut bytes)
                .map_err(|errno| ReadStop::Errno(offset, errno))?;
            read_bytes = read_bytes.saturating_add(length);
            let expected =
                get::<ContentTree, _>(base, index, &mut archive.nodes(&mut world.files))?;
            if read < bytes.len() || name_chunk(&volume.plan.domain, &bytes) != expected {
                return Ok(Checked {
                    read_bytes,
                    as_reported: false,
                });
            }
        }
        Ok(Checked {
            read_bytes,
            as_reported: true,
        })
    }
}

/// What came of checking the samples.
pub(super) struct Checked {
    /// Bytes that were read for it.
    pub read_bytes: u64,
    /// Each chunk is what the base has.
    pub as_reported: bool,
}
