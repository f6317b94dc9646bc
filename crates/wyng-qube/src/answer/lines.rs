// SPDX-License-Identifier: GPL-3.0-or-later
//! Lines of an answer: each ends with a line feed, and there is a bound to their number.

use std::collections::BTreeSet;

use super::malformed::Malformed;
use crate::form::{NAME_MAX_BYTES, is_plain};

/// Maximum number of lines of an answer.
pub(super) const LINES_MAX: usize = 16_384;
const TRUE: &str = "True";
const FALSE: &str = "False";

/// The lines of an answer without their line feeds. A last line without one is refused: it was cut.
pub(super) fn lines<'a>(call: &'static str, text: &'a str) -> Result<Vec<&'a str>, Malformed> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let whole = text
        .strip_suffix('\n')
        .ok_or(Malformed::new(call, "its last line is cut"))?;
    let lines: Vec<&str> = whole
        .split('\n')
        .take(LINES_MAX.saturating_add(1))
        .collect();
    if lines.len() > LINES_MAX {
        return Err(Malformed::new(call, "it has too many lines"));
    }
    Ok(lines)
}

/// Lines that are names of this form, each once, in the order of the answer.
pub(super) fn names(
    call: &'static str,
    text: &str,
    is_name: fn(&str) -> bool,
) -> Result<Vec<String>, Malformed> {
    let names = lines(call, text)?;
    if !names.iter().all(|name| is_name(name)) {
        return Err(Malformed::new(call, "a line is no name"));
    }
    if !all_differ(names.iter().copied()) {
        return Err(Malformed::new(call, "a name is there twice"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Whether no two are equal.
pub(super) fn all_differ<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = BTreeSet::new();
    names.all(|name| seen.insert(name))
}

/// Lines of `KEY=VALUE`, each key once.
pub(super) struct Pairs<'a> {
    call: &'static str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Pairs<'a> {
    /// Splits the lines of an answer.
    pub(super) fn of_lines(call: &'static str, text: &'a str) -> Result<Self, Malformed> {
        Self::split(call, lines(call, text)?.into_iter())
    }

    /// Splits words of `KEY=VALUE`.
    pub(super) fn of_words(
        call: &'static str,
        words: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Malformed> {
        Self::split(call, words)
    }

    fn split(call: &'static str, items: impl Iterator<Item = &'a str>) -> Result<Self, Malformed> {
        let mut pairs = Vec::new();
        for item in items {
            let pair = item
                .split_once('=')
                .filter(|(key, value)| {
                    is_plain(key, NAME_MAX_BYTES, "._-") && !value.contains(char::is_control)
                })
                .ok_or(Malformed::new(call, "a part is no key and value"))?;
            pairs.push(pair);
        }
        if !all_differ(pairs.iter().map(|(key, _)| *key)) {
            return Err(Malformed::new(call, "a key is there twice"));
        }
        Ok(Self { call, pairs })
    }

    /// The value of a key, where the answer has it.
    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.pairs
            .iter()
            .find_map(|(found, value)| (*found == key).then_some(*value))
    }

    /// The value of a key that must be there, read by `of`.
    pub(super) fn read<T>(
        &self,
        key: &str,
        of: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, Malformed> {
        self.find(key)
            .and_then(of)
            .ok_or(Malformed::new(self.call, "a value is missing or wrong"))
    }

    /// The value of a key that may be missing; where it is there, it must be read by `of`.
    pub(super) fn read_if_there<T>(
        &self,
        key: &str,
        of: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        match self.find(key) {
            None => Ok(None),
            Some(value) => of(value)
                .map(Some)
                .ok_or(Malformed::new(self.call, "a value is wrong")),
        }
    }
}

/// `True` or `False`.
pub(super) fn bool_of(text: &str) -> Option<bool> {
    match text {
        TRUE => Some(true),
        FALSE => Some(false),
        _ => None,
    }
}
