# SPDX-License-Identifier: GPL-2.0-or-later
"""The builder's key in a file, in AWS KMS, behind PKCS #11 (SoftHSM), or at the end of a command."""
import base64
import os
import shutil
import stat

import pytest
import world as w

KEY_ID = "5555abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:{w.REGION}:{w.ACCOUNT}:key/{KEY_ID}"
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": w.BUILDER_ARN}, "Resource": "*", "Action": "kms:Sign"}]}
CREDENTIALS = "/latest/meta-data/iam/security-credentials/"
REMOTE = ("kms", "pkcs11", "exec")


class Holder:
    """One key pair, and every way to have it sign."""

    def __init__(self, folder, root):
        self.folder, self.root, self.aws = folder, root, None
        self.private, self.public = w.make_builder_key(folder)
        self.environment = {**os.environ, **w.BUILDER_ENVIRONMENT}

    def options(self, kind):
        """The key, and what stands beside it on a command line."""
        if kind == "file":
            return self.private, []
        return getattr(self, kind)(), ["--builder-key", self.public, *(self.endpoint() if kind == "kms" else [])]

    def exec(self):
        return f"exec:openssl pkeyutl -sign -inkey {self.private}"

    def kms(self):
        if self.aws is None:
            der = w.run("openssl", "pkey", "-in", self.private, "-outform", "DER").stdout
            self.aws = w.Aws(self.folder / "aws", self.root, w.ZERO, keys=[
                {"id": KEY_ID, "policy": POLICY, "spec": "ECC_NIST_P384", "private_key": base64.b64encode(der).decode()},
                {"id": w.KEY_ID, "policy": w.key_policy(w.ZERO)}])
        return ARN

    def endpoint(self):
        return ["--endpoint", self.aws.info["kms_endpoint"], "--ca-file", self.aws.info["ca_file"]]

    def pkcs11(self):
        token, pin = self.folder / "tokens", self.folder / "pin"
        if not token.exists():
            token.mkdir()
            pin.write_text("1234")
            (self.folder / "softhsm2.conf").write_text(f"directories.tokendir = {token}\nobjectstore.backend = file\n")
            self.environment["SOFTHSM2_CONF"] = str(self.folder / "softhsm2.conf")
            w.run("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", self.private, "-out", self.folder / "key.p8")
            hsm = ("softhsm2-util", "--token", "builder", "--pin", "1234")
            w.run("softhsm2-util", "--init-token", "--free", "--label", "builder", "--pin", "1234", "--so-pin", "5678",
                  env=self.environment)
            w.run(*hsm, "--import", self.folder / "key.p8", "--label", "image", "--id", "01", env=self.environment)
        return f"pkcs11:token=builder;object=image;type=private?pin-source=file:{pin}"

    def muctl(self, *words, check=True):
        return w.muctl(*words, check=check, env=self.environment)

    def sign(self, baseline, kind="exec", key=None, check=True):
        found, options = self.options(kind)
        return self.muctl("baseline", "sign", baseline, "--key", key or found, *options, check=check)


@pytest.fixture(scope="module")
def holder(settled_world, tmp_path_factory):
    holder = Holder(tmp_path_factory.mktemp("holder"), settled_world.tpm.root)
    yield holder
    if holder.aws is not None:
        holder.aws.stop()


@pytest.fixture
def baseline(world, tmp_path):
    return shutil.copy(world.complete, tmp_path / "baseline.json")


def boot(world):
    """A power cycle, and measured-unlock."""
    world.tpm.reboot()
    return world.unlock()


@pytest.mark.parametrize("kind", ["file", *REMOTE])
def test_openssl_verifies_a_signed_baseline(holder, baseline, kind):
    holder.sign(baseline, kind)
    w.run("openssl", "dgst", "-sha384", "-verify", holder.public, "-signature", f"{baseline}.sig", baseline)
    w.muctl("baseline", "verify", baseline, "--key", holder.public)


@pytest.mark.parametrize("kind", ["file", *REMOTE])
def test_a_volume_moves_to_a_key_and_boots(world, holder, tmp_path, kind):
    volume = shutil.copy(world.pristine, tmp_path / "volume.img")
    key, options = holder.options(kind)
    resign = ["enroll", "--resign", volume, "--baseline", world.complete, "--sign-key", key, *options]
    refused = holder.muctl(*resign, check=False)
    assert refused.returncode == 2 and "signature" in refused.stderr, "it was signed by another key"
    holder.muctl(*resign, "--present-key", world.builder_key)
    world.configure({"root": volume}, builder_key=holder.public)
    assert boot(world).returncode == 0
    world.configure({"root": volume})
    done = boot(world)
    assert done.returncode == 2 and "the signature does not hold" in done.stderr, "the image trusts the former key alone"


def test_an_image_that_trusts_both_keys_boots_before_and_after(world, holder, tmp_path):
    volume, both = shutil.copy(world.pristine, tmp_path / "volume.img"), tmp_path / "builder.pem"
    both.write_text(world.builder_key.read_text() + holder.public.read_text())
    world.configure({"root": volume}, builder_key=both)
    assert boot(world).returncode == 0
    w.muctl("enroll", "--resign", volume, "--baseline", world.complete, "--sign-key", holder.private,
            "--present-key", world.builder_key)
    assert boot(world).returncode == 0
    shown = w.muctl("record", "show", volume, "--key", both)
    assert "refused" not in shown.stderr
    both.write_text(both.read_text() * 2)
    done = boot(world)
    assert done.returncode == 4 and "4 keys; an image trusts one, or two" in done.stderr, done.stderr


def test_enrolled_by_a_key_that_is_no_file(world, holder, tmp_path):
    volume = w.make_volume(tmp_path / "volume.img")
    world.enroll(volume, "--builder-key", holder.public, key=holder.exec())
    world.configure({"root": volume}, builder_key=holder.public)
    assert boot(world).returncode == 0


def test_credentials_from_a_pipe_serve_both_keys(world, holder, tmp_path):
    """They can be read once: KMS encrypts the volume's key with them, and signs the record."""
    volume, passphrase = w.make_volume(tmp_path / "volume.img"), tmp_path / "passphrase"
    passphrase.write_bytes(w.PASSPHRASE)
    key, options = holder.options("kms")
    exported = "".join(f"{name}={value}\n" for name, value in w.BUILDER_ENVIRONMENT.items())
    w.muctl("enroll", volume, "--volume", "root", "--key-arn", w.KEY_ARN, "--baseline", world.complete, "--sign-key", key,
            *options, "--key-file", passphrase, "--credentials", "-", input=exported)
    shown = w.muctl("record", "show", volume, "--key", holder.public)
    assert "does not hold" not in shown.stdout + shown.stderr


def test_credentials_of_the_role_serve_both_keys(world, holder, tmp_path):
    """They are fetched once. Here they are of another account, so KMS does not encrypt."""
    volume, passphrase = w.make_volume(tmp_path / "volume.img"), tmp_path / "passphrase"
    passphrase.write_bytes(w.PASSPHRASE)
    key, options = holder.options("kms")
    world.configure({"root": volume})
    done = w.muctl("enroll", volume, "--config", world.config_path, "--key-arn", w.KEY_ARN, "--baseline", world.complete,
                   "--sign-key", key, *options, "--key-file", passphrase, check=False)
    assert done.returncode == 2 and holder.aws.log()[-1]["operation"] == "Encrypt", done.stderr
    asked = [r["operation"] for r in world.aws.log()[world.aws.seen:] if r["service"] == "imds"]
    assert asked == ["/latest/api/token", CREDENTIALS, CREDENTIALS + w.ROLE]


def test_kms_is_asked_for_the_digest_alone(holder, baseline):
    holder.sign(baseline, "kms")
    asked = [entry for entry in holder.aws.log() if entry.get("operation") == "Sign"][-1]
    assert asked["decision"] == "allow" and asked["key"] == ARN


@pytest.mark.parametrize("fault, words, code, text", [
    ("key-id", [], 2, "KMS answered for the key"),
    ("error", ["AccessDeniedException"], 2, "AccessDenied"),
    ("error", ["KMSInvalidStateException"], 2, "KMSInvalidState"),
])
def test_kms_does_not_sign(holder, baseline, fault, words, code, text):
    holder.kms()
    holder.aws.fault("kms", fault, *words)
    done = holder.sign(baseline, "kms", check=False)
    holder.aws.fault("none")
    assert done.returncode == code and text in done.stderr and ARN in done.stderr, done.stderr
    assert not os.path.exists(f"{baseline}.sig")


def test_kms_throttles_first(holder, baseline):
    holder.kms()
    holder.aws.fault("kms", "error", "ThrottlingException", count=2)
    holder.sign(baseline, "kms")
    holder.aws.fault("none")


@pytest.mark.parametrize("command, code, text", [
    ("false", 4, "the program that signs failed"),
    ("exit 0", 2, "does not verify with --builder-key"),
    ("echo signature", 2, "does not verify with --builder-key"),
    ("head -c 300 /dev/zero", 4, "larger than 256"),
    ("no-such-program-anywhere", 4, "the program that signs failed"),
    ("openssl pkeyutl -sign -inkey {other}", 2, "does not verify with --builder-key"),
    ("cat >/dev/null; kill -9 $$", 4, "the program that signs failed"),
])
def test_a_command_that_does_not_sign(world, holder, baseline, tmp_path, command, code, text):
    volume = shutil.copy(world.pristine, tmp_path / "volume.img")
    before = open(volume, "rb").read()
    key = "exec:" + command.format(other=world.signing_key)
    done = holder.sign(baseline, key=key, check=False)
    assert done.returncode == code and text in done.stderr and key in done.stderr, done.stderr
    assert not os.path.exists(f"{baseline}.sig")
    done = holder.muctl("enroll", "--resign", volume, "--baseline", world.complete, "--sign-key", key,
                        "--builder-key", holder.public, "--present-key", world.builder_key, check=False)
    assert done.returncode == code and text in done.stderr, done.stderr
    assert open(volume, "rb").read() == before


def test_the_command_gets_the_digest_and_nothing_else(holder, baseline, tmp_path):
    command = tmp_path / "sign"
    command.write_text(f"#!/bin/sh\ntee {tmp_path}/digest | openssl pkeyutl -sign -inkey {holder.private}\n")
    command.chmod(stat.S_IRWXU)
    holder.sign(baseline, key=f"exec:{command}")
    expected = w.run("openssl", "dgst", "-sha384", "-binary", baseline).stdout
    assert (tmp_path / "digest").read_bytes() == expected


@pytest.fixture
def other_kinds(tmp_path):
    def make(*algorithm):
        private, public = tmp_path / "k.pem", tmp_path / "p.pem"
        w.run("openssl", "genpkey", *algorithm, "-out", private)
        w.run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
        return public
    return {"ed25519": lambda: make("-algorithm", "ED25519"),
            "p256": lambda: make("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            "rsa": lambda: make("-algorithm", "RSA")}


@pytest.mark.parametrize("key, public, code, text", [
    ("exec:true", None, 1, "--builder-key FILE is needed"),
    (ARN, None, 1, "--builder-key FILE is needed"),
    ("exec:true", "ed25519", 4, "Ed25519 signs whole messages"),
    ("exec:true", "rsa", 4, "ECDSA on P-256 or P-384"),
    (ARN, "p256", 4, "ECC_NIST_P384 only"),
    (ARN.replace("key/", "alias/"), "own", 2, "an alias can be moved"),
    ("arn:aws:kms:eu-west-1", "own", 2, "key/<id>"),
    ("pkcs11:token=builder;object=image?pin-value=1234", "own", 1, "pin-source"),
    ("pkcs11:token=no-such-token;object=image", "own", 4, "the program that signs failed"),
    ("exec:", "own", 1, "no command or token"),
])
def test_bad_keys(holder, baseline, other_kinds, key, public, code, text):
    options = [] if public is None else ["--builder-key", holder.public if public == "own" else other_kinds[public]()]
    done = holder.muctl("baseline", "sign", baseline, "--key", key, *options, check=False)
    assert done.returncode == code and text in done.stderr, done.stderr


def test_the_public_half_of_a_file_is_checked_too(world, holder, baseline):
    done = holder.muctl("baseline", "sign", baseline, "--key", holder.private, "--builder-key", world.builder_key,
                        check=False)
    assert done.returncode == 2 and "is not the public half" in done.stderr
