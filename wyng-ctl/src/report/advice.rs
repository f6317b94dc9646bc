// SPDX-License-Identifier: GPL-3.0-or-later
//! The catalogue's sentences for the present command: what is safe when it stops halfway, and
//! advice that can be pasted into a shell.

use wyng_control::Safe;

use super::told::Told;
use crate::cli::{Cli, Kind, SOCKET, Verb};
use crate::message::Message;
use crate::quantity::shell_word;

/// What is safe when a backup stops halfway. The generated catalogue shows it for every command.
pub(super) const RESUMES: &str = "Everything that was sent stays, and all earlier sessions are intact. The same command continues where this one stopped.";

/// A command, with the options that change what is safe when it stops halfway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// A command whose options do not matter.
    Command(Kind),
    /// `restore --in-place`.
    RestoreInPlace,
    /// `restore --to -`.
    RestoreToStdout,
}

impl Stopped {
    fn of(cli: &Cli) -> Self {
        match &cli.verb {
            Verb::Restore(restore) if restore.in_place => Self::RestoreInPlace,
            Verb::Restore(_) if cli.stdout_is_target() => Self::RestoreToStdout,
            _ => Self::Command(cli.kind()),
        }
    }

    /// The words on the command line.
    #[cfg(test)]
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Command(kind) => kind.words(),
            Self::RestoreInPlace => "restore --in-place",
            Self::RestoreToStdout => "restore --to -",
        }
    }
}

/// What is safe when each command stops halfway: [`Safe::OfCommand`].
pub(super) const WHAT_STAYS: [(&[Stopped], &str); 15] = [
    (&[Stopped::Command(Kind::Backup)], RESUMES),
    (
        &[Stopped::Command(Kind::ArchiveCreate)],
        "The archive does not exist yet. The same command creates it, and continues with what was begun.",
    ),
    (
        &[Stopped::Command(Kind::ArchiveOpen)],
        "The store was only read, and the previous local state still counts. The same command starts again.",
    ),
    (
        &[Stopped::Command(Kind::ArchiveCopy)],
        "The archive was only read. What was copied stays, and the copy opens as it did before or at the newest state; the same command continues where this one stopped.",
    ),
    (
        &[
            Stopped::Command(Kind::ArchiveTakeOver),
            Stopped::Command(Kind::KeyAdd),
            Stopped::Command(Kind::KeyChange),
            Stopped::Command(Kind::KeyRemove),
        ],
        "All sessions are intact. The change is made completely or not at all; the same command makes it, and `wyng-ctl key list ARCHIVE` shows the slots.",
    ),
    (
        &[
            Stopped::Command(Kind::Prune),
            Stopped::Command(Kind::SessionRemove),
            Stopped::Command(Kind::VolumeRemove),
            Stopped::Command(Kind::Pin),
            Stopped::Command(Kind::Unpin),
        ],
        "All sessions that are kept are intact, and nothing that they need was deleted. What was decided is done or not done; the same command does the rest, and `wyng-ctl list ARCHIVE` shows the sessions.",
    ),
    (
        &[
            Stopped::Command(Kind::Compact),
            Stopped::Command(Kind::Undelete),
        ],
        "All sessions are intact, and nothing that they need was deleted. The steps that were committed stay; the same command does the rest.",
    ),
    (
        &[
            Stopped::Command(Kind::VolumeRename),
            Stopped::Command(Kind::VolumeDescribe),
            Stopped::Command(Kind::TagAdd),
            Stopped::Command(Kind::TagRemove),
        ],
        "All sessions are intact. The change is made completely or not at all; the same command makes it, and `wyng-ctl list ARCHIVE` shows it.",
    ),
    (
        &[Stopped::Command(Kind::Restore)],
        "The archive was only read. A new target gets its name only once it is complete; the same command continues with the part that was restored.",
    ),
    (
        &[Stopped::RestoreInPlace],
        "The archive was only read. The target is as it was, unless another error says otherwise; the same command fetches only what still differs.",
    ),
    (
        &[Stopped::RestoreToStdout],
        "The archive was only read. The volume on standard output is incomplete.",
    ),
    (
        &[Stopped::Command(Kind::Rehearse)],
        "The archive was only read, and nothing is left of the scratch.",
    ),
    (
        &[Stopped::Command(Kind::Verify)],
        "The store was only read. The objects checked so far count, and the problems found are recorded.",
    ),
    (
        &[Stopped::Command(Kind::Monitor)],
        "Nothing was sent. At worst the next backup reads more.",
    ),
    (
        &[Stopped::Command(Kind::ArchiveForget)],
        "The store was not touched. The same command removes the rest of the local state.",
    ),
];

/// The same for every other command.
pub(super) const NOTHING_CHANGED: &str = "Nothing was changed.";

/// What the sentences of the catalogue depend on.
pub(super) struct Advice {
    what_stays: &'static str,
    archive: Option<String>,
    /// `wyng-ctl` with the options that select the same archives.
    program: String,
}

impl Advice {
    pub(super) fn of(cli: &Cli) -> Self {
        let stopped = Stopped::of(cli);
        let stays = WHAT_STAYS
            .iter()
            .find(|(commands, _)| commands.contains(&stopped))
            .map_or(NOTHING_CHANGED, |(_, stays)| stays);
        Self {
            what_stays: stays,
            archive: cli.archive().map(str::to_owned),
            program: program(cli),
        }
    }

    /// Completes a message for this command. `shown` is the archive that was last shown, which
    /// stands in if the command names none.
    pub(super) fn apply(&self, message: Message, shown: Option<&str>) -> Told {
        let safe = match message.safe {
            Safe::Always(safe) => safe,
            Safe::OfCommand => self.what_stays,
        };
        let volume = message.volume.as_deref();
        Told {
            safe: self.paste(safe, shown, volume),
            next: self.paste(&message.next, shown, volume),
            code: message.code,
            exit: message.exit,
            text: message.text,
            volume: message.volume,
        }
    }

    /// Fills the known names and options into each `wyng-ctl` command between back quotes.
    pub(super) fn paste(
        &self,
        sentence: &str,
        shown: Option<&str>,
        volume: Option<&str>,
    ) -> String {
        let archive = self.archive.as_deref().or(shown);
        let parts = sentence.split('`').enumerate().map(|(place, part)| {
            let Some(words) = part.strip_prefix("wyng-ctl").filter(|_| place % 2 == 1) else {
                return part.to_owned();
            };
            let words = words.split(' ').map(|word| match (word, archive, volume) {
                ("ARCHIVE", Some(archive), _) => shell_word(archive),
                ("VOLUME", _, Some(volume)) => shell_word(volume),
                _ => word.to_owned(),
            });
            format!("{}{}", self.program, words.collect::<Vec<_>>().join(" "))
        });
        parts.collect::<Vec<_>>().join("`")
    }
}

fn program(cli: &Cli) -> String {
    let options = &cli.options;
    let mut words = vec!["wyng-ctl".to_owned()];
    let mut add = |option: &str, path: &std::path::Path| {
        words.extend([option.to_owned(), shell_word(&path.to_string_lossy())])
    };
    if let Some(config) = &options.config {
        add("--config", config);
    }
    match &options.state_dir {
        Some(folder) if options.standalone => add("--state-dir", folder),
        _ => {}
    }
    if !options.standalone && options.socket.as_os_str() != SOCKET {
        add("--socket", &options.socket);
    }
    if options.standalone {
        words.insert(1, "--standalone".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use wyng_control::Failure;

    use super::*;

    fn told(words: &[&str], failure: &Failure) -> Told {
        Advice::of(&Cli::of(words)).apply(Message::of_failure(failure), None)
    }

    #[test]
    fn advice_can_be_pasted() {
        let failure = Failure::UnknownVolume {
            volume: "my disk".into(),
        };
        assert_eq!(
            told(&["restore", "home", "my disk", "--to", "x"], &failure).next,
            "See `wyng-ctl list home`."
        );
        let own = [
            "--standalone",
            "--state-dir",
            "/a b",
            "restore",
            "home",
            "v",
            "--to",
            "x",
        ];
        assert_eq!(
            told(&own, &failure).next,
            "See `wyng-ctl --standalone --state-dir '/a b' list home`."
        );
        let failure = Failure::UnknownSession {
            volume: "my disk".into(),
            session: "x".into(),
        };
        assert_eq!(
            told(&["diff", "home", "my disk"], &failure).next,
            "See `wyng-ctl list home 'my disk'`."
        );
    }

    #[test]
    fn what_is_safe_is_said_of_the_command_that_stopped() {
        let safe = |words: &[&str]| told(words, &Failure::Interrupted).safe;
        assert_eq!(safe(&["backup", "home", "v"]), RESUMES);
        assert_eq!(safe(&["list", "home"]), NOTHING_CHANGED);
        assert!(
            safe(&["archive", "create", "home", "--store", "dir:/x"])
                .starts_with("The archive does not exist yet.")
        );
        assert!(
            safe(&["restore", "home", "v", "--to", "-"]).contains("standard output is incomplete")
        );
        assert!(
            safe(&["key", "change", "home"]).ends_with("`wyng-ctl key list home` shows the slots.")
        );
    }
}
