# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attacker with the disk can do to a LUKS2 header: any JSON, with correct checksums.

LUKS2 On-Disk Format Specification, 2.1 (binary header) and 2.2 (JSON area).
"""
import contextlib
import hashlib
import json
import struct

BINARY = 4096
MAGICS = (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
CHECKSUM = slice(448, 512)


def _read(volume, offset):
    volume.seek(offset)
    size = struct.unpack_from(">Q", volume.read(BINARY), 8)[0]
    volume.seek(offset)
    return bytearray(volume.read(size))


def _write(volume, offset, area, text):
    if len(text) >= len(area) - BINARY:
        raise ValueError("the JSON area is too small")
    area[BINARY:] = text.ljust(len(area) - BINARY, b"\0")
    area[CHECKSUM] = bytes(64)
    area[CHECKSUM.start:CHECKSUM.start + 32] = hashlib.sha256(area).digest()
    volume.seek(offset)
    volume.write(area)


@contextlib.contextmanager
def edited(path):
    """with edited(volume) as m: change m; both copies are written at the end."""
    with open(path, "r+b") as volume:
        first = _read(volume, 0)
        second = _read(volume, len(first))
        if (bytes(first[:6]), bytes(second[:6])) != MAGICS:
            raise ValueError("not a LUKS2 volume")
        metadata = json.loads(first[BINARY:].split(b"\0")[0])
        yield metadata
        text = json.dumps(metadata).encode()
        _write(volume, 0, first, text)
        _write(volume, len(first), second, text)


def token_of(metadata):
    return next(t for t in metadata["tokens"].values() if t["type"] == "measured-unlock")
