// SPDX-License-Identifier: GPL-3.0-or-later
//! The units of `systemd/`, read by systemd's own tools: every word is known, the exposure is
//! measured, and the roles keep what they need.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use wyng_tests::disk::run;
use wyng_tests::programs::program;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{PASSPHRASE, Sandbox, noise};
use wyng_tests::service::until;

/// Maximum exposure of a unit, tenths, as `systemd-analyze security` counts it.
const EXPOSED_MOST: [(&str, u32); 9] = [
    // Without CAP_SYS_RESOURCE it would be 20, and lvm could be killed when memory runs out.
    ("wyngd.service", 21),
    ("wyng-backup@.service", 10),
    ("wyng-verify@.service", 10),
    ("wyng-prune@.service", 10),
    ("wyng-rehearse@.service", 10),
    ("wyng-copy@.service", 10),
    ("wyng-status.service", 10),
    ("wyng-export.service", 10),
    ("wyng-notify@.service", 10),
];

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(shipped().join(name)).unwrap()
}

/// The values of a setting in all its lines.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).collect()
}

/// A copy of the units in which every program exists; templates get an instance. Returns the names
/// of all its units.
fn staged(folder: &Path, from: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !["service", "socket", "timer", "path"]
            .iter()
            .any(|kind| path.extension().is_some_and(|found| found == *kind))
        {
            continue;
        }
        let unit = std::fs::read_to_string(&path).unwrap();
        let there = [
            "/usr/libexec/wyng/wyngd",
            "/usr/bin/wyng-ctl",
            "/usr/bin/notify-send",
        ]
        .iter()
        .fold(unit, |unit, program| unit.replace(program, "/bin/true"));
        std::fs::write(folder.join(&name), &there).unwrap();
        let instance = name.replace("@.", "@nightly.");
        std::fs::write(folder.join(&instance), there).unwrap();
        names.push(instance);
    }
    names
}

/// The output of `systemd-analyze verify`. It ends with 0 on an unknown word, so any output is a
/// failure.
fn complaints(folder: &Path, names: &[String], options: &[&str]) -> String {
    let mut command = Command::new("systemd-analyze");
    // Manual pages and a user session may be missing here.
    command
        .args(["verify", "--man=no"])
        .args(options)
        .args(names)
        .current_dir(folder)
        .env("XDG_RUNTIME_DIR", folder);
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() || !said.is_empty() {
        said
    } else {
        format!("{}", output.status)
    }
}

#[test]
fn systemd_has_nothing_to_say_of_the_units() {
    if !require(
        Component::SystemdAnalyze,
        "systemd_has_nothing_to_say_of_the_units",
    ) {
        return;
    }
    for (from, options, least) in [
        (shipped(), &[][..], 8),
        (shipped().join("user"), &["--user"], 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let names = staged(folder.path(), &from);
        assert!(names.len() >= least, "{names:?}");
        assert_eq!(complaints(folder.path(), &names, options), "");
        // A misspelt word in the same units is found.
        let spoilt = folder.path().join(&names[0]);
        let unit = std::fs::read_to_string(&spoilt).unwrap();
        std::fs::write(
            &spoilt,
            unit.replacen("[Unit]\n", "[Unit]\nDescripton=x\n", 1),
        )
        .unwrap();
        assert!(complaints(folder.path(), &names, options).contains("Descripton"));
    }
}

#[test]
fn systemd_has_nothing_to_say_of_the_examples() {
    if !require(
        Component::SystemdAnalyze,
        "systemd_has_nothing_to_say_of_the_examples",
    ) {
        return;
    }
    let mut seen = 0;
    for of_unit in std::fs::read_dir(shipped().join("examples")).unwrap() {
        let of_unit = of_unit.unwrap().path();
        for example in std::fs::read_dir(&of_unit).unwrap() {
            let example = example.unwrap().path();
            let folder = tempfile::tempdir().unwrap();
            let names = staged(folder.path(), &shipped());
            let into = folder.path().join(of_unit.file_name().unwrap());
            std::fs::create_dir(&into).unwrap();
            let added = std::fs::read_to_string(&example)
                .unwrap()
                .replace("/usr/bin/wyng-ctl", "/bin/true");
            std::fs::write(into.join("example.conf"), &added).unwrap();
            assert_eq!(
                complaints(folder.path(), &names, &[]),
                "",
                "{}",
                example.display()
            );
            std::fs::write(
                into.join("example.conf"),
                added.replace("[Service]\n", "[Service]\nPrivatNetwork=no\n"),
            )
            .unwrap();
            assert!(
                complaints(folder.path(), &names, &[]).contains("PrivatNetwork"),
                "{} is not read",
                example.display()
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn a_sealed_passphrase_opens_the_archive_for_a_deep_verify() {
    let test = "a_sealed_passphrase_opens_the_archive_for_a_deep_verify";
    if !require(Component::SystemdAnalyze, test) || !require(Component::Root, test) {
        return;
    }
    let sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 300_000, 1);
    sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success();
    let creds = |words: &[&str], from: &str, to: &str| {
        let mut command = Command::new("systemd-creds");
        // The machine's own key is not touched.
        command
            .args(words)
            .arg("--name=wyng-passphrase")
            .arg(sandbox.path(from))
            .arg(sandbox.path(to));
        run(command.env("SYSTEMD_CREDENTIAL_SECRET", sandbox.path("machine-key")));
    };
    creds(&["encrypt", "--with-key=host"], "passphrase", "sealed");
    let sealed = std::fs::read(sandbox.path("sealed")).unwrap();
    assert!(
        !sealed
            .windows(PASSPHRASE.len())
            .any(|window| window == PASSPHRASE.as_bytes())
    );
    creds(&["decrypt"], "sealed", "opened");
    sandbox
        .wyng(&[
            "verify",
            "home",
            "--deep",
            "--passphrase-file",
            sandbox.path("opened").to_str().unwrap(),
        ])
        .success();
    sandbox
        .wyng(&[
            "verify",
            "home",
            "--deep",
            "--passphrase-file",
            sandbox.path("sealed").to_str().unwrap(),
        ])
        .expect(4);
}

fn security(unit: &Path, threshold: u32) -> Output {
    let mut command = Command::new("systemd-analyze");
    command
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            &format!("--threshold={threshold}"),
        ])
        .arg(unit);
    command.output().unwrap()
}

#[test]
fn no_unit_is_more_exposed_than_it_must_be() {
    if !require(
        Component::SystemdAnalyze,
        "no_unit_is_more_exposed_than_it_must_be",
    ) {
        return;
    }
    for (name, most) in EXPOSED_MOST {
        let measured = security(&shipped().join(name), most);
        let said = String::from_utf8_lossy(&measured.stdout).into_owned();
        assert!(
            measured.status.success(),
            "{name}: {}",
            said.lines()
                .rfind(|line| line.contains("Overall"))
                .unwrap_or(&said)
        );
    }
    let services = std::fs::read_dir(shipped()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|kind| kind == "service")
    });
    assert_eq!(services.count(), EXPOSED_MOST.len(), "each is measured");
    // A missing protection is noticed.
    let folder = tempfile::tempdir().unwrap();
    let weaker = folder.path().join("wyngd.service");
    std::fs::write(
        &weaker,
        text("wyngd.service").replace("PrivateNetwork=yes\n", ""),
    )
    .unwrap();
    assert!(!security(&weaker, 20).status.success());
}

/// The system calls of a set, and of the sets in it.
fn calls_of(set: &str, calls: &mut BTreeSet<String>) {
    if !set.starts_with('@') {
        calls.insert(set.to_owned());
        return;
    }
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", set])
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    for line in listed
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        calls_of(line, calls);
    }
}

#[test]
fn the_unit_lets_the_roles_make_every_call_of_their_own_filters() {
    if !require(
        Component::SystemdAnalyze,
        "the_unit_lets_the_roles_make_every_call_of_their_own_filters",
    ) {
        return;
    }
    let unit = text("wyngd.service");
    let mut allowed = BTreeSet::new();
    calls_of("@default", &mut allowed);
    // Each line adds or removes calls, in order.
    for line in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let mut said = BTreeSet::new();
        line.trim_start_matches('~')
            .split_whitespace()
            .for_each(|set| calls_of(set, &mut said));
        allowed = if line.starts_with('~') {
            &allowed - &said
        } else {
            &allowed | &said
        };
    }
    assert!(allowed.len() > 200, "{} calls", allowed.len());
    let filters =
        std::fs::read_to_string(shipped().join("../crates/wyng-jail/src/seccomp.rs")).unwrap();
    let list = |name| {
        filters
            .split_once(&format!("const {name}"))
            .unwrap()
            .1
            .split_once("];")
            .unwrap()
            .0
    };
    let refused = [list("DANGEROUS"), list("UNKNOWN_TO_FAR_ENDS")].concat();
    let named = |text: &str| -> BTreeSet<String> {
        text.split("libc::SYS_")
            .skip(1)
            .map(|rest| {
                rest.split(|char: char| !char.is_alphanumeric() && char != '_')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let needed: Vec<String> = named(&filters)
        .difference(&named(&refused))
        .cloned()
        .collect();
    assert!(needed.len() > 60, "{} calls", needed.len());
    let own = [
        "seccomp",
        "landlock_restrict_self",
        "unshare",
        "setresuid",
        "setgroups",
        "capset",
        "mlockall",
        "prlimit64",
        "execve",
        "clone3",
    ];
    for call in needed.iter().map(String::as_str).chain(own) {
        assert!(allowed.contains(call), "{call} is refused by the unit");
    }
}

#[test]
fn the_socket_is_where_wyng_ctl_looks_for_it() {
    let socket = text("wyngd.socket");
    let [path] = setting(&socket, "ListenSequentialPacket")[..] else {
        panic!("one socket")
    };
    let help = Command::new(program("wyng-ctl"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains(&format!("[default: {path}]")),
        "{path}"
    );
    assert!(
        setting(&text("wyngd.service"), "ExecStart").contains(&path),
        "without systemd's socket it makes the same one"
    );
    assert_eq!(
        (
            setting(&socket, "SocketMode"),
            setting(&socket, "SocketGroup")
        ),
        (vec!["0660"], vec!["wyng"])
    );
}

/// `systemd-socket-activate`, which waits for a client and then executes the daemon.
struct Activated(Child);

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_daemon_takes_the_socket_that_systemd_opened() {
    if !require(
        Component::SystemdAnalyze,
        "the_daemon_takes_the_socket_that_systemd_opened",
    ) {
        return;
    }
    let mut sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 300_000, 1);
    let socket = sandbox.path("wyngd.sock");
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg("--seqpacket")
        .arg("--listen")
        .arg(&socket)
        .arg(program("wyngd"))
        .arg("--socket")
        .arg(sandbox.path("not-this-one"));
    let activated = Activated(
        command
            .arg("--state-dir")
            .arg(sandbox.state())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    until("systemd listens", || socket.exists());
    sandbox.talk_to(socket);
    let session = sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(300_000, 1));
    assert!(!sandbox.path("not-this-one").exists());
    drop(activated);
}

#[test]
fn sysusers_and_tmpfiles_make_what_the_units_name() {
    let test = "sysusers_and_tmpfiles_make_what_the_units_name";
    if !require(Component::SystemdAnalyze, test) || !require(Component::Root, test) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for (folder, name) in [
        ("sysusers.d", "wyng.sysusers"),
        ("tmpfiles.d", "wyng.tmpfiles"),
    ] {
        let folder = root.path().join("usr/lib").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(shipped().join(name), folder.join("wyng.conf")).unwrap();
    }
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    // Files that root's private daemon left there are given to the keyholder.
    let left = root.path().join("var/lib/wyng/archives");
    std::fs::create_dir_all(&left).unwrap();
    for (tool, create) in [
        ("systemd-sysusers", None),
        ("systemd-tmpfiles", Some("--create")),
    ] {
        let output = Command::new(tool)
            .arg(format!("--root={}", root.path().display()))
            .args(create)
            .arg("wyng.conf")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{tool}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let number = |user: &str| -> u32 {
        let line = passwd
            .lines()
            .find(|line| line.starts_with(&format!("{user}:")))
            .unwrap();
        assert!(line.ends_with("nologin"), "{line}");
        line.split(':').nth(2).unwrap().parse().unwrap()
    };
    let users: BTreeSet<u32> = ["wyng-control", "wyng-keys", "wyng-net"].map(number).into();
    assert_eq!(users.len(), 3);
    assert!(!users.contains(&number("wyng-monitor")));
    assert!(
        std::fs::read_to_string(root.path().join("etc/group"))
            .unwrap()
            .lines()
            .any(|line| line.starts_with("wyng:"))
    );
    for (folder, owner, mode) in [
        ("run/wyng", 0, 0o755),
        ("run/wyng/notice", 0, 0o755),
        ("var/lib/wyng", number("wyng-keys"), 0o700),
    ] {
        let found = std::fs::metadata(root.path().join(folder)).unwrap();
        assert_eq!(
            (found.uid(), found.permissions().mode() & 0o7777),
            (owner, mode),
            "{folder}"
        );
    }
    assert_eq!(std::fs::metadata(left).unwrap().uid(), number("wyng-keys"));
}

/// A time of a unit as seconds.
fn seconds(text: &str) -> u64 {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit).unwrap().parse().unwrap();
    let secs = match unit {
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        other => panic!("{other:?}"),
    };
    number * secs
}

#[test]
fn a_timer_fires_although_the_wall_clock_stands_still_and_too_soon_is_left_out() {
    let timers = [
        ("wyng-backup@", "daily", Some("1d")),
        ("wyng-verify@", "weekly", Some("1w")),
        ("wyng-prune@", "daily", None),
        ("wyng-status", "*-*-* 12:00", None),
        ("wyng-export", "hourly", None),
    ];
    for (name, calendar, interval) in timers {
        let timer = text(&format!("{name}.timer"));
        assert_eq!(setting(&timer, "OnCalendar").join(" "), calendar, "{name}");
        let [boot] = setting(&timer, "OnBootSec")[..] else {
            panic!("{name}: no run after a boot")
        };
        let [active] = setting(&timer, "OnUnitActiveSec")[..] else {
            panic!("{name}: no run in a boot of weeks")
        };
        // A machine that is on for less has no run under a frozen clock.
        assert!(seconds(boot) <= 1800, "{name}");
        let command = text(&format!("{name}.service"));
        let words = setting(&command, "ExecStart");
        let given = words
            .iter()
            .skip_while(|word| **word != "--interval")
            .nth(1);
        assert_eq!(given, interval.as_ref(), "{name}");
        // It comes after the next calendar event, so that the time of day stays.
        let every = seconds(interval.unwrap_or(match calendar {
            "hourly" => "1h",
            _ => "1d",
        }));
        assert!(
            seconds(active) > every && seconds(active) <= every * 5 / 4,
            "{name}"
        );
    }
}

#[test]
fn nothing_enables_a_rehearsal_a_prune_or_a_copy_by_itself() {
    let files = wyng_tests::sandbox::files_below(&shipped());
    for unit in ["rehearse", "prune", "copy"] {
        let enablers = files.iter().filter(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            let text = std::fs::read_to_string(file).unwrap();
            let enables = |line: &str| line.starts_with("enable ") || line.starts_with("Also=");
            !name.starts_with(&format!("wyng-{unit}@"))
                && text
                    .lines()
                    .any(|line| enables(line) && line.contains(unit))
        });
        assert_eq!(enablers.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
        assert_eq!(
            setting(&text(&format!("wyng-{unit}@.timer")), "WantedBy"),
            ["timers.target"]
        );
    }
}

#[test]
fn the_files_for_monitors_are_written_after_each_run_and_hourly_where_a_person_enables_it() {
    for name in [
        "wyng-backup@",
        "wyng-verify@",
        "wyng-prune@",
        "wyng-rehearse@",
        "wyng-copy@",
    ] {
        let unit = text(&format!("{name}.service"));
        for word in ["OnSuccess", "OnFailure"] {
            assert!(
                setting(&unit, word).contains(&"wyng-export.service"),
                "{name}"
            );
        }
    }
    let export = text("wyng-export.service");
    assert!(setting(&export, "ExecStart").contains(&"--export"));
    // The folder is open to all, and its owner is nobody's role.
    assert_eq!(setting(&export, "User"), ["wyng-monitor"]);
    assert_eq!(setting(&export, "StateDirectoryMode"), ["0755"]);
    let enabling = wyng_tests::sandbox::files_below(&shipped());
    let enabling = enabling.iter().filter(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines()
            .any(|line| line.starts_with("Also=") && line.contains("export"))
    });
    assert_eq!(enabling.count(), 0);
}

#[test]
fn a_timer_makes_up_for_what_it_missed_and_wakes_nobody() {
    for name in [
        "wyng-backup@.timer",
        "wyng-verify@.timer",
        "wyng-prune@.timer",
        "wyng-rehearse@.timer",
        "wyng-copy@.timer",
        "wyng-status.timer",
    ] {
        let timer = text(name);
        assert_eq!(
            (setting(&timer, "Persistent"), setting(&timer, "WakeSystem")),
            (vec!["true"], vec!["false"]),
            "{name}"
        );
        assert!(!setting(&timer, "RandomizedDelaySec").is_empty(), "{name}");
        let service = text(&name.replace(".timer", ".service"));
        assert!(
            setting(&service, "OnFailure")[0].starts_with("wyng-notify@"),
            "{name}"
        );
    }
    // Status 7 is no failure and is tried again, as is a store that could not be reached.
    let backup = text("wyng-backup@.service");
    assert_eq!(
        (
            setting(&backup, "SuccessExitStatus"),
            setting(&backup, "RestartForceExitStatus")
        ),
        (vec!["7"], vec!["6", "7"])
    );
    let notice = text("wyng-notify@.service");
    assert_eq!(
        setting(&notice, "ExecStart"),
        ["/usr/bin/touch", "/run/wyng/notice/%i"],
        "no text of anybody"
    );
}
