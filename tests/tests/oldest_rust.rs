// SPDX-License-Identifier: GPL-3.0-or-later
//! The oldest Rust that each crate claims, compared with its dependencies. The crates' own code is
//! checked by clippy and `make oldest`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// A version of Rust: major, minor, patch. Missing parts are 0, and a package without a claim has
/// version 0.
fn version(text: Option<&str>) -> [u64; 3] {
    let mut version = [0; 3];
    for (place, part) in version.iter_mut().zip(
        text.unwrap_or_default()
            .split('.')
            .filter(|part| !part.is_empty()),
    ) {
        *place = part.parse().unwrap();
    }
    version
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

/// The objects of a list by the value of `key`.
fn by<'v>(values: &'v [Value], key: &str) -> BTreeMap<&'v str, &'v Value> {
    values
        .iter()
        .map(|value| (text(value, key), value))
        .collect()
}

/// All packages that are compiled to build a package: its dependencies and theirs, those of build
/// scripts included, those of tests excluded.
fn closure<'v>(nodes: &BTreeMap<&'v str, &'v Value>, package: &'v str) -> BTreeSet<&'v str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![package]);
    while let Some(package) = left.pop() {
        if found.insert(package) {
            let is_built = |dependency: &&Value| {
                list(dependency, "dep_kinds")
                    .iter()
                    .any(|kind| kind["kind"] != "dev")
            };
            left.extend(
                list(nodes[package], "deps")
                    .iter()
                    .filter(is_built)
                    .map(|dependency| text(dependency, "pkg")),
            );
        }
    }
    found
}

/// Each dependency that requires a newer Rust than the workspace member that uses it.
fn faults(metadata: &Value) -> Vec<String> {
    let packages = by(list(metadata, "packages"), "id");
    let nodes = by(list(&metadata["resolve"], "nodes"), "id");
    let mut faults = Vec::new();
    for member in list(metadata, "workspace_members")
        .iter()
        .map(|member| member.as_str().unwrap())
    {
        let (name, claim) = (
            text(packages[member], "name"),
            packages[member]["rust_version"].as_str(),
        );
        assert!(claim.is_some(), "{name} has no rust-version");
        for used in closure(&nodes, member)
            .into_iter()
            .map(|used| packages[used])
        {
            let wants = used["rust_version"].as_str();
            if version(wants) > version(claim) {
                faults.push(format!(
                    "{name} ({}) uses {} ({})",
                    claim.unwrap(),
                    text(used, "name"),
                    wants.unwrap()
                ));
            }
        }
    }
    faults
}

#[test]
fn no_dependency_asks_for_a_newer_rust_than_the_crate_that_uses_it() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--locked",
            "--format-version=1",
            "--filter-platform",
            &platform,
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    assert_eq!(
        faults(&serde_json::from_slice(&metadata.stdout).unwrap()),
        [""; 0]
    );
}

#[test]
fn a_dependency_of_a_dependency_that_asks_for_more_is_found_and_one_of_tests_is_not() {
    let uses =
        |package: &str, kind: Value| json!({ "pkg": package, "dep_kinds": [{ "kind": kind }] });
    let metadata = json!({
        "workspace_members": ["ours"],
        "packages": [
            { "id": "ours", "name": "ours", "rust_version": "1.85" },
            { "id": "near", "name": "near", "rust_version": null },
            { "id": "far", "name": "far", "rust_version": "1.85.1" },
            { "id": "same", "name": "same", "rust_version": "1.85.0" },
            { "id": "tests", "name": "tests", "rust_version": "1.90" },
        ],
        "resolve": { "nodes": [
            { "id": "ours", "deps": [uses("near", Value::Null), uses("tests", json!("dev"))] },
            { "id": "near", "deps": [uses("far", json!("build")), uses("same", Value::Null)] },
            { "id": "far", "deps": [] },
            { "id": "same", "deps": [] },
            { "id": "tests", "deps": [] },
        ] },
    });
    assert_eq!(faults(&metadata), ["ours (1.85) uses far (1.85.1)"]);
}

/// The scripts require the same Rust as the manifests.
#[test]
fn the_makefile_and_the_packages_ask_for_the_rust_that_the_manifests_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let names = |file: &str, line: String| {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&line), "{file} has no {line}");
    };
    let all = env!("CARGO_PKG_RUST_VERSION");
    let helper = std::fs::read_to_string(root.join("wyng-transport-vm/Cargo.toml")).unwrap();
    let helper = helper
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    names("Makefile", format!("MINIMUM_RUST := {all}\n"));
    names("Makefile", format!("HELPER_RUST := {helper}\n"));
    names(
        "packaging/rpm/wyng-dom0.spec.in",
        format!("cargo >= {all}\n"),
    );
    names(
        "packaging/rpm/wyng-vm.spec.in",
        format!("cargo >= {helper}\n"),
    );
    names("debian/control", format!("cargo (>= {helper})"));
    names("README.md", format!("Rust ({all} or newer"));
    names("CONTRIBUTING.md", format!("Rust {all} or newer"));
    names("docs/qubes.md", format!("Rust {all} or newer"));
}
