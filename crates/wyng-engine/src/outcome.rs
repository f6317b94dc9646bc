// SPDX-License-Identifier: GPL-3.0-or-later
//! What a command reports about itself: its progress, its failures and its exit status.

use wyng_archive::Class;
use wyng_archive::Fault;
use wyng_control::{ExitStatus, Failure, ObjectClass, Phase, Problem, Progress};

use crate::state::to_hex;
use crate::world::Client;

/// The exit status of a command over `asked` volumes, from the statuses of those that failed:
/// partial if only some failed, the first one's own status if all did.
pub fn exit_of(failed: &[ExitStatus], asked: usize) -> ExitStatus {
    match failed {
        [] => ExitStatus::Done,
        [first, ..] if failed.len() == asked => *first,
        _ => ExitStatus::Partial,
    }
}

/// Whether a service of the far end is not allowed, as opposed to out of order.
pub fn is_refusal(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::FarEndRefused { .. }
            | Failure::FarEndNotExecutable { .. }
            | Failure::FarEndMissing { .. }
            | Failure::StoreDenied { .. }
            | Failure::StoreReadOnly { .. }
    )
}

/// Whether a failure concerns one source only, so that the command goes on with the others.
pub fn is_of_one_source(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::VolumeElsewhere { .. }
            | Failure::VolumeOfOtherPath { .. }
            | Failure::VolumeRenamed { .. }
            | Failure::SourceEmpty { .. }
            | Failure::SourceUnavailable { .. }
            | Failure::SourceLink { .. }
            | Failure::SourceOfRunningQube { .. }
            | Failure::SourceKind { .. }
            | Failure::QubeNotRead { .. }
            | Failure::SourceRead { .. }
            | Failure::SourceResized { .. }
            | Failure::SelfCheck { .. }
            | Failure::OverBudget { .. }
            | Failure::SessionsLost { .. }
    )
}

/// Whether a failure concerns one target only, so that the command goes on with the others. Damage
/// concerns one volume, since other volumes may be whole. A lost store or lost local state concerns
/// all.
pub fn is_of_one_target(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::TargetExists { .. }
            | Failure::TargetVolumeExists { .. }
            | Failure::TargetUnavailable { .. }
            | Failure::TargetOfRunningQube { .. }
            | Failure::TargetOfQube { .. }
            | Failure::QubeNotMade { .. }
            | Failure::TargetKind { .. }
            | Failure::TargetIsDevice { .. }
            | Failure::TargetTooSmall { .. }
            | Failure::TargetInUse { .. }
            | Failure::TargetLoses { .. }
            | Failure::TargetNoRoom { .. }
            | Failure::TargetPool { .. }
            | Failure::NotConfirmed { .. }
            | Failure::TargetWrite { .. }
            | Failure::TargetWriteUndone { .. }
            | Failure::TargetDiffers { .. }
            | Failure::TargetUnreadable { .. }
            | Failure::SessionDamaged { .. }
            | Failure::NoOrigin { .. }
            | Failure::SourceUnavailable { .. }
            | Failure::SourceKind { .. }
            | Failure::VolumeElsewhere { .. }
            | Failure::VolumeOfOtherPath { .. }
            | Failure::Missing { .. }
            | Failure::Damaged { .. }
    )
}

/// Reports a command's progress with one volume, bytes.
pub fn report(
    client: &mut impl Client,
    phase: Phase,
    name: &str,
    done_bytes: u64,
    total_bytes: u64,
) {
    let done_bytes = done_bytes.min(total_bytes);
    client.progress(Progress {
        phase,
        volume: Some(name.to_owned()),
        done_bytes,
        total_bytes,
        sent_bytes: 0,
    });
}

/// The failure that reports a damaged object.
pub fn damaged(damage: &wyng_archive::Damage) -> Failure {
    let (class, object) = (class_of(damage.class), to_hex(&damage.object));
    match damage.fault {
        wyng_archive::Fault::Missing => Failure::Missing {
            class,
            object,
            volume: None,
        },
        fault => Failure::Damaged {
            class,
            object,
            what: fault.to_string(),
            volume: None,
        },
    }
}

/// The class of an object in the catalogue of failures.
pub fn class_of(class: Class) -> ObjectClass {
    match class {
        Class::Slot => ObjectClass::Slot,
        Class::Commit => ObjectClass::Commit,
        Class::Pack => ObjectClass::Pack,
        Class::Directory => ObjectClass::Directory,
        Class::Node => ObjectClass::Node,
        Class::Record => ObjectClass::Record,
        Class::Key => ObjectClass::Key,
    }
}

/// The failure for a broken rule of the engine's own, with the place of the call.
#[track_caller]
pub fn internal(what: &str) -> Failure {
    Failure::internal(what)
}

/// A missing or damaged object as a problem to be listed; any other failure is returned and ends
/// the command.
pub fn problem_of(failure: Failure) -> Result<Problem, Failure> {
    match failure {
        Failure::Missing { class, object, .. } => Ok(Problem {
            object,
            class,
            problem: Fault::Missing.to_string(),
            volumes: Vec::new(),
            acknowledged: false,
        }),
        Failure::Damaged {
            class,
            object,
            what,
            ..
        } => Ok(Problem {
            object,
            class,
            problem: what,
            volumes: Vec::new(),
            acknowledged: false,
        }),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_failure_names_the_place_of_its_call() {
        let (failure, line) = (internal("a test"), line!());
        let Failure::Internal { place, .. } = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(place, format!("{}:{line}", file!()));
    }
}
