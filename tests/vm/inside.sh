#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The first process of the VM after its disks are mounted: starts udev, runs the script that run.sh
# wrote, reports its exit status, and ends the VM. Its arguments come with the disk of files, which
# is mounted at the path that the sources have on the host.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm /run/lock /run/results /run/udev
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
for link in fd: stdin:/0 stdout:/1 stderr:/2; do ln -sfn "/proc/self/fd${link#*:}" "/dev/${link%%:*}"; done
stty -F /dev/ttyS1 raw
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add --subsystem-match=block
udevadm settle
WYNG_TEST_VM=1 WYNG_TEST_RESULTS=/run/results /bin/sh "$(dirname "$0")/command" >/dev/ttyS1 2>&1 </dev/null
echo $? >/run/status
tar -cf /dev/vdd -C /run/results .
sync
cat /run/status >/dev/ttyS2
poweroff -ff
