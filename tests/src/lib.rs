// SPDX-License-Identifier: GPL-3.0-or-later
//! Shared code of the tests of the real binaries. It repeats no decision of the programs: it starts
//! them and examines the results.

pub mod archive_writer;
pub mod booted;
pub mod disk;
pub mod engine;
pub mod fake_qubes;
pub mod fake_zfs;
pub mod foreign;
pub mod house;
pub mod memory_world;
pub mod pool;
pub mod power_loss;
pub mod programs;
pub mod pty;
pub mod raw_client;
pub mod relay;
pub mod require;
pub mod rpc_policy;
pub mod sandbox;
pub mod scene;
pub mod second_reader;
pub mod service;
pub mod sshd;
pub mod stores;
pub mod thin_image;
pub mod thin_pool;
pub mod thin_tools;
pub mod traced;
pub mod vm;
pub mod volume_group;
