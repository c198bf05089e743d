# SPDX-License-Identifier: GPL-2.0-or-later
"""A UEFI driver that says on the serial port that it runs, and the variables that have firmware start it before any image."""
import struct

import pytest

from . import variables
from .architecture import CHOSEN

PLACE = "EFI/driver.efi"
TEXT = b"driver runs\r\n"  # fits into the port's queue
# lea r8, [rip + 20]; mov dx, 0x3f8; next: mov al, [r8]; test al, al; jz done; out dx, al; inc r8; jmp next; done: xor eax, eax; ret
CODE = bytes.fromhex("4c8d0514000000 66baf803 418a00 84c0 7406 ee 49ffc0 ebf3 31c0 c3")
runs = pytest.mark.skipif(CHOSEN.name != "x86_64", reason="the driver is machine code of x86-64")
BOOT_SERVICE_DRIVER = 11
HEADERS, PAGE, ALIGNMENT = 0x200, 0x1000, 0x200


def image():
    """PE32+ of one section (PE/COFF Specification, 3 and 4)."""
    code = (CODE + TEXT + b"\0").ljust(ALIGNMENT, b"\0")
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22e)
    optional = struct.pack("<HBBIIIII", 0x20b, 0, 0, len(code), 0, 0, PAGE, PAGE)
    optional += struct.pack("<QIIHHHHHHIIIIHH", 0, PAGE, ALIGNMENT, 0, 0, 0, 0, 0, 0, 0, 2 * PAGE, HEADERS, 0,
                            BOOT_SERVICE_DRIVER, 0)
    optional += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(16 * 8)
    section = b".text".ljust(8, b"\0") + struct.pack("<IIIIIIHHI", len(code), PAGE, len(code), HEADERS, 0, 0, 0, 0, 0x60000020)
    return (dos + coff + optional + section).ljust(HEADERS, b"\0") + code


def started(store, place=PLACE):
    """The variable store with Driver0000 and DriverOrder (UEFI 2.10, 3.1.3)."""
    for name, content in (("Driver0000", variables.load_option("driver", place)), ("DriverOrder", bytes(2))):
        store = variables.with_variable(store, name, variables.GLOBAL, variables.ATTRIBUTES, content)
    return store
