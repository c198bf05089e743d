# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attacker with the disk can do to a UKI that still boots."""
import struct

PAGE = 4096


class Uki:
    """PE/COFF Specification, 3 and 4: enough to change and to lengthen sections."""

    def __init__(self, path):
        self.data = bytearray(path.read_bytes())
        pe = struct.unpack_from("<I", self.data, 0x3c)[0]
        count, optional = struct.unpack_from("<H12xH", self.data, pe + 6)
        self._optional, table = pe + 24, pe + 24 + optional
        self._headers = {self.data[at:at + 8].rstrip(b"\0").decode(): at
                         for at in range(table, table + 40 * count, 40)}

    def _place(self, name):
        """Virtual size, address, raw size, raw offset."""
        return struct.unpack_from("<4I", self.data, self._headers[name] + 8)

    def section(self, name):
        virtual, _, _, offset = self._place(name)
        return bytes(self.data[offset:offset + virtual])

    def patch(self, name, old, new):
        """Replace text inside a section by another of the same length."""
        _, _, size, offset = self._place(name)
        at = self.data.index(old, offset, offset + size)
        if len(new) != len(old):
            raise ValueError("another length")
        self.data[at:at + len(old)] = new
        return self

    def append(self, name, more):
        """Lengthen a section, which moves to the end of the image and of its memory."""
        content = self.section(name)
        content += bytes(-len(content) % 4) + more  # where the kernel looks for the next archive
        place = max(-(-(p[1] + p[0]) // PAGE) * PAGE for p in map(self._place, self._headers))
        self.data += bytes(-len(self.data) % PAGE)
        offset, size = len(self.data), -(-len(content) // PAGE) * PAGE
        self.data += content.ljust(size, b"\0")
        struct.pack_into("<4I", self.data, self._headers[name] + 8,
                         len(content), place, size, offset)
        struct.pack_into("<I", self.data, self._optional + 56, place + size)  # SizeOfImage
        return self

    def save(self, path):
        path.write_bytes(self.data)
        return path


def cpio(files):
    """A newc archive, which the kernel unpacks over what came before it; name -> bytes, or None for a folder."""
    out, names = bytearray(), [*files, "TRAILER!!!"]
    for inode, name in enumerate(names, 1):
        content = files.get(name, b"") or b""
        mode = 0o100755 if content else 0o40755 if name in files else 0
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                  len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)
