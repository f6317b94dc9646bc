// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects that the store has lost or changed, and what needs them.

macro_rules! damage_failures {
    ([$next:ident $($more:ident)*] $($rows:tt)*) => { $next! { [$($more)*] $($rows)*

    /// An object is missing.
    Missing { class: ObjectClass, object: String, volume: Option<String> } = {
        code: "missing", exit: Damage,
        what: ("{} {object}{} is missing from the store", class.word(), needed_by(volume.as_deref())),
        safe: NO_WRONG_BYTE,
        next: "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next \
               backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … \
               --around-damage` restores what is left of them.",
    }

    /// An object is not what was stored.
    Damaged { class: ObjectClass, object: String, what: String, volume: Option<String> } = {
        code: "damaged", exit: Damage,
        what: ("{} {object}{} is damaged: {what}", class.word(), needed_by(volume.as_deref())),
        safe: NO_WRONG_BYTE,
        next: "Run `wyng-ctl verify ARCHIVE`: it names the sessions that need it, and the next \
               backup sends again what the sources still have. `wyng-ctl restore ARCHIVE … \
               --around-damage` restores what is left of them.",
    }

    /// The session needs something that is known to be lost.
    SessionDamaged { volume: String, session: String } = {
        code: "session-damaged", exit: Damage,
        what: ("session {session} of {volume:?} needs something that the store has lost"),
        safe: NOTHING_CHANGED,
        next: "Restore another session, or what is left of this one with `--around-damage`. If \
               the store has it again, run `wyng-ctl verify ARCHIVE`, which looks, and then the \
               same command.",
    }

    /// The list of a volume's sessions lies in packs that are lost.
    SessionsLost { volume: String } = {
        code: "sessions-lost", exit: Damage,
        what: ("the store has lost the list of the sessions of volume {volume:?}"),
        safe: Safe::Always("Other volumes do not need it. Nothing was changed."),
        next: "On a machine that still has its cache of the archive, `wyng-ctl backup` writes the \
               list again. Else the list may come back with the store's disk; without these \
               sessions `wyng-ctl backup ARCHIVE … --heal` goes on, and if the source is gone \
               too, `wyng-ctl archive acknowledge ARCHIVE` ends the alarm.",
    }

    /// A volume was restored, with zeros in the place of lost bytes.
    RestoredAround { volume: String, lost_bytes: u64 } = {
        code: "restored-around-damage", exit: Damage,
        what: (
            "{lost_bytes} bytes of volume {volume:?} are lost; the target has zeros in their place"
        ),
        safe: Safe::Always("Every other byte is exact. The archive is untouched."),
        next: "Check the file system on the volume. What lay in the listed ranges may still be in \
               another session, or come back with the next backup.",
    }

    /// verify found problems; each was told.
    ProblemsFound { count: u64 } = {
        code: "problems-found", exit: Damage,
        what: ("{}", problems_found(*count)),
        safe: Safe::Always(
            "Nothing in the store was changed. Sessions that are not named restore.",
        ),
        next: "Back up again: what the sources still have is sent anew, and then `wyng-ctl verify \
               ARCHIVE` names what stays damaged. Look after the disk or service behind the \
               store. What cannot heal any more can be acknowledged: `wyng-ctl archive \
               acknowledge ARCHIVE`.",
    }

    /// verify found so much missing or damaged that it is more likely another disk, or a store that
    /// lies.
    MuchDamaged { packs: u64 } = {
        code: "much-damaged", exit: Damage,
        what: (
            "{packs} packs were found missing or damaged, more than a tenth of what verify read"
        ),
        safe: Safe::Always(
            "None of them counts as lost, so no backup sends everything again. Nothing in the \
             store was changed.",
        ),
        next: "Check that it is the right disk or store, whole and mounted, and verify again. If \
               the damage is real, `wyng-ctl backup ARCHIVE … --heal` sends again what the \
               sources still have.",
    }

    }};
}

/// Whom a damaged object hurts, in the middle of a sentence.
pub(super) fn needed_by(volume: Option<&str>) -> String {
    volume
        .map(|volume| format!(", which volume {volume:?} needs,"))
        .unwrap_or_default()
}

/// What happened: how many problems verify found.
pub(super) fn problems_found(count: u64) -> String {
    match count {
        1 => "1 problem was found".to_owned(),
        count => format!("{count} problems were found"),
    }
}
