# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that boots what is on its EFI system partition and tells what was measured; nothing of this project is in it."""
import lzma
import os
import re
import subprocess
import tempfile
from pathlib import Path

from . import base, firmware, marker
from .architecture import CHOSEN
from .uki import cpio

TIMEOUT = 240
CMDLINE = f"console={CHOSEN.console} panic=-1 quiet mitigations=off no_timer_check"
PLACE = CHOSEN.boot_file

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
mount -t securityfs none /sys/kernel/security
for module in /modules/*; do insmod "$module"; done
while ! [ -e /dev/vdb ]; do sleep 0.1; done
mkdir /out && cd /out
cp 2>/dev/null /sys/kernel/security/tpm0/binary_bios_measurements eventlog
grep -r . /sys/class/tpm/tpm0/pcr-* >pcrs
tar cf /dev/vdb ./* && sync
poweroff -f
"""


def run(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, **options).stdout


def guest_file(pattern):
    """A file of the guest's base tree."""
    return next(base.tree().glob(pattern))


def modules(*names):
    """Kernel modules of the guest and those that they need, which come first; none of what is built in."""
    folder = guest_file("usr/lib/modules/*")
    needs = dict(line.split(":") for line in (folder / "modules.dep").read_text().splitlines())
    wanted = [path for path in needs if Path(path).name.split(".")[0] in names]
    ordered = dict.fromkeys(one for path in wanted for one in [*reversed(needs[path].split()), path])
    contents = ((folder / path, (folder / path).read_bytes()) for path in ordered)
    return [lzma.decompress(content) if path.suffix == ".xz" else content for path, content in contents]


def initrd():
    files = {f"modules/{i:02}.ko": content for i, content in enumerate(modules("virtio_pci", *CHOSEN.modules))}
    return cpio({**dict.fromkeys(("bin", "proc", "sys", "dev", "modules")), "bin/busybox": guest_file("usr/bin/busybox").read_bytes(),
                 "init": INIT.encode(), **files})


def kernel():
    return guest_file("boot/vmlinuz-*")


def uki(path, stub, **sections):
    """stub with sections appended, as dracut does it; default: kernel, initrd, command line, name."""
    wanted = {"osrel": b'ID=test\nNAME="a test"\nVERSION_ID="1"\n', "cmdline": CMDLINE.encode(), "initrd": initrd(),
              "linux": kernel().read_bytes(), **sections}
    headers = run(CHOSEN.binutils("objdump"), "-h", stub).decode()
    ends = [int(m[1], 16) + int(m[2], 16) for m in re.finditer(r"^ +\d+ \S+ +(\w+) +(\w+)", headers, re.M)]
    address, options = max(ends), []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in wanted.items():
            address = (address | 0xfff) + 1
            (Path(folder) / name).write_bytes(content)
            options += ["--add-section", f".{name}={folder}/{name}", "--change-section-vma", f".{name}={address:#x}"]
            address += len(content)
        run(CHOSEN.binutils("objcopy"), *options, stub, path)
    return path


def esp(path, files):
    """A FAT image; files: place -> file."""
    run("truncate", "-s", "96M", path)
    run("mformat", "-i", path, "-F", "::")
    made = set()
    for place, source in files.items():
        for parent in [*Path(place).parents][-2::-1]:
            if parent not in made:
                run("mmd", "-i", path, f"::{parent}")
            made.add(parent)
        run("mcopy", "-i", path, source, f"::{place}")
    return path


def boot(folder, files, variables=None, strings=()):
    """Boot until it powers off; what it left on the marker disk. variables: a store for Secure Boot; strings: see Machine."""
    disk, report, store, serial = (folder / n for n in ("esp.raw", "marker", "vars.fd", "serial"))
    esp(disk, files)
    marker.write(report)
    store.write_bytes(variables or firmware.empty())
    state, control = folder / "tpm", folder / "ctrl"
    state.mkdir()
    run("swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", "sha1,sha256,sha384")
    tpm = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
                            "--ctrl", f"type=unixio,path={control}", "--terminate"])
    drive = "if=none,format=raw,cache=unsafe"
    try:
        subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", CHOSEN.emulator, "-nodefaults", "-display", "none", "-no-reboot", "-m", "768",
             *firmware.options(store),
             "-accel", os.environ.get("MU_ACCEL", "tcg,thread=multi"), "-cpu", os.environ.get("MU_CPU", CHOSEN.cpu),
             "-drive", f"{drive},id=esp,file={disk}", "-device", "virtio-blk-pci,drive=esp,bootindex=1",
             "-drive", f"{drive},id=marker,file={report}", "-device", "virtio-blk-pci,drive=marker",
             "-chardev", f"socket,id=tpm,path={control}", "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", f"{CHOSEN.tpm},tpmdev=tpm",
             *(a for s in strings for a in ("-smbios", f"type=11,value={s}")), "-serial", f"file:{serial}"],
            check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    finally:
        tpm.terminate()
        tpm.wait()
    seen = marker.read(report)
    if "pcrs" not in seen:
        raise RuntimeError("it did not come up: " + serial.read_text(errors="replace")[-2000:])
    return seen
