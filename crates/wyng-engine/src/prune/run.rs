// SPDX-License-Identifier: GPL-3.0-or-later
//! The prune command, and the commits that carry out a plan.

use wyng_control::{DeletedReport, ExitStatus, Failure, PruneRules, ToClient};

use super::begin::{connect, heal, left_over, open, take_packer};
use super::freed::find_freed;
use super::judge::{Judgement, judge_volumes};
use super::jump::is_jump_unlooked;
use super::plan::{PrunePlan, removed_of};
use super::report::{report_sessions, report_totals};
use super::request::PruneRequest;
use crate::archive::Archive;
use crate::kept::{self, kept_now, moment_now};
use crate::locking;
use crate::pool::Pool;
use crate::renewing::renew;
use crate::space::{tell_waits, tidy};
use crate::store::{Changes, CommitPoint, PackChanges, commit};
use crate::world::{Client, Parts, Store, World};

/// Prunes an archive. A failure of a single volume is reported, and the other volumes continue.
pub fn prune<P: Parts>(
    world: &mut World<P>,
    request: &PruneRequest,
) -> Result<ExitStatus, Failure> {
    request.check_rules()?;
    if request.trust_clock && !request.dry_run {
        let clock = kept::begin(world, true)?;
        kept::trust_clock(world, clock)?;
        locking::trust_wall(world)?;
    }
    if request.unattended && !request.dry_run && is_jump_unlooked(world)? {
        return Err(Failure::ClockJumped);
    }
    let mut archive = open(world, &request.archive)?;
    if !request.dry_run {
        connect(world, &mut archive)?;
    }
    let mut pool = Pool::new(0, 0)?;
    let exit = prune_opened(world, &mut archive, &mut pool, request)?;
    if !request.dry_run {
        world.store.finish_push()?;
        let tidied = tidy(world, &mut archive, &mut pool)?;
        if tidied.deleted_packs > 0 {
            world.client.tell(ToClient::Deleted(DeletedReport {
                packs: tidied.deleted_packs,
                bytes: tidied.deleted_bytes,
            }))?;
        }
        tell_waits(&mut world.client, &tidied.waits)?;
        renew(world, &mut archive)?;
        if tidied.problems > 0 {
            let count = tidied.problems;
            return Err(Failure::ProblemsFound { count });
        }
    }
    Ok(exit)
}

/// Prunes an archive that a backup has just committed to, over the same connection.
pub(crate) fn prune_after_backup<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    rules: &PruneRules,
) -> Result<ExitStatus, Failure> {
    if rules.is_empty() {
        return Err(Failure::NoRules);
    }
    if is_jump_unlooked(world)? {
        return Err(Failure::ClockJumped);
    }
    archive.refuse_much_damage()?;
    let request = PruneRequest {
        archive: String::new(),
        volumes: Vec::new(),
        rules: rules.clone(),
        dry_run: false,
        unattended: true,
        trust_clock: false,
    };
    prune_opened(world, archive, pool, &request)
}

fn prune_opened<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    request: &PruneRequest,
) -> Result<ExitStatus, Failure> {
    let dry_run = request.dry_run;
    let healing = heal(world, archive, pool, dry_run)?;
    let now_kept_secs = kept_now(&mut world.files, &mut world.clock, archive)?;
    let Judgement { volumes, failed } = judge_volumes(
        &mut world.files,
        &mut world.client,
        archive,
        request,
        now_kept_secs,
    )?;
    let judged = volumes.len();
    let freed = find_freed(
        &mut world.files,
        &mut world.client,
        archive,
        (&removed_of(&volumes), &healing),
        now_kept_secs,
    )?;
    let plan = PrunePlan { volumes, freed };
    carry_out(world, archive, pool, plan, dry_run)?;
    let statuses: Vec<ExitStatus> = failed.iter().map(Failure::exit).collect();
    for failure in failed {
        world.client.tell(ToClient::Failed(failure))?;
    }
    let asked = judged.saturating_add(statuses.len());
    let exit = crate::outcome::exit_of(&statuses, asked);
    if exit == ExitStatus::Done && request.volumes.is_empty() && !dry_run {
        let World { files, clock, .. } = &mut *world;
        archive.ledger.pruned = Some(moment_now(files, clock, archive)?);
        archive.ledger.write(files, &archive.folder)?;
    }
    Ok(exit)
}

/// Commits exactly the plan, and reports it; a dry run only reports it.
pub(super) fn carry_out<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    mut plan: PrunePlan,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut packs = std::mem::take(&mut plan.freed.packs);
    let changes_anything = plan.removes_any() || !packs.is_empty();
    if dry_run || !changes_anything {
        report_sessions(&mut world.client, &plan)?;
        return report_totals(&mut world.client, &plan.freed, dry_run);
    }
    // All changes go into one commit, if one tail has room for the changed nodes of the pack table.
    // Otherwise the sessions go first, because packs are needed for as long as their sessions
    // exist.
    let first = packs.take_part(&archive.head);
    let mut parts = vec![first];
    while !packs.is_empty() {
        parts.push(packs.take_part(&archive.head));
    }
    if parts.len() > 1 {
        parts.insert(0, PackChanges::default());
    }
    // A node that is written now must not be found in a pack that a later part gives up.
    let going = parts.iter().flat_map(PackChanges::given_up).collect();
    archive.cache.index.avoid_packs(going);
    // The store may be full.
    let mut packer = take_packer(archive).use_reserve();
    let last = parts.len().saturating_sub(1);
    for (place, packs) in parts.into_iter().enumerate() {
        let mut changes = Changes {
            packs,
            ..Changes::default()
        };
        if place == 0 {
            (changes.edited, changes.removed) = plan.edits();
            let left = left_over(world, archive)?;
            (changes.begun, changes.keys) = (left.begun, left.keys);
        }
        if place == last {
            changes.point = CommitPoint::EndOfRun;
        }
        commit(world, archive, pool, &mut packer, changes)?;
        if place == 0 {
            report_sessions(&mut world.client, &plan)?;
        }
    }
    report_totals(&mut world.client, &plan.freed, dry_run)
}
