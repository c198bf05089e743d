# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between the machines that guests are made for, all in one table. MU_ARCH (make vm ARCH=) chooses."""
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

SHARE = Path("/usr/share")


@dataclass(frozen=True)
class Architecture:
    """efi: what UEFI calls it in file names, upper case. cpu: of QEMU. tpm: QEMU's device. variables, code: of the firmware.
    machine: QEMU's options for it. modules: of the kernel, for disk and TPM. elf: e_machine
    of its programs. ram: where it begins."""
    name: str
    efi: str
    console: str
    cpu: str
    tpm: str
    variables: Path
    code: Path
    machine: tuple
    modules: tuple
    elf: int
    ram: int

    @property
    def emulator(self):
        return f"qemu-system-{self.name}"

    @property
    def boot_file(self):
        return f"EFI/BOOT/BOOT{self.efi}.EFI"

    @property
    def stub(self):
        return f"linux{self.efi.lower()}.efi.stub"

    @property
    def loader(self):
        return f"systemd-boot{self.efi.lower()}.efi"

    def binutils(self, tool):
        return f"{self.name}-linux-gnu-{tool}"

    @property
    def is_foreign(self):
        return self.name != platform.machine()


TABLE = {a.name: a for a in (
    # The build of OVMF that knows Secure Boot: others leave it out as a whole since Debian 13. No machine of EC2 is like
    # that, and PCR 7 shows it.
    Architecture("x86_64", "X64", "ttyS0", "max", "tpm-crb", SHARE / "OVMF/OVMF_VARS_4M.fd", SHARE / "OVMF/OVMF_CODE_4M.secboot.fd",
                 ("-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
                  "-global", "ICH9-LPC.disable_s3=1"),
                 ("virtio_blk",), elf=0x3e, ram=0),
    # Graviton2 and later have this core or its successors.
    Architecture("aarch64", "AA64", "ttyAMA0", "neoverse-n1", "tpm-tis-device", SHARE / "AAVMF/AAVMF_VARS.fd",
                 SHARE / "AAVMF/AAVMF_CODE.fd", ("-machine", "virt"),
                 ("virtio_blk", "tpm_tis"), elf=0xb7, ram=1 << 30),
)}
CHOSEN = TABLE.get(os.environ.get("MU_ARCH") or platform.machine())
if CHOSEN is None:
    raise SystemExit(f"MU_ARCH={os.environ['MU_ARCH']}: there are {', '.join(TABLE)}")
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def let_programs_run():
    """The guest's own programs are run to make its images: by qemu-user, if they are not for this machine."""
    if not CHOSEN.is_foreign:
        return
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], capture_output=True)
    if not (BINFMT / "register").exists():
        raise RuntimeError(f"{BINFMT} cannot be mounted: programs for {CHOSEN.name} cannot be run to make the guest's images")
    name = f"qemu-{CHOSEN.name}"
    if (BINFMT / name).exists():
        return
    magic = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + CHOSEN.elf.to_bytes(2, "little")
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    escaped = ["".join(f"\\x{byte:02x}" for byte in text) for text in (magic, mask)]
    (BINFMT / "register").write_text(":".join(["", name, "M", "", *escaped, f"/usr/bin/qemu-{CHOSEN.name}-static", "F"]))
