// SPDX-License-Identifier: GPL-3.0-or-later
//! Far ends in other qubes, over made-up ones that behave as the real ones do:
//! `wyng_tests::fake_qubes`.

mod calls;
mod disposables;
mod fakes;
mod lost;
mod pools;
