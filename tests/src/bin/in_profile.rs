// SPDX-License-Identifier: GPL-3.0-or-later
//! `in-profile PROFILE ATTEMPT`: enters a profile's system call filter, makes one attempt, and
//! reports that it is still alive. For tests/jail.rs.
//!
//! `in-profile PROFILE run PROGRAM ARGUMENT…` becomes that program under the filter.

use std::os::unix::process::CommandExt;
use std::process::Command;

use wyng_jail::{Enforced, Profile, allow_only, no_new_privileges};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (profile, attempt) = (arguments.next().unwrap(), arguments.next().unwrap());
    assert_eq!(no_new_privileges(), Enforced::Yes);
    assert_eq!(allow_only(profile_of(&profile)), Enforced::Yes);
    match attempt.as_str() {
        "nothing" => {}
        "run" => drop(
            Command::new(arguments.next().unwrap())
                .args(arguments)
                .exec(),
        ),
        "execute" => drop(Command::new("/bin/echo").arg("alive").exec()),
        "socket" => drop(std::net::TcpStream::connect("127.0.0.1:9")),
        "local-socket" => drop(std::os::unix::net::UnixStream::connect("/nowhere")),
        "mount" => drop(rustix::mount::unmount(
            "/nowhere",
            rustix::mount::UnmountFlags::empty(),
        )),
        "open" => drop(std::fs::File::open("/etc/passwd")),
        "open-in-vain" => assert!(std::fs::File::open("/etc/passwd").is_err()),
        "open-for-writing" => drop(std::fs::File::options().write(true).open("/nowhere/at/all")),
        "make-file" => drop(std::fs::File::create("/nowhere/at/all")),
        "make-folder" => drop(std::fs::create_dir("/nowhere/at/all")),
        "remove" => drop(std::fs::remove_file("/nowhere/at/all")),
        "rename" => drop(std::fs::rename("/nowhere/at/all", "/nowhere/else")),
        // The request neither reads nor clones extents.
        "ioctl" => drop(std::io::IsTerminal::is_terminal(&std::io::stdin())),
        "clone" => drop(rustix::fs::ioctl_ficlone(
            std::io::stdin(),
            std::io::stdin(),
        )),
        "panic" => drop(std::thread::spawn(|| panic!("on purpose")).join()),
        other => panic!("no such attempt: {other}"),
    }
    println!("alive");
}

fn profile_of(name: &str) -> Profile {
    match name {
        "supervisor" => Profile::Supervisor,
        "spawner" => Profile::Spawner,
        "control" => Profile::Control,
        "volumes" => Profile::Volumes,
        "volumes-by-name" => Profile::VolumesByName,
        "volumes-in-dom0" => Profile::VolumesInDom0,
        "keyholder" => Profile::Keyholder,
        "reader" => Profile::Reader,
        "transport" => Profile::Transport,
        "push" => Profile::HelperPush,
        "prune" => Profile::HelperPrune,
        "fetch" => Profile::HelperFetch,
        "network-push" => Profile::NetworkPush,
        "network-prune" => Profile::NetworkPrune,
        "network-fetch" => Profile::NetworkFetch,
        "pipes" => Profile::HelperPipes,
        other => panic!("no such profile: {other}"),
    }
}
