#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the packages that the tests require on Debian, and further packages by name. `make test`
# with WYNG_TEST_INSTALL=1 runs it as root.
set -eu
packages="systemd e2fsprogs btrfs-progs xfsprogs exfatprogs exfat-fuse strace python3 python3-venv procps thin-provisioning-tools util-linux-extra rpm dpkg-dev binutils gzip openssl openssh-server openssh-client openssh-sftp-server rclone $*"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
# The users of a service's roles.
getent group wyng >/dev/null || groupadd --system wyng
for user in wyng-control wyng-keys wyng-net; do
    getent passwd "$user" >/dev/null || useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin "$user"
done
# They run for seconds here: what matters is how soon they are built.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
if ! cargo deny --version >/dev/null 2>&1; then
    cargo install --locked --quiet cargo-deny@0.20.2
fi
# Servers of stores behind the network, for tests/tests/stores.
if ! command -v s3s-fs >/dev/null && [ ! -x target/s3s-fs/bin/s3s-fs ]; then
    cargo install --locked --quiet --root target/s3s-fs --features binary s3s-fs@0.14.1 || echo "s3s-fs cannot be installed here" >&2
fi
if ! command -v wsgidav >/dev/null && [ ! -x target/wsgidav/bin/wsgidav ]; then
    mkdir -p target
    python3 -m venv target/wsgidav
    target/wsgidav/bin/pip --quiet --disable-pip-version-check install wsgidav==4.3.3 cheroot==10.0.1 || echo "wsgidav cannot be installed here" >&2
fi
if ! command -v moto_server >/dev/null && [ ! -x target/moto/bin/moto_server ]; then
    mkdir -p target
    python3 -m venv target/moto
    target/moto/bin/pip --quiet --disable-pip-version-check install 'moto[server]==5.2.5' || echo "moto cannot be installed here" >&2
fi
if command -v rustup >/dev/null; then
    oldest=$(sed -n 's/^HELPER_RUST := //p' Makefile)
    rustup --quiet toolchain install --no-self-update --profile minimal "$oldest" || echo "Rust $oldest cannot be installed here" >&2
fi
if ! command -v typos >/dev/null && ! target/typos/bin/typos --version >/dev/null 2>&1; then
    mkdir -p target
    python3 -m venv target/typos
    target/typos/bin/pip --quiet --disable-pip-version-check install typos==1.52.0 || echo "typos cannot be installed here" >&2
fi
