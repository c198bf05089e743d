# SPDX-License-Identifier: GPL-2.0-or-later
"""LUKS2 volumes without device-mapper: cryptsetup writes the header, Python encrypts the payload.

dm-crypt of the guest then reads it, so each of the two checks the other.
"""
import json
import os
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from . import steps

PASSPHRASE = b"a recovery passphrase"
SECTOR = 4096
MIB = 1 << 20


def cryptsetup(*argv, **options):
    return subprocess.run(["cryptsetup", "-q", *map(str, argv)], check=True, capture_output=True,
                          **options).stdout


def metadata(volume):
    return json.loads(cryptsetup("luksDump", "--dump-json-metadata", volume))


def volume_key(volume):
    path = Path(f"{volume}.key")
    path.unlink(missing_ok=True)
    cryptsetup("luksDump", "--dump-volume-key", "--volume-key-file", path, "--key-file", "-", volume,
               input=PASSPHRASE)
    key = path.read_bytes()
    path.unlink()
    return key


def encrypt(key, plain, offset=0):
    """aes-xts-plain64 as dm-crypt does it: the tweak counts 512-byte sectors, whatever SECTOR is."""
    aes, out = algorithms.AES(key), bytearray()
    for position in range(0, len(plain), SECTOR):
        tweak = ((offset + position) // 512).to_bytes(16, "little")
        encryptor = Cipher(aes, modes.XTS(tweak)).encryptor()
        out += encryptor.update(plain[position:position + SECTOR])
    return bytes(out)


def make(path, plain, *options):
    """A LUKS2 volume at path that holds the file system image `plain`."""
    size = os.stat(plain).st_size
    path.unlink(missing_ok=True)
    subprocess.run(["truncate", "-s", str(size + 16 * MIB), path], check=True)
    with steps.bench(volume=path) as work:
        (work / "passphrase").write_bytes(PASSPHRASE)
        # The passphrase is not what is tested: no time for it.
        quick = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
        steps.run(work, "20-encrypt", PASSPHRASE=work / "passphrase", LUKS_OPTIONS=" ".join([*quick, *options]))
    start = int(metadata(path)["segments"]["0"]["offset"])
    key = volume_key(path)
    with open(plain, "rb") as source, open(path, "r+b") as target:
        target.seek(start)
        for offset in range(0, size, MIB):
            target.write(encrypt(key, source.read(MIB), offset))
    return path
