// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of the local state: what this machine remembers of its archives.

macro_rules! state_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The state folder does not exist, so this machine knows no archive.
    NoState { folder: String } = {
        code: "no-state", exit: Usage,
        what: ("this machine knows no archive: the state folder {folder} does not exist"),
        safe: NOTHING_CHANGED,
        next: "If it should exist elsewhere, correct --state-dir. Create an archive with \
               `wyng-ctl archive create NAME --store URL`, or adopt one with `wyng-ctl archive \
               open NAME --store URL`.",
    }

    /// A file of the local state is damaged.
    StateDamaged { file: String, what: String } = {
        code: "state-damaged", exit: Failed,
        what: ("the local state file {file} is damaged: {what}"),
        safe: Safe::Always("The archive in the store is untouched."),
        next: "Run `wyng-ctl archive forget ARCHIVE`, then `wyng-ctl archive open ARCHIVE --store \
               URL --expect CODE` with the recovery sheet's code, and `wyng-ctl archive take-over \
               ARCHIVE` to write.",
    }

    /// The local state cannot be read or written. An empty `file` stands for its folder.
    StateIo { file: String, errno: i32 } = {
        code: "state-io", exit: Failed,
        what: ("{} cannot be read or written: {}", state_file(file), system(*errno)),
        safe: Safe::OfCommand,
        next: "Check that its folder exists and belongs to the user who runs the daemon, and that \
               its disk is writable and not full.",
    }

    /// The cache is lost or out of date. A backup requires it.
    CacheLost = {
        code: "cache-lost", exit: Failed,
        what: ("the local cache is lost or does not match the archive's state"),
        safe: Safe::Always("Nothing was sent; no data is lost."),
        next: "Run `wyng-ctl archive open ARCHIVE`, which fetches the cache again.",
    }

    }};
}

/// A file of the local state in a sentence, or the folder that holds all of them.
pub(super) fn state_file(file: &str) -> String {
    match file {
        "" => "the folder of the local state".to_owned(),
        file => format!("the local state ({file})"),
    }
}
