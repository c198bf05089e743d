# SPDX-License-Identifier: GPL-2.0-or-later
"""What an acceptance run alters an image with: UEFI variables, a driver, and blocks of its snapshot."""
import base64
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SHA256_LIST = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")
ESP_TYPE = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
DRIVER = "EFI/acceptance.efi"


class Problem(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def command(*words, **options):
    """What a program printed."""
    try:
        done = subprocess.run([str(w) for w in words], capture_output=True, **options)
    except FileNotFoundError:
        raise Problem(4, f"{words[0]}: there is no such program; docs/guide/acceptance.md says what is needed") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-600:]
        raise Problem(3, f"{' '.join(map(str, words[:8]))}: exit code {done.returncode}: {said}")
    return done.stdout


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def uefi_data(variables):
    """EC2's variable store; variables: (name, GUID, attributes, data). As `muctl secureboot store` writes it for keys."""
    raw = struct.pack("<Q", len(variables))
    for name, guid, attributes, data in variables:
        raw += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<Q", len(data)) + data + guid.bytes_le
        raw += struct.pack("<I", attributes)
        if attributes & 0x20:  # a time and the digest of a certificate: the variable was never updated
            raw += bytes(16) + struct.pack("<Q", 32) + bytes(32)
    deflate = zlib.compressobj(wbits=-15)
    stream = bytes.fromhex("78f96bb7d9f7") + deflate.compress(raw) + deflate.flush() + struct.pack(">I", zlib.adler32(raw))
    checked = struct.pack("<I", 0) + stream
    return base64.b64encode(b"AMZNUEFI" + struct.pack("<I", crc32c(checked)) + checked).decode()


def load_option(partition, place, data=b""):
    """EFI_LOAD_OPTION of a file on this partition (UEFI 2.10, 3.1.3, 10.3.5.1, 10.3.5.4), and what the file is handed."""
    number, start, size, guid = partition
    path = struct.pack("<BBHIQQ", 4, 1, 42, number, start, size) + guid.bytes_le + b"\2\2"
    file = ("\\" + place.replace("/", "\\") + "\0").encode("utf-16-le")
    path += struct.pack("<BBH", 4, 4, 4 + len(file)) + file + bytes.fromhex("7fff0400")
    return struct.pack("<IH", 1, len(path)) + "acceptance\0".encode("utf-16-le") + path + data


def driver(machine):
    """A UEFI driver that does nothing: PE32+ of one section (PE/COFF Specification, 3 and 4)."""
    code = {0x8664: bytes.fromhex("31c0c3"), 0xaa64: bytes.fromhex("000080d2c0035fd6")}[machine].ljust(512, b"\0")
    header = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
    header += struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240, 0x22e)
    header += struct.pack("<HBBIIIII", 0x20b, 0, 0, len(code), 0, 0, 4096, 4096)
    header += struct.pack("<QIIHHHHHHIIIIHH", 0, 4096, 512, 0, 0, 0, 0, 0, 0, 0, 8192, 512, 0, 11, 0)
    header += struct.pack("<QQQQII", 0, 0, 0, 0, 0, 16) + bytes(16 * 8)
    header += b".text".ljust(8, b"\0") + struct.pack("<IIIIIIHHI", len(code), 4096, len(code), 512, 0, 0, 0, 0, 0x60000020)
    return header.ljust(512, b"\0") + code


def section(image, name):
    """Where a section of a PE image is in its file: (offset, size)."""
    pe, = struct.unpack_from("<I", image, 0x3c)
    count, optional = struct.unpack_from("<H12xH", image, pe + 6)
    for at in range(pe + 24 + optional, pe + 24 + optional + 40 * count, 40):
        if image[at:at + 8].rstrip(b"\0") == name.encode():
            size, _, _, offset = struct.unpack_from("<IIII", image, at + 8)
            return offset, size
    raise Problem(4, f"what firmware starts has no section {name}: the run wants an image without a boot loader")


class Disk:
    """The EFI system partition of a snapshot, by EBS's own interface: nothing is attached to anything."""

    def __init__(self, aws, snapshot, folder):
        self.aws, self.snapshot, self.folder = aws, snapshot, folder
        self.path = folder / "disk"
        self.path.touch()
        listed = self._list(0)
        self.block_size, self.volume_size = listed["BlockSize"], listed["VolumeSize"]
        self._fetch([b for b in listed["Blocks"] if b["BlockIndex"] == 0])
        self.partition = self._esp()
        first, last = (sector * 512 // self.block_size for sector in (self.partition[1], sum(self.partition[1:3]) - 1))
        self._fetch([b for b in self._blocks(first, last) if b["BlockIndex"] != 0])
        os.truncate(self.path, (last + 1) * self.block_size)

    def _list(self, first, *more):
        return self.aws("ebs", "list-snapshot-blocks", "--snapshot-id", self.snapshot, "--starting-block-index", first,
                        "--max-results", 1000, *more)

    def _blocks(self, first, last):
        answer, found = self._list(first), []
        while True:
            found += [b for b in answer["Blocks"] if first <= b["BlockIndex"] <= last]
            if not answer.get("NextToken") or any(b["BlockIndex"] > last for b in answer["Blocks"]):
                return found
            answer = self._list(first, "--next-token", answer["NextToken"])

    def _fetch(self, blocks):
        def fetch(block):
            file = self.folder / f"block-{block['BlockIndex']}"
            self.aws("ebs", "get-snapshot-block", "--snapshot-id", self.snapshot, "--block-index", block["BlockIndex"],
                     "--block-token", block["BlockToken"], file)
            content = file.read_bytes()
            file.unlink()
            return block["BlockIndex"], content
        with open(self.path, "r+b") as disk, ThreadPoolExecutor(4) as pool:
            for index, content in pool.map(fetch, blocks):
                disk.seek(index * self.block_size)
                disk.write(content)

    def _esp(self):
        """Number, first sector, sectors and GUID of the EFI system partition (UEFI 2.10, 5.3)."""
        with open(self.path, "rb") as disk:
            head = disk.read(34 * 512)
        for number in range(1, 129):
            entry = head[1024 + 128 * (number - 1):][:128]
            if head[512:520] == b"EFI PART" and entry[:16] == ESP_TYPE.bytes_le:
                first, last = struct.unpack_from("<QQ", entry, 32)
                return number, first, last - first + 1, uuid.UUID(bytes_le=entry[16:32])
        raise Problem(4, f"{self.snapshot} has no EFI system partition")

    def _mtools(self, program, path, *words):
        command(program, "-i", f"{path}@@{self.partition[1] * 512}", *words, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})

    def read(self, place):
        file = self.folder / "file"
        self._mtools("mcopy", self.path, "-n", f"::{place}", file)
        content = file.read_bytes()
        file.unlink()
        return content

    def put(self, path, place, content):
        """One more file in a copy of the disk."""
        file = self.folder / "file"
        file.write_bytes(content)
        self._mtools("mcopy", path, "-o", file, f"::{place}")

    @staticmethod
    def overwrite(path, old, new):
        """A file of the same size in its place, so that one block of it differs."""
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
            at = disk.find(old)
            if at < 0:
                raise Problem(4, "the image lies in pieces on its EFI system partition")
            disk[at:at + len(new)] = new

    def altered(self, description, tag, change, *arguments):
        """A snapshot of the same disk after this change to it; its name."""
        file, path = self.folder / "file", Path(shutil.copy(self.path, self.folder / "altered"))
        change(path, *arguments)
        made = self.aws("ebs", "start-snapshot", "--volume-size", self.volume_size, "--parent-snapshot-id", self.snapshot,
                        "--description", description, "--tags", tag)["SnapshotId"]
        changed = 0
        with open(self.path, "rb") as old, open(path, "rb") as new:
            for index in range(path.stat().st_size // self.block_size):
                block = new.read(self.block_size)
                if block == old.read(self.block_size):
                    continue
                file.write_bytes(block)
                digest = base64.b64encode(hashlib.sha256(block).digest()).decode()
                self.aws("ebs", "put-snapshot-block", "--snapshot-id", made, "--block-index", index, "--block-data", file,
                         "--data-length", len(block), "--checksum", digest, "--checksum-algorithm", "SHA256")
                changed += 1
        self.aws("ebs", "complete-snapshot", "--snapshot-id", made, "--changed-blocks-count", changed)
        self.aws("ec2", "wait", "snapshot-completed", "--snapshot-ids", made)
        return made
