#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A fault for test_refuses.py: kills the program between two of its steps.
# shellcheck disable=SC2154 # moddir is dracut's

check() {
    return 0
}

install() {
    inst_script "$moddir/killer" /usr/bin/killer
    inst_hook pre-trigger 99 "$moddir/start.sh"
    inst_multiple sleep grep
}
