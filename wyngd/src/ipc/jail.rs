// SPDX-License-Identifier: GPL-3.0-or-later
//! The protections that every role takes before its first message, and those that it did not get.

use bincode::{Decode, Encode};
use wyng_jail::{Enforced, Profile};

use crate::roles::{Daemon, Role, RunsAs};

/// A protection that a role could not take.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NotEnforced {
    /// The protection.
    pub protection: String,
    /// Why the system does not give it.
    pub reason: String,
}

/// The protections that are missing, as a role reports them to control.
pub fn not_enforced(missing: Vec<(String, String)>) -> Vec<NotEnforced> {
    missing
        .into_iter()
        .map(|(protection, reason)| NotEnforced { protection, reason })
        .collect()
}

/// Takes the protections of a role, before its first message. Returns those that the system did not
/// give, each with the reason.
pub fn enter_jail(
    role: Role,
    daemon: Daemon,
    own: impl FnOnce() -> Vec<(&'static str, Enforced)>,
) -> Vec<(String, String)> {
    enter_jail_as(role, role.profile(), daemon, own)
}

/// [`enter_jail`] for a role whose system calls depend on how it was started.
pub fn enter_jail_as(
    role: Role,
    profile: Profile,
    daemon: Daemon,
    own: impl FnOnce() -> Vec<(&'static str, Enforced)>,
) -> Vec<(String, String)> {
    // The supervisor decides when and in which order roles end.
    let mut taken = vec![(
        "end only with the supervisor",
        Enforced::of(wyng_jail::ignore_stop()),
    )];
    taken.extend([
        ("no new privileges", wyng_jail::no_new_privileges()),
        ("no core files", wyng_jail::no_core()),
    ]);
    wyng_jail::allow_descriptors();
    // The names of users are looked up while paths can still be opened.
    let user = role
        .user()
        .filter(|_| daemon == Daemon::Service && wyng_jail::is_root())
        .map(|name| (name, wyng_jail::find_user(name)));
    if !matches!(profile, Profile::Control | Profile::Pool) {
        // A person waits for control, and suspended volumes wait for lvm. The other roles work
        // beside what else runs on the machine.
        taken.push(("low processor weight", wyng_jail::yield_processor()));
    }
    taken.extend(own());
    match user {
        Some((_, Ok(Some(user)))) => {
            let became = wyng_jail::become_user(user, role.capabilities(RunsAs::OwnUser));
            if became != Enforced::Yes {
                taken.push((
                    "few capabilities",
                    wyng_jail::keep_capabilities(role.capabilities(RunsAs::Root)),
                ));
            }
            taken.push(("own user", became));
            taken.push((
                "end with the supervisor",
                Enforced::of(wyng_jail::die_with_parent(None)),
            ));
        }
        Some((name, missing)) => {
            let reason = missing.err().map_or_else(
                || format!("there is no user {name}"),
                |error| error.to_string(),
            );
            taken.push(("own user", Enforced::No(reason)));
            taken.push((
                "few capabilities",
                wyng_jail::keep_capabilities(role.capabilities(RunsAs::Root)),
            ));
        }
        None => taken.push((
            "few capabilities",
            wyng_jail::keep_capabilities(role.capabilities(RunsAs::Root)),
        )),
    }
    // After the role's own: an undumpable process may not write the maps of its user namespace.
    taken.push(("not dumpable", wyng_jail::not_dumpable()));
    taken.push(("system call filter", wyng_jail::allow_only(profile)));
    taken
        .into_iter()
        .filter_map(|(protection, enforced)| match enforced {
            Enforced::Yes => None,
            Enforced::No(reason) => Some((protection.to_owned(), reason)),
        })
        .collect()
}
