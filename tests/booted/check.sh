#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Within tests/booted/boot.sh: uses the daemon and the timers' units, and writes its findings to
# /srv/seen, a name and a value a line. tests/tests/booted.rs judges them.
say() { echo "$1 $2" >>/srv/seen; }
state() { systemctl show --value -p "$2" "$1"; }
wyng() { wyng-ctl --passphrase-file /srv/passphrase "$@" >>/srv/log 2>&1; }
# Starts a unit, and waits until it has ended or waits for its next try.
run() {
    systemctl start "$2" >>/srv/log 2>&1
    for _ in $(seq 600); do
        case "$(state "$2" SubState)" in dead | failed | auto-restart) break ;; esac
        sleep 0.1
    done
    say "$1" "$(state "$2" Result) $(state "$2" ExecMainStatus) $(state "$2" SubState)"
}

systemd-sysusers wyng.conf && systemd-tmpfiles --create wyng.conf
# As root's private daemon leaves it.
chown root:root /var/lib/wyng
systemctl start wyngd.socket
wyng status
say daemon "$(state wyngd.service ActiveState)"
say state-owner "$(stat -c '%U %a' /var/lib/wyng)"
say socket "$(stat -c '%U %G %a' /run/wyng/wyngd.sock)"
for process in $(cat /sys/fs/cgroup/system.slice/wyngd.service/cgroup.procs); do
    name=$(tr '\0' ' ' <"/proc/$process/cmdline" | cut -d ' ' -f 1,2)
    say "process" "$(awk '/^(NoNewPrivs|Seccomp):/ { printf "%s%s ", $1, $2 }' "/proc/$process/status")$(stat -c %U "/proc/$process") $name"
done
main=$(state wyngd.service MainPID)
nsenter --target "$main" --mount touch /usr/written /etc/written 2>/dev/null && say read-only no || say read-only yes
say network "$(nsenter --target "$main" --net cat /proc/net/dev | grep -c -v -e '|' -e lo:)"
setpriv --reuid=65534 --regid=65534 --clear-groups wyng-ctl status >>/srv/log 2>&1
say stranger $?
setpriv --reuid=65534 --regid=65534 --groups "$(getent group wyng | cut -d : -f 3)" wyng-ctl archive list >>/srv/log 2>&1
say member $?

wyng archive create home --kdf-memory 64M --kdf-passes 3
run backup wyng-backup@nightly.service
run verify wyng-verify@nightly.service
run status wyng-status.service
wyng restore home disk --to /srv/restored
say restored "$(cmp /srv/restored /srv/disk.img && echo same)"

# From here on no run is left out because the one before it began too short a time ago.
for verb in backup verify; do
    mkdir -p "/etc/systemd/system/wyng-$verb@.service.d"
    sed -n 's/^\(ExecStart=.*\) --interval [^ ]*/[Service]\nExecStart=\n\1/p' "$(systemctl show -P FragmentPath "wyng-$verb@nightly.service")" >"/etc/systemd/system/wyng-$verb@.service.d/at-once.conf"
done
systemctl daemon-reload

# Sealed as in docs/qubes.md.
id=$(ls /var/lib/wyng/archives | grep -x '[0-9a-f]*')
systemd-creds --quiet encrypt --with-key=host --name="wyng_$id" "/var/lib/wyng/archives/$id/credential" "/etc/wyng/credentials/$id" >>/srv/log 2>&1
rm "/var/lib/wyng/archives/$id/credential" "/var/lib/wyng/archives/$id/credential.copy"
systemctl restart wyngd.service
run sealed wyng-backup@nightly.service
mv "/etc/wyng/credentials/$id" /srv/sealed
systemctl restart wyngd.service
run sealed-away wyng-backup@nightly.service
mv /srv/sealed "/etc/wyng/credentials/$id"
systemctl restart wyngd.service

drop_in=/etc/systemd/system/wyng-backup@.service.d
mkdir -p /srv/power/BAT0 "$drop_in"
echo Battery >/srv/power/BAT0/type
printf '[Service]\nExecStart=\nExecStart=/usr/bin/wyng-ctl backup --profile %%i --unattended --power-supplies /srv/power\n' >"$drop_in/power.conf"
systemctl daemon-reload
run on-battery wyng-backup@nightly.service
say note "$(ls /var/lib/wyng-backup/nightly)"
systemctl stop wyng-backup@nightly.service
rm "$drop_in/power.conf"
systemctl daemon-reload
say notices-before "$(ls /run/wyng/notice | xargs)"

mv /srv/store /srv/away
run unreachable wyng-backup@nightly.service
systemctl stop wyng-backup@nightly.service
mv /srv/away /srv/store
for blob in /srv/store/*/*; do
    [ "$(stat -c %s "$blob")" -lt 1000000 ] || rm "$blob"
done
run damaged wyng-verify@nightly.service
for _ in $(seq 100); do
    [ -e /run/wyng/notice/wyng-verify-nightly ] && break || sleep 0.1
done
say notices-after "$(ls /run/wyng/notice | xargs)"
systemctl stop wyngd.service
say after-stop "$(cat /sys/fs/cgroup/system.slice/wyngd.service/cgroup.procs 2>/dev/null | wc -l)"
say done yes
