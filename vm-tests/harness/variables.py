# SPDX-License-Identifier: GPL-2.0-or-later
"""Secure Boot keys, and OVMF's variable store with them enrolled."""
import struct
import uuid

X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
OWNER = uuid.UUID("6d75746c-0000-4000-8000-6d6561737572")
GUIDS = {"PK": GLOBAL, "KEK": GLOBAL, "db": DATABASE, "dbx": DATABASE}

STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le  # gEfiAuthenticatedVariableGuid
ATTRIBUTES = 0x27  # NV, BS, RT, time-based authentication


def signature_list(der):
    """EFI_SIGNATURE_LIST of one certificate (UEFI 2.10, 32.4.1)."""
    return X509.bytes_le + struct.pack("<III", 28 + 16 + len(der), 0, 16 + len(der)) + OWNER.bytes_le + der


def _variable(name, data):
    """EDK2's AUTHENTICATED_VARIABLE_HEADER, name and data."""
    wide = (name + "\0").encode("utf-16-le")
    time = struct.pack("<HBBBBBBIhBB", 2026, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    entry = struct.pack("<HBBIQ", 0x55aa, 0x3f, 0, ATTRIBUTES, 0) + time
    entry += struct.pack("<III", 0, len(wide), len(data)) + GUIDS[name].bytes_le + wide + data
    return entry + b"\xff" * (-len(entry) % 4)


def enrolled(empty, variables):
    """The store `empty` with these variables (name -> signature lists)."""
    start = empty.index(STORE)
    size = struct.unpack_from("<I", empty, start + 16)[0]
    entries = b"".join(_variable(n, d) for n, d in variables.items() if d)
    head = start + 28
    if empty[head:head + 2] == b"\xaa\x55" or head + len(entries) > start + size:
        raise ValueError("the store is not empty, or too small")
    return empty[:head] + entries + empty[head + len(entries):]
