// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of `--help` and the manual besides the options: the usage of each command, and
//! examples that can be typed unchanged.

use clap::{Command, CommandFactory};
use wyng_control::ExitStatus;

use crate::cli::Cli;

/// A command's usage, if its options do not show it, and its examples: what each does, and the
/// words after `wyng-ctl`.
pub(crate) struct Page {
    path: &'static str,
    usage: Option<&'static str>,
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// The meaning of each exit status.
pub(crate) const EXIT_STATUS: [(ExitStatus, &str); 9] = [
    (ExitStatus::Done, "The command did everything."),
    (ExitStatus::Failed, "The command failed."),
    (
        ExitStatus::Usage,
        "The command line or the configuration is wrong.",
    ),
    (
        ExitStatus::Partial,
        "The command succeeded for some volumes only, or something is overdue.",
    ),
    (ExitStatus::Locked, "The passphrase is wrong or missing."),
    (
        ExitStatus::Damage,
        "Damage, tampering or rollback was found.",
    ),
    (
        ExitStatus::Unreachable,
        "The store or its transport cannot be reached.",
    ),
    (ExitStatus::Deferred, "Deferred, on battery."),
    (
        ExitStatus::Interrupted,
        "Interrupted. After 6 and 130 the same command continues where it stopped.",
    ),
];

/// The variables of the environment.
pub(crate) const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "WYNG_ARCHIVE",
        "The archive of a command that names none [default: the only known archive].",
    ),
    (
        "WYNG_PASSPHRASE_COMMAND",
        "A program, with its arguments, that prints the passphrase. It is run with the caller's rights and without a shell; quotation marks hold white space. --passphrase-file comes first.",
    ),
    (
        "XDG_STATE_HOME",
        "With --standalone, the state is in its folder wyng [default: ~/.local/state].",
    ),
    ("NO_COLOR", "If not empty, output has no colours."),
    (
        "TZ",
        "Time zone of local times [default: that of the machine].",
    ),
    (
        "WYNGD_LOG",
        "Log level of a private daemon on standard error: info or debug.",
    ),
];

const PAGES: [Page; 40] = [
    Page {
        path: "",
        usage: None,
        examples: &[
            (
                "create an archive on a disk, as your own user, without a daemon",
                "--standalone archive create home --store dir:/mnt/disk/wyng",
            ),
            ("back up a disk image", "--standalone backup home vm.img"),
            ("list volumes and sessions", "--standalone list home"),
        ],
    },
    Page {
        path: "archive create",
        usage: None,
        examples: &[
            (
                "on a disk that is mounted here",
                "archive create home --store dir:/mnt/disk/wyng",
            ),
            (
                "in another qube",
                "archive create home --store dir:/home/user/wyng --via qrexec:backup",
            ),
            (
                "on another machine",
                "archive create home --store dir:/srv/wyng --via ssh:backup.example.org",
            ),
        ],
    },
    Page {
        path: "archive open",
        usage: None,
        examples: &[
            (
                "on a new machine, with the code of the recovery sheet",
                "archive open home --store dir:/mnt/disk/wyng --expect CODE",
            ),
            (
                "after the store was moved",
                "archive open home --store dir:/mnt/other/wyng",
            ),
        ],
    },
    Page {
        path: "archive copy",
        usage: None,
        examples: &[
            (
                "to another disk: makes the copy, or brings it up to date",
                "archive copy home --to dir:/mnt/usb/wyng",
            ),
            (
                "to every copy that the configuration names, as a timer does",
                "archive copy --profile nightly",
            ),
            (
                "to a bucket, through a disposable",
                "archive copy home --to s3://disks/copy --via qrexec:@dispvm:wyng-net --credentials /etc/wyng/s3.credentials",
            ),
        ],
    },
    Page {
        path: "archive take-over",
        usage: None,
        examples: &[
            (
                "after the machine that wrote to it was lost",
                "archive take-over home",
            ),
            (
                "after the archive's own store was lost, and its copy was opened",
                "archive take-over home --promote",
            ),
        ],
    },
    Page {
        path: "archive forget",
        usage: None,
        examples: &[("without a question", "archive forget home --yes")],
    },
    Page {
        path: "key add",
        usage: None,
        examples: &[
            ("a second passphrase", "key add home"),
            (
                "a recovery key to write down",
                "key add home --recovery-key",
            ),
        ],
    },
    Page {
        path: "key change",
        usage: None,
        examples: &[(
            "replace the passphrase that you type first",
            "key change home",
        )],
    },
    Page {
        path: "key remove",
        usage: Some("wyng-ctl key remove [ARCHIVE] SLOT"),
        examples: &[("the slot with number 2", "key remove home 2")],
    },
    Page {
        path: "backup",
        usage: Some(
            "wyng-ctl backup [OPTIONS] [ARCHIVE] SOURCE...\n       wyng-ctl backup [OPTIONS] [ARCHIVE] --all\n       wyng-ctl backup [OPTIONS] [ARCHIVE] --dom0\n       wyng-ctl backup [OPTIONS] --profile PROFILE",
        ),
        examples: &[
            (
                "a disk image, and a block device under a name of its own",
                "backup home vm.img root=/dev/vg0/root",
            ),
            (
                "the volumes of a profile in the configuration",
                "backup --profile nightly",
            ),
            (
                "in dom0: every qube that is to be in backups, and dom0's own files",
                "backup home --all --dom0",
            ),
            (
                "count the bytes that would be sent",
                "backup home vm.img --dry-run",
            ),
        ],
    },
    Page {
        path: "monitor",
        usage: Some(
            "wyng-ctl monitor [OPTIONS] [ARCHIVE] SOURCE...\n       wyng-ctl monitor [OPTIONS] [ARCHIVE] --all",
        ),
        examples: &[("all volumes of the configuration", "monitor home --all")],
    },
    Page {
        path: "list",
        usage: None,
        examples: &[
            ("everything in an archive", "list home"),
            ("one volume", "list home vm.img"),
            (
                "the last session of a day",
                "list home --session 2026-11-28",
            ),
            (
                "what removing each session would free",
                "list home vm.img --sizes",
            ),
        ],
    },
    Page {
        path: "prune",
        usage: None,
        examples: &[
            (
                "what would go, and why the rest stays",
                "prune home --keep-daily 7 --keep-weekly 4 --keep-monthly 6 --dry-run",
            ),
            (
                "a week of everything, and what was tagged",
                "prune home --keep-within 7d --keep-tag release",
            ),
            ("by the rules of the configuration", "prune home"),
        ],
    },
    Page {
        path: "session remove",
        usage: None,
        examples: &[
            (
                "the last session of a day",
                "session remove home vm.img 2026-11-28",
            ),
            (
                "without a question",
                "session remove home vm.img latest --yes",
            ),
        ],
    },
    Page {
        path: "volume remove",
        usage: None,
        examples: &[(
            "of a qube that is gone, with all of its sessions",
            "volume remove home old.img",
        )],
    },
    Page {
        path: "pin",
        usage: None,
        examples: &[("before a risky change", "pin home vm.img latest")],
    },
    Page {
        path: "unpin",
        usage: None,
        examples: &[("let the rules decide again", "unpin home vm.img 2026-11-28")],
    },
    Page {
        path: "compact",
        usage: None,
        examples: &[
            (
                "make an archive small again after many prunes",
                "compact home",
            ),
            ("a limited amount at a time", "compact home --budget 10G"),
        ],
    },
    Page {
        path: "undelete",
        usage: None,
        examples: &[(
            "a session that was pruned by mistake",
            "undelete home vm.img 2026-11-28",
        )],
    },
    Page {
        path: "why",
        usage: None,
        examples: &[("what fills the disk", "why home")],
    },
    Page {
        path: "history",
        usage: None,
        examples: &[
            ("how it grew", "history home"),
            ("as a picture", "history home --svg history.svg"),
        ],
    },
    Page {
        path: "volume rename",
        usage: None,
        examples: &[(
            "give the disk of a renamed qube its new name",
            "volume rename home vm.img work",
        )],
    },
    Page {
        path: "volume describe",
        usage: None,
        examples: &[
            (
                "in words that `list` shows",
                "volume describe home work \"mail and letters\"",
            ),
            ("no longer", "volume describe home work \"\""),
        ],
    },
    Page {
        path: "tag add",
        usage: None,
        examples: &[
            (
                "before something dangerous",
                "tag add home vm.img latest before-upgrade",
            ),
            (
                "a day's last session, twice",
                "tag add home vm.img 2026-11-28 tested sent-to-alice",
            ),
        ],
    },
    Page {
        path: "tag remove",
        usage: None,
        examples: &[(
            "from the newest session that has it",
            "tag remove home vm.img ^before-upgrade before-upgrade",
        )],
    },
    Page {
        path: "restore",
        usage: Some(
            "wyng-ctl restore [OPTIONS] [ARCHIVE] VOLUME --to PATH\n       wyng-ctl restore [OPTIONS] [ARCHIVE] VOLUME --in-place\n       wyng-ctl restore [OPTIONS] [ARCHIVE] --all --to DIR\n       wyng-ctl restore [OPTIONS] [ARCHIVE] --qube QUBE...\n       wyng-ctl restore [OPTIONS] [ARCHIVE] --qube QUBE --in-place|--accept|--undo\n       wyng-ctl restore [OPTIONS] [ARCHIVE] --all-qubes\n       wyng-ctl restore [OPTIONS] [ARCHIVE] --dom0 --to DIR",
        ),
        examples: &[
            ("to a new file", "restore home vm.img --to vm-restored.img"),
            (
                "as it was on a day",
                "restore home vm.img --session 2026-11-28 --to vm-then.img",
            ),
            (
                "to the path from which it was backed up, fetching only differences",
                "restore home vm.img --in-place",
            ),
            (
                "into another program",
                "restore home vm.img --to - | gzip > vm.img.gz",
            ),
            (
                "everything into a folder",
                "restore home --all --to /mnt/restored",
            ),
            (
                "in dom0: what would be made of every qube that is not here",
                "restore home --all-qubes --dry-run",
            ),
            (
                "in dom0: a qube as it was, beside the present one",
                "restore home --qube work --session 2026-11-28 --as work-then",
            ),
            (
                "in dom0: the present qube becomes what it was",
                "restore home --qube work --in-place",
            ),
            (
                "in dom0: it becomes again what it was before that",
                "restore home --qube work --undo",
            ),
            (
                "in dom0: its own files, into a new folder",
                "restore home --dom0 --to old-dom0",
            ),
        ],
    },
    Page {
        path: "diff",
        usage: Some("wyng-ctl diff [OPTIONS] [ARCHIVE] VOLUME"),
        examples: &[
            ("what changed since the last backup", "diff home vm.img"),
            (
                "between two sessions",
                "diff home vm.img --session 2026-11-28 --with 2026-11-21",
            ),
        ],
    },
    Page {
        path: "rehearse",
        usage: None,
        examples: &[
            ("one session of any volume and any age", "rehearse home"),
            (
                "of one volume, where there is more room",
                "rehearse home vm.img --scratch /mnt/disk",
            ),
        ],
    },
    Page {
        path: "verify",
        usage: None,
        examples: &[
            (
                "read everything and compare it with the archive's own hashes",
                "verify home",
            ),
            ("also open every chunk", "verify home --deep"),
            (
                "a limited amount each night: what was never read, and what was read longest ago",
                "verify home --budget 20G",
            ),
        ],
    },
    Page {
        path: "status",
        usage: None,
        examples: &[
            (
                "for scripts: status 0, 3 overdue, 5 damage",
                "status --quiet",
            ),
            (
                "for monitoring systems: write the configured files",
                "status --quiet --export",
            ),
        ],
    },
    Page {
        path: "watch",
        usage: None,
        examples: &[
            ("until nothing runs any more", "watch"),
            (
                "as notices on the desktop, for a whole session",
                "watch --notify",
            ),
        ],
    },
    Page {
        path: "tui",
        usage: None,
        examples: &[
            ("of the running daemon", "tui"),
            ("of your own archives", "tui --standalone"),
        ],
    },
    Page {
        path: "unlock",
        usage: None,
        examples: &[("for an hour", "unlock home --for 1h")],
    },
    Page {
        path: "lock",
        usage: None,
        examples: &[("now", "lock home")],
    },
    Page {
        path: "config check",
        usage: None,
        examples: &[(
            "before it is installed",
            "config check --config ./wyng.toml",
        )],
    },
    Page {
        path: "qubes check",
        usage: None,
        examples: &[("a transport VM", "qubes check qrexec:backup")],
    },
    Page {
        path: "store check",
        usage: None,
        examples: &[(
            "before an archive is made there",
            "store check 's3://backups/wyng?endpoint=https://s3.example.org' --credentials FILE",
        )],
    },
    Page {
        path: "recovery-sheet",
        usage: None,
        examples: &[("on paper", "recovery-sheet home --svg sheet.svg")],
    },
    Page {
        path: "completions",
        usage: None,
        examples: &[
            (
                "for this bash",
                "completions bash > ~/.local/share/bash-completion/completions/wyng-ctl",
            ),
            (
                "for zsh, in a folder of $fpath",
                "completions zsh > ~/.zfunc/_wyng-ctl",
            ),
        ],
    },
    Page {
        path: "man",
        usage: None,
        examples: &[("all pages", "man /tmp/man")],
    },
];

impl Page {
    /// The page of a command, by its words after `wyng-ctl`.
    pub(crate) fn of(path: &str) -> Option<&'static Self> {
        PAGES.iter().find(|page| page.path == path)
    }
}

/// The command line as it is parsed and shown.
pub(crate) fn command() -> Command {
    decorated(Cli::command(), "")
}

fn decorated(mut command: Command, path: &str) -> Command {
    if path.is_empty() {
        command = command.after_help(front_page());
    } else if let Some(page) = Page::of(path) {
        let examples = page
            .examples
            .iter()
            .map(|(what, words)| format!("  # {what}\n  wyng-ctl {words}"));
        command = command.after_help(format!(
            "Examples:\n{}",
            examples.collect::<Vec<_>>().join("\n")
        ));
        if let Some(usage) = page.usage {
            command = command.override_usage(usage);
        }
    }
    command.mut_subcommands(|sub| {
        let below = joined(path, sub.get_name());
        decorated(sub, &below)
    })
}

/// The end of `wyng-ctl --help`.
fn front_page() -> String {
    let examples = Page::of("").map_or(&[][..], |page| page.examples);
    let examples = examples
        .iter()
        .map(|(what, words)| format!("  # {what}\n  wyng-ctl {words}\n"));
    let environment = ENVIRONMENT
        .iter()
        .take(2)
        .map(|(name, what)| format!("  {name}: {what}\n"));
    let statuses = EXIT_STATUS
        .iter()
        .map(|(exit, what)| format!("  {:<4}{what}\n", exit.code()));
    let parts = [
        ("Examples", examples.collect::<String>()),
        ("Environment", environment.collect()),
        ("Exit status", statuses.collect()),
    ];
    parts
        .iter()
        .map(|(head, text)| format!("{head}:\n{text}"))
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}

/// The words of a command below another one.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passphrase::split_words;

    #[test]
    fn every_example_is_a_command_and_every_page_is_of_one() {
        for page in &PAGES {
            let mut command = command();
            for name in page.path.split(' ').filter(|name| !name.is_empty()) {
                command = command
                    .find_subcommand(name)
                    .unwrap_or_else(|| panic!("{}", page.path))
                    .clone();
            }
            for (_, words) in page.examples {
                // Pipes and redirections are for the shell.
                let ours = words.split([';', '|', '>']).next().unwrap();
                let words = split_words(&format!("wyng-ctl {ours}")).unwrap();
                assert!(
                    super::command().try_get_matches_from(&words).is_ok(),
                    "{words:?}"
                );
                assert!(
                    page.path.is_empty()
                        || words
                            .join(" ")
                            .starts_with(&format!("wyng-ctl {}", page.path)),
                    "{words:?}"
                );
            }
        }
    }

    #[test]
    fn the_options_of_a_command_stand_before_those_that_all_have() {
        for words in [
            &["backup"][..],
            &["archive", "create"],
            &["restore"],
            &["rehearse"],
            &["verify"],
        ] {
            let help = super::command()
                .try_get_matches_from(["wyng-ctl"].iter().chain(words).chain(&["--help"]))
                .unwrap_err()
                .to_string();
            let place = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
            assert!(
                place("\nOptions:") < place("\nGlobal options:")
                    && place("\nGlobal options:") < place("--standalone"),
                "{help}"
            );
            assert!(place("--standalone") < place("\nExamples:"), "{help}");
        }
    }
}
