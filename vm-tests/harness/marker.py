# SPDX-License-Identifier: GPL-2.0-or-later
"""The marker disk: a tar archive to the guest (what to check), another one back (what it saw)."""
import io
import tarfile

SIZE = 8 << 20


def write(path, check=None, stay=False, running=False):
    """check: a shell script the guest runs once it is up; running: only when systemd has started everything; stay: do not
    power off afterwards."""
    files = {"check": "#!/bin/sh\n" + check} if check else {}
    files |= {name: "" for name, wanted in (("stay", stay), ("running", running)) if wanted}
    with tarfile.open(path, "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o755, len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    with open(path, "r+b") as disk:
        disk.truncate(SIZE)


def read(path):
    """What the guest left: name -> bytes; `booted` is among them only if it came up."""
    with tarfile.open(path, "r:") as archive:
        return {member.name.removeprefix("./"): archive.extractfile(member).read()
                for member in archive if member.isfile()}
