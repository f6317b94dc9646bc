// SPDX-License-Identifier: GPL-3.0-or-later
//! Failures of objects that the store has lost or changed, and of what needs them.

macro_rules! damage_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// An object is missing from the store.
    Missing { class: ObjectClass, object: String, volume: Option<String> } = {
        code: "missing", exit: Damage,
        what: (
            "{} {object}{} is missing from the store",
            class.word(), needed_by(volume.as_deref())
        ),
        safe: NO_WRONG_BYTE,
        next: "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next \
               backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … \
               --around-damage` restores the rest of those sessions.",
    }

    /// An object is not what was stored.
    Damaged { class: ObjectClass, object: String, what: String, volume: Option<String> } = {
        code: "damaged", exit: Damage,
        what: ("{} {object}{} is damaged: {what}", class.word(), needed_by(volume.as_deref())),
        safe: NO_WRONG_BYTE,
        next: "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next \
               backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … \
               --around-damage` restores the rest of those sessions.",
    }

    /// The session needs an object that is known to be lost.
    SessionDamaged { volume: String, session: String } = {
        code: "session-damaged", exit: Damage,
        what: ("session {session} of {volume:?} needs an object that the store has lost"),
        safe: NOTHING_CHANGED,
        next: "Restore another session, or the rest of this one with `--around-damage`. If the \
               store has the object again, run `wyng-ctl verify ARCHIVE`, which looks for it, and \
               then the same command.",
    }

    /// The session table of a volume lies in packs that are lost.
    SessionsLost { volume: String } = {
        code: "sessions-lost", exit: Damage,
        what: ("the store has lost the list of sessions of volume {volume:?}"),
        safe: Safe::Always("Other volumes do not need it. Nothing was changed."),
        next: "On a machine that still has its cache of the archive, `wyng-ctl backup` writes the \
               list again. Otherwise the list may return with the store's disk. `wyng-ctl backup \
               ARCHIVE … --heal` continues without these sessions, and if the source is gone too, \
               `wyng-ctl archive acknowledge ARCHIVE` ends the alarm.",
    }

    /// A volume was restored with zeros in place of lost bytes.
    RestoredAround { volume: String, lost_bytes: u64 } = {
        code: "restored-around-damage", exit: Damage,
        what: (
            "{lost_bytes} bytes of volume {volume:?} are lost; the target has zeros in their place"
        ),
        safe: Safe::Always("Every other byte is exact. The archive is untouched."),
        next: "Check the file system on the volume. The content of the listed ranges may still be \
               in another session, or return with the next backup.",
    }

    /// `verify` found problems, each of which was reported.
    ProblemsFound { count: u64 } = {
        code: "problems-found", exit: Damage,
        what: ("{}", problems_found(*count)),
        safe: Safe::Always(
            "Nothing in the store was changed. Every session that is not named can be restored.",
        ),
        next: "Back up again: this sends what the sources still have, and `wyng-ctl verify \
               ARCHIVE` then names what is still damaged. Check the disk or service behind the \
               store. Damage that cannot be healed can be acknowledged: `wyng-ctl archive \
               acknowledge ARCHIVE`.",
    }

    /// `verify` found so much missing or damaged that another disk, or a store that lies, is more
    /// likely.
    MuchDamaged { packs: u64 } = {
        code: "much-damaged", exit: Damage,
        what: (
            "{packs} packs are missing or damaged, so many that this may be the wrong disk or store"
        ),
        safe: Safe::Always(
            "None of them counts as lost, so no backup sends everything again. No session was \
             removed, and everything committed stays.",
        ),
        next: "Check that this is the right disk or store, complete and mounted, and verify \
               again. If the damage is real, `wyng-ctl backup ARCHIVE … --heal` sends again what \
               the sources still have.",
    }

    }};
}

/// The volume that needs an object, as an insertion into a sentence.
pub(super) fn needed_by(volume: Option<&str>) -> String {
    volume
        .map(|volume| format!(", which volume {volume:?} needs,"))
        .unwrap_or_default()
}

/// The sentence of problems that `verify` found.
pub(super) fn problems_found(count: u64) -> String {
    match count {
        1 => "1 problem was found".to_owned(),
        count => format!("{count} problems were found"),
    }
}
