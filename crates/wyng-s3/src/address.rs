// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a bucket is: its server, its name and a prefix in it. The end that signs a request and the
//! end that sends it read the same address, and so build the same request.

use std::path::{Component, Path, PathBuf};

use crate::{Lock, LockUntil, Url};

/// A bucket, a prefix in it, and the service that has it.
#[derive(Debug, PartialEq, Eq)]
pub struct S3Address {
    /// The server; https unless the owner has allowed otherwise.
    pub server: Server,
    /// The bucket's name.
    pub bucket: String,
    /// The prefix of every key: empty, or with a slash at its end.
    pub prefix: String,
    /// The region that the signatures name.
    pub region: String,
    /// Whether the bucket is a part of the host's name, not of the path.
    pub bucket_in_host: bool,
    /// How what is stored is locked; `None`: not at all.
    pub lock: Option<Lock>,
}

/// An HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether TLS protects the connection.
    pub tls: bool,
    /// A host's name or IP address; an IPv6 address has no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The file with the certificates of the authorities that the owner trusts here.
    pub ca: Option<PathBuf>,
}

impl S3Address {
    /// The address of a bucket: `s3://bucket/prefix?endpoint=URL&region=R&style=path&ca=FILE`,
    /// and `lock=30d&lock_mode=governance`.
    /// `None` for any other address, and for one that would cross the network without TLS although
    /// its owner does not say so.
    pub fn parse(url: &Url<'_>) -> Option<Self> {
        if url.scheme != "s3" {
            return None;
        }
        url.knows_only(&[
            "endpoint",
            "region",
            "ca",
            "insecure",
            "style",
            "lock",
            "lock_mode",
        ])?;
        if url.user.is_some() || url.port.is_some() {
            return None;
        }
        let bucket = url.host.clone();
        let region = url.value("region").unwrap_or_else(|| "us-east-1".into());
        let is_word = |text: &str, extra: &[u8]| {
            !text.is_empty()
                && text.len() <= 255
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
        };
        if !is_word(&bucket, b".-_") || !is_word(&region, b"-_") {
            return None;
        }
        let own_endpoint = url.value("endpoint");
        let endpoint = own_endpoint
            .clone()
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = Url::parse(&endpoint)?;
        endpoint.knows_only(&[])?;
        if endpoint.user.is_some() || !matches!(&*endpoint.path, "" | "/") {
            return None;
        }
        let tls = match endpoint.scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let bucket_in_host = match url.value("style").as_deref() {
            None => own_endpoint.is_none() && !bucket.contains('.'),
            Some("path") => false,
            Some("virtual") => true,
            Some(_) => return None,
        };
        let mut server = Server::of(url, tls, &endpoint.host, endpoint.port)?;
        if bucket_in_host {
            server.host = format!("{bucket}.{}", server.host);
        }
        let prefix = url.path.trim_matches('/');
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        has_no_empty_or_climbing_part(&prefix)?;
        Some(Self {
            server,
            bucket,
            prefix,
            region,
            bucket_in_host,
            lock: Lock::of(url)?,
        })
    }

    /// The lock of what is stored now, until the beginning of this day; `None` for day 0, and where
    /// the address has no lock.
    pub fn locked_until(&self, day: u32) -> Option<LockUntil> {
        let lock = self.lock.filter(|_| day > 0)?;
        Some(lock.until(day))
    }

    /// The key of an object whose name is these bytes in hexadecimal digits.
    pub fn key_of(&self, name: &[u8; 32]) -> String {
        format!("{}{}", self.prefix, crate::hex(name))
    }

    /// The path of an object with this key, not percent-encoded; an empty key: of the bucket.
    pub fn path_of(&self, key: &str) -> String {
        match (self.bucket_in_host, key) {
            (true, key) => format!("/{key}"),
            (false, "") => format!("/{}", self.bucket),
            (false, key) => format!("/{}/{key}", self.bucket),
        }
    }
}

impl Server {
    /// The HTTP server of an address, unless credentials would cross the network without TLS and
    /// the address does not say that its owner wants that.
    pub fn of(url: &Url<'_>, tls: bool, host: &str, port: Option<u16>) -> Option<Self> {
        let insecure = match url.value("insecure").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return None,
        };
        if !tls && !insecure {
            return None;
        }
        let ca = match url.value("ca") {
            Some(path) => Some(absolute(Path::new(&path))?),
            None => None,
        };
        Some(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            ca,
        })
    }

    /// The header `host`: the port is in it unless it is that of the scheme.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// An absolute path that does not climb.
pub fn absolute(path: &Path) -> Option<PathBuf> {
    let climbs = path
        .components()
        .any(|component| component == Component::ParentDir);
    (path.is_absolute() && !climbs).then(|| path.to_owned())
}

/// `None` if a part of the path is empty or leads up.
pub fn has_no_empty_or_climbing_part(path: &str) -> Option<()> {
    let path = path.trim_matches('/');
    let wrong = |part: &str| matches!(part, "" | "." | "..");
    (path.is_empty() || !path.split('/').any(wrong)).then_some(())
}
