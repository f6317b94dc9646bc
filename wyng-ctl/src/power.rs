// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether an unattended backup may run now: on battery it is deferred for three days, and then
//! runs if enough charge is left. The rule is [`may_run`]; its inputs come from sysfs and from a
//! note with the time of the first deferral.

use std::io;
use std::path::{Path, PathBuf};

use crate::client::default_state_dir;
use crate::message::Message;

/// Time for which a backup is deferred on battery, whatever the charge, seconds.
const PATIENCE_SECS: i64 = 3 * 86_400;
/// Charge above which it then runs on battery, percent.
const ENOUGH_PERCENT: u8 = 60;

/// The source of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// The mains, or a machine that does not report its source.
    Mains,
    /// A battery.
    Battery {
        /// Charge, 0 to 100: the mean of several batteries, 0 if none reports it.
        percent: u8,
    },
}

/// The rule. `waited_secs` is the time since the first deferral.
fn may_run(power: Power, waited_secs: i64) -> bool {
    match power {
        Power::Mains => true,
        Power::Battery { percent } => waited_secs >= PATIENCE_SECS && percent > ENOUGH_PERCENT,
    }
}

/// Whether the backup of a profile may run at `now`, seconds since 1970 UTC. The message says why
/// not.
///
/// Without a note the backup would be deferred for ever, so it runs if the note cannot be written.
pub(crate) fn check(profile: &str, power_supplies: &Path, now: i64) -> Result<(), Message> {
    let Some(note) = Note::of(profile) else {
        return Ok(());
    };
    let power = read_power(power_supplies);
    let since = note.read(now);
    let waited_secs = since.map_or(0, |since| now.saturating_sub(since));
    match power {
        Power::Battery { percent } if !may_run(power, waited_secs) => {
            if since.is_none() && note.write(now).is_err() {
                return Ok(());
            }
            let why = if waited_secs >= PATIENCE_SECS {
                "60 % or less is left"
            } else {
                "the backup is deferred for at most three days"
            };
            Err(Message::of_deferred(percent, why))
        }
        _ => {
            note.remove();
            Ok(())
        }
    }
}

/// The time of the first deferral: one number in a file.
struct Note(PathBuf);

impl Note {
    /// The note of a profile: in the unit's state directory, or without a unit in the caller's.
    fn of(profile: &str) -> Option<Self> {
        let folder = std::env::var_os("STATE_DIRECTORY")
            .map(PathBuf::from)
            .or_else(default_state_dir)?;
        Some(Self(folder.join(format!("deferred-since.{profile}"))))
    }

    /// The time in the note; a time ahead of `now` is from another clock and counts as `now`.
    fn read(&self, now: i64) -> Option<i64> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        text.trim().parse().ok().map(|since: i64| since.min(now))
    }

    fn write(&self, now: i64) -> io::Result<()> {
        self.0.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&self.0, format!("{now}\n"))
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.0); // one that stays lets a later run begin earlier
    }
}

/// Mains if any source of mains power is online; otherwise battery if one of the machine's own
/// batteries discharges. The battery of a device such as a mouse does not count.
fn read_power(power_supplies: &Path) -> Power {
    let mut batteries = Vec::new();
    for supply in std::fs::read_dir(power_supplies)
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |attribute: &str| {
            std::fs::read_to_string(supply.path().join(attribute))
                .map(|text| text.trim().to_owned())
                .ok()
        };
        match read("type").as_deref() {
            Some("Mains" | "USB" | "Wireless")
                if read("online").is_some_and(|online| online != "0") =>
            {
                return Power::Mains;
            }
            Some("Battery")
                if read("scope").as_deref() != Some("Device")
                    && read("present").as_deref() != Some("0") =>
            {
                let drained = !matches!(
                    read("status").as_deref(),
                    Some("Charging" | "Full" | "Not charging")
                );
                batteries.push((
                    drained,
                    read("capacity")
                        .and_then(|percent| percent.parse::<u8>().ok())
                        .unwrap_or(0)
                        .min(100),
                ));
            }
            _ => {}
        }
    }
    if !batteries.iter().any(|(drained, _)| *drained) {
        return Power::Mains;
    }
    let sum: usize = batteries
        .iter()
        .map(|(_, percent)| usize::from(*percent))
        .sum();
    Power::Battery {
        percent: sum
            .checked_div(batteries.len())
            .and_then(|mean| u8::try_from(mean).ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_battery_a_backup_is_put_off_for_three_days_and_then_runs_above_sixty_percent() {
        let cases = [
            (Power::Mains, 0, true),
            (Power::Battery { percent: 100 }, 0, false),
            (Power::Battery { percent: 100 }, PATIENCE_SECS - 1, false),
            (Power::Battery { percent: 61 }, PATIENCE_SECS, true),
            (Power::Battery { percent: 60 }, PATIENCE_SECS, false),
            (Power::Battery { percent: 0 }, i64::MAX, false),
            (Power::Mains, i64::MAX, true),
        ];
        for (power, waited_secs, runs) in cases {
            assert_eq!(
                may_run(power, waited_secs),
                runs,
                "{power:?} after {waited_secs} s"
            );
        }
    }

    /// The files of one supply.
    type Supply<'a> = &'a [(&'a str, &'a str)];

    fn power_of(supplies: &[Supply<'_>]) -> Power {
        let folder = tempfile::tempdir().unwrap();
        for (number, supply) in supplies.iter().enumerate() {
            let folder = folder.path().join(format!("supply{number}"));
            std::fs::create_dir(&folder).unwrap();
            supply.iter().for_each(|(attribute, text)| {
                std::fs::write(folder.join(attribute), format!("{text}\n")).unwrap()
            });
        }
        read_power(folder.path())
    }

    #[test]
    fn power_is_what_the_machine_gets_it_from() {
        let battery = |status, capacity| {
            [
                ("type", "Battery"),
                ("present", "1"),
                ("status", status),
                ("capacity", capacity),
            ]
        };
        let (unplugged, plugged): (Supply<'_>, Supply<'_>) = (
            &[("type", "Mains"), ("online", "0")],
            &[("type", "Mains"), ("online", "1")],
        );
        let mouse: Supply<'_> = &[
            ("type", "Battery"),
            ("scope", "Device"),
            ("status", "Discharging"),
            ("capacity", "5"),
        ];
        let drained = battery("Discharging", "40");
        assert_eq!(power_of(&[]), Power::Mains);
        assert_eq!(power_of(&[mouse]), Power::Mains);
        assert_eq!(power_of(&[&drained, plugged]), Power::Mains);
        assert_eq!(
            power_of(&[&drained, &[("type", "USB"), ("online", "1")]]),
            Power::Mains
        );
        assert_eq!(power_of(&[&battery("Charging", "3")]), Power::Mains);
        assert_eq!(
            power_of(&[unplugged, &drained, mouse]),
            Power::Battery { percent: 40 }
        );
        assert_eq!(
            power_of(&[&drained, &battery("Unknown", "80")]),
            Power::Battery { percent: 60 }
        );
        assert_eq!(
            power_of(&[&battery("Discharging", "full")]),
            Power::Battery { percent: 0 }
        );
        assert_eq!(
            power_of(&[&[("type", "Battery"), ("present", "0"), ("status", "Unknown")]]),
            Power::Mains
        );
        assert_eq!(read_power(Path::new("/nonexistent")), Power::Mains);
    }
}
