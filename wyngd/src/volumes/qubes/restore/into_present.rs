// SPDX-License-Identifier: GPL-3.0-or-later
//! The plan of a restore into a qube that is here, and what a person decides about one that was
//! done. What is changed is decided by the plan.

use std::collections::BTreeMap;

use wyng_control::{Failure, InPlaceEnd, KeptQube, QubeDeed, QubeFault, QubesWish, RestoredQube};
use wyng_qube::plan::{
    InPlaceNote, InPlaceState, InPlaceWish, KeptVolume, Nonce, Present, plan_in_place,
};

use super::ground::Ground;
use super::in_place::{Running, Target};
use super::journal::Journal;
use super::keep::keepable;
use super::outcome::Outcomes;
use super::{Added, Planned, Restores, machine, nonce, parts, proof, put_back};

impl Restores {
    /// Plans a restore into the one qube that was asked for. `stays` are sentences about what
    /// earlier runs left.
    pub(super) fn plan_in_place(
        &mut self,
        ground: Ground<'_>,
        wish: &QubesWish,
        is_proven: bool,
        stays: Vec<String>,
    ) -> Result<(), Failure> {
        let (api, ..) = ground;
        let noted = self.noted()?;
        let (machine, _) =
            machine::machine(api, &self.policy).map_err(super::super::api::of_command)?;
        let no_plan = |why: &str| Failure::QubesNotPlanned { why: why.into() };
        let nonce = nonce().ok_or_else(|| no_plan("the system gives no random bytes"))?;
        let mut asked = self.added.iter().filter(|(_, added)| added.is_asked);
        let (Some((record_name, added)), None) = (asked.next(), asked.next()) else {
            return Err(no_plan("one qube at a time is restored in place"));
        };
        let name = wish.new_name.as_ref().unwrap_or(record_name).clone();
        let refused = |why: String| Failure::QubesInPlace {
            qube: name.clone(),
            why,
        };
        let (present, places) = self
            .look_at(ground, (&name, &nonce), added)
            .map_err(|fault| match fault {
                QubeFault::Gone => refused("there is no such qube here".into()),
                fault => refused(fault.to_string()),
            })?;
        let of_plan = InPlaceWish {
            name: &name,
            is_named_apart: wish.new_name.is_some(),
            parts: parts(wish),
            proof: proof(is_proven, wish),
        };
        let plan = plan_in_place(&added.archived, &present, &of_plan, &machine)
            .map_err(|why| refused(why.to_string()))?;
        let lines = plan.lines.iter().map(ToString::to_string);
        let lines = stays.into_iter().chain(lines).collect();
        let target = Target {
            label: added.label.clone(),
            items: added.items.clone(),
            name,
            present,
            places,
        };
        self.running = Some(Running::of(plan, target, &nonce));
        self.planned = Some(Planned {
            machine: machine::steady(machine),
            lines,
            steps: [].into(),
            needs: BTreeMap::new(),
            is_begun: false,
            open: None,
            noted,
            nonce,
            outcomes: Outcomes::default(),
            reports: None,
        });
        Ok(())
    }

    /// The qube that is changed, and where each of its volumes can be kept.
    fn look_at(
        &self,
        ground: Ground<'_>,
        (name, nonce): (&str, &Nonce),
        added: &Added,
    ) -> Result<(Present, BTreeMap<String, KeptVolume>), QubeFault> {
        let (api, ..) = ground;
        let found = api.find(name)?;
        let record = put_back::present(api, &found)?;
        let (mut not_kept, mut places) = (BTreeMap::new(), BTreeMap::new());
        for volume in added.archived.volumes.keys() {
            if !record.volumes.contains_key(volume) || !found.is_halted() {
                continue;
            }
            let info = api.volume(name, volume)?;
            match keepable(ground, &found, &info, nonce.as_str()) {
                Ok(place) => drop(places.insert(volume.clone(), place)),
                Err(why) => drop(not_kept.insert(volume.clone(), why)),
            }
        }
        let uuid = found.uuid.as_str();
        let present = Present {
            record,
            is_halted: found.is_halted(),
            has_kept: self.notes().iter().any(|note| note.uuid == uuid),
            uuid: found.uuid,
            not_kept,
        };
        Ok((present, places))
    }

    /// The notes of restores in place; none if they cannot be read.
    fn notes(&self) -> Vec<InPlaceNote> {
        let journal = self.journal.as_ref().ok();
        let notes = journal.map(Journal::read_in_place);
        notes.and_then(Result::ok).unwrap_or_default()
    }

    /// The restores in place that are neither complete nor put back.
    pub(super) fn half_changed(&self) -> impl Iterator<Item = InPlaceNote> {
        self.notes().into_iter().filter(is_half)
    }

    /// The qubes of which what they were is kept. While a qube is half changed, no time gives up
    /// what it was: it is still needed.
    pub(in crate::volumes) fn kept_qubes(&self) -> Vec<KeptQube> {
        let notes = self.notes().into_iter();
        notes
            .filter(|note| !is_half(note))
            .map(|note| KeptQube {
                qube: note.qube,
                uuid: note.uuid,
            })
            .collect()
    }

    /// Gives up what a qube was, or puts it back.
    pub(in crate::volumes::qubes) fn settle(
        &self,
        ground: Ground<'_>,
        qube: &str,
        end: InPlaceEnd,
    ) -> (RestoredQube, Option<Failure>) {
        let mut report = RestoredQube {
            qube: qube.to_owned(),
            name: qube.to_owned(),
            deed: match end {
                InPlaceEnd::Accept => QubeDeed::Accepted,
                InPlaceEnd::Undo => QubeDeed::Undone,
            },
            uuid: None,
            continues: false,
            unset: Vec::new(),
        };
        let notes = self.notes();
        let note = notes.iter().rev().find(|note| note.qube == qube);
        let (Some(note), Ok(journal)) = (note, &self.journal) else {
            let qube = qube.to_owned();
            return (report, Some(Failure::NothingKept { qube }));
        };
        let ended = match end {
            InPlaceEnd::Accept if is_half(note) => Err(QubeFault::NotPlanned {
                why: "it is neither complete nor put back, and --undo puts it back".into(),
            }),
            InPlaceEnd::Accept => put_back::accept(ground, journal, note).map(|()| Vec::new()),
            InPlaceEnd::Undo => put_back::put_back(ground, journal, note),
        };
        match ended {
            Ok(stays) => {
                report.uuid = Some(note.uuid.clone());
                report.unset = stays;
                (report, None)
            }
            Err(why) => {
                let qube = qube.to_owned();
                (report, Some(Failure::QubeNotSettled { qube, why }))
            }
        }
    }
}

/// Whether a qube is neither what it was nor what it was to become.
fn is_half(note: &InPlaceNote) -> bool {
    matches!(note.state, InPlaceState::Begun | InPlaceState::Undoing)
}
