# SPDX-License-Identifier: GPL-2.0-or-later
"""One workshop with a good UKI and a good volume for a whole session; each test boots its own copy."""
import itertools
import os
import shutil
from pathlib import Path

import pytest

from harness import base, disk, image, machine, suites
from harness.workshop import Workshop

# With systemd in the initramfs, and without. MU_KINDS: not all, if it takes too long to make them.
KINDS = tuple(os.environ.get("MU_KINDS", f"{image.SYSTEMD} {image.PLAIN}").split())


class Site:
    """The good machine, and what tests change about it."""

    def __init__(self, suite, kinds=KINDS):
        self.workshop = Workshop(suite)
        self.ukis = {kind: self.workshop.uki(kind) for kind in kinds}
        self.pcr4 = [self.workshop.pcr4(uki) for uki in self.ukis.values()]
        self._made = {}
        self._serial = itertools.count()

    def _copy(self, what, make):
        if what not in self._made:
            self._made[what] = make()
        path = self.workshop.scratch / f"{next(self._serial)}.luks"
        return Path(shutil.copy(self._made[what], path))

    def volume(self):
        """A private copy of the good volume, enrolled for both UKIs."""
        return self._copy("good", lambda: self.workshop.enroll(self.new_volume(), *self.ukis.values()))

    def new_volume(self):
        """The same before it was enrolled."""
        return self._copy("new", self.workshop.volume)

    def boot(self, kind=image.SYSTEMD, *, uki=None, volumes=None, allow=(), files=(), **options):
        """Boot a fresh disk until it powers off; the machine is left for a look. Use `with`.

        allow: UKIs that KMS releases the key to besides the good ones. files: (place, content) on the EFI system partition.
        """
        made = self.workshop.disk(uki or self.ukis[kind], **(volumes or {"root": self.volume()}))
        for place, content in files:
            disk.put(made, place, content)
        return machine.Machine(self.workshop, made, self.workshop.policy(*self.ukis.values(), *allow), **options)


@pytest.fixture(scope="session")
def site(request):
    site = Site(request.param)
    yield site
    site.workshop.close()


def pytest_configure():
    if suites.DEFAULT not in suites.TABLE:
        raise pytest.UsageError(f"no guests of '{suites.DEFAULT}'; SUITE is one of {', '.join(suites.NAMES)}")


def pytest_generate_tests(metafunc):
    """The suites whose guests a test boots: the one that was asked for, else those of its mark, else the default."""
    if "site" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("guests")
        wanted = mark.args if mark and not suites.CHOSEN else [suites.DEFAULT]
        metafunc.parametrize("site", wanted, indirect=True, scope="session")


@pytest.fixture(autouse=True)
def needs(request):
    """A test says which guests it can be tried on (`systemd >= 261`); what the guest has is what dpkg says there."""
    callspec = getattr(request.node, "callspec", None)
    suite = callspec.params.get("site", suites.DEFAULT) if callspec else suites.DEFAULT
    for mark in request.node.iter_markers("needs"):
        if missing := suites.missing(suite, base.tree(suite), *mark.args):
            pytest.skip(missing)
