// SPDX-License-Identifier: GPL-3.0-or-later
//! Far ends in other qubes, over made-up ones that behave as the real ones do: `wyng_tests::fake_qubes`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod calls;
mod disposables;
mod fakes;
mod lost;
mod pools;
