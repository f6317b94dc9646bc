// SPDX-License-Identifier: GPL-3.0-or-later
//! `zfs` of a simulated pool, whose state is in the folder `state` beside the program.

fn main() -> std::process::ExitCode {
    wyng_tests::fake_zfs::program::run()
}
