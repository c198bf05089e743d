# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything one boot needs, on this host: a NitroTPM, KMS and IMDS, an encrypted volume, an image builder."""
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MU_BUILD", TOP / "build"))
UNLOCK, MUCTL, MU_VERIFIER = (BUILD / name for name in ("measured-unlock", "muctl", "mu-verifier"))
VECTORS = Path(os.environ.get("MU_VECTORS", TOP.parent / "shared/vectors"))

REGION, ACCOUNT, ROLE = "eu-west-1", "111122223333", "measured-unlock-instance"
KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY_ID = "9876abcd-12ab-34cd-56ef-1234567890ab"
PROVIDER = "aws-kms"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY_ID}"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
BUILDER = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
           "role": "image-builder"}
BUILDER_ARN = f"arn:aws:iam::{ACCOUNT}:role/image-builder"
BUILDER_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": BUILDER["access_key"], "AWS_SECRET_ACCESS_KEY": BUILDER["secret"]}
NITRO = "kms:RecipientAttestation:NitroTPMPCR"
ZERO = "00" * 48
PATIENCE = int(os.environ.get("MU_PATIENCE", "1"))  # how many times slower the programs run than they would
PASSPHRASE = b"a recovery passphrase"
INSTANCE_ID = "i-0123456789abcdef0"


def run(*command, check=True, **options):
    options.setdefault("capture_output", True)
    done = subprocess.run([str(c) for c in command], **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout!r}\n{done.stderr!r}")
    return done


def unfold(done):
    """Where our programs fold their messages depends on the length of paths, and no assertion should."""
    done.stderr = re.sub(r"\n(?:muctl|mu-verifier|measured-unlock):   ", " ", done.stderr)
    return done


def muctl(*arguments, check=True, **options):
    return unfold(run(MUCTL, *arguments, check=check, text=True, **options))


def mu_verifier(*arguments, check=True, **options):
    return unfold(run(MU_VERIFIER, *arguments, check=check, text=True, **options))


def two_free_ports():
    """The first of two in a row, for swtpm's server and control channels."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise AssertionError("no two free ports in a row")


class Service:
    """A program that prints 'ready ...' once and runs until TERM."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        word, _, self.ready = self.process.stdout.readline().partition(" ")
        assert word == "ready", command

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


def variable(guid, name, data=b""):
    """UEFI_VARIABLE_DATA, as firmware measures it."""
    return (uuid.UUID(guid).bytes_le + len(name).to_bytes(8, "little") + len(data).to_bytes(8, "little")
            + name.encode("utf-16-le") + data)


GLOBAL, DATABASE = "8be4df61-93ca-11d2-aa0d-00e098032b8c", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
SEPARATOR = bytes(4)
# What firmware measures into PCR 7 where Secure Boot is off and no key is enrolled.
SECURE_BOOT_OFF = [variable(GLOBAL, "SecureBoot", b"\0"), variable(GLOBAL, "PK"), variable(GLOBAL, "KEK"),
                   variable(DATABASE, "db"), variable(DATABASE, "dbx"), SEPARATOR]


class NitroTpm(Service):
    COMMAND = TOP / "tests/nitrotpm/nitrotpm"
    # A PCR 7 of its own stands for Secure Boot with the keys of this machine's owner.
    measured = ((2, SEPARATOR), (3, SEPARATOR), (4, b"the boot loader"), (7, b"secure boot is on"))

    def __init__(self, folder, *options):
        self.folder = Path(folder)
        super().__init__(self.COMMAND, "run", "--dir", folder, "--tcp", "0", "--instance-id", INSTANCE_ID, *options)
        self.port = re.search(r"port=(\d+)", self.ready)[1]
        self.tcti = f"swtpm:host=127.0.0.1,port={self.port}"
        self.root = re.search(r"root=(\S+)", self.ready)[1]

    def reboot(self, banks=("sha256", "sha384")):
        """Power cycle, then what firmware would measure into PCR 2, 3, 4 and 7."""
        self.fault("none")
        run(self.COMMAND, "reset", "--tcp", self.port)
        for pcr, data in self.measured:
            self.extend(pcr, data, banks)

    def extend(self, pcr, data, banks=("sha256", "sha384")):
        import hashlib
        values = ",".join(f"{b}={hashlib.new(b, data).hexdigest()}" for b in banks)
        self.tool("tpm2_pcrextend", f"{pcr}:{values}")

    def pcr(self, number, bank="sha384"):
        text = self.tool("tpm2_pcrread", f"{bank}:{number}").stdout.decode()
        return re.search(r"0x([0-9A-Fa-f]+)", text)[1].lower()

    def tool(self, *command):
        return run(*command, env={**os.environ, "TPM2TOOLS_TCTI": self.tcti})

    def fault(self, name, *options):
        run(self.COMMAND, "fault", "--dir", self.folder, name, *options)

    def kill_while_it_attests(self, *command, **popen):
        """The emulator takes a fault that is for one answer as soon as the request is in the NV index."""
        self.fault("slow", "--value", "3", "--count", "1")
        process = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL, **popen)
        while (self.folder / "fault").exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def key_policy(pcr4):
    return {"Version": "2012-10-17", "Statement": [
        {"Sid": "build", "Effect": "Allow", "Principal": {"AWS": BUILDER_ARN}, "Resource": "*",
         "Action": ["kms:Encrypt", "kms:DescribeKey", "kms:PutKeyPolicy"]},
        {"Sid": "release", "Effect": "Allow", "Principal": {"AWS": ROLE_ARN}, "Resource": "*", "Action": "kms:Decrypt",
         "Condition": {"StringEquals": {NITRO + "4": pcr4, NITRO + "12": ZERO, NITRO + "15": ZERO}}},
        {"Sid": "unattested", "Effect": "Deny", "Principal": "*", "Resource": "*",
         "Action": ["kms:Decrypt", "kms:ReEncrypt*"], "Condition": {"Null": {NITRO + "4": "true"}}}]}


class Aws(Service):
    COMMAND = TOP / "tests/aws/aws-emulator"

    def __init__(self, folder, nitrotpm_root, pcr4, **config_too):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "config.json"
        config.write_text(json.dumps({
            "region": REGION, "account": ACCOUNT, "role": ROLE, "instance_id": INSTANCE_ID,
            "nitrotpm_root": str(nitrotpm_root), "builder": BUILDER,
            "keys": [{"id": KEY_ID, "policy": key_policy(pcr4)}, {"id": OTHER_KEY_ID, "policy": key_policy(pcr4)}],
            **config_too}))
        super().__init__(self.COMMAND, "run", "--dir", folder, "--config", config)
        self.info = json.loads(self.ready)
        self.seen = 0

    def fault(self, service, name=None, value=None, **options):
        words = [w for key, v in options.items() for w in (f"--{key}", v)]
        words += ["--value", value] if value is not None else []
        run(self.COMMAND, "fault", "--dir", self.folder, *words, service, *([name] if name else []))

    def fresh(self):
        """Forget the faults and what was logged so far."""
        self.fault("none")
        self.seen = len(self.log())

    def log(self):
        path = Path(self.info["requests"])
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def decrypts(self):
        return [r for r in self.log()[self.seen:] if r.get("operation") == "Decrypt"]


def make_volume(path, size="24M"):
    """A LUKS2 image as an image builder would make it, with a recovery passphrase."""
    run("truncate", "-s", size, path)
    run("cryptsetup", "luksFormat", "-q", "--type", "luks2", "--cipher", "aes-xts-plain64", "--key-size", "512",
        "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--luks2-keyslots-size", "2M",
        "--key-file", "-", path, input=PASSPHRASE)
    return path


def export_token(volume):
    """The record's token as cryptsetup sees it."""
    metadata = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", volume).stdout)
    return next(token for token in metadata["tokens"].values() if token["type"] == "measured-unlock")


def remove_token(volume):
    tokens = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", volume).stdout)["tokens"]
    for number, token in tokens.items():
        if token["type"] == "measured-unlock":
            run("cryptsetup", "token", "remove", "--token-id", number, volume)


def import_token(volume, token):
    run("cryptsetup", "token", "import", "--token-id", "0", volume, input=json.dumps(token).encode())


def aws_kms(volume):
    """Of the volume's record: the first key, and what it encrypted."""
    data = json.loads(muctl("record", "show", volume, "--json").stdout)[PROVIDER]
    return {**data["keys"][0], **data}


def make_builder_key(folder):
    private, public = folder / "builder.key", folder / "builder.pem"
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", private)
    run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    return private, public


class World:
    """One machine and its image builder. `boot()` is a power cycle and `measured-unlock unlock --no-activate`."""

    provider, aws = PROVIDER, None
    keys = (KEY_ARN,)

    def __init__(self, folder, *tpm_options):
        self.folder = Path(folder)
        self.tpm = NitroTpm(self.folder / "tpm", *tpm_options)
        self.signing_key, self.builder_key = make_builder_key(self.folder)
        self.report_path = self.folder / "report.json"
        self.config_path = self.folder / "measured-unlock.conf"

    def settle(self):
        """Measure, make the volume, enroll it."""
        self.tpm.reboot()
        self.start_kms()
        self.baked, self.complete = self.folder / "baked.json", self.folder / "complete.json"
        muctl("baseline", "record", "--pcr", "2,3,7,12,13,14", "--tcti", self.tpm.tcti, "-o", self.baked)
        muctl("baseline", "record", "--tcti", self.tpm.tcti, "-o", self.complete)
        self.volume = make_volume(self.folder / "volume.img")
        self.enroll(self.volume)
        self.pristine = self.folder / "pristine.img"
        shutil.copy(self.volume, self.pristine)
        self.configure()

    def start_kms(self):
        self.aws = Aws(self.folder / "aws", self.tpm.root, self.tpm.pcr(4))

    def enroll(self, volume, *options, check=True, baseline=None, key=None):
        return muctl("enroll", volume, "--volume", "root", *(word for arn in self.keys for word in ("--key-arn", arn)),
                     "--baseline", baseline or self.complete, "--sign-key", key or self.signing_key, "--key-file", "-",
                     "--endpoint", self.endpoints(), "--ca-file", self.aws.info["ca_file"], *options,
                     input=PASSPHRASE.decode(), env={**os.environ, **BUILDER_ENVIRONMENT}, check=check)

    def configure(self, volumes=None, **boot):
        """Write the configuration; `boot` overrides keys of [boot], `volumes` maps names to devices."""
        settings = {"baseline": self.baked, "builder_key": self.builder_key, "report": self.report_path,
                    "timeout": 60 * PATIENCE, **boot}
        lines = ["[boot]", *(f"{k} = {v}" for k, v in settings.items()),
                 "[tpm]", f"tcti = {self.tpm.tcti}", *self.provider_lines()]
        for name, device in (volumes or {"root": self.volume}).items():
            lines += [f"[volume {name}]", f"device = {device}"]
            lines += [f"provider = {self.provider}"] if self.provider != PROVIDER else []
        self.config_path.write_text("\n".join(lines) + "\n")

    def provider_lines(self):
        return ["[aws]", f"imds = {self.aws.info['imds_endpoint']}", f"ca_file = {self.aws.info['ca_file']}",
                f"kms_endpoint = {self.endpoints()}"]

    def endpoints(self):
        """As `kms_endpoint` has them."""
        return self.aws.info["kms_endpoint"]

    def fresh(self):
        """As after a good installation: pristine volume, rebooted machine, no faults."""
        shutil.copy(self.pristine, self.volume)
        self.configure()
        if self.aws:
            self.aws.fresh()
        self.tpm.reboot()
        self.report_path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "created", ignore_errors=True)

    def unlock(self, *options, program=UNLOCK, **popen):
        return unfold(run(program, "unlock", "--config", self.config_path, "--no-activate", *options, check=False,
                          text=True, timeout=120 * PATIENCE, **popen))

    def released_key(self):
        """What KMS releases for the volume, out of the emulator's own key material."""
        import kms
        record = aws_kms(self.volume)

        class Key:
            material = (self.aws.folder / f"key-{KEY_ID}").read_bytes()
        return kms.unseal(Key, base64.b64decode(record["ciphertext"]), record["encryption_context"])

    def report(self):
        return json.loads(self.report_path.read_text())

    def fence_closed(self):
        return self.tpm.pcr(15) != ZERO and self.tpm.pcr(15, "sha256") != ZERO[:64]

    def stop(self):
        self.tpm.stop()
        if self.aws:
            self.aws.stop()


def settled(world):
    """For a fixture."""
    world.settle()
    yield world
    world.stop()


class TpmWorld(World):
    """The same with the key sealed to the TPM: no KMS, no IMDS, no network."""

    provider = "tpm2"

    def start_kms(self):
        """There is none."""

    def provider_lines(self):
        return []

    def enroll(self, volume, *options, check=True, baseline=None, key=None):
        resign = "--resign" in options
        return muctl("enroll", volume, "--volume", "root", "--provider", "tpm2", "--tcti", self.tpm.tcti,
                     "--baseline", baseline or self.complete, "--sign-key", key or self.signing_key,
                     *([] if resign else ["--key-file", "-"]), *options, input=PASSPHRASE.decode(), check=check)
