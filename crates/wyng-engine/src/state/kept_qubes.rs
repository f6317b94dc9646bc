// SPDX-License-Identifier: GPL-3.0-or-later
//! Until when each qube is kept as it was before a restore in place, by the kept clock of the state
//! directory. What is kept is with the role `volumes`; a file that is lost or damaged begins the
//! time anew, so that nothing is given up too early.
//!
//! ```text
//! wyng-kept-qubes 1
//! UUID UNTIL QUBE
//! ```

use wyng_control::{Failure, KeptQube};

use crate::world::Files;

const FILE: &str = "kept-qubes";
const FORM: &str = "wyng-kept-qubes 1";
/// How long a qube is kept, seconds: 14 days.
pub(crate) const KEPT_SECS: u64 = 14 * 86_400;

/// One qube, and the end of its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptUntil {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub qube: String,
    /// When it is given up, seconds of the kept clock.
    pub until_secs: u64,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptQubes(pub Vec<KeptUntil>);

impl KeptQubes {
    /// Reads the file; nothing if it is missing or damaged.
    ///
    /// # Errors
    /// [`Failure::StateIo`] if it cannot be read.
    pub fn read(files: &mut impl Files) -> Result<Self, Failure> {
        let bytes = files.read(FILE)?.unwrap_or_default();
        Ok(Self::decode(&bytes).unwrap_or_default())
    }

    /// Writes the file durably.
    ///
    /// # Errors
    /// [`Failure::StateIo`] if it cannot be written.
    pub fn write(&self, files: &mut impl Files) -> Result<(), Failure> {
        files.replace(FILE, self.encode().as_bytes())
    }

    /// Follows what is kept, and returns the qubes whose time is over. A qube that is new here gets
    /// its time, and none has more than that left, whatever became of the clock.
    pub fn follow(&mut self, kept: Vec<KeptQube>, now_secs: u64) -> Vec<String> {
        let until_secs = now_secs.saturating_add(KEPT_SECS);
        let known = std::mem::take(&mut self.0);
        self.0 = kept
            .into_iter()
            .map(|KeptQube { qube, uuid }| {
                let known = known.iter().find(|known| known.uuid == uuid);
                let known = known.map_or(until_secs, |known| known.until_secs);
                KeptUntil {
                    uuid,
                    qube,
                    until_secs: known.min(until_secs),
                }
            })
            .collect();
        let over = self.0.iter().filter(|kept| kept.until_secs <= now_secs);
        over.map(|kept| kept.qube.clone()).collect()
    }

    fn encode(&self) -> String {
        let line = |kept: &KeptUntil| format!("{} {} {}\n", kept.uuid, kept.until_secs, kept.qube);
        let lines = self.0.iter().map(line);
        std::iter::once(format!("{FORM}\n")).chain(lines).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        (lines.next()? == FORM).then_some(())?;
        let line = |line: &str| {
            let mut words = line.split(' ');
            let kept = KeptUntil {
                uuid: words.next()?.to_owned(),
                until_secs: words.next()?.parse().ok()?,
                qube: words.next()?.to_owned(),
            };
            words.next().is_none().then_some(kept)
        };
        lines.map(line).collect::<Option<Vec<_>>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(qube: &str) -> KeptQube {
        KeptQube {
            qube: qube.into(),
            uuid: format!("uuid-{qube}"),
        }
    }

    #[test]
    fn a_qube_is_kept_for_14_days_of_the_kept_clock_and_never_for_more() {
        let mut qubes = KeptQubes::default();
        assert_eq!(qubes.follow(vec![kept("work")], 1000), [""; 0]);
        let both = || vec![kept("work"), kept("home")];
        assert_eq!(qubes.follow(both(), 1000 + KEPT_SECS - 1), [""; 0]);
        assert_eq!(qubes.follow(both(), 1000 + KEPT_SECS), ["work"]);
        // The clock was lost, and begins anew.
        assert_eq!(qubes.follow(vec![kept("home")], 0), [""; 0]);
        assert_eq!(qubes.0[0].until_secs, KEPT_SECS);
        // What is not kept any more is forgotten.
        qubes.follow(Vec::new(), 1);
        assert_eq!(qubes, KeptQubes::default());
    }

    #[test]
    fn the_file_reads_back_as_it_was_written_and_is_as_good_as_none_when_it_is_damaged() {
        let mut qubes = KeptQubes::default();
        qubes.follow(vec![kept("work"), kept("home")], 5);
        let text = qubes.encode();
        assert_eq!(KeptQubes::decode(text.as_bytes()), Some(qubes));
        for wrong in [
            text.replace("work", "work x"),
            text.replace(" 1209605 ", " x "),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert_eq!(KeptQubes::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
