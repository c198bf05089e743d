# SPDX-License-Identifier: GPL-2.0-or-later
"""OVMF, which knows Secure Boot."""
from pathlib import Path

OVMF = Path("/usr/share/OVMF")


def empty():
    """A variable store with nothing in it."""
    return (OVMF / "OVMF_VARS_4M.fd").read_bytes()


def options(store):
    """QEMU's, for a file with a variable store, which is written to. Secure Boot is on if the store has a PK. Other builds than
    this one leave out Secure Boot as a whole since Debian 13: no machine of EC2 is like that, and PCR 7 shows it."""
    return ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF / 'OVMF_CODE_4M.secboot.fd'}",
            "-drive", f"if=pflash,format=raw,unit=1,file={store}"]
