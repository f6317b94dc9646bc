// SPDX-License-Identifier: GPL-3.0-or-later
//! The programs under test, which `cargo build` puts next to the folder of the test.

use std::path::{Path, PathBuf};

/// The path of a built program of this workspace.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own
        .ancestors()
        .find(|folder| folder.join(name).is_file() && !folder.ends_with("deps"));
    folder
        .unwrap_or_else(|| {
            panic!("{name} is not built: run `cargo build --workspace` first, as `make test` does")
        })
        .join(name)
}

/// The helper as one static file, if it was built.
pub fn static_helper() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/static");
    let hosts = std::fs::read_dir(target)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("debug/wyng-transport-vm"));
    hosts
        .into_iter()
        .find(|helper| helper.is_file())
        .unwrap_or_default()
}

/// OpenSSH's SFTP server, which speaks over its standard streams.
pub fn sftp_server() -> PathBuf {
    // Debian, then Fedora.
    let places = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
    ];
    let found = places.iter().map(Path::new).find(|place| place.is_file());
    found.unwrap_or(Path::new(places[0])).to_owned()
}
