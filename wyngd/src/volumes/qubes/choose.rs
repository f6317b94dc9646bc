// SPDX-License-Identifier: GPL-3.0-or-later
//! Which qubes a backup takes, against qubesd's own list. A qube that cannot be asked about is
//! named, and the others are taken.

use std::collections::{BTreeMap, BTreeSet};

use wyng_control::{
    ChosenQube, ChosenQubes, Failure, LeftOut, MESSAGE_MAX_BYTES, QubeChoice, QubeFault, Via,
    WhyLeftOut, encode,
};
use wyng_qube::answer::Listed;
use wyng_qube::{
    Candidate, Class, Kept, Selection, SelectionError, Selector, Spared, WhyLeft, Wish, select,
};

use super::Qubes;
use super::api::{Api, Found, of_command};
use super::system;

/// Maximum number of qubes in one run.
const QUBES_MAX: u32 = 512;
/// Room for what surrounds the answer in its message, bytes.
const ROOM_BYTES: usize = 1024;
/// Maximum number of net qubes behind each other.
const HOPS_MAX: usize = 8;

impl Qubes {
    /// The qubes of a choice, with their volumes. Qubes behind the far ends are not taken; they and
    /// their net qubes are not paused either.
    pub(in crate::volumes) fn choose(
        &mut self,
        choice: &QubeChoice,
        far_ends: &[Via],
        live: bool,
    ) -> Result<ChosenQubes, Failure> {
        let wish = wish(choice)?;
        let listed = self.api.list().map_err(of_command)?;
        self.let_left_over_go_on(&listed);
        let spared = spared(far_ends);
        if live {
            self.never_paused = never_paused(&self.api, &spared);
        }
        let mut chosen = ChosenQubes::default();
        let candidates = self.candidates(&wish, &listed, &mut chosen);
        let selection = select(&candidates, &wish, &spared).map_err(refused)?;
        let Selection { qubes, left_out } = selection;
        let failed: BTreeSet<String> = chosen.failed.iter().map(|(name, _)| name.clone()).collect();
        chosen.left_out.extend(left_out.into_iter().map(told));
        for qube in qubes
            .into_iter()
            .filter(|qube| !failed.contains(&qube.name))
        {
            let Some(found) = listed.iter().find(|listed| listed.name == qube.name) else {
                continue;
            };
            match self.take(found, live, &mut chosen.left_out) {
                Ok(taken) if self.restores.is_unfinished(&taken.uuid) => {
                    chosen.left_out.push(LeftOut {
                        what: taken.name,
                        why: WhyLeftOut::Unfinished,
                    });
                }
                Ok(taken) => chosen.qubes.push(taken),
                Err(fault) => chosen.failed.push((qube.name, fault)),
            }
        }
        if choice.has_system() {
            chosen.qubes.push(system::as_qube());
        }
        let fits = encode(&chosen).is_ok_and(|bytes| {
            bytes.len() <= MESSAGE_MAX_BYTES.saturating_sub(ROOM_BYTES)
                && chosen.qubes.len() <= QUBES_MAX as usize
        });
        if fits {
            Ok(chosen)
        } else {
            Err(Failure::TooManyQubes { limit: QUBES_MAX })
        }
    }

    /// The qubes with what the wish asks of them. One that cannot be asked is noted as failed.
    fn candidates(
        &self,
        wish: &Wish,
        listed: &[Listed],
        chosen: &mut ChosenQubes,
    ) -> Vec<Candidate> {
        let mut selectors = wish.qubes.iter().chain(&wish.exclude);
        let asks_tags = selectors.any(|selector| matches!(selector, Selector::Tag(_)));
        let mut candidates = Vec::new();
        for qube in listed {
            let asked = self.candidate(qube, asks_tags, wish.all);
            // A disposable may be gone by now.
            if matches!(asked, Err(QubeFault::Gone))
                && !wish.qubes.contains(&Selector::Name(qube.name.clone()))
            {
                continue;
            }
            let candidate = asked.unwrap_or_else(|fault| {
                chosen.failed.push((qube.name.clone(), fault));
                Candidate {
                    name: qube.name.clone(),
                    class: qube.class.clone(),
                    tags: BTreeSet::new(),
                    include_in_backups: false,
                }
            });
            candidates.push(candidate);
        }
        candidates
    }

    fn candidate(
        &self,
        qube: &Listed,
        asks_tags: bool,
        asks_all: bool,
    ) -> Result<Candidate, QubeFault> {
        let is_qube = qube.class != Class::Admin;
        let tags = match asks_tags && is_qube {
            true => self.api.tags(&qube.name)?.into_iter().collect(),
            false => BTreeSet::new(),
        };
        let include_in_backups = asks_all
            && is_qube
            && self.api.property(&qube.name, "include_in_backups")?.value == "True";
        Ok(Candidate {
            name: qube.name.clone(),
            class: qube.class.clone(),
            tags,
            include_in_backups,
        })
    }

    /// A qube with its uuid and the volumes that are kept.
    fn take(
        &self,
        listed: &Listed,
        live: bool,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<ChosenQube, QubeFault> {
        let found: Found = self.api.with_uuid(listed.clone())?;
        let volumes = match listed.class {
            Class::Remote => Vec::new(),
            _ => self.api.volumes(&listed.name)?,
        };
        let kept = Kept::of(&listed.name, &volumes);
        left_out.extend(kept.left_out.into_iter().map(told));
        let volumes: Vec<String> = kept
            .volumes
            .iter()
            .map(|volume| volume.name.clone())
            .collect();
        let is_torn = live && !found.is_halted() && volumes.len() > 1;
        if is_torn && self.never_paused.contains(&listed.name) {
            left_out.push(LeftOut {
                what: listed.name.clone(),
                why: WhyLeftOut::NotPaused,
            });
        }
        Ok(ChosenQube {
            name: listed.name.clone(),
            uuid: found.uuid.as_str().to_owned(),
            volumes,
        })
    }
}

/// The wish of a choice, whose words the door has checked.
fn wish(choice: &QubeChoice) -> Result<Wish, Failure> {
    let parse = |word: &str| {
        word.parse::<Selector>().map_err(|_| Failure::NoSuchQube {
            qube: word.to_owned(),
            near: Vec::new(),
        })
    };
    Ok(Wish {
        qubes: choice.selectors().map(parse).collect::<Result<_, _>>()?,
        all: choice.asks_for_all(),
        exclude: choice
            .exclude
            .iter()
            .map(|word| parse(word))
            .collect::<Result<_, _>>()?,
    })
}

fn spared(far_ends: &[Via]) -> BTreeMap<String, Spared> {
    let mut spared = BTreeMap::new();
    for via in far_ends {
        match via {
            Via::Qube(name) => {
                spared.insert(name.clone(), Spared::FarEnd);
            }
            Via::Disposable(template) => {
                let why = spared.entry(template.clone());
                why.or_insert(Spared::FarEndsTemplate);
            }
            Via::Local | Via::Ssh(_) => {}
        }
    }
    spared
}

/// The far ends, and the net qubes behind each. What cannot be asked ends a chain.
fn never_paused(api: &Api, spared: &BTreeMap<String, Spared>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in spared.keys() {
        let mut next = Some(name.clone());
        for _ in 0..=HOPS_MAX {
            let Some(name) = next.filter(|name| all.insert(name.clone())) else {
                break;
            };
            let netvm = api.property(&name, "netvm").map(|netvm| netvm.value);
            next = netvm.ok().filter(|netvm| !netvm.is_empty());
        }
    }
    all
}

fn told(left: wyng_qube::LeftOut) -> LeftOut {
    let why = match left.why {
        WhyLeft::Spared(why) => spared_for(why),
        WhyLeft::Excluded(selector) => WhyLeftOut::Excluded(selector.to_string()),
        WhyLeft::NotIncluded => WhyLeftOut::NotIncluded,
        WhyLeft::VolumesElsewhere => WhyLeftOut::Elsewhere,
        WhyLeft::CalledSettings => WhyLeftOut::CalledSettings,
        WhyLeft::MatchesNothing(_) => WhyLeftOut::MatchesNothing,
    };
    LeftOut {
        what: left.what,
        why,
    }
}

fn spared_for(why: Spared) -> WhyLeftOut {
    match why {
        Spared::FarEnd => WhyLeftOut::FarEnd,
        Spared::FarEndsTemplate => WhyLeftOut::FarEndsTemplate,
        Spared::HoldsStore => WhyLeftOut::HoldsStore,
    }
}

fn refused(error: SelectionError) -> Failure {
    match error {
        SelectionError::Unknown { name, near } => Failure::NoSuchQube { qube: name, near },
        SelectionError::Spared { name, why } => Failure::QubeSpared {
            qube: name,
            why: spared_for(why),
        },
        SelectionError::Dom0 => Failure::NoSuchQube {
            qube: "dom0".into(),
            near: Vec::new(),
        },
    }
}
