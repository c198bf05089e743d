# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest made of Debian's testing (systemd 261 and later, dracut 112): what systemd does of its own in a boot since then."""
import base64
import hashlib
import json

import pytest

from harness import base, driver, firmware, image, variables
from harness.uki import Uki, cpio
from harness.workshop import BOOT, MUCTL, run
from test_refuses import assert_refused
from test_unlocks import pcr, report

SEPARATOR = "systemd-pcrosseparator.service"
# The machine as EC2 would name itself, by which systemd-imds knows where user data is (harness/aws.py: USER_DATA).
EC2 = ["-smbios", "type=0,vendor=Amazon EC2"]
IMPORTED = "ls /run/credstore/fstab.extra"
ATTEST = f"""
muctl attest -o document.cbor
systemctl start measured-unlock-report.socket
/usr/lib/systemd/systemd-report generate --sign=require-one >report.json-seq
{IMPORTED}
"""
SYSTEMD_OPTIONS = "rd.systemd.mount-extra=tmpfs:/run/steered:tmpfs systemd.mount-extra=tmpfs:/srv:tmpfs\0"

pytestmark = [pytest.mark.guests("testing"), pytest.mark.needs("systemd >= 261")]


def measurements(site, uki):
    return json.loads(site.workshop.baseline(uki).read_text())["Measurements"]


def assert_unlocked(site, m, uki):
    m.wait()
    assert m.booted, m.log()
    assert report(m)["result"] == "unlocked"
    expected = measurements(site, uki)
    for number in (4, 7, 12):
        assert pcr(m, number) == expected[f"PCR{number}"]


def assert_document(site, uki, folder, document, *options):
    (folder / "document").write_bytes(document)
    seen = json.loads(run(MUCTL, "verify", folder / "document", "--json", "--root", site.workshop.nitrotpm_ca / "root.pem",
                          "--baseline", site.workshop.baseline(uki), *options))
    assert seen["ok"], seen


def assert_signed(site, uki, folder, stream):
    """A report of systemd-report, whose first line is what the others sign (RFC 7464)."""
    text = stream.split(b"\n")[0] + b"\n"
    signature, = [s for s in map(json.loads, stream.split(b"\x1e")[2:]) if s["mechanism"] == "nitrotpm"] or [stream]
    digest = hashlib.sha256(text).hexdigest()
    assert signature["sha256"] == digest
    assert_document(site, uki, folder, base64.b64decode(signature["data"]["document"]), "--nonce", digest)


def test_stays_unaltered_while_it_runs(site, tmp_path):
    """Neither user data nor an EFI variable acts, in the initramfs or later; when all has started its document is good, and so is
    the one by which systemd-report has a report signed."""
    uki = site.ukis[image.SYSTEMD]
    store = variables.with_variable(firmware.empty(), "SystemdOptions", variables.SYSTEMD, variables.ATTRIBUTES,
                                    SYSTEMD_OPTIONS.encode("utf-16-le"))
    with site.boot(qemu=EC2, variables=store, running=True, check=ATTEST) as m:
        assert_unlocked(site, m, uki)
        assert b"/run/steered" not in m.seen["mounts"] and b"/srv" not in m.seen["mounts"]
        assert m.seen["check.status"] != b"0\n", "user data was imported"
        assert_document(site, uki, tmp_path, m.seen["document.cbor"])
        assert_signed(site, uki, tmp_path, m.seen["report.json-seq"])


@pytest.mark.long
def test_without_tpm2_tools(site):
    """In the image: then there is no libtss2, and systemd extends nothing."""
    uki = site.workshop.uki(omit=["tpm2-tss"])
    volume = site.workshop.enroll(site.new_volume(), uki)
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki]) as m:
        assert_unlocked(site, m, uki)


@pytest.mark.long
def test_refuses_what_systemd_extends(site):
    """The premise of masking the unit, where EFI variables tell systemd that it runs from a UKI: a machine that nobody altered
    is refused, and the message names what did it."""
    unit = base.tree(site.workshop.suite) / "usr/lib/systemd/system" / SEPARATOR
    uki = Uki(site.workshop.uki(boot=BOOT + "\nopen = efivars"))
    uki = uki.append(".initrd", cpio({f"etc/systemd/system/{SEPARATOR}": unit.read_bytes()}))
    uki = uki.save(site.workshop.scratch / "separator.efi")
    volume = site.workshop.enroll(site.volume(), uki)
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki]) as m:
        assert_refused(m, f"user space: {SEPARATOR}: os-separator")


@pytest.mark.long
@driver.runs
def test_refuses_command_line_and_driver(site):
    with site.boot(files=[(driver.PLACE, driver.image())], variables=driver.started(firmware.empty()),
                   strings=["io.systemd.stub.kernel-cmdline-extra=init=/bin/sh"]) as m:
        assert_refused(m, "PCR 12")
        assert driver.TEXT.decode().strip() in m.log() and "PCR 2" in m.log()
