// SPDX-License-Identifier: GPL-3.0-or-later
//! Walls: which crate may depend on which, where `unsafe` may be, which role may import what.
//! ARCHITECTURE.md has the tables. Each rule is a function over text, and is tested with a
//! violation before it is applied to the project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const SPDX: &str = "// SPDX-License-Identifier: GPL-3.0-or-later";

/// Crates that seal, open or derive keys.
const CIPHERS: &[&str] = &[
    "chacha20poly1305",
    "chacha20",
    "poly1305",
    "aead",
    "argon2",
    "hpke",
    "x25519-dalek",
];
/// Crates that make system calls.
const SYSTEM: &[&str] = &["getrandom", "rustix", "nix", "tokio", "mio"];

/// The crates of the project that a crate may use, and the other crates that it must never reach.
struct Wall {
    name: &'static str,
    ours: &'static [&'static str],
    never: &'static [&'static [&'static str]],
}

const WALLS: [Wall; 14] = [
    Wall {
        name: "wyng-wire",
        ours: &[],
        never: &[],
    }, // and nothing else at all, which a separate test checks
    Wall {
        name: "wyng-thin",
        ours: &[],
        never: &[CIPHERS, SYSTEM, &["libc"]],
    },
    Wall {
        name: "wyng-config",
        ours: &["wyng-control"],
        never: &[CIPHERS],
    },
    Wall {
        name: "wyng-control",
        ours: &[],
        never: &[CIPHERS],
    },
    Wall {
        name: "wyng-archive",
        ours: &["wyng-wire"],
        never: &[SYSTEM],
    },
    Wall {
        name: "wyng-engine",
        ours: &["wyng-archive", "wyng-config", "wyng-control", "wyng-wire"],
        never: &[SYSTEM, &["libc"]],
    },
    Wall {
        name: "wyng-jail",
        ours: &[],
        never: &[CIPHERS],
    },
    Wall {
        name: "wyng-origin",
        ours: &["wyng-control"],
        never: &[CIPHERS],
    },
    Wall {
        name: "wyng-qube",
        ours: &["wyng-control"],
        never: &[CIPHERS, SYSTEM, &["libc", "wyng-jail"]],
    },
    Wall {
        name: "wyng-snapshot",
        ours: &["wyng-control"],
        never: &[CIPHERS],
    },
    Wall {
        name: "wyng-transport-vm",
        ours: &["wyng-jail", "wyng-s3", "wyng-wire"],
        never: &[CIPHERS, &["zstd", "aws-lc-sys", "openssl-sys"]],
    },
    Wall {
        name: "wyng-s3",
        ours: &[],
        never: &[CIPHERS, SYSTEM, &["libc"]],
    },
    Wall {
        name: "wyng-ctl",
        ours: &[
            "wyng-config",
            "wyng-control",
            "wyng-jail",
            "wyng-origin",
            "wyng-snapshot",
        ],
        never: &[CIPHERS, &["tokio"]],
    },
    Wall {
        name: "wyngd",
        ours: &[
            "wyng-archive",
            "wyng-config",
            "wyng-control",
            "wyng-engine",
            "wyng-jail",
            "wyng-origin",
            "wyng-qube",
            "wyng-s3",
            "wyng-snapshot",
            "wyng-thin",
            "wyng-wire",
        ],
        never: &[&["openssl-sys", "native-tls"]],
    },
];

impl Wall {
    /// The forbidden ones of these dependencies.
    fn breaches<'a>(&self, dependencies: &'a BTreeSet<String>) -> Vec<&'a str> {
        let forbidden = |name: &str| {
            let foreign =
                name.starts_with("wyng") && name != self.name && !self.ours.contains(&name);
            foreign || self.never.iter().any(|never| never.contains(&name))
        };
        dependencies
            .iter()
            .map(String::as_str)
            .filter(|name| forbidden(name))
            .collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The names of a crate and of all crates that it is built with, except for those of its tests.
fn dependencies(name: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            name,
        ])
        .current_dir(root());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = names_of_tree(&String::from_utf8(output.stdout).unwrap());
    assert!(
        names.contains(name),
        "cargo tree does not show {name} itself"
    );
    names
}

fn names_of_tree(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The project's own files by their paths from its root: those that git tracks, or all files where
/// git is missing.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached"])
        .current_dir(root())
        .output();
    if let Some(listed) = listed.ok().filter(|listed| listed.status.success()) {
        let names = String::from_utf8(listed.stdout).unwrap();
        return names
            .split('\0')
            .filter(|name| root().join(name).is_file())
            .map(str::to_owned)
            .collect();
    }
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != ".git" {
                walk(&entry.path(), &format!("{prefix}{name}/"), found);
            }
        } else {
            found.push(format!("{prefix}{name}"));
        }
    }
}

/// Every Rust file and its text.
fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|name| name.ends_with(".rs"));
    let sources: Vec<_> = rust
        .map(|name| {
            (
                name.clone(),
                std::fs::read_to_string(root().join(name)).unwrap(),
            )
        })
        .collect();
    assert!(
        sources.len() > 80,
        "only {} Rust files were found",
        sources.len()
    );
    sources
}

/// Rust source without its comments and the contents of its strings, so that every remaining word
/// is code.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let behind_a_word = code.ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_bytes(rest),
            '"' => string_bytes(rest),
            'r' | 'b' | 'c' if !behind_a_word => raw_string_bytes(rest).unwrap_or(0),
            '\'' => char_bytes(rest),
            _ => 0,
        };
        let taken = if skipped == 0 {
            first.len_utf8()
        } else {
            skipped
        };
        code.push(if skipped == 0 { first } else { ' ' });
        rest = rest.get(taken..).unwrap_or_default();
    }
    code
}

fn block_comment_bytes(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(ahead) = rest.get(at..).filter(|ahead| !ahead.is_empty()) {
        if ahead.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if ahead.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += ahead.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_bytes(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`; `None` for anything else.
fn raw_string_bytes(rest: &str) -> Option<usize> {
    let behind_r = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let hashes = behind_r.len() - behind_r.trim_start_matches('#').len();
    let body = behind_r.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = rest.len() - body.len();
    Some(
        body.find(&end)
            .map_or(rest.len(), |at| begin + at + end.len()),
    )
}

/// The length of a character literal; 0 for a lifetime.
fn char_bytes(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => rest
            .get(at + 1..)
            .and_then(|tail| tail.find('\''))
            .map_or(0, |end| at + 1 + end + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !char.is_alphanumeric() && char != '_')
}

fn says_unsafe(source: &str) -> bool {
    words(&code(source)).any(|word| word == "unsafe")
}

fn has_its_head(source: &str) -> bool {
    let mut lines = source.lines();
    lines.next() == Some(SPDX) && lines.next().is_some_and(|line| line.starts_with("//! "))
}

/// The lines of a table of lints, which ends with an empty line.
fn lints<'a>(manifest: &'a str, table: &str) -> BTreeSet<&'a str> {
    manifest
        .lines()
        .skip_while(|line| *line != table)
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect()
}

/// A path that exists on one person's machine only: a home folder, or the folder in which the
/// project was built.
fn home_path(text: &str) -> Option<&'static str> {
    // Assembled, so that this file itself is not found.
    const HOMES: [&str; 4] = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let begins = |at: usize| {
        !text
            .get(..at)
            .unwrap_or_default()
            .ends_with(|char: char| char.is_alphanumeric() || "._-~$}/>".contains(char))
    };
    // The user of every qube has this name.
    let is_every_qubes = |at: usize| {
        text.get(at..)
            .unwrap_or_default()
            .starts_with(concat!("/ho", "me/user/"))
    };
    HOMES.into_iter().find(|home| {
        text.match_indices(home)
            .any(|(at, _)| begins(at) && !is_every_qubes(at))
    })
}

/// The names that a source uses directly below a crate or module: of `a::{b, c::d}` and `a::e`
/// below `a`: b, c, e.
fn named_below<'a>(code: &'a str, parent: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(&format!("{parent}::")) {
        if code
            .get(..at)
            .unwrap_or_default()
            .ends_with(|char: char| char.is_alphanumeric() || char == '_')
        {
            continue;
        }
        let rest = code.get(at + parent.len() + 2..).unwrap_or_default();
        match rest.strip_prefix('{') {
            None => found.extend(words(rest).next()),
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                found.extend(
                    group
                        .split(',')
                        .filter_map(|item| words(item.trim()).next())
                        .filter(|word| !word.is_empty()),
                );
            }
        }
    }
    found
}

/// The role to which a file of the daemon belongs.
fn role_of(name: &str) -> Option<&'static str> {
    let inside = name.strip_prefix("wyngd/src/")?;
    ROLES
        .into_iter()
        .find(|role| inside == format!("{role}.rs") || inside.starts_with(&format!("{role}/")))
}

const ROLES: [&str; 7] = [
    "supervisor",
    "spawner",
    "control",
    "volumes",
    "pool",
    "keyholder",
    "transport",
];

/// The other roles that a role's file imports.
fn imports_roles<'a>(role: &str, code: &'a str) -> Vec<&'a str> {
    named_below(code, "crate")
        .into_iter()
        .filter(|name| ROLES.contains(name) && *name != role)
        .collect()
}

/// The names in a source that read, write, get the time or draw random bytes.
fn does_io(code: &str) -> Vec<&str> {
    const IO: [&str; 9] = [
        "fs", "net", "process", "env", "io", "os", "path", "time", "thread",
    ];
    let mut found: Vec<&str> = named_below(code, "std")
        .into_iter()
        .filter(|name| IO.contains(name))
        .collect();
    found.extend(
        words(code)
            .filter(|word| ["println", "eprintln", "print", "eprint", "getrandom"].contains(word)),
    );
    found
}

#[test]
fn no_crate_reaches_what_it_must_not() {
    for wall in WALLS {
        let dependencies = dependencies(wall.name);
        assert_eq!(
            wall.breaches(&dependencies),
            [""; 0],
            "{} reaches them",
            wall.name
        );
    }
}

#[test]
fn the_wire_crate_depends_on_nothing() {
    assert_eq!(
        dependencies("wyng-wire"),
        BTreeSet::from(["wyng-wire".to_owned()])
    );
}

#[test]
fn the_daemon_reaches_the_ciphers_by_the_format_crate() {
    // Otherwise the lists above would name unused crates, and forbid nothing.
    let (daemon, archive) = (dependencies("wyngd"), dependencies("wyng-archive"));
    for cipher in CIPHERS {
        assert!(
            daemon.contains(*cipher) && archive.contains(*cipher),
            "{cipher} is not what the project uses"
        );
    }
}

#[test]
fn every_member_of_the_workspace_has_its_wall() {
    let manifests = files()
        .into_iter()
        .filter_map(|name| name.strip_suffix("/Cargo.toml").map(str::to_owned));
    let members: BTreeSet<String> = manifests
        .filter(|name| name != "tests" && !name.starts_with("fuzz"))
        .collect();
    let walls: BTreeSet<String> = WALLS.iter().map(|wall| wall.name.to_owned()).collect();
    let names: BTreeSet<String> = members
        .iter()
        .map(|name| name.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, walls);
}

#[test]
fn unsafe_lives_in_wyng_jail() {
    let (inside, outside): (Vec<_>, Vec<_>) = sources()
        .into_iter()
        .filter(|(_, source)| says_unsafe(source))
        .partition(|(name, _)| name.starts_with("crates/wyng-jail/"));
    let outside: Vec<String> = outside.into_iter().map(|(name, _)| name).collect();
    assert_eq!(outside, [""; 0], "unsafe outside of wyng-jail");
    assert!(!inside.is_empty(), "the search finds none at all");
}

#[test]
fn every_other_crate_takes_the_lints_of_the_workspace() {
    assert!(
        std::fs::read_to_string(root().join("Cargo.toml"))
            .unwrap()
            .contains("\nunsafe_code = \"forbid\"\n")
    );
    let own = ["crates/wyng-jail/Cargo.toml", "tests/Cargo.toml"];
    for name in files()
        .into_iter()
        .filter(|name| name.ends_with("/Cargo.toml") && !own.contains(&name.as_str()))
    {
        if name.starts_with("fuzz/") {
            continue; // a separate workspace
        }
        let manifest = std::fs::read_to_string(root().join(&name)).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{name}");
    }
}

#[test]
fn the_tests_take_every_lint_of_the_workspace_but_those_that_forbid_a_panic() {
    let manifest = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (workspace, tests) = (manifest("Cargo.toml"), manifest("tests/Cargo.toml"));
    let panics = ["unwrap_used", "expect_used", "panic"];
    for tool in ["rust", "clippy"] {
        let mut expected = lints(&workspace, &format!("[workspace.lints.{tool}]"));
        expected.retain(|lint| {
            !panics
                .iter()
                .any(|panic| lint.starts_with(&format!("{panic} = ")))
        });
        assert!(!expected.is_empty(), "the workspace has no lints of {tool}");
        assert_eq!(lints(&tests, &format!("[lints.{tool}]")), expected);
    }
}

#[test]
fn every_source_says_its_licence_and_what_it_is() {
    let without: Vec<String> = sources()
        .into_iter()
        .filter(|(_, source)| !has_its_head(source))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(without, [""; 0]);
}

#[test]
fn no_file_names_somebodys_home() {
    for name in files() {
        // A binary file has no readable path.
        let Ok(text) = std::fs::read_to_string(root().join(&name)) else {
            continue;
        };
        assert_eq!(home_path(&text), None, "in {name}");
    }
}

#[test]
fn every_dependency_comes_from_the_public_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let sources: BTreeSet<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .collect();
    assert_eq!(
        sources,
        BTreeSet::from(["\"registry+https://github.com/rust-lang/crates.io-index\""])
    );
}

#[test]
fn no_role_imports_another() {
    let mut seen = BTreeSet::new();
    for (name, source) in sources() {
        let Some(role) = role_of(&name) else { continue };
        seen.insert(role);
        assert_eq!(imports_roles(role, &code(&source)), [""; 0], "in {name}");
    }
    assert_eq!(seen, BTreeSet::from(ROLES), "a role has no file");
}

#[test]
fn only_the_keyholder_knows_the_format_and_its_keys() {
    for (name, source) in sources()
        .into_iter()
        .filter(|(name, _)| name.starts_with("wyngd/src/"))
    {
        let inside = ["wyng_archive", "wyng_engine"];
        let code = code(&source);
        let knows = words(&code).find(|word| inside.contains(word));
        assert!(
            knows.is_none() || role_of(&name) == Some("keyholder"),
            "{name} names {knows:?}"
        );
    }
}

#[test]
fn only_the_keyholder_signs_requests() {
    let mut signers = 0;
    for (name, source) in sources() {
        if name.starts_with("wyngd/src/") && words(&code(&source)).any(|word| word == "wyng_s3") {
            assert_eq!(role_of(&name), Some("keyholder"), "{name}");
            signers += 1;
        }
    }
    assert!(signers > 0);
}

#[test]
fn only_the_guard_makes_a_name_that_may_be_deleted() {
    let mut makers = Vec::new();
    for (name, source) in sources() {
        let is_program = name.starts_with("crates/") || name.starts_with("wyngd/src/");
        if is_program && words(&code(&source)).any(|word| word == "by_the_guard") {
            makers.push(name);
        }
    }
    makers.sort();
    let (guard, world) = (
        "crates/wyng-engine/src/space/guard.rs",
        "crates/wyng-engine/src/world/store.rs",
    );
    assert_eq!(makers, [guard, world], "the second one defines it");
    let guard = std::fs::read_to_string(root().join(guard)).unwrap();
    assert_eq!(guard.matches("by_the_guard").count(), 1, "behind the check");
}

#[test]
fn only_the_transport_decodes_what_the_far_end_says() {
    // Beside names and limits, the form in which a signature goes out.
    let harmless = BTreeSet::from([
        "BlobName",
        "GET_VERSION_MAX",
        "KEY_ID_MAX",
        "RESERVE_BYTES",
        "Service",
        "Signed",
        "TOKEN_MAX",
    ]);
    let mut decoders = 0;
    for (name, source) in sources()
        .into_iter()
        .filter(|(name, _)| name.starts_with("wyngd/src/"))
    {
        let code = code(&source);
        let named = named_below(&code, "wyng_wire");
        if role_of(&name) == Some("transport") {
            decoders += usize::from(named.contains("ToDaemon"));
        } else {
            assert!(
                named.is_subset(&harmless),
                "{name} names {named:?} of the pipe"
            );
        }
    }
    assert_eq!(decoders, 1, "one file decodes what the far end says");
}

#[test]
fn the_pure_crates_do_no_input_or_output() {
    for (name, source) in sources() {
        let pure = ["wyng-archive", "wyng-qube", "wyng-wire"];
        let is_inside = |of: &str| name.starts_with(&format!("crates/{of}/src/"));
        if pure.into_iter().any(is_inside) {
            assert_eq!(does_io(&code(&source)), [""; 0], "in {name}");
        }
    }
}

#[test]
fn the_engine_meets_the_machine_through_its_world_alone() {
    for (name, source) in sources() {
        let Some(inside) = name.strip_prefix("crates/wyng-engine/src/") else {
            continue;
        };
        // Workers compute; whoever waits for them waits in its own order.
        let allowed: &[&str] = if inside == "pool.rs" {
            &["thread"]
        } else {
            &[]
        };
        let code = code(&source);
        let mut found = does_io(&code);
        found.retain(|word| !allowed.contains(word));
        assert_eq!(found, [""; 0], "in {name}");
    }
}

#[test]
fn state_and_cache_are_made_of_files_alone() {
    let others = [
        "World", "Parts", "Store", "Volumes", "Secrets", "Client", "Clock", "Random",
    ];
    let folders = ["state/", "cache/"].map(|folder| format!("crates/wyng-engine/src/{folder}"));
    let mut rooms = 0;
    for (name, source) in sources() {
        if folders.iter().any(|folder| name.starts_with(folder)) {
            rooms += 1;
            let code = code(&source);
            let named = words(&code).find(|word| others.contains(word));
            assert_eq!(named, None, "in {name}");
        }
    }
    assert!(rooms > 10, "{rooms} rooms");
}

#[test]
fn a_wall_refuses_a_foreign_crate_and_a_cipher() {
    let helper = WALLS
        .iter()
        .find(|wall| wall.name == "wyng-transport-vm")
        .unwrap();
    let bad = names_of_tree(
        "wyng-transport-vm v0.1.0 (x)\nwyng-wire v0.1.0 (x)\nwyng-archive v0.1.0 (x)\npoly1305 v0.9.0\nrustix v1.1.6 (*)\n",
    );
    assert_eq!(helper.breaches(&bad), ["poly1305", "wyng-archive"]);
    assert_eq!(
        helper.breaches(&names_of_tree(
            "wyng-transport-vm v0.1.0\nwyng-wire v0.1.0\nrustix v1.1.6\n"
        )),
        [""; 0]
    );
}

#[test]
fn the_word_is_found_in_code_and_not_in_words_about_it() {
    assert!(says_unsafe("fn f() { unsafe { g() } }"));
    assert!(says_unsafe("let a = \"//\"; unsafe impl Send for A {}"));
    assert!(says_unsafe("let a = '\"'; unsafe { g() } // \""));
    assert!(says_unsafe("fn f<'a>(x: &'a str) { unsafe { g('\\'') } }"));
    assert!(says_unsafe("let a = r#\"\"\"#; unsafe { g() }"));
    assert!(!says_unsafe(
        "// unsafe\n/* unsafe /* unsafe */ unsafe */ let a = \"\\\" unsafe\"; let b = r#\"\" unsafe \"#;"
    ));
    assert!(!says_unsafe(
        "#![forbid(unsafe_code)] fn unshare_unsafe() {}"
    ));
}

#[test]
fn a_source_without_its_head_is_refused() {
    assert!(has_its_head(&format!("{SPDX}\n//! What it is.\n")));
    assert!(!has_its_head("//! What it is.\n"));
    assert!(!has_its_head(&format!("{SPDX}\n\n//! What it is.\n")));
}

#[test]
fn a_home_is_found_and_a_path_that_only_looks_like_one_is_not() {
    assert_eq!(
        home_path(concat!("in /ho", "me/me/x")),
        Some(concat!("/ho", "me/"))
    );
    assert_eq!(
        home_path(concat!("\"/wo", "rk/x\"")),
        Some(concat!("/wo", "rk/"))
    );
    assert_eq!(home_path(concat!("dir:/ho", "me/user/wyng")), None);
    assert_eq!(
        home_path(concat!("dir:/ho", "me/users/wyng")),
        Some(concat!("/ho", "me/"))
    );
    assert_eq!(
        home_path(concat!("target/wo", "rk/x, $TMP/ro", "ot/y")),
        None
    );
}

#[test]
fn imports_are_found_alone_and_in_groups() {
    let code = "use crate::ipc::{Fatal, Wire}; use crate::{roles, transport::FarEnd}; let a = crate::keyholder::run();";
    assert_eq!(imports_roles("transport", code), ["keyholder"]);
    assert_eq!(imports_roles("control", code), ["keyholder", "transport"]);
    assert_eq!(
        does_io("use std::{fs, fmt}; let a = std::time::Instant::now(); println!()"),
        ["fs", "time", "println"]
    );
}
