// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of the store, which holds an archive.

macro_rules! store_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The store's folder or bucket does not exist.
    StoreMissing { store: String } = {
        code: "store-missing", exit: Unreachable,
        what: ("the store {store} does not exist"),
        safe: NOTHING_CHANGED,
        next: "Mount the disk that holds it. If it was moved, name its new place: `wyng-ctl \
               archive open ARCHIVE --store URL`.",
    }

    /// The parent folder of a new store does not exist.
    StoreNoParent { store: String } = {
        code: "store-no-parent", exit: Failed,
        what: ("the folder or bucket in which {store} is to be created does not exist"),
        safe: NOTHING_CHANGED,
        next: "Mount its disk, or create that folder or bucket first: `archive create` creates \
               only the last component of the path.",
    }

    /// The store is a folder without an object of an archive.
    StoreEmpty { store: String } = {
        code: "store-empty", exit: Unreachable,
        what: ("{store} holds no archive"),
        safe: NOTHING_CHANGED,
        next: "Mount the disk that belongs there, or name the archive's own folder rather than \
               its parent: `wyng-ctl archive open ARCHIVE --store URL`.",
    }

    /// The store is not a folder.
    StoreNotAFolder { store: String } = {
        code: "store-not-a-folder", exit: Unreachable,
        what: ("{store} is not a folder"),
        safe: NOTHING_CHANGED,
        next: "Name a folder: --store dir:/absolute/path.",
    }

    /// The store denies access.
    StoreDenied { store: String } = {
        code: "store-denied", exit: Unreachable,
        what: ("the store {store} denies access"),
        safe: STORED_STAYS,
        next: "Check its permissions, or its credentials (`wyng-ctl archive open ARCHIVE \
               --credentials FILE` replaces them), for a \
               folder the helper's limits (ulimit -f), \
               and for sftp:// that the account accepts the helper's key; then run the same \
               command again.",
    }

    /// The store is read-only.
    StoreReadOnly { store: String } = {
        code: "store-read-only", exit: Unreachable,
        what: ("the store {store} is read-only"),
        safe: STORED_STAYS,
        next: "Mount it writable, and run the same command again.",
    }

    /// The store cannot be reached.
    StoreUnreachable { store: String } = {
        code: "store-unreachable", exit: Unreachable,
        what: ("the store {store} cannot be reached, or the connection to it was lost"),
        safe: STORED_STAYS,
        next: "Check the network and the address, and run the same command again. For sftp:// run \
               `sftp USER@HOST` once as the helper's user on its machine: it must connect without \
               a question, so accept the host's key there first.",
    }

    /// The helper does not understand the URL.
    StoreAddress { store: String } = {
        code: "store-address", exit: Usage,
        what: ("the helper does not understand the store's address {store:?}"),
        safe: NOTHING_CHANGED,
        next: "Compare it with docs/stores.md: dir:/absolute/path, s3://bucket/prefix, \
               webdavs://host/path or sftp://user@host/path. Which of them the helper knows depends \
               on its version; without TLS the address needs insecure=true.",
    }

    /// The client was asked for the store's credentials and had none.
    NoCredentials = {
        code: "no-credentials", exit: Usage,
        what: ("the store's credentials were not given"),
        safe: NOTHING_CHANGED,
        next: "Name a file that you can read: --credentials FILE.",
    }

    /// The credentials are not what a credentials file holds.
    BadCredentials = {
        code: "bad-credentials", exit: Usage,
        what: ("the store's credentials are not lines of the form key = value, or are too long"),
        safe: NOTHING_CHANGED,
        next: "Compare the file with docs/stores.md. Address and credentials of a service have \
               4096 bytes together.",
    }

    /// Requests to the store cannot be signed on this machine.
    NotSignable { store: String } = {
        code: "not-signable", exit: Usage,
        what: ("requests to the store {store} cannot be signed: only those of S3 can"),
        safe: NOTHING_CHANGED,
        next: "Leave out --signed (in the configuration: signed), or name a store at s3://.",
    }

    /// The store also does what this machine did not sign.
    StoreLax { store: String } = {
        code: "store-lax", exit: Failed,
        what: ("the store {store} does what was not signed, or replaces what it must keep"),
        safe: Safe::Always("Everything stored stays as it is. No archive was made, and no new \
                            credentials are used."),
        next: "Signed requests do not bind the network qube there: use another service, or leave \
               out --signed and give push, fetch and prune a key each (docs/stores.md). For an \
               archive that exists: archive open NAME --credentials FILE --no-signed.",
    }

    /// The store rejects the time of this machine's signatures.
    StoreClock { store: String } = {
        code: "store-clock", exit: Unreachable,
        what: ("the store {store} refuses what this machine signs, because of its time"),
        safe: STORED_STAYS,
        next: "Check the date, time and time zone of this machine's clock (`timedatectl`), set it \
               if it is wrong, and run the same command again. Do not set it by what a store or a \
               network qube says.",
    }

    /// The wall clock jumped ahead, and nothing is signed that could be kept until then.
    StoreClockAhead { store: String } = {
        code: "store-clock-ahead", exit: Failed,
        what: ("the clock of this machine jumped ahead, so nothing that reads, lists or deletes \
                in {store} is signed: the machine that sends it could keep it until that time"),
        safe: STORED_STAYS,
        next: "Compare the date and time of this machine (`timedatectl`) with another clock, and \
               set them if they are wrong. Then run `wyng-ctl status --trust-clock`, and the same \
               command again.",
    }

    /// The address of a store holds a password.
    StoreSecret = {
        code: "store-secret", exit: Usage,
        what: ("the store's address holds a password"),
        safe: NOTHING_CHANGED,
        next: "Remove it from the address: addresses are shown and stored in the open. Name a file \
               that has it: --credentials FILE.",
    }

    /// A new archive requires an empty folder.
    StoreNotEmpty { store: String } = {
        code: "store-not-empty", exit: Failed,
        what: ("{store} is not empty, and a new archive requires an empty folder"),
        safe: NOTHING_CHANGED,
        next: "Name a new or empty folder, or adopt the archive that is there with `wyng-ctl \
               archive open`.",
    }

    /// The store is full.
    StoreFull { store: String, free_mib: Option<u32>, reserve_mib: u32 } = {
        code: "store-full", exit: Failed,
        what: ("{}", store_full(store, *free_mib, *reserve_mib)),
        safe: STORED_STAYS,
        next: "Make room in the store, for instance with `wyng-ctl prune`, which works in a full \
               store, and run the same command again.",
    }

    /// The disk or service behind the store failed.
    StoreFailed { store: String } = {
        code: "store-failed", exit: Failed,
        what: ("the disk or service behind the store {store} failed"),
        safe: STORED_STAYS,
        next: "Check the disk or service (the system's log has details), and run the same command \
               again.",
    }

    /// The store does not refuse a second file under a name that is taken.
    StoreNotExclusive { store: String } = {
        code: "store-not-exclusive", exit: Failed,
        what: ("the store {store} does not refuse a second file under a name that is taken"),
        safe: Safe::Always("No archive was made."),
        next: "Two writers could not be distinguished there: use a disk with another file system, \
               another service, or another place.",
    }

    /// `store check` found that the store does not do what an archive asks of it.
    StoreLacking { store: String, trial: Trial } = {
        code: "store-lacking", exit: Failed,
        what: ("the store {store} does not {}", trial.words()),
        safe: Safe::Always("No archive was changed. A blob that is left over is named in the report."),
        next: "Check the address and the rights of the account, or use another store.",
    }

    }};
}

/// The sentence of a full store. `free_mib` is `None` where the store does not report it.
pub(super) fn store_full(store: &str, free_mib: Option<u32>, reserve_mib: u32) -> String {
    match free_mib {
        Some(free) => format!(
            "the store {store} is full: {free} MiB are free, and {reserve_mib} MiB are reserved \
             for what a backup must still write at its end"
        ),
        None => format!("the store {store} is full"),
    }
}
