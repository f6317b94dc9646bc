#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs a command in a VM (qemu without KVM) whose kernel has device-mapper and whose Debian has
# lvm2, the tools of thin pools and udev. `tests/vm/run.sh` runs the tests in tests/tests/lvm, with
# WYNG_VM_TESTS=NAME only those with NAME in their name; `tests/vm/run.sh COMMAND…` runs another
# command, with its output and exit status. The VM sees the programs of target/debug, and the files
# of the repository that tests read, at their own paths. What the command leaves in
# $WYNG_TEST_RESULTS is then in target/vm/results. With WYNG_VM_NAME=NAME the VM runs beside others of
# other names, and the results are in target/vm/NAME-results. It requires root to write files of other
# owners; `make test-vm` builds the programs first.
set -eu
cd "$(dirname "$0")/../.."
here=tests/vm
programs=${WYNG_PROGRAMS:-target/debug}
# A test that hangs ends the VM.
patience_secs=${WYNG_VM_PATIENCE:-4500}
. "$here/base.sh"
# What is this VM's own.
own=$base/${WYNG_VM_NAME:+$WYNG_VM_NAME-}

# A disk with Debian and the users of the roles. It is never written to.
root_disk() {
    root_disk=$base/root-$(echo systemd/wyng.sysusers | key "$debian").img
    [ ! -f "$root_disk" ] || return 0
    rm -f "$base"/root-*
    debian_root "$base/root"
    install -D -m 644 systemd/wyng.sysusers "$base/root/usr/lib/sysusers.d/wyng.conf"
    chroot "$base/root" systemd-sysusers wyng.conf
    # No daemon watches the pools: a test decides what happens to them.
    printf 'activation { monitoring = 0 }\n' >"$base/root/etc/lvm/lvmlocal.conf"
    rm -f "$base/unfinished.img" && truncate -s 1G "$base/unfinished.img"
    mke2fs -q -t ext4 -d "$base/root" "$base/unfinished.img"
    rm -rf "$base/root"
    mv "$base/unfinished.img" "$root_disk"
}

# The files that the VM sees, one path a line.
seen() {
    find "$programs" -maxdepth 1 -type f -perm -u+x
    find "$here" systemd tests/data -type f
    [ ! -f "$tests" ] || echo "$tests"
}

# A disk with them, without debug information, and with the command.
files_disk() {
    files_disk=${own}files-$(seen | xargs stat -c '%n %s %Y' | { echo "$*"; cat; } | sha256sum | cut -c 1-12).img
    [ ! -f "$files_disk" ] || return 0
    rm -rf "${own}"files* && mkdir -p "${own}files"
    seen | xargs cp --parents -t "${own}files"
    find "${own}files/target" -type f -exec strip --strip-debug {} + 2>/dev/null || true
    echo "cd '$PWD' && $*" >"${own}files/$here/command"
    truncate -s 2G "${own}unfinished.img"
    mke2fs -q -t ext4 -d "${own}files" "${own}unfinished.img"
    rm -rf "${own}files"
    mv "${own}unfinished.img" "$files_disk"
}

# Options for a disk with this serial number, over this file. The VM names disks in their order.
disk() { echo "-drive if=none,id=$1,format=raw,file=$2,$3 -device virtio-blk-pci,drive=$1,serial=$1"; }

boot() {
    # shellcheck disable=SC2046 # one word an option
    exec timeout --foreground "$patience_secs" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m 2048 -nodefaults -no-reboot -display none \
        -kernel "$kernel/vmlinuz" -initrd "$initramfs" \
        -append "console=ttyS0 quiet panic=-1 random.trust_cpu=on wyng.files=$PWD wyng.init=$PWD/$here/inside.sh" \
        $(disk root "$root_disk" snapshot=on) $(disk files "$files_disk" snapshot=on) \
        $(disk scratch "$run/scratch" cache=unsafe,discard=unmap) $(disk results "$run/results" cache=unsafe) -device virtio-rng-pci \
        -serial "file:$run/console" -serial "file:$run/output" -serial "file:$run/status"
}

parts root_disk
tests=none
if [ $# = 0 ]; then
    tests=$(cargo test --locked --workspace --test lvm --no-run --message-format json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\/lvm-[^"]*\)".*/\1/p')
    tests=${tests#"$PWD/"}
    # shellcheck disable=SC2086 # one word a filter
    set -- env "WYNG_TEST_KILLS=${WYNG_TEST_KILLS:-}" "$tests" ${WYNG_VM_TESTS:-} --include-ignored --test-threads=1 --color never
fi
files_disk "$*"
run=$(mktemp -d "${own}run.XXXXXX")
booted=""
trap '[ -z "$booted" ] || kill "$booted" 2>/dev/null; rm -rf "$run"' EXIT
trap 'exit 143' INT TERM
truncate -s 64G "$run/scratch"
truncate -s 256M "$run/results"
: >"$run/output"
boot &
booted=$!
tail -c +1 -f --pid="$booted" "$run/output"
wait "$booted" || true
booted=""
status=$(tr -dc 0-9 <"$run/status")
if [ -z "$status" ]; then
    echo "the command did not end; the VM's console:" >&2
    tail -n 60 "$run/console" >&2
    exit 1
fi
rm -rf "${own}results" && mkdir -p "${own}results"
tar -C "${own}results" -xf "$run/results"
if [ "$tests" != none ] && [ "$status" = 0 ] && [ -f "${own}results/walk" ]; then
    cat "${own}results/walk"
    passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$run/output")
    awk -v passed="$passed" '{ read += $1; of += $2 } END { printf "lvm: %d passed, read %d of %d bytes\n", passed, read, of }' "${own}results/read"
fi
exit "$status"
