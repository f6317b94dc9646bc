// SPDX-License-Identifier: GPL-3.0-or-later
//! Tries what an archive asks of a store, with one small blob of a random name that is deleted in
//! the end. No archive is read or changed.

use wyng_config::without_credentials;
use wyng_control::{ExitStatus, Failure, Found, StoreChecked, ToClient, Trial, TrialResult, Via};
use wyng_wire::{BlobName, Service};

use super::create::ask_credentials;
use crate::outcome::is_refusal;
use crate::store::put_blob;
use crate::world::{
    Client, Deleted, Doomed, Fetched, Kept, OpenStore, Parts, Place, Random, Store, World,
};

/// Length of the blob that is put, bytes: that of a small commit.
const PROBE_BYTES: usize = 4096;

/// The store to try.
pub struct CheckRequest {
    /// Its address.
    pub store: String,
    /// The far end.
    pub via: Via,
    /// The client has credentials for the store, and is asked for them.
    pub credentials: bool,
}

/// Tries a store and reports what it can do. The last folder of its address is made if it is
/// missing, as for a new archive. A store with blobs from which nothing can be deleted is only
/// read, so that nothing stays in it.
///
/// # Errors
/// [`Failure::StoreNotExclusive`] and [`Failure::StoreLacking`] after the report if no archive can
/// use the store; any failure to reach it, or to put a blob.
pub fn check_store<P: Parts>(
    world: &mut World<P>,
    request: &CheckRequest,
) -> Result<ExitStatus, Failure> {
    let credentials = ask_credentials(
        &mut world.secrets,
        request.credentials,
        &request.store,
        false,
    )?;
    let place = Place {
        credentials,
        ..Place::open(&request.store, &request.via)
    };
    let doomed = Doomed::drawn(&mut world.random)?;
    let mut check = Check {
        probe: probe(&mut world.random)?,
        doomed,
        place: &place,
        results: Vec::new(),
        store: &mut world.store,
    };
    let left_blob = check.run()?;
    let results = check.results;
    let lacks = |wanted: Trial| results.contains(&(wanted, TrialResult::Lacking));
    let store = without_credentials(&request.store);
    let failure = if lacks(Trial::Exclude) {
        Some(Failure::StoreNotExclusive {
            store: store.clone(),
        })
    } else {
        let lacking = results.iter().find(|(_, is)| *is == TrialResult::Lacking);
        lacking.map(|(trial, _)| Failure::StoreLacking {
            store: store.clone(),
            trial: *trial,
        })
    };
    let (free_mib, abilities) = (world.store.take_free_mib(), world.store.take_abilities());
    world.client.tell(ToClient::StoreChecked(StoreChecked {
        store_url: store,
        via: request.via.to_string(),
        free_bytes: free_mib.map(|mib| u64::from(mib) << 20),
        left_blob: left_blob.then(|| hex_of(doomed.name())),
        results,
        abilities,
    }))?;
    failure.map_or(Ok(ExitStatus::Done), Err)
}

fn probe(random: &mut impl Random) -> Result<Vec<u8>, Failure> {
    let seed: [u8; 32] = random.draw()?;
    Ok(seed.iter().copied().cycle().take(PROBE_BYTES).collect())
}

fn hex_of(name: BlobName) -> String {
    String::from_utf8_lossy(&name.to_hex()).into_owned()
}

struct Check<'a, S> {
    store: &'a mut S,
    place: &'a Place,
    doomed: Doomed,
    probe: Vec<u8>,
    results: Vec<(Trial, TrialResult)>,
}

impl<S: Store> Check<'_, S> {
    /// Makes all trials. Returns whether the blob is left in the store.
    fn run(&mut self) -> Result<bool, Failure> {
        let is_empty = match self.connect(Service::Push, OpenStore::Tried) {
            Err(Failure::StoreEmpty { .. } | Failure::StoreMissing { .. }) => {
                self.connect(Service::Push, OpenStore::New)?;
                true
            }
            connected => {
                connected?;
                false
            }
        };
        if !is_empty && self.delete()? == TrialResult::Refused {
            self.store.finish_push()?;
            self.note(Trial::Put, TrialResult::Untried);
            self.note(Trial::Exclude, TrialResult::Untried);
            self.list()?;
            self.note(Trial::Delete, TrialResult::Refused);
            return Ok(false);
        }
        let tried = self.put().and_then(|()| self.fetch());
        // Whatever was found, the blob goes.
        let deleted = self.delete();
        tried?;
        let deleted = deleted?;
        self.note(Trial::Delete, deleted);
        Ok(deleted == TrialResult::Refused)
    }

    fn connect(&mut self, service: Service, open: OpenStore) -> Result<(), Failure> {
        self.store.connect(service, self.place, open)
    }

    fn note(&mut self, trial: Trial, result: TrialResult) {
        self.results.push((trial, result));
    }

    /// Puts the blob, and twice more under its name.
    fn put(&mut self) -> Result<(), Failure> {
        if put_blob(self.store, self.doomed.name(), &self.probe)? != Kept::New {
            self.note(Trial::Put, TrialResult::Lacking);
            return self.store.finish_push();
        }
        self.note(Trial::Put, TrialResult::Works);
        let again = put_blob(self.store, self.doomed.name(), &self.probe)?;
        let other: Vec<u8> = self.probe.iter().map(|byte| !byte).collect();
        let other = put_blob(self.store, self.doomed.name(), &other)?;
        let excludes = matches!(again, Kept::Same | Kept::Unknown | Kept::Signed)
            && matches!(other, Kept::Different | Kept::Unknown | Kept::Signed);
        self.note(Trial::Exclude, TrialResult::of(excludes));
        self.store.finish_push()
    }

    /// Reads the blob back, whole and in part, and looks for it in a listing.
    fn fetch(&mut self) -> Result<(), Failure> {
        if !self.may(Service::Fetch)? {
            self.note(Trial::Fetch, TrialResult::Refused);
            self.note(Trial::List, TrialResult::Refused);
            return Ok(());
        }
        let length = PROBE_BYTES as u32;
        let is_there = self.store.stat(self.doomed.name())?
            == Found::Blob {
                length_bytes: u64::from(length),
            };
        self.store.request(self.doomed.name(), 0, length)?;
        self.store
            .request(self.doomed.name(), length / 2, length / 4)?;
        let whole = Self::bytes(self.store.answer()?);
        let part = Self::bytes(self.store.answer()?);
        let middle = self.probe.get(PROBE_BYTES / 2..PROBE_BYTES / 4 * 3);
        let is_same = whole.as_deref() == Some(&*self.probe) && part.as_deref() == middle;
        self.note(Trial::Fetch, TrialResult::of(is_there && is_same));
        self.list_open(true)
    }

    fn bytes(fetched: Fetched<S::Bytes>) -> Option<Vec<u8>> {
        let bytes = fetched.or_fault().ok()?;
        Some(bytes.as_ref().to_vec())
    }

    fn list(&mut self) -> Result<(), Failure> {
        if self.may(Service::Fetch)? {
            self.note(Trial::Fetch, TrialResult::Untried);
            return self.list_open(false);
        }
        self.note(Trial::Fetch, TrialResult::Refused);
        self.note(Trial::List, TrialResult::Refused);
        Ok(())
    }

    /// Lists the store over the fetch that is open, and ends it.
    fn list_open(&mut self, holds_probe: bool) -> Result<(), Failure> {
        let (name, mut found) = (self.doomed.name(), false);
        let is_whole = self.store.list(&mut |listed, length| {
            found |= listed == name && length == PROBE_BYTES as u64;
        })?;
        self.note(
            Trial::List,
            TrialResult::of(is_whole && found == holds_probe),
        );
        self.store.finish_fetch()
    }

    /// Deletes what lies under the blob's name.
    fn delete(&mut self) -> Result<TrialResult, Failure> {
        if !self.may(Service::Prune)? {
            return Ok(TrialResult::Refused);
        }
        self.store.delete(self.doomed)?;
        let deleted = self.store.deleted()?;
        self.store.finish_prune()?;
        Ok(match deleted {
            Deleted::Gone | Deleted::Absent => TrialResult::Works,
            Deleted::Refused => TrialResult::Refused,
        })
    }

    /// Starts a service; false if it is not allowed.
    fn may(&mut self, service: Service) -> Result<bool, Failure> {
        match self.connect(service, OpenStore::Existing) {
            Ok(()) => Ok(true),
            Err(failure) if is_refusal(&failure) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
