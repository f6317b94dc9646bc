// SPDX-License-Identifier: GPL-3.0-or-later
//! Real servers of S3 and WebDAV, one process each, ended with the test.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wyng_wire::BlobName;

use crate::require::{Component, require};

/// The secret of every account. Tests search for it where it must not be.
pub const SECRET: &str = "canary-store-secret-51c0";
/// The public part.
pub const USER: &str = "ann";
/// The bucket, or the folder above the store.
pub(super) const PLACE: &str = "disks";
/// The certificate of a server with TLS, in its folder.
const CERTIFICATE: &str = "certificate.pem";
/// Time for a server to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `s3s-fs`: checks signatures and If-None-Match.
    S3,
    /// `wsgidav`.
    Wsgidav,
    /// `rclone serve webdav`.
    Rclone,
    /// `moto_server`, a server of S3 in memory: keeps versions and object locks, checks no
    /// signatures. Its bucket keeps versions, and may lock objects.
    Moto,
}

/// A running server.
pub struct Server {
    kind: Kind,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Kind {
    /// The kinds of WebDAV servers.
    pub const WEBDAV: [Self; 2] = [Self::Wsgidav, Self::Rclone];
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::S3, Self::Wsgidav, Self::Rclone];

    fn component(self) -> Component {
        match self {
            Self::S3 => Component::S3,
            Self::Wsgidav => Component::Wsgidav,
            Self::Rclone => Component::Rclone,
            Self::Moto => Component::Moto,
        }
    }

    /// The program, where `scripts/install-needs.sh` puts it or on the path.
    pub fn program(self) -> PathBuf {
        let (name, own) = match self {
            Self::S3 => ("s3s-fs", "s3s-fs/bin/s3s-fs"),
            Self::Wsgidav => ("wsgidav", "wsgidav/bin/wsgidav"),
            Self::Rclone => ("rclone", "rclone"),
            Self::Moto => ("moto_server", "moto/bin/moto_server"),
        };
        let built = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target")
            .join(own);
        if built.is_file() { built } else { name.into() }
    }

    fn command(self, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(self.program());
        // Where the data lies elsewhere, it is a link, which some servers do not follow.
        let data = std::fs::canonicalize(folder.join("data")).unwrap();
        match self {
            Self::S3 => {
                command.args(["--access-key", USER, "--secret-key", SECRET]);
                command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
                command.arg(data);
            }
            Self::Wsgidav => {
                let config = serde_json::json!({
                    "host": "127.0.0.1",
                    "port": port,
                    "server": "cheroot",
                    "provider_mapping": { "/": data },
                    "simple_dc": { "user_mapping": { "*": { USER: { "password": SECRET } } } },
                    "http_authenticator": {
                        "accept_basic": true, "accept_digest": false, "default_to_digest": false
                    },
                });
                let file = folder.join("wsgidav.json");
                std::fs::write(&file, config.to_string()).unwrap();
                command.arg("--config").arg(file);
            }
            Self::Rclone => {
                command.args(["serve", "webdav", "--user", USER, "--pass", SECRET]);
                // Tests look at its folder, and change it, past the server.
                command.args(["--dir-cache-time", "0s", "--poll-interval", "0s"]);
                command.args(["--addr", &format!("127.0.0.1:{port}")]);
                command.arg("--config").arg(folder.join("rclone.conf"));
                command.arg(data);
            }
            Self::Moto => {
                command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
            }
        }
        command
    }
}

impl Server {
    /// Starts a server with an empty place for a store; `None` where its program is missing, and
    /// the test is skipped.
    pub fn start(kind: Kind, test: &str) -> Option<Self> {
        Self::start_with(kind, test, |_| Vec::new())
    }

    /// The same over a folder that exists, with further options of its program.
    pub fn start_over(kind: Kind, data: &Path, options: &[&str], test: &str) -> Option<Self> {
        Self::start_with(kind, test, |folder| {
            std::os::unix::fs::symlink(data, folder.join("data")).unwrap();
            options.iter().map(Into::into).collect()
        })
    }

    /// The folder that it serves.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `moto_server` with a bucket that keeps versions, and may lock objects.
    pub fn start_with_versions(test: &str) -> Option<Self> {
        let server = Self::start(Kind::Moto, test)?;
        let locks = "x-amz-bucket-object-lock-enabled: true\r\n";
        server
            .ask("PUT", &format!("/{PLACE}"), locks, b"")
            .success();
        Some(server)
    }

    /// `rclone serve webdav` with TLS, whose certificate for `localhost` no authority has signed.
    pub fn start_with_tls(test: &str) -> Option<Self> {
        if !require(Component::Openssl, test) {
            return None;
        }
        Self::start_with(Kind::Rclone, test, |folder| {
            let (certificate, key) = (folder.join(CERTIFICATE), folder.join("key.pem"));
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"]);
            openssl.args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                "/CN=localhost",
            ]);
            openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            openssl
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate);
            assert!(openssl.output().unwrap().status.success());
            [("--cert", certificate), ("--key", key)]
                .into_iter()
                .flat_map(|(option, path)| [option.into(), path.into_os_string()])
                .collect()
        })
    }

    /// The file with the certificate of a server with TLS.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    fn start_with(kind: Kind, test: &str, more: impl Fn(&Path) -> Vec<OsString>) -> Option<Self> {
        if !require(kind.component(), test) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let more = more(folder.path());
        std::fs::create_dir_all(folder.path().join("data").join(PLACE)).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            // Another process may take the port before the server does.
            let port = free_port();
            let mut process = kind
                .command(folder.path(), port)
                .args(&more)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Self {
                        kind,
                        folder,
                        port,
                        process,
                    });
                }
                assert!(Instant::now() < until, "{kind:?} does not start");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < until, "{kind:?} does not start");
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of the store `name`.
    pub fn url(&self, name: &str) -> String {
        self.url_through(self.port, name)
    }

    /// The same, over something that listens at another port.
    pub fn url_through(&self, port: u16, name: &str) -> String {
        match self.kind {
            Kind::S3 | Kind::Moto => {
                format!("s3://{PLACE}/{name}?endpoint=http://127.0.0.1:{port}&insecure=true")
            }
            Kind::Wsgidav | Kind::Rclone => {
                format!("webdav://127.0.0.1:{port}/{PLACE}/{name}?insecure=true")
            }
        }
    }

    /// The text of a file with credentials.
    pub fn credentials(&self) -> String {
        match self.kind {
            Kind::S3 | Kind::Moto => {
                format!("access_key_id = {USER}\nsecret_access_key = {SECRET}\n")
            }
            Kind::Wsgidav | Kind::Rclone => format!("user = {USER}\npassword = {SECRET}\n"),
        }
    }

    /// What OPEN carries for the store `name`.
    pub fn destination(&self, name: &str) -> Vec<u8> {
        self.destination_through(self.port, name)
    }

    /// The same, over something that listens at another port.
    pub fn destination_through(&self, port: u16, name: &str) -> Vec<u8> {
        format!("{}\n{}", self.url_through(port, name), self.credentials()).into()
    }

    /// The server's folder of the store `name`.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(PLACE).join(name)
    }

    /// The server's file of a blob.
    pub fn path_of(&self, name: &str, blob: &BlobName) -> PathBuf {
        let hex = blob.to_string();
        match self.kind {
            Kind::S3 | Kind::Moto => self.folder(name).join(hex),
            Kind::Wsgidav | Kind::Rclone => self.folder(name).join(&hex[..2]).join(hex),
        }
    }

    /// Places a blob past the helper, which makes a store of the folder.
    pub fn plant(&self, name: &str, blob: &BlobName, bytes: &[u8]) {
        let path = self.path_of(name, blob);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The bytes of a blob, as the server's disk has them.
    pub fn blob(&self, name: &str, blob: &BlobName) -> Option<Vec<u8>> {
        std::fs::read(self.path_of(name, blob)).ok()
    }

    /// Overwrites an object as whoever has the key to the bucket can.
    pub fn overwrite(&self, name: &str, blob: &str, bytes: &[u8]) {
        let path = format!("/{PLACE}/{name}/{blob}");
        self.ask("PUT", &path, "", bytes).success();
    }

    /// Deletes an object; a bucket with versions keeps what it was.
    pub fn delete(&self, name: &str, blob: &str) {
        let path = format!("/{PLACE}/{name}/{blob}");
        self.ask("DELETE", &path, "", b"").success();
    }

    /// The names and lengths of the objects of the store.
    pub fn objects(&self, name: &str) -> Vec<(String, usize)> {
        let path = format!("/{PLACE}?list-type=2&max-keys=1000&prefix={name}/");
        let listing = self.ask("GET", &path, "", b"").success();
        let between = |text: &str, begin: &str, end: &str| {
            let (_, rest) = text.split_once(begin).unwrap();
            rest.split_once(end).unwrap().0.to_owned()
        };
        let objects = listing.split("<Contents>").skip(1);
        objects
            .map(|object| {
                let key = between(object, "<Key>", "</Key>");
                let length = between(object, "<Size>", "</Size>");
                (
                    key.rsplit('/').next().unwrap().into(),
                    length.parse().unwrap(),
                )
            })
            .collect()
    }

    /// Sends a request whose signature is empty, and returns the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\
             content-length: {}\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={USER}/20260101/us-east-1/s3/aws4_request\r\n{headers}\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The names of all files of the store that are blobs, or may be taken for some.
    pub fn files(&self, name: &str) -> Vec<String> {
        let below = crate::sandbox::files_below(&self.folder(name));
        let names = below
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with(".s3s")).collect()
    }
}

/// The whole answer to a request.
#[derive(Debug)]
pub struct Answer(pub String);

impl Answer {
    /// The answer, which must be a success.
    pub fn success(self) -> String {
        let status = self.0.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{}", self.0);
        self.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port on loopback at which nobody listens now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
