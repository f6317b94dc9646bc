#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The units under a real systemd: a Debian in a VM (qemu without KVM), in which scenario.sh runs as
# a unit. It prints a line for each step, and ends with 0 if all succeeded. It requires root to
# write files of other owners; `make test-systemd` builds the programs first.
set -eu
cd "$(dirname "$0")/../.."
here=tests/systemd
work=target/systemd
programs=${WYNG_PROGRAMS:-target/debug}
# A step that hangs ends the VM. A slow machine needs minutes to boot the emulated one.
patience_secs=1500
. tests/vm/base.sh

disk() {
    root="$work/root"
    debian_root "$root"
    make --no-print-directory -s install-dom0 DESTDIR="$PWD/$root" PROFILE=dev PROGRAMS="$programs" HELPER="$programs/wyng-transport-vm" >"$work/install.log"
    install -D -m 755 "$here/scenario.sh" "$root/usr/local/bin/wyng-scenario"
    install -D -m 644 "$here/wyng-scenario.service" "$root/etc/systemd/system/wyng-scenario.service"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../wyng-scenario.service "$root/etc/systemd/system/multi-user.target.wants/wyng-scenario.service"
    # What the other VM needs, and what would only cost time here.
    for unit in getty.target lvm2-monitor.service blk-availability.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    echo wyng-test >"$root/etc/hostname"
    rm -f "$work/disk.img" && truncate -s 2G "$work/disk.img"
    mke2fs -q -t ext4 -d "$root" "$work/disk.img"
}

boot() {
    : >"$work/steps"
    timeout "$patience_secs" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m 2048 -nodefaults -no-reboot -display none \
        -kernel "$kernel/vmlinuz" -initrd "$initramfs" \
        -append "console=ttyS0 quiet panic=-1 systemd.show_status=no random.trust_cpu=on" \
        -drive "file=$work/disk.img,if=virtio,format=raw,cache=unsafe" -device virtio-rng-pci \
        -serial "file:$work/console" -serial "file:$work/steps" || true
}

parts
mkdir -p "$work"
disk
boot &
booted=$!
# The steps as they succeed.
tail -n +1 -f --pid="$booted" "$work/steps"
wait "$booted"
if ! grep -q '^done: all steps' "$work/steps"; then
    echo "test-systemd failed; the VM's console:" >&2
    tail -n 60 "$work/console" >&2
    exit 1
fi
