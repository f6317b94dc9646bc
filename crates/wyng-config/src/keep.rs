// SPDX-License-Identifier: GPL-3.0-or-later
//! `[archives.NAME.keep]` and `[profiles.NAME.keep]`: rules by which a prune keeps sessions.

use serde::Deserialize;
use toml::Spanned;
use wyng_control::KeepRules;

use crate::checks::positive;
use crate::mistake::Found;
use crate::quantity::parse_secs;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenKeep {
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
    within: Option<Spanned<String>>,
    tags: Vec<String>,
}

impl WrittenKeep {
    pub(crate) fn check(self, found: &mut Found) -> KeepRules {
        let within = self
            .within
            .and_then(|text| found.check(positive(&text, parse_secs, "\"30d\", \"12h\"")));
        KeepRules {
            last: self.last,
            hourly: self.hourly,
            daily: self.daily,
            weekly: self.weekly,
            monthly: self.monthly,
            yearly: self.yearly,
            within_secs: within.unwrap_or(0),
            tags: self.tags,
        }
    }
}
