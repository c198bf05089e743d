#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The last gate before the root file system is mounted, should the main loop have been left early.
[ -e /run/measured-unlock/unlocked ] ||
    /usr/lib/measured-unlock/refuse "the root file system is to be mounted before the unlock"
