// SPDX-License-Identifier: GPL-3.0-or-later
//! Warnings: what a user must know although the command succeeded. Failures are in `failure/`.

use std::fmt;

use bincode::{Decode, Encode};

use crate::machine::MachineFault;

/// Maximum difference of the clocks that is no jump, seconds.
const JUMP_MIN_SECS: u64 = 3600;

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
    /// The wall clock of this machine jumped since a person last accepted it.
    ClockJumped {
        /// Difference from the kernel's count within boots, seconds; positive if the wall clock is
        /// ahead. At most an hour if it only went back over a restart.
        ahead_secs: i64,
    },
    /// The state directory's kept clock was missing or damaged, and starts anew.
    ClockLost,
    /// Objects of the store are to be locked, and what this command stores is not, nor is a lock
    /// made longer: the wall clock is not believed.
    NotLocked,
    /// Locks of the store that were to be made longer are not all longer.
    LocksNotRenewed {
        /// Number of locks that are longer now.
        renewed: u64,
        /// Number of objects that the store does not have.
        missing: u64,
        /// Number of objects whose locks the store refuses to make longer.
        refused: u64,
        /// Number of objects for which the store failed.
        failed: u64,
        /// Number of locks that are left for the next run.
        left: u64,
        /// The failure that ended it, if one did.
        why: Option<String>,
    },
    /// The store makes no lock longer.
    LocksNotSupported,
    /// The first lock of what an archive needs ends soon.
    LockEndsSoon {
        /// The archive's name.
        archive: String,
        /// When it ends, seconds since 1970 UTC.
        end_time: i64,
    },
    /// A thin pool with base snapshots is so full that backups make no snapshot in it.
    PoolFilling {
        /// `GROUP/POOL`.
        pool: String,
        /// The larger share of its data or metadata that is used, per cent.
        percent: u8,
    },
    /// A thin pool is so full that backups and `monitor` remove base snapshots from it.
    PoolFull {
        /// `GROUP/POOL`.
        pool: String,
        /// The larger share of its data or metadata that is used, per cent.
        percent: u8,
    },
    /// Base snapshots were removed from a thin pool, because it was nearly full.
    PoolBasesDropped {
        /// `GROUP/POOL`.
        pool: String,
        /// Number of base snapshots, since one was made there.
        count: u32,
    },
    /// A thin pool holds a metadata snapshot, and it is not certain whether a killed run took it.
    PoolMetadataLeft {
        /// `GROUP/POOL`.
        pool: String,
    },
    /// Nothing shows that the archive's history is the one that this machine or the recovery sheet
    /// knew.
    Unproven,
    /// A qube begins a history of its own, although the archive has one under its name.
    HistoryNotContinued {
        /// The qube's name.
        qube: String,
        /// The label that its volumes have in the archive.
        label: String,
    },
    /// `qubes check` found something that is wrong on this machine.
    Machine {
        /// What is wrong.
        fault: MachineFault,
        /// What it is about, and what was found.
        what: String,
    },
    /// What a qube was before a restore in place is kept.
    QubeKept {
        /// The qube's name.
        qube: String,
        /// Time until it is given up, seconds by the kept clock.
        left_secs: u64,
    },
    /// A timer's run is skipped, because the run before it began too recently.
    TooSoon {
        /// Time until a timer's run may begin, seconds.
        left_secs: u64,
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
            Self::ClockJumped { .. } => "clock-jumped",
            Self::ClockLost => "clock-lost",
            Self::NotLocked => "not-locked",
            Self::LocksNotRenewed { .. } => "locks-not-renewed",
            Self::LocksNotSupported => "locks-not-supported",
            Self::LockEndsSoon { .. } => "lock-ends-soon",
            Self::PoolFilling { .. } => "pool-filling",
            Self::PoolFull { .. } => "pool-full",
            Self::PoolBasesDropped { .. } => "pool-bases-dropped",
            Self::PoolMetadataLeft { .. } => "pool-metadata-left",
            Self::Unproven => "unproven",
            Self::HistoryNotContinued { .. } => "history-not-continued",
            Self::Machine { fault, .. } => fault.code(),
            Self::QubeKept { .. } => "qube-kept",
            Self::TooSoon { .. } => "too-soon",
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
            Self::ClockJumped { .. } => {
                "Compare the clock with another one. If it is right, or the jump was yours, run `wyng-ctl status --trust-clock`; otherwise find out who sets it."
            }
            Self::ClockLost => {
                "Nothing. Waiting times take as long as if the machine had been off since the last command."
            }
            Self::NotLocked => {
                "Compare the clock with another one. If it is right, run `wyng-ctl status --trust-clock`; what is stored afterwards is locked."
            }
            Self::LocksNotRenewed { .. } => {
                "Nothing if only some are left or failed: the next backup continues. If objects are missing, run `wyng-ctl verify ARCHIVE`; if the store refuses, give the push `s3:PutObjectRetention`."
            }
            Self::LocksNotSupported => {
                "Make the locks longer with the tools of the service, or use a service that lets a lock be made longer."
            }
            Self::LockEndsSoon { .. } => {
                "Back up: each backup makes the locks longer of which half is over, the shortest first. If it warns, do what it says."
            }
            Self::PoolFilling { .. } => {
                "Extend the pool with `lvextend`, its metadata with `lvextend --poolmetadatasize`. Until then its volumes are read whole, and while they change."
            }
            Self::PoolFull { .. } => {
                "Extend the pool at once with `lvextend`, its metadata with `lvextend --poolmetadatasize`. Base snapshots are removed from it, oldest first, and the next backup reads their volumes whole."
            }
            Self::PoolBasesDropped { .. } => {
                "Extend the pool with `lvextend`, its metadata with `lvextend --poolmetadatasize`. The next backup of each of these volumes reads it whole; once its pool has room, it makes a new base snapshot."
            }
            Self::PoolMetadataLeft { .. } => {
                "If no other program uses it, run `wyng-ctl snapshots clean --metadata` as root. Until then volumes of the pool are read whole."
            }
            Self::Unproven => {
                "Run `wyng-ctl archive open ARCHIVE --expect CODE` with the code of the recovery sheet. Without a sheet, --unproven also restores templates, StandaloneVMs, net qubes and disposable templates."
            }
            Self::HistoryNotContinued { .. } => {
                "Nothing if it is another qube. If it is the same one, run `wyng-ctl volume remove` for each volume that it has under the new name, and back it up with `--continue QUBE`."
            }
            Self::Machine { fault, .. } => fault.next(),
            Self::QubeKept { .. } => {
                "Look at the qube. Then run `wyng-ctl restore ARCHIVE --accept --qube QUBE`, or put it back with --undo."
            }
            Self::TooSoon { .. } => {
                "Nothing; the timer comes again. Without --interval the run begins now."
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
            Self::ClockJumped { ahead_secs } => match ahead_secs.unsigned_abs() {
                secs if secs <= JUMP_MIN_SECS => {
                    to.write_str("the clock of this machine went back while it was off")
                }
                secs => {
                    let way = if *ahead_secs < 0 { "back" } else { "forward" };
                    write!(
                        to,
                        "the clock of this machine jumped {way} by {}",
                        spelled(secs)
                    )
                }
            },
            Self::ClockLost => to.write_str(
                "the kept clock in the state directory was missing or damaged, and starts anew",
            ),
            Self::NotLocked => to.write_str(
                "what this command stores is not locked, and no lock is made longer, because the clock of this machine is not believed",
            ),
            Self::LocksNotRenewed {
                renewed,
                missing,
                refused,
                failed,
                left,
                why,
            } => {
                write!(
                    to,
                    "of the locks that were to be renewed, {renewed} are; {missing} objects are missing, {refused} are refused by the store, for {failed} it failed, and {left} are left for the next run"
                )?;
                match why {
                    Some(why) => write!(to, ": {why}"),
                    None => Ok(()),
                }
            }
            Self::LocksNotSupported => {
                to.write_str("the store does not let a lock be made longer: what it locks is locked for its first days alone")
            }
            Self::LockEndsSoon { archive, .. } => write!(
                to,
                "less than a quarter is left of the first lock of the archive {archive}: what it holds can be deleted then"
            ),
            Self::PoolFilling { pool, percent } | Self::PoolFull { pool, percent } => {
                write!(to, "{percent} % of the thin pool {pool} are used")
            }
            Self::PoolBasesDropped { pool, count } => write!(
                to,
                "base snapshots were removed from the thin pool {pool}, because more than 90 % of it was used: {count}"
            ),
            Self::PoolMetadataLeft { pool } => write!(
                to,
                "the thin pool {pool} holds a metadata snapshot, and it is not certain whether a killed run took it"
            ),
            Self::Unproven => to.write_str(
                "nothing proves who wrote this archive: it was opened without the code of its recovery sheet, and whoever holds its credential could have written all of it",
            ),
            Self::HistoryNotContinued { qube, label } => write!(
                to,
                "nothing here shows that the qube {qube} is the one that the archive has under this name: its volumes have the name {label}, with a history of their own"
            ),
            Self::Machine { what, .. } => to.write_str(what),
            Self::QubeKept { qube, left_secs } => write!(
                to,
                "what the qube {qube} was before its restore in place is kept for {} more",
                spelled(*left_secs)
            ),
            Self::TooSoon { left_secs } => write!(
                to,
                "this run is left out: the profile's last one began too short a time ago, and the next may begin in {}",
                spelled(*left_secs)
            ),
        }
    }
}

/// A time in the largest unit of which it has at least two.
fn spelled(secs: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (365 * 86_400, "years"),
        (86_400, "days"),
        (3600, "hours"),
        (60, "minutes"),
    ];
    UNITS
        .iter()
        .find(|(length, _)| secs >= length.saturating_mul(2))
        .map_or_else(
            || format!("{secs} seconds"),
            |(length, name)| format!("{} {name}", secs.checked_div(*length).unwrap_or(secs)),
        )
}
