// SPDX-License-Identifier: GPL-3.0-or-later
//! The program: which role it is in this process, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    wyngd::run(std::env::args_os().skip(1))
}
