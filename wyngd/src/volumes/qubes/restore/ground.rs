// SPDX-License-Identifier: GPL-3.0-or-later
//! What every part of a restore asks: qubesd and the pools.

use wyng_control::{NoSource, QubeFault};

use super::super::super::open::Trusted;
use super::super::api::Api;
use super::super::reach::Pools;

/// qubesd, the pools, and whom this process trusts.
pub(in crate::volumes::qubes) type Ground<'a> = (&'a Api, &'a Pools, Trusted);

/// Why a volume is not where it should be, as a fault of its qube.
pub(super) fn fault_of(why: &NoSource) -> QubeFault {
    match why {
        NoSource::OfQube(fault) => fault.clone(),
        NoSource::Errno(errno) => QubeFault::NotOpened { errno: *errno },
        NoSource::QubeRuns => QubeFault::NotHalted,
        _ => QubeFault::OtherPlace,
    }
}
