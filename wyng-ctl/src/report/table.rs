// SPDX-License-Identifier: GPL-3.0-or-later
//! A table with aligned columns. Of a cell's meaning it knows only colour and alignment.

use crate::columns::{pad_left_aligned, pad_right_aligned, width};

/// The gap between two columns.
const GAP: &str = "  ";

/// The state that a text reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// An ordinary state.
    Plain,
    /// A state that a user should check.
    Warning,
    /// A problem.
    Bad,
}

/// A cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    state: State,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            state: State::Plain,
        }
    }
}

impl Cell {
    pub(super) fn new(text: String, state: State) -> Self {
        Self { text, state }
    }
}

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    /// Numbers.
    Right,
}

/// Heads and rows of the same number of cells.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    heads: [(&'static str, Side); N],
    rows: Vec<[Cell; N]>,
    /// Number of columns at the left that are not shown.
    hidden: usize,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(heads: [(&'static str, Side); N]) -> Self {
        Self {
            heads,
            rows: Vec::new(),
            hidden: 0,
        }
    }

    /// Hides the first column, which is the same in every row.
    pub(super) fn hide_first(&mut self) {
        self.hidden = 1;
    }

    pub(super) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// The table with its rows in the order of their first cells. The sort is stable.
    pub(super) fn sorted(&mut self) -> &mut Self {
        let first = |row: &[Cell; N]| row.first().map(|cell| cell.text.clone());
        self.rows.sort_by_key(first);
        self
    }

    /// Takes the rows out, as lines with the heads first. An empty table has no lines.
    pub(super) fn take_lines(&mut self, indent: &str, colours: bool) -> Vec<String> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Vec::new();
        }
        let heads = self.heads.map(|(head, _)| Cell::from(head.to_owned()));
        let mut widths = [0; N];
        for row in rows.iter().chain([&heads]) {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(&cell.text).max(*widest);
            }
        }
        let line = |row: &[Cell; N]| {
            let cells: Vec<String> = row
                .iter()
                .zip(self.heads)
                .zip(widths)
                .skip(self.hidden)
                .map(|((cell, (_, side)), columns)| {
                    let text = if side == Side::Left {
                        pad_left_aligned(&cell.text, columns)
                    } else {
                        pad_right_aligned(&cell.text, columns)
                    };
                    painted(&text, cell.state, colours)
                })
                .collect();
            format!("{indent}{}", cells.join(GAP)).trim_end().to_owned()
        };
        [&heads].into_iter().chain(&rows).map(line).collect()
    }
}

/// The text in the colour of its state.
pub(super) fn painted(text: &str, state: State, colours: bool) -> String {
    match state {
        _ if !colours => text.to_owned(),
        State::Plain => text.to_owned(),
        State::Warning => format!("\x1b[33m{text}\x1b[m"),
        State::Bad => format!("\x1b[1;31m{text}\x1b[m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([
            ("NAME", Side::Left),
            ("SIZE", Side::Right),
            ("", Side::Left),
        ]);
        table.push([
            Cell::from("日本語-vm".to_owned()),
            Cell::from("1 B".to_owned()),
            Cell::new("DAMAGED".into(), State::Bad),
        ]);
        table.push([
            Cell::from("a".to_owned()),
            Cell::from("10.0 GiB".to_owned()),
            Cell::from(String::new()),
        ]);
        assert_eq!(
            table.take_lines("", false),
            [
                "NAME           SIZE",
                "日本語-vm       1 B  DAMAGED",
                "a          10.0 GiB"
            ]
        );
        assert!(table.take_lines("", false).is_empty());
        table.push([
            Cell::from("a".to_owned()),
            Cell::from("1 B".to_owned()),
            Cell::new("DAMAGED".into(), State::Bad),
        ]);
        assert_eq!(
            table.take_lines(" ", true)[1],
            " a      1 B  \x1b[1;31mDAMAGED\x1b[m"
        );
    }
}
