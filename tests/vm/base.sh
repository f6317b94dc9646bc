# SPDX-License-Identifier: GPL-3.0-or-later
# What the VMs of the tests are made of, sourced by tests/vm/run.sh and tests/systemd/run.sh: a kernel
# and a Debian, in target/vm. Each part is made once, and again when what it is made of changes.
# shellcheck shell=sh
base=target/vm
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# Debian with what either VM runs. Programs that are built on this machine find their libraries in it,
# since it is the same release.
debian_packages=systemd,systemd-sysv,dbus,udev,lvm2,dmsetup,thin-provisioning-tools,e2fsprogs,procps
# The modules that are loaded before the root file system is mounted, with all that they depend on.
kernel_modules="virtio_pci virtio_blk virtio_rng ext4 dm-thin-pool dm-snapshot dm-flakey dm-delay loop"

# A name for files that are made of the arguments and of the files named by the standard input.
key() { { echo "$release $*"; xargs -r cat; } | sha256sum | cut -c 1-12; }

needs() {
    missing=""
    for program in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap busybox:busybox-static cpio:cpio modprobe:kmod mke2fs:e2fsprogs; do
        command -v "${program%%:*}" >/dev/null 2>&1 || missing="$missing ${program##*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "${WYNG_TEST_INSTALL:-0}" != 1 ]; then
        echo "a test VM needs$missing (WYNG_TEST_INSTALL=1 installs them)" >&2
        exit 1
    fi
    apt-get update -qq
    # A qemu-utils of another release conflicts with qemu's; then that of this release replaces it.
    # shellcheck disable=SC2086 # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --allow-downgrades \
            $missing "qemu-utils/$release" >/dev/null
}

# Debian's kernel for VMs: small, and with the modules of disks and of device-mapper. It is kept
# although a newer one may be there.
kernel() {
    kernel=$base/kernel-$(key </dev/null)
    [ ! -f "$kernel/vmlinuz" ] || return 0
    rm -rf "$base"/kernel-* && mkdir -p "$kernel"
    name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    (cd "$kernel" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x linux-image-*.deb package && rm linux-image-*.deb)
    depmod -b "$kernel/package" "$(ls "$kernel/package/lib/modules")"
    cp "$kernel"/package/boot/vmlinuz-* "$kernel/unfinished"
    mv "$kernel/unfinished" "$kernel/vmlinuz"
}

# busybox and the modules, with a list of them in the order in which they are loaded.
initramfs() {
    initramfs=$base/initramfs-$(echo tests/vm/init.sh | key "$kernel_modules $kernel").cpio
    [ ! -f "$initramfs" ] || return 0
    root=$base/initramfs
    rm -rf "$base"/initramfs* && mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/root"
    for module in $kernel_modules; do
        modprobe -d "$kernel/package" -S "$(ls "$kernel/package/lib/modules")" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r file; do
        module=modules/$(basename "$file" .xz)
        case $file in *.xz) xz -dc "$file" >"$root/$module" ;; *) cp "$file" "$root/$module" ;; esac
        echo "/$module" >>"$root/modules/order"
    done
    cp "$(command -v busybox)" "$root/bin/busybox"
    install -m 755 tests/vm/init.sh "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) >"$base/unfinished.cpio"
    mv "$base/unfinished.cpio" "$initramfs"
}

# A Debian of those packages and nothing else, as an archive.
debian() {
    debian=$base/debian-$(key "$debian_packages" </dev/null).tar
    [ ! -f "$debian" ] || return 0
    rm -f "$base"/debian-*
    mmdebstrap --quiet --variant=minbase --include="$debian_packages" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$base/unfinished.tar" 2>"$base/debian.log" ||
        { cat "$base/debian.log" >&2; exit 1; }
    mv "$base/unfinished.tar" "$debian"
}

# All of it, and what the arguments make of it, by one script at a time: VMs may be started at once.
parts() {
    mkdir -p "$base"
    exec 9>"$base/lock"
    flock 9
    needs
    kernel
    initramfs
    debian
    "$@"
    exec 9>&-
}

# The Debian, unpacked to a folder.
debian_root() {
    rm -rf "$1" && mkdir -p "$1"
    tar -C "$1" -xf "$debian"
    rm -f "$1/etc/machine-id" && touch "$1/etc/machine-id"
}
