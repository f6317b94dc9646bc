// SPDX-License-Identifier: GPL-3.0-or-later
//! One opening as a straight line: what is known here, what the store shows, whether the two fit,
//! and then the adoption.

use std::sync::Arc;

use wyng_archive::plan::COPIES_ABSENT;
use wyng_control::{Failure, ToClient, Via, Warning, is_archive_name};
use wyng_wire::{BlobName, Service};

use super::super::create::ask_credentials;
use super::adopt::{Opened, adopt};
use super::here::Here;
use super::passphrase::{by_passphrase, prove_owner};
use super::view::{View, Wanted, look};
use crate::outcome::is_refusal;
use crate::state::{ArchiveToml, CopyNote};
use crate::store::put_blob;
use crate::world::{Client, Found, OpenStore, Parts, Place, Store, StoreCredentials, World};

/// What is to be opened.
pub struct OpenRequest {
    /// Its local name.
    pub name: String,
    /// The address of its store; needed the first time.
    pub store: Option<String>,
    /// The far end; needed the first time where it is not local.
    pub via: Option<Via>,
    /// The far end through which what was pushed is checked, or the known one.
    pub verify_via: Option<Via>,
    /// The client has credentials for the store, and is asked for them.
    pub credentials: bool,
    /// The code of a recovery sheet: the newest commit must be the sheet's or descend from it.
    pub expect: Option<String>,
    /// The newest sound generation below this one is opened, although newer ones exist.
    pub before: Option<u64>,
}

/// Opens an archive as far as it is whole.
pub fn open<P: Parts>(world: &mut World<P>, request: &OpenRequest) -> Result<Opened, Failure> {
    if !is_archive_name(&request.name) {
        return Err(Failure::BadName {
            name: request.name.clone(),
        });
    }
    let expected = request
        .expect
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Failure::CodeMistyped)?;
    let wanted = Wanted {
        before: request.before,
        expected,
    };
    let named = Here::of_name(&mut world.files, &mut world.secrets, &request.name)?;
    let (url, via) = address(
        request,
        named.as_ref().and_then(|(here, _)| here.toml.as_ref()),
    )?;
    let mut place = Place::open(&url, &via);
    let here = named.as_ref().map(|(here, _)| here);
    place.credentials = credentials(world, request, here, &url)?;
    world
        .store
        .connect(Service::Fetch, &place, OpenStore::Existing)?;
    let view = match named {
        Some((here, credential)) => {
            let (folder, mut ledger) = (here.folder.clone(), here.ledger.clone());
            let is_own_store = here.toml.as_ref().is_some_and(|known| known.store == url);
            let (store, client) = (&mut world.store, &mut world.client);
            let looked = look(store, client, wanted, Arc::new(credential), here);
            let is_other_history = matches!(looked, Err(Failure::NotDescended { .. }));
            if is_other_history && is_own_store && wanted.expected.is_none() {
                // Another machine's commit has the place of one of this machine's. Nothing is
                // pushed beside it. What a copy has stops nothing.
                ledger.stopped = true;
                ledger.write(&mut world.files, &folder)?;
            }
            looked?
        }
        None => by_passphrase(world, &request.name, wanted)?,
    };
    if let Some(known_as) = view.here.other_name.clone() {
        return Err(Failure::ArchiveKnown {
            archive: request.name.clone(),
            known_as,
        });
    }
    if let Some(generation) = view.gap {
        if view.slot.is_none() {
            prove_owner(&mut world.secrets, &mut world.client, &view)?;
        }
        world
            .client
            .tell(ToClient::Warned(Warning::HistoryGap { generation }))?;
    }
    if request.credentials && place.credentials.are_signing() {
        try_signatures(world, &view, &place)?;
    }
    let verify_via = request.verify_via.as_ref();
    adopt(world, &request.name, wanted, view, &place, verify_via)
}

/// What the store asks for: what the client has, or what is known of the address. Another address
/// never gets it.
fn credentials<P: Parts>(
    world: &mut World<P>,
    request: &OpenRequest,
    here: Option<&Here>,
    url: &str,
) -> Result<StoreCredentials, Failure> {
    let mut known = StoreCredentials::default();
    let mut are_signed = false;
    if let Some(here) = here {
        // Another address of the archive, perhaps with another lock, stays signed too.
        are_signed = url.starts_with("s3:") && here.folder.signs_requests(&mut world.files)?;
        known = here.folder.read_store_credentials(&mut world.files, url)?;
        if known.is_empty() {
            known = CopyNote::read_credentials(&mut world.files, &here.folder, url)?;
        }
    }
    are_signed |= known.are_signing();
    match request.credentials {
        true => ask_credentials(&mut world.secrets, true, url, are_signed),
        false => Ok(known),
    }
}

/// Tries a store to which signed requests will go, before anything counts: with one more copy of
/// the commit to open, which is part of every archive. Where nothing may be stored, nothing is
/// tried, since nothing that is signed can do harm there. The store is open for reading.
fn try_signatures<P: Parts>(
    world: &mut World<P>,
    view: &View,
    place: &Place,
) -> Result<(), Failure> {
    let known = &view.head.found.known;
    let name = |copy| view.credential.commit_copy_name(known.generation, copy);
    let names: Vec<BlobName> = (0..COPIES_ABSENT).map(name).collect();
    let found = world.store.stat_each(&names)?;
    let free = found.iter().position(|found| *found == Found::Nothing);
    let Some(name) = free.and_then(|free| names.get(free)) else {
        return Ok(());
    };
    let tried = world
        .store
        .connect(Service::Push, place, OpenStore::Tried)
        .and_then(|()| put_blob(&mut world.store, *name, &known.bytes).map(drop));
    match tried {
        Err(failure) if is_refusal(&failure) => Ok(()),
        tried => tried.and_then(|()| world.store.finish_push()),
    }
}

/// The store's address and the far end: as requested, or as known here.
fn address(request: &OpenRequest, known: Option<&ArchiveToml>) -> Result<(String, Via), Failure> {
    let unnamed = || Failure::StoreUnnamed {
        archive: request.name.clone(),
    };
    let store = request
        .store
        .clone()
        .or_else(|| known.map(|known| known.store.clone()))
        .ok_or_else(unnamed)?;
    let via = request
        .via
        .clone()
        .or_else(|| known.map(|known| known.via.clone()))
        .unwrap_or(Via::Local);
    Ok((store, via))
}
