// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the policy of qrexec is as Wyng needs it: its own file is there, and no rule in front of
//! it gives away what that file denies. The first rule that fits decides, in the order of the
//! files' names.

use std::collections::BTreeSet;

use crate::plan::PolicyFile;

/// The name of Wyng's own file.
const OWN: &str = "60-wyng.policy";
/// Its text as it is installed.
const OWN_TEXT: &str = include_str!("../../../rpc-policy/60-wyng.policy");
const SERVICES: &str = "wyng.";
const NOTICES: &str = "qubes.Notifications";
const EVERY_SERVICE: &str = "*";
/// What a line begins with that takes in a file, or a folder of files.
const INCLUDE: &str = "!include";
/// Maximum number of rules that are named.
const RULES_MAX: usize = 64;

/// What of the policy concerns Wyng.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyCheck {
    /// Wyng's own file is there.
    pub has_own: bool,
    /// Every rule of it is there.
    pub is_own_whole: bool,
    /// Rules in front of it that allow its services, at most 64.
    pub allowed: Vec<AllowedRule>,
    /// Rules in front of it that may let a far end show notices, at most 64.
    pub notices: Vec<AllowedRule>,
}

/// A rule that allows something, perhaps after it has asked a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedRule {
    /// The file's name.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The service, as the rule has it.
    pub service: String,
    /// Who may call it, as the rule has it.
    pub source: String,
}

impl AllowedRule {
    /// Whether it allows one qube by its name alone.
    pub fn is_of_one_qube(&self) -> bool {
        !self.source.starts_with(['@', '*', '$'])
    }
}

/// Checks the policy. `far_ends` are the qubes and templates behind far ends.
pub fn check_policy(files: &[PolicyFile], far_ends: &BTreeSet<String>) -> PolicyCheck {
    let own = files.iter().find(|file| file.name == OWN);
    let check = PolicyCheck {
        has_own: own.is_some(),
        is_own_whole: own.is_some_and(|own| has_all(&own.text)),
        ..PolicyCheck::default()
    };
    let mut in_front: Vec<&PolicyFile> = files
        .iter()
        .filter(|file| !is_included(&file.name) && file_name(&file.name) < OWN)
        .collect();
    in_front.sort_by(|one, other| file_name(&one.name).cmp(file_name(&other.name)));
    let mut reader = Reader {
        check,
        files,
        far_ends,
        taken: BTreeSet::new(),
    };
    in_front.into_iter().for_each(|file| reader.read(file));
    reader.check
}

/// Reads files in the order in which they decide.
struct Reader<'a> {
    check: PolicyCheck,
    files: &'a [PolicyFile],
    far_ends: &'a BTreeSet<String>,
    /// Each is read once: a rule that comes again decides nothing.
    taken: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, file: &'a PolicyFile) {
        if !self.taken.insert(&file.name) {
            return;
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [comment, ..] if comment.starts_with('#') => {}
                [include, .., taken] if include.starts_with(INCLUDE) => {
                    let files = self.files.iter();
                    files
                        .filter(|other| is_taken_in(&other.name, taken))
                        .for_each(|other| self.read(other));
                }
                [service, _, source, _, action, ..] if ["allow", "ask"].contains(action) => {
                    let rule = AllowedRule {
                        file: file.name.clone(),
                        line: number,
                        service: (*service).to_owned(),
                        source: (*source).to_owned(),
                    };
                    self.take(rule);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, rule: AllowedRule) {
        let is_of_all = rule.service == EVERY_SERVICE;
        let may_be_far_end = !rule.is_of_one_qube() || self.far_ends.contains(&rule.source);
        let of_notices = (is_of_all || rule.service == NOTICES) && may_be_far_end;
        if of_notices && self.check.notices.len() < RULES_MAX {
            self.check.notices.push(rule.clone());
        }
        let of_wyng = is_of_all || rule.service.starts_with(SERVICES);
        if of_wyng && self.check.allowed.len() < RULES_MAX {
            self.check.allowed.push(rule);
        }
    }
}

/// Whether a file has all rules of Wyng's own, however they are spaced.
fn has_all(text: &str) -> bool {
    let found: BTreeSet<Vec<&str>> = rules(text).collect();
    rules(OWN_TEXT).all(|rule| found.contains(&rule))
}

fn rules(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first().is_some_and(|first| !first.starts_with('#')))
}

/// The last part of a name: files of both folders are in one order.
fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn is_included(name: &str) -> bool {
    name.split('/').rev().nth(1) == Some("include")
}

/// Whether a line that takes in a file, or a folder of files, means this one.
fn is_taken_in(name: &str, taken: &str) -> bool {
    is_included(name)
        && (file_name(name) == file_name(taken) || taken.trim_end_matches('/').ends_with("include"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PolicyFile {
        PolicyFile {
            name: name.into(),
            text: text.into(),
        }
    }

    fn far_ends() -> BTreeSet<String> {
        ["sys-backup".to_owned()].into()
    }

    fn places(rules: &[AllowedRule]) -> Vec<(&str, usize)> {
        rules
            .iter()
            .map(|rule| (rule.file.as_str(), rule.line))
            .collect()
    }

    #[test]
    fn the_installed_file_is_whole_and_a_file_without_one_of_its_rules_is_not() {
        let check = |text: &str| check_policy(&[file(OWN, text)], &far_ends()).is_own_whole;
        assert!(check(OWN_TEXT));
        assert!(check(&OWN_TEXT.replace("   ", "\t")));
        assert!(!check(
            &OWN_TEXT.replace("wyng.Fetch  *   @anyvm   @anyvm", "# ")
        ));
        assert!(!check(
            &OWN_TEXT.replace("@tag:wyng-transport   @default", "x y")
        ));
        assert!(!check_policy(&[], &far_ends()).is_own_whole);
    }

    #[test]
    fn what_allows_something_counts_only_in_front_of_the_own_file() {
        let files = [
            file(
                "30-user.policy",
                "# wyng.Push * @anyvm @anyvm allow\nwyng.Push * work x allow\n",
            ),
            file(
                "/run/qubes/policy.d/20-boot.policy",
                "* * @tag:ours @anyvm ask\n",
            ),
            file(
                "90-default.policy",
                "wyng.Push * @anyvm @anyvm allow\nqubes.Notifications * @anyvm @adminvm allow\n",
            ),
            file(OWN, OWN_TEXT),
        ];
        let check = check_policy(&files, &far_ends());
        let boot = "/run/qubes/policy.d/20-boot.policy";
        assert_eq!(places(&check.allowed), [(boot, 1), ("30-user.policy", 2)]);
        assert!(!check.allowed[0].is_of_one_qube() && check.allowed[1].is_of_one_qube());
        assert_eq!(places(&check.notices), [(boot, 1)]);
    }

    #[test]
    fn notices_of_a_far_end_by_its_name_and_in_a_file_that_is_taken_in_are_found() {
        let files = [
            file(
                "30-user.policy",
                "qubes.Notifications * sys-backup @default allow\nqubes.Notifications * work @default allow\n!include-service qubes.X * include/some\n!include include/more\n",
            ),
            file(
                "include/more",
                "qubes.Notifications * @type:AppVM @adminvm allow\n!include include/more\n",
            ),
            file(
                "include/unused",
                "qubes.Notifications * @anyvm @adminvm allow\n",
            ),
        ];
        let check = check_policy(&files, &far_ends());
        let found = places(&check.notices);
        assert_eq!(found, [("30-user.policy", 1), ("include/more", 1)]);
    }
}
