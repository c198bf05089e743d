# SPDX-License-Identifier: GPL-2.0-or-later
"""OVMF's variable store, with Secure Boot keys and other variables in it."""
import struct
import uuid

X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SYSTEMD = uuid.UUID("8cf2644b-4b0b-428f-9387-6d876050dc67")
OWNER = uuid.UUID("6d75746c-0000-4000-8000-6d6561737572")
GUIDS = {"PK": GLOBAL, "KEK": GLOBAL, "db": DATABASE, "dbx": DATABASE}

STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le  # gEfiAuthenticatedVariableGuid
ATTRIBUTES = 7  # non-volatile, boot services, run time
AUTHENTICATED = 0x20  # by time


def signature_list(der):
    """EFI_SIGNATURE_LIST of one certificate (UEFI 2.10, 32.4.1)."""
    return X509.bytes_le + struct.pack("<III", 28 + 16 + len(der), 0, 16 + len(der)) + OWNER.bytes_le + der


def _entry(name, guid, attributes, data):
    """EDK2's AUTHENTICATED_VARIABLE_HEADER, name and data."""
    wide = (name + "\0").encode("utf-16-le")
    time = struct.pack("<HBBBBBBIhBB", 2026, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0) if attributes & AUTHENTICATED else bytes(16)
    entry = struct.pack("<HBBIQ", 0x55aa, 0x3f, 0, attributes, 0) + time
    entry += struct.pack("<III", 0, len(wide), len(data)) + guid.bytes_le + wide + data
    return entry + b"\xff" * (-len(entry) % 4)


def with_variable(store, name, guid, attributes, data):
    """The store with one more variable."""
    start = store.index(STORE)
    end = start + struct.unpack_from("<I", store, start + 16)[0]
    at = start + 28
    while store[at:at + 2] == b"\xaa\x55":
        at += 60 + -(-sum(struct.unpack_from("<II", store, at + 36)) // 4) * 4
    entry = _entry(name, guid, attributes, data)
    if at + len(entry) > end:
        raise ValueError("the store is too small")
    return store[:at] + entry + store[at + len(entry):]


def enrolled(store, lists):
    """The store with Secure Boot keys (PK, KEK, db, dbx -> signature lists)."""
    for name, content in lists.items():
        if content:
            store = with_variable(store, name, GUIDS[name], ATTRIBUTES | AUTHENTICATED, content)
    return store


def load_option(name, place, data=b""):
    """EFI_LOAD_OPTION, active: a file on any file system (UEFI 2.10, 3.1.3 and 10.3.5.4), and what it is handed."""
    file = ("\\" + place.replace("/", "\\") + "\0").encode("utf-16-le")
    path = struct.pack("<BBH", 4, 4, 4 + len(file)) + file + bytes.fromhex("7fff0400")
    return struct.pack("<IH", 1, len(path)) + (name + "\0").encode("utf-16-le") + path + data


def booting(store, place, command_line):
    """The store of firmware that next boots this file with this command line."""
    option = load_option("next", place, (command_line + "\0").encode("utf-16-le"))
    for name, content in (("Boot1000", option), ("BootNext", struct.pack("<H", 0x1000))):
        store = with_variable(store, name, GLOBAL, ATTRIBUTES, content)
    return store
