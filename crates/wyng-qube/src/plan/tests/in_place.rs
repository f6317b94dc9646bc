// SPDX-License-Identifier: GPL-3.0-or-later
//! Plans of restores into a qube that is here.

use super::*;

const UUID: &str = "0f3b2c1d-0000-4000-8000-00000000abcd";

fn here(record: QubeRecord) -> Present {
    Present {
        record,
        uuid: UUID.parse().unwrap(),
        is_halted: true,
        has_kept: false,
        not_kept: BTreeMap::new(),
    }
}

fn of(parts: Parts) -> InPlaceWish<'static> {
    InPlaceWish {
        name: "work",
        is_named_apart: false,
        parts,
        proof: Proof::Proven,
    }
}

fn one(record: QubeRecord) -> Archived {
    archived(vec![record]).remove("work").unwrap()
}

fn guarded() -> Machine {
    Machine {
        honours_prohibit_start: true,
        ..machine()
    }
}

fn lines(plan: &InPlacePlan) -> String {
    let lines = plan.lines.iter().map(|line| format!("{line}\n"));
    lines.collect()
}

#[test]
fn what_makes_a_restore_in_place_unsafe_refuses_it() {
    type Change = fn(&mut Archived, &mut Present, &mut InPlaceWish<'_>, &mut Machine);
    let changes: [(&str, Change); 8] = [
        ("not halted", |_, present, _, _| present.is_halted = false),
        ("still kept", |_, present, _, _| present.has_kept = true),
        ("honour prohibit-start", |_, _, _, machine| {
            machine.honours_prohibit_start = false;
        }),
        ("`--as work`", |archived, _, _, _| archived.uuid = None),
        ("of class AppVM", |archived, _, _, _| {
            archived.record = record("work", Class::Standalone, None, "");
        }),
        ("nothing proves", |_, present, wish, _| {
            present.record = app("work", "provides_network default=False type=bool True\n");
            wish.proof = Proof::Unproven;
        }),
        ("cannot be kept as it is: no clones", |_, present, _, _| {
            present
                .not_kept
                .insert("private".into(), "no clones".into());
        }),
        ("no volume", |archived, _, wish, _| {
            archived.volumes.clear();
            wish.parts = Parts::DataOnly;
        }),
    ];
    for (why, change) in changes {
        let (mut archived, mut present) = (one(app("work", "")), here(app("work", "")));
        let (mut wish, mut machine) = (of(Parts::Both), guarded());
        assert!(plan_in_place(&archived, &present, &wish, &machine).is_ok());
        change(&mut archived, &mut present, &mut wish, &mut machine);
        let refused = plan_in_place(&archived, &present, &wish, &machine).unwrap_err();
        assert!(refused.to_string().contains(why), "{why}: {refused}");
    }
    // A person who types the name means that qube.
    let mut archived = one(app("work", ""));
    archived.uuid = None;
    let wish = InPlaceWish {
        is_named_apart: true,
        ..of(Parts::Both)
    };
    assert!(plan_in_place(&archived, &here(app("work", "")), &wish, &guarded()).is_ok());
}

#[test]
fn only_settings_without_power_change_and_each_has_a_way_back() {
    let mut old = app(
        "work",
        "memory default=False type=int 600\nautostart default=False type=bool True\n",
    );
    old.notes = "then".into();
    old.tags.insert("mgmt".into());
    old.volumes.get_mut("private").unwrap().revisions_to_keep = 1;
    let mut now = app("work", "vcpus default=False type=int 4\n");
    now.firewall = vec!["action=drop".into()];
    let present = here(now.clone());
    let plan = plan_in_place(&one(old.clone()), &present, &of(Parts::Both), &guarded()).unwrap();
    let changed: Vec<String> = plan
        .after
        .iter()
        .map(|change| change.field.setting().to_string())
        .collect();
    let expected = ["property memory", "property vcpus", "firewall", "notes"];
    assert_eq!(changed, expected);
    let lines = lines(&plan);
    for line in [
        "work: property memory: the default becomes 600",
        "work: property vcpus: 4 becomes the default",
        "work: firewall: [action=drop] becomes [action=accept]",
        "work: property autostart differs, and stays: it is not changed in place",
        "work: tag mgmt differs, and stays",
        "work: revisions_to_keep of volume private differs, and stays: older states would be lost",
    ] {
        assert!(lines.contains(line), "{line}:\n{lines}");
    }
    // With the data alone nothing of the settings is even compared.
    let data = plan_in_place(
        &one(old.clone()),
        &present,
        &of(Parts::DataOnly),
        &guarded(),
    );
    let data = data.unwrap();
    assert!(data.after.is_empty() && data.before.is_empty());
    // What the restore set goes back, and what a person has set since stays.
    let mut after = old;
    after.notes = "a person's".into();
    let back = back(&plan.after, "work", &after);
    let steps: Vec<String> = back
        .iter()
        .map(|back| match back {
            Back::Step(step) => format!("{:?}", step.request().unwrap().method()),
            Back::Changed(field) => format!("stays {}", field.setting()),
            Back::Cannot(field) => format!("cannot {}", field.setting()),
        })
        .collect();
    let expected = [
        "stays notes",
        "\"admin.vm.firewall.Set\"",
        "\"admin.vm.property.Set\"",
        "\"admin.vm.property.Reset\"",
    ];
    assert_eq!(steps, expected);
    assert!(super::super::back(&plan.after, "work", &now).is_empty());
}

#[test]
fn older_states_are_only_added_and_last_and_a_volume_is_made_writable_first() {
    let mut old = app("work", "");
    old.volumes.get_mut("private").unwrap().revisions_to_keep = 5;
    let mut now = app("work", "");
    now.volumes.get_mut("private").unwrap().rw = false;
    now.notes = "x".into();
    let plan = plan_in_place(&one(old), &here(now), &of(Parts::Both), &guarded()).unwrap();
    let last = plan.after.last().unwrap();
    assert_eq!(last.field, Field::Revisions("private".into()));
    assert_eq!(plan.before.len(), 1);
    assert_eq!(plan.before[0].field, Field::Writable("private".into()));
    // Notes cannot be emptied.
    assert!(lines(&plan).contains("notes differs, and stays: Qubes OS does not take"));
}

#[test]
fn a_missing_net_qube_becomes_none_and_never_another() {
    let old = app("work", "").own_reference("netvm", "sys-tor");
    let now = app("work", "");
    let plan = plan_in_place(&one(old), &here(now), &of(Parts::Both), &guarded()).unwrap();
    let netvm = Field::Property("netvm".into());
    let change = plan.after.iter().find(|change| change.field == netvm);
    assert_eq!(change.unwrap().after.as_deref(), Some(""));
    assert!(lines(&plan).contains("property netvm of the archive differs, and stays"));
}

#[test]
fn notes_of_restores_read_back_and_are_refused_when_they_do_not_fit() {
    let note = InPlaceNote {
        qube: "work".into(),
        uuid: UUID.into(),
        nonce: "0123456789abcdef".into(),
        state: InPlaceState::Begun,
        guard_before: Some("mine".into()),
        volumes: vec![
            KeptVolume {
                volume: "private".into(),
                pool_folder: Some("/var/lib/qubes".into()),
                thin: None,
            },
            KeptVolume {
                volume: "root".into(),
                pool_folder: None,
                thin: Some(ThinVolume {
                    group: "qubes_dom0".into(),
                    pool: "vm-pool".into(),
                    name: "vm-work-root".into(),
                }),
            },
        ],
        touched: vec!["private".into()],
        changes: vec![Change {
            field: Field::Property("memory".into()),
            before: None,
            after: Some("600".into()),
        }],
    };
    let bytes = NotesFile::of(vec![note.clone()]).encode().unwrap();
    assert_eq!(NotesFile::decode(&bytes).unwrap().notes, [note]);
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("\"work\"", "\"../x\""),
        ("\"private\"", "\"a/b\""),
        ("\"/var/lib/qubes\"", "\"var\""),
        ("\"pool_folder\": \"/var/lib/qubes\"", "\"thin\": null"),
        ("\"vm-work-root\"", "\"home\""),
        ("\"qubes_dom0\"", "\"-f\""),
        ("\"vm-pool\"", "\"a/b\""),
        ("\"memory\"", "\"a b\""),
        ("\"version\": 1", "\"version\": 2"),
        ("\"begun\"", "\"over\""),
        (UUID, "x"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text);
        assert!(NotesFile::decode(wrong.as_bytes()).is_err(), "{to}");
    }
    for end in 0..text.len() {
        assert!(NotesFile::decode(&text.as_bytes()[..end]).is_err(), "{end}");
    }
}
