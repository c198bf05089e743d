# SPDX-License-Identifier: GPL-2.0-or-later
"""Five ways to unlock the same guest on the same disk, each with an initramfs of its own by the guest's dracut."""
import base64
import contextlib
import json
import shlex
from pathlib import Path

from harness import aws, image, luks, steps
from harness.machine import Machine
from harness.workshop import MUCTL, run

HERE = Path(__file__).resolve().parent
# What the peers are made of is in the guest of each, and in the initramfs of none but its own.
PACKAGES = ("clevis-dracut clevis-luks clevis-tpm2 tpm2-tools libtss2-tcti-device0t64 libtss2-rc0t64 libtss2-tcti-swtpm0t64 "
            "openssl python3-botocore")
CLEVIS = ["clevis", "clevis-pin-null", "clevis-pin-sss", "clevis-pin-tang", "clevis-pin-tpm2"]
UUID = "6f1f5a3c-58d0-4b9f-9c0e-5f3c7b0e2d11"
NAMED = f"rd.luks.name={UUID}=root"
PCRS = (4, 7, 12)
# Of its program and of the guest's libraries: what the enrolment needs besides is the volume and a TPM on a port.
INSIDE = """
mount -t proc proc "{work}/root/proc"
mount --bind /dev "{work}/root/dev"
mount --bind /sys "{work}/root/sys"
: >"{work}/root/volume"
mount --bind "{volume}" "{work}/root/volume"
printf %s {passphrase} >"{work}/root/passphrase"
chroot "{work}/root" env TPM2TOOLS_TCTI={tcti} sh -euc {command}
umount "{work}/root/volume" "{work}/root/sys" "{work}/root/dev" "{work}/root/proc"
"""


class Peers:
    """shop: a Workshop of the harness, whose folder holds what is made here."""

    def __init__(self, shop):
        self.shop = shop
        self.plain = image.rootfs(shop.stage, suite=shop.suite, **shop.settings())

    def _ours(self, **options):
        return self.shop.uki(image.SYSTEMD, packages=PACKAGES, omit=[*CLEVIS, "tpm2-tss"], **options)

    def _uki(self, *trees, omit=(), options="", words=""):
        return image.uki(image.SYSTEMD, *trees, suite=self.shop.suite, packages=PACKAGES, ours=False, omit=omit, options=options,
                         words=words)

    def _volume(self, name):
        return luks.make(self.shop.scratch / f"{name}.luks", self.plain, "--uuid", UUID)

    @contextlib.contextmanager
    def _tpm(self, name):
        """A TPM on a port, to seal to -> its state, its TCTI"""
        state = self.shop.scratch / f"tpm-{name}"
        said = run(aws.NITROTPM, "start", "--dir", state, "--tcp", 0, "--ca", self.shop.nitrotpm_ca, "--instance-id", aws.INSTANCE)
        try:
            yield state, next(word for word in said.split() if word.startswith("tcti=")).removeprefix("tcti=")
        finally:
            run(aws.NITROTPM, "stop", "--dir", state)

    def _values(self, uki):
        measured = json.loads(self.shop.baseline(uki).read_text())["Measurements"]
        return [measured[f"PCR{number}"] for number in PCRS]

    def _enroll_inside(self, name, command):
        """Let a program of the guest seal a new volume's key -> volume, state of the TPM"""
        volume = self._volume(name)
        with self._tpm(name) as (state, tcti), steps.bench() as work:
            values = {"work": work, "volume": volume, "tcti": shlex.quote(tcti), "command": shlex.quote(command.format(tcti=tcti)),
                      "passphrase": shlex.quote(luks.PASSPHRASE.decode())}
            steps.run(work, before=image.OVERLAY.format(work=work, base=image.base.tree(self.shop.suite, PACKAGES)),
                      after=INSIDE.format(**values))
        return volume, state

    # Each: -> UKI, volume, state of its TPM, key policy

    def aws_kms(self):
        uki = self._ours()
        return uki, self.shop.enroll(self._volume("aws-kms"), uki), None, self.shop.policy(uki)

    def tpm2(self):
        uki, volume = self._ours(provider="tpm2"), self._volume("tpm2")
        state = self.shop.scratch / "tpm-ours"
        return uki, self.shop.enroll_tpm2(volume, uki, state), state, self.shop.policy(uki)

    def systemd(self):
        uki = self._uki(omit=CLEVIS, options="--add tpm2-tss", words=f"{NAMED} rd.luks.options={UUID}=tpm2-device=auto")
        pcrs = "+".join(f"{n}:sha384={value}" for n, value in zip(PCRS, self._values(uki)))
        volume, state = self._enroll_inside("systemd", f"systemd-cryptenroll --unlock-key-file=/passphrase "
                                            f"--tpm2-device={{tcti}} --tpm2-pcrs={pcrs} /volume")
        return uki, volume, state, self.shop.policy(uki)

    def clevis(self):
        uki = self._uki(omit=[m for m in CLEVIS if m not in ("clevis", "clevis-pin-tpm2")], words=NAMED)
        digest = base64.urlsafe_b64encode(bytes.fromhex("".join(self._values(uki)))).decode().rstrip("=")
        config = json.dumps({"pcr_bank": "sha384", "pcr_ids": ",".join(map(str, PCRS)), "pcr_digest": digest})
        volume, state = self._enroll_inside("clevis", "clevis luks bind -y -f -k /passphrase -d /volume tpm2 "
                                            + shlex.quote(config).replace("{", "{{").replace("}", "}}"))
        return uki, volume, state, self.shop.policy(uki)

    def pipeline(self):
        """What is in its image cannot name PCR 4, which measures the image."""
        model = self._ours()
        volume = self.shop.enroll(self._volume("pipeline"), model)
        record = json.loads(run(MUCTL, "record", "show", volume, "--json"))
        golden = self._values(model)[1:]
        tree = self.shop.scratch / "pipeline-tree"
        place = tree / "usr/lib/pipeline"
        place.mkdir(parents=True, exist_ok=True)
        for name in ("pipeline", "kms_decrypt.py"):
            (place / name).write_bytes((HERE / name).read_bytes())
            (place / name).chmod(0o755)
        (place / "ca.pem").write_bytes((self.shop.authorities / "aws/ca.pem").read_bytes())
        (place / "golden").write_bytes(bytes.fromhex("".join(golden)))
        baked = {"GOLDEN": "/usr/lib/pipeline/golden", "PCRS": ",".join(map(str, PCRS[1:])), "WORK": "/run/pipeline",
                 "AWAIT": "/usr/lib/pipeline/await", "MAPPING": "root", "VOLUME": "/dev/disk/by-partlabel/root",
                 "KEYSLOT": record["keyslot"], "CIPHERTEXT": record["aws-kms"]["keys"][0]["ciphertext"],
                 "KEY_ARN": record["aws-kms"]["keys"][0]["key_arn"],
                 "CONTEXT": json.dumps(record["aws-kms"]["encryption_context"]), "AWS_REGION": aws.REGION,
                 "AWS_CA_BUNDLE": "/usr/lib/pipeline/ca.pem", "TPM2TOOLS_TCTI": "device:/dev/tpmrm0", "LC_ALL": "C"}
        (place / "environment").write_text("".join(f"{name}='{value}'\n" for name, value in baked.items()))
        uki = self._uki(HERE / "hook", tree, omit=[*CLEVIS, "systemd-cryptsetup"])
        return uki, volume, None, self.shop.policy(uki)

    def boot(self, made, **options):
        """-> the machine, not yet on"""
        uki, volume, state, policy = made
        return Machine(self.shop, self.shop.disk(uki, root=volume), policy, tpm=state, counted=True, **options)


WAYS = {"measured-unlock, aws-kms": Peers.aws_kms, "measured-unlock, tpm2": Peers.tpm2,
        "systemd-cryptsetup, TPM2": Peers.systemd, "clevis, tpm2": Peers.clevis, "the pipeline, KMS": Peers.pipeline}
