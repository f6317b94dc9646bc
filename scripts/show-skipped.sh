#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The last lines of `make test`: the number of skipped tests, and their names with the missing
# component.
set -eu
if [ -s "$1" ]; then
    sort -u "$1" | awk '{ names = names (NR > 1 ? ", " : "") $0 } END { printf "skipped: %d (%s)\n", NR, names }'
else
    echo "skipped: 0"
fi
