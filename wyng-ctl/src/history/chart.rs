// SPDX-License-Identifier: GPL-3.0-or-later
//! The days of an archive as a chart of characters, and as lines.

use wyng_control::DayLine;

use super::bars::{Bar, bars, day_name};
use crate::columns::width;
use crate::quantity::{column_bytes, counted, show_bytes};

/// Height of the highest bar, lines.
const HEIGHT: u64 = 8;
/// A bar's top, by eighths of a line.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Width of the labels at the left, columns.
const LEFT: usize = 11;

/// One day as a line.
pub(crate) fn line(day: &DayLine) -> String {
    let mut line = format!(
        "{}  {} added",
        day_name(day.time),
        show_bytes(day.added_bytes)
    );
    if let Some(state) = day.state {
        line += &format!(
            ", {}, {} stored, {} waiting",
            counted(state.sessions, "session"),
            show_bytes(state.stored_bytes),
            show_bytes(state.waiting_bytes)
        );
        if state.damaged_sessions > 0 {
            line += &format!(", {} damaged", state.damaged_sessions);
        }
    }
    line
}

/// The chart, in lines of at most `columns`; none without a day.
pub(crate) fn chart(days: &[DayLine], columns: usize) -> Vec<String> {
    let most = days
        .iter()
        .filter_map(|day| Some(day.state?.sessions))
        .max();
    let digits = most.map_or(1, |most| most.to_string().len());
    let cell = digits.saturating_add(1);
    let room = columns.saturating_sub(LEFT).checked_div(cell).unwrap_or(0);
    let (grain, bars) = bars(days, room);
    let Some(highest) = bars.iter().map(|bar| bar.added_bytes).max() else {
        return Vec::new();
    };
    let row = |label: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|text| format!("{text:>cell$}")).collect();
        format!("{label:>LEFT$}{cells}").trim_end().to_owned()
    };
    let mut lines = vec![format!("Added by {} (UTC)", grain.word())];
    for level in (0..HEIGHT).rev() {
        let label = if level == HEIGHT.saturating_sub(1) {
            column_bytes(highest)
        } else {
            String::new()
        };
        let tops = bars.iter().map(|bar| top(bar.added_bytes, highest, level));
        lines.push(row(&label, &mut tops.map(String::from)));
    }
    let sessions = bars.iter().map(|bar| {
        let number = bar.sessions.map(|number| number.to_string());
        number.unwrap_or_default()
    });
    lines.push(row("sessions", &mut sessions.into_iter()));
    lines.push(row(
        "health",
        &mut bars.iter().map(|bar| mark(bar).to_owned()),
    ));
    lines.extend(axis(&bars, cell));
    lines.push("health: + sound, ! damaged sessions, blank: not noted".to_owned());
    lines.iter().map(|line| cut(line, columns)).collect()
}

/// The character of a bar in one line of the chart, counted from the lowest.
fn top(bytes: u64, highest: u64, level: u64) -> char {
    // A bar that is not empty stays visible.
    let eighths = u128::from(bytes)
        .saturating_mul(u128::from(HEIGHT.saturating_mul(8)))
        .div_ceil(u128::from(highest.max(1)));
    let above = eighths.saturating_sub(u128::from(level.saturating_mul(8)));
    let place = usize::try_from(above.min(8)).unwrap_or(8);
    EIGHTHS.get(place).copied().unwrap_or(' ')
}

fn mark(bar: &Bar) -> &'static str {
    match bar.damaged {
        None => "",
        Some(0) => "+",
        Some(_) => "!",
    }
}

/// The first and the last label, each under its bar; only the last label if both do not fit.
fn axis(bars: &[Bar], cell: usize) -> Option<String> {
    let (first, last) = (bars.first()?, bars.last()?);
    let end = LEFT.saturating_add(bars.len().saturating_mul(cell));
    let begin = format!(
        "{:indent$}{}",
        "",
        first.label,
        indent = LEFT.saturating_add(cell).saturating_sub(1)
    );
    let fits = width(&begin).saturating_add(width(&last.label)) < end;
    Some(if bars.len() > 1 && fits {
        let left = end.saturating_sub(width(&begin));
        format!("{begin}{:>left$}", last.label)
    } else {
        format!("{:>end$}", last.label)
    })
}

fn cut(line: &str, columns: usize) -> String {
    crate::columns::cut(line.chars(), columns)
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::day;
    use super::*;

    #[test]
    fn a_chart_fits_its_width_and_shows_every_day_that_added_something() {
        let days: Vec<DayLine> = (0..400)
            .map(|number| day(number, 1 << (number % 40), number as u64, 0))
            .collect();
        for columns in 0..200 {
            for line in chart(&days, columns) {
                assert!(width(&line) <= columns, "{columns}: {line:?}");
            }
        }
        assert_eq!(chart(&[], 80), Vec::<String>::new());
        assert_eq!(top(1, u64::MAX, 0), '▁');
        assert_eq!(top(u64::MAX, u64::MAX, HEIGHT - 1), '█');
        assert_eq!(top(0, 0, 0), ' ');
    }

    #[test]
    fn a_chart_of_three_days() {
        let mut days = vec![day(0, 16 << 20, 1, 0), day(2, 8 << 20, 12, 1)];
        let found = chart(&days, 60);
        let expected = [
            "Added by day (UTC)",
            "   16.0 MiB  █",
            "             █",
            "             █",
            "             █",
            "             █     █",
            "             █     █",
            "             █     █",
            "             █     █",
            "   sessions  1    12",
            "     health  +     !",
            "          2026-11-03",
            "health: + sound, ! damaged sessions, blank: not noted",
        ];
        assert_eq!(found, expected);
        days[0].state = None;
        assert_eq!(line(&days[0]), "2026-11-01  16 MiB added");
        let with_state = "2026-11-03  8 MiB added, 12 sessions, 0 B stored, 0 B waiting, 1 damaged";
        assert_eq!(line(&days[1]), with_state);
    }
}
