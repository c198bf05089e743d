# SPDX-License-Identifier: GPL-2.0-or-later
"""The image builder: keys and authorities, signed baselines, UKIs, enrolled volumes."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

from . import aws, base, cache, console, disk, image, luks

TOP = Path(__file__).resolve().parents[2]
MUCTL = TOP / "build/muctl"
ROOT = "/dev/mapper/root"
# Volumes are enrolled with record version 2, which is the least that the images accept.
BOOT = "timeout = 100\nminimum_record_version = 2"
VERSION = ("--record-version", "2")
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"


def run(*argv, **options):
    done = subprocess.run([str(a) for a in argv], text=True, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def spawn(*argv, **options):
    return subprocess.Popen([str(a) for a in argv], **options)


def _make_authorities(directory):
    """NitroTPM's and KMS's authorities and key material, and the builder's signing key."""
    run(aws.NITROTPM, "ca", "--out", directory / "nitrotpm-ca")
    (directory / "aws").mkdir()
    aws.Aws(spawn, directory / "aws", directory / "nitrotpm-ca/root.pem", [aws.ZERO]).close()
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384",
        "-out", directory / "builder.key")
    run("openssl", "pkey", "-in", directory / "builder.key", "-pubout", "-out", directory / "builder.pem")


def configuration_text(volumes, boot=BOOT):
    return f"[boot]\n{boot}\n" + "".join(
        f"[volume {name}]\ndevice = PARTLABEL={name}\n" for name in volumes)


class Workshop:
    def __init__(self):
        self.authorities = cache.get("authorities", [aws.KEY_ID], _make_authorities, keep=1)
        self.signing_key = self.authorities / "builder.key"
        self.nitrotpm_ca = self.authorities / "nitrotpm-ca"
        self._scratch = tempfile.TemporaryDirectory(prefix="mu-workshop-")
        self.scratch = Path(self._scratch.name)
        self.stage = self.scratch / "stage"
        run("make", "-s", "-C", TOP, "install", f"DESTDIR={self.stage}",
            env={**os.environ, "MAKEFLAGS": ""})
        self.baked = self.scratch / "baked.json"
        # Neither PCR depends on the image that the baseline is baked into.
        run(MUCTL, "baseline", "predict", "--image", base.tree() / STUB, "--pcr", "7,12",
            "-o", self.baked)

    def configuration(self, text):
        """A tree with /etc/measured-unlock for an image; text: measured-unlock.conf."""
        tree = self.scratch / ("etc-" + cache.key(text))
        etc = tree / "etc/measured-unlock"
        if not etc.exists():
            etc.mkdir(parents=True)
            (etc / "measured-unlock.conf").write_text(text)
            (etc / "baseline.json").write_text(self.baked.read_text())
            (etc / "builder.pem").write_text((self.authorities / "builder.pem").read_text())
            (etc / "ca.pem").write_text((self.authorities / "aws/ca.pem").read_text())
        return tree

    def uki(self, kind=image.SYSTEMD, volumes=("root",), boot=BOOT, trees=()):
        """A UKI that unlocks the partitions with these labels; trees: more files for the image."""
        tree = self.configuration(configuration_text(volumes, boot))
        return image.uki(kind, ROOT, self.stage, tree, *trees)

    def baseline(self, uki):
        """The complete baseline that the image builder predicts for a UKI."""
        path = self.scratch / (uki.parent.name + uki.stem + ".json")
        run(MUCTL, "baseline", "predict", "--image", uki, "-o", path)
        return path

    def pcr4(self, uki):
        return json.loads(self.baseline(uki).read_text())["Measurements"]["PCR4"]

    def volume(self, name="root", plain=None):
        """An encrypted volume that is not enrolled; default: the guest's root file system."""
        plain = plain or image.rootfs(self.stage, self.configuration(configuration_text(["root"])))
        console.step(f"encrypting volume {name}")
        return luks.make(self.scratch / f"{name}.luks", plain)

    def small_plain(self):
        """A few MiB of nothing, for volumes whose content does not matter."""
        path = self.scratch / "small"
        run("truncate", "-s", "4M", path)
        return path

    def enroll(self, volume, *ukis, name="root", key=None, options=VERSION, boot=BOOT):
        """Add key slot and record, good for these UKIs."""
        state = aws.copy_state(self.authorities / "aws", Path(tempfile.mkdtemp(dir=self.scratch)) / "aws")
        config = state / "measured-unlock.conf"
        config.write_text(configuration_text([name], boot))
        kms = aws.Aws(spawn, state, self.nitrotpm_ca / "root.pem", [aws.ZERO])
        try:
            run(MUCTL, "enroll", volume, "--config", config, "--volume", name,
                "--key-arn", aws.KEY_ARN,
                *(a for u in ukis for a in ("--baseline", self.baseline(u))),
                "--sign-key", key or self.signing_key, "--key-file", "-",
                "--endpoint", kms.info["kms_endpoint"], "--ca-file", kms.info["ca_file"], *options,
                input=luks.PASSPHRASE.decode(), env={**os.environ, **aws.BUILDER_ENVIRONMENT})
        finally:
            kms.close()
        return volume

    def disk(self, uki, **volumes):
        """A fresh disk to boot: the UKI and the volumes by partition label."""
        path = Path(tempfile.mkstemp(suffix=".raw", dir=self.scratch)[1])
        return disk.gpt(path, uki, volumes)

    def close(self):
        self._scratch.cleanup()
