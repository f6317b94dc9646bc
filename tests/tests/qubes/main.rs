// SPDX-License-Identifier: GPL-3.0-or-later
//! Far ends in other qubes, and whole qubes as sources, over simulated qubes that behave like the
//! real ones: `wyng_tests::fake_qubes`.

mod back;
mod backups;
mod calls;
mod disposables;
mod fakes;
mod half_made;
mod histories;
mod in_place;
mod lost;
mod pools;
mod system;
