# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/packer from a blank disk to a machine that unlocks: with real partitions, dm-crypt, udev, and KMS over the network.

The builder is a guest of its own. In the first test dracut stays on the host, since an emulated processor takes minutes for
it: the archive that 30-system unpacks has gone through 35-configure, and the UKI through 40-image. In the second one Packer
itself has the builder do all.
"""
import json
import shutil
import sys
import tarfile

import pytest

from harness import aws, cache, console, image, luks, steps
from harness.architecture import CHOSEN
from harness.machine import Machine
from harness.workshop import TOP
from test_unlocks import pcr

sys.path[:0] = [str(TOP / "tests" / name) for name in ("integration", "vault", "packer")]
import aws_programs  # noqa: E402
import packer_build  # noqa: E402

STEPS = ["10-partition", "20-encrypt", "25-open", "30-system", "45-close", "50-esp", "60-baseline", "70-enroll", "80-policy"]
WORK = "/mnt"

BUILD = f"""
set -eu
exec 2>&1
export {" ".join(f"{k}={v}" for k, v in aws.BUILDER_ENVIRONMENT.items())}
/usr/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add && udevadm settle
mount -t tmpfs -o mode=0700 image {WORK}
tar -xf /dev/disk/by-id/virtio-input -C {WORK}
for step in {" ".join(STEPS)}; do
    read -r seconds rest </proc/uptime
    echo "[$seconds] $step"
    {WORK}/provision/$step {WORK}/image.conf
done
read -r seconds rest </proc/uptime
echo "[$seconds] done"
cp {WORK}/out/*.json .
"""


def variables(**more):
    """image.conf as an administrator would write it. DISK is left out: there is one blank disk."""
    return steps.text(WORK=WORK, OUT=WORK + "/out", ESP_MIB=64, VOLUME="root", PASSPHRASE=WORK + "/in/passphrase",
                      LUKS_OPTIONS="--pbkdf pbkdf2 --pbkdf-force-iterations 1000",
                      SYSTEM="/dev/disk/by-id/virtio-system", CONFIG=WORK + "/in/measured-unlock.conf",
                      BUILDER_PEM=WORK + "/in/builder.pem", SIGN_KEY=WORK + "/in/builder.key", MUCTL="/usr/bin/muctl",
                      BASELINES=WORK + "/out/baseline.json", KEY_ARN=aws.KEY_ARN, RECORD_VERSION=2, **more)


def write_input(workshop, path, uki):
    """What Packer uploads: scripts, variables, keys; and the UKI."""
    scratch = workshop.scratch
    (scratch / "image.conf").write_text(variables(**workshop.who()))
    (scratch / "passphrase").touch(mode=0o600)
    (scratch / "passphrase").write_bytes(luks.PASSPHRASE)
    with tarfile.open(path, "w") as archive:
        archive.add(steps.PROVISION, "provision")
        archive.add(scratch / "image.conf", "image.conf")
        archive.add(uki, "out/uki.efi")
        for source in (scratch / "passphrase", workshop.signing_key, workshop.authorities / "builder.pem"):
            archive.add(source, "in/" + source.name)
        archive.add(workshop.settings()["CONFIG"], "in/measured-unlock.conf")
    return path


def drive(name, path):
    return ["-drive", f"if=none,format=raw,cache=unsafe,id={name},file={path}",
            "-device", f"virtio-blk-pci,drive={name},serial={name}"]


@pytest.mark.long
def test_built_from_a_blank_disk(site):
    workshop = site.workshop
    uki = site.ukis[image.PLAIN]
    system = image.archive(workshop.stage, **workshop.settings())
    target = workshop.scratch / "target.raw"
    with open(target, "w") as disk:
        disk.truncate(system.stat().st_size * 3 // 2 + (256 << 20))
    source = write_input(workshop, workshop.scratch / "input.tar", uki)
    extra = [*drive("target", target), *drive("system", system), *drive("input", source)]

    with site.boot(check=BUILD, qemu=extra) as builder:
        builder.wait(900)
        assert builder.booted, builder.log()
        assert builder.seen["check.status"] == b"0\n", builder.seen["check.out"].decode()
        record, baseline, policy = (json.loads(builder.seen[f"{n}.json"]) for n in ("record", "baseline", "key-policy"))
    assert record["ok"] and record["record_version"] == 2
    # For the image that was built, not for the one that built it.
    assert workshop.pcr4(uki) in str(policy) and workshop.pcr4(site.ukis[image.SYSTEMD]) not in str(policy)

    unlocks(workshop, target, policy, baseline)


def unlocks(workshop, disk, policy, baseline):
    with Machine(workshop, disk, policy) as built:
        built.wait()
        assert built.booted, built.log()
        assert b"/dev/mapper/root / ext4 " in built.seen["mounts"]
        assert b"crypt aes-xts-plain64" in built.seen["dmsetup"]
        assert pcr(built, 4) == baseline["Measurements"]["PCR4"]
        assert [r["status"] for r in built.aws.requests("Decrypt")] == [200]


# What the template installs on the builder, and what Debian's own image for EC2 has: there is nothing to fetch then.
BUILDER = "apt openssh-server sudo dbus cryptsetup-bin e2fsprogs fdisk mmdebstrap mtools sbsigntool"


def instance_files(folder, login):
    """The builder's own: a root to write to, who may log in, and be root."""
    for path, text, mode in (("etc/fstab", "/dev/mapper/root / ext4 defaults 0 1\n", 0o644),
                             ("etc/hosts", "127.0.0.1 localhost measured-unlock\n", 0o644),
                             ("etc/sysusers.d/admin.conf", "u admin 1000 - /home/admin /bin/sh\n", 0o644),
                             ("etc/sudoers.d/admin", "admin ALL=(ALL) NOPASSWD: ALL\n", 0o440),
                             ("home/admin/.ssh/authorized_keys", (login / "login.pub").read_text(), 0o644)):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
    return folder


def builder_disk(site, login):
    workshop = site.workshop
    root = image.rootfs(workshop.stage, instance_files(workshop.scratch / "instance", login), suite=workshop.suite,
                        packages=BUILDER, **workshop.settings())
    volume = workshop.enroll(workshop.volume("builder", root), site.ukis[image.SYSTEMD], name="root")
    return workshop.disk(site.ukis[image.SYSTEMD], root=volume)


def fill_input(workshop, folder):
    """What README.md wants there. The system comes on a disk."""
    folder.mkdir()
    (folder / "passphrase").write_bytes(luks.PASSPHRASE)
    for source in (workshop.signing_key, workshop.authorities / "builder.pem", workshop.authorities / "aws/ca.pem"):
        shutil.copy(source, folder)
    shutil.copy(workshop.settings()["CONFIG"], folder / "measured-unlock.conf")
    shutil.copy(packer_build.SOURCE / "customize.example", folder / "customize")
    with tarfile.open(folder / "files.tar", "w") as archive:
        for tree in (workshop.stage, image.GUEST / "rootfs"):
            archive.add(tree, ".")
    text = (packer_build.SOURCE / "image.conf.example").read_text()
    (folder / "image.conf").write_text(text + steps.text(
        ESP_MIB=64, LUKS_OPTIONS="--pbkdf pbkdf2 --pbkdf-force-iterations 1000", SYSTEM="/dev/disk/by-id/virtio-system",
        FILES="/mnt/image/in/files.tar", CA_FILE="/mnt/image/in/ca.pem", CMDLINE=image.CMDLINE, KEY_ARN=aws.KEY_ARN,
        DRACUT_OPTIONS=" ".join("--omit " + module for module in image.OMIT[image.SYSTEMD]), RECORD_VERSION=2, **workshop.who()))
    return folder


@pytest.mark.long
def test_built_by_packer(site, tmp_path):
    if reason := packer_build.why_not():
        pytest.skip(reason)
    workshop, packages = site.workshop, aws_programs.pip_install("moto.txt")
    login = cache.get("login", [], packer_build.make_login)
    system, target, output = image.debian(workshop.suite, BUILDER), workshop.scratch / "target.raw", tmp_path / "output.tar"
    with open(target, "w") as disk:
        disk.truncate(system.stat().st_size * 3 // 2 + (512 << 20))
    # To unlock, it has the role that may; to encrypt, that has to be the builder's.
    policy = json.loads(json.dumps(workshop.policy(site.ukis[image.SYSTEMD])).replace(aws.BUILDER_ARN, aws.ROLE_ARN))
    made = builder_disk(site, login)
    given = fill_input(workshop, tmp_path / "input")
    extra = [*drive("target", target), *drive("system", system)]
    with Machine(workshop, made, policy, stay=True, memory=2560, qemu=extra) as builder:
        ec2 = packer_build.Ec2(builder.namespace, tmp_path, packages, login)
        complaint = builder.qmp("human-monitor-command",
                                **{"command-line": f"hostfwd_add net tcp:{packer_build.ADDRESS}:22-:22"})
        assert complaint == ""
        builder.wait_serial("login:", timeout=1200)
        console.step("Packer")
        code = ec2.build(packer_build.template(tmp_path), input=f"{given}/", output=output,
                         architecture={"aarch64": "arm64"}.get(CHOSEN.name, CHOSEN.name))
        assert code == 0, ec2.said + builder.log()
        builder.qmp("system_powerdown")
        builder.wait()
    assert len(ec2.requests("RegisterImage")) == 1
    with tarfile.open(output) as archive:
        record, baseline, policy = (json.load(archive.extractfile(f"./{n}.json")) for n in ("record", "baseline", "key-policy"))
    assert record["ok"] and record["record_version"] == 2
    unlocks(workshop, target, policy, baseline)
