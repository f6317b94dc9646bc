// SPDX-License-Identifier: GPL-3.0-or-later
//! The days of an archive as a picture that needs nothing else, for light and for dark pages.

use wyng_control::DayLine;

use super::bars::{Bar, bars};
use crate::quantity::show_bytes;

/// The first bytes of every picture of this program: a file that begins with them may be replaced.
pub(super) const MARK: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" data-made-by=\"wyng-ctl history\"";
/// Maximum number of bars.
const BARS_MAX: usize = 120;
/// Sizes in the picture's own units.
const WIDTH: u64 = 960;
const LEFT: u64 = 90;
const RIGHT: u64 = 60;
const TOP: u64 = 50;
const HEIGHT: u64 = 240;
const BOTTOM: u64 = 70;
/// Maximum width of a bar with the gap behind it.
const SLOT_MAX: u64 = 40;
/// Minimum distance of two dates.
const DATES_APART: u64 = 200;

const STYLE: &str = "<style>\
svg{font-family:sans-serif;font-size:13px;background:#fff}text{fill:#222}.bar{fill:#3b78c3}\
.line{fill:none;stroke:#c2661b;stroke-width:2}.bad{fill:#c0392b}.sessions{fill:#c2661b}\
.axis{stroke:#888}\
@media(prefers-color-scheme:dark){svg{background:#1c1c1c}text{fill:#ddd}.bar{fill:#6ea8e8}\
.line{stroke:#f0a35e}.sessions{fill:#f0a35e}.bad{fill:#ff6b5b}}\
</style>";

/// The picture.
pub(super) fn picture(archive: &str, days: &[DayLine]) -> String {
    let (grain, bars) = bars(days, BARS_MAX);
    let total = TOP.saturating_add(HEIGHT).saturating_add(BOTTOM);
    let title = format!("Wyng archive {archive}: added by {}", grain.word());
    let title = escaped(&title);
    let mut parts = vec![
        format!("{MARK} viewBox=\"0 0 {WIDTH} {total}\" role=\"img\">"),
        format!("<title>{title}</title>{STYLE}"),
        format!("<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{title}</text>"),
    ];
    let highest = bars.iter().map(|bar| bar.added_bytes).max().unwrap_or(0);
    let most = bars.iter().filter_map(|bar| bar.sessions).max();
    let foot = TOP.saturating_add(HEIGHT);
    let end = WIDTH.saturating_sub(RIGHT);
    parts.push(format!(
        "<path class=\"axis\" d=\"M{LEFT} {foot}H{end}\"/>{}{}",
        label(
            LEFT.saturating_sub(8),
            TOP.saturating_add(5),
            "end",
            &show_bytes(highest)
        ),
        label(LEFT.saturating_sub(8), foot, "end", "0"),
    ));
    let count = bars.len() as u64;
    let slot = (end.saturating_sub(LEFT) / count.max(1)).min(SLOT_MAX);
    let mut points = Vec::new();
    for (at, bar) in bars.iter().enumerate() {
        let x = LEFT.saturating_add(slot.saturating_mul(at as u64));
        let middle = x.saturating_add(slot / 2);
        parts.extend(column(bar, x, slot, highest));
        if let Some(sessions) = bar.sessions {
            let y = foot.saturating_sub(share(sessions, most.unwrap_or(0)));
            points.push(format!("{middle},{y}"));
        }
        if bar.damaged.is_some_and(|damaged| damaged > 0) {
            let y = foot.saturating_add(14);
            parts.push(format!(
                "<circle class=\"bad\" cx=\"{middle}\" cy=\"{y}\" r=\"4\"><title>{}: damaged sessions</title></circle>",
                bar.label
            ));
        }
    }
    if let Some(most) = most {
        parts.push(format!(
            "<polyline class=\"line\" points=\"{}\"/><text class=\"sessions\" x=\"{}\" y=\"{}\">{most}</text>",
            points.join(" "),
            end.saturating_add(6),
            TOP.saturating_add(5)
        ));
    }
    let under = foot.saturating_add(36);
    if let (Some(first), Some(last)) = (bars.first(), bars.last()) {
        parts.push(label(LEFT, under, "start", &first.label));
        let behind = LEFT.saturating_add(slot.saturating_mul(count));
        if behind.saturating_sub(LEFT) >= DATES_APART {
            parts.push(label(behind, under, "end", &last.label));
        }
    }
    let legend = "Bars: bytes added. Line: sessions kept. Dots: damaged sessions. Times in UTC.";
    parts.push(label(LEFT, under.saturating_add(24), "start", legend));
    parts.push("</svg>".to_owned());
    parts.join("\n") + "\n"
}

/// A bar with its values.
fn column(bar: &Bar, x: u64, slot: u64, highest: u64) -> Option<String> {
    if bar.added_bytes == 0 {
        return None;
    }
    let height = share(bar.added_bytes, highest).max(1);
    let y = TOP.saturating_add(HEIGHT).saturating_sub(height);
    let width = slot.saturating_sub(slot / 5).max(1);
    Some(format!(
        "<rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{}: {}</title></rect>",
        bar.label,
        show_bytes(bar.added_bytes)
    ))
}

/// The height of a value.
fn share(value: u64, most: u64) -> u64 {
    let height = u128::from(value)
        .saturating_mul(u128::from(HEIGHT))
        .checked_div(u128::from(most));
    height.map_or(0, |height| u64::try_from(height).unwrap_or(HEIGHT))
}

fn label(x: u64, y: u64, anchor: &str, text: &str) -> String {
    format!(
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    )
}

/// Text as XML, without characters that XML does not allow.
fn escaped(text: &str) -> String {
    crate::plain::plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::day;
    use super::*;

    #[test]
    fn a_picture_has_a_bar_for_each_day_and_nothing_from_elsewhere() {
        let days = [day(0, 5, 1, 0), day(1, 0, 2, 1), day(2, 1 << 40, 3, 0)];
        let found = picture("a<script>\u{7}&", &days);
        assert!(found.starts_with(MARK) && found.ends_with("</svg>\n"));
        assert_eq!(found.matches("<rect").count(), 2);
        assert_eq!(found.matches("<circle").count(), 1);
        assert!(found.contains("a&lt;script&gt;") && !found.contains("<script"));
        assert!(found.contains("prefers-color-scheme:dark"));
        assert!(!found.contains("href") && !found.contains("url("));
        assert!(!found.contains('\u{7}'));
        assert!(picture("home", &[]).ends_with("</svg>\n"));
    }
}
