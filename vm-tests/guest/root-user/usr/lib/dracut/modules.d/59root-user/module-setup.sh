#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For test_root.py: a hook that does what hooks of others do with the root before the switch to it.
# shellcheck disable=SC2154 # moddir is dracut's

check() {
    return 0
}

install() {
    inst_multiple chroot mount
    inst_hook pre-pivot 50 "$moddir/use-root.sh"
}
