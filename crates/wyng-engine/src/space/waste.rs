// SPDX-License-Identifier: GPL-3.0-or-later
//! The packs that were given up, and the obstacles of each. It reads the cache and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Heirs, PackState, Stamp};
use wyng_archive::plan::deletion::{Obstacle, Plan, REFUSED_PAUSE_SECS, Services, Situation, plan};
use wyng_archive::plan::giving_up::Copy;
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::plan::pack_life::Pack;
use wyng_control::Failure;

use super::alive::{Roots, alive_packs};
use crate::archive::{Archive, Packs};
use crate::state::SpaceNotes;
use crate::store::{packs_below, packs_of};
use crate::world::{Client, Files};

/// The pack table of the head, with this machine's notes about it.
pub(crate) struct Waste {
    /// Entries by number.
    pub packs: Packs,
    /// The same, as the planners see them.
    table: BTreeMap<u64, Pack>,
    /// Packs that the head cannot do without, ascending; `None` until they are first needed.
    vital: Option<Vec<u64>>,
    /// This machine's notes.
    pub notes: SpaceNotes,
}

impl Waste {
    /// Reads the pack table and the notes.
    pub(crate) fn of(files: &mut impl Files, archive: &mut Archive) -> Result<Self, Failure> {
        let mut notes = SpaceNotes::read(files, &archive.folder)?;
        notes.forget_readings_of(&archive.ledger.notes);
        let packs = packs_of(files, archive)?;
        Ok(Self::with(packs, notes))
    }

    fn with(packs: Packs, notes: SpaceNotes) -> Self {
        let table = packs
            .iter()
            .map(|(number, entry)| (*number, Pack::from(entry)))
            .collect();
        Self {
            packs,
            table,
            vital: None,
            notes,
        }
    }

    /// Reads the pack table again, after a commit.
    pub(crate) fn follow(
        self,
        files: &mut impl Files,
        archive: &mut Archive,
    ) -> Result<Self, Failure> {
        let packs = packs_of(files, archive)?;
        Ok(Self::with(packs, self.notes))
    }

    /// The pack table, as the planners see it.
    pub(crate) fn table(&self) -> &BTreeMap<u64, Pack> {
        &self.table
    }

    /// Whether any pack was given up or is going.
    pub(crate) fn is_any(&self) -> bool {
        let mut packs = self.packs.values();
        packs.any(|entry| entry.state.given_up().is_some())
    }

    /// When the packs were given up that wait for their deletion.
    pub(crate) fn given_up_at(&self) -> impl Iterator<Item = Stamp> {
        let given_up = self
            .packs
            .values()
            .filter_map(|entry| entry.state.given_up());
        given_up.map(|given_up| given_up.at)
    }

    /// The plan at `now_kept_secs` without the packs that the head cannot do without, which take
    /// long to find: enough to report hold-offs, and too little for a proof.
    pub(crate) fn outline(&self, archive: &Archive, now_kept_secs: u64) -> Plan {
        self.plan_with(archive, now_kept_secs, &[])
    }

    /// The plan at `now_kept_secs`. It marks the records of each volume's newest session if a
    /// hold-off is over.
    pub(crate) fn plan(
        &mut self,
        files: &mut impl Files,
        client: &mut impl Client,
        archive: &mut Archive,
        now_kept_secs: u64,
    ) -> Result<Plan, Failure> {
        let outline = self.outline(archive, now_kept_secs);
        let is_mature = !outline.mark_going.is_empty()
            || outline
                .waiting
                .values()
                .any(|obstacles| is_mature(obstacles));
        if !is_mature {
            return Ok(outline);
        }
        if self.vital.is_none() {
            self.vital = Some(vital(files, client, archive, &self.packs)?);
        }
        let vital = self.vital.as_deref().unwrap_or_default();
        Ok(self.plan_with(archive, now_kept_secs, vital))
    }

    fn plan_with(&self, archive: &Archive, now_kept_secs: u64, vital: &[u64]) -> Plan {
        plan(&Situation {
            packs: &self.table,
            head: archive.head.stamp,
            now_kept_secs,
            hold_offs: HoldOffs::of_commit(&archive.head),
            read_packs: &self.notes.read_packs,
            read_commits: &self.notes.read_commits,
            vital,
            oldest_reader_secs: None,
            services: Services {
                fetch: !is_recent(self.notes.fetch_refused_secs, now_kept_secs),
                delete: !is_recent(self.notes.prune_refused_secs, now_kept_secs),
                refused_secs: self.notes.delete_refused_secs,
            },
        })
    }

    /// The packs that have to be read for the proof of packs that wait for nothing else, and the
    /// kept clock of the oldest commit that gave such a pack up.
    pub(crate) fn to_prove(&self, plan: &Plan) -> Option<ToProve> {
        let waits =
            |obstacles: &Vec<Obstacle>| obstacles.iter().any(is_proof) && is_mature(obstacles);
        let mut wanted = ToProve {
            packs: BTreeSet::new(),
            oldest_secs: u64::MAX,
        };
        let (mut seen, mut newest_secs) = (BTreeSet::new(), 0);
        for (number, _) in plan.waiting.iter().filter(|(_, waiting)| waits(waiting)) {
            let Some(given_up) = self
                .packs
                .get(number)
                .and_then(|entry| entry.state.given_up())
            else {
                continue;
            };
            let since_secs = given_up.at.kept_secs;
            wanted.oldest_secs = wanted.oldest_secs.min(since_secs);
            newest_secs = newest_secs.max(since_secs);
            if let Some(heirs) = given_up.heirs
                && seen.insert((heirs, since_secs))
            {
                let live = self.live_heirs(heirs);
                wanted.packs.extend(
                    live.into_iter()
                        .filter(|pack| !self.is_read(*pack, since_secs)),
                );
            }
        }
        if wanted.oldest_secs == u64::MAX {
            return None;
        }
        let vital = self.vital.iter().flatten().copied();
        wanted
            .packs
            .extend(vital.filter(|pack| !self.is_read(*pack, newest_secs)));
        Some(wanted)
    }

    fn is_read(&self, pack: u64, since_secs: u64) -> bool {
        let read = self.notes.read_packs.get(&pack);
        read.is_some_and(|read| *read > since_secs)
    }

    /// The live packs that took over records, through heirs that were given up themselves.
    fn live_heirs(&self, heirs: Heirs) -> BTreeSet<u64> {
        let (mut open, mut seen, mut live) = (vec![heirs], BTreeSet::new(), BTreeSet::new());
        while let Some(heirs) = open.pop() {
            if heirs.first > heirs.last || !seen.insert(heirs) {
                continue;
            }
            for (number, entry) in self.packs.range(heirs.first..=heirs.last) {
                match entry.state.given_up() {
                    Some(given_up) => open.extend(given_up.heirs),
                    None if entry.state == PackState::Live => drop(live.insert(*number)),
                    None => {}
                }
            }
        }
        live
    }

    /// The packs that were given up in favour of a pack that is lost: they may hold the only copy
    /// of its records, and become live again.
    pub(crate) fn to_revive(&self, plan: &Plan) -> Vec<u64> {
        let has_lost_heir = |obstacle: &Obstacle| matches!(obstacle, Obstacle::HeirLost { .. });
        let waiting = plan.waiting.iter();
        waiting
            .filter(|(_, obstacles)| obstacles.iter().any(has_lost_heir))
            .map(|(number, _)| *number)
            .collect()
    }
}

/// Objects that a proof has to read.
pub(crate) struct ToProve {
    /// Numbers of packs.
    pub packs: BTreeSet<u64>,
    /// Commits back to this kept clock, seconds.
    pub oldest_secs: u64,
}

/// Whether a refusal is so recent that the request is not repeated.
pub(crate) fn is_recent(refused_secs: Option<u64>, now_kept_secs: u64) -> bool {
    // A refusal ahead of now is from a clock that was lost: it holds nothing up.
    let passed = refused_secs.and_then(|refused| now_kept_secs.checked_sub(refused));
    passed.is_some_and(|passed| passed < REFUSED_PAUSE_SECS)
}

fn is_proof(obstacle: &Obstacle) -> bool {
    matches!(obstacle, Obstacle::Proof { .. })
}

/// Whether the hold-off of a pack with these obstacles is over.
fn is_mature(obstacles: &[Obstacle]) -> bool {
    let is_hold_off = |obstacle: &Obstacle| matches!(obstacle, Obstacle::HoldOff { .. });
    !obstacles.iter().any(is_hold_off)
}

/// The packs of the head's metadata and of each volume's newest session, except packs that the pack
/// table marks as lost: old damage is no reason to keep more packs. New damage is a reason until it
/// is in the table and the packs given up in favour of the damaged pack are live again.
fn vital(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    packs: &Packs,
) -> Result<Vec<u64>, Failure> {
    let mut newest = BTreeMap::new();
    Roots::of_head(files, archive, &mut |volume, session| {
        newest.insert(volume.id.0, session.generation);
        false
    })?;
    let roots = Roots::of_head(files, archive, &mut |volume, session| {
        newest.get(&volume.id.0) == Some(&session.generation)
    })?;
    let mut vital = alive_packs(files, client, archive, &roots, &nothing_read)?.packs;
    packs_below(files, archive, &mut |pack, _| {
        vital.insert(pack);
    })?;
    vital.retain(|pack| {
        let entry = packs.get(pack);
        entry.is_some_and(|entry| entry.state == PackState::Live)
    });
    Ok(vital.into_iter().collect())
}

/// A copy without known times, so that every copy of an id counts as alive.
pub(crate) fn nothing_read(pack: u64) -> Copy {
    Copy {
        pack,
        came_secs: 0,
        read_whole_secs: None,
    }
}
