// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the bytes of a volume lie, from the driver and settings of its pool, its id, and whether
//! its qube runs. What qubesd says is checked before a place is made from it: an id must be exactly
//! the one that the driver gives a volume of this qube, so no place is outside of the pool.

use crate::answer::{PoolInfo, VolumeInfo};
use crate::class::Class;
use crate::driver::Driver;
use crate::form::{NAME_MAX_BYTES, is_plain, is_qube_name, is_volume_name};

/// Characters beside letters and digits in the names of LVM.
pub(crate) const LVM_OTHERS: &str = "+_.-";
/// Characters beside letters and digits in the parts of a data set's name.
const ZFS_OTHERS: &str = "_.:-";
const PART_MAX_BYTES: usize = 255;
const TEMPLATES: &str = "vm-templates";
const OTHERS: &str = "appvms";
/// The value of `revisions_to_keep` with which a running qube uses the volume itself.
const NO_REVISIONS: i64 = -1;

/// Which state of a volume is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// As it was when its qube last stopped.
    Committed,
    /// As it is now: what a running qube writes to.
    Running,
}

/// Where a volume's bytes lie. The parts are checked; how it is opened decides whoever opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file beneath a folder.
    File {
        /// The pool's folder, an absolute path.
        folder: String,
        /// The file, relative to the folder: a folder of the pool, the qube's folder, a name.
        file: String,
    },
    /// A logical volume.
    Logical {
        /// Its volume group.
        group: String,
        /// Its name.
        name: String,
    },
    /// A volume of ZFS.
    Zvol {
        /// Its data set.
        dataset: String,
        /// Which state of it.
        at: ZvolAt,
    },
}

/// Which state of a volume of ZFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZvolAt {
    /// The volume itself.
    Itself,
    /// Its newest snapshot whose name begins with `qubes-clean-`.
    CleanSnapshot,
}

/// Why a volume has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The pool's driver is not known here.
    #[error("the driver of its pool is not known")]
    UnknownDriver,
    /// The volume begins anew at each start, or is a snapshot.
    #[error("nothing of it is kept when its qube stops")]
    NotKept,
    /// The qube runs, and the pool keeps no state from before its start.
    #[error("while its qube runs, there is no state of it from before the start")]
    NothingCommitted,
    /// What qubesd says of the pool is not of the form that its driver has.
    #[error("the settings of its pool are not understood")]
    BadPool,
    /// The id is not the one that the driver gives a volume of this qube.
    #[error("its id is not the one that its pool gives it")]
    BadId,
}

/// What a place is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlaceQuery<'a> {
    /// The qube's name.
    pub qube: &'a str,
    /// The qube's class.
    pub class: &'a Class,
    /// The volume.
    pub volume: &'a VolumeInfo,
    /// The pool that it is in.
    pub pool: &'a PoolInfo,
    /// Whether the qube is halted; every other state counts as running.
    pub is_halted: bool,
}

/// Where the asked state of a volume lies. While a qube is halted, both states are one. Before and
/// after opening it, `is_halted` must be found the same: qubesd renames at each start and stop.
pub fn place(query: &PlaceQuery<'_>, which: Which) -> Result<Place, NoPlace> {
    let id = Id::of(query)?;
    let is_itself = query.volume.revisions_to_keep == NO_REVISIONS;
    let state = match (query.is_halted, which) {
        (true, _) => State::Halted,
        (false, Which::Running) if is_itself => State::UsedItself,
        (false, Which::Running) => State::Running,
        (false, Which::Committed) if is_itself => return Err(NoPlace::NothingCommitted),
        (false, Which::Committed) => State::Committed,
    };
    Ok(match id {
        Id::Logical { group, name } => Place::Logical {
            group: group.to_owned(),
            name: match state {
                State::Running => format!("{name}-snap"),
                State::Halted | State::Committed | State::UsedItself => name.to_owned(),
            },
        },
        Id::Reflink { folder, id } => file(
            folder,
            match state {
                State::Running | State::UsedItself => format!("{id}-dirty.img"),
                State::Halted | State::Committed => format!("{id}.img"),
            },
        ),
        // The running qube writes into the file; only older blocks are kept, apart.
        Id::File { folder, id } => match state {
            State::Committed => return Err(NoPlace::NothingCommitted),
            State::Halted | State::Running | State::UsedItself => file(folder, format!("{id}.img")),
        },
        Id::Zvol { dataset, .. } => Place::Zvol {
            dataset: dataset.to_owned(),
            at: match state {
                State::Committed => ZvolAt::CleanSnapshot,
                State::Halted | State::Running | State::UsedItself => ZvolAt::Itself,
            },
        },
    })
}

/// Where qubesd has the bytes of an import written that it was asked to begin. What it answers must
/// name this place, else the import is ended unsuccessfully.
pub fn import_place(query: &PlaceQuery<'_>) -> Result<Place, NoPlace> {
    Ok(match Id::of(query)? {
        Id::Logical { group, name } => Place::Logical {
            group: group.to_owned(),
            name: format!("{name}-import"),
        },
        Id::Reflink { folder, id } | Id::File { folder, id } => {
            file(folder, format!("{id}-import.img"))
        }
        Id::Zvol { dataset, container } => Place::Zvol {
            dataset: format!("{container}/.importing/{}", dataset.replace('/', "_")),
            at: ZvolAt::Itself,
        },
    })
}

impl Place {
    /// The absolute path, as qubesd writes it. Of a snapshot of ZFS: that of the volume, as its
    /// name is not known here.
    pub fn path(&self) -> String {
        match self {
            Self::File { folder, file } => format!("{folder}/{file}"),
            Self::Logical { group, name } => format!("/dev/{group}/{name}"),
            Self::Zvol { dataset, .. } => format!("/dev/zvol/{dataset}"),
        }
    }
}

/// What the asked state is to the driver.
enum State {
    /// The qube is halted.
    Halted,
    /// It runs, and the state before its start is asked for.
    Committed,
    /// It runs on a copy or a snapshot of the committed state, and that is asked for.
    Running,
    /// It runs on the volume itself.
    UsedItself,
}

/// An id that was found to be the one that the driver gives.
enum Id<'a> {
    Logical {
        group: &'a str,
        name: &'a str,
    },
    Reflink {
        folder: &'a str,
        id: &'a str,
    },
    File {
        folder: &'a str,
        id: &'a str,
    },
    Zvol {
        dataset: &'a str,
        container: &'a str,
    },
}

impl<'a> Id<'a> {
    fn of(query: &PlaceQuery<'a>) -> Result<Self, NoPlace> {
        let (volume, pool) = (query.volume, query.pool);
        if !volume.save_on_stop || volume.snap_on_start {
            return Err(NoPlace::NotKept);
        }
        // The ids below are made of these two.
        if !is_qube_name(query.qube) || !is_volume_name(&volume.name) || volume.pool != pool.name {
            return Err(NoPlace::BadId);
        }
        let vid = volume.vid.as_str();
        let is_given = |expected: String| {
            if vid == expected {
                Ok(vid)
            } else {
                Err(NoPlace::BadId)
            }
        };
        match pool.driver {
            Driver::LvmThin => {
                let group = setting(pool.volume_group.as_deref(), is_volume_group)?;
                let expected = format!("{group}/vm-{}-{}", query.qube, volume.name);
                let (_, name) = is_given(expected)?.split_once('/').ok_or(NoPlace::BadId)?;
                Ok(Self::Logical { group, name })
            }
            Driver::FileReflink | Driver::File => {
                let folder = setting(pool.dir_path.as_deref(), is_folder)?;
                let above = match query.class {
                    Class::Template => TEMPLATES,
                    _ => OTHERS,
                };
                let id = is_given(format!("{above}/{}/{}", query.qube, volume.name))?;
                Ok(if pool.driver == Driver::File {
                    Self::File { folder, id }
                } else {
                    Self::Reflink { folder, id }
                })
            }
            Driver::Zfs => {
                let container = setting(pool.container.as_deref(), is_dataset)?;
                let dataset = is_given(format!("{container}/{}/{}", query.qube, volume.name))?;
                Ok(Self::Zvol { dataset, container })
            }
            Driver::Other(_) => Err(NoPlace::UnknownDriver),
        }
    }
}

fn setting(text: Option<&str>, is_sound: fn(&str) -> bool) -> Result<&str, NoPlace> {
    text.filter(|text| is_sound(text)).ok_or(NoPlace::BadPool)
}

fn file(folder: &str, file: String) -> Place {
    Place::File {
        folder: folder.to_owned(),
        file,
    }
}

fn is_volume_group(text: &str) -> bool {
    is_plain(text, NAME_MAX_BYTES, LVM_OTHERS) && !text.starts_with('-') && is_no_step(text)
}

/// An absolute path in its shortest form, without a control character.
fn is_folder(text: &str) -> bool {
    let steps = text.strip_prefix('/');
    steps.is_some_and(|steps| {
        steps
            .split('/')
            .all(|step| !step.is_empty() && is_no_step(step))
    }) && !text.contains(char::is_control)
}

fn is_dataset(text: &str) -> bool {
    text.split('/')
        .all(|part| is_plain(part, PART_MAX_BYTES, ZFS_OTHERS) && is_no_step(part))
}

/// Whether it is neither the same folder nor the one above.
fn is_no_step(part: &str) -> bool {
    part != "." && part != ".."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn volume(vid: &str, revisions_to_keep: i64) -> VolumeInfo {
        VolumeInfo {
            name: "private".into(),
            pool: "p".into(),
            vid: vid.to_owned(),
            size_bytes: 1,
            is_writable: true,
            source: String::new(),
            save_on_stop: true,
            snap_on_start: false,
            revisions_to_keep,
            is_ephemeral: false,
        }
    }

    fn pool(driver: Driver, location: &str) -> PoolInfo {
        PoolInfo {
            name: "p".into(),
            driver,
            volume_group: Some(location.to_owned()),
            thin_pool: None,
            dir_path: Some(location.to_owned()),
            container: Some(location.to_owned()),
            size_bytes: None,
            usage_bytes: None,
        }
    }

    const DRIVERS: [(Driver, &str, &str); 4] = [
        (Driver::LvmThin, "qubes_dom0", "qubes_dom0/vm-work-private"),
        (Driver::FileReflink, "/var/lib/qubes", "appvms/work/private"),
        (Driver::File, "/var/lib/qubes", "appvms/work/private"),
        (Driver::Zfs, "tank/qubes", "tank/qubes/work/private"),
    ];

    /// The path of the committed and the running state.
    fn paths(
        (driver, location, vid): &(Driver, &str, &str),
        revisions: i64,
        is_halted: bool,
    ) -> [Result<String, NoPlace>; 2] {
        let (volume, pool) = (volume(vid, revisions), pool(driver.clone(), location));
        let query = PlaceQuery {
            qube: "work",
            class: &Class::App,
            volume: &volume,
            pool: &pool,
            is_halted,
        };
        [Which::Committed, Which::Running].map(|which| {
            place(&query, which).map(|place| match place {
                Place::Zvol {
                    at: ZvolAt::CleanSnapshot,
                    ..
                } => format!("{}@clean", place.path()),
                _ => place.path(),
            })
        })
    }

    #[test]
    fn while_a_qube_is_halted_both_states_are_one() {
        for (driver, expected) in DRIVERS.iter().zip([
            "/dev/qubes_dom0/vm-work-private",
            "/var/lib/qubes/appvms/work/private.img",
            "/var/lib/qubes/appvms/work/private.img",
            "/dev/zvol/tank/qubes/work/private",
        ]) {
            for revisions in [1, 0, -1] {
                let both = [Ok(expected.to_owned()), Ok(expected.to_owned())];
                assert_eq!(paths(driver, revisions, true), both);
            }
        }
    }

    #[test]
    fn of_a_running_qube_the_committed_state_is_what_was_kept() {
        let running = |number: usize| paths(&DRIVERS[number], 1, false);
        let ok = |path: &str| Ok(path.to_owned());
        let group = "/dev/qubes_dom0/vm-work-private";
        assert_eq!(
            running(0),
            [ok(group), ok("/dev/qubes_dom0/vm-work-private-snap")]
        );
        let folder = "/var/lib/qubes/appvms/work";
        assert_eq!(
            running(1),
            [
                ok(&format!("{folder}/private.img")),
                ok(&format!("{folder}/private-dirty.img"))
            ]
        );
        assert_eq!(
            running(2),
            [
                Err(NoPlace::NothingCommitted),
                ok(&format!("{folder}/private.img"))
            ]
        );
        let zvol = "/dev/zvol/tank/qubes/work/private";
        assert_eq!(running(3), [ok(&format!("{zvol}@clean")), ok(zvol)]);
    }

    #[test]
    fn without_revisions_a_running_qube_has_no_committed_state() {
        let live = [
            "/dev/qubes_dom0/vm-work-private",
            "/var/lib/qubes/appvms/work/private-dirty.img",
            "/var/lib/qubes/appvms/work/private.img",
            "/dev/zvol/tank/qubes/work/private",
        ];
        for (driver, live) in DRIVERS.iter().zip(live) {
            let expected = [Err(NoPlace::NothingCommitted), Ok(live.to_owned())];
            assert_eq!(paths(driver, -1, false), expected);
        }
    }

    #[test]
    fn an_id_that_is_not_the_drivers_own_is_refused() {
        for (driver, location, vid) in &DRIVERS {
            for wrong in [
                String::new(),
                format!("/{vid}"),
                format!("{vid}/"),
                format!("{vid}x"),
                format!("../{vid}"),
                format!("{vid}\n"),
                vid.replace("work", "vault"),
                vid.replace("work", ".."),
                vid.replace("private", "root"),
                vid.replace("private", "private-snap"),
                vid.replace("appvms", "vm-templates")
                    .replace("vm-work", "vm-work2"),
                vid.replace("tank/qubes/", "tank/other/")
                    .replace("qubes_dom0/", "other/"),
            ] {
                if wrong == *vid {
                    continue;
                }
                let found = paths(&(driver.clone(), location, &wrong), 1, true);
                assert_eq!(found[0], Err(NoPlace::BadId), "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_pool_whose_settings_lead_elsewhere_is_refused() {
        for (driver, _, _) in &DRIVERS {
            for location in [
                "", ".", "..", "a/../b", "/a/../b", "/a//b", "/a/", "a b", "/a\nb", "-x",
            ] {
                let is_path = matches!(driver, Driver::File | Driver::FileReflink);
                let vid = match driver {
                    Driver::LvmThin => format!("{location}/vm-work-private"),
                    Driver::Zfs => format!("{location}/work/private"),
                    _ => "appvms/work/private".into(),
                };
                if *driver == Driver::Zfs && location == "-x" {
                    continue;
                }
                let found = paths(&(driver.clone(), location, &vid), 1, true);
                assert_eq!(
                    found[0],
                    Err(NoPlace::BadPool),
                    "{driver} {location:?} {is_path}"
                );
            }
        }
        let other = (Driver::Other("linux-kernel".into()), "/x", "6.6");
        assert_eq!(paths(&other, 1, true)[0], Err(NoPlace::UnknownDriver));
    }

    #[test]
    fn templates_have_a_folder_of_their_own() {
        let pool = pool(Driver::FileReflink, "/q");
        for (class, vid, expected) in [
            (Class::Template, "vm-templates/work/private", true),
            (Class::Template, "appvms/work/private", false),
            (Class::App, "vm-templates/work/private", false),
            (Class::Standalone, "appvms/work/private", true),
        ] {
            let volume = volume(vid, 1);
            let query = PlaceQuery {
                qube: "work",
                class: &class,
                volume: &volume,
                pool: &pool,
                is_halted: true,
            };
            assert_eq!(
                place(&query, Which::Committed).is_ok(),
                expected,
                "{class} {vid}"
            );
        }
    }

    #[test]
    fn a_volume_that_begins_anew_has_no_place() {
        let pool = pool(Driver::FileReflink, "/q");
        for (save_on_stop, snap_on_start) in [(false, false), (false, true), (true, true)] {
            let mut volume = volume("appvms/work/private", 1);
            (volume.save_on_stop, volume.snap_on_start) = (save_on_stop, snap_on_start);
            let query = PlaceQuery {
                qube: "work",
                class: &Class::App,
                volume: &volume,
                pool: &pool,
                is_halted: true,
            };
            assert_eq!(place(&query, Which::Committed), Err(NoPlace::NotKept));
            assert_eq!(import_place(&query), Err(NoPlace::NotKept));
        }
    }

    #[test]
    fn an_import_has_one_place() {
        let expected = [
            "/dev/qubes_dom0/vm-work-private-import",
            "/var/lib/qubes/appvms/work/private-import.img",
            "/var/lib/qubes/appvms/work/private-import.img",
            "/dev/zvol/tank/qubes/.importing/tank_qubes_work_private",
        ];
        for ((driver, location, vid), expected) in DRIVERS.iter().zip(expected) {
            let (volume, pool) = (volume(vid, 1), pool(driver.clone(), location));
            let query = PlaceQuery {
                qube: "work",
                class: &Class::App,
                volume: &volume,
                pool: &pool,
                is_halted: true,
            };
            assert_eq!(import_place(&query).unwrap().path(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_id_and_no_setting_leads_out_of_the_pool(
            qube in "[a-z./-]{1,8}",
            name in "[a-z./-]{1,8}",
            location in "[a-z./ -]{0,10}",
            vid in "[a-z./-]{0,20}",
            driver in 0..4_usize,
        ) {
            let mut volume = volume(&vid, 1);
            volume.name = name.clone();
            for vid in [vid, format!("{location}/vm-{qube}-{name}"), format!("appvms/{qube}/{name}"), format!("{location}/{qube}/{name}")] {
                volume.vid = vid;
                let pool = pool(DRIVERS[driver].0.clone(), &location);
                let query = PlaceQuery { qube: &qube, class: &Class::App, volume: &volume, pool: &pool, is_halted: true };
                if let Ok(place) = place(&query, Which::Committed) {
                    let path = place.path();
                    prop_assert!(path.starts_with('/'), "{path}");
                    prop_assert!(path.split('/').skip(1).all(|step| !step.is_empty() && step != "." && step != ".."), "{path}");
                }
            }
        }
    }
}
