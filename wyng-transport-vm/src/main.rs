// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng-transport-vm push|prune|fetch`: the helper in the network VM, on standard input and
//! output. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(wyng_transport_vm::run(std::env::args_os().skip(1)).status())
}
