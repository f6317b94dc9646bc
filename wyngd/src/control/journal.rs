// SPDX-License-Identifier: GPL-3.0-or-later
//! The begin, results and end of each command, as fields in the system's journal: names, counts and
//! codes, never content, never a text from the far end. A private daemon writes no entries, nor
//! does a service where no journal listens.
//!
//! The protocol is the journal's own (systemd's "Native Journal Protocol"): one datagram an entry,
//! one field after the other.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use wyng_control::{Command, ExitStatus, ToClient};

/// Where systemd's journal listens.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// syslog's priorities.
#[derive(Clone, Copy)]
enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// A connection to the journal, made before the jail.
pub(super) struct Journal(Option<UnixDatagram>);

/// The command that an entry is about.
pub(super) struct About<'a> {
    /// The command's words.
    pub(super) command: &'a str,
    /// The archive that it is about.
    pub(super) archive: Option<&'a str>,
}

impl<'a> About<'a> {
    /// An entry about this command.
    pub(super) fn of(command: &'a Command) -> Self {
        Self {
            command: command.name(),
            archive: command.archive(),
        }
    }
}

impl Journal {
    /// Connects, if a journal listens there.
    pub(super) fn connect(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self(None) };
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            // A journal that is behind loses an entry; it never holds up a backup.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self(connected.ok())
    }

    /// Notes the begin of a command.
    pub(super) fn begun(&self, about: &About<'_>, uid: Option<u32>) {
        let uid = uid.map(|uid| uid.to_string());
        self.say(
            Priority::Info,
            about,
            "begins",
            uid.iter().map(|uid| ("WYNG_CLIENT_UID", uid.clone())),
        );
    }

    /// Notes a result, if it is one that the journal keeps.
    pub(super) fn result(&self, about: &About<'_>, event: &ToClient) {
        match event {
            ToClient::BackedUp(report) => {
                let session = report
                    .session
                    .map(|session| ("WYNG_SESSION", session.to_string()));
                let counts = [
                    ("WYNG_VOLUME", report.name.clone()),
                    ("WYNG_READ_BYTES", report.read_bytes.to_string()),
                    ("WYNG_CHANGED_BYTES", report.changed_bytes.to_string()),
                    ("WYNG_SENT_BYTES", report.sent_bytes.to_string()),
                ];
                self.say(
                    Priority::Info,
                    about,
                    "a volume is backed up",
                    counts.into_iter().chain(session),
                );
            }
            ToClient::Restored(report) => {
                let session = ("WYNG_SESSION", report.session.to_string());
                self.say(
                    Priority::Info,
                    about,
                    "a volume is restored",
                    [("WYNG_VOLUME", report.name.clone()), session],
                );
            }
            ToClient::Verified(report) => {
                let counts = [
                    ("WYNG_OBJECTS", report.objects_checked.to_string()),
                    ("WYNG_PROBLEMS", report.problems.to_string()),
                ];
                self.say(Priority::Info, about, "the store was read", counts);
            }
            ToClient::Failed(failure) => {
                let code = failure.code();
                self.say(
                    Priority::Warning,
                    about,
                    code,
                    [("WYNG_ERROR", code.to_owned())],
                );
            }
            ToClient::Warned(warning) => {
                let code = warning.code();
                self.say(
                    Priority::Warning,
                    about,
                    code,
                    [("WYNG_WARNING", code.to_owned())],
                );
            }
            _ => {}
        }
    }

    /// Notes the end of a command.
    pub(super) fn ended(&self, about: &About<'_>, exit: ExitStatus) {
        let priority = if exit == ExitStatus::Done {
            Priority::Info
        } else {
            Priority::Error
        };
        self.say(
            priority,
            about,
            &format!("ends with status {}", exit.code()),
            [("WYNG_EXIT", exit.code().to_string())],
        );
    }

    fn say(
        &self,
        priority: Priority,
        about: &About<'_>,
        what: &str,
        fields: impl IntoIterator<Item = (&'static str, String)>,
    ) {
        let Some(socket) = &self.0 else { return };
        let archive = about
            .archive
            .map(|archive| format!(" {archive}"))
            .unwrap_or_default();
        let mut entry = Vec::new();
        field(
            &mut entry,
            "MESSAGE",
            &format!("{}{archive}: {what}", about.command),
        );
        field(&mut entry, "PRIORITY", &(priority as u8).to_string());
        field(&mut entry, "SYSLOG_IDENTIFIER", "wyngd");
        field(&mut entry, "WYNG_COMMAND", about.command);
        if let Some(archive) = about.archive {
            field(&mut entry, "WYNG_ARCHIVE", archive);
        }
        for (name, value) in fields {
            field(&mut entry, name, &value);
        }
        // a journal that is gone is no reason to stop
        let _ = wyng_jail::send_packet(socket.as_fd(), &entry, &[]);
    }
}

/// `NAME`, the value's length as 64 bits, the value: so that no value can add a field.
fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_brings_no_field_of_its_own() {
        let mut entry = Vec::new();
        field(&mut entry, "WYNG_VOLUME", "a\nPRIORITY=0");
        assert_eq!(entry, b"WYNG_VOLUME\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }
}
