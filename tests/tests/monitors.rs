// SPDX-License-Identifier: GPL-3.0-or-later
//! The files that `status --export` writes for monitoring systems, by the real programs.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::Value;
use wyng_tests::sandbox::{Outcome, Sandbox};

/// A metric's samples: labels to value.
type Samples = BTreeMap<BTreeMap<String, String>, f64>;

/// A configuration that names both files, and the paths of these.
struct Monitored {
    sandbox: Sandbox,
    config: String,
    status: PathBuf,
    metrics: PathBuf,
}

impl Monitored {
    fn new(sandbox: Sandbox, more: &str) -> Self {
        let (status, metrics) = (sandbox.path("status.json"), sandbox.path("wyng.prom"));
        let config = format!("{more}[monitor]\nstatus_file = {status:?}\ntextfile = {metrics:?}\n");
        Self {
            config: sandbox.text("wyng.toml", &config),
            sandbox,
            status,
            metrics,
        }
    }

    fn export(&self) -> Outcome {
        self.sandbox
            .wyng(&["status", "--export", "--config", &self.config])
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&std::fs::read(&self.status).unwrap()).unwrap()
    }

    fn metrics(&self) -> BTreeMap<String, Samples> {
        parse(&std::fs::read_to_string(&self.metrics).unwrap())
    }

    /// The only sample of a metric.
    fn only(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let samples: Vec<f64> = metrics[name].values().copied().collect();
        assert_eq!(samples.len(), 1, "{name}: {metrics:?}");
        samples[0]
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Parses the text format as strictly as Prometheus does: each metric has its help and its type
/// once, directly before its samples, and no sample comes twice.
fn parse(text: &str) -> BTreeMap<String, Samples> {
    let mut metrics: BTreeMap<String, Samples> = BTreeMap::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && !metrics.contains_key(name), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{helped} gauge"));
            typed.clone_from(&helped);
            metrics.insert(typed.clone(), Samples::new());
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(is_word(name) && name == typed, "{line}");
            let samples = metrics.get_mut(name).unwrap();
            let before = samples.insert(labels_of(labels), value.parse().unwrap());
            assert_eq!(before, None, "{line}");
        }
    }
    assert!(metrics.values().all(|samples| !samples.is_empty()));
    metrics
}

/// Labels after their opening brace.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let (mut labels, mut left) = (BTreeMap::new(), text);
    while left != "}" {
        let (name, rest) = left.split_once("=\"").unwrap();
        assert!(is_word(name), "{text}");
        let (mut value, mut rest) = (String::new(), rest.chars());
        loop {
            match rest.next().unwrap() {
                '"' => break,
                '\\' => value.push(match rest.next().unwrap() {
                    'n' => '\n',
                    char @ ('\\' | '"') => char,
                    other => panic!("{other:?} in {text}"),
                }),
                char => value.push(char),
            }
        }
        assert_eq!(labels.insert(name.to_owned(), value), None, "{text}");
        left = rest.as_str();
        left = left.strip_prefix(',').unwrap_or(left);
    }
    labels
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn the_files_hold_what_status_reports_and_when_it_was_written() {
    let sandbox = Sandbox::with_archive(&[]);
    sandbox.image("a.img", 300_000, 1);
    sandbox.image("b.img", 300_000, 2);
    // A name that would end its label, if it could.
    let backup = ["backup", "home", "a.img", "b\"} 9\\=b.img"];
    let session = sandbox.wyng(&backup).success().session(0);
    sandbox.wyng(&["backup", "home", "a.img"]).success();
    sandbox.wyng(&["verify", "home"]).success();
    let monitored = Monitored::new(sandbox, "");
    let shown = monitored.export();
    let mut written = monitored.status();
    let time = written.as_object_mut().unwrap().remove("written").unwrap();
    assert!(time.as_str().unwrap() >= session.as_str(), "{time}");
    assert_eq!(written, shown.success().json);
    for path in [&monitored.status, &monitored.metrics] {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "{path:?}");
    }
    let (metrics, archive) = (monitored.metrics(), &written["archives"][0]);
    let home = labels(&[("archive", "home")]);
    let of = |name: &str| metrics[name][&home];
    assert_eq!(of("wyng_sessions"), 3.0);
    assert_eq!(
        Some(of("wyng_stored_bytes")),
        archive["stored_bytes"].as_f64()
    );
    assert_eq!(
        Some(of("wyng_proven_ratio")),
        archive["proven_share"].as_f64()
    );
    assert_eq!(of("wyng_waiting_bytes"), 0.0);
    assert!(of("wyng_last_verify_timestamp_seconds") > 1e9);
    assert!(of("wyng_store_free_bytes") > 0.0 && of("wyng_state_free_bytes") > 0.0);
    assert!(!metrics.contains_key("wyng_prune_age_seconds"), "never");
    let newest = &metrics["wyng_last_backup_timestamp_seconds"];
    let volumes: Vec<&str> = newest.keys().map(|labels| &*labels["volume"]).collect();
    assert_eq!(volumes, ["a.img", "b\"} 9\\"]);
    assert_eq!(monitored.only("wyng_healthy"), 1.0);
    assert_eq!(monitored.only("wyng_status_exit"), 0.0);
    let skew = monitored.only("wyng_clock_skew_seconds");
    assert_eq!(Some(skew), archive["clock_skew_seconds"].as_f64());
    assert!(!metrics.contains_key("wyng_warning"));
}

#[test]
fn what_is_overdue_or_not_reached_is_written_too() {
    let sandbox = Sandbox::with_archive(&[]);
    let store = sandbox.store();
    let warn = format!(
        "[archives.home]\nstore = \"dir:{}\"\n[archives.home.warn]\nbackup = \"1d\"\n",
        store.display()
    );
    let mut monitored = Monitored::new(sandbox, &warn);
    monitored.export().expect(3);
    assert_eq!(monitored.only("wyng_healthy"), 0.0);
    assert_eq!(monitored.only("wyng_status_exit"), 3.0);
    let overdue = labels(&[("archive", "home"), ("code", "archive-backup-overdue")]);
    assert_eq!(
        monitored.metrics()["wyng_warning"],
        Samples::from([(overdue, 1.0)])
    );
    let nowhere = monitored.sandbox.path("no.sock");
    monitored.sandbox.talk_to(nowhere);
    let shown = monitored.export();
    assert_ne!(shown.status, 0);
    assert_eq!(monitored.status()["exit"], shown.status);
    assert_eq!(monitored.status()["errors"], shown.json["errors"]);
    assert_eq!(monitored.only("wyng_status_exit"), f64::from(shown.status));
    let code = shown.codes().remove(0);
    let nobody = labels(&[("archive", ""), ("code", &code)]);
    assert_eq!(
        monitored.metrics()["wyng_warning"],
        Samples::from([(nobody, 1.0)])
    );
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_the_other_one_is_written() {
    let monitored = Monitored::new(Sandbox::with_archive(&[]), "");
    std::fs::create_dir(&monitored.status).unwrap();
    assert_eq!(monitored.export().expect(1).codes(), ["file-unwritable"]);
    assert!(monitored.metrics.exists());
    std::fs::remove_dir(&monitored.status).unwrap();
    // A link at the path is no way to another file.
    let precious = monitored.sandbox.text("precious", "precious");
    symlink(&precious, &monitored.status).unwrap();
    monitored.export().success();
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
    assert_eq!(monitored.status()["command"], "status");
    // Without the files in the configuration nothing is written.
    std::fs::remove_file(&monitored.metrics).unwrap();
    let nothing = monitored.sandbox.text("nothing.toml", "");
    let words = ["status", "--export", "--config", &nothing];
    monitored.sandbox.wyng(&words).success();
    assert!(!monitored.metrics.exists());
}
