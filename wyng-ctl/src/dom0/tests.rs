// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's files over a real file system: what is collected, the form of the tar, and what a hostile
//! tar can do.

use std::fs::{create_dir_all, read, write};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use tempfile::TempDir;

use super::tar::{Flag, Header, encode};
use super::*;

const CHUNK: u64 = 16 << 10;

fn system() -> TempDir {
    let top = tempfile::tempdir().unwrap();
    let policy = top.path().join("etc/qubes/policy.d");
    create_dir_all(&policy).unwrap();
    write(policy.join("30-user.policy"), "a\n").unwrap();
    create_dir_all(top.path().join("home/user/.cache")).unwrap();
    write(top.path().join("home/user/.cache/x"), "cached").unwrap();
    write(
        top.path().join("etc/passwd"),
        "user:x:1000:1000::/home/user/:/bin/sh\n",
    )
    .unwrap();
    top
}

fn packed(top: &Path, paths: &[PathBuf]) -> Packed {
    let scratch = tempfile::tempdir().unwrap();
    let wish = Wish {
        top,
        paths,
        never: &[],
        scratch: scratch.path(),
        chunk_bytes: CHUNK,
    };
    pack(&wish, &Config::default()).unwrap()
}

fn bytes(packed: &Packed) -> Vec<u8> {
    let file = File::from(packed.file.try_clone().unwrap());
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn tar_of(bytes: &[u8]) -> OwnedFd {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.into()
}

fn header(flag: Flag, path: &str, size_bytes: u64) -> Header {
    Header {
        flag,
        path: path.as_bytes().to_vec(),
        mode: 0o4777,
        uid: 0,
        gid: 0,
        size_bytes,
        mtime_secs: 0,
        target: Vec::new(),
    }
}

/// A tar of empty members.
fn of(members: &[(Flag, &str)]) -> Vec<u8> {
    let mut tar: Vec<u8> = members
        .iter()
        .flat_map(|(flag, path)| encode(&header(*flag, path, 0)))
        .collect();
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn files_come_back_closed_and_links_only_as_text() {
    let top = system();
    let home = top.path().join("home/user");
    write(home.join("run"), "#!").unwrap();
    std::fs::set_permissions(home.join("run"), PermissionsExt::from_mode(0o6755)).unwrap();
    symlink("/etc/shadow", home.join("link")).unwrap();
    write(home.join("large"), vec![7; 50_000]).unwrap();
    let long = home.join("n".repeat(200));
    write(&long, "long").unwrap();
    let packed = packed(top.path(), &[]);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("back");
    let back = unpack(packed.file, &to, top.path()).unwrap();
    assert_eq!(
        back.links,
        [("home/user/link".to_owned(), "/etc/shadow".to_owned())]
    );
    assert_eq!(back.policy, []);
    assert_eq!(read(to.join("home/user/large")).unwrap(), [7; 50_000]);
    assert_eq!(
        read(to.join("home/user").join("n".repeat(200))).unwrap(),
        b"long"
    );
    assert!(!to.join("home/user/.cache").exists() && !to.join("home/user/link").exists());
    let mode = |path: &str| to.join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("home/user"), 0o700);
    assert_eq!(mode("home/user/run"), 0o700);
    assert_eq!(mode("home/user/large"), 0o600);
}

#[test]
fn the_same_files_are_the_same_bytes_and_a_larger_one_moves_no_other() {
    let top = system();
    let home = top.path().join("home/user");
    for number in 0..4_u8 {
        write(home.join(format!("large{number}")), vec![number; 40_000]).unwrap();
        create_dir_all(home.join(format!("folder{number}"))).unwrap();
        write(home.join(format!("folder{number}/small")), [number]).unwrap();
    }
    let before = bytes(&packed(top.path(), &[]));
    assert!(before == bytes(&packed(top.path(), &[])));
    let mut grown = vec![1; 40_000];
    grown.extend([9; 30_000]);
    write(home.join("large1"), grown).unwrap();
    let after = bytes(&packed(top.path(), &[]));
    let chunk = usize::try_from(CHUNK).unwrap();
    let known: std::collections::HashSet<&[u8]> = before.chunks(chunk).collect();
    let new = after
        .chunks(chunk)
        .filter(|chunk| !known.contains(chunk))
        .count();
    // Its first chunk has its new length and time; the third chunk grew, and two are new.
    assert!(new <= 4, "{new} chunks of {} are new", after.len() / chunk);
}

#[test]
fn other_programs_read_the_tar() {
    let top = system();
    let home = top.path().join("home/user");
    write(home.join("large"), vec![7; 50_000]).unwrap();
    write(home.join("n".repeat(200)), "long").unwrap();
    symlink("x".repeat(150), home.join("link")).unwrap();
    let mut packed = File::from(packed(top.path(), &[]).file);
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("x.tar");
    let mut whole = Vec::new();
    packed.read_to_end(&mut whole).unwrap();
    write(&tar, whole).unwrap();
    let to = folder.path().join("to");
    create_dir_all(&to).unwrap();
    let output = Command::new("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(&to)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert_eq!(read(to.join("home/user/large")).unwrap(), [7; 50_000]);
    assert_eq!(
        read(to.join("home/user").join("n".repeat(200))).unwrap(),
        b"long"
    );
    assert_eq!(
        std::fs::read_link(to.join("home/user/link")).unwrap(),
        Path::new(&"x".repeat(150))
    );
    let script = "import tarfile, sys; print(len(tarfile.open(sys.argv[1]).getmembers()))";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&tar)
        .output()
        .unwrap();
    let count = String::from_utf8_lossy(&output.stdout);
    // etc/qubes, policy.d and its file; home/user and its three; left-out.txt
    assert_eq!(
        count.trim(),
        "8",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_is_no_file_and_what_a_link_leads_to_is_named_and_left_out() {
    let top = system();
    let home = top.path().join("home/user");
    let fifo = home.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("/etc", top.path().join("opt")).unwrap();
    create_dir_all(top.path().join("var/lib/wyng/archives")).unwrap();
    let paths = ["/opt/x", "/var/lib/wyng", "/none"].map(PathBuf::from);
    let packed = packed(top.path(), &paths);
    let left: Vec<(&str, &str)> = packed
        .left_out
        .iter()
        .map(|left| (left.path.as_str(), left.why.code()))
        .collect();
    assert_eq!(
        left,
        [
            ("home/user/fifo", "special"),
            ("none", "unreadable"),
            ("opt/x", "link"),
            ("var/lib/wyng", "never"),
            ("packages.txt", "no-packages"),
        ]
    );
    let tar = bytes(&packed);
    let has = |text: &[u8]| tar.windows(text.len()).any(|window| window == text);
    assert!(has(b"home/user/fifo\tneither a file") && !has(b"cached"));
}

#[test]
fn a_secret_is_not_taken_under_another_name() {
    let top = system();
    let secret = top.path().join("secret");
    write(&secret, "sesame").unwrap();
    std::fs::hard_link(&secret, top.path().join("home/user/other-name")).unwrap();
    let never = [secret];
    let wish = Wish {
        top: top.path(),
        paths: &[PathBuf::from("/secret")],
        never: &never,
        scratch: top.path(),
        chunk_bytes: CHUNK,
    };
    let tar = bytes(&pack(&wish, &Config::default()).unwrap());
    assert!(!tar.windows(6).any(|window| window == b"sesame"));
}

#[test]
fn too_much_is_refused_with_the_folder_that_has_it() {
    let top = system();
    let folder = top.path().join("home/user/Downloads");
    create_dir_all(&folder).unwrap();
    let sparse = File::create(folder.join("image")).unwrap();
    sparse.set_len(BYTES_MAX + 1).unwrap();
    let wish = Wish {
        top: top.path(),
        paths: &[],
        never: &[],
        scratch: top.path(),
        chunk_bytes: CHUNK,
    };
    match pack(&wish, &Config::default()) {
        Err(NotPacked::TooLarge { folder, .. }) => assert_eq!(folder, "home/user/Downloads"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hostile_tar_writes_nothing() {
    use Flag::{File, Folder, Link};
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let refused = |tar: &[u8]| match unpack(tar_of(tar), &to, folder.path()) {
        Err(NotUnpacked::Foreign(_)) => !to.exists(),
        _ => false,
    };
    for path in [
        "../x", "/x", "a/../x", "a//x", "./x", "..", "", "a/.", "a/", "a\0b",
    ] {
        let tar = of(&[(File, path)]);
        // A zero ends a header's name, so that path is `a`.
        assert!(path.contains('\0') || refused(&tar), "{path:?}");
    }
    assert!(refused(&of(&[(File, "a"), (File, "a")])));
    assert!(refused(&of(&[(Folder, "a"), (Link, "a")])));
    assert!(refused(&of(&[(Link, "a"), (File, "a/b")])));
    assert!(refused(&of(&[(File, "a/b"), (File, "a")])));
    assert!(refused(&of(&[(File, &"a/".repeat(200))])));
    assert!(refused(&of(&[(File, &"a".repeat(256))])));
    let mut long = encode(&header(File, "a", 8 << 30));
    long.resize(long.len() + 2048, 0);
    assert!(refused(&long));
    let mut bomb = encode(&header(File, "a", 0o77_777_777_777));
    bomb.resize(bomb.len() + 1024, 0);
    assert!(refused(&bomb));
    let mut after_end = of(&[(File, "a")]);
    after_end.extend(encode(&header(File, "b", 0)));
    assert!(refused(&after_end));
    let mut cut = of(&[(File, "a")]);
    cut.truncate(512);
    assert!(refused(&cut));
    let mut fields = encode(&header(Flag::Fields, "x", 65 << 10));
    fields.resize(80 << 10, 0);
    assert!(refused(&fields));
    assert!(refused(b"no tar at all"));
}

#[test]
fn a_name_with_control_characters_is_listed_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let tar = of(&[(Flag::File, "a\x1b[2J"), (Flag::File, "b")]);
    let back = unpack(tar_of(&tar), &to, folder.path()).unwrap();
    let names: Vec<_> = std::fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["b"]);
    assert_eq!(back.left_out.len(), 1);
    assert_eq!(back.left_out[0].why.code(), "name");
}
