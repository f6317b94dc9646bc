// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of the helper at the far end, and of the connection to it.

macro_rules! far_end_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The far end could not be started.
    FarEndStart { via: String, errno: i32 } = {
        code: "far-end-start", exit: Unreachable,
        what: ("the far end {via:?} cannot be started: {}", system(*errno)),
        safe: Safe::OfCommand,
        next: "Check that wyng-transport-vm is installed there (or beside wyng-ctl), and that the \
               VM or host can be reached.",
    }

    /// The far end sent something else before the protocol began.
    FarEndBanner = {
        code: "far-end-banner", exit: Unreachable,
        what: ("the far end printed something before the protocol began"),
        safe: Safe::OfCommand,
        next: "A login script in the template or account prints something: silence it for calls \
               that are not interactive.",
    }

    /// The far end violated the protocol.
    FarEndProtocol = {
        code: "far-end-protocol", exit: Unreachable,
        what: ("the far end violated the protocol, so the call was ended"),
        safe: Safe::OfCommand,
        next: "Check that both ends have the same version of Wyng. If that repeats, do not trust \
               this transport.",
    }

    /// The far end ended before the command was done.
    FarEndLost = {
        code: "far-end-lost", exit: Unreachable,
        what: ("the far end ended before the command was done"),
        safe: Safe::OfCommand,
        next: "Run the same command again.",
    }

    /// The far end of this store made no progress within the timeout.
    FarEndStalled { store: String } = {
        code: "far-end-stalled", exit: Unreachable,
        what: (
            "the far end of the store {store} made no progress for too long, so the call was ended"
        ),
        safe: Safe::OfCommand,
        next: "Check the network and the disk or service behind the store, and run the same \
               command again. A slower store requires a longer [far_ends] stall_timeout.",
    }

    /// The helper sent no HELLO in time.
    FarEndSilent { via: String } = {
        code: "far-end-silent", exit: Unreachable,
        what: ("the helper behind {via:?} did not answer the call in time"),
        safe: Safe::OfCommand,
        next: "Check that the qube or host answers any call (qvm-run QUBE true; ssh HOST true), \
               and that dom0's screen shows no question about this call. A slower qube requires a \
               longer [qubes] start_timeout.",
    }

    /// The helper is not installed at the far end.
    FarEndMissing { via: String } = {
        code: "far-end-missing", exit: Unreachable,
        what: ("the helper is not installed behind {via:?}"),
        safe: Safe::OfCommand,
        next: "Install the helper's package there: for a qube in its template, and then restart \
               the qube; for ssh where the account's PATH finds it.",
    }

    /// The helper is installed at the far end and cannot be executed.
    FarEndNotExecutable { via: String } = {
        code: "far-end-not-executable", exit: Unreachable,
        what: ("the helper behind {via:?} is installed, but cannot be executed"),
        safe: Safe::OfCommand,
        next: "Reinstall the helper's package there: for a qube in its template, where \
               /etc/qubes-rpc/wyng.Push and /usr/libexec/wyng/wyng-transport-vm need mode 0755 \
               and the machine's own architecture; then restart the qube.",
    }

    /// dom0 refuses the call.
    FarEndRefused { via: String } = {
        code: "far-end-refused", exit: Unreachable,
        what: (
            "dom0 refuses to call {via:?}: its RPC policy denies the call, or the qube could not \
             be created or started"
        ),
        safe: Safe::OfCommand,
        next: "In dom0, /var/log/qubes/qrexec.NAME.log shows which, where NAME is this qube. \
               Allow wyng.Push and wyng.Fetch from this qube to that one in /etc/qubes/policy.d, \
               or start that qube by hand to see why it does not start. `ask` is always denied \
               for a qube without a GUI domain.",
    }

    /// `backup --verify` could not read back the blobs that it sent. `why` and `exit` are those of
    /// the failure that prevented it.
    NotReadBack { why: String, exit: ExitStatus } = {
        code: "not-read-back", exit: Unreachable,
        what: ("the backup is complete, but what it sent could not be read back: {why}"),
        safe: Safe::Always("Every session that was reported is in the archive."),
        next: "Reading back needs wyng.Fetch: where the policy or the store refuses it, omit \
               --verify and `verify = true`. Otherwise run `wyng-ctl verify ARCHIVE` later.",
    }

    /// A signal killed the helper.
    FarEndKilled { via: String, signal: u8 } = {
        code: "far-end-killed", exit: Unreachable,
        what: ("the helper behind {via:?} was killed by signal {signal}"),
        safe: Safe::OfCommand,
        next: "The usual cause is too little memory: give the qube, or the template of the \
               disposable, at least 400 MB, and run the same command again.",
    }

    /// ssh could not connect, or lost the connection.
    SshFailed { via: String } = {
        code: "ssh-failed", exit: Unreachable,
        what: ("ssh could not connect to {via:?}, or lost the connection"),
        safe: Safe::OfCommand,
        next: "Run `ssh HOST true` as the user who runs the daemon: it shows the cause, and must \
               succeed without a question. Then run the same command again.",
    }

    }};
}
