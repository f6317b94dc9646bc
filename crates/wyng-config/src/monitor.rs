// SPDX-License-Identifier: GPL-3.0-or-later
//! `[monitor]`: the files that `status --export` writes for monitoring systems.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::checks::absolute;
use crate::mistake::Found;

/// Files for monitoring systems; `None`: not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitor {
    /// The state of all archives as one JSON object, an absolute path.
    pub status_file: Option<PathBuf>,
    /// The state of all archives as metrics in the text format of node_exporter, an absolute path
    /// whose name ends with `.prom`.
    pub textfile: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenMonitor {
    status_file: Option<Spanned<String>>,
    textfile: Option<Spanned<String>>,
}

impl WrittenMonitor {
    pub(crate) fn check(self, found: &mut Found) -> Monitor {
        let mut path = |text: Option<Spanned<String>>| {
            found.check(absolute(&text?, "Write the absolute path of a file."))
        };
        let monitor = Monitor {
            status_file: path(self.status_file),
            textfile: path(self.textfile.clone()),
        };
        if let (Some(text), Some(path)) = (&self.textfile, &monitor.textfile) {
            if path.extension().is_none_or(|extension| extension != "prom") {
                let what = format!("{:?} does not end with .prom", text.as_ref());
                found.note(text, what, "node_exporter reads no file of another name.");
            } else if monitor.status_file.as_ref() == Some(path) {
                let what = format!("{:?} is the status file too", text.as_ref());
                found.note(text, what, "Write another path.");
            }
        }
        monitor
    }
}
