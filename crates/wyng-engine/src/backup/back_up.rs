// SPDX-License-Identifier: GPL-3.0-or-later
//! The backup command: each source is read, cut and named; chunks that are not known are
//! compressed, sealed and packed; one commit ends the run.
//!
//! Nothing is read back: ids, nodes and the last state come from the cache, and the store answers
//! with receipts only.

use wyng_archive::crypto::Id;
use wyng_archive::format::SessionEntry;
use wyng_control::{BaseOf, ExitStatus, Failure, Method, ToClient, VolumeReport, WholeCause};
use wyng_wire::Service;

use super::job::Job;
use super::pipeline::read_source;
use super::plan::{Counts, VolumeRun, plan};
use super::qubes::{Chosen, RunSource, RunSources, SourceOf};
use super::request::BackupRequest;
use super::run::{Finished, Run};
use super::source::refuse_empty;
use crate::archive::Archive;
use crate::locking::set_lock;
use crate::outcome::{exit_of, is_of_one_source};
use crate::pool::Pool;
use crate::prune::prune_after_backup;
use crate::renewing::{renew, renew_after_failure};
use crate::state::PushLock;
use crate::store::{FinishedVolume, confirm_head, push_missing, release_held, settle_pending};
use crate::verify;
use crate::world::{Client, Clock, Parts, QubeSource, SourceShape, Store, Volumes, World};

/// Makes one run. A failure of a single volume is reported, and the others go on; a failure that
/// ends the run is returned.
pub fn back_up<P: Parts>(
    world: &mut World<P>,
    request: &BackupRequest,
) -> Result<ExitStatus, Failure> {
    request.check_names()?;
    let mut lock = None;
    match run(world, request, &mut lock) {
        Ok(mut ended) => {
            if !request.dry_run {
                renew(world, &mut ended.archive)?;
            }
            ended.outcome
        }
        Err(failure) => {
            if !request.dry_run {
                // What the archive has must stay locked, also where nothing new can be added. The
                // failure of the backup says more than one of this.
                let _ = renew_after_failure(world, &request.archive, &failure, lock);
            }
            Err(failure)
        }
    }
}

/// A run that has committed what it could.
struct Ended {
    archive: Archive,
    outcome: Result<ExitStatus, Failure>,
}

/// The run up to its end, but not what it makes longer. `lock` is what its push locks, once that
/// has begun.
fn run<P: Parts>(
    world: &mut World<P>,
    request: &BackupRequest,
    lock: &mut Option<PushLock>,
) -> Result<Ended, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let chosen = Chosen::of(world, &archive, request)?;
    if !request.dry_run {
        begin_push(world, &mut archive, request, lock)?;
    }
    let sources = RunSources::of(&mut world.files, &mut archive, request, chosen)?;
    sources.warn(&mut world.client)?;
    let pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let before = (archive.head.next_pack(), archive.head.generation);
    let job = Job {
        world,
        archive,
        pool,
    };
    let mut run = Run::begin(job, request, &sources.sources)?;
    run.heal_metadata()?;
    let failed = back_up_volumes(&mut run, request, &sources)?;
    let sent_bytes = run.finish()?;
    if !request.dry_run {
        let failed = failed.iter().map(|(item, _)| *item).collect();
        sources.note_backed_up(run.job.world, &failed, run.time)?;
    }
    let failed = failed.into_iter().map(|(_, exit)| exit);
    let failed: Vec<ExitStatus> = sources.failed.iter().copied().chain(failed).collect();
    let exit = exit_of(&failed, sources.asked());
    let pruned = prune_after(&mut run, request);
    let Job {
        world, mut archive, ..
    } = run.job;
    if !request.dry_run {
        world.store.finish_push()?;
    }
    let peak_rss_bytes = world.peak_bytes();
    world.client.tell(ToClient::Totals {
        sent_bytes,
        peak_rss_bytes,
    })?;
    let read = match request.verify && !request.dry_run {
        true => read_back(world, &mut archive, before),
        false => Ok(()),
    };
    let outcome = read.and(match exit {
        ExitStatus::Done => pruned,
        exit => Ok(exit),
    });
    Ok(Ended { archive, outcome })
}

/// Prunes the archive, if that was requested, over the same connection. The sessions of the backup
/// are committed and reported: a failure here takes nothing back.
fn prune_after<P: Parts>(
    run: &mut Run<'_, P>,
    request: &BackupRequest,
) -> Result<ExitStatus, Failure> {
    let Some(rules) = request.prune_after.as_ref().filter(|_| !request.dry_run) else {
        return Ok(ExitStatus::Done);
    };
    let Job {
        world,
        archive,
        pool,
    } = &mut run.job;
    match prune_after_backup(world, archive, pool, rules) {
        Err(failure) if failure.exit() == ExitStatus::Interrupted => Err(failure),
        Err(failure) => {
            let exit = failure.exit();
            world.client.tell(ToClient::Failed(failure))?;
            Ok(exit)
        }
        done => done,
    }
}

/// Reads back the packs and commits that the run sent, from this number of packs and this
/// generation on. Any failure is reported as `NotReadBack`, because the sessions are committed.
fn read_back<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    (first_pack, above): (u64, u64),
) -> Result<(), Failure> {
    verify::read_back(world, archive, first_pack, above).map_err(|failure| match failure {
        found @ (Failure::ProblemsFound { .. } | Failure::MuchDamaged { .. }) => found,
        failure => Failure::NotReadBack {
            why: failure.to_string(),
            exit: failure.exit(),
        },
    })
}

/// Connects to the store, and settles what earlier runs left there.
fn begin_push<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    request: &BackupRequest,
    lock: &mut Option<PushLock>,
) -> Result<(), Failure> {
    archive.may_write()?;
    archive.tidy_cache(&mut world.files)?;
    set_lock(world, archive)?;
    *lock = Some(archive.lock);
    archive.connect(&mut world.store, Service::Push)?;
    settle_pending(&mut world.files, &mut world.store, archive)?;
    push_missing(&mut world.files, &mut world.store, archive)?;
    if request.heal {
        release_held(&mut world.files, archive)?;
    }
    confirm_head(&mut world.files, &mut world.store, archive)
}

/// Backs up one volume after another; the numbers and exit statuses of those that failed.
fn back_up_volumes<P: Parts>(
    run: &mut Run<'_, P>,
    request: &BackupRequest,
    sources: &RunSources,
) -> Result<Vec<(u32, ExitStatus)>, Failure> {
    let mut failed = Vec::new();
    for (item, source) in (0..).zip(&sources.sources) {
        let outcome = back_up_volume(run, request, sources, (item, source));
        run.settle_budget()?;
        let world = &mut *run.job.world;
        match outcome {
            Ok(Outcome::AwaitsCommit) => world.volumes.end_reading(item),
            Ok(Outcome::NoSession) => world.volumes.close_source(item),
            Err(failure) if is_of_one_source(&failure) => {
                world.volumes.close_source(item);
                failed.push((item, failure.exit()));
                world.client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(failed)
}

/// What came of a volume that did not fail.
enum Outcome {
    /// It has a new session, which is to be committed.
    AwaitsCommit,
    /// It gets no session.
    NoSession,
}

/// Why a volume was not read by its changes, if there is something to say about it.
pub(super) fn whole_cause(volumes: &impl Volumes, item: u32, method: Method) -> Option<WholeCause> {
    volumes
        .whole_cause(item)
        .filter(|_| method == Method::FullScan)
}

/// Opens a source, by its path or as a part of its qube.
fn open<P: Parts>(
    world: &mut World<P>,
    request: &BackupRequest,
    sources: &RunSources,
    (item, source): (u32, &RunSource),
    base_of: &BaseOf,
) -> Result<SourceShape, Failure> {
    let name = source.volume.as_str();
    let SourceOf::Qube { qube, part } = &source.of else {
        return world.volumes.open_source(item, name, base_of, None);
    };
    let qube = sources
        .qubes
        .get(*qube)
        .ok_or_else(|| Failure::internal("a part of no qube"))?;
    let wanted = QubeSource {
        qube: &qube.name,
        uuid: &qube.uuid,
        part,
        live: request.live,
    };
    world.volumes.open_of_qube(item, name, base_of, &wanted)
}

/// Backs up one volume. On a failure its records stay in the packs and are known to the next run.
fn back_up_volume<P: Parts>(
    run: &mut Run<'_, P>,
    request: &BackupRequest,
    sources: &RunSources,
    (item, source): (u32, &RunSource),
) -> Result<Outcome, Failure> {
    let Job { world, archive, .. } = &mut run.job;
    let began_cpu = world.clock.cpu_micros();
    let name = source.volume.as_str();
    let former = source.former.as_deref();
    let (number, mut entry) = match former.and_then(|former| run.volumes.find(former)) {
        Some(known) => known,
        None => run.volumes.find_or_begin(&mut world.random, name)?,
    };
    // The entry is the one from before the run.
    name.clone_into(&mut entry.name);
    let base_of = BaseOf {
        archive: archive.folder.id().0,
        volume: entry.id.0,
    };
    let shape = open(world, request, sources, (item, source), &base_of)?;
    refuse_empty(&shape, name, entry.size_bytes)?;
    if let SourceOf::Path(said) = &source.of {
        run.origins.check(name, &shape.found.origin, *said)?;
    }
    let mut volume = VolumeRun {
        item,
        name: name.to_owned(),
        plan: plan(run, number, entry, &shape)?,
        counts: Counts::default(),
    };
    let (root, method) = read_source(run, &mut volume)?;
    let world = &mut *run.job.world;
    run.origins
        .set(name, volume.plan.entry.id, &shape.found, world.client.uid());
    let root = root.child.unwrap_or(Id::ZERO);
    let keeps = !(run.dry_run || request.skip_unchanged && volume.is_unchanged(root));
    let cpu_micros = world.clock.cpu_micros().saturating_sub(began_cpu);
    let report = VolumeReport {
        whole: whole_cause(&run.job.world.volumes, item, method),
        ..volume.report(&shape, keeps.then_some(run.time), method, cpu_micros)
    };
    if !keeps {
        if volume.is_unchanged(root) {
            // The volume's sessions reach all records that were sent for it.
            run.job.archive.note_whole(volume.plan.entry.id);
        }
        let world = &mut *run.job.world;
        world.client.tell(ToClient::BackedUp(report))?;
        return Ok(Outcome::NoSession);
    }
    let VolumeRun { plan, counts, .. } = volume;
    let session = SessionEntry {
        time: run.time,
        kept_secs: run.kept_secs,
        generation: 0, // the commit fills it in
        size_bytes: shape.size_bytes,
        added_bytes: counts.sealed_bytes,
        chunk_size_bytes: plan.entry.chunk_size_bytes,
        live: request.live && !source.is_settings(),
        pinned: false,
        domain: plan.domain.id(),
        root,
        settings: Vec::new(),
        tags: Vec::new(),
    };
    run.add_session(Finished {
        volume: FinishedVolume {
            number: plan.number,
            entry: plan.entry,
            session,
        },
        report,
        snapshot: shape.snapshot.then_some(item),
    });
    Ok(Outcome::AwaitsCommit)
}
