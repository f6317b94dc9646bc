// SPDX-License-Identifier: GPL-3.0-or-later
//! The pure, ordered stage of a backup: chunks → ids, then chunks → sealed records. Workers hash,
//! compress and seal; answers are taken in the order of the chunks, so the result does not depend
//! on the number of workers. The stage touches no part of the world: seeds of nonces come in.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Credential, Domain, Id, NonceSeed, SealError, SessionKey};
use wyng_control::Failure;

use crate::naming::name_chunks;
use crate::outcome::internal;
use crate::pool::{Pool, Ticket};

/// Bytes of a task that is long enough to be worth handing over to a worker.
const TASK_BYTES: usize = 512 << 10;

/// Consecutive chunks of a volume, which workers share.
#[derive(Clone)]
pub(super) struct Chunks {
    /// The number of the first chunk.
    pub first: u64,
    /// Bytes in each chunk except perhaps for the last one.
    pub chunk_size: usize,
    /// Their bytes, end to end.
    pub bytes: Arc<Vec<u8>>,
}

impl Chunks {
    /// How many chunks there are.
    pub(super) fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.chunk_size)
    }

    /// The number, in the volume, of the chunk at `place` in this list.
    pub(super) fn number(&self, place: usize) -> u64 {
        self.first.saturating_add(place as u64)
    }

    /// The place in this list of the chunk with this number in the volume; `None` for a chunk
    /// outside of the list.
    pub(super) fn place(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (place < self.count()).then_some(place)
    }

    /// Where in `bytes` the chunk at `place` lies.
    pub(super) fn range(&self, place: usize) -> Range<usize> {
        let begin = place.saturating_mul(self.chunk_size);
        begin..begin.saturating_add(self.chunk_size).min(self.bytes.len())
    }
}

/// Chunks whose ids are being computed.
pub(super) struct Naming(Vec<Ticket<Vec<Option<Id>>>>);

impl Naming {
    /// Hands the chunks to workers.
    pub(super) fn start(
        pool: &mut Pool,
        domain: &Arc<Domain>,
        chunks: &Chunks,
    ) -> Result<Self, Failure> {
        let mut tickets = Vec::new();
        for range in task_ranges(chunks.bytes.len(), chunks.chunk_size) {
            let (chunks, domain) = (chunks.clone(), Arc::clone(domain));
            tickets.push(pool.run(move |_| {
                let bytes = chunks.bytes.get(range).unwrap_or_default();
                name_chunks(&domain, bytes, chunks.chunk_size)
            })?);
        }
        Ok(Self(tickets))
    }

    /// The ids in the order of the chunks; `None` for a chunk of zeros.
    pub(super) fn wait(self) -> Result<Vec<Option<Id>>, Failure> {
        let ids = self.0.into_iter().map(Ticket::wait);
        Ok(ids.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// A chunk that is to be sealed.
pub(super) struct Unsealed {
    /// Its id.
    pub id: Id,
    /// Where its bytes lie among the bytes of its batch.
    pub range: Range<usize>,
    /// What its nonce is made of; no two records share a seed.
    pub seed: NonceSeed,
}

/// The sealed record of one chunk.
pub(super) struct SealedRecord {
    /// The chunk's id.
    pub id: Id,
    /// The key that sealed it.
    pub key: Arc<SessionKey>,
    /// The record as it goes into a pack.
    pub bytes: Vec<u8>,
}

/// Seals chunks of an archive under one session key.
#[derive(Clone)]
pub(super) struct Sealer {
    /// The archive's credential, which binds records to it.
    pub credential: Arc<Credential>,
    /// The session key, one of the run's.
    pub key: Arc<SessionKey>,
}

impl Sealer {
    fn seal(
        &self,
        coder: &mut Coder,
        bytes: &[u8],
        chunk: Unsealed,
    ) -> Result<SealedRecord, SealError> {
        let Unsealed { id, range, seed } = chunk;
        let plain = bytes.get(range).unwrap_or_default();
        let record = self
            .credential
            .seal_chunk(&self.key, coder, &id, plain, seed)?;
        Ok(SealedRecord {
            id,
            key: Arc::clone(&self.key),
            bytes: record,
        })
    }
}

/// Chunks that are being compressed and sealed.
#[derive(Default)]
pub(super) struct Sealing {
    tickets: VecDeque<Ticket<Result<Vec<SealedRecord>, SealError>>>,
    /// Records that are sealed and not taken yet.
    records: VecDeque<SealedRecord>,
}

impl Sealing {
    /// Hands the chunks, which are parts of `bytes`, to workers.
    pub(super) fn start(
        pool: &mut Pool,
        sealer: &Sealer,
        bytes: &Arc<Vec<u8>>,
        unsealed: Vec<Unsealed>,
    ) -> Result<Self, Failure> {
        let mut sealing = Self::default();
        for task in group(unsealed) {
            let (sealer, bytes) = (sealer.clone(), Arc::clone(bytes));
            sealing.tickets.push_back(pool.run(move |coder| {
                task.into_iter()
                    .map(|chunk| sealer.seal(coder, &bytes, chunk))
                    .collect()
            })?);
        }
        Ok(sealing)
    }

    /// The next record in the order of the chunks; `None` when all are taken. A record that does
    /// not open again is a failure of `volume`.
    pub(super) fn next(&mut self, volume: &str) -> Result<Option<SealedRecord>, Failure> {
        while self.records.is_empty()
            && let Some(ticket) = self.tickets.pop_front()
        {
            let records = ticket.wait()?.map_err(|error| match error {
                SealError::SelfCheck => Failure::SelfCheck {
                    volume: volume.to_owned(),
                },
                error => internal(&error.to_string()),
            })?;
            self.records.extend(records);
        }
        Ok(self.records.pop_front())
    }
}

/// Cuts a batch into tasks of whole chunks.
fn task_ranges(bytes: usize, chunk_size: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (TASK_BYTES / chunk_size).max(1).saturating_mul(chunk_size);
    (0..bytes)
        .step_by(step)
        .map(move |begin| begin..begin.saturating_add(step).min(bytes))
}

/// Groups chunks into tasks.
fn group(chunks: Vec<Unsealed>) -> Vec<Vec<Unsealed>> {
    let mut groups: Vec<Vec<Unsealed>> = Vec::new();
    let mut bytes = TASK_BYTES;
    for chunk in chunks {
        if bytes >= TASK_BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(chunk.range.len());
        if let Some(group) = groups.last_mut() {
            group.push(chunk);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use wyng_archive::crypto::{ArchiveId, DomainId, Entropy, Epoch, Root, Secret};

    use super::*;

    const CHUNK_SIZE: usize = 64 << 10;

    fn credential() -> Arc<Credential> {
        let root = Root::new(Secret::take(&mut [1; 32]), Epoch(1));
        Arc::new(root.credential(ArchiveId([2; 16])).unwrap())
    }

    fn session_key(credential: &Credential) -> Arc<SessionKey> {
        let entropy = Entropy {
            kernel: Secret::take(&mut [3; 32]),
            generation: 1,
            wall_nanos: 1,
            monotonic_nanos: 1,
            process_id: 1,
        };
        Arc::new(SessionKey::draw(credential, 0, &entropy).unwrap().0)
    }

    /// 41 chunks, of which the last is short and each third is zeros.
    fn chunks() -> Chunks {
        let mut bytes = vec![0; 40 * CHUNK_SIZE + 100];
        for (number, chunk) in (0u8..).zip(bytes.chunks_mut(CHUNK_SIZE)) {
            if number % 3 != 0 {
                chunk.fill(number);
            }
        }
        Chunks {
            first: 7,
            chunk_size: CHUNK_SIZE,
            bytes: Arc::new(bytes),
        }
    }

    #[test]
    fn ids_and_records_are_the_same_in_the_same_order_for_any_number_of_workers() {
        let (credential, chunks) = (credential(), chunks());
        let domain = Arc::new(credential.domain(DomainId([4; 16])));
        let key = session_key(&credential);
        let expected_ids: Vec<Option<Id>> = (0..chunks.count())
            .map(|place| {
                (place % 3 != 0).then(|| domain.content_id(&chunks.bytes[chunks.range(place)]))
            })
            .collect();
        let mut first_records = None;
        for threads in [0, 1, 4] {
            let mut pool = Pool::new(threads, 1).unwrap();
            let naming = Naming::start(&mut pool, &domain, &chunks).unwrap();
            let ids = naming.wait().unwrap();
            assert_eq!(ids, expected_ids, "with {threads} threads");
            let unsealed: Vec<Unsealed> = (0u8..)
                .zip(&ids)
                .filter_map(|(place, id)| {
                    Some(Unsealed {
                        id: (*id)?,
                        range: chunks.range(place.into()),
                        seed: NonceSeed([place; 24]),
                    })
                })
                .collect();
            let sealer = Sealer {
                credential: Arc::clone(&credential),
                key: Arc::clone(&key),
            };
            let mut sealing = Sealing::start(&mut pool, &sealer, &chunks.bytes, unsealed).unwrap();
            let mut records = Vec::new();
            while let Some(record) = sealing.next("volume").unwrap() {
                records.push((record.id, record.bytes));
            }
            let sealed_ids: Vec<Id> = records.iter().map(|(id, _)| *id).collect();
            assert_eq!(sealed_ids, ids.into_iter().flatten().collect::<Vec<_>>());
            let first = first_records.get_or_insert_with(|| records.clone());
            assert!(*first == records, "with {threads} threads");
        }
    }

    #[test]
    fn a_chunk_outside_of_a_batch_has_no_place_in_it() {
        let chunks = chunks();
        assert_eq!(
            [6, 7, 47, 48].map(|number| chunks.place(number)),
            [None, Some(0), Some(40), None]
        );
        assert_eq!(chunks.range(40).len(), 100);
    }
}
