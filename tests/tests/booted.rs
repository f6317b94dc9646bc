// SPDX-License-Identifier: GPL-3.0-or-later
//! The installed daemon and units under a real systemd: which processes start, with which rights,
//! and what happens to a run that fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use wyng_tests::booted::{boot, scripts};
use wyng_tests::disk::run;
use wyng_tests::programs::{program, static_helper};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{PASSPHRASE, noise};
use wyngd::roles::ROLES;

const CONFIG: &str = "\
[archives.home]
store = \"dir:/srv/store\"
[volumes]
disk = \"/srv/disk.img\"
[profiles.nightly]
archive = \"home\"
";
/// Time limit, seconds: longer than a boot takes on a busy machine.
const PATIENCE_SECS: u32 = 300;

/// The findings of `check.sh`: each name with its values, in order.
type Seen = BTreeMap<String, Vec<String>>;

fn seen(scratch: &Path) -> Seen {
    let (installed, srv) = (scratch.join("installed"), scratch.join("srv"));
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "install-dom0", "PROFILE=dev"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    make.arg(format!("DESTDIR={}", installed.display()))
        .arg(format!(
            "PROGRAMS={}",
            program("wyngd").parent().unwrap().display()
        ));
    run(make
        .arg(format!("HELPER={}", static_helper().display()))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS"));
    std::fs::create_dir(&srv).unwrap();
    std::fs::copy(scripts().join("check.sh"), srv.join("check.sh")).unwrap();
    std::fs::write(srv.join("disk.img"), noise(3_000_000, 1)).unwrap();
    std::fs::write(srv.join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    std::fs::write(installed.join("etc/wyng/wyng.toml"), CONFIG).unwrap();
    // The store is local here, which a dom0 would not do.
    let (example, unit) = (
        scripts().join("../../systemd/examples/wyngd.service.d/local-store.conf"),
        "etc/systemd/system/wyngd.service.d",
    );
    std::fs::create_dir_all(installed.join(unit)).unwrap();
    let local = std::fs::read_to_string(example)
        .unwrap()
        .replace("/mnt/backup", "/srv");
    std::fs::write(installed.join(unit).join("local-store.conf"), local).unwrap();

    let output = boot(scratch, PATIENCE_SECS);
    let log = std::fs::read_to_string(srv.join("log")).unwrap_or_default();
    let lines = std::fs::read_to_string(srv.join("seen")).unwrap_or_default();
    let mut seen = Seen::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(' ')) {
        seen.entry(name.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    let complete = output.status.success() && seen.contains_key("done");
    assert!(
        complete,
        "{}: {}\n{lines}\n{log}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{lines}\n{log}"); // shown when an assertion fails
    seen
}

#[test]
fn the_installed_units_work_under_systemd() {
    let test = "the_installed_units_work_under_systemd";
    if !require(Component::StaticHelper, test) || !require(Component::Boot, test) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let seen = seen(scratch.path());
    let one = |name: &str| match seen.get(name).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        other => panic!("{name}: {other:?}"),
    };

    // The first client starts the daemon. The keyholder owns the state, and the group may use the
    // socket.
    assert_eq!(one("daemon"), "active");
    assert_eq!(
        (one("state-owner"), one("socket")),
        ("wyng-keys 700", "root wyng 660")
    );
    assert_eq!((one("stranger"), one("member")), ("1", "0"));
    // The supervisor and its roles, each with its filter, on a system that they cannot write to and
    // without any network.
    let processes = &seen["process"];
    assert_eq!(processes.len(), 1 + ROLES.len(), "{processes:?}");
    for role in ROLES {
        let wanted = format!(
            "NoNewPrivs:1 Seccomp:2 {} wyngd: {}",
            role.user().unwrap_or("root"),
            role.name()
        );
        assert!(processes.contains(&wanted), "{wanted}: {processes:?}");
    }
    assert_eq!((one("read-only"), one("network")), ("yes", "0"));

    // A run that succeeds ends; a run that may succeed later is tried again; a run that needs a
    // person is reported.
    assert_eq!(
        (one("backup"), one("verify"), one("status")),
        ("success 0 dead", "success 0 dead", "success 0 dead")
    );
    assert_eq!(one("restored"), "same");
    // A sealed credential works too, and without a credential there is no backup.
    assert_eq!(
        (one("sealed"), one("sealed-away")),
        ("success 0 dead", "exit-code 1 failed")
    );
    assert_eq!(
        (one("on-battery"), one("note")),
        ("success 7 auto-restart", "deferred-since.nightly")
    );
    assert_eq!(one("unreachable"), "exit-code 6 auto-restart");
    assert_eq!(one("notices-before"), "wyng-backup-nightly");
    assert_eq!(one("damaged"), "exit-code 5 failed");
    assert_eq!(
        one("notices-after"),
        "wyng-backup-nightly wyng-verify-nightly"
    );
    assert_eq!(one("after-stop"), "0");
}
