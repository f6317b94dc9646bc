// SPDX-License-Identifier: GPL-3.0-or-later
//! The plan of a restore of qubes: what is made, under which name, with which settings, in which
//! order, and what is left out with its reason. A plan is printed, confirmed, and done as printed.
//!
//! Everything in a record may have been made up. Applied without trust are the template and the
//! label, memory and vcpus within bounds, the size of volumes and whether they can be written to,
//! include_in_backups, a netvm that exists here, the firewall and the notes. The planner
//! deliberately does nothing: it knows no socket, no file and no clock.

mod build;
mod clean_up;
mod draft;
mod fate;
mod global;
mod in_place;
mod line;
mod machine;
mod order;
mod policy;
mod references;
mod request;
mod room;
mod settings;
mod step;
mod volumes;
mod wish;

pub use build::{Plan, plan};
pub use clean_up::{CleanUp, Found, Intent, WhyNamed, ending, may_remove, removal};
pub use fate::{Fate, PlanError, QubePlan, WhyNot};
pub use global::global_commands;
pub use in_place::{
    Back, BadNotes, Change, Field, InPlaceLine, InPlaceNote, InPlacePlan, InPlaceState,
    InPlaceWish, KeptVolume, NOTES_MAX_BYTES, NotesFile, Present, ThinVolume, WhyNotInPlace, back,
    plan_in_place,
};
pub use line::{Instead, Line, Need, Setting, WhyLeft};
pub use machine::{Machine, PolicyFile, PresentQube, UnreadPolicy};
pub use request::{Request, Socket, Unsendable};
pub use room::check_room;
pub use step::{
    GUARD_FEATURE, GUARD_TAG, Guard, ImportEnd, Nonce, Step, guard_query, import_end, is_guarded,
    mark_query, restorer_query,
};
pub use wish::{Archived, Asked, Parts, Proof, RestoreWish};

#[cfg(test)]
mod tests;
