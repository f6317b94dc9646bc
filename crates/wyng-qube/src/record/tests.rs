// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the records: one encoding, strict bounds, nothing of another qube.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::answer::{Assignment, Mode, Property, PropertyKind, VolumeInfo, assigned, properties};
use crate::class::Class;
use crate::driver::Driver;

const PROPERTIES: &str = "audiovm default=True type=vm dom0
autostart default=False type=bool True
backup_timestamp default=False type=int 1700000000
default_dispvm default=True type=vm default-dvm
gateway default=False type=str 10.137.0.1
guivm default=True type=vm dom0
include_in_backups default=True type=bool True
installed_by_rpm default=True type=bool False
kernel default=True type=str 6.6.48-1.fc37
klass default=False type=str AppVM
label default=False type=label blue
management_dispvm default=True type=vm default-mgmt-dvm
memory default=False type=int 600
name default=False type=str work
netvm default=True type=vm sys-whonix
qid default=False type=int 7
template default=False type=vm debian-12
uuid default=False type=str 0f3b2c1d-0000-4000-8000-00000000abcd
visible_ip default=False type=str 10.137.0.7
";

struct Answers {
    properties: Vec<Property>,
    features: Vec<(String, String)>,
    tags: Vec<String>,
    firewall: Vec<String>,
    devices: Vec<Assignment>,
    volumes: Vec<VolumeInfo>,
    drivers: BTreeMap<String, Driver>,
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn answers() -> Answers {
    let volume = VolumeInfo {
        name: "private".into(),
        pool: "vm-pool".into(),
        vid: "qubes_dom0/vm-work-private".into(),
        size_bytes: 2 << 30,
        is_writable: true,
        source: String::new(),
        save_on_stop: true,
        snap_on_start: false,
        revisions_to_keep: 1,
        is_ephemeral: false,
    };
    Answers {
        properties: properties(PROPERTIES).unwrap(),
        features: pairs(&[
            ("service.cups", "1"),
            ("off", ""),
            ("odd", "é\nx"),
            (
                "menu-items",
                "firefox.desktop ../x.desktop org.gnome.Calculator.desktop",
            ),
            ("preload-dispvm", "disp1"),
            ("preload-dispvm-max", "2"),
            ("wyng-restore", "abc"),
            ("wyng-paused", "abc/def"),
        ]),
        tags: vec![
            "created-by-dom0".into(),
            "backup-restore-in-progress".into(),
            "a".into(),
        ],
        firewall: vec![
            "action=accept specialtarget=dns".into(),
            "action=drop".into(),
        ],
        devices: assigned(
            "usb",
            "sys-usb+2-1:1:2 mode='ask-to-attach' _read-only='yes'\n",
        )
        .unwrap(),
        volumes: vec![volume],
        drivers: BTreeMap::from([("vm-pool".into(), Driver::LvmThin)]),
    }
}

fn parts(answers: &Answers) -> QubeParts<'_> {
    QubeParts {
        name: "work",
        class: &Class::App,
        properties: &answers.properties,
        label_color: "0x3465a4",
        features: &answers.features,
        tags: &answers.tags,
        firewall: &answers.firewall,
        notes: "line one\nline two",
        devices: &answers.devices,
        volumes: &answers.volumes,
        drivers: &answers.drivers,
    }
}

fn work() -> QubeRecord {
    QubeRecord::of(&parts(&answers())).unwrap().0
}

fn text_of(record: &QubeRecord) -> String {
    String::from_utf8(record.encode().unwrap()).unwrap()
}

fn global() -> GlobalRecord {
    let all = properties(
        "clockvm default=False type=vm sys-net\ndefault_kernel default=True type=str 6.6\n",
    );
    GlobalRecord::of(&GlobalParts {
        properties: &all.unwrap(),
        labels: &pairs(&[("red", "0xcc0000")]),
        drivers: &BTreeMap::from([("vm-pool".into(), Driver::LvmThin)]),
        features: &pairs(&[("config.default.qubes-update-check", "1")]),
    })
    .unwrap()
}

#[test]
fn a_record_has_every_part_and_reads_back_as_it_was() {
    let record = work();
    assert_eq!(record.template.as_deref(), Some("debian-12"));
    assert_eq!(
        (record.label.name.as_str(), record.label.color.as_str()),
        ("blue", "0x3465a4")
    );
    assert!(record.include_in_backups && record.is_true("autostart"));
    assert_eq!(record.properties["memory"].kind, PropertyKind::Int);
    assert_eq!(record.firewall.len(), 2);
    assert_eq!(record.devices[0].mode, Mode::AskToAttach);
    assert_eq!(record.devices[0].options["read-only"], "yes");
    assert_eq!(record.volumes["private"].driver, Driver::LvmThin);
    assert_eq!(QubeRecord::decode(&record.encode().unwrap()), Ok(record));
    let global = global();
    assert_eq!(global.properties["clockvm"].value, "sys-net");
    assert_eq!(GlobalRecord::decode(&global.encode().unwrap()), Ok(global));
}

#[test]
fn effective_values_are_recorded_where_they_are_defaults_too() {
    let record = work();
    assert!(!record.properties.contains_key("netvm"));
    assert_eq!(record.effective("netvm"), Some("sys-whonix"));
    assert_eq!(record.effective.len(), EFFECTIVE.len());
    let mut answers = answers();
    for property in &mut answers.properties {
        if property.name == "netvm" {
            property.value.clear();
        }
    }
    let (record, _) = QubeRecord::of(&parts(&answers)).unwrap();
    assert_eq!(record.effective["netvm"], None);
}

#[test]
fn what_cannot_be_set_or_is_no_setting_is_skipped() {
    let record = work();
    let names: Vec<&str> = record.properties.keys().map(String::as_str).collect();
    assert_eq!(names, ["autostart", "memory"]);
    let text = text_of(&record);
    for skipped in [
        "uuid",
        "qid",
        "visible_ip",
        "gateway",
        "backup_timestamp",
        "klass",
        "wyng-restore",
        "backup-restore-in-progress",
        "0f3b2c1d",
        "\"preload-dispvm\"",
    ] {
        assert!(!text.contains(skipped), "{skipped}");
    }
    assert_eq!(record.features["preload-dispvm-max"], "2");
}

#[test]
fn no_path_and_no_id_of_a_volume_is_in_a_record() {
    let text = text_of(&work());
    assert!(!text.contains("vm-work-private") && !text.contains("qubes_dom0"));
    assert!(!text.contains('/'), "{text}");
}

#[test]
fn entries_of_a_menu_are_names_and_the_rest_is_counted() {
    let (record, left) = QubeRecord::of(&parts(&answers())).unwrap();
    let items = &record.menus["menu-items"];
    assert_eq!(items, &["firefox.desktop", "org.gnome.Calculator.desktop"]);
    let feature = "menu-items";
    assert_eq!(left, [NotRecorded::MenuItems { feature, count: 1 }]);
    assert!(!record.features.contains_key("menu-items"));
}

#[test]
fn what_cannot_be_restored_is_recorded_all_the_same() {
    let mut answers = answers();
    answers.firewall.push("action=accept comment=é".into());
    let mut parts = parts(&answers);
    let notes = "n".repeat(100_000);
    parts.notes = &notes;
    let (record, _) = QubeRecord::of(&parts).unwrap();
    assert_eq!(record.features["odd"], "é\nx");
    assert_eq!(record.notes.len(), 100_000);
    assert_eq!(record.firewall[2], "action=accept comment=é");
    assert_eq!(QubeRecord::decode(&record.encode().unwrap()), Ok(record));
}

#[test]
fn equal_settings_have_equal_bytes_in_whatever_order_they_came() {
    let (mut one, mut other) = (answers(), answers());
    other.properties.reverse();
    other.features.reverse();
    other.tags.reverse();
    let more = assigned(
        "usb",
        "dom0+3:x mode='required'\nsys-usb+1:y mode='manual'\n",
    )
    .unwrap();
    one.devices.extend(more.clone());
    other.devices.splice(0..0, more.into_iter().rev());
    let bytes = |answers: &Answers| QubeRecord::of(&parts(answers)).unwrap().0.encode().unwrap();
    assert_eq!(bytes(&one), bytes(&other));
    assert!(bytes(&one).ends_with(b"}\n"));
}

#[test]
fn a_record_in_another_form_is_refused() {
    let text = text_of(&work());
    let compact = serde_json::from_str::<serde_json::Value>(&text)
        .unwrap()
        .to_string();
    let canonical = |text: &str| QubeRecord::decode(text.as_bytes());
    assert_eq!(canonical(&compact), Err(BadRecord::NotCanonical));
    assert_eq!(canonical(text.trim_end()), Err(BadRecord::NotCanonical));
    assert_eq!(
        canonical(&format!("{text}\n")),
        Err(BadRecord::NotCanonical)
    );
    assert_eq!(canonical(&format!(" {text}")), Err(BadRecord::NotCanonical));
    assert_eq!(canonical(&format!("{text}x")), Err(BadRecord::NotARecord));
    // The same key twice: the second one would win in silence.
    let twice = text.replace(
        "\"autostart\": {",
        "\"autostart\": {\"type\": \"bool\", \"value\": \"\"},\n    \"autostart\": {",
    );
    assert_eq!(canonical(&twice), Err(BadRecord::NotCanonical));
    let unknown = text.replace("  \"name\"", "  \"path\": \"/etc\",\n  \"name\"");
    assert_eq!(canonical(&unknown), Err(BadRecord::NotARecord));
    let missing = text.replace("  \"notes\": \"line one\\nline two\",\n", "");
    assert_ne!(missing, text);
    assert_eq!(canonical(&missing), Err(BadRecord::NotARecord));
}

#[test]
fn a_record_of_another_kind_or_version_is_named() {
    let text = text_of(&work());
    let later = text.replace("\"version\": 1", "\"version\": 2");
    assert_eq!(
        QubeRecord::decode(later.as_bytes()),
        Err(BadRecord::Version(2))
    );
    assert_eq!(
        GlobalRecord::decode(text.as_bytes()),
        Err(BadRecord::OtherKind)
    );
    let global = global().encode().unwrap();
    assert_eq!(QubeRecord::decode(&global), Err(BadRecord::OtherKind));
    let long = vec![b' '; RECORD_MAX_BYTES + 1];
    assert_eq!(QubeRecord::decode(&long), Err(BadRecord::TooLong));
}

#[test]
fn a_field_that_is_not_of_its_form_is_refused_by_its_name() {
    type Change = fn(&mut QubeRecord);
    let changes: [(&'static str, Change); 17] = [
        ("name", |record| record.name = "none".into()),
        ("name", |record| record.name = "../work".into()),
        ("class", |record| record.class = Class::Admin),
        ("label", |record| record.label.color = "red".into()),
        ("template", |record| record.template = Some("a b".into())),
        ("properties", |record| {
            record.properties.get_mut("memory").unwrap().value = "x".into()
        }),
        ("effective", |record| {
            record.effective.insert("memory".into(), None);
        }),
        ("effective", |record| {
            record
                .effective
                .insert("kernel".into(), Some("../vmlinuz".into()));
        }),
        ("features", |record| {
            record.features.insert("a b".into(), String::new());
        }),
        ("features", |record| {
            record
                .features
                .insert("menu-items".into(), "/bin/sh".into());
        }),
        ("menus", |record| {
            record
                .menus
                .insert("menu-items".into(), vec!["../x.desktop".into()]);
        }),
        ("tags", |record| {
            record.tags.insert("a b".into());
        }),
        ("firewall", |record| record.firewall.push("a\nb".into())),
        ("notes", |record| record.notes = "n".repeat(256_001)),
        ("devices", |record| record.devices[0].port = "../1".into()),
        ("volumes", |record| {
            record.volumes.get_mut("private").unwrap().pool = "a/b".into()
        }),
        ("volumes", |record| {
            record.volumes.get_mut("private").unwrap().revisions_to_keep = -2;
        }),
    ];
    for (field, change) in changes {
        let mut record = work();
        change(&mut record);
        assert_eq!(record.encode(), Err(BadRecord::Field(field)));
        let mut bytes = serde_json::to_vec_pretty(&record).unwrap();
        bytes.push(b'\n');
        assert_eq!(QubeRecord::decode(&bytes), Err(BadRecord::Field(field)));
    }
}

#[test]
fn what_is_beyond_the_bounds_is_refused_before_it_is_sealed() {
    let mut record = work();
    for number in 0..20 {
        record
            .features
            .insert(format!("f{number}"), "x".repeat(64 << 10));
    }
    assert_eq!(record.encode(), Err(BadRecord::TooLong));
    let mut record = work();
    record
        .tags
        .extend((0..1024).map(|number| format!("t{number}")));
    assert_eq!(record.encode(), Err(BadRecord::Field("tags")));
}

#[test]
fn answers_that_lack_a_label_or_a_pool_are_refused() {
    let mut answers = answers();
    answers.drivers.clear();
    assert_eq!(
        QubeRecord::of(&parts(&answers)).err(),
        Some(BadRecord::Field("volumes"))
    );
    let mut answers = super::tests::answers();
    answers
        .properties
        .retain(|property| property.name != "label");
    assert_eq!(
        QubeRecord::of(&parts(&answers)).err(),
        Some(BadRecord::Field("label"))
    );
}

proptest! {
    #[test]
    fn random_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(QubeRecord::decode(&bytes).is_err());
        prop_assert!(GlobalRecord::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_record_is_refused_or_has_one_form(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = work().encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(record) = QubeRecord::decode(&bytes) {
            prop_assert_eq!(record.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_texts_read_back(notes in "\\PC{0,80}", value in "[^\u{0}]{0,80}", tag in "[a-z-]{1,20}") {
        let mut record = work();
        record.notes = notes;
        record.features.insert("f".into(), value);
        record.tags.insert(tag);
        prop_assert_eq!(QubeRecord::decode(&record.encode().unwrap()), Ok(record));
    }
}
