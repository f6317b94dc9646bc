#!/bin/busybox sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The first process of the test VM: loads the modules that the disk needs, and starts systemd from
# it.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
    /bin/busybox insmod "$module" || echo "init: $module"
done </modules/order
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo "init: there is no disk"; /bin/busybox poweroff -f; }
    /bin/busybox usleep 100000
done
/bin/busybox mount -t ext4 -o rw /dev/vda /root || { echo "init: the disk cannot be mounted"; /bin/busybox poweroff -f; }
/bin/busybox umount /sys /proc
exec /bin/busybox switch_root /root /lib/systemd/systemd
