// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a call stops before its end.

use wyng_wire::EncodeError;

use crate::ipc::{FarEndFault, Fatal};

/// Whose fault it is that a call cannot go on.
#[derive(Debug)]
pub(in crate::transport) enum Stop {
    /// The far end's: this call is over, and no other one is affected.
    Fault(FarEndFault),
    /// This process's, or that of another role: the process ends.
    Fatal(Fatal),
}

impl From<FarEndFault> for Stop {
    fn from(fault: FarEndFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<EncodeError> for Stop {
    /// The keyholder asked for something that no frame can say.
    fn from(_: EncodeError) -> Self {
        Self::Fatal(Fatal::Unexpected("keyholder"))
    }
}

/// A memory file that cannot grow ends its own call and no other: a limit on the size of files, or
/// memory that is used up.
pub(super) fn no_room(error: &std::io::Error) -> Stop {
    FarEndFault::NoRoom {
        errno: error.raw_os_error().unwrap_or(0),
    }
    .into()
}
