# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/mkosi as it stands, by Debian's mkosi: in a tree of Debian, since this host has an older one or none."""
import json
import os
import shutil
import subprocess

import pytest

from harness import aws, base, console, image, luks, steps
from harness.architecture import CHOSEN
from harness.machine import Machine
from harness.workshop import MUCTL, TOP, VERSION, Workshop, first_policy, make_package, run, spawn
from test_refuses import assert_refused
from test_unlocks import pcr

TOOLS = "mkosi systemd-ukify systemd-repart reprepro apt debian-archive-keyring dosfstools cpio tar"
# $1 tree, $2 scratch, $3... command. mkosi makes namespaces of its own, which a chroot may not: the tree becomes the root.
INSIDE = """
mkdir -p "$2/upper" "$2/lower" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/lower" "$2/root"
cp --remove-destination /etc/resolv.conf /etc/hosts "$2/root/etc/"
mkdir -p "$2/root/examples" "$2/root/workspace"
mount --bind "$2/examples" "$2/root/examples"
mount --bind "$2/workspace" "$2/root/workspace"
mount -t proc proc "$2/root/proc"
mount --rbind /sys "$2/root/sys"
mount --rbind /dev "$2/root/dev"
mount -t tmpfs run "$2/root/run"
cd "$2/root"
shift 2
pivot_root . .
umount -l .
cd /examples/mkosi
exec "$@"
"""
# On the instance: what its own image is found to be.
CHECK = """
set -eu
mkdir -p /efi
mount /dev/disk/by-partlabel/esp /efi
dpkg-query -W -f '${db:Status-Status}\\n' measured-unlock
test -z "$(find /etc/ssh -name 'ssh_host_*')"
test ! -e /etc/systemd/system/timers.target.wants/measured-unlock-monitor.timer
muctl doctor --image /efi/EFI/BOOT/BOOTX64.EFI
"""


@pytest.fixture(scope="module")
def workshop():
    made = Workshop("trixie")
    yield made
    made.close()


def fill(workshop, examples):
    """What README.md has somebody put there, and the guest's own program that says that it came up."""
    for name in "mkosi", "packer":
        shutil.copytree(TOP / "docs/examples" / name, examples / name)
    etc = examples / "mkosi/mkosi.extra/etc/measured-unlock"
    for folder in etc, examples / "mkosi/mkosi.packages":
        folder.mkdir(parents=True)
    shutil.copy(make_package(), examples / "mkosi/mkosi.packages")
    settings = workshop.settings()
    shutil.copy(settings["CONFIG"], etc / "measured-unlock.conf")
    shutil.copy(settings["BUILDER_PEM"], etc / "builder.pem")
    shutil.copy(settings["CA_FILE"], etc / "ca.pem")
    passphrase = examples / "mkosi/mkosi.passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_bytes(luks.PASSPHRASE)
    shutil.copy(examples / "packer/customize.example", examples / "mkosi/customize")
    for tree in "rootfs", "image":
        shutil.copytree(image.GUEST / tree, examples / tree)
    return passphrase


def build(scratch):
    """mkosi.output, by mkosi. The mirror is good enough, as in base.py, for what never leaves the test."""
    for name in "workspace", "root":
        (scratch / name).mkdir()
    console.step("mkosi")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", INSIDE, "sh", base.tree("trixie", TOOLS), scratch,
         "mkosi", "--workspace-directory=/workspace", f"--local-mirror={base.mirror()}", "--extra-tree=/examples/rootfs",
         "--extra-tree=/examples/image", f"--kernel-command-line={image.CMDLINE}", "build"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stdout[-5000:]
    return scratch / "examples/mkosi/mkosi.output"


def finish(workshop, examples, passphrase):
    """The script of that name, against the stand-in for KMS; returns OUT."""
    settings, out = workshop.settings(), examples / "out"
    state = aws.copy_state(workshop.authorities / "aws", examples / "aws")
    kms = aws.Aws(spawn, state, workshop.nitrotpm_ca / "root.pem", first_policy())
    try:
        conf = examples / "image.conf"
        conf.write_text(steps.text(
            WORK=examples / "work", OUT=out, VOLUME="root", PASSPHRASE=passphrase, CONFIG=settings["CONFIG"], MUCTL=MUCTL,
            BUILDER_PEM=settings["BUILDER_PEM"], SIGN_KEY=workshop.signing_key, BASELINES=out / "baseline.json", KEY_ARN=aws.KEY_ARN,
            RECORD_VERSION=VERSION, KMS_ENDPOINT=kms.info["kms_endpoint"], CA_FILE=kms.info["ca_file"], **workshop.who()))
        console.step("signed baseline, enrolment, key policy")
        run("sh", examples / "mkosi/finish", conf, env={**os.environ, **aws.BUILDER_ENVIRONMENT})
    finally:
        kms.close()
    return out


@pytest.mark.long
@pytest.mark.needs("systemd >= 257", "systemd < 258")
@pytest.mark.skipif(CHOSEN.name != "x86_64", reason="the recipe is for x86-64 as it stands")
def test_built_by_mkosi(workshop):
    scratch = workshop.scratch / "mkosi"  # some GiB, which go with the workshop
    examples = scratch / "examples"
    passphrase = fill(workshop, examples)
    disk = build(scratch) / "image.raw"
    out = finish(workshop, examples, passphrase)
    policy, baseline = (json.loads((out / f"{name}.json").read_text()) for name in ("key-policy", "baseline"))

    with Machine(workshop, disk, policy, strings=["io.systemd.stub.kernel-cmdline-extra=rd.break init=/bin/sh"]) as altered:
        assert_refused(altered, "PCR 12")
    with Machine(workshop, disk, policy, check=CHECK) as good:
        good.wait()
        assert good.booted, good.log()
        assert good.seen["check.status"] == b"0\n", good.seen["check.out"].decode()
        assert b"/dev/mapper/root / ext4 rw" in good.seen["mounts"]
        assert b"crypt aes-xts-plain64" in good.seen["dmsetup"]
        assert pcr(good, 4) == baseline["Measurements"]["PCR4"]
        assert [r["status"] for r in good.aws.requests("Decrypt")] == [200]
