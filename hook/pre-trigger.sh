#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# udevd runs and has not been triggered yet: from here on everything overlaps.
[ -d /run/measured-unlock ] || mkdir -m 0700 /run/measured-unlock
/usr/lib/measured-unlock/supervise </dev/null &
echo "$!" >/run/measured-unlock/supervise.pid
