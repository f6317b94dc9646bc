// SPDX-License-Identifier: GPL-3.0-or-later
//! Passphrases, keys that are kept between commands, credentials that the service manager unsealed,
//! and secrets that are shown.

use std::sync::Arc;

use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{Asked, Failure};
use zeroize::Zeroizing;

/// Asks for, keeps and shows secrets.
pub trait Secrets {
    /// Asks the client for a passphrase. [`Failure::NoPassphrase`] for [`Asked::Again`] where no
    /// person can try again.
    fn passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure>;
    /// The credential of an archive, if the service manager unsealed it.
    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>>;
    /// Keeps an archive's data key for `secs` seconds; it replaces a key that is kept already.
    fn keep_key(&mut self, archive: ArchiveId, key: Arc<DataKey>, secs: u64);
    /// The archive's data key, if it is kept.
    fn kept_key(&mut self, archive: ArchiveId) -> Option<Arc<DataKey>>;
    /// Wipes the archive's data key, or every key, before its time is over.
    fn wipe_keys(&mut self, archive: Option<ArchiveId>);
    /// Writes a secret to a pipe of the client, which shows it to the person; it passes through no
    /// other role.
    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure>;
}
