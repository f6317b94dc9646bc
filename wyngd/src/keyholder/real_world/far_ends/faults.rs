// SPDX-License-Identifier: GPL-3.0-or-later
//! What the answers of a far end are to the person.

use wyng_control::Failure;
use wyng_wire::RESERVE_BYTES;

use crate::ipc::{FarEndFault, PutAnswer};
use wyng_engine::world::{Kept, OpenStore};

/// What a far end was last asked to open, as it is shown.
#[derive(Clone, Default)]
pub(super) struct Opening {
    /// The far end.
    pub via: String,
    /// The store, without credentials.
    pub store: String,
    /// Whether it exists or is to be made.
    pub open: OpenStore,
}

/// What became of a blob that is settled. A store that takes no blobs is a failure of the push.
/// Where requests are signed here, a name that is taken holds what this machine signed for it.
pub(super) fn kept(answer: PutAnswer, are_signed: bool, store: &str) -> Result<Kept, Failure> {
    let store = || store.to_owned();
    match answer {
        PutAnswer::Stored | PutAnswer::StoredOnce | PutAnswer::StoredTwice => Ok(Kept::New),
        PutAnswer::ExistsSame => Ok(Kept::Same),
        PutAnswer::ExistsDifferent => Ok(Kept::Different),
        PutAnswer::ExistsUnknown if are_signed => Ok(Kept::Signed),
        PutAnswer::ExistsUnknown => Ok(Kept::Unknown),
        PutAnswer::Full { free_mib } => Err(full(store(), free_mib)),
        PutAnswer::Refused => Err(Failure::StoreDenied { store: store() }),
        PutAnswer::Failed => Err(Failure::StoreFailed { store: store() }),
        PutAnswer::Lax if are_signed => Err(Failure::StoreLax { store: store() }),
        PutAnswer::Lax | PutAnswer::Expired => Err(Failure::FarEndProtocol),
    }
}

fn full(store: String, free_mib: Option<u32>) -> Failure {
    Failure::StoreFull {
        store,
        free_mib,
        reserve_mib: u32::try_from(RESERVE_BYTES >> 20).unwrap_or(u32::MAX),
    }
}

/// What a fault of a far end is to the person, without its exit status.
pub(super) fn failure_of(fault: FarEndFault, opening: &Opening) -> Failure {
    let store = opening.store.clone();
    match fault {
        FarEndFault::Banner => Failure::FarEndBanner,
        FarEndFault::Protocol => Failure::FarEndProtocol,
        FarEndFault::Lost => Failure::FarEndLost,
        FarEndFault::Stalled => Failure::FarEndStalled { store },
        FarEndFault::Silent => Failure::FarEndSilent {
            via: opening.via.clone(),
        },
        FarEndFault::Missing if opening.open == OpenStore::New => Failure::StoreNoParent { store },
        FarEndFault::Missing => Failure::StoreMissing { store },
        FarEndFault::Empty => Failure::StoreEmpty { store },
        FarEndFault::NotAFolder => Failure::StoreNotAFolder { store },
        FarEndFault::NotEmpty => Failure::StoreNotEmpty { store },
        FarEndFault::Denied => Failure::StoreDenied { store },
        FarEndFault::ReadOnly => Failure::StoreReadOnly { store },
        FarEndFault::Full { free_mib } => full(store, free_mib),
        FarEndFault::Address => Failure::StoreAddress { store },
        FarEndFault::Unreachable => Failure::StoreUnreachable { store },
        FarEndFault::Unsuitable => Failure::StoreNotExclusive { store },
        FarEndFault::Failed => Failure::StoreFailed { store },
        FarEndFault::Expired => Failure::StoreClock { store },
        FarEndFault::NoRoom { errno } => Failure::MemoryFile { errno },
    }
}
