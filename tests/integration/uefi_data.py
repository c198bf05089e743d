# SPDX-License-Identifier: GPL-2.0-or-later
"""EC2's variable store, read by other means than ours: by this file, and by AWS's own tool if it can be had."""
import atexit
import base64
import functools
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import uuid
import zlib
from pathlib import Path

REQUIREMENT = Path(__file__).with_name("uefivars.txt")
AUTHENTICATED = 0x20
# How AWS's tool is started: its checksum comes from a library that is not Debian's.
START = """
import sys, types
sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]
from uefi_data import crc32c
sys.modules["google_crc32c"] = types.SimpleNamespace(value=crc32c)
import pyuefivars
pyuefivars.main()
"""


def crc32c(data):
    """RFC 3720, 12.1; that of b"123456789" is e3069283."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def inflate(stream):
    """A zlib stream that does not need the dictionary that it names."""
    method, flags, dictionary = struct.unpack(">BBI", stream[:6])
    assert (method << 8 | flags) % 31 == 0 and method == 0x78 and flags & 0x20
    assert dictionary == 0x6bb7d9f7, "not EC2's"
    decoder = zlib.decompressobj(wbits=-15)
    data = decoder.decompress(stream[6:])
    assert decoder.eof and decoder.unused_data == struct.pack(">I", zlib.adler32(data))
    return data


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        part = self.data[self.at:self.at + size]
        assert len(part) == size
        self.at += size
        return part

    def number(self, size=8):
        return int.from_bytes(self.take(size), "little")


def variables(text):
    """name -> (GUID, attributes, data)"""
    file = base64.b64decode(text, validate=True)
    magic, checksum, version = struct.unpack("<8sII", file[:16])
    assert (magic, version, checksum) == (b"AMZNUEFI", 0, crc32c(file[12:]))
    cursor, found = Cursor(inflate(file[16:])), {}
    for _ in range(cursor.number()):
        name = cursor.take(cursor.number()).decode()
        data = cursor.take(cursor.number())
        guid = uuid.UUID(bytes_le=cursor.take(16))
        attributes = cursor.number(4)
        if attributes & AUTHENTICATED:
            assert cursor.take(16) == bytes(16), "a time"
            assert cursor.take(cursor.number()) == bytes(32), "a digest"
        assert name not in found
        found[name] = guid, attributes, data
    assert cursor.at == len(cursor.data)
    return found


@functools.cache
def _fetched():
    """(AWS's tool, None) or (None, why there is none)"""
    folder = Path(tempfile.mkdtemp(prefix="mu-uefivars-"))
    atexit.register(shutil.rmtree, folder)
    done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                           "--dest", folder, "--requirement", REQUIREMENT], capture_output=True, text=True)
    if done.returncode != 0:
        return None, f"uefivars cannot be had: {done.stderr.strip()[-200:]}"
    return next(folder.glob("*.whl")), None


def why_not():
    return _fetched()[1]


def variables_by_aws(text):
    """The same as AWS's tool has it."""
    command = [sys.executable, "-c", START, Path(__file__).parent, _fetched()[0], "-i", "aws", "-o", "json"]
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    return {v["name"]: (uuid.UUID(v["guid"]), v["attr"], bytes.fromhex(v["data"]))
            for v in json.loads(done.stdout)["variables"]}
