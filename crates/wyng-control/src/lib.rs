// SPDX-License-Identifier: GPL-3.0-or-later
//! The messages between `wyng-ctl` and `wyngd`, and the failures that a user sees.
//!
//! One enum a direction: [`ToDaemon`] and [`ToClient`]. Both ends are of one version, which
//! [`hello`](ToDaemon::Hello) checks; nothing here is ever stored. This crate deliberately knows no
//! cipher and no archive layout, and opens no path: `wyng-ctl` opens every path with the caller's
//! rights and sends the descriptor beside [`ToDaemon::Given`].
//!
//! A message travels as one packet of at most [`MESSAGE_MAX_BYTES`] bytes over a Unix socket that
//! keeps packet boundaries.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod base;
mod bounds;
mod codec;
mod command;
mod event;
mod failure;
mod found;
mod kind;
mod machine;
mod origin;
mod qube;
mod restoring;
mod store;
mod target;
mod thin;
mod to_daemon;
mod trial;
mod via;
mod warning;
mod zvol;

pub use base::{BaseLabel, BaseOf};
pub use bounds::{
    ARCHIVE_NAME_MAX_BYTES, ITEMS_MAX, STORE_MAX_BYTES, VOLUME_NAME_MAX_BYTES, WORD_MAX_BYTES,
    is_archive_name,
};
pub use codec::{CodecError, MESSAGE_MAX_BYTES, decode, encode};
pub use command::{
    BackupSource, Command, CompareWith, Compression, HoldOff, KeepRules, PruneRules, SessionChoice,
    UNLOCK_MAX_SECS, Unattended,
};
pub use event::{
    ArchiveAges, ArchiveSummary, Asked, CompactReport, CopyLine, CopyReport, DayLine, DayState,
    DeletedReport, DiffReport, EndedCommand, JudgedSession, KeepReason, KeySlot, LockSummary,
    Method, MonitorReport, Phase, Problem, Progress, ProofSummary, PruneReport, RecoverySheet,
    RemovedFor, RestoreReport, SessionFate, SessionLine, SessionSizes, SlotKind, SpaceReport,
    TargetKind, ToClient, UndeleteReport, Unenforced, VerifyReport, VolumeLine, VolumePlace,
    VolumeReport, VolumeSizes, WaitReason, Waits, Wanted,
};
pub use failure::{ExitStatus, Failure, ObjectClass, Safe};
pub use found::{Beside, Found, There};
pub use kind::{FileKind, Unfit};
pub use machine::{MachineFact, MachineFault, MachineSubject};
pub use origin::{
    FoundSource, NoSource, Origin, PATH_MAX_BYTES, Remembered, is_path_bounded, path_of_text,
    path_text,
};
pub use qube::{
    ChosenQube, ChosenQubes, LeftOut, NoQubePlace, QubeChoice, QubeFault, QubePart, WhyLeftOut,
    is_of_dom0, is_qube_continued, is_qube_exclusion, is_qube_origin, is_qube_selector,
    qube_origin,
};
pub use restoring::{
    ArchivedVolume, InPlaceEnd, KeptQube, PLAN_PAGE_MAX_BYTES, QubeDeed, QubeParts, QubesWish,
    RestoredQube,
};
pub use store::{STORES_ALLOWED, StoreMistake, check_store_address};
pub use target::{TargetFault, TargetForm, TargetFound, TargetLook};
pub use thin::{
    LogicalName, OwnName, POOL_FILLING_PERCENT, POOL_FULL_PERCENT, PoolRefusal, THIN_VOLUMES_MAX,
    ThinPage, ThinPlace, ThinPool, ThinRemoval, ThinUnlisted, ThinVolume, ThinWaste, WholeCause,
};
pub use to_daemon::{Given, ToDaemon};
pub use trial::{Abilities, CreateOnly, Durability, StoreChecked, Trial, TrialResult};
pub use via::{NoFarEnd, VIA_ALLOWED, Via, is_qube};
pub use warning::Warning;
pub use zvol::{OwnZfsName, ZVOLS, ZvolName};

/// The version of the messages. It rises with every change of a message, so that an old `wyng-ctl`
/// or an old daemon is detected.
pub const CONTROL_VERSION: u32 = 16;
