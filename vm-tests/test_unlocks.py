# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots that unlock. Each is the twin of a refusal: the same machine without the tampering."""
import json
import re
import time

import pytest

from harness import image, suites

KINDS = [image.SYSTEMD, image.PLAIN]


def report(m):
    return json.loads(m.seen["report.json"])


def pcr(m, number, bank="sha384"):
    name = f"/sys/class/tpm/tpm0/pcr-{bank}/{number}:"
    return next(line.removeprefix(name).lower() for line in m.seen["pcrs"].decode().splitlines()
                if line.startswith(name))


@pytest.mark.guests(*suites.NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_unlocks(site, kind):
    with site.boot(kind, check="journalctl --directory=/run/log/journal --no-pager || :") as m:
        m.wait()
        assert m.booted, m.log()
        assert report(m)["result"] == "unlocked"
        assert b"/dev/mapper/root / ext4 " in m.seen["mounts"]
        assert b"crypt aes-xts-plain64" in m.seen["dmsetup"]
        # test_landlock.c shows what that takes away; that the boot can do without is shown here.
        said = re.sub(r"\n.*measured-unlock.*?:  +", " ", m.log() + m.seen["check.out"].decode(errors="replace"))
        assert re.search(r"sandbox: Landlock, version \d+: only devices and /run/measured-unlock can be written", said), said
        # The signed part is checked: nothing in the image holds PCR 4.
        assert "PCRs match the baseline signed by the image builder" in m.log()
        assert pcr(m, 4) in site.pcr4
        assert pcr(m, 12) == "00" * 48
        for bank, size in (("sha1", 20), ("sha256", 32), ("sha384", 48)):
            assert pcr(m, 15, bank) != "00" * size, f"fence open in {bank}"
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [200]


def test_unlocks_with_a_clock_of_the_past(site):
    """systemd sets such a clock to the day on which it was built, when the server's certificate was not yet valid; so
    begins each boot of a machine whose only clock is the firmware's (docs/guide/dracut.md)."""
    with site.boot(clock="2020-01-01", check="date +%s") as m:
        m.wait()
        assert m.booted, m.log()
        assert int(m.seen["check.out"]) < time.time() - 30 * 86400
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [200]


@pytest.mark.long
def test_unlocks_after_throttling(site):
    faults = [["--operation", "Decrypt", "--count", "3", "--value", "ThrottlingException", "kms", "error"]]
    with site.boot(faults=faults) as m:
        m.wait()
        assert m.booted, m.log()
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [400, 400, 400, 200]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_unlocks_with_late_network(site, kind):
    with site.boot(kind, link=False) as m:
        m.wait_serial("attestation document obtained")
        time.sleep(10)
        assert not m.aws.requests()
        m.plug()
        m.wait()
        assert m.booted, m.log()


def test_unlocks_two_volumes(site):
    names = ("root", "data")
    uki = site.workshop.uki(image.PLAIN, volumes=names)
    volumes = {n: site.workshop.enroll(site.new_volume(), uki, name=n) for n in names}
    with site.boot(uki=uki, volumes=volumes, allow=[uki],
                   check="mount -o ro /dev/mapper/data /mnt && cat /mnt/etc/os-release") as m:
        m.wait()
        assert m.booted, m.log()
        assert [v["name"] for v in report(m)["volumes"]] == list(names)
        assert m.seen["check.status"] == b"0\n", m.seen["check.out"]
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [200, 200]


# Root of the running system, with the program and the instance's role at hand, but for another
# fence: PCR 8, which nothing has extended. What holds the key back is KMS, by PCR 15.
ASK_AGAIN = """
sed 's/^\\[boot\\]$/&\\nfence_pcr = 8\\nreport = \\/run\\/again.json/' \
    /etc/measured-unlock/measured-unlock.conf >/run/again.conf
/usr/lib/measured-unlock/measured-unlock unlock --no-activate --config /run/again.conf
"""


def test_denied_after_unlock(site):
    with site.boot(check=ASK_AGAIN) as m:
        m.wait()
        assert m.booted, m.log()
        assert m.seen["check.status"] == b"2\n", m.seen["check.out"]
        first, *again = m.aws.requests("Decrypt")
        assert first["status"] == 200
        assert again and all(r["status"] == 400 for r in again)
        assert all("15" in str(r["failed"]) for r in again), again
        # The document is as good as the first one, but for the fence.
        assert first["pcrs"]["PCR4"] == again[0]["pcrs"]["PCR4"]
