// SPDX-License-Identifier: GPL-3.0-or-later
//! The program `zfs`, as far as the daemon uses it: its options, its output for scripts, its exit
//! statuses and its words on standard error. Volumes are loop devices over files; a snapshot is a
//! copy of a file. What is slow or refused in ZFS is so here: links to devices come late, a device
//! that is open cannot be destroyed, nor a snapshot with a clone.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::table::{Entry, NONE, Table, is_snapshot};

/// The folder of the links to devices.
const LINKS: &str = "/dev/zvol";
/// How late the link to a clone's device comes.
const LATE: Duration = Duration::from_millis(300);
/// The only properties that may be set.
const PROPERTIES: [&str; 3] = ["readonly=on", "volmode=dev", "com.sun:auto-snapshot=false"];

/// Why the program fails: its words.
type Refusal = String;

/// Runs the program that this process is.
pub fn run() -> ExitCode {
    let mut words = std::env::args();
    let program = PathBuf::from(words.next().unwrap());
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let state = program.parent().unwrap().join("state");
    if let ["late-link", link, device] = words.as_slice() {
        std::thread::sleep(LATE);
        make_link(Path::new(link), device);
        return ExitCode::SUCCESS;
    }
    let mut table = Table::open(&state);
    table.note(&words);
    let hook = state.join("before");
    if hook.exists() {
        let _ = Command::new("/bin/sh").arg(hook).args(&words).status();
    }
    let done = match words.split_first() {
        Some((&"list", rest)) => list(&table, rest),
        Some((&"snapshot", rest)) => snapshot(&mut table, rest),
        Some((&"clone", rest)) => clone(&mut table, rest, &program),
        Some((&"create", rest)) => create(&mut table, rest),
        Some((&"get", rest)) => get(&table, rest),
        Some((&"set", rest)) => set(&mut table, rest),
        Some((&"destroy", rest)) => destroy(&mut table, rest),
        _ => Err(format!("unrecognized command {words:?}")),
    };
    match done {
        Ok(output) => {
            table.close();
            std::io::stdout().write_all(output.as_bytes()).unwrap();
            ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn unknown(words: &[&str]) -> Refusal {
    format!("invalid option: {words:?}")
}

fn missing(name: &str) -> Refusal {
    format!("cannot open '{name}': dataset does not exist")
}

fn list(table: &Table, words: &[&str]) -> Result<String, Refusal> {
    let ["-H", "-p", words @ ..] = words else {
        return Err(unknown(words));
    };
    if let ["-d", "0", "-o", "used,available", pool] = words {
        return table.room(pool).ok_or_else(|| missing(pool));
    }
    let (kind, columns, of) = match words {
        ["-t", kind, "-o", columns] => (*kind, columns, None),
        ["-t", kind, "-d", "1", "-o", columns, of] => (*kind, columns, Some(*of)),
        _ => return Err(unknown(words)),
    };
    if let Some(of) = of
        && table.get(of).is_none()
    {
        return Err(missing(of));
    }
    let is_wanted = |entry: &&Entry| {
        let is_of = of.is_none_or(|of| entry.name.split('@').next() == Some(of));
        is_of && is_snapshot(&entry.name) == (kind == "snapshot")
    };
    let mut output = String::new();
    for entry in table.entries().filter(is_wanted) {
        let values = columns.split(',').map(|column| value(table, entry, column));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        writeln!(output, "{}", values.join("\t")).unwrap();
    }
    if output.is_empty() {
        eprintln!("no datasets available");
    }
    Ok(output)
}

fn value(table: &Table, entry: &Entry, column: &str) -> Result<String, Refusal> {
    Ok(match column {
        "name" => entry.name.clone(),
        "guid" => entry.guid.to_string(),
        "createtxg" => entry.createtxg.to_string(),
        "volsize" => entry.size_bytes.to_string(),
        "used" => table.used_bytes(entry).to_string(),
        "org.wyng:base" => table.property(entry),
        _ => return Err(format!("bad property list: invalid property '{column}'")),
    })
}

fn snapshot(table: &mut Table, words: &[&str]) -> Result<String, Refusal> {
    let [name] = words else {
        return Err(unknown(words));
    };
    let (of, _) = name.split_once('@').ok_or_else(|| unknown(words))?;
    let volume = table.get(of).ok_or_else(|| missing(of))?.clone();
    if table.get(name).is_some() {
        return Err(format!(
            "cannot create snapshot '{name}': dataset already exists"
        ));
    }
    table.add(name, &volume, Some(&volume.content));
    Ok(String::new())
}

/// The value behind `-o` may only be one of those that the daemon has a reason for.
fn without_properties<'a, 'b>(mut words: &'b [&'a str]) -> Result<&'b [&'a str], Refusal> {
    while let ["-o", property, rest @ ..] = words {
        if !PROPERTIES.contains(property) {
            return Err(unknown(words));
        }
        words = rest;
    }
    Ok(words)
}

#[expect(
    clippy::zombie_processes,
    reason = "this program ends first, as zfs does, and whoever adopts the other one waits for it"
)]
fn clone(table: &mut Table, words: &[&str], program: &Path) -> Result<String, Refusal> {
    let is_read_only = words.contains(&"readonly=on");
    let [of, name] = without_properties(words)? else {
        return Err(unknown(words));
    };
    let snapshot = table.get(of).ok_or_else(|| missing(of))?.clone();
    if table.get(name).is_some() {
        return Err(format!("cannot create '{name}': dataset already exists"));
    }
    let content = table.add(name, &snapshot, Some(&snapshot.content));
    table.change(name, |entry| entry.origin = (*of).to_owned());
    let device = attach(&content, is_read_only);
    table.change(name, |entry| entry.device.clone_from(&device));
    let link = Path::new(LINKS).join(name);
    Command::new(program)
        .arg("late-link")
        .arg(link)
        .arg(&device)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Ok(String::new())
}

fn create(table: &mut Table, words: &[&str]) -> Result<String, Refusal> {
    let words = words.strip_prefix(&["-s"]).unwrap_or(words);
    let ["-V", size, name] = without_properties(words)? else {
        return Err(unknown(words));
    };
    if table.get(name).is_some() {
        return Err(format!("cannot create '{name}': dataset already exists"));
    }
    let sized = Entry {
        size_bytes: size.parse().unwrap(),
        ..Entry::default()
    };
    let content = table.add(name, &sized, None);
    let device = attach(&content, false);
    make_link(&Path::new(LINKS).join(name), &device);
    table.change(name, |entry| entry.device = device);
    Ok(String::new())
}

fn get(table: &Table, words: &[&str]) -> Result<String, Refusal> {
    let ["-H", "-p", "-o", "value", property, name] = words else {
        return Err(unknown(words));
    };
    let snapshot = table.get(name).ok_or_else(|| missing(name))?;
    let base = property
        .strip_prefix("written@")
        .ok_or_else(|| unknown(words))?;
    let (of, _) = name.split_once('@').unwrap_or((name, ""));
    match table.get(&format!("{of}@{base}")) {
        Some(base) => Ok(format!("{}\n", table.written_bytes(base, snapshot))),
        None => Ok(format!("{NONE}\n")),
    }
}

fn set(table: &mut Table, words: &[&str]) -> Result<String, Refusal> {
    let [property, name] = words else {
        return Err(unknown(words));
    };
    table.get(name).ok_or_else(|| missing(name))?;
    let label = property
        .strip_prefix("org.wyng:base=")
        .ok_or_else(|| unknown(words))?;
    table.change(name, |entry| label.clone_into(&mut entry.label));
    Ok(String::new())
}

fn destroy(table: &mut Table, words: &[&str]) -> Result<String, Refusal> {
    let [name] = words else {
        return Err(unknown(words));
    };
    let Some(entry) = table.get(name).cloned() else {
        return Err(if is_snapshot(name) {
            "could not find any snapshots to destroy; check snapshot names.".to_owned()
        } else {
            missing(name)
        });
    };
    if let Some(clone) = table.entries().find(|found| found.origin == *name) {
        return Err(format!(
            "cannot destroy '{name}': snapshot has dependent clones\nuse '-R' to destroy the \
             following datasets:\n{}",
            clone.name
        ));
    }
    let of_volume = format!("{name}@");
    if let Some(child) = table
        .entries()
        .find(|found| found.name.starts_with(&of_volume))
    {
        return Err(format!(
            "cannot destroy '{name}': volume has children\nuse '-r' to destroy the following \
             datasets:\n{}",
            child.name
        ));
    }
    if entry.device != NONE {
        let link = Path::new(LINKS).join(name);
        // While udev makes the link, it has the device open.
        if is_open(&entry.device) || !link.is_symlink() {
            return Err(format!("cannot destroy '{name}': dataset is busy"));
        }
        let _ = std::fs::remove_file(link);
        detach(&entry.device);
    }
    table.remove(name);
    Ok(String::new())
}

fn attach(content: &Path, is_read_only: bool) -> String {
    let mut losetup = Command::new("/usr/sbin/losetup");
    losetup.args(["--find", "--show"]);
    if is_read_only {
        losetup.arg("--read-only");
    }
    let output = losetup.arg(content).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn detach(device: &str) {
    let _ = Command::new("/usr/sbin/losetup")
        .args(["--detach", device])
        .output();
}

fn make_link(link: &Path, device: &str) {
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(device, link).unwrap();
}

/// Whether any process has a device open.
fn is_open(device: &str) -> bool {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let open = folders
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|open| open.flatten().collect::<Vec<_>>());
    open.into_iter()
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == Path::new(device)))
}
