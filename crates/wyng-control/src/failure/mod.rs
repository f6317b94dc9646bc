// SPDX-License-Identifier: GPL-3.0-or-later
//! The error catalogue: every failure that a person can see, with what happened, what is safe, and
//! what to do next.
//!
//! The daemon sends the variant, never a text, and never a text that came from the far end. Scripts
//! rely on [`Failure::code`] and on the exit status.
//!
//! A group of failures is a file, and a failure is a row in it: read `source.rs` first. `table.rs`
//! makes one flat enum of all rows, so that whoever fails or matches names the variant alone. A
//! variant without a row does not exist, and a test finds two rows with one code.

#[macro_use]
mod table;

#[macro_use]
mod archive;
#[macro_use]
mod command;
#[macro_use]
mod damage;
#[macro_use]
mod far_end;
#[macro_use]
mod key;
#[macro_use]
mod qubes;
#[macro_use]
mod source;
#[macro_use]
mod state;
#[macro_use]
mod store;
#[macro_use]
mod target;
#[macro_use]
mod volume;

mod exit;
mod object;
mod row;

use std::fmt;
use std::panic::Location;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode, impl_borrow_decode};

use crate::kind::Unfit;
use crate::qube::{QubeFault, WhyLeftOut};
use crate::thin::PoolRefusal;
use crate::trial::Trial;
use archive::{before_known, newest_damaged};
use damage::{needed_by, problems_found};
pub use exit::ExitStatus;
pub use object::ObjectClass;
use qubes::{no_such_qube, qrexec_missing};
pub use row::Safe;
use row::{EARLIER_SESSIONS, NO_WRONG_BYTE, NOT_THE_SESSION, NOTHING_CHANGED, Row, STORED_STAYS};
use source::{source, source_empty};
use state::state_file;
use store::store_full;
use volume::no_session;

command_failures! {
    [
        archive_failures key_failures volume_failures source_failures target_failures
        far_end_failures qubes_failures store_failures damage_failures state_failures catalogue
    ]
}

impl Failure {
    /// A defect of ours, with the place of the call. `what` completes "internal error: …".
    #[track_caller]
    pub fn internal(what: &str) -> Self {
        let place = Location::caller();
        Self::Internal {
            what: what.to_owned(),
            place: format!("{}:{}", place.file(), place.line()),
        }
    }

    /// A short word for scripts, stable over versions.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The exit status of a command that ends with this failure.
    pub fn exit(&self) -> ExitStatus {
        match self {
            // What stopped the command says more than what it left behind.
            Self::TargetUnfinished { exit, .. } | Self::NotReadBack { exit, .. }
                if *exit != ExitStatus::Done =>
            {
                *exit
            }
            _ => self.row().exit,
        }
    }

    /// What is safe.
    pub fn safe(&self) -> Safe {
        self.row().safe
    }

    /// What to do next: sentences, in which a command of `wyng-ctl` stands between back quotes. In
    /// such a command `ARCHIVE` and `VOLUME` stand for names that whoever shows it may know.
    pub fn next(&self) -> &'static str {
        self.row().next
    }
}

impl std::error::Error for Failure {}

/// The field `volume` of a row.
trait AsVolume {
    /// The name of the volume, where it is known.
    fn as_volume(&self) -> Option<&str>;
}

impl AsVolume for String {
    fn as_volume(&self) -> Option<&str> {
        Some(self)
    }
}

impl AsVolume for Option<String> {
    fn as_volume(&self) -> Option<&str> {
        self.as_deref()
    }
}

/// The system's sentence for an error number.
fn system(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::codec;

    /// Each variant with empty names and zeros: its number, and zeros for its fields.
    fn all() -> Vec<Failure> {
        let of_number = |number: u8| {
            let mut bytes = vec![0; 64];
            bytes[0] = number;
            bincode::decode_from_slice(&bytes, bincode::config::standard())
                .ok()
                .map(|(failure, _)| failure)
        };
        (0..=u8::MAX).map_while(of_number).collect()
    }

    #[test]
    fn every_failure_comes_back_as_it_was() {
        let full = Failure::SourceRead {
            volume: "vm".into(),
            path: "/dev/vm".into(),
            offset_bytes: 4096,
            errno: 5,
        };
        for failure in all().into_iter().chain([full]) {
            let bytes = codec::encode(&failure).unwrap();
            assert_eq!(codec::decode(&bytes), Ok(failure));
        }
    }

    #[test]
    fn no_two_failures_have_one_code() {
        let codes: BTreeSet<&str> = all().iter().map(Failure::code).collect();
        assert!(codes.len() > 100, "{codes:?}");
        assert_eq!(codes.len(), all().len());
    }

    #[test]
    fn an_internal_error_names_its_place() {
        let (failure, line) = (Failure::internal("a rule does not hold"), line!());
        let place = format!("failure/mod.rs:{line}: a rule does not hold");
        assert!(failure.to_string().ends_with(&place), "{failure}");
    }

    #[test]
    fn a_failure_names_its_volume_if_it_has_one() {
        let missing = |volume| Failure::Missing {
            class: ObjectClass::Pack,
            object: "1".into(),
            volume,
        };
        assert_eq!(missing(Some("vm".into())).volume(), Some("vm"));
        assert_eq!(missing(None).volume(), None);
        assert_eq!(Failure::CacheLost.volume(), None);
        let unknown = Failure::UnknownVolume {
            volume: "vm".into(),
        };
        assert_eq!(unknown.volume(), Some("vm"));
    }
}
