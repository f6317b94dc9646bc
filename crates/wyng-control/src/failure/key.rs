// SPDX-License-Identifier: GPL-3.0-or-later
//! Passphrases, recovery keys and their slots.

macro_rules! key_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// The command needs a passphrase and none was given.
    NoPassphrase = {
        code: "no-passphrase", exit: Locked,
        what: ("this needs the passphrase, and none was given"),
        safe: NOTHING_CHANGED,
        next: "Run it on a terminal, or give --passphrase-file FILE.",
    }

    /// The passphrase opens no slot, and no slot is damaged.
    WrongPassphrase = {
        code: "wrong-passphrase", exit: Locked,
        what: ("wrong passphrase"),
        safe: NOTHING_CHANGED,
        next: "Try again; a recovery key works too.",
    }

    /// The passphrase opens a slot that the newest commit does not list.
    PassphraseRemoved = {
        code: "passphrase-removed", exit: Locked,
        what: ("this passphrase was removed from the archive"),
        safe: NOTHING_CHANGED,
        next: "Use one that is still valid; `wyng-ctl key list ARCHIVE` shows them on a machine \
               that has the archive.",
    }

    /// A slot that stays opens with the new passphrase already.
    PassphraseTaken { slot: u8 } = {
        code: "passphrase-taken", exit: Usage,
        what: ("slot {slot} opens with this passphrase already"),
        safe: NOTHING_CHANGED,
        next: "Choose another passphrase, or keep the slot that has this one.",
    }

    /// The slot that is to be removed is the one whose passphrase was typed.
    SlotInUse { slot: u8 } = {
        code: "slot-in-use", exit: Usage,
        what: ("slot {slot} is the passphrase that you typed"),
        safe: NOTHING_CHANGED,
        next: "Type the passphrase of a slot that stays.",
    }

    /// Several names for new slots are taken in the store, and not by this machine.
    SlotNamesTaken = {
        code: "slot-names-taken", exit: Damage,
        what: ("the names of the next slots are taken in the store, and not by this machine"),
        safe: Safe::Always(
            "The passphrases that `wyng-ctl key list ARCHIVE` shows stay valid; none was added.",
        ),
        next: "Somebody else writes to the store: find out who. If it was another machine of \
               yours, run `wyng-ctl archive open ARCHIVE` and try again.",
    }

    /// The recovery sheet's code has another form, or its check digits do not fit.
    CodeMistyped = {
        code: "code-mistyped", exit: Usage,
        what: ("the recovery sheet's code is mistyped"),
        safe: NOTHING_CHANGED,
        next: "Type it as the sheet has it: a code looks like 18-5cd87b25239ff2b6-52.",
    }

    }};
}
