// SPDX-License-Identifier: GPL-3.0-or-later
//! Qubes, qubesd and qrexec.

macro_rules! qubes_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The program that calls other qubes is missing. `None`: this system has neither dom0's nor a
    /// qube's.
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

    /// The qube ended, or the link to it.
    QubeLost { via: String } = {
        code: "qube-lost", exit: Unreachable,
        what: ("the qube behind {via:?} ended, or the link to it"),
        safe: Safe::OfCommand,
        next: "Run the same command again; if that repeats, look at the qube's log and its memory.",
    }

    /// qubesd cannot be asked.
    QubesdUnreachable { errno: i32 } = {
        code: "qubesd-unreachable", exit: Unreachable,
        what: ("qubesd cannot be asked for the qube: {}", system(*errno)),
        safe: Safe::OfCommand,
        next: "Check that qubesd runs (systemctl status qubesd), and that the daemon may use its \
               socket.",
    }

    /// qubesd closed the connection without a word.
    QubesdRefused = {
        code: "qubesd-refused", exit: Unreachable,
        what: ("qubesd did not answer: it refused, or failed"),
        safe: Safe::OfCommand,
        next: "See journalctl -u qubesd.",
    }

    /// What qubesd answered is none of its answers.
    QubesdAnswer = {
        code: "qubesd-answer", exit: Unreachable,
        what: ("qubesd answered in a form that is not understood"),
        safe: Safe::OfCommand,
        next: "Check that this version of Wyng is for this release of Qubes OS.",
    }

    /// There is no qube of this name.
    UnknownQube { qube: String } = {
        code: "unknown-qube", exit: Unreachable,
        what: ("there is no qube {qube:?}"),
        safe: NOTHING_CHANGED,
        next: "See qvm-ls, and correct the far end: qrexec:VM or qrexec:@dispvm:TEMPLATE.",
    }

    /// The qube could not be made or started; `why` is the name of qubesd's error.
    QubeNotStarted { qube: String, why: String } = {
        code: "qube-not-started", exit: Unreachable,
        what: ("the qube {qube:?} cannot be made or started: qubesd says {why}"),
        safe: Safe::OfCommand,
        next: "Start it by hand (qvm-start QUBE, or qvm-run --dispvm=TEMPLATE true) to see why; a \
               template of disposables needs template_for_dispvms.",
    }

    /// The qube has no memory to start in.
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
        next: "Let it go on (qvm-unpause QUBE), and run the same command again.",
    }

    /// The qube was shutting down all the time.
    QubeHalting { qube: String } = {
        code: "qube-halting", exit: Unreachable,
        what: (
            "the qube {qube:?} is shutting down, and has not ended within [qubes] start_timeout"
        ),
        safe: Safe::OfCommand,
        next: "Wait until it has halted (qvm-ls QUBE), or end it (qvm-kill QUBE), and run the \
               same command again.",
    }

    }};
}

/// What happened: a program is missing, or this system has none for calls to qubes.
pub(super) fn qrexec_missing(program: Option<&str>) -> String {
    match program {
        Some(program) => format!("{program} is not installed, so no qube can be called"),
        None => {
            "this system has neither qrexec-client (dom0) nor qrexec-client-vm (a qube), so no \
                 qube can be called"
                .to_owned()
        }
    }
}
