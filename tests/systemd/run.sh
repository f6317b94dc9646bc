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

needs() {
    missing=""
    for program in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap busybox:busybox-static cpio:cpio modprobe:kmod mke2fs:e2fsprogs; do
        command -v "${program%%:*}" >/dev/null 2>&1 || missing="$missing ${program##*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "${WYNG_TEST_INSTALL:-0}" != 1 ]; then
        echo "test-systemd needs$missing (WYNG_TEST_INSTALL=1 installs them)" >&2
        exit 1
    fi
    apt-get update -qq
    # A qemu-utils of another release conflicts with qemu's; then that of this release replaces it.
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --allow-downgrades \
            $missing "qemu-utils/$release" >/dev/null
}

# Debian's kernel for VMs: small, and with the modules that the disk needs.
kernel() {
    [ -f "$work/kernel/done" ] && return
    rm -rf "$work/kernel" && mkdir -p "$work/kernel/package"
    name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    (cd "$work/kernel" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x linux-image-*.deb package && rm linux-image-*.deb)
    cp "$work"/kernel/package/boot/vmlinuz-* "$work/kernel/vmlinuz"
    touch "$work/kernel/done"
}

# busybox and a list of modules in the order in which they are loaded.
initramfs() {
    root="$work/initramfs" modules="$work/kernel/package"
    release=$(ls "$modules/lib/modules")
    rm -rf "$root" && mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/root"
    depmod -b "$modules" "$release"
    for module in virtio_pci virtio_blk virtio_rng ext4; do
        modprobe -d "$modules" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' >"$work/initramfs.list"
    : >"$root/modules/order"
    while read -r file; do
        cp "$file" "$root/modules/"
        echo "/modules/$(basename "$file")" >>"$root/modules/order"
    done <"$work/initramfs.list"
    cp "$(command -v busybox)" "$root/bin/busybox"
    cp "$here/init.sh" "$root/init"
    chmod 755 "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initramfs.cpio"
}

# Debian with systemd and nothing else. It is made once; the tested files go into a copy.
debian() {
    [ -f "$work/debian.tar" ] && return
    mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/unfinished.tar" 2>"$work/debian.log" ||
        { cat "$work/debian.log" >&2; exit 1; }
    mv "$work/unfinished.tar" "$work/debian.tar"
}

disk() {
    root="$work/root"
    rm -rf "$root" && mkdir -p "$root"
    tar -C "$root" -xf "$work/debian.tar"
    make --no-print-directory -s install-dom0 DESTDIR="$PWD/$root" PROFILE=dev PROGRAMS="$programs" HELPER="$programs/wyng-transport-vm" >"$work/install.log"
    install -D -m 755 "$here/scenario.sh" "$root/usr/local/bin/wyng-scenario"
    install -D -m 644 "$here/wyng-scenario.service" "$root/etc/systemd/system/wyng-scenario.service"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../wyng-scenario.service "$root/etc/systemd/system/multi-user.target.wants/wyng-scenario.service"
    ln -sf /dev/null "$root/etc/systemd/system/getty.target"
    echo wyng-test >"$root/etc/hostname"
    rm -f "$root/etc/machine-id" && touch "$root/etc/machine-id"
    rm -f "$work/disk.img" && truncate -s 2G "$work/disk.img"
    mke2fs -q -t ext4 -d "$root" "$work/disk.img"
}

boot() {
    : >"$work/steps"
    timeout "$patience_secs" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m 2048 -nodefaults -no-reboot -display none \
        -kernel "$work/kernel/vmlinuz" -initrd "$work/initramfs.cpio" \
        -append "console=ttyS0 quiet panic=-1 systemd.show_status=no random.trust_cpu=on" \
        -drive "file=$work/disk.img,if=virtio,format=raw,cache=unsafe" -device virtio-rng-pci \
        -serial "file:$work/console" -serial "file:$work/steps" || true
}

needs
mkdir -p "$work"
kernel
initramfs
debian
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
