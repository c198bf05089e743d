# SPDX-License-Identifier: GPL-2.0-or-later
"""OVMF, or AAVMF: UEFI firmware that knows Secure Boot."""
from .architecture import CHOSEN


def empty():
    """A variable store with nothing in it."""
    return CHOSEN.variables.read_bytes()


def options(store):
    """QEMU's, for a file with a variable store, which is written to. Secure Boot is on if the store has a PK."""
    return [*CHOSEN.machine,
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={CHOSEN.code}",
            "-drive", f"if=pflash,format=raw,unit=1,file={store}"]
