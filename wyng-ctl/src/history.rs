// SPDX-License-Identifier: GPL-3.0-or-later
//! `history` for people: a chart in the terminal, and a picture.

mod bars;
mod chart;
mod picture;

use std::io;
use std::path::Path;

use wyng_control::DayLine;

pub(crate) use bars::day_name;
pub(crate) use chart::{chart, line};
use picture::{MARK, picture};

/// Whether writing the picture would destroy a file that is no picture of this program.
pub(crate) fn would_overwrite(path: &Path) -> bool {
    use std::io::Read;

    let mut begin = vec![0; MARK.len()];
    match std::fs::File::open(path) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(mut file) => file.read_exact(&mut begin).is_err() || begin != MARK.as_bytes(),
    }
}

/// Writes the picture of an archive's days.
pub(crate) fn write_picture(path: &Path, archive: &str, days: &[DayLine]) -> io::Result<()> {
    std::fs::write(path, picture(archive, days))
}

#[cfg(test)]
mod tests {
    use super::bars::tests::day;
    use super::*;

    #[test]
    fn only_a_picture_of_this_program_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.svg");
        assert!(!would_overwrite(&path));
        for (text, refused) in [("", true), ("<svg>mine</svg>", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(would_overwrite(&path), refused, "{text:?}");
        }
        write_picture(&path, "home", &[day(0, 1, 1, 0)]).unwrap();
        assert!(!would_overwrite(&path));
        assert!(would_overwrite(folder.path()));
    }
}
