# SPDX-License-Identifier: GPL-2.0-or-later
"""Secure Boot as docs/examples/packer switches it on. Each thing that does not start has its twin, where it does.

The image leaves the door to EFI variables open (`efivars`), so that this wall stands alone.
"""
import json
import subprocess

import pytest

from harness import disk, driver, firmware, variables
from harness.machine import Machine
from harness.workshop import BOOT, run
from test_refuses import assert_refused
from test_unlocks import pcr, report

OPEN = BOOT + "\nopen = efivars"
# What the firmware says of an image that nothing in db lets start.
DENIED = "Access Denied"
# systemd's second command line, with one mount in it.
STEERED = "/run/steered"
SYSTEMD_OPTIONS = ("SystemdOptions", variables.SYSTEMD, variables.ATTRIBUTES,
                   f"rd.systemd.mount-extra=tmpfs:{STEERED}:tmpfs\0".encode("utf-16-le"))


class Secure:
    """The good machine with Secure Boot: its image, and the variable store that it was registered with."""

    def __init__(self, site):
        self.workshop = site.workshop
        self.uki = self.workshop.uki(secure_boot=True, boot=OPEN)
        self.volume = self.workshop.enroll(site.new_volume(), self.uki)
        self.policy = self.workshop.policy(self.uki)
        self.lists = {path.stem: path.read_bytes() for path in (self.uki.parent / "variables").iterdir()}
        self.store = variables.enrolled(firmware.empty(), self.lists)

    def boot(self, store, uki=None, files=(), **options):
        """files: (place, content) on the EFI system partition."""
        made = self.workshop.disk(uki or self.uki, root=self.volume)
        for place, content in files:
            disk.put(made, place, content)
        return Machine(self.workshop, made, self.policy, variables=store, **options)

    def sign(self, content, path):
        """With the key of db."""
        path.write_bytes(content)
        subprocess.run([*self.workshop.secure_boot["SECURE_BOOT_SIGNER"].split(), "--output", path, path], check=True)
        return path.read_bytes()


@pytest.fixture(scope="module")
def secure(site):
    return Secure(site)


def test_unlocks(secure):
    baseline = json.loads(secure.workshop.baseline(secure.uki).read_text())
    assert baseline["SecureBoot"] == "on"
    assert baseline["Measurements"]["PCR7"] in json.dumps(secure.policy)
    with secure.boot(secure.store) as m:
        m.wait()
        assert m.booted, m.log()
        assert report(m)["result"] == "unlocked"
        for number in (4, 7, 12):
            assert pcr(m, number) == baseline["Measurements"][f"PCR{number}"]
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [200]


def test_refused_without_secure_boot(secure):
    """An AMI that somebody registered without the variable store."""
    with secure.boot(firmware.empty()) as m:
        assert_refused(m, "PCR 7")


@pytest.mark.long
def test_refused_with_another_key_in_db(secure, tmp_path):
    """The image starts, as it is signed; what else could have is in PCR 7."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another", "-days", "10",
        "-keyout", tmp_path / "key", "-outform", "DER", "-out", tmp_path / "cert")
    lists = {**secure.lists, "db": secure.lists["db"] + variables.signature_list((tmp_path / "cert").read_bytes())}
    with secure.boot(variables.enrolled(firmware.empty(), lists)) as m:
        assert_refused(m, "PCR 7")


@pytest.mark.long
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_unsigned_image(secure, tmp_path, on):
    """The same image without its signature. The twin: without Secure Boot it starts, and says why it refuses."""
    unsigned = tmp_path / "unsigned.efi"
    unsigned.write_bytes(secure.uki.read_bytes())
    run("sbattach", "--remove", unsigned)
    with secure.boot(secure.store if on else firmware.empty(), unsigned) as m:
        if on:
            m.wait_serial(DENIED)
            assert "measured-unlock" not in m.log() and not m.aws.requests()
        else:
            assert_refused(m, "PCR 7")
            assert DENIED not in m.log()


@pytest.mark.long
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@driver.runs
def test_driver(secure, tmp_path, signed):
    """A driver on the ESP that EFI variables have firmware start before any image. The twin runs: the key of db signed it."""
    content, text = driver.image(), driver.TEXT.decode().strip()
    if signed:
        content = secure.sign(content, tmp_path / "driver.efi")
    with secure.boot(driver.started(secure.store), files=[(driver.PLACE, content)]) as m:
        if signed:
            m.wait_serial(text)
        else:
            m.wait()
            assert m.booted and text not in m.log(), m.log()


@pytest.mark.long
@pytest.mark.needs("systemd >= 254")
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_systemd_options(site, secure, on):
    """Without Secure Boot, a variable that no PCR shows steers what systemd does, in the initramfs and after it."""
    if on:
        machine = secure.boot(variables.with_variable(secure.store, *SYSTEMD_OPTIONS))
    else:
        uki = secure.workshop.uki(boot=OPEN)
        volume = secure.workshop.enroll(site.new_volume(), uki)
        store = variables.with_variable(firmware.empty(), *SYSTEMD_OPTIONS)
        machine = site.boot(uki=uki, volumes={"root": volume}, allow=[uki], variables=store)
    with machine as m:
        m.wait()
        assert m.booted, m.log()
        assert (STEERED.encode() in m.seen["mounts"]) != on
