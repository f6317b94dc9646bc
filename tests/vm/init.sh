#!/bin/busybox sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The first process of a test VM: loads the modules, mounts the first disk and starts the program
# that the kernel's parameter `wyng.init` names from it, else systemd. A second disk with files is
# mounted where `wyng.files` says.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
parameter() { /bin/busybox tr ' ' '\n' </proc/cmdline | /bin/busybox sed -n "s/^wyng\.$1=//p"; }
give_up() {
    echo "init: $*"
    /bin/busybox poweroff -f
}
while read -r module; do
    /bin/busybox insmod "$module" || echo "init: $module"
done </modules/order
disk() {
    tries=0
    until [ -b "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || give_up "there is no $1"
        /bin/busybox usleep 100000
    done
    /bin/busybox mount -t ext4 -o rw "$1" "$2" || give_up "$1 cannot be mounted"
}
disk /dev/vda /root
files=$(parameter files)
if [ -n "$files" ]; then
    /bin/busybox mkdir -p "/root$files"
    disk /dev/vdb "/root$files"
fi
init=$(parameter init)
/bin/busybox umount /sys /proc
exec /bin/busybox switch_root /root "${init:-/lib/systemd/systemd}"
