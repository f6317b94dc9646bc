// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube's `qrexec-client-vm` in the simulated system of `wyng_tests::fake_qubes`. Its world is
//! the parent of the folder from which it was started.

fn main() -> ! {
    wyng_tests::fake_qubes::qrexec::client_vm()
}
