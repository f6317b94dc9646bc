// SPDX-License-Identifier: GPL-3.0-or-later
//! A dry run: what a restore would fetch and write. Nothing is fetched, and no target is opened;
//! what it would replace is read.

use std::sync::Arc;

use wyng_archive::crypto::Id;
use wyng_control::{Failure, Phase, RestoreReport};

use super::around;
use super::differences::{Comparison, Found, Place};
use super::plan::{Planned, RestoreRequest, wish};
use super::reading::Reading;
use super::walk::for_each_chunk;
use crate::archive::Archive;
use crate::outcome::report;
use crate::pool::Pool;
use crate::world::{Client, Files, Parts, TargetWish, Volumes, World};

/// What would be done for one volume.
#[derive(Default)]
struct Need {
    /// Chunks that would be fetched, with their numbers in the volume.
    wanted: Vec<(u64, Id)>,
    /// Bytes that would be written.
    written_bytes: u64,
}

/// Estimates the restore of a volume: all of its session, or what differs from what is there.
pub(super) fn estimate<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<RestoreReport, Failure> {
    let Need {
        wanted,
        written_bytes,
    } = if plan.found.holds_bytes {
        what_differs(world, archive, pool, request, plan)?
    } else {
        whole_session(&mut world.files, &mut world.client, archive, plan)?
    };
    let mut fetched_bytes = 0u64;
    for (_, id) in &wanted {
        let record = archive.cache.index.find(&mut world.files, id)?;
        fetched_bytes =
            fetched_bytes.saturating_add(record.map_or(0, |record| record.length_bytes.into()));
    }
    let (volume, session) = (&plan.volume, &plan.session);
    let lost_bytes = if request.around_damage {
        let lost = around::known_lost(
            &mut world.files,
            &mut world.client,
            archive,
            session,
            &wanted,
        )?;
        around::report_lost(&mut world.client, &volume.name, session, &lost)?
    } else {
        0
    };
    Ok(RestoreReport {
        item: plan.item,
        name: volume.name.clone(),
        session: session.time,
        path: plan.path.clone(),
        written_bytes,
        fetched_bytes,
        damaged_bytes: 0,
        unread_bytes: 0,
        lost_bytes,
    })
}

/// Reads what is there, and compares it with the session.
fn what_differs<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<Need, Failure> {
    let (item, volume, session) = (plan.item, &plan.volume, &plan.session);
    let TargetWish {
        base_of, origin, ..
    } = wish(&world.client, archive, request, volume, session);
    let shape = world
        .volumes
        .open_source(item, &volume.name, &base_of, origin)?;
    let domain = Arc::new(archive.credential.domain(session.domain));
    let comparison = Comparison {
        item,
        place: Place::Source,
        there_bytes: shape.size_bytes,
        base: None,
        volume,
        session,
        domain: &domain,
    };
    let mut need = Need::default();
    let mut reading = Reading::of(session);
    let all = |from| (from < session.chunk_count()).then_some(from..session.chunk_count());
    while let Some(batch) = reading.next(world, archive, pool, &comparison, &all)? {
        let differing = batch
            .chunks
            .iter()
            .filter(|chunk| chunk.found != Found::Same);
        for (index, expected) in differing.map(|chunk| (chunk.index, chunk.expected)) {
            need.written_bytes = need
                .written_bytes
                .saturating_add(session.chunk_bytes(index).into());
            need.wanted.extend(expected.map(|id| (index, id)));
        }
        reading.give_back(batch);
        report(
            &mut world.client,
            Phase::Reading,
            &volume.name,
            reading
                .position()
                .saturating_mul(session.chunk_size_bytes.into()),
            session.size_bytes,
        );
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    world.volumes.close_source(item);
    Ok(need)
}

/// Every chunk of the session: nothing is there that could be kept.
fn whole_session(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    plan: &Planned,
) -> Result<Need, Failure> {
    let session = &plan.session;
    let mut need = Need::default();
    for_each_chunk(files, client, archive, session, |index, id| {
        need.written_bytes = need
            .written_bytes
            .saturating_add(session.chunk_bytes(index).into());
        need.wanted.push((index, id));
        Ok(())
    })?;
    Ok(need)
}
