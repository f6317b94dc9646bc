// SPDX-License-Identifier: GPL-3.0-or-later
//! From the bytes in OPEN to the place of a store. No part of an address is ever printed, except
//! its scheme.
//!
//! Credentials follow the address behind a line feed, so no address has control characters.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wyng_s3::{S3Address, Server, Url, absolute, has_no_empty_or_climbing_part};

/// The place of a store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `dir:/absolute/path`.
    Folder(PathBuf),
    /// `s3://bucket/prefix?endpoint=URL&region=R`.
    S3(S3Address),
    /// `webdav://host/path` and `webdavs://host/path`.
    Webdav(WebdavAddress),
    /// `sftp://user@host:port/path`.
    Sftp(SftpAddress),
}

/// A folder of a WebDAV server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebdavAddress {
    /// The server.
    pub(crate) server: Server,
    /// The user's name, if the address has it.
    pub(crate) user: Option<String>,
    /// The path, not percent-encoded, with a slash at both ends.
    pub(crate) path: String,
}

/// A folder of an account that ssh reaches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SftpAddress {
    /// The user's name, if the address has it; ssh's configuration may have another.
    pub(crate) user: Option<String>,
    /// A host, or its alias in ssh's configuration.
    pub(crate) host: String,
    /// The port, if the address has one.
    pub(crate) port: Option<u16>,
    /// The absolute path.
    pub(crate) path: PathBuf,
}

impl Address {
    /// The address and the credentials of an OPEN. `None` for an unknown scheme, and for an address
    /// that is malformed or that would send credentials without TLS.
    pub(crate) fn parse(destination: &[u8]) -> Option<(Self, &[u8])> {
        let (address, credentials) = match destination.iter().position(|byte| *byte == b'\n') {
            Some(end) => (
                destination.get(..end)?,
                destination.get(end.saturating_add(1)..)?,
            ),
            None => (destination, &[][..]),
        };
        if address.iter().any(u8::is_ascii_control) {
            return None;
        }
        if let Some(path) = address.strip_prefix(b"dir:") {
            let folder = absolute(Path::new(OsStr::from_bytes(path)))?;
            // A folder has no use for credentials.
            return credentials
                .is_empty()
                .then_some((Self::Folder(folder), credentials));
        }
        let url = Url::parse(std::str::from_utf8(address).ok()?)?;
        let address = match url.scheme {
            "s3" => Self::S3(S3Address::parse(&url)?),
            "webdav" | "webdavs" => Self::Webdav(webdav(&url)?),
            "sftp" => Self::Sftp(sftp(&url)?),
            _ => return None,
        };
        Some((address, credentials))
    }

    /// The scheme, for the journal.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Folder(_) => "dir",
            Self::S3(_) => "s3",
            Self::Webdav(_) => "webdav",
            Self::Sftp(_) => "sftp",
        }
    }
}

fn webdav(url: &Url<'_>) -> Option<WebdavAddress> {
    url.knows_only(&["ca", "insecure"])?;
    let path = url.path.trim_matches('/');
    // The root of a server is nobody's folder.
    has_no_empty_or_climbing_part(path)?;
    if path.is_empty() {
        return None;
    }
    Some(WebdavAddress {
        server: Server::of(url, url.scheme == "webdavs", &url.host, url.port)?,
        user: url.user.clone(),
        path: format!("/{path}/"),
    })
}

fn sftp(url: &Url<'_>) -> Option<SftpAddress> {
    url.knows_only(&[])?;
    // ssh would take such a word for an option.
    let is_option = |word: &str| word.starts_with('-');
    if is_option(&url.host) || url.user.as_deref().is_some_and(is_option) {
        return None;
    }
    Some(SftpAddress {
        user: url.user.clone(),
        host: url.host.clone(),
        port: url.port,
        path: absolute(Path::new(&url.path))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Option<Address> {
        Address::parse(address.as_bytes()).map(|(address, _)| address)
    }

    #[test]
    fn an_absolute_folder_is_taken_as_it_is() {
        let (address, credentials) = Address::parse(b"dir:/mnt/a b\xff").unwrap();
        let path = Path::new(OsStr::from_bytes(b"/mnt/a b\xff"));
        assert_eq!(address, Address::Folder(path.to_owned()));
        assert_eq!(credentials, b"");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        for address in [
            &b""[..],
            b"dir:",
            b"dir:relative",
            b"dir:./x",
            b"dir:/a/../b",
            b"dir:/a/..",
            b"/mnt",
            b"file:/x",
            b"dir:/a\0b",
            b"dir:/a\nb",
            b"DIR:/a",
        ] {
            assert_eq!(Address::parse(address), None, "{}", address.escape_ascii());
        }
    }

    #[test]
    fn a_bucket_has_an_endpoint_a_region_and_a_prefix() {
        let Some(Address::S3(own)) =
            parse("s3://disks/a/b?endpoint=http://127.0.0.1:9000&region=garage&insecure=true")
        else {
            panic!("refused")
        };
        let server = Server {
            tls: false,
            host: "127.0.0.1".into(),
            port: 9000,
            ca: None,
        };
        assert_eq!(own.server, server);
        assert_eq!((&*own.bucket, &*own.prefix), ("disks", "a/b/"));
        assert_eq!((&*own.region, own.bucket_in_host), ("garage", false));
        let Some(Address::S3(amazon)) = parse("s3://disks?region=eu-central-1") else {
            panic!("refused")
        };
        assert_eq!(amazon.server.host, "disks.s3.eu-central-1.amazonaws.com");
        assert_eq!((amazon.server.port, amazon.server.tls), (443, true));
        assert_eq!((&*amazon.prefix, amazon.bucket_in_host), ("", true));
    }

    #[test]
    fn a_webdav_address_has_a_user_and_a_path() {
        let Some(Address::Webdav(cloud)) = parse(
            "webdavs://ann@cloud.example.org/remote.php/dav/files/ann/disk%20images?ca=/etc/ca.pem",
        ) else {
            panic!("refused")
        };
        assert_eq!(cloud.user.as_deref(), Some("ann"));
        assert_eq!(cloud.path, "/remote.php/dav/files/ann/disk images/");
        assert_eq!(cloud.server.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
        let Some(Address::Webdav(local)) = parse("webdav://[::1]:8080/x/?insecure=true") else {
            panic!("refused")
        };
        assert_eq!((&*local.server.host, local.server.port), ("::1", 8080));
    }

    #[test]
    fn an_sftp_address_has_no_word_that_ssh_takes_for_an_option() {
        let Some(Address::Sftp(nas)) = parse("sftp://backup@nas:2222/volume1/wyng") else {
            panic!("refused")
        };
        assert_eq!(
            (nas.user.as_deref(), &*nas.host, nas.port, &*nas.path),
            (
                Some("backup"),
                "nas",
                Some(2222),
                Path::new("/volume1/wyng")
            )
        );
        for address in [
            "sftp://-oProxyCommand=x/y",
            "sftp://-l@nas/y",
            "sftp://nas",
            "sftp://nas/../y",
        ] {
            assert_eq!(parse(address), None, "{address}");
        }
    }

    #[test]
    fn credentials_do_not_cross_the_network_without_tls_unless_that_is_wanted() {
        for address in ["webdav://host/x?", "s3://b?endpoint=http://host&"] {
            assert_eq!(parse(address), None, "{address}");
            assert_eq!(
                parse(&format!("{address}insecure=false")),
                None,
                "{address}"
            );
            assert!(
                parse(&format!("{address}insecure=true")).is_some(),
                "{address}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_rather_than_ignored() {
        for address in [
            "s3://",
            "s3://b?zone=x",
            "s3://b?region=x&region=y",
            "s3://user@b/x",
            "s3://b:9/x",
            "s3://b/../x",
            "s3://b/a//b",
            "s3://b?endpoint=ftp://x",
            "s3://b?endpoint=https://host/path",
            "s3://b?style=other",
            "s3://b?ca=relative",
            "webdavs://host",
            "webdavs://host/",
            "webdavs://host/x?insecure=yes",
            "webdavs://user:secret@host/x",
            "webdavs://host:0/x",
            "webdavs://host:99999/x",
            "webdavs://host/%zz",
            "webdavs://host/a%2fb",
            "webdavs://host/a%00b",
            "webdavs://host/x#y",
            "https://host/x",
        ] {
            assert_eq!(parse(address), None, "{address}");
        }
    }

    #[test]
    fn credentials_follow_behind_a_line_feed() {
        let (_, credentials) = Address::parse(b"s3://b\nkey = value\nother = x").unwrap();
        assert_eq!(credentials, b"key = value\nother = x");
    }
}
