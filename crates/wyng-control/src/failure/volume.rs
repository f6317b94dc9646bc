// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of volumes and sessions that a command names.

macro_rules! volume_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// No rule says which sessions to keep.
    NoRules = {
        code: "no-rules", exit: Usage,
        what: ("no rule says which sessions to keep, so nothing is pruned"),
        safe: NOTHING_CHANGED,
        next: "Give rules such as --keep-daily 7 --keep-weekly 4 --keep-monthly 6, or add \
               [archives.NAME.keep] to the configuration.",
    }

    /// A pinned session cannot be removed.
    SessionPinned { volume: String, session: String } = {
        code: "session-pinned", exit: Failed,
        what: ("session {session} of volume {volume:?} is pinned"),
        safe: NOTHING_CHANGED,
        next: "Unpin the session with `wyng-ctl unpin ARCHIVE VOLUME SESSION`, and run the same \
               command again.",
    }

    /// A volume sent as much new data in a day as it may.
    OverBudget { volume: String, limit_bytes: u64, left_secs: u64 } = {
        code: "over-budget", exit: Partial,
        what: (
            "volume {volume:?} has more new data than the {limit_bytes} bytes that it may send in \
             a day; the next day begins in {left_secs} s"
        ),
        safe: Safe::Always(
            "What was sent of this volume stays in the store and is not sent again. It has no new \
             session; its other sessions are intact.",
        ),
        next: "The next backup continues there from the next day on. If so much is new for a good \
               reason, raise max_new_bytes in the profile, or leave out --max-new-bytes once.",
    }

    /// The archive has no such volume.
    UnknownVolume { volume: String } = {
        code: "unknown-volume", exit: Usage,
        what: ("the archive has no volume {volume:?}"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`.",
    }

    /// The volume has no such session.
    UnknownSession { volume: String, session: String } = {
        code: "unknown-session", exit: Usage,
        what: ("volume {volume:?} has no session {session:?}"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE VOLUME`.",
    }

    /// The session that is to come back was never removed.
    NotRemoved { volume: String, session: String } = {
        code: "not-removed", exit: Usage,
        what: ("session {session} of volume {volume:?} is not removed"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`.",
    }

    /// A removed session cannot come back any more.
    CannotUndelete { volume: String, session: String, why: String } = {
        code: "cannot-undelete", exit: Failed,
        what: ("session {session} of volume {volume:?} cannot come back: {why}"),
        safe: NOTHING_CHANGED,
        next: "Sessions that are still there: `wyng-ctl list ARCHIVE`.",
    }

    /// Several sessions have names with this beginning.
    AmbiguousSession { volume: String, session: String, count: u64 } = {
        code: "ambiguous-session", exit: Usage,
        what: ("the names of {count} sessions of volume {volume:?} begin with {session:?}"),
        safe: NOTHING_CHANGED,
        next: "Type more of the name, or a day such as 2026-11-28 for its last session; see \
               `wyng-ctl list ARCHIVE VOLUME`.",
    }

    /// No volume has a session that was asked for across all volumes.
    NoSession { session: String } = {
        code: "no-session", exit: Usage,
        what: ("{}", no_session(session)),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`.",
    }

    /// `monitor` of a volume without a backup.
    NeverBackedUp { volume: String } = {
        code: "never-backed-up", exit: Usage,
        what: ("volume {volume:?} was never backed up, so there is nothing to compare it with"),
        safe: NOTHING_CHANGED,
        next: "Back it up once; `monitor` compares a volume with its last backup.",
    }

    /// This machine does not know the path from which a volume was backed up.
    NoOrigin { volume: String } = {
        code: "no-origin", exit: Usage,
        what: ("this machine does not know where {volume:?} was backed up from"),
        safe: NOTHING_CHANGED,
        next: "Name the path: --to PATH.",
    }

    /// Two sources of one command have the same volume name.
    VolumeNameTaken { volume: String } = {
        code: "volume-name-taken", exit: Usage,
        what: ("two sources of this command would both be volume {volume:?}"),
        safe: NOTHING_CHANGED,
        next: "Give one of them another name: NAME=PATH.",
    }

    /// The volume was last backed up from another path.
    VolumeOfOtherPath { volume: String, path: String, known: String } = {
        code: "volume-of-other-path", exit: Usage,
        what: ("volume {volume:?} was last backed up from {known}, not from {path}"),
        safe: Safe::Always("No session of it was made; its earlier ones are intact."),
        next: "If this is the same volume, confirm it with NAME=PATH. If it is another one, give \
               it another name: OTHERNAME=PATH.",
    }

    /// The source belongs to a renamed volume, and comes under the volume's former name.
    VolumeRenamed { volume: String, path: String, now: String } = {
        code: "volume-renamed", exit: Usage,
        what: ("volume {volume:?} was renamed: the volume at {path} is called {now:?} now"),
        safe: Safe::Always("No session of it was made; its earlier ones are intact."),
        next: "Back it up under its new name: write that name in the configuration, or \
               NEWNAME=PATH. OLDNAME=PATH begins a second volume of this path instead, which \
               sends everything again.",
    }

    /// Another volume of the archive has this name.
    VolumeExists { volume: String } = {
        code: "volume-exists", exit: Usage,
        what: ("the archive already has a volume {volume:?}"),
        safe: NOTHING_CHANGED,
        next: "Choose another name, or rename that volume first; see `wyng-ctl list ARCHIVE`.",
    }

    /// The path is the known one, and leads to another file or device than before.
    VolumeElsewhere { volume: String, path: String, was: String, now: String } = {
        code: "volume-elsewhere", exit: Usage,
        what: (
            "{path} of volume {volume:?} leads to {now} now, but led to {was} when it was last \
             backed up"
        ),
        safe: Safe::Always("Nothing was read from it or written to it; all sessions are intact."),
        next: "Attach or mount the right one. If the volume has moved there, confirm it once: \
               `wyng-ctl backup ARCHIVE NAME=PATH`.",
    }

    /// The archive, or the volume that was named, has no session that could be restored.
    NothingToRehearse = {
        code: "nothing-to-rehearse", exit: Failed,
        what: ("no intact session was found that a rehearsal could restore"),
        safe: NOTHING_CHANGED,
        next: "Back up first, or name another volume; `wyng-ctl status ARCHIVE` names what is \
               damaged.",
    }

    }};
}

/// The sentence of a `session` that no volume has; `latest` stands for any session at all.
pub(super) fn no_session(session: &str) -> String {
    match session {
        "latest" => "the archive has no session yet".to_owned(),
        session => format!("no volume of the archive has a session {session:?}"),
    }
}
