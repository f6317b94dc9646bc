// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of a world that a look has no use for: each call of them is refused.

use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{Asked, BaseLabel, BaseOf, Failure, TargetLook};
use wyng_wire::{BlobName, Service};
use zeroize::Zeroizing;

use crate::keyholder::sealed::Sealed;
use wyng_engine::world::{
    ChangePage, Deleted, Doomed, Errno, Fetched, Found, Lasting, OpenStore, Place, Random, Receipt,
    Renewed, Reserve, Secrets, SourceShape, Store, TargetShape, TargetWish, Volumes, Wait,
};

/// The failure of a look that asks for what only work needs: a defect of ours.
#[track_caller]
fn refused<T>() -> Result<T, Failure> {
    Err(Failure::internal(
        "a look asked for more than the local state",
    ))
}

/// The same where a failure is a number.
fn denied<T>() -> Result<T, Errno> {
    Err(Errno(rustix::io::Errno::PERM.raw_os_error()))
}

/// Randomness, a store and volumes, which refuse everything.
pub(super) struct Nothing;

impl Random for Nothing {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), Failure> {
        refused()
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }
}

impl Store for Nothing {
    type Buffer = Vec<u8>;
    type Bytes = Vec<u8>;

    fn connect(&mut self, _: Service, _: &Place, _: OpenStore) -> Result<(), Failure> {
        refused()
    }

    fn buffer(&mut self, _: usize) -> Result<Vec<u8>, Failure> {
        refused()
    }

    fn put(&mut self, _: BlobName, _: Vec<u8>, _: usize, _: Reserve) -> Result<u64, Failure> {
        refused()
    }

    fn receipt(&mut self, _: Wait) -> Result<Option<Receipt>, Failure> {
        refused()
    }

    fn take_back(&mut self) -> Result<Vec<u8>, Failure> {
        refused()
    }

    fn renew(&mut self, _: Lasting) -> Result<(), Failure> {
        refused()
    }

    fn renewed(&mut self) -> Result<Renewed, Failure> {
        refused()
    }

    fn finish_push(&mut self) -> Result<(), Failure> {
        refused()
    }

    fn delete(&mut self, _: Doomed) -> Result<(), Failure> {
        refused()
    }

    fn deleted(&mut self) -> Result<Deleted, Failure> {
        refused()
    }

    fn finish_prune(&mut self) -> Result<(), Failure> {
        refused()
    }

    fn request(&mut self, _: BlobName, _: u32, _: u32) -> Result<(), Failure> {
        refused()
    }

    fn show_version(&mut self, _: BlobName, _: u8) {}

    fn answer(&mut self) -> Result<Fetched<Vec<u8>>, Failure> {
        refused()
    }

    fn stat(&mut self, _: BlobName) -> Result<Found, Failure> {
        refused()
    }

    fn list(&mut self, _: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure> {
        refused()
    }

    fn finish_fetch(&mut self) -> Result<(), Failure> {
        refused()
    }
}

impl Volumes for Nothing {
    fn open_source(
        &mut self,
        _: u32,
        _: &str,
        _: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        refused()
    }

    fn next_changes(&mut self, _: u32) -> Result<Option<ChangePage>, Failure> {
        refused()
    }

    fn next_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        denied()
    }

    fn read_source(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        denied()
    }

    fn source_bytes(&mut self, _: u32) -> Result<u64, Errno> {
        denied()
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, _: u32, _: &BaseLabel) -> Result<bool, Failure> {
        refused()
    }

    fn close_source(&mut self, _: u32) {}

    fn drop_base(&mut self, _: u32) -> Result<(), Failure> {
        refused()
    }

    fn look_at_target(&mut self, _: u32, _: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        refused()
    }

    fn open_target(&mut self, _: u32, _: &TargetWish<'_>, _: &str) -> Result<TargetShape, Failure> {
        refused()
    }

    fn next_target_data(&mut self, _: u32, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        denied()
    }

    fn read_target(&mut self, _: u32, _: u64, _: &mut [u8]) -> Result<usize, Errno> {
        denied()
    }

    fn write_target(&mut self, _: u32, _: u64, _: &[u8]) -> Result<(), Errno> {
        denied()
    }

    fn punch_target(&mut self, _: u32, _: u64, _: u64) -> Result<(), Errno> {
        denied()
    }

    fn finish_target(&mut self, _: u32, _: u64) -> Result<(), Errno> {
        denied()
    }

    fn place_target(&mut self, _: u32, _: &str, _: &str) -> Result<(), Failure> {
        refused()
    }

    fn undo_target(&mut self, _: u32, _: u64) -> Result<bool, Failure> {
        refused()
    }

    fn close_target(&mut self, _: u32) {}
}

/// Credentials that the service manager unsealed, without passphrases and keys.
pub(super) struct SealedAlone(pub Sealed);

impl Secrets for SealedAlone {
    fn passphrase(&mut self, _: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        refused()
    }

    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.0.of(archive)
    }

    fn keep_key(&mut self, _: ArchiveId, _: Arc<DataKey>, _: u64) {}

    fn kept_key(&mut self, _: ArchiveId) -> Option<Arc<DataKey>> {
        None
    }

    fn wipe_keys(&mut self, _: Option<ArchiveId>) {}

    fn show_secret(&mut self, _: &[u8]) -> Result<(), Failure> {
        refused()
    }
}
