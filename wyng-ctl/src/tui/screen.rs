// SPDX-License-Identifier: GPL-3.0-or-later
//! The terminal as a screen. However the program ends, the terminal gets back its modes and what it
//! showed before.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;

use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::Modifier;
use ratatui_core::terminal::Terminal;
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{LocalModes, OptionalActions, Termios};

use super::draw::draw;
use super::view::View;
use crate::columns::width;

/// Another screen, an empty one, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[2J\x1b[?25l";
/// The attributes, cursor and screen of before.
const LEAVE: &str = "\x1b[m\x1b[?25h\x1b[?1049l";
/// The size of a terminal that does not know its own.
const UNKNOWN_SIZE: Size = Size {
    width: 80,
    height: 24,
};

/// The terminal while it shows the overview.
pub(super) struct Screen {
    file: File,
    before: Termios,
    terminal: Terminal<Painter>,
}

impl Screen {
    /// Takes the terminal over. A panic gives it back before its message is printed.
    pub(super) fn enter(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let before = rustix::termios::tcgetattr(&file)?;
        let terminal = Terminal::new(Painter {
            file: file.try_clone()?,
            drawn: Vec::new(),
        })?;
        let mut modes = before.clone();
        // Ctrl-C and Ctrl-Z stay signals.
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        rustix::termios::tcsetattr(&file, OptionalActions::Now, &modes)?;
        let screen = Self {
            file,
            before,
            terminal,
        };
        screen.hook_panics()?;
        write_all(&screen.file, ENTER.as_bytes())?;
        Ok(screen)
    }

    fn hook_panics(&self) -> io::Result<()> {
        let (file, before) = (self.file.try_clone()?, self.before.clone());
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back(&file, &before);
            hook(info);
        }));
        Ok(())
    }

    /// Shows a view. Only what differs from the last one is written.
    pub(super) fn show(&mut self, view: &View) -> io::Result<()> {
        self.terminal
            .draw(|frame| draw(view, frame.area(), frame.buffer_mut()))?;
        Ok(())
    }

    /// Forgets what the terminal shows, which may have been written over.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.file, &self.before);
        // The hook of a panic is in use while it unwinds.
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

fn give_back(file: &File, before: &Termios) {
    // A terminal that is gone needs nothing.
    let _ = write_all(file, LEAVE.as_bytes());
    let _ = rustix::termios::tcsetattr(file, OptionalActions::Flush, before);
}

/// Writes all of it, though the terminal does not wait.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            // Ctrl-S holds the output.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                rustix::io::retry_on_intr(|| {
                    rustix::event::poll(&mut [PollFd::new(&file, PollFlags::OUT)], None)
                })?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes cells as the sequences that every terminal knows.
struct Painter {
    file: File,
    /// What is not written yet.
    drawn: Vec<u8>,
}

impl Painter {
    fn move_to(&mut self, place: Position) {
        let (row, column) = (place.y.saturating_add(1), place.x.saturating_add(1));
        self.drawn.extend(format!("\x1b[{row};{column}H").bytes());
    }
}

/// The attributes that are drawn, as parameters of a sequence; colours are not.
fn attributes(modifier: Modifier) -> String {
    let known = [
        (Modifier::BOLD, ";1"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::REVERSED, ";7"),
    ];
    let set = known.iter().filter(|(known, _)| modifier.contains(*known));
    let set: String = set.map(|(_, parameter)| *parameter).collect();
    format!("\x1b[0{set}m")
}

impl Backend for Painter {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut modifier, mut next) = (None, None);
        for (x, y, cell) in content {
            let place = Position { x, y };
            if next != Some(place) {
                self.move_to(place);
            }
            // Where a wider character leaves the cursor is for the terminal to know.
            next = (width(cell.symbol()) == 1).then(|| Position {
                x: x.saturating_add(1),
                y,
            });
            if modifier.replace(cell.modifier) != Some(cell.modifier) {
                self.drawn.extend(attributes(cell.modifier).bytes());
            }
            self.drawn.extend_from_slice(cell.symbol().as_bytes());
        }
        self.drawn.extend_from_slice(b"\x1b[m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.drawn.extend_from_slice(b"\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.drawn.extend_from_slice(b"\x1b[?25h");
        Ok(())
    }

    /// The cursor is hidden; nothing is drawn from where it is.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.move_to(position.into());
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.drawn.extend_from_slice(b"\x1b[m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        let found = rustix::termios::tcgetwinsize(self.file.as_fd())?;
        Ok(match (found.ws_col, found.ws_row) {
            (0, _) | (_, 0) => UNKNOWN_SIZE,
            (width, height) => Size { width, height },
        })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let drawn = std::mem::take(&mut self.drawn);
        write_all(&self.file, &drawn)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use nix::fcntl::OFlag;
    use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_message() {
        let person = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname_r(&person).unwrap();
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).open(&name).unwrap()
        };
        let file = open();
        let echoes = || {
            let modes = rustix::termios::tcgetattr(&file).unwrap();
            modes
                .local_modes
                .contains(LocalModes::ECHO | LocalModes::ICANON)
        };
        assert!(echoes());
        let inner = open();
        // On a thread of its own, as the hook belongs to the process.
        let panicked = std::thread::spawn(move || {
            let screen = Screen::enter(&inner).unwrap();
            let modes = rustix::termios::tcgetattr(&inner).unwrap();
            assert!(!modes.local_modes.contains(LocalModes::ECHO));
            // What unwinding would do is not what is tested: it does not happen in a release.
            std::mem::forget(screen);
            panic!("as expected");
        });
        assert!(panicked.join().is_err());
        assert!(echoes(), "the modes are those of before");
        drop(panic::take_hook());
        let mut shown = vec![0; 4096];
        let length = File::from(OwnedFd::from(person)).read(&mut shown).unwrap();
        let shown = String::from_utf8_lossy(&shown[..length]).into_owned();
        assert!(
            shown.starts_with(ENTER) && shown.ends_with(LEAVE),
            "{shown:?}"
        );
    }
}
