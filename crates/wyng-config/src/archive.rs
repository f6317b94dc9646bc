// SPDX-License-Identifier: GPL-3.0-or-later
//! `[archives.NAME]`: where an archive's store is and how it is reached.

use serde::Deserialize;
use toml::Spanned;
use wyng_control::{VIA_ALLOWED, Via};

use crate::mistake::Found;

/// The options of `archive create` and `archive open` that the configuration gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The store: `dir:/path`.
    pub store: String,
    /// How the far end is reached.
    pub via: Via,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenArchive {
    store: Spanned<String>,
    via: Option<Spanned<String>>,
}

impl WrittenArchive {
    pub(crate) fn check(self, found: &mut Found) -> Archive {
        if !self.store.as_ref().starts_with("dir:/") {
            found.note(
                &self.store,
                format!("{:?} is no store", self.store.as_ref()),
                "Write \"dir:/absolute/path\".",
            );
        }
        let via = self.via.as_ref().map(|via| {
            via.as_ref().parse().unwrap_or_else(|_| {
                found.note(
                    via,
                    format!("{:?} is no far end", via.as_ref()),
                    &format!("Write one of {VIA_ALLOWED}."),
                );
                Via::Local
            })
        });
        Archive {
            store: self.store.into_inner(),
            via: via.unwrap_or(Via::Local),
        }
    }
}
