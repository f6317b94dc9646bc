// SPDX-License-Identifier: GPL-3.0-or-later
//! The program. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wyngd::run(std::env::args_os().skip(1))
}
