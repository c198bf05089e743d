# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images without loop devices: a GPT with an EFI system partition and root partitions."""
import os
import subprocess

from . import steps

MIB = 1 << 20
ESP_MIB = 128
SEVERAL_MIB = 512  # with a boot loader: room for more images
# Labels of partitions with a type that systemd acts upon; all others are Linux data.
SRV, SWAP = "srv", "swap"
TYPES = {SRV: "3B8F8425-20E0-4F3B-907F-1A25A76F98E8", SWAP: "S"}


def _copy(source, target, offset):
    """Copy a file to an offset of target, keeping holes."""
    with open(source, "rb") as src, open(target, "r+b") as dst:
        size, pos = os.fstat(src.fileno()).st_size, 0
        while pos < size:
            try:
                pos = os.lseek(src.fileno(), pos, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(src.fileno(), pos, os.SEEK_HOLE)
            while pos < end:
                pos += os.copy_file_range(src.fileno(), dst.fileno(), end - pos, pos, offset + pos)


def esp(path, uki):
    """A FAT image with the UKI where firmware looks for it by default, or with its boot loader there (see loader)."""
    with steps.bench(esp=path, uki_efi=uki, **loader(uki)) as work:
        steps.run(work, "50-esp", ESP_MIB=SEVERAL_MIB if loader(uki) else ESP_MIB, **loading(uki))


def loader(uki):
    """The boot loader that a UKI was made to be started by, which lies beside it, as a link for steps.bench."""
    path = uki.parent / "boot.efi"
    return {"boot_efi": path} if path.exists() else {}


def loading(uki):
    """The variable that says so to the steps."""
    return {"BOOT_LOADER": "systemd-boot"} if loader(uki) else {}


def content(disk, place):
    """Names in a folder of the EFI system partition."""
    done = subprocess.run(["mdir", "-b", "-i", f"{disk}@@{MIB}", f"::{place}"], check=True, capture_output=True, text=True)
    return sorted(line.rsplit("/", 1)[1] for line in done.stdout.split())


def replace_uki(disk, uki):
    """What somebody with write access to the ESP can do."""
    esp_path = disk.with_suffix(".esp")
    esp(esp_path, uki)
    _copy(esp_path, disk, MIB)
    esp_path.unlink()


def put(disk, place, content):
    """One more file on the EFI system partition."""
    subprocess.run(["mcopy", "-i", f"{disk}@@{MIB}", "-", f"::{place}"], input=content, check=True)


def gpt(path, uki, roots):
    """A disk: the ESP, then one partition for each image in roots (label -> image)."""
    esp_path = path.with_suffix(".esp")
    esp(esp_path, uki)
    table, places, start = ["label: gpt"], [], 1
    for label, image, kind in [("esp", esp_path, "U"),
                               *((label, image, TYPES.get(label, "L")) for label, image in roots.items())]:
        size = -(-os.stat(image).st_size // MIB)
        table.append(f"start={start}MiB, size={size}MiB, type={kind}, name={label}")
        places.append((image, start * MIB))
        start += size
    path.unlink(missing_ok=True)
    subprocess.run(["truncate", "-s", f"{start + 1}M", path], check=True)
    subprocess.run(["sfdisk", "--quiet", path], input="\n".join(table), text=True, check=True)
    for image, offset in places:
        _copy(image, path, offset)
    esp_path.unlink()
    return path
