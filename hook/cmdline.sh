#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Whatever the command line asks for, dracut's crypt module opens nothing and asks for nothing: the
# mappings are ours. After its own hook (30).
# shellcheck disable=SC2154 # hookdir is dracut's
rm -f /etc/crypttab /etc/udev/rules.d/70-luks.rules "$hookdir/initqueue/finished/90-crypt.sh"
