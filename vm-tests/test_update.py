# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/guide/updating.md on a machine: systemd-boot, two images, and which of them boots in the end.

A machine here ends at each reboot; the next boot has the same disk and the same variables of firmware."""
import json
import shutil

import pytest

from harness import disk, image, machine
from harness.uki import Uki, cpio
from harness.workshop import BOOT
from test_refuses import NEVER, assert_refused

# Older ones of systemd-boot hand an image its own command line, which is then measured into PCR 12.
pytestmark = pytest.mark.needs("systemd >= 255")

LINUX = "EFI/Linux"
LIST = "muctl update list --json >list.json"
ESP = "/dev/disk/by-partlabel/esp"
SECURITYFS = "mount -t securityfs none /sys/kernel/security"


class Computer:
    """One disk with systemd-boot and a good image, switched on again and again."""

    def __init__(self, site):
        self.workshop, self.variables = site.workshop, None
        self.old = site.workshop.uki(image.SYSTEMD, boot=BOOT + "\naction = reboot", loader=True)
        self.folder = site.workshop.scratch
        self._site = site

    def changed(self, name, change):
        """Another image for the same loader: change(Uki) alters it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        shutil.copy(self.old.parent / "boot.efi", folder)
        uki = Uki(self.old)
        change(uki)
        return uki.save(folder / f"{name}.efi")

    def build(self, *enrolled):
        """The record and the key policy allow the old image and these."""
        volume = self.workshop.enroll(self._site.new_volume(), self.old, *enrolled)
        self.disk = self.workshop.disk(self.old, root=volume)
        self.policy = self.workshop.policy(self.old, *enrolled)
        return self

    def put(self, place, uki):
        disk.put(self.disk, place, uki.read_bytes())

    def boot(self, **options):
        return machine.Machine(self.workshop, self.disk, self.policy, variables=self.variables, **options)

    def ended(self, m):
        """After the last use of a machine."""
        self.variables = m.vars.read_bytes()

    def images(self):
        return disk.content(self.disk, LINUX)


def another_name(uki):
    uki.patch(".osrel", b"PRETTY_NAME", b"pretty_name")


def no_init(uki):
    """The kernel finds nothing to start, and panics."""
    uki.append(".initrd", cpio({"init": b"#!/nowhere\n"}))


@pytest.fixture
def computer(site):
    return Computer(site)


def unlocked(m):
    m.wait(2 * machine.TIMEOUT)  # it hashes images, and is emulated
    assert m.booted, m.log()
    return json.loads(m.seen["report.json"])["result"] == "unlocked"


def images_of(m):
    """What `muctl update list` said in the guest: name -> entry, in the order of boots."""
    assert m.seen["check.status"] == b"0\n", m.seen["check.out"]
    return {i["name"]: i for i in json.loads(m.seen["list.json"])["images"]}


def test_update(computer):
    """An image that nobody enrolled is tried once and refused; the old one comes back by itself, installs the one that is
    enrolled, which boots, unlocks, and is marked good by the service."""
    stranger = computer.changed("stranger", another_name)
    new = computer.changed("linux-3", lambda uki: uki.patch(".osrel", b"HOME_URL", b"home_url"))
    computer.build(new)
    computer.put(f"{LINUX}/linux-2+1.efi", stranger)
    computer.put("new.efi", new)
    computer.put("stranger.efi", stranger)

    with computer.boot() as m:
        assert_refused(m, "PCR 4", NEVER)
        computer.ended(m)
    assert computer.images() == ["linux-1.efi", "linux-2+0-1.efi"]

    check = f"""set -eux
{SECURITYFS}
muctl update good --json >good.json
mkdir /run/esp
mount {ESP} /run/esp
if muctl update install /run/esp/stranger.efi --name linux-3 --esp /run/esp 2>refused; then exit 1; fi
muctl update install /run/esp/new.efi --name linux-3 --tries 2 --esp /run/esp --json >install.json
umount /run/esp
{LIST}"""
    with computer.boot(check=check) as m:
        assert unlocked(m)
        images = images_of(m)
        assert not json.loads(m.seen["good.json"])["marked"]
        assert b"PCR 4" in m.seen["refused"] and b"enroll DEVICE --resign" in m.seen["refused"]
        assert json.loads(m.seen["install.json"])["falls_back_to"] == "linux-1.efi"
        assert list(images) == ["linux-3", "linux-1", "linux-2"]
        assert {name: i["booted"] for name, i in images.items()} == {"linux-3": False, "linux-1": True, "linux-2": False}
        assert {name: i["admitted"] for name, i in images.items()} == {"linux-3": True, "linux-1": True, "linux-2": False}
        computer.ended(m)
    assert computer.images() == ["linux-1.efi", "linux-2+0-1.efi", "linux-3+2.efi"]

    with computer.boot(running=True, check=f"systemctl start measured-unlock-good.service && {LIST}") as m:
        assert unlocked(m)
        images = images_of(m)
        assert images["linux-3"]["booted"] and images["linux-3"]["tries_left"] is None
        assert m.aws.requests("Decrypt")[-1]["status"] == 200
    assert computer.images() == ["linux-1.efi", "linux-2+0-1.efi", "linux-3.efi"]


@pytest.mark.long
def test_kernel_that_does_not_come_up(computer):
    """It is enrolled, and panics; after as many tries as it was given the old image comes back."""
    broken = computer.changed("broken", no_init)
    computer.build(broken)
    computer.put(f"{LINUX}/linux-2+2.efi", broken)
    for left in ("linux-2+1-1.efi", "linux-2+0-2.efi"):
        with computer.boot() as m:
            m.wait()
            assert not m.booted and "Kernel panic" in m.log() and not m.aws.requests("Decrypt"), m.log()
            computer.ended(m)
        assert computer.images() == ["linux-1.efi", left]
    with computer.boot(check=f"{SECURITYFS} && {LIST}") as m:
        assert unlocked(m)
        assert images_of(m)["linux-1"]["booted"]
