// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking up users of this machine, becoming one of them, and the capabilities that stay. Names
//! are looked up in the files, where sysusers writes the users of a service.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Enforced;

/// A user and its own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: Uid,
    /// The group's number.
    pub gid: Gid,
}

/// The user of this name, if there is one. Fails when `/etc/passwd` cannot be read.
pub fn find_user(name: &str) -> io::Result<Option<User>> {
    let numbers = numbers_of(&std::fs::read_to_string("/etc/passwd")?, name);
    Ok(numbers.and_then(|(uid, gid)| {
        Some(User {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid?),
        })
    }))
}

/// The group of this name, if there is one. Fails when `/etc/group` cannot be read.
pub fn find_group(name: &str) -> io::Result<Option<Gid>> {
    Ok(
        numbers_of(&std::fs::read_to_string("/etc/group")?, name)
            .map(|(gid, _)| Gid::from_raw(gid)),
    )
}

/// Whether this process is root, and so may become any user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The numbers in the line `name:password:number:…` of a name; the second one where the next field
/// is a number.
fn numbers_of(file: &str, name: &str) -> Option<(u32, Option<u32>)> {
    let mut fields = file
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    Some((
        fields.nth(1)?.parse().ok()?,
        fields.next().and_then(|number| number.parse().ok()),
    ))
}

/// Becomes the user for good, in its own group only, with these capabilities only. Requires root
/// and a single thread.
///
/// The kernel clears the parent-death signal when the user changes: [`crate::die_with_parent`] must
/// be called afterwards.
pub fn become_user(user: User, kept: CapabilitySet) -> Enforced {
    Enforced::of(try_become(user, kept))
}

fn try_become(user: User, kept: CapabilitySet) -> io::Result<()> {
    shrink_bounds(kept);
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(user.gid, user.gid, user.gid)?;
    rustix::thread::set_thread_res_uid(user.uid, user.uid, user.uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    set(kept)?;
    // A single way back would undo everything.
    match rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
        Err(Errno::PERM) => Ok(()),
        _ => Err(io::Error::other("it could become root again")),
    }
}

/// Gives up every capability except for these, also for the programs that this process starts.
pub fn keep_capabilities(kept: CapabilitySet) -> Enforced {
    shrink_bounds(kept);
    Enforced::of(set(kept))
}

fn set(kept: CapabilitySet) -> rustix::io::Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted & kept;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: permitted,
            permitted,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Removes capabilities from the bounding set, which limits what a program started by root gets. An
/// ordinary user may not do so, and with no new privileges the set has no effect.
fn shrink_bounds(kept: CapabilitySet) {
    for capability in CapabilitySet::all().difference(kept).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let file = "root:x:0:0:root:/root:/bin/sh\nwyng-keys-2:x:7:8::/:/bin/false\nwyng-keys:x:990:991::/:/usr/sbin/nologin\nbroken:x\n";
        assert_eq!(numbers_of(file, "wyng-keys"), Some((990, Some(991))));
        assert_eq!(numbers_of(file, "wyng"), None);
        assert_eq!(numbers_of(file, "broken"), None);
        assert_eq!(
            numbers_of("wyng:x:980:alice,bob\n", "wyng"),
            Some((980, None))
        );
    }
}
