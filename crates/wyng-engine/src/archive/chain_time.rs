// SPDX-License-Identifier: GPL-3.0-or-later
//! No commit of a chain goes back in its time.

use wyng_archive::Class;
use wyng_archive::crypto::Credential;
use wyng_archive::format::Commit;
use wyng_control::Failure;

use crate::outcome::class_of;
use crate::state::to_hex;

/// Checks that the run number and the kept clock of a commit are not below those of an older commit
/// in its history. [`Failure::Damaged`] names the later one: it is refused.
pub(crate) fn check_follows(
    credential: &Credential,
    later: &Commit,
    before: &Commit,
) -> Result<(), Failure> {
    later
        .stamp
        .follows(&before.stamp)
        .map_err(|backwards| Failure::Damaged {
            class: class_of(Class::Commit),
            object: to_hex(&credential.commit_name(later.generation).0),
            what: backwards.to_string(),
            volume: None,
        })
}
