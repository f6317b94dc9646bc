// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tests of the real binaries share. It makes no decision of the programs' own: it starts
//! them and looks at what they did.

pub mod archive_writer;
pub mod booted;
pub mod disk;
pub mod engine;
pub mod fake_qubes;
pub mod foreign;
pub mod house;
pub mod memory_world;
pub mod pool;
pub mod power_loss;
pub mod programs;
pub mod pty;
pub mod raw_client;
pub mod require;
pub mod rpc_policy;
pub mod sandbox;
pub mod scene;
pub mod second_reader;
pub mod service;
pub mod traced;
