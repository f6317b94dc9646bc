// SPDX-License-Identifier: GPL-3.0-or-later
//! Which settings are applied, and which are left out with a line.

use proptest::prelude::*;

use super::*;

#[test]
fn a_qube_does_not_come_back_on_another_network() {
    // Its traffic went through Tor by the default of its machine.
    let mut tor = app("work", "netvm default=True type=vm sys-whonix\n");
    let plan = one(tor.clone(), &wish(&["work"]));
    assert_eq!(set(&plan, "netvm"), Some(""));
    assert!(text(&plan).contains("work: the net qube sys-whonix is missing: it is set to none\n"));
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| step.request().unwrap().payload().contains("sys-firewall"))
    );
    // Where the net qube is here, it is set, because the default is another.
    let mut machine = machine();
    let whonix = machine.qubes["sys-firewall"].clone();
    machine.qubes.insert("sys-whonix".into(), whonix);
    let plan = planned(vec![tor.clone()], &wish(&["work"]), &machine);
    assert_eq!(set(&plan, "netvm"), Some("sys-whonix"));
    assert!(
        text(&plan).contains("netvm is sys-firewall by default here, and is set to sys-whonix\n")
    );
    // A qube without a network has none, whatever the default is.
    tor.effective.insert("netvm".into(), None);
    let plan = planned(vec![tor], &wish(&["work"]), &machine);
    assert_eq!(set(&plan, "netvm"), Some(""));
    assert!(text(&plan).contains("is sys-firewall by default here, and is set to none\n"));
}

#[test]
fn an_equal_default_stays_a_default_and_is_compared_once_it_is_there() {
    let plan = one(app("work", ""), &wish(&["work"]));
    let keep = plan
        .steps
        .iter()
        .find(|step| matches!(step, Step::KeepDefault { property, .. } if property == "netvm"));
    let keep = keep.unwrap();
    assert_eq!(keep.request().unwrap().method(), "admin.vm.property.Reset");
    assert_eq!(keep.settle(Some("sys-firewall")), None);
    for now in [Some("sys-other"), None] {
        let Some(Step::SetProperty { value, .. }) = keep.settle(now) else {
            panic!()
        };
        assert_eq!(value, "sys-firewall");
    }
    assert_eq!(set(&plan, "netvm"), None);
}

#[test]
fn a_net_qube_is_one_that_provides_a_network() {
    let plan = one(
        app("work", "netvm default=False type=vm default-dvm\n"),
        &wish(&["work"]),
    );
    assert_eq!(set(&plan, "netvm"), Some(""));
    let net = || app("sys-vpn", "provides_network default=False type=bool True\n");
    let user = || app("work", "netvm default=False type=vm sys-vpn\n");
    let plan = planned(vec![net(), user()], &trusting(&[]), &machine());
    let netvm = |plan: &Plan| {
        let mut steps = plan.steps.iter().filter(|step| step.qube() == Some("work"));
        steps.find_map(|step| match step {
            Step::SetProperty {
                property, value, ..
            } if property == "netvm" => Some(value.clone()),
            _ => None,
        })
    };
    assert_eq!(netvm(&plan).as_deref(), Some("sys-vpn"));
    // Without trust it is no net qube, so nothing can reach the network through it.
    let plan = planned(vec![net(), user()], &wish(&[]), &machine());
    assert_eq!(netvm(&plan).as_deref(), Some(""));
}

#[test]
fn who_shows_and_manages_a_qube_is_what_was_recorded_or_none() {
    let mut machine = machine();
    let other = machine.qubes["default-dvm"].clone();
    machine.qubes.insert("my-dvm".into(), other);
    let records = [
        app("work", "").effective_of("default_dispvm", "my-dvm"),
        app("work", "").own_reference("default_dispvm", "my-dvm"),
        app("work", "").effective_of("guivm", "sys-firewall"),
    ];
    for (record, property, value) in records
        .into_iter()
        .zip(["default_dispvm", "default_dispvm", "guivm"])
        .map(|(record, property)| {
            let value = record.effective(property).unwrap().to_owned();
            (record, property, value)
        })
    {
        let plan = planned(vec![record.clone()], &wish(&["work"]), &machine);
        assert_eq!(set(&plan, property), Some(""), "{property}");
        let line = (Setting::Property(property.into()), WhyLeft::Untrusted);
        assert!(left_out(&plan).contains(&line));
        assert!(text(&plan).contains("and is set to none\n"));
        let plan = planned(vec![record.clone()], &trusting(&["work"]), &machine);
        assert_eq!(set(&plan, property), Some(value.as_str()));
        // It is not here: nothing is put in its place, and it does not come back by a default.
        let gone = record.effective_of(property, "gone");
        let plan = planned(vec![gone], &trusting(&["work"]), &machine);
        assert_eq!(set(&plan, property), Some(""));
        assert!(text(&plan).contains(&format!(
            "work: the {property} gone is missing: it is set to none\n"
        )));
    }
}

#[test]
fn net_qubes_in_a_circle_get_no_network() {
    let net = |name: &str, netvm: &str| {
        app(
            name,
            &format!(
                "netvm default=False type=vm {netvm}\nprovides_network default=False type=bool True\n"
            ),
        )
    };
    let plan = planned(
        vec![net("a", "b"), net("b", "a")],
        &trusting(&[]),
        &machine(),
    );
    for step in &plan.steps {
        if let Step::SetProperty {
            property, value, ..
        } = step
        {
            assert!(property != "netvm" || value.is_empty());
        }
    }
    assert!(text(&plan).contains("a: gets no network, because its net qubes form a circle\n"));
}

#[test]
fn without_trust_the_allowlist_is_applied_and_all_else_is_named() {
    let mut work = app(
        "work",
        "autostart default=False type=bool True\nkernelopts default=False type=str init=/bin/sh\nmemory default=False type=int 400\nmaxmem default=False type=int 4000\nvcpus default=False type=int 2\ninclude_in_backups default=False type=bool False\n",
    );
    work.features.insert("service.x".into(), "1".into());
    work.menus
        .insert("menu-items".into(), vec!["a.desktop".into()]);
    work.tags.insert("sys".into());
    work.notes = "a note".into();
    work.volumes.get_mut("private").unwrap().ephemeral = true;
    let plan = one(work.clone(), &wish(&["work"]));
    let applied: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::SetProperty { property, .. } => Some(property.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(applied, ["include_in_backups", "memory", "vcpus"]);
    assert!(
        plan.steps
            .iter()
            .any(|step| matches!(step, Step::SetFirewall { .. }))
    );
    assert!(
        plan.steps
            .iter()
            .any(|step| matches!(step, Step::SetNotes { .. }))
    );
    let left = left_out(&plan);
    for setting in [
        Setting::Property("autostart".into()),
        Setting::Property("kernelopts".into()),
        Setting::Property("maxmem".into()),
        Setting::Feature("service.x".into()),
        Setting::Feature("menu-items".into()),
        Setting::Tag("sys".into()),
        Setting::Volume("private".into(), "revisions_to_keep"),
        Setting::Volume("private".into(), "encryption"),
    ] {
        assert!(
            left.contains(&(setting.clone(), WhyLeft::Untrusted)),
            "{setting:?}"
        );
    }
    assert_eq!(left.len(), 8, "{left:?}");
    let plan = one(work, &trusting(&["work"]));
    assert!(left_out(&plan).is_empty(), "{:?}", left_out(&plan));
    for property in ["autostart", "kernelopts", "maxmem"] {
        assert!(set(&plan, property).is_some(), "{property}");
    }
}

#[test]
fn settings_are_trusted_by_a_person_only() {
    let mut wish = trusting(&["work"]);
    wish.is_attended = false;
    let refused = plan(&archived(vec![app("work", "")]), &wish, &machine());
    assert_eq!(refused, Err(PlanError::TrustedUnattended));
}

#[test]
fn memory_and_processors_have_bounds() {
    for (property, values) in [
        ("memory", ["15", "262145", "-1"]),
        ("vcpus", ["0", "129", "-1"]),
    ] {
        for value in values {
            let work = app(
                "work",
                &format!("{property} default=False type=int {value}\n"),
            );
            let plan = one(work, &trusting(&["work"]));
            assert_eq!(set(&plan, property), None, "{property} {value}");
            let line = (Setting::Property(property.into()), WhyLeft::OutOfBounds);
            assert!(left_out(&plan).contains(&line));
        }
    }
    let mut work = app("work", "");
    work.volumes.get_mut("volatile").unwrap().size = u64::MAX;
    let left = left_out(&one(work, &wish(&["work"])));
    assert!(left.contains(&(
        Setting::Volume("volatile".into(), "size"),
        WhyLeft::OutOfBounds
    )));
}

#[test]
fn what_a_machine_would_never_have_again_is_never_set() {
    let mut work = app("work", "installed_by_rpm default=False type=bool True\n");
    for (property, kind) in [
        ("uuid", "str"),
        ("name", "str"),
        ("template", "vm"),
        ("backup_timestamp", "int"),
    ] {
        let own = properties(&format!("{property} default=False type={kind} 1\n"));
        let own = own.unwrap_or_else(|_| properties("template default=False type=vm x\n").unwrap());
        let value = OwnValue {
            kind: own[0].kind,
            value: own[0].value.clone(),
        };
        work.properties.insert(property.into(), value);
    }
    for tag in [
        "backup-restore-mgmt",
        "backup-restore-in-progress",
        "backup-restore-storage",
    ] {
        work.tags.insert(tag.into());
    }
    work.features.insert("wyng-restore".into(), "x".into());
    work.features
        .insert("preload-dispvm".into(), "disp1".into());
    let plan = one(work, &trusting(&["work"]));
    let left = left_out(&plan);
    assert_eq!(left.len(), 10, "{left:?}");
    assert!(left.iter().all(|(_, why)| *why == WhyLeft::Never));
    for step in &plan.steps {
        assert!(
            !matches!(step, Step::SetTag { .. } | Step::SetFeature { .. }),
            "{step:?}"
        );
    }
    assert_eq!(set(&plan, "installed_by_rpm"), None);
}

#[test]
fn devices_are_attached_by_hand_and_pci_never() {
    let mut work = app("work", "");
    let lines = [
        ("usb", "sys-usb+1:a mode='required'\n"),
        ("pci", "dom0+00_1d.0:b mode='required'\n"),
        ("nfc", "sys-usb+2:c mode='auto-attach'\n"),
    ];
    let mut parts = work.devices.clone();
    for (class, line) in lines {
        let found = assigned(class, line).unwrap().remove(0);
        parts.push(DeviceRecord {
            class: found.class,
            backend: found.backend,
            port: found.port,
            identity: found.identity,
            mode: found.mode,
            options: found.options,
        });
    }
    work.devices = parts;
    let plan = one(work, &trusting(&["work"]));
    let whys: Vec<WhyLeft> = left_out(&plan).into_iter().map(|(_, why)| why).collect();
    assert_eq!(
        whys,
        [WhyLeft::ByHand, WhyLeft::Never, WhyLeft::UnknownClass]
    );
    let calls = plan.steps.iter().map(|step| step.request().unwrap());
    assert!(
        calls
            .into_iter()
            .all(|call| !call.method().contains("device"))
    );
}

#[test]
fn power_is_a_true_or_false_and_nothing_that_means_it() {
    for property in ["provides_network", "template_for_dispvms"] {
        let sly = app("sly", &format!("{property} default=False type=str yes\n"));
        let plan = one(sly, &trusting(&["sly"]));
        let line = (Setting::Property(property.into()), WhyLeft::OutOfBounds);
        assert!(left_out(&plan).contains(&line));
        assert_eq!(set(&plan, property), None);
    }
}

#[test]
fn without_its_firewall_a_qube_gets_no_network() {
    let rules = [
        "action=accept comment=é".to_owned(),
        format!("action=accept comment={}", "x".repeat(4000)),
    ];
    for (rule, count) in [(&rules[0], 1), (&rules[1], 20)] {
        let mut work = app("work", "");
        work.firewall = vec![rule.clone(); count];
        let plan = one(work, &wish(&["work"]));
        assert!(
            !plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::SetFirewall { .. }))
        );
        assert_eq!(set(&plan, "netvm"), Some(""));
        assert!(
            text(&plan)
                .contains("work: gets no network, because its firewall cannot be restored\n")
        );
        assert!(left_out(&plan).contains(&(Setting::Firewall, WhyLeft::NotTaken)));
    }
    // qubesd takes no empty firewall, and a new qube would let everything through.
    let mut work = app("work", "");
    work.firewall.clear();
    let plan = one(work, &wish(&["work"]));
    let rules = plan.steps.iter().find_map(|step| match step {
        Step::SetFirewall { rules, .. } => Some(rules.clone()),
        _ => None,
    });
    assert_eq!(rules, Some(vec!["action=drop".to_owned()]));
    assert!(text(&plan).contains("is set as one that drops everything\n"));
}

#[test]
fn what_qubesd_does_not_take_is_named_and_not_sent() {
    let mut work = app("work", "kernelopts default=False type=str é\n");
    work.notes = "n".repeat(66_000);
    work.features.insert("odd".into(), "é".into());
    work.features.insert("lines".into(), "a\nb".into());
    work.tags.insert("a.b".into());
    let plan = one(work, &trusting(&["work"]));
    let left = left_out(&plan);
    for setting in [
        Setting::Notes,
        Setting::Feature("odd".into()),
        Setting::Feature("lines".into()),
        Setting::Tag("a.b".into()),
        Setting::Property("kernelopts".into()),
    ] {
        assert!(
            left.contains(&(setting.clone(), WhyLeft::NotTaken)),
            "{setting:?}"
        );
    }
    let plan = one(app("work", ""), &wish(&["work"]));
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::SetNotes { .. }))
    );
}

#[test]
fn a_kernel_that_is_not_here_is_named() {
    let own = app("work", "").clone();
    let mut own_kernel = own.clone();
    let value = OwnValue {
        kind: PropertyKind::Str,
        value: "5.4".into(),
    };
    own_kernel.properties.insert("kernel".into(), value);
    let plan = one(own_kernel, &trusting(&["work"]));
    assert!(
        text(&plan)
            .contains("work: the kernel 5.4 is missing: the default of this machine is used\n")
    );
    let mut default = own;
    default
        .effective
        .insert("kernel".into(), Some("5.4".into()));
    let plan = one(default, &wish(&["work"]));
    assert!(text(&plan).contains("work: the default kernel 5.4 is missing"));
}

proptest! {
    #[test]
    fn any_record_gives_steps_that_can_be_sent_and_lines_that_can_be_shown(
        features in proptest::collection::btree_map("[a-z.+:-]{1,12}", "\\PC{0,20}", 0..6),
        tags in proptest::collection::btree_set("[a-z.-]{1,12}", 0..6),
        values in proptest::collection::btree_map("[a-z_]{1,12}", "\\PC{0,20}", 0..6),
        notes in "\\PC{0,40}",
        firewall in proptest::collection::vec("(action=(accept|drop))?[ -~é]{0,20}", 0..4),
        netvm in proptest::option::of("(sys-firewall|sys-x|work)"),
        trust in any::<bool>(),
        sizes in proptest::collection::btree_map("(private|root|volatile|x)", any::<u64>(), 0..4),
    ) {
        let mut work = app("work", "");
        work.features = features;
        work.tags = tags;
        let str = PropertyKind::Str;
        work.properties = values.into_iter().map(|(name, value)| (name, OwnValue { kind: str, value })).collect();
        work.notes = notes;
        work.firewall = firewall;
        work.effective.insert("netvm".into(), netvm.clone());
        let mut all = archived(vec![work]);
        all.get_mut("work").unwrap().volumes = sizes;
        let wish = RestoreWish { trust_settings: trust, ..wish(&["work"]) };
        let plan = plan(&all, &wish, &machine()).unwrap();
        for step in &plan.steps {
            prop_assert!(step.request().is_ok(), "{step:?}");
            prop_assert_eq!(step.qube(), Some("work"));
            if let Step::SetProperty { property, value, .. } = step {
                prop_assert!(property != "netvm" || value.is_empty() || Some(value) == netvm.as_ref());
                let allowed = ["memory", "vcpus", "include_in_backups", "netvm", "default_dispvm", "guivm"];
                prop_assert!(trust || allowed.contains(&property.as_str()), "{property}");
            }
            let needs_trust = matches!(step, Step::SetFeature { .. } | Step::SetTag { .. } | Step::SetRevisions { .. } | Step::SetEphemeral { .. } | Step::AllowDisposables { .. });
            prop_assert!(trust || !needs_trust, "{step:?}");
        }
        prop_assert!(text(&plan).chars().all(|char| char == '\n' || char == '…' || (' '..='~').contains(&char)));
    }
}
