// SPDX-License-Identifier: GPL-3.0-or-later
//! What `qubes check` finds on this machine.

use bincode::{Decode, Encode};

/// Something that whole qubes depend on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MachineFact {
    /// What it is.
    pub subject: MachineSubject,
    /// Its name; empty where there is one alone.
    pub name: String,
    /// What was found, as a part of a sentence.
    pub detail: String,
    /// What is wrong with it, if anything is.
    pub fault: Option<MachineFault>,
}

/// What whole qubes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum MachineSubject {
    /// qubesd.
    Qubesd,
    /// A pool of volumes.
    Pool,
    /// A qube behind a far end, or the template of its disposables.
    FarEnd,
    /// The policy of qrexec.
    Policy,
    /// The clock.
    Clock,
    /// A restore of a qube that was interrupted.
    Restore,
}

/// What may be wrong on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum MachineFault {
    /// Volumes of a pool have no snapshots.
    PoolReadWhole,
    /// A pool's folder was not there when the daemon started.
    PoolOutOfReach,
    /// The files of a pool cannot be cloned.
    PoolCannotClone,
    /// Disposables of a far end are started before they are asked for.
    Preloaded,
    /// A far end sets the clock of this machine.
    SetsClock,
    /// No qube sets the clock of this machine.
    NoClockVm,
    /// Wyng's own file of the policy lacks some of its rules.
    PolicyIncomplete,
    /// A part of the policy cannot be read.
    PolicyUnread,
    /// A line in front of Wyng's own allows its services to more than a named qube.
    PolicyAllows,
    /// A line in front of Wyng's own allows notices to a far end.
    PolicyAllowsNotices,
    /// A restore began a qube and did not complete it.
    RestoreUnfinished,
}

impl MachineFact {
    /// What it is, with its name.
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "" => self.subject.words().to_owned(),
            name => format!("{} {name}", self.subject.words()),
        }
    }
}

impl MachineSubject {
    /// A word for scripts, stable over versions.
    pub fn key(self) -> &'static str {
        match self {
            Self::Qubesd => "qubesd",
            Self::Pool => "pool",
            Self::FarEnd => "far-end",
            Self::Policy => "policy",
            Self::Clock => "clock",
            Self::Restore => "restore",
        }
    }

    /// The words for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::FarEnd => "far end",
            other => other.key(),
        }
    }
}

impl MachineFault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::PoolReadWhole,
        Self::PoolOutOfReach,
        Self::PoolCannotClone,
        Self::Preloaded,
        Self::SetsClock,
        Self::NoClockVm,
        Self::PolicyIncomplete,
        Self::PolicyUnread,
        Self::PolicyAllows,
        Self::PolicyAllowsNotices,
        Self::RestoreUnfinished,
    ];

    /// A word for scripts, stable over versions.
    pub fn code(self) -> &'static str {
        match self {
            Self::PoolReadWhole => "pool-read-whole",
            Self::PoolOutOfReach => "pool-out-of-reach",
            Self::PoolCannotClone => "pool-cannot-clone",
            Self::Preloaded => "far-end-preloaded",
            Self::SetsClock => "far-end-sets-clock",
            Self::NoClockVm => "no-clockvm",
            Self::PolicyIncomplete => "policy-incomplete",
            Self::PolicyUnread => "policy-unread",
            Self::PolicyAllows => "policy-allows",
            Self::PolicyAllowsNotices => "policy-allows-notices",
            Self::RestoreUnfinished => "restore-unfinished",
        }
    }

    /// What to do next.
    pub fn next(self) -> &'static str {
        match self {
            Self::PoolReadWhole => {
                "Nothing if that is fast enough. Otherwise move the qubes to a pool whose driver is file-reflink, lvm_thin or zfs."
            }
            Self::PoolOutOfReach => {
                "Mount what holds the pool's folder, and run `systemctl restart wyngd`: the daemon opens the folders of pools when it starts."
            }
            Self::PoolCannotClone => {
                "Keep the pool on btrfs or on XFS with reflink, with room for the folder `.wyng` beside the pool's own. Until then its volumes are read whole, and while they change."
            }
            Self::Preloaded => {
                "Run `qvm-features TEMPLATE preload-dispvm-max 0`, with the name of the template; for the default disposable template of the system also `qvm-features dom0 preload-dispvm-max 0`. A disposable that is started in advance may lack the tag that keeps it from showing notices."
            }
            Self::SetsClock => {
                "Choose another qube with `qubes-prefs clockvm`: a machine that nobody trusts should not set the time by which deletions wait."
            }
            Self::NoClockVm => "Choose one with `qubes-prefs clockvm`, such as sys-net.",
            Self::PolicyIncomplete => {
                "Install the package wyng-dom0 again, or copy rpc-policy/60-wyng.policy to /etc/qubes/policy.d."
            }
            Self::PolicyUnread => {
                "Make it a plain file of at most 256 KiB that root can read; until then nobody can say what it allows."
            }
            Self::PolicyAllows => {
                "Name the one qube that may, as in rpc-policy/50-wyng-adminvm.policy.example, or remove the line."
            }
            Self::PolicyAllowsNotices => {
                "Move the line to a file with a higher number than 60: a far end could show notices that look like Wyng's."
            }
            Self::RestoreUnfinished => {
                "Nothing if a restore runs. Otherwise the next restore removes it if it is as it was left. To decide yourself, remove it with `qvm-remove`, or take its guard away: `qvm-tags QUBE del backup-restore-in-progress`, `qvm-features --unset QUBE prohibit-start`."
            }
        }
    }
}
