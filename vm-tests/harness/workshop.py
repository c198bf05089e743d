# SPDX-License-Identifier: GPL-2.0-or-later
"""The image builder: keys and authorities, signed baselines, UKIs, enrolled volumes."""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import aws, cache, console, disk, image, luks, steps, suites
from .architecture import CHOSEN

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build" / (CHOSEN.name if CHOSEN.is_foreign else "")  # what goes into the guest
# What makes and checks its images here.
MUCTL, MU_VERIFIER = TOP / "build/muctl", TOP / "build/mu-verifier"
# Volumes are enrolled with record version 2, which is the least that the images accept. The time-out is for a host that
# does much else.
BOOT = "timeout = 300\nminimum_record_version = 2"
VERSION = 2


def run(*argv, **options):
    done = subprocess.run([str(a) for a in argv], text=True, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def spawn(*argv, **options):
    return subprocess.Popen([str(a) for a in argv], **options)


def make_package():
    """The Debian package, of `make deb`."""
    run("make", "-s", "-C", TOP, "deb", f"ARCH={CHOSEN.name}", env={**os.environ, "MAKEFLAGS": ""})
    (package,) = BUILD.glob("measured-unlock_*.deb")
    return package


def first_policy():
    """Of a key whose first image is not built yet."""
    return json.loads(run(MUCTL, "policy", "kms", "--admin", aws.ADMIN_ARN, "--builder", aws.BUILDER_ARN))


def _make_authorities(directory):
    """NitroTPM's and KMS's authorities and key material, and the builder's signing keys."""
    run(aws.NITROTPM, "ca", "--out", directory / "nitrotpm-ca")
    (directory / "aws").mkdir()
    aws.Aws(spawn, directory / "aws", directory / "nitrotpm-ca/root.pem", first_policy()).close()
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384",
        "-out", directory / "builder.key")
    run("openssl", "pkey", "-in", directory / "builder.key", "-pubout", "-out", directory / "builder.pem")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=image builder", "-days", "3650",
        "-keyout", directory / "secure-boot.key", "-out", directory / "secure-boot.pem")


def configuration_text(volumes, boot=BOOT, provider=None, blank=None):
    more = f"provider = {provider}\n" if provider else ""
    text = f"[boot]\n{boot}\n" + "".join(
        f"[volume {name}]\ndevice = PARTLABEL={name}\n{more}" for name in volumes)
    if blank:
        text += f"[volume data]\ndevice = {blank}\ncreate = blank\nkey_arn = {aws.KEY_ARN}\n"
    return text


class Workshop:
    """suite: of Debian, which the guest's images are made of."""

    def __init__(self, suite=suites.DEFAULT):
        self.suite = suite
        self.without = {}  # UKI -> PCRs that its baseline leaves out knowingly
        self.authorities = cache.get("authorities", [aws.KEY_ID, "secure-boot"], _make_authorities, keep=1)
        self.signing_key = self.authorities / "builder.key"
        self.nitrotpm_ca = self.authorities / "nitrotpm-ca"
        self._scratch = tempfile.TemporaryDirectory(prefix="mu-workshop-")
        self.scratch = Path(self._scratch.name)
        self.stage = self.scratch / "stage"
        run("make", "-s", "-C", TOP, "install", f"ARCH={CHOSEN.name}", f"DESTDIR={self.stage}",
            env={**os.environ, "MAKEFLAGS": ""})

    def settings(self, volumes=("root",), boot=BOOT, provider=None, blank=None):
        """Variables for 35-configure: these volumes, by partition label; blank: a device to make one on."""
        text = configuration_text(volumes, boot, provider, blank)
        path = self.scratch / (cache.key(text) + ".conf")
        path.write_text(text)
        return {"CONFIG": path, "BUILDER_PEM": self.authorities / "builder.pem", "CA_FILE": self.authorities / "aws/ca.pem"}

    def uki(self, kind=image.SYSTEMD, volumes=("root",), boot=BOOT, trees=(), provider=None, blank=None, secure_boot=False,
            omit=(), loader=False, **more):
        """A UKI that unlocks the partitions with these labels; trees: more files for the image; omit: dracut modules. With
        secure_boot, `variables` beside it has the EFI variables that it was made for; with loader, `boot.efi` is the
        systemd-boot that starts it. more: of image.uki."""
        settings = self.settings(volumes, boot, provider, blank)
        settings |= {"BOOT_LOADER": "systemd-boot"} if loader else {}
        return image.uki(kind, self.stage, *trees, suite=self.suite, omit=omit, **more, **settings,
                         **(self.secure_boot if secure_boot else {}))

    @property
    def secure_boot(self):
        """The switch, for 37-bake and 42-sign."""
        key, cert = (self.authorities / f"secure-boot.{end}" for end in ("key", "pem"))
        return {"SECURE_BOOT_CERT": cert, "SECURE_BOOT_SIGNER": f"sbsign --key {key} --cert {cert}"}

    def baseline(self, uki):
        """The complete baseline that the image builder predicts for a UKI, and signs."""
        path = self.scratch / (uki.parent.name + uki.stem + ".json")
        if uki in self.without:
            run(MUCTL, "baseline", "predict", "--image", uki, "--without-pcr", self.without[uki], "-o", path)
            return path
        variables = uki.parent / "variables"
        links, settings = ({"variables": variables}, self.secure_boot) if variables.exists() else ({}, {})
        with steps.bench(uki_efi=uki, **links, **disk.loader(uki)) as work:
            steps.run(work, "60-baseline", MUCTL=MUCTL, SIGN_KEY=self.signing_key, **settings, **disk.loading(uki))
            shutil.copy(work / "baseline.json", path)
        return path

    def pcr4(self, uki):
        return json.loads(self.baseline(uki).read_text())["Measurements"]["PCR4"]

    def policy(self, *ukis):
        """The key policy that releases the key to these."""
        if self.without.keys() & set(ukis):  # which the step's `policy lint` refuses
            return self._policy(ukis)
        with steps.bench() as work:
            steps.run(work, "80-policy", MUCTL=MUCTL, **self.who(), BASELINES=self._baselines(ukis))
            return json.loads((work / "key-policy.json").read_text())

    def data_policy(self, *ukis):
        """The same, and lets their instances make volumes."""
        return self._policy(ukis, "--data-volumes")

    def _policy(self, ukis, *options):
        who = self.who()
        return json.loads(run(MUCTL, "policy", "kms", *(w for u in ukis for w in ("--baseline", self.baseline(u))),
                              "--principal", who["ROLE_ARN"], "--admin", who["ADMIN_ARN"], "--builder", who["BUILDER_ARN"],
                              *options))

    @staticmethod
    def who():
        return {"ROLE_ARN": aws.ROLE_ARN, "ADMIN_ARN": aws.ADMIN_ARN, "BUILDER_ARN": aws.BUILDER_ARN}

    def _baselines(self, ukis):
        return " ".join(str(self.baseline(uki)) for uki in ukis)

    def volume(self, name="root", plain=None):
        """An encrypted volume that is not enrolled; default: the guest's root file system."""
        plain = plain or image.rootfs(self.stage, suite=self.suite, **self.settings())
        console.step(f"encrypting volume {name}")
        return luks.make(self.scratch / f"{name}.luks", plain)

    def small_plain(self):
        """A few MiB of nothing, for volumes whose content does not matter."""
        path = self.scratch / "small"
        run("truncate", "-s", "4M", path)
        return path

    def enroll(self, volume, *ukis, name="root", key=None, version=VERSION, boot=BOOT):
        """Add key slot and record, good for these UKIs. key: the signing key, its public half beside it."""
        key = key or self.signing_key
        with steps.bench(volume=volume) as work:
            (work / "passphrase").write_bytes(luks.PASSPHRASE)
            state = aws.copy_state(self.authorities / "aws", work / "aws")
            kms = aws.Aws(spawn, state, self.nitrotpm_ca / "root.pem", first_policy())
            try:
                steps.run(work, "70-enroll", MUCTL=MUCTL, VOLUME=name, CONFIG=self.settings([name], boot)["CONFIG"],
                          KEY_ARN=aws.KEY_ARN, BASELINES=self._baselines(ukis), SIGN_KEY=key,
                          BUILDER_PEM=key.with_suffix(".pem"), PASSPHRASE=work / "passphrase", RECORD_VERSION=version,
                          KMS_ENDPOINT=kms.info["kms_endpoint"], CA_FILE=kms.info["ca_file"],
                          env=aws.BUILDER_ENVIRONMENT)
            finally:
                kms.close()
        return volume

    def enroll_tpm2(self, volume, uki, tpm):
        """The same with the key sealed to a TPM, whose state is the directory `tpm`, for the UKI as predicted."""
        started = run(aws.NITROTPM, "start", "--dir", tpm, "--tcp", 0, "--ca", self.nitrotpm_ca,
                      "--instance-id", aws.INSTANCE)
        try:
            tcti = next(word for word in started.split() if word.startswith("tcti=")).removeprefix("tcti=")
            run(MUCTL, "enroll", volume, "--volume", "root", "--provider", "tpm2", "--tcti", tcti, "--baseline", self.baseline(uki),
                "--sign-key", self.signing_key, "--key-file", "-", "--record-version", VERSION,
                input=luks.PASSPHRASE.decode())
        finally:
            run(aws.NITROTPM, "stop", "--dir", tpm)
        return volume

    def disk(self, uki, **volumes):
        """A fresh disk to boot: the UKI and the volumes by partition label."""
        path = Path(tempfile.mkstemp(suffix=".raw", dir=self.scratch)[1])
        return disk.gpt(path, uki, volumes)

    def close(self):
        self._scratch.cleanup()
