// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube's `qrexec-client-vm`, as `wyng_tests::fake_qubes` makes it up. Its world is the folder
//! above the one that it was started from.

fn main() -> ! {
    wyng_tests::fake_qubes::qrexec::client_vm()
}
