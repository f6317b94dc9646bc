// SPDX-License-Identifier: GPL-3.0-or-later
//! What is left in a pool is seen and removed by whoever may: bases, and what killed runs left.

use std::process::Command;

use serde_json::Value;
use wyng_tests::sandbox::Outcome;
use wyng_tests::service::Service;

use super::backups::{Thin, run};

const UNFINISHED: &str = "wyng-00000000000000aa";

/// The logical volumes of a list: name, volume, why it is unused, whether it was removed.
fn lines(outcome: &Outcome) -> Vec<(String, Value, Value, bool)> {
    let lines = outcome.success().json["snapshots"]
        .as_array()
        .unwrap()
        .iter();
    lines
        .map(|line| {
            (
                line["logical_volume"].as_str().unwrap().to_owned(),
                line["volume"].clone(),
                line["left_over"].clone(),
                line["removed"].as_bool().unwrap(),
            )
        })
        .collect()
}

/// The only one of our volumes that has a label: `vg/NAME`, and its tag.
fn base(thin: &Thin) -> (String, String) {
    let line = thin
        .ours()
        .into_iter()
        .find(|line| line.contains("wyng:1:"))
        .unwrap();
    let (name, tag) = line.split_once(char::is_whitespace).unwrap();
    (format!("vg/{name}"), tag.trim().to_owned())
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn bases_are_listed_with_what_they_are_of_and_removed_once_nothing_uses_them() {
    let thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    thin.backs_up();
    let (name, tag) = base(&thin);
    let wyng = |words: &[&str]| thin.sandbox.wyng(words);
    let used = (name.clone(), "v".into(), Value::Null, false);
    let listed = wyng(&["snapshots", "list"]);
    assert_eq!(lines(&listed), std::slice::from_ref(&used));
    let pool = &listed.json["pools"][0];
    assert_eq!(
        (&pool["pool"], &pool["metadata_left"]),
        (&"vg/pool".into(), &false.into())
    );
    assert!(
        (1..=5).contains(&pool["data_percent"].as_u64().unwrap()),
        "{pool}"
    );
    assert_eq!(listed.json["thin_unlisted"], Value::Null);
    assert_eq!(
        lines(&wyng(&["status", "home"])),
        std::slice::from_ref(&used)
    );
    assert_eq!(lines(&wyng(&["snapshots", "clean"])), []);

    // What a killed run left stays while any daemon is at work.
    run(&format!("lvcreate -q -s -pr -ky -n {UNFINISHED} vg/src"));
    let found = lines(&wyng(&["snapshots", "list"]));
    let left: Vec<_> = found.iter().filter(|line| !line.2.is_null()).collect();
    assert_eq!(left.len(), 1, "{found:?}");
    assert_eq!(left[0].0, format!("vg/{UNFINISHED}"));
    let mut command = Command::new("flock");
    command.args(["--shared", "/var/lib/wyng-pool/snapshots"]);
    let clean = thin.sandbox.command(&["snapshots", "clean"]);
    command.arg(clean.get_program()).args(clean.get_args());
    let kept = lines(&Outcome::of(command.output().unwrap()));
    assert_eq!((kept.len(), kept[0].3), (1, false), "{kept:?}");
    let removed = lines(&wyng(&["snapshots", "clean"]));
    assert_eq!((removed.len(), removed[0].3), (1, true), "{removed:?}");
    assert_eq!(thin.ours().len(), 1);

    // Another daemon may know the archive that this one does not.
    let foreign = tag.replacen(&tag["wyng:1:".len()..][..32], &"0".repeat(32), 1);
    run(&format!(
        "lvchange -q --deltag {tag} --addtag {foreign} {name}"
    ));
    assert_eq!(lines(&wyng(&["snapshots", "list"])), []);
    assert_eq!(lines(&wyng(&["snapshots", "clean"])), []);
    let all = lines(&wyng(&["snapshots", "list", "--all"]));
    assert_eq!(all[0].2, "its archive is not known here");
    assert!(lines(&wyng(&["snapshots", "clean", "--all"]))[0].3);
    assert_eq!(thin.ours(), [""; 0]);

    // An archive that is forgotten takes its bases with it.
    thin.backs_up();
    let forgotten = lines(&wyng(&["archive", "forget", "home"]));
    assert_eq!((forgotten.len(), forgotten[0].3), (1, true));
    assert_eq!(thin.ours(), [""; 0]);
}

#[test]
#[ignore = "runs in the VM of make test-vm"]
fn a_member_of_the_group_sees_the_bases_of_its_archives_and_removes_none() {
    let mut thin = Thin::new("1G", "64M");
    thin.write(0, 8, 1);
    thin.sandbox.open_to_everybody();
    let service = Service::start(&mut thin.sandbox);
    thin.backs_up();
    let socket = thin.sandbox.path("socket");
    run(&format!("chmod 666 {}", socket.display()));
    run(&format!("lvcreate -q -s -pr -ky -n {UNFINISHED} vg/src"));
    let (name, _) = base(&thin);
    let as_member = |words: &[&str]| {
        let command = thin.sandbox.command(words);
        let mut member = Command::new("setpriv");
        member.args(["--reuid=65534", "--regid=65534", "--groups=wyng"]);
        member.env("STATE_DIRECTORY", "/tmp").current_dir("/");
        member.arg(command.get_program()).args(command.get_args());
        Outcome::of(member.output().unwrap())
    };
    let listed = as_member(&["snapshots", "list"]);
    let only = (name, "v".into(), Value::Null, false);
    assert_eq!(lines(&listed), [only], "the unfinished one is root's");
    assert_eq!(listed.json["pools"][0]["pool"], "vg/pool");
    let refused = as_member(&["snapshots", "clean", "home"]);
    assert_eq!(refused.codes(), ["not-allowed"], "{refused:?}");
    assert_eq!(thin.ours().len(), 2);
    let of_root = thin.sandbox.wyng(&["snapshots", "clean", "home"]);
    assert!(lines(&of_root)[0].3);
    assert_eq!(thin.ours().len(), 1);
    service.stop();
    thin.sandbox.talk_to_nobody();
    thin.sandbox.become_nobody();
    let listed = thin.sandbox.wyng(&["snapshots", "list"]);
    assert_eq!(lines(&listed), []);
    assert_eq!(listed.json["thin_unlisted"], "not-root");
}
