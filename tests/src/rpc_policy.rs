// SPDX-License-Identifier: GPL-3.0-or-later
//! The part of qrexec's policy that the shipped policy uses: files in the order of their names; the
//! first matching line decides; no match denies. Written from the documented format. Tags of
//! disposables, redirects and includes are refused.

use std::fmt;

/// Whether a character may be in a service's name; an argument may also have `+`.
fn is_service_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_.".contains(char)
}

/// A qube as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Qube {
    /// Its name.
    pub name: &'static str,
    /// Its tags.
    pub tags: &'static [&'static str],
}

/// The action of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call runs.
    Allow,
    /// The call is denied.
    Deny,
    /// A person is asked.
    Ask,
}

/// Why a file is refused. On a real machine this denies every call of every qube.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The name of the file.
    pub file: String,
    /// The line, counted from 1; 0 for the file's name.
    pub line: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// One line.
#[derive(Debug, Clone)]
struct Rule {
    service: Option<String>,
    argument: Option<String>,
    source: String,
    target: String,
    action: Action,
}

/// All lines of all files.
#[derive(Debug, Clone, Default)]
pub struct Policy(Vec<Rule>);

impl Policy {
    /// Parses the files in a directory, in the order of their names.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Mistake> {
        let mut files = files.to_vec();
        files.sort_unstable();
        let mut rules = Vec::new();
        for (name, text) in files {
            let mistake = |line| Mistake {
                file: name.to_owned(),
                line,
            };
            if !name.chars().all(|char| {
                char.is_ascii_lowercase() || char.is_ascii_digit() || "_.-".contains(char)
            }) {
                return Err(mistake(0));
            }
            for (line, text) in (1..).zip(text.lines().map(str::trim)) {
                if !text.is_empty() && !text.starts_with('#') {
                    rules.push(Rule::parse(text).ok_or_else(|| mistake(line))?);
                }
            }
        }
        Ok(Self(rules))
    }

    /// The decision about a call. `argument` includes its `+`; `target` is the caller's word, empty
    /// for no target.
    pub fn decide(
        &self,
        service: &str,
        argument: &str,
        source: Qube,
        target: &str,
        qubes: &[Qube],
    ) -> Action {
        assert!(
            argument.starts_with('+'),
            "an argument begins with +, also an empty one"
        );
        let target = match target {
            "" => "@default",
            "dom0" => "@adminvm",
            target => target,
        };
        let is_it = |rule: &&Rule| {
            rule.service.as_deref().is_none_or(|name| name == service)
                && rule
                    .argument
                    .as_deref()
                    .is_none_or(|wanted| wanted == argument)
                && matches(&rule.source, source.name, qubes)
                && matches(&rule.target, target, qubes)
        };
        self.0
            .iter()
            .find(is_it)
            .map_or(Action::Deny, |rule| rule.action)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let mut next = || fields.next();
        let (service, argument, source, target, action) =
            (next()?, next()?, next()?, next()?, next()?);
        let any = |field: &str| (field != "*").then(|| field.to_owned());
        let (service, argument) = (any(service), any(argument));
        let well_named = service
            .as_deref()
            .is_none_or(|name| name.chars().all(is_service_char));
        let argued = argument.as_deref().is_none_or(|argument| {
            argument.starts_with('+')
                && argument
                    .chars()
                    .all(|char| is_service_char(char) || char == '+')
        });
        let action = match action {
            "allow" => Action::Allow,
            "deny" => Action::Deny,
            "ask" => Action::Ask,
            _ => return None,
        };
        let parameters: Vec<(&str, &str)> = fields
            .map(|field| field.split_once('='))
            .collect::<Option<_>>()?;
        let known = |(key, value): &(&str, &str)| match action {
            Action::Deny => false,
            Action::Allow => *key == "user" && !value.is_empty(),
            Action::Ask => *key == "default_target" && is_target(value) && *value != "@anyvm",
        };
        let whole = well_named
            && argued
            && (service.is_some() || argument.is_none())
            && is_source(source)
            && is_target(target);
        let allows_default = action == Action::Allow && target == "@default";
        (whole && !allows_default && parameters.iter().all(known)).then(|| Self {
            service,
            argument,
            source: source.to_owned(),
            target: if target == "dom0" {
                "@adminvm".to_owned()
            } else {
                target.to_owned()
            },
            action,
        })
    }
}

fn is_source(token: &str) -> bool {
    token == "@anyvm" || is_tag(token) || is_name(token)
}

fn is_target(token: &str) -> bool {
    let disposable = token.strip_prefix("@dispvm:").is_some_and(is_name);
    ["@anyvm", "@adminvm", "@default", "@dispvm"].contains(&token)
        || is_tag(token)
        || disposable
        || is_name(token)
}

fn is_tag(token: &str) -> bool {
    token
        .strip_prefix("@tag:")
        .is_some_and(|tag| !tag.is_empty() && !tag.starts_with('@'))
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic())
        && token.chars().all(is_service_char)
}

/// `@anyvm` matches everything except the admin domain, also words such as `@default` and
/// `@dispvm`.
fn matches(token: &str, other: &str, qubes: &[Qube]) -> bool {
    match token.strip_prefix("@tag:") {
        Some(tag) => qubes
            .iter()
            .any(|qube| qube.name == other && qube.tags.contains(&tag)),
        None if token == "@anyvm" => other != "@adminvm",
        None => token == other,
    }
}
