// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of an archive as a whole: its name on this machine, its writer, its history.

macro_rules! archive_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// No archive has this name on this machine.
    UnknownArchive { archive: String } = {
        code: "unknown-archive", exit: Usage,
        what: ("no archive is called {archive:?} on this machine"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl archive list`, or adopt an archive with `wyng-ctl archive open NAME \
               --store URL`.",
    }

    /// Another archive has this name on this machine.
    ArchiveNameTaken { archive: String } = {
        code: "archive-name-taken", exit: Usage,
        what: ("an archive called {archive:?} already exists on this machine"),
        safe: NOTHING_CHANGED,
        next: "Choose another name, or remove the local state of that archive with `wyng-ctl \
               archive forget ARCHIVE`.",
    }

    /// This machine knows the archive under another name.
    ArchiveKnown { archive: String, known_as: String } = {
        code: "archive-known", exit: Usage,
        what: (
            "this archive is called {known_as:?} on this machine, so it cannot be opened as \
             {archive:?}"
        ),
        safe: NOTHING_CHANGED,
        next: "Use its present name, or give that name up with `wyng-ctl archive forget NAME`.",
    }

    /// An archive is opened for the first time, and its store was not named.
    StoreUnnamed { archive: String } = {
        code: "store-unnamed", exit: Usage,
        what: ("archive {archive:?} is not known on this machine yet, and its store was not named"),
        safe: NOTHING_CHANGED,
        next: "Add --store URL.",
    }

    /// Another machine is the archive's writer.
    NotWriter { archive: String } = {
        code: "not-writer", exit: Failed,
        what: (
            "another machine is the writer of archive {archive:?}; this machine may only read it"
        ),
        safe: NOTHING_CHANGED,
        next: "If the other machine is no longer in use, run `wyng-ctl archive take-over ARCHIVE`.",
    }

    /// The store may take the commits of two machines, and another one may still write.
    WritersNotKeptApart { archive: String } = {
        code: "writers-not-kept-apart", exit: Failed,
        what: (
            "another machine is the writer of archive {archive:?}, and of two commits that come at \
             one moment its store may take both"
        ),
        safe: NOTHING_CHANGED,
        next: "Make sure that the other machine does not write any more, then run `wyng-ctl \
               archive take-over ARCHIVE --other-writer-is-gone`.",
    }

    /// The store holds no key slot.
    NotAnArchive = {
        code: "not-an-archive", exit: Failed,
        what: ("the store holds no key slot of a Wyng archive"),
        safe: NOTHING_CHANGED,
        next: "Check the address of the store. If it is right, the store has lost the slots: \
               `wyng-ctl verify` and `wyng-ctl backup` on a machine that has the archive restore \
               them.",
    }

    /// The store holds a different archive from the one known under this name.
    OtherArchive = {
        code: "other-archive", exit: Damage,
        what: ("the store holds a different archive from the one known under this name"),
        safe: NOTHING_CHANGED,
        next: "Check the address. If somebody replaced the archive, do not use it.",
    }

    /// The place for a copy holds something else than this archive.
    CopyOfOther { store: String } = {
        code: "copy-of-other", exit: Failed,
        what: ("{store} holds something else than a copy of this archive"),
        safe: NOTHING_CHANGED,
        next: "Name an empty place, or that of the archive's copy, with --to URL.",
    }

    /// The place for a copy is the archive's own store, perhaps under another address.
    CopyIsSource { store: String } = {
        code: "copy-is-source", exit: Failed,
        what: ("{store} leads to the archive's own store, so a copy there would be none"),
        safe: STORED_STAYS,
        next: "Name another place with --to URL.",
    }

    /// The place of a copy is missing or empty.
    CopyGone { store: String } = {
        code: "copy-gone", exit: Unreachable,
        what: ("the copy at {store} is not there: the place is missing or empty"),
        safe: NOTHING_CHANGED,
        next: "Mount the disk that holds it, and run the same command again. If that copy is lost \
               for good, make another one there: `wyng-ctl archive copy ARCHIVE --to URL --anew`.",
    }

    /// A copy is newer than what this machine knows of the archive.
    CopyAhead { store: String, generation: u64, known_generation: u64 } = {
        code: "copy-ahead", exit: Failed,
        what: (
            "the copy at {store} has generation {generation}, and this machine knows the archive \
             up to generation {known_generation}"
        ),
        safe: NOTHING_CHANGED,
        next: "Run `wyng-ctl archive open ARCHIVE` to catch up with the archive, then the same \
               command again. If the copy became the archive's own store, name it: `wyng-ctl \
               archive open ARCHIVE --store URL`.",
    }

    /// A copy has a commit that is none of this archive's history here.
    CopyDiverged { store: String, generation: u64 } = {
        code: "copy-diverged", exit: Damage,
        what: (
            "the copy at {store} has another history of the archive, up to generation {generation}"
        ),
        safe: NOTHING_CHANGED,
        next: "Two machines wrote to the archive and to its copy. Continue with the store whose \
               sessions you want to keep, and copy it to a new, empty place.",
    }

    /// The archive is open from a copy, which nothing but `archive copy` writes to.
    IsCopy { archive: String } = {
        code: "is-copy", exit: Failed,
        what: ("archive {archive:?} is open from a copy, which can only be read"),
        safe: NOTHING_CHANGED,
        next: "If the archive's own store is lost, run `wyng-ctl archive take-over ARCHIVE \
               --promote`. Otherwise return to it: `wyng-ctl archive open ARCHIVE --store URL`.",
    }

    /// The archive is open from its own store, so that there is nothing to promote.
    NotACopy { archive: String } = {
        code: "not-a-copy", exit: Usage,
        what: ("archive {archive:?} is not open from a copy"),
        safe: NOTHING_CHANGED,
        next: "Open the copy first: `wyng-ctl archive open ARCHIVE --store URL`.",
    }

    /// The store has another commit under the name of this one.
    Forked { generation: u64 } = {
        code: "forked", exit: Damage,
        what: (
            "commit {generation} exists with different content: this machine's state is older \
             than the archive, another machine writes to it, or the commit is damaged"
        ),
        safe: Safe::Always(
            "Nothing was overwritten, and everything that was sent stays. No command pushes until \
             this is settled.",
        ),
        next: "Run `wyng-ctl archive open ARCHIVE`, which reads the commit and finds the cause; \
               then run the same command again.",
    }

    /// An earlier command found a fork. Nothing is pushed until `archive open`.
    Stopped = {
        code: "stopped", exit: Damage,
        what: (
            "an earlier command found that the archive has another writer, or that this machine's \
             state is out of date"
        ),
        safe: NOTHING_CHANGED,
        next: "Run `wyng-ctl archive open ARCHIVE` first.",
    }

    /// The commit's name is taken, and a connection for pushing cannot read the commit.
    CommitUnsettled { generation: u64 } = {
        code: "commit-unsettled", exit: Damage,
        what: (
            "the store already has commit {generation}, and a push cannot read whether it is this \
             machine's"
        ),
        safe: Safe::Always(
            "Everything that was sent stays and is not sent again. No command pushes until this \
             is settled.",
        ),
        next: "Run `wyng-ctl archive open ARCHIVE`, which reads the commit; then run the same \
               command again.",
    }

    /// Two copies of one commit are both authentic and differ.
    TwoCommits { generation: u64 } = {
        code: "two-commits", exit: Damage,
        what: (
            "the store holds two different commits of generation {generation}: two machines wrote \
             to the archive"
        ),
        safe: NO_WRONG_BYTE,
        next: "Continue on the machine whose sessions you want to keep, and start a new archive \
               from it. Whatever was restored from either commit is right.",
    }

    /// No copy of the newest commit, or of the objects that it reaches first, can be read. `opened`
    /// is the older generation that was opened, 0 if there is none.
    NewestDamaged { generation: u64, opened: u64 } = {
        code: "newest-damaged", exit: Damage,
        what: ("{}", newest_damaged(*generation, *opened)),
        safe: Safe::Always(
            "Sessions of older generations are intact, except for those that a problem names. \
             Nothing in the store was changed.",
        ),
        next: "Restore older sessions by name, with --session. If the machine that wrote the \
               newest generation still has its state, run `wyng-ctl backup` there, which repairs \
               the generation, and then `wyng-ctl archive open ARCHIVE` here. Otherwise accept \
               the older state with `wyng-ctl archive open ARCHIVE --before GENERATION`, where \
               GENERATION is the damaged one.",
    }

    /// `--before` names a generation that this machine has committed or adopted, or an older one.
    BeforeKnown { known_generation: u64 } = {
        code: "before-known", exit: Usage,
        what: ("{}", before_known(*known_generation)),
        safe: NOTHING_CHANGED,
        next: "Give --before a higher generation, or omit it.",
    }

    /// The archive was opened at an older generation, because newer ones are damaged. It can only
    /// be read.
    NewerPassedOver { generation: u64, newest: u64 } = {
        code: "newer-passed-over", exit: Damage,
        what: (
            "newer generations, up to {newest}, are damaged; the archive is open at generation \
             {generation}"
        ),
        safe: Safe::Always(
            "Sessions up to this generation can be restored. Sessions of newer generations are \
             not shown.",
        ),
        next: "Run `wyng-ctl archive take-over ARCHIVE` to continue from this generation, or \
               `wyng-ctl archive open ARCHIVE` if the newer ones were repaired.",
    }

    /// The archive was opened at an older generation though a newer one is intact: a write would
    /// fork it.
    NewerSound { generation: u64, newest: u64 } = {
        code: "newer-sound", exit: Damage,
        what: (
            "generation {newest} is intact, but the archive is open at generation {generation}: \
             it can be read and not written"
        ),
        safe: NOTHING_CHANGED,
        next: "Run `wyng-ctl archive open ARCHIVE` without --before to continue from the newest \
               generation.",
    }

    /// The store shows an older state than this machine has seen.
    RolledBack { known_generation: u64, shown_generation: u64 } = {
        code: "rolled-back", exit: Damage,
        what: (
            "the store shows generation {shown_generation}, but this machine has seen generation \
             {known_generation}: the store was rolled back"
        ),
        safe: NO_WRONG_BYTE,
        next: "Ask whoever runs the store. If it lost its newest blobs, continue from what this \
               machine has with `wyng-ctl archive open ARCHIVE --before GENERATION`, where \
               GENERATION is one more than this machine has seen. To continue from the older \
               state instead, run `archive forget`, `archive open` and `archive take-over`.",
    }

    /// The history in the store does not descend from the known one.
    NotDescended { known_generation: u64 } = {
        code: "not-descended", exit: Damage,
        what: (
            "the history in the store does not descend from generation {known_generation}, which \
             this machine knows"
        ),
        safe: NO_WRONG_BYTE,
        next: "Somebody wrote a different history. Do not use it without the recovery sheet's \
               code.",
    }

    }};
}

/// The sentence of a damaged newest generation. `opened` is the older generation that was opened
/// instead, 0 if there is none.
pub(super) fn newest_damaged(generation: u64, opened: u64) -> String {
    match opened {
        0 => format!("the newest generation, {generation}, is damaged"),
        opened => format!(
            "the newest generation, {generation}, is damaged; the archive was opened for reading \
             at generation {opened}"
        ),
    }
}

/// The sentence of a `--before` below every generation that can be opened. A `known_generation` of
/// 0 means that this machine knows none.
pub(super) fn before_known(known_generation: u64) -> String {
    match known_generation {
        0 => "no generation comes before the first".to_owned(),
        known => format!("this machine knows generation {known} and does not open an older one"),
    }
}
