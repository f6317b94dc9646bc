// SPDX-License-Identifier: GPL-3.0-or-later
//! Credentials of archives that the service manager unsealed for this daemon (`systemd-creds`(1)),
//! so that they need not be on the disk in the clear. They are read before the keyholder gives up
//! root, and stay in its locked memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use wyng_archive::crypto::{ArchiveId, CREDENTIAL_BYTES};
use zeroize::Zeroizing;

use wyng_engine::state::from_hex;

/// What the name of a credential begins with; the archive's id in hexadecimal follows.
const PREFIX: &str = "wyng_";
/// Maximum number of credentials: more archives than anybody has on one machine.
const COUNT_MAX: usize = 64;

/// The bytes of credential files, by archive. They are checked where they are used.
#[derive(Default)]
pub struct Sealed(HashMap<ArchiveId, Zeroizing<Vec<u8>>>);

impl Sealed {
    /// The credentials in a folder; a file that is no credential, or that cannot be read, counts as
    /// absent.
    pub fn read(folder: &Path) -> Self {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Self::default();
        };
        let found = entries.flatten().filter_map(|entry| {
            let id = from_hex(entry.file_name().to_str()?.strip_prefix(PREFIX)?)?;
            let mut bytes = Zeroizing::new(vec![0; CREDENTIAL_BYTES]);
            File::open(entry.path()).ok()?.read_exact(&mut bytes).ok()?;
            Some((ArchiveId(id), bytes))
        });
        Self(found.take(COUNT_MAX).collect())
    }

    /// The bytes of an archive's credential, if the service manager unsealed one.
    pub fn of(&self, archive: ArchiveId) -> Option<Zeroizing<Vec<u8>>> {
        self.0.get(&archive).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_its_archive_and_nothing_else_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let id = "00112233445566778899aabbccddeeff";
        std::fs::write(
            folder.path().join(format!("wyng_{id}")),
            [7; CREDENTIAL_BYTES],
        )
        .unwrap();
        std::fs::write(
            folder.path().join("wyng_ffffffffffffffffffffffffffffffff"),
            [7; CREDENTIAL_BYTES - 1],
        )
        .unwrap();
        std::fs::write(folder.path().join("other"), [7; CREDENTIAL_BYTES]).unwrap();
        let sealed = Sealed::read(folder.path());
        assert_eq!(
            sealed.of(ArchiveId(from_hex(id).unwrap())).as_deref(),
            Some(&vec![7; CREDENTIAL_BYTES])
        );
        assert_eq!(sealed.0.len(), 1);
        assert!(Sealed::read(Path::new("/nonexistent")).0.is_empty());
    }
}
