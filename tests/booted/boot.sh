#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs systemd as process 1 over this machine's files and those in SCRATCH/installed, in its own
# namespaces. Only files in SCRATCH/srv stay after its end. tests/tests/booted.rs calls it in a
# mount namespace, as root: boot.sh SCRATCH, or boot.sh SCRATCH probe.
set -eu
scratch=$1

if [ -z "${inside:-}" ]; then
    # A branch of the cgroup hierarchy, which the namespace below sees as the whole.
    mkdir -p "$scratch/cgroup"
    mount -t cgroup2 cgroup2 "$scratch/cgroup"
    branch="$scratch/cgroup/wyng-booted-$$"
    mkdir "$branch"
    status=0
    (echo "$BASHPID" >"$branch/cgroup.procs" && inside=1 exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --net "$0" "$@") || status=$?
    # Its processes were killed with the first one, and are gone a moment later.
    for _ in $(seq 100); do find "$branch" -depth -type d -exec rmdir {} + && break || sleep 0.1; done 2>/dev/null
    # A power-off within the namespace ends it like an interrupt.
    [ "$status" = 130 ] && exit 0 || exit "$status"
fi

mount --make-rprivate /
mkdir -p "$scratch/over"
mount -t tmpfs tmpfs "$scratch/over"
root=$scratch/over/root
mkdir "$root" "$scratch/over/upper" "$scratch/over/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/over/upper,workdir=$scratch/over/work" "$root"
cp -a "$scratch/installed/." "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$scratch/srv" "$root/srv"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/tmp"

# The machine's own units are not started: the units that the tested units name exist, and are
# empty.
rm -rf "$root"/lib/systemd/system/*.wants "$root"/etc/systemd/system/*.wants
mkdir -p "$root/etc/systemd/system/service.d"
printf '[Service]\nStandardOutput=append:/srv/log\nStandardError=append:/srv/log\n' >"$root/etc/systemd/system/service.d/log.conf"
for target in sysinit basic; do
    printf '[Unit]\nDescription=Nothing\n' >"$root/etc/systemd/system/$target.target"
done
printf '[Unit]\nDescription=Check\nDefaultDependencies=no\nRequires=check.service\n' >"$root/etc/systemd/system/check.target"
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh /srv/check.sh\nExecStopPost=/bin/systemctl --force --force poweroff\n' \
    >"$root/etc/systemd/system/check.service"
[ "${2:-}" != probe ] || exit 0
cd "$root"
mkdir outside
pivot_root . outside
umount -l outside
# As the kernel sets it up for process 1: a child mounts the folders of credentials, which all
# processes must see.
mount --make-rshared /
exec env -i container=wyng-booted PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=null --show-status=no --unit=check.target
