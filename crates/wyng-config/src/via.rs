// SPDX-License-Identifier: GPL-3.0-or-later
//! How a far end is reached: the value of `via`. A value that passes here can be put into an
//! argument vector unchanged.

/// The values that are understood, for messages.
pub const VIA_ALLOWED: &str = "local, ssh:HOST, qrexec:VM, qrexec:@dispvm:TEMPLATE";

/// Maximum length of a qube's name, bytes.
const QUBE_MAX_BYTES: usize = 31;

/// How a far end is reached, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The helper runs as a process on this machine.
    Local,
    /// ssh to `[user@]host`, which can be neither an option nor a command.
    Ssh(String),
    /// A qube of this name.
    Qube(String),
    /// A disposable of this template, created for one call.
    Disposable(String),
}

impl Via {
    /// `local`, `ssh:HOST`, `qrexec:VM` or `qrexec:@dispvm:TEMPLATE`; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "local" {
            return Some(Self::Local);
        }
        if let Some(host) = text.strip_prefix("ssh:") {
            return is_host(host).then(|| Self::Ssh(host.to_owned()));
        }
        let target = text.strip_prefix("qrexec:")?;
        match target.strip_prefix("@dispvm:") {
            Some(template) => is_qube(template).then(|| Self::Disposable(template.to_owned())),
            None => is_qube(target).then(|| Self::Qube(target.to_owned())),
        }
    }
}

fn is_host(host: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b':');
    (1..=255).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(plain)
}

/// Whether this can be the name of a qube other than dom0.
pub fn is_qube(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= QUBE_MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(plain)
        && name != "dom0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_far_end_is_parsed() {
        assert_eq!(Via::parse("local"), Some(Via::Local));
        assert_eq!(
            Via::parse("ssh:me@backup.example.org"),
            Some(Via::Ssh("me@backup.example.org".into()))
        );
        assert_eq!(
            Via::parse("qrexec:sys-backup"),
            Some(Via::Qube("sys-backup".into()))
        );
        assert_eq!(
            Via::parse("qrexec:@dispvm:wyng-net-dvm"),
            Some(Via::Disposable("wyng-net-dvm".into()))
        );
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_no_far_end() {
        let long = format!("qrexec:{}", "a".repeat(32));
        let wrong = [
            "",
            "locals",
            "ssh:",
            "ssh:-oProxyCommand=x",
            "ssh:a b",
            "qrexec:",
            "qrexec:dom0",
            "qrexec:-d",
            "qrexec:a b",
            "qrexec:a'b",
            "qrexec:@anyvm",
            "qrexec:@dispvm",
            "qrexec:@dispvm:",
            "qrexec:@dispvm:dom0",
            "qrexec:@dispvm:@tag:x",
            "qrexec:1a",
            &long,
        ];
        for text in wrong {
            assert_eq!(Via::parse(text), None, "{text}");
        }
    }
}
