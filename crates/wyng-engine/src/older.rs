// SPDX-License-Identifier: GPL-3.0-or-later
//! Older versions of blobs, where a store keeps them: what was overwritten or deleted behind the
//! archive's back is still there. An older version counts only if it is what the archive's own
//! hashes and keys say; that the store has it proves nothing.

use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::{Failure, ToClient};
use wyng_wire::GET_VERSION_MAX;

use crate::outcome::{damaged, problem_of};
use crate::world::{Client, Store};

/// Behind the fault of a blob that the store has in an older version.
const OLDER_IS_SOUND: &str = "an older version of it in the store is sound";

/// The newest older version of a blob in which `fault_of` finds no fault. The store shows what it
/// serves again afterwards.
pub(crate) fn newest_sound<S: Store>(
    store: &mut S,
    name: BlobName,
    fault_of: &mut dyn FnMut(&mut S) -> Result<Option<Fault>, Failure>,
) -> Result<Option<u8>, Failure> {
    let mut sound = None;
    for version in 1..=GET_VERSION_MAX {
        store.show_version(name, version);
        match fault_of(store)? {
            None => sound = Some(version),
            // There is no version behind this one either.
            Some(Fault::Missing) => {}
            Some(_) => continue,
        }
        break;
    }
    store.show_version(name, 0);
    Ok(sound)
}

/// Reports a blob of which an older version was used in place of what the store serves.
pub(crate) fn report_older(
    client: &mut impl Client,
    class: Class,
    name: BlobName,
    fault: Fault,
) -> Result<(), Failure> {
    let mut problem = problem_of(damaged(&Damage::new(class, name.0, fault)))?;
    problem.problem = format!("{}; {OLDER_IS_SOUND}, and was used", problem.problem);
    client.tell(ToClient::Problem(problem))
}

/// What is wrong with a blob of which the store has a sound older version.
pub(crate) fn with_older(fault: &str) -> String {
    format!("{fault}; {OLDER_IS_SOUND}")
}
