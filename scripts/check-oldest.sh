#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Compiles the helper with exactly the given Rust. clippy knows the version of each function of the
# standard library, but accepts newer language features such as let-chains.
set -eu
oldest=$1
if ! rustup run "$oldest" cargo --version >/dev/null 2>&1; then
    echo "Rust $oldest is not installed: the helper was not compiled with it (rustup toolchain install $oldest)" >&2
    exit 0
fi
rustup run "$oldest" cargo check --locked --quiet --package wyng-transport-vm --target-dir target/oldest
