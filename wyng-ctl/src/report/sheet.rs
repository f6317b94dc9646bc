// SPDX-License-Identifier: GPL-3.0-or-later
//! The recovery sheet: on paper, beside the passphrase, it opens the archive on a new machine and
//! shows whether it was rolled back.

use qrcode::render::{svg, unicode};
use qrcode::types::QrError;
use qrcode::{EcLevel, QrCode};
use wyng_control::RecoverySheet;

use crate::plain::plain;
use crate::quantity::session_name;

/// SHA-256 of `reader/read_archive.py`, the reader that is independent of these programs. In an
/// emergency a user gives it the passphrase, and so must be able to check a copy from anywhere.
pub(super) const SECOND_READER_SHA256: &str =
    "a3c57c7254f3a73876658c4432889f6ea5ac840be10126ab5041ceccc9e5902f";

const SVG_WIDTH: u32 = 800;
const SVG_QR_SIZE: u32 = 240;
const SVG_LINE: u32 = 26;

/// The lines of the sheet.
pub(super) fn lines(sheet: &RecoverySheet) -> Vec<String> {
    vec![
        format!("Recovery sheet of the Wyng archive {}", plain(&sheet.name)),
        format!("  archive id  {}", sheet.id),
        format!("  store       {}", plain(&sheet.store_url)),
        format!("  epoch       {}", sheet.epoch),
        format!("  generation  {}, committed {}", sheet.generation, session_name(sheet.committed_time)),
        format!("  head code   {}", sheet.code),
        String::new(),
        "On a new machine, with the passphrase or a recovery key:".into(),
        format!("  wyng-ctl archive open NAME --store URL --expect {}", sheet.code),
        "A newer state is accepted if it descends from this one; any other state is refused as a rollback.".into(),
        "Without these programs, read_archive.py reads the archive. It requires Python and five packages, which it names.".into(),
        "Give it the passphrase only if its SHA-256 is".into(),
        format!("  {SECOND_READER_SHA256}"),
        "The code is not secret. An old code is harmless; print a new one after many backups.".into(),
    ]
}

/// The code as a QR code, with two modules in each character. Its quiet zone is drawn, so that it
/// is readable on a dark terminal too.
pub(super) fn in_terminal(sheet: &RecoverySheet) -> Result<String, QrError> {
    Ok(code(sheet)?
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build())
}

/// The whole sheet as an SVG image.
pub(super) fn as_svg(sheet: &RecoverySheet) -> Result<String, QrError> {
    let qr = code(sheet)?
        .render::<svg::Color<'_>>()
        .min_dimensions(SVG_QR_SIZE, SVG_QR_SIZE)
        .build();
    // The renderer writes a whole document, whose prologue must not stand inside another one.
    let qr = qr.split_once("?>").map_or(qr.as_str(), |(_, svg)| svg);
    let lines = lines(sheet);
    let (mut text, mut y) = (String::new(), SVG_LINE);
    for line in &lines {
        y = y.saturating_add(SVG_LINE);
        let indent = if line.starts_with(' ') { 60 } else { 40 };
        text.push_str(&format!(
            "<text x=\"{indent}\" y=\"{y}\">{}</text>\n",
            escaped(line.trim_start())
        ));
    }
    let qr_top = y.saturating_add(SVG_LINE);
    let height = qr_top
        .saturating_add(SVG_QR_SIZE)
        .saturating_add(2 * SVG_LINE);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{SVG_WIDTH}\" height=\"{height}\" font-family=\"monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{text}<g transform=\"translate(40 {qr_top})\">{qr}</g>\n</svg>\n"
    ))
}

fn code(sheet: &RecoverySheet) -> Result<QrCode, QrError> {
    QrCode::with_error_correction_level(
        format!("wyng {} {} {}", sheet.id, sheet.epoch, sheet.code),
        EcLevel::Q,
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> RecoverySheet {
        RecoverySheet {
            name: "home".into(),
            id: "00112233445566778899aabbccddeeff".into(),
            store_url: "dir:/a<b>&c".into(),
            epoch: 1,
            generation: 42,
            committed_time: 0,
            code: "42-0123456789abcdef".into(),
        }
    }

    #[test]
    fn the_sheet_names_the_second_reader_as_it_is() {
        use sha2::Digest;
        let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/../reader/read_archive.py");
        let sum = sha2::Sha256::digest(std::fs::read(reader).unwrap());
        assert_eq!(
            SECOND_READER_SHA256,
            sum.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        );
    }

    #[test]
    fn a_sheet_is_text_a_code_for_the_terminal_and_an_image() {
        assert!(
            lines(&sheet())
                .iter()
                .any(|line| line.contains("--expect 42-0123456789abcdef"))
        );
        assert!(in_terminal(&sheet()).unwrap().lines().count() > 10);
        let svg = as_svg(&sheet()).unwrap();
        assert!(svg.contains("dir:/a&lt;b&gt;&amp;c") && svg.contains("<path"));
        assert_eq!(svg.matches("<?xml").count(), 0);
    }
}
