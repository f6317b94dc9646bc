// SPDX-License-Identifier: GPL-3.0-or-later
//! What becomes of each qube, and what the policy says of it.

use super::*;

#[test]
fn an_unproven_history_gives_no_qube_that_has_power_over_others() {
    let for_disposables = "template_for_dispvms default=False type=bool True\n";
    let records = || {
        vec![
            record("fedora-40", Class::Template, None, ""),
            record("alone", Class::Standalone, None, ""),
            app("sys-vpn", "provides_network default=False type=bool True\n"),
            // Qubes OS knows more words for "on" than True.
            app("sly", "provides_network default=False type=str yes\n"),
            app("my-dvm", for_disposables),
            app("work", ""),
        ]
    };
    let mut wish = wish(&[]);
    wish.proof = Proof::Unproven;
    let plan = planned(records(), &wish, &machine());
    for name in ["fedora-40", "alone", "sys-vpn", "sly", "my-dvm"] {
        assert_eq!(
            fate(&plan, name),
            Fate::NotRestored(WhyNot::Unproven),
            "{name}"
        );
    }
    assert_eq!(fate(&plan, "work"), Fate::Made);
    assert!(
        plan.steps
            .iter()
            .all(|step| step.qube().is_none_or(|name| name == "work"))
    );
    wish.proof = Proof::UnprovenAccepted;
    let plan = planned(records(), &wish, &machine());
    assert!(plan.qubes.iter().all(|qube| qube.fate == Fate::Made));
}

#[test]
fn templates_of_packages_are_installed_and_not_restored() {
    let rpm = || {
        record(
            "fedora-40",
            Class::Template,
            None,
            "installed_by_rpm default=False type=bool True\n",
        )
    };
    let child = record("child", Class::App, Some("fedora-40"), "");
    let plan = planned(vec![rpm(), child], &wish(&[]), &machine());
    assert_eq!(
        fate(&plan, "fedora-40"),
        Fate::NotRestored(WhyNot::InstallFirst)
    );
    assert_eq!(
        fate(&plan, "child"),
        Fate::NotRestored(WhyNot::NoTemplate("fedora-40".into()))
    );
    assert!(plan.steps.is_empty());
    assert!(
        text(&plan).contains("fedora-40: is not restored: install its package, then restore\n")
    );
    let plan = one(rpm(), &trusting(&["fedora-40"]));
    assert_eq!(fate(&plan, "fedora-40"), Fate::Made);
    assert_eq!(set(&plan, "installed_by_rpm"), None);
}

#[test]
fn what_the_policy_speaks_of_is_marked_with_file_and_line() {
    let mut machine = machine();
    machine.policy = vec![PolicyFile {
        name: "30-user.policy".into(),
        text: "# rules\nadmin.vm.Start * work @tag:sys allow\nx * uuid:0f3b2c1d-0000-4000-8000-00000000abcd @anyvm allow\n".into(),
    }];
    let mut work = app("work", "");
    work.tags.insert("sys".into());
    let plan = planned(vec![work], &wish(&["work"]), &machine);
    let text = text(&plan);
    for (word, line) in [
        ("work", 2),
        ("@tag:sys", 2),
        ("uuid:0f3b2c1d-0000-4000-8000-00000000abcd", 3),
    ] {
        let line = format!("work: the policy speaks of {word} in 30-user.policy, line {line}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn nothing_that_is_here_is_overwritten() {
    let mut machine = machine();
    machine.qubes.insert(
        "work".into(),
        PresentQube {
            class: Class::App,
            provides_network: false,
            template_for_dispvms: false,
            is_restorer: false,
        },
    );
    let net = app(
        "sys-firewall",
        "provides_network default=False type=bool True\n",
    );
    let template = record("debian-12", Class::Template, None, "");
    let taken = app("work-1", "");
    let plan = planned(
        vec![app("work", ""), net, template, taken],
        &trusting(&[]),
        &machine,
    );
    assert_eq!(fate(&plan, "sys-firewall"), Fate::AlreadyHere);
    assert_eq!(fate(&plan, "debian-12"), Fate::AlreadyHere);
    assert_eq!(fate(&plan, "work-1"), Fate::Made);
    assert_eq!(fate(&plan, "work"), Fate::Renamed("work-2".into()));
    let touched: BTreeSet<&str> = plan.steps.iter().filter_map(Step::qube).collect();
    assert_eq!(touched, BTreeSet::from(["work-1", "work-2"]));
    assert!(text(&plan).contains("work: its name is taken here, and it is created as work-2\n"));
}

#[test]
fn of_all_qubes_none_is_made_a_second_time() {
    let mut machine = machine();
    let mut archive = archived(vec![app("work", ""), app("vault", "")]);
    archive.get_mut("work").unwrap().is_here = true;
    // It may have another name by now.
    for name in ["work", "office"] {
        let here = PresentQube {
            class: Class::App,
            provides_network: false,
            template_for_dispvms: false,
            is_restorer: false,
        };
        machine.qubes.insert(name.into(), here);
        let all = plan(&archive, &wish(&[]), &machine).unwrap();
        assert_eq!(fate(&all, "work"), Fate::AlreadyHere, "{name}");
        assert_eq!(fate(&all, "vault"), Fate::Made);
        machine.qubes.remove(name);
    }
    // A person who names it wants it beside.
    let named = plan(&archive, &wish(&["work"]), &machine).unwrap();
    assert_eq!(fate(&named, "work"), Fate::Made);
}

#[test]
fn a_new_name_is_for_one_qube_and_must_be_free() {
    let records = || {
        archived(vec![
            app("work", "netvm default=False type=vm sys-vpn\n"),
            app("sys-vpn", ""),
            app("home", ""),
        ])
    };
    let with = |names: &[&str], new_name: &str, with_needs| {
        let wish = RestoreWish {
            new_name: Some(new_name.into()),
            with_needs,
            ..wish(names)
        };
        plan(&records(), &wish, &machine())
    };
    let found = with(&["work"], "work-old", false).unwrap();
    assert_eq!(fate(&found, "work"), Fate::MadeAs("work-old".into()));
    assert!(
        found
            .steps
            .iter()
            .all(|step| step.qube() == Some("work-old"))
    );
    assert_eq!(
        with(&["work", "home"], "x", false),
        Err(PlanError::NewNameForMany)
    );
    assert_eq!(with(&[], "x", false), Err(PlanError::NewNameForMany));
    for name in ["none", "default", "x-dm", "dom0", "a b", "a\x1b"] {
        assert_eq!(
            with(&["work"], name, false),
            Err(PlanError::BadName(name.into()))
        );
    }
    let taken = |name: &str| Err(PlanError::NameTaken(name.into()));
    assert_eq!(with(&["work"], "debian-12", false), taken("debian-12"));
    assert_eq!(with(&["work"], "sys-vpn", true), taken("sys-vpn"));
    assert_eq!(
        with(&["other"], "x", false),
        Err(PlanError::Unknown("other".into()))
    );
}

#[test]
fn needs_come_along_if_asked_for_and_only_where_they_are_missing() {
    let records = || {
        vec![
            record(
                "work",
                Class::App,
                Some("fedora-40"),
                "netvm default=False type=vm sys-vpn\n",
            ),
            app(
                "sys-vpn",
                "netvm default=False type=vm sys-firewall\nprovides_network default=False type=bool True\n",
            ),
            record("fedora-40", Class::Template, None, ""),
            app(
                "sys-firewall",
                "provides_network default=False type=bool True\n",
            ),
            app("other", ""),
        ]
    };
    let mut wish = trusting(&["work"]);
    let plan = planned(records(), &wish, &machine());
    assert_eq!(
        fate(&plan, "work"),
        Fate::NotRestored(WhyNot::NoTemplate("fedora-40".into()))
    );
    wish.with_needs = true;
    let plan = planned(records(), &wish, &machine());
    let names: Vec<&str> = plan.qubes.iter().map(|qube| qube.qube.as_str()).collect();
    assert_eq!(names, ["fedora-40", "sys-vpn", "work"]);
    assert!(plan.qubes.iter().all(|qube| qube.fate == Fate::Made));
}

#[test]
fn a_template_is_never_replaced_by_another() {
    let orphan = record("work", Class::App, Some("gone"), "");
    let plan = planned(vec![orphan], &trusting(&[]), &machine());
    assert_eq!(
        fate(&plan, "work"),
        Fate::NotRestored(WhyNot::NoTemplate("gone".into()))
    );
    // A qube of that name that is no template is none.
    let odd = record("work", Class::App, Some("sys-firewall"), "");
    let plan = planned(vec![odd], &trusting(&[]), &machine());
    assert_eq!(
        fate(&plan, "work"),
        Fate::NotRestored(WhyNot::NoTemplate("sys-firewall".into()))
    );
    let disposable = record("d", Class::Disposable, Some("sys-firewall"), "");
    let plan = planned(vec![disposable], &trusting(&[]), &machine());
    assert_eq!(
        fate(&plan, "d"),
        Fate::NotRestored(WhyNot::NotForDisposables("sys-firewall".into()))
    );
}

#[test]
fn classes_that_cannot_be_made_are_named() {
    for class in [Class::Remote, Class::Other("NewVM".into())] {
        let plan = one(record("far", class.clone(), None, ""), &trusting(&["far"]));
        assert_eq!(fate(&plan, "far"), Fate::NotRestored(WhyNot::Class(class)));
        assert!(plan.steps.is_empty());
    }
}

#[test]
fn what_cannot_be_read_of_the_policy_is_named_wherever_a_qube_is_made() {
    let mut machine = machine();
    machine.unread_policy = vec![UnreadPolicy {
        path: "/run/qubes/policy.d".into(),
        why: "Permission denied".into(),
    }];
    let line = "policy: /run/qubes/policy.d is not read, and may speak of any of these qubes: \
                Permission denied\n";
    let plan = planned(vec![app("work", "")], &wish(&["work"]), &machine);
    assert!(text(&plan).contains(line), "{}", text(&plan));
}
