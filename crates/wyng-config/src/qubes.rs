// SPDX-License-Identifier: GPL-3.0-or-later
//! The tables `[qubes]` and `[far_ends]`: the programs and sockets that reach other qubes, and
//! their limits of time and rate.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::checks::{absolute, quantity};
use crate::hours::Hours;
use crate::mistake::{At, Found};
use crate::quantity::{parse_bytes, parse_secs};

/// Minimum of a limit of the rate, bytes a second.
const RATE_MIN_BYTES: u64 = 64 << 10;
/// Maximum of a time limit, seconds.
const TIMEOUT_MAX_SECS: u64 = 86_400;

/// Where the daemon runs on Qubes OS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminDomain {
    /// In dom0, with `qrexec-client`, and qubesd, which creates disposables.
    Dom0,
    /// In another admin qube, with `qrexec-client-vm`, which creates disposables by itself.
    Qube,
}

/// How other qubes are reached. The defaults are those of Qubes OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qubes {
    /// The kind of admin domain, if the configuration says it.
    pub admin: Option<AdminDomain>,
    /// The socket of the Admin API.
    pub qubesd_socket: PathBuf,
    /// The program that calls a qube from dom0.
    pub qrexec_client: PathBuf,
    /// The program that calls a qube from any other qube.
    pub qrexec_client_vm: PathBuf,
    /// Time limit of creating and starting a qube, and again of its agent's answer, seconds.
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
    /// The kind of this admin domain: the configured kind, or else the one whose program exists;
    /// `None` outside of Qubes OS.
    pub fn admin_domain(&self) -> Option<AdminDomain> {
        let there = |path: &PathBuf, admin| path.exists().then_some(admin);
        self.admin
            .or_else(|| there(&self.qrexec_client, AdminDomain::Dom0))
            .or_else(|| there(&self.qrexec_client_vm, AdminDomain::Qube))
    }
}

/// Settings of far ends of every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarEnds {
    /// Maximum time without progress while an answer is outstanding, seconds. The call then fails.
    pub stall_timeout_secs: u64,
    /// Maximum rate to a far end, bytes a second.
    pub limit_up_bytes: Option<u64>,
    /// Maximum rate from a far end, bytes a second.
    pub limit_down_bytes: Option<u64>,
    /// When these limits apply; `None`: always.
    pub limit_hours: Option<Hours>,
}

impl Default for FarEnds {
    fn default() -> Self {
        Self {
            stall_timeout_secs: 300,
            limit_up_bytes: None,
            limit_down_bytes: None,
            limit_hours: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenFarEnds {
    stall_timeout: Option<Spanned<String>>,
    limit_up: Option<Spanned<String>>,
    limit_down: Option<Spanned<String>>,
    limit_hours: Option<Spanned<String>>,
}

impl WrittenFarEnds {
    pub(crate) fn check(self, found: &mut Found) -> FarEnds {
        FarEnds {
            stall_timeout_secs: timeout(
                self.stall_timeout,
                FarEnds::default().stall_timeout_secs,
                found,
            ),
            limit_up_bytes: rate(self.limit_up, found),
            limit_down_bytes: rate(self.limit_down, found),
            limit_hours: self.limit_hours.and_then(|text| found.check(hours(&text))),
        }
    }
}

/// A rate of at least [`RATE_MIN_BYTES`]: a slower far end would be given up.
fn rate(written: Option<Spanned<String>>, found: &mut Found) -> Option<u64> {
    let text = written?;
    let bytes = found.check(quantity(&text, parse_bytes, "\"500K\", \"20M\""))?;
    if bytes < RATE_MIN_BYTES {
        found.note(
            &text,
            format!("{:?} a second is too little", text.as_ref()),
            "Write at least \"64K\".",
        );
        return None;
    }
    Some(bytes)
}

fn hours(text: &Spanned<String>) -> Result<Hours, At> {
    text.as_ref().parse().map_err(|_| {
        At::new(
            text,
            format!("{:?} is no part of a day", text.as_ref()),
            "Write hours such as \"08:00-18:00\".",
        )
    })
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
                .and_then(|path| found.check(absolute(&path, "Write an absolute path.")))
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

/// A time limit of 1 second to 24 hours.
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
