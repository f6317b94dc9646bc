// SPDX-License-Identifier: GPL-3.0-or-later
//! How a far end is reached: the words of `via` in the configuration, on the command line and in
//! the state. A value exists only where its words were understood, and can be put into an argument
//! vector as it is. In a message it travels as its words, so that decoding is parsing.

use std::fmt;
use std::str::FromStr;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

/// The values that are understood, for messages.
pub const VIA_ALLOWED: &str = "local, ssh:HOST, qrexec:VM, qrexec:@dispvm:TEMPLATE";

/// Maximum length of a qube's name, bytes.
const QUBE_MAX_BYTES: usize = 31;
/// Maximum length of a host, bytes.
const HOST_MAX_BYTES: usize = 255;

/// A far end's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The words name no far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no far end; these are understood: {VIA_ALLOWED}")]
pub struct NoFarEnd;

impl FromStr for Via {
    type Err = NoFarEnd;

    /// `local`, `ssh:HOST`, `qrexec:VM` or `qrexec:@dispvm:TEMPLATE`; nothing else.
    fn from_str(words: &str) -> Result<Self, NoFarEnd> {
        if words == "local" {
            return Ok(Self::Local);
        }
        if let Some(host) = words.strip_prefix("ssh:").filter(|host| is_host(host)) {
            return Ok(Self::Ssh(host.to_owned()));
        }
        let target = words.strip_prefix("qrexec:").ok_or(NoFarEnd)?;
        let (name, via): (&str, fn(String) -> Self) = match target.strip_prefix("@dispvm:") {
            Some(template) => (template, Self::Disposable),
            None => (target, Self::Qube),
        };
        if is_qube(name) {
            Ok(via(name.to_owned()))
        } else {
            Err(NoFarEnd)
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => to.write_str("local"),
            Self::Ssh(host) => write!(to, "ssh:{host}"),
            Self::Qube(name) => write!(to, "qrexec:{name}"),
            Self::Disposable(template) => write!(to, "qrexec:@dispvm:{template}"),
        }
    }
}

impl Encode for Via {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.to_string().encode(encoder)
    }
}

impl<Context> Decode<Context> for Via {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let words = String::decode(decoder)?;
        words
            .parse()
            .map_err(|NoFarEnd| DecodeError::Other("no far end"))
    }
}

bincode::impl_borrow_decode!(Via);

fn is_host(host: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b':');
    (1..=HOST_MAX_BYTES).contains(&host.len()) && !host.starts_with('-') && host.bytes().all(plain)
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

    use crate::{decode, encode};

    #[test]
    fn every_far_end_is_known_by_its_words_and_written_in_them() {
        for (words, via) in [
            ("local", Via::Local),
            (
                "ssh:me@backup.example.org",
                Via::Ssh("me@backup.example.org".into()),
            ),
            ("qrexec:sys-backup", Via::Qube("sys-backup".into())),
            (
                "qrexec:@dispvm:wyng-net-dvm",
                Via::Disposable("wyng-net-dvm".into()),
            ),
        ] {
            assert_eq!(words.parse(), Ok(via.clone()));
            assert_eq!(via.to_string(), words);
            assert_eq!(encode(&via), encode(&words.to_owned()));
            assert_eq!(decode(&encode(&via).unwrap()), Ok(via));
        }
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_no_far_end_nor_decoded_as_one() {
        let long = format!("qrexec:{}", "a".repeat(32));
        let long_host = format!("ssh:{}", "a".repeat(256));
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
            &long_host,
        ];
        for text in wrong {
            assert_eq!(text.parse::<Via>(), Err(NoFarEnd), "{text}");
            let said = encode(&text.to_owned()).unwrap();
            assert_eq!(
                decode::<Via>(&said),
                Err(crate::CodecError::Malformed),
                "{text}"
            );
        }
    }
}
