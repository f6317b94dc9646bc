#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Checks for a Rust of at least the given version, and for a C compiler. If one is missing, it says
# what to do.
set -eu
wanted=$1
if ! command -v cc >/dev/null; then
    echo "A C compiler is needed (zstd is built from C): apt install gcc" >&2
    exit 1
fi
if ! found=$(rustc --version 2>/dev/null | cut -d' ' -f2); then
    echo "Rust $wanted or newer is needed, and there is none: see https://rustup.rs" >&2
    exit 1
fi
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "Rust $wanted or newer is needed, this is $found: run \`rustup update stable\` (https://rustup.rs)" >&2
    exit 1
fi
