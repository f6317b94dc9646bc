// SPDX-License-Identifier: GPL-3.0-or-later
//! The kept clock of an archive's chain, and that no commit of it goes back.

use wyng_archive::Class;
use wyng_archive::crypto::Credential;
use wyng_archive::format::Commit;
use wyng_control::Failure;

use super::known::Archive;
use crate::outcome::class_of;
use crate::state::to_hex;
use crate::world::Clock;

/// The chain's kept clock for the next commit and for sessions that begin now, seconds. It is that
/// of the head, and goes on only with a clock that counts what passed since.
pub(crate) fn kept_now(clock: &mut impl Clock, archive: &Archive) -> u64 {
    let head_secs = archive.head.stamp.stamp.kept_secs;
    clock.kept_secs().unwrap_or(0).max(head_secs)
}

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
