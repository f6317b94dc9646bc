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

    /// Qubes are to be backed up where qubesd is not asked.
    NoQubesHere = {
        code: "no-qubes-here", exit: Usage,
        what: ("this is not dom0, so no qube can be backed up or restored as a whole"),
        safe: NOTHING_CHANGED,
        next: "Run the command in dom0, or name volumes by their paths. In dom0 without \
               qrexec-client, write admin = \"dom0\" into [qubes] of the configuration.",
    }

    /// A user who may not choose qubes does so.
    QubesNotAllowed = {
        code: "qubes-not-allowed", exit: Failed,
        what: (
            "only root and the user who runs the daemon may choose qubes, unless a profile of the \
             configuration has just these"
        ),
        safe: NOTHING_CHANGED,
        next: "Add a profile with `qubes = [...]` to the configuration, restart the daemon, and \
               name it with --profile; or run the command as root.",
    }

    /// A qube was named that does not exist. `near` has names that are like it.
    NoSuchQube { qube: String, near: Vec<String> } = {
        code: "no-such-qube", exit: Usage,
        what: ("{}", no_such_qube(qube, near)),
        safe: NOTHING_CHANGED,
        next: "See qvm-ls, and correct the name.",
    }

    /// A qube was named that is never in a backup; `why` completes "…, since …".
    QubeSpared { qube: String, why: WhyLeftOut } = {
        code: "qube-spared", exit: Usage,
        what: ("the qube {qube:?} is in no backup: {why}"),
        safe: NOTHING_CHANGED,
        next: "Leave it out. Keep nothing but the store in it, or back it up to an archive of \
               another machine.",
    }

    /// The choice takes no qube, and there is no other source.
    NoQubeChosen = {
        code: "no-qube-chosen", exit: Usage,
        what: ("no qube is left to be backed up"),
        safe: NOTHING_CHANGED,
        next: "Name qubes that exist and are not excluded; `qvm-ls --tags TAG` shows what a tag \
               matches.",
    }

    /// More qubes than fit one command.
    TooManyQubes { limit: u32 } = {
        code: "too-many-qubes", exit: Usage,
        what: ("more than {limit} qubes, or more than fit a message, were chosen"),
        safe: NOTHING_CHANGED,
        next: "Back them up by several commands or profiles.",
    }

    /// A qube, or one of its parts, cannot be read. The volume is `QUBE:PART`, or the qube alone.
    QubeNotRead { volume: String, why: QubeFault } = {
        code: "qube-not-read", exit: Failed,
        what: ("{volume} cannot be read: {why}"),
        safe: EARLIER_SESSIONS,
        next: "See journalctl -u qubesd, and run the same command again. A pool that was added \
               after the daemon's start is found after a restart of the daemon.",
    }

    /// A qube cannot be changed where it is; `why` is the end of a sentence.
    QubesInPlace { qube: String, why: String } = {
        code: "qubes-in-place", exit: Usage,
        what: ("the qube {qube:?} is not restored in place: {why}"),
        safe: NOTHING_CHANGED,
        next: "Do what the line says. Or restore it beside the present one, with --as NAME and \
               without --in-place, and compare or rename the two.",
    }

    /// A restore in place failed, and the qube is again what it was.
    QubePutBack { qube: String, why: QubeFault } = {
        code: "qube-put-back", exit: Failed,
        what: ("the qube {qube:?} was not restored, and is what it was before: {why}"),
        safe: Safe::OfCommand,
        next: "See journalctl -u qubesd, and run the same command again.",
    }

    /// A restore in place failed, and the qube could not be put back.
    QubeNotPutBack { qube: String, why: QubeFault } = {
        code: "qube-not-put-back", exit: Failed,
        what: ("the qube {qube:?} is partly restored, and could not be put back yet: {why}"),
        safe: Safe::OfCommand,
        next: "Leave it halted: what it was is kept, and each restore of qubes tries again. \
               `wyng-ctl restore ARCHIVE --undo --qube QUBE` does it at once.",
    }

    /// What a qube was could not be put back, or given up, by a person's word.
    QubeNotSettled { qube: String, why: QubeFault } = {
        code: "qube-not-settled", exit: Failed,
        what: ("what the qube {qube:?} was before its restore in place is still kept: {why}"),
        safe: Safe::OfCommand,
        next: "Shut the qube down if it runs, see journalctl -u qubesd, and run the same command \
               again.",
    }

    /// Nothing is kept of a qube.
    NothingKept { qube: String } = {
        code: "nothing-kept", exit: Usage,
        what: ("nothing is kept of the qube {qube:?} from before a restore in place"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl snapshots list`, which names what is kept.",
    }

    /// The archive has no settings record of a qube.
    QubeNotInArchive { qube: String } = {
        code: "qube-not-in-archive", exit: Usage,
        what: ("the archive has no settings of a qube {qube:?} in this session"),
        safe: NOTHING_CHANGED,
        next: "See `wyng-ctl list ARCHIVE`: a qube that can be restored has a volume \
               QUBE:settings.",
    }

    /// A settings record is refused.
    QubeRecord { volume: String, why: String } = {
        code: "qube-record", exit: Failed,
        what: ("{volume} is refused: {why}"),
        safe: NOTHING_CHANGED,
        next: "Restore an earlier session with --session, or the qube's volumes to files with \
               `wyng-ctl restore ARCHIVE VOLUME --to PATH`.",
    }

    /// No plan can be made; `why` is a sentence without its end.
    QubesNotPlanned { why: String } = {
        code: "qubes-not-planned", exit: Usage,
        what: ("the qubes cannot be restored so: {why}"),
        safe: NOTHING_CHANGED,
        next: "See what --dry-run reports for each qube alone.",
    }

    /// A person did not confirm the plan.
    QubesNotConfirmed = {
        code: "qubes-not-confirmed", exit: Interrupted,
        what: ("the plan was not confirmed"),
        safe: NOTHING_CHANGED,
        next: "Run the same command again, and answer yes; without a terminal, add --yes \
               and leave out --trust-settings.",
    }

    /// This machine's qubes, pools or policy are others than when the plan was made.
    QubesChanged = {
        code: "qubes-changed", exit: Failed,
        what: ("this machine's qubes or policy have changed since the plan was made"),
        safe: NOTHING_CHANGED,
        next: "Run the same command again: it makes a new plan.",
    }

    /// The journal of qubes that are being made cannot be kept.
    QubesJournal { errno: i32 } = {
        code: "qubes-journal", exit: Failed,
        what: ("the journal of new qubes in /var/lib/wyng-qubes cannot be used: {}", system(*errno)),
        safe: Safe::OfCommand,
        next: "Run the command as root, and check the disk. Without the journal no qube is made: \
               one that is left half made could not be recognised.",
    }

    /// A qube was not made, or was removed again.
    QubeNotMade { qube: String, why: QubeFault } = {
        code: "qube-not-made", exit: Failed,
        what: ("the qube {qube:?} was not restored: {why}"),
        safe: Safe::OfCommand,
        next: "See journalctl -u qubesd, and run the same command again for this qube.",
    }

    /// A qube was made, and some of its settings could not be set.
    QubeUnfinished { qube: String, count: u32 } = {
        code: "qube-unfinished", exit: Failed,
        what: ("the qube {qube:?} was restored, but {count} of its settings could not be set"),
        safe: Safe::OfCommand,
        next: "See the lines above, and set them by hand before you start the qube.",
    }

    }};
}

/// The sentence about a name that no qube has.
pub(super) fn no_such_qube(qube: &str, near: &[String]) -> String {
    match near {
        [] => format!("there is no qube {qube:?}"),
        near => format!("there is no qube {qube:?}; there is {}", near.join(", ")),
    }
}

/// The sentence of a missing `program`, or of a system that is neither dom0 nor a qube.
pub(super) fn qrexec_missing(program: Option<&str>) -> String {
    match program {
        Some(program) => format!("{program} is not installed, so no qube can be called"),
        None => "this system is neither dom0 nor a qube, so no qube can be called".to_owned(),
    }
}
