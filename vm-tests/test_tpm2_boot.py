# SPDX-License-Identifier: GPL-2.0-or-later
"""The provider tpm2 in a whole boot, without a network."""
import json

import pytest

from harness import image
from harness.machine import Machine
from harness.workshop import Workshop, first_policy

# Root of the running system, with the record and the same TPM.
UNSEAL_AGAIN = "muctl record show /dev/disk/by-partlabel/root --json | muctl unseal | wc -c; muctl pcr 15"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A UKI, a volume that is sealed to one TPM for it, and that TPM."""
    shop = Workshop()
    shop.tpm = tmp_path_factory.mktemp("tpm") / "tpm"
    shop.good = shop.uki(image.PLAIN, provider="tpm2")
    shop.sealed = shop.enroll_tpm2(shop.volume(), shop.good, shop.tpm)
    yield shop
    shop.close()


def boot(shop, uki, volume, **options):
    disk = shop.disk(uki, root=volume)
    return Machine(shop, disk, first_policy(), link=False, tpm=shop.tpm, **options)


def test_unlocks_without_network(shop):
    with boot(shop, shop.good, shop.sealed, check=UNSEAL_AGAIN) as m:
        m.wait()
        assert m.booted, m.log()
        assert json.loads(m.seen["report.json"])["result"] == "unlocked"
        assert b"/dev/mapper/root / ext4 " in m.seen["mounts"]
        assert "released by tpm2" in m.log() and not m.aws.requests()
        again = m.seen["check.out"].decode()
        assert "the policy does not hold" in " ".join(again.split()) and again.split("PCR 15")[0].strip().endswith("0"), again
