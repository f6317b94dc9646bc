// SPDX-License-Identifier: GPL-3.0-or-later
//! The sources of a backup.

macro_rules! source_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// A source could not be opened by the caller.
    SourceUnavailable { volume: String, path: String, errno: i32 } = {
        code: "source-unavailable", exit: Failed,
        what: ("{} cannot be opened: {}", source(volume, path), system(*errno)),
        safe: EARLIER_SESSIONS,
        next: "Check the path and its permissions. A folder that was made or mounted after the \
               daemon began is found when the daemon is restarted.",
    }

    /// A source lies behind a link that somebody else than root could have made.
    SourceLink { volume: String, path: String } = {
        code: "source-link", exit: Failed,
        what: (
            "{} lies behind a link that is not root's, or in a folder that is not",
            source(volume, path)
        ),
        safe: EARLIER_SESSIONS,
        next: "Put the path where the link leads into the configuration, if that is the volume; \
               or give link and folder to root.",
    }

    /// A source is away while its qube runs.
    SourceOfRunningQube { volume: String, path: String } = {
        code: "source-of-running-qube", exit: Failed,
        what: (
            "{} is away while its qube runs: the qube keeps no revisions, so there is its -dirty \
             file only",
            source(volume, path)
        ),
        safe: EARLIER_SESSIONS,
        next: "Shut the qube down and run the same command again; or have it keep a revision, \
               from its next start on: qvm-volume config QUBE:VOLUME revisions_to_keep 1.",
    }

    /// A source is neither a regular file nor a block device; `kind` says what it is.
    SourceKind { volume: String, path: String, kind: String } = {
        code: "source-kind", exit: Usage,
        what: ("{} is {kind}, not a regular file or a block device", source(volume, path)),
        safe: Safe::Always("No session was made for this volume."),
        next: "Name a disk image or a block device.",
    }

    /// A source has no bytes, though it is a device or had some in its newest session.
    SourceEmpty { volume: String, path: String, was_bytes: u64 } = {
        code: "source-empty", exit: Failed,
        what: ("{}", source_empty(volume, path, *was_bytes)),
        safe: EARLIER_SESSIONS,
        next: "Attach the device or bring the file back, and run the same command again. A file \
               that is meant to be empty needs a name of its own: OTHERNAME=PATH.",
    }

    /// A source could not be read at a place.
    SourceRead { volume: String, path: String, offset_bytes: u64, errno: i32 } = {
        code: "source-read", exit: Failed,
        what: (
            "{} cannot be read at byte {offset_bytes}: {}",
            source(volume, path), system(*errno)
        ),
        safe: EARLIER_SESSIONS,
        next: "Check the disk that holds the source.",
    }

    /// A source changed its size while it was read.
    SourceResized { volume: String, path: String, expected_bytes: u64, found_bytes: u64 } = {
        code: "source-resized", exit: Failed,
        what: (
            "{} had {expected_bytes} bytes and ended at {found_bytes} while it was read",
            source(volume, path)
        ),
        safe: EARLIER_SESSIONS,
        next: "Back up a snapshot, or stop what writes to the source, and run the same command \
               again.",
    }

    }};
}

/// A source in a sentence: its volume, and its path where that is known.
pub(super) fn source(volume: &str, path: &str) -> String {
    if path.is_empty() {
        format!("the source of {volume:?}")
    } else {
        format!("{path}, the source of {volume:?},")
    }
}

/// What happened: a device without bytes, or a file that had `was_bytes` and has none.
pub(super) fn source_empty(volume: &str, path: &str, was_bytes: u64) -> String {
    let source = source(volume, path);
    match was_bytes {
        0 => format!("{source} is a device of 0 bytes: nothing is attached to it"),
        was_bytes => format!("{source} has 0 bytes, and had {was_bytes} in its newest session"),
    }
}
