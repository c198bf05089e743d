# SPDX-License-Identifier: GPL-2.0-or-later
"""TCG event logs, read and written without the program: PC Client Platform Firmware Profile 1.05, section 10."""
import hashlib
import struct

EV_SEPARATOR, EV_IPL, EV_EFI_ACTION = 0x4, 0xd, 0x80000007
BANKS = {"sha256": 0x0b, "sha384": 0x0c}
SIZES = {0x4: 20, 0xb: 32, 0xc: 48}


def spec_id():
    algorithms = b"".join(struct.pack("<HH", a, hashlib.new(n).digest_size) for n, a in BANKS.items())
    data = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(BANKS)) + algorithms + b"\0"
    return struct.pack("<II20sI", 0, 3, b"", len(data)) + data


def event(pcr, kind, data):
    digests = b"".join(struct.pack("<H", a) + hashlib.new(n, data).digest() for n, a in BANKS.items())
    return struct.pack("<III", pcr, kind, len(BANKS)) + digests + struct.pack("<I", len(data)) + data


def read_log(path):
    """-> header, [(pcr, type, {algorithm: digest}, data)]; TCG PC Client PFP 1.05, 10.2.2"""
    raw, events = path.read_bytes(), []
    pos = start = 32 + struct.unpack_from("<I", raw, 28)[0]
    while pos + 12 <= len(raw):
        pcr, kind, count = struct.unpack_from("<III", raw, pos)
        if count == 0 or pcr == 0xffffffff:
            break
        pos, digests = pos + 12, {}
        for _ in range(count):
            algorithm, = struct.unpack_from("<H", raw, pos)
            digests[algorithm] = raw[pos + 2:pos + 2 + SIZES[algorithm]]
            pos += 2 + SIZES[algorithm]
        size, = struct.unpack_from("<I", raw, pos)
        events.append((pcr, kind, digests, raw[pos + 4:pos + 4 + size]))
        pos += 4 + size
    return raw[:start], events


def write_log(path, header, events):
    path.write_bytes(header + b"".join(
        struct.pack("<III", pcr, kind, len(digests)) + b"".join(struct.pack("<H", a) + d for a, d in digests.items())
        + struct.pack("<I", len(data)) + data for pcr, kind, digests, data in events))
