# SPDX-License-Identifier: GPL-2.0-or-later
"""Our tokens read by jwcrypto and PyJWT, and jwcrypto's by us: what is the same, and what we refuse that it makes."""
import json

import jwt
import pytest
import world as w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwcrypto import jwe, jwk, jws

DRIVER = w.BUILD / "integration/token_driver"
CURVES = {"P-256": (ec.SECP256R1(), "ES256"), "P-384": (ec.SECP384R1(), "ES384")}
CLAIMS = {"sub": w.INSTANCE_ID, "iss": "https://v/é", "pcr4": "ab" * 48, "exp": 4102444800}


class Key:
    def __init__(self, folder, key):
        self.pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption())
        self.public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                                    serialization.PublicFormat.SubjectPublicKeyInfo)
        self.jwk, self.path, self.public_path = jwk.JWK.from_pem(self.pem), folder / "key.pem", folder / "public.pem"
        self.path.write_bytes(self.pem)
        self.public_path.write_bytes(self.public)

    def run(self, verb, text, public=False):
        done = w.run(DRIVER, verb, self.public_path if public else self.path, input=text, text=True, check=False)
        return done.returncode, done.stdout


@pytest.fixture(params=CURVES)
def key(request, tmp_path):
    made = Key(tmp_path, ec.generate_private_key(CURVES[request.param][0]))
    made.alg = CURVES[request.param][1]
    return made


def test_ours_signed_is_theirs(key):
    code, token = key.run("sign", json.dumps(CLAIMS))
    assert code == 0 and jwt.decode(token, key.public, algorithms=[key.alg]) == CLAIMS
    theirs = jws.JWS()
    theirs.deserialize(token, jwk.JWK.from_pem(key.public))
    assert json.loads(theirs.objects["protected"]) == {"alg": key.alg, "kid": key.jwk.thumbprint(), "typ": "JWT"}


def test_theirs_signed_is_ours(key):
    token = jwt.encode(CLAIMS, key.pem, key.alg, headers={"kid": "x"})
    assert key.run("verify", token, public=True) == (0, key.run("verify", token)[1])
    assert json.loads(key.run("verify", token)[1]) == CLAIMS
    for other in (jwt.encode(CLAIMS, None, "none"), jwt.encode(CLAIMS, "secret", "HS256"),
                  jwt.encode(CLAIMS, key.pem, key.alg, headers={"crit": ["x"], "x": 1}),
                  jwt.encode(CLAIMS, key.pem, key.alg, headers={"jku": "https://e"})):
        assert key.run("verify", other)[0] == 2


def test_ours_encrypted_is_theirs(key):
    code, token = key.run("encrypt", "a.b.c", public=True)
    box = jwe.JWE()
    box.deserialize(token, key.jwk)
    header = json.loads(box.objects["protected"])
    assert code == 0 and box.payload == b"a.b.c" and header.pop("epk")["kty"] == "EC"
    assert header == {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT"}


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_ours_to_rsa_is_theirs(tmp_path, bits):
    key = Key(tmp_path, rsa.generate_private_key(65537, bits))
    code, token = key.run("encrypt", "a.b.c", public=True)
    box = jwe.JWE()
    box.deserialize(token, key.jwk)
    assert code == 0 and box.payload == b"a.b.c"
    assert json.loads(box.objects["protected"]) == {"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT"}


def encrypted(key, **header):
    box = jwe.JWE(b"a.b.c", json.dumps({"alg": "ECDH-ES", "enc": "A256GCM", **header}))
    box.add_recipient(jwk.JWK.from_pem(key.public))
    return box.serialize(compact=True)


def test_theirs_encrypted_is_ours(key):
    assert key.run("decrypt", encrypted(key)) == key.run("decrypt", encrypted(key, cty="JWT")) == (0, "a.b.c")
    for header in ({"enc": "A128GCM"}, {"enc": "A256CBC-HS512"}, {"alg": "ECDH-ES+A256KW"}, {"zip": "DEF"},
                   {"apu": "QQ", "apv": "Qg"}, {"cty": "text/plain"}, {"kid": "x"}):
        assert key.run("decrypt", encrypted(key, **header))[0] == 2, header


def test_another_key(key, tmp_path):
    (tmp_path / "other").mkdir()
    other = Key(tmp_path / "other", ec.generate_private_key(ec.SECP384R1()))
    assert other.run("decrypt", encrypted(key))[0] == 2
    assert other.run("verify", jwt.encode(CLAIMS, key.pem, key.alg))[0] == 2
