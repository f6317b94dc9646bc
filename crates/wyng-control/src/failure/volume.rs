// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes and sessions that a command names.

macro_rules! volume_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// No such volume.
    UnknownVolume { volume: String } = {
        code: "unknown-volume", exit: Usage,
        what: ("the archive has no volume {volume:?}"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`.",
    }

    /// No such session.
    UnknownSession { volume: String, session: String } = {
        code: "unknown-session", exit: Usage,
        what: ("volume {volume:?} has no session {session:?}"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE VOLUME`.",
    }

    /// The beginning of a name fits several sessions.
    AmbiguousSession { volume: String, session: String, count: u64 } = {
        code: "ambiguous-session", exit: Usage,
        what: ("the names of {count} sessions of volume {volume:?} begin with {session:?}"),
        safe: NOTHING_CHANGED,
        next: "Write more of the name, or a day such as 2026-11-28 for its last session; see \
               `wyng-ctl list ARCHIVE VOLUME`.",
    }

    /// No volume has a session that was asked for of all.
    NoSession { session: String } = {
        code: "no-session", exit: Usage,
        what: ("{}", no_session(session)),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`.",
    }

    /// What is between two backups was asked of a volume that has none.
    NeverBackedUp { volume: String } = {
        code: "never-backed-up", exit: Usage,
        what: ("volume {volume:?} was never backed up, so there is nothing to compare it with"),
        safe: NOTHING_CHANGED,
        next: "Back it up once; `monitor` is for the time between two backups.",
    }

    /// It is not known where a volume was backed up from.
    NoOrigin { volume: String } = {
        code: "no-origin", exit: Usage,
        what: ("this machine does not know where {volume:?} was backed up from"),
        safe: NOTHING_CHANGED,
        next: "Say where it is: --to PATH.",
    }

    /// The volume exists, and was made from another source.
    VolumeNameTaken { volume: String } = {
        code: "volume-name-taken", exit: Usage,
        what: ("two sources of this run would both be volume {volume:?}"),
        safe: NOTHING_CHANGED,
        next: "Give one of them a name of its own: NAME=PATH.",
    }

    /// The volume was backed up from another path before.
    VolumeOfOtherPath { volume: String, path: String, known: String } = {
        code: "volume-of-other-path", exit: Usage,
        what: ("volume {volume:?} was backed up from {known} before, and not from {path}"),
        safe: Safe::Always("No session was made of it; its earlier ones are whole."),
        next: "If this is the same volume, say so with NAME=PATH; if it is another one, give it a \
               name of its own: OTHERNAME=PATH.",
    }

    /// The path is the one known, and leads to another file or device than before.
    VolumeElsewhere { volume: String, path: String, was: String, now: String } = {
        code: "volume-elsewhere", exit: Usage,
        what: (
            "{path} of volume {volume:?} leads to {now} now, and led to {was} when it was last \
             backed up"
        ),
        safe: Safe::Always("Nothing was read from it or written to it; all sessions are whole."),
        next: "Attach or mount the right one. If the volume is there now, say so once: `wyng-ctl \
               backup ARCHIVE NAME=PATH`.",
    }

    }};
}

/// What happened: no volume has the session, or none has any.
pub(super) fn no_session(session: &str) -> String {
    match session {
        "latest" => "the archive has no session yet".to_owned(),
        session => format!("no volume of the archive has a session {session:?}"),
    }
}
