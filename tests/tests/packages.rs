// SPDX-License-Identifier: GPL-3.0-or-later
//! The files that `make install-dom0` and `make install-vm` install, and the packages with them:
//! built, installed into a folder, and run from there.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wyng_tests::disk::run;
use wyng_tests::programs::{program, static_helper};
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, create_home, noise};

/// The package of the admin domain: each file except for manual pages and documents, with its mode.
const DOM0: [(&str, u32); 43] = [
    ("etc/qubes/policy.d/60-wyng.policy", 0o664),
    ("usr/bin/wyng-ctl", 0o755),
    ("usr/lib/dracut/dracut.conf.d/90-wyng.conf", 0o644),
    ("usr/lib/systemd/system-preset/85-wyng.preset", 0o644),
    ("usr/lib/systemd/system/wyng-backup@.service", 0o644),
    ("usr/lib/systemd/system/wyng-backup@.timer", 0o644),
    ("usr/lib/systemd/system/wyng-export.service", 0o644),
    ("usr/lib/systemd/system/wyng-export.timer", 0o644),
    ("usr/lib/systemd/system/wyng-notify@.service", 0o644),
    ("usr/lib/systemd/system/wyng-prune@.service", 0o644),
    ("usr/lib/systemd/system/wyng-prune@.timer", 0o644),
    ("usr/lib/systemd/system/wyng-rehearse@.service", 0o644),
    ("usr/lib/systemd/system/wyng-rehearse@.timer", 0o644),
    ("usr/lib/systemd/system/wyng-copy@.service", 0o644),
    ("usr/lib/systemd/system/wyng-copy@.timer", 0o644),
    ("usr/lib/systemd/system/wyng-status.service", 0o644),
    ("usr/lib/systemd/system/wyng-status.timer", 0o644),
    ("usr/lib/systemd/system/wyng-verify@.service", 0o644),
    ("usr/lib/systemd/system/wyng-verify@.timer", 0o644),
    ("usr/lib/systemd/system/wyngd.service", 0o644),
    ("usr/lib/systemd/system/wyngd.socket", 0o644),
    ("usr/lib/systemd/user-preset/85-wyng.preset", 0o644),
    ("usr/lib/systemd/user/wyng-notify.path", 0o644),
    ("usr/lib/systemd/user/wyng-notify.service", 0o644),
    ("usr/lib/systemd/user/wyng-watch.service", 0o644),
    ("usr/lib/sysusers.d/wyng.conf", 0o644),
    ("usr/lib/tmpfiles.d/wyng.conf", 0o644),
    (
        "usr/lib/udev/rules.d/12-wyng-ignore-lvm-devices.rules",
        0o644,
    ),
    ("usr/lib/udev/rules.d/12-wyng-ignore-zvols.rules", 0o644),
    ("usr/libexec/wyng/wyng-transport-vm", 0o755),
    ("usr/libexec/wyng/wyngd", 0o755),
    ("usr/share/applications/wyng.desktop", 0o644),
    ("usr/share/bash-completion/completions/wyng-ctl", 0o644),
    ("usr/share/fish/vendor_completions.d/wyng-ctl.fish", 0o644),
    ("usr/share/icons/hicolor/scalable/apps/wyng.svg", 0o644),
    ("usr/share/licenses/wyng/LICENSE", 0o644),
    ("usr/share/man/man1/wyng-ctl-backup.1.gz", 0o644),
    ("usr/share/man/man1/wyng-ctl.1.gz", 0o644),
    ("usr/share/man/man5/wyng.toml.5.gz", 0o644),
    ("usr/share/man/man8/wyngd.8.gz", 0o644),
    ("usr/share/wyng/read_archive.py", 0o755),
    ("usr/share/wyng/requirements.txt", 0o644),
    ("usr/share/zsh/site-functions/_wyng-ctl", 0o644),
];

/// The package of a template, in the same form.
const VM: [(&str, u32); 8] = [
    ("etc/qubes-rpc/wyng.Fetch", 0o755),
    ("etc/qubes-rpc/wyng.Prune", 0o755),
    ("etc/qubes-rpc/wyng.Push", 0o755),
    ("etc/qubes/rpc-config/wyng.Fetch", 0o644),
    ("etc/qubes/rpc-config/wyng.Prune", 0o644),
    ("etc/qubes/rpc-config/wyng.Push", 0o644),
    ("usr/libexec/wyng/wyng-transport-vm", 0o755),
    ("usr/share/licenses/wyng-vm/LICENSE", 0o644),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// `make`, with the programs that are under test.
fn make(target: &str, variables: &[(&str, &Path)]) {
    let mut command = Command::new("make");
    command
        .arg("--no-print-directory")
        .arg(target)
        .arg("PROFILE=dev")
        .current_dir(root());
    command.arg(format!(
        "PROGRAMS={}",
        program("wyngd").parent().unwrap().display()
    ));
    command.arg(format!("HELPER={}", static_helper().display()));
    command.args(
        variables
            .iter()
            .map(|(name, path)| format!("{name}={}", path.display())),
    );
    // The job server of an outer make must not be used.
    run(command
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS"));
}

/// Every file below a folder with its mode, except for the package manager's own files.
fn files(folder: &Path) -> BTreeMap<String, u32> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with("var/lib/") {
                found.insert(
                    name,
                    std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
                );
            }
        }
    }
    found
}

/// Checks that exactly the files of the table exist, besides documents and manual pages of single
/// commands.
#[track_caller]
fn assert_holds(folder: &Path, table: &[(&str, u32)]) {
    let mut found = files(folder);
    for (name, mode) in table {
        assert_eq!(found.remove(*name), Some(*mode), "{name}");
    }
    found.retain(|name, mode| {
        *mode != 0o644
            || !["usr/share/man/man1/wyng-ctl-", "usr/share/doc/wyng"]
                .iter()
                .any(|free| name.starts_with(free))
    });
    assert_eq!(found, BTreeMap::new(), "more than the table has");
}

#[test]
fn install_puts_everything_where_qubes_has_it() {
    if !require(
        Component::StaticHelper,
        "install_puts_everything_where_qubes_has_it",
    ) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (dom0, vm) = (scratch.path().join("dom0"), scratch.path().join("vm"));
    make("install-dom0", &[("DESTDIR", &dom0)]);
    make("install-vm", &[("DESTDIR", &vm)]);
    assert_holds(&dom0, &DOM0);
    assert_holds(&vm, &VM);
    assert!(dom0.join("etc/wyng").is_dir());
    // The recovery sheet names the sum of this very file.
    let reader = std::fs::read(root().join("reader/read_archive.py")).unwrap();
    assert!(std::fs::read(dom0.join("usr/share/wyng/read_archive.py")).unwrap() == reader);
    assert!(
        std::fs::read_to_string(dom0.join("usr/share/bash-completion/completions/wyng-ctl"))
            .unwrap()
            .contains(
                "complete -o nospace -o bashdefault -o nosort -F _clap_complete_wyng_ctl wyng-ctl"
            )
    );
    assert!(
        dom0.join("usr/share/doc/wyng/50-wyng-adminvm.policy.example")
            .is_file(),
        "the example is a document"
    );
}

#[test]
fn the_helper_of_a_template_needs_nothing_of_it() {
    let test = "the_helper_of_a_template_needs_nothing_of_it";
    if !require(Component::StaticHelper, test) {
        return;
    }
    let needs = |program: &Path| {
        let output = Command::new("readelf")
            .args(["--wide", "--program-headers", "--dynamic"])
            .arg(program)
            .output()
            .unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines()
            .filter(|line| line.contains("INTERP") || line.contains("(NEEDED)"))
            .count()
    };
    assert_eq!(needs(&static_helper()), 0, "no loader and no library");
    assert!(
        needs(&program("wyng-transport-vm")) > 1,
        "the one that is linked as usual is told apart"
    );
    let mut sandbox = Sandbox::with_archive(&[]);
    let image = sandbox.image("disk.img", 300_000, 1);
    sandbox.replace_helper(&format!("exec {} $1", static_helper().display()));
    let session = sandbox
        .wyng(&["backup", "home", image.to_str().unwrap()])
        .success()
        .session(0);
    sandbox.assert_restores("disk.img", &session, &noise(300_000, 1));
}

/// Programs in an installed root print their version, and a backup restores.
fn works_from(installed: &Path) {
    let sandbox = Sandbox::new();
    sandbox.image("disk.img", 300_000, 1);
    let store = format!("dir:{}", sandbox.store().display());
    let wyng = |arguments: &[&str]| {
        let mut command = Command::new(installed.join("usr/bin/wyng-ctl"));
        command
            .args(["--standalone", "--state-dir"])
            .arg(sandbox.state())
            .arg("--passphrase-file")
            .arg(sandbox.path("passphrase"));
        run(command.args(arguments).current_dir(sandbox.path("")));
    };
    // It looks next to itself first; an installed program finds the others in /usr/libexec, which
    // is outside of this root.
    for name in ["wyngd", "wyng-transport-vm"] {
        std::fs::copy(
            installed.join("usr/libexec/wyng").join(name),
            installed.join("usr/bin").join(name),
        )
        .unwrap();
    }
    wyng(&create_home(&store));
    wyng(&["backup", "home", "disk.img"]);
    wyng(&["restore", "home", "disk.img", "--to", "restored.img"]);
    assert!(std::fs::read(sandbox.path("restored.img")).unwrap() == noise(300_000, 1));
}

/// The only package in a folder, or in its subfolder of the architecture.
fn package(folder: &Path, name: &str, kind: &str) -> PathBuf {
    let is_it = |file: &str| file.starts_with(name) && file.ends_with(kind);
    let found: Vec<String> = files(folder)
        .into_keys()
        .filter(|file| is_it(file.rsplit('/').next().unwrap()))
        .collect();
    let [found] = &found[..] else {
        panic!("{name}: {found:?}")
    };
    folder.join(found)
}

#[test]
fn the_rpms_install_into_a_root_and_work_there() {
    let test = "the_rpms_install_into_a_root_and_work_there";
    if !require(Component::StaticHelper, test)
        || !require(Component::Rpm, test)
        || !require(Component::Root, test)
    {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    make("rpm", &[("PACKAGES", &scratch.path().join("packages"))]);
    for (name, table) in [("wyng-dom0", &DOM0[..]), ("wyng-vm", &VM[..])] {
        let package = package(&scratch.path().join("packages"), name, ".rpm");
        let installed = scratch.path().join(name);
        std::fs::create_dir(&installed).unwrap();
        // The root is empty: it has neither the package's requirements nor a shell for its scripts.
        let mut install = Command::new("rpm");
        run(install
            .arg("--root")
            .arg(&installed)
            .args([
                "--dbpath=/var/lib/rpm",
                "--install",
                "--nodeps",
                "--noscripts",
            ])
            .arg(&package));
        assert_holds(&installed, table);
    }
    works_from(&scratch.path().join("wyng-dom0"));
    let dom0 = package(&scratch.path().join("packages"), "wyng-dom0", ".rpm");
    let query = Command::new("rpm")
        .args([
            "--query",
            "--package",
            "--queryformat",
            "[%{FILENAMES} %{FILEGROUPNAME}\n]",
        ])
        .arg(dom0)
        .output();
    assert!(
        String::from_utf8(query.unwrap().stdout)
            .unwrap()
            .contains("/etc/qubes/policy.d/60-wyng.policy qubes\n")
    );
}

#[test]
fn the_debian_package_installs_into_a_root() {
    let test = "the_debian_package_installs_into_a_root";
    if !require(Component::StaticHelper, test)
        || !require(Component::Dpkg, test)
        || !require(Component::Root, test)
    {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let packages = scratch.path().join("packages");
    make("deb", &[("PACKAGES", &packages)]);
    let installed = scratch.path().join("root");
    std::fs::create_dir_all(installed.join("var/lib/dpkg/updates")).unwrap();
    std::fs::create_dir_all(installed.join("var/lib/dpkg/info")).unwrap();
    std::fs::write(installed.join("var/lib/dpkg/status"), "").unwrap();
    let package = package(&packages, "wyng-vm_", ".deb");
    run(Command::new("dpkg")
        .arg("--root")
        .arg(&installed)
        .arg("--install")
        .arg(&package));
    assert_holds(&installed, &VM);
    let depends = Command::new("dpkg-deb")
        .arg("--field")
        .arg(&package)
        .arg("Depends")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(depends.stdout).unwrap().trim(),
        "",
        "it fits every template"
    );
}

#[test]
fn the_version_is_the_same_everywhere() {
    let text = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (version, rel) = (
        text("version").trim().to_owned(),
        text("rel").trim().to_owned(),
    );
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert!(text("debian/changelog").starts_with(&format!("wyng ({version}-{rel}) ")));
    let builder = text(".qubesbuilder");
    for name in ["packaging/rpm/wyng-dom0.spec", "packaging/rpm/wyng-vm.spec"] {
        assert!(
            builder.contains(name) && root().join(format!("{name}.in")).is_file(),
            "{name}"
        );
    }
}
