// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of thin pools that a restore in place changes. The pool role keeps them, and makes their
//! successors beside them; qubesd makes a successor the qube's, as the outcome of an import. Here
//! they are names and numbers.

use std::rc::Rc;

use wyng_control::{
    LogicalName, PoolRefusal, QubeFault, TargetFault, TargetKind, There, WholeCause,
};
use wyng_qube::answer::VolumeInfo;
use wyng_qube::plan::{InPlaceNote, KeptVolume, Step, ThinVolume};
use wyng_qube::{Place, Which};

use super::super::super::snapshot::Rotation;
use super::super::super::thin::{PoolWire, ask, done};
use super::super::api::Found;
use super::super::reach::{Pools, place_of};
use super::ground::{Ground, fault_of};
use super::import;
use super::next::{OfPool, Opened};
use crate::ipc::{FreshVolume, MadeFrom, OfQube, PoolToVolumes, QuestionOfQube, VolumesToPool};

/// Ending of the volume that qubesd makes for an import.
const IMPORT: &str = "-import";

/// What a pool has of a qube's volume.
pub(super) struct Looked {
    /// The size of what is kept, bytes.
    pub(super) kept_bytes: Option<u64>,
    /// The volume is what is kept: a snapshot of it, or the very one that it is a snapshot
    /// of.
    pub(super) is_back: bool,
    has_room: bool,
}

/// A volume that is to take the place of a qube's. The pool role removes it when this is dropped,
/// unless it has taken the place.
pub(super) struct Successor {
    pool: Rc<PoolWire>,
    number: u32,
    to: ThinVolume,
}

/// The volume, and that it can be kept; else why not, the end of a sentence.
pub(super) fn keepable(
    ground: Ground<'_>,
    found: &Found,
    (info, nonce): (&VolumeInfo, &str),
) -> Result<KeptVolume, String> {
    let (_, pools, _) = ground;
    let thin = thin_of(ground, found, info).map_err(|fault| fault.to_string())?;
    let of = of_qube(found.uuid.as_str(), &info.name, nonce, &thin);
    let looked = look(pools, &of).map_err(|fault| fault.to_string())?;
    if !looked.has_room {
        return Err(WholeCause::PoolFilling.what().to_owned());
    }
    Ok(KeptVolume {
        volume: info.name.clone(),
        pool_folder: None,
        thin: Some(thin),
    })
}

/// Where a volume lies now.
fn thin_of(ground: Ground<'_>, found: &Found, info: &VolumeInfo) -> Result<ThinVolume, QubeFault> {
    let (api, ..) = ground;
    let place = place_of(api, found, info, Which::Committed).map_err(|why| fault_of(&why))?;
    let pool = api.pool(&info.pool)?.thin_pool;
    match (place, pool) {
        (Place::Logical { group, name }, Some(pool)) => Ok(ThinVolume { group, pool, name }),
        _ => Err(QubeFault::OtherPlace),
    }
}

/// A volume of a restore, as the pool role is asked about it.
pub(super) fn of(note: &InPlaceNote, volume: &str, thin: &ThinVolume) -> OfQube {
    of_qube(&note.uuid, volume, &note.nonce, thin)
}

fn of_qube(uuid: &str, volume: &str, nonce: &str, thin: &ThinVolume) -> OfQube {
    let hash = blake3::hash(format!("{uuid}\n{volume}\n{nonce}").as_bytes());
    let mut restore = [0; 16];
    let digits = hash.as_bytes().iter();
    restore
        .iter_mut()
        .zip(digits)
        .for_each(|(to, from)| *to = *from);
    OfQube {
        pool: LogicalName {
            group: thin.group.clone(),
            name: thin.pool.clone(),
        },
        name: thin.name.clone(),
        restore,
    }
}

/// What its pool has of a volume.
pub(super) fn look(pools: &Pools, of: &OfQube) -> Result<Looked, QubeFault> {
    looked(pools, QuestionOfQube::Look(of.clone()))
}

/// Keeps what a volume is now. It must still lie where it was found.
pub(super) fn keep(
    ground: Ground<'_>,
    (found, info): (&Found, &VolumeInfo),
    (of, thin): (&OfQube, &ThinVolume),
) -> Result<(), QubeFault> {
    let (_, pools, _) = ground;
    check_place(ground, found, info, thin)?;
    let kept = looked(pools, QuestionOfQube::Keep(of.clone()))?;
    kept.kept_bytes.map(drop).ok_or(LVM_FAILED)
}

/// Gives up what was kept.
pub(super) fn give_up(pools: &Pools, of: OfQube) -> Result<(), QubeFault> {
    let question = VolumesToPool::OfQube(QuestionOfQube::GiveUp(of));
    match ask(wire(pools)?, &question).map(|received| received.message) {
        Ok(PoolToVolumes::Done { errno: 0 }) => Ok(()),
        Ok(PoolToVolumes::NotMade(fault)) => Err(refused(&fault)),
        _ => Err(LVM_FAILED),
    }
}

/// The volume of a qube must lie where it did.
pub(super) fn check_place(
    ground: Ground<'_>,
    found: &Found,
    info: &VolumeInfo,
    thin: &ThinVolume,
) -> Result<(), QubeFault> {
    match thin_of(ground, found, info)? == *thin {
        true => Ok(()),
        false => Err(QubeFault::OtherPlace),
    }
}

/// Has a successor of a volume made, which has at least this size.
pub(super) fn make(
    pools: &Pools,
    (of, thin): (OfQube, &ThinVolume),
    from: MadeFrom,
    size_bytes: u64,
) -> Result<(Successor, Opened), QubeFault> {
    let pool = wire(pools)?;
    let question = VolumesToPool::OfQube(QuestionOfQube::Make {
        of,
        from,
        size_bytes,
    });
    let received = ask(pool, &question).map_err(|_| LVM_FAILED)?;
    match &received.message {
        PoolToVolumes::Made {
            number,
            size_bytes,
            discards_bytes,
            room_bytes,
            block_bytes,
            base: None,
        } => {
            let successor = Successor {
                pool: Rc::clone(pool),
                number: *number,
                to: thin.clone(),
            };
            let there = There {
                size_bytes: *size_bytes,
                in_target: true,
                in_place: false,
                beside: None,
                base: None,
            };
            let of_pool = OfPool {
                discards_bytes: *discards_bytes,
                fresh: FreshVolume {
                    size_bytes: *size_bytes,
                    room_bytes: *room_bytes,
                    block_bytes: *block_bytes,
                },
            };
            let opened = Opened {
                file: received.descriptor().map_err(|_| LVM_FAILED)?,
                kind: TargetKind::Device,
                there: Some(there),
                of_pool: Some(of_pool),
            };
            Ok((successor, opened))
        }
        PoolToVolumes::NotMade(fault) => Err(refused(fault)),
        _ => Err(LVM_FAILED),
    }
}

impl Successor {
    /// Has qubesd make it the qube's volume, by the import that this step begins. After an error
    /// the import is ended, and the qube's volume is what it was, unless qubesd failed to say so.
    pub(super) fn put_in_place(self, ground: Ground<'_>, step: &Step) -> Result<(), QubeFault> {
        let (api, ..) = ground;
        let Step::Import { qube, volume, .. } = step else {
            return Err(QubeFault::OtherPlace);
        };
        let wanted = Place::Logical {
            group: self.to.group.clone(),
            name: format!("{}{IMPORT}", self.to.name),
        };
        let place = import::begin_at(ground, step)?;
        let put = match place == wanted {
            true => self.done(QuestionOfQube::PutImport {
                number: self.number,
            }),
            false => Err(QubeFault::OtherPlace),
        };
        if let Err(fault) = put {
            import::end_unsuccessfully(api, qube, volume);
            return Err(fault);
        }
        import::end(api, qube, volume)?;
        // qubesd reports success also where it found nothing to take.
        self.done(QuestionOfQube::CheckImport {
            number: self.number,
        })
    }

    fn done(&self, question: QuestionOfQube) -> Result<(), QubeFault> {
        match done(&self.pool, &VolumesToPool::OfQube(question)) {
            Rotation::Done(Ok(())) => Ok(()),
            _ => Err(LVM_FAILED),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let number = self.number;
        let _ = self.pool.send(&VolumesToPool::Release { number }, &[]);
    }
}

const LVM_FAILED: QubeFault = QubeFault::Pool(PoolRefusal::Unfit(WholeCause::LvmFailed));

fn wire(pools: &Pools) -> Result<&Rc<PoolWire>, QubeFault> {
    pools.thin().ok_or(QubeFault::Pool(PoolRefusal::NotRoot))
}

fn looked(pools: &Pools, question: QuestionOfQube) -> Result<Looked, QubeFault> {
    let question = VolumesToPool::OfQube(question);
    match ask(wire(pools)?, &question).map(|received| received.message) {
        Ok(PoolToVolumes::OfQube {
            kept_bytes,
            is_back,
            has_room,
        }) => Ok(Looked {
            kept_bytes,
            is_back,
            has_room,
        }),
        Ok(PoolToVolumes::NotMade(fault)) => Err(refused(&fault)),
        _ => Err(LVM_FAILED),
    }
}

fn refused(fault: &TargetFault) -> QubeFault {
    match fault {
        TargetFault::Pool(refusal) => QubeFault::Pool(*refusal),
        _ => LVM_FAILED,
    }
}
