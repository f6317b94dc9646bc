// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of any command: its arguments, the daemon, the machine.

macro_rules! command_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// wyng-ctl and the daemon have different versions.
    VersionMismatch = {
        code: "version-mismatch", exit: Failed,
        what: ("wyng-ctl and the running daemon have different versions"),
        safe: NOTHING_CHANGED,
        next: "Restart the daemon (systemctl restart wyngd), or add --standalone.",
    }

    /// One user already has the maximum number of connections to the daemon.
    TooManyConnections { limit: u32 } = {
        code: "too-many-connections", exit: Failed,
        what: ("this user already has {limit} connections to the daemon, which is the limit"),
        safe: NOTHING_CHANGED,
        next: "Wait until one of the commands has ended, and run the same command again.",
    }

    /// An action that only root and the daemon's own user may take. `what` completes "may …".
    NotAllowed { what: String } = {
        code: "not-allowed", exit: Failed,
        what: ("only root and the user who runs the daemon may {what}"),
        safe: NOTHING_CHANGED,
        next: "Name the archive's store and far end in the configuration and restart the daemon, \
               or run the command as root.",
    }

    /// A setting is out of bounds.
    BadSetting { setting: String, allowed: String } = {
        code: "bad-setting", exit: Usage,
        what: ("{setting} is out of bounds: {allowed}"),
        safe: NOTHING_CHANGED,
        next: "Give a value within the bounds.",
    }

    /// A name that no volume or archive can have.
    BadName { name: String } = {
        code: "bad-name", exit: Usage,
        what: ("{name:?} is not a valid name"),
        safe: NOTHING_CHANGED,
        next: "Name a volume with NAME=PATH: 1 to 200 bytes without `/` and control characters. \
               An archive's name has 1 to 64 of A-Z a-z 0-9 . _ -. Neither begins with `.` or \
               `-`.",
    }

    /// A timer's prune after a jump of the clock.
    ClockJumped = {
        code: "clock-jumped", exit: Failed,
        what: ("the clock of this machine jumped, so a timer prunes nothing"),
        safe: NOTHING_CHANGED,
        next: "Compare the clock with another one. If it is right, run `wyng-ctl prune ARCHIVE \
               --trust-clock`; otherwise find out who sets it.",
    }

    /// Another daemon has locked the state folder.
    Busy { folder: String } = {
        code: "busy", exit: Failed,
        what: ("another command or daemon uses the state folder {folder}"),
        safe: NOTHING_CHANGED,
        next: "Wait until that command has ended, and run the same command again. If the service \
               uses that folder, leave out --standalone.",
    }

    /// The system refuses memory or a thread.
    OutOfMemory = {
        code: "out-of-memory", exit: Failed,
        what: ("there is not enough memory, or a limit on memory or threads was reached"),
        safe: Safe::OfCommand,
        next: "Free some memory, or raise the limit (ulimit -v, ulimit -u, MemoryMax=, TasksMax=), \
               and run the same command again.",
    }

    /// A blob in transit cannot be kept in a memory file.
    MemoryFile { errno: i32 } = {
        code: "memory-file", exit: Failed,
        what: ("a blob in transit cannot be kept in memory: {}", system(*errno)),
        safe: Safe::OfCommand,
        next: "Free some memory, or raise the limit on file sizes (ulimit -f, LimitFSIZE=), and \
               run the same command again.",
    }

    /// A chunk differed after it was compressed and decompressed: memory or processor is faulty.
    SelfCheck { volume: String } = {
        code: "self-check", exit: Failed,
        what: ("a chunk of {volume:?} differed after it was compressed and decompressed again"),
        safe: Safe::Always("The chunk was not sent; no session was made for this volume."),
        next: "Memory or processor may be faulty: test them before the next backup.",
    }

    /// A rule of the program itself does not hold: a defect, or a kernel without random bytes.
    /// [`Failure::internal`] makes it with the place in the source.
    Internal { what: String, place: String } = {
        code: "internal", exit: Failed,
        what: ("internal error at {place}: {what}"),
        safe: Safe::OfCommand,
        next: "Report this text and what was being done.",
    }

    /// The user interrupted the command.
    Interrupted = {
        code: "interrupted", exit: Interrupted,
        what: ("interrupted"),
        safe: Safe::OfCommand,
        next: "Run the same command again.",
    }

    }};
}
