// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of qubes, qubesd and qrexec.

macro_rules! qubes_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The program that calls other qubes is missing. `None`: this system is neither dom0 nor a
    /// qube.
    QrexecMissing { program: Option<String> } = {
        code: "qrexec-missing", exit: Unreachable,
        what: ("{}", qrexec_missing(program.as_deref())),
        safe: NOTHING_CHANGED,
        next: "Run the daemon in dom0 or in an admin qube, correct [qubes] in the configuration, \
               or use another far end: local, ssh:HOST.",
    }

    /// qrexec could not make the call.
    QrexecFailed { via: String } = {
        code: "qrexec-failed", exit: Unreachable,
        what: ("qrexec could not make the call to {via:?}"),
        safe: Safe::OfCommand,
        next: "Check that the qube runs and that its qrexec agent answers (qvm-run QUBE true); \
               dom0's log is /var/log/qubes/qrexec.QUBE.log.",
    }

    /// The qube ended, or the connection to it broke.
    QubeLost { via: String } = {
        code: "qube-lost", exit: Unreachable,
        what: ("the qube behind {via:?} ended, or the connection to it broke"),
        safe: Safe::OfCommand,
        next: "Run the same command again. If that repeats, check the qube's log and its memory.",
    }

    /// qubesd cannot be reached.
    QubesdUnreachable { errno: i32 } = {
        code: "qubesd-unreachable", exit: Unreachable,
        what: ("qubesd cannot be asked for the qube: {}", system(*errno)),
        safe: Safe::OfCommand,
        next: "Check that qubesd runs (systemctl status qubesd), and that the daemon may use its \
               socket.",
    }

    /// qubesd closed the connection without an answer.
    QubesdRefused = {
        code: "qubesd-refused", exit: Unreachable,
        what: ("qubesd gave no answer: it refused the request, or failed"),
        safe: Safe::OfCommand,
        next: "See journalctl -u qubesd.",
    }

    /// qubesd's answer has an unknown form.
    QubesdAnswer = {
        code: "qubesd-answer", exit: Unreachable,
        what: ("qubesd's answer has an unknown form"),
        safe: Safe::OfCommand,
        next: "Check that this version of Wyng supports this release of Qubes OS.",
    }

    /// No qube has this name.
    UnknownQube { qube: String } = {
        code: "unknown-qube", exit: Unreachable,
        what: ("there is no qube {qube:?}"),
        safe: NOTHING_CHANGED,
        next: "See qvm-ls, and correct the far end: qrexec:VM or qrexec:@dispvm:TEMPLATE.",
    }

    /// The qube cannot be created or started; `why` is the name of qubesd's error.
    QubeNotStarted { qube: String, why: String } = {
        code: "qube-not-started", exit: Unreachable,
        what: ("the qube {qube:?} cannot be created or started: qubesd reports {why}"),
        safe: Safe::OfCommand,
        next: "Start it by hand (qvm-start QUBE, or qvm-run --dispvm=TEMPLATE true) to see why; a \
               template of disposables needs template_for_dispvms.",
    }

    /// The memory is not enough to start the qube.
    QubeNoMemory { qube: String } = {
        code: "qube-no-memory", exit: Unreachable,
        what: ("there is not enough memory to start the qube {qube:?}"),
        safe: Safe::OfCommand,
        next: "Shut down other qubes, or give this one less memory, and run the same command \
               again.",
    }

    /// The qube is paused.
    QubePaused { qube: String } = {
        code: "qube-paused", exit: Unreachable,
        what: ("the qube {qube:?} is paused"),
        safe: Safe::OfCommand,
        next: "Unpause it (qvm-unpause QUBE), and run the same command again.",
    }

    /// The qube was shutting down until the timeout.
    QubeHalting { qube: String } = {
        code: "qube-halting", exit: Unreachable,
        what: ("the qube {qube:?} is shutting down, and did not halt within [qubes] start_timeout"),
        safe: Safe::OfCommand,
        next: "Wait until it has halted (qvm-ls QUBE), or kill it (qvm-kill QUBE), and run the \
               same command again.",
    }

    }};
}

/// The sentence of a missing `program`, or of a system that is neither dom0 nor a qube.
pub(super) fn qrexec_missing(program: Option<&str>) -> String {
    match program {
        Some(program) => format!("{program} is not installed, so no qube can be called"),
        None => "this system is neither dom0 nor a qube, so no qube can be called".to_owned(),
    }
}
