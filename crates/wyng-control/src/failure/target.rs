// SPDX-License-Identifier: GPL-3.0-or-later
//! The targets of a restore.

macro_rules! target_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The target exists.
    TargetExists { volume: String, path: String } = {
        code: "target-exists", exit: Failed,
        what: ("{path} exists"),
        safe: NOTHING_CHANGED,
        next: "Choose another path, or add --overwrite to replace it once the new file is \
               complete.",
    }

    /// The target could not be made or given its name.
    TargetUnavailable { volume: String, path: String, errno: i32 } = {
        code: "target-unavailable", exit: Failed,
        what: ("{path} cannot be the target of {volume:?}: {}", system(*errno)),
        safe: Safe::Always("No target holds wrong or partial bytes under its name."),
        next: "Check the path, its folder and the permissions of both.",
    }

    /// The target is changed where it is, and belongs to a qube that runs.
    TargetOfRunningQube { volume: String, path: String } = {
        code: "target-of-running-qube", exit: Failed,
        what: (
            "{path} is of a qube that runs: what is written of {volume:?} there is lost when the \
             qube halts"
        ),
        safe: NOTHING_CHANGED,
        next: "Shut the qube down, keep it from starting (qvm-features QUBE prohibit-start \
               restore), and run the same command again; or restore to a file with --to.",
    }

    /// The target is of a kind that can hold no volume.
    TargetKind { volume: String, path: String, kind: Unfit } = {
        code: "target-kind", exit: Usage,
        what: ("{path} is {}", kind.phrase()),
        safe: NOTHING_CHANGED,
        next: "Name a new file, a file to --overwrite, or a file or block device to change \
               --in-place; `-` is standard output.",
    }

    /// The target is a block device, and was not to be changed where it is.
    TargetIsDevice { volume: String, path: String } = {
        code: "target-is-device", exit: Usage,
        what: ("{path} is a block device, which is never replaced"),
        safe: NOTHING_CHANGED,
        next: "Write onto the device with --to PATH --in-place: what it holds is then overwritten.",
    }

    /// The target is smaller than the session.
    TargetTooSmall { volume: String, path: String, has_bytes: u64, size_bytes: u64 } = {
        code: "target-too-small", exit: Failed,
        what: ("{path} has {has_bytes} bytes, and the session of {volume:?} has {size_bytes}"),
        safe: NOTHING_CHANGED,
        next: "Choose a device of at least the session's size.",
    }

    /// The target is in use.
    TargetInUse { volume: String, path: String, how: String } = {
        code: "target-in-use", exit: Failed,
        what: ("{path} is in use: {how}"),
        safe: NOTHING_CHANGED,
        next: "Unmount it or stop what uses it, or choose another target, and run the same \
               command again.",
    }

    /// A file that is replaced would lose something that is not content.
    TargetLoses { volume: String, path: String, what: String } = {
        code: "target-loses", exit: Failed,
        what: ("{path} would lose {what} if it was replaced"),
        safe: NOTHING_CHANGED,
        next: "Change it where it is with --to PATH --in-place, which keeps all of that; or \
               choose another path.",
    }

    /// There is no room for the target.
    TargetNoRoom { volume: String, path: String, free_bytes: u64, needed_bytes: u64 } = {
        code: "target-no-room", exit: Failed,
        what: (
            "{path} has no room: {volume:?} needs {needed_bytes} bytes, and {free_bytes} are free"
        ),
        safe: NOTHING_CHANGED,
        next: "Make room, or choose a place on another disk.",
    }

    /// The person did not agree to overwrite the target.
    NotConfirmed { volume: String, path: String } = {
        code: "not-confirmed", exit: Interrupted,
        what: ("overwriting {path} was not confirmed"),
        safe: NOTHING_CHANGED,
        next: "Run it again, and answer yes.",
    }

    /// The target could not be written.
    TargetWrite { volume: String, path: String, errno: i32 } = {
        code: "target-write", exit: Failed,
        what: ("{path} cannot be written: {}", system(*errno)),
        safe: Safe::Always(
            "The unfinished file was removed. A file that it was to replace is as it was.",
        ),
        next: "Make room, or choose another place, and run the same command again.",
    }

    /// A target that is changed where it is could not be written, and is again what it was.
    TargetWriteUndone { volume: String, path: String, errno: i32 } = {
        code: "target-write-undone", exit: Failed,
        what: ("{path} cannot be written: {}", system(*errno)),
        safe: Safe::Always("The target is what it was before."),
        next: "Make room on its file system, or look after its disk, and run the same command \
               again.",
    }

    /// Standard output could not be written.
    OutputWrite { volume: String, errno: i32 } = {
        code: "output-write", exit: Failed,
        what: ("standard output cannot take {volume:?}: {}", system(*errno)),
        safe: Safe::Always("Whoever read it has only the beginning of the volume."),
        next: "Discard what was read, and run the same command again.",
    }

    /// What was written to the target is not what its medium has.
    TargetDiffers { volume: String, path: String, offset_bytes: u64 } = {
        code: "target-differs", exit: Failed,
        what: ("{path} gives back something else at byte {offset_bytes} than was written to it"),
        safe: NOT_THE_SESSION,
        next: "Look after the disk of the target, and restore to another one.",
    }

    /// What was written to the target cannot be read back from its medium.
    TargetUnreadable { volume: String, path: String, offset_bytes: u64, errno: i32 } = {
        code: "target-unreadable", exit: Failed,
        what: ("{path} cannot be read back at byte {offset_bytes}: {}", system(*errno)),
        safe: NOT_THE_SESSION,
        next: "Look after the disk of the target, and restore to another one.",
    }

    /// A volume that was changed where it is could not be finished, nor made again what it was.
    /// `why` and `exit` are of what ended it.
    TargetUnfinished { volume: String, path: String, why: String, exit: ExitStatus } = {
        code: "target-unfinished", exit: Failed,
        what: ("{path} is neither what it was nor the session, because {why}"),
        safe: Safe::Always(
            "The archive is untouched. Each chunk of the target is either the old one or the \
             restored one.",
        ),
        next: "Run the same command again: only what still differs is fetched and written.",
    }

    /// A base snapshot is not what its label says, and could not be removed.
    BaseKept { errno: i32 } = {
        code: "base-kept", exit: Failed,
        what: ("a base snapshot is damaged, and cannot be removed: {}", system(*errno)),
        safe: Safe::Always("The archive is untouched, and what was restored is right."),
        next: "Remove it from the folder .wyng on the volume's file system (`wyng-ctl snapshots \
               list` names the folder): the next backup then reads the volume whole.",
    }

    }};
}
