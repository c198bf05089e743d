#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# First of its stage, since later hooks run programs of the new root; and last before the switch to it.
/usr/lib/measured-unlock/check-root ||
    /usr/lib/measured-unlock/refuse "the root file system is not on a volume opened here"
