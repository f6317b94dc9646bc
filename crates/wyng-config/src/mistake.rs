// SPDX-License-Identifier: GPL-3.0-or-later
//! Mistakes in the text of the configuration: the line, what is wrong there, and what to write
//! instead.

use std::ops::Range;

use toml::Spanned;

/// Maximum number of mistakes that are reported: more than a person reads.
const MISTAKES_MAX: usize = 100;
const SEE_EXAMPLE: &str = "See the example in docs/config.md.";

/// One mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong in the line.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

/// A mistake and its place in the text.
#[derive(Debug)]
pub(crate) struct At {
    at: Range<usize>,
    what: String,
    remedy: String,
}

impl At {
    pub(crate) fn new<T>(at: &Spanned<T>, what: String, remedy: &str) -> Self {
        Self {
            at: at.span(),
            what,
            remedy: remedy.to_owned(),
        }
    }

    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        Self {
            at: error.span().unwrap_or_default(),
            what: error.message().replace('\n', "; "),
            remedy: SEE_EXAMPLE.to_owned(),
        }
    }
}

/// The mistakes that were found so far.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<At>);

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a passed check; notes the mistake of a failed check.
    pub(crate) fn check<T>(&mut self, checked: Result<T, At>) -> Option<T> {
        checked.map_err(|at| self.push(at)).ok()
    }

    pub(crate) fn note<T>(&mut self, at: &Spanned<T>, what: String, remedy: &str) {
        self.push(At::new(at, what, remedy));
    }

    pub(crate) fn push(&mut self, at: At) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(at);
        }
    }

    /// Keeps the first mistake of each line: one slip of the pen breaks more than one rule of TOML.
    pub(crate) fn keep_one_a_line(&mut self, text: &str) {
        self.0.sort_by_key(|at| at.at.start);
        self.0.dedup_by_key(|at| line_of(text, at.at.start));
    }

    /// The mistakes with their lines, in the order of the text.
    pub(crate) fn in_lines_of(mut self, text: &str) -> Vec<Mistake> {
        self.0.sort_by_key(|at| at.at.start);
        self.0
            .into_iter()
            .map(|At { at, what, remedy }| Mistake {
                line: line_of(text, at.start),
                what,
                remedy,
            })
            .collect()
    }
}

/// The line of a byte of the text, counted from 1.
fn line_of(text: &str, offset_bytes: usize) -> usize {
    text.get(..offset_bytes)
        .unwrap_or(text)
        .matches('\n')
        .count()
        .saturating_add(1)
}
