// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper at the far end, and the way to it.

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

    /// The far end spoke first in words that are not the protocol.
    FarEndBanner = {
        code: "far-end-banner", exit: Unreachable,
        what: ("the far end printed something before the protocol began"),
        safe: Safe::OfCommand,
        next: "A login script in the template or account prints; silence it for calls that are \
               not interactive.",
    }

    /// The far end broke the protocol.
    FarEndProtocol = {
        code: "far-end-protocol", exit: Unreachable,
        what: ("the far end broke the protocol; the call was ended"),
        safe: Safe::OfCommand,
        next: "Check that both ends have the same version of Wyng. If that repeats, do not trust \
               this transport.",
    }

    /// The far end ended before the job was done.
    FarEndLost = {
        code: "far-end-lost", exit: Unreachable,
        what: ("the far end was lost before the job was done"),
        safe: Safe::OfCommand,
        next: "Run the same command again.",
    }

    /// Nothing moved for too long.
    FarEndStalled = {
        code: "far-end-stalled", exit: Unreachable,
        what: ("the far end stood still for too long; the call was ended"),
        safe: Safe::OfCommand,
        next: "Check the network and the disk or service behind the store, and run the same \
               command again. A slower store needs a longer [far_ends] stall_timeout.",
    }

    /// The far end did not greet in time.
    FarEndSilent { via: String } = {
        code: "far-end-silent", exit: Unreachable,
        what: ("the helper behind {via:?} did not greet in time after it was called"),
        safe: Safe::OfCommand,
        next: "Check that the qube or host answers any call (qvm-run QUBE true; ssh HOST true), \
               and that no question about this call waits on dom0's screen. A qube that needs \
               longer needs a longer [qubes] start_timeout.",
    }

    /// The helper is not installed there.
    FarEndMissing { via: String } = {
        code: "far-end-missing", exit: Unreachable,
        what: ("the helper is not installed behind {via:?}"),
        safe: Safe::OfCommand,
        next: "Install the helper's package there: for a qube in the template that it is based \
               on, and then restart the qube; for ssh where the account's PATH leads.",
    }

    /// The helper is there and cannot be executed.
    FarEndNotExecutable { via: String } = {
        code: "far-end-not-executable", exit: Unreachable,
        what: ("the helper behind {via:?} is there, but cannot be executed"),
        safe: Safe::OfCommand,
        next: "Install the helper's package there again: for a qube in the template that it is \
               based on, where /etc/qubes-rpc/wyng.Push and /usr/libexec/wyng/wyng-transport-vm \
               need mode 0755 and the machine's own architecture; then restart the qube.",
    }

    /// A policy refuses the call.
    FarEndRefused { via: String } = {
        code: "far-end-refused", exit: Unreachable,
        what: (
            "dom0 refuses to call {via:?}: its RPC policy does not allow it, or the qube could \
             not be made or started"
        ),
        safe: Safe::OfCommand,
        next: "In dom0, /var/log/qubes/qrexec.NAME.log says which, where NAME is this qube. Allow \
               wyng.Push and wyng.Fetch from this qube to that one in /etc/qubes/policy.d, or \
               start that qube by hand to see why it does not start. `ask` is always denied for a \
               qube without a GUI domain.",
    }

    /// The helper was killed.
    FarEndKilled { via: String, signal: u8 } = {
        code: "far-end-killed", exit: Unreachable,
        what: ("the helper behind {via:?} was killed by signal {signal}"),
        safe: Safe::OfCommand,
        next: "Most often the qube has too little memory: give it, or the template of the \
               disposable, 400 MB or more, and run the same command again.",
    }

    /// ssh could not connect, or lost the connection.
    SshFailed { via: String } = {
        code: "ssh-failed", exit: Unreachable,
        what: ("ssh could not reach {via:?}, or lost it"),
        safe: Safe::OfCommand,
        next: "Run `ssh HOST true` as whoever runs the daemon: it shows why, and has to succeed \
               without asking for anything. Then run the same command again.",
    }

    }};
}
