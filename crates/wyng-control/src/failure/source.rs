// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of the sources of a backup.

macro_rules! source_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The source cannot be opened.
    SourceUnavailable { volume: String, path: String, errno: i32 } = {
        code: "source-unavailable", exit: Failed,
        what: ("{} cannot be opened: {}", source(volume, path), system(*errno)),
        safe: EARLIER_SESSIONS,
        next: "Check the path and its permissions. The daemon sees a folder that was created or \
               mounted after its start only once it is restarted.",
    }

    /// The source lies behind a link that a user other than root could have made.
    SourceLink { volume: String, path: String } = {
        code: "source-link", exit: Failed,
        what: (
            "{} lies behind a link that does not belong to root, or in a folder that does not",
            source(volume, path)
        ),
        safe: EARLIER_SESSIONS,
        next: "If this is the volume, put the path to which the link leads into the \
               configuration; or give link and folder to root.",
    }

    /// The source is not there while its qube runs.
    SourceOfRunningQube { volume: String, path: String } = {
        code: "source-of-running-qube", exit: Failed,
        what: (
            "{} is not there while its qube runs: the qube keeps no revisions, so only its -dirty \
             file exists",
            source(volume, path)
        ),
        safe: EARLIER_SESSIONS,
        next: "Shut the qube down and run the same command again; or have it keep a revision from \
               its next start on: qvm-volume config QUBE:VOLUME revisions_to_keep 1.",
    }

    /// The source is neither a regular file nor a block device; `kind` names what it is.
    SourceKind { volume: String, path: String, kind: String } = {
        code: "source-kind", exit: Usage,
        what: ("{} is {kind}, not a regular file or a block device", source(volume, path)),
        safe: Safe::Always("No session was made for this volume."),
        next: "Name a disk image or a block device.",
    }

    /// The source has 0 bytes, though it is a device, or its newest session has more.
    SourceEmpty { volume: String, path: String, was_bytes: u64 } = {
        code: "source-empty", exit: Failed,
        what: ("{}", source_empty(volume, path, *was_bytes)),
        safe: EARLIER_SESSIONS,
        next: "Attach the device or bring the file back, and run the same command again. A file \
               that is empty on purpose needs another name: OTHERNAME=PATH.",
    }

    /// The source cannot be read at one offset.
    SourceRead { volume: String, path: String, offset_bytes: u64, errno: i32 } = {
        code: "source-read", exit: Failed,
        what: (
            "{} cannot be read at byte {offset_bytes}: {}",
            source(volume, path), system(*errno)
        ),
        safe: EARLIER_SESSIONS,
        next: "Check the disk that holds the source.",
    }

    /// The size of the source changed while it was read.
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

/// A source as the subject of a sentence: its volume, and its path unless that is empty.
pub(super) fn source(volume: &str, path: &str) -> String {
    if path.is_empty() {
        format!("the source of {volume:?}")
    } else {
        format!("{path}, the source of {volume:?},")
    }
}

/// The sentence of an empty source. `was_bytes` is the size of its newest session; 0 stands for a
/// device.
pub(super) fn source_empty(volume: &str, path: &str, was_bytes: u64) -> String {
    let source = source(volume, path);
    match was_bytes {
        0 => format!("{source} is a device of 0 bytes: nothing is attached to it"),
        was_bytes => format!("{source} has 0 bytes, but {was_bytes} in its newest session"),
    }
}
