# SPDX-License-Identifier: GPL-2.0-or-later
"""AWS's own programs, and others' stand-ins for AWS, against our programs and emulators: what they say is not ours."""
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import aws_programs as programs
import emulator as emulators
import pytest
import tls
import world as w

HERE = Path(__file__).parent
OK, REFUSE = 0, 2
TOKEN = "X-aws-ec2-metadata-token"


# ---- nitro-tpm-attest, and its example nitro-tpm-kms-decrypt ----

@pytest.fixture(scope="module")
def attest():
    return programs.attest()


def in_tpm(tpm):
    kinds = "persistent", "nv-index", "transient", "loaded-session", "saved-session"
    return {kind: tpm.tool("tpm2_getcap", f"handles-{kind}").stdout for kind in kinds}


@pytest.fixture
def ask(attest, world, tmp_path):
    """-> what AWS's program says to nonce, user data and public key of these sizes; it leaves nothing in the TPM."""
    def run(*sizes):
        before, words = in_tpm(world.tpm), []
        for name, size in zip(("nonce", "user-data", "public-key"), sizes):
            (tmp_path / name).write_bytes(bytes([size % 251]) * size)
            words += [f"--{name}", tmp_path / name]
        done = programs.Device(world.tpm).run(attest / "nitro-tpm-attest", *words)
        assert in_tpm(world.tpm) == before
        (tmp_path / "document").write_bytes(done.stdout)
        return done
    return run


def verify(world, folder, *options):
    return w.muctl("verify", folder / "document", "--root", world.tpm.root, "--max-age", "3600", "--json", *options,
                   check=False)


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(), (16, 3, 294), (1024, 1024, 1024)], ids=str)
def test_document_of_nitro_tpm_attest(ask, world, tmp_path, sizes):
    done = ask(*sizes)
    assert done.returncode == 0, done.stderr
    given = [(tmp_path / name).read_bytes().hex() if sizes else None for name in ("nonce", "user-data", "public-key")]
    options = ["--baseline", world.complete, *(["--nonce", given[0]] if sizes else [])]
    found = verify(world, tmp_path, *options)
    report = json.loads(found.stdout)
    assert found.returncode == OK, found.stderr
    assert [report[name] for name in ("nonce", "user_data", "public_key")] == given
    assert {c["name"] for c in report["checks"] if c["result"] == "ok"} >= {"root", "chain", "signature", "baseline"}
    if sizes:
        assert verify(world, tmp_path, "--nonce", "00" + given[0][2:]).returncode == REFUSE


@pytest.mark.long
@pytest.mark.parametrize("sizes", [(1025, 1, 1), (1, 1025, 1), (1, 1, 1025)], ids=str)
def test_nitro_tpm_attest_is_told_what_is_too_large(ask, sizes):
    done = ask(*sizes)
    assert done.returncode == 1 and b"InputTooLarge" in done.stderr, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("fault, failed", [("wrong-signature", ["signature"]), ("torn", ["structure"])])
def test_nitro_tpm_attest_verifies_nothing(ask, world, tmp_path, fault, failed):
    """It hands on what has no good signature, and what is no document. `muctl verify` refuses both."""
    world.tpm.fault(fault)
    done = ask(16)
    assert done.returncode == 0 and done.stdout, done.stderr
    found = verify(world, tmp_path)
    assert found.returncode == REFUSE, found.stderr
    assert [c["name"] for c in json.loads(found.stdout)["checks"] if c["result"] == "failed"] == failed


@pytest.mark.long
@pytest.mark.parametrize("fault", ["error --value InternalError", "rc --value 921", "garbage", "oversized", "echo"])
def test_nitro_tpm_attest_fails(ask, world, fault):
    world.tpm.fault(*fault.split())
    done = ask(16)
    assert done.returncode == 1 and not done.stdout and done.stderr.startswith(b"Error: ")


@pytest.mark.long
def test_nitro_tpm_kms_decrypt(attest, world):
    """AWS's SDK with our IMDS, TPM and KMS gets what our boot gets, for as long as our boot gets it. It prints text
    and gives no encryption context, so what it asks for is the key in base64."""
    import kms

    class Key:
        id, arn, material = w.KEY_ID, w.KEY_ARN, (world.aws.folder / f"key-{w.KEY_ID}").read_bytes()
    key = base64.b64encode(world.released_key())
    record = w.aws_kms(world.volume)

    def decrypt(ciphertext):
        return programs.Device(world.tpm).run(
            attest / "nitro-tpm-kms-decrypt", "--key-id", w.KEY_ARN, ciphertext,
            SSL_CERT_FILE=world.aws.info["ca_file"], AWS_ENDPOINT_URL_KMS=world.aws.info["kms_endpoint"],
            AWS_EC2_METADATA_SERVICE_ENDPOINT=world.aws.info["imds_endpoint"])
    assert b"InvalidCiphertext" in decrypt(record["ciphertext"]).stderr, "without the encryption context"
    sealed = base64.b64encode(kms.seal(Key, key, {})).decode()
    done = decrypt(sealed)
    assert (done.returncode, done.stdout) == (0, key), done.stderr
    assert world.unlock().returncode == OK
    _, theirs, ours = world.aws.decrypts()
    for name in "principal", "decision", "statement", "pcrs":
        assert theirs[name] == ours[name], name
    done = decrypt(sealed)
    assert done.returncode != 0 and b"AccessDenied" in done.stderr, "the boot has closed its fence"


# ---- amazon-ec2-metadata-mock ----

def imds(address, path, token=None):
    headers = {TOKEN: token} if token else {f"{TOKEN}-ttl-seconds": "60"}
    request = urllib.request.Request(f"{address}/latest/{path}", headers=headers, method="GET" if token else "PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def metadata_mock(folder, **values):
    """Its address; it answers version 2 alone."""
    program = programs.metadata_mock()
    config, port = folder / "mock.json", w.two_free_ports()
    config.write_text(json.dumps({"metadata": {"values": values}}))
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log, subprocess.Popen(
            [program, "--imdsv2", "--hostname", "127.0.0.1", "--port", str(port), "--config-file", config],
            env={"HOME": str(folder)}, stdout=log, stderr=log) as mock:
        try:
            while w.run("curl", "-s", address, check=False).returncode != 0:
                assert mock.poll() is None, (folder / "log").read_text()
            yield address
        finally:
            mock.terminate()


def test_boot_with_the_metadata_mock(world, tmp_path, monkeypatch):
    """IMDS is AWS's mock, with the credentials that ours hands out; its own have expired, and nobody knows them."""
    ours, role = world.aws.info["imds_endpoint"], f"meta-data/iam/security-credentials/{w.ROLE}"
    credentials = json.loads(imds(ours, role, imds(ours, "api/token")))
    asked = len(world.aws.log())
    lines = world.provider_lines()
    for given, code in ({"iam-security-credentials": credentials}, OK), ({}, REFUSE):
        world.tpm.reboot()
        with metadata_mock(tmp_path, **given) as address:
            monkeypatch.setattr(world, "provider_lines", lambda: [line.replace(ours, address) for line in lines])
            world.configure()
            done = world.unlock()
        assert done.returncode == code and world.fence_closed(), done.stderr
    assert "UnrecognizedClientException" in done.stderr or "security token" in done.stderr
    assert [r for r in world.aws.log()[asked:] if r["service"] == "imds"] == []


# ---- LocalStack's answer for a recipient ----

EMULATOR = """#!/usr/bin/python3
import runpy, sys
sys.dont_write_bytecode = True
sys.path[:0] = [{here!r}, {packages!r}]
import cms
from cryptography.hazmat.primitives.serialization import load_der_public_key
from localstack.utils.crypto import pkcs7_envelope_encrypt
def envelop(plaintext, spki):
    made = pkcs7_envelope_encrypt(plaintext, load_der_public_key(spki))
    open({made!r}, "wb").write(made)
    return made
cms.envelop = envelop
runpy.run_path({program!r}, run_name="__main__")
"""


def test_ciphertext_for_recipient_by_localstack(tmp_path):
    """Its CMS is DER with issuer and serial number, where AWS's is BER with a key identifier."""
    packages = programs.pip_install("localstack.txt")
    program, made = tmp_path / "aws-emulator", tmp_path / "made"
    program.write_text(EMULATOR.format(here=str(w.Aws.COMMAND.parent), packages=str(packages), made=str(made),
                                       program=str(w.Aws.COMMAND)))
    program.chmod(0o755)

    class LocalStack(w.Aws):
        COMMAND = program

    class World(w.World):
        def start_kms(self):
            self.aws = LocalStack(self.folder / "aws", self.tpm.root, self.tpm.pcr(4))
    world = World(tmp_path)
    try:
        world.settle()
        done = world.unlock()
        assert done.returncode == OK and world.fence_closed(), done.stderr
        assert made.read_bytes().startswith(b"\x30\x82"), "a definite length"
        world.fresh()
        world.aws.fault("kms", "other-recipient", operation="Decrypt")
        done = world.unlock()
        assert done.returncode == REFUSE and "could not be decrypted" in done.stderr, done.stderr
    finally:
        world.stop()


# ---- the newest SDK ----

@pytest.fixture
def boto3(tmp_path):
    """-> runs a script that has it, on a value, and returns a value"""
    def run(script, given):
        done = w.run(sys.executable, "-c", script, input=json.dumps(given), text=True, timeout=600, env=run.environment)
        return json.loads(done.stdout)
    run.environment = programs.moto_environment(tmp_path)
    return run


SDK = """
import base64, boto3, json, sys
given = json.load(sys.stdin)
kms = boto3.client("kms", **given["client"])
recipient = {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
                           "AttestationDocument": base64.b64decode(given["document"])}}
common = {"KeyId": given["key"], "EncryptionContext": {"volume": "x"}, **recipient}
made = kms.generate_data_key(KeySpec="AES_256", **common)
found = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], **common)
try:
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"], **recipient)
except kms.exceptions.InvalidCiphertextException as error:
    wrong = type(error).__name__
print(json.dumps({"version": boto3.__version__, "wrong": wrong, "material": made["KeyMaterialId"],
                  "clear": [x.get("Plaintext", b"").hex() for x in (made, found)],
                  "cms": [x["CiphertextForRecipient"].hex() for x in (made, found)]}))
"""


def test_newest_boto3(boto3, tmp_path):
    """With AWS's model as it is: Debian's is older than Recipient, and tests/aws teaches it."""
    may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}
    folder = tmp_path / "aws"
    folder.mkdir()
    aws = emulators.Emulator(folder, identity_policy=may)
    try:
        key, spki = emulators.rsa_key()
        access, secret, token = aws.role_keys()
        client = {"region_name": w.REGION, "endpoint_url": aws.info["kms_endpoint"], "verify": aws.info["ca_file"],
                  "aws_access_key_id": access, "aws_secret_access_key": secret, "aws_session_token": token}
        document = base64.b64encode(aws.document(spki)).decode()
        answer = boto3(SDK, {"client": client, "key": w.OTHER_KEY_ID, "document": document})
        one, two = (emulators.open_cms(bytes.fromhex(cms), key, tmp_path) for cms in answer["cms"])
        assert one == two and len(one) == 32
        assert answer["clear"] == ["", ""] and answer["wrong"] == "InvalidCiphertextException"
        assert f"\nboto3=={answer['version']}\n" in (HERE / "moto.txt").read_text()
    finally:
        aws.stop()


ENDPOINTS = """
import json, sys
from botocore.endpoint_provider import EndpointProvider
from botocore.session import get_session
loader = get_session().get_component("data_loader")
partitions = loader.load_data("partitions")
provider = EndpointProvider(loader.load_service_model("kms", "endpoint-rule-set-1"), partitions)
names = "Region", "UseFIPS", "UseDualStack"
urls = [provider.resolve_endpoint(**dict(zip(names, row))).url for row in json.load(sys.stdin)]
known = [(p["id"], p["outputs"]) for p in partitions["partitions"]]
print(json.dumps([urls, [[name, out["dnsSuffix"], out["dualStackDnsSuffix"]] for name, out in known]]))
"""


def test_endpoints(boto3):
    """AWS's rules give what the unit test of kms_endpoint() wants, and its table has AWS's partitions."""
    rows = re.findall(r'\{"(\S+)", "aws\S*", (\w+), (\w+), NULL,\s*"(https:\S+)/"\}',
                      (w.TOP / "tests/unit/test_kms.c").read_text())
    table = re.findall(r'\{"(aws\S*)", "(\S+)", "(\S+)"\}',
                       (w.TOP / "unlock/release/kms_endpoint.c").read_text())
    urls, known = boto3(ENDPOINTS, [(region, fips == "true", dual == "true") for region, fips, dual, _ in rows])
    assert urls == [url for *_, url in rows] and len(rows) > 10
    assert sorted(map(tuple, known)) == sorted(table)


# ---- moto ----

MAKE_KEY = """
import boto3, json, sys
client = json.load(sys.stdin)
iam = boto3.client("iam", **client)
iam.create_user(UserName="builder")
iam.put_user_policy(UserName="builder", PolicyName="all", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}))
key = iam.create_access_key(UserName="builder")["AccessKey"]
client |= {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
print(json.dumps([client, boto3.client("kms", **client).create_key()["KeyMetadata"]["Arn"]]))
"""
DECRYPT = """
import base64, boto3, json, sys
client, ciphertext, context = json.load(sys.stdin)
kms = boto3.client("kms", **client)
found = kms.decrypt(CiphertextBlob=base64.b64decode(ciphertext), EncryptionContext=context)
print(json.dumps(found["Plaintext"].hex()))
"""


@pytest.fixture
def moto(boto3, tmp_path):
    """Its client's options. After a request of curl and three of MAKE_KEY, which make a user, it checks signatures with
    botocore's signer, and what the user may do."""
    tls.make(tmp_path, [w.REGION])
    certificate = tmp_path / "server.pem"
    environment = {**boto3.environment, "INITIAL_NO_AUTH_ACTION_COUNT": "4"}
    with programs.moto_server(tmp_path, environment, "-s", "-c", certificate, "-k", certificate) as url:
        yield {"region_name": w.REGION, "endpoint_url": url, "verify": str(tmp_path / "ca.pem"),
               "aws_access_key_id": "A", "aws_secret_access_key": "S"}


def test_enrolment_with_moto(world, boto3, moto, tmp_path):
    """Its KMS takes our signature, but none with another secret; and what it encrypted opens the volume."""
    client, arn = boto3(MAKE_KEY, moto)
    secret, volume = client["aws_secret_access_key"], w.make_volume(tmp_path / "volume.img")

    def enroll(secret):
        keys = {"AWS_ACCESS_KEY_ID": client["aws_access_key_id"], "AWS_SECRET_ACCESS_KEY": secret}
        return w.muctl("enroll", volume, "--volume", "root", "--key-arn", arn, "--baseline", world.complete,
                       "--sign-key", world.signing_key, "--key-file", "-", "--endpoint", moto["endpoint_url"],
                       "--ca-file", moto["verify"], input=w.PASSPHRASE.decode(), check=False,
                       env={**os.environ, **keys})
    done = enroll("/" + secret)
    assert done.returncode == REFUSE and "HTTP 403" in done.stderr, done.stderr
    done = enroll(secret)
    assert done.returncode == OK, done.stderr
    record = w.aws_kms(volume)
    key = bytes.fromhex(boto3(DECRYPT, [client, record["ciphertext"], record["encryption_context"]]))
    w.run("cryptsetup", "open", "--test-passphrase", "--key-slot", "1", "--key-file", "-", volume, input=key)
