// SPDX-License-Identifier: GPL-3.0-or-later
//! One call of qubesd, checked: whatever a record said, a request has one method, one argument and
//! one qube, and fits the bound of qubesd.

use crate::form::{is_domain, is_plain, is_printable};

/// Maximum length of a whole request, bytes: qubesd drops a longer one without an answer.
const REQUEST_MAX_BYTES: usize = 65_536;
const METHOD_MAX_BYTES: usize = 64;
const ARGUMENT_MAX_BYTES: usize = 512;
/// What stands between the parts of a request: `+`, ` dom0 name `, NUL.
const FRAME_BYTES: usize = 13;

/// Which socket of qubesd takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// `qubesd.sock`.
    Admin,
    /// `qubesd.internal.sock`, for imports alone.
    Internal,
}

/// What a payload may have beside visible ASCII and spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadForm {
    /// Nothing.
    Line,
    /// Line feeds.
    Lines,
    /// Line feeds, tabs and characters outside of ASCII that are no control characters: notes.
    Notes,
}

/// A request that qubesd would not understand, or would drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The whole is longer than 65,536 bytes.
    #[error("it is too long for qubesd")]
    TooLong,
    /// It has a character that qubesd does not take there.
    #[error("it has a character that qubesd does not take")]
    Character,
}

/// A call of qubesd. Its parts can be put together without a further check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    socket: Socket,
    method: String,
    argument: String,
    dest: String,
    payload: String,
}

impl Request {
    pub(super) fn new(
        socket: Socket,
        method: &str,
        argument: &str,
        dest: &str,
        (form, payload): (PayloadForm, String),
    ) -> Result<Self, Unsendable> {
        let is_payload = match form {
            PayloadForm::Line => is_printable(&payload),
            PayloadForm::Lines => payload.split('\n').all(is_printable),
            PayloadForm::Notes => !payload.contains(is_foreign_to_notes),
        };
        let is_sound = is_plain(method, METHOD_MAX_BYTES, "._")
            && argument.len() <= ARGUMENT_MAX_BYTES
            && is_printable(argument)
            && !argument.contains(' ')
            && is_domain(dest)
            && is_payload;
        if !is_sound {
            return Err(Unsendable::Character);
        }
        let parts = [method, argument, dest, &payload];
        let bytes = parts
            .iter()
            .fold(FRAME_BYTES, |sum, part| sum.saturating_add(part.len()));
        if bytes > REQUEST_MAX_BYTES {
            return Err(Unsendable::TooLong);
        }
        Ok(Self {
            socket,
            method: method.to_owned(),
            argument: argument.to_owned(),
            dest: dest.to_owned(),
            payload,
        })
    }

    /// The socket that takes it.
    pub fn socket(&self) -> Socket {
        self.socket
    }

    /// The method: letters, digits, `.` and `_`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The argument: visible ASCII without a space; may be empty.
    pub fn argument(&self) -> &str {
        &self.argument
    }

    /// The qube that it is about, or dom0.
    pub fn dest(&self) -> &str {
        &self.dest
    }

    /// The payload, without a NUL: ASCII, and of notes UTF-8.
    pub fn payload(&self) -> &str {
        &self.payload
    }
}

fn is_foreign_to_notes(char: char) -> bool {
    char.is_control() && char != '\n' && char != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argument: &str, dest: &str, payload: &str) -> Result<Request, Unsendable> {
        let payload = (PayloadForm::Line, payload.to_owned());
        Request::new(
            Socket::Admin,
            "admin.vm.feature.Set",
            argument,
            dest,
            payload,
        )
    }

    #[test]
    fn nothing_in_a_request_can_end_one_of_its_parts() {
        assert!(request("a.b", "work", "1 2").is_ok());
        for (argument, dest, payload) in [
            ("a b", "work", ""),
            ("a\0", "work", ""),
            ("é", "work", ""),
            ("a", "work name dom0", ""),
            ("a", "", ""),
            ("a", "work", "a\nb"),
            ("a", "work", "\0"),
            ("a", "work", "é"),
        ] {
            let refused = request(argument, dest, payload);
            assert_eq!(
                refused,
                Err(Unsendable::Character),
                "{argument:?} {dest:?} {payload:?}"
            );
        }
    }

    #[test]
    fn a_request_is_no_longer_than_qubesd_reads() {
        let rest = "admin.vm.feature.Set+a dom0 name work\0".len();
        assert!(request("a", "work", &"x".repeat(REQUEST_MAX_BYTES - rest)).is_ok());
        let long = request("a", "work", &"x".repeat(REQUEST_MAX_BYTES - rest + 1));
        assert_eq!(long, Err(Unsendable::TooLong));
    }

    #[test]
    fn notes_may_have_what_a_person_writes() {
        let notes = |text: &str| {
            let payload = (PayloadForm::Notes, text.to_owned());
            Request::new(Socket::Admin, "admin.vm.notes.Set", "", "work", payload)
        };
        assert!(notes("é\n\tä").is_ok());
        assert!(notes("\x1b[2J").is_err() && notes("\u{9b}").is_err());
    }
}
