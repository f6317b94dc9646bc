// SPDX-License-Identifier: GPL-3.0-or-later
//! Object locks: until a day, nobody can delete what an object is now, or overwrite it for good.

use crate::{Stamp, Url, encode_base64};

/// Maximum number of days of a lock: nobody can take back a longer one.
const DAYS_MAX: u16 = 3650;
const SECS_A_DAY: i64 = 86_400;

/// What nobody can do to a locked object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has a right for it can remove the lock.
    Governance,
    /// Nobody can remove the lock or shorten it, the owner of the account included.
    Compliance,
}

/// How the objects of an address are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// What nobody can do.
    pub mode: LockMode,
    /// For how many days, 1 to 3650.
    pub days: u16,
}

impl Lock {
    /// `lock=30d&lock_mode=governance`; the mode is compliance where the address does not say. The
    /// outer `None` if that is malformed.
    pub(crate) fn of(url: &Url<'_>) -> Option<Option<Self>> {
        let mode = match url.value("lock_mode").as_deref() {
            None | Some("compliance") => LockMode::Compliance,
            Some("governance") => LockMode::Governance,
            Some(_) => return None,
        };
        let Some(days) = url.value("lock") else {
            return url.value("lock_mode").is_none().then_some(None);
        };
        let days = days.strip_suffix('d')?;
        let is_number = days.bytes().all(|byte| byte.is_ascii_digit());
        let days = days.parse().ok().filter(|_| is_number)?;
        (1..=DAYS_MAX)
            .contains(&days)
            .then_some(Some(Self { mode, days }))
    }

    /// A lock of this kind until the beginning of a day of UTC, counted from the beginning of 1970.
    pub fn until(self, day: u32) -> LockUntil {
        LockUntil {
            mode: self.mode,
            day,
        }
    }
}

/// A lock until the beginning of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockUntil {
    mode: LockMode,
    day: u32,
}

impl LockUntil {
    /// The headers of a PUT that locks what it stores. Without a checksum, services refuse to lock.
    pub fn headers(self, body_sha256: &[u8; 32]) -> Vec<(&'static str, String)> {
        vec![
            (
                "x-amz-checksum-sha256",
                encode_base64(body_sha256).to_string(),
            ),
            ("x-amz-object-lock-mode", self.mode().into()),
            ("x-amz-object-lock-retain-until-date", self.date()),
            // Required of a request that locks, although the checksum's own name says as much.
            ("x-amz-sdk-checksum-algorithm", "SHA256".into()),
        ]
    }

    fn mode(self) -> &'static str {
        match self.mode {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        }
    }

    fn date(self) -> String {
        Stamp::at(i64::from(self.day).saturating_mul(SECS_A_DAY)).extended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_a_number_of_days_and_a_mode() {
        let lock = |query: &str| {
            let text = format!("s3://disks/home?{query}");
            Lock::of(&Url::parse(&text).unwrap())
        };
        let of = |mode, days| Some(Some(Lock { mode, days }));
        assert_eq!(lock("region=x"), Some(None));
        assert_eq!(lock("lock=30d"), of(LockMode::Compliance, 30));
        let governance = lock("lock=3650d&lock_mode=governance");
        assert_eq!(governance, of(LockMode::Governance, 3650));
        for wrong in [
            "lock=0d",
            "lock=3651d",
            "lock=30",
            "lock=+3d",
            "lock=d",
            "lock=-1d",
            "lock=30d&lock_mode=none",
            "lock_mode=compliance",
        ] {
            assert_eq!(lock(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_lock_ends_at_the_beginning_of_its_day() {
        let (mode, days) = (LockMode::Compliance, 1);
        let lock = Lock { mode, days }.until(19_782);
        let headers = lock.headers(&[0; 32]);
        assert_eq!(headers[1].1, "COMPLIANCE");
        assert_eq!(headers[2].1, "2024-02-29T00:00:00Z");
    }
}
