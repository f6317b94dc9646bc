// SPDX-License-Identifier: GPL-3.0-or-later
//! What a plan does, and in which order.

use super::*;

#[test]
fn a_new_qube_is_guarded_and_cut_off_before_anything_else() {
    let plan = one(app("work", ""), &wish(&["work"]));
    let begin: Vec<&Step> = plan.steps.iter().take(4).collect();
    assert!(matches!(begin[0], Step::Create { .. }));
    assert!(matches!(
        begin[1],
        Step::Guard {
            guard: Guard::Tag,
            ..
        }
    ));
    assert!(matches!(begin[2], Step::CutOff { .. }));
    assert!(matches!(begin[3], Step::Mark { .. }));
    let [.., unmark, unguard] = plan.steps.as_slice() else {
        panic!()
    };
    assert!(matches!(unmark, Step::Unmark { .. }));
    assert!(matches!(
        unguard,
        Step::Unguard {
            guard: Guard::Tag,
            ..
        }
    ));
    let calls: Vec<String> = plan
        .steps
        .iter()
        .take(4)
        .map(|step| {
            let call = step.request().unwrap();
            format!(
                "{}+{} {} {}",
                call.method(),
                call.argument(),
                call.dest(),
                call.payload()
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            "admin.vm.CreateInPool.AppVM+debian-12 dom0 name=work label=blue pool:private=vm-pool pool:volatile=vm-pool",
            "admin.vm.tag.Set+backup-restore-in-progress work ",
            "admin.vm.property.Set+netvm work ",
            "admin.vm.feature.Set+wyng-restore work 0123456789abcdef",
        ]
    );
}

#[test]
fn everything_is_done_in_the_order_that_works() {
    let mut net = app("sys-vpn", "provides_network default=False type=bool True\n");
    net.features
        .insert("prohibit-start".into(), "because".into());
    let mut user = app(
        "my-dvm",
        "autostart default=False type=bool True\nnetvm default=False type=vm sys-vpn\ntemplate_for_dispvms default=False type=bool True\nmemory default=False type=int 400\n",
    );
    user.features.insert("service.x".into(), "1".into());
    user.features
        .insert("preload-dispvm-max".into(), "2".into());
    user.tags.insert("a".into());
    user.volumes.get_mut("private").unwrap().rw = false;
    let template = record("fedora-40", Class::Template, None, "");
    let disposable = record("my-disp", Class::Disposable, Some("my-dvm"), "");
    let over = record("child", Class::App, Some("fedora-40"), "");
    let plan = planned(
        vec![disposable, over, user, net, template],
        &trusting(&[]),
        &machine(),
    );
    let names: Vec<&str> = plan.qubes.iter().map(|qube| qube.qube.as_str()).collect();
    assert_eq!(
        names,
        ["fedora-40", "my-dvm", "child", "sys-vpn", "my-disp"]
    );
    let of = |name: &'static str| move |step: &Step| step.qube() == Some(name);
    let made = |name| {
        at(&plan, |step| {
            of(name)(step) && matches!(step, Step::Create { .. })
        })
    };
    let root = at(
        &plan,
        |step| matches!(step, Step::Import { volume, .. } if volume == "root"),
    );
    // A qube that is made before its template has its root keeps a stale length.
    assert!(made("fedora-40") < root && root < made("child"));
    let order = [
        made("my-dvm"),
        at(&plan, |step| {
            of("my-dvm")(step) && matches!(step, Step::AllowDisposables { .. })
        }),
        at(&plan, |step| {
            of("my-dvm")(step) && matches!(step, Step::Import { .. })
        }),
        at(&plan, |step| {
            of("my-dvm")(step) && matches!(step, Step::Resize { .. })
        }),
        at(&plan, |step| {
            of("my-dvm")(step) && matches!(step, Step::SetRevisions { .. })
        }),
        at(&plan, |step| matches!(step, Step::SetReadOnly { .. })),
        made("my-disp"),
        at(
            &plan,
            |step| matches!(step, Step::SetFeature { feature, .. } if feature == "service.x"),
        ),
        at(
            &plan,
            |step| matches!(step, Step::SetProperty { property, .. } if property == "memory"),
        ),
        at(&plan, |step| {
            of("sys-vpn")(step)
                && matches!(step, Step::KeepDefault { property, .. } if property == "netvm")
        }),
        at(&plan, |step| {
            of("my-dvm")(step)
                && matches!(step, Step::SetProperty { property, .. } if property == "netvm")
        }),
        at(&plan, |step| matches!(step, Step::SetTag { .. })),
        at(
            &plan,
            |step| matches!(step, Step::SetProperty { property, .. } if property == "autostart"),
        ),
        at(
            &plan,
            |step| matches!(step, Step::RemoveFeature { feature, .. } if feature == "servicevm"),
        ),
        at(
            &plan,
            |step| matches!(step, Step::SetFeature { feature, .. } if feature == "prohibit-start"),
        ),
        at(&plan, |step| matches!(step, Step::Unguard { .. })),
        at(
            &plan,
            |step| matches!(step, Step::SetFeature { feature, .. } if feature == "preload-dispvm-max"),
        ),
    ];
    assert!(order.is_sorted(), "{order:?}\n{:#?}", plan.steps);
}

#[test]
fn no_argument_of_create_is_left_to_a_default() {
    let standalone = record("alone", Class::Standalone, None, "");
    let plan = planned(vec![app("work", ""), standalone], &wish(&[]), &machine());
    for step in &plan.steps {
        if let Step::Create {
            class,
            template,
            pools,
            ..
        } = step
        {
            let (template_is_named, volumes): (bool, &[&str]) = match class {
                Class::App => (true, &["private", "volatile"]),
                _ => (false, &["private", "root", "volatile"]),
            };
            assert_eq!(template.is_some(), template_is_named);
            assert_eq!(pools.keys().collect::<Vec<_>>(), volumes);
        }
    }
}

#[test]
fn a_pool_that_is_not_here_gives_way_to_the_default_one_with_a_line() {
    let mut other = machine();
    other.pools = BTreeMap::from([("fast".to_owned(), Driver::FileReflink)]);
    other.default_pool = "fast".into();
    let plan = planned(vec![app("work", "")], &wish(&["work"]), &other);
    assert!(text(&plan).contains("work: the pool vm-pool is missing: fast is used\n"));
    assert!(matches!(&plan.steps[0], Step::Create { pools, .. } if pools["private"] == "fast"));
}

#[test]
fn the_tag_guards_only_where_it_gives_no_qube_power() {
    let mut machine = machine();
    machine.qubes.get_mut("sys-firewall").unwrap().is_restorer = true;
    let records = || archived(vec![app("work", "")]);
    let found = plan(&records(), &wish(&["work"]), &machine).unwrap();
    let tag = |step: &Step| step.request().unwrap().argument() == "backup-restore-in-progress";
    assert!(!found.steps.iter().any(tag));
    assert!(matches!(
        &found.steps[1],
        Step::Guard {
            guard: Guard::Feature,
            ..
        }
    ));
    assert!(text(&found).contains("the tag would give sys-firewall power over them\n"));
    machine.honours_prohibit_start = false;
    let refused = plan(&records(), &wish(&["work"]), &machine);
    assert_eq!(refused, Err(PlanError::NoGuard("sys-firewall".into())));
    let query = restorer_query("work").unwrap();
    assert_eq!(
        (query.method(), query.argument()),
        ("admin.vm.tag.Get", "backup-restore-mgmt")
    );
}

#[test]
fn a_prohibition_of_its_own_is_not_taken_away_with_the_guard() {
    let mut machine = machine();
    machine.qubes.get_mut("sys-firewall").unwrap().is_restorer = true;
    let mut work = app("work", "");
    work.features
        .insert("prohibit-start".into(), "compromised".into());
    let found = planned(vec![work], &trusting(&["work"]), &machine);
    assert!(
        !found
            .steps
            .iter()
            .any(|step| matches!(step, Step::Unguard { .. }))
    );
    let last = found.steps.iter().rev().find_map(|step| {
        let call = step.request().unwrap();
        (call.argument() == "prohibit-start").then(|| call.payload().to_owned())
    });
    assert_eq!(last.as_deref(), Some("compromised"));
}

#[test]
fn settings_alone_import_nothing_and_data_alone_has_no_network() {
    let mut work = app(
        "work",
        "memory default=False type=int 400\nnetvm default=False type=vm sys-firewall\n",
    );
    work.notes = "a".into();
    let with = |parts| {
        let wish = RestoreWish {
            parts,
            ..trusting(&["work"])
        };
        one(work.clone(), &wish)
    };
    let settings = with(Parts::SettingsOnly);
    assert!(
        !settings
            .steps
            .iter()
            .any(|step| matches!(step, Step::Import { .. }))
    );
    assert!(
        settings
            .steps
            .iter()
            .any(|step| matches!(step, Step::Resize { volume, .. } if volume == "private"))
    );
    let data = with(Parts::DataOnly);
    let kinds = data.steps.iter().filter(|step| {
        !matches!(
            step,
            Step::Create { .. }
                | Step::Guard { .. }
                | Step::CutOff { .. }
                | Step::Mark { .. }
                | Step::Import { .. }
                | Step::Unmark { .. }
                | Step::Unguard { .. }
        )
    });
    assert_eq!(kinds.count(), 0, "{:?}", data.steps);
    assert!(text(&data).contains("work: gets no network with its data alone\n"));
}

#[test]
fn volumes_that_qubes_os_does_not_make_are_named() {
    let mut all = archived(vec![app("work", "")]);
    all.get_mut("work")
        .unwrap()
        .volumes
        .insert("cache".into(), 1 << 20);
    all.get_mut("work").unwrap().volumes.remove("private");
    let plan = plan(&all, &wish(&["work"]), &machine()).unwrap();
    let line = (
        Setting::Volume("cache".into(), "data"),
        WhyLeft::NoSuchVolume,
    );
    assert!(left_out(&plan).contains(&line));
    assert!(
        text(&plan).contains("work: the session of volume private is missing: it stays empty\n")
    );
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Import { .. }))
    );
}

#[test]
fn an_import_is_begun_and_ended_on_the_internal_socket() {
    let plan = one(app("work", ""), &wish(&["work"]));
    let import = plan
        .steps
        .iter()
        .find(|step| matches!(step, Step::Import { .. }))
        .unwrap();
    let call = import.request().unwrap();
    assert_eq!(call.socket(), Socket::Internal);
    assert_eq!(
        (call.method(), call.argument(), call.payload()),
        ("internal.vm.volume.ImportBegin", "private", "2147483648")
    );
    let end = import_end("work", "private", ImportEnd::Ok).unwrap();
    assert_eq!(
        (end.method(), end.payload()),
        ("internal.vm.volume.ImportEnd", "ok")
    );
}

#[test]
fn a_missing_label_is_made_first_and_once() {
    let mut machine = machine();
    machine.labels.clear();
    let plan = planned(vec![app("a", ""), app("b", "")], &wish(&[]), &machine);
    let labels = plan
        .steps
        .iter()
        .filter(|step| matches!(step, Step::CreateLabel { .. }));
    assert_eq!(labels.count(), 1);
    let call = plan.steps[0].request().unwrap();
    assert_eq!(
        (call.method(), call.argument(), call.payload()),
        ("admin.label.Create", "blue", "0x3465a4")
    );
}

#[test]
fn a_plan_that_a_pool_has_no_room_for_is_refused_with_both_figures() {
    let of = |free_bytes| Machine {
        free_bytes: BTreeMap::from([("vm-pool".to_owned(), free_bytes)]),
        ..machine()
    };
    let records = || archived(vec![app("work", ""), app("home", "")]);
    let both: u64 = 2 * (2 << 30);
    let planned = plan(&records(), &wish(&[]), &of(both)).unwrap();
    assert_eq!(
        planned.needs,
        BTreeMap::from([("vm-pool".to_owned(), both)])
    );
    let refused = plan(&records(), &wish(&[]), &of(both - 1)).unwrap_err();
    let text = "the pool vm-pool has 4294967295 bytes free, and 4294967296 bytes are written to it";
    assert_eq!(refused.to_string(), text);
    // Settings take no room.
    let settings = RestoreWish {
        parts: Parts::SettingsOnly,
        ..wish(&[])
    };
    assert!(plan(&records(), &settings, &of(0)).is_ok());
}
