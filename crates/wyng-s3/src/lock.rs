// SPDX-License-Identifier: GPL-3.0-or-later
//! Object locks: until a day, nobody can delete what an object is now, or overwrite it for good.

use crate::{Stamp, Url, encode_base64};

/// Maximum number of days of a lock: nobody can take back a longer one.
const DAYS_MAX: u16 = 3650;
const SECS_A_DAY: i64 = 86_400;
/// The form of a date up to its seconds, in which `0` stands for any digit.
const DATE_FORM: &str = "0000-00-00T00:00:00";
/// Where the seconds of a date end, bytes.
const SECONDS_END: usize = DATE_FORM.len();

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

    /// The body of the request that lengthens an object's lock to this day.
    pub fn retention(self) -> String {
        let (mode, date) = (self.mode(), self.date());
        format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
             <RetainUntilDate>{date}</RetainUntilDate></Retention>"
        )
    }

    /// The headers of that request, beside those of every signature.
    pub fn retention_headers(self, body_sha256: &[u8; 32]) -> Vec<(&'static str, String)> {
        vec![
            (
                "x-amz-checksum-sha256",
                encode_base64(body_sha256).to_string(),
            ),
            ("x-amz-sdk-checksum-algorithm", "SHA256".into()),
        ]
    }

    /// Whether an object with the lock that these headers of its answer state is locked at least as
    /// strictly and as long.
    pub fn is_kept_by(self, mode: Option<&str>, until: Option<&str>) -> bool {
        let is_strict = match self.mode {
            LockMode::Governance => matches!(mode, Some("GOVERNANCE" | "COMPLIANCE")),
            LockMode::Compliance => mode == Some("COMPLIANCE"),
        };
        // Both are dates of the same form, whose fractions of a second do not matter.
        let date = self.date();
        let own = date.get(..SECONDS_END);
        let its = until.and_then(|until| until.get(..SECONDS_END));
        let is_date = |text: &str| {
            let mut bytes = text.bytes().zip(DATE_FORM.bytes());
            bytes.all(|(is, form)| match form {
                b'0' => is.is_ascii_digit(),
                form => is == form,
            })
        };
        is_strict && its.is_some_and(is_date) && its >= own
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

    #[test]
    fn only_a_lock_of_the_same_strictness_and_length_keeps_what_is_asked_for() {
        let (days, day) = (1, 19_782);
        let lock = |mode| Lock { mode, days }.until(day);
        let compliance = lock(LockMode::Compliance);
        let governance = lock(LockMode::Governance);
        for (mode, until, by_compliance, by_governance) in [
            ("COMPLIANCE", "2024-02-29T00:00:00Z", true, true),
            ("COMPLIANCE", "2024-02-29T00:00:00.000Z", true, true),
            ("COMPLIANCE", "2024-02-28T23:59:59Z", false, false),
            ("GOVERNANCE", "2031-01-01T00:00:00Z", false, true),
            ("COMPLIANCE", "never", false, false),
            ("COMPLIANCE", "9999-99-99 and later", false, false),
            ("OFF", "2031-01-01T00:00:00Z", false, false),
        ] {
            let (mode, until) = (Some(mode), Some(until));
            assert_eq!(
                compliance.is_kept_by(mode, until),
                by_compliance,
                "{until:?}"
            );
            assert_eq!(
                governance.is_kept_by(mode, until),
                by_governance,
                "{until:?}"
            );
        }
        assert!(!governance.is_kept_by(None, None));
    }
}
