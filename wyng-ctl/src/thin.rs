// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon has in pools of LVM and ZFS, as the daemon reports it: only root may ask them.
//! Each question is a command of its own, after the command that it belongs to.

use std::collections::BTreeMap;

use wyng_control::{
    Command, ExitStatus, THIN_VOLUMES_MAX, ThinPool, ThinRemoval, ThinUnlisted, ThinVolume,
    ThinWaste, ToClient,
};

use crate::cli::Options;
use crate::client::Reach;
use crate::defaults::ask;
use crate::message::Message;

/// The pools and volumes that the daemon reported.
#[derive(Debug, Default)]
pub(crate) struct Thin {
    /// Pools with at least one of the volumes, or with a metadata snapshot to be decided on.
    pub(crate) pools: Vec<ThinPool>,
    /// Bases, and unfinished snapshots.
    pub(crate) volumes: Vec<ThinVolume>,
    /// Why nothing is known. `None`: all is known, or this machine has no such pool.
    pub(crate) unlisted: Option<ThinUnlisted>,
}

impl Thin {
    /// Asks the daemon, unless this machine has no active thin pool and no ZFS volume. A member of the group is told
    /// of these archives' volumes alone.
    pub(crate) fn of(options: &Options, archives: Vec<[u8; 16]>) -> Result<Self, Message> {
        let mut thin = Self::default();
        if !wyng_origin::has_thin_pool() && !wyng_origin::has_zvols() {
            return Ok(thin);
        }
        if options.standalone && !rustix::process::geteuid().is_root() {
            thin.unlisted = Some(ThinUnlisted::NotRoot);
            return Ok(thin);
        }
        run(
            options,
            Command::ThinList { archives },
            |event| match event {
                ToClient::ThinPool(pool) => thin.pools.push(pool),
                ToClient::ThinVolume(volume) => thin.volumes.push(volume),
                ToClient::ThinUnlisted(why) => thin.unlisted = Some(why),
                _ => {}
            },
        )?;
        Ok(thin)
    }

    /// The same without unfinished volumes.
    pub(crate) fn finished(mut self) -> Self {
        self.volumes.retain(|volume| volume.label.is_some());
        self
    }
}

/// Has the daemon remove volumes and metadata snapshots; returns what became of each, by its name.
pub(crate) fn remove(
    options: &Options,
    waste: &[ThinWaste],
) -> Result<BTreeMap<String, ThinRemoval>, Message> {
    let mut removals = BTreeMap::new();
    for part in waste.chunks(THIN_VOLUMES_MAX) {
        let command = Command::ThinRemove {
            waste: part.to_vec(),
        };
        run(options, command, |event| {
            if let ToClient::ThinRemoved { waste, removal } = event {
                let name = match waste {
                    ThinWaste::Volume(name) => name.to_string(),
                    ThinWaste::MetadataOf(pool) => pool.to_string(),
                };
                removals.insert(name, removal);
            }
        })?;
    }
    Ok(removals)
}

fn run(options: &Options, command: Command, mut take: impl FnMut(ToClient)) -> Result<(), Message> {
    let reach = Reach {
        options,
        may_make_state: false,
        only_looks: command.only_looks(),
        until: None,
    };
    let mut failed = None;
    let exit = ask(&reach, command, |event| match event {
        ToClient::Failed(failure) => failed = Some(Message::of_failure(&failure)),
        event => take(event),
    })
    .map_err(|error| error.message())?;
    match failed {
        Some(message) => Err(message),
        None if exit == ExitStatus::Done => Ok(()),
        None => Err(crate::client::ClientError::Lost.message()),
    }
}
