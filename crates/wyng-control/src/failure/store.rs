// SPDX-License-Identifier: GPL-3.0-or-later
//! The place that holds an archive.

macro_rules! store_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The store's folder or bucket is not there.
    StoreMissing { store: String } = {
        code: "store-missing", exit: Unreachable,
        what: ("the store {store} is not there"),
        safe: NOTHING_CHANGED,
        next: "Mount the disk that it lies on. If it was moved, say where it is: `wyng-ctl \
               archive open ARCHIVE --store URL`.",
    }

    /// The folder in which a new store is to be made is not there.
    StoreNoParent { store: String } = {
        code: "store-no-parent", exit: Failed,
        what: ("the folder in which {store} is to be made is not there"),
        safe: NOTHING_CHANGED,
        next: "Mount its disk, or make that folder first: `archive create` makes only the last \
               one of the path.",
    }

    /// It is a folder, and holds nothing of an archive.
    StoreEmpty { store: String } = {
        code: "store-empty", exit: Unreachable,
        what: ("{store} is a folder that holds no archive"),
        safe: NOTHING_CHANGED,
        next: "Mount the disk that belongs there, or name the archive's own folder, and not the \
               one above it: `wyng-ctl archive open ARCHIVE --store URL`.",
    }

    /// It is no folder.
    StoreNotAFolder { store: String } = {
        code: "store-not-a-folder", exit: Unreachable,
        what: ("{store} is not a folder"),
        safe: NOTHING_CHANGED,
        next: "Name a folder: --store dir:/absolute/path.",
    }

    /// The store refuses this caller.
    StoreDenied { store: String } = {
        code: "store-denied", exit: Unreachable,
        what: ("the store {store} refuses access"),
        safe: STORED_STAYS,
        next: "Check the permissions there, the credentials, and limits of the helper (ulimit \
               -f); then run the same command again.",
    }

    /// The store may only be read.
    StoreReadOnly { store: String } = {
        code: "store-read-only", exit: Unreachable,
        what: ("the store {store} can only be read"),
        safe: STORED_STAYS,
        next: "Mount it writable, and run the same command again.",
    }

    /// The store cannot be reached.
    StoreUnreachable { store: String } = {
        code: "store-unreachable", exit: Unreachable,
        what: ("the store {store} cannot be reached"),
        safe: STORED_STAYS,
        next: "Check the network and the address, and run the same command again.",
    }

    /// The URL is not understood by the helper.
    StoreAddress { store: String } = {
        code: "store-address", exit: Usage,
        what: ("the helper does not understand the store's address {store:?}"),
        safe: NOTHING_CHANGED,
        next: "Use dir:/absolute/path; other kinds depend on the helper's version.",
    }

    /// A new archive needs an empty place.
    StoreNotEmpty { store: String } = {
        code: "store-not-empty", exit: Failed,
        what: ("{store} is not empty, and a new archive needs an empty place"),
        safe: NOTHING_CHANGED,
        next: "Name a new or empty folder, or adopt what is there with `wyng-ctl archive open`.",
    }

    /// The store is full.
    StoreFull { store: String, free_mib: Option<u32>, reserve_mib: u32 } = {
        code: "store-full", exit: Failed,
        what: ("{}", store_full(store, *free_mib, *reserve_mib)),
        safe: STORED_STAYS,
        next: "Make room in the store, and run the same command again.",
    }

    /// The disk or service behind the store failed.
    StoreFailed { store: String } = {
        code: "store-failed", exit: Failed,
        what: ("the disk or service behind the store {store} failed"),
        safe: STORED_STAYS,
        next: "Check it (the system's log says more), and run the same command again.",
    }

    /// The store does not tell when a name is taken.
    StoreNotExclusive { store: String } = {
        code: "store-not-exclusive", exit: Failed,
        what: ("the file system of {store} cannot keep a second file from a name that is taken"),
        safe: Safe::Always("No archive was made."),
        next: "Two writers could not be told apart there: use a disk with another file system, or \
               another place.",
    }

    }};
}

/// What happened: the store is full, and how much of it is kept back where that is known.
pub(super) fn store_full(store: &str, free_mib: Option<u32>, reserve_mib: u32) -> String {
    match free_mib {
        Some(free) => format!(
            "the store {store} is full: {free} MiB are free, and {reserve_mib} MiB are kept back \
             for what a backup must still write at its end"
        ),
        None => format!("the store {store} is full"),
    }
}
