#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The main task on real data: an image is backed up as ciphertext and restored. It needs neither
# root nor a configuration, and works in a folder below target/.
set -eu
cd "$(dirname "$0")/.."
programs=$PWD/target/debug
PATH=$programs:$PATH:/usr/sbin:/sbin
demo=$PWD/target/demo
rm -rf "$demo"
mkdir -p "$demo"
cd "$demo"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
wyng() { run wyng-ctl --standalone --state-dir state --passphrase-file passphrase --progress none "$@"; }

say "A disk image with a real file system, 512 MiB, and a passphrase"
(umask 077; printf 'correct horse battery staple\n' >passphrase)
if command -v mkfs.ext4 >/dev/null; then
    mkdir files
    cp -r ../../docs ../../wyngd ../../crates files/
    mkdir files/programs
    cp "$programs"/wyng-ctl "$programs"/wyngd files/programs/
    run truncate -s 512M disk.img
    run mkfs.ext4 -q -d files disk.img
else
    echo "(mkfs.ext4 is not here: the image is a tar archive instead)"
    run tar -cf disk.img -C ../.. docs wyngd crates target/debug/wyngd
    run truncate -s 512M disk.img
fi

say "An archive in a folder that stands for the untrusted store"
wyng archive create home --store "dir:$demo/store"

say "The first backup: reads what is not a hole, sends what is new"
wyng backup home disk.img
cp --sparse=always disk.img first.img

say "The image changes in one place; the second backup sends only that"
run dd if=/dev/urandom of=disk.img bs=4096 seek=20000 count=3 conv=notrunc status=none
wyng backup home disk.img
wyng list home

say "Is everything there and unharmed? No passphrase is needed to know"
wyng verify home

say "Somebody flips one byte in the store"
victim=$(find store -type f -size +512k | sort | head -n 1)
cp "$victim" unharmed
byte=$(od -An -tu1 -j300000 -N1 "$victim" | tr -d ' ')
chmod u+w "$victim"
printf "$(printf '\\%03o' $((byte ^ 1)))" | dd of="$victim" bs=1 seek=300000 conv=notrunc status=none
status=0
wyng verify home || status=$?
[ "$status" = 5 ] || { echo "the flipped byte was not found (status $status)"; exit 1; }
echo "status 5: found, and named"

say "The blob comes back as it was; verify looks again, and the sessions can be restored"
cp unharmed "$victim"
wyng verify home

say "Both sessions are restored, and compared with the images they were made of"
first=$(wyng-ctl --standalone --state-dir state list home --json | grep -o '"session":"[^"]*"' | head -n 1 | cut -d'"' -f4)
wyng restore home disk.img --session "$first" --to restored-first.img
run cmp first.img restored-first.img
wyng restore home disk.img --to restored.img
run cmp disk.img restored.img

say "Equal. All of it is in target/demo; nothing else was touched."
