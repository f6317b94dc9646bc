// SPDX-License-Identifier: GPL-3.0-or-later
//! The passphrase, from a terminal without echo, from a file, or from a program, into a pipe. It is
//! never an argument or a variable of the environment.

use std::env::VarError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use wyng_control::Asked;
use zeroize::Zeroizing;

use crate::quantity::{capitalized, shell_word};
use crate::signals::{Said, Signals};
use crate::terminal::{ANSWER_MAX_BYTES as MAX_BYTES, Echo, NoAnswer, Terminal};

/// The program that prints the passphrase, with its arguments.
pub(crate) const COMMAND_VARIABLE: &str = "WYNG_PASSPHRASE_COMMAND";
/// Maximum number of tries on a terminal.
const TRIES: usize = 3;

/// Where a passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This file; `-` is standard input.
    File(PathBuf),
    /// This program with its arguments.
    Command(Vec<String>),
    /// The user at the terminal.
    Terminal,
}

/// Why there is no passphrase.
#[derive(Debug)]
pub(crate) enum NoPassphrase {
    /// The two entries of a new passphrase differed in every try.
    Differ,
    /// The passphrase is empty.
    Empty(Origin),
    /// The passphrase exceeds 1024 bytes.
    TooLong(Origin),
    /// The passphrase is text that cannot be typed, and why.
    Untypable(Origin, Untypable),
    /// There is no terminal, and no file was named.
    NoTerminal,
    /// The user interrupted.
    Interrupted,
    /// The user ended the input.
    GivenUp,
    /// The file or terminal cannot be read.
    Unreadable(Origin, io::Error),
    /// The program failed.
    CommandFailed(Vec<String>, ExitStatus),
    /// The variable of the environment is not a command, and why.
    CommandWrong(&'static str),
    /// A file or program gives only one passphrase, and a second one was asked for.
    OnlyOnce,
}

/// Why a text differs from the passphrase that a user would type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untypable {
    /// It ends in `\r\n`.
    WindowsLineEnd,
    /// It has a second line.
    SeveralLines,
    /// It begins with a byte order mark, or is UTF-16.
    Mark,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) if path.as_os_str() == "-" => f.write_str("standard input"),
            Self::File(path) => write!(f, "the passphrase file {}", path.display()),
            Self::Command(words) => write!(f, "{COMMAND_VARIABLE} ({})", words.join(" ")),
            Self::Terminal => f.write_str("the terminal"),
        }
    }
}

impl std::fmt::Display for NoPassphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differ => f.write_str("the two passphrases differ"),
            Self::Empty(Origin::Terminal) => f.write_str("the passphrase is empty"),
            Self::Empty(origin) => write!(f, "{origin} has an empty passphrase"),
            Self::TooLong(origin) => write!(
                f,
                "{origin} has a passphrase of more than {MAX_BYTES} bytes"
            ),
            Self::Untypable(origin, Untypable::WindowsLineEnd) => {
                write!(
                    f,
                    "{origin} ends its line with CR LF, as Windows does: the CR would be part of the passphrase"
                )
            }
            Self::Untypable(origin, Untypable::SeveralLines) => {
                write!(f, "{origin} has more than one line")
            }
            Self::Untypable(origin, Untypable::Mark) => {
                write!(
                    f,
                    "{origin} begins with a byte order mark (UTF-16, or UTF-8 as Windows writes it), which would be part of the passphrase"
                )
            }
            Self::NoTerminal => f.write_str("there is no terminal to ask for the passphrase"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::GivenUp | Self::OnlyOnce => f.write_str("no passphrase was given"),
            Self::Unreadable(origin, error) => write!(f, "{origin} cannot be read: {error}"),
            Self::CommandWrong(why) => write!(f, "{COMMAND_VARIABLE} is not a command: {why}"),
            Self::CommandFailed(words, status) => write!(
                f,
                "{COMMAND_VARIABLE} ({}) failed: {status}",
                words.join(" ")
            ),
        }
    }
}

impl NoPassphrase {
    /// What to do next, if that differs from the advice of
    /// [`Failure::NoPassphrase`](wyng_control::Failure::NoPassphrase).
    pub(crate) fn next(&self) -> Option<String> {
        Some(match self {
            Self::Untypable(Origin::File(path), Untypable::WindowsLineEnd) if path.as_os_str() != "-" => {
                format!("Remove the CR: sed -i 's/\\r$//' {}", shell_word(&path.to_string_lossy()))
            }
            Self::Untypable(..) => {
                "Give the passphrase as one line of plain text (UTF-8 without a mark); its newline is not part of it.".into()
            }
            Self::Empty(Origin::File(_)) => "Name the file that has the passphrase in its first line.".into(),
            Self::TooLong(_) => format!("Choose a passphrase of at most {MAX_BYTES} bytes."),
            Self::Unreadable(Origin::File(_), _) => "Check the path and its permissions: the file is read with your rights.".into(),
            Self::CommandWrong(_) => format!(
                "Set {COMMAND_VARIABLE} to a program and its arguments; quotation marks protect white space, and no shell is involved."
            ),
            Self::Unreadable(Origin::Command(_), _) | Self::CommandFailed(..) | Self::Empty(Origin::Command(_)) => {
                format!("Run the command by hand: it must print the passphrase. Unset {COMMAND_VARIABLE} to be asked.")
            }
            Self::NoTerminal => return None,
            _ => "Run the same command again.".into(),
        })
    }
}

impl Origin {
    /// The program that the environment names, or else the terminal.
    pub(crate) fn of_environment() -> Result<Self, NoPassphrase> {
        match std::env::var(COMMAND_VARIABLE) {
            Err(VarError::NotPresent) => Ok(Self::Terminal),
            Err(VarError::NotUnicode(_)) => Err(NoPassphrase::CommandWrong("it is not UTF-8")),
            Ok(line) if line.is_empty() => Ok(Self::Terminal),
            Ok(line) => split_words(&line)
                .map(Self::Command)
                .map_err(NoPassphrase::CommandWrong),
        }
    }
}

/// The read end of a pipe that holds the only copy of the passphrase.
pub(crate) fn as_pipe(
    origin: &Origin,
    archive: &str,
    asked: Asked,
    signals: &Signals,
) -> Result<OwnedFd, NoPassphrase> {
    let passphrase = match origin {
        Origin::File(_) | Origin::Command(_) if asked == Asked::Again => {
            return Err(NoPassphrase::OnlyOnce);
        }
        Origin::File(path) => read_file(path).and_then(|text| check(origin, text))?,
        Origin::Command(words) => run(words, signals).and_then(|text| check(origin, text))?,
        Origin::Terminal => from_terminal(archive, asked, signals)?,
    };
    let unreadable = |error| NoPassphrase::Unreadable(origin.clone(), error);
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| unreadable(errno.into()))?;
    // A pipe takes 1024 bytes without a reader.
    File::from(write)
        .write_all(&passphrase)
        .map_err(unreadable)?;
    Ok(read)
}

/// The one line of text in a pipe whose writer has closed it.
pub(crate) fn read_line(pipe: OwnedFd) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    File::from(pipe)
        .take(MAX_BYTES as u64)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The passphrase from a program or file, without the final newline. Text must be typable; bytes
/// that are not text are a key, and stay unchanged.
fn check(
    origin: &Origin,
    mut bytes: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let untypable = |what| Err(NoPassphrase::Untypable(origin.clone(), what));
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.starts_with("\u{feff}".as_bytes())
    {
        return untypable(Untypable::Mark);
    }
    if std::str::from_utf8(&bytes).is_ok() {
        if bytes.last() == Some(&b'\r') {
            return untypable(Untypable::WindowsLineEnd);
        }
        if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return untypable(Untypable::SeveralLines);
        }
    }
    match bytes.len() {
        0 => Err(NoPassphrase::Empty(origin.clone())),
        1..=MAX_BYTES => Ok(bytes),
        _ => Err(NoPassphrase::TooLong(origin.clone())),
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let unreadable = |error| NoPassphrase::Unreadable(Origin::File(path.to_owned()), error);
    let mut source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    read_all(&mut source).map_err(unreadable)
}

/// Room for the maximum, a line end, and one byte that reveals an excess; a growing buffer would
/// leave copies behind.
fn read_all(source: &mut dyn Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; MAX_BYTES + 3]);
    let mut length = 0usize;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(read) => length = length.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Runs a program with the caller's rights and without a shell. It may use the terminal; its
/// standard input is empty.
fn run(words: &[String], signals: &Signals) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let unreadable = |error| NoPassphrase::Unreadable(Origin::Command(words.to_vec()), error);
    let Some((program, arguments)) = words.split_first() else {
        return Err(unreadable(io::Error::other("it is empty")));
    };
    let mut command = std::process::Command::new(program);
    wyng_jail::unblock_signals(&mut command);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(unreadable)?;
    let mut stdout = child
        .stdout
        .take()
        .ok_or_else(|| unreadable(io::Error::from(io::ErrorKind::BrokenPipe)))?;
    loop {
        match signals.wait_for_answer(&stdout).map_err(unreadable)? {
            None => break,
            Some(Said::Interrupt | Said::DaemonGone) => {
                let _ = child.kill(); // Ctrl-C has reached it already; `kill` has not
                let _ = child.wait();
                return Err(NoPassphrase::Interrupted);
            }
            Some(Said::Stop) => signals.stop().map_err(unreadable)?,
            Some(Said::Continue) => {}
        }
    }
    let text = read_all(&mut stdout).map_err(unreadable)?;
    drop(stdout);
    let status = child.wait().map_err(unreadable)?;
    if signals.are_interrupted() {
        return Err(NoPassphrase::Interrupted);
    }
    if status.success() {
        Ok(text)
    } else {
        Err(NoPassphrase::CommandFailed(words.to_vec(), status))
    }
}

fn from_terminal(
    archive: &str,
    asked: Asked,
    signals: &Signals,
) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let terminal = Terminal::open(Echo::Hidden, signals)?;
    if asked == Asked::Again {
        terminal
            .say("Wrong passphrase. Try again.\n")
            .map_err(NoAnswer::from)?;
    }
    let mut refused = NoPassphrase::GivenUp;
    for _ in 0..TRIES {
        refused = match ask(&terminal, archive, asked) {
            Err(
                refused
                @ (NoPassphrase::Empty(_) | NoPassphrase::Differ | NoPassphrase::TooLong(_)),
            ) => refused,
            ended => return ended,
        };
        terminal
            .say(&format!("{}.\n", capitalized(&refused.to_string())))
            .map_err(NoAnswer::from)?;
    }
    Err(refused)
}

fn ask(
    terminal: &Terminal<'_>,
    archive: &str,
    asked: Asked,
) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let prompt = if asked == Asked::New {
        "New passphrase"
    } else {
        "Passphrase"
    };
    let first = terminal.ask(&format!("{prompt} of {archive}: "))?;
    if first.is_empty() {
        return Err(NoPassphrase::Empty(Origin::Terminal));
    }
    if asked == Asked::New && *terminal.ask("Once more: ")? != *first {
        return Err(NoPassphrase::Differ);
    }
    Ok(first)
}

impl From<NoAnswer> for NoPassphrase {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NoTerminal => Self::NoTerminal,
            NoAnswer::Interrupted => Self::Interrupted,
            NoAnswer::Ended => Self::GivenUp,
            NoAnswer::TooLong => Self::TooLong(Origin::Terminal),
            NoAnswer::Unreadable(error) => Self::Unreadable(Origin::Terminal, error),
        }
    }
}

/// The words of a command line: separated by white space, `'…'` and `"…"` hold white space, `\`
/// takes the next character as it is. Nothing else has a meaning; there is no shell. The error says
/// what is wrong.
pub(crate) fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (end, Some(begin)) if end == begin => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(character),
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed");
    }
    words.extend(word);
    if words.is_empty() {
        Err("it names no program")
    } else {
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let origin = Origin::File("pw".into());
        check(&origin, Zeroizing::new(bytes.to_vec()))
            .map(|bytes| bytes.to_vec())
            .map_err(|none| match none {
                NoPassphrase::Untypable(_, what) => format!("{what:?}"),
                other => other.to_string(),
            })
    }

    #[test]
    fn a_text_that_nobody_can_type_is_no_passphrase_and_what_is_no_text_is_a_key() {
        assert_eq!(checked(b"correct horse\n").unwrap(), b"correct horse");
        assert_eq!(checked(b"correct horse").unwrap(), b"correct horse");
        assert_eq!(checked(b"\xe9\r\nkey\r").unwrap(), b"\xe9\r\nkey\r");
        assert_eq!(checked(b"correct horse\r\n").unwrap_err(), "WindowsLineEnd");
        assert_eq!(checked(b"\r\n").unwrap_err(), "WindowsLineEnd");
        assert_eq!(checked(b"correct\nhorse\n").unwrap_err(), "SeveralLines");
        assert_eq!(checked(b"correct\n\n").unwrap_err(), "SeveralLines");
        assert_eq!(checked("\u{feff}correct\n".as_bytes()).unwrap_err(), "Mark");
        assert_eq!(checked(b"\xff\xfec\0o\0").unwrap_err(), "Mark");
        assert!(
            checked(b"").unwrap_err().contains("empty")
                && checked(b"\n").unwrap_err().contains("empty")
        );
        assert!(
            checked(&[b'x'; MAX_BYTES]).is_ok()
                && checked(&[b'x'; MAX_BYTES + 1])
                    .unwrap_err()
                    .contains("more than")
        );
    }

    #[test]
    fn a_command_is_split_into_words_without_a_shell() {
        let words = |line| split_words(line).map(|words| words.join("|"));
        assert_eq!(words("pass show  backup").unwrap(), "pass|show|backup");
        assert_eq!(
            words(r#"sh -c 'echo "$HOME"' "a b" c\ d """#).unwrap(),
            r#"sh|-c|echo "$HOME"|a b|c d|"#
        );
        assert_eq!(words("$(id) `id` ; | &").unwrap(), "$(id)|`id`|;|||&");
        for wrong in ["", "  ", "'open", "\"open", "end\\"] {
            assert!(split_words(wrong).is_err(), "{wrong}");
        }
    }
}
