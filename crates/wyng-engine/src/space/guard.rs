// SPDX-License-Identifier: GPL-3.0-or-later
//! The last check before a DELETE: whatever the plans decided, no blob that the archive needs is
//! deleted. It goes by the committed head alone.

use std::collections::HashSet;

use wyng_archive::BlobName;
use wyng_archive::crypto::slot_name;
use wyng_archive::format::PackState;
use wyng_control::Failure;

use crate::archive::Archive;
use crate::outcome::internal;
use crate::store::packs_of;
use crate::world::{Doomed, Files};

/// Maximum number of generations whose names are compared, the newest ones.
const COMMITS_MAX: u64 = 1 << 20;
/// Number of generations behind the head whose names are compared too.
const COMMITS_AHEAD: u64 = 64;

/// A blob that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// A pack that the head marks as going.
    Pack(BlobName),
    /// A key slot by its number.
    Slot(u8),
    /// A blob that this machine pushed and that no commit has.
    Orphan(BlobName),
    /// A blob of a copy that the archive gave up: the head marks it as going, or knows it no more.
    OfCopy(BlobName),
}

impl Candidate {
    /// The name of the blob.
    pub(crate) fn name(self) -> BlobName {
        match self {
            Self::Pack(name) | Self::Orphan(name) | Self::OfCopy(name) => name,
            Self::Slot(number) => slot_name(number),
        }
    }
}

/// The blobs that may be deleted.
pub(crate) struct Guard {
    going: HashSet<[u8; 32]>,
    /// Names of everything else that a commit has or may have.
    needed: HashSet<[u8; 32]>,
}

impl Guard {
    /// Reads the needs of the committed head. Fails while a commit is pending, because that commit
    /// may need more.
    pub(crate) fn of(files: &mut impl Files, archive: &mut Archive) -> Result<Self, Failure> {
        if archive.ledger.pending().is_some() {
            return Err(internal("a deletion beside a pending commit"));
        }
        let mut guard = Self {
            going: HashSet::new(),
            needed: HashSet::new(),
        };
        for entry in packs_of(files, archive)?.values() {
            match entry.state {
                PackState::Going(_) => guard.going.insert(entry.name.0),
                PackState::Live | PackState::Lost | PackState::GivenUp(_) => {
                    guard.needed.insert(entry.name.0)
                }
            };
        }
        let left = archive.uncommitted.packs.iter();
        guard.needed.extend(left.map(|(_, entry)| entry.name.0));
        for slot in &archive.head.slots {
            guard.needed.insert(slot_name(slot.number).0);
        }
        let head = archive.head.generation;
        let credential = &archive.credential;
        for generation in head.saturating_sub(COMMITS_MAX)..=head.saturating_add(COMMITS_AHEAD) {
            guard.needed.insert(credential.commit_name(generation).0);
        }
        for copy in 0..=u8::MAX {
            guard
                .needed
                .insert(credential.commit_copy_name(head, copy).0);
        }
        Ok(guard)
    }

    /// Refuses a blob that the archive needs: that would be a defect of this program.
    pub(crate) fn check(&self, candidate: Candidate) -> Result<Doomed, Failure> {
        let name = candidate.name();
        let is_going = self.going.contains(&name.0);
        let is_fit = match candidate {
            Candidate::Pack(_) => is_going,
            Candidate::Slot(_) | Candidate::Orphan(_) => !is_going,
            Candidate::OfCopy(_) => true,
        };
        if self.needed.contains(&name.0) || !is_fit {
            return Err(internal("the deletion of a blob that the archive needs"));
        }
        Ok(Doomed::by_the_guard(name))
    }
}
