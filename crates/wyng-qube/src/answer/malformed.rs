// SPDX-License-Identifier: GPL-3.0-or-later
//! Why an answer was refused.

/// An answer that is not of the form that its call has. It holds none of the answer's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer to {call} is not understood: {what}")]
pub struct Malformed {
    /// The method that was called.
    pub call: &'static str,
    /// What does not fit.
    pub what: &'static str,
}

impl Malformed {
    /// What does not fit in the answer to this method.
    pub(crate) fn new(call: &'static str, what: &'static str) -> Self {
        Self { call, what }
    }
}
