// SPDX-License-Identifier: GPL-3.0-or-later
//! Starting ssh, which brings its own configuration, keys and known hosts. No cryptography of SSH
//! is in this process.

use std::io;
use std::process::{Child, Command, Stdio};

use tracing::warn;
use wyng_jail::{CapabilitySet, Enforced, keep_capabilities, start};

use crate::store::address::SftpAddress;

/// The options that hold whatever the configuration of ssh says: no question is asked, no unknown
/// host is accepted, and nothing but this one channel is opened. A dead connection is noticed
/// within a minute.
const ALWAYS: [&str; 9] = [
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oClearAllForwardings=yes",
    "-oConnectTimeout=30",
    "-oServerAliveInterval=15",
    "-oServerAliveCountMax=3",
    "-a",
    "-x",
    "-s",
];

/// Whether ssh gets nothing from the address but a name: no option, and nothing that a shell would
/// understand where ssh's configuration passes the name on to one.
pub(super) fn is_harmless(address: &SftpAddress) -> bool {
    let is_word = |word: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+:".contains(&byte);
        !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_plain)
    };
    is_word(&address.host) && address.user.as_deref().is_none_or(is_word)
}

/// Starts ssh with three pipes, for the `sftp` subsystem. It ends with this process, and has no
/// capability.
pub(super) fn connect(address: &SftpAddress) -> io::Result<Child> {
    // ssh inherits what this thread has. What the helper does from here on needs no capability.
    if let Enforced::No(reason) = keep_capabilities(CapabilitySet::empty()) {
        warn!(%reason, "ssh may keep capabilities");
    }
    let mut command = command(address);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(start(command, Vec::new())?.child)
}

fn command(address: &SftpAddress) -> Command {
    let mut command = Command::new("ssh");
    command.args(ALWAYS);
    if let Some(port) = address.port {
        command.arg("-p").arg(port.to_string());
    }
    let host = &address.host;
    let target = match &address.user {
        Some(user) => format!("{user}@{host}"),
        None => host.clone(),
    };
    command.args(["--", &target, "sftp"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: Option<&str>, host: &str, port: Option<u16>) -> SftpAddress {
        SftpAddress {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: "/x".into(),
        }
    }

    #[test]
    fn ssh_is_given_fixed_options_and_one_target() {
        let line = format!("{:?}", command(&address(Some("me"), "nas", Some(2222))));
        assert_eq!(
            line.replace('"', ""),
            "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oClearAllForwardings=yes \
             -oConnectTimeout=30 -oServerAliveInterval=15 -oServerAliveCountMax=3 -a -x -s -p 2222 \
             -- me@nas sftp"
        );
        let plain = format!("{:?}", command(&address(None, "nas", None)));
        assert!(plain.ends_with(r#""-s" "--" "nas" "sftp""#), "{plain}");
    }

    #[test]
    fn a_name_holds_no_option_and_nothing_for_a_shell() {
        assert!(is_harmless(&address(
            Some("me+x"),
            "nas-1.example_net",
            None
        )));
        assert!(is_harmless(&address(None, "fe80::1", None)));
        for word in ["-oProxyCommand=x", "a b", "a;b", "$(x)", "a`b", "a\'b", ""] {
            assert!(!is_harmless(&address(Some(word), "nas", None)), "{word}");
            assert!(!is_harmless(&address(None, word, None)), "{word}");
        }
    }
}
