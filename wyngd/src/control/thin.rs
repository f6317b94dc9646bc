// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands about what the daemon has in thin pools: the pool role answers them by way of volumes,
//! one question after the other, beside the command that runs. No other role hears of them.

use std::collections::BTreeSet;

use wyng_control::{
    Command, ExitStatus, Failure, OwnName, ThinPage, ThinRemoval, ThinUnlisted, ToClient,
};

use super::client::Phase;
use super::hub::Control;
use super::jobs::{ThinCommand, ThinWork};
use crate::ipc::{ControlToVolumes, Fatal};

impl Control {
    /// Queues a command about thin pools, and returns whether it was one. `is_own`: the client is
    /// root, or the daemon's own user.
    pub(super) fn queue_thin(
        &mut self,
        id: u64,
        command: &Command,
        is_own: bool,
    ) -> Result<bool, Fatal> {
        let work = match command {
            Command::ThinList { archives } => ThinWork::List {
                only: (!is_own).then(|| archives.iter().copied().collect()),
                from: 0,
            },
            Command::ThinRemove { waste } => ThinWork::Remove(waste.iter().cloned().collect()),
            _ => return Ok(false),
        };
        self.enter(id, Phase::AskingPools);
        self.thin.queue.push_back(ThinCommand {
            client: Some(id),
            work,
        });
        self.go_on_with_thin()?;
        Ok(true)
    }

    /// Asks volumes the next question, unless it has one or prepares a qube: then it reads no other
    /// message.
    pub(super) fn go_on_with_thin(&mut self) -> Result<(), Fatal> {
        while !self.thin.asked && self.turns.preparing.is_none() {
            let Some(entry) = self.thin.queue.front() else {
                return Ok(());
            };
            let question = match &entry.work {
                // What is left of a command whose client is gone is not done.
                _ if entry.client.is_none() => None,
                ThinWork::List { from, .. } => Some(ControlToVolumes::ThinList { from: *from }),
                ThinWork::Remove(left) => left.front().cloned().map(ControlToVolumes::ThinRemove),
            };
            match question {
                Some(question) => {
                    self.thin.asked = true;
                    self.volumes.send(&question, &[])?;
                }
                None => self.end_thin()?,
            }
        }
        Ok(())
    }

    fn end_thin(&mut self) -> Result<(), Fatal> {
        let ended = self.thin.queue.pop_front();
        match ended.and_then(|entry| entry.client) {
            Some(id) => self.finish(id, ExitStatus::Done),
            None => Ok(()),
        }
    }

    /// Passes on a part of what LVM lists, as far as the client may hear of it.
    pub(super) fn hear_thin_listed(
        &mut self,
        listed: Result<ThinPage, ThinUnlisted>,
    ) -> Result<(), Fatal> {
        let unexpected = Fatal::Unexpected(self.volumes.peer());
        let was_asked = std::mem::take(&mut self.thin.asked);
        let Some(ThinCommand {
            client,
            work: ThinWork::List { only, from },
        }) = self.thin.queue.front_mut().filter(|_| was_asked)
        else {
            return Err(unexpected);
        };
        let (events, is_last) = match listed {
            Err(why) => (vec![ToClient::ThinUnlisted(why)], true),
            Ok(page) => {
                let is_last = !page.more;
                let count = u32::try_from(page.volumes.len()).unwrap_or(u32::MAX);
                // A part without any volume would be asked for again and again.
                *from = from.saturating_add(count.max(1));
                (told(page, only.as_ref()), is_last)
            }
        };
        if let Some(id) = *client {
            events
                .into_iter()
                .try_for_each(|event| self.tell(id, event))?;
        }
        if is_last {
            self.end_thin()?;
        }
        self.go_on_with_thin()
    }

    /// Reports what became of something that was to be removed.
    pub(super) fn hear_thin_removed(&mut self, removal: ThinRemoval) -> Result<(), Fatal> {
        let unexpected = Fatal::Unexpected(self.volumes.peer());
        let was_asked = std::mem::take(&mut self.thin.asked);
        let Some(ThinCommand {
            client,
            work: ThinWork::Remove(left),
        }) = self.thin.queue.front_mut().filter(|_| was_asked)
        else {
            return Err(unexpected);
        };
        if let (Some(id), Some(waste)) = (*client, left.pop_front()) {
            self.tell(id, ToClient::ThinRemoved { waste, removal })?;
        }
        self.go_on_with_thin()
    }

    /// The client does not wait any longer.
    pub(super) fn cancel_thin(&mut self, id: u64) -> Result<(), Fatal> {
        self.leave_thin(id);
        self.refuse(id, Failure::Interrupted)?;
        self.go_on_with_thin()
    }

    /// The client is gone. A question that volumes has is answered all the same.
    pub(super) fn leave_thin(&mut self, id: u64) {
        let entries = self.thin.queue.iter_mut();
        entries
            .filter(|entry| entry.client == Some(id))
            .for_each(|entry| entry.client = None);
    }
}

/// The events of a part. A volume without a label is for whoever may hear of every volume.
fn told(page: ThinPage, only: Option<&BTreeSet<[u8; 16]>>) -> Vec<ToClient> {
    let ThinPage {
        mut pools,
        mut volumes,
        ..
    } = page;
    if let Some(only) = only {
        volumes.retain(|volume| {
            volume
                .label
                .is_some_and(|label| only.contains(&label.of.archive))
        });
        pools.retain(|pool| {
            volumes.iter().any(|volume| match &volume.volume {
                OwnName::Logical(name) => {
                    name.group == pool.pool.group && volume.pool == pool.pool.name
                }
                OwnName::Zfs(_) => false,
            })
        });
    }
    let pools = pools.into_iter().map(ToClient::ThinPool);
    pools
        .chain(volumes.into_iter().map(ToClient::ThinVolume))
        .collect()
}

#[cfg(test)]
mod tests {
    use wyng_control::{BaseLabel, BaseOf, LogicalName, ThinPool, ThinVolume};

    use super::*;

    fn volume(pool: &str, archive: Option<u8>) -> ThinVolume {
        ThinVolume {
            volume: OwnName::Logical(LogicalName::new("vg", "wyng-00000000000000ab").unwrap()),
            pool: pool.into(),
            size_bytes: 1,
            mapped_bytes: None,
            exclusive_bytes: None,
            kept: false,
            label: archive.map(|archive| BaseLabel {
                of: BaseOf {
                    archive: [archive; 16],
                    volume: [1; 16],
                },
                generation: 1,
                session: 1,
                root: [1; 32],
            }),
        }
    }

    #[test]
    fn a_member_of_the_group_hears_of_the_archives_that_it_names_and_of_their_pools() {
        let pool = |name: &str| ThinPool {
            pool: LogicalName::new("vg", name).unwrap(),
            used_percent: Some((1, 1)),
            metadata_left: true,
            bases_dropped: 0,
        };
        let page = ThinPage {
            pools: vec![pool("one"), pool("other")],
            volumes: vec![
                volume("one", Some(1)),
                volume("other", Some(2)),
                volume("other", None),
            ],
            more: false,
        };
        assert_eq!(told(page.clone(), None).len(), 5);
        assert_eq!(
            told(page, Some(&BTreeSet::from([[1; 16]]))),
            [
                ToClient::ThinPool(pool("one")),
                ToClient::ThinVolume(volume("one", Some(1)))
            ]
        );
    }
}
