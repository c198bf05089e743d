#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# dracut's main loop goes on until this succeeds.
/usr/lib/measured-unlock/wait-unlocked 0
