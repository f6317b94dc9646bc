// SPDX-License-Identifier: GPL-3.0-or-later
//! Ends what a restore left: an open import fails, and what was made is removed if it is still as
//! the restore left it. Everything else is named, and nothing is done to it.

use wyng_control::QubeFault;
use wyng_qube::Shown;
use wyng_qube::plan::{
    CleanUp, Found, GUARD_FEATURE, GUARD_TAG, Guard, Intent, Request, Step, Unsendable, WhyNamed,
    ending, guard_query, is_guarded, mark_query, may_remove, removal,
};

use super::super::api::Api;
use super::journal::{Journal, Noted, Progress};

/// A qube that is neither removed nor forgotten, in a sentence without its end.
pub(super) fn named(qube: &str, why: WhyNamed) -> String {
    let qube = Shown::of(qube);
    let why = match why {
        WhyNamed::UnknownUuid => "nobody can tell whether the restore made it",
        WhyNamed::OtherQube => "it is another qube under the same name",
        WhyNamed::OtherMark => "its mark is gone",
        WhyNamed::NotGuarded => "its guard is gone",
        WhyNamed::HasRun => "it runs",
    };
    format!("{qube}: was begun by an interrupted restore, and is not removed: {why}")
}

/// What becomes of a note of a qube that is not there and that qubesd did not answer for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It is kept: qubesd may still be making the qube.
    Kept,
    /// It is dropped: a later run finds that nothing was made.
    Dropped,
}

/// Cleans up what is noted, the newest first, in rounds: a qube that another is made over, or
/// reaches the network through, goes after that one. Returns sentences about what stays.
pub(super) fn clean(api: &Api, journal: &Journal, unanswered: Unanswered) -> Vec<String> {
    let mut noted = match journal.read() {
        Ok(noted) => noted,
        Err(errno) => {
            return vec![format!(
                "the journal of qubes that were being made cannot be read: {errno}"
            )];
        }
    };
    let stays = remove(api, &mut noted, unanswered);
    if let Err(errno) = journal.write(&noted) {
        tracing::error!(%errno, "the journal of new qubes cannot be written");
    }
    stays
}

/// Removes what is noted, in rounds, and keeps what is not removed and not decided. Returns a
/// sentence about each qube that is there all the same.
pub(super) fn remove(api: &Api, noted: &mut Vec<Noted>, unanswered: Unanswered) -> Vec<String> {
    let (mut taken_up, mut stays) = (Vec::new(), Vec::new());
    loop {
        let before = noted.len();
        stays.clear();
        for place in (0..before).rev() {
            let Some(one) = noted.get_mut(place) else {
                continue;
            };
            match end(api, one) {
                Ended::Gone if unanswered == Unanswered::Kept && one.intent.uuid.is_none() => {}
                Ended::Gone => {
                    noted.remove(place);
                }
                Ended::Stays(sentence) => stays.push(sentence),
                Ended::TakenUp(sentence) => {
                    taken_up.push(sentence);
                    noted.remove(place);
                }
            }
        }
        if noted.len() == before || noted.is_empty() {
            break;
        }
    }
    taken_up.append(&mut stays);
    taken_up
}

/// What became of a noted qube.
enum Ended {
    /// It is gone, or was finished.
    Gone,
    /// It stays noted.
    Stays(String),
    /// A person has taken it up: it is named once.
    TakenUp(String),
}

fn end(api: &Api, noted: &mut Noted) -> Ended {
    let is_made = noted.is_made();
    let intent = &noted.intent;
    let cannot = |fault: QubeFault| {
        let qube = Shown::of(&intent.qube);
        Ended::Stays(format!(
            "{qube}: was begun by an interrupted restore, and is not removed: {fault}"
        ))
    };
    let found = match find(api, intent) {
        Ok(found) => found,
        Err(fault) => return cannot(fault),
    };
    if let Some(found) = &found {
        // The answer to `fail` is an error although the import has ended as asked.
        for request in ending(intent, found).unwrap_or_default() {
            let _ = api.call(&request);
        }
    }
    let decided = may_remove(intent, found.as_ref());
    let made = found
        .as_ref()
        .filter(|found| is_made && Some(&found.uuid) == intent.uuid.as_ref());
    if let Some(found) = made {
        return match finish(api, intent, found) {
            Ok(()) => Ended::Gone,
            Err(fault) => cannot(fault),
        };
    }
    match decided {
        CleanUp::Nothing => Ended::Gone,
        CleanUp::Remove => match remove_if_still(api, intent) {
            Ok(()) => {
                tracing::warn!(
                    qube = intent.qube,
                    "a qube that an interrupted restore began is removed"
                );
                Ended::Gone
            }
            Err(fault) => cannot(fault),
        },
        CleanUp::Name(why @ WhyNamed::UnknownUuid) => Ended::Stays(named(&intent.qube, why)),
        CleanUp::Name(why @ WhyNamed::OtherQube) => Ended::TakenUp(named(&intent.qube, why)),
        CleanUp::Name(why) => match found {
            Some(found) if found.mark.is_none() => hold(api, noted, found.is_guarded, why),
            _ => Ended::TakenUp(named(&intent.qube, why)),
        },
    }
}

/// Guards a qube that was made here and that was left before it had its mark. It stays noted until
/// a person removes it, or takes its guard away.
fn hold(api: &Api, noted: &mut Noted, is_guarded: bool, why: WhyNamed) -> Ended {
    let Intent { qube, guard, .. } = &noted.intent;
    let shown = Shown::of(qube);
    let is_decided = match noted.progress {
        Progress::Begun => false,
        Progress::Held => !is_guarded,
        Progress::Marked | Progress::Made => true,
    };
    if is_decided {
        return Ended::TakenUp(named(qube, why));
    }
    let step = Step::Guard {
        qube: qube.clone(),
        guard: *guard,
    };
    if !is_guarded && let Err(fault) = guard_it(api, &step) {
        return Ended::Stays(format!(
            "{shown}: was left by an interrupted restore without its guard, and may start: {fault}"
        ));
    }
    let undo = match guard {
        Guard::Tag => format!("qvm-tags {shown} del {GUARD_TAG}"),
        Guard::Feature => format!("qvm-features --unset {shown} {GUARD_FEATURE}"),
    };
    noted.progress = Progress::Held;
    Ended::Stays(format!(
        "{shown}: was left by an interrupted restore, is not complete, and cannot start: remove \
         it with `qvm-remove {shown}`, or keep it with `{undo}`"
    ))
}

/// Sets a guard, unless it would give a qube power over the guarded one.
fn guard_it(api: &Api, step: &Step) -> Result<(), QubeFault> {
    let is_tag = matches!(
        step,
        Step::Guard {
            guard: Guard::Tag,
            ..
        }
    );
    match super::machine::restorer(api)? {
        Some(restorer) if is_tag => Err(QubeFault::NotPlanned {
            why: format!(
                "the guard would give {} power over it",
                Shown::of(&restorer)
            ),
        }),
        _ => send(api, step.request()).map(drop),
    }
}

/// Removes a qube if it is still the one under its name: qubesd removes by name alone.
fn remove_if_still(api: &Api, intent: &Intent) -> Result<(), QubeFault> {
    let found = match api.find(&intent.qube) {
        Err(QubeFault::Gone) => return Ok(()),
        found => found?,
    };
    if Some(&found.uuid) != intent.uuid.as_ref() || !found.is_halted() {
        return Err(QubeFault::Gone);
    }
    send(api, removal(intent)).map(drop)
}

/// Takes mark and guard away from a qube of which everything else was done.
fn finish(api: &Api, intent: &Intent, found: &Found) -> Result<(), QubeFault> {
    let qube = intent.qube.clone();
    // A guard that is not the restore's is the qube's own.
    let unguard = found.is_guarded.then(|| Step::Unguard {
        qube: qube.clone(),
        guard: intent.guard,
    });
    for step in std::iter::once(Step::Unmark { qube }).chain(unguard) {
        match send(api, step.request()) {
            Ok(_) => {}
            Err(QubeFault::Exception { class, .. }) if is_missing(&class) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// Whether an error says that a feature or tag that is to be removed is not there.
pub(super) fn is_missing(class: &str) -> bool {
    matches!(class, "QubesFeatureNotFoundError" | "QubesTagNotFoundError")
}

/// What is found under the name of an intent.
fn find(api: &Api, intent: &Intent) -> Result<Option<Found>, QubeFault> {
    let listed = match api.find(&intent.qube) {
        Ok(listed) => listed,
        Err(QubeFault::Gone) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let mark = match send(api, mark_query(&intent.qube)) {
        Ok(mark) => Some(mark),
        Err(QubeFault::Exception { .. }) => None,
        Err(QubeFault::Gone) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let guard = match send(api, guard_query(&intent.qube, intent.guard)) {
        Ok(answer) => is_guarded(intent.guard, &answer),
        Err(QubeFault::Exception { .. }) if intent.guard == Guard::Feature => false,
        Err(fault) => return Err(fault),
    };
    Ok(Some(Found {
        // Its guard was there from before its first start could be.
        has_run: !listed.is_halted(),
        uuid: listed.uuid,
        mark,
        is_guarded: guard,
    }))
}

/// Sends what a plan or a clean-up says.
pub(super) fn send(api: &Api, request: Result<Request, Unsendable>) -> Result<String, QubeFault> {
    let request = request.map_err(|_| QubeFault::Malformed {
        call: "a request".into(),
    })?;
    api.call(&request)
}

/// Sets what a step says. That what is to be removed is not there is no error.
pub(super) fn set(api: &Api, step: &Step) -> Result<(), QubeFault> {
    let removes = matches!(
        step,
        Step::RemoveFeature { .. } | Step::Unmark { .. } | Step::Unguard { .. }
    );
    match send(api, step.request()) {
        Ok(_) => {}
        Err(QubeFault::Exception { class, .. }) if removes && is_missing(&class) => {}
        Err(fault) => return Err(fault),
    }
    let Step::KeepDefault { qube, property, .. } = step else {
        return Ok(());
    };
    let now = api.property(qube, property)?.value;
    let now = Some(now.as_str()).filter(|now| !now.is_empty());
    match step.settle(now) {
        Some(step) => send(api, step.request()).map(drop),
        None => Ok(()),
    }
}
