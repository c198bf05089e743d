# SPDX-License-Identifier: GPL-2.0-or-later
"""A blank second disk becomes the instance's own volume, and stays it. Its twins: a disk that holds something."""
import json
import subprocess
import time

import pytest

from harness import image, machine

DEVICE = "/dev/disk/by-id/virtio-data"
SIZE = "96M"
FIRST = """
set -e
test -e /run/measured-unlock/created/data
mke2fs -q -t ext4 /dev/mapper/data
mount /dev/mapper/data /mnt
echo 'worth keeping' >/mnt/file
umount /mnt
"""
# After a cut the volume may be there and its file system not: by hand then, as docs/guide/data-volumes.md says.
BY_HAND = FIRST.replace("test -e /run/measured-unlock/created/data\n", "")
AGAIN = "test ! -e /run/measured-unlock/created/data && mount -o ro /dev/mapper/data /mnt && cat /mnt/file"


@pytest.fixture(scope="module")
def uki(site):
    return site.workshop.uki(image.PLAIN, blank=DEVICE)


@pytest.fixture(scope="module")
def root(site, uki):
    return site.workshop.enroll(site.new_volume(), uki)


@pytest.fixture
def data(site):
    path = site.workshop.scratch / "data.raw"
    path.unlink(missing_ok=True)
    subprocess.run(["truncate", "-s", SIZE, path], check=True)
    return path


def boot(site, uki, root, data, drive="", **options):
    disk = site.workshop.disk(uki, root=root)
    return machine.Machine(
        site.workshop, disk, site.workshop.data_policy(uki),
        qemu=["-drive", f"if=none,format=raw,cache=unsafe,id=data,file={data}{drive}",
              "-device", "virtio-blk-pci,drive=data,serial=data"], **options)


def created(m):
    return json.loads(m.seen["report.json"])["volumes"][1].get("created", False)


def operations(m):
    return [(r["operation"], r["status"]) for r in m.aws.requests() if r.get("operation") in ("Decrypt", "GenerateDataKey")]


def test_made_used_and_opened_again(site, uki, root, data):
    with boot(site, uki, root, data, check=FIRST) as m:
        m.wait()
        assert m.booted, m.log()
        assert m.seen["check.status"] == b"0\n", m.seen["check.out"]
        assert created(m) and operations(m) == [("Decrypt", 200), ("GenerateDataKey", 200), ("Decrypt", 200)]
        assert m.seen["dmsetup"].count(b"crypt aes-xts-plain64") == 2
        assert b"sector_size:4096" in m.seen["dmsetup"]
    assert b"worth keeping" not in data.read_bytes()
    with boot(site, uki, root, data, check=AGAIN) as m:
        m.wait()
        assert m.booted, m.log()
        assert m.seen["check.out"] == b"worth keeping\n" and not created(m)
        assert operations(m) == [("Decrypt", 200)] * 2


CLAIM = b"measured-unlock"
MOMENTS = [lambda disk: disk.startswith(CLAIM),
           lambda disk: disk.startswith(CLAIM) and any(disk[4096:8192]),
           lambda disk: disk.startswith(b"LUKS")]


def cut_when(m, data, moment):
    """The power goes as soon as the host sees that on the disk."""
    end = time.monotonic() + machine.TIMEOUT
    while True:
        with data.open("rb") as disk:
            start = disk.read(8192)
        if moment(start):
            m.qmp("quit")
            m.qemu.wait(20)
            return
        assert time.monotonic() < end and m.qemu.poll() is None, m.log()
        time.sleep(0.02)


@pytest.mark.long
def test_power_cut(site, uki, root, data):
    """A disk of one write a second is cut off with the claim on it, with a part of the header, with all of it."""
    for moment in MOMENTS:
        with boot(site, uki, root, data, drive=",throttling.iops-write=1") as m:
            cut_when(m, data, moment)
            assert not m.booted
    with boot(site, uki, root, data, check=BY_HAND) as m:
        m.wait()
        assert m.booted, m.log()
        assert m.seen["check.status"] == b"0\n", m.seen["check.out"]
    with boot(site, uki, root, data, check=AGAIN) as m:
        m.wait()
        assert m.seen["check.out"] == b"worth keeping\n" and not created(m)


@pytest.mark.long
def test_file_system_is_refused(site, uki, root, data):
    subprocess.run(["mkfs.ext4", "-q", data], check=True)
    before = data.read_bytes()
    with boot(site, uki, root, data) as m:
        m.wait()
        assert not m.booted
        said = " ".join(m.log().split())
        assert "is not blank" in said and "ext4" in said and "fence closed" in said
        assert operations(m) == []
    assert data.read_bytes() == before


@pytest.mark.long
def test_boot_disk_is_refused(site, root, data):
    """The boot disk itself: it has a partition table."""
    own = site.workshop.uki(image.PLAIN, blank="/dev/vda")
    root = site.workshop.enroll(site.new_volume(), own)
    with boot(site, own, root, data) as m:
        m.wait()
        assert not m.booted
        assert "/dev/vda is not blank" in " ".join(m.log().split())
