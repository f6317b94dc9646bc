// SPDX-License-Identifier: GPL-3.0-or-later
//! Orders of a plan: templates before what is made over them, net qubes before what reaches the
//! network through them.

use std::collections::BTreeSet;

use crate::class::Class;
use crate::record::QubeRecord;

pub(super) const NETVM: &str = "netvm";

/// TemplateVM, StandaloneVM, AppVM with disposable templates first, DispVM; by name among equals.
pub(super) fn creation_order<'a>(records: &[&'a QubeRecord]) -> Vec<&'a QubeRecord> {
    let rank = |record: &QubeRecord| match record.class {
        Class::Template => 0,
        Class::Standalone => 1,
        Class::App if record.is_true("template_for_dispvms") => 2,
        Class::App => 3,
        _ => 4,
    };
    let mut ordered = records.to_vec();
    ordered.sort_by(|one, other| (rank(one), &one.name).cmp(&(rank(other), &other.name)));
    ordered
}

/// The qubes with each net qube before those that reach the network through it, and the names of
/// those that wait for one another, which no machine can have made.
pub(super) fn net_order<'a>(
    records: &[&'a QubeRecord],
) -> (Vec<&'a QubeRecord>, BTreeSet<&'a str>) {
    let mut waiting: Vec<&QubeRecord> = records.to_vec();
    let mut ordered = Vec::new();
    loop {
        let names: BTreeSet<&str> = waiting.iter().map(|record| record.name.as_str()).collect();
        let (ready, rest): (Vec<&QubeRecord>, Vec<&QubeRecord>) =
            waiting.into_iter().partition(|record| {
                record
                    .effective(NETVM)
                    .is_none_or(|net| !names.contains(net))
            });
        if ready.is_empty() {
            let circle = rest.iter().map(|record| record.name.as_str()).collect();
            ordered.extend(rest);
            return (ordered, circle);
        }
        ordered.extend(ready);
        waiting = rest;
    }
}
