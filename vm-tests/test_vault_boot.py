# SPDX-License-Identifier: GPL-2.0-or-later
"""The provider vault in a whole boot: a real Vault and `mu-verifier serve` beyond the machine's network."""
import json

import pytest

from harness import image, vault
from harness.machine import Machine
from harness.workshop import Workshop, first_policy

pytestmark = pytest.mark.skipif(vault.real.why_not() is not None, reason=f"no Vault: {vault.real.why_not()}")


@pytest.fixture(scope="module")
def site():
    """Two UKIs, both of which the builder signed for the volume; Vault's role knows the first alone."""
    shop = Workshop()
    site = vault.Site(shop)
    try:
        site.good, site.other = (shop.uki(kind, provider="vault") for kind in (image.SYSTEMD, image.PLAIN))
        site.volume = site.enroll(shop.volume(), site.good, site.other)
        yield site
    finally:
        site.close()
        shop.close()


def boot(site, uki, *accepted, **options):
    """Until it powers off. accepted: what the verifier knows."""
    return Machine(site.shop, site.shop.disk(uki, root=site.volume), first_policy(), before=lambda m: setattr(
        m, "verifier", site.around(m, *accepted)), **options)


def test_unlocks(site):
    with boot(site, site.good, site.good) as m:
        m.wait()
        assert m.booted, m.log()
        assert json.loads(m.seen["report.json"])["result"] == "unlocked"
        assert b"/dev/mapper/root / ext4 " in m.seen["mounts"]
        assert "released by vault" in m.log() and m.verifier.answers() == [200]
        assert not m.aws.requests("Decrypt")


def test_unlocks_with_a_clock_of_the_past(site):
    """As test_unlocks.py has it; here the first connection comes before the first document."""
    with boot(site, site.good, site.good, clock="2020-01-01") as m:
        m.wait()
        assert m.booted, m.log()
        assert "released by vault" in m.log() and m.verifier.answers() == [200]


@pytest.mark.long
def test_another_pcr4_is_refused_by_the_verifier(site):
    with boot(site, site.other, site.good) as m:
        m.wait()
        assert not m.booted, m.log()
        assert "the verifier answered HTTP 403" in m.log() and m.verifier.answers() == [403]


@pytest.mark.long
def test_another_pcr4_is_refused_by_vault(site):
    """The verifier knows it; the role does not."""
    with boot(site, site.other, site.good, site.other) as m:
        m.wait()
        assert not m.booted, m.log()
        assert "does not admit this machine" in " ".join(m.log().split()) and m.verifier.answers() == [200]
