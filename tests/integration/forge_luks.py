#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Forges exactly one thing in the LUKS2 header of an image, and checks that it did.

forge_luks.py list                    the forgeries: name and the rule that must catch it
forge_luks.py NAME GOOD.img BAD.img   writes one
"""
import copy
import hashlib
import json
import struct
import sys
from pathlib import Path

BINARY = 4096
MAGIC = (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
FIELDS = {  # LUKS2 On-Disk Format Specification, 2.1: offset and length
    "magic": (0, 6), "version": (6, 2), "size": (8, 8), "seqid": (16, 8), "label": (24, 48), "alg": (72, 32),
    "salt": (104, 64), "uuid": (168, 40), "subsystem": (208, 48), "offset": (256, 8), "padding": (264, 184),
    "checksum": (448, 64), "padding4096": (512, BINARY - 512),
}


class Copy:
    """One of the two copies: binary fields and JSON text."""

    def __init__(self, image, at, size):
        self.at, self.size = at, size
        raw = image[at:at + size]
        self.fields = {name: bytes(raw[o:o + n]) for name, (o, n) in FIELDS.items()}
        self.text = bytes(raw[BINARY:]).rstrip(b"\0")
        self.tail = b""  # after the text's terminating zero

    @property
    def json(self):
        return json.loads(self.text)

    def set(self, name, value):
        offset, length = FIELDS[name]
        self.fields[name] = value.ljust(length, b"\0")
        assert len(self.fields[name]) == length

    def bytes(self, checksum=True):
        area = (self.text + b"\0" + self.tail).ljust(self.size - BINARY, b"\0")[:self.size - BINARY]
        blank = dict(self.fields, checksum=bytes(64)) if checksum else self.fields
        raw = bytearray(b"".join(blank[name] for name in FIELDS) + area)
        if checksum:
            raw[448:480] = hashlib.sha256(raw).digest()
        return bytes(raw)


def load(path):
    image = bytearray(Path(path).read_bytes())
    size = struct.unpack_from(">Q", image, 8)[0]
    copies = [Copy(image, 0, size), Copy(image, size, size)]
    for c, magic in zip(copies, MAGIC):
        assert c.fields["magic"] == magic and c.bytes() == image[c.at:c.at + size], f"{path}: not a sound LUKS2 image"
    return image, copies


# ---- changes to the JSON: each a function that returns the path it claims to change

def _parent(tree, path):
    *parents, last = path
    for name in parents:
        tree = tree[name]
    return tree, last


def put(path, value):
    def change(tree):
        parent, last = _parent(tree, path.split("/"))
        parent[last] = value
        return path
    return change


def drop(path):
    def change(tree):
        parent, last = _parent(tree, path.split("/"))
        del parent[last]
        return path
    return change


def same_as(path, other):
    def change(tree):
        parent, last = _parent(tree, path.split("/"))
        source, name = _parent(tree, other.split("/"))
        parent[last] = copy.deepcopy(source[name])
        return path
    return change


def leaves(tree, path=""):
    """path -> value, for what has no members."""
    if isinstance(tree, dict) and tree:
        return {k: v for name, sub in tree.items() for k, v in leaves(sub, f"{path}/{name}".lstrip("/")).items()}
    return {path: json.dumps(tree)}


def in_json(change):
    def forge(image, copies):
        before, after = copies[0].json, copies[0].json
        path = change(after)
        old, new = leaves(before), leaves(after)
        moved = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
        inside = {k for k in moved if f"{k}/".startswith(f"{path}/") or f"{path}/".startswith(f"{k}/")}
        assert moved and moved == inside, f"changed {moved} instead of {path}"
        for c in copies:
            c.text = json.dumps(after, separators=(",", ":")).encode()
    return forge


def in_text(old, new):
    """What no JSON writer would write."""
    def forge(image, copies):
        for c in copies:
            assert c.text.count(old) >= 1
            c.text = c.text.replace(old, new, 1)
    return forge


# ---- changes to the binary part

def in_field(name, value, which=(0, 1)):
    def forge(image, copies):
        for c in (copies[i] for i in which):
            before = c.fields[name]
            c.set(name, value)
            assert c.fields[name] != before
    return forge


def in_second_json(change):
    def forge(image, copies):
        tree = copies[1].json
        change(tree)
        assert tree != copies[1].json
        copies[1].text = json.dumps(tree, separators=(",", ":")).encode()
    return forge


def tail(text):
    def forge(image, copies):
        for c in copies:
            c.tail = text
    return forge


def no_end(image, copies):
    for c in copies:
        c.text = c.text.ljust(c.size - BINARY, b" ")


def bad_checksum(which):
    def forge(image, copies):
        copies[which].fields["checksum"] = bytes([copies[which].fields["checksum"][0] ^ 1]) + \
            copies[which].fields["checksum"][1:]
        copies[which].broken = True
    return forge


def cut(length):
    def forge(image, copies):
        del image[length:]
    return forge


SEGMENT, SLOT, DIGEST = "segments/0", "keyslots/0", "digests/0"
ARGON2 = {"type": "argon2id", "time": 4, "memory": 65536, "cpus": 1, "salt": "A" * 43 + "="}
RECORD = {"type": "measured-unlock", "keyslots": []}
PENDING = {"type": "measured-unlock-pending", "keyslots": []}

FORGERIES = {
    "primary magic": ("header-readable", in_field("magic", b"LUKS\xba\xbf", [0])),
    "secondary magic": ("header-readable", in_field("magic", b"LUKS\xba\xbe", [1])),
    "version 1": ("header-readable", in_field("version", b"\0\1")),
    "version 3": ("header-readable", in_field("version", b"\0\3")),
    "header size 0": ("header-readable", in_field("size", bytes(8))),
    "header size odd": ("header-readable", in_field("size", struct.pack(">Q", 20480))),
    "header size huge": ("header-readable", in_field("size", struct.pack(">Q", 1 << 40))),
    "header size of the secondary": ("header-readable", in_field("size", struct.pack(">Q", 32768), [1])),
    "own offset": ("header-readable", in_field("offset", struct.pack(">Q", 4096), [1])),
    "primary checksum": ("header-readable", bad_checksum(0)),
    "secondary checksum": ("header-readable", bad_checksum(1)),
    "checksum algorithm": ("header-readable", in_field("alg", b"sha1")),
    "checksum algorithm padding": ("header-readable", in_field("alg", b"sha256\0x")),
    "uuid upper case": ("header-readable", in_field("uuid", b"0B3A1C5E-7C1D-4D0F-9A52-5F0C8E6D1A77")),
    "uuid path": ("header-readable", in_field("uuid", b"../../../../../../etc/passwd-------x")),
    "uuid empty": ("header-readable", in_field("uuid", b"")),
    "json not closed": ("header-readable", in_text(b"}}", b"}")),
    "json duplicate member": ("header-readable", in_text(b'"segments":{', b'"segments":{},"segments":{')),
    "json second value": ("header-readable", in_text(b'{"keyslots"', b'{}{"keyslots"')),
    "json NaN": ("header-readable", in_text(b'"sector_size":', b'"sector_size":NaN,"x":')),
    "json no end": ("header-readable", no_end),
    "json padding": ("header-readable", tail(b"\0\0hidden")),
    "json array": ("header-members", lambda i, cs: [setattr(c, "text", b"[]") for c in cs]),
    "image of 0 bytes": ("header-readable", cut(0)),
    "image of 4095 bytes": ("header-readable", cut(4095)),
    "image without secondary": ("header-readable", cut(16384)),
    "image ends in secondary": ("header-readable", cut(32767)),
    "key slot area huge": ("header-readable", in_json(put("config/keyslots_size", str(1 << 50)))),

    "copies: other cipher": ("copies-agree", in_second_json(put(SEGMENT + "/encryption", "cipher_null-ecb"))),
    "copies: seqid": ("copies-agree", in_field("seqid", struct.pack(">Q", 99), [1])),
    "copies: uuid": ("copies-agree", in_field("uuid", b"0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a78", [1])),
    "copies: label": ("copies-agree", in_field("label", b"root", [0])),
    "padding": ("header-padding", in_field("padding", b"x")),
    "padding to 4096": ("header-padding", in_field("padding4096", b"\0\0x")),
    "unknown section": ("header-members", in_json(put("reencrypt", {}))),
    "no tokens section": ("header-members", in_json(drop("tokens"))),
    "keyslots are a list": ("header-members", in_json(put("keyslots", []))),

    "config unknown": ("config-members", in_json(put("config/x", 1))),
    "json_size": ("config-sizes", in_json(put("config/json_size", "16384"))),
    "json_size number": ("config-sizes", in_json(put("config/json_size", 12288))),
    "keyslots_size odd": ("config-sizes", in_json(put("config/keyslots_size", "1032193"))),
    "keyslots_size 0": ("config-sizes", in_json(put("config/keyslots_size", "0"))),
    "keyslots_size negative": ("config-sizes", in_json(put("config/keyslots_size", "-4096"))),
    "requirement reencrypt": ("config-requirements",
                              in_json(put("config/requirements", {"mandatory": ["online-reencrypt-v2"]}))),
    "requirement unknown kind": ("config-requirements", in_json(put("config/requirements", {"optional": []}))),
    "requirement text": ("config-requirements", in_json(put("config/requirements", "none"))),
    "flag": ("config-flags", in_json(put("config/flags", ["allow-discards"]))),

    "no segment": ("segment-single", in_json(put("segments", {}))),
    "segment other name": ("segment-single", in_json(lambda t: (
        t.__setitem__("segments", {"1": t["segments"]["0"]}), "segments")[1])),
    "two segments": ("segment-single", in_json(same_as("segments/1", SEGMENT))),
    "segment linear": ("segment-type", in_json(put(SEGMENT + "/type", "linear"))),
    "segment null cipher": ("segment-cipher", in_json(put(SEGMENT + "/encryption", "cipher_null-ecb"))),
    "segment cbc": ("segment-cipher", in_json(put(SEGMENT + "/encryption", "aes-cbc-essiv:sha256"))),
    "segment xts-plain": ("segment-cipher", in_json(put(SEGMENT + "/encryption", "aes-xts-plain"))),
    "segment no cipher": ("segment-cipher", in_json(drop(SEGMENT + "/encryption"))),
    "segment offset in header": ("segment-offset", in_json(put(SEGMENT + "/offset", "32768"))),
    "segment offset beyond end": ("segment-offset", in_json(put(SEGMENT + "/offset", str(1 << 40)))),
    "segment offset odd": ("segment-offset", in_json(put(SEGMENT + "/offset", "2097153"))),
    "segment offset overflow": ("segment-offset", in_json(put(SEGMENT + "/offset", str((1 << 64) + 2097152)))),
    "segment offset zeros": ("segment-offset", in_json(put(SEGMENT + "/offset", "02097152"))),
    "segment size": ("segment-size", in_json(put(SEGMENT + "/size", "1048576"))),
    "segment iv_tweak": ("segment-iv-tweak", in_json(put(SEGMENT + "/iv_tweak", "8"))),
    "segment sector 8192": ("segment-sector-size", in_json(put(SEGMENT + "/sector_size", 8192))),
    "segment sector 1536": ("segment-sector-size", in_json(put(SEGMENT + "/sector_size", 1536))),
    "segment sector text": ("segment-sector-size", in_json(put(SEGMENT + "/sector_size", "512"))),
    "segment integrity": ("segment-integrity", in_json(put(
        SEGMENT + "/integrity", {"type": "none", "journal_encryption": "none", "journal_integrity": "none"}))),
    "segment flags": ("segment-flags", in_json(put(SEGMENT + "/flags", ["backup-final"]))),
    "segment no flags": ("segment-flags", in_json(put(SEGMENT + "/flags", []))),
    "segment unknown member": ("segment-members", in_json(put(SEGMENT + "/x", 0))),

    "no key slots": ("keyslot-names", in_json(put("keyslots", {}))),
    "key slot 32": ("keyslot-names", in_json(same_as("keyslots/32", SLOT))),
    "key slot 01": ("keyslot-names", in_json(same_as("keyslots/01", SLOT))),
    "key slot reencrypt": ("keyslot-type", in_json(put(SLOT + "/type", "reencrypt"))),
    "key slot unknown member": ("keyslot-type", in_json(put(SLOT + "/mode", "reencrypt"))),
    "key slot priority": ("keyslot-type", in_json(put(SLOT + "/priority", 3))),
    "key slot text": ("keyslot-type", in_json(put(SLOT, "x"))),
    "key slot key size 32": ("keyslot-key-size", in_json(put(SLOT + "/key_size", 32))),
    "key slot key size 1": ("keyslot-key-size", in_json(put(SLOT + "/key_size", 1))),
    "af type": ("keyslot-af", in_json(put(SLOT + "/af/type", "luks2"))),
    "af one stripe": ("keyslot-af", in_json(put(SLOT + "/af/stripes", 1))),
    "af sha1": ("keyslot-af", in_json(put(SLOT + "/af/hash", "sha1"))),
    "af unknown member": ("keyslot-af", in_json(put(SLOT + "/af/x", 1))),
    "key slot null cipher": ("keyslot-cipher", in_json(put(SLOT + "/area/encryption", "cipher_null-ecb"))),
    "second key slot null cipher": ("keyslot-cipher",
                                    in_json(put("keyslots/1/area/encryption", "cipher_null-ecb"))),
    "area key size": ("keyslot-cipher", in_json(put(SLOT + "/area/key_size", 32))),
    "area type": ("keyslot-area", in_json(put(SLOT + "/area/type", "journal"))),
    "area in the header": ("keyslot-area", in_json(put(SLOT + "/area/offset", "16384"))),
    "area in the data": ("keyslot-area", in_json(put(SLOT + "/area/offset", "2097152"))),
    "area past its end": ("keyslot-area", in_json(put(SLOT + "/area/size", "1048576"))),
    "area overflow": ("keyslot-area", in_json(put(SLOT + "/area/size", str((1 << 64) - 4096)))),
    "area too small": ("keyslot-area", in_json(put(SLOT + "/area/size", "4096"))),
    "area not in sectors": ("keyslot-area", in_json(put(SLOT + "/area/offset", "32769"))),
    "area unknown member": ("keyslot-area", in_json(put(SLOT + "/area/hash", "sha256"))),
    "areas overlap": ("keyslot-overlap", in_json(same_as("keyslots/1/area/offset", SLOT + "/area/offset"))),
    "areas overlap by a sector": ("keyslot-overlap", in_json(put("keyslots/1/area/offset", "286720"))),
    "kdf unknown": ("keyslot-kdf", in_json(put(SLOT + "/kdf/type", "scrypt"))),
    "kdf 1 iteration": ("keyslot-kdf", in_json(put(SLOT + "/kdf/iterations", 1))),
    "kdf iterations huge": ("keyslot-kdf", in_json(put(SLOT + "/kdf/iterations", 4294967295))),
    "kdf sha1": ("keyslot-kdf", in_json(put(SLOT + "/kdf/hash", "sha1"))),
    "kdf salt": ("keyslot-kdf", in_json(put(SLOT + "/kdf/salt", "AA=="))),
    "kdf argon2 memory": ("keyslot-kdf", in_json(put(SLOT + "/kdf", dict(ARGON2, memory=1 << 30)))),
    "kdf argon2 cpus": ("keyslot-kdf", in_json(put(SLOT + "/kdf", dict(ARGON2, cpus=64)))),
    "kdf argon2 time": ("keyslot-kdf", in_json(put(SLOT + "/kdf", dict(ARGON2, time=1 << 31)))),
    "kdf unknown member": ("keyslot-kdf", in_json(put(SLOT + "/kdf", dict(ARGON2, hash="sha256")))),

    "no digest": ("digest-single", in_json(put("digests", {}))),
    "two digests": ("digest-single", in_json(same_as("digests/1", DIGEST))),
    "digest type": ("digest-type", in_json(put(DIGEST + "/type", "none"))),
    "digest hash": ("digest-type", in_json(put(DIGEST + "/hash", "sha1"))),
    "digest iterations": ("digest-type", in_json(put(DIGEST + "/iterations", 1))),
    "digest short": ("digest-type", in_json(put(DIGEST + "/digest", "AAAA"))),
    "digest unknown member": ("digest-type", in_json(put(DIGEST + "/x", 1))),
    "digest of no segment": ("digest-links", in_json(put(DIGEST + "/segments", []))),
    "digest of another segment": ("digest-links", in_json(put(DIGEST + "/segments", ["1"]))),
    "digest of a number": ("digest-links", in_json(put(DIGEST + "/segments", [0]))),
    "digest without a key slot": ("digest-links", in_json(put(DIGEST + "/keyslots", ["0"]))),
    "digest with a key slot twice": ("digest-links", in_json(put(DIGEST + "/keyslots", ["0", "0"]))),

    "token unknown": ("tokens-known", in_json(put("tokens/0", {"type": "systemd-tpm2", "keyslots": ["0"]}))),
    "token keyring": ("tokens-known", in_json(put(
        "tokens/0", {"type": "luks2-keyring", "keyslots": ["0"], "key_description": "x"}))),
    "token without a key slot": ("tokens-known", in_json(put("tokens/0", dict(RECORD, keyslots=["7"])))),
    "token name": ("tokens-known", in_json(put("tokens/x", RECORD))),
    "two records": ("tokens-single", in_json(put("tokens", {"0": RECORD, "1": RECORD}))),
    "two pending": ("tokens-single", in_json(put("tokens", {"0": PENDING, "1": PENDING}))),
}

# What a genuine volume may well have: forged in the same way, and accepted.
ACCEPTED = {
    "no flags": in_json(put("config/flags", [])),
    "empty requirements": in_json(put("config/requirements", {})),
    "no mandatory requirements": in_json(put("config/requirements", {"mandatory": []})),
    "priority": in_json(put(SLOT + "/priority", 2)),
    "argon2id": in_json(put(SLOT + "/kdf", ARGON2)),
    "sector 4096": in_json(put(SEGMENT + "/sector_size", 4096)),
    "offset further on": in_json(put(SEGMENT + "/offset", "2101248")),
    "label": in_field("label", b"root"),
    "a record": in_json(put("tokens/0", RECORD)),
    "a record and a pending token": in_json(put("tokens", {"3": RECORD, "4": PENDING})),
}


def write(forge, good, bad):
    """Applies one forgery; both checksums are made right again unless it was about them."""
    image, copies = load(good)
    before = [c.bytes() for c in copies]
    whole = len(image)
    forge(image, copies)
    after = [c.bytes(checksum=not hasattr(c, "broken")) for c in copies]
    assert before != after or len(image) != whole, "nothing was forged"
    if len(image) == whole:
        for c, raw in zip(copies, after):
            image[c.at:c.at + c.size] = raw
    Path(bad).write_bytes(image)


def main():
    if sys.argv[1:] == ["list"]:
        for name, (rule, _) in FORGERIES.items():
            print(f"{rule:20} {name}")
    elif len(sys.argv) == 4 and sys.argv[1] in FORGERIES:
        write(FORGERIES[sys.argv[1]][1], *sys.argv[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
