# SPDX-License-Identifier: GPL-2.0-or-later
"""The provider vault: a real Vault (tests/vault), a verifier, a NitroTPM. What unlocks, what is refused, what is
waited for."""
import base64
import contextlib
import json
import os
import re
import threading
from types import SimpleNamespace

import pytest
import stand_ins
import vault as real
import world as w
from vault_world import OwnVerifierWorld, VaultWorld

OK, USAGE, REFUSE, RETRY, CONFIG = range(5)
REASON = real.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no Vault: {REASON}")


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    yield from w.settled(VaultWorld(tmp_path_factory.mktemp("vault")))


@pytest.fixture
def vw(settled):
    settled.fresh()
    return settled


def test_unlocks_by_kv(vw):
    said = vw.unlocked()
    assert "released by vault" in said
    asked = [(r[0], r[1]) for r in vw.relay.requests if r[1] != "/v1/sys/health"]
    assert asked == [("POST", "/v1/auth/jwt/login"), ("GET", "/v1/secret/data/volumes/root?version=1"),
                     ("POST", "/v1/auth/token/revoke-self")]
    assert all(r[2]["X-Vault-Request"] == "true" for r in vw.relay.requests[1:])
    steps = {s["name"] for s in vw.report()["steps"]}
    assert {"challenge", "document", "verifier", "vault-login", "vault-read", "vault-revoke"} <= steps


def test_the_token_is_revoked(vw):
    before = vw.vault.run("list", "-format=json", "auth/token/accessors").stdout
    vw.unlocked()
    assert vw.vault.run("list", "-format=json", "auth/token/accessors").stdout == before
    vw.fresh()
    vw.relay.fault("revoke-self", 403, {"errors": ["permission denied"]})
    assert "is not revoked" in vw.unlocked()
    assert vw.vault.run("list", "-format=json", "auth/token/accessors").stdout != before


def test_unlocks_by_transit(vw):
    vw.other(source=("--vault-transit", "transit/volumes"))
    vw.unlocked()
    assert vw.record(vw.volume2)["transit"]["ciphertext"].startswith("vault:v1:")
    assert vw.relay.asked("/v1/transit/decrypt/volumes")


def test_transit_ciphertext_of_another_volume(vw):
    """The key is derived for the volume: a context of another volume does not decrypt."""
    vw.other(source=("--vault-transit", "transit/volumes"))
    vw.relay.change = lambda method, path, answer: answer
    record = vw.record(vw.volume2)["transit"]
    text = json.dumps({"ciphertext": record["ciphertext"], "context": base64.b64encode(b"another").decode()})
    done = vw.vault.run("write", "transit/decrypt/volumes", "-", input=text, check=False)
    assert done.returncode != 0 and "message authentication failed" in done.stderr
    text = json.dumps({"ciphertext": record["ciphertext"], "context": record["context"]})
    assert "plaintext" in vw.vault.run("write", "transit/decrypt/volumes", "-", input=text).stdout


@pytest.mark.parametrize("source", [("--vault-kv", "secret/volumes/root"), ("--vault-transit", "transit/volumes")])
def test_wrapping(vw, source):
    cas = ("--vault-cas", "1") if "kv" in source[0] else ()
    try:
        vw.other("--vault-wrap-ttl", "30", *cas, source=source)
        vw.unlocked()
    finally:
        restore_kv(vw)
    wrapped = [r for r in vw.relay.requests if r[2].get("X-Vault-Wrap-TTL")]
    assert [r[2]["X-Vault-Wrap-TTL"] for r in wrapped] == ["30"]
    assert vw.relay.asked("/v1/sys/wrapping/lookup") and vw.relay.asked("/v1/sys/wrapping/unwrap")


def restore_kv(vw):
    """The secret as the module's volume has it: version 1 alone."""
    key = vw.vault.run("kv", "get", "-version=1", "-field=key", "secret/volumes/root").stdout
    vw.vault.run("kv", "metadata", "delete", "secret/volumes/root")
    vw.vault.run("kv", "put", "-cas=0", "secret/volumes/root", f"key={key}")


def wrapped_world(vw):
    vw.other("--vault-wrap-ttl", "30", source=("--vault-transit", "transit/volumes"))


def test_a_stolen_wrapping_token_is_noticed(vw):
    """Somebody between us and Vault has unwrapped the answer, and wraps it, or something else, again."""
    wrapped_world(vw)

    def unwrapped(method, path, answer):
        if answer.get("wrap_info"):
            vw.vault.run("unwrap", answer["wrap_info"]["token"])
        return answer

    vw.relay.change = unwrapped
    vw.refused("did somebody else unwrap it?")
    vw.tpm.reboot()

    def replaced(method, path, answer):
        if answer.get("wrap_info"):
            again = vw.vault.run("write", "-format=json", "-wrap-ttl=30s", "sys/wrapping/wrap", "plaintext=eA==")
            answer["wrap_info"]["token"] = json.loads(again.stdout)["wrap_info"]["token"]
        return answer

    vw.relay.change = replaced
    vw.refused("made for sys/wrapping/wrap, not for transit/decrypt/volumes")
    vw.tpm.reboot()
    vw.relay.change = None
    vw.unlocked()


def test_an_answer_that_should_be_wrapped_and_is_not(vw):
    wrapped_world(vw)
    vw.relay.change = lambda method, path, answer: {**answer, "wrap_info": None}
    vw.refused('"wrap_info" is not of type object')


def test_a_namespace_is_named(vw):
    """The Community Edition ignores the header; that it is sent is all there is to see."""
    vw.other("--vault-namespace", "team/a", source=("--vault-transit", "transit/volumes"))
    vw.unlock()
    named = {r[2].get("X-Vault-Namespace") for r in vw.relay.requests if r[1] != "/v1/sys/health"}
    assert named == {"team/a"}


def role_of(world):
    return json.loads(world.vault.run("read", "-format=json", "auth/jwt/role/root-volume").stdout)["data"]


@contextlib.contextmanager
def role(world, **claims):
    """Other bound_claims for a while; None: without that one."""
    before = role_of(world)
    bound = {k: v for k, v in {**before["bound_claims"], **claims}.items() if v is not None}
    try:
        world.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps({**before, "bound_claims": bound}))
        yield
    finally:
        world.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps(before))


def test_the_identity_document_is_shown_once(vw):
    """Because the verifier wants it; it needs no role."""
    vw.unlocked()
    assert [i["accountId"] for i in vw.verifier.identities] == [w.ACCOUNT]
    asked = [r["operation"] for r in vw.aws.log()[vw.aws.seen:]]
    assert asked.count("/latest/dynamic/instance-identity/rsa2048") == 1 and not [p for p in asked if "iam" in p]


def test_imds_is_waited_for(vw):
    vw.aws.fault("imds", "status", 503, count=3)
    vw.unlocked()


def test_imds_is_off(vw):
    vw.aws.fault("imds", "status", 403)
    vw.refused("IMDS", "forbidden", code=CONFIG)
    assert not vw.verifier.asked("attest")


ANY, GLOB = {"account": None}, {"account": ["1111*"]}


@pytest.mark.parametrize("claims", [ANY, GLOB], ids=["any", "pattern"])
def test_enroll_refuses_a_role_for_any_account(vw, claims):
    volume = w.make_volume(vw.folder / "open.img")
    before = volume.read_bytes()
    keys = vw.vault.run("kv", "list", "secret/volumes").stdout
    with role(vw, **claims):
        done = vw.enroll(volume, check=False, source=("--vault-kv", "secret/volumes/open"))
    assert done.returncode == REFUSE and "names no account" in done.stderr and '"account"' in done.stderr
    assert volume.read_bytes() == before and vw.vault.run("kv", "list", "secret/volumes").stdout == keys


def test_enroll_says_that_it_could_not_look_at_the_role(vw):
    vw.vault.run("policy", "write", "writer", "-", input='path "transit/encrypt/volumes" { capabilities = ["update"] }')
    token = vw.vault.run("token", "create", "-policy=writer", "-field=token").stdout.strip()
    volume = w.make_volume(vw.folder / "unseen.img")
    done = vw.enroll(volume, source=("--vault-transit", "transit/volumes"), VAULT_TOKEN=token)
    assert "not done: whether the role 'root-volume' binds an account" in done.stderr and "HTTP 403" in done.stderr


def doctor(vw, **environment):
    done = w.muctl("doctor", "--online", "--config", vw.config_path, check=False, env={**os.environ, **environment})
    return re.sub(r"\n +", " ", done.stdout)


def test_doctor_looks_at_the_account(vw):
    vw.tpm.extend(15, b"a volume")
    said = doctor(vw, VAULT_TOKEN=vw.vault.token)
    assert re.search(r"^ok +accounts .*asks for identity documents", said, re.M), said
    assert re.search(r"^ok +vault-role .*admits named accounts alone", said, re.M), said
    with role(vw, **ANY):
        assert re.search(r"^FAILED +vault-role .*names no account", doctor(vw, VAULT_TOKEN=vw.vault.token), re.M)
    assert re.search(r"^warn +vault-role .*not done: .*VAULT_TOKEN is not set", doctor(vw, VAULT_TOKEN=""), re.M)
    vw.verifier.fault("challenge", 200, {"nonce": "00", "expires_in": 60})
    assert re.search(r"^warn +accounts .*does not ask for an instance.s account", doctor(vw), re.M)


def test_doctor_gets_the_key(vw):
    """Before the fence is closed, by the code that boots."""
    done = w.muctl("doctor", "--online", "--instance", "--config", vw.config_path, check=False)
    assert re.search(r"^ok +key .*released, and opens key slot 1", done.stdout, re.M), done.stdout
    vw.fresh()
    vw.relay.fault("sys/health", 503, b"")
    done = w.muctl("doctor", "--online", "--config", vw.config_path, check=False)
    assert re.search(r"^FAILED +vault .*HTTP 503", done.stdout, re.M), done.stdout


def test_doctor_looks_into_the_roots(vw):
    text = vw.config_path.read_text()
    for old, new in ("ca_file", "no_such_file"), ("verifier_ca_file", "no_such_file"):
        vw.config_path.write_text(re.sub(rf"^{old} = .*", f"{old} = /{new}", text, flags=re.M))
        done = w.muctl("doctor", "--config", vw.config_path, check=False)
        assert re.search(r"^FAILED +ca-file +/no_such_file: ", done.stdout, re.M), done.stdout


# ---- refused ----


def test_another_boot_loader_is_refused_by_the_verifier(vw):
    """By its baselines, where the machine's own signed baseline knows both."""
    other_boot(vw)
    vw.refused("the verifier answered HTTP 403", "none of its baselines matches this boot")
    assert not vw.relay.asked("login")


def other_boot(vw):
    """PCR 4 is another, and the volume's own record allows that."""
    vw.tpm.extend(4, b"another loader")
    second = vw.folder / "second.json"
    w.muctl("baseline", "record", "--tcti", vw.tpm.tcti, "-o", second)
    vw.volume2 = w.make_volume(vw.folder / "other.img")
    vw.enroll(vw.volume2, "--baseline", second, source=("--vault-transit", "transit/volumes"))
    vw.configure(volumes={"root": vw.volume2})


def test_another_boot_loader_is_refused_by_the_role(vw):
    """A verifier that knows both boots; bound_claims alone decide. The twin: the role knows it, too."""
    other_boot(vw)
    vw.verifier.baselines = []
    vw.refused("the role 'root-volume' does not admit this machine", 'claim "pcr4"')
    assert not vw.relay.asked("transit/decrypt")
    role = json.loads(vw.vault.run("read", "-format=json", "auth/jwt/role/root-volume").stdout)["data"]
    vw.fresh()
    vw.tpm.extend(4, b"another loader")
    vw.configure(volumes={"root": vw.volume2})
    vw.verifier.baselines = []
    claims = {**role["bound_claims"], "pcr4": [vw.golden4, vw.tpm.pcr(4)]}
    try:
        vw.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps({**role, "bound_claims": claims}))
        vw.unlocked()
    finally:
        vw.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps(role))


def test_a_closed_fence_is_refused_by_the_role(vw):
    """As root of a running instance would ask; by the provider itself, since `unlock` looks at the fence first."""
    vw.tpm.extend(15, b"a volume")
    online = w.muctl("doctor", "--online", "--config", vw.config_path, check=False)
    assert re.search(r"^ok +key .*denied, as it must be", online.stdout, re.M), online.stdout
    for name in ("verifier", "vault"):
        assert re.search(rf"^ok +{name} .* answers", online.stdout, re.M), online.stdout
    assert vw.relay.asked("login") and not vw.relay.asked("secret/data")


def test_a_token_of_another_key(vw):
    vw.verifier.signing_key = stand_ins.ec.generate_private_key(stand_ins.ec.SECP384R1())
    vw.refused("does not admit this machine", "error verifying token signature")


def test_an_expired_token(vw):
    vw.verifier.lifetime = -400
    vw.refused("does not admit this machine", "expired")


def test_a_token_for_somebody_else(vw):
    other = stand_ins.ec.generate_private_key(stand_ins.ec.SECP384R1()).public_key()
    vw.verifier.recipient = other.public_bytes(stand_ins.serialization.Encoding.DER,
                                               stand_ins.serialization.PublicFormat.SubjectPublicKeyInfo)
    vw.refused("not encrypted to this key")


@pytest.mark.parametrize("name", ["wrong-name", "unknown-ca", "expired"])
def test_another_server_in_its_place(vw, name):
    certificate = vw.folder / f"tls/server.pem.{name}"
    impostor = stand_ins.Verifier(certificate, vw.tpm.root, port=0)
    try:
        vw.volume2 = w.make_volume(vw.folder / "other.img")
        true, vw.verifier = vw.verifier, impostor
        vw.enroll(vw.volume2, source=("--vault-transit", "transit/volumes"))
        vw.configure(volumes={"root": vw.volume2})
        vw.refused("the server's certificate does not verify")
        assert not impostor.requests
    finally:
        vw.verifier = true
        impostor.stop()


@pytest.mark.parametrize("path, status, body, code, says", [
    ("secret/data", 404, {"errors": []}, CONFIG, "not found: compare mount"),
    ("secret/data", 403, {"errors": ["permission denied"]}, REFUSE, "no policy of this token allows this"),
    ("secret/data", 405, {"errors": []}, CONFIG, "is it of the type it should be?"),
    ("secret/data", 200, b"<html>", REFUSE, "not JSON"),
    ("secret/data", 200, {"data": {"data": {"key": "AAAA"}}}, REFUSE, "not a key of 32 bytes"),
    ("secret/data", 200, {"data": {"data": {"other": "AAAA"}}}, REFUSE, '"key" is missing'),
    ("secret/data", 200, {"data": {"data": None}}, REFUSE, "not of type object"),
    ("login", 200, {"auth": {"client_token": "a\nb"}}, REFUSE, "is not a token"),
    ("login", 200, {"auth": None}, REFUSE, "not of type object"),
    ("login", 204, b"", REFUSE, "the value around it is not a JSON object")])
def test_answers_of_vault(vw, path, status, body, code, says):
    vw.relay.fault(path, status, body)
    vw.refused(says, code=code)


@pytest.mark.parametrize("path, status, body, code, says", [
    ("challenge", 404, b"not found", CONFIG, "is there a 'mu-verifier serve' at this address?"),
    ("challenge", 200, {"nonce": "zz", "expires_in": 60}, CONFIG, "not hex"),
    ("challenge", 200, {"nonce": "00" * 1100, "expires_in": 60}, CONFIG, "nonce"),
    ("challenge", 200, {"nonce": "00"}, CONFIG, "expires_in"),
    ("attest", 403, {"error": "refused", "detail": "PCR 4 differs"}, REFUSE, "PCR 4 differs"),
    ("attest", 403, b"<html>", CONFIG, "is there a 'mu-verifier serve' at this address?"),
    ("attest", 401, {"message": "Unauthorized"}, CONFIG, "HTTP 401"),
    ("attest", 400, {"error": "malformed"}, CONFIG, "HTTP 400 malformed"),
    ("attest", 413, b"", CONFIG, "HTTP 413"),
    ("attest", 200, ["ok"], CONFIG, "not a JSON object"),
    ("attest", 200, {"ok": True, "expires_in": 60}, CONFIG, '"token" is missing'),
    ("attest", 200, {"ok": True, "expires_in": 60, "token": "a.b.c"}, REFUSE, "token")])
def test_answers_of_the_verifier(vw, path, status, body, code, says):
    vw.verifier.fault(path, status, body, count=2 if path == "challenge" else 1)
    vw.refused(says, code=code)


# ---- waited for ----


@pytest.mark.parametrize("who, path, status, body", [
    ("verifier", "challenge", 503, b""), ("verifier", "challenge", 429, {"error": "rate"}),
    ("verifier", "challenge", "close", b""), ("verifier", "attest", 503, b""), ("verifier", "attest", 429, b""),
    ("verifier", "attest", 400, {"error": "nonce", "detail": "too old"}), ("verifier", "attest", "close", b""),
    ("relay", "login", 503, {"errors": ["Vault is sealed"]}), ("relay", "login", 429, b""),
    ("relay", "login", 473, b""), ("relay", "login", 472, b""), ("relay", "login", 500, b""),
    ("relay", "login", 412, b""), ("relay", "login", 307, b""), ("relay", "login", "close", b""),
    ("relay", "secret/data", 503, b""), ("relay", "secret/data", "close", b"")])
def test_waits(vw, who, path, status, body):
    server = getattr(vw, who)
    server.fault(path, status, body, count=2)
    vw.unlocked()
    assert len(server.asked(path)) == 3


def test_a_nonce_that_became_too_old(vw):
    """One good for no time: each new one is asked for, until one lasts."""
    vw.verifier.nonce_life = -1
    timer = threading.Timer(1, lambda: setattr(vw.verifier, "nonce_life", 60))
    timer.start()
    vw.unlocked()
    assert len(vw.verifier.asked("attest")) > 1


def test_a_sealed_server_is_waited_for(vw):
    vw.vault.seal()
    timer = threading.Timer(2, vw.vault.unseal)
    timer.start()
    try:
        vw.unlocked()
    finally:
        timer.join()
    assert len(vw.relay.asked("login")) > 1
    assert len(vw.verifier.asked("attest")) == 1, "the token is good for all attempts"


def test_a_sealed_server_is_not_waited_for_for_ever(vw):
    vw.vault.seal()
    try:
        vw.configure(timeout=5)
        vw.refused("sealed", code=RETRY)
    finally:
        vw.vault.unseal()


def test_nothing_is_asked_of_anybody_when_the_measurements_differ(vw):
    vw.tpm.extend(7, b"other keys")
    assert "PCR 7" in vw.refused()
    assert not vw.verifier.asked("attest") and not vw.relay.asked("login")


# ---- enrolling ----


def test_a_secret_is_never_overwritten(vw):
    before = vw.vault.run("kv", "get", "-field=key", "secret/volumes/root").stdout
    done = vw.enroll(vw.volume, check=False)
    assert done.returncode == REFUSE and "holds a secret already" in done.stderr
    assert vw.vault.run("kv", "get", "-field=key", "secret/volumes/root").stdout == before
    done = vw.enroll(vw.volume, "--vault-cas", "7", check=False)
    assert done.returncode == REFUSE and "--vault-cas" in done.stderr
    vw.unlocked()


def test_enrolled_again_beside_the_old_key(vw):
    """Until the new record is written, the old one names a version that is still there."""
    try:
        vw.enroll(vw.volume, "--vault-cas", "1")
        assert vw.record()["kv"]["version"] == 2
        vw.unlocked()
        vw.fresh()
        assert vw.record()["kv"]["version"] == 1
        vw.unlocked()
    finally:
        restore_kv(vw)


def test_a_field_of_ones_own(vw):
    vw.vault.run("policy", "write", "other", "-", input='path "secret/data/vm/a" { capabilities = ["read"] }')
    role = json.loads(vw.vault.run("read", "-format=json", "auth/jwt/role/root-volume").stdout)["data"]
    role["token_policies"] = ["root-volume", "other"]
    vw.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps(role))
    vw.other(source=("--vault-kv", "secret/vm/a#disk-0"))
    assert vw.record(vw.volume2)["kv"] == {"mount": "secret", "path": "vm/a", "field": "disk-0", "version": 1}
    vw.unlocked()


@pytest.mark.parametrize("options, code, says", [
    (("--vault-wrap-ttl", "0"), USAGE, "from 1 on"), (("--vault-wrap-ttl", "4000"), USAGE, "up to 3600"),
    (("--vault-cas", "x"), USAGE, "not a number"), (("--vault-auth-mount", "a/../b"), USAGE, "auth_mount"),
    (("--vault-namespace", "a b"), USAGE, "namespace"), (("--vault-kv", "secret"), USAGE, "MOUNT/PATH"),
    (("--vault-kv", "secret/a#"), USAGE, "field"), (("--vault", "http://localhost"), USAGE, "https://"),
    (("--verifier", "https://localhost/"), USAGE, "no slash at the end"),
    (("--vault-transit", "transit/k"), USAGE, "one of --vault-kv and --vault-transit"),
    (("--key-arn", "arn:aws:kms:eu-west-1:1:key/1"), USAGE, "no meaning")])
def test_usage(vw, options, code, says):
    volume = w.make_volume(vw.folder / "usage.img")
    done = vw.enroll(volume, *options, check=False)
    assert done.returncode == code and says in done.stderr, done.stderr


def test_without_a_token(vw):
    done = vw.enroll(vw.volume, check=False, VAULT_TOKEN="")
    assert done.returncode == CONFIG and "VAULT_TOKEN is not set" in done.stderr
    done = vw.enroll(vw.volume, check=False, VAULT_TOKEN="hvs.nobody")
    assert done.returncode == REFUSE and "HTTP 403" in done.stderr


def test_no_secret_is_shown(vw):
    done = vw.enroll(w.make_volume(vw.folder / "shown.img"), "--json", source=("--vault-transit", "transit/volumes"))
    key = vw.vault.run("kv", "get", "-field=key", "secret/volumes/root").stdout
    said = vw.unlocked()
    for text in (done.stdout, done.stderr, said, vw.report_path.read_text()):
        assert vw.vault.token not in text and key not in text
        assert "hvs." not in text and "eyJ" not in text


# ---- with our own verifier ----


@pytest.fixture(scope="module")
def settled_own(tmp_path_factory):
    yield from w.settled(OwnVerifierWorld(tmp_path_factory.mktemp("own")))


@pytest.fixture
def own(settled_own):
    settled_own.fresh()
    return settled_own


def test_our_verifier_unlocks(own):
    own.unlocked()
    (asked,) = [line for line in own.verifier.log() if line.get("path") == "/v1/attest" and line["status"] == 200][-1:]
    assert asked["instance_id"] == w.INSTANCE_ID and asked["baseline"] == "golden"
    assert own.relay.asked("secret/data")


STRANGER = {"account": "444455556666", "instance_id": "i-0ce4441c840a0a941"}


@pytest.fixture(scope="module")
def stranger(settled_own, tmp_path_factory):
    """A genuine instance of another account, which has the image and a copy of the volume. What AWS would publish for
    the region holds for both accounts."""
    folder = tmp_path_factory.mktemp("stranger")
    tpm = w.NitroTpm(folder / "tpm", "--ca", settled_own.tpm.folder / "ca", "--instance-id", STRANGER["instance_id"])
    aws = w.Aws(folder / "aws", tpm.root, settled_own.golden4, **STRANGER)
    settled_own.fresh()
    settled_own.unlocked()
    text = settled_own.config_path.read_text()
    for old, new in (settled_own.tpm.tcti, tpm.tcti), (settled_own.aws.info["imds_endpoint"], aws.info["imds_endpoint"]):
        assert old in text
        text = text.replace(old, new)
    (folder / "measured-unlock.conf").write_text(text)
    yield SimpleNamespace(tpm=tpm, aws=aws, config=folder / "measured-unlock.conf")
    tpm.stop()
    aws.stop()


def boot_as(own, stranger):
    """The stranger's boot, with the stranger's region certificates beside ours."""
    stranger.tpm.reboot()
    w.run("curl", "-sf", "-H", f"X-aws-ec2-metadata-token: {imds_token(stranger)}",
          stranger.aws.info["imds_endpoint"] + "/latest/dynamic/instance-identity/rsa2048")
    ours = own.aws.folder / f"region-certificates/{w.REGION}.pem"
    theirs = (stranger.aws.folder / f"region-certificates/{w.REGION}.pem").read_text()
    if theirs not in ours.read_text():
        ours.write_text(ours.read_text() + theirs)
    return w.unfold(w.run(w.UNLOCK, "unlock", "--config", stranger.config, "--no-activate", check=False, text=True))


def imds_token(stranger):
    return w.run("curl", "-sf", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60",
                 stranger.aws.info["imds_endpoint"] + "/latest/api/token", text=True).stdout


def test_a_role_without_account_gives_the_key_to_a_stranger(own, stranger):
    """The premise: every PCR is golden in any account."""
    with role(own, account=None):
        done = boot_as(own, stranger)
    assert done.returncode == OK, done.stderr


def test_a_role_with_account_refuses_a_stranger(own, stranger):
    done = boot_as(own, stranger)
    assert done.returncode == REFUSE and 'claim "account"' in done.stderr, done.stderr
    assert not own.relay.asked("secret/data")
    own.fresh()
    own.unlocked()


def test_our_verifier_refuses_another_boot_loader(own):
    other_boot(own)
    own.refused("the verifier answered HTTP 403 refused")
    assert not own.relay.asked("login")


def test_our_verifier_and_a_closed_fence(own):
    """As root of the running system: what the verifier says no to is not even shown to Vault."""
    own.tpm.extend(15, b"a volume")
    done = w.muctl("doctor", "--online", "--config", own.config_path, check=False)
    assert re.search(r"^ok +key .*denied, as it must be", done.stdout, re.M), done.stdout
    assert not own.relay.asked("login")


def test_our_verifier_alone_does_not_decide(own):
    """The role demands another PCR 4 than the verifier's baseline."""
    role = json.loads(own.vault.run("read", "-format=json", "auth/jwt/role/root-volume").stdout)["data"]
    claims = {**role["bound_claims"], "pcr4": "00" * 48}
    try:
        own.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps({**role, "bound_claims": claims}))
        own.refused("does not admit this machine", 'claim "pcr4"')
    finally:
        own.vault.run("write", "auth/jwt/role/root-volume", "-", input=json.dumps(role))
    own.fresh()
    own.unlocked()
