// SPDX-License-Identifier: GPL-3.0-or-later
//! Rewriting thin and small packs, step by step: each step moves the live records of some packs
//! into new packs, and one commit brings the new packs and gives up the old packs in their favour.
//! Between two steps nothing is open, so that a compaction can be interrupted, and cut, at any
//! time.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::PackState;
use wyng_archive::plan::compaction::{Goals, Source, Step, plan};
use wyng_control::{CompactReport, ExitStatus, Failure, Phase, Progress, ToClient};
use wyng_wire::Service;

use super::alive::{Alive, Roots, mark_alive};
use super::copy_times::CopyTimes;
use super::moving::move_records;
use super::notes::bring_in_notes;
use super::orphans::delete_orphans;
use super::tidy::tidy;
use super::waits::tell_waits;
use crate::archive::{Archive, Packs};
use crate::kept::kept_now;
use crate::locking::connect_to_push;
use crate::outcome::problem_of;
use crate::pool::Pool;
use crate::renewing::renew;
use crate::state::PackNote;
use crate::store::{
    Changes, CommitPoint, PackChanges, Packer, commit, confirm_head, packs_below, settle_pending,
};
use crate::world::{Client, Parts, Store, World};

/// Request of a compaction.
#[derive(Debug, Clone)]
pub struct CompactRequest {
    /// The archive's name.
    pub archive: String,
    /// No further pack is read once this many bytes would be exceeded.
    pub budget_bytes: Option<u64>,
    /// Also deletes blobs that this machine pushed and that no commit has.
    pub orphans: bool,
}

/// Compacts an archive, and then deletes what may be deleted.
pub fn compact<P: Parts>(
    world: &mut World<P>,
    request: &CompactRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    archive.refuse_much_damage()?;
    archive.may_write()?;
    archive.tidy_cache(&mut world.files)?;
    connect_to_push(world, &mut archive)?;
    settle_pending(&mut world.files, &mut world.store, &mut archive)?;
    confirm_head(&mut world.files, &mut world.store, &mut archive)?;
    let mut pool = Pool::new(0, archive.head.settings.zstd_level)?;
    bring_in_notes(world, &mut archive, &mut pool)?;
    let mut compacted = rewrite(world, &mut archive, &mut pool, request)?;
    world.store.finish_push()?;
    let tidied = tidy(world, &mut archive, &mut pool)?;
    if request.orphans {
        compacted.deleted_orphans = delete_orphans(world, &mut archive, &mut pool)?;
    }
    compacted.deleted_packs = tidied.deleted_packs;
    compacted.freed_bytes = tidied.deleted_bytes;
    compacted.waiting_bytes = tidied.waiting_bytes;
    compacted.proof_bytes = tidied.proof_bytes;
    compacted.problems = compacted.problems.saturating_add(tidied.problems);
    tell_waits(&mut world.client, &tidied.waits)?;
    world.client.tell(ToClient::Compacted(compacted))?;
    renew(world, &mut archive)?;
    match compacted.problems {
        0 => Ok(ExitStatus::Done),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// A compaction in progress.
#[derive(Default)]
struct Rewriting {
    report: CompactReport,
    /// Packs that could not be read whole.
    bad: Vec<u64>,
}

/// Makes the steps of a compaction.
fn rewrite<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &CompactRequest,
) -> Result<CompactReport, Failure> {
    let mut rewriting = Rewriting::default();
    let World {
        files,
        client,
        clock,
        ..
    } = &mut *world;
    let roots = Roots::of_head(files, archive, &mut |_, _| true)?;
    let now = kept_now(files, clock, archive)?;
    let times = CopyTimes::of(files, archive, now)?;
    let alive = mark_alive(files, client, archive, &roots, &|pack| times.copy(pack))?;
    if alive.unknown > 0 {
        // What lies below a lost node may be anywhere.
        rewriting.report.unknown = true;
        return Ok(rewriting.report);
    }
    let steps = steps(world, archive, &alive, request.budget_bytes, now)?;
    if steps.is_empty() {
        return Ok(rewriting.report);
    }
    // A node that is written now must not be found in a pack that a later step gives up.
    let sources = steps.iter().flat_map(|step| step.sources.iter().copied());
    archive.cache.index.avoid_packs(sources.collect());
    archive.connect(&mut world.store, Service::Fetch)?;
    let total_bytes = steps
        .iter()
        .fold(0u64, |sum, step| sum.saturating_add(step.read_bytes));
    for step in steps {
        let stopped = make_step(world, archive, pool, (&alive, &step), &mut rewriting)?;
        world.client.progress(Progress {
            phase: Phase::Committing,
            volume: None,
            done_bytes: rewriting.report.read_bytes,
            total_bytes,
            sent_bytes: rewriting.report.moved_bytes,
        });
        if stopped {
            return Err(Failure::Interrupted);
        }
    }
    world.store.finish_fetch()?;
    Ok(rewriting.report)
}

/// The steps that reach the goals, each of which fits one commit.
fn steps<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    alive: &Alive,
    budget_bytes: Option<u64>,
    now_kept_secs: u64,
) -> Result<Vec<Step>, Failure> {
    let packs = packs_below(&mut world.files, archive, &mut |_, _| {})?;
    let floor = archive.floor(now_kept_secs);
    let lost = archive.ledger.notes.lost_packs();
    let live = packs
        .iter()
        .filter(|(number, entry)| entry.state == PackState::Live && !lost.contains(number));
    let sources: Vec<Source> = live
        .map(|(number, entry)| Source {
            number: *number,
            length_bytes: entry.length_bytes.into(),
            alive_bytes: alive.of(*number).map_or(0, |pack| pack.bytes),
            movable: !floor.is_some_and(|floor| floor.covers(*number)),
        })
        .collect();
    let settings = &archive.head.settings;
    let goals = Goals::new(
        settings.pack_size_bytes.into(),
        settings.chunk_size_bytes.into(),
    );
    let lengths: BTreeMap<u64, &Source> = sources.iter().map(|pack| (pack.number, pack)).collect();
    let leaves_max = PackChanges::leaves_max(&archive.head);
    let mut fitting = Vec::new();
    for step in plan(&sources, goals, budget_bytes.unwrap_or(u64::MAX)) {
        let (mut part, mut leaves) = (Step::default(), BTreeSet::new());
        for number in step.sources {
            leaves.insert(number / 32);
            if leaves.len() > leaves_max {
                fitting.push(std::mem::take(&mut part));
                leaves = BTreeSet::from([number / 32]);
            }
            if let Some(source) = lengths.get(&number) {
                part.read_bytes = part.read_bytes.saturating_add(source.length_bytes);
                part.moved_bytes = part.moved_bytes.saturating_add(source.alive_bytes);
            }
            part.sources.push(number);
        }
        fitting.push(part);
    }
    Ok(fitting)
}

/// Moves the live records of the sources of a step, and commits. True if the client cancelled: the
/// records moved until then are committed all the same.
fn make_step<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    (alive, step): (&Alive, &Step),
    rewriting: &mut Rewriting,
) -> Result<bool, Failure> {
    let mut table_nodes: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let packs: Packs = packs_below(&mut world.files, archive, &mut |pack, index| {
        table_nodes.entry(pack).or_default().insert(index);
    })?;
    let mut packer = Packer::after(archive, Vec::new());
    let first = packer.filling();
    let mut changes = PackChanges::default();
    let mut stopped = false;
    for number in &step.sources {
        stopped = world.client.cancelled();
        if stopped {
            break;
        }
        let Some(entry) = packs.get(number) else {
            continue;
        };
        if let Some(alive) = alive.of(*number) {
            match move_records(world, archive, pool, &mut packer, entry, alive) {
                Ok(bytes) => {
                    let moved = &mut rewriting.report.moved_bytes;
                    *moved = moved.saturating_add(bytes);
                }
                Err(failure @ (Failure::Missing { .. } | Failure::Damaged { .. })) => {
                    rewriting.bad.push(*number);
                    note_damage(world, archive, rewriting, failure)?;
                    continue;
                }
                Err(failure) => return Err(failure),
            }
            changes.move_out(*number, entry, first);
        } else {
            changes.give_up(*number, entry, None);
        }
        changes
            .rewritten
            .extend(table_nodes.get(number).into_iter().flatten());
        let report = &mut rewriting.report;
        report.rewritten_packs = report.rewritten_packs.saturating_add(1);
        let length = u64::from(entry.length_bytes);
        report.read_bytes = report.read_bytes.saturating_add(length);
    }
    if !changes.is_empty() {
        let changes = Changes {
            packs: changes,
            point: CommitPoint::EndOfRun,
            ..Changes::default()
        };
        commit(world, archive, pool, &mut packer, changes)?;
    }
    Ok(stopped)
}

/// Reports that the last of the bad packs cannot be read whole, and notes it as lost: the next run
/// heals what it can. [`Failure::MuchDamaged`] if so many cannot be read that a person has to
/// decide.
fn note_damage<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    rewriting: &mut Rewriting,
    failure: Failure,
) -> Result<(), Failure> {
    let problem = problem_of(failure)?;
    world.client.tell(ToClient::Problem(problem))?;
    let (report, bad) = (&mut rewriting.report, &rewriting.bad);
    report.problems = report.problems.saturating_add(1);
    let rewritten = usize::try_from(report.rewritten_packs).unwrap_or(usize::MAX);
    let note = PackNote::of_damage(bad.len(), rewritten.saturating_add(bad.len()));
    let mut notes = archive.ledger.notes.clone();
    notes.packs.extend(bad.iter().map(|number| (*number, note)));
    archive.ledger.notes.take(notes);
    archive.ledger.write(&mut world.files, &archive.folder)?;
    archive.refuse_much_damage()
}
