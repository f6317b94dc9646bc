// SPDX-License-Identifier: GPL-3.0-or-later
//! What takes a passphrase: finding an archive that is new here, and proving that it is one's own
//! where its history has a gap.

use std::sync::Arc;

use wyng_archive::crypto::Password;
use wyng_archive::format::Slot;
use wyng_control::Failure;

use super::here::Here;
use super::view::{View, Wanted, accept_slot, look};
use crate::archive::{SlotTrial, damaged_slot, listed, read_slots, with_passphrase};
use crate::outcome::internal;
use crate::state::ArchiveFolder;
use crate::world::{Client, Parts, Secrets, World};

/// Finds the archive that a passphrase opens. A slot counts only if the state that it leads to
/// lists it. `name` is what the archive is to be called here.
pub(super) fn by_passphrase<P: Parts>(
    world: &mut World<P>,
    name: &str,
    wanted: Wanted,
) -> Result<View, Failure> {
    let slots = read_slots(&mut world.store, &mut world.client)?;
    if slots.is_empty() {
        return Err(Failure::NotAnArchive);
    }
    with_passphrase(&mut world.secrets, |password| {
        let mut trial = SlotTrial::new(slots.sound.iter().cloned());
        let mut seen: Option<View> = None;
        while let Some((root, slot)) = trial.next(&mut world.client, &password)? {
            let credential = root
                .credential(slot.clear().archive)
                .ok_or_else(|| internal("the data key cannot be derived from the root key"))?;
            let is_same = |view: &View| view.credential.commit_name(1) == credential.commit_name(1);
            let mut view = match seen.take().filter(is_same) {
                Some(view) => view,
                None => {
                    let here = Here::of_id(
                        &mut world.files,
                        ArchiveFolder::of(credential.archive()),
                        name,
                    )?;
                    look(
                        &mut world.store,
                        &mut world.client,
                        wanted,
                        Arc::new(credential),
                        here,
                    )?
                }
            };
            let number = slot.clear().number;
            let is_live = listed(&view.head.found.commit, &slot).is_some();
            if is_live || view.head.passed_over.is_some() {
                accept_slot(&mut world.client, wanted, &view, is_live, number)?;
                (view.slot, view.slots) = (Some(number), Some(slots.sound.clone()));
                return Ok(view);
            }
            seen = Some(view);
        }
        match (seen, slots.damaged.first()) {
            (Some(_), _) => Err(Failure::PassphraseRemoved),
            // A passphrase cannot be judged by a damaged slot.
            (None, Some((number, fault))) => Err(damaged_slot(*number, *fault)),
            (None, None) => Err(trial.refused()),
        }
    })
}

/// Asks for a passphrase of the archive. Where hashes prove nothing, the credential is not enough:
/// it lies on the disk.
pub(super) fn prove_owner(
    secrets: &mut impl Secrets,
    client: &mut impl Client,
    view: &View,
) -> Result<(), Failure> {
    let slots = view
        .here
        .slots
        .iter()
        .filter(|slot| listed(&view.head.found.commit, slot).is_some())
        .cloned();
    let slots: Vec<Slot> = slots.collect();
    with_passphrase(secrets, |password: Password| {
        let mut trial = SlotTrial::new(slots.iter().cloned());
        let opened = trial
            .next(client, &password)?
            .and_then(|(root, slot)| root.credential(slot.clear().archive));
        match opened.filter(|opened| opened.commit_name(1) == view.credential.commit_name(1)) {
            Some(_) => Ok(()),
            None => Err(trial.refused()),
        }
    })
}
