# SPDX-License-Identifier: GPL-2.0-or-later
"""The root is looked at twice: before anything in it is used, and last before the switch to it. Whole boots without each of
the two, which are the premise, and with both. `check-root` itself: tests/integration/test_dracut_module.py."""
import shutil
import subprocess

import pytest

from harness import base, image, luks
from harness.uki import Uki, cpio

KINDS = [image.SYSTEMD, image.PLAIN]
UNITS = "usr/lib/systemd/system"
NOTHING = b"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c :\n"
# What is put in the place of the first look, and of the last one.
WITHOUT = {
    "first": {image.SYSTEMD: {f"{UNITS}/measured-unlock-root.service": NOTHING},
              image.PLAIN: {f"{place}/dracut/hooks/pre-pivot/00-pre-pivot.sh": b":\n" for place in ("usr/lib", "var/lib")}},
    "last": {image.SYSTEMD: {f"{UNITS}/measured-unlock-switch.service": NOTHING},
             image.PLAIN: {f"{place}/dracut/hooks/cleanup/99-pre-pivot.sh": b":\n" for place in ("usr/lib", "var/lib")}},
}
RUNS = "a program of this root runs"


def looking(site, kind, without=None):
    """An image whose root is whatever file system has a label, with a hook that uses it; without one of the looks."""
    good = site.workshop.uki(kind, trees=[image.GUEST / "root-user"], words="root=LABEL=root")
    if not without:
        return good
    return Uki(good).append(".initrd", cpio(WITHOUT[without][kind])).save(site.workshop.scratch / f"no-{without}-{kind}.efi")


def boot(site, uki, volume, **volumes):
    """volume: enrolled for this image."""
    return site.boot(uki=uki, volumes={"root": site.workshop.enroll(volume, uki), **volumes}, allow=[uki])


def with_foreign_root(site, uki):
    """Somebody wrote a plain file system onto the disk that answers to the name; the volume holds none."""
    scratch = site.workshop.scratch
    foreign, tree = scratch / "foreign", scratch / "foreign-tree"
    for folder in ("dev", "proc", "sys", "run", "etc", "usr"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    (tree / "etc/os-release").write_text("NAME=foreign\n")
    shutil.copy(base.tree(site.workshop.suite) / "usr/bin/busybox", tree / "program")
    foreign.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, foreign, "16M"], check=True)
    return boot(site, uki, luks.make(scratch / "empty.luks", site.workshop.small_plain()), other=foreign)


def refused(m, reason):
    m.wait()
    assert not m.booted, "it came up"
    log = " ".join(m.log().split())
    assert "BOOT REFUSED" in log and reason in log and "fence: closed" in log, m.log()


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_root_is_not_used(site, kind):
    with with_foreign_root(site, looking(site, kind)) as m:
        refused(m, "/sysroot is on ")
        assert RUNS not in m.log()


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_foreign_root_is_used_without_the_first_look(site, kind):
    """The premise: its program runs as root in the initramfs, with the volumes open. The last look comes too late."""
    with with_foreign_root(site, looking(site, kind, "first")) as m:
        refused(m, "/sysroot is on ")
        assert RUNS in m.log()


@pytest.mark.parametrize("kind", KINDS)
def test_mount_over_the_root_is_refused(site, kind):
    """By what came after the first look. With systemd also test_steered.py::test_nothing_is_mounted_over_the_root."""
    with boot(site, looking(site, kind), site.new_volume()) as m:
        refused(m, "/sysroot/opt is on tmpfs")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_mount_over_the_root_stays_without_the_last_look(site, kind):
    """The premise."""
    with boot(site, looking(site, kind, "last"), site.new_volume()) as m:
        m.wait()
        assert m.booted, m.log()
        assert b"tmpfs /opt tmpfs" in m.seen["mounts"]
