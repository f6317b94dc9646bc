// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes in a pool of files, as qubesd handles them: folders that come and go with their qubes,
//! and files that are missing or replaced while a qube runs.

use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::PathBuf;

use wyng_tests::fake_qubes::FakeQubes;
use wyng_tests::require::{Component, require};
use wyng_tests::sandbox::{Sandbox, noise};
use wyng_tests::service::Service;

const IMAGE_BYTES: usize = 300_000;

/// The folder of a qube in a pool of files, with a private volume.
fn make_qube(sandbox: &Sandbox, name: &str, seed: u64) -> PathBuf {
    let folder = sandbox.path("pool/appvms").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("private.img"), noise(IMAGE_BYTES, seed)).unwrap();
    folder
}

/// An archive, and a configuration that names the volumes of these qubes.
fn configured(qubes: &[&str]) -> (Sandbox, String) {
    let sandbox = Sandbox::with_archive(&[]);
    let line = |name: &&str| {
        format!(
            "{name} = {:?}\n",
            sandbox.path("pool/appvms").join(name).join("private.img")
        )
    };
    let config = format!("[volumes]\n{}", qubes.iter().map(line).collect::<String>());
    let config = sandbox.text("wyng.toml", &config);
    (sandbox, config)
}

#[test]
fn the_service_finds_the_volume_of_a_qube_that_was_made_anew_or_first_made_after_it_began() {
    if !require(
        Component::Landlock,
        "the_service_finds_the_volume_of_a_qube_that_was_made_anew_or_first_made_after_it_began",
    ) {
        return;
    }
    let (mut sandbox, config) = configured(&["work", "vault"]);
    let folder = make_qube(&sandbox, "work", 1);
    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    sandbox
        .wyng(&["backup", "home", "work", "--config", &config])
        .success();
    std::fs::remove_dir_all(folder).unwrap();
    make_qube(&sandbox, "work", 2);
    make_qube(&sandbox, "vault", 3);
    let outcome = sandbox.wyng(&["backup", "home", "--all", "--config", &config]);
    let [vault, work] = [0, 1].map(|place| outcome.success().session(place));
    sandbox.assert_restores("work", &work, &noise(IMAGE_BYTES, 2));
    sandbox.assert_restores("vault", &vault, &noise(IMAGE_BYTES, 3));
}

#[test]
fn a_volume_that_is_away_while_its_qube_runs_is_explained() {
    let (mut sandbox, config) = configured(&["work"]);
    let folder = make_qube(&sandbox, "work", 1);
    std::fs::rename(folder.join("private.img"), folder.join("private-dirty.img")).unwrap();
    let path = format!("work={}", folder.join("private.img").display());
    let says = |sandbox: &Sandbox, source: &str| {
        let outcome = sandbox.wyng(&["backup", "home", source, "--config", &config]);
        assert_eq!(
            outcome.expect(1).codes(),
            ["source-of-running-qube"],
            "{source}"
        );
    };
    says(&sandbox, "work");
    says(&sandbox, &path);
    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    says(&sandbox, "work");
    says(&sandbox, &path);
}

#[test]
fn what_is_roots_to_choose_nobody_else_chooses_by_a_link() {
    if !require(
        Component::Root,
        "what_is_roots_to_choose_nobody_else_chooses_by_a_link",
    ) {
        return;
    }
    let (mut sandbox, config) = configured(&["work", "vault"]);
    let [work, vault] =
        [("work", 1), ("vault", 2)].map(|(name, seed)| make_qube(&sandbox, name, seed));
    let _service = Service::start_with(&mut sandbox, &["--config", &config]);
    let backup = ["backup", "home", "work", "--config", &config];
    std::fs::remove_file(work.join("private.img")).unwrap();
    symlink(vault.join("private.img"), work.join("private.img")).unwrap();
    // Written by root, it is the system's own configuration.
    let session = sandbox.wyng(&backup).success().session(0);
    sandbox.assert_restores("work", &session, &noise(IMAGE_BYTES, 2));
    for theirs in [work.join("private.img"), work] {
        lchown(theirs, Some(4711), Some(4711)).unwrap();
        assert_eq!(sandbox.wyng(&backup).expect(1).codes(), ["source-link"]);
    }
}

/// A backed up volume of a qube, which has changed since, and the command that restores it in
/// place.
fn changed(sandbox: &Sandbox, qubes: &FakeQubes) -> (PathBuf, String) {
    qubes.create(sandbox, "qrexec:sys-backup", &[]).success();
    let image = make_qube(sandbox, "work", 1).join("private.img");
    qubes
        .wyng(
            sandbox,
            &["backup", "home", &format!("work={}", image.display())],
        )
        .success();
    std::fs::write(&image, noise(IMAGE_BYTES, 2)).unwrap();
    let to = image.to_str().unwrap().to_owned();
    (image, to)
}

#[test]
fn a_volume_is_not_changed_in_place_while_its_qube_runs() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    let (image, to) = changed(&sandbox, &qubes);
    let dirty = image.with_file_name("private-dirty.img");
    let restore = ["restore", "home", "work", "--in-place", "--to", &to];
    std::fs::copy(&image, &dirty).unwrap();
    assert_eq!(
        qubes.wyng(&sandbox, &restore).expect(1).codes(),
        ["target-of-running-qube"]
    );
    assert!(std::fs::read(&image).unwrap() == noise(IMAGE_BYTES, 2));
    // Also not by another name of it.
    symlink(&image, sandbox.path("link")).unwrap();
    assert_eq!(
        qubes
            .wyng(
                &sandbox,
                &["restore", "home", "work", "--in-place", "--to", "link"]
            )
            .expect(1)
            .codes(),
        ["target-of-running-qube"]
    );
    std::fs::remove_file(&dirty).unwrap();
    qubes.wyng(&sandbox, &restore).success();
    assert!(std::fs::read(&image).unwrap() == noise(IMAGE_BYTES, 1));
}

#[test]
fn a_restore_in_place_whose_qube_was_started_meanwhile_does_not_say_that_it_is_done() {
    // At the end it still runs, or has halted and so has replaced the volume.
    for started in ["cp IMAGE DIRTY", "cp IMAGE DIRTY; mv DIRTY IMAGE"] {
        let sandbox = Sandbox::new();
        let qubes = FakeQubes::dom0(&sandbox);
        let (image, to) = changed(&sandbox, &qubes);
        let dirty = image.with_file_name("private-dirty.img");
        let started = started
            .replace("IMAGE", &to)
            .replace("DIRTY", dirty.to_str().unwrap());
        // The target is open when the store is read.
        qubes.install(
            "sys-backup",
            "wyng.Fetch",
            &format!("$HELPER fetch; {started}"),
        );
        let restore = ["restore", "home", "work", "--in-place", "--to", &to];
        assert_eq!(
            qubes.wyng(&sandbox, &restore).expect(1).codes(),
            ["target-lost"]
        );
    }
}

#[test]
fn a_volume_that_was_changed_in_place_has_a_later_time_than_what_qubesd_prepared_of_it() {
    let sandbox = Sandbox::new();
    let qubes = FakeQubes::dom0(&sandbox);
    let (image, to) = changed(&sandbox, &qubes);
    let time = |path: &PathBuf| {
        path.metadata()
            .map(|found| (found.mtime(), found.mtime_nsec()))
            .unwrap()
    };
    let before = time(&image);
    qubes
        .wyng(
            &sandbox,
            &["restore", "home", "work", "--in-place", "--to", &to],
        )
        .success();
    assert!(time(&image) > before);
}
