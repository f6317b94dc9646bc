// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading what the archive owns and comparing it with its hashes; deep: opening every record too.
//! It changes nothing in the store; what it found is noted, and the next run heals what it can.
//!
//! Integrity *and* completeness: what must be there comes from the authenticated head, never from a
//! listing.

use wyng_archive::format::VolumeEntry;
use wyng_control::{ExitStatus, Failure, SessionChoice, ToClient, VerifyReport};

use super::acknowledge::forget_what_healed;
use super::completeness;
use super::findings::{Findings, Found};
use super::foreign::{self, Listing};
use super::head;
use super::opener::Opener;
use super::packs;
use super::problems::{
    Reported, report_lost_keys, report_lost_lists, report_passed_over, report_problems,
};
use super::proving::Proving;
use super::scope::{Chosen, Scope};
use crate::archive::{Archive, Packs};
use crate::outcome::problem_of;
use crate::store::{Keys, keys_of, packs_of};
use crate::world::{Client, Files, Parts, Store, World};

/// What a verify was asked for.
pub struct VerifyRequest {
    /// The archive's name.
    pub archive: String,
    /// Only what these volumes need; empty: everything that the archive owns.
    pub volumes: Vec<String>,
    /// Only what this session of each volume needs.
    pub session: Option<SessionChoice>,
    /// Opens every record too.
    pub deep: bool,
    /// Packs of at most this many bytes are read, half of them for packs with the oldest proof and
    /// half for packs without a proof; slots and commits are read in addition.
    pub budget_bytes: Option<u64>,
}

/// Checks the store.
pub fn verify<P: Parts>(
    world: &mut World<P>,
    request: &VerifyRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let mut chosen = Chosen::of(
        &mut world.files,
        &mut archive,
        &request.volumes,
        request.session.as_ref(),
    )?;
    let lists_lost = std::mem::take(&mut chosen.lists_lost);
    let data_key = if request.deep {
        Some(archive.data_key(world)?)
    } else {
        None
    };
    let scope = Scope::of(
        &mut world.files,
        &mut world.client,
        &mut archive,
        chosen,
        request.budget_bytes,
    )?;
    archive.connect_to_verify(&mut world.store)?;
    let (opener, key_fault) = match data_key {
        Some(data_key) => {
            let Keys { keys, fault } = keys_of(
                &mut world.files,
                &mut world.clock,
                &mut world.client,
                &mut archive,
                &data_key,
            )?;
            let opener = Opener::new(&mut world.files, &mut archive, keys)?;
            (Some(opener), fault)
        }
        None => (None, None),
    };
    let proving = Proving::begin(
        &mut world.files,
        &mut world.clock,
        &mut archive,
        &scope.packs,
    )?;
    let mut findings = Findings::new(&archive, proving);
    let read = read_and_compare(world, &mut archive, &scope, opener, &mut findings);
    // What was found before an interruption is noted too.
    findings.keep(&mut world.files, &mut archive)?;
    let checked = Checked {
        listing: read?,
        findings,
        lists_lost,
        key_fault,
    };
    report(world, &mut archive, &scope, checked)
}

/// Reads all of the scope.
fn read_and_compare<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    scope: &Scope,
    opener: Option<Opener>,
    findings: &mut Findings,
) -> Result<Listing, Failure> {
    if scope.is_whole_archive {
        head::check_slots(&mut world.store, archive, findings)?;
        head::check_commits(&mut world.store, &mut world.client, archive, 0, findings)?;
    }
    let is_deep = opener.is_some();
    match opener {
        None => packs::hash_packs(world, scope, findings)?,
        Some(opener) => {
            let zstd_level = archive.head.settings.zstd_level;
            packs::open_packs(world, scope, opener, zstd_level, findings)?
        }
    }
    findings.look_at_older_versions(&mut world.store, &scope.packs)?;
    findings.index_again(&mut world.files, &mut world.store, archive, &scope.packs)?;
    // Where a lost pack's directory was never read here, only the sessions know what was in it.
    if is_deep || !findings.notes.packs.is_empty() || archive.cache.index.has_lost_keys() {
        completeness::check(
            &mut world.files,
            &mut world.client,
            archive,
            scope,
            findings,
        )?;
    }
    let listing = if scope.is_whole_archive {
        foreign::list(&mut world.store, archive, &scope.packs, findings)?
    } else {
        Listing::NOT_WANTED
    };
    world.store.finish_fetch()?;
    Ok(listing)
}

/// What a verify came to.
struct Checked {
    findings: Findings,
    listing: Listing,
    /// Volumes whose session table was lost when the verify began.
    lists_lost: Vec<VolumeEntry>,
    /// What is wrong with a session key, or with the key table.
    key_fault: Option<Failure>,
}

/// Reports what was found and what this machine knows besides; the exit status follows from it.
fn report<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    scope: &Scope,
    checked: Checked,
) -> Result<ExitStatus, Failure> {
    let Checked {
        findings,
        listing,
        lists_lost,
        key_fault,
    } = checked;
    let (objects_checked, read_bytes) = (findings.objects_checked, findings.read_bytes);
    let found = report_found(world, archive, &scope.packs, findings.problems)?;
    forget_what_healed(&mut world.files, archive)?;
    let still_lost = still_lost(&mut world.files, archive, lists_lost);
    let lists = report_lost_lists(&mut world.client, archive, &still_lost)?;
    let lost_keys = report_lost_keys(&mut world.client, archive)?;
    let key_fault =
        key_fault.filter(|fault| lost_keys.new == 0 || !matches!(fault, Failure::Missing { .. }));
    let passed_over = report_passed_over(&mut world.client, archive)?;
    let problems = [found, lists, lost_keys, passed_over]
        .iter()
        .fold(u64::from(key_fault.is_some()), |sum, reported| {
            sum.saturating_add(reported.new)
        });
    if let Some(fault) = key_fault {
        world.client.tell(ToClient::Problem(problem_of(fault)?))?;
    }
    world.client.tell(ToClient::Verified(VerifyReport {
        objects_checked,
        foreign_objects: listing.foreign_objects,
        listed_whole: listing.is_whole,
        read_bytes,
        problems,
        acknowledged: found.acknowledged.saturating_add(lists.acknowledged),
    }))?;
    ended(archive, problems).map(|()| ExitStatus::Done)
}

/// Reports the problems that were found, with the sessions that need what is missing or damaged.
fn report_found<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    packs: &Packs,
    problems: Vec<Found>,
) -> Result<Reported, Failure> {
    // A held pack counts as lost only in the report of the sessions that need it.
    let (lost, held) = (
        archive.ledger.notes.lost_packs(),
        archive.ledger.notes.held_packs(),
    );
    archive
        .cache
        .index
        .set_lost(lost.union(&held).copied().collect());
    let found = report_problems(
        &mut world.files,
        &mut world.client,
        archive,
        packs,
        problems,
    )?;
    archive.cache.index.set_lost(lost);
    Ok(found)
}

/// Result of a check that found this number of problems.
fn ended(archive: &Archive, problems: u64) -> Result<(), Failure> {
    let held = archive.ledger.notes.held_packs().len();
    match problems {
        0 => Ok(()),
        count if held == 0 => Err(Failure::ProblemsFound { count }),
        _ => Err(Failure::MuchDamaged { packs: held as u64 }),
    }
}

/// Reads back the blobs that a backup sent: the packs from number `first_pack` on, and the commits
/// above generation `above`. The far end that pushed has ended, and another one is started.
///
/// A pack that is missing or damaged is noted, so that the next run sends it again.
pub(crate) fn read_back<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    first_pack: u64,
    above: u64,
) -> Result<(), Failure> {
    let packs = packs_of(&mut world.files, archive)?;
    let scope = Scope {
        needed: packs
            .range(first_pack..)
            .map(|(number, _)| *number)
            .collect(),
        packs,
        sessions: Vec::new(),
        is_whole_archive: false,
        budget_bytes: None,
    };
    archive.connect_to_verify(&mut world.store)?;
    let proving = Proving::begin(&mut world.files, &mut world.clock, archive, &scope.packs)?;
    let mut findings = Findings::new(archive, proving);
    let (store, client) = (&mut world.store, &mut world.client);
    let read = head::check_commits(store, client, archive, above, &mut findings)
        .and_then(|()| packs::hash_packs(world, &scope, &mut findings))
        .and_then(|()| world.store.finish_fetch());
    findings.keep(&mut world.files, archive)?;
    read?;
    let (objects_checked, read_bytes) = (findings.objects_checked, findings.read_bytes);
    let found = report_found(world, archive, &scope.packs, findings.problems)?;
    world.client.tell(ToClient::Verified(VerifyReport {
        objects_checked,
        foreign_objects: 0,
        listed_whole: true,
        read_bytes,
        problems: found.new,
        acknowledged: found.acknowledged,
    }))?;
    ended(archive, found.new)
}

/// The volumes whose session table has not come back with its pack.
fn still_lost(
    files: &mut impl Files,
    archive: &mut Archive,
    mut volumes: Vec<VolumeEntry>,
) -> Vec<VolumeEntry> {
    volumes.retain(|volume| {
        matches!(
            archive.sessions(files, volume),
            Err(Failure::SessionsLost { .. })
        )
    });
    volumes
}
