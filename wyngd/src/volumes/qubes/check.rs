// SPDX-License-Identifier: GPL-3.0-or-later
//! What whole qubes depend on in dom0, for `qubes check`. It only asks.

use std::collections::BTreeSet;

use wyng_control::{
    MESSAGE_MAX_BYTES, MachineFact, MachineFault, MachineSubject, QubeFault, Via, encode,
};
use wyng_qube::answer::{self, PoolInfo};
use wyng_qube::{AllowedRule, Class, Driver, Shown, check_policy};

use super::Qubes;

const DOM0: &str = "dom0";
/// The feature that has disposables of a template started before they are asked for.
const PRELOADS: &str = "preload-dispvm-max";
/// The pool of kernels, of which nothing is backed up.
const KERNELS: &str = "linux-kernel";
/// Room for what surrounds the facts in their message, bytes.
const ROOM_BYTES: usize = 1024;

impl Qubes {
    /// What is found, as much as one message has room for.
    pub(in crate::volumes) fn check(&self, far_ends: &[Via]) -> Vec<MachineFact> {
        let mut facts = vec![self.of_qubesd()];
        facts.extend(self.of_pools());
        facts.extend(far_ends.iter().filter_map(|via| self.of_far_end(via)));
        facts.extend(self.of_policy(far_ends));
        facts.push(self.of_clock(far_ends));
        facts.extend(self.restores.unfinished().into_iter().map(|qube| {
            let detail = "a restore began it and did not complete it".to_owned();
            let fault = Some(MachineFault::RestoreUnfinished);
            fact(MachineSubject::Restore, &qube, detail, fault)
        }));
        let mut room_bytes = MESSAGE_MAX_BYTES.saturating_sub(ROOM_BYTES);
        facts
            .into_iter()
            .take_while(|fact| {
                let length = encode(fact).map_or(usize::MAX, |bytes| bytes.len());
                let fits = length <= room_bytes;
                room_bytes = room_bytes.saturating_sub(length);
                fits
            })
            .collect()
    }

    fn of_qubesd(&self) -> MachineFact {
        let detail = match self.api.list() {
            Ok(listed) => {
                let release = match listed.iter().any(|qube| qube.uuid.is_some()) {
                    true => "as R4.3 does",
                    false => "as R4.2 does",
                };
                let count = listed.iter().filter(|qube| qube.class != Class::Admin);
                format!("it lists {} qubes, {release}", count.count())
            }
            Err(fault) => said(&fault),
        };
        fact(MachineSubject::Qubesd, "", detail, None)
    }

    fn of_pools(&self) -> Vec<MachineFact> {
        let subject = MachineSubject::Pool;
        match self.api.pools() {
            Ok(pools) => {
                let of_volumes = pools
                    .into_iter()
                    .filter(|pool| pool.driver.name() != KERNELS);
                of_volumes
                    .map(|pool| {
                        let (words, fault) = self.of_pool(&pool);
                        let detail = format!("{}: {words}", pool.driver);
                        fact(subject, &pool.name, detail, fault)
                    })
                    .collect()
            }
            Err(fault) => vec![fact(subject, "", said(&fault), None)],
        }
    }

    fn of_pool(&self, pool: &PoolInfo) -> (&'static str, Option<MachineFault>) {
        match pool.driver {
            Driver::LvmThin => ("what changed is read, from the pool's metadata", None),
            Driver::Zfs => (
                "a volume is read if anything in it changed, and not read otherwise",
                None,
            ),
            Driver::FileReflink => match self.pools.can_clone(pool) {
                Some(true) => ("what changed is read, from the files' extents", None),
                Some(false) => (
                    "its files cannot be cloned: volumes are read whole",
                    Some(MachineFault::PoolCannotClone),
                ),
                None => (
                    "its folder was not there when the daemon started",
                    Some(MachineFault::PoolOutOfReach),
                ),
            },
            Driver::File => (
                "it has no snapshots: volumes are read whole",
                Some(MachineFault::PoolReadWhole),
            ),
            Driver::Other(_) => ("its volumes are not backed up", None),
        }
    }

    /// `None` for a far end that is no qube.
    fn of_far_end(&self, via: &Via) -> Option<MachineFact> {
        let (name, is_template) = match via {
            Via::Qube(name) => (name, false),
            Via::Disposable(template) => (template, true),
            Via::Local | Via::Ssh(_) => return None,
        };
        let subject = MachineSubject::FarEnd;
        let found = match self.api.find(name) {
            Ok(found) => found,
            Err(why) => return Some(fact(subject, name, said(&why), None)),
        };
        let netvm = self.api.property(name, "netvm").map(|netvm| netvm.value);
        let network = match netvm {
            Ok(netvm) if netvm.is_empty() => "without network".to_owned(),
            Ok(netvm) => format!("network through {netvm}"),
            Err(_) => "its network is not known".to_owned(),
        };
        let fault = (is_template && self.is_preloaded(name)).then_some(MachineFault::Preloaded);
        let class = found.class().name();
        let detail = match (is_template, fault) {
            (true, Some(_)) => {
                format!("disposables of it, {network}; some are started before they are asked for")
            }
            (true, None) => format!("disposables of it, {network}"),
            (false, _) => format!("{class}, {network}"),
        };
        Some(fact(subject, name, detail, fault))
    }

    /// Whether disposables of a template are started before they are asked for: by its own
    /// feature, or by the system's for its default template.
    fn is_preloaded(&self, template: &str) -> bool {
        let count = |qube: &str| {
            let value = (self.api)
                .ask(
                    ("admin.vm.feature.Get", PRELOADS, qube),
                    answer::feature_value,
                )
                .ok()?;
            value.parse::<u32>().ok()
        };
        let is_default = || {
            let default = self.api.system("default_dispvm");
            default.is_ok_and(|default| default.value == template)
        };
        match count(DOM0) {
            // The system's number takes the place of the default template's own.
            Some(of_system) if is_default() => of_system > 0,
            _ => count(template).is_some_and(|count| count > 0),
        }
    }

    fn of_policy(&self, far_ends: &[Via]) -> Vec<MachineFact> {
        let subject = MachineSubject::Policy;
        let (files, unread) = self.restores.read_policy();
        let far_ends: BTreeSet<String> = far_ends.iter().filter_map(name_of).collect();
        let check = check_policy(&files, &far_ends);
        // wyng-ctl says what to do where the whole file is missing.
        let (detail, fault) = match (check.has_own, check.is_own_whole) {
            (false, _) => ("60-wyng.policy is missing", None),
            (true, true) => ("60-wyng.policy has all of its rules", None),
            (true, false) => (
                "60-wyng.policy lacks some of its rules",
                Some(MachineFault::PolicyIncomplete),
            ),
        };
        let mut facts = vec![fact(subject, "", detail.to_owned(), fault)];
        facts.extend(unread.into_iter().map(|unread| {
            let fault = Some(MachineFault::PolicyUnread);
            fact(
                subject,
                &unread.path,
                format!("it is not read: {}", unread.why),
                fault,
            )
        }));
        let said = |rule: &AllowedRule, fault| {
            let place = format!("{}:{}", rule.file, rule.line);
            let detail = format!(
                "it lets {} call {}",
                Shown::of(&rule.source),
                Shown::of(&rule.service)
            );
            fact(subject, &place, detail, fault)
        };
        facts.extend(check.allowed.iter().map(|rule| {
            let fault = (!rule.is_of_one_qube()).then_some(MachineFault::PolicyAllows);
            said(rule, fault)
        }));
        let notices = check.notices.iter();
        facts.extend(notices.map(|rule| said(rule, Some(MachineFault::PolicyAllowsNotices))));
        facts
    }

    fn of_clock(&self, far_ends: &[Via]) -> MachineFact {
        let clockvm = self.api.system("clockvm").map(|clockvm| clockvm.value);
        let (detail, fault) = match clockvm {
            Ok(clockvm) if clockvm.is_empty() => {
                ("no qube sets it".to_owned(), Some(MachineFault::NoClockVm))
            }
            Ok(clockvm) => {
                let is_far_end = far_ends
                    .iter()
                    .filter_map(name_of)
                    .any(|name| name == clockvm);
                (
                    format!("{clockvm} sets it"),
                    is_far_end.then_some(MachineFault::SetsClock),
                )
            }
            Err(why) => (said(&why), None),
        };
        fact(MachineSubject::Clock, "", detail, fault)
    }
}

fn name_of(via: &Via) -> Option<String> {
    match via {
        Via::Qube(name) | Via::Disposable(name) => Some(name.clone()),
        Via::Local | Via::Ssh(_) => None,
    }
}

fn fact(
    subject: MachineSubject,
    name: &str,
    detail: String,
    fault: Option<MachineFault>,
) -> MachineFact {
    MachineFact {
        subject,
        name: name.to_owned(),
        detail,
        fault,
    }
}

fn said(why: &QubeFault) -> String {
    format!("it cannot be asked: {why}")
}
