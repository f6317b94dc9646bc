// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports of a prune, in the order of its plan.

use wyng_control::{Failure, JudgedSession, PruneReport, ToClient};

use super::freed::Freed;
use super::plan::PrunePlan;
use crate::world::Client;

/// Reports the fate of every session that was judged.
pub(super) fn report_sessions(client: &mut impl Client, plan: &PrunePlan) -> Result<(), Failure> {
    for volume in &plan.volumes {
        for judged in &volume.sessions {
            client.tell(ToClient::Judged(JudgedSession {
                volume: volume.entry.name.clone(),
                session: judged.session.time,
                fate: judged.fate.clone(),
            }))?;
        }
    }
    Ok(())
}

/// Reports the totals.
pub(super) fn report_totals(
    client: &mut impl Client,
    freed: &Freed,
    dry_run: bool,
) -> Result<(), Failure> {
    client.tell(ToClient::Pruned(PruneReport {
        freed_bytes: freed.bytes,
        waiting_bytes: freed.waiting_bytes.saturating_add(freed.bytes),
        unknown_objects: freed.unknown,
        dry_run,
    }))
}
