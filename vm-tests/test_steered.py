# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs that no PCR shows (dracut-module/doors), in whole boots: what each does to an image that leaves its door open, which is
the premise, and that it does nothing to the standard one."""
import json
import subprocess

import pytest

from harness import disk, driver, firmware, image, variables
from harness.uki import Uki, cpio
from harness.workshop import BOOT
from test_refuses import assert_refused
from test_unlocks import pcr, report

OPEN = "efivars credentials gpt-auto swap"
# By an EFI variable: in the initramfs, long before the fence, and in the system that was unlocked.
OPTIONS = "rd.systemd.mount-extra=tmpfs:/run/steered:tmpfs systemd.mount-extra=tmpfs:/media:tmpfs\0"
# By SMBIOS strings, which are credentials to systemd.
OVER_THE_ROOT = "io.systemd.credential:fstab.extra=tmpfs /opt tmpfs x-initrd.mount 0 0"
STEERED = ["/run/steered", "/media", "/srv"]
SWAPS = "cat /proc/swaps"


def attacked(site, uki, volume, running=True, strings=(OVER_THE_ROOT,)):
    """A machine whose firmware and disk were written to by somebody: variables, strings, partitions."""
    store = variables.with_variable(firmware.empty(), "SystemdOptions", variables.SYSTEMD, variables.ATTRIBUTES,
                                    OPTIONS.encode("utf-16-le"))
    srv, swap = (site.workshop.scratch / name for name in ("srv", "swap"))
    for path, program in ((srv, ["mke2fs", "-q", "-F", "-t", "ext4"]), (swap, ["mkswap", "-q"])):
        subprocess.run(["truncate", "-s", "8M", path], check=True)
        subprocess.run([*program, path], check=True)
    return site.boot(uki=uki, volumes={"root": volume, disk.SRV: srv, disk.SWAP: swap}, allow=[uki], variables=store,
                     strings=strings, running=running, check=SWAPS)


def mounts(m):
    return [line.split()[1] for line in m.seen["mounts"].decode().splitlines()]


needs_mount_extra = pytest.mark.needs("systemd >= 254")


@pytest.fixture(scope="module")
def opened(site):
    """An image that leaves the doors open, and its volume."""
    uki = site.workshop.uki(boot=f"{BOOT}\nopen = {OPEN}")
    return uki, site.workshop.enroll(site.new_volume(), uki)


@needs_mount_extra
def test_an_open_image_is_steered(site, opened):
    """The premise of each of them. PCR 4, 7 and 12 are what they should be."""
    with attacked(site, *opened, strings=()) as m:
        m.wait()
        assert m.booted, m.log()
        assert report(m)["open_doors"] == OPEN.split()
        assert pcr(m, 12) == "00" * 48
        assert set(STEERED) <= set(mounts(m))
        assert b"/dev/vd" in m.seen["check.out"], "no swap"


@needs_mount_extra
def test_the_standard_image_is_not(site):
    with attacked(site, site.ukis[image.SYSTEMD], site.volume()) as m:
        m.wait()
        assert m.booted, m.log()
        assert report(m)["result"] == "unlocked" and report(m)["open_doors"] == []
        assert not {*STEERED, "/opt"} & set(mounts(m))
        assert b"/dev/" not in m.seen["check.out"], "swap"


@needs_mount_extra
def test_nothing_is_mounted_over_the_root(site, opened):
    """Not even where the image takes credentials: what lies over the root is looked at before the switch to it."""
    with attacked(site, *opened, strings=[OVER_THE_ROOT]) as m:
        m.wait()
        assert not m.booted, m.log()
        assert "BOOT REFUSED" in m.log() and "/sysroot/opt" in m.log(), m.log()


# A UEFI driver on the ESP, which EFI variables have firmware start before any image.

DRIVER = {"variables": driver.started(firmware.empty()), "files": [(driver.PLACE, driver.image())]}


@driver.runs
def test_driver_is_refused(site):
    with site.boot(**DRIVER) as m:
        assert_refused(m, "PCR 2")
        assert driver.TEXT.decode().strip() in m.log(), "it did not run"
        assert "\\EFI\\driver.efi" in m.log(), "the message does not name it"


@pytest.mark.long
@driver.runs
def test_driver_where_pcr_2_is_left_out(site):
    """The premise: no other PCR shows it."""
    good = site.ukis[image.SYSTEMD]
    baked = json.loads(site.workshop.baseline(good).read_text())
    for pcr_name in ("PCR2", "PCR4"):
        del baked["Measurements"][pcr_name]
    baked["Without"] = [2]
    uki = Uki(good).append(".initrd", cpio({"etc/measured-unlock/baseline.json": json.dumps(baked).encode()}))
    uki = uki.save(site.workshop.scratch / "without.efi")
    site.workshop.without[uki] = "2"
    volume = site.workshop.enroll(site.new_volume(), uki)
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki], **DRIVER) as m:
        m.wait()
        assert m.booted, m.log()
        assert report(m)["result"] == "unlocked"
        assert driver.TEXT.decode().strip() in m.log(), "it did not run"
