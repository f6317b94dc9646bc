// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings of the whole system: their record, and how a restored one differs from what is here.
//! Nothing of it is ever applied.

use wyng_control::{ChosenQube, PLAN_PAGE_MAX_BYTES, QubeFault};
use wyng_qube::answer;
use wyng_qube::plan::global_commands;
use wyng_qube::record::{GlobalParts, GlobalRecord};

use super::api::Api;
use super::record::out_of_bounds;

/// dom0, as qubesd calls it.
const DOM0: &str = "dom0";
/// Its uuid, which is the same on every system, and which the lists of R4.2 lack.
pub(super) const UUID: &str = "00000000-0000-0000-0000-000000000000";

/// The whole system as a backup takes it: a qube that has settings alone.
pub(super) fn as_qube() -> ChosenQube {
    ChosenQube {
        name: DOM0.to_owned(),
        uuid: UUID.to_owned(),
        volumes: Vec::new(),
    }
}

/// Whether this stands for the whole system.
pub(super) fn is_system(qube: &str, uuid: &str) -> bool {
    qube == DOM0 && uuid == UUID
}

/// The bytes of the record.
pub(super) fn record(api: &Api) -> Result<Vec<u8>, QubeFault> {
    let properties = api.ask(("admin.property.GetAll", "", DOM0), answer::properties)?;
    let mut labels = Vec::new();
    for label in api.ask(("admin.label.List", "", DOM0), answer::labels)? {
        let color = api.ask(("admin.label.Get", &label, DOM0), answer::color)?;
        labels.push((label, color));
    }
    let mut features = Vec::new();
    for name in api.ask(("admin.vm.feature.List", "", DOM0), answer::feature_names)? {
        let value = api.ask(("admin.vm.feature.Get", &name, DOM0), answer::feature_value)?;
        features.push((name, value));
    }
    let pools = api.pools()?.into_iter();
    let drivers = pools.map(|pool| (pool.name, pool.driver)).collect();
    let parts = GlobalParts {
        properties: &properties,
        labels: &labels,
        drivers: &drivers,
        features: &features,
    };
    let record = GlobalRecord::of(&parts);
    let bytes = record.and_then(|record| record.encode());
    bytes.map_err(|bad| out_of_bounds(&bad))
}

/// A line for each property that a record has another value of than this system, with the command
/// that sets it, at most [`PLAN_PAGE_MAX_BYTES`] in all; none where nothing differs. Whoever holds
/// the archive's credential may have written the record, so a person has to look at each.
pub(super) fn commands(api: &Api, record: &[u8]) -> Vec<String> {
    let record = match GlobalRecord::decode(record) {
        Ok(record) => record,
        Err(bad) => return vec![format!("# the settings of the system are refused: {bad}")],
    };
    let here = api.ask(("admin.property.GetAll", "", DOM0), answer::properties);
    let commands = global_commands(&record, &here.unwrap_or_default());
    if commands.is_empty() {
        return commands;
    }
    let first =
        "# settings of the system that differ here; none is applied, and each is a command:";
    let mut room_bytes = PLAN_PAGE_MAX_BYTES;
    std::iter::once(first.to_owned())
        .chain(commands)
        .take_while(|line| {
            room_bytes = room_bytes.saturating_sub(line.len().saturating_add(8));
            room_bytes > 0
        })
        .collect()
}
