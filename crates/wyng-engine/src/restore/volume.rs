// SPDX-License-Identifier: GPL-3.0-or-later
//! The restore of one volume, from opening its target to naming it. What is written where is
//! decided in `stream` and `replace`.

use std::collections::HashMap;
use std::sync::Arc;

use wyng_archive::Class;
use wyng_archive::crypto::SessionKey;
use wyng_control::{Failure, RestoreReport, TargetKind};

use super::around;
use super::changes::Changes;
use super::plan::{Planned, RestoreRequest, check_place, wish};
use super::replace::write;
use super::stream::write_stream;
use super::target::{Context, Replacement};
use super::undo::undo;
use super::wrong_base::drop_wrong_base;
use crate::archive::{Archive, Packs};
use crate::bits::Bits;
use crate::older::report_older;
use crate::outcome::is_of_one_target;
use crate::pool::Pool;
use crate::store::ChunkReader;
use crate::world::{Parts, TargetShape, Volumes, World};

/// What opens chunks: the head's packs, and its session keys.
pub(super) struct Openers {
    /// Every pack of the head, by number.
    pub packs: Arc<Packs>,
    /// Session keys, by number.
    pub keys: Arc<HashMap<u32, SessionKey>>,
}

/// How the restore of one volume failed.
pub(super) struct Ended {
    /// Why it failed.
    pub failure: Failure,
    /// Another volume may still be restored.
    pub others_go_on: bool,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self {
            others_go_on: is_of_one_target(&failure),
            failure,
        }
    }
}

/// Restores one volume: opens its target, writes and reads it back, and lets it get its name. A
/// target that fails is left as it was, as far as that can be.
pub(super) fn restore_volume<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    openers: &Openers,
    request: &RestoreRequest,
    plan: &Planned,
) -> Result<RestoreReport, Ended> {
    let Planned {
        item,
        volume,
        session,
        path,
        ..
    } = plan;
    let wish = wish(&world.client, archive, request, volume, session);
    let lost = if request.around_damage {
        Some(around::below_lost_nodes(
            &mut world.files,
            &mut world.client,
            archive,
            session,
        )?)
    } else {
        None
    };
    let shape = world.volumes.open_target(*item, &wish, path)?;
    check_place(request, &volume.name, shape.remembered.as_ref())?;
    restore_into(
        (world, archive, pool),
        openers,
        plan,
        (shape, request.quick, lost),
    )
}

/// Restores a volume to a target that is open: writes and reads it back, and lets it get its name.
/// `lost` has the ranges that are lost already where the restore goes around damage.
pub(super) fn restore_into<P: Parts>(
    (world, archive, pool): (&mut World<P>, &mut Archive, &mut Pool),
    openers: &Openers,
    plan: &Planned,
    (shape, quick, lost): (TargetShape, bool, Option<Bits>),
) -> Result<RestoreReport, Ended> {
    let Planned {
        item,
        volume,
        session,
        path,
        ..
    } = plan;
    let credential = Arc::clone(&archive.credential);
    let domain = Arc::new(credential.domain(session.domain));
    let TargetShape {
        kind, there, fresh, ..
    } = shape;
    let mut reader = ChunkReader::new(&credential, &openers.packs, &openers.keys, &domain);
    if let Some(lost) = lost {
        reader.go_around_damage(lost);
    }
    let mut changes = Changes::none(session);
    let replacement = Replacement {
        item: *item,
        kind,
        there,
        fresh,
        volume,
        session,
        domain: &domain,
        path,
        quick,
    };
    let written = {
        let mut parts = Context {
            world: &mut *world,
            archive,
            pool,
            reader: &mut reader,
        };
        match kind {
            TargetKind::Stream => write_stream(&mut parts, &replacement, &mut changes),
            TargetKind::File | TargetKind::Device => write(&replacement, &mut parts, &mut changes),
        }
    };
    let (fetched_bytes, lost) = (reader.fetched_bytes, reader.take_lost());
    let older: Vec<_> = reader.read_in_older_versions().collect();
    // What is still under way must not become the answer to a later question.
    let written = reader.abandon(&mut world.store).and(written);
    if changes.base_is_wrong {
        drop_wrong_base(world, *item)?;
    }
    let placed = written.and_then(|()| world.volumes.place_target(*item, &volume.name, path));
    let ended = match placed {
        Ok(()) => Ok(RestoreReport {
            item: *item,
            name: volume.name.clone(),
            session: session.time,
            path: path.clone(),
            written_bytes: changes.written_bytes,
            fetched_bytes,
            damaged_bytes: changes.damaged_bytes,
            unread_bytes: changes.unread_bytes,
            lost_bytes: 0,
        }),
        Err(failure) => Err(end(
            &mut world.volumes,
            &replacement,
            &changes,
            about(failure, &volume.name),
        )?),
    };
    world.volumes.close_target(*item);
    for (pack, fault) in older {
        report_older(&mut world.client, Class::Pack, pack, fault)?;
    }
    let mut report = ended?;
    if let Some(lost) = lost {
        report.lost_bytes = around::report_lost(&mut world.client, &volume.name, session, &lost)?;
    }
    Ok(report)
}

/// Gives a target that was changed where it is back what it had, as far as that can be; the failure
/// says what the target is now.
fn end(
    volumes: &mut impl Volumes,
    replacement: &Replacement<'_>,
    changes: &Changes,
    failure: Failure,
) -> Result<Ended, Failure> {
    let others_go_on = is_of_one_target(&failure);
    let is_in_place = replacement.there.is_some_and(|there| there.in_place);
    let failure = if !is_in_place {
        failure
    } else if undo(replacement, volumes, changes)? {
        match failure {
            Failure::TargetWrite {
                volume,
                path,
                errno,
            } => Failure::TargetWriteUndone {
                volume,
                path,
                errno,
            },
            other => other,
        }
    } else {
        let (volume, path) = (replacement.volume.name.clone(), replacement.path.to_owned());
        Failure::TargetUnfinished {
            volume,
            path,
            why: failure.to_string(),
            exit: failure.exit(),
        }
    };
    Ok(Ended {
        failure,
        others_go_on,
    })
}

/// Names the volume in a failure that knew only the object.
fn about(failure: Failure, name: &str) -> Failure {
    match failure {
        Failure::Missing { class, object, .. } => Failure::Missing {
            class,
            object,
            volume: Some(name.to_owned()),
        },
        Failure::Damaged {
            class,
            object,
            what,
            ..
        } => Failure::Damaged {
            class,
            object,
            what,
            volume: Some(name.to_owned()),
        },
        other => other,
    }
}
