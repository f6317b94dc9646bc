// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of the targets of a restore.

macro_rules! target_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The target exists, and `--overwrite` was not given.
    TargetExists { volume: String, path: String } = {
        code: "target-exists", exit: Failed,
        what: ("{path} already exists"),
        safe: NOTHING_CHANGED,
        next: "Choose another path, or add --overwrite to replace it once the new file is \
               complete.",
    }

    /// The volume that a restore would make in a thin pool exists. It is never replaced.
    TargetVolumeExists { volume: String, path: String } = {
        code: "target-volume-exists", exit: Failed,
        what: ("{path} already exists, and a new volume in a pool replaces nothing"),
        safe: NOTHING_CHANGED,
        next: "Choose another name; or write to the volume that is there, with --to PATH \
               --in-place and the path of its device.",
    }

    /// The target cannot be created or given its name.
    TargetUnavailable { volume: String, path: String, errno: i32 } = {
        code: "target-unavailable", exit: Failed,
        what: ("{path} cannot be the target of {volume:?}: {}", system(*errno)),
        safe: Safe::Always("No target holds wrong or partial bytes under its name."),
        next: "Check the path, its folder and the permissions of both.",
    }

    /// The target would be changed in place, and belongs to a qube that runs.
    TargetOfRunningQube { volume: String, path: String } = {
        code: "target-of-running-qube", exit: Failed,
        what: (
            "{path} belongs to a running qube: whatever is written of {volume:?} there is lost \
             when the qube halts"
        ),
        safe: NOTHING_CHANGED,
        next: "Shut the qube down, keep it from starting (qvm-features QUBE prohibit-start \
               restore), and run the same command again; or restore to a file with --to.",
    }

    /// The target would be changed in place, and is a qube's volume in a pool of LVM.
    TargetOfQube { volume: String, path: String } = {
        code: "target-of-qube", exit: Failed,
        what: (
            "{path} is the volume of a qube: Qubes OS renames it and replaces it by snapshots, \
             and what is written of {volume:?} there may be lost"
        ),
        safe: NOTHING_CHANGED,
        next: "Restore to a file with --to FILE, then run `qvm-volume import QUBE:VOLUME FILE`.",
    }

    /// The target is of a kind that cannot hold a volume.
    TargetKind { volume: String, path: String, kind: Unfit } = {
        code: "target-kind", exit: Usage,
        what: ("{path} is {}", kind.phrase()),
        safe: NOTHING_CHANGED,
        next: "Name a new file, a file to --overwrite, or a file or block device to change \
               --in-place; `-` is standard output.",
    }

    /// The target is a block device, and `--in-place` was not given.
    TargetIsDevice { volume: String, path: String } = {
        code: "target-is-device", exit: Usage,
        what: ("{path} is a block device, which cannot be replaced"),
        safe: NOTHING_CHANGED,
        next: "Write to the device with --to PATH --in-place, which overwrites its content.",
    }

    /// The target is smaller than the session.
    TargetTooSmall { volume: String, path: String, has_bytes: u64, size_bytes: u64 } = {
        code: "target-too-small", exit: Failed,
        what: ("{path} has {has_bytes} bytes, and the session of {volume:?} has {size_bytes}"),
        safe: NOTHING_CHANGED,
        next: "Choose a device of at least the session's size.",
    }

    /// The target is in use; `how` names by what.
    TargetInUse { volume: String, path: String, how: String } = {
        code: "target-in-use", exit: Failed,
        what: ("{path} is in use: {how}"),
        safe: NOTHING_CHANGED,
        next: "Unmount it or stop whatever uses it, or choose another target, and run the same \
               command again.",
    }

    /// Replacing the file would lose something besides its content; `what` names it.
    TargetLoses { volume: String, path: String, what: String } = {
        code: "target-loses", exit: Failed,
        what: ("{path} would lose {what} if it were replaced"),
        safe: NOTHING_CHANGED,
        next: "Change it in place with --to PATH --in-place, which keeps all of that; or choose \
               another path.",
    }

    /// The free space is not enough for the target.
    TargetNoRoom { volume: String, path: String, free_bytes: u64, needed_bytes: u64 } = {
        code: "target-no-room", exit: Failed,
        what: (
            "{path} has not enough room: {volume:?} needs {needed_bytes} bytes, and {free_bytes} \
             are free"
        ),
        safe: NOTHING_CHANGED,
        next: "Free some space, or choose a place on another disk.",
    }

    /// No volume can be made in the thin pool.
    TargetPool { volume: String, path: String, why: PoolRefusal } = {
        code: "target-pool", exit: Failed,
        what: ("{path} cannot be made for {volume:?}: {}", why.phrase()),
        safe: NOTHING_CHANGED,
        next: "See `lvs` for the pool's name and state. Or make a volume with lvcreate, and \
               restore with --to PATH --in-place.",
    }

    /// The user did not confirm that the target is overwritten.
    NotConfirmed { volume: String, path: String } = {
        code: "not-confirmed", exit: Interrupted,
        what: ("overwriting {path} was not confirmed"),
        safe: NOTHING_CHANGED,
        next: "Run the same command again, and answer yes.",
    }

    /// The target cannot be written, and was removed.
    TargetWrite { volume: String, path: String, errno: i32 } = {
        code: "target-write", exit: Failed,
        what: ("{path} cannot be written: {}", system(*errno)),
        safe: Safe::Always(
            "The unfinished file was removed. A file that it was to replace is as it was.",
        ),
        next: "Free some space, or choose another place, and run the same command again.",
    }

    /// A target changed in place cannot be written, and was put back as it was.
    TargetWriteUndone { volume: String, path: String, errno: i32 } = {
        code: "target-write-undone", exit: Failed,
        what: ("{path} cannot be written: {}", system(*errno)),
        safe: Safe::Always("The target is as it was before."),
        next: "Free some space on its file system, or check its disk, and run the same command \
               again.",
    }

    /// Standard output cannot be written.
    OutputWrite { volume: String, errno: i32 } = {
        code: "output-write", exit: Failed,
        what: ("volume {volume:?} cannot be written to standard output: {}", system(*errno)),
        safe: Safe::Always("The reader of standard output has only the beginning of the volume."),
        next: "Discard what it has read, and run the same command again.",
    }

    /// The medium of the target holds other bytes than were written.
    TargetDiffers { volume: String, path: String, offset_bytes: u64 } = {
        code: "target-differs", exit: Failed,
        what: ("{path} returns other bytes at byte {offset_bytes} than were written there"),
        safe: NOT_THE_SESSION,
        next: "Check the disk of the target, and restore to another one.",
    }

    /// The medium of the target cannot be read back.
    TargetUnreadable { volume: String, path: String, offset_bytes: u64, errno: i32 } = {
        code: "target-unreadable", exit: Failed,
        what: ("{path} cannot be read back at byte {offset_bytes}: {}", system(*errno)),
        safe: NOT_THE_SESSION,
        next: "Check the disk of the target, and restore to another one.",
    }

    /// A target changed in place could neither be completed nor put back as it was. `why` and
    /// `exit` are those of the failure that ended it.
    TargetUnfinished { volume: String, path: String, why: String, exit: ExitStatus } = {
        code: "target-unfinished", exit: Failed,
        what: ("{path} is neither what it was nor the session, because {why}"),
        safe: Safe::Always(
            "The archive is untouched. Each chunk of the target is either the old one or the \
             restored one.",
        ),
        next: "Run the same command again: only the chunks that still differ are fetched and \
               written.",
    }

    /// A base snapshot does not match its label, and cannot be removed.
    BaseKept { errno: i32 } = {
        code: "base-kept", exit: Failed,
        what: ("a base snapshot is damaged and cannot be removed: {}", system(*errno)),
        safe: Safe::Always("The archive is untouched, and what was restored is right."),
        next: "Remove it from the folder .wyng on the volume's file system (`wyng-ctl snapshots \
               list` names the folder): the next backup then reads the whole volume.",
    }

    }};
}
