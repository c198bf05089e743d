# SPDX-License-Identifier: GPL-2.0-or-later
"""Tokens for relying parties that know nothing of this project: what they are promised, by their own programs and rules."""
import json
import subprocess
import urllib.request

import identity
import jwt
import pytest
import relying
import tls
import vault
import world as w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwcrypto import jwk
from test_verifier import GOLDEN, RUNNING, fleet, identity_text, make_party, started  # noqa: F401

OIDC = w.TOP / "tests/oidc"
STS, KUBERNETES, REPORTS = "sts.amazonaws.com", "https://kubernetes.test", "reports"
ACCOUNT2 = "444455556666"


def write_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    return path


@pytest.fixture
def party(tmp_path, fleet):  # noqa: F811
    """Its issuer is its own address."""
    party = make_party(tmp_path / "party", fleet)
    port = vault.free_port()
    party.settings = {"listen": f"127.0.0.1:{port}", "issuer": f"https://127.0.0.1:{port}"}
    party.signing_keys |= {
        "rsa": write_key(party.folder / "rsa.pem", rsa.generate_private_key(65537, 2048)),
        "p256": write_key(party.folder / "p256.pem", ec.generate_private_key(ec.SECP256R1()))}
    party.audiences |= {
        "sts": {"value": STS, "signing_key": "rsa", "token_lifetime": 900, "encryption": "none"},
        "kubernetes": {"value": KUBERNETES, "signing_key": "p256"},
        REPORTS: {"profile": "ear", "tokens_per_minute": 1}}
    party.write()
    return party


@pytest.fixture
def verifier(party, started):  # noqa: F811
    return started(party)


def token_for(verifier, fleet, audience, key=None, pcrs=GOLDEN, **more):  # noqa: F811
    """-> the signed token, the answer"""
    key = key or relying.p384()
    doc = fleet.draft(verifier.nonce(), pcrs, relying.spki(key), **more).encode()
    status, answer = verifier.attest(doc, **({"audience": audience} if audience else {}))
    assert status == 200, answer
    return (relying.open_token(key, answer["token"])[1] if answer["token"].count(".") == 4 else answer["token"]), answer


def checked(verifier, token, audience, algorithm):
    """By PyJWT, with the keys to which discovery leads."""
    published = json.load(urllib.request.urlopen(discovery(verifier)["jwks_uri"], context=verifier.context()))
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(k for k in jwt.PyJWKSet.from_dict(published).keys if k.key_id == kid)
    return jwt.decode(token, key.key, algorithms=[algorithm], audience=audience, issuer=verifier.party.settings["issuer"],
                      options={"require": ["exp", "iat", "nbf", "sub", "jti"]})


@pytest.mark.parametrize("audience, value, algorithm, lifetime, encrypted", [
    (None, "vault", "ES384", 300, True), ("vault", "vault", "ES384", 300, True), (STS, STS, "RS256", 900, False),
    (KUBERNETES, KUBERNETES, "ES256", 300, True)])
def test_each_audience_has_its_own(verifier, fleet, audience, value, algorithm, lifetime, encrypted):  # noqa: F811
    token, answer = token_for(verifier, fleet, audience)
    claims = checked(verifier, token, value, algorithm)
    assert (answer["token"] != token) == encrypted
    assert claims["aud"] == value and claims["exp"] - claims["iat"] == answer["expires_in"] == lifetime
    with pytest.raises(jwt.InvalidAudienceError):
        checked(verifier, token, "another", algorithm)


@pytest.mark.parametrize("audience, reason", [("another", "no audience 'another'"), ("", '"audience"'), (1, '"audience"'),
                                              (["vault"], '"audience"'), ("x" * 2000, '"audience"')])
def test_unknown_audience(verifier, fleet, audience, reason):  # noqa: F811
    doc = fleet.draft(verifier.nonce(), GOLDEN, relying.spki(relying.p384())).encode()
    status, answer = verifier.attest(doc, audience=audience)
    assert (status, answer["error"]) == (400, "malformed") and reason in answer["detail"]


def test_claims_of_rfc_9711_and_7800(verifier, fleet):  # noqa: F811
    key = relying.p384()
    claims = jwt.decode(token_for(verifier, fleet, "vault", key)[0], options={"verify_signature": False})
    again = jwt.decode(token_for(verifier, fleet, "vault", key)[0], options={"verify_signature": False})
    other = jwt.decode(token_for(verifier, fleet, "vault", key, instance="i-00000000000000002")[0],
                       options={"verify_signature": False})
    ueid = jwt.utils.base64url_decode(claims["ueid"])
    assert ueid[0] == 1 and len(ueid) == 33 and claims["ueid"] == again["ueid"] != other["ueid"]
    assert 8 <= len(claims["eat_nonce"]) <= 88 and claims["eat_nonce"] != again["eat_nonce"]
    assert claims["eat_profile"].startswith("urn:uuid:") and claims["dbgstat"] == "disabled"
    assert jwk.JWK(**claims["cnf"]["jwk"]).thumbprint() == jwk.JWK.from_pem(relying.private_pem(key)).thumbprint()
    assert claims["pcr4"] == GOLDEN[4].hex()


def test_nonce_is_the_documents(verifier, fleet):  # noqa: F811
    nonce, key = verifier.nonce(), relying.p384()
    answer = verifier.attest(fleet.draft(nonce, GOLDEN, relying.spki(key)).encode())[1]
    claims = jwt.decode(relying.open_token(key, answer["token"])[1], options={"verify_signature": False})
    assert jwt.utils.base64url_decode(claims["eat_nonce"]) == nonce


@pytest.mark.parametrize("bits", [2048, 4096])
def test_confirmation_of_an_rsa_key(verifier, fleet, bits):  # noqa: F811
    key = rsa.generate_private_key(65537, bits)
    claims = jwt.decode(token_for(verifier, fleet, STS, key)[0], options={"verify_signature": False})
    assert jwk.JWK(**claims["cnf"]["jwk"]).thumbprint() == jwk.JWK.from_pem(relying.private_pem(key)).thumbprint()


def test_ear(verifier, fleet):  # noqa: F811
    """draft-ietf-rats-ear-04, 3; its claims beside ours. No other program of that version is to be had: this is the text."""
    claims = checked(verifier, token_for(verifier, fleet, REPORTS)[0], REPORTS, "ES384")
    issuer = verifier.party.settings["issuer"]
    assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04" and claims["pcr4"] == GOLDEN[4].hex()
    assert claims["ear_verifier_id"]["developer"] == issuer and claims["ear_verifier_id"]["build"].startswith("mu-verifier ")
    assert claims["submods"] == {"nitrotpm": {
        "ear_status": "affirming", "ear_appraisal_policy_ids": [f"{issuer}/baselines/web"],
        "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 3, "hardware": 2}}}


def test_rate_of_an_audience(verifier, fleet):  # noqa: F811
    token_for(verifier, fleet, REPORTS)
    key = relying.p384()
    status, answer = verifier.attest(fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key)).encode(), audience=REPORTS)
    assert (status, answer["error"]) == (429, "rate") and "1 tokens a minute" in answer["detail"] and "token" not in answer
    token_for(verifier, fleet, "vault")
    status, answer = verifier.attest(fleet.draft(verifier.nonce(), RUNNING).encode(), audience=REPORTS)
    assert status == 200 and answer["ok"], "only tokens are counted"


def test_rate_of_each_account(party, fleet, started, tmp_path):  # noqa: F811
    region, folder = identity.Region(), tmp_path / "regions"
    region.publish(folder, w.REGION)
    party.settings |= {"identity": "required", "region_certificates": folder}
    party.write()
    verifier = started(party)
    for account in (w.ACCOUNT, ACCOUNT2):
        for wanted in (200, 429):
            doc = fleet.draft(verifier.nonce(), GOLDEN, relying.spki(relying.p384())).encode()
            assert verifier.attest(doc, audience=REPORTS, identity=identity_text(region, account=account))[0] == wanted


def test_audit_record(verifier, fleet):  # noqa: F811
    claims = jwt.decode(token_for(verifier, fleet, STS)[0], options={"verify_signature": False})
    line = next(line for line in verifier.log() if line.get("token_id") == claims["jti"])
    assert {k: line[k] for k in ("audience", "instance_id", "baseline", "baseline_version", "state", "status")} == {
        "audience": STS, "instance_id": w.INSTANCE_ID, "baseline": "web", "baseline_version": "web-1", "state": "boot",
        "status": 200}


# ---- discovery ----

def discovery(verifier):
    return json.load(urllib.request.urlopen(verifier.url + "/.well-known/openid-configuration", context=verifier.context()))


def test_discovery(verifier):
    document, issuer = discovery(verifier), verifier.party.settings["issuer"]
    assert document["issuer"] == issuer and document["jwks_uri"] == issuer + "/.well-known/jwks.json"
    assert sorted(document["id_token_signing_alg_values_supported"]) == ["ES256", "ES384", "RS256"]


# What each demands of an issuer, from memory; docs/guide/tokens.md says where the rules stand.
RULES = {
    "aws-iam": {"present": {"issuer", "jwks_uri", "response_types_supported", "subject_types_supported",
                            "id_token_signing_alg_values_supported", "claims_supported"},
                "claims": {"iss", "aud", "sub", "iat", "exp"}, "algorithms": {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}},
    "kubernetes": {"present": {"issuer", "jwks_uri", "response_types_supported", "subject_types_supported",
                               "id_token_signing_alg_values_supported"},
                   "claims": {"iss", "aud", "sub", "exp"}, "algorithms": {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}},
    "google-workload-identity": {"present": {"issuer", "jwks_uri"}, "claims": {"iss", "aud", "sub", "iat", "exp"},
                                 "algorithms": {"RS256", "ES256"}},
}


@pytest.mark.parametrize("consumer", RULES)
def test_rules_of(verifier, fleet, consumer):  # noqa: F811
    rules, document = RULES[consumer], discovery(verifier)
    assert rules["present"] <= set(document) and document["jwks_uri"].startswith("https://")
    assert document["response_types_supported"] == ["id_token"] and document["subject_types_supported"] == ["public"]
    token = token_for(verifier, fleet, STS)[0]
    claims, header = jwt.decode(token, options={"verify_signature": False}), jwt.get_unverified_header(token)
    assert rules["claims"] <= set(claims) and rules["claims"] - {"exp"} <= set(document["claims_supported"])
    assert header["alg"] in rules["algorithms"] and header["kid"] in {k["kid"] for k in verifier.jwks()}
    assert isinstance(claims["aud"], str) and len(claims["sub"]) <= 127 and 0 < claims["exp"] - claims["iat"] <= 86400


def test_no_discovery_without_an_address(party, started):  # noqa: F811
    for issuer in ("verifier", "http://verifier.test", "https://verifier.test/", "https://verifier.test?x"):
        party.audiences.pop(REPORTS, None)
        party.write(issuer=issuer)
        verifier = started(party)
        assert verifier.ask("/.well-known/openid-configuration")[0] == 404, issuer
        verifier.stop()
        verifier.stop = lambda: None


@pytest.mark.skipif(vault.why_not(OIDC, "github.com/coreos/go-oidc/v3") is not None,
                    reason=f"no go-oidc: {vault.why_not(OIDC, 'github.com/coreos/go-oidc/v3')}")
def test_go_oidc(verifier, fleet):  # noqa: F811
    program, issuer = vault.build(OIDC), verifier.party.settings["issuer"]

    def run(audience, token):
        return subprocess.run([program, issuer, verifier.party.ca, audience], input=token, capture_output=True, text=True)
    for audience in ("vault", STS, KUBERNETES):
        token = token_for(verifier, fleet, audience)[0]
        done = run(audience, token)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["sub"] == w.INSTANCE_ID
    assert "audience" in run("another", token).stderr
    assert "verify signature" in run(KUBERNETES, token[:-8] + "AAAAAAAA").stderr


@pytest.mark.skipif(vault.why_not() is not None, reason=f"no Vault: {vault.why_not()}")
def test_vault_by_discovery(verifier, fleet, tmp_path):  # noqa: F811
    tls.make(tmp_path, [w.REGION])
    server = vault.Vault(tmp_path / "vault", tmp_path / "ca.pem", tmp_path / "server.pem")
    try:
        server.run("auth", "enable", "jwt")
        server.run("write", "auth/jwt/config", f"oidc_discovery_url={verifier.party.settings['issuer']}",
                   f"oidc_discovery_ca_pem=@{verifier.party.ca}")
        role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["default"],
                "bound_claims": {"pcr4": GOLDEN[4].hex(), "state": "boot"}}
        server.run("write", "auth/jwt/role/boot", "-", input=json.dumps(role))

        def login(token):
            return server.run("write", "auth/jwt/login", "role=boot", f"jwt={token}", check=False)
        done = login(token_for(verifier, fleet, "vault")[0])
        assert done.returncode == 0, done.stderr
        assert "audience" in login(token_for(verifier, fleet, STS)[0]).stderr
        assert "claim" in login(token_for(verifier, fleet, "vault", pcrs=RUNNING)[0]).stderr
    finally:
        server.stop()


# ---- configuration ----

@pytest.mark.parametrize("audiences, settings, reason", [
    ({}, {}, "no [audience NAME] section"),
    ({"a": {"signing_key": "nobody"}}, {}, "there is no [signing-key nobody]"),
    ({"a": {"value": "x"}, "b": {"value": "x"}}, {}, "another audience has the value 'x'"),
    ({"a": {}, "b": {"value": "a"}}, {}, "another audience has the value 'a'"),
    ({"a": {"profile": "jwt"}}, {}, "profile must be"),
    ({"a": {"encryption": "some"}}, {}, "encryption must be"),
    ({"a": {"token_lifetime": 9}}, {}, "token_lifetime"),
    ({"a": {"profile": "ear"}}, {"issuer": "me"}, "issuer must be https://"),
])
def test_configuration(party, audiences, settings, reason):
    party.audiences = audiences
    party.write(**settings)
    done = party.check()
    assert done.returncode == 4 and reason in done.stderr.replace("\n  ", " "), done.stderr


def test_small_rsa_key(party):
    party.signing_keys["rsa"] = write_key(party.folder / "small.pem", rsa.generate_private_key(65537, 1024))
    party.write()
    done = party.check()
    assert done.returncode == 4 and "2048" in done.stderr, done.stderr


# ---- the instance's side ----

@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    tpm = w.NitroTpm(tmp_path_factory.mktemp("tpm"))
    tpm.reboot()
    yield tpm
    tpm.stop()


@pytest.fixture
def monitor(party, tpm, started, tmp_path):  # noqa: F811
    golden = tmp_path / "golden.json"
    w.muctl("baseline", "record", "--tcti", tpm.tcti, "-o", golden)
    party.nitro_root, party.baselines = tpm.root, {"web": (golden, "running")}
    party.write()
    tpm.extend(15, b"closed")
    verifier = started(party)

    def run(*options):
        return w.muctl("monitor", "--verifier", verifier.url, "--ca-file", party.ca, "--tcti", tpm.tcti, *options, check=False)
    yield run, verifier
    tpm.reboot()


@pytest.mark.parametrize("audience, algorithm", [(None, "ES384"), (STS, "RS256"), (KUBERNETES, "ES256")])
def test_monitor_gets_a_token(monitor, tmp_path, audience, algorithm):
    run, verifier = monitor
    path = tmp_path / "token"
    done = run("--token", path, *(["--audience", audience] if audience else []))
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o777 == 0o600 and "is unaltered" in done.stdout
    claims = checked(verifier, path.read_text(), audience or "vault", algorithm)
    assert claims["sub"] == w.INSTANCE_ID and claims["state"] == "running"


def test_monitor_prints_a_token_alone(monitor):
    run, verifier = monitor
    done = run("--token", "-", "--audience", STS)
    assert done.returncode == 0 and checked(verifier, done.stdout, STS, "RS256")["aud"] == STS


def test_no_token_is_written_for_a_refusal(monitor, party, tmp_path):
    run, verifier = monitor
    party.baselines = {"web": (relying.baseline(tmp_path / "other.json", GOLDEN, 4, 7, 12), "running")}
    party.write()
    verifier.reload()
    path = tmp_path / "token"
    path.write_text("of yesterday")
    assert run("--token", path).returncode == 2
    assert path.read_text() == "of yesterday"
    assert run("--audience", STS).returncode == 4
