// SPDX-License-Identifier: GPL-3.0-or-later
//! Users of this machine by their names, becoming one, and the capabilities that stay. Names are
//! looked up in the files themselves: a service's users are made by sysusers, which writes them
//! there.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::Enforced;

/// A user and its own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: Uid,
    /// Its group's number.
    pub gid: Gid,
}

/// The user of that name, if there is one. Fails as reading `/etc/passwd` does.
pub fn find_user(name: &str) -> io::Result<Option<User>> {
    let numbers = numbers_of(&std::fs::read_to_string("/etc/passwd")?, name);
    Ok(numbers.and_then(|(uid, gid)| {
        Some(User {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid?),
        })
    }))
}

/// The group of that name, if there is one. Fails as reading `/etc/group` does.
pub fn find_group(name: &str) -> io::Result<Option<Gid>> {
    Ok(
        numbers_of(&std::fs::read_to_string("/etc/group")?, name)
            .map(|(gid, _)| Gid::from_raw(gid)),
    )
}

/// Whether this process may become anybody.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `name:password:number:…`, and the next number where the line has one there.
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

/// Becomes the user for good, in no group but its own, with no capability but these. Needs root,
/// and one thread.
///
/// What the kernel sends when the parent ends is forgotten by this: [`crate::die_with_parent`]
/// comes after it.
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
    // One way back would be enough to undo all of it.
    match rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
        Err(Errno::PERM) => Ok(()),
        _ => Err(io::Error::other("it could become root again")),
    }
}

/// Gives up every capability but these; none of the others comes back, not by a program that is
/// started either.
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

/// What a program started by root would get. An ordinary user may not shrink that, and with no new
/// privileges nobody gets anything of it.
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
