// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the policy speaks of a name, a tag or a uuid. Policy works by name: a qube that comes back
//! under a name gets what was allowed to the one that had it.

use super::machine::PolicyFile;

/// Maximum number of places that are named for one word.
const PLACES_MAX: usize = 8;
const COMMENT: char = '#';
/// What may stand in front of a word: the forms of qubes in a policy, and the parameters that name
/// one.
const FRONTS: [&str; 3] = ["@dispvm:", "target=", "default_target="];
const TAG: &str = "@tag:";
const UUID: &str = "uuid:";

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought<'a> {
    /// A qube's name.
    Name(&'a str),
    /// A tag.
    Tag(&'a str),
    /// A qube's uuid.
    Uuid(&'a str),
}

/// A place in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    /// The file's name.
    pub(super) file: String,
    /// The line, counted from 1.
    pub(super) line: usize,
}

/// The first eight places where the policy names it.
pub(super) fn mentions(policy: &[PolicyFile], sought: Sought<'_>) -> Vec<Mention> {
    let lines = policy.iter().flat_map(|file| {
        let numbered = (1_usize..).zip(file.text.lines());
        numbered.map(move |(number, line)| (file, number, line))
    });
    lines
        .filter(|(_, _, line)| names(line, sought))
        .map(|(file, line, _)| Mention {
            file: file.name.clone(),
            line,
        })
        .take(PLACES_MAX)
        .collect()
}

/// A line is a comment where it begins as one; a comment behind a rule is a part of it.
fn names(line: &str, sought: Sought<'_>) -> bool {
    !line.trim_start().starts_with(COMMENT)
        && line.split_whitespace().any(|word| is_meant(word, sought))
}

/// Whether a word means it, with any of the words in front that may stand there.
fn is_meant(word: &str, sought: Sought<'_>) -> bool {
    let mut rest = word;
    while let Some(behind) = FRONTS.iter().find_map(|front| rest.strip_prefix(front)) {
        rest = behind;
    }
    match sought {
        Sought::Name(name) => rest == name,
        Sought::Tag(tag) => rest.strip_prefix(TAG) == Some(tag),
        Sought::Uuid(uuid) => rest.strip_prefix(UUID) == Some(uuid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "# work may do this\n\
        qubes.Filecopy * work @anyvm allow\n\
        qubes.OpenURL * vault @dispvm:work allow\n\
        admin.vm.Start * @tag:mgmt dom0 allow target=dom0\n\
        qubes.Gpg * home @default ask default_target=@dispvm:@tag:gpg\n\
        x * uuid:0f3b2c1d-0000-4000-8000-00000000abcd work2 allow\n";

    fn lines(sought: Sought<'_>) -> Vec<usize> {
        let file = PolicyFile {
            name: "30-user.policy".into(),
            text: POLICY.into(),
        };
        mentions(&[file], sought)
            .into_iter()
            .map(|place| place.line)
            .collect()
    }

    #[test]
    fn names_tags_and_uuids_are_found_in_every_form_of_a_rule() {
        assert_eq!(lines(Sought::Name("work")), [2, 3]);
        assert_eq!(lines(Sought::Name("home")), [5]);
        assert_eq!(lines(Sought::Tag("mgmt")), [4]);
        assert_eq!(lines(Sought::Tag("gpg")), [5]);
        assert_eq!(
            lines(Sought::Uuid("0f3b2c1d-0000-4000-8000-00000000abcd")),
            [6]
        );
        assert!(lines(Sought::Name("wor")).is_empty() && lines(Sought::Tag("work")).is_empty());
    }
}
