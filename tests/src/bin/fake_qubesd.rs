// SPDX-License-Identifier: GPL-3.0-or-later
//! `fake-qubesd WORLD`: the Admin API of a simulated system, at `WORLD/qubesd.sock`, until it is
//! killed.

fn main() -> ! {
    wyng_tests::fake_qubes::qubesd::serve(&std::env::args_os().nth(1).unwrap_or_default())
}
