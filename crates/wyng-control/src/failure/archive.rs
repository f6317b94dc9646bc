// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive on this machine and in the store: its name, its writer, its history.

macro_rules! archive_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// No archive of this name is known here.
    UnknownArchive { archive: String } = {
        code: "unknown-archive", exit: Usage,
        what: ("no archive is called {archive:?} here"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl archive list`; adopt one with `wyng-ctl archive open NAME --store \
               URL`.",
    }

    /// The local name is taken.
    ArchiveNameTaken { archive: String } = {
        code: "archive-name-taken", exit: Usage,
        what: ("an archive is already called {archive:?} here"),
        safe: NOTHING_CHANGED,
        next: "Choose another name, or remove the local state with `wyng-ctl archive forget \
               ARCHIVE`.",
    }

    /// The archive is known here under another name.
    ArchiveKnown { archive: String, known_as: String } = {
        code: "archive-known", exit: Usage,
        what: (
            "this archive is known here as {known_as:?} and cannot be opened as {archive:?} too"
        ),
        safe: NOTHING_CHANGED,
        next: "Use the name that it has here; `wyng-ctl archive forget NAME` gives that name up.",
    }

    /// An archive is to be opened for the first time, and nobody says where it is.
    StoreUnnamed { archive: String } = {
        code: "store-unnamed", exit: Usage,
        what: ("archive {archive:?} is not known here yet, and nothing says where it is"),
        safe: NOTHING_CHANGED,
        next: "Add --store URL.",
    }

    /// Another machine is the archive's writer.
    NotWriter { archive: String } = {
        code: "not-writer", exit: Failed,
        what: ("another machine writes to {archive:?}; this one may read it"),
        safe: NOTHING_CHANGED,
        next: "If the other machine is out of use, run `wyng-ctl archive take-over ARCHIVE`.",
    }

    /// The place holds no archive.
    NotAnArchive = {
        code: "not-an-archive", exit: Failed,
        what: ("the place holds no slot of a Wyng archive"),
        safe: NOTHING_CHANGED,
        next: "Check the address of the store. If it is right, the store has lost the slots: \
               `wyng-ctl verify` and `wyng-ctl backup` on a machine that has the archive put them \
               back.",
    }

    /// The store holds another archive than the one that is known under this name.
    OtherArchive = {
        code: "other-archive", exit: Damage,
        what: ("the store holds another archive than the one known under this name"),
        safe: NOTHING_CHANGED,
        next: "Check the address; if the archive was replaced by somebody else, do not use it.",
    }

    /// The commit's name is taken by other bytes.
    Forked { generation: u64 } = {
        code: "forked", exit: Damage,
        what: (
            "commit {generation} exists with other bytes: this machine's state is older than the \
             archive, another machine writes to it, or the commit is damaged"
        ),
        safe: Safe::Always(
            "Nothing was overwritten, and what was sent stays. No command pushes until this is \
             settled.",
        ),
        next: "Run `wyng-ctl archive open ARCHIVE`, which reads what is there and finds out \
               which; then run the same command again.",
    }

    /// An earlier run found a fork; nothing is pushed until `archive open`.
    Stopped = {
        code: "stopped", exit: Damage,
        what: (
            "an earlier run found that the archive has another writer, or that this state is old"
        ),
        safe: NOTHING_CHANGED,
        next: "Run `wyng-ctl archive open ARCHIVE` first.",
    }

    /// The commit's name is taken, and the far end for pushing may not read by what.
    CommitUnsettled { generation: u64 } = {
        code: "commit-unsettled", exit: Damage,
        what: (
            "the store has commit {generation}, and may not say during a push whether it is this \
             machine's"
        ),
        safe: Safe::Always(
            "What was sent stays and is not sent again. No command pushes until this is settled.",
        ),
        next: "Run `wyng-ctl archive open ARCHIVE`, which reads the commit; then run the same \
               command again.",
    }

    /// Two copies of a commit authenticate and differ.
    TwoCommits { generation: u64 } = {
        code: "two-commits", exit: Damage,
        what: (
            "two different commits of generation {generation} are in the store: two machines \
             wrote it"
        ),
        safe: NO_WRONG_BYTE,
        next: "Go on with the machine whose sessions you want to keep, and start a new archive \
               from it; what was restored from either is right.",
    }

    /// No copy of the newest commit, or of what it reaches first, can be read. `opened`: the older
    /// generation that was opened; 0: none.
    NewestDamaged { generation: u64, opened: u64 } = {
        code: "newest-damaged", exit: Damage,
        what: ("{}", newest_damaged(*generation, *opened)),
        safe: Safe::Always(
            "Sessions of older generations are whole, unless a problem names them. Nothing in the \
             store was changed.",
        ),
        next: "Restore older sessions by name, with --session. If the machine that wrote the \
               newest generation still has its state, run `wyng-ctl backup` there, which repairs \
               it, and `wyng-ctl archive open ARCHIVE` here again; otherwise accept the older \
               state with `wyng-ctl archive open ARCHIVE --before GENERATION`, giving the damaged \
               generation.",
    }

    /// `--before` names a generation that this machine has committed or adopted, or an older one.
    BeforeKnown { known_generation: u64 } = {
        code: "before-known", exit: Usage,
        what: ("{}", before_known(*known_generation)),
        safe: NOTHING_CHANGED,
        next: "Give --before a higher generation, or leave it out.",
    }

    /// The archive was opened at an older generation than the newest; it can be read.
    NewerPassedOver { generation: u64, newest: u64 } = {
        code: "newer-passed-over", exit: Damage,
        what: (
            "newer generations existed, up to {newest}, and are damaged; the archive is open as \
             generation {generation} left it"
        ),
        safe: Safe::Always(
            "Sessions up to this generation restore. Sessions that only newer ones have are not \
             shown.",
        ),
        next: "Run `wyng-ctl archive take-over ARCHIVE` to go on from this generation, or \
               `wyng-ctl archive open ARCHIVE` if the newer ones were repaired.",
    }

    /// The same, and a newer generation is sound, so that nothing can be written after this one.
    NewerSound { generation: u64, newest: u64 } = {
        code: "newer-sound", exit: Damage,
        what: (
            "generation {newest} is sound, and the archive is open as generation {generation} \
             left it: it can be read, and not be written"
        ),
        safe: NOTHING_CHANGED,
        next: "Run `wyng-ctl archive open ARCHIVE` without --before to go on from the newest \
               generation.",
    }

    /// The store shows an older state than this machine has seen.
    RolledBack { known_generation: u64, shown_generation: u64 } = {
        code: "rolled-back", exit: Damage,
        what: (
            "the store shows generation {shown_generation}, and this machine knows \
             {known_generation}: it was rolled back"
        ),
        safe: NO_WRONG_BYTE,
        next: "Ask who keeps the store. If it was restored from a copy, its newer sessions are \
               lost there.",
    }

    /// The store shows a state that does not descend from the known one.
    NotDescended { known_generation: u64 } = {
        code: "not-descended", exit: Damage,
        what: (
            "what the store shows does not descend from generation {known_generation}, known here"
        ),
        safe: NO_WRONG_BYTE,
        next: "Somebody wrote another history. Do not use it without the recovery sheet's code.",
    }

    }};
}

/// What happened: the newest generation is damaged, and which older one was opened; 0: none.
pub(super) fn newest_damaged(generation: u64, opened: u64) -> String {
    match opened {
        0 => format!("the newest generation, {generation}, is damaged"),
        opened => format!(
            "the newest generation, {generation}, is damaged; the archive was opened for reading \
             as generation {opened} left it"
        ),
    }
}

/// What happened: `--before` names a generation below everything that can be opened.
pub(super) fn before_known(known_generation: u64) -> String {
    match known_generation {
        0 => "there is no generation below the first".to_owned(),
        known => format!("this machine knows generation {known}, and opens none that is older"),
    }
}
