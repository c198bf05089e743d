#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# dracut's selinux starts a program of the root; overlayfs and others mount something in it.
# shellcheck disable=SC2154 # NEWROOT is dracut's
if [ -x "$NEWROOT/program" ]; then
    chroot "$NEWROOT" /program echo "a program of this root runs" >>/dev/console
elif [ -d "$NEWROOT/opt" ]; then
    mount -t tmpfs tmpfs "$NEWROOT/opt"
fi
