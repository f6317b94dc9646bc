// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes and snapshots as zfs lists them, and the label of a base.
//!
//! ```text
//! 1:ARCHIVE:VOLUME:GENERATION:SESSION:ROOT:GUID:CREATETXG:SIZE
//! ```
//! The parts up to ROOT are hexadecimal, as in the label of a thin volume; the rest are decimal
//! numbers. SIZE is in bytes.

use wyng_control::{BaseLabel, BaseOf, OwnZfsName, ZvolName};

use super::super::trouble::Trouble;
use super::call::Call;

/// The number of the label's form.
const FORM: &str = "1";
/// What zfs prints for a value that something does not have.
const NONE: &str = "-";

/// What identifies a snapshot beyond its name. A name is given again, and what is received from
/// another pool keeps its guid, but no pool makes two snapshots of one guid in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// The number that it has in every pool.
    pub(super) guid: u64,
    /// The pool's transaction that made it.
    pub(super) createtxg: u64,
    /// Its size, bytes.
    pub(super) size_bytes: u64,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its whole name.
    pub(super) name: String,
    /// What it is beyond its name.
    pub(super) identity: Identity,
    /// Bytes that only it holds.
    pub(super) used_bytes: u64,
    label: String,
}

/// A base, and what its label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) name: OwnZfsName,
    pub(super) identity: Identity,
    pub(super) label: BaseLabel,
}

/// What zfs lists; snapshots of file systems, which have no size, are left out.
pub(super) fn list(call: Call<'_>) -> Result<Vec<Listed>, Trouble> {
    parse(&call.run()?).ok_or(Trouble::Answer("zfs's listing is not understood"))
}

/// `None` if a line is not understood: nothing may be concluded from the others.
fn parse(text: &str) -> Option<Vec<Listed>> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let parsed = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, guid, createtxg, size, used, label] = fields.as_slice() else {
            return None;
        };
        if *size == NONE {
            return Some(None);
        }
        Some(Some(Listed {
            name: (*name).to_owned(),
            identity: Identity {
                guid: guid.parse().ok()?,
                createtxg: createtxg.parse().ok()?,
                size_bytes: size.parse().ok()?,
            },
            used_bytes: used.parse().ok()?,
            label: (*label).to_owned(),
        }))
    });
    let all: Vec<Option<Listed>> = parsed.collect::<Option<_>>()?;
    Some(all.into_iter().flatten().collect())
}

impl Listed {
    /// Its name, if it is a volume that could be backed up.
    pub(super) fn volume(&self) -> Option<ZvolName> {
        ZvolName::new(&self.name)
    }

    /// Its name, if it is ours.
    pub(super) fn own(&self) -> Option<OwnZfsName> {
        OwnZfsName::parse(&self.name)
    }

    /// The base that it is, if it is what its label says in every part.
    pub(super) fn base(&self) -> Option<Base> {
        let name = self.own().filter(OwnZfsName::is_snapshot)?;
        let (label, identity) = parse_label(&self.label)?;
        (identity == self.identity).then_some(Base {
            name,
            identity,
            label,
        })
    }
}

/// The bases of a volume among these, the newest first.
pub(super) fn bases(listed: &[Listed], of: &BaseOf) -> Vec<Base> {
    let all = listed.iter().filter_map(Listed::base);
    let mut bases: Vec<Base> = all.filter(|base| base.label.of == *of).collect();
    bases.sort_by_key(|base| std::cmp::Reverse(base.label.generation));
    bases
}

/// The label of a snapshot.
pub(super) fn label_text(label: &BaseLabel, identity: &Identity) -> String {
    let Identity {
        guid,
        createtxg,
        size_bytes,
    } = identity;
    let words = label.words().join(":");
    format!("{FORM}:{words}:{guid}:{createtxg}:{size_bytes}")
}

fn parse_label(text: &str) -> Option<(BaseLabel, Identity)> {
    let parts: Vec<&str> = text.split(':').collect();
    let [
        _,
        archive,
        of,
        generation,
        session,
        root,
        guid,
        createtxg,
        size,
    ] = parts.as_slice()
    else {
        return None;
    };
    let label = BaseLabel::from_words([archive, of, generation, session, root])?;
    let identity = Identity {
        guid: guid.parse().ok()?,
        createtxg: createtxg.parse().ok()?,
        size_bytes: size.parse().ok()?,
    };
    (label_text(&label, &identity) == text).then_some((label, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: BaseOf = BaseOf {
        archive: [1; 16],
        volume: [2; 16],
    };

    fn label(generation: u64) -> BaseLabel {
        BaseLabel {
            of: OF,
            generation,
            session: -1,
            root: [9; 32],
        }
    }

    const IDENTITY: Identity = Identity {
        guid: u64::MAX,
        createtxg: 77,
        size_bytes: 1 << 30,
    };

    fn line(name: &str, label: &str) -> String {
        format!("{name}\t{}\t77\t{}\t4096\t{label}\n", u64::MAX, 1 << 30)
    }

    #[test]
    fn a_listing_is_read_line_by_line_and_one_strange_line_spoils_it() {
        let text = format!(
            "{}{}{}",
            line("tank/a", "-"),
            "tank/files@daily\t5\t6\t-\t0\t-\n",
            line("tank/a@wyng-00000000000000ab", "-")
        );
        let listed = parse(&text).unwrap();
        let names: Vec<&str> = listed.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["tank/a", "tank/a@wyng-00000000000000ab"]);
        assert_eq!((listed[0].identity, listed[0].used_bytes), (IDENTITY, 4096));
        assert!(listed[0].own().is_none() && listed[1].own().is_some());
        for strange in ["a warning", "tank/b\tx\t77\t1\t0\t-", "tank/b\t1\t77\t1\t0"] {
            assert_eq!(parse(&format!("{text}{strange}\n")), None, "{strange}");
        }
        assert_eq!(parse(""), Some(Vec::new()), "no datasets available");
    }

    #[test]
    fn a_base_is_what_its_label_says_in_every_part() {
        let name = "tank/a@wyng-00000000000000ab";
        let text = label_text(&label(7), &IDENTITY);
        let bases = |line: &str| bases(&parse(line).unwrap(), &OF).len();
        let sound = line(name, &text);
        assert_eq!(bases(&sound), 1);
        for (spoilt, why) in [
            (
                sound.replacen("\t77\t", "\t78\t", 1),
                "made by another transaction",
            ),
            (
                sound.replacen("\t18446744073709551615\t", "\t5\t", 1),
                "another snapshot",
            ),
            (
                sound.replacen("\t1073741824\t", "\t1073741825\t", 1),
                "another size",
            ),
            (line(name, "-"), "no label"),
            (line(name, &text[..text.len() - 1]), "half a label"),
            (line(name, &text.replacen('1', "2", 1)), "another form"),
            (line("tank/a@daily", &text), "it inherited the label"),
            (line("tank/wyng-00000000000000ab", &text), "it is a volume"),
        ] {
            assert_eq!(bases(&spoilt), 0, "{why}");
        }
    }

    #[test]
    fn the_newest_base_is_the_first() {
        let lines: String = (1..4)
            .map(|n| {
                let name = format!("tank/a@wyng-000000000000000{n}");
                line(&name, &label_text(&label((n * 5) % 7), &IDENTITY))
            })
            .collect();
        let found = bases(&parse(&lines).unwrap(), &OF);
        let generations: Vec<u64> = found.iter().map(|base| base.label.generation).collect();
        assert_eq!(generations, [5, 3, 1]);
    }
}
