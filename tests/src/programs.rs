// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the programs under test are: `cargo build` has put them beside the folder of the test.

use std::path::PathBuf;

/// The path of a built program of this workspace.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().find(|folder| folder.join(name).is_file() && !folder.ends_with("deps"));
    folder.unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace` first, as `make test` does")).join(name)
}
