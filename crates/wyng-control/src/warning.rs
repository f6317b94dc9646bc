// SPDX-License-Identifier: GPL-3.0-or-later
//! Warnings: what a user must know although the command succeeded. Failures are in `failure/`.

use std::fmt;

use bincode::{Decode, Encode};

/// What a user must know although the command succeeded. `Display` says what happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Warning {
    /// The archive was opened at a generation older than the newest.
    OlderOpened {
        /// The generation that was opened.
        generation: u64,
        /// The newest generation in the store.
        newest: u64,
    },
    /// The archive is open at an older generation, because the newest is damaged.
    NewestDamaged {
        /// The generation that is open.
        generation: u64,
        /// The damaged generation.
        newest: u64,
    },
    /// A slot opened the archive, but the opened generation does not list it.
    SlotNotListed {
        /// The slot's number.
        slot: u8,
        /// The generation that was opened.
        generation: u64,
    },
    /// Commits are lost, and the next one was accepted without the hash that they carried.
    HistoryGap {
        /// The last generation before the lost commits.
        generation: u64,
    },
}

impl Warning {
    /// A short word for scripts, stable over versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OlderOpened { .. } => "older-opened",
            Self::NewestDamaged { .. } => "newest-damaged",
            Self::SlotNotListed { .. } => "slot-not-listed",
            Self::HistoryGap { .. } => "history-gap",
        }
    }

    /// What to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::OlderOpened { .. } => {
                "Restore what you need. To continue writing from this generation, run `wyng-ctl archive take-over ARCHIVE`."
            }
            Self::NewestDamaged { .. } => {
                "Back up on the machine that wrote the damaged generation: it sends the same commit again. Or open the older one as it is with `wyng-ctl archive open ARCHIVE --before N`."
            }
            Self::SlotNotListed { .. } => {
                "See `wyng-ctl key list ARCHIVE`, and add the passphrase again if you want to keep it."
            }
            Self::HistoryGap { .. } => {
                "If two machines write to this archive, compare `wyng-ctl list ARCHIVE` with what you expect."
            }
        }
    }
}

impl fmt::Display for Warning {
    /// What happened.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OlderOpened { generation, newest } => {
                write!(
                    to,
                    "the archive was opened at generation {generation}; generations up to {newest} exist in the store, and their sessions are not shown"
                )
            }
            Self::NewestDamaged { generation, newest } => {
                write!(
                    to,
                    "generation {newest} is damaged, and its sessions are not shown; the archive is open at generation {generation}"
                )
            }
            Self::SlotNotListed { slot, generation } => {
                write!(
                    to,
                    "slot {slot} opened the archive, but generation {generation} does not list it: the slot was added later, or removed before"
                )
            }
            Self::HistoryGap { generation } => {
                write!(
                    to,
                    "commits after generation {generation} are lost, so hashes do not prove that the newest state descends from it"
                )
            }
        }
    }
}
