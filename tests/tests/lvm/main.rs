// SPDX-License-Identifier: GPL-3.0-or-later
//! Thin pools of a real kernel, with real lvm and udev. The tests run in the VM of `make test-vm`,
//! one after another, and nowhere else: each has the scratch disk for itself.

mod backups;
mod bases;
mod facts;
mod in_place;
mod kernel_pools;
mod new_volumes;
mod restores;
mod runs;
mod udev;
