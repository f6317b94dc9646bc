// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of passphrases, recovery keys and their slots.

macro_rules! key_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The command requires a passphrase, and none was given.
    NoPassphrase = {
        code: "no-passphrase", exit: Locked,
        what: ("this command requires the passphrase, and none was given"),
        safe: NOTHING_CHANGED,
        next: "Run it on a terminal, or add --passphrase-file FILE.",
    }

    /// The passphrase opens no slot, and no slot is damaged.
    WrongPassphrase = {
        code: "wrong-passphrase", exit: Locked,
        what: ("wrong passphrase"),
        safe: NOTHING_CHANGED,
        next: "Try again. A recovery key works too.",
    }

    /// The passphrase opens a slot that the newest commit does not list.
    PassphraseRemoved = {
        code: "passphrase-removed", exit: Locked,
        what: ("this passphrase was removed from the archive"),
        safe: NOTHING_CHANGED,
        next: "Use one that is still valid: `wyng-ctl key list ARCHIVE`, on a machine that has the \
               archive, shows the slots.",
    }

    /// The new passphrase already opens a slot that stays.
    PassphraseTaken { slot: u8 } = {
        code: "passphrase-taken", exit: Usage,
        what: ("this passphrase already opens slot {slot}"),
        safe: NOTHING_CHANGED,
        next: "Choose another passphrase, or keep that slot.",
    }

    /// The passphrase that was typed is that of the slot to be removed.
    SlotInUse { slot: u8 } = {
        code: "slot-in-use", exit: Usage,
        what: ("the passphrase that you typed is that of slot {slot}, which is to be removed"),
        safe: NOTHING_CHANGED,
        next: "Type the passphrase of a slot that stays.",
    }

    /// The store already has slots under the next names, and this machine did not write them.
    SlotNamesTaken = {
        code: "slot-names-taken", exit: Damage,
        what: (
            "the store already has slots under the next names, and this machine did not write them"
        ),
        safe: Safe::Always(
            "The passphrases that `wyng-ctl key list ARCHIVE` shows stay valid; none was added.",
        ),
        next: "Somebody else writes to the store: find out who. If it was another machine of \
               yours, run `wyng-ctl archive open ARCHIVE`, and then the same command again.",
    }

    /// The recovery sheet's code is malformed, or its check digits are wrong.
    CodeMistyped = {
        code: "code-mistyped", exit: Usage,
        what: ("the recovery sheet's code is mistyped"),
        safe: NOTHING_CHANGED,
        next: "Type it exactly as printed: a code looks like 18-5cd87b25239ff2b6-52.",
    }

    }};
}
