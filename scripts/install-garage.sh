#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds Garage, a distributed server of S3, below target/garage, unless it is there: about a quarter
# of an hour of two processors. `make test-garage` with WYNG_TEST_INSTALL=1 runs it as root on Debian.
set -eu
version=2.5.0
[ ! -x target/garage/bin/garage ] || exit 0
# Else its libsodium is built and tested from C.
dpkg-query -W -f='${Status}' libsodium-dev 2>/dev/null | grep -q "install ok installed" || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libsodium-dev >/dev/null
}
SODIUM_LIB_DIR=$(dirname "$(find /usr/lib -name libsodium.a | head -n 1)")
export SODIUM_LIB_DIR
# It is a server for one test: quick to build is better than quick.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
cargo install --locked --quiet --root target/garage --no-default-features --features bundled-libs,sqlite "garage@$version"
