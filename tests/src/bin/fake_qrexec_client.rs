// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's `qrexec-client`, as `wyng_tests::fake_qubes` makes it up. Its world is the folder above
//! the one that it was started from.

fn main() -> ! {
    wyng_tests::fake_qubes::qrexec::client()
}
