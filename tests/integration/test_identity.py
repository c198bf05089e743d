# SPDX-License-Identifier: GPL-2.0-or-later
"""Who and unaltered in one answer: muctl verify --identity, against documents and signatures that another hand made."""
import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import world as w
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding

sys.path[:0] = [str(w.TOP / "tests/nitrotpm"), str(w.TOP / "tests/aws")]

import document  # noqa: E402
import identity  # noqa: E402
import pki  # noqa: E402

WHO = ["identity-signature", "identity-instance"]
MEMBERS = {"accountId": w.ACCOUNT, "architecture": "x86_64", "availabilityZone": w.REGION + "a", "billingProducts": None,
           "imageId": "ami-0c7217cdde317cfec", "instanceId": w.INSTANCE_ID, "instanceType": "m6i.large",
           "kernelId": None, "pendingTime": "2026-02-15T14:12:11Z", "privateIp": "172.31.17.154", "region": w.REGION,
           "version": "2017-09-30"}
OTHER = "i-0ce4441c840a0a941"


def text(**changes):
    """As AWS writes it: no newline at the end, blanks on both sides of the colon."""
    return json.dumps({**MEMBERS, **changes}, indent=2, separators=(",", " : ")).encode()


class Place:
    """A relying party's folder, with a fresh attestation document and the certificates of one region."""

    def __init__(self, folder):
        self.folder = folder
        root = pki.new_root()
        pki.save_root(root, folder / "ca")
        self.root = folder / "ca/root.pem"
        self.region, self.foreign = identity.Region(), identity.Region()
        self.certificates = folder / "certificates"
        self.region.publish(self.certificates, w.REGION)
        self.foreign.publish(self.certificates, "us-east-1")
        self.doc = self.attested(root, w.REGION)
        self.elsewhere = self.attested(root, "us-east-1")

    @staticmethod
    def attested(root, region):
        nothing = {"user_data": None, "nonce": None, "public_key": None}
        return document.Draft(pki.Chain(root, region, w.INSTANCE_ID), [bytes(48)] * 24, nothing).encode()

    def put(self, name, data):
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def verify(self, *options, doc=None, json_report=True):
        command = [w.MUCTL, "verify", "-", "--root", self.root, *(["--json"] if json_report else []), *options]
        done = subprocess.run([str(c) for c in command], input=doc or self.doc, capture_output=True)
        done.stderr = " ".join(done.stderr.decode().replace("muctl:", "").split())
        return done

    def check(self, proof, *options, signature=None, certificates=None, doc=None):
        """-> exit code, report, results of the two checks, stderr"""
        if signature is not None:
            options += "--identity-signature", self.put("signature", signature)
        done = self.verify("--identity", self.put("proof", proof), "--identity-certificate",
                           certificates or self.certificates, *options, doc=doc)
        report = json.loads(done.stdout) if done.stdout else None
        found = [c["result"] for c in report["checks"] if c["name"] in WHO] if report else None
        return done.returncode, report, found, done.stderr

    def accepted(self, *arguments, **options):
        code, report, found, stderr = self.check(*arguments, **options)
        assert (code, found, report["ok"]) == (0, ["ok", "ok"], True), stderr
        return report

    def refused(self, failed, *arguments, **options):
        """Exactly these of the two checks fail, and nothing else does."""
        code, report, found, stderr = self.check(*arguments, **options)
        assert code == 2 and report["ok"] is False and "refused" in stderr
        assert {c["name"] for c in report["checks"] if c["result"] == "failed"} == set(failed), report["checks"]
        return stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))


def pem(message):
    return f"-----BEGIN PKCS7-----\n{identity.folded(message)}\n-----END PKCS7-----\n"


# ---- genuine shapes ----

SHAPES = {
    "PEM": pem, "as IMDS has it": identity.folded, "DER": bytes, "one line": lambda m: base64.b64encode(m).decode(),
    "CRLF": lambda m: pem(m).replace("\n", "\r\n"), "no newline at the end": lambda m: pem(m).rstrip("\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rsa2048(shape, place):
    report = place.accepted(SHAPES[shape](identity.pkcs7(text(), place.region.rsa2048)))
    assert report["identity"] == {
        "instance_id": w.INSTANCE_ID, "account": w.ACCOUNT, "region": w.REGION, "instance_type": "m6i.large",
        "image_id": "ami-0c7217cdde317cfec", "pending_time": "2026-02-15T14:12:11Z"}


def raw(place, what):
    return identity.folded(place.region.rsa.sign(what, hashes.SHA256()))


def test_document_and_signature(place):
    for signature in raw(place, text()), raw(place, text()) + "\n", raw(place, text()).replace("\n", ""):
        assert place.accepted(text(), signature=signature)["identity"]["account"] == w.ACCOUNT


def test_what_a_genuine_message_may_hold(place):
    signer = place.region.rsa2048
    der = signer.cert.public_bytes(identity.serialization.Encoding.DER)
    place.accepted(pem(identity.pkcs7(text(), signer, attributes=False)))
    place.accepted(pem(identity.pkcs7(text(), signer, certificates=identity.definite(0xa0, der))))
    place.accepted(pem(identity.pkcs7(text(tags={"new": ["member"]}), signer)))
    place.accepted(pem(identity.pkcs7(text(instanceId=w.INSTANCE_ID), signer)), "--at", "document")


def test_renewed_certificate(place, tmp_path):
    """AWS has given an old key a new certificate: the old one's serial number is in the message."""
    signer = identity.Signer(place.region.rsa2048.key)
    old = identity.Signer(signer.key, days=(-3000, -1))
    message = pem(identity.pkcs7(text(), old))
    bundle = place.put("renewed.pem", place.foreign.rsa2048.pem + old.pem + signer.pem)
    place.accepted(message, certificates=bundle)
    why = place.refused(WHO[:1], message, certificates=place.put("old.pem", old.pem))
    assert "expired" in why


# ---- not asked for ----

def test_not_asked_for(place):
    done = place.verify()
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["identity"] is None
    assert [c["result"] for c in report["checks"] if c["name"] in WHO] == ["not-done", "not-done"]


def test_require_all_is_about_the_attestation_document(place):
    golden = place.put("golden.json", json.dumps({"Measurements": {"HashAlgorithm": "SHA384", "PCR4": "00" * 48,
                                                                   "PCR12": "00" * 48}}))
    doc = document.Draft(pki.Chain(pki.new_root(), w.REGION, w.INSTANCE_ID), [bytes(48)] * 24,
                         {"user_data": None, "nonce": b"\1", "public_key": None})
    pki.save_root(doc.chain.root, place.folder / "ca2")
    every = "--root", place.folder / "ca2/root.pem", "--nonce", "01", "--max-age", 600, "--baseline", golden, "--require-all"
    assert place.verify(*every, doc=doc.encode()).returncode == 0
    assert place.verify(*every[:-3], "--require-all", doc=doc.encode()).returncode == 2
    place.accepted(pem(identity.pkcs7(text(), place.region.rsa2048)), *every, doc=doc.encode())


def test_text(place):
    proof = place.put("proof", pem(identity.pkcs7(text(), place.region.rsa2048)))
    done = place.verify("--identity", proof, "--identity-certificate", place.certificates, json_report=False)
    out = done.stdout.decode()
    assert done.returncode == 0 and "identity-signature: RSA-2048" in out and "NOT VERIFIED" not in out
    for value in w.ACCOUNT, w.REGION, "m6i.large", "ami-0c7217cdde317cfec", "2026-02-15T14:12:11Z":
        assert value in out.partition("The identity document says:")[2]
    other = place.verify("--identity", place.put("proof", pem(identity.pkcs7(text(), place.foreign.rsa2048))),
                         "--identity-certificate", place.certificates, json_report=False)
    assert other.returncode == 2 and other.stdout.decode().count("NOT VERIFIED") == 2


# ---- what must not pass ----

def test_other_instance(place):
    why = place.refused(WHO[1:], pem(identity.pkcs7(text(instanceId=OTHER), place.region.rsa2048)))
    assert OTHER in why and w.INSTANCE_ID in why
    place.refused(WHO[1:], text(instanceId=OTHER), signature=raw(place, text(instanceId=OTHER)))
    place.refused(WHO[1:], pem(identity.pkcs7(text(instanceId=w.INSTANCE_ID[:-1]), place.region.rsa2048)))


def test_other_region(place):
    """Whoever has one region's key cannot speak about instances of another."""
    proof = pem(identity.pkcs7(text(region="us-east-1"), place.foreign.rsa2048))
    place.refused(WHO[1:], proof)
    place.accepted(proof, doc=place.elsewhere)
    place.refused(WHO[:1], pem(identity.pkcs7(text(), place.foreign.rsa2048)))


def test_wrong_certificate(place):
    message, bundle = pem(identity.pkcs7(text(), place.region.rsa2048)), place.certificates / "us-east-1.pem"
    assert str(bundle) in place.refused(WHO[:1], message, certificates=bundle)
    place.refused(WHO[:1], text(), signature=raw(place, text()), certificates=bundle)


def test_no_certificate_for_the_region(place):
    why = place.refused([*WHO], pem(identity.pkcs7(text(region="mars-north-1"), place.region.rsa2048)))
    assert "mars-north-1.pem" in why


def test_no_certificates(place, tmp_path):
    message = pem(identity.pkcs7(text(), place.region.rsa2048))
    for path in tmp_path / "nothing", place.put("bad.pem", "no PEM"), place.put(
            "cut.pem", place.region.rsa2048.pem + place.region.rsa.pem[:200] + b"\n-----END CERTIFICATE-----\n"):
        code, report, _, stderr = place.check(message, certificates=path)
        assert (code, report) == (4, None) and str(path) in stderr


def test_altered(place):
    message = identity.pkcs7(text(), place.region.rsa2048)
    assert message.count(w.ACCOUNT.encode()) == 1
    altered = message.replace(w.ACCOUNT.encode(), b"999999999999")
    assert "altered" in place.refused(WHO[:1], pem(altered))
    place.refused(WHO[:1], text(accountId="999999999999"), signature=raw(place, text()))
    place.refused(WHO[:1], text() + b"\n", signature=raw(place, text()))
    digest, moment = (message.index(oid) + 20 for oid in (identity.OID_MESSAGE_DIGEST, identity.OID_SIGNING_TIME))
    for at in digest, moment, len(message) - 100:
        place.refused(WHO[:1], pem(message[:at] + bytes([message[at] ^ 1]) + message[at + 1:]))


def test_signed_by_the_certificate_it_brings(place):
    own = identity.rsa_signer(2048)
    der = own.cert.public_bytes(identity.serialization.Encoding.DER)
    place.refused(WHO[:1], pem(identity.pkcs7(text(), own, certificates=identity.definite(0xa0, der))))


def test_weak_key_in_pkcs7(place):
    """The 1024 bits that AWS still has for 'signature' are not enough where there are 2048."""
    place.refused(WHO[:1], pem(identity.pkcs7(text(), place.region.rsa)))


def test_signature_of_another_kind(place):
    key = place.region.rsa.key
    for signature in (key.sign(text(), rsa_padding.PKCS1v15(), hashes.SHA1()), bytes(128), b"\1",
                      key.sign(text(), rsa_padding.PSS(rsa_padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())):
        place.refused(WHO[:1], text(), signature=identity.folded(signature))


def test_dsa_is_refused_by_name(place):
    why = place.refused([*WHO], pem(identity.pkcs7(text(), place.region.dsa, "sha1")))
    assert "DSA" in why and "instance-identity/rsa2048" in why
    assert "rsa2048" in place.refused([*WHO], pem(identity.pkcs7(text(), place.region.rsa2048, "sha1")))


def duplicated(name, value):
    return text().replace(b'"version"', f'"{name}" : "{value}",\n  "version"'.encode())


def unreadable(place):
    """-> proof, signature (or None), a word of the message; by what is wrong with them"""
    signer, good = place.region.rsa2048, identity.pkcs7(text(), place.region.rsa2048)
    info = identity.signer_info(text(), signer, "sha256", True)

    def signed(what):
        return pem(identity.pkcs7(what, signer))

    return {
        "instanceId twice": (signed(duplicated("instanceId", OTHER)), None, "two members"),
        "accountId twice, raw": (duplicated("accountId", "1"), raw(place, duplicated("accountId", "1")), "two members"),
        "bytes after the JSON": (signed(text() + b"{}"), None, "not JSON"),
        "bytes after the message": (pem(good + b"\0"), None, "bytes after"),
        "a second message": (pem(good) + pem(good), None, "not base64"),
        "cut": (pem(good[:-20]), None, "PKCS7"), "no end line": (pem(good)[:-26], None, "not base64"),
        "empty": (b"", None, "empty"), "oversized": (b"A" * 17000, None, "16 KiB"),
        "oversized inside": (signed(text(more="x" * 17000)), None, "16 KiB"),
        "oversized signature": (text(), "A" * 17000, "16 KiB"),
        "no signature": (text(), None, "without a signature"), "empty signature": (text(), "", "not base64"),
        "zero byte": (identity.folded(good) + "\0", None, "not base64"), "not CMS": (pem(b"0\x82\0\1\5"), None, "PKCS7"),
        "detached": (pem(identity.pkcs7(None, signer)), None, "missing"),
        "no signer": (pem(identity.pkcs7(text(), signer, signers=[])), None, "exactly one"),
        "two signers": (pem(identity.pkcs7(text(), signer, signers=[info, info])), None, "exactly one"),
        "ECDSA": (pem(identity.pkcs7(text(), signer, signers=[info.replace(
            identity.OID_RSA, bytes.fromhex("06092a864886f70d01010a"))])), None, "is not signed with RSA"),
        "not an object": (signed(b'["instanceId"]'), None, "JSON"), "UTF-16": (signed(text().decode().encode("utf-16")), None, "JSON"),
        **{f"{m} missing": (signed(json.dumps({k: v for k, v in MEMBERS.items() if k != m}).encode()), None, m)
           for m in ("instanceId", "accountId", "region", "instanceType", "imageId", "pendingTime")},
        "instanceId null": (signed(text(instanceId=None)), None, "instanceId"),
        "account as a number": (signed(text(accountId=111122223333)), None, "accountId"),
        "short account": (signed(text(accountId="1111")), None, "accountId"),
        "region as a path": (signed(text(region="../certificates/eu-west-1")), None, "region"),
        "terminal escape": (signed(text(imageId="ami-\x1b[2J")), None, "printable"),
        "line break": (signed(text(instanceType="x\nok")), None, "printable"),
    }


@pytest.mark.parametrize("name", [
    "instanceId twice", "accountId twice, raw", "bytes after the JSON", "bytes after the message", "a second message", "cut",
    "no end line", "empty", "oversized", "oversized inside", "oversized signature", "no signature", "empty signature",
    "zero byte", "not CMS", "detached", "no signer", "two signers", "ECDSA", "not an object", "UTF-16",
    "instanceId missing", "accountId missing", "region missing", "instanceType missing", "imageId missing",
    "pendingTime missing", "instanceId null", "account as a number", "short account", "region as a path",
    "terminal escape", "line break"])
def test_unreadable(name, place):
    """Refused like any other evidence that does not hold, with a report: the configuration is not at fault."""
    proof, signature, word = unreadable(place)[name]
    assert word in place.refused([*WHO], proof, signature=signature)


def test_without_a_good_attestation_document(place):
    """An identity document alone says who the instance is, not that this is it."""
    code, report, found, _ = place.check(pem(identity.pkcs7(text(), place.region.rsa2048)), doc=b"not a document")
    assert (code, found, report["ok"]) == (2, ["not-done", "not-done"], False)


@pytest.mark.parametrize("option", ["--identity-signature", "--identity-certificate"])
def test_options_without_identity(option, place):
    done = place.verify(option, place.root)
    assert done.returncode == 1 and option in done.stderr


# ---- fetched on the instance ----

@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = w.World(tmp_path_factory.mktemp("machine"))
    made.tpm.reboot()
    made.aws = w.Aws(made.folder / "aws", made.tpm.root, made.tpm.pcr(4))
    yield made
    made.stop()


def fetch(machine, *options, check=True):
    return w.muctl("attest", "--tcti", machine.tpm.tcti, "--nonce", "0011", "-o", machine.folder / "doc", "--identity",
                   machine.folder / "who", *options, check=check)


def test_fetched(machine):
    fetch(machine, "--imds", machine.aws.info["imds_endpoint"])
    done = w.muctl("verify", machine.folder / "doc", "--root", machine.tpm.root, "--nonce", "0011", "--identity",
                   machine.folder / "who", "--identity-certificate", machine.folder / "aws/region-certificates", "--json")
    report = json.loads(done.stdout)
    assert report["identity"]["instance_id"] == report["instance_id"] == w.INSTANCE_ID
    assert report["identity"]["account"] == w.ACCOUNT
    openssl = w.run("openssl", "smime", "-verify", "-in", machine.folder / "who", "-inform", "PEM", "-noverify", "-binary",
                    "-certfile", machine.folder / "aws/region-certificates" / f"{w.REGION}.pem")
    assert json.loads(openssl.stdout)["instanceId"] == w.INSTANCE_ID


@pytest.mark.parametrize("fault, value, code", [("status", "404", 3), ("status", "403", 4), ("body", "no identity", 3)])
def test_not_fetched(fault, value, code, machine):
    """Then neither file is written."""
    for name in "doc", "who":
        Path(machine.folder / name).unlink(missing_ok=True)
    path = "/latest/dynamic/instance-identity/rsa2048"
    machine.aws.fault("imds", fault, value, operation=path)
    done = fetch(machine, "--imds", machine.aws.info["imds_endpoint"], check=False)
    machine.aws.fault("none")
    assert done.returncode == code and "IMDS" in done.stderr
    assert not (machine.folder / "doc").exists() and not (machine.folder / "who").exists()
