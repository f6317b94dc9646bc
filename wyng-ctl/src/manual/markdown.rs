// SPDX-License-Identifier: GPL-3.0-or-later
//! Conversion of the documents' Markdown to roff: headings, paragraphs, lists, tables, code. Only
//! the syntax that the documents use is supported.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Appends a document. The text before its first heading of the second level becomes the
/// description; its title is dropped.
pub(super) fn append(roff: &mut Roff, text: &str) {
    roff.control("SH", ["DESCRIPTION"]);
    let mut lines = text
        .lines()
        .skip_while(|line| line.starts_with("# ") || line.is_empty())
        .peekable();
    while let Some(line) = lines.next() {
        match line {
            "" => {}
            _ if line.starts_with("```") => {
                let code: Vec<&str> = lines
                    .by_ref()
                    .take_while(|line| !line.starts_with("```"))
                    .collect();
                roff.control("PP", [])
                    .control("RS", ["4"])
                    .control("nf", []);
                for line in code {
                    roff.text([roman(line)]).control("br", []);
                }
                roff.control("fi", []).control("RE", []);
            }
            _ if line.starts_with("## ") => drop(roff.control(
                "SH",
                [line.trim_start_matches("## ").to_uppercase().as_str()],
            )),
            _ if line.starts_with('|') => {
                let rows: Vec<&str> = std::iter::once(line)
                    .chain(std::iter::from_fn(|| {
                        lines.next_if(|line| line.starts_with('|'))
                    }))
                    .collect();
                table(roff, &rows);
            }
            _ => {
                let whole = paragraph(line, &mut lines);
                match whole.strip_prefix("- ") {
                    Some(item) => roff.control("IP", ["\\(bu", "2"]).text(inlines(item)),
                    None => roff.control("PP", []).text(inlines(&whole)),
                };
            }
        }
    }
}

/// A paragraph or an entry of a list, with its continuation lines.
fn paragraph<'a>(
    first: &str,
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> String {
    let mut whole = first.to_owned();
    while let Some(line) = lines.next_if(|line| {
        !line.is_empty()
            && !["#", "|", "```", "- "]
                .iter()
                .any(|begins| line.starts_with(begins))
    }) {
        whole.push(' ');
        whole.push_str(line.trim());
    }
    whole
}

/// A table as a list: the first cell of each row, then the others with the heads of their columns.
fn table(roff: &mut Roff, rows: &[&str]) {
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let Some((heads, rows)) = rows.split_first() else {
        return;
    };
    let heads = cells(heads);
    for row in rows.iter().skip(1).map(|row| cells(row)) {
        let Some((first, others)) = row.split_first() else {
            continue;
        };
        roff.control("TP", []).text(inlines(first));
        let mut said = Vec::new();
        for (place, (cell, head)) in others
            .iter()
            .zip(heads.iter().skip(1))
            .enumerate()
            .filter(|(_, (cell, _))| !cell.is_empty())
        {
            said.extend((place > 0).then(|| roman(format!("; {head}: "))));
            said.extend(inlines(cell));
        }
        roff.text(said);
    }
}

/// Inline text: code and emphasis in bold, a link as its text.
fn inlines(text: &str) -> Vec<Inline> {
    let text = without_targets(&text.replace("**", "`"));
    text.split('`')
        .enumerate()
        .map(|(place, part)| {
            if place % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

/// `[text](target)` as `text`.
fn without_targets(text: &str) -> String {
    let Some((before, rest)) = text.split_once("](") else {
        return text.to_owned();
    };
    let Some((begin, label)) = before.rsplit_once('[') else {
        return text.to_owned();
    };
    let after = rest.split_once(')').map_or("", |(_, after)| after);
    format!("{begin}{label}{}", without_targets(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_markdown_becomes_roff() {
        let mut roff = Roff::new();
        let text = "# Title\n\nFirst `a`,\nand [more](x.md).\n\n## A head\n\n- one\n  goes on\n- two\n\n| name | is | default |\n|---|---|---|\n| `x` | y | 1 |\n\n```\n.code\n```\n";
        append(&mut roff, text);
        let page = roff.to_roff();
        for wanted in [
            "First \\fBa\\fR, and more.",
            ".SH \"A HEAD\"",
            "one goes on",
            "\\fBx\\fR\ny; default: 1",
            "\\&.code",
        ] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
    }
}
