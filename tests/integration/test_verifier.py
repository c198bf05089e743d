# SPDX-License-Identifier: GPL-2.0-or-later
"""mu-verifier serve: who gets a token, who does not, and what the service bears."""
import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import fleet as watching
import identity
import jwt
import pytest
import relying
import world as w
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from relying import identity_party, identity_text

GENUINE = sorted((w.VECTORS / "nitrotpm-doc").glob("*.cbor"))
ENCLAVE = sorted((w.VECTORS / "enclave-doc").glob("*.cbor"))
ZERO = bytes(48)
GOLDEN = [hashlib.sha384(bytes([n])).digest() for n in range(24)]
GOLDEN[12] = GOLDEN[15] = ZERO
OLD = hashlib.sha384(b"the old kernel").digest()
RUNNING = [*GOLDEN[:15], hashlib.sha384(b"closed").digest(), *GOLDEN[16:]]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return relying.Fleet(tmp_path_factory.mktemp("ca"))


def make_party(folder, fleet):
    folder.mkdir(exist_ok=True)
    old = [*GOLDEN[:4], OLD, *GOLDEN[5:]]
    return relying.Party(folder, fleet.root_pem, {
        "old": (relying.baseline(folder / "old.json", old, 4, 7, 12), "boot"),
        "web": (relying.baseline(folder / "web.json", GOLDEN, 4, 7, 12), "boot"),
        "up": (relying.baseline(folder / "up.json", GOLDEN, 4, 7, 12), "running")})


@pytest.fixture(scope="module")
def shared(tmp_path_factory, fleet):
    """One that no test changes."""
    verifier = relying.Verifier(make_party(tmp_path_factory.mktemp("shared"), fleet))
    yield verifier
    verifier.stop()


@pytest.fixture
def party(tmp_path, fleet):
    return make_party(tmp_path / "party", fleet)


@pytest.fixture
def started():
    """A function that starts verifiers, which are stopped at the end."""
    running = []

    def start(party, **options):
        running.append(relying.Verifier(party, **options))
        return running[-1]
    yield start
    for verifier in running:
        verifier.stop()


def failed(answer):
    return {c["name"] for c in answer["checks"] if c["result"] == "failed"}


def detail(answer, name):
    return next(c["detail"] for c in answer["checks"] if c["name"] == name)


# ---- who gets a token ----

KEYS = {"P-384": lambda: ec.generate_private_key(ec.SECP384R1()), "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "RSA-2048": lambda: rsa.generate_private_key(65537, 2048), "RSA-3072": lambda: rsa.generate_private_key(65537, 3072)}


@pytest.mark.parametrize("kind", KEYS)
def test_token(shared, fleet, kind):
    key, before = KEYS[kind](), int(relying.now_s())
    status, answer = shared.attest(fleet.draft(shared.nonce(), GOLDEN, relying.spki(key)).encode())
    assert status == 200 and answer["ok"] is True
    assert {k: answer[k] for k in ("instance_id", "baseline", "baseline_version", "state", "expires_in")} == {
        "instance_id": w.INSTANCE_ID, "baseline": "web", "baseline_version": "web-1", "state": "boot", "expires_in": 300}
    header, _ = relying.open_token(key, answer["token"])
    assert header["alg"] == ("RSA-OAEP-256" if kind.startswith("RSA") else "ECDH-ES")
    claims = shared.claims(key, answer)
    assert claims["sub"] == w.INSTANCE_ID and claims["baseline"] == "web" and claims["state"] == "boot"
    assert {k: v for k, v in claims.items() if k.startswith("pcr")} == {f"pcr{n}": v.hex() for n, v in enumerate(GOLDEN)}
    assert before <= claims["iat"] == claims["nbf"] <= relying.now_s() and claims["exp"] == claims["iat"] + 300


def test_token_is_for_that_key_alone(shared, fleet):
    key = relying.p384()
    answer = shared.attest(fleet.draft(shared.nonce(), GOLDEN, relying.spki(key)).encode())[1]
    with pytest.raises(Exception, match="[Dd]ecrypt|tag|Tag"):
        relying.open_token(relying.p384(), answer["token"])
    assert shared.claims(key, answer)["sub"] == w.INSTANCE_ID


def test_each_token_is_another(shared, fleet):
    key = relying.p384()
    answers = [shared.attest(fleet.draft(shared.nonce(), GOLDEN, relying.spki(key)).encode())[1] for _ in range(2)]
    assert len({shared.claims(key, a)["jti"] for a in answers}) == 2


def test_no_key_no_token(shared, fleet):
    status, answer = shared.attest(fleet.draft(shared.nonce(), RUNNING).encode())
    assert (status, answer["ok"], answer["baseline"], answer["state"]) == (200, True, "up", "running")
    assert "token" not in answer


@pytest.mark.parametrize("key", [b"no key", relying.spki(ec.generate_private_key(ec.SECP521R1())),
                                 relying.spki(rsa.generate_private_key(65537, 1024)),
                                 relying.spki(relying.p384()) + b"\0"], ids=["noise", "P-521", "RSA-1024", "more"])
def test_unusable_key(shared, fleet, key):
    status, answer = shared.attest(fleet.draft(shared.nonce(), GOLDEN, key).encode())
    assert (status, answer["error"]) == (400, "key") and "token" not in answer


# ---- who does not ----

def test_wrong_pcr(shared, fleet):
    altered = [*GOLDEN[:4], hashlib.sha384(b"a root kit").digest(), *GOLDEN[5:]]
    status, answer = shared.attest(fleet.draft(shared.nonce(), altered, relying.spki(relying.p384())).encode())
    assert (status, answer["error"], failed(answer)) == (403, "refused", {"baseline"}) and "token" not in answer
    assert f"PCR 4: expected {OLD.hex()[:16]}..., found {altered[4].hex()[:16]}..." in answer["detail"]
    assert answer["detail"] == detail(answer, "baseline")


def test_closest_baseline_is_told(shared, fleet):
    both = [*GOLDEN[:4], OLD, *GOLDEN[5:12], b"\1" * 48, *GOLDEN[13:]]
    status, answer = shared.attest(fleet.draft(shared.nonce(), both).encode())
    assert status == 403 and "closest is old (boot): PCR 12: expected 0000000000000000..." in answer["detail"]
    assert "PCR 4" not in answer["detail"]


def test_fence_tells_the_state(shared, fleet, party, started):
    assert shared.attest(fleet.draft(shared.nonce(), GOLDEN).encode())[1]["state"] == "boot"
    assert shared.attest(fleet.draft(shared.nonce(), RUNNING).encode())[1]["state"] == "running"
    party.baselines = {"web": party.baselines["web"]}
    party.write()
    verifier = started(party)
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())[0] == 200
    status, answer = verifier.attest(fleet.draft(verifier.nonce(), RUNNING).encode())
    assert status == 403 and "PCR 15, the fence, is closed already" in answer["detail"]


def test_running_baseline_may_name_the_fence(fleet, party, started):
    party.baselines = {"up": (relying.baseline(party.folder / "f.json", RUNNING, 2, 3, 4, 12, 13, 14, 15), "running")}
    party.write()
    verifier = started(party)
    assert verifier.attest(fleet.draft(verifier.nonce(), RUNNING).encode())[0] == 200
    status, answer = verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())
    assert status == 403 and "PCR 15: expected" in answer["detail"]


# The faults of tests/nitrotpm/document.py, what is answered, and which checks fail.
FAULTS = {
    "stale": ("20000", 403, {"chain", "age"}), "expired-leaf": (None, 403, {"chain", "time"}),
    "other-root": (None, 403, {"root", "chain"}), "enclave": (None, 403, {"structure"}),
    "pcr": ("4=" + "ab" * 48, 403, {"baseline"}), "wrong-signature": (None, 403, {"signature"}),
    "altered-payload": (None, 403, {"structure"}), "wrong-algorithm": (None, 403, {"structure"}),
    "reversed-cabundle": (None, 403, {"root", "chain"}), "wrong-nonce": (None, 400, None),
    "definite": (None, 200, None), "tagged": (None, 200, None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_document(shared, fleet, fault):
    value, wanted, checks = FAULTS[fault]
    draft = fleet.draft(shared.nonce(), GOLDEN, relying.spki(relying.p384()))
    relying.document.FAULTS[fault](draft, value)
    status, answer = shared.attest(draft.encode())
    assert status == wanted and ("token" in answer) == (wanted == 200)
    if checks:
        assert answer["error"] == "refused" and failed(answer) == checks, answer
    if wanted == 400:
        assert answer["error"] == "nonce"


@pytest.mark.skipif(not ENCLAVE, reason="no enclave documents in MU_VECTORS")
@pytest.mark.parametrize("path", ENCLAVE, ids=lambda p: p.name)
def test_genuine_enclave_document(shared, path):
    status, answer = shared.attest(path.read_bytes())
    assert (status, answer["error"], failed(answer)) == (403, "refused", {"structure"})


@pytest.mark.skipif(not GENUINE, reason="no genuine documents in MU_VECTORS")
@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.name)
def test_genuine_document_of_another_time(fleet, path, shared):
    status, answer = shared.attest(path.read_bytes())
    assert (status, answer["error"]) == (400, "nonce")
    assert "carries no nonce" in answer["detail"] or "not of this verifier" in answer["detail"]


# ---- nonces ----

def nonce_refused(verifier, fleet, nonce, word):
    status, answer = verifier.attest(fleet.draft(nonce, GOLDEN, relying.spki(relying.p384())).encode())
    assert (status, answer["error"]) == (400, "nonce") and word in answer["detail"], answer


def test_nonces(shared, fleet):
    good = shared.nonce()
    assert good != shared.nonce() and len(good) == 57
    for at in (0, 4, 12, 30, 56):
        nonce_refused(shared, fleet, good[:at] + bytes([good[at] ^ 1]) + good[at + 1:], "not of this verifier")
    for bad in (good[:-1], good + b"\0", bytes(57), b"x"):
        nonce_refused(shared, fleet, bad, "not of this verifier")
    nonce_refused(shared, fleet, None, "carries no nonce")
    assert shared.attest(fleet.draft(good, GOLDEN).encode())[0] == 200


def test_nonce_of_another_verifier(shared, fleet, party, started):
    other = started(party)
    nonce_refused(shared, fleet, other.nonce(), "not of this verifier")
    nonce_refused(other, fleet, shared.nonce(), "not of this verifier")


def test_two_with_one_key_accept_each_others_nonces(fleet, party, started):
    one, two = started(party), started(party)
    assert one.attest(fleet.draft(two.nonce(), GOLDEN).encode())[0] == 200
    assert two.attest(fleet.draft(one.nonce(), GOLDEN).encode())[0] == 200


def nonce_until(verifier, seconds):
    """What the verifier gives to whoever asks in time (docs/develop/formats.md); less than 0: long ago."""
    part = b"\1" + int((time.time() + seconds) * 1000).to_bytes(8, "big") + os.urandom(16)
    return part + hmac.digest(verifier.party.challenge_keys["first"].read_bytes(), part, "sha256")


def test_nonce_expires(shared, fleet):
    for seconds in 5, 60:
        assert shared.attest(fleet.draft(nonce_until(shared, seconds), GOLDEN).encode())[0] == 200
    for seconds in -0.001, -5, -1e6:
        nonce_refused(shared, fleet, nonce_until(shared, seconds), "expired")


def test_nonce_lasts_as_long_as_configured(party, started):
    party.write(challenge_lifetime=5)
    verifier = started(party)
    before = time.time()
    until = int.from_bytes(verifier.nonce()[1:9], "big") / 1000
    assert before + 4.99 <= until <= time.time() + 5


def test_document_ages(fleet, party, started):
    """A nonce alone would let a document wait as long as the nonce does."""
    party.write(max_age=5)
    verifier = started(party)
    draft = fleet.draft(verifier.nonce(), GOLDEN)
    assert verifier.attest(draft.encode())[0] == 200
    draft.timestamp_ms -= 8000
    status, answer = verifier.attest(draft.encode())
    assert status == 403 and {"age"} <= failed(answer) <= {"age", "time"}   # a leaf that is younger than that


# ---- who the instance is ----

def test_identity(fleet, party, started):
    region, key = identity_party(party, "required"), relying.p384()
    verifier = started(party)

    def ask(**more):
        return verifier.attest(fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key)).encode(), **more)
    status, answer = ask(identity=identity_text(region))
    assert status == 200
    claims = verifier.claims(key, answer)
    assert (claims["account"], claims["region"], claims["image_id"]) == (w.ACCOUNT, w.REGION, "ami-0c7217cdde317cfec")
    status, answer = ask()
    assert (status, answer["error"]) == (400, "malformed") and "identity" in answer["detail"]
    status, answer = ask(identity=identity_text(region, "i-0ce4441c840a0a941"))
    assert status == 403 and failed(answer) == {"identity-instance"}
    status, answer = ask(identity=identity_text(identity.Region()))
    assert status == 403 and "identity-signature" in failed(answer)
    status, answer = ask(identity=base64.b64encode(b"{}").decode())
    assert status == 403 and "token" not in answer


def test_identity_is_left_to_the_configuration(fleet, party, started, shared):
    foreign = identity_text(identity.Region())
    doc = fleet.draft(shared.nonce(), GOLDEN).encode()
    assert shared.attest(doc, identity=foreign)[0] == 200
    identity_party(party, "optional")
    verifier = started(party)
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())[0] == 200
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode(), identity=foreign)[0] == 403


def test_the_nonce_comes_with_what_is_wanted(fleet, party, started, shared):
    assert "identity" not in shared.ask("/v1/challenge", {})[1]
    for mode in "optional", "required":
        identity_party(party, mode)
        assert started(party).ask("/v1/challenge", {})[1]["identity"] == mode


# ---- whose the instance is ----

OTHERS = "444455556666"
ALTERED = [*GOLDEN[:4], hashlib.sha384(b"not yours").digest(), *GOLDEN[5:]]


def strangers(fleet, party, started, **settings):
    """Three altered instances and a golden one of another account, and an altered one of ours -> answers by instance;
    what is stored; what `watch` tells."""
    region = identity_party(party, "required")
    party.write(store=f"sqlite:{party.folder}/fleet", **settings)
    verifier = started(party)
    theirs = [f"i-000000000000000{n}a" for n in range(4)]
    answers = {}
    for instance, account, pcrs in [*((i, OTHERS, ALTERED) for i in theirs[:3]), (theirs[3], OTHERS, GOLDEN),
                                    (w.INSTANCE_ID, w.ACCOUNT, ALTERED)]:
        answers[instance] = verifier.attest(fleet.draft(verifier.nonce(), pcrs, instance=instance).encode(),
                                            identity=identity_text(region, instance, account))
    watch = watching.Watch(party.folder, f"sqlite:{party.folder}/fleet")
    watch.once()
    return theirs, answers, {i["instance_id"] for i in watch.list()}, {e for e in watch.kinds() if e[1] == "mismatch"}


def test_strangers_raise_alarms_where_no_account_is_named(fleet, party, started):
    """The premise."""
    theirs, answers, stored, told = strangers(fleet, party, started)
    assert stored == {*theirs, w.INSTANCE_ID}
    assert told == {(i, "mismatch") for i in (*theirs[:3], w.INSTANCE_ID)}
    assert answers[theirs[3]][0] == 200


def test_strangers_are_neither_stored_nor_announced(fleet, party, started):
    theirs, answers, stored, told = strangers(fleet, party, started, accounts=f"000000000001, {w.ACCOUNT}")
    assert stored == {w.INSTANCE_ID} and told == {(w.INSTANCE_ID, "mismatch")}
    for instance in theirs:
        status, answer = answers[instance]
        assert status == 403 and f"account {OTHERS} is not one that this verifier serves" in answer["detail"]
        assert "PCR" not in answer["detail"] and not failed(answer)


@pytest.mark.parametrize("accounts, identity_too, says", [
    (w.ACCOUNT, "optional", "add identity = required"), (w.ACCOUNT, "no", "add identity = required"),
    ("11112222333", "required", "'11112222333' is not an account"), ("*", "required", "'*' is not an account"),
    (f"{w.ACCOUNT} x", "required", "'x' is not"), (",", "required", "names no account")])
def test_accounts_are_checked(party, accounts, identity_too, says):
    party.write(accounts=accounts, identity=identity_too)
    done = party.check()
    assert done.returncode == 4 and says in done.stderr, done.stderr


# ---- bad requests ----

BODIES = {
    "empty": b"", "no json": b"{", "array": b"[]", "none": b"{}", "number": b'{"document":1}', "more": b'{"document":"AAAA","x":1}',
    "twice": b'{"document":"AAAA","document":"AAAA"}', "not base64": b'{"document":"A*=="}', "url": b'{"document":"-___"}',
    "line": b'{"document":"AA\\nAA"}', "empty text": b'{"document":""}', "two values": b'{"document":"AAAA"}{}',
    "zero": b'{"document":"AA\\u0000AA"}', "latin": b'{"document":"\xe9"}', "deep": b'{"document":' + b"[" * 1000,
}


@pytest.mark.parametrize("name", BODIES)
def test_malformed(shared, name):
    status, answer = shared.ask("/v1/attest", BODIES[name])
    assert (status, answer["error"]) == (400, "malformed") and answer["detail"]


def test_answer_is_utf8(shared):
    """What is quoted of the request may be cut within a character."""
    for n in range(60, 68):
        body = json.dumps({"x" * n + "\u00e9\u00e9": 1}, ensure_ascii=False).encode()
        assert shared.ask("/v1/attest", body)[0] == 400


def test_no_document(shared):
    status, answer = shared.attest(b"not a document")
    assert (status, answer["error"], failed(answer)) == (403, "refused", {"structure"})


def test_challenge_takes_nothing(shared):
    assert shared.ask("/v1/challenge", b"")[0] == shared.ask("/v1/challenge", b" {} ")[0] == 200
    for body in (b"[]", b'{"x":1}', b"x"):
        assert shared.ask("/v1/challenge", body)[0] == 400


def test_paths_and_methods(shared):
    assert shared.ask("/")[0] == shared.ask("/v1/attest/")[0] == shared.ask("/v1/other", b"{}")[0] == 404
    for path, method in (("/v1/attest", "GET"), ("/v1/challenge", "GET"), ("/v1/attest", "PUT"), ("/healthz", "POST"),
                         ("/metrics", "DELETE"), ("/.well-known/jwks.json", "POST")):
        status, answer = shared.ask(path, None if method == "GET" else b"{}", method)
        assert (status, answer["error"]) == (405, "method"), (path, method)


def test_size(shared, fleet):
    doc = base64.b64encode(fleet.draft(shared.nonce(), GOLDEN).encode()).decode()
    blanks = 65536 - len(json.dumps({"document": doc}))
    assert shared.ask("/v1/attest", json.dumps({"document": doc}).encode() + b" " * blanks)[0] == 200
    for _ in range(50):  # who is answered while it still sends may see the end of the connection before the answer
        try:
            status, answer = shared.ask("/v1/attest", json.dumps({"document": doc}).encode() + b" " * (blanks + 1))
            break
        except OSError:
            continue
    assert (status, answer["error"]) == (413, "large")


def connect(verifier):
    raw = socket.create_connection(("127.0.0.1", verifier.port), timeout=20 * w.PATIENCE)
    return verifier.context().wrap_socket(raw, server_hostname="127.0.0.1")


def test_size_without_length(shared):
    with connect(shared) as s:
        s.sendall(b"POST /v1/attest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(80):
            s.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        s.sendall(b"0\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 413")


# ---- limits ----

def test_rate(fleet, party, started):
    party.limits = {"requests_per_second": 2, "burst": 5}
    party.write()
    verifier = started(party)
    found = [verifier.ask("/healthz") for _ in range(8)]
    assert [s for s, _ in found[:5]] == [200] * 5 and found[-1][0] == 429 and found[-1][1]["error"] == "rate"
    watching.until(lambda: verifier.ask("/healthz")[0] == 200)


def seconds_until_closed(s):
    start = time.monotonic()
    while time.monotonic() - start < 30:
        try:
            if s.recv(1000) == b"":
                break
        except OSError:
            break
    return time.monotonic() - start


@pytest.mark.parametrize("drip", [b"", b"P", b"POST /v1/attest HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"],
                         ids=["nothing", "header", "body"])
def test_slow(party, started, drip):
    """A byte each half second keeps libmicrohttpd's own timeout from passing."""
    party.limits = {"timeout": 2}
    party.write()
    verifier = started(party)
    with connect(verifier) as s:
        s.settimeout(0.5)
        s.sendall(drip)
        start = time.monotonic()
        try:
            while time.monotonic() - start < 20:
                if drip:
                    s.sendall(b"x")
                try:
                    if s.recv(1000) == b"":
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        assert 1.5 < time.monotonic() - start < 8 * w.PATIENCE
    assert verifier.ask("/healthz")[0] == 200


def test_slow_handshake(party, started):
    party.limits = {"timeout": 2}
    party.write()
    verifier = started(party)
    with socket.create_connection(("127.0.0.1", verifier.port)) as s:
        s.settimeout(20)
        s.sendall(b"\x16\x03\x01")
        assert seconds_until_closed(s) < 8 * w.PATIENCE


def answers(verifier):
    try:
        return verifier.ask("/healthz")[0] == 200
    except OSError:
        return False


def test_connections_of_one_address(party, started):
    party.limits = {"connections_per_address": 3, "timeout": 20}
    party.write()
    verifier = started(party)
    held = [connect(verifier) for _ in range(3)]
    with pytest.raises(OSError):
        connect(verifier)
    held.pop().close()
    watching.until(lambda: answers(verifier))
    for s in held:
        s.close()


def test_tls_only(shared):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in s.recv(1000)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", shared.port), timeout=20) as s:
        old.wrap_socket(s)
    assert shared.ask("/healthz")[0] == 200


def test_many_at_once(shared, fleet):
    docs = [fleet.draft(shared.nonce(), GOLDEN, relying.spki(relying.p384())).encode() for _ in range(20)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert [s for s, _ in pool.map(shared.attest, docs)] == [200] * 20


def test_many_at_once_while_it_reloads(fleet, party, started):
    """All that requests and servers share is in use at the same time: store, counters, limits, certificates."""
    party.settings["store"] = f"sqlite:{party.folder / 'fleet.sqlite'}"
    party.write()
    verifier = started(party)
    docs = [fleet.draft(verifier.nonce(), GOLDEN, relying.spki(relying.p384())).encode() for _ in range(20)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = pool.map(verifier.attest, docs)
        scrapes = [pool.submit(verifier.metric, "connections") for _ in range(5)]
        verifier.reload()
        assert [s for s, _ in answers] == [200] * 20 and all(s.result() for s in scrapes)


# ---- rotation and reloading ----

def test_signing_keys_rotate(fleet, party, started):
    verifier, key = started(party), relying.p384()

    def token():
        return verifier.attest(fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key)).encode())[1]
    old = token()
    first = verifier.jwks()[0]["kid"]
    party.new_key("signing", "next")          # published first...
    party.write()
    verifier.reload()
    assert [k["kid"] for k in verifier.jwks()][0] == first and len(verifier.jwks()) == 2
    party.signing_keys = dict(reversed(party.signing_keys.items()))   # ...then it signs
    party.write()
    verifier.reload()
    new = token()
    kids = [jwt.get_unverified_header(relying.open_token(key, a["token"])[1])["kid"] for a in (old, new)]
    assert kids == [first, verifier.jwks()[0]["kid"]] and kids[0] != kids[1]
    assert verifier.claims(key, old)["sub"] == verifier.claims(key, new)["sub"] == w.INSTANCE_ID
    del party.signing_keys["first"]
    party.write()
    verifier.reload()
    assert len(verifier.jwks()) == 1


def test_published_keys(shared):
    from jwcrypto import jwk
    for key in shared.jwks():
        assert {"kty", "crv", "x", "y", "kid", "use", "alg"} == key.keys() and key["alg"] == "ES384"
        assert jwk.JWK(**key).thumbprint() == key["kid"]


def test_es256(fleet, party, started):
    path, key = party.folder / "p256.pem", relying.p384()
    path.write_bytes(relying.private_pem(ec.generate_private_key(ec.SECP256R1())))
    party.signing_keys = {"small": path}
    party.write()
    verifier = started(party)
    answer = verifier.attest(fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key)).encode())[1]
    assert verifier.claims(key, answer)["iss"] == relying.ISSUER and verifier.jwks()[0]["alg"] == "ES256"


def test_challenge_keys_rotate(fleet, party, started):
    verifier = started(party)
    old = verifier.nonce()
    party.new_key("challenge", "next")
    party.challenge_keys = dict(reversed(party.challenge_keys.items()))
    party.write()
    verifier.reload()
    assert verifier.attest(fleet.draft(old, GOLDEN).encode())[0] == 200
    new = verifier.nonce()
    del party.challenge_keys["first"]
    party.write()
    verifier.reload()
    assert verifier.attest(fleet.draft(new, GOLDEN).encode())[0] == 200
    nonce_refused(verifier, fleet, old, "not of this verifier")


def test_baselines_and_certificate_reload(fleet, party, started):
    verifier = started(party)
    altered = [*GOLDEN[:4], hashlib.sha384(b"the next kernel").digest(), *GOLDEN[5:]]
    assert verifier.attest(fleet.draft(verifier.nonce(), altered).encode())[0] == 403
    before = verifier.metric("certificate_expiry_seconds")
    relying.baseline(party.baselines["old"][0], altered, 4, 7, 12)
    party.renew_certificate((-1, 100))
    verifier.reload()
    status, answer = verifier.attest(fleet.draft(verifier.nonce(), altered).encode())   # trusts the new authority alone
    assert (status, answer["baseline"]) == (200, "old")
    end = x509.load_pem_x509_certificate((party.folder / "server.pem").read_bytes()).not_valid_after
    assert verifier.metric("certificate_expiry_seconds") == (end - end.__class__(1970, 1, 1)).total_seconds() < before


def test_bad_reload_keeps_what_there_was(fleet, party, started):
    verifier = started(party)
    assert verifier.ask("/healthz") == (200, {"status": "ok"})
    good = party.baselines["web"][0].read_bytes()
    party.baselines["web"][0].write_text("{}")
    assert "web.json" in verifier.reload("reload-failed")["detail"]
    assert verifier.ask("/healthz")[0] == 503 and verifier.metric("healthy") == 0
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())[0] == 200
    party.baselines["web"][0].write_bytes(good)
    verifier.reload()
    assert verifier.ask("/healthz")[0] == 200 and verifier.metric("healthy") == 1


def test_request_under_way_survives_a_reload(fleet, party, started):
    verifier = started(party)
    body = json.dumps({"document": base64.b64encode(fleet.draft(verifier.nonce(), GOLDEN).encode()).decode()}).encode()
    with connect(verifier) as s:
        s.sendall(b"POST /v1/attest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        s.sendall(body[:100])
        verifier.reload()
        s.sendall(body[100:])
        assert s.recv(1000).startswith(b"HTTP/1.1 200")


def test_expired_certificate_is_unhealthy(party, started):
    party.renew_certificate((-10, -1))
    assert party.check().returncode == 4 and "expired" in party.check().stderr
    verifier = started(party)
    verifier.context = lambda: ssl._create_unverified_context()
    status, answer = verifier.ask("/healthz")
    assert (status, answer["error"]) == (503, "unhealthy")


# ---- configuration ----

def test_check(party):
    done = party.check()
    assert done.returncode == 0 and "3 baselines, 1 signing keys, 1 challenge keys" in done.stdout


def spoil(name):
    def change(party):
        if name == "certificate of another key":
            other = party.folder / "other.pem"
            other.write_bytes(relying.private_pem(relying.p384()))
            party.settings["certificate_key"] = other
        elif name == "signing key":
            party.signing_keys["first"].write_text("x")
        elif name == "Ed25519":
            w.run("openssl", "genpkey", "-algorithm", "ED25519", "-out", party.signing_keys["first"])
        elif name == "challenge key":
            party.challenge_keys["first"].write_bytes(bytes(31))
        elif name == "weak baseline":
            relying.baseline(party.baselines["web"][0], GOLDEN, 0, 2)
        elif name == "no baseline":
            party.baselines = {}
        elif name == "no issuer":
            party.settings["issuer"] = None
        elif name == "unknown key":
            party.settings["colour"] = "red"
        elif name == "root":
            party.settings["root"] = party.config
    return change


@pytest.mark.parametrize("name,words", [
    ("certificate of another key", "is not the key of the certificate"), ("signing key", "not a private key in PEM"),
    ("Ed25519", "P-384 or P-256"), ("challenge key", "has 32 random bytes"), ("weak baseline", "neither PCR 4 nor PCR 7"),
    ("no baseline", "no [baseline NAME] section"), ("no issuer", "has no issuer"), ("unknown key", "unknown key"),
    ("root", "not a certificate")])
def test_unusable_configuration(party, name, words):
    spoil(name)(party)
    party.write()
    done = party.check()
    assert done.returncode == 4 and words in done.stderr, done.stderr
    assert w.mu_verifier("serve", "--config", party.config, check=False).returncode == 4


def test_init_leaves_keys_alone(tmp_path):
    folder = tmp_path / "keys"
    done = w.mu_verifier("init", folder)
    assert [os.stat(folder / f).st_mode & 0o777 for f in ("challenge.key", "signing.key")] == [0o600] * 2
    assert len((folder / "challenge.key").read_bytes()) == 32 and f"file = {folder}/signing.key" in done.stdout
    before = (folder / "signing.key").read_bytes()
    assert w.mu_verifier("init", folder, check=False).returncode == 4
    assert (folder / "signing.key").read_bytes() == before


@pytest.fixture
def whole(tmp_path, fleet):
    """mu-verifier init with all that a configuration needs."""
    party = make_party(tmp_path / "party", fleet)
    given = ["--issuer", "https://verifier.test", "--listen", "127.0.0.1:0", "--certificate", party.folder / "server.pem",
             "--certificate-key", party.folder / "server.pem", "--root", fleet.root_pem, "--baseline", f"web={party.folder}/web.json"]

    def run(*options, without=()):
        left = [x for name, value in zip(given[::2], given[1::2]) if name not in without for x in (name, value)]
        return w.mu_verifier("init", tmp_path / "made", *left, *options, check=False)
    run.folder, run.party = tmp_path / "made", party
    return run


def test_init_writes_a_whole_configuration(whole, fleet):
    done = whole("--audience", "vault", "--audience", "sts.amazonaws.com", "--audience", "https://k8s.test")
    config = whole.folder / "verifier.conf"
    assert done.returncode == 0 and f"Next: mu-verifier serve --config {config}" in done.stdout, done.stderr
    assert config.stat().st_mode & 0o777 == 0o600
    log = whole.folder / "log"
    with open(log, "wb") as to:
        process = subprocess.Popen([w.MU_VERIFIER, "serve", "--config", config], stderr=to)
    try:
        verifier, key = relying.Running(whole.party, log, process), relying.p384()
        for audience in ("vault", "sts.amazonaws.com", "https://k8s.test"):
            for pcrs, state in ((GOLDEN, "boot"), (RUNNING, "running")):
                doc = fleet.draft(verifier.nonce(), pcrs, relying.spki(key)).encode()
                claims = verifier.claims(key, verifier.attest(doc, audience=audience)[1], audience)
                assert (claims["aud"], claims["state"]) == (audience, state)
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("without, options, code, says", [
    ((), ("--baseline", "x=/nonexistent"), 4, "/nonexistent"),
    ((), ("--baseline", "x"), 1, "NAME=FILE"),
    ((), ("--baseline", "a b=/x"), 1, "letters, digits"),
    ((), ("--account", "12"), 4, "12 digits"),
    ((), ("--listen", "nowhere\nroot = /x"), 1, "printable"),
    ((), ("--builder-key", "/nonexistent"), 4, "/nonexistent"),
    (("--baseline",), (), 1, "--baseline NAME=FILE is needed"),
    (("--certificate",), (), 1, "--certificate and --certificate-key"),
    (("--issuer",), (), 1, "--issuer is needed"),
    ((), ("--page", "127.0.0.1:0"), 1, "--store is needed for --page"),
    ((), ("--page", "127.0.0.1:0", "--store", "sqlite:/tmp/x", "--account", "12"), 4, "12 digits"),
])
def test_init_that_fails_leaves_nothing(whole, without, options, code, says):
    done = whole(*options, without=without)
    assert done.returncode == code and says in done.stderr.replace("\n  ", " "), done.stderr
    assert not whole.folder.exists() or list(whole.folder.iterdir()) == []


def test_init_changes_no_configuration(whole):
    assert whole().returncode == 0
    for name in ("challenge.key", "signing.key"):
        (whole.folder / name).unlink()
    before = (whole.folder / "verifier.conf").read_bytes()
    assert whole().returncode == 4 and (whole.folder / "verifier.conf").read_bytes() == before
    assert not (whole.folder / "signing.key").exists()


# ---- log and metrics ----

def test_log_and_metrics(fleet, party, started):
    verifier, key = started(party), relying.p384()
    draft = fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key))
    doc = draft.encode()
    answer = verifier.attest(doc)[1]
    relying.document.FAULTS["pcr"](draft, "4=" + "ab" * 48)
    assert verifier.attest(draft.encode())[0] == 403
    assert verifier.metric("requests_total", path="/v1/attest", status="200") == 1
    assert verifier.metric("requests_total", path="/v1/attest", status="403") == 1
    assert verifier.metric("attestations_total", result="ok", baseline="web", version="web-1") == 1
    assert verifier.metric("attestations_total", result="refused", baseline="", version="") == 1
    assert verifier.metric("attestation_seconds_count") == verifier.metric("attestation_seconds_bucket", le="+Inf") == 2
    good, bad = [line for line in verifier.log() if line.get("path") == "/v1/attest"]
    assert (good["status"], good["instance_id"], good["baseline"], good["address"]) == (200, w.INSTANCE_ID, "web", "127.0.0.1")
    assert bad["status"] == 403 and "PCR 4: expected" in bad["detail"] and bad["instance_id"] == w.INSTANCE_ID
    text = verifier.log_path.read_text()
    inner = relying.open_token(key, answer["token"])[1]
    for secret in (answer["token"], inner, base64.b64encode(doc).decode(), party.challenge_keys["first"].read_bytes().hex()):
        assert secret[:60] not in text and secret[-60:] not in text


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="Debian's package prometheus is not installed")
def test_prometheus_finds_no_fault(fleet, party, started):
    verifier = started(party)
    assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN).encode())[0] == 200 and verifier.ask("/nothing")[0] == 404
    done = w.run(PROMTOOL, "check", "metrics", input=verifier.ask("/metrics")[1], text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_store(fleet, party, started):
    import sqlite3
    path = party.folder / "fleet.sqlite"
    party.settings["store"] = f"sqlite:{path}"
    party.write()
    verifier = started(party)
    other = "i-0ce4441c840a0a941"
    good = fleet.draft(verifier.nonce(), GOLDEN)
    assert verifier.attest(good.encode())[0] == 200
    altered = [*GOLDEN[:4], b"\xab" * 48, *GOLDEN[5:]]
    assert verifier.attest(fleet.draft(verifier.nonce(), altered, instance=other).encode())[0] == 403
    relying.document.FAULTS["wrong-signature"](good, None)          # says nothing of anybody
    assert verifier.attest(good.encode())[0] == 403
    with sqlite3.connect(path) as db:
        rows = {row[0]: row for row in db.execute("SELECT id, ok, baseline, detail FROM instance")}
    assert rows.keys() == {w.INSTANCE_ID, other}
    assert rows[w.INSTANCE_ID][1:3] == (1, "web") and rows[other][1] == 0 and "PCR 4: expected" in rows[other][3]


# ---- a TPM ----

def test_nitrotpm(tmp_path, started):
    """From a TPM's own PCRs to a token, with a baseline that it recorded, and not after it was extended."""
    tpm = w.NitroTpm(tmp_path / "tpm")
    try:
        tpm.reboot()
        golden, key = tmp_path / "golden.json", relying.p384()
        w.muctl("baseline", "record", "--tcti", tpm.tcti, "-o", golden)
        verifier = started(relying.Party(tmp_path / "party", tpm.root, {"web": (golden, "boot")}))
        public = tmp_path / "public.der"
        public.write_bytes(relying.spki(key))

        def attest():
            doc = tmp_path / "doc"
            w.muctl("attest", "--tcti", tpm.tcti, "--nonce", verifier.nonce().hex(), "--public-key", public, "-o", doc)
            return verifier.attest(doc.read_bytes())
        status, answer = attest()
        assert status == 200 and verifier.claims(key, answer)["pcr4"] == tpm.pcr(4)
        tpm.extend(4, b"something else")
        status, answer = attest()
        assert status == 403 and failed(answer) == {"baseline"} and "PCR 4: expected" in answer["detail"]
    finally:
        tpm.stop()


def blocks(page, language):
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", (w.TOP / "docs/guide" / page).read_text(), re.M | re.S))


def test_guide(tmp_path):
    """docs/guide/verifier.md: its commands, with the service in between."""
    tpm = w.NitroTpm(tmp_path / "tpm")
    tpm.reboot()
    golden, port = tmp_path / "golden.json", w.two_free_ports()
    w.muctl("baseline", "record", "--tcti", tpm.tcti, "-o", golden)
    environment = {**os.environ, "PATH": f"{w.BUILD}:{os.environ['PATH']}", "etc": str(tmp_path / "etc"), "golden": str(golden),
                   "root": tpm.root, "address": f"127.0.0.1:{port}", "url": f"https://127.0.0.1:{port}", "tcti": tpm.tcti}
    setup, _, ask = blocks("verifier.md", "sh").partition("curl")
    done = w.run("bash", "-euxc", setup, cwd=tmp_path, env=environment, check=False, text=True)
    assert done.returncode == 0 and "2 baselines" in done.stdout, done.stderr
    process = subprocess.Popen([w.MU_VERIFIER, "serve", "--config", tmp_path / "etc/verifier.conf"], stderr=subprocess.PIPE, text=True)
    try:
        assert "listening" in process.stderr.readline()
        done = w.run("bash", "-euxc", "curl" + ask, cwd=tmp_path, env=environment, check=False, text=True)
        assert done.returncode == 0, done.stderr
        done = w.run("/usr/bin/python3", "-c", blocks("verifier.md", "python"), cwd=tmp_path, check=False, text=True)
        assert done.stdout.split() == [w.INSTANCE_ID, "web", tpm.pcr(4)], done.stderr
    finally:
        process.terminate()
        process.communicate()
        tpm.stop()


def test_stops(party):
    verifier = relying.Verifier(party)
    held = connect(verifier)
    verifier.process.send_signal(signal.SIGINT)
    assert verifier.process.wait(20) == 0
    held.close()
