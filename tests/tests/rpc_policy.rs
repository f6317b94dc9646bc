// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of `rpc-policy/`: the policy denies every call of a qube, and each service starts the
//! helper with its verb.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wyng_tests::programs::program;
use wyng_tests::rpc_policy::{Action, Mistake, Policy, Qube};
use wyng_wire::{HELLO_BYTES, Hello, Service};

const DENIALS: &str = "60-wyng.policy";
const EXAMPLE: &str = "50-wyng-adminvm.policy.example";
/// The policy of some users: everything is allowed to the qubes that they trust.
const BROAD: (&str, &str) = (
    "70-mine.policy",
    "*  *  @tag:trusted  @anyvm    allow\n*  *  @tag:trusted  @adminvm  allow\n*  *  @tag:trusted  @dispvm:wyng-net-dvm  allow\n*  *  @anyvm  @default  ask\n",
);

const QUBES: [Qube; 6] = [
    Qube {
        name: "work",
        tags: &["trusted"],
    },
    Qube {
        name: "vault",
        tags: &[],
    },
    Qube {
        name: "sys-net",
        tags: &["trusted"],
    },
    Qube {
        name: "disp1234",
        tags: &["trusted", "disp-created-by-dom0"],
    },
    Qube {
        name: "backup-admin",
        tags: &["trusted"],
    },
    Qube {
        name: "wyng-net-dvm",
        tags: &[],
    },
];
/// Everything that a qube can name as a target.
const TARGETS: [&str; 9] = [
    "dom0",
    "@adminvm",
    "",
    "@default",
    "@dispvm",
    "@dispvm:wyng-net-dvm",
    "wyng-net-dvm",
    "sys-net",
    "disp1234",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpc-policy")
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn qube(name: &str) -> Qube {
    QUBES.into_iter().find(|qube| qube.name == name).unwrap()
}

/// Every possible call: service, argument, source, target.
fn calls() -> Vec<(&'static str, &'static str, Qube, &'static str)> {
    let mut calls = Vec::new();
    for service in Service::ALL.iter().copied() {
        for source in QUBES {
            for target in TARGETS {
                calls.push((service.qrexec_name(), "+", source, target));
                calls.push((service.qrexec_name(), "+-o", source, target));
            }
        }
    }
    calls
}

#[test]
fn no_qube_may_call_a_service_whatever_else_is_allowed() {
    let denials = shipped(DENIALS);
    for files in [
        vec![(DENIALS, denials.as_str())],
        vec![(DENIALS, denials.as_str()), BROAD],
    ] {
        let policy = Policy::parse(&files).unwrap();
        for (service, argument, source, target) in calls() {
            let action = policy.decide(service, argument, source, target, &QUBES);
            assert_eq!(
                action,
                Action::Deny,
                "{service}{argument} from {} to {target:?}",
                source.name
            );
        }
    }
    assert!(calls().len() >= 40);
}

#[test]
fn without_the_denials_a_broad_line_would_let_calls_through() {
    let broad = Policy::parse(&[BROAD]).unwrap();
    let through = calls()
        .into_iter()
        .filter(|(service, argument, source, target)| {
            broad.decide(service, argument, *source, target, &QUBES) != Action::Deny
        });
    assert!(through.count() >= 40);
    // Other services are not affected.
    let both = Policy::parse(&[(DENIALS, &shipped(DENIALS)), BROAD]).unwrap();
    for (service, target) in [
        ("qubes.Filecopy", "sys-net"),
        ("wyng.Other", "dom0"),
        ("qubes.Gpg", ""),
    ] {
        let action = both.decide(service, "+", qube("work"), target, &QUBES);
        assert_eq!(
            action,
            broad.decide(service, "+", qube("work"), target, &QUBES)
        );
        assert_ne!(action, Action::Deny);
    }
}

#[test]
fn no_far_end_shows_notices_and_every_other_qube_still_does() {
    /// The policy of Qubes OS, which lets every qube show notices.
    const USUAL: (&str, &str) = (
        "90-default.policy",
        "qubes.Notifications  *  @anyvm  @adminvm  allow\nqubes.Notifications  *  @anyvm  @anyvm  allow\n",
    );
    let far_ends = [
        Qube {
            name: "wyng-0123456789-abcdef-1",
            tags: &["disp-created-by-dom0", "wyng-transport"],
        },
        Qube {
            name: "backup",
            tags: &["wyng-transport", "trusted"],
        },
    ];
    let all: Vec<Qube> = QUBES.into_iter().chain(far_ends).collect();
    let denials = shipped(DENIALS);
    let policy = Policy::parse(&[(DENIALS, &denials), BROAD, USUAL]).unwrap();
    for target in TARGETS {
        for source in far_ends {
            let action = policy.decide("qubes.Notifications", "+", source, target, &all);
            assert_eq!(action, Action::Deny, "{} to {target:?}", source.name);
        }
        let usual = Policy::parse(&[BROAD, USUAL]).unwrap();
        let work =
            |policy: &Policy| policy.decide("qubes.Notifications", "+", qube("work"), target, &all);
        assert_eq!(work(&policy), work(&usual), "{target:?}");
    }
}

#[test]
fn the_example_lets_one_qube_reach_one_template_and_nobody_else() {
    let (example, denials) = (shipped(EXAMPLE), shipped(DENIALS));
    let installed = EXAMPLE.strip_suffix(".example").unwrap();
    let policy = Policy::parse(&[BROAD, (DENIALS, &denials), (installed, &example)]).unwrap();
    for (service, argument, source, target) in calls() {
        let wanted = match (source.name, target, service) {
            ("backup-admin", "@dispvm:wyng-net-dvm", "wyng.Push") => Action::Allow,
            ("backup-admin", "@dispvm:wyng-net-dvm", _) => Action::Ask,
            _ => Action::Deny,
        };
        let action = policy.decide(service, argument, source, target, &QUBES);
        assert_eq!(
            action, wanted,
            "{service}{argument} from {} to {target:?}",
            source.name
        );
    }
}

#[test]
fn what_the_real_parser_refuses_is_refused() {
    for line in [
        "wyng.Push * @anyvm @anyvm deny # why",
        "wyng.Push * @anyvm @anyvm",
        "wyng.Push x @anyvm @anyvm deny",
        "wyng/Push * @anyvm @anyvm deny",
        "* +x @anyvm @anyvm deny",
        "wyng.Push * @adminvm @anyvm deny",
        "wyng.Push * @anyvm @all deny",
        "wyng.Push * @tag: @anyvm deny",
        "wyng.Push * @anyvm @default allow",
        "wyng.Push * @anyvm @anyvm refuse",
        "wyng.Push * @anyvm @anyvm deny user=root",
    ] {
        let text = format!("# a comment\n{line}\n");
        let refused = Policy::parse(&[("60-wyng.policy", &text)]).unwrap_err();
        assert_eq!(
            refused,
            Mistake {
                file: "60-wyng.policy".into(),
                line: 2
            },
            "{line}"
        );
    }
    for name in ["60-Wyng.policy", "60 wyng.policy", "60-wyng+.policy"] {
        assert_eq!(Policy::parse(&[(name, "")]).unwrap_err().line, 0, "{name}");
    }
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let late = ("90-late.policy", "wyng.Push * work @anyvm allow");
    let early = ("10-early.policy", "wyng.Push * work @anyvm allow");
    let denials = shipped(DENIALS);
    let decide = |files: &[(&str, &str)]| {
        Policy::parse(files)
            .unwrap()
            .decide("wyng.Push", "+", qube("work"), "vault", &QUBES)
    };
    assert_eq!(decide(&[late, (DENIALS, &denials)]), Action::Deny);
    assert_eq!(decide(&[(DENIALS, &denials), early]), Action::Allow);
}

#[test]
fn a_service_is_two_lines_that_start_the_helper_with_its_verb() {
    let names = |folder: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    };
    let mut services: Vec<&str> = Service::ALL
        .iter()
        .copied()
        .map(Service::qrexec_name)
        .collect();
    services.sort_unstable();
    assert_eq!(names(&folder().join("services")), services);
    assert_eq!(names(&folder().join("rpc-config")), services);
    for service in Service::ALL.iter().copied() {
        let name = service.qrexec_name();
        let wanted = format!(
            "#!/bin/sh\nexec /usr/libexec/wyng/wyng-transport-vm {}\n",
            service.verb()
        );
        assert_eq!(shipped(&format!("services/{name}")), wanted);
        let mode = std::fs::metadata(folder().join("services").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{name} can be run");
        let config = shipped(&format!("rpc-config/{name}"));
        let settings: Vec<&str> = config
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(settings, ["wait-for-session=false"]);
        assert!(config.len() <= 4096, "qrexec reads no more");
    }
}

#[test]
fn what_a_caller_adds_to_a_services_name_is_not_heard() {
    let scratch = tempfile::tempdir().unwrap();
    for service in Service::ALL.iter().copied() {
        let script = shipped(&format!("services/{}", service.qrexec_name()));
        let script = script.replace(
            "/usr/libexec/wyng/wyng-transport-vm",
            program("wyng-transport-vm").to_str().unwrap(),
        );
        let file = scratch.path().join(service.verb());
        std::fs::write(&file, script).unwrap();
        // qrexec passes the argument as the first one of the program, and in the environment.
        let mut command = Command::new("/bin/sh");
        command
            .arg(&file)
            .arg("--help")
            .env("QREXEC_SERVICE_ARGUMENT", "--help")
            .stdin(Stdio::null());
        let said = command.output().unwrap().stdout;
        let hello: [u8; HELLO_BYTES] = said.try_into().unwrap();
        assert_eq!(Hello::decode(&hello).unwrap(), Hello { service });
    }
}
