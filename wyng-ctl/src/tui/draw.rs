// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts a view onto a screen of any size. What is chosen is marked by a character, and reversed
//! where the keys go: no colour has a meaning.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::{Position, Rect};
use ratatui_core::style::{Modifier, Style};

use super::view::{Dialog, Line, Pane, View};
use crate::columns::{cut, pad_left_aligned, shorten, width};

/// Minimum width for two panes side by side, columns.
const TWO_PANES_COLUMNS: u16 = 64;
/// Minimum height for all lines at the foot, rows; and for one of them.
const FOOT_ROWS: u16 = 12;
const NOTE_ROWS: u16 = 8;
/// Columns between two panes.
const BETWEEN: &str = " | ";
/// Minimum width of a text beside a figure, columns.
const TEXT_LEAST: usize = 12;

/// Draws all of it.
pub(super) fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let mut rows = Rows { area, buffer };
    let (height, columns) = (area.height, usize::from(area.width));
    let foot: &[String] = match height {
        FOOT_ROWS.. => &view.foot,
        NOTE_ROWS.. => view.foot.get(2..).unwrap_or_default(),
        _ => &[],
    };
    let foot_rows = u16::try_from(foot.len()).unwrap_or(0);
    rows.put(
        0,
        0,
        &view.head,
        columns,
        Style::new().add_modifier(Modifier::BOLD),
    );
    let last = height.saturating_sub(1);
    rows.put(
        last,
        0,
        view.keys,
        columns,
        Style::new().add_modifier(Modifier::REVERSED),
    );
    // A line above the foot.
    let ruled = last.saturating_sub(foot_rows).saturating_sub(1);
    if foot_rows > 0 {
        rows.put(ruled, 0, &"-".repeat(columns), columns, Style::new());
    }
    for (row, line) in (ruled.saturating_add(1)..last).zip(foot) {
        rows.put(row, 0, &shorten(line, columns), columns, Style::new());
    }
    let below = if foot_rows > 0 { ruled } else { last };
    let middle = Rect {
        x: 0,
        y: 1,
        width: area.width,
        height: below.saturating_sub(1),
    };
    match &view.dialog {
        Some(dialog) => rows.dialog(dialog, middle),
        None => rows.panes(&view.panes, middle),
    }
}

struct Rows<'b> {
    area: Rect,
    buffer: &'b mut Buffer,
}

impl Rows<'_> {
    /// Puts a text of at most `columns` at a place, if it is on the screen.
    fn put(&mut self, row: u16, column: u16, text: &str, columns: usize, style: Style) {
        let place = Position { x: column, y: row };
        if self.area.contains(place) {
            self.buffer.set_stringn(column, row, text, columns, style);
        }
    }

    fn panes(&mut self, panes: &[Pane; 2], area: Rect) {
        if area.width < TWO_PANES_COLUMNS {
            let shown = panes.iter().find(|pane| pane.has_keys).unwrap_or(&panes[0]);
            return self.pane(shown, area);
        }
        let gap = u16::try_from(BETWEEN.len()).unwrap_or(0);
        let left = area.width.saturating_sub(gap) / 2;
        for row in area.y..area.bottom() {
            self.put(row, left, BETWEEN, BETWEEN.len(), Style::new());
        }
        let right = left.saturating_add(gap);
        let [first, second] = panes;
        self.pane(
            first,
            Rect {
                width: left,
                ..area
            },
        );
        let width = area.width.saturating_sub(right);
        self.pane(
            second,
            Rect {
                x: right,
                width,
                ..area
            },
        );
    }

    fn pane(&mut self, pane: &Pane, area: Rect) {
        let columns = usize::from(area.width);
        let title = shorten(&pane.title, columns);
        self.put(
            area.y,
            area.x,
            &title,
            columns,
            Style::new().add_modifier(Modifier::UNDERLINED),
        );
        let height = usize::from(area.height.saturating_sub(1));
        let first = first_shown(pane.lines.len(), height, pane.chosen);
        let shown = pane.lines.iter().enumerate().skip(first).take(height);
        for (row, (number, line)) in (area.y.saturating_add(1)..area.bottom()).zip(shown) {
            let is_chosen = pane.chosen == Some(number);
            let style = match is_chosen && pane.has_keys {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new(),
            };
            self.put(
                row,
                area.x,
                &line_in(line, is_chosen, columns),
                columns,
                style,
            );
        }
    }

    fn dialog(&mut self, dialog: &Dialog, area: Rect) {
        let columns = usize::from(area.width);
        let mut lines: Vec<String> = Vec::new();
        for paragraph in &dialog.text {
            lines.extend(wrapped(paragraph, columns));
        }
        if let Some(typed) = &dialog.typed {
            // The end of it, where the next character goes.
            let room = columns.saturating_sub(3);
            let end: String = cut(typed.chars().rev(), room).chars().rev().collect();
            lines.push(format!("> {end}_"));
        }
        let first = lines.len().saturating_sub(usize::from(area.height));
        for (row, line) in (area.y..area.bottom()).zip(lines.iter().skip(first)) {
            self.put(row, area.x, line, columns, Style::new());
        }
    }
}

/// The number of the first line that is shown, so that the chosen one is seen.
fn first_shown(count: usize, height: usize, chosen: Option<usize>) -> usize {
    let middle = chosen.unwrap_or(0).saturating_sub(height / 2);
    middle.min(count.saturating_sub(height))
}

/// A line of a pane, in exactly `columns`: a mark, the text, and the figure at the right end if the
/// text keeps enough room.
fn line_in(line: &Line, is_chosen: bool, columns: usize) -> String {
    let mark = if is_chosen { "> " } else { "  " };
    let room = columns.saturating_sub(mark.len());
    let beside = room.saturating_sub(width(&line.figure)).saturating_sub(1);
    if line.figure.is_empty() || beside < TEXT_LEAST {
        return pad_left_aligned(&format!("{mark}{}", shorten(&line.text, room)), columns);
    }
    let text = pad_left_aligned(&shorten(&line.text, beside), beside);
    format!("{mark}{text} {}", line.figure)
}

/// The text in pieces of at most `columns`; an empty text is one empty piece.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let piece = cut(rest.chars(), columns);
        // Not even one character fits.
        let Some(left) = rest.get(piece.len()..).filter(|_| !piece.is_empty()) else {
            break;
        };
        pieces.push(piece);
        rest = left;
    }
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(lines: usize, text: &str) -> View {
        let pane = |title: &str, has_keys| Pane {
            title: title.to_owned(),
            lines: (0..lines)
                .map(|number| Line {
                    text: format!("{text}{number}"),
                    figure: "10 GiB".to_owned(),
                })
                .collect(),
            chosen: Some(lines / 2),
            has_keys,
        };
        View {
            head: "Wyng".to_owned(),
            panes: [pane("left", false), pane("right", true)],
            dialog: None,
            foot: ["Runs".to_owned(), "Next".to_owned(), "note".to_owned()],
            keys: "q leave",
        }
    }

    /// The rows of a screen.
    fn rows(view: &View, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw(view, area, &mut buffer);
        let row = |y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(row).collect()
    }

    #[test]
    fn a_screen_has_panes_foot_and_keys() {
        let shown = rows(&view(3, "disk"), 80, 13);
        assert_eq!(
            shown,
            [
                "Wyng",
                "left                                   | right",
                "  disk0                         10 GiB |   disk0                          10 GiB",
                "> disk1                         10 GiB | > disk1                          10 GiB",
                "  disk2                         10 GiB |   disk2                          10 GiB",
                "                                       |",
                "                                       |",
                "                                       |",
                "--------------------------------------------------------------------------------",
                "Runs",
                "Next",
                "note",
                "q leave",
            ]
        );
        // In a narrow window there is the pane alone that has the keys.
        let narrow = rows(&view(3, "disk"), 30, 8);
        assert_eq!(narrow[1], "right");
        assert_eq!(narrow[3], "> disk1                 10 GiB");
    }

    #[test]
    fn the_end_of_what_is_typed_and_all_of_a_command_are_seen() {
        let mut asked = view(3, "disk");
        asked.dialog = Some(Dialog {
            text: vec!["x".repeat(45)],
            typed: Some(format!("{}end", "y".repeat(40))),
        });
        let shown = rows(&asked, 20, 12);
        assert_eq!(shown[1..4], ["x".repeat(20), "x".repeat(20), "x".repeat(5)]);
        assert_eq!(shown[4], format!("> {}end_", "y".repeat(14)));
    }

    proptest! {
        #[test]
        fn any_size_shows_what_is_chosen(
            width in 0..200_u16, height in 0..60_u16, lines in 0..100_usize, text in "\\PC{0,20}",
        ) {
            let shown = rows(&view(lines, &text), width, height);
            if width >= 4 && height >= 4 && lines > 0 {
                prop_assert!(shown.iter().any(|row| row.contains("> ")), "{shown:?}");
            }
        }
    }
}
