// SPDX-License-Identifier: GPL-3.0-or-later
//! The tables `[qubes]` and `[far_ends]`: which programs and sockets reach other qubes, and how
//! long they may take.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::checks::{absolute, quantity};
use crate::mistake::{At, Found};
use crate::quantity::parse_secs;

/// More would be no limit.
const TIMEOUT_MAX_SECS: u64 = 86_400;

/// Where the daemon is, in a system of qubes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminDomain {
    /// In dom0: `qrexec-client`, and qubesd, which makes disposables.
    Dom0,
    /// In another admin qube: `qrexec-client-vm`, which makes them by itself.
    Qube,
}

/// How other qubes are reached. Everything has the value that it has on an ordinary system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qubes {
    /// Said, and not to be guessed.
    pub admin: Option<AdminDomain>,
    /// The Admin API's socket.
    pub qubesd_socket: PathBuf,
    /// Of dom0.
    pub qrexec_client: PathBuf,
    /// Of every other qube.
    pub qrexec_client_vm: PathBuf,
    /// For making and starting a qube, and then for its agent to answer.
    pub start_timeout_secs: u64,
}

impl Default for Qubes {
    fn default() -> Self {
        Self {
            admin: None,
            qubesd_socket: PathBuf::from("/var/run/qubesd.sock"),
            qrexec_client: PathBuf::from("/usr/bin/qrexec-client"),
            qrexec_client_vm: PathBuf::from("/usr/bin/qrexec-client-vm"),
            start_timeout_secs: 120,
        }
    }
}

impl Qubes {
    /// Which kind of admin domain this is: as said, else by the programs that are there; `None`
    /// where qubes are not.
    pub fn admin_domain(&self) -> Option<AdminDomain> {
        let there = |path: &PathBuf, admin| path.exists().then_some(admin);
        self.admin
            .or_else(|| there(&self.qrexec_client, AdminDomain::Dom0))
            .or_else(|| there(&self.qrexec_client_vm, AdminDomain::Qube))
    }
}

/// What holds for far ends of every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarEnds {
    /// One is given up when something is asked of it and nothing moves for so long.
    pub stall_timeout_secs: u64,
}

impl Default for FarEnds {
    fn default() -> Self {
        Self {
            stall_timeout_secs: 300,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenFarEnds {
    stall_timeout: Option<Spanned<String>>,
}

impl WrittenFarEnds {
    pub(crate) fn check(self, found: &mut Found) -> FarEnds {
        FarEnds {
            stall_timeout_secs: timeout(
                self.stall_timeout,
                FarEnds::default().stall_timeout_secs,
                found,
            ),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenQubes {
    admin: Option<Spanned<String>>,
    qubesd_socket: Option<Spanned<String>>,
    qrexec_client: Option<Spanned<String>>,
    qrexec_client_vm: Option<Spanned<String>>,
    start_timeout: Option<Spanned<String>>,
}

impl WrittenQubes {
    pub(crate) fn check(self, found: &mut Found) -> Qubes {
        let usual = Qubes::default();
        let mut path = |written: Option<Spanned<String>>, usual| {
            written
                .and_then(|path| found.check(absolute(&path, "Write it from / on.")))
                .unwrap_or(usual)
        };
        let (qubesd_socket, qrexec_client) = (
            path(self.qubesd_socket, usual.qubesd_socket),
            path(self.qrexec_client, usual.qrexec_client),
        );
        let qrexec_client_vm = path(self.qrexec_client_vm, usual.qrexec_client_vm);
        let admin = self
            .admin
            .and_then(|admin| found.check(admin_domain(&admin)));
        let start_timeout_secs = timeout(self.start_timeout, usual.start_timeout_secs, found);
        Qubes {
            admin,
            qubesd_socket,
            qrexec_client,
            qrexec_client_vm,
            start_timeout_secs,
        }
    }
}

/// A time that somebody waits for something.
fn timeout(written: Option<Spanned<String>>, usual_secs: u64, found: &mut Found) -> u64 {
    let Some(text) = written else {
        return usual_secs;
    };
    match found.check(quantity(&text, parse_secs, "\"90s\", \"5m\"")) {
        Some(secs @ 1..=TIMEOUT_MAX_SECS) => secs,
        Some(_) => {
            found.note(
                &text,
                format!("{:?} is out of bounds", text.as_ref()),
                "Write a time from \"1s\" to \"24h\".",
            );
            usual_secs
        }
        None => usual_secs,
    }
}

fn admin_domain(text: &Spanned<String>) -> Result<AdminDomain, At> {
    match text.as_ref().as_str() {
        "dom0" => Ok(AdminDomain::Dom0),
        "qube" => Ok(AdminDomain::Qube),
        other => Err(At::new(
            text,
            format!("{other:?} is no admin domain"),
            "Write \"dom0\" or \"qube\", or leave it out.",
        )),
    }
}
