#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The first night with Wyng, under systemd: the steps of docs/qubes.md, with a store in a folder. It
# prints a line for each step; the first step that fails ends it, with the journal of the failed
# unit.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

step() { echo "ok: $*"; }
fail() {
    echo "FAILED: $*"
    exit 1
}
trap '[ $? = 0 ] || journalctl --no-pager -o short-monotonic -n 40' EXIT
is() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
# Waits for a condition, as long as an emulated machine may take.
until_so() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "in vain: until $what"
        sleep 1
    done
}
wyng() { wyng-ctl --progress none --passphrase-file /srv/passphrase "$@"; }
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" | tr '\t' ' '; }
group=/sys/fs/cgroup/system.slice/wyngd.service/cgroup.procs
# The process of one of the daemon's roles.
role() {
    while read -r process; do
        case $(tr '\0' ' ' <"/proc/$process/cmdline") in "wyngd: $1 "*) echo "$process" ;; esac
    done <"$group"
}

# The volume and the store.
mkdir -p /srv/store /srv/volumes
head -c 3000000 /dev/urandom >/srv/volumes/work.img
echo a passphrase of the scenario >/srv/passphrase
mkdir -p /etc/wyng
cat >/etc/wyng/wyng.toml <<TOML
[volumes]
work = "/srv/volumes/work.img"
[profiles.nightly]
archive = "home"
TOML
# A store in a folder of this machine requires a drop-in, as in docs/qubes.md.
mkdir -p /etc/systemd/system/wyngd.service.d /etc/systemd/system/wyng-backup@.timer.d
printf '[Service]\nReadWritePaths=/srv/store\n' >/etc/systemd/system/wyngd.service.d/store.conf
# The timer with an early start.
printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/20\nRandomizedDelaySec=0\nAccuracySec=1s\n' >/etc/systemd/system/wyng-backup@.timer.d/soon.conf
systemctl daemon-reload

for user in wyng-control wyng-keys wyng-net; do getent passwd "$user" >/dev/null || fail "there is no user $user"; done
step "sysusers made a user for each role"

systemctl start wyngd.socket
is "the daemon before anybody asks" "$(systemctl is-active wyngd.service || true)" inactive
is "the socket" "$(stat -c '%U:%G %a' /run/wyng/wyngd.sock)" "root:wyng 660"
wyng archive list >/dev/null
is "the daemon" "$(systemctl is-active wyngd.service)" active
step "the socket starts the daemon when somebody asks"

for role in control:wyng-control keyholder:wyng-keys transport:wyng-net volumes:root spawner:root; do
    process=$(role "${role%%:*}")
    is "the user of ${role%%:*}" "$(stat -c %U "/proc/$process")" "${role##*:}"
    is "no new privileges of $role" "$(field "$process" NoNewPrivs)" 1
    is "the filter of $role" "$(field "$process" Seccomp)" 2
done
[ "$(field "$(role keyholder)" VmLck | tr -dc 0-9)" -gt 1000 ] || fail "the keyholder's memory is not locked"
[ "$(readlink "/proc/$(role keyholder)/ns/net")" != "$(readlink /proc/self/ns/net)" ] || fail "the keyholder has a network"
# An older kernel enforces the Landlock rights that it knows; no other protection may be missing.
missing=$(wyng status | grep "not enforced" | grep -v "Landlock is older" || true)
is "what could not be enforced" "$missing" ""
step "each role runs as its user, in its jail, and nothing of it is missing"

wyng archive create home --store dir:/srv/store --kdf-memory 64M --kdf-passes 3 >/dev/null || fail "archive create"
is "the owner of the state" "$(stat -c %U /var/lib/wyng/archives/home/)" wyng-keys
step "an archive is made through the service"

systemctl start wyng-backup@nightly.timer
has_session() { [ "$(wyng --json list home | tr ',' '\n' | grep -c '"session":')" -ge "$1" ]; }
until_so "the timer has fired and a session is there" has_session 1
systemctl stop wyng-backup@nightly.timer
until_so "the backup has ended" sh -c '! systemctl is-active -q wyng-backup@nightly.service'
is "the backup's result" "$(systemctl show -P Result wyng-backup@nightly.service)" success
step "a timer makes a backup of the profile"

journalctl --no-pager -o cat WYNG_VOLUME=work WYNG_COMMAND=backup | grep -q "backup home: a volume is backed up" || fail "the journal's fields"
step "the journal has it as fields"

# From here on no run is left out because the one before it began too short a time ago.
for verb in backup verify; do
    mkdir -p "/etc/systemd/system/wyng-$verb@.service.d"
    sed -n 's/^\(ExecStart=.*\) --interval [^ ]*/[Service]\nExecStart=\n\1/p' "$(systemctl show -P FragmentPath "wyng-$verb@nightly.service")" >"/etc/systemd/system/wyng-$verb@.service.d/at-once.conf"
done
systemctl daemon-reload

id=$(wyng --json archive show home | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')
systemd-creds --quiet encrypt --with-key=host --name="wyng_$id" "/var/lib/wyng/archives/$id/credential" "/etc/wyng/credentials/$id" 2>/dev/null ||
    fail "systemd-creds"
rm "/var/lib/wyng/archives/$id/credential" "/var/lib/wyng/archives/$id/credential.copy"
systemctl restart wyngd.service
head -c 100000 /dev/urandom | dd of=/srv/volumes/work.img bs=100000 seek=5 conv=notrunc status=none
systemctl start wyng-backup@nightly.service
until_so "a second session is there" has_session 2
[ ! -e "/var/lib/wyng/archives/$id/credential" ] || fail "the credential came back in the clear"
step "the credential is sealed to the machine, unsealed by systemd, and makes a backup"

until_so "the backup has ended" sh -c '! systemctl is-active -q wyng-backup@nightly.service'
systemctl start wyng-verify@nightly.service
until_so "the verify has ended" sh -c '! systemctl is-active -q wyng-verify@nightly.service'
is "the verify's result" "$(systemctl show -P Result wyng-verify@nightly.service)" success
wyng --json verify home | grep -q '"problems":\[\]' || fail "problems were found"
step "the store is verified through the service"

wyng restore home work --to /srv/restored.img >/dev/null
cmp /srv/restored.img /srv/volumes/work.img || fail "what was restored differs"
step "the volume is restored, byte by byte"

# A thin pool on a loop device, with the real udevd.
truncate -s 1G /srv/disk.img
disk=$(losetup --find --show /srv/disk.img)
pool() { pvcreate -q "$disk" && vgcreate -q pools "$disk" && lvcreate -q -L 512M -T pools/pool && lvcreate -q -V 64M -T pools/pool -n vault; }
said=$(pool 2>&1) || fail "a thin pool: $said"
printf '[volumes]\nwork = "/srv/volumes/work.img"\nvault = "/dev/pools/vault"\n[profiles.nightly]\narchive = "home"\n' >/etc/wyng/wyng.toml
systemctl restart wyngd.service
thin() {
    head -c 100000 /dev/urandom | dd of=/dev/pools/vault bs=100000 seek="$1" conv=notrunc,fsync status=none
    wyng --json backup home vault | sed 's/.*"method":"\([a-z-]*\)".*"snapshot":\([a-z]*\).*/\1 \2/'
}
is "the first backup of a thin volume" "$(thin 1)" "full-scan true"
is "the second" "$(thin 7)" "thin-delta true"
is "the role of pools" "$(field "$(role pool)" Seccomp)" 2
step "a volume of a thin pool is backed up by snapshot and changes through the unit"

rm -rf /srv/store
systemctl start wyng-verify@nightly.service || true
until_so "the failure has left its mark" sh -c 'ls /run/wyng/notice/* >/dev/null 2>&1 || systemctl show -P NRestarts wyng-verify@nightly.service | grep -qv "^0$" || systemctl show -P Result wyng-verify@nightly.service | grep -qv success'
step "a store that is gone is noticed"

systemctl stop wyngd.socket wyngd.service
[ ! -e "$group" ] || is "what is left" "$(cat "$group")" ""
step "a stop leaves nothing behind"
echo "done: all steps"
