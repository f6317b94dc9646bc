#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the tests as an ordinary user, who is created for it, with the programs of `make test`:
# `make test-user`, as root. Tests that need root are skipped and listed. Left out are tests that
# call cargo, which that user lacks, tests that write to `target`, which root owns, and tests that
# take minutes and do not depend on the user.
set -eu
user=wyng-tester
# What needs a cargo, or to write to `target`.
left_out='binary(walls) | binary(neighbour) | binary(healing) | binary(output) | binary(second_reader)
    | binary(golden) | binary(oldest_rust)'
# The engine alone, over computed parts.
left_out="$left_out | binary(budget) | binary(commits_under_damage) | binary(copies) | binary(histories)
    | binary(identity) | binary(index) | binary(killed) | binary(proof) | binary(prune) | binary(restored)
    | binary(scale) | binary(sizes) | binary(space) | package(wyng-archive) | package(wyng-thin)"
# Minutes for which it is the same who runs them.
left_out="$left_out | binary(around_damage) | binary(boundaries) | binary(clients) | binary(deleting)
    | binary(hostile_vm) | binary(many_chunks) | binary(plug) | binary(power_loss) | binary(pruned)
    | binary(renewing) | binary(thin_metadata)"
left_out="$left_out | binary(qubes) & test(/^(back|disposables|in_place|lost)::/)
    | binary(stores) & not test(/^archives::/)"
getent passwd $user >/dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
folder=$(mktemp -d /var/tmp/wyng-user.XXXXXX)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cargo nextest list --locked --workspace --list-type binaries-only --message-format json >"$folder/binaries.json"
cargo metadata --locked --format-version 1 >"$folder/metadata.json"
cp "$(command -v cargo-nextest)" "$folder"
mkdir "$folder/home"
chown $user: "$folder/home"
status=0
setpriv --reuid=$user --regid=$user --clear-groups env -i PATH=/usr/bin:/bin HOME="$folder/home" TMPDIR="$folder/home" \
    WYNG_TEST_SKIPPED="$folder/home/skipped" "$folder/cargo-nextest" nextest run --no-fail-fast --status-level fail --final-status-level fail \
    --binaries-metadata "$folder/binaries.json" --cargo-metadata "$folder/metadata.json" --workspace-remap "$PWD" -E "not ($left_out)" || status=$?
scripts/show-skipped.sh "$folder/home/skipped"
exit $status
