// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions to a client: who asked, which answer fits, and the answer that stands where no client
//! is left to give one.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use wyng_control::{Asked, Given, NoSource, TargetFault, TargetLook};

/// Who asked the client, and gets the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Volumes, for a source.
    Source,
    /// Volumes, for a target.
    Target,
    /// Volumes, for the name of a base snapshot.
    Keep,
    /// Volumes, for the removal of a base snapshot.
    DropBase,
    /// The keyholder, for a passphrase: a person may be asked.
    Passphrase(Asked),
    /// The keyholder, for a pipe to write a secret to.
    Secret,
    /// The keyholder, for the name of a target.
    Place,
    /// The keyholder, for what lies where a target goes: a person may be asked whether to overwrite
    /// it.
    Look,
    /// The keyholder, for a person's confirmation.
    Confirmation,
}

/// The role that gets an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskingRole {
    Volumes,
    Keyholder,
}

impl Asker {
    /// Whether a person may have to answer, who takes as long as it takes.
    pub(super) fn asks_a_person(self) -> bool {
        matches!(self, Self::Passphrase(_) | Self::Look | Self::Confirmation)
    }

    /// The role behind the question.
    pub(super) fn role(self) -> AskingRole {
        match self {
            Self::Source | Self::Target | Self::Keep | Self::DropBase => AskingRole::Volumes,
            Self::Passphrase(_) | Self::Secret | Self::Place | Self::Look | Self::Confirmation => {
                AskingRole::Keyholder
            }
        }
    }

    /// Whether this is an answer to the question, within its bounds and with its descriptors.
    pub(super) fn takes(self, given: &Given, descriptors: usize) -> bool {
        let answers = match given {
            Given::Pipe | Given::NoPipe => matches!(self, Self::Passphrase(_) | Self::Secret),
            Given::Source { .. } | Given::NoSource { .. } => self == Self::Source,
            Given::Target { .. } | Given::NewThin { .. } | Given::NoTarget { .. } => {
                self == Self::Target
            }
            Given::Look(_) => self == Self::Look,
            Given::Done { .. } => matches!(
                self,
                Self::Place | Self::Keep | Self::DropBase | Self::Confirmation
            ),
        };
        answers && given.is_bounded() && given.descriptors() == descriptors
    }

    /// The answer in the place of a client that is gone, or gave none.
    pub(super) fn unanswered(self) -> Given {
        let errno = Errno::CANCELED.raw_os_error();
        let fault = TargetFault::Unavailable { errno };
        match self {
            Self::Source => Given::NoSource {
                path: Vec::new(),
                why: NoSource::Errno(errno),
            },
            Self::Target => Given::NoTarget { fault },
            Self::Passphrase(_) | Self::Secret => Given::NoPipe,
            Self::Place | Self::Keep | Self::DropBase | Self::Confirmation => Given::Done { errno },
            Self::Look => Given::Look(TargetLook {
                path: String::new(),
                found: Err(fault),
            }),
        }
    }
}

/// A question that a person may have to answer.
pub(super) struct Prompt {
    pub(super) item: u32,
    pub(super) asker: Asker,
    pub(super) since: Instant,
    /// The keyholder was asked to give the turn back.
    pub(super) gives_back: bool,
    /// The answer that came after that.
    pub(super) answer: Option<Answer>,
}

/// A person's answer to a command that gives its turn back.
pub(super) enum Answer {
    /// A passphrase is in this pipe.
    Typed(OwnedFd),
    /// The client remembers the answer, and gives it when it is asked anew.
    Remembered,
    /// Nothing was typed.
    Nothing,
}

impl Answer {
    /// What such an answer means once the command begins anew.
    pub(super) fn of(given: &Given, descriptors: Vec<OwnedFd>) -> Self {
        match (given, descriptors.into_iter().next()) {
            (Given::Pipe, Some(pipe)) => Self::Typed(pipe),
            (Given::Look(_) | Given::Done { .. }, _) => Self::Remembered,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use wyng_control::{FoundSource, TargetForm};

    use super::*;

    const ASKERS: [Asker; 9] = [
        Asker::Source,
        Asker::Target,
        Asker::Keep,
        Asker::DropBase,
        Asker::Passphrase(Asked::Known),
        Asker::Secret,
        Asker::Place,
        Asker::Look,
        Asker::Confirmation,
    ];

    #[test]
    fn the_answer_of_nobody_is_one_that_the_asker_takes() {
        for asker in ASKERS {
            assert!(asker.takes(&asker.unanswered(), 0), "{asker:?}");
        }
    }

    #[test]
    fn each_answer_has_its_asker_and_its_number_of_descriptors() {
        let answers = [
            (Given::Pipe, 1, vec![ASKERS[4], ASKERS[5]]),
            (
                Given::Source {
                    found: FoundSource::default(),
                    clones: true,
                    base: None,
                },
                3,
                vec![Asker::Source],
            ),
            (
                Given::Target {
                    form: TargetForm::Replacing,
                    base: None,
                    remembered: None,
                },
                2,
                vec![Asker::Target],
            ),
            (
                Given::Done { errno: 0 },
                0,
                vec![
                    Asker::Keep,
                    Asker::DropBase,
                    Asker::Place,
                    Asker::Confirmation,
                ],
            ),
        ];
        for (given, count, fitting) in answers {
            let takes = |asker: &Asker| asker.takes(&given, count);
            assert_eq!(
                ASKERS.into_iter().filter(takes).collect::<Vec<_>>(),
                fitting,
                "{given:?}"
            );
            for asker in ASKERS {
                assert!(!asker.takes(&given, count + 1), "{asker:?} {given:?}");
            }
        }
    }

    #[test]
    fn an_answer_out_of_its_bounds_is_none() {
        let given = Given::NoSource {
            path: vec![b'/'; wyng_control::PATH_MAX_BYTES + 1],
            why: NoSource::Link,
        };
        assert!(!Asker::Source.takes(&given, 0));
    }
}
