# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/kiwi, its profile debian: by KIWI of PyPI from an empty folder to an archive, and from there by the steps of Packer."""
import shutil
import subprocess
import sys
import tarfile

import pytest

from harness import base, console, image, steps
from harness.architecture import CHOSEN
from harness.machine import Machine
from harness.workshop import TOP, Workshop, make_package
from test_refuses import assert_refused
from test_unlocks import pcr

sys.path[:0] = [str(TOP / "tests" / name) for name in ("integration", "vault")]
import aws_programs  # noqa: E402

EXAMPLES = TOP / "docs/examples"
# What the guests of these tests need besides, in place of customize.example.
CUSTOMIZE = """#!/bin/sh
set -eu
cp -a --no-preserve=ownership /image/in/rootfs/. /image/in/image/. "$1/"
"""


@pytest.fixture(scope="module")
def workshop():
    made = Workshop("trixie")
    yield made
    made.close()


def fill(workshop, folder):
    """What README.md wants in `input`, of which input.tar is made."""
    folder.mkdir()
    settings = workshop.settings()
    for source, name in ((make_package(), ""), (settings["CONFIG"], "measured-unlock.conf"), (settings["BUILDER_PEM"], "builder.pem"),
                         (settings["CA_FILE"], "ca.pem")):
        shutil.copy(source, folder / name)
    for tree in "rootfs", "image":
        shutil.copytree(image.GUEST / tree, folder / tree)
    (folder / "customize").write_text(CUSTOMIZE)
    omitted = " ".join("--omit " + module for module in image.OMIT[image.SYSTEMD])
    (folder / "image.conf").write_text((EXAMPLES / "packer/image.conf.example").read_text() + steps.text(
        CA_FILE="/image/in/ca.pem", CMDLINE=image.CMDLINE, DRACUT_OPTIONS=omitted, **workshop.who()))
    return folder


def describe(folder, given):
    """The description with its input.tar."""
    shutil.copytree(EXAMPLES / "kiwi", folder)
    with tarfile.open(folder / "input.tar", "w") as archive:
        archive.add(steps.PROVISION, "image/provision")
        archive.add(given, "image/in")
    return folder


def build(description, target, packages):
    console.step("KIWI")
    settings = target.with_suffix(".yml")
    settings.write_text("xz:\n  options: -0\n")  # nobody keeps it
    # A namespace of its own, for what KIWI mounts.
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, packages / "bin/kiwi-ng", "--config", settings,
         "--profile", "debian", "system", "build", "--description", description, "--target-dir", target,
         "--set-repo", f"{base.mirror()},apt-deb,system,,,,,main,trixie,false"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(packages), "HOME": str(target.parent)})
    assert done.returncode == 0, done.stdout[-5000:]
    (archive,) = target.glob("measured-unlock.*.tar.xz")
    return archive


@pytest.mark.long
@pytest.mark.needs("systemd >= 257", "systemd < 258")
@pytest.mark.skipif(CHOSEN.is_foreign, reason="KIWI builds for the machine that it runs on")
def test_built_by_kiwi(workshop):
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed (tests/setup installs it)")
    packages = aws_programs.pip_install("kiwi.txt")
    scratch, work = workshop.scratch, workshop.scratch / "work"
    archive = build(describe(scratch / "kiwi", fill(workshop, scratch / "input")), scratch / "made", packages)
    work.mkdir()
    steps.run(work, "30-system", SYSTEM=archive, after=image.ROOTFS.format(work=work))
    uki = shutil.move(work / "root/boot/uki.efi", workshop.scratch / "uki.efi")
    assert not (work / "root/image").exists(), "what KIWI was given is in the image"
    assert (work / "root/etc/resolv.conf").read_text() == "nameserver 169.254.169.253\n"
    volume = workshop.enroll(workshop.volume("kiwi", work / "root.img"), uki)
    disk, policy = workshop.disk(uki, root=volume), workshop.policy(uki)
    shutil.rmtree(work)

    with Machine(workshop, disk, policy, strings=["io.systemd.stub.kernel-cmdline-extra=rd.break init=/bin/sh"]) as altered:
        assert_refused(altered, "PCR 12")
    with Machine(workshop, disk, policy) as good:
        good.wait()
        assert good.booted, good.log()
        assert b"/dev/mapper/root / ext4" in good.seen["mounts"]
        assert b"crypt aes-xts-plain64" in good.seen["dmsetup"]
        assert pcr(good, 4) == workshop.pcr4(uki)
        assert [r["status"] for r in good.aws.requests("Decrypt")] == [200]
