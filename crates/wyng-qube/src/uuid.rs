// SPDX-License-Identifier: GPL-3.0-or-later
//! The uuid of a qube, which stays the same when it is renamed and is new when it is created again.

use std::fmt;
use std::str::FromStr;

/// Lengths of the five groups of digits.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// The uuid of a qube: 36 characters, lower-case hexadecimal digits in five groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QubeUuid(String);

/// It is not a uuid in the form that qubesd writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a uuid")]
pub struct NoUuid;

impl QubeUuid {
    /// The uuid as qubesd writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QubeUuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let digits = |group: &str| {
            group
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let groups: Vec<&str> = text.split('-').collect();
        let is_uuid = groups.iter().map(|group| group.len()).eq(GROUPS)
            && groups.iter().all(|group| digits(group));
        is_uuid.then(|| Self(text.to_owned())).ok_or(NoUuid)
    }
}

impl fmt::Display for QubeUuid {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_one_form() {
        let text = "0f3b2c1d-0000-4000-8000-00000000abcd";
        assert_eq!(text.parse::<QubeUuid>().unwrap().to_string(), text);
        for wrong in [
            "",
            "2",
            "0F3B2C1D-0000-4000-8000-00000000ABCD",
            "0f3b2c1d-0000-4000-8000-00000000abcde",
            "0f3b2c1d00004000800000000000abcd",
            "0f3b2c1d-0000-4000-8000-00000000abc\n",
        ] {
            assert_eq!(wrong.parse::<QubeUuid>(), Err(NoUuid), "{wrong}");
        }
    }
}
