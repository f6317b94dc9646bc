// SPDX-License-Identifier: GPL-3.0-or-later
//! Ends what a restore left: an open import fails, and what was made is removed if it is still as
//! the restore left it. Everything else is named, and nothing is done to it.

use wyng_control::QubeFault;
use wyng_qube::Shown;
use wyng_qube::plan::{
    CleanUp, Found, Guard, Intent, Request, Step, Unsendable, WhyNamed, ending, guard_query,
    is_guarded, mark_query, may_remove, removal,
};

use super::super::api::Api;
use super::journal::{Journal, Noted};

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

/// Cleans up what is noted, the newest first, in rounds: a qube that another is made over, or
/// reaches the network through, goes after that one. Returns sentences about what stays.
pub(super) fn clean(api: &Api, journal: &Journal) -> Vec<String> {
    let mut noted = match journal.read() {
        Ok(noted) => noted,
        Err(errno) => {
            return vec![format!(
                "the journal of qubes that were being made cannot be read: {errno}"
            )];
        }
    };
    let mut stays = Vec::new();
    loop {
        let before = noted.len();
        stays.clear();
        for place in (0..before).rev() {
            let Some(one) = noted.get(place) else {
                continue;
            };
            match end(api, one) {
                Ended::Gone => {
                    noted.remove(place);
                }
                Ended::Stays(sentence) => stays.push(sentence),
                Ended::TakenUp(sentence) => {
                    stays.push(sentence);
                    noted.remove(place);
                }
            }
        }
        if noted.len() == before || noted.is_empty() {
            break;
        }
    }
    if let Err(errno) = journal.write(&noted) {
        tracing::error!(%errno, "the journal of new qubes cannot be written");
    }
    stays
}

/// Removes qubes of this run that are not restored, and returns those that stay noted.
pub(super) fn remove_now(api: &Api, begun: Vec<Noted>) -> Vec<Noted> {
    let stays = |noted: &Noted| !matches!(end(api, noted), Ended::Gone | Ended::TakenUp(_));
    begun.into_iter().filter(stays).collect()
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

fn end(api: &Api, noted: &Noted) -> Ended {
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
        .filter(|found| noted.is_made && Some(&found.uuid) == intent.uuid.as_ref());
    if let Some(found) = made {
        return match finish(api, intent, found) {
            Ok(()) => Ended::Gone,
            Err(fault) => cannot(fault),
        };
    }
    match decided {
        CleanUp::Nothing => Ended::Gone,
        CleanUp::Remove => match send(api, removal(intent)) {
            Ok(_) => {
                tracing::warn!(
                    qube = intent.qube,
                    "a qube that an interrupted restore began is removed"
                );
                Ended::Gone
            }
            Err(fault) => cannot(fault),
        },
        CleanUp::Name(why @ WhyNamed::UnknownUuid) => Ended::Stays(named(&intent.qube, why)),
        CleanUp::Name(why) => Ended::TakenUp(named(&intent.qube, why)),
    }
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
