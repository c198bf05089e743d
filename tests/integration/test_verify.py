# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl verify against documents that another hand made: genuine ones, the emulator's, and chains with one fault."""
import base64
import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import cbor2
import pytest
import world as w
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

sys.path.insert(0, str(w.TOP / "tests/nitrotpm"))

import document  # noqa: E402
import pki  # noqa: E402

WHO = ["identity-signature", "identity-instance"]
CHECKS = ["structure", "digest", "fields", "identity", "root", "chain", "signature", "time", "age", "nonce", "baseline", *WHO]
UNASKED = {"age", "nonce", "baseline"}
GENUINE = sorted((w.VECTORS / "nitrotpm-doc").glob("*.cbor"))
ENCLAVE = sorted((w.VECTORS / "enclave-doc").glob("*.cbor"))
NONCE, PUBLIC_KEY = bytes(range(16)), b"a public key"
PCRS = [hashlib.sha384(bytes([n])).digest() for n in range(24)]
PCRS[12] = bytes(48)

needs_vectors = pytest.mark.skipif(not GENUINE, reason="no genuine documents in MU_VECTORS")


@pytest.fixture(scope="session")
def root():
    return pki.new_root()


@pytest.fixture(scope="session")
def root_pem(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    pki.save_root(root, folder)
    return folder / "root.pem"


@pytest.fixture
def draft(root):
    chain = pki.Chain(root, w.REGION, w.INSTANCE_ID)
    return document.Draft(chain, PCRS, {"user_data": None, "nonce": NONCE, "public_key": PUBLIC_KEY})


def verify(doc, *options):
    """-> exit code, report; the document goes in through standard input."""
    done = subprocess.run([w.MUCTL, "verify", "-", "--json", *map(str, options)], input=doc, capture_output=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode()


def results(report, result):
    return {c["name"] for c in report["checks"] if c["result"] == result}


def accepted(doc, *options, unasked=UNASKED):
    code, report, stderr = verify(doc, *options)
    assert (code, results(report, "failed")) == (0, set()), stderr
    assert report["ok"] is True and results(report, "not-done") == unasked | set(WHO)
    assert [c["name"] for c in report["checks"]] == CHECKS
    return report


def refused(doc, failed, *options):
    code, report, stderr = verify(doc, *options)
    assert code == 2 and report["ok"] is False and "refused" in stderr
    assert results(report, "failed") == failed, report["checks"]
    return report


def rfc3339(ms, zone=timezone.utc):
    return datetime.fromtimestamp(ms / 1000, zone).isoformat(timespec="milliseconds")


# ---- genuine documents ----

@needs_vectors
@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.name)
def test_genuine(path):
    doc = path.read_bytes()
    own = accepted(doc, "--at", "document")
    assert own["module_id"].startswith(own["instance_id"] + "-tpm") and len(own["pcrs"]) == 24
    ms = own["timestamp_ms"]
    for zone in timezone.utc, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9)):
        report = accepted(doc, "--at", rfc3339(ms, zone))
        assert report["pcrs"] == own["pcrs"]
        assert report["verified_at"] == report["timestamp"] == rfc3339(ms).replace("+00:00", "Z")
    accepted(doc, "--at", rfc3339(ms + 3600_000), "--max-age", 3600, unasked={"nonce", "baseline"})
    refused(doc, {"age"}, "--at", rfc3339(ms + 3600_000), "--max-age", 3599)
    refused(doc, {"chain", "time"}, "--at", rfc3339(ms - 3600_000))
    refused(doc, {"chain"}, "--at", rfc3339(ms + 5 * 3600_000))
    refused(doc, {"chain"}, "--at", "now")


@needs_vectors
def test_old_document_is_told_how():
    own = verify(GENUINE[0].read_bytes(), "--at", "document")[1]
    code, _, stderr = verify(GENUINE[0].read_bytes())
    assert code == 2 and f"--at {own['timestamp']}" in " ".join(stderr.replace("muctl:", "").split())


@needs_vectors
def test_genuine_needs_its_root(root_pem):
    refused(GENUINE[0].read_bytes(), {"root", "chain"}, "--at", "document", "--root", root_pem)
    accepted(GENUINE[0].read_bytes(), "--at", "document", "--root", w.VECTORS / "certs/AWS_NitroEnclaves_Root-G1.pem")


@pytest.mark.skipif(not ENCLAVE, reason="no enclave documents in MU_VECTORS")
@pytest.mark.parametrize("path", ENCLAVE, ids=lambda p: p.name)
def test_enclave(path):
    report = refused(path.read_bytes(), {"structure"}, "--at", "document")
    assert report["pcrs"] == {} and report["module_id"] is None and results(report, "ok") == set()


# ---- the emulator's documents ----

def test_emulated(draft, root_pem):
    report = accepted(draft.encode(), "--root", root_pem)
    assert report["pcrs"] == {str(n): v.hex() for n, v in enumerate(PCRS)}
    assert (report["nonce"], report["public_key"], report["user_data"]) == (NONCE.hex(), PUBLIC_KEY.hex(), None)
    assert report["instance_id"] == w.INSTANCE_ID and report["timestamp_ms"] == draft.timestamp_ms
    refused(draft.encode(), {"root", "chain"})


# Which checks each fault of tests/nitrotpm/document.py makes fail; none: the document is as good.
FAULTS = {
    "stale": ("20000", {"chain"}), "expired-leaf": (None, {"chain", "time"}), "other-root": (None, {"root", "chain"}),
    "enclave": (None, {"structure"}), "pcr": ("4=" + "ab" * 48, {"baseline"}), "missing-pcr": (None, {"baseline"}),
    "short-pcr": (None, {"structure"}), "wrong-nonce": (None, {"nonce"}), "wrong-public-key": (None, set()),
    "wrong-user-data": (None, set()), "wrong-signature": (None, {"signature"}),
    "short-signature": (None, {"structure"}), "altered-payload": (None, {"structure"}),
    "wrong-algorithm": (None, {"structure"}), "wrong-digest": (None, {"structure"}),
    "duplicate-key": (None, {"structure"}), "extra-key": (None, set()), "reversed-cabundle": (None, {"root", "chain"}),
    "empty-cabundle": (None, {"structure"}), "definite": (None, set()), "tagged": (None, set()),
}


def test_base64_is_taken(draft, root_pem):
    """In one line, in lines, or with those of Windows; cut off, it is neither."""
    raw = draft.encode()
    good = verify(raw, "--root", root_pem)[1]
    for text in (base64.b64encode(raw), base64.encodebytes(raw), base64.encodebytes(raw).replace(b"\n", b"\r\n")):
        code, report, _ = verify(text, "--root", root_pem)
        assert code == 0 and report["ok"] and report["pcrs"] == good["pcrs"]
    assert verify(base64.b64encode(raw)[:-1], "--root", root_pem)[0] == 4


@pytest.mark.parametrize("text", [b'{"Measurements": {}}', b"-----BEGIN CERTIFICATE-----\n"])
def test_file_of_another_kind(text):
    code, _, said = verify(text)
    assert code == 2 and "not what 'muctl attest' writes" in " ".join(said.replace("muctl:", "").split())


def test_every_fault_is_listed():
    assert set(FAULTS) == set(document.FAULTS)


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", **{
        f"PCR{n}": PCRS[n].hex() for n in (4, 7, 12, 23)}}}))
    return path


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name, draft, root_pem, golden):
    value, failed = FAULTS[name]
    options = "--root", root_pem, "--nonce", NONCE.hex(), "--baseline", golden, "--max-age", 86400, "--require-all"
    accepted(draft.encode(), *options, unasked=set())
    document.FAULTS[name](draft, value)
    if failed:
        refused(draft.encode(), failed, *options)
    else:
        accepted(draft.encode(), *options, unasked=set())


@pytest.mark.parametrize("key", ["module_id", "digest", "timestamp", "certificate", "cabundle", "public_key",
                                 "user_data", "nonce"])
def test_duplicate_key(key, draft, root_pem):
    draft.repeat.append(key)
    refused(draft.encode(), {"structure"}, "--root", root_pem)


# ---- encodings ----

OPTIONAL = ["public_key", "user_data", "nonce"]


def head(major, count):
    """A definite length, as cbor2 does not write it: more than one byte where one would do."""
    return bytes([major << 5 | 25]) + count.to_bytes(2, "big")


def indefinite(value):
    """Maps and arrays without a count."""
    if isinstance(value, dict):
        return b"\xbf" + b"".join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in value.items()) + b"\xff"
    return b"\x9f" + b"".join(map(cbor2.dumps, value)) + b"\xff"


def forge(draft, change=None, leave_out=(), order=None, more=b""):
    """The draft with some members replaced by these bytes (their value in CBOR), left out, or in another order."""
    members = {k: cbor2.dumps(v) for k, v in draft.fields() if k not in leave_out} | (change or {})
    names = order or members
    body = b"".join(cbor2.dumps(k) + members[k] for k in names) + more
    draft.payload = lambda: b"\xbf" + body + b"\xff"
    return draft.encode()


def pcr_map(values):
    return {"nitrotpm_pcrs": cbor2.dumps(values)}


NAMES = ["module_id", "digest", "timestamp", "nitrotpm_pcrs", "certificate", "cabundle", *OPTIONAL]
GENUINE_VARIANTS = {
    "optionals absent": lambda d: forge(d, leave_out=OPTIONAL),
    "optionals null": lambda d: forge(d, dict.fromkeys(OPTIONAL, b"\xf6")),
    "optionals empty": lambda d: forge(d, dict.fromkeys(["user_data", "nonce"], b"\x40")),
    "optionals at their limit": lambda d: forge(d, dict.fromkeys(OPTIONAL, cbor2.dumps(bytes(1024)))),
    "one PCR": lambda d: forge(d, pcr_map({4: PCRS[4]})),
    "32 PCRs": lambda d: forge(d, pcr_map({n: bytes([n]) * 48 for n in range(32)})),
    "PCRs in another order": lambda d: forge(d, pcr_map(dict(reversed(d.pcrs.items())))),
    "everything indefinite": lambda d: forge(d, {"nitrotpm_pcrs": indefinite(d.pcrs),
                                                 "cabundle": indefinite(d.cabundle)}),
    "lengths longer than needed": lambda d: forge(d, {
        "module_id": head(3, len(d.module_id)) + d.module_id.encode(), "digest": head(3, 6) + b"SHA384",
        "cabundle": head(4, 4) + b"".join(map(cbor2.dumps, d.cabundle))}),
    "names sorted": lambda d: forge(d, order=sorted(NAMES)),
    "32 members more": lambda d: forge(d, more=b"".join(cbor2.dumps(f"more {n}") + cbor2.dumps([n]) for n in range(32))),
}
FORGED = {
    "PCR of 0 bytes": lambda d: forge(d, pcr_map({**d.pcrs, 7: b""})),
    "PCR of 32 bytes": lambda d: forge(d, pcr_map({**d.pcrs, 7: bytes(32)})),
    "PCR of 47 bytes": lambda d: forge(d, pcr_map({**d.pcrs, 7: bytes(47)})),
    "PCR of 49 bytes": lambda d: forge(d, pcr_map({**d.pcrs, 7: bytes(49)})),
    "PCR of 64 bytes": lambda d: forge(d, pcr_map({**d.pcrs, 7: bytes(64)})),
    "PCR as text": lambda d: forge(d, pcr_map({**d.pcrs, 7: "00" * 24})),
    "PCR null": lambda d: forge(d, pcr_map({**d.pcrs, 7: None})),
    "PCR 32": lambda d: forge(d, pcr_map({**d.pcrs, 32: bytes(48)})),
    "PCR -1": lambda d: forge(d, pcr_map({**d.pcrs, -1: bytes(48)})),
    "PCR with a name": lambda d: forge(d, pcr_map({**d.pcrs, "7": bytes(48)})),
    "PCR twice": lambda d: forge(d, {"nitrotpm_pcrs": b"\xbf" + indefinite(d.pcrs)[1:-1] + b"\x04\x58\x30" + bytes(48)
                                     + b"\xff"}),
    "PCR twice, written differently": lambda d: forge(d, {
        "nitrotpm_pcrs": b"\xbf" + indefinite(d.pcrs)[1:-1] + b"\x18\x04\x58\x30" + bytes(48) + b"\xff"}),
    "no PCRs": lambda d: forge(d, pcr_map({})),
    "PCRs as an array": lambda d: forge(d, pcr_map(PCRS)),
    "PCRs twice": lambda d: forge(d, more=cbor2.dumps("nitrotpm_pcrs") + cbor2.dumps(d.pcrs)),
    "pcrs beside nitrotpm_pcrs": lambda d: forge(d, more=cbor2.dumps("pcrs") + cbor2.dumps(d.pcrs)),
    "unknown member twice": lambda d: forge(d, more=2 * (cbor2.dumps("more") + b"\xf6")),
    "a name twice, written differently": lambda d: forge(d, more=cbor2.dumps("more") + b"\xf6" + head(3, 4) + b"more\xf6"),
    "a number as a name": lambda d: forge(d, more=b"\x01\x01"),
    "thousands of members": lambda d: forge(d, more=b"".join(cbor2.dumps(f"{n}") + b"\x00" for n in range(1000))),
    "nested without end": lambda d: forge(d, more=cbor2.dumps("more") + 3000 * b"\x81" + b"\x00"),
    "certificate of 1025 bytes": lambda d: forge(d, {"certificate": cbor2.dumps(d.leaf.der + bytes(1025 - len(d.leaf.der)))}),
    "empty certificate": lambda d: forge(d, {"certificate": b"\x40"}),
    "CA of 1025 bytes": lambda d: forge(d, {"cabundle": cbor2.dumps([*d.cabundle, bytes(1025)])}),
    "empty CA": lambda d: forge(d, {"cabundle": cbor2.dumps([*d.cabundle, b""])}),
    "17 CAs": lambda d: forge(d, {"cabundle": cbor2.dumps([*d.cabundle, *(b"x" for _ in range(13))])}),
    "cabundle null": lambda d: forge(d, {"cabundle": b"\xf6"}),
    "empty public_key": lambda d: forge(d, {"public_key": b"\x40"}),
    "text as nonce": lambda d: forge(d, {"nonce": cbor2.dumps("nonce")}),
    "user_data undefined": lambda d: forge(d, {"user_data": b"\xf7"}),
    "chunked nonce": lambda d: forge(d, {"nonce": b"\x5f\x41\x01\x41\x02\xff"}),
    "empty module_id": lambda d: forge(d, {"module_id": b"\x60"}),
    "module_id in two lines": lambda d: forge(d, {"module_id": cbor2.dumps(d.module_id + "\nok")}),
    "module_id null": lambda d: forge(d, {"module_id": b"\xf6"}),
    "module_id as bytes": lambda d: forge(d, {"module_id": cbor2.dumps(d.module_id.encode())}),
    "timestamp 0": lambda d: forge(d, {"timestamp": b"\x00"}),
    "timestamp negative": lambda d: forge(d, {"timestamp": cbor2.dumps(-d.timestamp_ms)}),
    "timestamp as text": lambda d: forge(d, {"timestamp": cbor2.dumps(str(d.timestamp_ms))}),
    "timestamp as float": lambda d: forge(d, {"timestamp": cbor2.dumps(float(d.timestamp_ms))}),
    "timestamp tagged": lambda d: forge(d, {"timestamp": b"\xc1" + cbor2.dumps(d.timestamp_ms)}),
    "lower-case digest": lambda d: forge(d, {"digest": cbor2.dumps("sha384")}),
    **{f"{name} absent": lambda d, name=name: forge(d, leave_out=[name]) for name in NAMES[:6]},
}


@pytest.mark.parametrize("name", GENUINE_VARIANTS)
def test_what_a_genuine_document_may_look_like(name, draft, root_pem):
    accepted(GENUINE_VARIANTS[name](draft), "--root", root_pem)


@pytest.mark.parametrize("name", FORGED)
def test_forged(name, draft, root_pem):
    """Signed by the right key below the right root: wrong in this one way."""
    accepted(forge(draft), "--root", root_pem)
    refused(FORGED[name](draft), {"structure"}, "--root", root_pem)


def test_timestamp_far_away(draft, root_pem):
    refused(forge(draft, {"timestamp": b"\x1b" + 8 * b"\xff"}), {"time"}, "--root", root_pem)
    refused(draft.encode(), {"chain", "time"}, "--root", root_pem, "--at", "document")


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-4", "us-gov-west-1", "mx-central-1"])
@pytest.mark.parametrize("instance", ["i-0123456789abcdef0", "i-1a2b3c4d"])
def test_regions(region, instance, root, root_pem):
    chain = pki.Chain(root, region, instance)
    empty = {"user_data": b"", "nonce": None, "public_key": None}
    assert accepted(document.Draft(chain, PCRS, empty).encode(), "--root", root_pem)["instance_id"] == instance


COSE = {     # the envelope around a payload and its signature
    "tagged": (b"\xd2\x84", b"\xa0", b"", True), "indefinite": (b"\x9f", b"\xa0", b"\xff", True),
    "tagged, indefinite": (b"\xd2\x9f", b"\xbf\xff", b"\xff", True), "longer head": (b"\x98\x04", b"\xa0", b"", True),
    "tagged twice": (b"\xd2\xd2\x84", b"\xa0", b"", False), "COSE_Sign": (b"\xd8\x62\x84", b"\xa0", b"", False),
    "COSE_Mac0": (b"\xd1\x84", b"\xa0", b"", False), "array of five": (b"\x85", b"\xa0", b"\x00", False),
    "array of five, indefinite": (b"\x9f", b"\xa0", b"\x00\xff", False), "no end": (b"\x9f", b"\xa0", b"", False),
    "unprotected header": (b"\x84", b"\xa1\x04\x41\x01", b"", False), "null header": (b"\x84", b"\xf6", b"", False),
    "trailing null": (b"\x84", b"\xa0", b"\xf6", False), "trailing document": (b"\x84", b"\xa0", b"\x84", False),
}


@pytest.mark.parametrize("name", COSE)
def test_envelope(name, draft, root_pem):
    before, unprotected, after, good = COSE[name]
    protected, _, payload, signature = cbor2.loads(draft.encode())
    doc = (before + cbor2.dumps(protected) + unprotected + cbor2.dumps(payload) + cbor2.dumps(signature) + after)
    accepted(doc, "--root", root_pem) if good else refused(doc, {"structure"}, "--root", root_pem)


@pytest.mark.parametrize("protected, failed", [
    ({1: -35, 4: b"x"}, {"structure"}), ({1: -7}, {"structure"}), ({1: -36}, {"structure"}), ({}, {"structure"}),
    ({1: "ES384"}, {"structure"})], ids=str)
def test_algorithm(protected, failed, draft, root_pem):
    """Also where the signature over that header is good."""
    draft.protected = cbor2.dumps(protected)
    refused(draft.encode(), failed, "--root", root_pem)


@pytest.mark.parametrize("r, s", [(0, 0), (0, 1), (1, 0), (2 ** 384 - 1, 2 ** 384 - 1)])
def test_signature_out_of_range(r, s, draft, root_pem):
    draft.signature = lambda _: r.to_bytes(48, "big") + s.to_bytes(48, "big")
    refused(draft.encode(), {"signature"}, "--root", root_pem)


def test_signed_by_a_ca(draft, root_pem):
    """The instance's CA key signs the document itself: the leaf must have."""
    draft.leaf = pki.Node(draft.leaf.cert, draft.chain.nodes["instance"].key)
    refused(draft.encode(), {"signature"}, "--root", root_pem)


def unsupported(item):
    """Strings in chunks (RFC 8949, 3.2.3), and simple values that nobody has given a meaning."""
    return item["hex"].startswith(("5f", "7f")) or item.get("diagnostic", "").startswith("simple(")


APPENDIX = w.VECTORS / "cbor/appendix_a.json"


@pytest.mark.skipif(not APPENDIX.exists(), reason="no CBOR examples in MU_VECTORS")
def test_cbor_examples(draft, root_pem):
    """Each example of RFC 8949, appendix A, as a member that a later version of the document may have."""
    wrong = []
    for item in json.loads(APPENDIX.read_text()):
        doc = forge(draft, more=cbor2.dumps("more") + bytes.fromhex(item["hex"]))
        if verify(doc, "--root", root_pem)[0] != (2 if unsupported(item) else 0):
            wrong.append(item)
        code = verify(forge(draft, more=cbor2.dumps("more") + bytes.fromhex(item["hex"]) + b"\x00"),
                      "--root", root_pem)[0]
        if code != 2:
            wrong.append(item)
    assert not wrong


@pytest.mark.skipif(not (w.VECTORS / "cose-es384").exists(), reason="no COSE examples in MU_VECTORS")
def test_cose_examples_are_no_documents():
    for path in sorted((w.VECTORS / "cose-es384").rglob("*.json")):
        doc = bytes.fromhex(json.loads(path.read_text())["output"]["cbor"])
        refused(doc, {"structure"})


@pytest.mark.parametrize("field", OPTIONAL)
def test_field_size(field, draft, root_pem):
    draft.answers[field] = bytes(1024)
    accepted(draft.encode(), "--root", root_pem)
    draft.answers[field] = bytes(1025)
    refused(draft.encode(), {"structure"}, "--root", root_pem)


def test_trailing_bytes(draft, root_pem):
    accepted(draft.encode(), "--root", root_pem)
    refused(draft.encode() + b"\0", {"structure"}, "--root", root_pem)


def test_clock(draft, root_pem):
    """A little ahead is a clock; more is the future. Backwards, the certificate's beginning is the limit."""
    draft.timestamp_ms += 3000
    accepted(draft.encode(), "--root", root_pem)
    draft.timestamp_ms += 60_000
    refused(draft.encode(), {"time"}, "--root", root_pem)
    draft.timestamp_ms -= 120_000
    refused(draft.encode(), {"time"}, "--root", root_pem)


def test_identity(draft, root_pem):
    """Another instance's certificate, a certificate of an enclave, and module ids that are none."""
    for name in f"i-{'1' * 17}-tpm{0:016x}", draft.module_id[:-1] + "1", draft.module_id + "0":
        draft.leaf = draft.chain.leaf(name)
        refused(draft.encode(), {"identity"}, "--root", root_pem)
    for name in f"{w.INSTANCE_ID}-enc{1:016x}", w.INSTANCE_ID, "tpm":
        draft.module_id, draft.leaf = name, draft.chain.leaf(name)
        refused(draft.encode(), {"identity"}, "--root", root_pem)


def test_nonce_and_require_all(draft, root_pem):
    doc = draft.encode()
    accepted(doc, "--root", root_pem, "--nonce", NONCE.hex().upper(), unasked={"age", "baseline"})
    for wrong in NONCE[:-1], NONCE + b"\0", b"\1":
        refused(doc, {"nonce"}, "--root", root_pem, "--nonce", wrong.hex())
    code, report, stderr = verify(doc, "--root", root_pem, "--require-all")
    assert code == 2 and report["ok"] is False and "age: not checked" in stderr
    assert results(report, "failed") == set() and results(report, "not-done") == UNASKED | set(WHO)
    draft.answers["nonce"] = None
    refused(draft.encode(), {"nonce"}, "--root", root_pem, "--nonce", NONCE.hex())


# ---- chains with one thing wrong ----

def reissue(like, issuer, key=None, sign=hashes.SHA384(), start=None, end=None, change=None, add=None, name=None):
    """`like` once more below `issuer`; `change` maps an extension's class to (value, critical) or None."""
    key = key or like.key
    builder = x509.CertificateBuilder(
        issuer.cert.subject, name or like.cert.subject, key.public_key(), x509.random_serial_number(),
        start or like.cert.not_valid_before, end or like.cert.not_valid_after)
    change = {x509.AuthorityKeyIdentifier: None, **(change or {})}
    for old in like.cert.extensions:
        new = change.pop(type(old.value), (old.value, old.critical))
        if new:
            builder = builder.add_extension(*new)
    if add:
        builder = builder.add_extension(*add)
    return pki.Node(builder.sign(issuer.key, sign), key)


LEVELS = ["regional", "zonal", "instance"]


def with_level(draft, level, **changes):
    """The same chain with this level changed, and what is below it made anew."""
    nodes, at = [draft.chain.root, *(draft.chain.nodes[name] for name in LEVELS)], LEVELS.index(level) + 1
    nodes[at] = reissue(nodes[at], nodes[at - 1], **changes)
    for below in range(at + 1, len(nodes)):
        nodes[below] = reissue(nodes[below], nodes[below - 1])
    draft.leaf = reissue(draft.leaf, nodes[-1])
    draft.cabundle = [node.der for node in nodes]


def with_leaf(draft, **changes):
    draft.leaf = reissue(draft.leaf, draft.chain.nodes["instance"], **changes)


def with_foreign_leaf(draft, key):
    """A key that cannot make a signature of 96 bytes; the old one makes it."""
    signer = draft.leaf.key
    with_leaf(draft, key=key)
    draft.leaf.key = signer


def with_longer_path(draft, path_length):
    """One more CA between instance and leaf."""
    zonal, instance = draft.chain.nodes["zonal"], draft.chain.nodes["instance"]
    instance = reissue(instance, zonal, change=basic(True, path_length))
    between = reissue(instance, instance, name=pki.name(pki.common_name("one more")))
    draft.leaf = reissue(draft.leaf, between)
    draft.cabundle[3:] = [instance.der, between.der]


def with_stolen_name(draft):
    """The instance's name and another key."""
    instance = draft.chain.nodes["instance"]
    draft.leaf = reissue(draft.leaf, pki.Node(instance.cert, ec.generate_private_key(ec.SECP384R1())))


def with_self_signed_leaf(draft):
    name = draft.leaf.cert.subject
    draft.leaf = reissue(draft.leaf, reissue(draft.leaf, draft.leaf, name=name))
    draft.cabundle = [draft.leaf.der]


def basic(is_ca, path_length=None):
    return {x509.BasicConstraints: (x509.BasicConstraints(is_ca, path_length), True)}


def usage(**bits):
    return {x509.KeyUsage: (pki.key_usage(**bits), True)}


HOUR = timedelta(hours=1)
NOT_P384 = "has a key that is not on P-384"
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
# Why the chain is refused (None: it is not), and which other checks fail with it.
CHAINS = {
    "same": (lambda d: with_level(d, "regional"), None),
    "same leaf": (with_leaf, None),
    "unknown extension": (lambda d: with_level(d, "zonal", add=(UNKNOWN, False)), None),
    "unknown critical extension":
        (lambda d: with_level(d, "zonal", add=(UNKNOWN, True)), "cabundle entry 2: unhandled critical extension"),
    "no CA": (lambda d: with_level(d, "instance", change=basic(False)), "cabundle entry 3 is not a CA"),
    "no basicConstraints":
        (lambda d: with_level(d, "zonal", change={x509.BasicConstraints: None}),
         "cabundle entry 2 has no basicConstraints"),
    "path too long": (lambda d: with_level(d, "regional", change=basic(True, 1)), "path length"),
    "path long enough": (lambda d: with_level(d, "zonal", change=basic(True, None)), None),
    "no keyCertSign": (lambda d: with_level(d, "instance", change=usage(digital_signature=True)), "keyCertSign"),
    "no keyUsage": (lambda d: with_level(d, "instance", change={x509.KeyUsage: None}), "no keyUsage"),
    "CA not yet valid":
        (lambda d: with_level(d, "zonal", start=pki.now() + HOUR), "cabundle entry 2: certificate is not yet valid"),
    "CA expired":
        (lambda d: with_level(d, "zonal", end=pki.now() - timedelta(seconds=30)),
         "cabundle entry 2: certificate has expired"),
    "CA on P-256":
        (lambda d: with_level(d, "instance", key=ec.generate_private_key(ec.SECP256R1())), NOT_P384),
    "CA signed with SHA-256": (lambda d: with_level(d, "regional", sign=hashes.SHA256()), "ecdsa-with-SHA384"),
    "leaf not yet valid":
        (lambda d: with_leaf(d, start=pki.now() + HOUR), "certificate: certificate is not yet valid", "time"),
    "leaf is a CA": (lambda d: with_leaf(d, change=basic(True)), "certificate is a CA"),
    "leaf without basicConstraints":
        (lambda d: with_leaf(d, change={x509.BasicConstraints: None}), "certificate has no basicConstraints"),
    "leaf without digitalSignature":
        (lambda d: with_leaf(d, change=usage(content_commitment=True)), "lacks digitalSignature"),
    "leaf on P-256":
        (lambda d: with_leaf(d, key=ec.generate_private_key(ec.SECP256R1())), NOT_P384, "signature"),
    "leaf on P-521":
        (lambda d: with_foreign_leaf(d, ec.generate_private_key(ec.SECP521R1())), NOT_P384, "signature"),
    "leaf with RSA":
        (lambda d: with_foreign_leaf(d, rsa.generate_private_key(65537, 2048)), NOT_P384, "signature"),
    "leaf signed with SHA-512": (lambda d: with_leaf(d, sign=hashes.SHA512()), "ecdsa-with-SHA384"),
    "one more CA": (lambda d: with_longer_path(d, 0), "cabundle entry 3: path length"),
    "one more CA, not even with a longer path": (lambda d: with_longer_path(d, 1), "cabundle entry 2: path length"),
    "issuer's name with another key": (with_stolen_name, "signature failure"),
    "self-signed": (with_self_signed_leaf, "self", "root"),
    "a stranger in the bundle": (lambda d: d.cabundle.insert(1, pki.new_root().der), "not the path"),
    "an entry twice": (lambda d: d.cabundle.append(d.cabundle[-1]), "not the path"),
    "no root": (lambda d: d.cabundle.pop(0), "unable to get", "root"),
    "bytes after a certificate": (lambda d: d.cabundle.append(d.cabundle.pop() + b"\0"), "bytes after"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name, draft, root_pem):
    change, reason, *others = CHAINS[name]
    change(draft)
    if reason:
        report = refused(draft.encode(), {"chain", *others}, "--root", root_pem)
        assert reason in next(c["detail"] for c in report["checks"] if c["name"] == "chain")
    else:
        accepted(draft.encode(), "--root", root_pem)


# ---- the command line ----

def test_text(draft, root_pem, tmp_path):
    path = tmp_path / "doc"
    path.write_bytes(draft.encode())
    text = w.muctl("verify", path, "--root", root_pem).stdout
    assert f"instance id  {w.INSTANCE_ID}\n" in text and "NOT VERIFIED" not in text
    assert "-      nonce: not done" in text and "ok     chain" in text
    assert all(f"PCR {n:<8} {value.hex()}" in text for n, value in enumerate(PCRS))
    done = w.muctl("verify", path, check=False)
    assert done.returncode == 2 and "FAILED root" in done.stdout and "NOT VERIFIED" in done.stdout


@pytest.mark.parametrize("options, code", [
    ([], 2), (["--at", "now"], 2), (["--at", "2026-02-30T00:00:00Z"], 1), (["--at", "2026-02-02"], 1),
    (["--at", "2026-02-02T07:30:00"], 1), (["--at", "2026-02-02T07:30:00.Z"], 1), (["--at", "2026-02-02T24:00:00Z"], 1),
    (["--at", "2026-02-02T07:30:00+0100"], 1), (["--at", "2026-02-02T07:30:00Zulu"], 1), (["--at", "then"], 1),
    (["--at", "1970-01-01T00:00:00+01:00"], 1), (["--at", "2026-02-02t07:30:00.123456789z"], 2),
    (["--max-age", "0"], 1), (["--max-age", "-1"], 1), (["--max-age", "1h"], 1), (["--max-age", ""], 1),
    (["--max-age", "9", "--at", "document"], 1), (["--nonce", "0"], 1), (["--nonce", ""], 1), (["--nonce", "xy"], 1),
    (["--nonce", "00" * 1025], 1), (["--root", "/nonexistent"], 4), (["--root", "/dev/null"], 4),
    (["--baseline", "/nonexistent"], 4), (["--baseline", "/dev/null"], 4), (["another"], 1)])
def test_bad_arguments(options, code, tmp_path):
    path = tmp_path / "doc"
    path.write_bytes(b"\x84")
    done = w.muctl("verify", path, *options, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip() and bool(done.stdout) == (code == 2)


def test_unreadable(tmp_path, draft, root_pem, golden):
    assert w.muctl("verify", tmp_path / "absent", check=False).returncode == 4
    assert w.muctl("verify", check=False).returncode == 1
    draft.answers["user_data"] = bytes(12000)
    refused(draft.encode(), {"structure"}, "--root", root_pem)
    refused(bytes(20000), {"structure"})
    (tmp_path / "large").write_bytes(bytes(2 ** 20 + 1))
    assert w.muctl("verify", tmp_path / "large", check=False).returncode == 4
    draft.answers["user_data"] = None
    golden.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA256", "PCR4": "00" * 32}}))
    code, report, stderr = verify(draft.encode(), "--root", root_pem, "--baseline", golden)
    assert (code, report) == (4, None) and "sha256" in stderr


def test_attest_and_verify(world, tmp_path):
    """The whole way: TPM, document, verification with the machine's own golden measurement."""
    nonce, path = os.urandom(32).hex(), tmp_path / "doc"
    options = ("--root", world.tpm.root, "--nonce", nonce, "--max-age", "60", "--baseline", world.complete,
               "--require-all")
    w.muctl("attest", "--tcti", world.tpm.tcti, "--nonce", nonce, "-o", path)
    accepted(path.read_bytes(), *options, unasked=set())
    world.tpm.extend(12, b"a command line from outside")
    w.muctl("attest", "--tcti", world.tpm.tcti, "--nonce", nonce, "-o", path)
    refused(path.read_bytes(), {"baseline"}, *options)
