# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/packer from a blank disk to a machine that unlocks: with real partitions, dm-crypt, udev, and KMS over the network.

The builder is a guest of its own. What stays on the host is dracut, which an emulated processor would take minutes for:
the archive that 30-system unpacks has gone through 35-configure, and the UKI through 40-image.
"""
import json
import tarfile

import pytest

from harness import aws, image, luks, steps
from harness.machine import Machine
from test_unlocks import pcr

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

    with Machine(workshop, target, policy) as built:
        built.wait()
        assert built.booted, built.log()
        assert b"/dev/mapper/root / ext4 " in built.seen["mounts"]
        assert b"crypt aes-xts-plain64" in built.seen["dmsetup"]
        assert pcr(built, 4) == baseline["Measurements"]["PCR4"]
        assert [r["status"] for r in built.aws.requests("Decrypt")] == [200]
