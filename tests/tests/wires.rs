// SPDX-License-Identifier: GPL-3.0-or-later
//! Each role as a separate process; the test plays the other roles on its wires. A message that is
//! not declared, or may not come now, ends the role. A declared message that cannot be carried out
//! does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use wyng_control::{
    BaseOf, CONTROL_VERSION, Command as Asked, ExitStatus, Given, ToClient, Via, decode,
};
use wyng_jail::{Started, packet_pair, receive_packet, send_packet, start};
use wyng_tests::programs::program;
use wyng_tests::service::until;
use wyngd::ipc::{
    ControlToKeyholder, ControlToReader, ControlToSpawner, ControlToVolumes, FarEndFault,
    KeyholderToControl, KeyholderToTransport, KeyholderToVolumes, PoolToVolumes, ReaderToControl,
    Service, SpawnerToControl, SpawnerToTransport, TransportToKeyholder, VolumesToControl,
};
use wyngd::roles::{ROLES, Role};

/// A role that is in its jail, and the other ends of its wires.
struct Lone {
    role: Role,
    process: Started,
    wires: BTreeMap<&'static str, OwnedFd>,
    /// The client's end, for control.
    client: Option<OwnedFd>,
    _state: tempfile::TempDir,
}

impl Lone {
    fn start(role: Role) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (mut descriptors, mut wires) = (Vec::new(), BTreeMap::new());
        for peer in role.peers() {
            let (ours, theirs) = packet_pair().unwrap();
            descriptors.push((theirs, role.wire_to(peer).unwrap()));
            wires.insert(peer.name(), ours);
        }
        let (client, theirs) = packet_pair().unwrap();
        let extra = if role == Role::Control {
            theirs
        } else {
            File::open(state.path()).unwrap().into()
        };
        descriptors.extend(role.extra().map(|place| (extra, place)));
        let mut command = Command::new(program("wyngd"));
        command
            .arg0(format!("wyngd: {}", role.name()))
            .args(["--role", role.name()])
            .env_clear();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let process = start(command, descriptors).unwrap();
        let lone = Self {
            role,
            process,
            wires,
            client: (role == Role::Control).then_some(client),
            _state: state,
        };
        lone.greet();
        lone
    }

    /// Reports that the other roles are in their jails, and waits until this role reports the same.
    fn greet(&self) {
        match self.role {
            Role::Control => {
                self.say("spawner", &SpawnerToControl::Ready(Vec::new()));
                self.say(
                    "volumes",
                    &VolumesToControl::Ready {
                        volumes: Vec::new(),
                        pool: Vec::new(),
                    },
                );
                self.say(
                    "keyholder",
                    &KeyholderToControl::Ready {
                        keyholder: Vec::new(),
                        transport: Vec::new(),
                    },
                );
                self.say(
                    "reader",
                    &ReaderToControl::Ready {
                        missing: Vec::new(),
                        peak_rss_bytes: 0,
                    },
                );
                let hello: ToClient = self.hear_at(self.client.as_ref().unwrap());
                assert_eq!(
                    hello,
                    ToClient::Hello {
                        version: CONTROL_VERSION
                    }
                );
            }
            Role::Keyholder => {
                self.say(
                    "transport",
                    &TransportToKeyholder::Ready {
                        missing: Vec::new(),
                        stall_secs: 1,
                    },
                );
                assert!(matches!(
                    self.hear("control"),
                    KeyholderToControl::Ready { .. }
                ));
            }
            Role::Spawner => assert!(matches!(self.hear("control"), SpawnerToControl::Ready(_))),
            Role::Volumes => {
                self.say("pool", &PoolToVolumes::Ready(Vec::new()));
                assert!(matches!(
                    self.hear("control"),
                    VolumesToControl::Ready { .. }
                ));
            }
            Role::Pool => assert!(matches!(self.hear("volumes"), PoolToVolumes::Ready(_))),
            Role::Reader => assert!(matches!(
                self.hear("control"),
                ReaderToControl::Ready { .. }
            )),
            Role::Transport => assert!(matches!(
                self.hear("keyholder"),
                TransportToKeyholder::Ready { .. }
            )),
        }
    }

    fn say<T: bincode::Encode>(&self, peer: &str, message: &T) {
        send_packet(
            self.wires[peer].as_fd(),
            &wyng_control::encode(message).unwrap(),
            &[],
        )
        .unwrap();
    }

    fn hear<T: bincode::Encode + bincode::Decode<()>>(&self, peer: &str) -> T {
        self.hear_at(&self.wires[peer])
    }

    fn hear_at<T: bincode::Encode + bincode::Decode<()>>(&self, socket: &OwnedFd) -> T {
        let mut buffer = vec![0; wyng_control::MESSAGE_MAX_BYTES];
        let (length, _) = receive_packet(socket.as_fd(), &mut buffer).unwrap();
        assert!(length > 0, "{:?} has ended", self.role);
        decode(&buffer[..length]).unwrap()
    }

    /// Waits for its end, and checks that it ended with an error.
    #[track_caller]
    fn has_failed(mut self, why: &str) {
        let mut status = None;
        until(&format!("{:?} ends: {why}", self.role), || {
            status = self.process.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(1),
            "{:?}: {why}",
            self.role
        );
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }
}

/// Wires on which a role listens while it is idle.
fn heard_when_idle(role: Role) -> &'static [&'static str] {
    match role {
        Role::Spawner | Role::Reader | Role::Keyholder => &["control"],
        Role::Control => &["spawner", "volumes", "keyholder", "reader"],
        Role::Volumes => &["control", "keyholder"],
        Role::Transport => &["keyholder", "spawner"],
        Role::Pool => &["volumes"],
    }
}

#[test]
fn what_is_no_declared_message_ends_the_role() {
    for role in ROLES {
        for peer in heard_when_idle(role) {
            for packet in [&[0xff; 40][..], b"\0\0\0\0\0\0\0\0\0\0\0\0", &[250]] {
                let lone = Lone::start(role);
                send_packet(lone.wires[peer].as_fd(), packet, &[]).unwrap();
                lone.has_failed(&format!("{packet:?} from {peer}"));
            }
        }
    }
}

#[test]
fn a_far_end_that_could_be_an_option_is_no_message() {
    let start = ControlToSpawner::Start {
        service: Service::Push,
        via: Via::Ssh("host".into()),
        qube: None,
    };
    let mut packet = wyng_control::encode(&start).unwrap();
    let host = packet
        .windows(4)
        .position(|bytes| bytes == b"host")
        .unwrap();
    packet[host..host + 4].copy_from_slice(b"-oho");
    let lone = Lone::start(Role::Spawner);
    send_packet(lone.wires["control"].as_fd(), &packet, &[]).unwrap();
    lone.has_failed("ssh:-oho");
}

#[test]
fn a_declared_message_that_may_not_come_now_ends_the_role() {
    fn says<T: bincode::Encode + std::fmt::Debug>(role: Role, peer: &str, messages: &[T]) {
        let lone = Lone::start(role);
        messages.iter().for_each(|message| lone.say(peer, message));
        lone.has_failed(&format!("{messages:?}"));
    }
    let service = Service::Push;
    says(Role::Control, "keyholder", &[KeyholderToControl::GivenBack]);
    says(
        Role::Control,
        "keyholder",
        &[KeyholderToControl::Locked(None)],
    );
    says(
        Role::Control,
        "volumes",
        &[VolumesToControl::QubeReady {
            service,
            qube: None,
        }],
    );
    says(
        Role::Control,
        "reader",
        &[ReaderToControl::Done {
            exit: ExitStatus::Done,
            peak_rss_bytes: 0,
        }],
    );
    says(
        Role::Volumes,
        "control",
        &[ControlToVolumes::Configured { item: 0 }],
    );
    says(
        Role::Volumes,
        "control",
        &[ControlToVolumes::Given {
            item: 0,
            given: Given::Done { errno: 0 },
        }],
    );
    let question = || KeyholderToVolumes::OpenSource {
        item: 0,
        volume: "a".into(),
        base_of: BaseOf {
            archive: [0; 16],
            volume: [0; 16],
        },
        origin: None,
    };
    says(Role::Volumes, "keyholder", &[question(), question()]);
    says(
        Role::Keyholder,
        "control",
        &[ControlToKeyholder::Given {
            item: 0,
            given: Given::NoPipe,
        }],
    );
    says(
        Role::Reader,
        "control",
        &[ControlToReader::Start {
            command: Asked::ArchiveForget {
                archive: "home".into(),
            },
            uid: 0,
        }],
    );
    // Two pipes must come with it.
    says(
        Role::Transport,
        "spawner",
        &[SpawnerToTransport::Pipes { service }],
    );
    says(
        Role::Transport,
        "keyholder",
        &[KeyholderToTransport::Open {
            service,
            destination: "dir:/x".into(),
            create: false,
            tries: false,
            looks_at_versions: false,
            lock_until_day: 0,
            signature: None,
        }],
    );
}

#[test]
fn what_is_declared_and_cannot_be_done_ends_no_role() {
    let transport = Lone::start(Role::Transport);
    for destination in [String::new(), "x".repeat(5000)] {
        let (_theirs, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (from, _theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let pipes = wyng_control::encode(&SpawnerToTransport::Pipes {
            service: Service::Fetch,
        })
        .unwrap();
        send_packet(
            transport.wires["spawner"].as_fd(),
            &pipes,
            &[to.as_fd(), from.as_fd()],
        )
        .unwrap();
        transport.say(
            "keyholder",
            &KeyholderToTransport::Open {
                service: Service::Fetch,
                destination,
                create: false,
                tries: false,
                looks_at_versions: false,
                lock_until_day: 0,
                signature: None,
            },
        );
        let failed = TransportToKeyholder::Failed {
            service: Service::Fetch,
            fault: FarEndFault::Address,
        };
        assert_eq!(transport.hear::<TransportToKeyholder>("keyholder"), failed);
    }
    let reader = Lone::start(Role::Reader);
    for archive in ["nothing", "", "../../etc"] {
        reader.say(
            "control",
            &ControlToReader::Start {
                command: Asked::ArchiveShow {
                    archive: archive.into(),
                },
                uid: 0,
            },
        );
        assert!(matches!(
            reader.hear("control"),
            ReaderToControl::Tell(ToClient::Failed(_))
        ));
        assert!(matches!(
            reader.hear("control"),
            ReaderToControl::Done {
                exit: ExitStatus::Usage,
                ..
            }
        ));
    }
    let spawner = Lone::start(Role::Spawner);
    spawner.say(
        "control",
        &ControlToSpawner::Start {
            service: Service::Push,
            via: Via::Qube("none".into()),
            qube: None,
        },
    );
    assert!(matches!(
        spawner.hear("control"),
        SpawnerToControl::NotStarted { .. }
    ));
}
