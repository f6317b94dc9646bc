// SPDX-License-Identifier: GPL-3.0-or-later
//! The fixed argument vectors of far ends, and what their exit statuses mean. The only variable
//! part of a vector is one checked host or qube name; no shell of this machine is involved.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use std::os::unix::process::ExitStatusExt;

use rustix::io::Errno;
use wyng_config::{AdminDomain, Qubes};
use wyng_control::{Failure, Via, is_qube};
use wyng_wire::Service;

/// The helper's program.
pub(super) const HELPER: &str = "wyng-transport-vm";
/// Exit status of a shell, and so of qrexec, for a program killed by a signal: this plus the
/// signal's number. Greater statuses are a program's own.
const BY_SIGNAL: i32 = 128;
/// Exit status of the helper: the store failed, and not only for one blob.
const STORE_FAILED: i32 = 14;
/// Exit status of the helper: the connection to the store was lost.
const STORE_LOST: i32 = 17;
/// What ssh finds its agent, its configuration and its helpers by. A helper on this machine starts
/// ssh where the store is an SFTP server.
const SSH_VARIABLES: [&str; 4] = ["PATH", "HOME", "USER", "SSH_AUTH_SOCK"];
const SIGNAL_MAX: i32 = 64;
/// Exit status 127 (shell, and so qrexec): command not found.
const NOT_FOUND: i32 = 127;
/// Exit status 126. Of a shell: the program exists and cannot be executed. Of `qrexec-client-vm`:
/// the policy refused the call, or the qube could not be made or started, which look the same from
/// a qube.
const REFUSED: i32 = 126;
/// Exit status 125 (qrexec): it failed itself.
const QREXEC_TROUBLE: i32 = 125;
/// Exit status 255. Of ssh: it failed itself. Of qrexec: the link or the qube is gone.
const LINK_LOST: i32 = 255;
/// Exit status 1 (qrexec): the link is gone too; the status depends on what qrexec was doing. No
/// service of ours ends with it.
const LINK_DROPPED: i32 = 1;

/// The programs that start far ends, and the kind of system.
pub(super) struct Launcher {
    helper: PathBuf,
    qubes: Qubes,
    admin: Option<AdminDomain>,
}

/// A far end that may be started, and the meaning of its exit status.
pub(super) struct Launch {
    pub(super) command: Command,
    pub(super) ending: Ending,
}

/// The program whose exit status it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    kind: Kind,
    via: Via,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The helper's own.
    Local,
    /// ssh's, or the helper's through it.
    Ssh,
    /// `qrexec-client`'s, or the service's through it.
    FromDom0,
    /// `qrexec-client-vm`'s, or the service's through it.
    FromQube,
}

impl Launcher {
    /// Determines the kind of system once, before the role enters its jail.
    pub(super) fn new(helper: PathBuf, qubes: Qubes) -> Self {
        let admin = qubes.admin_domain();
        Self {
            helper,
            qubes,
            admin,
        }
    }

    /// The far end behind `via`. In dom0 a disposable has been made before, and is called by its
    /// name `qube`.
    pub(super) fn launch(
        &self,
        service: Service,
        via: &Via,
        qube: Option<&str>,
    ) -> Result<Launch, Failure> {
        let (command, kind) = match (via, self.admin) {
            (Via::Local, _) => (self.local(service), Kind::Local),
            (Via::Ssh(host), _) => (ssh(service, host), Kind::Ssh),
            (Via::Qube(name), Some(AdminDomain::Dom0)) => {
                (self.call_from_dom0(service, name), Kind::FromDom0)
            }
            (Via::Disposable(_), Some(AdminDomain::Dom0)) => {
                let name = qube
                    .filter(|name| is_qube(name))
                    .ok_or(Failure::QubesdAnswer)?;
                (self.call_from_dom0(service, name), Kind::FromDom0)
            }
            (Via::Qube(name), Some(AdminDomain::Qube)) => {
                (self.call_from_qube(service, name), Kind::FromQube)
            }
            (Via::Disposable(template), Some(AdminDomain::Qube)) => (
                self.call_from_qube(service, &format!("@dispvm:{template}")),
                Kind::FromQube,
            ),
            (Via::Qube(_) | Via::Disposable(_), None) => {
                return Err(Failure::QrexecMissing { program: None });
            }
        };
        Ok(Launch {
            command,
            ending: Ending {
                kind,
                via: via.clone(),
            },
        })
    }

    fn local(&self, service: Service) -> Command {
        let mut command = Command::new(&self.helper);
        command.arg(service.verb()).env_clear();
        command.envs(
            std::env::vars_os().filter(|(name, _)| SSH_VARIABLES.iter().any(|kept| name == kept)),
        );
        command
    }

    /// The last argument is parsed by `qrexec-client` and then by the qube's agent: a user, a
    /// service with its empty argument, a source. Without `QUBESRPC` it would be a command for a
    /// shell in the qube.
    fn call_from_dom0(&self, service: Service, qube: &str) -> Command {
        let wait_secs = self.qubes.start_timeout_secs.to_string();
        let call = format!("DEFAULT:QUBESRPC {}+ dom0", service.qrexec_name());
        let mut command = bare(&self.qubes.qrexec_client);
        command.args(["-d", qube, "-w", &wait_secs, "--", &call]);
        command
    }

    fn call_from_qube(&self, service: Service, target: &str) -> Command {
        let mut command = bare(&self.qubes.qrexec_client_vm);
        command.args([target, &format!("{}+", service.qrexec_name())]);
        command
    }
}

fn ssh(service: Service, host: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-T", "-oBatchMode=yes", "--", host, HELPER, service.verb()]);
    command
}

fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C");
    command
}

impl Ending {
    /// Why the program could not be started at all.
    pub(super) fn not_started(&self, program: &OsStr, errno: i32) -> Failure {
        match self.kind {
            Kind::FromDom0 | Kind::FromQube if errno == Errno::NOENT.raw_os_error() => {
                Failure::QrexecMissing {
                    program: Some(program.to_string_lossy().into_owned()),
                }
            }
            _ => Failure::FarEndStart {
                via: self.via.to_string(),
                errno,
            },
        }
    }

    /// The failure that an exit status means, if the far end's work was not done; `None` for status
    /// 0. A service's own statuses stay below 125.
    pub(super) fn failure(&self, status: ExitStatus) -> Option<Failure> {
        let via = self.via.to_string();
        let by_qrexec = matches!(self.kind, Kind::FromDom0 | Kind::FromQube);
        let killed = |signal: i32| Failure::FarEndKilled {
            via: self.via.to_string(),
            signal: u8::try_from(signal).unwrap_or(0),
        };
        Some(match status.code() {
            Some(0) => return None,
            // The program on this machine was killed, and not what it called.
            None if self.kind == Kind::Local => killed(status.signal().unwrap_or(0)),
            None => Failure::FarEndLost,
            Some(LINK_LOST | LINK_DROPPED) if by_qrexec => Failure::QubeLost { via },
            Some(LINK_LOST) if self.kind == Kind::Ssh => Failure::SshFailed { via },
            Some(QREXEC_TROUBLE) if by_qrexec => Failure::QrexecFailed { via },
            Some(REFUSED) if self.kind == Kind::FromQube => Failure::FarEndRefused { via },
            // The keyholder knows the store.
            Some(STORE_FAILED) => Failure::StoreFailed {
                store: String::new(),
            },
            Some(STORE_LOST) => Failure::StoreUnreachable {
                store: String::new(),
            },
            Some(REFUSED) if self.kind != Kind::Local => Failure::FarEndNotExecutable { via },
            Some(NOT_FOUND) if self.kind != Kind::Local => Failure::FarEndMissing { via },
            Some(code)
                if self.kind != Kind::Local
                    && (1..=SIGNAL_MAX).contains(&code.saturating_sub(BY_SIGNAL)) =>
            {
                killed(code.saturating_sub(BY_SIGNAL))
            }
            Some(_) => Failure::FarEndLost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(admin: Option<AdminDomain>) -> Launcher {
        let qubes = Qubes {
            admin,
            qrexec_client: "/none/client".into(),
            qrexec_client_vm: "/none/client-vm".into(),
            ..Qubes::default()
        };
        Launcher::new("/helper".into(), qubes)
    }

    fn words(admin: Option<AdminDomain>, via: &str, qube: Option<&str>) -> Vec<String> {
        let command = launcher(admin)
            .launch(Service::Push, &via.parse().unwrap(), qube)
            .ok()
            .unwrap()
            .command;
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_str().unwrap().to_owned())
            .collect()
    }

    fn ends(admin: AdminDomain, via: &str, code: i32) -> Option<Failure> {
        let launch = launcher(Some(admin))
            .launch(Service::Push, &via.parse().unwrap(), None)
            .ok()
            .unwrap();
        launch.ending.failure(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn from_dom0_the_service_is_called_by_name_and_from_a_qube_by_target() {
        let call = "DEFAULT:QUBESRPC wyng.Push+ dom0";
        let dom0 = Some(AdminDomain::Dom0);
        assert_eq!(
            words(dom0, "qrexec:sys-backup", None),
            ["/none/client", "-d", "sys-backup", "-w", "120", "--", call]
        );
        assert_eq!(
            words(dom0, "qrexec:@dispvm:net", Some("disp1")),
            ["/none/client", "-d", "disp1", "-w", "120", "--", call]
        );
        assert_eq!(
            words(Some(AdminDomain::Qube), "qrexec:@dispvm:net", None),
            ["/none/client-vm", "@dispvm:net", "wyng.Push+"]
        );
    }

    #[test]
    fn a_disposable_without_a_checked_name_is_not_called() {
        for name in [
            None,
            Some("@dispvm:net"),
            Some("-d"),
            Some("a b"),
            Some("dom0"),
        ] {
            assert!(
                launcher(Some(AdminDomain::Dom0))
                    .launch(Service::Push, &Via::Disposable("net".into()), name)
                    .is_err(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_system_without_qubes_says_so() {
        let refused = launcher(None)
            .launch(Service::Push, &Via::Qube("sys-backup".into()), None)
            .err();
        assert!(
            matches!(refused, Some(Failure::QrexecMissing { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn every_exit_status_of_qrexec_has_its_meaning() {
        let via = "qrexec:sys-backup".to_owned();
        let dom0 = |code| ends(AdminDomain::Dom0, &via, code);
        let qube = |code| ends(AdminDomain::Qube, &via, code);
        let ssh = |code| ends(AdminDomain::Dom0, "ssh:host", code);
        assert_eq!(dom0(0), None);
        assert_eq!(dom0(12), Some(Failure::FarEndLost));
        assert_eq!(
            dom0(14),
            Some(Failure::StoreFailed {
                store: String::new()
            })
        );
        assert_eq!(
            ssh(17),
            Some(Failure::StoreUnreachable {
                store: String::new()
            })
        );
        assert_eq!(dom0(125), Some(Failure::QrexecFailed { via: via.clone() }));
        assert_eq!(
            dom0(126),
            Some(Failure::FarEndNotExecutable { via: via.clone() })
        ); // no policy is asked
        assert_eq!(qube(126), Some(Failure::FarEndRefused { via: via.clone() }));
        assert_eq!(
            ssh(126),
            Some(Failure::FarEndNotExecutable {
                via: "ssh:host".into()
            })
        );
        assert_eq!(dom0(127), Some(Failure::FarEndMissing { via: via.clone() }));
        assert_eq!(
            dom0(137),
            Some(Failure::FarEndKilled {
                via: via.clone(),
                signal: 9
            })
        );
        for (code, meaning) in [
            (128, Failure::FarEndLost),
            (193, Failure::FarEndLost),
            (200, Failure::FarEndLost),
            (254, Failure::FarEndLost),
        ] {
            assert_eq!(
                (dom0(code), ssh(code)),
                (Some(meaning.clone()), Some(meaning)),
                "{code}"
            );
        }
        for code in [1, 255] {
            let lost = Some(Failure::QubeLost { via: via.clone() });
            assert_eq!((dom0(code), qube(code)), (lost.clone(), lost), "{code}");
        }
        assert_eq!(ssh(1), Some(Failure::FarEndLost));
        assert_eq!(
            ssh(255),
            Some(Failure::SshFailed {
                via: "ssh:host".into()
            })
        );
        assert_eq!(
            ssh(127),
            Some(Failure::FarEndMissing {
                via: "ssh:host".into()
            })
        );
    }
}
